"""Which readings are believed: the rules that keep a wrong unit or price out of everything else.

A reading that is refused makes its instrument silent, no more and no less; it is counted and named.
Everything is a pure function of the rows of a tick and its time.
"""

from __future__ import annotations

import math

import polars as pl

from monitor.bars import NATIVE
from monitor.events import Millis
from monitor.ladder import HOUR, MINUTE, SECOND
from monitor.query import at_once

MARK_LIFE: Millis = MINUTE
INDEX_LIFE: Millis = 90 * SECOND
FUNDING_LIFE: Millis = 10 * MINUTE
OPEN_INTEREST_LIFE: Millis = 5 * MINUTE
REFERENCE_LIFE: Millis = 10 * MINUTE
"""How long a price that nobody confirms is still held against one that is far from it."""

PRICE_DISTANCE = 0.25
"""Log distance of a mark from the median of its asset's marks that is still believed."""
MEMORY_LIFE: Millis = HOUR
"""How long an accepted reading is held against one that is far from it: it may have been the wrong one."""
OPEN_INTEREST_FACTOR = 4.0
"""Between two accepted readings of one instrument, open interest may change by this factor."""
OPEN_INTEREST_SMALL_USD = 5e6
"""Below this an instrument may do what it likes: it moves nothing."""
OPEN_INTEREST_MOST_USD = 1e11
"""No instrument has held a sixth of it (2025 peak of all venues and assets: 2.3e11)."""
OPEN_INTEREST_OTHERS = 5.0
"""First reading: at most this multiple of the rest of the asset, where three other venues are known."""
FUNDING_MOST = 0.1
"""Rates beyond 10 % for 8 hours are no funding: venues cap at 2 to 4 %."""
EIGHT_HOURS_S = 28_800.0


def fresh_at(time: str, life: Millis, now: Millis, speed: float) -> pl.Expr:
    """Whether a column of times is within a life of now; null where there is no time."""
    return pl.lit(now) - pl.col(time) <= int(life * speed)


def near(value: pl.Expr, of: pl.Expr, distance: float) -> pl.Expr:
    """Whether two positive numbers are within a log distance; null if one is missing."""
    return (value / of).log().abs() <= distance


ASSET = "asset_id"
"""Number of the asset: grouping by it is cheaper than by its name."""
_FACE_COINS = NATIVE * pl.col("multiplier")

USD = pl.when("inverse").then(NATIVE).otherwise(_FACE_COINS * pl.col("valuation"))
"""Dollars and coins of the column `contracts`, at the column `valuation`."""
COINS = pl.when("inverse").then(NATIVE / pl.col("valuation")).otherwise(_FACE_COINS)


_LIVE = pl.col("perpetual")
_SAID = pl.col("said")
_NEAR = near(_SAID, pl.col("reference"), PRICE_DISTANCE)
_AGREE = (_NEAR.sum() / _SAID.count()).over(ASSET)
_VENUES = pl.col("venue_id").filter(_SAID.is_not_null()).n_unique().over(ASSET)
_BASE = (
    pl.when((_AGREE < 0.5) & (_VENUES >= 3) | pl.col("reference").is_null())  # noqa: PLR2004 -- half
    .then(_SAID.median().over(ASSET))
    .otherwise("reference")
)
"""The reference is the median of the believed marks. A mark is believed near the last reference; where fewer
than half are, the market moved if three venues say so: their median decides. Two or one may be wrong
together, and wait until the reference has grown old."""
_PRICE = pl.when("believed").then(_SAID)
_MIDDLE = pl.col("price").median().over(ASSET)
_VALUED = (
    pl.coalesce("middle", "reference").alias("reference"),
    pl.coalesce("price", "middle", "reference").alias("valuation"),
    (_SAID.is_not_null() & pl.col("price").is_null()).alias("mark_refused"),
    # A contract that was resized holds the same open interest in another number of contracts.
    (pl.col("contracts") * pl.col("last_face") / pl.col("face")).alias("contracts"),
)

_READING = pl.col("reading_usd")
_SMALL = (_READING < OPEN_INTEREST_SMALL_USD) & (pl.col("before_usd").fill_null(0) < OPEN_INTEREST_SMALL_USD)
_STEADY = near(pl.col("reading"), pl.col("before"), math.log(OPEN_INTEREST_FACTOR)).fill_null(value=False)
"""Whether a reading of open interest agrees with the last accepted one."""
_HELD = pl.coalesce("before_usd", "reading_usd")
_OTHERS = _HELD.sum().over(ASSET) - _HELD.sum().over(ASSET, "venue_id")
_FEW = pl.col("venue_id").filter(_HELD.is_not_null()).n_unique().over(ASSET) <= 3  # noqa: PLR2004 -- and two more
_ALIKE = _FEW | (_READING <= OPEN_INTEREST_OTHERS * _OTHERS)
"""Whether a first reading agrees with the rest of the asset."""
_ACCEPTED = (
    (_READING.is_not_null() & ~pl.col("fresh")).alias("open_interest_refused"),
    pl.when("fresh").then("reading").otherwise("was").alias("contracts"),
    pl.when("fresh").then("amount_time").otherwise("contracts_time").alias("contracts_time"),
)
_RATE_8H = pl.col("rate") * (EIGHT_HOURS_S / pl.col("interval_s"))
# Unknown intervals are taken at their shortest here: a rate must be believable on any.
_PAYABLE = (_RATE_8H.abs() <= FUNDING_MOST) | (pl.col("rate").abs() <= FUNDING_MOST / 8)
_INDEX = pl.col("index") / pl.col("multiplier")
_OWN = pl.col("price").is_not_null()
_SHOWN = (
    pl.when(pl.col("fresh") & (pl.col("inverse") | _OWN)).then("known_usd").alias("usd"),
    pl.when(pl.col("fresh") & (~pl.col("inverse") | _OWN)).then("known_coins").alias("coins"),
    _RATE_8H.alias("rate_8h"),
    (pl.col("price") / pl.col("index_price") - 1).alias("premium"),
)


def readings(rows: pl.LazyFrame, now: Millis, speed: float, *, same: bool) -> pl.LazyFrame:
    """Which marks, open interests and funding rates are believed, in dollars and coins.

    `same`: whether the instruments are those of the last tick, which left each asset one reference.
    """

    def recent(column: str, life: Millis) -> pl.Expr:
        return fresh_at(column, life, now, speed)

    reference = pl.when(recent("reference_time", REFERENCE_LIFE)).then("reference")
    reference_time = pl.col("reference_time")
    said = _LIVE & recent("mark_time", MARK_LIFE) & (pl.col("mark") > 0)
    marks = (
        rows.with_columns_seq(
            said=pl.when(said).then(pl.col("mark") / pl.col("multiplier")),
            reference=reference if same else reference.max().over(ASSET),
            reference_time=reference_time if same else reference_time.max().over(ASSET),
        )
        .with_columns(believed=_NEAR)
        .pipe(at_once)
    )
    # Nearly always every mark is near the last reference, and the market need not be asked.
    doubtful = marks["believed"].sum() < marks["said"].count()
    held = (
        marks.lazy()
        .with_columns(believed=near(_SAID, _BASE, PRICE_DISTANCE) if doubtful else pl.col("believed"))
        .with_columns(price=_PRICE)
        .with_columns(middle=_MIDDLE)
        .with_columns_seq(
            *_VALUED,
            reference_time=pl.when(pl.col("middle").is_not_null()).then(now).otherwise("reference_time"),
            reading=pl.when(_LIVE & recent("amount_time", OPEN_INTEREST_LIFE)).then(
                pl.col("amount") / pl.col("sides")
            ),
        )
        .with_columns_seq(
            was="contracts",
            before=pl.when(recent("contracts_time", MEMORY_LIFE)).then("contracts"),
            before_usd=USD,
            contracts="reading",
        )
        .with_columns_seq(reading_usd=USD, first=pl.col("reading").is_not_null() & pl.col("before").is_null())
        .pipe(at_once)
    )
    first = pl.col("first") & _ALIKE if held["first"].any() else pl.lit(value=False)
    believed = (_READING <= OPEN_INTEREST_MOST_USD) & (_STEADY | first | _SMALL)
    rated = _LIVE & recent("rate_time", FUNDING_LIFE) & _PAYABLE
    indexed = _LIVE & recent("index_time", INDEX_LIFE) & near(_INDEX, pl.col("reference"), PRICE_DISTANCE)
    return (
        held.lazy()
        .with_columns(fresh=(believed & ~pl.col("mark_refused")).fill_null(value=False))
        .with_columns_seq(_ACCEPTED)
        .with_columns_seq(
            known_usd=pl.when(_LIVE).then(USD),
            known_coins=pl.when(_LIVE).then(COINS),
            rate=pl.when(rated).then("rate"),
            index_price=pl.when(indexed & (pl.col("index") > 0)).then(_INDEX),
        )
        .with_columns_seq(_SHOWN)
    )


def implausible(rows: pl.DataFrame) -> dict[tuple[str, str], int]:
    """Instruments whose reading is refused, by venue and kind."""
    refused = {"mark": "mark_refused", "open_interest": "open_interest_refused"}
    return {
        (venue, kind): count
        for kind, column in refused.items()
        if rows[column].any()
        for venue, count in rows.filter(column)["venue"].value_counts(sort=True).rows()
    }
