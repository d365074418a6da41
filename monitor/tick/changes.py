"""How an asset changed over windows: growth of positions, liquidations, volatility of the ticks.

A change is computed over the instruments that are fresh at both ends of a window: of venues first, then
of the asset over those venues that are believed (`aggregate.py` has the rules). All windows are one table,
in which a window is a number, so that a tick asks as few questions as there are steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import polars as pl

from monitor.bars import NATIVE
from monitor.deleveraging.aggregate import CAP, QUARANTINE_DAYS, calm, capped, contradicts, strays
from monitor.events import Millis
from monitor.ladder import DAY
from monitor.query import at_once
from monitor.tick.readings import ASSET

CHANGES = {
    "asset": pl.String, "window": pl.String, "growth": pl.Float64, "position_usd": pl.Float64,
    "price_usd": pl.Float64, "liquidated_usd": pl.Float64, "implied_liquidation_usd": pl.Float64,
    "liquidation_intensity": pl.Float64, "realized_volatility": pl.Float64,
}  # fmt: skip
"""`growth`: log of open interest at constant price. `position_usd`, `price_usd`: what positions did to its
dollars at constant price, and what the price did to them. Volatility is annualised, a fraction."""

YEAR_S = 365 * 86_400.0
SUMS = ("squares", "seconds", "long_usd", "short_usd")
"""Columns that only grow: squared log returns and their time, dollars liquidated since the start."""
STEP = (
    pl.when(pl.col("fresh") & pl.col("scope")).then(NATIVE).alias("native_then"),
    pl.when(pl.col("scope")).then("known_usd").alias("known_then"),
    *(pl.col(name).alias(f"{name}_then") for name in SUMS),
)
"""What is kept of a tick (a step of the ladder), a row per slot."""
VOLATILE = ("5m", "1h")
"""Windows over which the ticks' own returns are summed; longer ones are made of bars."""
MEASURED = 0.8
"""Share of such a window over which an instrument's returns must be known."""

Accused: TypeAlias = Mapping[int, Millis]
"""Number of a part (an asset at a venue) → when it last contradicted the other venues."""

_PLACES = 1 << 24
"""Numbers of a window's parts and assets: more than assets times venues."""
_TODAY = (
    pl.col(ASSET, "part_id", "expected", "perpetual", "scope", "fed", *SUMS),
    pl.when("fresh").then(NATIVE).alias("native"),
    pl.col("known_usd").alias("usd_now"),
)
# Sums of columns are far cheaper than sums of filtered ones: what does not count is null in them.
_BOTH = (pl.col("native") > 0) & (pl.col("native_then") > 0)
_WEIGHT = pl.col("known_then")
_FED = pl.when("fed").then(_WEIGHT)
_FLOW = pl.sum_horizontal(pl.col(f"{side}_usd") - pl.col(f"{side}_usd_then") for side in ("long", "short"))
_INSTRUMENTS = (
    pl.col("number") + pl.col("part_id"),
    (pl.col("number") + pl.col(ASSET)).alias("asset_window"),
    pl.col("expected", "seconds"),
    pl.when(_BOTH).then(_WEIGHT * (pl.col("native") / pl.col("native_then")).log()).alias("growth"),
    pl.when(_BOTH).then(_WEIGHT).alias("weight"),
    pl.when(_BOTH).then(pl.col("usd_now") - _WEIGHT).alias("change_usd"),
    _WEIGHT.alias("known_usd"),
    pl.when(_FED.is_not_null()).then(_FLOW).alias("liquidated_usd"),
    _FED.alias("feed_usd"),
    ((pl.col("squares") - pl.col("squares_then")) / pl.col("seconds") * YEAR_S).alias("square"),
)
_DOLLARS = ("weight", "change_usd", "known_usd", "liquidated_usd", "feed_usd")
_OF_VENUE = (
    pl.col("asset_window", "expected").first(),
    pl.col("growth", *_DOLLARS).sum(),
    pl.col("known_usd").count().alias("known"),
)
_OF_ASSET = (pl.col("expected").max(), pl.col("growth", *_DOLLARS, "venues").sum())
_GROUP = "asset_window"
_COVERED = pl.col("weight") / pl.col("known_usd") * (pl.col("venues") / pl.col("expected"))
_GROWTH = pl.col("growth")
_SHOWN = (
    "growth",
    "position_usd",
    (pl.col("change_usd") - pl.col("position_usd")).alias("price_usd"),
    "liquidated_usd",
    (pl.col("known_usd") * (1 - _GROWTH.clip(upper_bound=0).exp())).alias("implied_liquidation_usd"),
    (pl.col("liquidated_usd") / pl.col("feed_usd")).alias("liquidation_intensity"),
    "realized_volatility",
)


def changes(
    rows: pl.DataFrame, lags: Mapping[str, pl.DataFrame], lengths: Mapping[str, Millis], now: Millis,
    accused: Accused, *, min_coverage: float, speed: float,
) -> tuple[pl.DataFrame, Accused]:  # fmt: skip
    """Changes between now and the start of each window, a row per asset and window.

    Args:
        rows: what is known now, a row per slot: `Views.instrument`.
        lags: window → `STEP` of its start, of as many slots.
        lengths: window → its length.
        now: time of the tick.
        accused: as returned at the last tick.
        min_coverage: share of an asset's dollars under which nothing is said of it.
        speed: of the market's clock.

    Returns:
        `CHANGES`, and who contradicts the others or did lately.
    """
    if not lags:
        return pl.DataFrame(schema=CHANGES), accused
    # In the order of parts, so that groups are runs: they need not be looked for.
    order = rows["part_id"].arg_sort()
    now_and_then = pl.concat(
        [
            pl.concat([rows.select_seq(_TODAY)[order]] * len(lags)),
            pl.concat([then[order] for then in lags.values()]),
        ],
        how="horizontal",
    )
    place = pl.int_range(pl.len(), dtype=pl.UInt32) // rows.height
    mine = (
        now_and_then.lazy()
        .with_columns_seq(number=place * _PLACES, seconds=pl.col("seconds") - pl.col("seconds_then"))
        .select_seq(*_INSTRUMENTS, (pl.col("perpetual") & pl.col("scope")).alias("mine"))
        .filter("mine")
        .pipe(at_once)
    )
    venues = (
        mine.lazy()
        .with_columns_seq(pl.col("number", _GROUP).set_sorted())
        .group_by("number", maintain_order=True)
        .agg(_OF_VENUE)
        .with_columns(growth=pl.when(pl.col("weight") > 0).then(_GROWTH / pl.col("weight")))
        .with_columns(share=_share(_GROWTH.is_not_null()))
        .pipe(at_once)
    )
    venues, accused = _heard(venues, now, accused, speed)
    moves = _moves(mine, [lengths[name] if name in VOLATILE else None for name in lags])
    # Assets are in the same order in both: that of their first instrument.
    group, covered = pl.col(_GROUP), min_coverage <= _COVERED
    assets = (
        venues.lazy()
        .with_columns_seq(
            pl.when(pl.col("share") > 0).then(pl.col("weight", "change_usd")),
            growth=_GROWTH * pl.col("share"),
            venues=(pl.col("known") > 0).cast(pl.UInt32),
        )
        .group_by(_GROUP, maintain_order=True)
        .agg(_OF_ASSET)
        .with_columns_seq(
            growth=pl.when(covered).then(_GROWTH),
            liquidated_usd=pl.when(covered & (pl.col("feed_usd") > 0)).then("liquidated_usd"),
        )
        .with_columns(position_usd=pl.col("weight") * (_GROWTH.exp() - 1))
        .with_columns(realized_volatility=moves)
        .select_seq(
            pl.lit(rows["asset"].unique(maintain_order=True)).gather(group % _PLACES).alias("asset"),
            pl.lit(pl.Series(list(lags))).gather(group // _PLACES).alias("window"),
            *_SHOWN,
        )
        .pipe(at_once)
    )
    return assets, accused


def _share(heard: pl.Expr) -> pl.Expr:
    weight = pl.when(heard).then("weight")
    return weight / weight.sum().over(_GROUP)


def _heard(venues: pl.DataFrame, now: Millis, accused: Accused, speed: float) -> tuple[pl.DataFrame, Accused]:
    """Who takes part in the growth of a window, and with what share; null for who does not.

    Who contradicts the others in any window is held to them more closely for a week.
    """
    life = int(QUARANTINE_DAYS * DAY * speed)
    known = {part: at for part, at in accused.items() if now - at <= life}
    quiet = calm(venues["growth"])
    if not quiet or known:
        aside = pl.lit(value=False) if quiet else contradicts(_GROWTH, [_GROUP])
        venues = venues.with_columns(aside=aside)
        known |= dict.fromkeys((venues.filter("aside")["number"] % _PLACES).to_list(), now)
        lately = (pl.col("number") % _PLACES).is_in(list(known)) & strays(_GROWTH, [_GROUP])
        venues = venues.with_columns(share=_share(_GROWTH.is_not_null() & ~pl.col("aside") & ~lately))
    largest = venues["share"].max()
    if largest is not None and largest > CAP:  # type: ignore[operator]
        venues = capped(venues, "share", [_GROUP])
    return venues, known


def _moves(mine: pl.DataFrame, lengths: Sequence[Millis | None]) -> pl.Expr:
    """Realised volatility of an asset: the median instrument's, of those that were there for most of it.

    `lengths`: of each window, in the order of their numbers; None where it is not wanted.
    """
    if not any(lengths):
        return pl.lit(None, dtype=pl.Float64)
    least = pl.Series([MEASURED * length / 1000 if length else math.inf for length in lengths])
    measured = pl.col("seconds") >= pl.lit(least).gather(pl.col("number") // _PLACES)
    return pl.lit(
        mine.lazy()
        .select_seq(pl.col(_GROUP).set_sorted(), square=pl.when(measured).then("square"))
        .group_by(_GROUP, maintain_order=True)
        .agg(pl.col("square").median().sqrt().alias("realized_volatility"))
        .pipe(at_once)["realized_volatility"]
    )
