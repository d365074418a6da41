"""`monitor demo` as a newcomer meets it: within a minute a real Prometheus has leverage metrics."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from monitor.app import WEIGH_REST_S
from monitor.demo import START, tell
from monitor.health import Health
from monitor.ladder import HOUR
from monitor.page import page
from monitor.simulated import SCENARIOS, Market, listing

pytestmark = pytest.mark.live


async def query(session: aiohttp.ClientSession, address: str, text: str) -> list[dict[str, Any]]:
    async with session.get(f"http://{address}/api/v1/query", params={"query": text}) as answer:
        result: list[dict[str, Any]] = (await answer.json())["data"]["result"]
        return result


def children(of: int) -> list[str]:
    """Names of the processes that a process left or has."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = status.read_text().partition(")")
        except OSError:
            continue
        if int(rest.split()[1]) == of:
            found.append(name)
    return found


async def test_a_minute_after_make_demo_prometheus_has_levels_and_ctrl_c_leaves_nothing() -> None:
    assert shutil.which("prometheus"), "run `make tools`"
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "monitor", "demo", "--listen", "127.0.0.1:0",
        stderr=asyncio.subprocess.PIPE, env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip
    try:
        assert process.stderr is not None
        said = ""
        while "Ctrl-C" not in said:
            said += (await asyncio.wait_for(process.stderr.readline(), 30)).decode()
        monitor = said.split("Metrics")[1].split("http://")[1].split("/")[0]
        address = said.split("Prometheus")[1].split("http://")[1].split("/")[0]
        levels: list[dict[str, Any]] = []
        async with aiohttp.ClientSession() as session:
            while len(levels) < 2 and time.monotonic() - began < 60:
                await asyncio.sleep(0.5)
                levels = await query(session, address, "leverage_perp_open_interest_usd")
            assert {level["metric"]["asset"] for level in levels} == {"BTC", "ETH"}
            venues = await query(session, address, "count by (asset) (leverage_open_interest_usd)")
            assert all(int(one["value"][1]) >= 6 for one in venues)
            errors = await query(session, address, "sum(monitor_errors_total) by (stage) > 0")
            assert {one["metric"]["stage"] for one in errors} <= {"repeated", "late"}
            async with session.get(f"http://{monitor}/") as answer:
                text = await answer.text()
            assert "Leverage monitor" in text
            assert "asks no source" not in text
            sources = await query(session, address, "monitor_source_timestamp_seconds")
            names = {one["metric"]["source"] for one in sources}
            assert {"gold_api", "cftc", "etf_btc", "binance_xau"} <= names
        planted = planted_level("BTC")
        found = next(float(one["value"][1]) for one in levels if one["metric"]["asset"] == "BTC")
        assert found == pytest.approx(planted, rel=0.02)  # the calm hour of the scenario moves that little
        assert "(prometheus" in "".join(children(process.pid))
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 20) == 0
        assert children(process.pid) == []
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_simulated_source_is_too_old_between_two_looks_at_it(scenario: str) -> None:
    speed = SCENARIOS[scenario].speed
    market, health = Market(SCENARIOS[scenario], seed=1, start=START), Health([], speed, START)
    for hour in range(0, 10 * 24, 7):  # also of a weekend, when gold rests
        now = START + hour * HOUR + HOUR - 1
        known = tell(health, market, now)
        assert health.source_as_of == {name: of.as_of for name, of in known.items()}
        assert all(at <= now for at in health.source_as_of.values())
        html = page(health, [], None, now + round(WEIGH_REST_S * 1000 * speed))
        assert html.count('<td class="left up">good</td>') == len(known)


def planted_level(asset: str) -> float:
    """One-sided dollars of the simulated market at the start, over the perpetuals of the six venues."""
    market = Market(SCENARIOS["purge"], seed=1, start=START)
    symbols = {
        "binance_usdm": ("BTCUSDT", "BTCUSDC"), "binance_coinm": ("BTCUSD_PERP",),
        "bybit": ("BTCUSDT", "BTCPERP", "BTCUSD"), "okx": ("BTC-USDT-SWAP", "BTC-USD-SWAP"),
        "deribit": ("BTC-PERPETUAL", "BTC_USDC-PERPETUAL"), "hyperliquid": ("BTC",),
    }  # fmt: skip
    assert asset == "BTC"
    return sum(
        market.open_interest_usd(listing(venue, symbol), START)
        for venue, names in symbols.items()
        for symbol in names
    )
