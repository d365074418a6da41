"""A simulated venue: one loopback port with sockets and REST, spoken by a subclass per family.

Times inside messages are market time; how often messages are sent is wall time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import orjson
from aiohttp import WSMsgType, web

from monitor.clock import Clock
from monitor.events import Millis
from monitor.simulated.connection import Connection
from monitor.simulated.family import Family, Fault
from monitor.simulated.market import Market
from monitor.simulated.wire import spoil

BEAT_S = 0.5
"""Wall seconds between two flushes, unless told otherwise."""
REPLAY_MS = 30_000
_LATE_MS = 600_000
"""Market time that one flush covers at the most: a late one must not make the next one later."""
_TOO_SLOW = 8 << 20


class Exchange(Family):
    """One venue on one port. Set `fault` at any time."""

    def __init__(self, name: str, market: Market, clock: Clock) -> None:
        super().__init__(name, market, clock)
        self.connections = 0
        """Sockets opened so far."""
        self.requests = 0
        """REST requests so far."""
        self.beat_s = BEAT_S
        self.ws_url = self.rest_url = ""
        self._open: set[Connection] = set()
        self._closing: set[asyncio.Task[bool]] = set()
        self._since = clock.now()
        self._spoilt = 0

    @property
    def fault(self) -> Fault | None:
        """What is wrong at present; None is nothing."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault | None) -> None:
        self._fault = fault
        if fault == "gone":
            self._cut()

    def subscribers(self, topic: str) -> int:
        """Sockets that have a topic."""
        return sum(topic in connection.topics for connection in self._open)

    @asynccontextmanager
    async def serve(self, host: str, port: int = 0) -> AsyncIterator[None]:
        """Serve until the context ends; port 0 is a free one."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            address = f"{host}:{runner.addresses[0][1]}"
            self.ws_url, self.rest_url = f"ws://{address}", f"http://{address}"
            beats = asyncio.create_task(self._beats())
            try:
                yield
            finally:
                beats.cancel()
                with suppress(asyncio.CancelledError):
                    await beats
        finally:
            self._cut()
            await asyncio.gather(*self._closing, return_exceptions=True)
            await runner.cleanup()

    def _cut(self) -> None:
        for connection in self._open:
            connection.abort()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self._fault == "gone":
            return web.Response(status=503)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            if not self.accepts(request.path):
                return web.Response(status=404)
            return await self._talk(request)
        self.requests += 1
        if self._fault == "throttled":
            return answer(self.throttled_body, status=429, headers={"Retry-After": "2"})
        return self.rest(request, await request.read())

    async def _talk(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(timeout=1.0, compress=False, writer_limit=1 << 40)
        await socket.prepare(request)
        connection = Connection(socket, request, self.connections)
        self.connections += 1
        self._open.add(connection)
        try:
            self.opened(connection)
            await self._greet(connection)
            async for message in socket:
                connection.heard = time.monotonic()
                if message.type is WSMsgType.TEXT:
                    for reply in self.hear(connection, message.data):
                        await connection.send(reply)
                    await self._greet(connection)
                elif message.type is WSMsgType.BINARY:
                    await self.hear_binary(connection)
        finally:
            self._open.discard(connection)
        return socket

    async def hear_binary(self, connection: Connection) -> None:
        """A client sent a binary frame, which none of these venues takes."""
        await connection.close(1003, b"unsupported")

    async def _greet(self, connection: Connection) -> None:
        for topic in connection.take_fresh():
            if self._fault == "silent":
                continue
            if self._fault == "replay" and self.is_liquidations(topic):
                frames = self.tell(topic, self._since - REPLAY_MS, self._since)
            else:
                frames = self.greet(topic, self.clock.now())
            await self._deliver([connection], frames)

    async def _deliver(self, connections: Sequence[Connection], frames: Sequence[bytes]) -> None:
        for frame in frames:
            sent = frame
            if self._fault == "rubbish":
                self._spoilt += 1
                sent = spoil(frame, self._spoilt)
            for connection in connections:
                await connection.send(sent)

    async def _beats(self) -> None:
        beat = 0
        due = time.monotonic()
        while True:
            due = max(due + self.beat_s, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            beat += 1
            now = self.clock.now()
            beats = int(4 * self.beat_s * 1000 * self.clock.speed)
            since, self._since = max(self._since, now - max(_LATE_MS, beats)), now
            await self._watch(time.monotonic())
            if self._fault not in ("silent", "gone"):
                await self._flush(beat, since, now)

    async def _flush(self, beat: int, since: Millis, now: Millis) -> None:
        wanted: dict[str, list[Connection]] = {}
        for connection in self._open:
            for topic in connection.topics:
                wanted.setdefault(topic, []).append(connection)
        for topic, connections in wanted.items():
            if beat % self.cadence(topic) == 0:
                await self._deliver(connections, self.tell(topic, since, now))

    async def _watch(self, wall: float) -> None:
        for connection in list(self._open):
            if connection.buffered > _TOO_SLOW:
                connection.abort()
            elif self._late(self.heard_within_s, wall - connection.heard) or self._late(
                self.told_within_s, wall - connection.told
            ):
                self.dismiss(connection, *self.silence_close)
            elif self._late(self.ping_every_s, wall - connection.pinged):
                connection.pinged = wall
                await connection.ping()
            if (frame := self.heartbeat(connection, wall)) is not None:
                await connection.send(frame)

    def dismiss(self, connection: Connection, code: int, reason: bytes) -> None:
        """Close a socket without waiting for its end."""
        self._open.discard(connection)
        task = asyncio.create_task(connection.close(code, reason))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _late(self, limit_s: float | None, passed_s: float) -> bool:
        return limit_s is not None and passed_s > limit_s * self.second


def answer(body: object, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A REST answer in JSON."""
    return web.Response(
        body=orjson.dumps(body), status=status, headers=headers, content_type="application/json"
    )
