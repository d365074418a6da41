"""`monitor backfill` as a process, against the servers of the past."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from aiohttp import web
from history_servers import Servers, history_servers

from monitor.clock import Clock
from monitor.history.store import Store
from monitor.ladder import DAY


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return os.environ | {
        "COLUMNS": "200", "TERM": "dumb", "MONITOR_STATE_DIR": str(tmp_path), "MONITOR_ASSETS": '["BTC"]',
    }  # fmt: skip


def at(servers: Servers, *names: str) -> dict[str, str]:
    return {f"MONITOR_VENUES__{name.upper()}__REST_URL": servers.url for name in names}


async def start(environment: Mapping[str, str], *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "monitor", "backfill", *arguments, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def end(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    async with asyncio.timeout(100):
        out, err = await process.communicate()
    assert "Traceback" not in err.decode()
    return process.returncode, out.decode(), err.decode()


async def test_it_fills_the_store_and_tells_what_there_is(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    names = ["binance_usdm", "bybit", "deribit", "kraken_futures"]
    async with history_servers(now=Clock().now()) as servers:
        environment |= at(servers, *names)
        arguments = ("--venues", ",".join(names), "--years", "0.06")
        status, out, err = await end(await start(environment, *arguments))
        assert status == 0, err
        servers.asked.clear()
        again, _, _ = await end(await start(environment, *arguments))
    assert again == 0
    assert servers.count("openInterestHist") == 1
    today = Clock().now() // DAY * DAY
    with Store(tmp_path / "history", writable=False) as store:
        got = store.read("day", today - 22 * DAY)
    assert set(got["venue"]) == set(names)
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    assert lines["bybit"][:2] == ["BTC", "22"]
    assert lines["bybit"][4] == "0"
    assert lines["deribit"] == ["BTC", "no", "history", "kept"]
    assert "bybit: 44 of 44 days asked for, 44 bars stored" in err


async def test_a_failure_is_one_line_and_status_1(environment: dict[str, str]) -> None:
    async with history_servers(now=Clock().now()) as servers:
        servers.faults.append(
            lambda r: web.Response(text="<html>") if "/v5/market/open-interest" in r.path else None
        )
        environment |= at(servers, "bybit", "gate") | {"MONITOR_VENUES__OKX__REST_URL": "http://127.0.0.1:1"}
        environment["MONITOR_VENUES__BYBIT__SYMBOLS"] = '["BTCUSDT"]'
        status, out, err = await end(
            await start(environment, "--venues", "bybit,okx,gate", "--years", "0.02")
        )
    assert status == 1
    (row,) = [line.split() for line in out.splitlines() if line.startswith("gate")]
    assert row[1:3] == ["BTC", "7"]
    assert len([line for line in err.splitlines() if line.startswith("bybit BTCUSDT: ")]) == 1
    assert len([line for line in err.splitlines() if line.startswith("okx: Cannot connect")]) == 1
    assert err.splitlines()[-1] == "What was got is kept; the same command asks for the rest only."


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interruption_keeps_what_there_is(
    number: signal.Signals, tmp_path: Path, environment: dict[str, str]
) -> None:
    async with history_servers(now=Clock().now()) as servers:
        reached, hold = asyncio.Event(), asyncio.Event()

        async def wait(request: web.Request) -> None:
            if "BTC-USD-SWAP" in request.path_qs:
                reached.set()
                await hold.wait()

        servers.before = wait
        environment |= at(servers, "okx")
        process = await start(environment, "--venues", "okx", "--years", "0.3")
        async with asyncio.timeout(60):
            await reached.wait()
        process.send_signal(number)
        status, _, err = await end(process)
        hold.set()
        assert status == 1
        assert "the same command goes on from here" in err
        with Store(tmp_path / "history", writable=False) as store:
            kept = store.read("day")
        assert set(kept["symbol"]) == {"BTC-USDT-SWAP"}
        assert kept.height == 110
        servers.asked.clear()
        status, _, err = await end(await start(environment, "--venues", "okx", "--years", "0.3"))
        assert status == 0, err
        assert servers.count("open-interest-history?instId=BTC-USDT-SWAP") == 1
        with Store(tmp_path / "history", writable=False) as store:
            assert store.read("day").height == 2 * 110


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--venues", "ftx"), "'ftx' has no known past; there are binance_usdm"),
        (("--venues", ","), "name at least one"),
        (("--assets", "btc"), "not an asset such as BTC: 'btc'"),
        (("--assets", "BTC,../x"), "not an asset such as BTC: '../x'"),
    ],
)
async def test_wrong_usage_is_one_line_and_status_2(
    arguments: tuple[str, ...], said: str, environment: dict[str, str]
) -> None:
    status, out, err = await end(await start(environment, *arguments))
    assert (status, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1


async def test_a_venue_that_is_switched_off_is_not_asked(environment: dict[str, str]) -> None:
    environment["MONITOR_VENUES__BYBIT__ENABLED"] = "false"
    status, _, err = await end(await start(environment, "--venues", "bybit"))
    assert status == 2
    assert err.strip() == "monitor: --venues: 'bybit' is switched off in the settings"


async def test_a_folder_that_cannot_be_written_is_one_line(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "file").write_text("")
    environment["MONITOR_STATE_DIR"] = str(tmp_path / "file")
    status, _, err = await end(await start(environment, "--venues", "bybit"))
    assert status == 2
    assert len(err.strip().splitlines()) == 1


async def test_help_names_every_option_and_an_example(environment: dict[str, str]) -> None:
    status, out, _ = await end(await start(environment, "--help"))
    assert status == 0
    assert "monitor backfill --venues" in out
    assert all(option in out for option in ("--config", "--venues", "--assets", "--years"))
