"""`check`, `record` and `run` as processes, against simulated venues at the pace of the wall clock."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from monitor.clock import Clock
from monitor.recording import Frame, files, read
from monitor.simulated import SCENARIOS, Market, simulate
from monitor.venues import VENUES

pytestmark = pytest.mark.live


@pytest.fixture
async def addresses(tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """The environment that points a monitor at the simulators."""
    clock = Clock()
    market = Market(SCENARIOS["calm"], seed=1, start=clock.now())
    async with simulate(VENUES, market, clock) as exchanges:
        found = {
            "MONITOR_STATE_DIR": str(tmp_path / "state"),
            "MONITOR_LISTEN": "127.0.0.1:0",
            "COLUMNS": "200",
            "TERM": "dumb",
        }
        for name, exchange in exchanges.items():
            found[f"MONITOR_VENUES__{name.upper()}__WS_URL"] = exchange.ws_url
            found[f"MONITOR_VENUES__{name.upper()}__REST_URL"] = exchange.rest_url
        yield found


async def start(environment: dict[str, str], *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "monitor", *arguments, env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def end(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    out, error = await asyncio.wait_for(process.communicate(), 40)
    return process.returncode, out.decode(), error.decode()


async def test_check_is_content_where_every_endpoint_answers(addresses: dict[str, str]) -> None:
    status, out, error = await end(await start(addresses, "check"))
    assert (status, error) == (0, ""), out
    assert all(line.startswith("ok") for line in out.splitlines())
    for name in VENUES:
        assert f"{name} instruments: " in out
        assert f"{name} clock: " in out


async def test_record_writes_frames_of_every_venue(addresses: dict[str, str], tmp_path: Path) -> None:
    process = await start(addresses, "record", "--out", str(tmp_path / "out"), "--seconds", "6")
    status, _, error = await end(process)
    assert status == 0, error
    entries = list(read(files([tmp_path / "out"])[0]))
    frames = [entry for entry in entries if isinstance(entry, Frame)]
    assert {frame.venue for frame in frames} == set(VENUES)
    assert {frame.source for frame in frames} == {"ws", "instruments", "openInterest"}
    assert [frame.received for frame in frames] == sorted(frame.received for frame in frames)


async def test_run_becomes_ready_and_ends_at_sigterm(addresses: dict[str, str]) -> None:
    process = await start(addresses, "run", "--listen", "127.0.0.1:0")
    try:
        assert process.stderr is not None
        said = ""
        while "/metrics" not in said:
            said += (await asyncio.wait_for(process.stderr.readline(), 20)).decode()
        url = "http://" + said.split("http://")[1].split("/")[0]
        async with aiohttp.ClientSession() as session:
            text = ""
            for _ in range(200):
                async with session.get(url + "/metrics") as answer:
                    text = await answer.text()
                if 'leverage_perp_open_interest_usd{asset="BTC"}' in text:
                    break
                await asyncio.sleep(0.1)
            assert 'leverage_perp_open_interest_usd{asset="BTC"}' in text
            async with session.get(url + "/-/ready") as answer:
                assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        status, _, error = await end(process)
        assert status == 0
        assert "Traceback" not in error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
