"""Thresholds chosen without a year, or without an event, and judged on it; intervals by block bootstrap."""

from __future__ import annotations

import random
from itertools import product

import polars as pl

from evaluation.history import day
from evaluation.scoring import EVENTS, NEAR, SINCE, Score, score, walk
from monitor.deleveraging.phases import Thresholds

GRID_Z = (-4.0, -5.0, -6.0, -7.0)
GRID_GROWTH = (-0.05, -0.06, -0.07, -0.08)
WAYS = ("F1", "found")
MOST_A_YEAR = 4.0
DRAWS, BLOCK, SEED = 2000, 30, 20191

Pair = tuple[float, float]
DEFAULT: Pair = (Thresholds().purge_z, Thresholds().purge_growth)


def grid(frame: pl.DataFrame) -> dict[Pair, list[int]]:
    """Days on which purges began, by the thresholds of the one-day rule."""
    return {
        (z, growth): [entry.day for entry in walk(frame, Thresholds(purge_z=z, purge_growth=growth))[1]]
        for z, growth in product(GRID_Z, GRID_GROWTH)
    }


def worth(found: int, unmatched: int, events: int) -> float:
    """F1: the harmonic mean of recall and precision, where each event found counts as one right alarm."""
    return 2 * found / (found + unmatched + events)


def best(scores: dict[Pair, tuple[int, int, int]], years: float, way: str) -> Pair:
    """The pair of the highest F1, or of most events at an accepted rate; of equals nearest the defaults."""

    def rank(pair: Pair) -> tuple[float, ...]:
        found, unmatched, _ = scores[pair]
        far = round(abs(pair[0] - DEFAULT[0]) + 100 * abs(pair[1] - DEFAULT[1]), 9)
        if way == "F1":
            return (round(worth(*scores[pair]), 9), -far)
        return (unmatched / years <= MOST_A_YEAR, found, -unmatched, -far)

    return max(scores, key=rank)


def without_a_year(alarms: dict[Pair, list[int]], until: int, way: str) -> list[tuple[int, Pair, Score]]:
    """For each year the pair that the other years choose, and what it does in that year."""
    rows = []
    for year in range(2019, 2025):
        a, b = max(SINCE, day(f"{year}-01-01")), min(until, day(f"{year}-12-31"))
        others = {}
        for pair, days in alarms.items():
            whole, part = score(days, SINCE, until), score(days, a, b)
            others[pair] = (
                len(whole.found) - len(part.found), len(whole.unmatched) - len(part.unmatched),
                whole.events - part.events,
            )  # fmt: skip
        pair = best(others, (until - SINCE - (b - a)) / 365.25, way)
        rows.append((year, pair, score(alarms[pair], a, b)))
    return rows


def without_an_event(alarms: dict[Pair, list[int]], until: int, way: str) -> list[tuple[int, Pair, bool]]:
    """For each event the pair that the others choose, and whether it finds that event."""
    rows = []
    for event in EVENTS:
        rest = tuple(other for other in EVENTS if other != event)
        others = {}
        for pair, days in alarms.items():
            far = [alarm for alarm in days if abs(alarm - event) > NEAR]
            one = score(far, SINCE, until, rest)
            others[pair] = (len(one.found), len(one.unmatched), one.events)
        pair = best(others, (until - SINCE + 1) / 365.25, way)
        rows.append((event, pair, any(abs(alarm - event) <= NEAR for alarm in alarms[pair])))
    return rows


def bootstrap(one: Score, until: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """90 % intervals of recall and of unmatched alarms a year over blocks of 30 days, seeded."""
    length = until - SINCE + 1
    totals = {"events": [0], "found": [0], "unmatched": [0]}
    marks = {"events": set(EVENTS), "found": set(one.found), "unmatched": set(one.unmatched)}
    for at in range(SINCE, SINCE + 2 * length):
        of = SINCE + (at - SINCE) % length
        for name, total in totals.items():
            total.append(total[-1] + (of in marks[name]))
    chance = random.Random(SEED)
    recalls, rates = [], []
    for _ in range(DRAWS):
        starts = [chance.randrange(length) for _ in range(round(length / BLOCK))]
        sums = {name: sum(t[s + BLOCK] - t[s] for s in starts) for name, t in totals.items()}
        if sums["events"]:
            recalls.append(sums["found"] / sums["events"])
        rates.append(sums["unmatched"] / (len(starts) * BLOCK) * 365.25)
    return _interval(recalls), _interval(rates)


def _interval(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return ordered[round(0.05 * (len(ordered) - 1))], ordered[round(0.95 * (len(ordered) - 1))]
