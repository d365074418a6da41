"""From the daily closes of instruments to one series of an asset that no venue can fool.

Growth is compared at constant price, over instruments whose reading is known at both ends, weighted by
dollars, one venue at most `CAP` of it. A venue that contradicts the others, that stands still, that is
new, or that comes back after a gap takes no part, and is named. The level is chained over what takes part:
a venue that joins, leaves or changes its unit leaves a splice, not a step (methodology 3.1, 3.3, 6).

Everything at a day is a function of that day and the days before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import polars as pl

CAP = 0.4
"""Largest weight of one venue, as far as the others' is at most doubled for it (methodology 6)."""
APART = 0.30
"""A venue's log change in a day may differ by so much, plus the change itself, from the median venue's."""
OPPOSES_FALL, OPPOSES_RISE = -0.05, 0.10
"""While the median venue falls by the first, one that rises by the second is no witness (Bybit, May 2021)."""
ALONE_RISE, ALONE_FALL = math.log(1.5), -0.6
"""Log changes in a day that are not believed of a series that nobody can be compared with."""
_NOTABLE = min(APART, OPPOSES_RISE, ALONE_RISE, -ALONE_FALL)
QUARANTINE_DAYS = 7
"""So long a venue that contradicted the others is held to them more closely: it decays back for days."""
APART_LATELY = 0.05
"""What it may differ by meanwhile and still take part."""
MOST_OF_SUPPLY = 0.5
"""No instrument holds open interest in more than this part of all coins: its unit is wrong."""
YOUNG_DAYS = 30
"""Overlap before a venue that joins, or comes back from a gap as long, is counted (methodology 3.1)."""
GAP_DAYS = 3
"""A change across a gap is counted on the day of return up to this length; it never counts as one day's."""
CARRY_DAYS = 2
"""So many days a silent instrument stays in the level that is shown."""
STALLED_DAYS = 2
"""A reading that is the same to the last digit for so many days in a row is not a reading."""
FACTOR = 4.0
"""A reading this many times the last one, either way, is refused until the last one is `YOUNG_DAYS` old."""
SMALL_USD = 5e6
"""Below it an instrument may do what it likes: it moves nothing."""
WORTH = 1.25
"""Largest ratio of dollars to coins times price, either way, that one row may hold."""

CLOSES: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "day": pl.Int32, "asset": pl.String, "venue": pl.String, "symbol": pl.String, "margin": pl.String,
    "price": pl.Float64, "coins": pl.Float64, "usd": pl.Float64, "supply": pl.Float64,
    "funding_8h": pl.Float64, "long_usd": pl.Float64, "short_usd": pl.Float64,
}  # fmt: skip
"""Columns of the daily closes of instruments: `day` counts from 1970-01-01 UTC; open interest is one-sided,
null where unknown; `margin` is `linear`, `inverse` or null where nobody says; `supply` may be null."""

DAYS: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "asset": pl.String, "day": pl.Int32, "price": pl.Float64, "supply": pl.Float64,
    "coins": pl.Float64, "usd": pl.Float64, "index": pl.Float64, "growth": pl.Float64,
    "linked": pl.Float64, "coverage": pl.Float64, "believed": pl.Float64, "aside": pl.List(pl.String),
    "spliced": pl.Boolean, "dispersion": pl.Float64, "funding_8h": pl.Float64,
    "long_usd": pl.Float64, "short_usd": pl.Float64,
}  # fmt: skip
"""Columns of the daily series of assets, a row for every calendar day of an asset.

`coins`, `usd`: open interest as it stands, silent instruments carried for `CARRY_DAYS`. `index`: log of open
interest in coins over supply, chained; it starts at the level of the first day. `growth`: price-neutral log
change in the day, null where nobody can say. `linked`: the same with changes across short gaps, 0 where
unknown. `coverage`: share of the last known open interest that spoke. `believed`: the same, but where only
one venue took part times its share of those that were not new: two bear each other out, one does not speak
for all. `aside`: venues that took no part, each with its reason. `dispersion`: median absolute deviation of
the venues' growth, null for fewer than three.
"""

_ASSET_DAY = ("asset", "day")
_VENUE = ("asset", "venue")


def minmod(coins: pl.Expr, usd: pl.Expr) -> pl.Expr:
    """The change nearer to zero if both have one sign, else 0 (methodology 3.3): for unknown margins."""
    smaller = pl.min_horizontal(coins.abs(), usd.abs())
    return pl.when(coins.sign() == usd.sign()).then(coins.sign() * smaller).otherwise(0.0) + 0 * coins * usd


def consistent(closes: pl.DataFrame) -> pl.DataFrame:
    """Completes coins and dollars from each other; where they contradict price or supply there are none."""
    worth = pl.col("coins") * pl.col("price")
    agree = ((pl.col("usd") / worth).log().abs() <= math.log(WORTH)).fill_null(value=True)
    frame = closes.with_columns(
        coins=pl.coalesce(pl.col("coins"), pl.col("usd") / pl.col("price")),
        usd=pl.coalesce(pl.col("usd"), worth),
    )
    few = (pl.col("coins") <= MOST_OF_SUPPLY * pl.col("supply")).fill_null(value=True)
    keep = agree & few & (pl.col("price") > 0) & (pl.col("coins") > 0) & (pl.col("usd") > 0)
    return frame.with_columns(pl.when(keep).then(column).alias(column) for column in ("coins", "usd"))


def days(closes: pl.DataFrame) -> pl.DataFrame:
    """The daily series of each asset (`DAYS`, sorted by asset and day) of closes (`CLOSES`, in any order)."""
    key = ["asset", "venue", "symbol", "day"]
    closes = closes.unique(key, keep="last", maintain_order=True).sort(key)
    rows = consistent(closes)
    moves = _changes(_steady(rows.filter(pl.col("coins").is_not_null())))
    venues = _believed(_venue_days(moves))
    calendar, held = _held(rows, moves.filter(~pl.col("stalled")))
    return _assets(_levels(rows, calendar, held), venues, _absent(closes, held, venues))


def _steady(rows: pl.DataFrame) -> pl.DataFrame:
    """Without the readings of a wrong unit: a multiple of the last one that was not refused."""
    of = ["asset", "venue", "symbol"]
    native = pl.when(pl.col("margin") == "inverse").then("usd").otherwise("coins")
    jump = ((native / native.shift(1)).log().abs().over(of) > math.log(FACTOR)).fill_null(value=False)
    rows = rows.with_columns(jumps=jump.any().over(of), native=native)
    if not rows["jumps"].any():
        return rows.drop("jumps", "native")
    kept = []
    for part in rows.filter("jumps").partition_by(of, maintain_order=True):
        last, at, small = 0.0, -(1 << 30), True
        for day, value, usd in part.select("day", "native", "usd").iter_rows():
            far = day - at <= YOUNG_DAYS and abs(math.log(value / last)) > math.log(FACTOR)
            keep = not far or (small and usd < SMALL_USD)
            if keep:
                last, at, small = value, day, usd < SMALL_USD
            kept.append(keep)
    return pl.concat(
        [rows.filter(~pl.col("jumps")), rows.filter("jumps").filter(pl.Series(kept))]
    ).sort(*of, "day").drop("jumps", "native")  # fmt: skip


def _changes(rows: pl.DataFrame) -> pl.DataFrame:
    """Adds to each reading the log changes since the instrument's last one, and how old that is."""
    of = ["asset", "venue", "symbol"]

    def before(name: str) -> pl.Expr:
        return pl.col(name).shift(1).over(of)

    def change(name: str) -> pl.Expr:
        return (pl.col(name) / before(name)).log()

    moved = (
        pl.when(pl.col("margin") == "linear").then(change("coins"))
        .when(pl.col("margin") == "inverse").then(change("usd"))
        .otherwise(minmod(change("coins"), change("usd")))
    )  # fmt: skip
    native = pl.when(pl.col("margin") == "inverse").then("usd").otherwise("coins")
    told = rows.select(_ASSET_DAY).unique().sort(_ASSET_DAY)
    told = told.with_columns(told_before=pl.col("day").shift(1).over("asset"))
    rows = rows.join(told, on=_ASSET_DAY, how="left", maintain_order="left")
    same = (native == native.shift(1).over(of)) & (pl.col("day") - before("day") == 1)
    return rows.with_columns(
        span=pl.col("day") - before("day"), moved=moved, coins_before=before("coins"),
        usd_before=before("usd"),
        # Nobody told anything meanwhile: what is level again is compared with what was, however long ago.
        whole=(pl.col("told_before") == before("day")).fill_null(value=False),
        stalled=pl.all_horizontal(
            same.fill_null(value=False), same.shift(1).over(of).fill_null(value=False)
        ),
    ).with_columns(
        # A run begins with the first reading, and after each gap that is long enough to forget the venue.
        since=pl.when(((pl.col("span") > YOUNG_DAYS) & ~pl.col("whole")) | pl.col("span").is_null())
        .then("day")
        .forward_fill().over(of),
        first=pl.col("day").min().over("asset"),
    ).with_columns(
        young=(pl.col("since") > pl.col("first")) & (pl.col("day") - pl.col("since") < YOUNG_DAYS)
    )  # fmt: skip


def _venue_days(rows: pl.DataFrame) -> pl.DataFrame:
    """A row per asset, venue and day: its change over one day, its change across a short gap, its weight."""
    counted = ~pl.col("stalled") & ~pl.col("young")
    linked = counted & (pl.col("span") <= GAP_DAYS)
    one = counted & (pl.col("span") == 1)
    levelled = linked | (counted & pl.col("whole"))
    weight = pl.col("usd_before")
    # Sums of columns are far cheaper than sums of filtered ones: what does not count is null in them.
    rows = rows.select(
        *_ASSET_DAY,
        "venue",
        "stalled",
        "young",
        growth=pl.when(one).then(weight * pl.col("moved")),
        weight_one=pl.when(one).then(weight),
        linked=pl.when(linked).then(weight * pl.col("moved")),
        weight=pl.when(linked).then(weight),
        coins_now=pl.when(levelled).then("coins"),
        coins_then=pl.when(levelled).then("coins_before"),
        before=pl.when(~pl.col("young") & (pl.col("span") <= GAP_DAYS)).then(weight),
        span=pl.when(linked).then("span"),
    )
    sums = ("growth", "weight_one", "linked", "weight", "coins_now", "coins_then", "before")
    return (
        rows.group_by("asset", "day", "venue", maintain_order=True)
        .agg(pl.col(sums).sum(), pl.col("span").max(), pl.col("stalled").min(), pl.col("young").min())
        .with_columns(
            growth=pl.when(pl.col("weight_one") > 0).then(pl.col("growth") / pl.col("weight_one")),
            linked=pl.when(pl.col("weight") > 0).then(pl.col("linked") / pl.col("weight")),
        )
        .sort("asset", "day", "venue")
    )  # fmt: skip


def middle(change: pl.Expr, over: list[str]) -> pl.Expr:
    """What a venue's log change is held against: the median venue's, or the other one's of two."""
    count = change.count().over(over)
    other = change.sum().over(over) - change
    return pl.when(count == 2).then(other).otherwise(change.median().over(over))  # noqa: PLR2004 -- a pair


def contradicts(change: pl.Expr, over: list[str]) -> pl.Expr:
    """Whether a venue's log change is not to be believed beside those of the other venues of its group.

    With three venues and more each is held against their median, of two the larger change against the other,
    one alone against what a whole market has ever done.
    """
    count = change.count().over(over)
    of = middle(change, over)
    larger = (count > 2) | (change.abs() >= of.abs())  # noqa: PLR2004 -- of two, one is believed
    apart = ((change - of).abs() > APART + of.abs()) & larger
    opposes = (of <= OPPOSES_FALL) & (change >= OPPOSES_RISE)
    alone = (change > ALONE_RISE) | (change < ALONE_FALL)
    return pl.when(count == 1).then(alone).otherwise(apart | opposes).fill_null(value=False)


def calm(changes: pl.Series) -> bool:
    """Whether no log change is so large that it could contradict any others, whatever those are."""
    low, high = changes.min(), changes.max()
    return not (isinstance(low, float) and isinstance(high, float)) or -_NOTABLE < low <= high < _NOTABLE


def strays(change: pl.Expr, over: list[str]) -> pl.Expr:
    """Whether a venue that contradicted the others lately is still far from them (alone: from none)."""
    of = middle(change, over)
    far = (change - of).abs() > APART_LATELY + of.abs()
    alone = change.abs() > APART
    return pl.when(change.count().over(over) == 1).then(alone).otherwise(far).fill_null(value=False)


def capped(rows: pl.DataFrame, share: str, over: list[str]) -> pl.DataFrame:
    """Replaces shares by weights, none above `CAP` where others can carry it.

    Shares are null where one takes no part, and sum to 1 in a group. What is cut off goes to the others
    in proportion, who at most double; then weights sum to 1 again.
    """
    weight = pl.col("_weight")
    part = pl.col(share).is_not_null()
    rows = rows.with_columns(_weight=pl.col(share).fill_null(0.0))  # a minimum over columns passes over nulls
    for _ in range(2):  # at most two can be above 40 %
        low = weight < CAP
        rows = rows.with_columns(
            _rest=weight.filter(low).sum().over(over),
            _spare=(1 - pl.min_horizontal(weight, CAP).sum()).over(over),
        ).with_columns(
            _weight=pl.when(pl.col("_rest") > 0).then(
                pl.min_horizontal(
                    weight * pl.when(low).then(1 + pl.col("_spare") / pl.col("_rest")).otherwise(1),
                    2 * pl.col(share), CAP,
                )
            ).otherwise("_weight")
        )  # fmt: skip
    rows = rows.with_columns(pl.when(part).then(weight / weight.sum().over(over)).alias(share))
    return rows.drop("_weight", "_rest", "_spare")


def _believed(venues: pl.DataFrame) -> pl.DataFrame:
    """Adds whether a venue takes part in a day, and the reason if it does not."""
    part = ~pl.col("young") & ~pl.col("stalled")
    over = [*_ASSET_DAY, "span"]  # who brings the change of two days is not held against those of one
    change = pl.when(part).then("linked")
    rows = venues.with_columns(wrong=contradicts(change, over), strays=strays(change, over)).with_columns(
        recent=pl.col("wrong").cast(pl.Int8).rolling_max_by("day", f"{QUARANTINE_DAYS}i").over(_VENUE) > 0
    )
    return rows.with_columns(
        aside=pl.when(pl.col("stalled")).then(pl.lit("stands still"))
        .when(pl.col("young")).then(pl.lit("new"))
        .when(pl.col("wrong")).then(pl.lit("contradicts"))
        .when(pl.col("recent") & pl.col("strays")).then(pl.lit("contradicted lately")),
    )  # fmt: skip


def _absent(closes: pl.DataFrame, held: pl.DataFrame, venues: pl.DataFrame) -> pl.DataFrame:
    """Venues of which an earlier reading is known but none of a day, by asset and day, each with its reason.

    `silent`: nothing was said; `refused`: what was said contradicts itself, or is a multiple of the last.
    """
    key = [*_VENUE, "day"]
    said = closes.filter(pl.col("coins").is_not_null() | pl.col("usd").is_not_null()).select(
        *key, reason=pl.lit("refused")
    ).unique()  # fmt: skip
    return (
        held.filter(pl.col("at") < pl.col("day")).select(key).unique().join(venues, on=key, how="anti")
        .join(said, on=key, how="left").sort(key)
        .group_by(_ASSET_DAY, maintain_order=True)
        .agg(pl.format("{}: {}", "venue", pl.col("reason").fill_null("silent")).alias("absent"))
    )  # fmt: skip


def _assets(grid: pl.DataFrame, venues: pl.DataFrame, absent: pl.DataFrame) -> pl.DataFrame:
    part = pl.col("aside").is_null()
    over = list(_ASSET_DAY)
    for name, weight in (("growth", "weight_one"), ("linked", "weight")):
        share = pl.when(part & pl.col(name).is_not_null()).then(weight)
        venues = capped(venues.with_columns((share / share.sum().over(over)).alias(weight)), weight, over)
    joined = part & pl.col("linked").is_not_null()
    levelled = part & (pl.col("coins_then") > 0)
    sums = (
        venues.with_columns(
            growth_part=pl.col("growth") * pl.col("weight_one"),
            linked_part=pl.col("linked") * pl.col("weight"),
        )
        .group_by(_ASSET_DAY, maintain_order=True)
        .agg(
            pl.when(pl.col("growth_part").count() > 0).then(pl.col("growth_part").sum()).alias("growth"),
            pl.col("linked_part").sum().alias("linked"),
            pl.when(joined.sum() > 1).then(1.0)
            .otherwise(pl.col("before").filter(joined).sum() / pl.col("before").sum()).alias("took_part"),
            pl.col("coins_now", "coins_then").filter(part).sum(),
            pl.when(levelled.sum() > 1).then(0.0).otherwise(pl.col("coins_then").filter(~part).sum())
            .alias("stands"),
            pl.format("{}: {}", "venue", "aside").filter(pl.col("aside").is_not_null()).alias("aside"),
            pl.when(pl.col("growth").filter(part).count() > 2)  # noqa: PLR2004 -- two have no median
            .then((pl.col("growth") - pl.col("growth").median()).abs().filter(part).median())
            .alias("dispersion"),
        )
    )  # fmt: skip
    frame = grid.join(sums, on=_ASSET_DAY, how="left", maintain_order="left").join(
        absent, on=_ASSET_DAY, how="left", maintain_order="left"
    ).with_columns(
        aside=pl.concat_list(pl.col("aside").fill_null([]), pl.col("absent").fill_null([])).list.sort(),
        # Who is silent for a day or two stands still meanwhile, and brings its change when it is back;
        # who is set aside stands still too where one venue is left, so that it does not speak for all.
        held=pl.col("held") + pl.col("stands").fill_null(0.0),
    ).with_columns(
        linked=pl.col("linked").fill_null(0.0)
        * (pl.col("coins_then") / (pl.col("coins_then") + pl.col("held"))).fill_nan(0.0).fill_null(0.0),
        step=((pl.col("coins_now") + pl.col("held")) / (pl.col("coins_then") + pl.col("held"))).log(),
        supply_step=(pl.col("supply") / pl.col("supply").shift(1).over("asset")).log(),
    )  # fmt: skip
    first = pl.col("level").drop_nulls().first().over("asset").log()
    step = pl.col("step").fill_nan(0.0).fill_null(0.0) - pl.col("supply_step").fill_null(0.0)
    index = first + step.cum_sum().over("asset")
    actual = pl.col("level").log()
    frame = frame.with_columns(index=pl.when(pl.col("coverage") > 0).then(index)).with_columns(
        spliced=((actual - pl.col("index")).diff().over("asset").abs() > 1e-6).fill_null(value=False),  # noqa: PLR2004
        believed=(pl.col("coverage") * pl.col("took_part").fill_nan(0.0)).fill_null(0.0),
    )
    return frame.select(pl.col(name).cast(dtype) for name, dtype in DAYS.items())


def _held(rows: pl.DataFrame, known: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A row per asset and calendar day, and per instrument in it with its last reading not forgotten."""
    spans = rows.group_by("asset", maintain_order=True).agg(
        pl.col("day").min(), pl.col("day").max().alias("last")
    )
    calendar = (
        spans.with_columns(pl.int_ranges("day", pl.col("last") + 1, dtype=pl.Int32).alias("day"))
        .explode("day").drop("last")
    )  # fmt: skip
    of = known.select("asset", "venue", "symbol").unique(maintain_order=True)
    slots = calendar.join(of, on="asset", how="left", maintain_order="left")
    held = slots.sort("day", maintain_order=True).join_asof(
        known.select("asset", "venue", "symbol", "day", "margin", "coins", "usd", at="day").sort("day"),
        on="day", by=["asset", "venue", "symbol"], strategy="backward", tolerance=YOUNG_DAYS,
        check_sortedness=False,
    )  # fmt: skip
    return calendar, held


def _levels(rows: pl.DataFrame, calendar: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """Of each calendar day of each asset: prices, flows, and the level with what is carried."""
    day = rows.group_by(_ASSET_DAY, maintain_order=True).agg(
        pl.col("price").median(), pl.col("supply").last(),
        (pl.col("funding_8h") * pl.col("usd")).sum().alias("paid"),
        pl.col("usd").filter(pl.col("funding_8h").is_not_null()).sum().alias("paid_on"),
        pl.col("funding_8h").mean().alias("funding_mean"),
        *(pl.when(pl.col(n).count() > 0).then(pl.col(n).sum()).alias(n) for n in ("long_usd", "short_usd")),
    )  # fmt: skip
    age = pl.col("day") - pl.col("at")
    carried = age <= CARRY_DAYS
    inverse = pl.col("margin") == "inverse"
    price = pl.col("price").forward_fill().over("asset")
    level = (
        held.join(day.select("asset", "day", "price"), on=_ASSET_DAY, how="left", maintain_order="left")
        .sort("asset", "day", maintain_order=True)
        .with_columns(price=price)
        .with_columns(
            coins_now=pl.when(inverse & (age > 0)).then(pl.col("usd") / pl.col("price")).otherwise("coins"),
        )
        .with_columns(
            usd_now=pl.when(~inverse & (age > 0)).then(pl.col("coins") * pl.col("price")).otherwise("usd"),
        )
        .group_by(_ASSET_DAY, maintain_order=True)
        .agg(
            pl.when(carried.any()).then(pl.col("coins_now").filter(carried).sum()).alias("coins"),
            pl.when(carried.any()).then(pl.col("usd_now").filter(carried).sum()).alias("usd"),
            pl.col("coins_now").filter(carried & (age > 0)).sum().alias("held"),
            (pl.col("usd").filter(age == 0).sum() / pl.col("usd").sum()).fill_nan(0.0).alias("coverage"),
        )
    )  # fmt: skip
    frame = calendar.join(day, on=_ASSET_DAY, how="left", maintain_order="left").join(
        level, on=_ASSET_DAY, how="left", maintain_order="left"
    )
    supply = pl.col("supply").forward_fill().over("asset")
    return frame.with_columns(
        supply=supply, coverage=pl.col("coverage").fill_null(0.0),
        funding_8h=pl.when(pl.col("paid_on") > 0).then(pl.col("paid") / pl.col("paid_on"))
        .otherwise("funding_mean"),
    ).with_columns(level=pl.col("coins") / pl.col("supply").fill_null(1.0))  # fmt: skip
