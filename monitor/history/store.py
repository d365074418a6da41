"""The store of bars under the state directory: one writer, any number of readers, no server.

A closed minute is a small file. When its hour is over, the minutes are rolled into an hour's bar and
become one file; when the day is over, so do its hours; months and years likewise. Each step writes the
new file before it removes the old ones, and doing it again changes nothing: wherever a crash falls, the
next start takes the remaining steps. Backfilled bars have a tree of their own, so that a wrong archive
spoils nothing that was seen.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import IO, Literal, Self, TypeVar
from urllib.parse import quote, unquote

import polars as pl

from monitor.bars import BAR, KEY, STEPS, Step, roll, unique
from monitor.events import Millis
from monitor.history import HistoryError, files
from monitor.history.files import BAD, SUFFIX, UNFINISHED, File, Level, Unreadable
from monitor.history.spans import Spans
from monitor.ladder import DAY, HOUR, MINUTE

log = logging.getLogger("monitor")
_T = TypeVar("_T")

LEVELS: dict[Step, tuple[Level, Level, Level]] = {
    "minute": ("minute", "hour", "day"), "hour": ("hour", "day", "month"), "day": ("day", "month", "year"),
}  # fmt: skip
"""Files that a table's bars go through, from the bar itself to where they stay."""
KEPT: dict[Step, Millis] = {"minute": 7 * DAY, "hour": (3 * 365 + 60) * DAY}
"""How long bars are kept; days for ever.

Minutes show the course of a purge, and a week of them is larger than three years of days. Hours are kept
for the long-term average of three years, and two months more, so that its first value has a past. A day
of 300 instruments is ten kilobytes.
"""
ATTEMPTS = 1000
"""A reader lists again when the writer took a file away; it is not that fast for ever."""


class Store:
    """The history in one folder. `with` opens it; a writable one is locked and repaired first."""

    def __init__(self, root: Path, *, writable: bool) -> None:
        self.root = root
        self.bad = 0
        """Files that could not be read, since it was opened."""
        self._writable = writable
        self._lock: IO[str] | None = None
        self._skipped: set[tuple[Path, int]] = set()
        self._closed: Millis = 0
        """Up to here everything is rolled and compacted, as far as this process knows."""

    def __enter__(self) -> Self:
        """Opens it.

        Raises:
            HistoryError: another monitor writes here.
            OSError: the folder cannot be made or written.
        """
        if self._writable:
            for step in STEPS:
                files.make(self.root / step)
            self._lock = _locked(self.root)
            try:
                self._recover()
            except BaseException:
                self._lock.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # Writing.

    def append(self, bars: pl.DataFrame) -> None:
        """Keeps closed minutes; when it returns they are on the disk. The last of equal `KEY`s wins.

        At the end of an hour and of a day it also rolls, compacts and forgets what is over.

        Raises:
            OSError: the disk does not take it. No half of it stays, and the next call catches up.
        """
        if self._lock is None:
            raise ValueError("the store is not open for writing")
        bars = unique(_checked(bars, "minute"))
        for (time,), rows in bars.group_by("time", maintain_order=True):
            assert isinstance(time, int)  # noqa: S101 -- by the schema
            path = self.root / "minute" / (files.name_of(time, "minute") + SUFFIX)
            files.write(path, self._onto(path, rows), "minute")
            self._close(time + MINUTE)

    def note(self, name: str, text: bytes) -> None:
        """Keeps a small file beside the bars, durably, in the place of the one before.

        Raises:
            OSError: the disk does not take it. The one before stays.
        """
        if self._lock is None:
            raise ValueError("the store is not open for writing")
        files.put(self.root / name, text)

    def settle(self, now: Millis) -> None:
        """Rolls and compacts what ended before a time while nobody wrote, as the next `append` would.

        Raises:
            OSError: the disk does not take it.
        """
        if self._lock is None:
            raise ValueError("the store is not open for writing")
        self._settle(now // HOUR * HOUR)

    def backfill(self, source: str, step: Literal["hour", "day"], bars: pl.DataFrame) -> None:
        """Keeps bars from a source of history, beside those that a monitor saw; the newest call wins.

        A monitor may write meanwhile, and so may another backfill: each waits its turn.

        Args:
            source: where they came from; `summary` tells it.
            step: of the bars.
            bars: a table of `BAR`.

        Raises:
            OSError: the disk does not take it.
        """
        bars = unique(_checked(bars, step))
        files.make(self.root / "backfill" / step)
        year = pl.from_epoch("time", time_unit="ms").dt.year() if step == "hour" else pl.lit(None, pl.Int32)
        with _turn(self.root / "backfill"):
            parts = bars.group_by("venue", "asset", year.alias("year"), maintain_order=True)
            for (venue, asset, of), rows in parts:
                folder = self.root / "backfill" / step / quote(str(venue), safe="")
                files.make(folder)
                for left in folder.glob(f"*{UNFINISHED}"):
                    left.unlink()
                path = folder / f"{quote(str(asset), safe='')}{'' if of is None else f'.{of}'}{SUFFIX}"
                merged = self._onto(path, rows.select(*BAR), move=True)
                sources = files.accounts(path, step).sources if path.exists() else ()
                files.write(path, merged, step, (source, *sources))

    def filled(self) -> float:
        """When something was last filled in, in seconds of the file system; 0 if never."""
        tree = (self.root / "backfill").glob(f"*/*/*{SUFFIX}")
        return max((path.stat().st_mtime for path in tree), default=0.0)

    def _onto(self, path: Path, rows: pl.DataFrame, *, move: bool = False) -> pl.DataFrame:
        """The rows of a file with these in their place or beside them."""
        if not path.exists():
            return rows
        before = self._table(lambda: [File(path, 0, 0)] if path.exists() else [], move=move)
        return unique(pl.concat([before, rows]))

    def _recover(self) -> None:
        """Takes the steps that a crash left out."""
        for step in STEPS:
            for left in (self.root / step).glob(f"*{UNFINISHED}"):
                left.unlink()
        if minutes := files.listing(self.root / "minute"):
            self._settle(max(file.end for file in minutes) // HOUR * HOUR)

    def _close(self, until: Millis) -> None:
        closed = until // HOUR * HOUR
        if closed > self._closed:
            self._settle(closed)
            # Only a process that saw the day end forgets: one with a wrong clock at its start does not.
            if 0 < self._closed // DAY < closed // DAY:
                self._forget(closed // DAY * DAY)
            self._closed = closed

    def _settle(self, closed: Millis) -> None:
        """Rolls and compacts all that ends by a time, and is not yet."""
        for fine, coarse in pairwise(STEPS):
            bar, whole, _ = LEVELS[fine]
            for name in self._due(fine, bar, whole, closed):
                self._roll(fine, coarse, name, closed)
            self._compact(fine, bar, whole, closed)
        for step, (bar, middle, most) in LEVELS.items():
            self._compact(step, bar, middle, closed)
            self._compact(step, middle, most, closed)

    def _due(self, step: Step, level: Level, into: Level, closed: Millis) -> dict[str, list[File]]:
        """Files of a level that are to become one of a coarser level, by its name."""
        found: dict[str, list[File]] = {}
        for file in files.listing(self.root / step):
            name = file.path.name.removesuffix(SUFFIX)
            if files.level_of(name) == level:
                whole = files.coarser(name, into)
                covered = files.span(whole)
                if covered is not None and covered[1] <= closed:
                    found.setdefault(whole, []).append(file)
        return found

    def _roll(self, fine: Step, coarse: Step, name: str, closed: Millis) -> None:
        """Makes the bar of a coarser step of all bars within it."""
        covered = files.span(name)
        assert covered is not None  # noqa: S101 -- a name of ours
        start, end = covered
        rows = roll(self._live(fine, start, end), coarse)
        if end <= closed - KEPT[fine]:
            # What it was made of may be forgotten; a late bar does not stand for all of them.
            rows = unique(pl.concat([rows, self._live(coarse, start, end)]))
        path = self.root / coarse / (name + SUFFIX)
        files.write(path, self._onto(path, rows), coarse)

    def _compact(self, step: Step, level: Level, into: Level, closed: Millis) -> None:
        for name, parts in self._due(step, level, into, closed).items():
            path = self.root / step / (name + SUFFIX)
            files.write(path, self._onto(path, self._table(partial(_there, parts))), step)
            for part in parts:
                part.path.unlink(missing_ok=True)
            files.sync(path.parent)

    def _forget(self, today: Millis) -> None:
        for step, life in KEPT.items():
            for file in files.listing(self.root / step):
                if file.end <= today - life:
                    file.path.unlink(missing_ok=True)
            files.sync(self.root / step)

    # Reading.

    def read(
        self, step: Step, start: Millis | None = None, end: Millis | None = None, *,
        assets: Collection[str] | None = None, venues: Collection[str] | None = None,
        open: bool = False,  # noqa: A002 -- the field's word for a bar that is not closed
    ) -> pl.DataFrame:  # fmt: skip
        """Bars that open from `start` until before `end`, milliseconds; no bound where None.

        Where a monitor's bar has open interest it is the bar; otherwise a backfilled one is, if any.

        Args:
            step: of the bars.
            start: first opening time.
            end: opening times are before it.
            assets: only these.
            venues: only these.
            open: also the hour or day that is not over, made of the minutes that there are.

        Returns:
            A table of `BAR`, sorted by `KEY`, a row for each.

        Raises:
            OSError: a file is there and cannot be opened.
        """
        where = pl.lit(value=True)
        if assets is not None:
            where &= pl.col("asset").is_in(list(assets))
        if venues is not None:
            where &= pl.col("venue").is_in(list(venues))
        # What is open is looked at first: it may close meanwhile, and is then found twice, not never.
        begun = self._open(step, where)[0] if open and step != "minute" else pl.DataFrame(schema=BAR)
        live = self._live(step, start, end, where)
        if begun.height:
            live = unique(pl.concat([begun.filter(_within(start, end)), live]))
        filled = [] if step == "minute" else self._filled(step, assets, venues)
        if not (filled := [file for file in filled if _overlaps(file, start, end)]):
            return live
        rows = self._table(lambda: filled, _within(start, end) & where)
        known = pl.col("native").is_not_null()
        return unique(pl.concat([live.filter(~known), rows, live.filter(known)]))

    def summary(self) -> pl.DataFrame:
        """What there is, a row for each step, venue, asset and origin; `SUMMARY` tells the columns.

        Reads the ends of the files only, but of those that another program wrote.

        Raises:
            OSError: a file is there and cannot be opened.
        """
        spans = Spans()
        for step in STEPS:
            spans.add(step, "live", self._accounts(step, partial(files.listing, self.root / step)))
            if step != "minute":
                spans.add(step, "backfill", self._accounts(step, partial(self._filled, step)))
        return spans.table()

    def _accounts(self, step: Step, listing: Callable[[], list[File]]) -> list[tuple[int, files.Accounts]]:
        def of(file: File) -> tuple[int, files.Accounts]:
            return file.path.stat().st_size, files.accounts(file.path, step)

        return self._each(listing, of)

    def _live(
        self, step: Step, start: Millis | None = None, end: Millis | None = None,
        where: pl.Expr | None = None,
    ) -> pl.DataFrame:  # fmt: skip
        """A monitor's own bars."""
        within = _within(start, end)

        def listing() -> list[File]:
            return [f for f in files.listing(self.root / step) if _overlaps(f, start, end)]

        return self._table(listing, within if where is None else within & where)

    def _open(self, step: Step, where: pl.Expr) -> tuple[pl.DataFrame, Millis | None]:
        """The bars that are not over, and when the newest minute in them ends."""
        edge = max((file.end for file in files.listing(self.root / step)), default=None)
        if step == "hour":
            fine = self._live("minute", edge, None, where)
            last = fine["time"].max()
            until = last + MINUTE if isinstance(last, int) else None
        else:
            begun, until = self._open("hour", where)
            closed = self._live("hour", edge, None, where)
            fine = pl.concat([begun, closed])
            last = fine["time"].max()
            if until is None and isinstance(last, int):
                until = last + HOUR
        return roll(fine, step, until), until

    def _filled(
        self, step: Step, assets: Collection[str] | None = None, venues: Collection[str] | None = None
    ) -> list[File]:
        """Files of backfilled bars."""
        found = []
        for path in sorted((self.root / "backfill" / step).glob(f"*/*{SUFFIX}")):
            asset, year = path.name.removesuffix(SUFFIX), ""
            if step == "hour":
                asset, _, year = asset.rpartition(".")
            if assets is not None and unquote(asset) not in assets:
                continue
            if venues is not None and unquote(path.parent.name) not in venues:
                continue
            found.append(File(path, *(files.span(year) or (0, 1 << 62))))
        return found

    def _table(
        self, listing: Callable[[], list[File]], where: pl.Expr | None = None, *, move: bool = False
    ) -> pl.DataFrame:
        """The rows of files, sorted, one for each `KEY`; of two files that overlap the finer one's."""
        looked: list[File] = []

        def look() -> list[File]:
            looked[:] = listing()
            return looked

        def rows(file: File) -> pl.DataFrame:
            bars = files.read(file.path)
            return bars if where is None else bars.filter(where)

        found = self._each(look, rows, move=move)
        bars = pl.concat([pl.DataFrame(schema=BAR), *found])
        return bars if files.disjoint(looked) else unique(bars)

    def _each(
        self, listing: Callable[[], list[File]], of: Callable[[File], _T], *, move: bool = False
    ) -> list[_T]:
        """Something of each file that can be read; begins again where the writer took one away."""
        for _ in range(ATTEMPTS):
            found = []
            try:
                for file in listing():
                    if not move and self._skipped and _identity(file.path) in self._skipped:
                        continue
                    try:
                        found.append(of(file))
                    except Unreadable as error:
                        self._set_aside(file.path, str(error), move=move)
            except FileNotFoundError:
                continue
            return found
        raise HistoryError(f"{self.root}: files vanish faster than they can be read")

    def _set_aside(self, path: Path, why: str, *, move: bool) -> None:
        """Out of the way of the rest. Only the writer of a tree renames in it."""
        self.bad += 1
        if move or (self._lock is not None and path.parent.parent == self.root):
            aside = path.with_name(path.name + BAD)
            path.replace(aside)
            files.sync(path.parent)
            log.warning("history: %s cannot be read and was set aside as %s: %s", path, aside.name, why)
        else:
            self._skipped.add(_identity(path))
            log.warning("history: %s cannot be read and is left out: %s", path, why)


def _locked(root: Path) -> IO[str]:
    """The lock of the only writer. It is the kernel's, and ends with the process however that ends.

    Raises:
        HistoryError: another has it.
    """
    lock = (root / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        pid = lock.read().strip() or "unknown"
        lock.close()
        raise HistoryError(
            f"{root}: another monitor writes here (pid {pid}); stop it or set another state_dir"
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


@contextmanager
def _turn(root: Path) -> Iterator[None]:
    """Waits for other backfills."""
    with (root / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _checked(bars: pl.DataFrame, step: Step) -> pl.DataFrame:
    """The table, if it is one of bars of this step.

    Raises:
        ValueError: it is not.
    """
    if dict(bars.schema) != BAR:
        raise ValueError(f"not the columns of bars: {', '.join(bars.columns)}")
    wrong = pl.any_horizontal(pl.col(KEY).is_null()) | (pl.col("time") % STEPS[step] != 0)
    if bars.select(wrong.any()).item():
        raise ValueError(f"bars of a {step} open at its full {step}s, and name venue, asset and symbol")
    return bars


def _identity(path: Path) -> tuple[Path, int]:
    """Of a file in its place, until another takes the place."""
    return path, path.stat().st_mtime_ns


def _there(parts: Iterable[File]) -> list[File]:
    return [part for part in parts if part.path.exists()]


def _overlaps(file: File, start: Millis | None, end: Millis | None) -> bool:
    return (start is None or file.end > start) and (end is None or file.start < end)


def _within(start: Millis | None, end: Millis | None) -> pl.Expr:
    within = pl.lit(value=True)
    if start is not None:
        within &= pl.col("time") >= start
    if end is not None:
        within &= pl.col("time") < end
    return within
