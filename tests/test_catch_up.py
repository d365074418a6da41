"""A monitor that was away, or whose history is filled in beside it, goes on from what is then known."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import until

from monitor import app
from monitor.app import Monitor, running
from monitor.clock import Clock
from monitor.commands.live import short
from monitor.config import Config
from monitor.demo import START, against, plant
from monitor.history.store import Store
from monitor.simulated import SCENARIOS, Market, simulate
from monitor.simulated.past import past
from monitor.venues import VENUES

pytestmark = pytest.mark.live


def days(monitor: Monitor) -> float:
    return min(monitor.core.past.days_known.values(), default=0.0)


async def test_what_is_backfilled_beside_a_monitor_is_soon_known(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "LOOK_EVERY_S", 0.2)
    market, clock = Market(SCENARIOS["calm"], 1, START), Clock(START, 60)
    async with simulate(VENUES, market, clock) as exchanges:
        config = against(Config(listen="127.0.0.1:0", tick_seconds=0.5), exchanges)
        async with running(config, clock, catch_up=True) as monitor:
            assert "BTC 0 days" in short(monitor)[0]
            with Store(state_dir / "history", writable=False) as store:
                store.backfill("simulated", "day", past(market, "day"))
            await until(lambda: days(monitor) > 1000, 20)
            assert short(monitor) == []
            samples = monitor.board.samples
            assert samples is not None
            await until(
                lambda: (
                    monitor.board.samples is not None
                    and monitor.board.samples.looked.asset["average"].count() == 2
                ),
                20,
            )


async def test_a_history_from_before_an_outage_is_there_at_the_start(state_dir: Path) -> None:
    market, clock = Market(SCENARIOS["calm"], 1, START), Clock(START, 60)
    plant(state_dir, market)
    async with simulate(VENUES, market, clock) as exchanges:
        config = against(Config(listen="127.0.0.1:0", tick_seconds=0.5), exchanges)
        async with running(config, clock) as monitor:
            assert days(monitor) > 1000
            assert short(monitor) == []
