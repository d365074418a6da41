"""Phases as a real Prometheus sees them, of a market whose phases were planted; and none where none was."""

from __future__ import annotations

import asyncio
import shutil
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import polars as pl
import pytest
from small_market import Patient

from monitor import app
from monitor.app import Monitor, running
from monitor.config import Config
from monitor.demo import REPOSITORY, START, against, plant, prometheus
from monitor.events import Millis
from monitor.ladder import HOUR
from monitor.simulated import SCENARIOS, Exchange, Market, simulate
from monitor.simulated.listings import Listing
from monitor.tick import readings
from monitor.venues import VENUES

pytestmark = pytest.mark.live

ASSETS = ("BTC", "ETH")
SCRAPE_S = 0.25
PURGE = ("purge", 1.0)


@asynccontextmanager
async def market_of(
    scenario: str, folder: Path, speed: float, tick: float
) -> AsyncIterator[tuple[Monitor, dict[str, Exchange], str]]:
    """A monitor of a market that has a past, and the address of a Prometheus that scrapes it."""
    program = shutil.which("prometheus")
    assert program, "run `make tools`"
    market = Market(SCENARIOS[scenario], 1, START, grain_s=60)
    plant(folder, market)
    async with AsyncExitStack() as stack:
        clock = Patient(START, speed, tick)
        exchanges = await stack.enter_async_context(simulate(VENUES, market, clock))
        config = Config(assets=ASSETS, listen="127.0.0.1:0", tick_seconds=tick)
        config = config.model_copy(update={"state_dir": folder})
        monitor = await stack.enter_async_context(running(against(config, exchanges), clock))
        clock.board = monitor.board
        source = REPOSITORY / "prometheus.yml"
        address = await stack.enter_async_context(
            prometheus(program, source, monitor.address, f"{int(SCRAPE_S * 1000)}ms")
        )
        yield monitor, exchanges, address


class Seen(msgspec.Struct):
    """What a Prometheus has of the whole run, by its own time stamps."""

    phases: dict[str, list[tuple[float, str, float]]]
    """By asset: market hours since the start at which it changed, phase, whether provisional."""

    def course(self, asset: str) -> list[str]:
        found: list[str] = []
        for _, phase, _ in self.phases[asset]:
            if found[-1:] != [phase]:
                found.append(phase)
        return found


Log = list[tuple[float, Millis]]
"""Times of the wall and of the market, side by side."""


async def seen(address: str, log: Log) -> Seen:
    def hours(stamp: float) -> float:
        return (log[max(0, bisect_right(log, (stamp, 1 << 62)) - 1)][1] - START) / HOUR

    on = await samples(address, "leverage_phase")
    provisional = {
        (one["metric"]["asset"], stamp): float(value)
        for one in await samples(address, "leverage_phase_provisional")
        for stamp, value in one["values"]
    }
    found: dict[str, list[tuple[float, str, float]]] = {}
    for asset in ASSETS:
        rows = sorted(
            (stamp, one["metric"]["phase"])
            for one in on
            if one["metric"]["asset"] == asset
            for stamp, value in one["values"]
            if float(value) == 1
        )
        changes = found.setdefault(asset, [])
        for stamp, phase in rows:
            now = provisional[asset, stamp]
            if not changes or changes[-1][1:] != (phase, now):
                changes.append((hours(stamp), phase, now))
    return Seen(found)


async def samples(address: str, name: str) -> list[dict[str, Any]]:
    """Every sample of a metric, as it was scraped."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{address}/api/v1/query", params={"query": f"{name}[20m]"}) as answer,
    ):
        result: list[dict[str, Any]] = (await answer.json())["data"]["result"]
        return result


def shown(monitor: Monitor, column: str) -> Mapping[str, Any]:
    """A column of what the newest tick says of the assets."""
    if (newest := monitor.board.samples) is None:
        return {}
    frame = newest.looked.asset if column in newest.looked.asset.columns else newest.views.asset
    return dict(zip(newest.views.asset["asset"], frame[column], strict=True))


@pytest.mark.timeout(240)
async def test_the_phases_that_were_planted_are_seen(tmp_path: Path) -> None:
    speed = 9000.0
    starts, at, log = {}, 0.0, Log()
    for leg in SCENARIOS["cycle"].legs:
        starts[leg.name] = at
        at += leg.hours
    async with market_of("cycle", tmp_path, speed, tick=0.4) as (monitor, _, address):
        deadline = time.monotonic() + 200
        while set(shown(monitor, "phase").values()) != {"reset"} and time.monotonic() < deadline:
            log.append((time.time(), monitor.clock.now()))
            await asyncio.sleep(0.05)
        await asyncio.sleep(4 * SCRAPE_S)
        found = await seen(address, log)
    for asset in ASSETS:
        assert found.course(asset) == list(starts)
        rows = found.phases[asset]
        entered = {phase: hours for hours, phase, _ in reversed(rows)}
        delays = {phase: entered[phase] - starts[phase] for phase in list(starts)[1:]}
        for phase, delay in delays.items():
            text = f"{asset} {phase}: {delay:+.1f} h of the market, {delay * 3600 / speed:+.1f} s of the wall"
            print(text)  # noqa: T201 -- shown with `pytest -s`
        # A purge is provisional until the day closes, and nothing else ever is.
        assert [row[1:] for row in rows if row[1] == "purge" or row[2]] == [PURGE, ("purge", 0.0)]
        confirmed = next(hours for hours, *what in rows if what == ["purge", 0.0])
        midnight = 64.0  # 16 hours after the start, and two days
        assert midnight < confirmed < midnight + 8
        assert -3 < delays["stretched"] < 30  # crowding grows slowly: the leg before ends near the threshold
        assert 0 < delays["purge"] < 6
        # Three quiet days from the close that confirmed it; then four days, three of them at the average.
        assert midnight + 72 - 1 < entered["stabilising"] < midnight + 72 + 6
        assert midnight + 72 + 96 - 1 < entered["reset"] < midnight + 72 + 96 + 24


def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets that come back, and readings that grow old, in seconds."""
    venues = {
        name: msgspec.structs.replace(
            venue,
            polls=tuple(msgspec.structs.replace(poll, every_s=0.5) for poll in venue.polls),
            instruments=msgspec.structs.replace(venue.instruments, every_s=1.0),
            budget=msgspec.structs.replace(venue.budget, weight=100_000),
        )
        for name, venue in VENUES.items()
    }
    monkeypatch.setattr(app, "VENUES", venues)
    monkeypatch.setattr("monitor.feeds.feed.LONGEST_PAUSE_S", 0.5)
    for life in ("MARK_LIFE", "INDEX_LIFE", "FUNDING_LIFE", "OPEN_INTEREST_LIFE"):
        monkeypatch.setattr(readings, life, 2_000)


async def until(true: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.05)


async def test_a_venue_that_is_cut_off_or_doubles_in_a_calm_market_changes_no_phase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hasty(monkeypatch)
    async with market_of("calm", tmp_path, 3600.0, tick=0.25) as (monitor, exchanges, address):

        def coverage(least: float, most: float) -> bool:
            found = shown(monitor, "coverage")
            return len(found) == len(ASSETS) and all(least <= (one or 0) <= most for one in found.values())

        await until(lambda: coverage(0.999, 1) and None not in shown(monitor, "z").values(), 40)
        largest = largest_venue(monitor)
        for venue in (largest, "okx"):
            exchanges[venue].fault = "gone"
            await until(lambda: coverage(0.3, 0.97))
            await asyncio.sleep(4)  # four hours
            assert coverage(0.3, 0.97)
            exchanges[venue].fault = None
            await until(lambda: coverage(0.999, 1))
            await asyncio.sleep(1)
        exchange = exchanges[largest]
        true = exchange.open_interest

        def double(listing: Listing, now: Millis) -> float:
            return 2 * true(listing, now)

        monkeypatch.setattr(exchange, "open_interest", double)
        usd = dict(shown(monitor, "usd"))
        await until(lambda: all((now or 0) > 1.15 * usd[name] for name, now in shown(monitor, "usd").items()))
        await asyncio.sleep(5)
        found = await seen(address, [(time.time(), monitor.clock.now())])
    for asset in ASSETS:
        assert found.course(asset) == ["build_up"], found.phases
        assert {provisional for _, _, provisional in found.phases[asset]} == {0.0}


def largest_venue(monitor: Monitor) -> str:
    assert monitor.board.samples is not None
    rows = monitor.board.samples.views.instrument.filter("perpetual").drop_nulls("known_usd")
    sums = rows.group_by("venue").agg(pl.col("known_usd").sum())
    return str(sums.sort("known_usd")["venue"][-1])
