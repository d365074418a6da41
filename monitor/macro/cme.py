"""What weekly open interest says about positions: JPMorgan's proxy, for CME and perpetuals on one scale.

A price that rises means that speculators' net long rose, by new longs or by covered shorts; so the change
of open interest counts with the sign of the price's change (methodology §4). Shares of the open interest
at the start make bitcoin and ether, CME and perpetuals comparable.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import polars as pl

CONTRACTS = {
    "BTC": ("BTC", 5.0), "MBT": ("BTC", 0.1), "ETH": ("ETH", 50.0), "MET": ("ETH", 0.1),
    "133741": ("BTC", 5.0), "133742": ("BTC", 0.1), "146021": ("ETH", 50.0), "146022": ("ETH", 0.1),
}  # fmt: skip
"""Code at CME, or at the CFTC, → asset and coins in a contract."""
FLAT = 0.001
"""A log return of the week that is smaller says nothing."""

WEEKLY = {
    "market": pl.String, "asset": pl.String, "contract": pl.String, "coins": pl.Float64, "date": pl.Date,
    "open_interest": pl.Float64, "spreads": pl.Float64, "price": pl.Float64,
}  # fmt: skip
"""Rows that the proxy is made of, one per contract and report.

`coins` in a contract; `open_interest` and `spreads` (in calendar spreads, null where not reported) in
contracts, one side; `price` in dollars a coin on the report's date.
"""


def cme_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of `WEEKLY` from those of CME: `contract`, `date`, `open_interest`, `price`, `spreads`.

    A contract that `CONTRACTS` does not know is left out: its size is not known.
    """
    known = pl.DataFrame(
        [(code, asset, coins) for code, (asset, coins) in CONTRACTS.items()],
        schema={"contract": pl.String, "asset": pl.String, "coins": pl.Float64}, orient="row",
    )  # fmt: skip
    return rows.join(known, on="contract").select(
        pl.lit("cme").alias("market"),
        *[pl.col(name).cast(kind) for name, kind in WEEKLY.items() if name != "market"],
    )


def increments(weekly: pl.DataFrame) -> pl.DataFrame:
    """Changes of the position from report to report, however many days apart they are.

    Contracts are added up in coins. A change is over the contracts that both reports have, so one that is
    listed, or left out of a report, moves nothing.

    Args:
        weekly: As `WEEKLY`.

    Returns:
        `market`, `asset`, `date`, `since` (the report before), `sign` of the price's change, in coins
        `open_interest`, `change`, `increment` and `position` (cumulated), and the same without spreads as
        `outright…`. Null where a report lacks the figure, or a contract that an earlier one had.
    """
    own = ("market", "asset")
    rows = weekly.sort("date").with_columns(
        held=pl.col("open_interest") * pl.col("coins"),
        outright_held=(pl.col("open_interest") - pl.col("spreads")) * pl.col("coins"),
        report=pl.col("date").rank("dense").over(own),
    )
    before = rows.select(*own, "contract", pl.col("report") + 1, "held", "outright_held")
    rows = rows.join(before, on=[*own, "contract", "report"], how="left", suffix="_before")
    return (
        rows.sort("date", "coins", descending=[False, True])
        .group_by(*own, "date", maintain_order=True)
        .agg(
            pl.col("price").drop_nulls().first(),
            pl.len().alias("contracts"),
            *_totals("held", "held_before", "open_interest", "change"),
            *_totals("outright_held", "outright_held_before", "outright", "outright_change"),
        )
        .sort(*own, "date")
        .with_columns(
            pl.when(pl.col("contracts") == pl.col("contracts").cum_max().over(own)).then(
                pl.col("open_interest", "outright")
            ),
            since=pl.col("date").shift().over(own),
            moved=pl.col("price").log().diff().over(own),
        )
        .with_columns(sign=pl.when(pl.col("moved").abs() < FLAT).then(0.0).otherwise(pl.col("moved").sign()))
        .with_columns(
            increment=pl.col("sign") * pl.col("change").abs(),
            outright_increment=pl.col("sign") * pl.col("outright_change").abs(),
        )
        .with_columns(
            position=pl.col("increment").cum_sum().over(own),
            outright_position=pl.col("outright_increment").cum_sum().over(own),
        )
        .drop("price", "moved", "contracts")
    )


def _totals(now: str, then: str, level: str, change: str) -> tuple[pl.Expr, pl.Expr]:
    """Sum over the contracts, null if one of them is; and their change where both reports have them."""
    step = pl.col(now) - pl.col(then)
    return (
        pl.when(pl.col(now).null_count() == 0).then(pl.col(now).sum()).alias(level),
        pl.when(step.count() > 0).then(step.sum()).alias(change),
    )


def liquidation(weekly: pl.DataFrame, start: date, end: date) -> pl.DataFrame:
    """How far positions fell between two reports; a row per market and asset that has the first of them.

    Args:
        weekly: As `WEEKLY`; perpetuals in the same shape, their market named otherwise than `cme`.
        start: Date of the report whose open interest is the base.
        end: Reports until here are counted.

    Returns:
        `market`, `asset`, `reports` (counted), in coins `proxy` (signed: negative if the net long fell) and
        `long` (open interest that went while the price fell: without fresh shorts), as shares of the base
        `proxy_ratio` and `long_ratio`, and all without spreads as `outright…`, null where a report lacks
        them. Between assets and markets, compare the ratios; for a statement use those without spreads.
    """
    own = ("market", "asset")
    rows = increments(weekly)
    base = rows.filter(pl.col("date") == start).select(
        *own, base=pl.col("open_interest"), outright_base=pl.col("outright")
    )
    return (
        rows.filter(pl.col("date") > start, pl.col("date") <= end)
        .group_by(own, maintain_order=True)
        .agg(
            pl.len().alias("reports"),
            *_fallen("increment", "change", "proxy", "long"),
            *_fallen("outright_increment", "outright_change", "outright_proxy", "outright_long"),
        )
        .join(base, on=own, maintain_order="left")
        .with_columns(
            proxy_ratio=pl.col("proxy") / pl.col("base"),
            long_ratio=pl.col("long") / pl.col("base"),
            outright_proxy_ratio=pl.col("outright_proxy") / pl.col("outright_base"),
            outright_long_ratio=pl.col("outright_long") / pl.col("outright_base"),
        )
        .drop("base", "outright_base")
    )


def _fallen(increment: str, change: str, proxy: str, long: str) -> tuple[pl.Expr, pl.Expr]:
    whole = pl.col(increment).null_count() == 0
    left = pl.col(change).filter((pl.col("sign") < 0) & (pl.col(change) < 0))
    return (
        pl.when(whole).then(pl.col(increment).sum()).alias(proxy),
        pl.when(whole).then(left.abs().sum()).alias(long),
    )


# When a report may be used.

NEW_YORK = ZoneInfo("America/New_York")
RELEASE = time(15, 30)
_TUESDAY, _FRIDAY, _SATURDAY = 1, 4, 5


def available_at(report: date) -> datetime:
    """When a report is out: Friday 15:30 in New York after its date, or the next business day.

    The day is the next one if Friday, or a day between, is a federal holiday. A shutdown of the government
    delays reports by weeks, which no rule tells: `usable` takes the time of receipt where it is later.

    Args:
        report: As-of date of the report: a Tuesday, or the Monday before a holiday.
    """
    friday = report + timedelta(days=(_FRIDAY - report.weekday()) % 7)
    first = max(report, friday - timedelta(days=_FRIDAY - _TUESDAY))
    late = any(_holiday(first + timedelta(days=n)) for n in range((friday - first).days + 1))
    day = friday + timedelta(days=late)
    while day.weekday() >= _SATURDAY or _holiday(day):
        day += timedelta(days=1)
    return datetime.combine(day, RELEASE, NEW_YORK)


def usable(weekly: pl.DataFrame, at: datetime) -> pl.DataFrame:
    """The reports that were out at an instant.

    Args:
        weekly: As `WEEKLY`; a column `received` (time with zone, null where unknown) delays a report more.
        at: The instant, with its zone.
    """
    reports = [day for day in weekly["date"].unique() if available_at(day) <= at]
    rows = weekly.filter(pl.col("date").is_in(reports))
    if "received" in rows.columns:
        rows = rows.filter(pl.col("received").is_null() | (pl.col("received") <= at))
    return rows


def _holiday(day: date) -> bool:
    """Whether the federal government rests, on the day itself or for one that falls on a weekend."""
    if day.weekday() >= _SATURDAY:
        return False
    fixed = {(1, 1), (6, 19), (7, 4), (11, 11), (12, 25)}
    near = [day] + [day + timedelta(days=n) for n, at in ((1, _FRIDAY), (-1, 0)) if day.weekday() == at]
    if any((one.month, one.day) in fixed for one in near):
        return True
    week = (day.day - 1) // 7 + 1
    last = (day + timedelta(days=7)).month != day.month
    if day.weekday() == 0:
        monday = {(1, 3), (2, 3), (9, 1), (10, 2)}
        return (day.month, week) in monday or (day.month == 5 and last)  # noqa: PLR2004 -- May
    return (day.month, day.weekday(), week) == (11, 3, 4)
