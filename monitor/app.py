"""Wiring: builds everything from the settings and runs it, live or over recordings.

Live, one loop reads sockets and serves HTTP; each tick copies the state on it and evaluates in a
worker thread. A replay feeds the same machine the same items at the same instants.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import date
from functools import lru_cache, partial
from importlib import resources
from pathlib import Path

import msgspec
import polars as pl

from monitor.backfill import fill_gap
from monitor.bars import BAR, STEPS
from monitor.bus import Heard, Item, Listed, Queue
from monitor.clock import Clock
from monitor.config import Config, ConfigError, VenueConfig
from monitor.deleveraging.past import HISTORY_DAYS, Kept, Past
from monitor.deleveraging.phases import Thresholds
from monitor.events import Event, Instrument, Millis
from monitor.feeds.feed import UNREADABLE
from monitor.feeds.follow import Choice, Follower, read_instruments
from monitor.feeds.rest import Rest
from monitor.feeds.slow import Slow, chosen
from monitor.health import Health
from monitor.history.store import Store
from monitor.ladder import DAY, HOUR, MINUTE
from monitor.macro.valuation import GoldTable, bitcoin_supply, ether_supply, read_gold_table
from monitor.metrics import METRICS
from monitor.recording import Frame, Header, Recorder, RecordingError, Tick, bodies
from monitor.serve import Board, serve
from monitor.tick.compute import Core, Samples
from monitor.tick.views import Scope
from monitor.venue import ByRule, Instruments, Refused, Reply, Venue
from monitor.venues import VENUES
from monitor.volatility.realized import REFERENCE, reference
from monitor.weigh import Macro, Told, closed_days, weigh

log = logging.getLogger("monitor")

GAP = 10
"""Instants without an entry that a replay computes one by one."""
LOOK_EVERY_S = 60.0
"""How often a monitor looks whether a backfill beside it has found more."""
WEIGH_EVERY_S = 1.0
"""How often a monitor looks whether a slow source tells something new."""
WEIGH_REST_S = 5.0
CONDITIONS = "conditions.json"
ABOVE = "fair_value_above_price"
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


def thresholds_of(config: Config) -> Thresholds:
    """What the phases compare with.

    Raises:
        ConfigError: there is no threshold of a name.
    """
    known = [name for name in Thresholds.__struct_fields__ if name != "min_coverage"]
    if unknown := sorted(set(config.thresholds) - set(known)):
        raise ConfigError(f"thresholds: unknown {unknown[0]!r}; there are {', '.join(known)}")
    return Thresholds(min_coverage=config.min_coverage, **config.thresholds)


@lru_cache(maxsize=10_000)
def _supply(asset: str, day: int) -> float | None:
    of = SUPPLIES.get(asset)
    known = None if of is None else of(date.fromordinal(day + EPOCH))
    return None if known is None else known.value


def supply(asset: str, time: Millis) -> float | None:
    """Coins of an asset at a time, estimated without asking anybody; None if unknown."""
    return _supply(asset, time // DAY)


SUPPLIES = {"BTC": bitcoin_supply, "ETH": ether_supply}
EPOCH = date(1970, 1, 1).toordinal()
RECENT: Millis = 15 * DAY
"""Hours of history that the longest window of growth, and a little more, reaches back to."""


class Before(msgspec.Struct, frozen=True):
    """What is known before the first tick: bars of closed days for the averages, of hours for the windows."""

    daily: pl.DataFrame = pl.DataFrame(schema=BAR)
    hourly: pl.DataFrame = pl.DataFrame(schema=BAR)
    """The last two weeks, and the hours of today that are over."""
    minutes: pl.DataFrame = pl.DataFrame(schema=BAR)
    """Of the hour that is open, and of the one before."""
    kept: Kept = Kept()
    reference: pl.DataFrame = pl.DataFrame(schema=REFERENCE)
    """Minutes of the day before the open hour, of the reference price of each asset."""

    def past(self, scope: Scope, rule: Thresholds) -> Past:
        """The averages and phases that follow from it."""
        known = self.daily["time"].to_list()[-1:]
        today = self.hourly.filter(pl.col("time") >= (known[0] + DAY if known else 0))
        hours = self.hourly["time"].to_list()[-1:]
        now = self.minutes.filter(pl.col("time") >= (hours[0] + HOUR if hours else 0))
        return Past(
            scope.venues, rule, supply, self.daily, today, now, self.hourly, self.reference, kept=self.kept
        )

    def recent(self) -> pl.DataFrame:
        """Bars for the windows: of hours, then of minutes, with their ends."""
        first = self.minutes["time"].to_list()[:1]
        hours = self.hourly.filter(pl.col("time") < first[0] // HOUR * HOUR) if first else self.hourly
        ends = ((hours, HOUR), (self.minutes, MINUTE))
        return pl.concat([of.with_columns(end=pl.col("time") + length) for of, length in ends])


def remember(store: Store, scope: Scope, now: Millis) -> Before:
    """What the history holds."""
    midnight, hour = now // DAY * DAY, now // HOUR * HOUR
    venues = scope.venues
    store.settle(now)
    return Before(
        store.read("day", midnight - HISTORY_DAYS * DAY, midnight, venues=venues),
        store.read("hour", midnight - RECENT, hour, venues=venues),
        store.read("minute", hour - HOUR, now, venues=venues),
        _kept(store.root / KEPT),
        # Hour by hour, because a day of the minutes of all instruments may be more than fits.
        pl.concat(
            reference(store.read("minute", start, start + HOUR, venues=venues))
            for start in range(hour - DAY, hour, HOUR)
        ),
    )


KEPT = "running.json"
"""Beside the bars: what they do not tell."""


def _kept(path: Path) -> Kept:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Kept)
    except FileNotFoundError:
        return Kept()
    except (msgspec.MsgspecError, ValueError) as error:
        log.warning("%s cannot be read and is left out: %s", path, error)
        return Kept()


def beside(recording: Path) -> Path:
    """Where a recording's monitor left what it knew before the first tick."""
    return recording.with_name(recording.name.partition(".")[0] + ".before.parquet")


def leave(before: Before, recording: Path) -> None:
    """Writes what was known beside a recording: a replay needs it to compute the same."""
    frames = zip(STEPS, (before.minutes, before.hourly, before.daily), strict=True)
    path = beside(recording)
    kept = {"kept": msgspec.json.encode(before.kept).decode()}
    try:
        bars = [of.with_columns(step=pl.lit(step)) for step, of in frames]
        bars.append(before.reference.with_columns(step=pl.lit("reference")))
        pl.concat(bars, how="diagonal").write_parquet(path, metadata=kept)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise RecordingError(f"{path}: {error}") from error


def left(recording: Path) -> Before:
    """What was known when a recording began; nothing if it was left nowhere."""
    if not (path := beside(recording)).exists():
        return Before()
    try:
        bars = pl.read_parquet(path)
        kept = msgspec.json.decode(pl.read_parquet_metadata(path).get("kept", "{}"), type=Kept)
        daily, hourly, minutes = (
            bars.filter(pl.col("step") == step).select(*BAR) for step in reversed(STEPS)
        )
        before = bars.filter(pl.col("step") == "reference").select(*REFERENCE)
        return Before(daily, hourly, minutes, kept, before)
    except (pl.exceptions.PolarsError, msgspec.MsgspecError, OSError) as error:
        raise RecordingError(f"{path}: cannot be read: {error}") from error


def core_of(
    venues: Sequence[Venue], scope: Scope, past: Past | None = None, recent: pl.DataFrame | None = None
) -> Core:
    """The machine between queue and exposition."""
    feeds = {venue.name: venue.liquidation_feed for venue in venues}
    return Core(METRICS, scope, feeds, [venue.name for venue in venues], past, recent)


def header_of(config: Config, venues: Sequence[Venue], speed: float) -> Header:
    """What a replay must know to compute the same."""
    scope = scope_of(config, venues, speed)
    return Header(
        speed=speed, assets=config.assets, scope=tuple(sorted(scope.venues)),
        venues=tuple(venue.name for venue in venues), min_coverage=config.min_coverage,
        symbols={n: v.symbols for n, v in config.venues.items() if v.symbols is not None},
        oi_sides={n: v.oi_sides for n, v in config.venues.items() if v.oi_sides is not None},
        thresholds=config.thresholds,
    )  # fmt: skip


@asynccontextmanager
async def running(
    config: Config, clock: Clock, *, record_to: Path | None = None, compute: bool = True,
    catch_up: bool = False, slow: bool = False, told: Callable[[], Mapping[str, Told]] | None = None,
) -> AsyncIterator[Monitor]:  # fmt: skip
    """A live monitor, from the first connection to the last; `async with` ends it cleanly.

    With `catch_up` it also asks the venues for what an outage left out of the history; with `slow` the slow
    sources of the settings, or else it believes what is `told` in their place.

    Raises:
        ConfigError: the address is taken, or a threshold or a source is unknown.
        HistoryError: another monitor writes to the same state folder.
        OSError: the folder for recordings, or the state folder, cannot be written.
    """
    with Store(config.state_dir / "history", writable=True) if compute else nullcontext() as store:
        monitor = Monitor(config, clock, record_to, store)
        try:
            sources = None
            if slow:
                sources = Slow(chosen(config), config.state_dir / "sources", monitor.health, clock)
                told = partial(_told, sources)
            async with Rest() as rest, asyncio.TaskGroup() as group:
                async with _serving(config.listen, monitor.board) if compute else _nothing() as address:
                    monitor.address = address
                    tasks = [group.create_task(f.run()) for f in monitor.followers(rest)]
                    tasks.append(group.create_task(monitor.tick() if compute else monitor.drain()))
                    tasks.append(group.create_task(monitor.keep()))
                    if sources is not None:
                        tasks.append(group.create_task(sources.run()))
                    if told is not None:
                        tasks.append(group.create_task(monitor.weigh(told)))
                    if catch_up:
                        tasks.append(group.create_task(monitor.catch_up(rest)))
                    try:
                        yield monitor
                    finally:
                        for task in tasks:
                            task.cancel()
        finally:
            monitor.close()


def _told(sources: Slow) -> dict[str, Told]:
    return {name: Told(value.frame, value.as_of) for name, value in sources.values.items()}


def _news(before: Mapping[str, Told], after: Mapping[str, Told]) -> bool:
    """Whether a source tells something else than before."""
    return before.keys() != after.keys() or any(
        of.as_of != before[name].as_of
        or not (of.frame is before[name].frame or of.frame.equals(before[name].frame))
        for name, of in after.items()
    )


def gold_table() -> GoldTable:
    """The table of tonnes that comes with the program.

    Raises:
        TableError: it cannot be used.
    """
    return read_gold_table((resources.files("monitor") / "data/gold_tonnes.toml").read_text("utf-8"))


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

    def __init__(self, config: Config, clock: Clock, record_to: Path | None, store: Store | None) -> None:
        self.config = config
        self.clock = clock
        self.venues = venues_of(config)
        self.health = Health(self.venues, clock.speed, clock.now())
        self.scope, self._rule = scope_of(config, self.venues, clock.speed), thresholds_of(config)
        self.store = store
        self._filled = 0.0 if store is None else store.filled()
        before = Before() if store is None else remember(store, self.scope, clock.now())
        self.core = core_of(self.venues, self.scope, before.past(self.scope, self._rule), before.recent())
        self._states = self._conditions() if store is not None else {}
        """Conditions of the market at the end of the last run."""
        self.core.above = self._states.get(ABOVE)
        self._more: Before | None = None
        """What is known better by now, for the next tick."""
        self._closed: asyncio.Queue[tuple[pl.DataFrame, bytes]] = asyncio.Queue()
        """Minutes that are over, and what is kept of the instant."""
        self._storing = threading.Lock()
        self.board = Board(self.health, self.venues, clock.now)
        self.queue = Queue()
        self.address = ""
        started = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self.recorder = (
            None
            if record_to is None
            else Recorder(record_to, started, header_of(config, self.venues, clock.speed))
        )
        if self.recorder is not None and before.daily.height + before.hourly.height + before.minutes.height:
            leave(before, self.recorder.path)

    def close(self) -> None:
        """Writes what is closed, and ends the recording."""
        while not self._closed.empty():
            self._store(*self._closed.get_nowait())
        with self._storing:  # a thread that was abandoned may still be writing
            pass
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

    async def catch_up(self, rest: Rest) -> None:
        """Fills the gap of an outage from the venues' own history, and goes on from what is known then.

        Afterwards it looks whether somebody else filled more in: `monitor backfill` may run beside.
        """
        if self.store is None:
            return
        report = await fill_gap(self.store, self.config, self.clock.now(), rest=rest)
        for line in report.lines:
            log.warning("history: %s", line)
        seen = self._filled
        while True:
            if (filled := self.store.filled()) != seen:
                seen = filled
                self._more = await asyncio.to_thread(self._again, self.store)
            await asyncio.sleep(LOOK_EVERY_S)

    def _again(self, store: Store) -> Before:
        with self._storing:  # what is closed is rolled first, and minutes are being written beside
            return remember(store, self.scope, self.clock.now())

    async def weigh(self, told: Callable[[], Mapping[str, Told]]) -> None:
        """Weighs what slow sources tell, beside the ticks: at each hour, and when one of them is new.

        Volatility ratios take a second of a worker thread, once a day; the ticks take the result when it is
        there. What could not be weighed is absent.
        """
        table, conditions = gold_table(), self._states
        last: tuple[int, pl.DataFrame, Mapping[str, Told]] | None = None
        macro: Macro | None = None
        while True:
            now, known, assessed = self.clock.now(), told(), self.core.past.assessed
            began = time.perf_counter()
            if last is None or last[0] != now // HOUR or last[1] is not assessed or _news(last[2], known):
                last = now // HOUR, assessed, known
                try:
                    days = closed_days(assessed)
                    macro = await asyncio.to_thread(weigh, known, days, table, now, macro, conditions)
                except Exception as error:  # the supervising place: no source is worth the ticks
                    macro = None
                    self.health.failed("monitor", "compute", repr(error), now)
                    log.exception("slow sources could not be weighed")
                self.core.macro = macro
            states = dict(conditions if macro is None else macro.conditions)
            if self.core.above is not None:
                states[ABOVE] = self.core.above
            if states != conditions:
                conditions = states
                await asyncio.to_thread(self._keep_conditions, states)
            # A small part of a processor, however fast the market's clock runs.
            rest = 10 * (time.perf_counter() - began)
            await asyncio.sleep(max(WEIGH_EVERY_S, min(rest, WEIGH_REST_S)))

    def _conditions(self) -> dict[str, bool]:
        """Last states of the conditions of the market: hysteresis needs them after a restart."""
        path = self.config.state_dir / CONDITIONS
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, bool])
        except FileNotFoundError:
            pass
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("%s cannot be read and is left out: %s", path, error)
        return {}

    def _keep_conditions(self, states: Mapping[str, bool]) -> None:
        path = self.config.state_dir / CONDITIONS
        new = path.with_name(path.name + ".new")
        try:
            new.write_bytes(msgspec.json.encode(states))
            new.replace(path)
        except OSError as error:
            self.health.failed("monitor", "history", f"{path}: {error.strerror}", self.clock.now())

    async def keep(self) -> None:
        """Writes closed minutes to the history, beside the ticks; a disk that refuses costs its minute."""
        while True:
            await asyncio.to_thread(self._store, *await self._closed.get())

    def _store(self, bars: pl.DataFrame, kept: bytes) -> None:
        if self.store is None:
            return
        try:
            with self._storing:
                self.store.append(bars)
                self.store.note(KEPT, kept)
        except OSError as error:
            self.health.failed("monitor", "history", str(error.strerror or error), self.clock.now())

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
                if (more := self._more) is not None:
                    self._more = None
                    past = await asyncio.to_thread(more.past, self.scope, self._rule)
                    self.core.remember(past, more.hourly)
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
        for bars in samples.closed:
            self._closed.put_nowait((bars, msgspec.json.encode(self.core.past.kept())))
        self.board.samples = samples


class Replay:
    """Feeds recorded entries to the machine that live items go through."""

    def __init__(self, header: Header, step: Millis | None = None, before: Before | None = None) -> None:
        self.venues = [VENUES[name] for name in header.venues or VENUES if name in VENUES]
        names = frozenset(header.scope) or frozenset(venue.name for venue in self.venues)
        self.health = Health(self.venues, header.speed)
        known = before or Before()
        scope = Scope(names, header.min_coverage, header.speed)
        rule = Thresholds(min_coverage=header.min_coverage, **header.thresholds)
        self.core = core_of(self.venues, scope, known.past(scope, rule), known.recent())
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
