"""Wiring: builds everything from the settings and runs it, live or over recordings.

Live, one loop reads sockets and serves HTTP; each tick copies the state on it and evaluates in a
worker thread. A replay feeds the same machine the same items at the same instants.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from monitor.bus import Heard, Item, Listed, Queue
from monitor.clock import Clock
from monitor.compute import Core, Samples
from monitor.config import Config, ConfigError, VenueConfig
from monitor.events import Event, Instrument, Millis
from monitor.feed import UNREADABLE
from monitor.follow import Choice, Follower, read_instruments
from monitor.health import Health
from monitor.metrics import METRICS
from monitor.recording import Frame, Header, Recorder, Tick, bodies
from monitor.rest import Rest
from monitor.serve import Board, serve
from monitor.venue import ByRule, Instruments, Refused, Reply, Venue
from monitor.venues import VENUES
from monitor.views import Scope

log = logging.getLogger("monitor")

GAP = 10
"""Instants without an entry that a replay computes one by one."""
DRAIN_EVERY_S = 0.1
"""The queue is emptied this often between ticks, so that no long pause falls on the loop."""


def venues_of(config: Config) -> list[Venue]:
    """The enabled venues, with the operator's addresses."""
    found = []
    for venue in VENUES.values():
        setting = config.venue(venue.name)
        if setting.enabled:
            found.append(
                msgspec.structs.replace(
                    venue,
                    ws_url=setting.ws_url or venue.ws_url,
                    rest_url=setting.rest_url or venue.rest_url,
                )
            )
    return found


def choice_of(config: Config, venue: str) -> Choice:
    """Which instruments of a venue are ours."""
    setting: VenueConfig = config.venue(venue)
    symbols = None if setting.symbols is None else frozenset(setting.symbols)
    return Choice(frozenset(config.assets), symbols, setting.oi_sides)


def scope_of(config: Config, venues: Iterable[Venue], speed: float = 1.0) -> Scope:
    """What the aggregates are made of.

    Raises:
        ConfigError: a venue of the scope is not enabled.
    """
    enabled = [venue.name for venue in venues]
    names = enabled if config.scope is None else config.scope
    if missing := sorted(set(names) - set(enabled)):
        raise ConfigError(f"scope: {missing[0]!r} is not enabled, and could never speak")
    return Scope(frozenset(names), config.min_coverage, speed)


def core_of(venues: Sequence[Venue], scope: Scope) -> Core:
    """The machine between queue and exposition."""
    feeds = {venue.name: venue.liquidation_feed for venue in venues}
    return Core(METRICS, scope, feeds, [venue.name for venue in venues])


def header_of(config: Config, venues: Sequence[Venue], speed: float) -> Header:
    """What a replay must know to compute the same."""
    scope = scope_of(config, venues, speed)
    return Header(
        speed=speed, assets=config.assets, scope=tuple(sorted(scope.venues)),
        venues=tuple(venue.name for venue in venues), min_coverage=config.min_coverage,
        symbols={n: v.symbols for n, v in config.venues.items() if v.symbols is not None},
        oi_sides={n: v.oi_sides for n, v in config.venues.items() if v.oi_sides is not None},
    )  # fmt: skip


@asynccontextmanager
async def running(
    config: Config, clock: Clock, *, record_to: Path | None = None, compute: bool = True,
) -> AsyncIterator[Monitor]:  # fmt: skip
    """A live monitor, from the first connection to the last; `async with` ends it cleanly.

    Raises:
        ConfigError: the address is taken.
        OSError: the folder for recordings cannot be written.
    """
    monitor = Monitor(config, clock, record_to)
    try:
        async with Rest() as rest, asyncio.TaskGroup() as group:
            async with _serving(config.listen, monitor.board) if compute else _nothing() as address:
                monitor.address = address
                tasks = [group.create_task(f.run()) for f in monitor.followers(rest)]
                tasks.append(group.create_task(monitor.tick() if compute else monitor.drain()))
                try:
                    yield monitor
                finally:
                    for task in tasks:
                        task.cancel()
    finally:
        monitor.close()


@asynccontextmanager
async def _serving(listen: str, board: Board) -> AsyncIterator[str]:
    try:
        async with serve(listen, board) as address:
            yield address
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
            raise
        raise ConfigError(
            f"cannot listen on {listen}: {os.strerror(error.errno)}; choose another with --listen"
        ) from error


@asynccontextmanager
async def _nothing() -> AsyncIterator[str]:
    yield ""


class Monitor:
    """The parts of a live monitor."""

    def __init__(self, config: Config, clock: Clock, record_to: Path | None) -> None:
        self.config = config
        self.clock = clock
        self.venues = venues_of(config)
        self.health = Health(self.venues, clock.speed, clock.now())
        self.core = core_of(self.venues, scope_of(config, self.venues, clock.speed))
        self.board = Board(self.health, self.venues, clock.now)
        self.queue = Queue()
        self.address = ""
        started = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self.recorder = (
            None
            if record_to is None
            else Recorder(record_to, started, header_of(config, self.venues, clock.speed))
        )

    def close(self) -> None:
        """Ends the recording."""
        if self.recorder is not None:
            self.recorder.close()

    def followers(self, rest: Rest) -> Iterator[Follower]:
        """One for each venue."""
        record = self.recorder.write if self.recorder is not None else None
        for venue in self.venues:
            yield Follower(
                venue, choice_of(self.config, venue.name), rest, self.queue.put, record,
                self.health, self.clock,
            )  # fmt: skip

    async def drain(self) -> None:
        """Only counts what is read: for `record`, which computes nothing."""
        while True:
            await asyncio.sleep(DRAIN_EVERY_S)
            for item in self.queue.take(before=self.clock.now()):
                self.health.heard(item)

    async def tick(self) -> None:
        """Computes at every instant of a grid of market time, for ever.

        What was received before the instant is in, what came at or after it is not, however late the
        loop is: a replay decides by the same rule.
        """
        step = max(1, int(self.config.tick_seconds * 1000 * self.clock.speed))
        now = self._next(step, 0)
        while True:
            while (wait := self.clock.seconds_until(now)) > 0:
                await asyncio.sleep(min(wait, DRAIN_EVERY_S))
                self._apply(before=min(now, self.clock.now()))
            self._apply(before=now)
            began = time.perf_counter()
            taken = self.core.take(now)
            if self.recorder is not None:
                self.recorder.write(Tick(now))
            try:
                samples = await asyncio.to_thread(self.core.evaluate, taken)
            except Exception as error:  # the supervising place: no tick is worth the process
                self.board.samples = None
                self.health.failed("monitor", "compute", repr(error), now)
                log.exception("tick %d failed", now)
            else:
                self._publish(samples)
            self.health.computed(time.perf_counter() - began)
            now = self._next(step, now)

    def _next(self, step: Millis, last: Millis) -> Millis:
        return max(last + step, (self.clock.now() // step + 1) * step)

    def _apply(self, before: Millis) -> None:
        for item in self.queue.take(before):
            self.health.heard(item)
            self.core.apply(item)
        self.health.dropped = self.queue.dropped

    def _publish(self, samples: Samples) -> None:
        health = self.health
        for (venue, stage), count in self.core.tables.refused.items():
            health.errors[venue, stage] = count
        health.implausible = samples.views.implausible
        for (venue, kind), count in samples.views.implausible.items():
            text = f"{kind} of {count} instruments contradicts the market or its own past"
            health.failed(venue, "implausible", text, samples.now)
        self.board.samples = samples


class Replay:
    """Feeds recorded entries to the machine that live items go through."""

    def __init__(self, header: Header, step: Millis | None = None) -> None:
        self.venues = [VENUES[name] for name in header.venues or VENUES if name in VENUES]
        names = frozenset(header.scope) or frozenset(venue.name for venue in self.venues)
        self.health = Health(self.venues, header.speed)
        self.core = core_of(self.venues, Scope(names, header.min_coverage, header.speed))
        self.board = Board(self.health, self.venues, lambda: self.now)
        self.now: Millis = 0
        self._header = header
        self._step = step
        """Ticks on a grid of it where the recording has none of its own; None: it has."""
        self._queue = Queue(limit=1 << 62)
        self._instruments: dict[str, dict[str, Instrument]] = {
            venue.name: ByRule(self._rule(venue)) for venue in self.venues
        }

    def _choice(self, venue: str) -> Choice:
        symbols = self._header.symbols.get(venue)
        return Choice(
            frozenset(self._header.assets), None if symbols is None else frozenset(symbols),
            self._header.oi_sides.get(venue),
        )  # fmt: skip

    def _rule(self, venue: Venue) -> Callable[[str], Instrument | None]:
        """Before the first list of a recording, a venue's instruments are those its naming tells."""
        choice = self._choice(venue.name)

        def rule(symbol: str) -> Instrument | None:
            found = venue.rule(symbol)
            if found is None or (self._header.assets and found.asset not in choice.assets):
                return None
            return found if found.kind == "index" else next(iter(choice.of([found])), None)

        return rule

    def entry(self, entry: Frame | Tick) -> Samples | None:
        """Takes one entry; the samples of the newest instant that it completes, if it does."""
        if isinstance(entry, Tick):
            return self.tick(entry.now)
        samples = self.advance(entry.received)
        if (item := self._item(entry)) is not None:
            self._queue.put(item)
        return samples

    def advance(self, until: Millis) -> Samples | None:
        """Computes the instants of the grid up to a time, where the recording has none of its own.

        Of a gap only the first and the last: nothing is heard between them, it only grows old.
        """
        if self._step is None:
            return None
        samples, last = None, until // self._step * self._step
        if self.now == 0:
            self.now = last
        if last - self.now > GAP * self._step:
            self.tick(self.now + self._step)
            self.now = last - self._step
        while self.now < last:
            samples = self.tick(self.now + self._step)
        return samples

    def end(self) -> Samples | None:
        """The samples after the last entry, where the recording has no instants of its own."""
        return None if self._step is None else self.tick(self.now + self._step)

    def tick(self, now: Millis) -> Samples:
        """The samples at an instant, of what was received before it."""
        self.now = now
        for item in self._queue.take(before=now):
            self.health.heard(item)
            self.core.apply(item)
        samples = self.core.evaluate(self.core.take(now))
        for (venue, stage), count in self.core.tables.refused.items():
            self.health.errors[venue, stage] = count
        self.health.implausible = samples.views.implausible
        self.board.samples = samples
        return samples

    def _item(self, entry: Frame) -> Item | None:
        venue = VENUES.get(entry.venue)
        instruments = self._instruments.get(entry.venue)
        if venue is None or instruments is None:
            return None
        texts = bodies(entry)
        try:
            if entry.source == "instruments":
                found = read_instruments(venue, self._choice(venue.name), texts, instruments)
                self._instruments[venue.name] = found
                return Listed(venue.name, entry.received, tuple(found.values()))
            said = _parser(venue, entry.source)(texts[0], instruments, entry.received)
        except (Refused, *UNREADABLE) as error:
            self.health.failed(venue.name, "parse", str(error), entry.received)
            return None
        events = [event for event in said if not isinstance(event, Reply)]
        return Heard(venue.name, entry.received, events)


def _parser(venue: Venue, source: str) -> Callable[[bytes, Instruments, Millis], Sequence[Event | Reply]]:
    for poll in venue.polls:
        if poll.channel.name == source:
            return poll.parse
    return venue.parse
