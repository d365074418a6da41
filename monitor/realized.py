"""Realised volatility of each asset from bars of its reference price: minutes to a year.

The reference price of an asset is the median over the perpetuals of the scope; its bar is the median of
their opens, highs, lows and closes, so one venue's wick is not volatility of the asset. (A median of highs is
never below a median of closes, so these are bars again.) A window is as long as it says or there is no value:
four fifths of its bars must be there. Nothing here runs at a tick: only the bar that closes changes a window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from monitor.events import Millis
from monitor.ladder import DAY, HOUR, MINUTE
from monitor.volatility import LEAST, annualised, from_terms, sums, terms

REFERENCE = {
    "time": pl.Int64, "asset": pl.String, "open": pl.Float64, "high": pl.Float64, "low": pl.Float64,
    "close": pl.Float64,
}  # fmt: skip
"""Bars of the reference price: opening time in milliseconds, dollars."""
VALUES = {"asset": pl.String, "window": pl.String, "estimator": pl.String, "value": pl.Float64}
"""Annualised volatility, a fraction."""
JUMPS = {"asset": pl.String, "window": pl.String, "jump_share": pl.Float64}

FIVE = 5 * MINUTE
STEPS: Mapping[Millis, Mapping[str, Millis]] = {
    MINUTE: {"1h": HOUR},
    FIVE: {"24h": DAY},
    HOUR: {"7d": 7 * DAY},
    DAY: {"30d": 30 * DAY, "60d": 60 * DAY, "90d": 90 * DAY, "1y": 365 * DAY},
}
"""Length of a bar → the windows that are made of such bars."""
PREMIUM_WINDOW = "30d"
"""Of the realised volatility that implied volatility of 30 days is held against."""
PREMIUM_ESTIMATOR = "close_to_close"
YEAR = 365 * DAY
COIN_DAYS, GOLD_DAYS = 365.0, 252.0
"""Days of trading in a year, of either clock (methodology §2)."""
COVERED = 0.8
"""Share of a window's bars that must be there."""
SHOWN = (
    "close_to_close", "ewma", "parkinson", "garman_klass", "rogers_satchell", "yang_zhang",
    "realized_variance", "bipower",
)  # fmt: skip
OF_CLOSES = ("close_to_close", "ewma", "realized_variance", "bipower")
"""Estimators that need no high and no low."""


def reference(bars: pl.DataFrame) -> pl.DataFrame:
    """Bars of the reference price (`REFERENCE`) from those of instruments (`bars.BAR`) of one step."""
    prices = ("open", "high", "low", "close")
    return (
        bars.filter(pl.all_horizontal(pl.col(name) > 0 for name in prices))
        .group_by("time", "asset")
        .agg(pl.col(*prices).median())
        .select(*REFERENCE)
        .sort("asset", "time")
    )


def realized(
    bars: pl.DataFrame, step: Millis, last: Millis, days: float = COIN_DAYS,
    shown: tuple[str, ...] = SHOWN,
) -> tuple[pl.DataFrame, pl.DataFrame]:  # fmt: skip
    """Volatilities (`VALUES`) and shares of jumps (`JUMPS`) over the windows of a step.

    Annualised by the asset's own clock; a variance below zero, which Garman-Klass and Yang-Zhang can give, is
    no value. Gold has no bar on most weekends, so fewer are enough.

    Args:
        bars: `REFERENCE`, of bars of `step`.
        step: length of a bar.
        last: opening time of the newest bar that closed.
        days: days of trading in the asset's year.
        shown: estimators.
    """
    windows = STEPS[step]
    per_year = days * (DAY / step)
    found = sums(terms(bars.filter(pl.col("time") > last - max(windows.values()) - 4 * step)), windows, last)
    enough = [
        (pl.col("window") == name) & (pl.col("bars") >= max(LEAST, COVERED * per_year * length / YEAR))
        for name, length in windows.items()
    ]
    variances = from_terms(found.filter(pl.any_horizontal(enough)))
    values = annualised(variances, per_year).filter(
        ~pl.col("clamped"), pl.col("volatility") > 0, pl.col("estimator").is_in(shown)
    )
    return (
        values.select("asset", "window", "estimator", value="volatility"),
        variances.select(*JUMPS).filter(pl.col("jump_share").is_not_null()),
    )


class Realized:
    """The windows of all assets, kept up as bars close. One thread at a time."""

    def __init__(self, days: pl.DataFrame, hours: pl.DataFrame, minutes: pl.DataFrame) -> None:
        """What is known of before the first minute.

        Args:
            days: `bars.BAR` of instruments.
            hours: the same.
            minutes: `REFERENCE`, of a day.
        """
        self._bars = {MINUTE: minutes.select(*REFERENCE), HOUR: reference(hours), DAY: reference(days)}
        self._measured: dict[Millis, Millis] = {}
        """Step → opening time of the newest bar in its windows."""
        self._found: dict[Millis, tuple[pl.DataFrame, pl.DataFrame]] = {}
        self._at: Millis = 0
        self._shown = pl.DataFrame(schema=VALUES), pl.DataFrame(schema=JUMPS)

    def shown(self, now: Millis) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Volatilities and shares of jumps at an instant; none where no minute closed for an hour."""
        values, jumps = self._shown
        return (values, jumps) if now - self._at <= HOUR else (values.clear(), jumps.clear())

    def hour(self, bars: pl.DataFrame, time: Millis) -> None:
        """Takes the bars of instruments of an hour that has closed, before the next minute."""
        self._add(HOUR, bars, time, 9 * DAY)

    def day(self, bars: pl.DataFrame, time: Millis) -> None:
        """Takes the bars of instruments of a day that has closed, before the next minute."""
        self._add(DAY, bars, time, 400 * DAY)

    def minute(self, bars: pl.DataFrame, time: Millis) -> None:
        """Takes the bars of instruments of the minute that opens at `time`, which has closed."""
        self._add(MINUTE, bars, time, DAY + HOUR)
        self._at = time + MINUTE
        self._measure(MINUTE, time, lambda: self._bars[MINUTE].filter(pl.col("time") > time - 2 * HOUR))
        self._measure(FIVE, self._at // FIVE * FIVE - FIVE, self._fives)
        # An hour is closed by the first minute of the next one.
        for step in (HOUR, DAY):
            self._measure(step, time // step * step - step, lambda step=step: self._bars[step])  # type: ignore[misc]
        self._shown = (
            pl.concat(values for values, _ in self._found.values()),
            pl.concat(jumps for _, jumps in self._found.values()),
        )

    def _fives(self) -> pl.DataFrame:
        return (
            self._bars[MINUTE]
            .with_columns(pl.col("time") // FIVE * FIVE)
            .group_by("asset", "time", maintain_order=True)
            .agg(pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last())
        )

    def _add(self, step: Millis, bars: pl.DataFrame, time: Millis, keep: Millis) -> None:
        kept = self._bars[step].filter(pl.col("time") > time - keep, pl.col("time") != time)
        self._bars[step] = pl.concat([kept, reference(bars)]).sort("asset", "time")

    def _measure(self, step: Millis, last: Millis, bars: Callable[[], pl.DataFrame]) -> None:
        if self._measured.get(step) != last:
            self._measured[step] = last
            # The ticks' own returns give it for an hour.
            shown = tuple(one for one in SHOWN if (step, one) != (MINUTE, "realized_variance"))
            self._found[step] = realized(bars(), step, last, shown=shown)
