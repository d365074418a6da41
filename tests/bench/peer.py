"""cryptofeed's side of the comparison; runs in an environment of its own, where the monitor is not.

Standard input: groups of frames. Output: for each group the CPU time of `message_handler` with
callbacks that do nothing, over that of `orjson.loads`, and which frames it told anything of.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import math
import random
import sys
from statistics import median
from time import process_time
from types import SimpleNamespace
from typing import Any

import orjson

EXCHANGES = {
    "binance_usdm": "BinanceFutures", "binance_coinm": "BinanceDelivery", "bybit": "Bybit",
    "okx": "OKX", "deribit": "Deribit",
}  # fmt: skip
TIME = 1_790_755_200.0


class Every:
    """A subscription to every pair."""

    def __contains__(self, pair: object) -> bool:
        return True


class Peer:
    """One exchange of cryptofeed, its symbol table filled, told events counted."""

    def __init__(self, venue: str, symbols: list[str]) -> None:
        made = getattr(importlib.import_module("cryptofeed.exchanges"), EXCHANGES[venue])
        tables = importlib.import_module("cryptofeed.symbols").Symbols
        tables.set(made.id, {f"{symbol}-STD": symbol for symbol in symbols}, {"instrument_type": {}})
        names = ("ticker", "funding", "open_interest", "liquidations", "index")
        callback = importlib.import_module("cryptofeed.callback").Callback(self._told)
        self.feed = made(callbacks=dict.fromkeys(names, callback))
        self.told = 0
        every = Every()
        self.connection = SimpleNamespace(
            address="wss://localhost/linear", uuid="bench",
            subscription=dict.fromkeys(("funding", "open_interest", "index"), every),
        )  # fmt: skip

    async def _told(self, _event: Any, _received: float) -> None:
        self.told += 1

    async def handled(self, frames: list[str]) -> list[int]:
        """Which frames lead to a callback."""
        found = []
        for at, frame in enumerate(frames):
            before = self.told
            try:
                await self.feed.message_handler(frame, self.connection, TIME)
            except Exception:  # noqa: BLE001, S112 -- whatever it does not understand is not measured
                continue
            if self.told > before:
                found.append(at)
        return found

    async def ratio(self, frames: list[str]) -> float:
        """Median over the rounds of its CPU time over that of orjson."""
        once = min([_loads(frames, 20) for _ in range(3)])
        repeat = max(1, math.ceil(0.003 / max(once, 1e-7)))
        ratios = []
        for _ in range(15):
            if random.random() < 0.5:
                theirs, least = await self._handle(frames, repeat), _loads(frames, repeat)
            else:
                least, theirs = _loads(frames, repeat), await self._handle(frames, repeat)
            ratios.append(theirs / least)
        return median(ratios)

    async def _handle(self, frames: list[str], repeat: int) -> float:
        handle, connection = self.feed.message_handler, self.connection
        began = process_time()
        for _ in range(repeat):
            for frame in frames:
                await handle(frame, connection, TIME)
        return (process_time() - began) / repeat


def _loads(frames: list[str], repeat: int) -> float:
    loads = orjson.loads
    began = process_time()
    for _ in range(repeat):
        for frame in frames:
            loads(frame)
    return (process_time() - began) / repeat


async def main() -> None:
    answers = []
    for group in orjson.loads(sys.stdin.buffer.read()):
        handled: list[int] = []
        ratio = 0.0
        if group["venue"] in EXCHANGES:
            peer = Peer(group["venue"], group["symbols"])
            handled = await peer.handled(group["frames"])
            if handled:
                ratio = await peer.ratio([group["frames"][at] for at in handled])
        answers.append((ratio, handled))
    sys.stdout.buffer.write(orjson.dumps(answers))


if __name__ == "__main__":
    logging.disable()
    asyncio.run(main())
