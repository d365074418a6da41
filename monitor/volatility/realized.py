"""Realised volatility of each asset from bars of its reference price: minutes to a year.

The reference price of an asset is the median over the perpetuals of the scope; its bar is the median of
their opens, highs, lows and closes, so one venue's wick is not volatility of the asset. (A median of highs is
never below a median of closes, so these are bars again.) A window is as long as it says or there is no value:
four fifths of its bars must be there. Nothing here runs at a tick: only the bar that closes changes a window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import polars as pl

from monitor.events import Millis
from monitor.ladder import DAY, HOUR, MINUTE
from monitor.volatility.estimators import LEAST, annualised, from_terms, sums, terms

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
DIGITS = 10
"""Significant ones that are shown."""
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
    recent = bars.filter(pl.col("time") > last - max(windows.values()) - 4 * step)
    found = sums(terms(recent), windows, last)
    enough = [
        (pl.col("window") == name) & (pl.col("bars") >= max(LEAST, COVERED * per_year * length / YEAR))
        for name, length in windows.items()
    ]
    # Where a table lies in memory decides the last digit of its sums, and a replay gives the same text.
    variances = from_terms(found.filter(pl.any_horizontal(enough)))
    values = annualised(variances, per_year).filter(
        ~pl.col("clamped"), pl.col("volatility") > 0, pl.col("estimator").is_in(shown)
    )
    return (
        values.select("asset", "window", "estimator", value=pl.col("volatility").round_sig_figs(DIGITS)),
        variances.select("asset", "window", pl.col("jump_share").round_sig_figs(DIGITS)).drop_nulls(),
    )


class Realized:
    """The windows of all assets, kept up as bars close. One thread at a time.

    Tables of minutes and of five minutes are kept by their time, so that a minute costs as much as it has
    assets and no more.
    """

    def __init__(self, days: pl.DataFrame, hours: pl.DataFrame, minutes: pl.DataFrame) -> None:
        """What is known of before the first minute.

        Args:
            days: `bars.BAR` of instruments.
            hours: the same.
            minutes: `REFERENCE`, of a day.
        """
        self._long = {HOUR: reference(hours), DAY: reference(days)}
        self._short: dict[Millis, dict[Millis, pl.DataFrame]] = {MINUTE: {}, FIVE: {}}
        """Step → opening time → bars."""
        self._measured: dict[Millis, Millis] = {}
        """Step → opening time of the newest bar in its windows."""
        self._found: dict[Millis, tuple[pl.DataFrame, pl.DataFrame]] = {}
        self._at: Millis = 0
        self._shown = pl.DataFrame(schema=VALUES), pl.DataFrame(schema=JUMPS)
        known = minutes.select(*REFERENCE).unique(["asset", "time"], keep="last").sort("time", "asset")
        newest = known["time"].max()
        if isinstance(newest, int):
            self._at = newest + MINUTE
            for (time,), bars in known.group_by("time", maintain_order=True):
                assert isinstance(time, int)  # noqa: S101 -- by the schema
                self._short[MINUTE][time] = bars
            self._roll()

    def follow(self, other: Realized) -> None:
        """Takes what another has seen beside what is known here, which may be more of the past."""
        for step, bars in other._long.items():
            both = pl.concat([bars, self._long[step]])
            self._long[step] = both.unique(["asset", "time"], keep="last").sort("asset", "time")
        for step, by_time in other._short.items():
            self._short[step] = dict(sorted((by_time | self._short[step]).items()))
        self._at, self._shown = other._at, other._shown

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

    def _add(self, step: Millis, bars: pl.DataFrame, time: Millis, keep: Millis) -> None:
        kept = self._long[step].filter(pl.col("time") > time - keep, pl.col("time") != time)
        self._long[step] = pl.concat([kept, reference(bars)]).sort("asset", "time")

    def minute(self, bars: pl.DataFrame, time: Millis) -> None:
        """Takes the bars of instruments of the minute that opens at `time`, which has closed."""
        self._short[MINUTE][time] = reference(bars)
        self._at = time + MINUTE
        self._roll()
        five = self._at // FIVE * FIVE - FIVE
        for step, last in ((MINUTE, time), (FIVE, five)):
            self._measure(step, last, partial(self._recent, step))
        # An hour is closed by the first minute of the next one.
        for step in (HOUR, DAY):
            self._measure(step, time // step * step - step, partial(self._long.__getitem__, step))
        self._shown = (
            pl.concat(values for values, _ in self._found.values()),
            pl.concat(jumps for _, jumps in self._found.values()),
        )

    def _recent(self, step: Millis) -> pl.DataFrame:
        return pl.concat([pl.DataFrame(schema=REFERENCE), *self._short[step].values()])

    def _roll(self) -> None:
        """Makes bars of five minutes of those that have closed, and drops what no window needs."""
        minutes, fives = self._short[MINUTE], self._short[FIVE]
        end = self._at // FIVE * FIVE
        parts: dict[Millis, list[pl.DataFrame]] = {}
        for time, bars in minutes.items():
            if time < end and (five := time // FIVE * FIVE) not in fives:
                parts.setdefault(five, []).append(bars)
        for five, of in parts.items():
            fives[five] = (
                pl.concat(of)
                .group_by("asset", maintain_order=True)
                .agg(
                    pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last()
                )
                .select(pl.lit(five, dtype=pl.Int64).alias("time"), *list(REFERENCE)[1:])
            )
        for step, keep in ((MINUTE, HOUR + 2 * FIVE), (FIVE, DAY + 2 * FIVE)):
            old = [time for time in self._short[step] if time < self._at - keep]
            for time in old:
                del self._short[step][time]

    def _measure(self, step: Millis, last: Millis, bars: Callable[[], pl.DataFrame]) -> None:
        if self._measured.get(step) != last:
            self._measured[step] = last
            # The ticks' own returns give it for an hour.
            shown = tuple(one for one in SHOWN if (step, one) != (MINUTE, "realized_variance"))
            self._found[step] = realized(bars(), step, last, shown=shown)
