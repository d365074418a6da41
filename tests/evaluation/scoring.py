"""Purges that the machine finds, held against the events of methodology 8."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

import polars as pl

from evaluation.history import day, text
from monitor.deleveraging.phases import Machine, Row, State, Thresholds

EVENTS = tuple(
    day(one)
    for one in (
        "2019-09-24", "2020-03-12", "2020-05-10", "2020-09-03", "2020-11-26", "2021-01-11", "2021-02-22",
        "2021-04-18", "2021-05-19", "2021-09-07", "2021-12-04", "2022-01-21", "2022-05-11", "2022-06-13",
        "2022-11-08", "2023-08-17", "2024-01-03", "2024-04-13", "2024-07-05", "2024-08-05",
    )
)  # fmt: skip
NEAR = 2
"""Days between an event and the purge that is taken for it."""
SINCE = day("2019-09-01")
YEAR = 365.25


class Entry(NamedTuple):
    """A purge began."""

    day: int
    state: State
    before: str
    row: Row

    @property
    def one_day(self) -> bool:
        """Whether the one-day rule found it, and not the one of three days."""
        return self.state.reasons[0].condition == "growth_1d"


class Score(NamedTuple):
    """What alarms are worth against events."""

    found: dict[int, int]
    """Event to the alarm that is nearest."""
    unmatched: list[int]
    alarms: int
    events: int
    years: float

    @property
    def recall(self) -> float:
        return len(self.found) / self.events

    @property
    def precision(self) -> float:
        return (self.alarms - len(self.unmatched)) / self.alarms if self.alarms else 0.0

    @property
    def a_year(self) -> float:
        """Unmatched alarms a year."""
        return len(self.unmatched) / self.years

    @property
    def delay(self) -> float:
        """Mean days from event to alarm."""
        return sum(alarm - event for event, alarm in self.found.items()) / max(1, len(self.found))


def walk(frame: pl.DataFrame, rule: Thresholds | None = None) -> tuple[list[State], list[Entry]]:
    """The states of one asset's features, and where purges began."""
    rows = frame.rows(named=True)
    states = list(Machine(rule or Thresholds()).run(iter(rows)))
    before = ["undetermined", *(state.phase for state in states)]
    entries = [
        Entry(row["day"], state, was, row)
        for row, state, was in zip(rows, states, before, strict=False)
        if state.phase == "purge" != was
    ]
    return states, entries


def score(alarms: Sequence[int], since: int, until: int, events: Sequence[int] = EVENTS) -> Score:
    """Holds alarms of the days from `since` to `until` against the events of that span."""
    inside = [alarm for alarm in alarms if since <= alarm <= until]
    wanted = [event for event in events if since <= event <= until]
    found = {}
    for event in wanted:
        near = [alarm for alarm in alarms if abs(alarm - event) <= NEAR]
        if near:
            found[event] = min(near, key=lambda alarm: (abs(alarm - event), alarm))
    unmatched = [alarm for alarm in inside if not any(abs(alarm - event) <= NEAR for event in events)]
    return Score(found, unmatched, len(inside), len(wanted), (until - since + 1) / YEAR)


def last_friday(at: int) -> bool:
    """Whether dated contracts of a month expire on the day."""
    of = date.fromisoformat(text(at))
    friday = 4
    return of.weekday() == friday and (of + timedelta(days=7)).month != of.month
