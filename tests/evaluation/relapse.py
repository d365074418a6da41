"""How often a purge follows within days of entering a phase, and how good that is as a forecast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from evaluation.history import text
from evaluation.scoring import SINCE

HORIZONS = (7, 14, 30)
PHASES = ("stabilising", "reset", "stretched")
Counts = dict[int, tuple[int, int]]
"""Horizon in days to how often a purge followed, and of how many."""


class Forecast(NamedTuple):
    """A frequency that was shown on a day, from the other years alone, and what came."""

    day: int
    phase: str
    shown: float
    base: float
    came: bool


def smoothed(count: tuple[int, int]) -> float:
    """Mean of the posterior of a frequency under Beta(1, 1)."""
    return (count[0] + 1) / (count[1] + 2)


def entered(days: Sequence[int], phases: Sequence[str], phase: str) -> list[int]:
    """Days on which a phase was entered."""
    before = ["", *phases]
    steps = zip(days, phases, before, strict=False)
    return [d for d, now, was in steps if now == phase != was and d >= SINCE]


def free(days: Sequence[int], phases: Sequence[str]) -> list[int]:
    """Days outside purges."""
    return [
        d for d, phase in zip(days, phases, strict=True)
        if phase not in ("purge", "undetermined") and d >= SINCE
    ]  # fmt: skip


def counts(starts: Sequence[int], purges: Sequence[int], until: int) -> Counts:
    """Of the starts that the history still covers, how many had a purge after them, by horizon."""
    found = {}
    for horizon in HORIZONS:
        whole = [d for d in starts if d + horizon <= until]
        found[horizon] = (sum(any(d < p <= d + horizon for p in purges) for d in whole), len(whole))
    return found


def forecasts(
    days: Sequence[int], phases: Sequence[str], purges: Sequence[int], horizon: int
) -> Iterator[Forecast]:
    """What would have been shown on each day outside purges, counted without the day's own year."""
    until = days[-1]
    everything = free(days, phases)
    starts = {phase: entered(days, phases, phase) for phase in PHASES}
    tables: dict[str, dict[str, float]] = {}
    for year in {text(d)[:4] for d in everything}:
        other = {p: [d for d in of if text(d)[:4] != year] for p, of in (*starts.items(), ("", everything))}
        tables[year] = {p: smoothed(counts(of, purges, until)[horizon]) for p, of in other.items()}
    phase_of = dict(zip(days, phases, strict=True))
    for d in everything:
        if d + horizon <= until:
            table = tables[text(d)[:4]]
            came = any(d < p <= d + horizon for p in purges)
            yield Forecast(d, phase_of[d], table.get(phase_of[d], table[""]), table[""], came)


def brier(some: Sequence[Forecast]) -> tuple[float, float]:
    """Mean squared error of the frequencies shown, and of the unconditional one."""
    return (
        sum((f.shown - f.came) ** 2 for f in some) / len(some),
        sum((f.base - f.came) ** 2 for f in some) / len(some),
    )
