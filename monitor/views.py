"""From what venues said to the few shapes, in dollars and coins, that metrics are computed over.

Everything is a pure function of (what is known, what was accepted before, the time). Three rules
keep one venue from moving an aggregate by itself:

* A reading that contradicts the market or its own past is not accepted (`readings.py`):
  the instrument then counts as silent, and is counted in `Views.implausible`.
* A silent instrument keeps its last accepted contracts in the level for an hour, valued at the
  market's price, while the coverage ratio says how much of the level is fresh. After that, or below
  `min_coverage`, or before every venue and instrument of the scope has spoken once, there is no level.
* A change over a window is computed over the instruments that are fresh at both of its ends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

import msgspec
import polars as pl

from monitor.aggregate import CAP, QUARANTINE_DAYS, capped, contradicts, strays
from monitor.events import Instrument, Millis
from monitor.ladder import DAY, HOUR, MINUTE, SECOND, Ladder
from monitor.readings import (
    ASSET,
    NATIVE,
    OPEN_INTEREST_MOST_USD,
    PRICE_DISTANCE,
    implausible,
    near,
    readings,
)
from monitor.tables import Taken

VOLATILITY_LIFE: Millis = 10 * MINUTE
CARRY_LIFE: Millis = HOUR
"""How long a silent instrument stays in a level."""
EXPIRED_SHARE = 0.02
"""Share of the last known open interest that may be silent for longer than that."""

LONG: Millis = HOUR
LONG_EVERY: Millis = 5 * SECOND
"""Windows longer than `LONG` are looked at this often: their far end moves in steps of minutes."""

YEAR_S = 365 * 86_400.0


class Scope(msgspec.Struct, frozen=True):
    """What the aggregates are made of, and how fast the clock runs."""

    venues: frozenset[str]
    min_coverage: float = 0.6
    speed: float = 1.0
    """Lives are multiplied by it: a demo's market runs faster than its sockets."""


MEMORY = {
    "last_price": pl.Float64, "last_face": pl.Float64, "reference": pl.Float64,
    "reference_time": pl.Int64, "contracts": pl.Float64, "contracts_time": pl.Int64,
    "squares": pl.Float64, "seconds": pl.Float64, "long_usd": pl.Float64, "short_usd": pl.Float64,
}  # fmt: skip
"""Columns that one tick leaves to the next, a row per slot."""
_SUMS = ("squares", "seconds", "long_usd", "short_usd")


Accused: TypeAlias = Mapping[int, Millis]
"""Number of a part (an asset at a venue) → when it last contradicted the other venues."""


class Memory(msgspec.Struct, frozen=True):
    """What one tick leaves to the next."""

    now: Millis | None = None
    columns: pl.DataFrame = pl.DataFrame(schema=MEMORY)
    accused: Accused = {}
    long: tuple[int, pl.DataFrame] | None = None
    """The changes over the longer windows, and when they were computed, in steps of `LONG_EVERY`."""


class Views(msgspec.Struct, frozen=True):
    """The shapes at one instant."""

    now: Millis
    instrument: pl.DataFrame
    flow: pl.DataFrame
    asset: pl.DataFrame
    asset_window: pl.DataFrame
    implausible: Mapping[tuple[str, str], int]
    """Instruments whose reading is refused at present, by venue and kind."""


def fixed(taken: Taken, scope: Scope, feeds: Mapping[str, str]) -> pl.DataFrame:
    """What does not move with the market, a row per slot. `feeds`: class of each liquidation feed."""
    rows = taken.instruments
    expected = _expected(taken, scope)
    place = {venue: n for n, venue in enumerate(dict.fromkeys(of.venue for of in rows))}
    number = {asset: n for n, asset in enumerate(dict.fromkeys(of.asset for of in rows))}
    return pl.DataFrame(
        {
            "venue": pl.Series([of.venue for of in rows], dtype=pl.String),
            "asset": pl.Series([of.asset for of in rows], dtype=pl.String),
            "symbol": pl.Series([of.symbol for of in rows], dtype=pl.String),
            "margin": pl.Series([of.margin for of in rows], dtype=pl.String),
            "venue_id": pl.Series([place[of.venue] for of in rows], dtype=pl.UInt32),
            "asset_id": pl.Series([number[of.asset] for of in rows], dtype=pl.UInt32),
            "part_id": pl.Series([number[of.asset] * 64 + place[of.venue] for of in rows], dtype=pl.UInt32),
            "inverse": pl.Series([of.margin == "inverse" for of in rows], dtype=pl.Boolean),
            "multiplier": pl.Series([of.multiplier for of in rows], dtype=pl.Float64),
            "face": pl.Series([_face(of, of.oi_unit) for of in rows], dtype=pl.Float64),
            "liquidation_face": pl.Series([_face(of, of.liquidation_unit) for of in rows], dtype=pl.Float64),
            "sides": pl.Series([float(of.oi_sides) for of in rows], dtype=pl.Float64),
            "contract_size": pl.Series([f"{of.contract_size:g}" for of in rows], dtype=pl.String),
            "quote": pl.Series([of.quote for of in rows], dtype=pl.String),
            "oi_unit": pl.Series([of.oi_unit for of in rows], dtype=pl.String),
            "oi_sides": pl.Series([str(of.oi_sides) for of in rows], dtype=pl.String),
            "oi_sides_reason": pl.Series([of.oi_sides_reason for of in rows], dtype=pl.String),
            "liquidation_feed": pl.Series([feeds.get(of.venue, "none") for of in rows], dtype=pl.String),
            "counted": pl.Series([of.kind == "perpetual" for of in rows], dtype=pl.Boolean),
            "perpetual": pl.Series(
                [of.kind == "perpetual" and listed for of, listed in zip(rows, taken.listed, strict=True)],
                dtype=pl.Boolean,
            ),
            "scope": pl.Series([of.venue in scope.venues for of in rows], dtype=pl.Boolean),
            "expected": pl.Series([expected.get(of.asset, 0) for of in rows], dtype=pl.UInt32),
        }
    )


def _face(of: Instrument, unit: str) -> float:
    return of.contract_size if unit == "contracts" else 1.0


def _expected(taken: Taken, scope: Scope) -> dict[str, int]:
    """Number of the scope's venues that trade each asset; one whose list is unread may trade any."""
    unread = taken.unlisted_venues & scope.venues
    venues: dict[str, set[str]] = {}
    for of, listed in zip(taken.instruments, taken.listed, strict=True):
        if of.kind == "perpetual" and listed and of.venue in scope.venues:
            venues.setdefault(of.asset, set()).add(of.venue)
    return {asset: len(found | unread) for asset, found in venues.items()}


def look(
    taken: Taken, of: pl.DataFrame, memory: Memory, ladder: Ladder, scope: Scope,
    windows: Mapping[str, Millis],
) -> tuple[Views, Memory]:  # fmt: skip
    """The views at `taken.now`, and the memory for the next tick. Pushes this tick on the ladder."""
    now = taken.now
    before = _padded(memory.columns, of.height)
    rows = readings(pl.concat([of, taken.state, before], how="horizontal"), now, scope.speed)
    rows = _flows(_returns(rows, now, memory.now), taken.liquidations)
    ladder.push(now, rows.select(_STEP))
    short = {name: length for name, length in windows.items() if length <= LONG}
    changes, accused = _asset_windows(rows, now, ladder, scope, short, memory.accused)
    slow = memory.long
    if slow is None or slow[0] != now // LONG_EVERY or slow[1].is_empty():
        long = {name: length for name, length in windows.items() if length > LONG}
        found, accused = _asset_windows(rows, now, ladder, scope, long, accused)
        slow = now // LONG_EVERY, found
    views = Views(
        now=now,
        instrument=rows,
        flow=_flow(rows),
        asset=_assets(rows, taken, scope),
        asset_window=pl.concat([changes, slow[1]]),
        implausible=implausible(rows),
    )
    left = rows.select(
        pl.col("price").alias("last_price"), pl.col("face").alias("last_face"), *list(MEMORY)[2:]
    )
    return views, Memory(now, left, accused, slow)


def _padded(frame: pl.DataFrame, height: int) -> pl.DataFrame:
    """The frame with rows of null for slots that are younger than it."""
    missing = height - frame.height
    return frame if missing == 0 else pl.concat([frame, frame.clear(missing)])


def _returns(rows: pl.DataFrame, now: Millis, last: Millis | None) -> pl.DataFrame:
    """Adds this tick's squared log return and its time to the sums."""
    passed = 0.0 if last is None else (now - last) / 1000
    change = (pl.col("price") / pl.col("last_price")).log()
    return rows.with_columns(
        squares=pl.col("squares").fill_null(0) + (change**2).fill_null(0),
        seconds=pl.col("seconds").fill_null(0) + pl.when(change.is_not_null()).then(passed).otherwise(0.0),
    )


def _flows(rows: pl.DataFrame, liquidations: pl.DataFrame) -> pl.DataFrame:
    """Adds the liquidations since the last tick to the sums, in dollars.

    Contracts at the price of the order (bankruptcy or fill, as the venue gives), or at the market's
    price where it gives none or one that nobody believes. An instrument that is refused as a whole,
    or a liquidation larger than its open interest, adds nothing.
    """
    rows = rows.with_columns(pl.col("long_usd").fill_null(0.0), pl.col("short_usd").fill_null(0.0))
    if liquidations.is_empty():
        return rows
    one = pl.concat(
        [liquidations, rows[liquidations["slot"].cast(pl.Int64).to_list()].drop("index")
            .select("inverse", "multiplier", "liquidation_face", "valuation", "reference",
                    "known_usd", "counted", "mark_refused", "open_interest_refused")
        ],
        how="horizontal",
    )  # fmt: skip
    own = pl.col("price") / pl.col("multiplier")
    price = pl.when(near(own, pl.col("reference"), PRICE_DISTANCE)).then(own).otherwise("valuation")
    face = pl.col("amount") * pl.col("liquidation_face")
    usd = pl.when("inverse").then(face).otherwise(face * pl.col("multiplier") * price)
    sums = (
        one.with_columns(usd=usd)
        .filter(
            pl.col("counted")
            & ~pl.col("mark_refused")
            & ~pl.col("open_interest_refused")
            & (pl.col("usd") <= pl.col("known_usd").fill_null(OPEN_INTEREST_MOST_USD / 100))
        )
        .group_by("slot", maintain_order=True)
        .agg(
            pl.col("usd").filter("long").sum().alias("more_long"),
            pl.col("usd").filter(~pl.col("long")).sum().alias("more_short"),
        )
    )
    return (
        rows.with_row_index("slot")
        .join(sums, on="slot", how="left", maintain_order="left")
        .with_columns(
            long_usd=pl.col("long_usd") + pl.col("more_long").fill_null(0),
            short_usd=pl.col("short_usd") + pl.col("more_short").fill_null(0),
        )
        .drop("slot", "more_long", "more_short")
    )


_STEP = [
    pl.when(pl.col("fresh") & pl.col("scope")).then(NATIVE).alias("native_then"),
    pl.when(pl.col("scope")).then("known_usd").alias("known_then"),
    *(pl.col(name).alias(f"{name}_then") for name in _SUMS),
]
"""What a step of the ladder holds."""


REMEMBERED_EVERY: Millis = 5 * MINUTE


def remembered(of: pl.DataFrame, bars: pl.DataFrame) -> list[tuple[Millis, pl.DataFrame]]:
    """Steps of the ladder made of bars of before the first tick, for the slots of `fixed`.

    `bars`: of hours and after them of minutes, that do not overlap, with their `end` in milliseconds. Sums
    begin at 0 with the first tick, so those of before are below it. Returns are not remembered.
    """
    key = ["venue", "asset", "symbol"]
    mine = bars.filter(pl.col("venue").is_in(of.filter("scope")["venue"].unique().to_list()))
    if mine.is_empty() or of.is_empty():
        return []
    slots = of.select(*key, "inverse", "multiplier")
    times = mine.select("end").unique().sort("end")
    flows = [
        -pl.col(name).fill_null(0.0).reverse().cum_sum().reverse().over(key)
        for name in ("long_usd", "short_usd")
    ]
    rows = (
        times.join(slots, how="cross", maintain_order="left_right")
        .join(mine, on=["end", *key], how="left", maintain_order="left")
        .with_columns(native_then=pl.col("native") / pl.when("inverse").then(1.0).otherwise("multiplier"))
        # Flows since a bar's close are those of the bars after it.
        .with_columns(flow.shift(-1, fill_value=0.0).over(key).alias(f"{name}_then")
                      for flow, name in zip(flows, ("long_usd", "short_usd"), strict=True))
        .with_columns(pl.lit(None, dtype=pl.Float64).alias(f"{name}_then") for name in ("squares", "seconds"))
        .select("native_then", pl.col("usd").alias("known_then"), *(f"{name}_then" for name in _SUMS))
    )  # fmt: skip
    found: list[tuple[Millis, pl.DataFrame]] = []
    for number, end in enumerate(times["end"]):
        if not found or end >= found[-1][0] + REMEMBERED_EVERY:
            found.append((end, rows.slice(number * of.height, of.height)))
    return found


def _flow(rows: pl.DataFrame) -> pl.DataFrame:
    """Liquidated dollars since the start by venue, asset and position; none where no feed exists."""
    sums = (
        rows.filter(pl.col("counted") & (pl.col("liquidation_feed") != "none"))
        .group_by("venue", "asset", maintain_order=True)
        .agg(pl.col("long_usd", "short_usd").sum())
    )
    return pl.concat(
        [
            sums.select("venue", "asset", pl.lit(p).alias("position"), pl.col(f"{p}_usd").alias("usd"))
            for p in ("long", "short")
        ]
    )  # fmt: skip


def _assets(rows: pl.DataFrame, taken: Taken, scope: Scope) -> pl.DataFrame:
    """Levels of an asset over the scope, and how much of them is fresh."""
    mine = pl.col("perpetual") & pl.col("scope")
    silent = pl.lit(taken.now) - pl.col("contracts_time") > int(CARRY_LIFE * scope.speed)
    weighted = mine & pl.col("fresh") & pl.col("rate_8h").is_not_null()
    frame = (
        rows.filter("perpetual")
        .group_by(ASSET, maintain_order=True)
        .agg(
            pl.col("asset").first(),
            pl.col("price").median().alias("reference"),
            pl.col("known_usd").filter(mine).sum().alias("level_usd"),
            pl.col("known_coins").filter(mine).sum().alias("level_coins"),
            pl.col("known_usd").filter(mine & pl.col("fresh")).sum().alias("fresh_usd"),
            pl.col("known_usd").filter(mine & silent).sum().alias("expired_usd"),
            pl.col("venue_id").filter(mine & pl.col("known_usd").is_not_null()).n_unique()
            .alias("venues"),
            pl.col("expected").max(),
            (mine & pl.col("known_usd").is_not_null()).sum().alias("known"),
            mine.sum().alias("listed"),
            (pl.col("known_usd") * pl.col("rate_8h")).filter(weighted).sum().alias("funding_usd"),
            pl.col("known_usd").filter(weighted).sum().alias("funding_weight"),
        )
    )  # fmt: skip
    life = int(VOLATILITY_LIFE * scope.speed)
    implied = {a: v for a, (v, time) in taken.volatility.items() if taken.now - time <= life}
    reached = pl.min_horizontal(pl.col("venues") / pl.col("expected"), pl.col("known") / pl.col("listed"))
    level = (
        (pl.col("venues") == pl.col("expected"))
        & (pl.col("known") == pl.col("listed"))
        & (pl.col("coverage") >= scope.min_coverage)
        & (pl.col("expired_usd") <= EXPIRED_SHARE * pl.col("level_usd"))
    )
    funded = (pl.col("funding_weight") / pl.col("level_usd")).fill_nan(0) * reached
    return frame.with_columns(
        coverage=pl.when(pl.col("expected") > 0).then(
            (pl.col("fresh_usd") / pl.col("level_usd")).fill_nan(0) * reached
        ),
        implied=pl.Series([implied.get(a) for a in frame["asset"]], dtype=pl.Float64),
    ).with_columns(
        usd=pl.when(level).then("level_usd"),
        coins=pl.when(level).then("level_coins"),
        rate_8h=pl.when(funded >= scope.min_coverage).then(pl.col("funding_usd") / pl.col("funding_weight")),
    )


def _asset_windows(
    rows: pl.DataFrame, now: Millis, ladder: Ladder, scope: Scope, windows: Mapping[str, Millis],
    accused: Accused,
) -> tuple[pl.DataFrame, Accused]:  # fmt: skip
    """Changes between now and the start of each window that the ladder reaches back to.

    Of venues first, then of the asset over those that are believed: `aggregate.py` has the rules.
    """
    today = rows.select(
        ASSET, "part_id", "expected", "perpetual", "scope", *_SUMS,
        feed=pl.col("liquidation_feed") != "none", native=pl.when("fresh").then(NATIVE),
        usd_now="known_usd",
    )  # fmt: skip
    stacked = []
    names = list(windows)
    for number, (name, length) in enumerate(windows.items()):
        if (found := ladder.lag(now, length)) is not None:
            stacked.append(
                pl.concat([today, _padded(found[1], rows.height)], how="horizontal").with_columns(
                    number=pl.lit(number * _PLACES, dtype=pl.UInt32),
                    length_s=pl.lit(length / 1000 if name in _VOLATILE else math.inf),
                )
            )
    if not stacked:
        return pl.DataFrame(schema=_ASSET_WINDOW), accused
    # Sums of columns are far cheaper than sums of filtered ones: what does not count is null in them.
    weight = pl.col("known_then")
    both = (pl.col("native") > 0) & (pl.col("native_then") > 0)
    fed = pl.when("feed").then(weight)
    flow = pl.sum_horizontal(pl.col(f"{p}_usd") - pl.col(f"{p}_usd_then") for p in ("long", "short"))
    seconds = pl.col("seconds") - pl.col("seconds_then")
    mine = pl.concat(stacked).filter(pl.col("perpetual") & pl.col("scope")).select(
        pl.col("number") + pl.col("part_id"),
        "expected",
        asset_window=pl.col("number") + pl.col(ASSET),
        growth=pl.when(both).then(weight * (pl.col("native") / pl.col("native_then")).log()),
        weight=pl.when(both).then(weight),
        change_usd=pl.when(both).then(pl.col("usd_now") - weight),
        known_usd=weight,
        liquidated_usd=pl.when(fed.is_not_null()).then(flow),
        feed_usd=fed,
        square=pl.when(seconds >= 0.8 * pl.col("length_s")).then(
            (pl.col("squares") - pl.col("squares_then")) / seconds * YEAR_S
        ),
    )  # fmt: skip
    sums = ("weight", "change_usd", "known_usd", "liquidated_usd", "feed_usd")
    venues = mine.group_by("number", maintain_order=True).agg(
        pl.col("asset_window", "expected").first(),
        pl.col("growth", *sums).sum(),
        pl.col("known_usd").count().alias("known"),
    )
    mean = pl.col("growth") / pl.col("weight")
    venues = venues.with_columns(growth=pl.when(pl.col("weight") > 0).then(mean))
    venues, accused = _heard(venues, now, accused, scope)
    frame = venues.with_columns(
        pl.when(pl.col("share") > 0).then(pl.col("weight", "change_usd")),
        growth=pl.col("growth") * pl.col("share"),
        venues=(pl.col("known") > 0).cast(pl.UInt32),
    ).group_by("asset_window", maintain_order=True).agg(
        pl.col("expected").max(), pl.col("growth", *sums, "venues").sum(),
    )  # fmt: skip
    moves = (
        mine.filter(pl.col("square").is_not_null())
        .group_by("asset_window").agg(pl.col("square").median().sqrt().alias("realized_volatility"))
    )  # fmt: skip
    reached = pl.col("venues") / pl.col("expected")
    covered = pl.col("weight") / pl.col("known_usd") * reached >= scope.min_coverage
    assets = dict(rows.select(ASSET, "asset").unique().rows())
    keys = frame["asset_window"].to_list()
    growth = pl.when(covered).then("growth")
    heard = covered & (pl.col("feed_usd") > 0)
    return frame.join(moves, on="asset_window", how="left", maintain_order="left").select(
        pl.Series("asset", [assets[key % _PLACES] for key in keys], dtype=pl.String),
        pl.Series("window", [names[key // _PLACES] for key in keys], dtype=pl.String),
        growth=growth,
        # What positions did at constant price, and what the price did to them, over the same instruments.
        position_usd=pl.col("weight") * (growth.exp() - 1),
        price_usd=pl.col("change_usd") - pl.col("weight") * (growth.exp() - 1),
        liquidated_usd=pl.when(heard).then("liquidated_usd"),
        implied_liquidation_usd=pl.col("known_usd") * (1 - pl.min_horizontal(growth, 0 * growth).exp()),
        liquidation_intensity=pl.when(heard).then(pl.col("liquidated_usd") / pl.col("feed_usd")),
        realized_volatility="realized_volatility",
    ), accused  # fmt: skip


_PLACES = 1 << 24
"""Numbers of a window's groups: more than assets times venues."""


def _heard(venues: pl.DataFrame, now: Millis, accused: Accused, scope: Scope) -> tuple[pl.DataFrame, Accused]:
    """Adds who takes part in the growth of a window, and with what weight.

    Who contradicts the others in any window is held to them more closely for a week.
    """
    over = ["asset_window"]
    venues = venues.with_columns(aside=contradicts(pl.col("growth"), over))
    life = int(QUARANTINE_DAYS * DAY * scope.speed)
    known = {part: at for part, at in accused.items() if now - at <= life}
    if venues["aside"].any():
        known |= dict.fromkeys((venues.filter("aside")["number"] % _PLACES).to_list(), now)
    if known:
        lately = (pl.col("number") % _PLACES).is_in(list(known))
        venues = venues.with_columns(aside=pl.col("aside") | (lately & strays(pl.col("growth"), over)))
    share = pl.when(~pl.col("aside") & pl.col("growth").is_not_null()).then("weight")
    venues = venues.with_columns(share=share / share.sum().over(over))
    if venues["share"].max() is not None and (venues["share"] > CAP).any():
        venues = capped(venues, "share", over)
    return venues, known


_VOLATILE = ("5m", "1h")
"""Windows over which the ticks' own returns are summed; longer ones are made of bars."""

_ASSET_WINDOW = {
    "asset": pl.String, "window": pl.String, "growth": pl.Float64, "position_usd": pl.Float64,
    "price_usd": pl.Float64, "liquidated_usd": pl.Float64,
    "implied_liquidation_usd": pl.Float64, "liquidation_intensity": pl.Float64,
    "realized_volatility": pl.Float64,
}  # fmt: skip
