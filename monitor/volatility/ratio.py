"""Bitcoin's volatility over gold's, and how sure that is (methodology §1.7-1.9).

Gold rests at weekends and bitcoin does not: the ratio of their raw daily deviations is wrong by a fifth.
Bitcoin is sampled on gold's days, or each is annualised by its own clock.
"""

from __future__ import annotations

import math
import random
from datetime import date, timedelta
from typing import Literal

import msgspec
import polars as pl

from monitor.volatility.estimators import LEAST, jump_share

Clock = Literal["aligned", "own"]
WINDOW = 126
"""Returns of gold in six months of trading days."""
DRAWS, BLOCK, SEED = 4000, 10, 1
BITCOIN_DAYS, GOLD_DAYS = 365, 252
"""Days in a year of either clock."""
STALE = timedelta(days=4)
"""Easter and Christmas close gold for so long; without a price for longer it is stale (methodology §2)."""
_ASOF = timedelta(hours=23)
"""A price of bitcoin is at most so much older than the price of gold that it is compared with."""

_FRIDAY = 5


class NotCovered(ValueError):  # noqa: N818 -- reads as what happened
    """The tables do not hold what the window needs. The text says which and since when."""


class Ratio(msgspec.Struct, frozen=True):
    """Volatility of bitcoin over volatility of gold, and how sure that is."""

    on: date
    window: int
    clock: Clock
    ratio: float
    low: float
    """5 % of the bootstrap's draws are below."""
    mid: float
    high: float
    """95 % are below."""
    error: float
    """Standard deviation of the draws' logarithm."""
    bitcoin_volatility: float
    """Annualised, a fraction: at 252 days where bitcoin is sampled on gold's, at 365 by its own clock."""
    gold_volatility: float
    """At 252 days. The ratio is the one over the other."""
    gold_jump_share: float
    """Share of gold's variance in the window that was jumps: a ratio driven by one of them is fragile."""
    until: date
    """Day of the newest price of gold in it."""
    draws: pl.Series


def pairs(bitcoin: pl.DataFrame, gold: pl.DataFrame) -> pl.DataFrame:
    """Returns between the days that gold has, and what bitcoin did meanwhile.

    Both are sampled on the weekdays that both have: a weekend or a holiday is a gap and never a return of
    zero, also where a table repeats Friday's price on Saturday.

    Args:
        bitcoin: `date` and `close`, and `ts` if both have it: then bitcoin is sampled at gold's times.
        gold: The same; a row per trading day.

    Returns:
        A row per return: `date` (its end), `since`, `gold` and `bitcoin` (log returns), and of bitcoin's own
        days in it `change` and `squares` (sums of their returns and of the squares) and `days` (number).
    """
    at = bitcoin.sort("ts" if "ts" in bitcoin.columns else "date")
    gold = gold.filter(pl.col("date").dt.weekday() <= _FRIDAY)
    if "ts" in bitcoin.columns and "ts" in gold.columns:
        quoted = at.select("ts", pl.col("close").alias("bitcoin"))
        both = gold.sort("ts").join_asof(quoted, on="ts", tolerance=_ASOF).drop_nulls("bitcoin")
    else:
        quoted = at.group_by("date", maintain_order=True).agg(pl.col("close").last().alias("bitcoin"))
        both = gold.sort("date").join(quoted, on="date", maintain_order="left")
    both = both.select("date", since=pl.col("date").shift(), gold=pl.col("close").log().diff(),
                       bitcoin=pl.col("bitcoin").log().diff())  # fmt: skip
    days = (
        at.group_by("date", maintain_order=True)
        .agg(pl.col("close").last().log())
        .with_columns(next=pl.col("date").diff() == timedelta(days=1))
        .select("date", change=pl.when("next").then(pl.col("close").diff()))
        .join_asof(both.select("date", ends="date"), on="date", strategy="forward")
        .group_by("ends")
        .agg(
            pl.col("change").sum(),
            (pl.col("change") ** 2).sum().alias("squares"),
            pl.col("change").count().alias("days"),
        )
    )
    joined = both.join(days, left_on="date", right_on="ends", how="left", maintain_order="left")
    return joined.filter(pl.col("since").is_not_null())


def _bitcoin(clock: Clock) -> pl.Expr:
    """Annualised volatility of bitcoin in the pairs of a group."""
    if clock == "aligned":
        return math.sqrt(GOLD_DAYS) * pl.col("bitcoin").std()
    change, squares, n = pl.col("change").sum(), pl.col("squares").sum(), pl.col("days").sum()
    variance = (squares - change**2 / n) / (n - 1)
    return (BITCOIN_DAYS * variance).sqrt()


_GOLD = math.sqrt(GOLD_DAYS) * pl.col("gold").std()


def _statistic(clock: Clock) -> pl.Expr:
    """The ratio of the pairs of a group."""
    return _bitcoin(clock) / _GOLD


def ratio_of(window: pl.DataFrame, clock: Clock = "aligned") -> float:
    """The ratio over all the pairs given, without its error.

    `aligned`: bitcoin sampled on gold's days, so that annualisation cancels. `own`: √365 · sd of bitcoin's
    calendar days over √252 · sd of gold's trading days, in the same span (methodology §2).
    """
    return float(window.select(_statistic(clock)).item())


def bootstrap(window: pl.DataFrame, clock: Clock = "aligned", seed: int = SEED) -> pl.Series:
    """Ratios of resampled windows: stationary block bootstrap, bitcoin and gold together (methodology §1.8).

    Blocks begin anywhere, wrap around, and have lengths of a geometric law of mean 10 (Politis and Romano
    1994). The same pairs and seed give the same draws.
    """
    n = window.height
    uniform = random.Random(seed).random
    chance = pl.col("chance")
    # One number decides both: below 1/BLOCK a block begins, and where in that range says at which pair.
    begins = pl.when(pl.col("place") == 0).then(chance * n).when(chance < 1 / BLOCK).then(chance * BLOCK * n)
    drawn = (
        pl.LazyFrame({"chance": [uniform() for _ in range(DRAWS * n)]})
        .with_row_index("cell")
        .with_columns(pl.col("cell").cast(pl.Int64))
        .with_columns(place=pl.col("cell") % n, draw=pl.col("cell") // n)
        .with_columns(begins=begins.floor().cast(pl.Int64))
        .with_columns(at=((pl.col("begins") - pl.col("place")).forward_fill() + pl.col("place")) % n)
        .select("draw", "at")
        .collect()
    )
    picked = window.select("gold", "bitcoin", "change", "squares", "days")[drawn["at"]]
    return (
        picked.with_columns(drawn["draw"])
        .group_by("draw", maintain_order=True)
        .agg(_statistic(clock).alias("ratio"))["ratio"]
    )


def volatility_ratio(
    bitcoin: pl.DataFrame, gold: pl.DataFrame, window: int = WINDOW, on: date | None = None,
    clock: Clock = "aligned", seed: int = SEED,
) -> Ratio:  # fmt: skip
    """Volatility of bitcoin over that of gold in the last `window` returns of gold, and its 90 % interval.

    Args:
        bitcoin: As in `pairs`.
        gold: As in `pairs`.
        window: Returns of gold.
        on: Last day of the window; the newest day of bitcoin if None. Nothing later is looked at.
        clock: As in `ratio_of`.
        seed: Of the bootstrap.

    Raises:
        NotCovered: prices are missing or stale (`gold_stale`), too few, or do not move.
    """
    if window < LEAST:
        raise NotCovered(f"a window of {window} returns is too short, {LEAST} are needed")
    on = on or _newest(bitcoin)
    if on is None:
        raise NotCovered("bitcoin: no price")
    known = gold.filter(pl.col("date") <= on)
    newest = _newest(known)
    if newest is None:
        raise NotCovered(f"gold: no price until {on}")
    if on - newest > STALE:
        raise NotCovered(f"gold_stale: the newest price of gold until {on} is of {newest}")
    last = pairs(bitcoin.filter(pl.col("date") <= on), known).tail(window)
    if last.is_empty() or on - last["date"][-1] > STALE:
        raise NotCovered(f"bitcoin: no price on the days of gold until {on}")
    if last.height < window:
        raise NotCovered(f"gold and bitcoin share {last.height} returns until {on}, the window has {window}")
    hole = last.filter(pl.col("date") - pl.col("since") > 2 * STALE)
    if not hole.is_empty():
        raise NotCovered(f"no common price between {hole['since'][0]} and {hole['date'][0]}")
    ratio = ratio_of(last, clock)
    if not (math.isfinite(ratio) and ratio > 0):
        raise NotCovered(f"gold or bitcoin does not move in the {window} returns until {on}")
    draws = bootstrap(last, clock, seed)
    low, mid, high, error = (
        draws.to_frame("draw")
        .select(
            *(pl.col("draw").quantile(q, "linear").alias(str(q)) for q in (0.05, 0.5, 0.95)),
            pl.col("draw").log().std().alias("error"),
        )
        .row(0)
    )
    of_bitcoin, of_gold = last.select(_bitcoin(clock).alias("bitcoin"), _GOLD.alias("gold")).row(0)
    return Ratio(
        on, window, clock, ratio, low, mid, high, error, of_bitcoin, of_gold, jump_share(last["gold"]),
        last["date"][-1], draws,
    )  # fmt: skip


def _newest(prices: pl.DataFrame) -> date | None:
    found = prices["date"].max()
    return found if isinstance(found, date) else None
