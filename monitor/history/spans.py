"""The summary of a store: from when until when, how much of it, and where the holes are."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Literal

import polars as pl

from monitor.bars import STEPS, Step
from monitor.events import Millis
from monitor.history.files import Accounts

Origin = Literal["live", "backfill"]

SUMMARY = {
    "step": pl.String, "venue": pl.String, "asset": pl.String, "origin": pl.String, "sources": pl.String,
    "first": pl.Int64, "last": pl.Int64, "rows": pl.Int64, "expected": pl.Int64, "gaps": pl.Int64,
    "longest_start": pl.Int64, "longest_end": pl.Int64, "bytes": pl.Int64,
}  # fmt: skip
"""Columns of a summary.

`first`, `last`: opening times of the first and last bar, milliseconds UTC. `rows`: opening times at which
there is a bar of any of the asset's instruments on the venue; `expected`: how many there would be
without a gap. `longest_start … longest_end`: the longest gap. `bytes`: the share of the files, by rows.
"""

_Key = tuple[Step, str, str, Origin]


class Spans:
    """Adds up what files say that they have."""

    def __init__(self) -> None:
        self._runs: dict[_Key, list[tuple[Millis, Millis]]] = {}
        self._bytes: dict[_Key, float] = {}
        self._sources: dict[_Key, set[str]] = {}

    def add(self, step: Step, origin: Origin, found: Iterable[tuple[int, Accounts]]) -> None:
        """Adds files, each with its size in bytes."""
        for size, file in found:
            rows = sum(account.rows for account in file.of)
            for account in file.of:
                key = step, account.venue, account.asset, origin
                self._runs.setdefault(key, []).extend(account.runs)
                self._bytes[key] = self._bytes.get(key, 0.0) + size * account.rows / rows
                self._sources.setdefault(key, set()).update(file.sources)

    def table(self) -> pl.DataFrame:
        """A table of `SUMMARY`, sorted by step from the finest on, venue and asset."""
        order = list(STEPS)
        keys = sorted(self._runs, key=lambda key: (order.index(key[0]), *key[1:]))
        return pl.DataFrame([self._row(key) for key in keys], schema=SUMMARY, orient="row")

    def _row(self, key: _Key) -> tuple[object, ...]:
        step, venue, asset, origin = key
        length = STEPS[step]
        runs = joined(self._runs[key], length)
        gaps = [(last + length, first) for (_, last), (first, _) in pairwise(runs)]
        longest = max(gaps, key=lambda gap: gap[1] - gap[0], default=(None, None))
        first, last = runs[0][0], runs[-1][1]
        rows = sum((end - start) // length + 1 for start, end in runs)
        sources = ", ".join(sorted(self._sources[key])) or None
        return (step, venue, asset, origin, sources, first, last, rows, (last - first) // length + 1,
                len(gaps), *longest, round(self._bytes[key]))  # fmt: skip


def joined(runs: Iterable[tuple[Millis, Millis]], length: Millis) -> list[tuple[Millis, Millis]]:
    """Stretches in order, those that touch or overlap as one."""
    found: list[tuple[Millis, Millis]] = []
    for first, last in sorted(runs):
        if found and first <= found[-1][1] + length:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return found
