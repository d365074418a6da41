"""One socket of a simulated venue."""

from __future__ import annotations

import time

from aiohttp import WSMsgType, web


class Connection:
    """A client's socket and what it subscribed."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request, number: int) -> None:
        self._socket = socket
        self._transport = request.transport
        self.path = request.path
        self.query = request.query
        self.id = f"{0x22B40000 + number:08x}"
        """The venue's name of the connection."""
        self.topics: dict[str, None] = {}
        """In the order of subscription."""
        self._fresh: list[str] = []
        self.heard = self.told = self.pinged = time.monotonic()
        """Wall time of the last frame from the client, to it, and of the last ping frame."""
        self.heartbeat_s: float | None = None
        """Seconds between heartbeats, where the client asked for them (Deribit)."""
        self.heartbeat_at = 0.0
        self.unanswered = 0
        """Heartbeats that the client has not answered."""

    @property
    def buffered(self) -> int:
        """Bytes that the client has not read."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def subscribe(self, topic: str) -> bool:
        """Add a topic; False where it was there already."""
        if topic in self.topics:
            return False
        self.topics[topic] = None
        self._fresh.append(topic)
        return True

    def unsubscribe(self, topic: str) -> bool:
        """Drop a topic; False where there was none."""
        if topic not in self.topics:
            return False
        del self.topics[topic]
        return True

    def take_fresh(self) -> list[str]:
        """The topics subscribed since the last call that are still wanted."""
        fresh, self._fresh = self._fresh, []
        return [topic for topic in fresh if topic in self.topics]

    async def send(self, frame: bytes) -> None:
        """Send one text frame. Never waits: a client that does not read is cut by its buffer."""
        if self._socket.closed:
            return
        try:
            await self._socket.send_frame(frame, WSMsgType.TEXT)
            self.told = time.monotonic()
        except ConnectionError:
            self.abort()

    async def ping(self) -> None:
        """Send a ping frame."""
        if self._socket.closed:
            return
        try:
            await self._socket.ping()
        except ConnectionError:
            self.abort()

    async def close(self, code: int, reason: bytes) -> bool:
        """Close with a code; False where the socket was closed already."""
        return await self._socket.close(code=code, message=reason)

    def abort(self) -> None:
        """Cut the line without a word, which a client sees as 1006."""
        if self._transport is not None:
            self._transport.abort()
