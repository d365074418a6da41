"""The store of history: nothing lost, nothing broken, whenever it is killed. Also a program of its own:
with a folder as argument it forks writers on demand, which is faster than starting a Python for each."""

from __future__ import annotations

import errno
import json
import logging
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from polars.testing import assert_frame_equal

from monitor.bars import BAR, KEY, STEPS, Step, roll, unique
from monitor.history import HistoryError, files
from monitor.history.spans import joined
from monitor.history.store import KEPT, LEVELS, Store
from monitor.ladder import DAY, HOUR, MINUTE

DAY0 = 1_790_726_400_000
"""2026-09-30 00:00 UTC: the last day of a month."""
VENUES = ("a", "b", "c")


def bars_at(moment: int, step: Step = "minute", venues: tuple[str, ...] = VENUES) -> pl.DataFrame:
    """Bars that anyone can make again from their time alone."""
    n = moment // STEPS[step]
    rows = [
        (moment, venue, asset, f"{asset}USDT", "linear", *[100.0 + n % 97 + place] * 4,
         None if n % 5 == 0 else 1e4 + n % 1013, 1e4 + n % 1013, 1e6 + n % 1009, 1e-4,
         None if venue == "c" else float(n % 7), None if venue == "c" else 0.0)
        for place, venue in enumerate(venues)
        for asset in ("BTC", "ETH")
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=BAR, orient="row").sort(KEY)


def filled(root: Path, minutes: range) -> pl.DataFrame:
    """A store of these minutes after `DAY0`, and what is in it."""
    truth = [bars_at(DAY0 + n * MINUTE) for n in minutes]
    with Store(root, writable=True) as store:
        for minute in truth:
            store.append(minute)
    return pl.concat(truth)


def read(root: Path, step: Step, **more: object) -> pl.DataFrame:
    with Store(root, writable=False) as store:
        found = store.read(step, **more)  # type: ignore[arg-type]
        assert store.bad == 0
    return found


def same(found: pl.DataFrame, truth: pl.DataFrame) -> None:
    assert_frame_equal(found, truth, rel_tol=1e-12)


def over(truth: pl.DataFrame, step: Step) -> pl.DataFrame:
    """The bars of a step that are closed by the newest of these minutes."""
    newest = truth["time"].max()
    assert isinstance(newest, int)
    return roll(truth, step).filter(pl.col("time") + STEPS[step] <= newest + MINUTE)


# Killed.


def write_for_ever(root: Path, begin: int) -> None:
    """Appends a minute, says so, goes on some minutes later."""
    rng = random.Random(begin)  # the gaps differ, the bars do not
    moment = begin
    with Store(root, writable=True) as store:
        while True:
            store.append(bars_at(moment))
            os.write(1, b"%d\n" % moment)
            moment += rng.choice((1, 1, 2, 7, 45, 90)) * MINUTE


def fork_writers(root: Path) -> None:
    """For each line, a time, a writer begins there; its number goes out first, and `dead` last."""
    for line in sys.stdin:
        if (child := os.fork()) == 0:
            os.write(1, b"%d\n" % os.getpid())
            write_for_ever(root, int(line))
        os.waitpid(child, 0)
        os.write(1, b"dead\n")


@pytest.mark.timeout(300)
def test_killed_a_hundred_times_it_keeps_every_minute_that_it_took(tmp_path: Path) -> None:
    rng = random.Random(11)
    root = tmp_path / "history"
    taken: list[int] = []
    begin = DAY0
    with subprocess.Popen(
        [sys.executable, __file__, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as forks:  # fmt: skip
        assert forks.stdin is not None
        assert forks.stdout is not None
        for _ in range(110):
            print(begin, file=forks.stdin, flush=True)
            said = {forks.stdout.readline() for _ in range(1 + rng.randrange(8))}
            time.sleep(rng.uniform(0, 0.02))
            (child,) = (int(word) for word in said if int(word) < DAY0)
            os.kill(child, signal.SIGKILL)
            said.update(iter(forks.stdout.readline, "dead\n"))
            taken += [int(word) for word in said if int(word) >= DAY0]
            truth = kept(root, taken)
            taken = sorted(set(truth["time"].to_list()))
            begin = (taken[-1] if taken else DAY0) + rng.choice((1, 3, 61)) * MINUTE
        forks.stdin.close()
    assert len(taken) > 200
    assert over(truth, "day").height >= 3 * 2 * len(VENUES)
    assert not list(root.rglob("*.bad"))


def kept(root: Path, taken: list[int]) -> pl.DataFrame:
    """Checks a store against the minutes that were acknowledged; all minutes that it ever took."""
    with Store(root, writable=True) as store:
        assert not list(root.rglob("*.tmp"))
        found = {step: store.read(step) for step in STEPS}
        assert store.bad == 0
        last = max(taken, default=0)
        more = found["minute"].filter(pl.col("time") > last)["time"].unique().to_list()
        assert len(more) <= 1  # on the disk, and killed before it could say so
        truth = pl.concat([pl.DataFrame(schema=BAR), *(bars_at(at) for at in sorted({*taken, *more}))])
        times = found["minute"]["time"].to_list()
        oldest = min(times, default=0)
        same(found["minute"], truth.filter(pl.col("time") >= oldest))
        if truth["time"].to_list()[:1] != times[:1]:
            assert last - oldest >= KEPT["minute"] - DAY  # only retention took some
        if truth.height:
            same(found["hour"], over(truth, "hour"))
            same(found["day"], over(truth, "day"))
            same(store.read("day", open=True), roll(truth, "day", max(truth["time"].to_list()) + MINUTE))
    return truth


# Whole.


@pytest.mark.parametrize("minutes", [
    range(1), range(54, 60, 5), range(0, 61, 20), range(19, 1440, 20), range(0, 1541, 20),
    range(346, 511, 164),  # three hours before 08:31 something was known, and nothing since
])  # fmt: skip
def test_reads_what_it_was_given_and_rolls_what_is_over(tmp_path: Path, minutes: range) -> None:
    truth = filled(tmp_path, minutes)
    same(read(tmp_path, "minute"), truth)
    for step in ("hour", "day"):
        same(read(tmp_path, step), over(truth, step))
        same(read(tmp_path, step, open=True), roll(truth, step, DAY0 + (minutes[-1] + 1) * MINUTE))
    over_hour = (minutes[-1] + 1) // 60 * 60
    over_day = over_hour // 1440 * 1440
    names = (
        {n // 1440 for n in minutes if n < over_day},
        {n // 60 for n in minutes if over_day <= n < over_hour},
        {n for n in minutes if n >= over_hour},
    )
    assert len(list((tmp_path / "minute").iterdir())) == sum(map(len, names))


def test_parts_are_read_alone(tmp_path: Path) -> None:
    truth = filled(tmp_path, range(0, 2000, 19))
    start, end = DAY0 + 3 * HOUR, DAY0 + 25 * HOUR
    part = pl.col("time").is_between(start, end, closed="left")
    same(read(tmp_path, "minute", start=start, end=end), truth.filter(part))
    mine = part & (pl.col("asset") == "ETH") & (pl.col("venue") != "b")
    same(
        read(tmp_path, "minute", start=start, end=end, assets=["ETH"], venues=["a", "c"]), truth.filter(mine)
    )
    same(read(tmp_path, "hour", start=start, end=end), over(truth, "hour").filter(part))


def test_months_and_years_are_one_file_each(tmp_path: Path) -> None:
    days = range(0, 100 * 24 * 60, 24 * 60)
    truth = filled(tmp_path, days)
    same(read(tmp_path, "hour"), over(truth, "hour"))
    same(read(tmp_path, "day"), over(truth, "day"))
    names = {step: sorted(p.name.split(".")[0] for p in (tmp_path / step).iterdir()) for step in STEPS}
    assert names["hour"][:4] == ["202609", "202610", "202611", "202612"]
    assert names["day"][:1] == ["2026"]
    assert all(len(names[step]) < 40 for step in STEPS)


def test_a_late_minute_comes_into_its_hour_and_day(tmp_path: Path) -> None:
    minutes = [n for n in range(0, 1600, 20) if n != 700]
    late = bars_at(DAY0 + 700 * MINUTE)
    with Store(tmp_path, writable=True) as store:
        for n in minutes:
            store.append(bars_at(DAY0 + n * MINUTE))
        store.append(late)
    truth = pl.concat([bars_at(DAY0 + n * MINUTE) for n in range(0, 1600, 20)])
    same(read(tmp_path, "minute"), truth)
    with Store(tmp_path, writable=True):
        pass  # it opens, and puts it in order
    for step in ("hour", "day"):
        same(read(tmp_path, step), over(truth, step))


def test_a_minute_given_twice_is_its_last(tmp_path: Path) -> None:
    first, again = bars_at(DAY0), bars_at(DAY0, venues=("a",)).with_columns(close=pl.lit(7.0))
    with Store(tmp_path, writable=True) as store:
        store.append(first)
        store.append(again)
    same(read(tmp_path, "minute"), unique(pl.concat([first, again])))


def test_what_is_no_bar_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path, writable=True) as store:
        with pytest.raises(ValueError, match="columns"):
            store.append(bars_at(DAY0).drop("usd"))
        with pytest.raises(ValueError, match="open at"):
            store.append(bars_at(DAY0).with_columns(pl.col("time") + 1))
        store.append(pl.DataFrame(schema=BAR))
    with pytest.raises(ValueError, match="not open for writing"):
        store.append(bars_at(DAY0))
    assert not list((tmp_path / "minute").iterdir())


def test_minutes_live_a_week_hours_three_years_days_for_ever(tmp_path: Path) -> None:
    newest, days = 0, [*range(0, 1290, 30), *range(1290, 1302)]
    with Store(tmp_path, writable=True) as store:
        for n in days:
            newest = DAY0 + n * DAY + 22 * HOUR
            store.append(bars_at(newest))
            store.append(bars_at(newest + HOUR))
        store.append(bars_at(newest + DAY))
        assert store.read("minute")["time"].min() == newest - 6 * DAY
        oldest = store.read("hour")["time"].min()
        assert isinstance(oldest, int)
        assert KEPT["hour"] - 30 * DAY <= newest - oldest <= KEPT["hour"] + 31 * DAY  # whole months
        assert store.read("day")["time"].min() == DAY0
        assert store.read("day")["time"].n_unique() == len(days)


def test_a_start_with_a_wrong_clock_forgets_nothing(tmp_path: Path) -> None:
    truth = filled(tmp_path, range(0, 300, 10))
    with Store(tmp_path, writable=True) as store:
        store.append(bars_at(DAY0 + 40_000 * DAY))
    with Store(tmp_path, writable=True) as store:
        store.append(bars_at(DAY0 + 300 * MINUTE))
        same(store.read("minute", end=DAY0 + 300 * MINUTE), truth)


# Alone.


def test_two_writers_are_refused_and_readers_are_not(tmp_path: Path) -> None:
    truth = bars_at(DAY0)
    said = rf"another monitor writes here \(pid {os.getpid()}\); stop it"
    with Store(tmp_path, writable=True) as store:
        store.append(truth)
        with pytest.raises(HistoryError, match=said):
            Store(tmp_path, writable=True).__enter__()
        same(read(tmp_path, "minute"), truth)
    with Store(tmp_path, writable=True) as store:
        same(store.read("minute"), truth)


def test_a_reader_beside_the_writer_sees_every_minute_once(tmp_path: Path) -> None:
    done = threading.Event()

    def write() -> None:
        with Store(tmp_path, writable=True) as store:
            for n in range(0, 1440 + 180, 10):
                store.append(bars_at(DAY0 + n * MINUTE))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    looks, seen = 0, 0
    with Store(tmp_path, writable=False) as store:
        while not done.is_set():
            minutes = store.read("minute")
            times = minutes["time"].unique().sort()
            assert times.to_list() == [DAY0 + n * 10 * MINUTE for n in range(times.len())]
            assert times.len() >= seen
            assert minutes.select(KEY).is_unique().all()
            seen = times.len()
            hours = store.read("hour", open=True)["time"].unique().sort()
            assert hours.to_list() == [DAY0 + n * HOUR for n in range(hours.len())]
            assert hours.len() >= seen // 6
            days = store.read("day", open=True)["time"].unique().sort()
            assert days.to_list() == [DAY0 + n * DAY for n in range(days.len())]
            assert days.len() >= seen // 144
            store.summary()
            looks += 1
        assert store.bad == 0
    writer.join()
    assert looks > 5


# Broken.


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"rubbish" * 1000, None])
def test_a_broken_file_is_set_aside_and_nothing_else_is_lost(
    tmp_path: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    truth = filled(tmp_path, range(0, 1500, 30))
    broken = tmp_path / "minute" / "20260930.parquet"
    broken.write_bytes(broken.read_bytes()[:-100] if damage is None else damage)
    rest = truth.filter(pl.col("time") >= DAY0 + DAY)
    with Store(tmp_path, writable=False) as store:  # not its to rename
        for _ in range(2):
            same(store.read("minute"), rest)
        assert store.bad == 1
    assert broken.exists()
    caplog.clear()
    with caplog.at_level(logging.WARNING), Store(tmp_path, writable=True) as store:
        for _ in range(2):
            same(store.read("minute"), rest)
        assert store.bad == 1
        same(store.read("hour"), over(truth, "hour"))
    assert [str(broken) in message for message in caplog.messages] == [True]
    assert not broken.exists()
    assert broken.with_name("20260930.parquet.bad").exists()
    assert read(tmp_path, "day").height == 2 * len(VENUES)


def test_a_table_of_something_else_is_set_aside(tmp_path: Path) -> None:
    filled(tmp_path, range(3))
    pl.DataFrame({"time": [1]}).write_parquet(tmp_path / "minute" / "20260930T00.parquet")
    (tmp_path / "minute" / "notes.txt").write_text("not ours")
    with Store(tmp_path, writable=True) as store:
        assert store.read("minute")["time"].n_unique() == 3
        assert store.bad == 1


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_flipped_bytes_are_no_traceback(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("flip") / "20260930T0000.parquet"
    files.write(path, bars_at(DAY0), "minute")
    content = bytearray(path.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=20)):
        content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(content))
    with suppress(files.Unreadable):
        assert files.read(path).schema == BAR
    with suppress(files.Unreadable):
        assert files.accounts(path, "minute").of


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_no_half_and_the_next_minute_is_kept(tmp_path: Path) -> None:
    with Store(tmp_path, writable=True) as store:
        store.append(bars_at(DAY0))
        with largest_file(1000), pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            store.append(bars_at(DAY0 + MINUTE))
        assert [path.name for path in (tmp_path / "minute").iterdir()] == ["20260930T0000.parquet"]
        store.append(bars_at(DAY0 + 2 * MINUTE))
        assert store.read("minute")["time"].unique().sort().to_list() == [DAY0, DAY0 + 2 * MINUTE]


def test_a_compaction_that_found_the_disk_full_is_made_up_for(tmp_path: Path) -> None:
    truth = filled(tmp_path, range(59))
    size = max(path.stat().st_size for path in (tmp_path / "minute").iterdir())
    last = bars_at(DAY0 + 59 * MINUTE)
    with Store(tmp_path, writable=True) as store:
        with largest_file(size + 100), pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            store.append(last)  # its minute fits, the hour of minutes does not
        truth = pl.concat([truth, last])
        same(store.read("minute"), truth)
        store.append(more := bars_at(DAY0 + 60 * MINUTE))
        same(store.read("hour"), over(truth, "hour"))
        same(store.read("minute"), pl.concat([truth, more]))
    assert not list(tmp_path.rglob("*.tmp"))
    assert sorted(path.name for path in (tmp_path / "minute").iterdir()) == [
        "20260930T00.parquet", "20260930T0100.parquet",
    ]  # fmt: skip


def test_a_folder_that_cannot_be_made_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        Store(tmp_path / "file" / "history", writable=True).__enter__()


# Filled from elsewhere.


def test_a_monitors_bar_wins_where_it_has_open_interest(tmp_path: Path) -> None:
    times = [DAY0 + n * HOUR for n in range(30)]
    elsewhere = pl.concat([bars_at(at, "hour") for at in times]).with_columns(
        close=pl.lit(1.0), native=pl.lit(2.0)
    )
    truth = filled(tmp_path, range(600, 1200, 7))
    live = over(truth, "hour")
    live_time = live["time"].unique().to_list()
    with Store(tmp_path, writable=True) as writer, Store(tmp_path, writable=False) as store:
        store.backfill("archive", "hour", elsewhere.sample(fraction=1.0, shuffle=True, seed=1))
        expected = pl.concat([elsewhere.filter(~pl.col("time").is_in(live_time)), live]).sort(KEY)
        same(store.read("hour"), expected)
        same(writer.read("hour", venues=["a"]), expected.filter(venue="a"))
        silent = bars_at(DAY0 + 1200 * MINUTE).with_columns(native=pl.lit(None, pl.Float64))
        for n in range(0, 60, 59):
            writer.append(silent.with_columns(pl.col("time") + n * MINUTE))
        found = store.read("hour", start=DAY0 + 20 * HOUR, end=DAY0 + 21 * HOUR)
        same(found, elsewhere.filter(time=DAY0 + 20 * HOUR))


def test_the_newest_backfill_wins_and_holes_are_filled(tmp_path: Path) -> None:
    newyear = 1_798_761_600_000  # 2027-01-01
    for step in ("hour", "day"):
        times = [newyear + n * STEPS[step] for n in range(-30, 30)]
        truth = pl.concat([bars_at(at, step) for at in times])
        first = truth.filter(pl.col("time") < newyear + 5 * STEPS[step]).with_columns(close=pl.lit(1.0))
        again = truth.filter(pl.col("time") >= newyear)
        with Store(tmp_path, writable=False) as store:
            store.backfill("one", step, first)
            store.backfill("two", step, again)
            expected = unique(pl.concat([first, again]))
            same(store.read(step), expected)
            same(store.read(step, start=newyear, assets=["BTC"]), again.filter(asset="BTC"))
            store.backfill("two", step, again)
            same(store.read(step), expected)
            summary = store.summary().filter(step=step)
    assert summary["sources"].to_list() == ["one, two"] * 2 * len(VENUES)
    years = {path.name for path in (tmp_path / "backfill" / "hour" / "a").iterdir()}
    assert years == {f"{asset}.{year}.parquet" for asset in ("BTC", "ETH") for year in (2026, 2027)}


def test_two_backfills_wait_for_each_other(tmp_path: Path) -> None:
    truth = pl.concat([bars_at(DAY0 + n * HOUR, "hour") for n in range(40)])

    def fill(turn: int) -> None:
        with Store(tmp_path, writable=False) as store:
            for n in range(turn, 40, 4):
                store.backfill(f"source {turn}", "hour", truth.filter(time=DAY0 + n * HOUR))

    threads = [threading.Thread(target=fill, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same(read(tmp_path, "hour"), truth)


def test_a_broken_backfill_is_set_aside_by_the_next(tmp_path: Path) -> None:
    truth = bars_at(DAY0, "day", ("a",))
    with Store(tmp_path, writable=False) as store:
        store.backfill("x", "day", truth)
        broken = tmp_path / "backfill" / "day" / "a" / "BTC.parquet"
        broken.write_bytes(b"no")
        same(store.read("day"), truth.filter(asset="ETH"))
        store.backfill("x", "day", truth)
        assert broken.with_name("BTC.parquet.bad").exists()
        same(store.read("day"), truth)


# Told.


def test_the_summary_names_spans_and_gaps(tmp_path: Path) -> None:
    present = [*range(20), *range(30, 35), *range(36, 50), *range(1495, 1500)]
    with Store(tmp_path, writable=True) as store:
        for n in present:
            store.append(bars_at(DAY0 + n * MINUTE))
        store.append(bars_at(DAY0 + 1500 * MINUTE, venues=("a",)))
        store.backfill("archive", "day", bars_at(DAY0 - 3 * DAY, "day", ("a",)))
        rows = store.summary()
    (row,) = rows.filter(step="minute", venue="a", asset="BTC").to_dicts()
    size = row.pop("bytes")
    assert row == {
        "step": "minute", "venue": "a", "asset": "BTC", "origin": "live", "sources": None,
        "first": DAY0, "last": DAY0 + 1500 * MINUTE, "rows": 45, "expected": 1501, "gaps": 3,
        "longest_start": DAY0 + 50 * MINUTE, "longest_end": DAY0 + 1495 * MINUTE,
    }  # fmt: skip
    total = sum(path.stat().st_size for path in tmp_path.rglob("*.parquet"))
    assert rows["bytes"].sum() == pytest.approx(total, rel=0.01)
    assert 0 < size < total
    assert rows.filter(step="day", venue="a", asset="ETH").select("origin", "rows", "sources").rows() == [
        ("backfill", 1, "archive"), ("live", 1, None),
    ]  # fmt: skip


runs = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)).map(lambda pair: (pair[0], sum(pair))))


@given(runs)
def test_stretches_that_touch_are_one(found: list[tuple[int, int]]) -> None:
    covered = {at for first, last in found for at in range(first, last + 1)}
    made = joined(found, 1)
    assert {at for first, last in made for at in range(first, last + 1)} == covered
    assert all(one[1] + 1 < other[0] for one, other in pairwise(made))


@given(st.integers(0, 4_000_000_000_000), st.sampled_from(list(files.FORMATS)))
def test_a_name_covers_the_times_that_it_is_named_after(moment: int, level: files.Level) -> None:
    name = files.name_of(moment, level)
    covered = files.span(name)
    assert covered is not None
    assert covered[0] <= moment < covered[1]
    assert files.level_of(name) == level
    assert files.name_of(covered[0], level) == files.name_of(covered[1] - 1, level) == name
    assert files.name_of(covered[1], level) != name
    for step, levels in LEVELS.items():
        assert levels[0] == step


def monitor_history(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "monitor", "history", *arguments], capture_output=True, text=True,
        timeout=60, check=False,
        env=os.environ | {"COLUMNS": "200", "TERM": "dumb", "MONITOR_STATE_DIR": str(state)},
    )  # fmt: skip


def test_the_command_tells_what_is_there(tmp_path: Path) -> None:
    done = monitor_history(tmp_path)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert "monitor run" in done.stdout
    assert "monitor backfill" in done.stdout
    assert json.loads(monitor_history(tmp_path, "--json").stdout) == []
    filled(tmp_path / "history", [*range(50, 60), *range(70, 80)])  # type: ignore[arg-type]
    done = monitor_history(tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.split()[:3] == ["minute", "a", "BTC"]]
    assert "20 of 30" in line
    assert "10 min: 2026-09-30 01:00 to 2026-09-30 01:09" in line
    rows = json.loads(monitor_history(tmp_path, "--json").stdout)
    assert rows[0]["first_ms"] == DAY0 + 50 * MINUTE
    assert {row["step"] for row in rows} == {"minute", "hour"}


def test_the_command_names_a_folder_that_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "history").write_text("")
    done = monitor_history(tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


if __name__ == "__main__":
    fork_writers(Path(sys.argv[1]))
