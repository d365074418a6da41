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

from collections.abc import Mapping, Sequence

import msgspec
import polars as pl

from monitor.events import Instrument, Millis
from monitor.ladder import HOUR, MINUTE, SECOND, Ladder
from monitor.query import at_once
from monitor.tick.changes import STEP, SUMS, Accused, changes
from monitor.tick.readings import (
    ASSET,
    OPEN_INTEREST_MOST_USD,
    PRICE_DISTANCE,
    implausible,
    near,
    readings,
)
from monitor.tick.tables import Taken

VOLATILITY_LIFE: Millis = 10 * MINUTE
CARRY_LIFE: Millis = HOUR
"""How long a silent instrument stays in a level."""
EXPIRED_SHARE = 0.02
"""Share of the last known open interest that may be silent for longer than that."""
CHANGES_EVERY: Millis = 5 * SECOND
"""Changes over windows, and what follows from them, are looked at this often: they are scraped no more often,
and the shortest window is sixty times as long."""


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


class Memory(msgspec.Struct, frozen=True):
    """What one tick leaves to the next."""

    now: Millis | None = None
    version: int = -1
    """Of the instruments."""
    columns: pl.DataFrame = pl.DataFrame(schema=MEMORY)
    accused: Accused = {}
    changes: tuple[int, pl.DataFrame] | None = None
    """The changes over windows, and when they were computed, in steps of `CHANGES_EVERY`."""


class Views(msgspec.Struct, frozen=True):
    """The shapes at one instant."""

    now: Millis
    instrument: pl.DataFrame
    flow: pl.DataFrame
    asset: pl.DataFrame
    asset_window: pl.DataFrame
    implausible: Mapping[tuple[str, str], int]
    """Instruments whose reading is refused at present, by venue and kind."""


class Fixed(msgspec.Struct, frozen=True):
    """What does not move with the market."""

    rows: pl.DataFrame
    """A row per slot."""
    assets: Sequence[str]
    """By their number."""
    flows: pl.DataFrame
    """`Views.flow` without its dollars."""


def fixed(taken: Taken, scope: Scope, feeds: Mapping[str, str]) -> Fixed:
    """What does not move with the market. `feeds`: class of each liquidation feed."""
    rows = taken.instruments
    expected = _expected(taken, scope)
    place = {venue: n for n, venue in enumerate(dict.fromkeys(of.venue for of in rows))}
    number = {asset: n for n, asset in enumerate(dict.fromkeys(of.asset for of in rows))}
    fed = [feeds.get(of.venue, "none") != "none" for of in rows]
    flowing = [told and of.kind == "perpetual" for of, told in zip(rows, fed, strict=True)]
    # A part stands where its first instrument does, as in `_flow`.
    parts = dict.fromkeys((of.venue, of.asset) for of, told in zip(rows, flowing, strict=True) if told)
    flows = [(*part, position) for position in ("long", "short") for part in parts]
    names = {"venue": pl.String, "asset": pl.String, "position": pl.String}
    table = pl.DataFrame(
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
            "fed": pl.Series(fed, dtype=pl.Boolean),
            "flowing": pl.Series(flowing, dtype=pl.Boolean),
            "counted": pl.Series([of.kind == "perpetual" for of in rows], dtype=pl.Boolean),
            "perpetual": pl.Series(
                [of.kind == "perpetual" and listed for of, listed in zip(rows, taken.listed, strict=True)],
                dtype=pl.Boolean,
            ),
            "scope": pl.Series([of.venue in scope.venues for of in rows], dtype=pl.Boolean),
            "expected": pl.Series([expected.get(of.asset, 0) for of in rows], dtype=pl.UInt32),
        }
    )
    return Fixed(table, list(number), pl.DataFrame(flows, schema=names, orient="row"))


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
    taken: Taken, of: Fixed, memory: Memory, ladder: Ladder, scope: Scope,
    windows: Mapping[str, Millis],
) -> tuple[Views, Memory]:  # fmt: skip
    """The views at `taken.now`, and the memory for the next tick. Pushes this tick on the ladder."""
    now = taken.now
    before = _padded(memory.columns, of.rows.height)
    told = pl.concat([of.rows, taken.state, before], how="horizontal").lazy()
    moved = _returns(readings(told, now, scope.speed, same=memory.version == taken.version), now, memory.now)
    rows = _flows(moved.pipe(at_once), taken.liquidations)
    ladder.push(now, rows.select_seq(STEP))
    found, accused = memory.changes, memory.accused
    if found is None or found[0] != now // CHANGES_EVERY or found[1].is_empty():
        lags = {
            name: _padded(lag[1], rows.height)
            for name, length in windows.items() if (lag := ladder.lag(now, length))
        }  # fmt: skip
        frame, accused = changes(
            rows, lags, windows, now, accused, min_coverage=scope.min_coverage, speed=scope.speed
        )
        found = now // CHANGES_EVERY, frame
    views = Views(
        now=now,
        instrument=rows,
        flow=_flow(rows, of.flows),
        asset=_assets(rows, of.assets, taken, scope),
        asset_window=found[1],
        implausible=implausible(rows),
    )
    left = rows.select_seq(
        pl.col("price").alias("last_price"), pl.col("face").alias("last_face"), *list(MEMORY)[2:]
    )
    return views, Memory(now, taken.version, left, accused, found)


def _padded(frame: pl.DataFrame, height: int) -> pl.DataFrame:
    """The frame with rows of null for slots that are younger than it."""
    missing = height - frame.height
    return frame if missing == 0 else pl.concat([frame, frame.clear(missing)])


def _returns(rows: pl.LazyFrame, now: Millis, last: Millis | None) -> pl.LazyFrame:
    """Adds this tick's squared log return and its time to the sums, which begin at 0."""
    passed = 0.0 if last is None else (now - last) / 1000
    change = (pl.col("price") / pl.col("last_price")).log()
    return rows.with_columns_seq(
        squares=pl.col("squares").fill_null(0) + (change**2).fill_null(0),
        seconds=pl.col("seconds").fill_null(0) + pl.when(change.is_not_null()).then(passed).otherwise(0.0),
        long_usd=pl.col("long_usd").fill_null(0.0),
        short_usd=pl.col("short_usd").fill_null(0.0),
    )


_OWN = pl.col("price") / pl.col("multiplier")
_PAID = pl.when(near(_OWN, pl.col("reference"), PRICE_DISTANCE)).then(_OWN).otherwise("valuation")
_LIQUIDATED = pl.col("amount") * pl.col("liquidation_face")
_LIQUIDATED_USD = (
    pl.when("inverse").then(_LIQUIDATED).otherwise(_LIQUIDATED * pl.col("multiplier") * _PAID).alias("usd")
)
_OF_INSTRUMENT = pl.col(
    "inverse", "multiplier", "liquidation_face", "valuation", "reference", "known_usd", "counted",
    "mark_refused", "open_interest_refused",
)  # fmt: skip
_BELIEVED = (
    pl.col("counted")
    & ~pl.col("mark_refused")
    & ~pl.col("open_interest_refused")
    & (pl.col("usd") <= pl.col("known_usd").fill_null(OPEN_INTEREST_MOST_USD / 100))
)
_BY_SIDE = (
    pl.col("usd").filter("long").sum().alias("long_usd"),
    pl.col("usd").filter(~pl.col("long")).sum().alias("short_usd"),
)


def _flows(rows: pl.DataFrame, liquidations: pl.DataFrame) -> pl.DataFrame:
    """Adds the liquidations since the last tick to the sums, in dollars.

    Contracts at the price of the order (bankruptcy or fill, as the venue gives), or at the market's
    price where it gives none or one that nobody believes. An instrument that is refused as a whole,
    or a liquidation larger than its open interest, adds nothing.
    """
    if liquidations.is_empty():
        return rows
    of = rows.select_seq(_OF_INSTRUMENT.gather(liquidations["slot"]))
    sums = (
        pl.concat([liquidations, of], how="horizontal")
        .lazy()
        .with_columns(_LIQUIDATED_USD)
        .filter(_BELIEVED)
        .group_by("slot", maintain_order=True)
        .agg(_BY_SIDE)
        .pipe(at_once)
    )
    nothing = pl.zeros(rows.height, eager=True)
    more = {name: nothing.clone().scatter(sums["slot"], sums[name]) for name in ("long_usd", "short_usd")}
    return rows.with_columns_seq(
        (pl.col(name) + pl.lit(dollars)).alias(name) for name, dollars in more.items()
    )


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
        .select("native_then", pl.col("usd").alias("known_then"), *(f"{name}_then" for name in SUMS))
    )  # fmt: skip
    found: list[tuple[Millis, pl.DataFrame]] = []
    for number, end in enumerate(times["end"]):
        if not found or end >= found[-1][0] + REMEMBERED_EVERY:
            found.append((end, rows.slice(number * of.height, of.height)))
    return found


def _flow(rows: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    """Liquidated dollars since the start by venue, asset and position; none where no feed exists."""
    sums = (
        rows.lazy()
        .select_seq("part_id", "flowing", "long_usd", "short_usd")
        .filter("flowing")
        .group_by("part_id", maintain_order=True)
        .agg(pl.col("long_usd", "short_usd").sum())
        .pipe(at_once)
    )
    both = pl.concat([sums["long_usd"], sums["short_usd"].alias("long_usd")])
    return names.with_columns(both.alias("usd"))


_MINE = pl.col("perpetual") & pl.col("scope")
_WEIGHTED = _MINE & pl.col("fresh") & pl.col("rate_8h").is_not_null()
_KNOWN = _MINE & pl.col("known_usd").is_not_null()
# Sums of columns are far cheaper than sums of filtered ones: what does not count is null in them.
_COUNTED = (
    pl.col(ASSET, "asset", "price", "expected", "perpetual"),
    pl.when(_KNOWN).then("venue_id").alias("venues"),
    pl.when(_MINE).then("known_usd").alias("level_usd"),
    pl.when(_MINE).then("known_coins").alias("level_coins"),
    pl.when(_MINE & pl.col("fresh")).then("known_usd").alias("fresh_usd"),
    pl.when(_WEIGHTED).then(pl.col("known_usd") * pl.col("rate_8h")).alias("funding_usd"),
    pl.when(_WEIGHTED).then("known_usd").alias("funding_weight"),
    _KNOWN.alias("known"),
    _MINE.alias("listed"),
)
_DOLLARS = ("level_usd", "level_coins", "fresh_usd", "expired_usd", "funding_usd", "funding_weight")
_LEVELS = (
    pl.col("asset").first(),
    pl.col("price").median().alias("reference"),
    pl.col("venues").drop_nulls().n_unique(),
    pl.col("expected").max(),
    pl.col(*_DOLLARS, "known", "listed").sum(),
)
_REACHED = pl.min_horizontal(pl.col("venues") / pl.col("expected"), pl.col("known") / pl.col("listed"))
_COVERAGE = pl.when(pl.col("expected") > 0).then(
    (pl.col("fresh_usd") / pl.col("level_usd")).fill_nan(0) * _REACHED
)
_FUNDED = (pl.col("funding_weight") / pl.col("level_usd")).fill_nan(0) * _REACHED
_WHOLE = (
    (pl.col("venues") == pl.col("expected"))
    & (pl.col("known") == pl.col("listed"))
    & (pl.col("expired_usd") <= EXPIRED_SHARE * pl.col("level_usd"))
)


def _assets(rows: pl.DataFrame, names: Sequence[str], taken: Taken, scope: Scope) -> pl.DataFrame:
    """Levels of an asset over the scope, and how much of them is fresh."""
    silent = pl.col("contracts_time") < taken.now - int(CARRY_LIFE * scope.speed)
    life = int(VOLATILITY_LIFE * scope.speed)
    implied = {a: v for a, (v, time) in taken.volatility.items() if taken.now - time <= life}
    said = pl.Series([implied.get(name) for name in names], dtype=pl.Float64)
    enough = pl.col("coverage") >= scope.min_coverage
    funding = pl.col("funding_usd") / pl.col("funding_weight")
    return (
        rows.lazy()
        .select_seq(*_COUNTED, pl.when(_MINE & silent).then("known_usd").alias("expired_usd"))
        .filter("perpetual")
        .group_by(ASSET, maintain_order=True)
        .agg(_LEVELS)
        .with_columns_seq(coverage=_COVERAGE, implied=pl.lit(said).gather(ASSET))
        .with_columns_seq(
            usd=pl.when(_WHOLE & enough).then("level_usd"),
            coins=pl.when(_WHOLE & enough).then("level_coins"),
            rate_8h=pl.when(scope.min_coverage <= _FUNDED).then(funding),
        )
        .pipe(at_once)
    )
