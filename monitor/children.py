"""Programs of others that run beside us: until they answer, and until they have ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from monitor.config import ConfigError

READY_S = 60.0
LEAVE_S = 15.0
"""How long one may take to end before it is killed: Prometheus writes its head to disk."""


@asynccontextmanager
async def child(process: asyncio.subprocess.Process) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program that was started, ended by its id when the context is left."""
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(LEAVE_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


def last_words(process: asyncio.subprocess.Process, log: Path) -> str | None:
    """The last line of its log if it has ended."""
    return None if process.returncode is None else log.read_text().strip().rpartition("\n")[2]


async def ready(name: str, address: str, over: Callable[[], str | None]) -> None:
    """Waits until a server of Prometheus' family says that it is ready.

    Args:
        name: for people.
        address: host and port.
        over: what it said last, if it has ended; None while it runs.

    Raises:
        ConfigError: it ended, or was not ready in `READY_S`.
    """
    async with aiohttp.ClientSession() as session:
        for _ in range(int(READY_S * 10)):
            if (last := over()) is not None:
                raise ConfigError(f"{name} ended: {last}")
            try:
                async with session.get(f"http://{address}/-/ready") as answer:
                    if answer.ok:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
    raise ConfigError(f"{name} was not ready in {READY_S:.0f} s")
