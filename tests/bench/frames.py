"""Real frames by venue and kind; simulated ones where there are no others."""

from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
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
    frames: list[bytes]
    instruments: dict[str, Instrument]


def groups() -> tuple[list[Group], str]:
    """All there are, and where they come from."""
    found: defaultdict[tuple[str, str], dict[bytes, None]] = defaultdict(dict)
    sources = []
    for name, read_them in (("recordings", _recorded), ("captures", _captured), ("simulated", _simulated)):
        if name == "simulated" and found:
            break
        before = len(found)
        for venue, kind, frame in read_them():
            found[venue, kind][frame] = None
        if len(found) > before:
            sources.append(name)
    kept = []
    for (venue, kind), frames in sorted(found.items()):
        of = ByRule(VENUES[venue].rule)
        telling = [frame for frame in frames if _events(venue, frame, of)]
        if telling:
            kept.append(Group(venue, kind, telling, dict(of)))
    return kept, " and ".join(sources)


def _events(venue: str, frame: bytes, of: ByRule) -> list[Event]:
    try:
        said = VENUES[venue].parse(frame, of, NOW)
    except (Refused, Unreadable):
        return []
    return [event for event in said if not isinstance(event, Reply)]


def _kind(venue: str, frame: bytes) -> str:
    events = _events(venue, frame, ByRule(VENUES[venue].rule))
    return "+".join(dict.fromkeys(kind_of(type(event)) for event in events))


def _recorded() -> Iterator[tuple[str, str, bytes]]:
    """Lines `{"text": …, "events": …}`; the file's name begins with the venue's."""
    for path in sorted(RECORDINGS.glob("*.jsonl")):
        venue = next((name for name in VENUES if path.name.startswith(name)), None)
        if venue is None:
            continue
        for line in path.read_bytes().splitlines():
            frame = _text(orjson.loads(line)["text"])
            if kind := _kind(venue, frame):
                yield venue, kind, frame


def _captured() -> Iterator[tuple[str, str, bytes]]:
    """Messages of other projects' tests, as the venues send them now."""
    for path in sorted(CAPTURES.glob("*.ndjson")):
        if path.stem in VENUES:
            for line in path.read_bytes().splitlines():
                case = orjson.loads(line)
                if case["transport"] == "ws" and not case.get("legacy"):
                    yield path.stem, case["kind"], _text(case["text"])


def _text(text: str) -> bytes:
    return text.encode()


def _simulated() -> Iterator[tuple[str, str, bytes]]:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_record(Path(folder)))
        for file in files([Path(folder)]):
            for entry in read(file):
                if isinstance(entry, Frame) and entry.source == "ws":
                    frame = bodies(entry)[0]
                    if kind := _kind(entry.venue, frame):
                        yield entry.venue, kind, frame


async def _record(folder: Path, seconds: float = 6.0) -> None:
    clock = Clock(START, 60.0)
    async with simulate(VENUES, Market(SCENARIOS["purge"], 1, START), clock) as exchanges:
        async with running(against(Config(), exchanges), clock, record_to=folder, compute=False):
            await asyncio.sleep(seconds)
