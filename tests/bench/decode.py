"""What reading a frame costs, in units of `orjson.loads` of the same frame."""

from __future__ import annotations

import math
import subprocess
import venv
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib.metadata import version

from frames import NOW, Group, groups
from measure import HERE, REPOSITORY, Row, console, geometric_mean, in_turns, ratio, show
from orjson import dumps, loads

from monitor.venues import VENUES

ENVIRONMENT = REPOSITORY / ".tools" / "bench-cryptofeed"
PEER = "cryptofeed==2.4.1"


def section(*, with_cryptofeed: bool) -> list[Row]:
    found, sources = groups()
    ratios = {(group.venue, group.kind): _measured(group) for group in found}
    rows = [
        Row(f"{group.venue} {group.kind}, {len(group.frames)} frames", ratios[group.venue, group.kind])
        for group in found
    ]
    ours = [ratios[group.venue, group.kind] for group in found if group.subscribed]
    others = [ratios[group.venue, group.kind] for group in found if not group.subscribed]
    rows.append(Row(f"what is subscribed, {len(ours)} kinds: geometric mean", geometric_mean(ours), 1.0))
    if others:
        rows.append(Row(f"dated and options, {len(others)} kinds: geometric mean", geometric_mean(others)))
    notes = [f"Frames: {sources}."]
    if with_cryptofeed:
        rows += _beside(found, notes)
    show("decode: parse and map, in units of orjson.loads", rows, notes)
    return rows


def _measured(group: Group) -> float:
    """Median ratio over the rounds."""
    parse, instruments, frames = VENUES[group.venue].parse, group.instruments, group.frames

    def ours() -> None:
        for frame in frames:
            parse(frame, instruments, NOW)

    def theirs() -> None:
        for frame in frames:
            loads(frame)

    repeat = _repeat(theirs)
    return ratio(in_turns({"ours": ours, "orjson": theirs}, 15, repeat), "ours", "orjson")


def _repeat(call: Callable[[], None]) -> int:
    """How often to call it so that the clock's grain does not matter."""
    once = in_turns({"it": call}, 5, 20)["it"]
    return max(1, math.ceil(0.003 / max(min(once), 1e-7)))


def _beside(found: Sequence[Group], notes: list[str]) -> list[Row]:
    """The same frames through cryptofeed's handlers, in its own process, over orjson there."""
    try:
        said = _peer(found)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        reason = str(getattr(error, "stderr", None) or error).strip().rpartition("\n")[2]
        notes.append(f"cryptofeed not measured: {reason[:120]}")
        return []
    both: defaultdict[str, list[float]] = defaultdict(list)
    names: list[str] = []
    for group, (theirs, handled) in zip(found, said, strict=True):
        if handled:
            ours = _measured(group._replace(frames=[group.frames[at] for at in handled]))
            both["theirs"].append(theirs)
            both["ours"].append(ours)
            both["quotient"].append(theirs / ours)
            names.append(f"{group.venue} {group.kind}")
    if not both:
        notes.append("cryptofeed not measured: it handles none of these frames.")
        return []
    count = len(names)
    notes.append(f"{PEER.replace('==', ' ')} handles {', '.join(names)}.")
    return [
        Row(f"cryptofeed, {count} kinds that it handles", geometric_mean(both["theirs"])),
        Row(f"ours, the same {count} kinds", geometric_mean(both["ours"])),
        Row("cryptofeed / ours, geometric mean", geometric_mean(both["quotient"]), 4.0, least=True),
    ]


def _peer(found: Sequence[Group]) -> list[tuple[float, list[int]]]:
    python = ENVIRONMENT / "bin" / "python"
    ready = [str(python), "-c", "import cryptofeed, orjson"]
    if not python.exists() or subprocess.run(ready, capture_output=True, check=False).returncode:
        console.print(f"installing {PEER} into {ENVIRONMENT.relative_to(REPOSITORY)}")
        venv.create(ENVIRONMENT, with_pip=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", PEER,
             f"orjson=={version('orjson')}"],
            capture_output=True, check=True, text=True, timeout=600,
        )  # fmt: skip
    asked = [
        {
            "venue": group.venue,
            "symbols": list(group.instruments),
            "frames": [frame.decode() for frame in group.frames],
        }
        for group in found
    ]
    done = subprocess.run(
        [str(python), str(HERE / "peer.py")], input=dumps(asked), capture_output=True, check=True, timeout=120
    )
    answers: list[tuple[float, list[int]]] = loads(done.stdout)
    return answers
