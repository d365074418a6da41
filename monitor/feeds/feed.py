"""The only code that holds a websocket: connect, subscribe, watch, answer, back off.

Life is measured in events, by channel. A channel that is acknowledged and silent is subscribed again
on the same socket; a socket on which nothing lives is closed. The pause between sessions grows with
full jitter from 0.5 s to 60 s, for ever, and only an event resets it: a venue that closes after each
handshake is not hammered.
"""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Callable, Coroutine, Sequence
from typing import cast

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.frames import CloseCode
from websockets.http11 import Response

from monitor.bus import Heard
from monitor.clock import Clock
from monitor.events import Event, Millis
from monitor.feeds.rest import retry_after
from monitor.health import Health
from monitor.venue import Channel, Instruments, Refused, Reply, Topic, Unreadable, Venue

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0
OPEN_TIMEOUT_S = 15.0
CLOSE_TIMEOUT_S = 2.0
LARGEST_FRAME = 8 << 20
"""Bytes of a frame, and of what it inflates to; the largest honest one has 120 kB."""
WATCH_EVERY_S = 1.0
PING_EVERY_S = 20.0
RESUBSCRIPTIONS = 3
"""Silences of one channel that are answered on the same socket; the next one closes it."""
_GZIP = b"\x1f\x8b"
UNREADABLE = (
    Unreadable, zlib.error, ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
    RecursionError,
)  # fmt: skip
"""What a frame that nobody foresaw may raise in a parser. It is counted, and nothing else is lost."""


class Sinks(msgspec.Struct, frozen=True):
    """Where a feed's findings go."""

    heard: Callable[[Heard], None]
    frame: Callable[[str, Millis, str, bytes], None] | None = None
    """Venue, time of receipt, source, inflated bytes: for the recorder, if there is one."""


def pause(failures: int, jitter: Callable[[], float] = random.random) -> float:
    """Seconds before the next session after so many sessions without an event: full jitter."""
    return jitter() * min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures, 16))


class Feed:
    """One connection of one venue, opened again and again until cancelled."""

    def __init__(
        self, venue: Venue, path: str, topics: Sequence[Topic], instruments: Instruments,
        sinks: Sinks, health: Health, clock: Clock, name: str = "0",
        lost: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.venue = venue
        self.url = venue.ws_url + path
        self.topics = topics
        self._instruments = instruments
        self._sinks = sinks
        self._health = health
        self._clock = clock
        self._name = path + name
        self._lost = lost
        carried = {topic.channel for topic in topics}
        self.channels = [channel for channel in venue.channels if channel.name in carried]
        self._channel_of: dict[type[Event], str] = {
            kind: channel.name for channel in self.channels for kind in channel.kinds
        }
        self._lives: dict[str, float] = {}
        self._failures = 0

    async def run(self) -> None:
        """Sessions for ever. Ends only by cancellation."""
        first = True
        try:
            while True:
                if not first:
                    self._health.reconnects[self.venue.name] += 1
                first = False
                wait = await self._session()
                self._mark_up(up=False)
                self._lost()
                wait = max(wait, pause(self._failures))
                self._failures += 1
                await asyncio.sleep(wait)
        finally:
            for channel in self.channels:
                self._health.up[self.venue.name, channel.name].pop(self._name, None)

    async def _session(self) -> float:
        """One session, to its end. Returns the least pause that the venue asked for."""
        least = 0.0
        # Where a channel is loud its events vouch for the line; where none is, only pongs can.
        loud = any(not channel.quiet for channel in self.channels)
        try:
            async with _Connect(
                self.url, open_timeout=OPEN_TIMEOUT_S, close_timeout=CLOSE_TIMEOUT_S, max_size=LARGEST_FRAME,
                compression=None, ping_interval=PING_EVERY_S, ping_timeout=None if loud else PING_EVERY_S,
                max_queue=256, user_agent_header="leverage-monitor", proxy=None,
            ) as socket:  # fmt: skip
                self._lives.clear()
                await _until_one_fails(self._read(socket), self._watch(socket), self._speak(socket))
        except _Silent as silent:
            self._fail("silent", str(silent))
        except Refused as refused:
            self._fail("refused", str(refused))
        except ConnectionClosed as closed:
            oversize = closed.sent is not None and closed.sent.code == CloseCode.MESSAGE_TOO_BIG
            self._fail("oversize" if oversize else "connect", str(closed))
        except InvalidStatus as status:
            least = self._refused_handshake(status.response)
        except (InvalidHandshake, OSError, TimeoutError) as error:
            self._fail("connect", str(error) or type(error).__name__)
        return least

    def _refused_handshake(self, response: Response) -> float:
        status = response.status_code
        if status not in (418, 429):
            self._fail("handshake", f"handshake: HTTP {status}")
            return 0.0
        told = response.headers.get_all("Retry-After")
        seconds = retry_after(told[0] if told else None, LONGEST_PAUSE_S)
        self._fail("throttled", f"handshake: HTTP {status}, wait {seconds:.0f} s")
        return seconds

    def _fail(self, stage: str, text: str) -> None:
        self._health.failed(self.venue.name, stage, text, self._clock.now())

    async def _speak(self, socket: ClientConnection) -> None:
        """Says hello, subscribes, then keeps the connection alive in the venue's own words."""
        for text in (*self.venue.hello, *self.venue.subscribe(self.topics)):
            await self._send(socket, text)
        if self.venue.ping is not None:
            while True:
                await asyncio.sleep(self.venue.ping_every_s)
                await socket.send(self.venue.ping)

    async def _send(self, socket: ClientConnection, text: str) -> None:
        await socket.send(text)  # text, never bytes: several venues refuse binary frames
        await asyncio.sleep(1 / self.venue.sends_per_s)

    async def _watch(self, socket: ClientConnection) -> None:
        """Looks at the life of each channel once a second."""
        now = asyncio.get_running_loop().time
        began = now()
        silences = dict.fromkeys((channel.name for channel in self.channels), 0)
        renewed = dict.fromkeys(silences, began)
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            loud = [channel for channel in self.channels if not channel.quiet]
            dead = [
                channel
                for channel in loud
                if now() - self._lives.get(channel.name, began) > channel.silent_after_s
            ]
            self._mark_up(up=True, dead=dead)
            for channel in loud:
                if channel not in dead:
                    silences[channel.name] = 0
            overdue = [c for c in dead if now() - renewed[c.name] > c.silent_after_s]
            if not overdue:
                continue
            names = ", ".join(channel.name for channel in overdue)
            if len(dead) == len(loud) or any(silences[c.name] >= RESUBSCRIPTIONS for c in overdue):
                raise _Silent(f"{names}: no event, closed")
            self._fail("silent", f"{names}: no event, subscribed again")
            for channel in overdue:
                silences[channel.name] += 1
                renewed[channel.name] = now()
                again = [topic for topic in self.topics if topic.channel == channel.name]
                for ask in (self.venue.unsubscribe, self.venue.subscribe):
                    for text in ask(again):
                        await self._send(socket, text)

    def _mark_up(self, *, up: bool, dead: Sequence[Channel] = ()) -> None:
        """A loud channel is up once it delivered and is not dead; a quiet one with its socket."""
        for channel in self.channels:
            if channel.quiet:
                loud = [other for other in self.channels if not other.quiet]
                alive = up and (not loud or len(dead) < len(loud))
            else:
                alive = up and channel.name in self._lives and channel not in dead
            self._health.up[self.venue.name, channel.name][self._name] = alive

    async def _read(self, socket: ClientConnection) -> None:
        venue, name, clock = self.venue, self.venue.name, self._clock
        parse, instruments = venue.parse, self._instruments
        heard, record = self._sinks.heard, self._sinks.frame
        now = asyncio.get_running_loop().time
        while True:
            frame = await socket.recv(decode=False)
            received = clock.now()
            try:
                if frame[:2] == _GZIP:
                    frame = inflate(frame)
                if record is not None:
                    record(name, received, "ws", frame)
                said = parse(frame, instruments, received)
            except UNREADABLE as error:
                self._health.failed(name, "parse", str(error), received)
                continue
            if not said:
                heard(Heard(name, received, ()))
                continue
            if type(said[0]) is Reply:
                for reply in said:
                    if isinstance(reply, Reply):
                        await socket.send(reply.text)
                continue
            events = cast("Sequence[Event]", said)  # replies come alone
            heard(Heard(name, received, events))
            self._lives[self._channel_of.get(type(events[0]), "")] = now()
            self._failures = 0


async def _until_one_fails(*parts: Coroutine[None, None, None]) -> None:
    """Runs them side by side until one raises, and raises that.

    Not a task group: before Python 3.13 one that is cancelled in the moment in which a task of it fails
    forgets that it was cancelled, and the feed would never end.
    """
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        failed = [task for task in tasks if task.done() and task.exception() is not None]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in failed:
        task.result()


class _Connect(connect):
    """Follows no redirection: a venue has one address, and a wrong `Location` raises anything."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """The refusal itself."""
        return exc


class _Silent(Exception):  # noqa: N818 -- reads as what happened
    """Nothing lives on the socket."""


def inflate(frame: bytes) -> bytes:
    """The text of a gzip frame.

    Raises:
        ValueError: it inflates to more than `LARGEST_FRAME`, or is cut off.
        zlib.error: it is no gzip.
    """
    inflater = zlib.decompressobj(wbits=31)
    text = inflater.decompress(frame, LARGEST_FRAME)
    if inflater.unconsumed_tail or not inflater.eof:
        raise ValueError("gzip frame too large or cut off")
    return text
