"""A monitor that is started again goes on where the one before it stood, however that one ended."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from small_market import Patient

from monitor.app import Monitor, Replay, left, running
from monitor.config import Config
from monitor.demo import START, against, plant
from monitor.events import Millis
from monitor.history import HistoryError
from monitor.history.store import Store
from monitor.ladder import HOUR, MINUTE
from monitor.prometheus.exposition import Writer
from monitor.recording import Header, files, read
from monitor.simulated import SCENARIOS, Market, simulate
from monitor.simulated.scenarios import Leg, Scenario
from monitor.tick.compute import Samples
from monitor.venues import VENUES

pytestmark = pytest.mark.live

ASSETS = ("BTC", "ETH")
SPEED, TICK_S = 480.0, 0.25
"""A tick is two minutes of the market."""
TICK = int(SPEED * TICK_S * 1000)
_DOWN = {"BTC": 0.88, "ETH": 0.82, "PEPE": 0.82}
_LEFT = {"BTC": 0.83, "ETH": 0.80, "PEPE": 0.80}
COURSES = {
    "calm": SCENARIOS["calm"],
    "purge": Scenario(
        "purge", (Leg(name="purge", hours=0.7, price=_DOWN, coins=_LEFT, liquidated=0.07, longs=0.85),)
    ),
}
FIRST = {"calm": "build_up", "purge": "purge"}
LONG_ENOUGH: Millis = 25 * MINUTE


def market_of(course: str) -> Market:
    return Market(COURSES[course], 1, START)


@asynccontextmanager
async def live(
    course: str, folder: Path, start: Millis, record_to: Path | None = None
) -> AsyncIterator[Monitor]:
    clock = Patient(start, SPEED, TICK_S)
    async with simulate(VENUES, market_of(course), clock) as exchanges:
        config = Config(assets=ASSETS, listen="127.0.0.1:0", tick_seconds=TICK_S)
        config = config.model_copy(update={"state_dir": folder})
        async with running(against(config, exchanges), clock, record_to=record_to) as monitor:
            clock.board = monitor.board
            yield monitor


def told(samples: Samples) -> dict[str, Any]:
    """What must not change with a restart, by asset."""
    levels = samples.views.asset.select("asset", "coverage")
    rows = pl.concat([levels, samples.looked.asset], how="horizontal")
    columns = ("coverage", "phase", "provisional", "since_s", "depth", "verdict")
    found: dict[str, Any] = {row["asset"]: {c: row[c] for c in columns} for row in rows.iter_rows(named=True)}
    for row in samples.views.asset_window.iter_rows(named=True):
        window = row["window"]
        found[row["asset"]] |= {
            f"growth_{window}": row["growth"], f"liquidated_{window}": row["liquidated_usd"],
        }  # fmt: skip
    return found


async def until_told(monitor: Monitor, phase: str, after: Millis = 0) -> tuple[Samples, dict[str, Any]]:
    """The first tick after a time at which every venue has spoken and both assets are in a phase."""
    async with asyncio.timeout(60):
        while True:
            if (samples := monitor.board.samples) is not None and samples.now >= after:
                found = told(samples)
                spoken = all((one["coverage"] or 0) > 0.999 for one in found.values())
                if spoken and [one["phase"] for one in found.values()] == [phase] * len(ASSETS):
                    return samples, found
            await asyncio.sleep(0.02)


def minute(samples: Samples) -> Millis:
    """The last minute that is over."""
    return int(samples.closed[-1]["time"][0])


async def child(course: str, folder: str) -> None:
    """Runs until it is killed; says each second tick what it shows."""
    async with live(course, Path(folder), START) as monitor:
        after = START + LONG_ENOUGH
        while True:
            samples, found = await until_told(monitor, FIRST[course], after)
            print(json.dumps([samples.now, minute(samples), found]), flush=True)  # noqa: T201 -- to the parent
            after = samples.now + 2 * TICK


def killed(course: str, folder: Path) -> tuple[Millis, Millis, dict[str, Any]]:
    """What a monitor said last before SIGKILL, and the minute that was over when it spoke before."""
    text = f"import asyncio, test_restart; asyncio.run(test_restart.child({course!r}, {str(folder)!r}))"
    with subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, cwd=Path(__file__).parent, text=True
    ) as process:
        try:
            assert process.stdout is not None
            said = [json.loads(process.stdout.readline()) for _ in range(3)]
        finally:
            process.kill()
    return said[2][0], said[1][1], said[2][2]


@pytest.mark.parametrize("course", ["calm", "purge"])
@pytest.mark.parametrize("end", ["stopped", "killed"])
async def test_a_monitor_goes_on_where_the_last_one_ended(course: str, end: str, tmp_path: Path) -> None:
    plant(tmp_path, market_of(course))
    if end == "killed":
        now, over, before = await asyncio.to_thread(killed, course, tmp_path)
    else:
        async with live(course, tmp_path, START) as monitor:
            samples, before = await until_told(monitor, FIRST[course], START + LONG_ENOUGH)
        now, over = samples.now, minute(samples)
    with Store(tmp_path / "history", writable=False) as store:
        assert store.read("minute")["time"].to_list()[-1] >= over
        assert store.bad == 0
    start = now + 10 * MINUTE
    began = time.monotonic()
    async with live(course, tmp_path, start) as monitor:
        _, after = await until_told(monitor, FIRST[course])
        print(f"{course}, {end}: whole {time.monotonic() - began:.1f} s after the start")  # noqa: T201
    for asset in ASSETS:
        old, new = before[asset], after[asset]
        assert (new["phase"], new["provisional"]) == (old["phase"], old["provisional"])
        assert new["since_s"] == old["since_s"]
        assert new["verdict"] == old["verdict"]
        for window in ("4h", "24h", "72h", "14d"):
            assert new[f"growth_{window}"] is not None, window
        # No dollar is counted twice; what the open minute, the outage, and two starts hold is missing.
        rate = old["liquidated_24h"] / 24 if course == "calm" else 0.07 * 60e9
        assert new["liquidated_24h"] > 0.6 * old["liquidated_24h"]
        assert new["liquidated_24h"] < old["liquidated_24h"] + rate
        if course == "calm":
            assert new["growth_24h"] == pytest.approx(old["growth_24h"], abs=0.01)


async def test_what_was_liquidated_before_a_restart_is_in_the_windows_after_it(tmp_path: Path) -> None:
    """To the dollar, as the minutes on the disk have it."""
    plant(tmp_path, market_of("purge"))
    async with live("purge", tmp_path, START) as monitor:
        now = (await until_told(monitor, "purge", START + LONG_ENOUGH))[0].now
    with Store(tmp_path / "history", writable=False) as store:
        minutes, hours = store.read("minute"), store.read("hour", START - 30 * HOUR, START)
    async with live("purge", tmp_path, now + 5 * MINUTE) as monitor:
        samples, after = await until_told(monitor, "purge")
    flow, far = samples.views.flow, (samples.now - 24 * HOUR) // HOUR * HOUR
    for asset in ASSETS:
        known = pl.col("asset") == asset
        both = pl.sum_horizontal("long_usd", "short_usd").sum()
        kept = sum(
            bars.filter(known & (pl.col("time") >= far)).select(both).item() for bars in (minutes, hours)
        )
        since = flow.filter(known)["usd"].sum()
        assert after[asset]["liquidated_24h"] == pytest.approx(kept + since, rel=1e-6)


async def test_two_monitors_on_one_folder_are_refused_by_a_line(tmp_path: Path) -> None:
    async with live("calm", tmp_path, START):
        with pytest.raises(HistoryError, match="another monitor writes here"):
            async with live("calm", tmp_path, START):
                pass
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "monitor", "run", "--listen", "127.0.0.1:0",
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | {"MONITOR_STATE_DIR": str(tmp_path), "COLUMNS": "200"},
        )  # fmt: skip
        said, complained = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert said == b""
    (line,) = complained.decode().splitlines()
    assert "another monitor writes here" in line


async def test_a_damaged_note_costs_what_it_held_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plant(tmp_path, market_of("calm"))
    (tmp_path / "history" / "running.json").write_text('{"running": {"BTC": [1, 2')
    async with live("calm", tmp_path, START) as monitor:
        await until_told(monitor, "build_up")
    assert sum("running.json" in record.message for record in caplog.records) == 1


async def test_a_replay_of_what_followed_a_restart_gives_the_same_text(tmp_path: Path) -> None:
    plant(tmp_path / "state", market_of("purge"))
    async with live("purge", tmp_path / "state", START) as monitor:
        now = (await until_told(monitor, "purge", START + LONG_ENOUGH))[0].now
    texts: dict[int, bytes] = {}
    writer = Writer()
    recordings = tmp_path / "recordings"
    async with live("purge", tmp_path / "state", now + 5 * MINUTE, record_to=recordings) as monitor:
        deadline = time.monotonic() + 8
        while time.monotonic() < deadline:
            await asyncio.sleep(0.02)
            if (samples := monitor.board.samples) is not None and samples.now not in texts:
                texts[samples.now] = writer.text(samples)
    recording = files([recordings])[0]
    entries = read(recording)
    header = next(entries)
    assert isinstance(header, Header)
    machine, compared = Replay(header, before=left(recording)), 0
    writer = Writer()
    for entry in entries:
        assert not isinstance(entry, Header)
        if (again := machine.entry(entry)) is not None and again.now in texts:
            assert writer.text(again) == texts[again.now]
            compared += 1
    assert compared == len(texts) >= 10
    text = next(reversed(texts.values())).decode()
    assert 'leverage_phase{asset="BTC",phase="purge"} 1' in text
    assert 'leverage_phase_provisional{asset="BTC"} 1' in text
