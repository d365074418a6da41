"""Where a level stands against its own past: average, deviation, z, percentile. Methodology 3.4, 6, 9.

Every statistic at a day is of the days before it; rows are calendar days of one asset, in order.
"""

from __future__ import annotations

import polars as pl

YEAR = 365
AVERAGE_DAYS = 3 * YEAR
"""The long-term average is the median of the last three years."""
ENOUGH_DAYS = 120
"""Below so many days there is no average; below a year it is shown with at most `SHORT_CONFIDENCE`."""
SCALE_ENOUGH = 30
SCALE_FLOOR = 0.03
MAD = 1.4826
"""Makes a median absolute deviation the standard deviation of a normal distribution."""


def percentile(of: pl.Expr, length: int, enough: int) -> pl.Expr:
    """Mid-rank percentile in [0, 1] of each value among the `length` values before it: (#< + #= / 2) / n."""
    before = of.is_not_null().cast(pl.Float64).shift(1).rolling_sum(length, min_samples=1)
    rank = of.rolling_rank(length + 1, method="average", min_samples=1)
    return pl.when((before >= enough) & of.is_not_null()).then((rank - 1) / before)


def median_before(of: pl.Expr, length: int, enough: int) -> pl.Expr:
    """Median of the `length` values before each; null where fewer than `enough` are known."""
    return of.shift(1).rolling_median(length, min_samples=enough)


def against_average(log_level: pl.Expr, length: int = AVERAGE_DAYS) -> dict[str, pl.Expr]:
    """Logs of the long-term average and the expanding mean of a level given as a log, and their days."""
    known = log_level.is_not_null()
    mean = log_level.exp().cum_sum() / known.cum_sum()
    return {
        "log_average": median_before(log_level.exp(), length, ENOUGH_DAYS).log(),
        "log_mean": mean.log().forward_fill().shift(1),
        "days_before": known.cast(pl.Int32).cum_sum() - known.cast(pl.Int32),
    }


def scale(distance: pl.Expr, length: int = AVERAGE_DAYS) -> pl.Expr:
    """Robust standard deviation of the log distances from the average on the days before."""
    spread = MAD * median_before(distance.abs(), length, SCALE_ENOUGH)
    return pl.when(spread < SCALE_FLOOR).then(SCALE_FLOOR).otherwise(spread)
