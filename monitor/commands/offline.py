"""`monitor replay` and `monitor decode`: frames that were recorded."""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import orjson
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from monitor.app import Replay, left
from monitor.config import ConfigError, address
from monitor.events import as_json
from monitor.feeds.feed import UNREADABLE
from monitor.recording import FORMAT, Entry, Header, RecordingError, Tick, files, read
from monitor.serve import serve
from monitor.venue import ByRule, Refused, Reply, Venue

GRID = 1000
"""Milliseconds between the instants of a replay whose recording has none."""


async def replay(paths: Sequence[Path], *, speed: float, metrics: Path | None, listen: str | None) -> int:
    """Replays; serves meanwhile if asked, and afterwards until cancelled."""
    if listen is not None:
        try:
            address(listen)
        except ValueError as error:
            raise ConfigError(f"--listen: {error}") from error
    found = files(paths)
    machine = _machine(found)
    console = Console(stderr=True)
    if listen is None:
        await _feed(machine, found, speed, console)
        _write(machine, metrics)
        return 0
    async with serve(listen, machine.board) as bound:
        console.print(f"Metrics      http://{bound}/metrics", highlight=False)
        await _feed(machine, found, speed, console)
        _write(machine, metrics)
        console.print("The replay is over; serving its last instant until Ctrl-C.")
        await asyncio.Event().wait()
    return 0


def _machine(found: Sequence[Path]) -> Replay:
    """Set up as the first recording says; with a grid of seconds if none of its ticks comes soon."""
    entries = list(itertools.islice(read(found[0]), 20_000))
    if not entries or not isinstance(entries[0], Header):
        raise RecordingError(f"{found[0]}: line 1: no header of a recording")
    header = entries[0]
    if header.format != FORMAT:
        raise RecordingError(f"{found[0]}: format {header.format}, this monitor reads {FORMAT}")
    ticks = any(isinstance(entry, Tick) for entry in entries)
    return Replay(header, None if ticks else int(GRID * header.speed), left(found[0]))


def _entries(found: Sequence[Path], progress: Progress) -> Iterator[Entry]:
    task = progress.add_task("replaying", total=sum(path.stat().st_size for path in found))
    for path in found:
        yield from read(path)
        progress.advance(task, path.stat().st_size)


async def _feed(machine: Replay, found: Sequence[Path], speed: float, console: Console) -> None:
    with Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(),
        console=console, transient=True,
    ) as progress:  # fmt: skip
        first: int | None = None
        began = time.monotonic()
        for number, entry in enumerate(_entries(found, progress)):
            if isinstance(entry, Header):
                continue
            at = entry.now if isinstance(entry, Tick) else entry.received
            first = at if first is None else first
            if speed:
                due = began + (at - first) / 1000 / speed
                while (wait := due - time.monotonic()) > 0:
                    machine.advance(at - int(wait * 1000 * speed))
                    await asyncio.sleep(min(wait, 0.1))
            elif number % 200 == 0:
                await asyncio.sleep(0)
            machine.entry(entry)
        machine.end()
    frames = sum(machine.health.frames.values())
    events = sum(machine.health.events.values())
    unread = sum(n for (_, stage), n in machine.health.errors.items() if stage == "parse")
    console.print(f"{frames} frames, {events} events, {unread} unreadable", highlight=False)


def _write(machine: Replay, metrics: Path | None) -> None:
    """The text at the end, in one step: a reader never sees half of it."""
    if metrics is None:
        return
    text = machine.board.market_text()
    try:
        metrics.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=metrics.parent, delete=False) as file:
            file.write(text)
        os.replace(file.name, metrics)  # noqa: PTH105 -- Path.replace is the same, less plainly
    except OSError as error:
        raise ConfigError(f"--metrics {metrics}: {error.strerror}") from error


def decode(venue: Venue, lines: BinaryIO, out: BinaryIO) -> int:
    """Events of a venue's frames, one a line. Returns the exit status."""
    instruments = ByRule(venue.rule)
    status = 0
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text:
            continue
        try:
            frame, source = unwrap(text)
            received = int(time.time() * 1000)
            parse = next((p.parse for p in venue.polls if p.channel.name == source), venue.parse)
            for event in parse(frame, instruments, received):
                if not isinstance(event, Reply):
                    out.write(orjson.dumps(as_json(event)) + b"\n")
        except Refused as refused:
            console.print(f"line {number}: the venue refuses: {refused}")
        except UNREADABLE as error:
            console.print(f"line {number}: {error}")
            status = 1
    out.flush()
    return status


def unwrap(text: bytes) -> tuple[bytes, str]:
    """The frame of a line, and its source where the line is a wrapper that names one."""
    if b'"text"' in text:
        try:
            wrapper = orjson.loads(text)
        except orjson.JSONDecodeError:
            return text, "ws"
        if isinstance(wrapper, dict) and isinstance(wrapper.get("text"), str):
            return wrapper["text"].encode(), str(wrapper.get("source", "ws"))
    return text, "ws"
