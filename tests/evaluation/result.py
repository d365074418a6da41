"""All that the document says, as values: computed once, written by `page.py`, asserted by the test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cached_property
from itertools import groupby
from statistics import median

import polars as pl

from evaluation import baselines, placebos, relapse, selection
from evaluation.backtest import backtest
from evaluation.history import day, vendor, venues
from evaluation.scoring import SINCE, Entry, Score, score, walk
from monitor.commands.backtest import Backtest
from monitor.deleveraging.aggregate import days
from monitor.deleveraging.phases import PHASES, Thresholds, features

SENSITIVITY = (
    ((-4.0, -0.05), (17, 4.5)), ((-5.0, -0.06), (16, 3.1)), ((-6.0, -0.05), (17, 2.3)),
    ((-6.0, -0.06), (16, 1.9)), ((-6.0, -0.08), (14, 1.6)),
)  # fmt: skip
"""Thresholds of the one-day rule, and what methodology 7.3 found: events of 20, unmatched a year."""
AVERAGES = ((365, 41), (730, 37), (1095, 31), (1460, 24))
"""Days of the long-term average, and the share of time in reset that methodology 7.3 found, in per cent."""


class Result:
    """The evaluation of the vendor's series, and of venues."""

    def __init__(self) -> None:
        self.series = days(vendor())
        self.frame = features(self.series)
        self.days: list[int] = self.frame["day"].to_list()
        self.until = self.days[-1]
        states, entries = walk(self.frame)
        self.phases = [state.phase for state in states]
        self.phase_of = dict(zip(self.days, self.phases, strict=True))
        self.entries = [entry for entry in entries if entry.day >= SINCE]
        self.alarms = [entry.day for entry in self.entries]
        self.score = score(self.alarms, SINCE, self.until)

    def row(self, at: int) -> dict[str, float | None]:
        """The features of a day."""
        return self.frame.row(by_predicate=pl.col("day") == at, named=True)

    @cached_property
    def dwell(self) -> dict[str, float]:
        """Median days of the stays in each phase that are over."""
        runs = [(phase, sum(1 for _ in of)) for phase, of in groupby(self.phases)][:-1]
        return {phase: median([n for p, n in runs if p == phase]) for phase in PHASES}

    @cached_property
    def shares(self) -> dict[str, float]:
        """Shares of all days."""
        counted = Counter(self.phases)
        return {phase: counted[phase] / len(self.phases) for phase in PHASES}

    @cached_property
    def to_reset(self) -> list[int]:
        """Days from a purge to the next reset, where no other purge came between them."""
        resets = relapse.entered(self.days, self.phases, "reset")
        spans = []
        for at, following in zip(self.alarms, [*self.alarms[1:], self.until], strict=True):
            spans += [r - at for r in resets if at < r <= following][:1]
        return sorted(spans)

    @cached_property
    def sensitivity(self) -> list[tuple[tuple[float, float], Score]]:
        """Scores of the published pairs of thresholds."""
        rows = []
        for pair, _ in SENSITIVITY:
            _, entries = walk(self.frame, Thresholds(purge_z=pair[0], purge_growth=pair[1]))
            rows.append((pair, score([entry.day for entry in entries], SINCE, self.until)))
        return rows

    @cached_property
    def averages(self) -> list[tuple[int, Score, float]]:
        """By days of the long-term average: score, share of time in reset."""
        rows = []
        for length, _ in AVERAGES:
            states, entries = walk(features(self.series, length))
            alarms = [entry.day for entry in entries if entry.day >= SINCE]
            share = sum(state.phase == "reset" for state in states) / len(states)
            rows.append((length, score(alarms, SINCE, self.until), share))
        return rows

    @cached_property
    def grid(self) -> dict[selection.Pair, list[int]]:
        return selection.grid(self.frame)

    @cached_property
    def relapses(self) -> dict[str, relapse.Counts]:
        """Purges after entering each phase; under an empty name after any day outside a purge."""
        starts = {p: relapse.entered(self.days, self.phases, p) for p in relapse.PHASES}
        starts[""] = relapse.free(self.days, self.phases)
        return {p: relapse.counts(of, self.alarms, self.until) for p, of in starts.items()}

    def forecasts(self, horizon: int) -> list[relapse.Forecast]:
        return list(relapse.forecasts(self.days, self.phases, self.alarms, horizon))

    @cached_property
    def backtested(self) -> Backtest:
        """The shipped alerts over the series since 2020."""
        return backtest()

    @cached_property
    def outcomes(self) -> list[placebos.Outcome]:
        return list(placebos.outcomes())

    @cached_property
    def detectors(self) -> list[tuple[str, Score, Score]]:
        """Name, score on the whole span, and on the span that liquidations cover."""
        tell: dict[str, Callable[[pl.DataFrame], list[int]]] = {
            "open interest ± 10 % a day, dollars": lambda f: baselines.change(f, falls=False),
            "open interest falls 10 % a day, dollars": lambda f: baselines.change(f, falls=True),
            "CUSUM of g, k 0.5, alarm 4": baselines.cusum,
            "liquidations above P99": baselines.liquidations,
        }
        since = baselines.first_liquidation(self.frame)
        alarms = {"phase machine": self.alarms} | {name: of(self.frame) for name, of in tell.items()}
        return [
            (name, score(of, SINCE, self.until), score(of, since, self.until)) for name, of in alarms.items()
        ]

    @cached_property
    def ether(self) -> tuple[dict[int, str], list[Entry], pl.DataFrame]:
        """Phases by day, purges and features of Binance's coin-margined ether contracts."""
        frame = features(days(venues().filter((pl.col("asset") == "ETH") & (pl.col("venue") == "binance"))))
        states, entries = walk(frame)
        phases = dict(zip(frame["day"].to_list(), (state.phase for state in states), strict=True))
        return phases, [entry for entry in entries if entry.day >= day("2021-01-01")], frame
