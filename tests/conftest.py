"""Local servers that misbehave as told, and what the tests of the shells have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from monitor.bus import Heard
from monitor.clock import Clock
from monitor.events import Event, Instrument
from monitor.feeds.feed import Feed, Sinks
from monitor.health import Health
from monitor.venue import Topic, Venue
from monitor.venues import VENUES

NOW = 1_790_755_200_000
"""2026-09-30 08:00 UTC."""
BTC, ETH = "BTC-USDT-SWAP", "ETH-USDT-SWAP"


SERVERS = (
    "test_alerts_end_to_end", "test_alerts_fire", "test_dashboards", "test_floor", "test_notifications",
)  # fmt: skip
"""They mostly wait for Prometheus and Alertmanager."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests in which real time passes stand in two rows, one at a time in each."""
    for item in items:
        if item.get_closest_marker("live"):
            row = "servers" if item.path.stem in SERVERS else "sockets"
            item.add_marker(pytest.mark.xdist_group(row))


async def until(true: Callable[[], object], seconds: float = 5.0) -> None:
    """Waits for something to become true, and fails if it does not in time."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a monitor of this test, or of a program it starts, keeps its history: nobody else's."""
    folder = tmp_path / "state"
    monkeypatch.setenv("MONITOR_STATE_DIR", str(folder))
    return folder


# Sockets.


class Peer:
    """What a hostile websocket server was sent, by whom."""

    def __init__(self) -> None:
        self.url = ""
        self.sockets: list[ServerConnection] = []
        self.handshakes: list[float] = []
        self.texts: list[list[str | bytes]] = []
        """By connection, as they came: `str` is a text frame."""

    @property
    def said(self) -> list[str | bytes]:
        """All of them."""
        return [text for texts in self.texts for text in texts]


Talk = Callable[[ServerConnection, Peer], Awaitable[None]]
Refuse = Callable[[ServerConnection, Request], Response | None]


async def listen(socket: ServerConnection, _: Peer) -> None:
    """Says nothing, for ever."""
    await socket.wait_closed()


@asynccontextmanager
async def peer(talk: Talk = listen, refuse: Refuse | None = None) -> AsyncIterator[Peer]:
    """A server that talks to each client as told and hangs up when it has finished."""
    served = Peer()

    async def hear(socket: ServerConnection, texts: list[str | bytes]) -> None:
        with suppress(ConnectionClosed):
            async for text in socket:
                texts.append(text)  # noqa: PERF401 -- seen while it grows

    async def handle(socket: ServerConnection) -> None:
        served.sockets.append(socket)
        served.texts.append([])
        hearing = asyncio.create_task(hear(socket, served.texts[-1]))
        try:
            with suppress(ConnectionClosed):
                await talk(socket, served)
        finally:
            hearing.cancel()

    def admit(socket: ServerConnection, request: Request) -> Response | None:
        served.handshakes.append(asyncio.get_running_loop().time())
        return None if refuse is None else refuse(socket, request)

    server: Server
    async with serve(
        handle, "127.0.0.1", 0, compression=None, process_request=admit, max_size=1 << 25,
        ping_interval=None, close_timeout=0.2,
    ) as server:  # fmt: skip
        served.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield served


@asynccontextmanager
async def raw(answer: bytes | None) -> AsyncIterator[str]:
    """A TCP server that gives every request these bytes and hangs up, or holds the line; its address."""
    serving: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
                await writer.drain()
        with suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        if serving:  # their lines are closed before the loop is
            await asyncio.wait(serving, timeout=2)


# REST.


Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def rest_server(respond: Respond) -> AsyncIterator[str]:
    """An HTTP server on a free port; its address with the scheme."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", respond)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


# A feed under test.


class Fed(msgspec.Struct):
    """A running feed, and what came of it."""

    feed: Feed
    health: Health
    heard: list[Heard]
    lost: list[float]

    @property
    def events(self) -> list[Event]:
        """Everything that was told."""
        return [event for item in self.heard for event in item.events]

    def errors(self, stage: str) -> int:
        """Errors of a stage so far."""
        return self.health.errors[self.feed.venue.name, stage]

    def up(self, channel: str) -> bool:
        """Whether a channel is alive."""
        return self.health.stream_up(self.feed.venue.name, channel)


def venue_at(name: str, ws: str = "ws://127.0.0.1:1", rest: str = "http://127.0.0.1:1") -> Venue:
    """A venue of ours at another address, and in no hurry to protect it."""
    return msgspec.structs.replace(VENUES[name], ws_url=ws, rest_url=rest, sends_per_s=1000.0)


def lively(venue: Venue, silent_after_s: float) -> Venue:
    """The venue, with channels that are silent sooner."""
    channels = tuple(msgspec.structs.replace(c, silent_after_s=silent_after_s) for c in venue.channels)
    return msgspec.structs.replace(venue, channels=channels)


def by_rule(name: str, *symbols: str) -> dict[str, Instrument]:
    """Instruments by the venue's naming."""
    found = {symbol: VENUES[name].rule(symbol) for symbol in symbols}
    return {symbol: of for symbol, of in found.items() if of is not None}


@asynccontextmanager
async def feeding(
    venue: Venue, topics: Sequence[Topic], instruments: Mapping[str, Instrument], path: str = "/ws",
) -> AsyncIterator[Fed]:  # fmt: skip
    """A feed that runs meanwhile; fails if it ended by itself or leaves a task behind."""
    heard: list[Heard] = []
    lost: list[float] = []
    loop = asyncio.get_running_loop()
    health = Health([venue])
    feed = Feed(
        venue, path, topics, instruments, Sinks(heard.append), health, Clock(NOW),
        lost=lambda: lost.append(loop.time()),
    )  # fmt: skip
    task = asyncio.create_task(feed.run(), name="feed")
    try:
        yield Fed(feed, health, heard, lost)
        if task.done():
            await task  # what ended it
            raise AssertionError("the feed ended by itself")
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=5)
    assert task.cancelled()


OKX_TOPICS = (Topic("mark-price", BTC), Topic("open-interest", BTC), Topic("liquidation-orders", "SWAP"))


@asynccontextmanager
async def okx(
    url: str, *, silent_after_s: float = 30.0, topics: Sequence[Topic] = OKX_TOPICS[:1],
) -> AsyncIterator[Fed]:  # fmt: skip
    """A feed of OKX, which is good for most tests: three channels, one of them quiet."""
    venue = lively(venue_at("okx", url), silent_after_s)
    async with feeding(venue, topics, by_rule("okx", BTC, ETH)) as fed:
        yield fed


def mark(price: float | str = 84_000, symbol: str = BTC) -> str:
    """A mark price of OKX."""
    row = f'{{"instId":"{symbol}","markPx":"{price}","ts":"{NOW}"}}'
    return f'{{"arg":{{"channel":"mark-price"}},"data":[{row}]}}'


def open_interest(amount: float | str = 1000, symbol: str = BTC) -> str:
    """An open interest of OKX."""
    return f'{{"data":[{{"instId":"{symbol}","oi":"{amount}","ts":"{NOW}"}}]}}'


def liquidation(symbol: str = BTC) -> str:
    """A liquidation of OKX."""
    one = f'{{"bkPx":"84000","posSide":"long","side":"sell","sz":"3","ts":"{NOW}"}}'
    return f'{{"data":[{{"instId":"{symbol}","details":[{one}]}}]}}'


ACKNOWLEDGED = '{"event":"subscribe","arg":{"channel":"mark-price"},"connId":"1"}'
