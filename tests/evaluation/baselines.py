"""Simpler detectors on the same events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from monitor.deleveraging.phases import CUSUM_ALARM, CUSUM_SLACK

QUIET = 3
"""Alarms less than so many days apart are one, as quiet days end a purge."""
CHANGE = 0.10
RARE, LOOK, ENOUGH = 0.99, 365, 90


def begun(days: Iterable[int]) -> list[int]:
    """First days of runs of alarms."""
    found, last = [], -QUIET - 1
    for d in days:
        if d - last > QUIET:
            found.append(d)
        last = d
    return found


def change(frame: pl.DataFrame, *, falls: bool) -> list[int]:
    """Dollars of open interest change by more than 10 % in a day."""
    simple = pl.col("usd") / pl.col("usd").shift(1) - 1
    return begun(frame.filter((-simple if falls else simple.abs()) > CHANGE)["day"].to_list())


def liquidations(frame: pl.DataFrame) -> list[int]:
    """Liquidations above the 99th percentile of the year before."""
    total = pl.col("long_usd") + pl.col("short_usd")
    high = total.shift(1).rolling_quantile(RARE, "linear", LOOK, min_samples=ENOUGH)
    return begun(frame.filter(total > high)["day"].to_list())


def cusum(frame: pl.DataFrame) -> list[int]:
    """One-sided sums of falls of growth in its own scale, begun anew after each alarm."""
    total, alarms = 0.0, []
    for d, z in frame.select("day", "z_growth").iter_rows():
        total = max(0.0, total - (z or 0.0) - CUSUM_SLACK)
        if total >= CUSUM_ALARM:
            alarms.append(d)
            total = 0.0
    return begun(alarms)


def first_liquidation(frame: pl.DataFrame) -> int:
    """The day from which the percentile of liquidations is known."""
    days: Sequence[int] = frame.filter(pl.col("long_usd").is_not_null())["day"].to_list()
    return days[ENOUGH]
