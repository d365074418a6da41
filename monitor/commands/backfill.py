"""`monitor backfill`: the past, from the venues and archives that tell it without a key."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from monitor.archives.past import Coverage, needed
from monitor.archives.source import Source, date
from monitor.backfill import Progress as Told, Report, backfill, choices_of, sources_of
from monitor.clock import Clock
from monitor.commands.live import writable
from monitor.config import Config
from monitor.events import Millis
from monitor.history.store import Store
from monitor.ladder import DAY

NAMED = 20
"""Failures that are printed one by one."""


async def run(config: Config, venues: frozenset[str], assets: Sequence[str], years: float) -> int:
    """Until all is asked; 1 if something failed for good, or it was interrupted."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    root = config.state_dir / "history"
    writable(root, "history")
    now = Clock().now()
    days = max(1, round(years * 365))
    sources = sources_of(config, venues)
    with Store(root, writable=False) as store:
        try:
            with _progress(console, sources) as told:
                report = await backfill(
                    store, sources, assets, now - days * DAY, now,
                    choices=choices_of(config, assets), progress=told, now=now,
                )  # fmt: skip
        except asyncio.CancelledError:
            console.print("Interrupted. What is there is kept; the same command goes on from here.")
            return 1
        pairs = [(source.name, asset) for source in sources for asset in assets]
        stored = store.read("day", now - (days + 1) * DAY, now, assets=assets, venues=venues)
        coverage = needed(stored, now, days, pairs)
    Console(soft_wrap=True, highlight=False).print(_table(coverage, sources))
    _failures(console, report)
    return 0 if report.ok else 1


def _failures(console: Console, report: Report) -> None:
    lines = report.lines
    for line in lines[:NAMED]:
        console.print(line, markup=False)
    if len(lines) > NAMED:
        console.print(f"and {len(lines) - NAMED} more")
    if lines:
        console.print("What was got is kept; the same command asks for the rest only.")


@contextmanager
def _progress(console: Console, sources: Sequence[Source]) -> Iterator[Told]:
    """A row for each venue in a terminal; elsewhere a line for each at the end."""
    last: dict[str, tuple[int, int, int]] = {}
    if not console.is_terminal:
        try:
            yield lambda venue, done, total, rows: last.update({venue: (done, total, rows)})
        finally:
            for venue, (done, total, rows) in last.items():
                console.print(f"{venue}: {done} of {total} days asked for, {rows} bars stored")
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("days"),
        TextColumn("{task.fields[rate]:>8} bars/s"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as shown:
        tasks = {source.name: shown.add_task(source.name, total=None, rate="") for source in sources}

        def told(venue: str, done: int, total: int, rows: int) -> None:
            task = tasks[venue]
            elapsed = shown.tasks[task].elapsed or 0
            rate = f"{rows / elapsed:.1f}" if elapsed else ""
            shown.update(task, completed=done, total=total, rate=rate)

        yield told


def _table(coverage: Sequence[Coverage], sources: Sequence[Source]) -> Table:
    """What the store has now."""
    keeps = {source.name: source.has_open_interest for source in sources}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("venue", "asset"):
        table.add_column(name, no_wrap=True)
    for name in ("days of open interest", "first", "last", "holes"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in coverage:
        if keeps[one.venue] or one.days:
            told = (str(one.days), _day(one.first), _day(one.last), str(one.holes))
        else:
            told = ("no history kept", "", "", "")
        table.add_row(one.venue, one.asset, *told)
    return table


def _day(time: Millis | None) -> str:
    return "" if time is None else date(time)
