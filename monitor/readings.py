"""Which readings are believed: the rules that keep a wrong unit or price out of everything else.

A reading that is refused makes its instrument silent, no more and no less; it is counted and named.
Everything is a pure function of the rows of a tick and its time.
"""

from __future__ import annotations

import math

import polars as pl

from monitor.events import Millis
from monitor.ladder import HOUR, MINUTE, SECOND

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
NATIVE = pl.col("contracts") * pl.col("face")
"""Dollars if inverse, quoted units if linear: what does not move with the price."""
_FACE_COINS = NATIVE * pl.col("multiplier")

USD = pl.when("inverse").then(NATIVE).otherwise(_FACE_COINS * pl.col("valuation"))
"""Dollars and coins of the column `contracts`, at the column `valuation`."""
COINS = pl.when("inverse").then(NATIVE / pl.col("valuation")).otherwise(_FACE_COINS)


def readings(rows: pl.DataFrame, now: Millis, speed: float) -> pl.DataFrame:
    """Which marks, open interests and funding rates are believed, in dollars and coins."""
    live = pl.col("perpetual")
    said = pl.when(live & fresh_at("mark_time", MARK_LIFE, now, speed) & (pl.col("mark") > 0)).then(
        pl.col("mark") / pl.col("multiplier")
    )
    recent = fresh_at("reference_time", REFERENCE_LIFE, now, speed)
    rows = rows.with_columns(
        said=said,
        reference=pl.when(recent).then("reference").max().over(ASSET),
        reference_time=pl.col("reference_time").max().over(ASSET),
    )
    # The reference is the median of the believed marks. A mark is believed near the last reference;
    # where fewer than half are, the market moved if three venues say so: their median decides. Two
    # or one may be wrong together, and wait until the reference has grown old.
    believed = near(pl.col("said"), pl.col("reference"), PRICE_DISTANCE)
    venues = pl.col("venue_id").filter(pl.col("said").is_not_null()).n_unique().over(ASSET)
    agree = (believed.sum() / pl.col("said").count()).over(ASSET)
    base = (
        pl.when((agree < 0.5) & (venues >= 3) | pl.col("reference").is_null())  # noqa: PLR2004 -- half
        .then(pl.col("said").median().over(ASSET))
        .otherwise("reference")
    )
    rows = rows.with_columns(
        price=pl.when(near(pl.col("said"), base, PRICE_DISTANCE)).then("said")
    ).with_columns(
        reference=pl.coalesce(pl.col("price").median().over(ASSET), "reference"),
        reference_time=pl.when((pl.col("price").count() > 0).over(ASSET))
        .then(now)
        .otherwise("reference_time"),
    )
    rows = rows.with_columns(
        valuation=pl.coalesce("price", "reference"),
        mark_refused=pl.col("said").is_not_null() & pl.col("price").is_null(),
        # A contract that was resized holds the same open interest in another number of contracts.
        contracts=pl.col("contracts") * pl.col("last_face") / pl.col("face"),
        reading=pl.when(live & fresh_at("amount_time", OPEN_INTEREST_LIFE, now, speed)).then(
            pl.col("amount") / pl.col("sides")
        ),
    )
    rows = rows.with_columns(before="contracts", before_usd=USD, contracts=pl.col("reading")).with_columns(
        reading_usd=USD
    )
    believed = _believed(fresh_at("contracts_time", MEMORY_LIFE, now, speed))
    rows = rows.with_columns(
        fresh=(believed & ~pl.col("mark_refused")).fill_null(value=False),
    ).with_columns(
        open_interest_refused=pl.col("reading_usd").is_not_null() & ~pl.col("fresh"),
        contracts=pl.when("fresh").then("reading").otherwise("before"),
        contracts_time=pl.when("fresh").then("amount_time").otherwise("contracts_time"),
    )
    rate = pl.when(live & fresh_at("rate_time", FUNDING_LIFE, now, speed)).then("rate")
    rate_8h = pl.col("rate") * (EIGHT_HOURS_S / pl.col("interval_s"))
    index = pl.when(live & fresh_at("index_time", INDEX_LIFE, now, speed) & (pl.col("index") > 0)).then(
        pl.col("index") / pl.col("multiplier")
    )
    return rows.with_columns(
        known_usd=pl.when(live).then(USD),
        known_coins=pl.when(live).then(COINS),
        # Unknown intervals are taken at their shortest here: a rate must be believable on any.
        rate=pl.when((rate_8h.abs() <= FUNDING_MOST) | (rate.abs() <= FUNDING_MOST / 8)).then(rate),
        index_price=pl.when(near(index, pl.col("reference"), PRICE_DISTANCE)).then(index),
    ).with_columns(
        usd=pl.when(pl.col("fresh") & (pl.col("inverse") | pl.col("price").is_not_null())).then(
            "known_usd"
        ),
        coins=pl.when(
            pl.col("fresh") & (~pl.col("inverse") | pl.col("price").is_not_null())
        ).then("known_coins"),
        rate_8h=pl.col("rate") * (EIGHT_HOURS_S / pl.col("interval_s")),
        premium=pl.col("price") / pl.col("index_price") - 1,
    )  # fmt: skip


def _believed(remembered: pl.Expr) -> pl.Expr:
    """Whether a reading of open interest agrees with the last accepted one, or with the rest."""
    before = pl.when(remembered).then("before")
    usd = pl.col("reading_usd")
    steady = near(pl.col("reading"), before, math.log(OPEN_INTEREST_FACTOR))
    known = pl.coalesce("before_usd", "reading_usd")
    others = known.sum().over(ASSET) - known.sum().over(ASSET, "venue_id")
    venues = pl.col("venue_id").filter(known.is_not_null()).n_unique().over(ASSET)
    first = before.is_null() & (
        (venues <= 3) | (usd <= OPEN_INTEREST_OTHERS * others)  # noqa: PLR2004 -- itself and two more
    )
    small = (usd < OPEN_INTEREST_SMALL_USD) & (pl.col("before_usd").fill_null(0) < OPEN_INTEREST_SMALL_USD)
    return (usd <= OPEN_INTEREST_MOST_USD) & (steady.fill_null(value=False) | first | small)


def implausible(rows: pl.DataFrame) -> dict[tuple[str, str], int]:
    """Instruments whose reading is refused, by venue and kind."""
    refused = {"mark": "mark_refused", "open_interest": "open_interest_refused"}
    return {
        (venue, kind): count
        for kind, column in refused.items()
        for venue, count in rows.filter(column)["venue"].value_counts(sort=True).rows()
    }
