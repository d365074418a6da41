"""What closing a minute costs, how large years are on the disk, and how fast a start reads them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import polars as pl
from market import Monthly
from measure import Row, show

from monitor.bars import BAR, STEPS, Bars, Step
from monitor.history import files
from monitor.history.store import LEVELS, Store
from monitor.ladder import DAY, HOUR, MINUTE, SECOND

VENUES, ASSETS = 15, 20
END = 1_790_726_400_000
"""2026-09-30 00:00 UTC."""
START_HOURS = 17 * DAY
"""How far back a start reads hours."""


def section() -> list[Row]:
    rows = _ticks()
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        root = state / "history"
        sizes: dict[Step, float] = {
            "hour": fill(root, "hour", END - 365 * DAY), "day": fill(root, "day", END - 3 * 365 * DAY),
        }  # fmt: skip
        start = median(_start(root) for _ in range(3))
        rows += [
            Row(f"disk: a year of hours, {VENUES} x {ASSETS} markets", sizes["hour"] / 1e6, 100.0, "MB"),
            Row("disk: three years of days", sizes["day"] / 1e6, 15.0, "MB"),
            Row("start: repair, all days, hours of 17 days", start * 1000, 1000.0, "ms wall"),
        ]
        fill(root, "hour", END - 3 * 365 * DAY, END - 365 * DAY)
        with Store(root, writable=False) as store:
            found = median(_seconds(store.summary) for _ in range(3))
            days = median(_seconds(lambda: store.read("day", open=True)) for _ in range(3))
        rows += [
            Row("summary of three years of hours and days", found * 1000, 500.0, "ms wall"),
            Row("read three years of days", days * 1000, unit="ms wall"),
            Row("start, three years of hours and days", median(_start(root) for _ in range(3)) * 1000,
                2000.0, "ms wall"),
            Row("`monitor history`, the whole process", _command(state), 1.0, "s CPU"),
        ]  # fmt: skip
        rows += _appends(Path(folder) / "appends")
    show("history", rows)
    return rows


def _ticks(count: int = 6000, rounds: int = 50) -> list[Row]:
    """CPU of a tick within a minute, and of one that closes it."""
    month, bars = Monthly(count, []), Bars()
    instrument = month.samples.views.instrument
    now = month.now // MINUTE * MINUTE + SECOND
    within, closing = [], []
    for _ in range(rounds):
        bars.push(now, instrument)
        began = process_time()
        bars.push(now + SECOND, instrument)
        within.append(process_time() - began)
        now += MINUTE
        began = process_time()
        (minute,) = bars.push(now, instrument)
        closing.append(process_time() - began)
    if minute.height != count:
        raise RuntimeError(f"{minute.height} bars of {count} instruments")
    return [
        Row(f"bars: a tick, {count} instruments", median(within) * 1000, 1.5, "ms CPU"),
        Row("bars: the tick that closes a minute", median(closing) * 1000, unit="ms CPU"),
    ]


def _walk(step: Step, start: int, end: int) -> pl.DataFrame:
    """Random walks, as long as wanted, of every asset on every venue."""
    times = pl.DataFrame({"time": pl.int_range(start, end, STEPS[step], eager=True)})
    names = pl.DataFrame({"venue": [f"venue_{n}" for n in range(VENUES)]}).join(
        pl.DataFrame({"asset": [f"ASSET{n}" for n in range(ASSETS)]}), how="cross"
    )
    rows = times.join(names, how="cross")
    rows = rows.with_columns(
        ((pl.int_range(pl.len()).hash(n) % 2001).cast(pl.Float64) / 1000 - 1).alias(f"noise_{n}")
        for n in range(4)
    )
    price, contracts, long, short = (pl.col(f"noise_{n}") for n in range(4))
    by = ("venue", "asset")
    return (
        rows.with_columns(
            close=((price * 0.01).cum_sum().over(by).exp() * 100).round(2),
            native=((contracts * 0.005).cum_sum().over(by).exp() * 1e5).round(3),
            long_usd=pl.when(long > 0).then((long * 1e5).round(2)).otherwise(0.0),
            short_usd=pl.when(short > 0).then((short * 1e5).round(2)).otherwise(0.0),
        )
        .with_columns(
            symbol=pl.col("asset") + "USDT", margin=pl.lit("linear"), open="close",
            high=(pl.col("close") * 1.004).round(2), low=(pl.col("close") * 0.996).round(2),
            coins="native", usd=pl.col("native") * pl.col("close"), funding_8h=(price * 1e-4).round(6),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in BAR.items())
    )  # fmt: skip


def fill(root: Path, step: Step, start: int, end: int = END) -> float:
    """Files as compaction leaves them; their bytes."""
    files.make(root / step)
    size, level = 0, LEVELS[step][2]
    begin = start
    while begin < end:
        name = files.name_of(begin, level)
        covered = files.span(name)
        if covered is None:
            raise RuntimeError(name)
        until = min(end, covered[1])
        path = root / step / f"{name}.parquet"
        rows = _walk(step, begin, until)
        if path.exists():
            rows = pl.concat([rows, files.read(path)])
        files.write(path, rows.sort("time", maintain_order=True), step)
        size += path.stat().st_size
        begin = until
    return size


def _seconds(call: object) -> float:
    began = perf_counter()
    call()  # type: ignore[operator]
    return perf_counter() - began


def _start(root: Path) -> float:
    began = perf_counter()
    with Store(root, writable=True) as store:
        days = store.read("day", open=True)
        hours = store.read("hour", END - START_HOURS, open=True)
    taken = perf_counter() - began
    pairs = VENUES * ASSETS
    if (days.height, hours.height) != (3 * 365 * pairs, START_HOURS // HOUR * pairs):
        raise RuntimeError(f"{days.height} days, {hours.height} hours")
    return taken


def _command(state: Path) -> float:
    """CPU seconds of the command, start and end of Python included."""
    import os  # noqa: PLC0415 -- only here
    import resource  # noqa: PLC0415

    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    found = []
    for _ in range(3):
        before = spent()
        subprocess.run(
            [sys.executable, "-m", "monitor", "history"], check=True, stdout=subprocess.DEVNULL,
            env=os.environ | {"MONITOR_STATE_DIR": str(state)},
        )  # fmt: skip
        found.append(spent() - before)
    return median(found)


def _appends(root: Path, hours: int = 2) -> list[Row]:
    """CPU of keeping a minute of 300 instruments, and of the one that ends an hour."""
    minutes = _walk("minute", END, END + hours * HOUR).partition_by("time", maintain_order=True)
    plain: list[float] = []
    ending: list[float] = []
    with Store(root, writable=True) as store:
        for number, minute in enumerate(minutes, 1):
            began = process_time()
            store.append(minute)
            (plain if number % 60 else ending).append(process_time() - began)
    return [
        Row(f"append a minute, {VENUES * ASSETS} instruments", median(plain) * 1000, unit="ms CPU"),
        Row("append the minute that ends an hour", max(ending) * 1000, unit="ms CPU"),
    ]
