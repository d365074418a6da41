"""Fills the store with what venues and archives still know of the past.

Venues are asked side by side, each within its own budget, the newest span first. What the store has is
not asked again, but for the last bar. A span is stored as a whole or not at all, so that an interrupted
run goes on where it was. What a venue does not have is a hole in the report, not an error.

The sources are written from the venues' documents of 2026 and checked against servers that speak the
same formats, not against the venues.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Protocol, TypeVar

import msgspec
import polars as pl
from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential_jitter,
)

from monitor.archives import SOURCES
from monitor.archives.past import Span, bars, missing
from monitor.archives.source import Archive, Fact, Page, PastStep, Series, Source, date
from monitor.bars import STEPS, Step
from monitor.config import Config
from monitor.events import Funding, Instrument, Millis
from monitor.feeds.follow import Choice
from monitor.feeds.rest import Answered, Host, Rest, RestError
from monitor.ladder import DAY
from monitor.venue import Budget, InstrumentList, Refused, Request, Unreadable
from monitor.venues import VENUES

_T = TypeVar("_T")

ATTEMPTS = 4
"""How often a question is asked; a file that fails its checksum, less one."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
PATIENCE_S = 300.0
"""After so long no other attempt is made: a venue that locks out for ten minutes is waited for once."""
FILES_AT_ONCE = 4
PAGES = 200
"""Of one span; more, and the venue does not page as documented."""
BAD_SPANS = 2
"""So many in a row that cannot be read, and the instrument is left."""
HOURS_OF, DAYS_OF = 17 * DAY, 30 * DAY
"""What `fill_gap` looks back: hours for the window of 14 days, days for an outage of a month."""
NOT_FOUND = 404
"""Of a file: the archive has no such day, or no checksum of it."""
SERVERS_FAULT = 500
"""And above: another time it may answer."""
_FORBIDDEN = (401, 403, 451)
"""Statuses that refuse the whole venue, for instance by country."""

Progress = Callable[[str, int, int, int], None]
"""Told after each span: the venue, its bars done and to do, rows stored by it so far."""


class Keeps(Protocol):
    """What is needed of the store."""

    def backfill(self, source: str, step: PastStep, bars: pl.DataFrame) -> None:
        """Merges bars by their key, as a whole."""

    def read(
        self, step: Step, start: Millis | None = None, end: Millis | None = None, *,
        venues: Sequence[str] | None = None,
    ) -> pl.DataFrame:  # fmt: skip
        """Bars that there are."""


class _Asked(msgspec.Struct, frozen=True):
    """A host, its budget and, where it has one, its list."""

    rest_url: str
    budget: Budget
    instruments: InstrumentList = InstrumentList((), lambda _: ())


class Outcome(msgspec.Struct, kw_only=True):
    """What came of one instrument."""

    venue: str
    asset: str
    symbol: str
    rows: int = 0
    """Bars stored."""
    holes: list[Millis] = []
    """Bars asked for of which the venue does not tell what it tells of others, by opening time."""
    unread: int = 0
    """Rows that could not be read."""
    failures: list[str] = []
    """What was not got although it may be there; one line each."""


class Report(msgspec.Struct):
    """What came of all."""

    outcomes: list[Outcome] = []
    failures: dict[str, str] = {}
    """Venues that could not be asked to the end, and why."""

    @property
    def ok(self) -> bool:
        """Whether nothing failed for good."""
        return not self.lines

    @property
    def lines(self) -> list[str]:
        """All failures, one line each."""
        return [f"{venue}: {why}" for venue, why in self.failures.items()] + [
            f"{one.venue} {one.symbol}: {why}" for one in self.outcomes for why in one.failures
        ]


def _quiet(_venue: str, _done: int, _total: int, _rows: int) -> None:
    """Tells nobody."""


async def backfill(
    store: Keeps, sources: Sequence[Source], assets: Sequence[str], start: Millis, end: Millis, *,
    step: PastStep = "day", choices: Mapping[str, Choice] | None = None,
    rest: Rest | None = None, progress: Progress = _quiet, now: Millis | None = None,
) -> Report:  # fmt: skip
    """Asks all sources for the bars from `start` until before `end`, and stores them.

    Args:
        store: where to; bars that it has are not asked for again.
        sources: whom to ask.
        assets: of what.
        start: first opening time, milliseconds; rounded down to a bar.
        end: rounded down, so that no bar is made of half its time.
        step: of the bars.
        choices: the operator's choice of instruments by venue; all perpetuals of `assets` if absent.
        rest: shares its budgets and pauses; one of our own if absent.
        progress: told of each span.
        now: the present; `end` if absent.

    Returns:
        What came of it. A venue that fails stops no other.

    Raises:
        OSError: the store cannot be written.
    """
    length = STEPS[step]
    span = (start // length * length, end // length * length)
    report = Report()
    async with AsyncExitStack() as stack:
        asking = await stack.enter_async_context(Rest()) if rest is None else rest
        lock = asyncio.Lock()
        async with asyncio.TaskGroup() as group:
            for source in sources:
                choice = (choices or {}).get(source.name) or Choice(frozenset(assets))
                job = _Job(source, step, span, end if now is None else now, asking, store, lock, progress)
                group.create_task(job.run(choice, report))
    report.outcomes.sort(key=lambda one: (one.venue, one.asset, one.symbol))
    return report


async def fill_gap(
    store: Keeps, config: Config, now: Millis, *, rest: Rest | None = None, progress: Progress = _quiet
) -> Report:
    """What an outage of up to 30 days left out, of the venues that are followed.

    Days of the last 30, and hours of the last 17 where the venue keeps open interest.
    """
    sources = sources_of(config, frozenset(VENUES))
    plan: tuple[tuple[PastStep, list[Source], Millis], ...] = (
        ("day", sources, DAYS_OF),
        ("hour", [source for source in sources if source.has_open_interest], HOURS_OF),
    )
    choices = choices_of(config)
    report = Report()
    async with AsyncExitStack() as stack:
        asking = await stack.enter_async_context(Rest()) if rest is None else rest
        for step, some, back in plan:
            part = await backfill(
                store, some, config.assets, now - back, now, step=step, choices=choices, rest=asking,
                progress=progress, now=now,
            )  # fmt: skip
            report.outcomes += part.outcomes
            report.failures |= part.failures
    return report


def sources_of(config: Config, names: frozenset[str] = frozenset(SOURCES)) -> list[Source]:
    """The sources of these names whose venue is not switched off, with the operator's addresses."""
    found = []
    for source in SOURCES.values():
        setting = config.venue(source.name)
        if source.name in names and setting.enabled:
            found.append(source if setting.rest_url is None else at(source, setting.rest_url))
    return found


def at(source: Source, rest_url: str, archive_url: str | None = None) -> Source:
    """The source with another address for its REST, and one for its archive."""
    series = tuple(
        one if one.rest_url is None else msgspec.structs.replace(one, rest_url=rest_url)
        for one in source.series
    )
    archive = source.archive
    if archive is not None and archive_url is not None:
        archive = msgspec.structs.replace(archive, rest_url=archive_url)
    return msgspec.structs.replace(source, rest_url=rest_url, series=series, archive=archive)


def choices_of(config: Config, assets: Sequence[str] | None = None) -> dict[str, Choice]:
    """The operator's choice of instruments, by source, as the live monitor's."""
    wanted = frozenset(config.assets if assets is None else assets)
    found = {}
    for name in SOURCES:
        setting = config.venue(name)
        symbols = None if setting.symbols is None else frozenset(setting.symbols)
        found[name] = Choice(wanted, symbols, setting.oi_sides)
    return found


class _Job:
    """One source, asked for one span."""

    def __init__(
        self, source: Source, step: PastStep, span: Span, now: Millis, rest: Rest, store: Keeps,
        lock: asyncio.Lock, progress: Progress,
    ) -> None:  # fmt: skip
        self.source = source
        self.step = step
        self.span = span
        self.now = now
        self.rest = rest
        self.store = store
        self.lock = lock
        self.progress = progress
        self.length = STEPS[step]
        self.told = "native" if source.has_open_interest else "funding_8h"
        """The column that makes a bar one that is there."""
        self.known: set[str] = set()
        """Symbols whose last bar is there already, and is asked for again."""
        self.done = self.total = self.rows = 0
        self.archive_down = ""
        """Why its archive could not be asked: then it is not asked again, and REST is."""

    async def run(self, choice: Choice, report: Report) -> None:
        """All instruments; one after the other, because the budget is the limit anyhow."""
        name = self.source.name
        try:
            instruments = choice.of(await self._instruments(choice))
        except (RestError, Refused, Unreadable) as error:
            report.failures[name] = _line(error)
            return
        there = await self._write(lambda: self.store.read(self.step, *self.span, venues=[name]))
        there = there.filter(pl.col(self.told).is_not_null())
        plan: list[tuple[Instrument, list[Span]]] = []
        for of in instruments:
            if of.kind == "perpetual":
                known = there.filter(pl.col("symbol") == of.symbol)["time"].to_list()
                # The last bar may have been told before it was final.
                last = self.span[1] - self.length
                if last in known:
                    self.known.add(of.symbol)
                spans = missing([time for time in known if time < last], self.step, self.span)
                plan.append((of, spans))
                self.total += sum((end - start) // self.length for start, end in spans)
        self.progress(name, 0, self.total, 0)
        for of, spans in plan:
            outcome = Outcome(venue=name, asset=of.asset, symbol=of.symbol)
            report.outcomes.append(outcome)
            try:
                await self._instrument(of, spans, outcome)
            except RestError as error:
                report.failures[name] = _line(error)
                return

    async def _instruments(self, choice: Choice) -> list[Instrument]:
        source = self.source
        if source.rule is not None:
            return [of for asset in sorted(choice.assets) for of in source.rule(asset)]
        listed = source.instruments
        assert listed is not None  # noqa: S101 -- every source has one or the other

        async def ask() -> list[Instrument]:
            host = _Asked(source.rest_url, source.budget, listed)
            found = list(listed.parse(await self.rest.instruments(host)))
            if not any(of.kind == "perpetual" for of in found):
                raise Unreadable("a list without any perpetual")
            return found

        return await _patiently(ask)

    async def _instrument(self, of: Instrument, spans: Sequence[Span], outcome: Outcome) -> None:
        """The newest span first; where a venue tells nothing any more, its past ends.

        Raises:
            RestError: the venue cannot be asked.
        """
        bad = 0
        for span in reversed(spans):
            parts = self._parts(span)
            for number, part in enumerate(parts):
                if bad >= BAD_SPANS:
                    self._skip(parts[number:])
                    return
                try:
                    known = await self._part(of, part, outcome)
                except (Refused, Unreadable, Answered) as error:
                    if isinstance(error, Answered) and (
                        error.status in _FORBIDDEN or error.status >= SERVERS_FAULT
                    ):
                        raise
                    first, last = date(part[0]), date(part[1] - 1)
                    outcome.failures.append(f"{first} to {last}: {_line(error)}")
                    bad += 1
                    self._skip([part])
                    continue
                bad = 0
                self._skip([part])
                if not known:
                    self._skip(parts[number + 1 :])
                    break

    def _parts(self, span: Span) -> list[Span]:
        """What is asked for at once, newest first; no part has both files and REST for its open interest."""
        start, end = span
        edge = self._edge()
        borders = [end, edge, start] if edge is not None and start < edge < end else [end, start]
        most = self.source.bars[self.step] * self.length
        return [
            (max(first, before - most), before)
            for last, first in pairwise(borders)
            for before in range(last, first, -most)
        ]

    def _edge(self) -> Millis | None:
        """Bars from here on are told by REST, older ones by files."""
        reach = next((one.reach for one in self.source.series if one.reach is not None), None)
        if self.source.archive is None or reach is None:
            return None
        return -(-(self.now - reach) // DAY) * DAY

    def _skip(self, parts: Sequence[Span]) -> None:
        self.done += sum((end - start) // self.length for start, end in parts)
        self.progress(self.source.name, self.done, self.total, self.rows)

    async def _part(self, of: Instrument, part: Span, outcome: Outcome) -> bool:
        """Asks for a part and stores it; whether the venue knew any of it."""
        facts: list[Fact] = []
        for series in self.source.series:
            facts += await self._series(series, of, part, outcome)
        edge, archive = self._edge(), self.source.archive
        if archive is not None and edge is not None and part[0] < edge:
            facts += await self._files(archive, of, part, outcome)
        found = await asyncio.to_thread(bars, of, self.step, part, facts)
        if of.symbol in self.known:  # an answer that lacks it now takes nothing away
            again = pl.col("time") == self.span[1] - self.length
            found = found.filter(~again | pl.col(self.told).is_not_null())
        known = found.filter(pl.col(self.told).is_not_null())["time"].to_list()
        outcome.holes += [
            time
            for first, last in missing(known, self.step, part)
            for time in range(first, last, self.length)
        ]
        outcome.holes.sort()
        if found.height:
            await self._write(lambda: self.store.backfill(self.source.name, self.step, found))
        outcome.rows += found.height
        self.rows += found.height
        return bool(known)

    async def _series(self, series: Series, of: Instrument, part: Span, outcome: Outcome) -> list[Fact]:
        """All pages of a series within a part."""
        start, end = part[0] - series.around, min(part[1] + series.around, self.now)
        if series.reach is not None:
            start = max(start, self.now - series.reach)
        host = _Asked(series.rest_url or self.source.rest_url, self.source.budget)
        facts: list[Fact] = []
        for _ in range(PAGES):
            if start > end:
                return facts
            request = series.request(of, start, end, self.step)

            async def ask(request: Request = request) -> Page:
                body = await self.rest.ask(host, request)
                # In a thread, so that a large answer does not hold up a monitor that runs meanwhile.
                return await asyncio.to_thread(series.parse, body, of, self.step)

            page = await _patiently(ask)
            facts += page.facts
            self._unread(page, outcome)
            if not page.more or not page.facts:
                return facts
            # A payment may be told of before it is due, and rows of other times do not move the page.
            told = [fact.time for fact in page.facts if not isinstance(fact, Funding)]
            times = [time for time in told or [fact.time for fact in page.facts] if start <= time <= end]
            if not times:
                return facts
            if series.keeps == "oldest":
                start = max(start + 1, *times)
            else:
                end = min(end, *times) - 1
        raise Unreadable(f"more than {PAGES} pages")

    @staticmethod
    def _unread(page: Page, outcome: Outcome) -> None:
        if page.unread and not outcome.unread:
            outcome.failures.append(f"rows that cannot be read, such as: {page.why[:200]}")
        outcome.unread += page.unread

    async def _files(self, archive: Archive, of: Instrument, part: Span, outcome: Outcome) -> list[Fact]:
        """The files of the days of a part, some at once.

        Raises:
            Unreadable: the archive cannot be asked; then it is not asked again.
        """
        turns = asyncio.Semaphore(FILES_AT_ONCE)
        host = _Asked(archive.rest_url, archive.budget)

        async def one(day: Millis) -> list[Fact]:
            async with turns:
                if self.archive_down:
                    return []
                try:
                    page = await _patiently(lambda: self._file(host, archive, of, day), ATTEMPTS - 1)
                except Unreadable as error:
                    outcome.failures.append(f"file of {date(day)}: {_line(error)}")
                except RestError as error:
                    if not (isinstance(error, Answered) and error.status == NOT_FOUND):
                        self.archive_down = f"the archive: {_line(error)}"
                else:
                    self._unread(page, outcome)
                    return page.facts
                return []

        async with asyncio.TaskGroup() as group:
            days = range(part[0] // DAY * DAY, part[1], DAY)
            tasks = [group.create_task(one(day)) for day in days]
        if self.archive_down:
            raise Unreadable(self.archive_down)
        return [fact for task in tasks for fact in task.result()]

    async def _file(self, host: Host, archive: Archive, of: Instrument, day: Millis) -> Page:
        path = archive.path(of, day)
        body = await self.rest.ask(host, Request(path))
        try:
            said = await self.rest.ask(host, Request(f"{path}.CHECKSUM"))
        except Answered as error:
            if error.status != NOT_FOUND:
                raise
        else:
            if not said.lower().startswith(hashlib.sha256(body).hexdigest().encode()):
                raise Unreadable("does not have its checksum")
        return await asyncio.to_thread(archive.parse, body, of)

    async def _write(self, work: Callable[[], _T]) -> _T:
        """The store works in a thread, one at a time, and is never left in the middle."""
        async with self.lock:
            task = asyncio.ensure_future(asyncio.to_thread(work))
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                await asyncio.wait([task])
                raise


async def _patiently(ask: Callable[[], Awaitable[_T]], attempts: int = ATTEMPTS) -> _T:
    """Asks again, with pauses that grow, what another time may answer."""
    again = AsyncRetrying(
        stop=stop_after_attempt(attempts) | stop_after_delay(PATIENCE_S),
        wait=wait_exponential_jitter(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S, jitter=FIRST_PAUSE_S),
        retry=retry_if_exception(_worth),
        reraise=True,
    )

    async def once() -> _T:  # tenacity awaits only what is a coroutine function by itself, no lambda
        return await ask()

    return await again(once)


def _worth(error: BaseException) -> bool:
    """Whether another answer may come: not after a plain "no such thing"."""
    if isinstance(error, Answered):
        return error.status >= SERVERS_FAULT
    return isinstance(error, (RestError, Unreadable, Refused))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
