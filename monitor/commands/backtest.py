"""`monitor backtest`: the shipped alerts over history or recordings, with what they would have told.

A Prometheus of its own, on blocks in a temporary folder, evaluates the rules' expressions as they stand.
"""

from __future__ import annotations

import csv
import itertools
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import orjson
import polars as pl
import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from monitor.app import Replay, left
from monitor.commands.offline import GRID
from monitor.commands.phases import with_supply
from monitor.config import ConfigError
from monitor.deleveraging.aggregate import days
from monitor.deleveraging.phases import Thresholds, assess, features
from monitor.events import Millis
from monitor.ladder import HOUR
from monitor.prometheus import export, tsdb
from monitor.prometheus.backtest import (
    ALWAYS,
    GATES,
    STEP_S,
    Firing,
    Judged,
    Known,
    Rule,
    always,
    judge,
    life,
    rules as rules_of,
    samples,
)
from monitor.recording import FORMAT, Header, RecordingError, Tick, files, read
from monitor.table import TableError, closes, read as read_table

LONG: Millis = 39_366 * HOUR
LONGEST = "40000h"
"""A block of four years, the largest that promtool makes when allowed so much; it is thrown away whole."""
SCRAPE_S = 5
"""As often as the shipped Prometheus reads the monitor and evaluates the rules."""
NOT_REPLAYED = "monitor_"
"""The monitor's own metrics tell of sockets and clocks, which a recording does not have."""


class Backtest(msgspec.Struct, frozen=True):
    """What a backtest found."""

    start: float
    end: float
    """Seconds UTC, of the input."""
    judged: tuple[Judged, ...]
    not_judged: Mapping[str, str]
    """By alert and severity: what it needs that the input lacks."""


async def run(paths: Sequence[Path], folder: Path, events: Path | None, *, as_json: bool) -> int:
    """Prints what the alerts would have told.

    Raises:
        ConfigError: a file cannot be used, or a program is missing; one line.
        RecordingError: a recording cannot be read.
    """
    wanted, known = read_rules(folder), [] if events is None else read_events(events)
    tables = [path for path in paths if path.suffix.lower() in (".parquet", ".csv")]
    if tables and len(tables) < len(paths):
        raise ConfigError("tables and recordings cannot be tested in one run")
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    if tables:
        try:
            held = pl.concat([closes(read_table(path), str(path)) for path in tables])
        except TableError as error:
            raise ConfigError(str(error)) from error
        tested = await of_closes(held, wanted, known, console)
    else:
        tested = await of_recordings(paths, wanted, known, console)
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(_object(tested), option=orjson.OPT_APPEND_NEWLINE))
    else:
        _print(tested, known)
    return 0


def read_rules(folder: Path) -> list[Rule]:
    """The alerts of the files of a folder.

    Raises:
        ConfigError: there is none, or a file is no file of rules.
    """
    found: list[Rule] = []
    for file in sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")]):
        try:
            found += rules_of(yaml.safe_load(file.read_text(encoding="utf-8"))["groups"])
        except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConfigError(f"{file}: no rules of Prometheus: {said}") from error
    if not found:
        raise ConfigError(f"--rules: {folder}: no alert in a .yml file there")
    return found


def read_events(file: Path) -> list[Known]:
    """Known events of a CSV.

    Raises:
        ConfigError: it cannot be read, or a row has no date or label.
    """
    found = []
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            rows = csv.DictReader(lines)
            if rows.fieldnames is None or not {"date", "label"} <= set(rows.fieldnames):
                raise ConfigError(f"--events: {file}: columns 'date' and 'label' are needed")
            for number, row in enumerate(rows, 1):
                try:
                    at = datetime.fromisoformat((row["date"] or "").strip())
                except ValueError as error:
                    raise ConfigError(
                        f"--events: {file}: column 'date', row {number}: no date: {row['date']!r}"
                    ) from error
                at = at if at.tzinfo else at.replace(tzinfo=UTC)
                found.append(
                    Known(
                        at.timestamp(), (row["label"] or "").strip(), row.get("asset") or None,
                        row.get("alert") or "PurgeStarted",
                    )
                )  # fmt: skip
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"--events: {file}: {getattr(error, 'strerror', None) or error}") from error
    return found


async def of_closes(
    held: pl.DataFrame, wanted: Sequence[Rule], known: Sequence[Known], console: Console,
    since: Millis | None = None,
) -> Backtest:  # fmt: skip
    """Tests the alerts on daily closes of instruments (`aggregate.CLOSES`), from a time on if one is given.

    Raises:
        ConfigError: a program is missing or fails.
        TableError: there is no day that has ended.
    """
    rule = Thresholds()
    if held.is_empty():
        raise ConfigError("no day of the table has ended")
    made = samples(assess(features(days(with_supply(held))), rule), rule, wanted)
    with tempfile.TemporaryDirectory(prefix="leverage-monitor-") as folder:
        times = made["leverage_coverage_ratio"]["time"].to_list()
        first, last = max(min(times), since or 0), max(times)
        await fill(Path(folder), made, first, last + 1, console)
        return await ask(
            Path(folder) / "data", wanted, known, (first // 1000, last // 1000), STEP_S,
            rule.min_coverage, console,
        )  # fmt: skip


async def fill(
    folder: Path, made: Mapping[str, pl.DataFrame], start: Millis, end: Millis, console: Console
) -> None:
    """Stores samples in `data` of a folder.

    Raises:
        ConfigError: promtool is missing, fails or loses samples.
    """
    parts = export.chunks(start, end, LONG)
    with _progress(console) as shown:
        for begin, over in shown.track(parts, description="storing"):
            part = export.within(made, begin, over)
            text = folder / "samples.om"
            with text.open("wb") as file:
                file.writelines(export.openmetrics(part))
                file.write(export.END)
            arrived = await tsdb.create(text, folder / "data", LONGEST)
            if arrived != export.count(part):
                raise ConfigError(f"promtool stored {arrived} of {export.count(part)} samples")


async def of_recordings(
    paths: Sequence[Path], wanted: Sequence[Rule], known: Sequence[Known], console: Console
) -> Backtest:
    """Tests the alerts on recordings, read as often as the shipped Prometheus reads the monitor.

    A demo's market runs faster than the clock of the rules: times are those of the market, durations of the
    rules (`for`, windows) those of the clock, as they were when it was recorded.

    Raises:
        ConfigError: a program is missing or fails, or nothing was recorded.
        RecordingError: a recording cannot be read.
    """
    found = files(paths)
    header, machine = _machine(found[0])
    speed = header.speed
    with tempfile.TemporaryDirectory(prefix="leverage-monitor-") as temporary:
        folder = Path(temporary)
        text, states = folder / "samples.om", folder / "states.om"
        began, times, assets = _scrape(machine, found, speed, wanted, text, console)
        if not times:
            raise ConfigError("nothing of the recordings could be evaluated")
        await tsdb.create(text, folder / "data", LONGEST)
        every = pl.DataFrame({"time": [at * 1000 for at in times]}, schema={"time": pl.Int64})
        of = every.join(pl.DataFrame({"asset": sorted(assets)}, schema={"asset": pl.String}), how="cross")
        lot = {ALWAYS: always(wanted, of.select("asset", "time"), every)}
        with states.open("wb") as file:
            file.writelines(export.openmetrics(lot))
            file.write(export.END)
        await tsdb.create(states, folder / "data", LONGEST)

        def market(at: float) -> float:
            return began + (at - began) * speed

        clock = [
            msgspec.structs.replace(one, at=began + (one.at - began) / speed) for one in known
        ]  # fmt: skip
        tested = await ask(
            folder / "data", wanted, clock, (times[0], times[-1]), SCRAPE_S, header.min_coverage, console
        )
        return tested if speed == 1 else _stretched(tested, market, speed)


def _machine(first: Path) -> tuple[Header, Replay]:
    """Set up as a recording says; with a grid of seconds if none of its ticks comes soon."""
    entries = list(itertools.islice(read(first), 20_000))
    header = entries[0] if entries else None
    if not isinstance(header, Header) or header.format != FORMAT:
        raise RecordingError(f"{first}: line 1: no header of a recording of format {FORMAT}")
    ticks = any(isinstance(entry, Tick) for entry in entries)
    return header, Replay(header, None if ticks else int(GRID * header.speed), left(first))


def _scrape(
    machine: Replay, found: Sequence[Path], speed: float, wanted: Sequence[Rule], text: Path, console: Console
) -> tuple[float, list[int], set[str]]:
    """Writes what the rules read, every `SCRAPE_S` of the clock; the beginning and times, seconds."""
    names = {re.split(r"[{ ]", one)[0] for rule in wanted for one in rule.selectors}
    names = {name for name in names if not name.startswith(NOT_REPLAYED)}
    target = ",".join(f'{label}="{value}"' for label, value in export.TARGET.items())
    began: float | None = None
    times: list[int] = []
    assets: set[str] = set()
    with text.open("w", encoding="utf-8") as file, _progress(console) as shown:
        task = shown.add_task("replaying", total=sum(path.stat().st_size for path in found))
        for path in found:
            for entry in read(path):
                if isinstance(entry, Header):
                    continue
                at = (entry.now if isinstance(entry, Tick) else entry.received) / 1000
                began = float(int(at)) if began is None else began
                if (computed := machine.entry(entry)) is None:
                    continue
                clock = int(began + (computed.now / 1000 - began) / speed) // SCRAPE_S * SCRAPE_S
                if times and clock <= times[-1]:
                    continue
                times.append(clock)
                assets.update(computed.views.asset["asset"].to_list())
                for line in machine.board.market_text().decode().splitlines():
                    name, brace, rest = line.partition("{")
                    if name in names and brace:
                        file.write(f"{name}{{{target}{',' if rest[0] != '}' else ''}{rest} {clock}\n")
            shown.advance(task, path.stat().st_size)
        file.write(export.END.decode())
    return began or 0.0, times, assets


def _stretched(of: Backtest, market: Callable[[float], float], speed: float) -> Backtest:
    """The same with times of the market."""

    def firing(one: Firing) -> Firing:
        end = None if one.end is None else market(one.end)
        return msgspec.structs.replace(one, start=market(one.start), end=end)

    judged = tuple(
        msgspec.structs.replace(
            one, firings=tuple(map(firing, one.firings)), blind_s=one.blind_s * speed,
            start=market(one.start), end=market(one.end),
            wrong=None if one.wrong is None else tuple(map(firing, one.wrong)),
            matches={
                key: (msgspec.structs.replace(event, at=market(event.at)), firing(found))
                for key, (event, found) in one.matches.items()
            },
            missed=tuple(msgspec.structs.replace(event, at=market(event.at)) for event in one.missed),
        )
        for one in of.judged
    )  # fmt: skip
    return msgspec.structs.replace(of, start=market(of.start), end=market(of.end), judged=judged)


# Asking Prometheus.


async def ask(
    data: Path, wanted: Sequence[Rule], known: Sequence[Known], span: tuple[int, int], step: int,
    min_coverage: float, console: Console,
) -> Backtest:  # fmt: skip
    """Evaluates rules over what lies in a folder of Prometheus, every `step` seconds of a span.

    Raises:
        ConfigError: a program is missing or fails.
    """
    start, end = span
    judged: list[Judged] = []
    lacking: dict[str, str] = {}
    async with tsdb.server(data) as address, tsdb.Client(address) as client:
        have: dict[str, set[str]] = {}
        with _progress(console) as shown:
            for rule in shown.track(wanted, description="evaluating"):
                for one in rule.selectors:
                    if one not in have:
                        have[one] = await _there(client, one, start, end)
                missing = [one for one in rule.selectors if not have[one]]
                if missing or not rule.selectors:
                    name = f"{rule.alert} ({rule.labels.get('severity', '')})"
                    lacking[name] = ", ".join(missing) or "nothing: it fires whatever happens"
                else:
                    own = [one for one in rule.selectors if not one.startswith(GATES)] or rule.selectors
                    judged += await _judge(
                        client, rule, have[own[0]], known, (start, end, step), min_coverage
                    )  # fmt: skip
    return Backtest(float(start), float(end + step), tuple(judged), lacking)


async def _there(client: tsdb.Client, selector: str, start: int, end: int) -> set[str]:
    """Assets of which there are such series; an empty name where they are of none."""
    found = await client.ask("series", match=selector, start=str(start), end=str(end))
    return {series.get("asset", "") for series in found}


async def _judge(
    client: tsdb.Client, rule: Rule, assets: set[str], known: Sequence[Known], span: tuple[int, int, int],
    min_coverage: float,
) -> list[Judged]:  # fmt: skip
    start, end, step = span
    steps = (end - start) // step + 1
    alone = _instants(await client.matrix(rule.expr, start, end, step), start, step)
    held = alone
    if rule.firing != rule.expr:
        held = _instants(await client.matrix(rule.firing, start, end, step), start, step)
    seen = dict.fromkeys(assets, 0)
    for labels, points in await client.matrix(rule.known(min_coverage), start, end, step):
        seen[labels.get("asset", "")] = len(points)
    firings: dict[str, list[Firing]] = {asset: [] for asset in seen}
    for key, true in alone.items():
        stays = held.get(key, set())
        spans = life(
            [n in true for n in range(steps)], [n in stays for n in range(steps)], step, rule.for_s,
            rule.keep_s,
        )  # fmt: skip
        labels = {k: v for k, v in dict(key).items() if k not in export.TARGET}
        asset = {**labels, **rule.labels}.get("asset", "")
        firings.setdefault(asset, []).extend(
            Firing(rule.alert, labels, start + a, None if b is None else start + b) for a, b in spans
        )
    return [
        judge(
            Judged(
                rule.alert, rule.labels.get("severity", ""), asset, tuple(sorted(of, key=_start)),
                float((steps - seen.get(asset, 0)) * step), float(start), float(end + step),
            ),
            known, start, end + step,
        )
        for asset, of in sorted(firings.items())
    ]  # fmt: skip


def _start(one: Firing) -> float:
    return one.start


def _instants(found: tsdb.Matrix, start: int, step: int) -> dict[tuple[tuple[str, str], ...], set[int]]:
    """Numbers of the instants at which each series has an answer, by its labels."""
    instants: dict[tuple[tuple[str, str], ...], set[int]] = {}
    for labels, points in found:
        key = tuple(sorted((k, v) for k, v in labels.items() if k != "__name__"))
        instants.setdefault(key, set()).update(round((at - start) / step) for at, _ in points)
    return instants


# The text.


def _object(of: Backtest) -> dict[str, Any]:
    judged = []
    for one in of.judged:
        plain = msgspec.to_builtins(one)
        plain["matches"] = [
            {"event": msgspec.to_builtins(event), "firing": msgspec.to_builtins(firing),
             "delay_s": firing.start - event.at}
            for event, firing in one.matches.values()
        ]  # fmt: skip
        judged.append(plain | {"wrong_a_month": one.wrong_a_month})
    return {"start_s": of.start, "end_s": of.end, "judged": judged, "not_judged": dict(of.not_judged)}


def _print(of: Backtest, known: Sequence[Known]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 10_000
    each = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("fired", "ended", "alert", "asset", "lasted", "event", "delay"):
        each.add_column(name, no_wrap=True, justify="right" if name in ("lasted", "delay") else "left")
    for one in of.judged:
        near = {id(firing): event for event, firing in one.matches.values()}
        for firing in one.firings:
            event = near.get(id(firing))
            lasted = (of.end if firing.end is None else firing.end) - firing.start
            each.add_row(
                _time(firing.start), "still fires" if firing.end is None else _time(firing.end), one.alert,
                one.asset, _length(lasted), event.label if event else "",
                _length(firing.start - event.at) if event else "",
            )  # fmt: skip
    console.print(each if each.row_count else "No alert would have fired.")
    console.print()
    console.print(summary(of.judged))
    for one in of.judged:
        if one.missed:
            named = ", ".join(f"{event.label} ({_time(event.at)[:10]})" for event in one.missed)
            console.print(f"{one.alert} {one.asset} missed: {named}", markup=False)
    for name, why in of.not_judged.items():
        console.print(f"not judged: {name}, lacking {why}", markup=False)
    console.print(f"From {_time(of.start)} to {_time(of.end)} UTC. Blind: could not have told.", style="dim")
    if known:
        console.print("Delays count from the event's time; a date is its 00:00 UTC.", style="dim")


def summary(judged: Sequence[Judged]) -> Table:
    """A row for each alert and asset."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("alert", "severity", "asset"):
        table.add_column(name, no_wrap=True)
    for name in ("firings", "share of time", "events found", "median delay", "false a month", "blind"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in judged:
        table.add_row(one.alert, one.severity, one.asset, *cells(one))
    return table


def cells(one: Judged) -> list[str]:
    """Firings, share of time, events found, median delay, false alarms a month, blind share."""
    lasted = sum((one.end if firing.end is None else firing.end) - firing.start for firing in one.firings)
    events = len(one.matches) + len(one.missed)
    wrong = one.wrong_a_month
    return [
        str(len(one.firings)), f"{lasted / one.length_s:.1%}",
        f"{len(one.matches)} of {events}" if events else "",
        _length(median(one.delays_s)) if one.matches else "",
        "" if wrong is None else f"{wrong:.2f}", f"{one.blind_s / one.length_s:.1%}",
    ]  # fmt: skip


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"


def _length(seconds: float) -> str:
    """In the largest unit of which it is at least one."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if abs(seconds) >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
