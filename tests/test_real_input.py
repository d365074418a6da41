"""The recent frames that venues sent, as one recording, replayed with a real Prometheus scraping.

The instrument lists are not among the frames: they are written here from the venues' documents
(contract sizes, and that symbols which `fundingInfo` lacks pay every eight hours).
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from monitor.demo import REPOSITORY, prometheus
from monitor.events import Millis
from monitor.recording import Frame, Header
from monitor.venue import ByRule, Reply
from monitor.venues import VENUES

pytestmark = pytest.mark.live

CAPTURES = REPOSITORY.parent / "shared" / "captures"
GROUPS = ("binance-funding-rollover", "bybit-tickers", "deribit-ticker", "okx-perp",
          "okx-4h")  # fmt: skip


def lists(at: Millis) -> Iterator[Frame]:
    symbols = ("BTC", "ETH")
    listed = [
        {"symbol": f"{base}USDT", "contractType": "PERPETUAL", "baseAsset": base, "quoteAsset": "USDT",
         "status": "TRADING"}
        for base in symbols
    ]  # fmt: skip
    yield Frame("binance_usdm", at, "instruments", (json.dumps({"symbols": listed}), "[]"))
    swaps = [
        {"instId": f"{base}-USDT-SWAP", "ctVal": size, "ctMult": "1", "ctType": "linear", "settleCcy": "USDT",
         "state": "live", "instCategory": "1"}
        for base, size in (("BTC", "0.01"), ("ETH", "0.1"))
    ]  # fmt: skip
    yield Frame("okx", at, "instruments", (json.dumps({"code": "0", "msg": "", "data": swaps}),))


def recording(captures: Path, path: Path) -> Millis:
    """Writes it; returns the time of the last frame. Each frame is received at its own time."""
    frames: list[Frame] = []
    for name, venue in VENUES.items():
        instruments = ByRule(venue.rule)
        for line in (captures / f"{name}.ndjson").read_text().splitlines():
            row: dict[str, Any] = json.loads(line)
            # Without a group a frame stands alone, on another day than the rest: Hyperliquid's are
            # the only ones of their venue, and without a time of their own.
            alone = name == "hyperliquid" and row["half"] == "recent" and row["transport"] == "ws"
            grouped = any(part in (row.get("group") or "") for part in GROUPS)
            if row["half"] != "recent" or not (grouped or (alone and "85896.4" in row["text"])):
                continue
            events = [
                e for e in venue.parse(row["text"].encode(), instruments, 0) if not isinstance(e, Reply)
            ]
            at = max((event.time for event in events), default=0)
            frames.append(Frame(name, at, "ws", (row["text"],)))
    first = min(frame.received for frame in frames if frame.received)
    last = max(frame.received for frame in frames)
    with path.open("wb") as file:
        for entry in [Header(assets=("BTC", "ETH"), venues=tuple(VENUES)), *lists(first)]:
            file.write(msgspec.json.encode(entry) + b"\n")
        for frame in sorted(frames, key=lambda frame: frame.received or last):
            stamped = msgspec.structs.replace(frame, received=frame.received or last)
            file.write(msgspec.json.encode(stamped) + b"\n")
    return last


async def query(address: str, text: str) -> list[dict[str, Any]]:
    url = f"http://{address}/api/v1/query"
    async with aiohttp.ClientSession() as session, session.get(url, params={"query": text}) as answer:
        result: list[dict[str, Any]] = (await answer.json())["data"]["result"]
        return result


async def rows(address: str) -> dict[tuple[str, str], dict[str, float]]:
    """Values by venue and symbol, as Prometheus has them."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    names = ("leverage_mark_price_usd", "leverage_open_interest_coins", "leverage_open_interest_usd",
             "leverage_funding_rate_8h_ratio")  # fmt: skip
    for name in names:
        for one in await query(address, f"last_over_time({name}[5m])"):
            key = one["metric"]["venue"], one["metric"]["symbol"]
            found.setdefault(key, {})[name] = float(one["value"][1])
    return found


@pytest.mark.parametrize("captures", [CAPTURES] if CAPTURES.exists() else [])
async def test_real_frames_give_the_right_numbers_in_a_real_prometheus(
    captures: Path, tmp_path: Path
) -> None:
    program = shutil.which("prometheus")
    assert program, "run `make tools`"
    recording(captures, tmp_path / "recent.jsonl")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{probe.getsockname()[1]}"
    # A minute of the market passes in a second: it is scraped faster than that, and from before
    # the first frame.
    async with prometheus(program, REPOSITORY / "prometheus.yml", target, "100ms") as address:
        while not await query(address, "up"):
            await asyncio.sleep(0.1)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "monitor", "replay", str(tmp_path / "recent.jsonl"), "--speed", "60",
            "--listen", target, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            assert process.stderr is not None
            said = b""
            while b"replay is over" not in said:
                said = await asyncio.wait_for(process.stderr.readline(), 60)
                assert said
            await asyncio.sleep(1)
            found = await rows(address)
        finally:
            if process.returncode is None:
                process.terminate()
            await asyncio.wait_for(process.wait(), 10)
    for key, row in sorted(found.items()):
        print(key, row)  # noqa: T201 -- shown with `pytest -s`
    # By hand. Bybit: both sides, in coins; its own one-sided field says 28559.256.
    bybit = found["bybit", "BTCUSDT"]
    assert bybit["leverage_open_interest_coins"] == pytest.approx(57118.511 / 2, rel=1e-12)
    mark = bybit["leverage_mark_price_usd"]
    assert bybit["leverage_open_interest_usd"] == pytest.approx(57118.511 / 2 * mark, rel=1e-12)
    assert bybit["leverage_funding_rate_8h_ratio"] == pytest.approx(-0.00007774)
    # OKX: contracts of 0.01 BTC; its own oiCcy and oiUsd say the same.
    okx = found["okx", "BTC-USDT-SWAP"]
    assert okx["leverage_open_interest_coins"] == pytest.approx(2874362.07000000898 * 0.01, rel=1e-12)
    assert okx["leverage_open_interest_usd"] == pytest.approx(2385714769.37586745338204, rel=1e-3)
    # Deribit inverse: dollars; coins at its mark.
    deribit = found["deribit", "BTC-PERPETUAL"]
    assert deribit["leverage_open_interest_usd"] == 797578130
    assert deribit["leverage_open_interest_coins"] == pytest.approx(797578130 / 83212.09, rel=1e-12)
    assert deribit["leverage_funding_rate_8h_ratio"] == pytest.approx(-2.1714e-4)
    # Hyperliquid: an hourly rate, eightfold; both sides, halved.
    hyperliquid = found["hyperliquid", "BTC"]
    assert hyperliquid["leverage_funding_rate_8h_ratio"] == pytest.approx(8 * 0.0000125)
    assert hyperliquid["leverage_open_interest_coins"] == pytest.approx(34715.04452 / 2)
    # Binance: no open interest in its stream; funding every eight hours.
    binance = found["binance_usdm", "BTCUSDT"]
    assert "leverage_open_interest_usd" not in binance
    assert {"leverage_mark_price_usd", "leverage_funding_rate_8h_ratio"} <= binance.keys()
