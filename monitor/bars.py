"""Bars: what an instrument did in a minute, an hour, a day. The unit of everything older than the tick.

A bar is stamped with its opening time. Prices are sampled at the ticks. A row exists only where
something was known; a column without a believable value is null, never zero.
"""

from __future__ import annotations

from typing import Literal

import polars as pl

from monitor.events import Millis
from monitor.ladder import DAY, HOUR, MINUTE

Step = Literal["minute", "hour", "day"]
STEPS: dict[Step, Millis] = {"minute": MINUTE, "hour": HOUR, "day": DAY}

BAR = {
    "time": pl.Int64, "venue": pl.String, "asset": pl.String, "symbol": pl.String, "margin": pl.String,
    "open": pl.Float64, "high": pl.Float64, "low": pl.Float64, "close": pl.Float64,
    "native": pl.Float64, "coins": pl.Float64, "usd": pl.Float64, "funding_8h": pl.Float64,
    "long_usd": pl.Float64, "short_usd": pl.Float64,
}  # fmt: skip
"""Columns of a table of bars.

`time`: opening time, milliseconds UTC. `open … close`: mark price of one coin, dollars. `native`,
`coins`, `usd`: open interest at the close of the bar, one side, of a fresh and believed reading (null
otherwise); `native` is what does not move with the price: coins if `margin` is `linear`, dollars if
`inverse`. `funding_8h`: rate on a base of 8 hours at the close. `long_usd`, `short_usd`: dollars
liquidated within the bar; null where the venue has no feed (0 is a quiet bar).
"""
KEY = ("time", "venue", "asset", "symbol")

CLOSE_WITHIN: dict[Step, Millis] = {"minute": MINUTE, "hour": HOUR, "day": 3 * HOUR}
"""How long before the end of a bar its open interest and funding may have been read.

A day's close is compared with the closes of three years: a reading of the morning before a venue fell
silent would be a day's growth that nobody saw. Three hours let one restart or one refused poll pass. The
rule holds for the minutes of a day as for its hours, so it does not matter which a day is rolled from.
"""

_PRICES = dict.fromkeys(("open", "high", "low", "close"), pl.Float64)
_SUMS = dict.fromkeys(("long_usd", "short_usd"), pl.Float64)
NATIVE = pl.col("contracts") * pl.col("face")
"""Dollars if inverse, quoted units if linear: what does not move with the price."""
_COINS = NATIVE * pl.when(pl.col("margin") == "inverse").then(1.0).otherwise(pl.col("multiplier"))
"""`native` of a bar: the table's contracts may be of a thousand coins each."""


class Bars:
    """Closes minutes from the views of the ticks. It must see every tick from the first on.

    Only the price is looked at in every tick; the rest is read from the last tick of the minute.
    """

    def __init__(self) -> None:
        self._minute: int | None = None
        self._prices = pl.DataFrame(schema=_PRICES)
        self._last = pl.DataFrame()
        self._closed = pl.DataFrame(schema=_SUMS)
        """Sums of liquidations at the close of the last minute; they begin at 0 with the program."""

    def push(self, now: Millis, instrument: pl.DataFrame) -> list[pl.DataFrame]:
        """The bars of the minute that this tick shows to be over; none while it lasts.

        Args:
            now: time of the tick, milliseconds. It tells what was before it: a tick at 08:01:00.000
                belongs to 08:00.
            instrument: `Views.instrument`, a row per slot; it may have grown since the last tick.

        Returns:
            At most one table of `BAR`, sorted by `KEY`: the rows of which something is known.
        """
        minute = (now - 1) // MINUTE
        closed = []
        if self._minute is not None and minute > self._minute:
            closed = [bars] if (bars := self._close()).height else []
            self._prices = self._prices.clear(instrument.height)
        self._minute = minute if self._minute is None else max(minute, self._minute)
        self._last = instrument
        self._prices = pl.concat(
            [_longer(self._prices, instrument.height), instrument.select("price")], how="horizontal"
        ).select_seq(
            pl.coalesce("open", "price"),
            pl.max_horizontal("high", "price"),
            pl.min_horizontal("low", "price"),
            pl.coalesce("price", "close").alias("close"),
        )
        return closed

    def _close(self) -> pl.DataFrame:
        assert self._minute is not None  # noqa: S101 -- asked by the caller
        before = _longer(self._closed, self._last.height).select(
            pl.all().fill_null(0.0).name.suffix("_closed")
        )
        rows = pl.concat([self._last.drop(*_PRICES, strict=False), self._prices, before], how="horizontal")
        self._closed = self._last.select(*_SUMS)
        flow = {name: pl.col(name).fill_null(0.0) - pl.col(f"{name}_closed") for name in _SUMS}
        occurred = pl.any_horizontal(*(one > 0 for one in flow.values()))
        heard = pl.any_horizontal(
            pl.col("open", "native", "coins", "usd", "funding_8h").is_not_null(),
        )
        return (
            rows.with_columns(occurred=occurred, **flow)
            # A liquidation of an instrument that was unlisted within the minute has no other place.
            .filter(pl.col("perpetual") | pl.col("occurred"))
            .with_columns(
                pl.lit(self._minute * MINUTE).alias("time"),
                pl.when("fresh").then(_COINS).alias("native"),
                *(pl.when("fresh").then(name).alias(name) for name in ("coins", "usd")),
                pl.col("rate_8h").alias("funding_8h"),
                *(pl.when(pl.col("liquidation_feed") != "none").then(name).alias(name) for name in _SUMS),
            )
            .filter(heard | pl.col("occurred"))
            .select(pl.col(name).cast(dtype) for name, dtype in BAR.items())
            .sort(KEY)
        )


def _longer(frame: pl.DataFrame, height: int) -> pl.DataFrame:
    """The frame with rows of null for slots that are younger than it."""
    return frame if frame.height == height else pl.concat([frame, frame.clear(height - frame.height)])


def unique(bars: pl.DataFrame) -> pl.DataFrame:
    """One row for each `KEY`, the last one given, sorted by it."""
    return bars.unique(KEY, keep="last", maintain_order=True).sort(KEY)


def roll(bars: pl.DataFrame, step: Step, until: Millis | None = None) -> pl.DataFrame:
    """Bars of an hour or a day from finer ones, in any order; of equal `KEY`s the last one wins.

    Open interest and funding are the last known ones within `CLOSE_WITHIN` of the end. Liquidations are
    summed over the bars that have a number: a lower bound where some are missing.

    Args:
        bars: finer than `step`.
        step: of the result.
        until: where the newest bar ends as yet, milliseconds, if it is still open.

    Returns:
        A table of `BAR`, sorted by `KEY`.
    """
    length = STEPS[step]
    rows = unique(bars).with_columns(begin=pl.col("time") // length * length)
    end = pl.col("begin") + length
    if until is not None:
        end = pl.min_horizontal(end, pl.lit(until))
    late = pl.col("time") >= (end - CLOSE_WITHIN[step]) // HOUR * HOUR
    closing = ("native", "coins", "usd", "funding_8h")
    return (
        rows.with_columns(pl.when(late).then(name).alias(name) for name in closing)
        .group_by("begin", *KEY[1:], maintain_order=True)
        .agg(
            pl.col("margin").last(),
            pl.col("open").first(ignore_nulls=True),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close", *closing).last(ignore_nulls=True),
            *(pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()).alias(name) for name in _SUMS),
        )
        .rename({"begin": "time"})
        .select(*BAR)
        .sort(KEY)
    )
