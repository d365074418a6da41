"""`monitor history`: what the store holds, from when until when, and where the holes are.

The table is aligned here: of three years of a few hundred markets, a library's table is most of the time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from rich.filesize import decimal

from monitor.bars import STEPS
from monitor.events import Millis
from monitor.history.store import Store
from monitor.ladder import DAY, HOUR, MINUTE

UNITS = {"d": DAY, "h": HOUR, "min": MINUTE}
HEAD = ("step", "venue", "asset", "origin", "first", "last", "bars", "gaps", "size", "longest gap")
NUMBERS = ("bars", "gaps", "size")
TIMES = ("first", "last", "longest_start", "longest_end")


def show(root: Path, *, as_json: bool) -> None:
    """Prints a row for each step, venue, asset and origin of the store in a folder."""
    with Store(root, writable=False) as store:
        rows = store.summary().to_dicts()
        bad = store.bad
    if as_json:
        said = [{f"{k}_ms" if k in TIMES else k: v for k, v in row.items()} for row in rows]
        sys.stdout.buffer.write(orjson.dumps(said, option=orjson.OPT_APPEND_NEWLINE))
        return
    for line in _lines(root, rows, bad):
        print(line)  # noqa: T201 -- the command's output


def _lines(root: Path, rows: list[dict[str, Any]], bad: int) -> Iterator[str]:
    if rows:
        cells = [HEAD, *map(_cells, rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            aligned = (
                cell.rjust(width) if name in NUMBERS else cell.ljust(width)
                for name, cell, width in zip(HEAD, row, widths, strict=True)
            )
            yield "  ".join(aligned).rstrip()
        total = decimal(sum(row["bytes"] for row in rows))
        yield f"{total} in {root}. Times are UTC; a bar is named by its opening."
    else:
        yield (
            f"{root} holds no history yet: `monitor run` keeps what it sees, "
            "`monitor backfill` fetches what was before."
        )
    if bad:
        yield f"{bad} files cannot be read and are left out; the log names them."


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    origin = row["origin"] if row["sources"] is None else f"{row['origin']}: {row['sources']}"
    return (
        row["step"], row["venue"], row["asset"], origin, _time(row["first"], row["step"]),
        _time(row["last"], row["step"]), f"{row['rows']:,} of {row['expected']:,}",
        str(row["gaps"] or ""), decimal(row["bytes"]), _gap(row),
    )  # fmt: skip


def _gap(row: dict[str, Any]) -> str:
    start, end = row["longest_start"], row["longest_end"]
    if start is None:
        return ""
    last = end - STEPS[row["step"]]
    name = _time(start, row["step"])
    return f"{_length(end - start)}: {name}" + ("" if last == start else f" to {_time(last, row['step'])}")


def _time(time: Millis, step: str) -> str:
    form = "%Y-%m-%d" if step == "day" else "%Y-%m-%d %H:%M"
    return datetime.fromtimestamp(time / 1000, UTC).strftime(form)


def _length(length: Millis) -> str:
    """In the largest unit of which it is at least two, or the minute."""
    for unit, size in UNITS.items():
        if length >= 2 * size:
            return f"{length / size:.3g} {unit}"
    return f"{length / MINUTE:.3g} min"
