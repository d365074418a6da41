"""Real frames by venue and kind; simulated ones where there are no others."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import orjson
from measure import REPOSITORY

from monitor.app import running
from monitor.clock import Clock
from monitor.config import Config
from monitor.demo import START, against
from monitor.events import Event, Instrument, kind_of
from monitor.recording import Frame, bodies, files, read
from monitor.simulated import SCENARIOS, Market, simulate
from monitor.venue import ByRule, Refused, Reply, Unreadable
from monitor.venues import VENUES

RECORDINGS = REPOSITORY / "tests" / "recordings"
CAPTURES = REPOSITORY.parent / "shared" / "captures"
NOW = 1_790_755_200_000


class Group(NamedTuple):
    """Frames of one kind that tell events, with the instruments that they name."""

    venue: str
    kind: str
    """Of the first event, and of what it is where the monitor does not subscribe that."""
    frames: list[bytes]
    instruments: dict[str, Instrument]
    subscribed: bool
    """Dated contracts and options are read, for recordings have them, and never subscribed."""


def groups() -> tuple[list[Group], str]:
    """All there are, and where they come from."""
    found: dict[tuple[str, str], Group] = {}
    sources: dict[str, int] = {}
    seen: set[bytes] = set()
    rules = {name: ByRule(venue.rule) for name, venue in VENUES.items()}
    for source, read_them in (("recordings", _recorded), ("captures", _captured), ("simulated", _simulated)):
        if source == "simulated" and found:
            break
        for venue, frame in read_them():
            events = [] if frame in seen else _events(venue, frame, rules[venue])
            if not events:
                continue
            seen.add(frame)
            of = events[0].instrument.kind
            subscribed = of not in {"future", "option"}
            kind = kind_of(type(events[0])) + ("" if subscribed else f" of {of}")
            group = found.setdefault((venue, kind), Group(venue, kind, [], {}, subscribed))
            group.frames.append(frame)
            group.instruments.update({one.instrument.symbol: one.instrument for one in events})
            sources[source] = sources.get(source, 0) + 1
    kept = [found[key] for key in sorted(found)]
    return kept, ", ".join(f"{count} of {source}" for source, count in sources.items())


def _events(venue: str, frame: bytes, of: ByRule) -> list[Event]:
    try:
        said = VENUES[venue].parse(frame, of, NOW)
    except (Refused, Unreadable):
        return []
    return [event for event in said if not isinstance(event, Reply)]


def _recorded() -> Iterator[tuple[str, bytes]]:
    """Lines `{"text": …, "events": …}`; the file's name begins with the venue's."""
    for path in sorted(RECORDINGS.glob("*.jsonl")):
        venue = next((name for name in VENUES if path.name.startswith(name)), None)
        if venue is None:
            continue
        for line in path.read_bytes().splitlines():
            yield venue, orjson.loads(line)["text"].encode()


def _captured() -> Iterator[tuple[str, bytes]]:
    """Messages of other projects' tests, as the venues send them now."""
    for path in sorted(CAPTURES.glob("*.ndjson")):
        if path.stem in VENUES:
            for line in path.read_bytes().splitlines():
                case = orjson.loads(line)
                if case["transport"] == "ws" and not case.get("legacy"):
                    yield path.stem, case["text"].encode()


def _simulated() -> Iterator[tuple[str, bytes]]:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_record(Path(folder)))
        for file in files([Path(folder)]):
            for entry in read(file):
                if isinstance(entry, Frame) and entry.source == "ws":
                    yield entry.venue, bodies(entry)[0]


async def _record(folder: Path, seconds: float = 6.0) -> None:
    clock = Clock(START, 60.0)
    async with simulate(VENUES, Market(SCENARIOS["purge"], 1, START), clock) as exchanges:
        async with running(against(Config(), exchanges), clock, record_to=folder, compute=False):
            await asyncio.sleep(seconds)
