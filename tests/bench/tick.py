"""What one second of the monitor costs, and that the length of a window costs nothing."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from statistics import mean, median
from time import process_time

import polars as pl
from market import Monthly
from measure import Row, show

from monitor.ladder import DAY, SECOND
from monitor.metrics import METRICS
from monitor.metrics.metric import WINDOWS, Metric
from monitor.tick.views import CHANGES_EVERY

TARGETS_MS = {10: 10.0, 500: 10.0, 6000: 25.0}


CYCLE = CHANGES_EVERY // SECOND
"""Ticks after which the same is computed again: one of them looks at windows and at the past."""


def section(cycles: int = 8) -> list[Row]:
    months = {count: Monthly(count) for count in TARGETS_MS}
    used = len({window for metric in METRICS if metric.view == "asset_window" for window in metric.windows})
    windows = min(month.windows() for month in months.values())
    cost: dict[int, list[tuple[float, float]]] = {count: [] for count in months}
    for _ in range(cycles):
        for count in random.sample(list(months), len(months)):
            cost[count] += [tick(months[count]) for _ in range(CYCLE)]
    applied = {count: median(apply for apply, _ in found) * 1000 for count, found in cost.items()}
    ticks = {count: _cycles(found) for count, found in cost.items()}
    rows = [
        Row(f"take + evaluate, {n} instruments, mean of {CYCLE} ticks", _middle(map(mean, ticks[n])), target,
            "ms CPU")
        for n, target in TARGETS_MS.items()
    ]  # fmt: skip
    rows += [
        Row(f"the longest of {CYCLE} ticks, {n} instruments", _middle(map(max, ticks[n])), unit="ms CPU")
        for n in months
    ]
    rows += [Row(f"apply 2 x {n} events", applied[n], unit="ms CPU") for n in months]
    rows.append(Row("apply, one event", applied[6000] / 12_000 * 1000, unit="µs CPU"))
    growth = median(mean(big) / mean(small) for big, small in zip(ticks[6000], ticks[500], strict=True))
    rows.append(Row("tick of 6000 / tick of 500 instruments", growth, 4.0))
    rows += [
        Row(f"window of 30 days / window of 1 minute, {count} instruments", _lengths(count), 1.2)
        for count in (500, 6000)
    ]
    show("tick: 14 venues, all metrics", rows, [f"{windows} of {used} windows had values."])
    return rows


def _cycles(found: Sequence[tuple[float, float]]) -> list[list[float]]:
    """Seconds of the ticks of each cycle."""
    return [[tick for _, tick in found[at : at + CYCLE]] for at in range(0, len(found), CYCLE)]


def _middle(seconds: Iterable[float]) -> float:
    return median(seconds) * 1000


def tick(month: Monthly) -> tuple[float, float]:
    """CPU seconds of applying, and of taking and evaluating."""
    month.now += SECOND
    heard = month.heard()
    began = process_time()
    month.apply(heard)
    applied = process_time()
    month.evaluate()
    return applied - began, process_time() - applied


def _lengths(count: int, rounds: int = 25) -> float:
    """Of ticks that look at the window."""
    with _month_known():
        short, long = (Monthly(count, [_growth(window)]) for window in ("1m", "30d"))
    ratios = []
    for turn in range(rounds):
        order = (short, long) if turn % 2 else (long, short)
        for month in order:
            month.now += CHANGES_EVERY - SECOND
        found = {id(month): tick(month)[1] for month in order}
        ratios.append(found[id(long)] / found[id(short)])
    if not short.windows() == long.windows() == 1:
        raise RuntimeError("a window had no values")
    return median(ratios)


@contextmanager
def _month_known() -> Iterator[None]:
    """The catalogue's longest window is shorter than what the ladder can do."""
    WINDOWS["30d"] = 30 * DAY
    try:
        yield
    finally:
        del WINDOWS["30d"]


def _growth(window: str) -> Metric:
    return Metric(
        name=f"bench_growth_{window}_ratio", help="Growth.", view="asset_window", windows=(window,),
        value=pl.col("growth"),
    )  # fmt: skip
