"""A venue that writes what it must: plain websocket frames, paced, on as many sockets as there are."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import sys
import time
from typing import cast

import uvloop
from measure import tell
from wire import SOCKETS, Socket

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
WAKE_S = 0.001


class Handshake(asyncio.Protocol):
    """Accepts a websocket and then hears nothing."""

    def __init__(self, opened: dict[int, asyncio.Transport]) -> None:
        self._opened = opened
        self._head = b""
        self._open = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by name

    def data_received(self, data: bytes) -> None:
        if self._open:
            return
        self._head += data
        if b"\r\n\r\n" not in self._head:
            return
        place = re.match(rb"GET /(\d+) ", self._head)
        key = re.search(rb"(?i)sec-websocket-key: *(\S+)", self._head)
        assert place is not None
        assert key is not None
        accept = base64.b64encode(hashlib.sha1(key[1] + GUID).digest())  # noqa: S324 -- RFC 6455
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        self._open = True
        self._opened[int(place[1])] = self._transport


async def main(rate: float, seconds: float) -> None:
    opened: dict[int, asyncio.Transport] = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Handshake(opened), "127.0.0.1", 0)
    tell({"port": server.sockets[0].getsockname()[1]})
    async with asyncio.timeout(30):
        while len(opened) < len(SOCKETS):
            await asyncio.sleep(0.05)
    tell({"connected": len(opened)})
    await loop.run_in_executor(None, sys.stdin.buffer.readline)
    tell(await send([opened[n] for n in range(len(SOCKETS))], rate, seconds))
    await loop.run_in_executor(None, sys.stdin.buffer.readline)
    server.close()


async def send(sockets: list[asyncio.Transport], rate: float, seconds: float) -> dict[str, float]:
    """Each frame is one write, unless the pace asks a socket for several in one wake."""
    makers = [Socket(place) for place in range(len(sockets))]
    count, sent, most = int(rate * seconds), 0, 0
    began = time.perf_counter()
    while sent < count:
        due = min(count, int((time.perf_counter() - began) * rate) + 1)
        now = time.time_ns() // 1_000_000
        batches: dict[int, list[bytes]] = {}
        for n in range(sent, due):
            batches.setdefault(n % len(sockets), []).append(makers[n % len(sockets)].next(now))
        for place, frames in batches.items():
            sockets[place].write(b"".join(frames))
        sent = due
        most = max(most, sum(socket.get_write_buffer_size() for socket in sockets))
        await asyncio.sleep(WAKE_S)
    return {"frames": sent, "seconds": time.perf_counter() - began, "ended": time.time(), "waiting": most}


if __name__ == "__main__":
    uvloop.run(main(float(sys.argv[1]), float(sys.argv[2])))
