"""`monitor export`: stored history as OpenMetrics, and into Prometheus, so that panels begin years ago.

Blocks for what is older than three hours, into the folder of a Prometheus that stands still; remote write
for the rest, to one that runs. Either asks first what is there, so a second run brings nothing twice.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
import polars as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from monitor.app import scope_of, supply, thresholds_of, venues_of
from monitor.clock import Clock
from monitor.config import Config, ConfigError
from monitor.deleveraging.past import Past
from monitor.deleveraging.phases import assess, features
from monitor.events import Millis
from monitor.history.store import Store
from monitor.ladder import DAY, HOUR, MINUTE
from monitor.prometheus import export, tsdb
from monitor.prometheus.export import Lots

RECENT: Millis = 3 * HOUR
"""Of the newest hours no blocks are made: they would overlap what a server still holds in memory."""
KEPT_DAYS = 400
"""As long the shipped Prometheus keeps samples; what is older it would delete at once."""
SERIES = (
    f'{{__name__=~"{"|".join(export.NAMES)}",'
    + ",".join(f'{label}="{value}"' for label, value in export.TARGET.items())
    + "}"
)

Told = Callable[[int, int], None]
"""Is told of milliseconds of history that are done, and of samples that were written."""


class Sources(msgspec.Struct, frozen=True):
    """What the samples are made of."""

    store: Store
    days: pl.DataFrame
    """Closed days of assets with their phases, as `phases.assess` gives them."""
    min_coverage: float
    start: Millis
    end: Millis

    def read(self, start: Millis, end: Millis) -> Lots:
        """The samples from `start` until before `end`."""
        # A day that closes in the span has its hours in the span before.
        hours = self.store.read("hour", start - DAY, end - HOUR)
        days = export.finest(hours, self.store.read("day", start - DAY, end - DAY))
        fine, coarse = export.of_bars(hours, "hour"), export.of_bars(days, "day")
        bars = {name: pl.concat([fine[name], coarse[name]]) for name in fine}
        bars |= export.recorded(bars)
        if self.days.is_empty():
            return export.within(bars, start, end)
        closed = self.days.filter(pl.col("day").is_between(start // DAY - 2, end // DAY))
        return export.within(bars | export.of_days(closed, self.min_coverage), start, end)

    def newest(self, start: Millis, end: Millis) -> Lots:
        """The same by minutes, where there are minutes."""
        minutes = export.of_bars(self.store.read("minute", start - MINUTE, end - MINUTE), "minute")
        minutes |= export.recorded(minutes)
        coarse = self.read(start, end)
        return {
            name: pl.concat([minutes[name], *export.lacking({name: lot}, minutes).values()])
            if name in minutes
            else lot
            for name, lot in coarse.items()
        }


async def run(
    config: Config, *, out: Path | None, data: Path | None, url: str | None, since: str | None,
    until: str | None,
) -> int:  # fmt: skip
    """Exports to what was given; 1 if it was interrupted, or a count is wrong afterwards.

    Raises:
        ConfigError: there is no history, a program is missing, a server refuses; one line.
    """
    if out is None and data is None and url is None:
        raise ConfigError("say where to: --out FILE.om, --prometheus-data DIR or --remote-write URL")
    first, last = _date("--from", since), _date("--to", until)
    if first is not None and last is not None and first >= last:
        raise ConfigError("--from: not before --to")
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    now = Clock().now()
    if data is not None:
        tsdb.program("promtool")
        tsdb.free(data)
    with Store(config.state_dir / "history", writable=False) as store:
        of = sources(config, store, now)
        start = of.start if first is None else max(first, of.start)
        end = min(of.end, last or of.end)
        if end <= start:
            raise ConfigError(f"no history between {_day(start)} and {_day(end)}")
        try:
            if out is not None:
                with _progress(console, "writing", end - start) as told:
                    written = write(of, out, start, end, told)
                console.print(f"{written:,} samples in {out}")
            if data is not None:
                oldest = start if first is not None else max(start, (now // DAY - KEPT_DAYS) * DAY)
                if not await _import(of, data, oldest, min(end, now // HOUR * HOUR - RECENT), console):
                    return 1
            if url is not None:
                kept = start if first is not None else max(start, (now // DAY - KEPT_DAYS) * DAY)
                await _send(of, url, kept, end, now, console)
        except asyncio.CancelledError:
            console.print("Interrupted. What is there is whole; the same command goes on from here.")
            return 1
    return 0


def sources(config: Config, store: Store, now: Millis) -> Sources:
    """What is stored, and the phases that follow from it.

    Raises:
        ConfigError: nothing is stored.
    """
    summary = store.summary()
    if summary.is_empty():
        raise ConfigError(
            f"{store.root} holds no history yet: `monitor run` keeps what it sees, `monitor backfill` "
            "fetches what was before"
        )
    scope, rule = scope_of(config, venues_of(config)), thresholds_of(config)
    closed = store.read("day", None, now // DAY * DAY, venues=scope.venues)
    # The last day is the one to come: no close of it is known.
    series = Past(scope.venues, rule, supply, closed).assessed
    if series.height:
        series = assess(features(series), rule)
        series = series.filter(pl.col("day") < pl.col("day").max().over("asset"))
    oldest = summary["first"].min()
    assert isinstance(oldest, int)  # noqa: S101 -- it is not empty
    return Sources(store, series, config.min_coverage, oldest // HOUR * HOUR, now // MINUTE * MINUTE + MINUTE)


def write(of: Sources, out: Path, start: Millis, end: Millis, told: Told) -> int:
    """Writes a file of OpenMetrics, whole or not at all; the number of samples.

    Raises:
        ConfigError: it cannot be written.
    """
    draft, written = out.with_name(f".{out.name}.new"), 0
    try:
        with draft.open("wb") as file:
            for begin, over in export.chunks(start, end):
                samples = of.read(begin, over)
                file.writelines(export.openmetrics(samples))
                written += export.count(samples)
                told(over - begin, export.count(samples))
            file.write(export.END)
        draft.replace(out)
    except OSError as error:
        raise ConfigError(f"--out: {out}: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)
    return written


async def _import(of: Sources, data: Path, start: Millis, end: Millis, console: Console) -> bool:
    """Makes blocks of what a folder lacks; whether all that was sent arrived."""
    sent = arrived = 0
    if end <= start:
        console.print("Nothing is older than three hours: only --remote-write has something to do.")
        return True
    try:
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leverage-monitor-")))
            client = None
            if tsdb.blocks(data):
                copy = stack.enter_context(tsdb.linked(data))
                address = await stack.enter_async_context(tsdb.server(copy))
                client = await stack.enter_async_context(tsdb.Client(address))
            told = stack.enter_context(_progress(console, "importing", end - start))
            for begin, over in export.chunks(start, end):
                samples = of.read(begin, over)
                if client is not None:
                    samples = export.lacking(samples, await _there(client, begin, over, HOUR, "5m"))
                if wanted := export.count(samples):
                    text = folder / "samples.om"
                    with text.open("wb") as file:
                        file.writelines(export.openmetrics(samples))
                        file.write(export.END)
                    arrived += await tsdb.create(text, data, "744h")
                    sent += wanted
                told(over - begin, wanted)
    except OSError as error:
        raise ConfigError(f"{data}: {error.strerror}") from error
    if arrived != sent:
        console.print(f"{sent:,} samples were written, {arrived:,} arrived in {data}")
        return False
    days = -(-(Clock().now() - start) // DAY)
    console.print(
        f"{arrived:,} samples from {_day(start)} on are new in {data}"
        + (f"; start Prometheus with --storage.tsdb.retention.time={days + 1}d or more" if arrived else "")
    )
    return True


async def _there(client: tsdb.Client, start: Millis, end: Millis, step: Millis, back: str) -> Lots:
    """What a server has, as samples without values; a scrape shortly before counts too."""
    query = f"last_over_time({SERIES}[{back}])"
    begin = -(-start // step) * step // 1000
    return export.told(await client.matrix(query, begin, (end - 1) // 1000, step // 1000))


async def _send(of: Sources, url: str, kept: Millis, end: Millis, now: Millis, console: Console) -> None:
    """Gives a running server the newest hours that it lacks.

    Raises:
        ConfigError: it does not answer, keeps too little, or refuses, or not all arrived.
    """
    start, step = max(of.start, now // MINUTE * MINUTE - RECENT), MINUTE
    async with tsdb.Client(re.sub(r"/api/v1/write/?$", "", url)) as client:
        flags = await client.ask("status/flags")
        _retention(str(flags.get("storage.tsdb.retention.time", "")), url, now - kept)
        samples = of.newest(start, end)
        lacking = export.lacking(samples, await _there(client, start, end, step, "59s"))
        await client.write(export.write_requests(lacking))
        left = export.count(export.lacking(lacking, await _there(client, start, end, step, "59s")))
    if left:
        raise ConfigError(f"{url}: took {export.count(lacking):,} samples, but {left:,} are not there")
    console.print(f"{export.count(lacking):,} samples of the last three hours are new in {url}")


_UNITS = {"ms": 1, "s": 1000, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY, "y": 365 * DAY}
DEFAULT_RETENTION = 15 * DAY
"""Of Prometheus, which shows a flag that was not set as 0."""


def _retention(flag: str, url: str, wanted: Millis) -> None:
    kept = sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+)(ms|[smhdwy])", flag))
    kept = kept or DEFAULT_RETENTION
    if kept < wanted:
        days = -(-wanted // DAY) + 1
        raise ConfigError(
            f"{url} keeps {kept / DAY:g} days and deletes older history: start it with "
            f"--storage.tsdb.retention.time={days}d, or say --from"
        )


def _date(option: str, text: str | None) -> Millis | None:
    if text is None:
        return None
    try:
        return (date.fromisoformat(text).toordinal() - date(1970, 1, 1).toordinal()) * DAY
    except ValueError as error:
        raise ConfigError(f"{option}: no date like 2025-10-10: {text!r}") from error


def _day(time: Millis) -> str:
    return f"{datetime.fromtimestamp(time / 1000, UTC):%Y-%m-%d}"


@contextmanager
def _progress(console: Console, what: str, length: Millis) -> Iterator[Told]:
    """A bar with samples a second and the time left, in a terminal."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
        TextColumn("{task.fields[rate]:>12} samples/s"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task(what, total=length, rate="")
        samples = 0

        def told(done: int, written: int) -> None:
            nonlocal samples
            samples += written
            elapsed = shown.tasks[0].elapsed or 0
            shown.update(task, advance=done, rate=f"{samples / elapsed:,.0f}" if elapsed else "")

        yield told
