"""A board with many series and a heartbeat beside it; tells how long the heart stood still."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress

import msgspec
import uvloop
from market import START, Monthly
from measure import tell

from monitor.health import Health
from monitor.serve import Board, serve
from monitor.venues import VENUES

BEAT_S = 0.001


async def main(count: int) -> None:
    month = Monthly(count)
    venues = list(VENUES.values())
    board = Board(Health(venues), venues, lambda: START)
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin.buffer)
    async with serve("127.0.0.1:0", board) as address:
        tell({"address": address})
        while (await lines.readline()).strip():  # a phase begins
            gaps: list[float] = []
            tasks = [asyncio.create_task(beat(gaps)), asyncio.create_task(renew(board, month))]
            await lines.readline()
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            gaps.sort()
            tell({"longest": gaps[-1] * 1000, "p99": gaps[int(len(gaps) * 0.99)] * 1000})


async def beat(gaps: list[float]) -> None:
    last = time.perf_counter()
    while True:
        await asyncio.sleep(BEAT_S)
        now = time.perf_counter()
        gaps.append(now - last)
        last = now


async def renew(board: Board, month: Monthly) -> None:
    """New samples, so that each text has to be written."""
    while True:
        board.samples = msgspec.structs.replace(month.samples)
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
