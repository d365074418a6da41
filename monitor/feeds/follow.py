"""Follows one venue: reads its instruments, keeps its connections and polls fit to them.

Instruments are read again every ten minutes, and at once (but once a minute at most) after a session
was lost, so that listings and delistings need no restart and a delisted name heals itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from monitor.bus import Heard, Listed
from monitor.clock import Clock
from monitor.events import Instrument, Millis
from monitor.feeds.feed import UNREADABLE, Feed, Sinks, pause
from monitor.feeds.rest import Rest, RestError, Throttled
from monitor.health import Health
from monitor.recording import Frame, frame
from monitor.venue import DOLLARS, Instruments, Poll, Refused, Request, Topic, Unreadable, Venue, batches

REREAD_AT_MOST_EVERY_S = 60.0


POLL_SPEED = 60.0
"""Speed of the market's clock from which on polls are asked for more often than a venue wants."""
POLL_LEAST = 0.05
"""Least part of a poll's own pause."""


class Choice(msgspec.Struct, frozen=True):
    """Which of a venue's instruments are ours, and how the operator wants them counted."""

    assets: frozenset[str]
    symbols: frozenset[str] | None = None
    oi_sides: int | None = None

    def of(self, instruments: Sequence[Instrument]) -> list[Instrument]:
        """Ours: perpetuals of the assets quoted in dollars, their indices, implied volatility."""
        ours = [of for of in instruments if of.asset in self.assets]
        perpetuals = [
            self._counted(of)
            for of in ours
            if of.kind == "perpetual"
            and of.quote in DOLLARS
            and (self.symbols is None or of.symbol in self.symbols)
        ]
        needed = {of.index_symbol for of in perpetuals}
        others = [
            of for of in ours if of.kind == "volatility" or (of.kind == "index" and of.symbol in needed)
        ]
        return perpetuals + others

    def _counted(self, of: Instrument) -> Instrument:
        if of.oi_sides == self.oi_sides or self.oi_sides is None:
            return of
        said = "one side" if self.oi_sides == 1 else "two sides, halved"
        return msgspec.structs.replace(
            of, oi_sides=self.oi_sides, oi_sides_reason=f"{said}: the operator's setting"
        )


def read_instruments(
    venue: Venue, choice: Choice, bodies: Sequence[bytes], before: Instruments
) -> dict[str, Instrument]:
    """Our instruments by symbol; one that says the same as before stays the same object.

    Raises:
        Refused, Unreadable: by the venue's parser, or the venue claims to trade no perpetual at all,
            as some do during maintenance: believed, its open interest would leave the level.
    """
    found = venue.instruments.parse(bodies)
    if not any(of.kind == "perpetual" for of in found):
        raise Unreadable("a list without any perpetual")
    kept = {}
    for of in choice.of(found):
        old = before.get(of.symbol)
        kept[of.symbol] = old if old is not None and old.same(of) else of
    return kept


class Follower:
    """One venue, followed until cancelled."""

    def __init__(
        self, venue: Venue, choice: Choice, rest: Rest, put: Callable[[Heard | Listed], None],
        record: Callable[[Frame], None] | None, health: Health, clock: Clock,
    ) -> None:  # fmt: skip
        self.venue = venue
        self._choice = choice
        self._rest = rest
        self._put = put
        self._record = record
        self._health = health
        self._clock = clock
        self._instruments: dict[str, Instrument] = {}
        self._lost = asyncio.Event()
        self._feeds: dict[tuple[str, tuple[Topic, ...]], asyncio.Task[None]] = {}
        self._polling: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Reads the list, then runs feeds and polls for ever. Ends only by cancellation."""
        async with asyncio.TaskGroup() as group:
            failures = 0
            while True:
                if await self._read_list():
                    failures = 0
                    self._connect(group)
                    wait = self.venue.instruments.every_s
                else:
                    failures += 1
                    wait = max(pause(failures), 1.0)
                await self._wait(wait)

    async def _wait(self, seconds: float) -> None:
        """Until it is time to read the list again, or a session was lost (after a minute)."""
        least = min(seconds, REREAD_AT_MOST_EVERY_S)
        self._lost.clear()
        await asyncio.sleep(least)
        try:
            async with asyncio.timeout(seconds - least):
                await self._lost.wait()
        except TimeoutError:
            pass

    async def _read_list(self) -> bool:
        name = self.venue.name
        try:
            bodies = await self._rest.instruments(self.venue)
            found = read_instruments(self.venue, self._choice, bodies, self._instruments)
        except Throttled as error:
            self._fail("throttled", error)
        except (RestError, Refused, *UNREADABLE) as error:
            self._fail("instruments", error)
        else:
            received = self._clock.now()
            if self._record is not None:
                self._record(frame(name, received, "instruments", bodies))
            self._instruments.clear()
            self._instruments.update(found)
            self._put(Listed(name, received, tuple(found.values())))
            return True
        return False

    def _fail(self, stage: str, error: Exception) -> None:
        text = str(error) or type(error).__name__
        self._health.failed(self.venue.name, stage, text, self._clock.now())

    def _connect(self, group: asyncio.TaskGroup) -> None:
        """Starts and ends feeds so that there is one for each run of topics; starts the polls once."""
        ours = list(self._instruments.values())
        wanted = [
            (endpoint.path, tuple(some))
            for endpoint in self.venue.endpoints
            for some in batches(endpoint.topics(ours), endpoint.per_connection)
        ]
        for gone in self._feeds.keys() - set(wanted):
            self._feeds.pop(gone).cancel()
        for path, topics in wanted:
            if (path, topics) not in self._feeds:
                record = None if self._record is None else self._frame
                feed = Feed(
                    self.venue, path, topics, self._instruments,
                    Sinks(self._put, record), self._health, self._clock,
                    topics[0].name, self._lost.set,
                )  # fmt: skip
                self._feeds[path, topics] = group.create_task(feed.run())
        carried = {topic.channel for _, topics in wanted for topic in topics}
        if any(of.kind == "perpetual" for of in ours):
            carried |= {poll.channel.name for poll in self.venue.polls}
        for channel in (*self.venue.channels, *(poll.channel for poll in self.venue.polls)):
            key = self.venue.name, channel.name
            (self._health.unused.discard if channel.name in carried else self._health.unused.add)(key)
        if not self._polling:
            self._polling = [group.create_task(self._poll(poll)) for poll in self.venue.polls]

    def _frame(self, venue: str, received: Millis, source: str, body: bytes) -> None:
        if self._record is not None:
            self._record(frame(venue, received, source, (body,)))

    async def _poll(self, poll: Poll) -> None:
        """Asks every `poll.every_s`; a question that fails is asked again at its next turn."""
        loop = asyncio.get_running_loop()
        # A demo in a hurry asks more often, or an answer would be hours old on its clock.
        every = poll.every_s * min(1.0, max(POLL_LEAST, POLL_SPEED / self._clock.speed))
        up = self._health.up[self.venue.name, poll.channel.name]

        def fall() -> None:
            up["poll"] = False

        # A timer, because a question may wait for as long as the venue says.
        silence = loop.call_later(poll.channel.silent_after_s, fall)
        try:
            while True:
                began = loop.time()
                ours = [of for of in self._instruments.values() if of.kind == "perpetual"]
                for request in poll.requests(ours):
                    if await self._ask(poll, request):
                        up["poll"] = True
                        silence.cancel()
                        silence = loop.call_later(poll.channel.silent_after_s, fall)
                await asyncio.sleep(max(0.0, began + every - loop.time()))
        finally:
            silence.cancel()

    async def _ask(self, poll: Poll, request: Request) -> bool:
        """Whether the answer told something."""
        try:
            body = await self._rest.ask(self.venue, request)
            received = self._clock.now()
            self._frame(self.venue.name, received, poll.channel.name, body)
            events = poll.parse(body, self._instruments, received)
        except Throttled as error:
            self._fail("throttled", error)
        except RestError as error:
            self._fail("poll", error)
        except Refused as error:
            self._fail("refused", error)
        except UNREADABLE as error:
            self._fail("parse", error)
        else:
            self._put(Heard(self.venue.name, received, events))
            return bool(events)
        return False
