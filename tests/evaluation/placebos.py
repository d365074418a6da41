"""One venue's reading is spoilt, or is gone: does the state of the market flip? Methodology 7.6.6."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import polars as pl

from evaluation.history import day, venues
from evaluation.scoring import walk
from monitor.deleveraging.aggregate import consistent, days, minmod
from monitor.deleveraging.phases import features

Group = tuple[str, tuple[str, ...]]
GROUPS: tuple[Group, ...] = (
    ("BTC", ("bybit", "vendor", "binance")),
    ("BTC", ("bybit", "vendor")),
    ("BTC", ("binance", "vendor")),
    ("BTC", ("bybit", "binance")),
    ("BTC", ("bybit",)),
    ("BTC", ("vendor",)),
    ("ETH", ("bybit", "binance")),
    ("ETH", ("bybit",)),
    ("ETH", ("binance",)),
)
CALM = ("2021-07-10", "2021-10-20", "2022-03-15", "2022-08-10")
PURGES = ("2021-09-07", "2021-12-04", "2022-11-08")
FAULTS = ("x 2 from", "x 2 a day", "/ 2 from", "dropped", "out 24 h", "unit swap")
FIRST, LAST = day("2020-12-01"), day("2022-12-31")
AFTER, REST = 14, 60
"""Days in which states are compared, and in which what comes later is looked at."""
NEAR = 5
"""A purge that moves by so many days is the same one."""


class Outcome(NamedTuple):
    """What a fault did to the states from the day of it on."""

    asset: str
    venues: tuple[str, ...]
    venue: str
    fault: str
    date: str
    new: list[int]
    """Days of purges that the untouched run lacks, within `AFTER` days."""
    gone: list[int]
    moved: int
    """Days whose label is another one, without those that are undetermined."""
    blind: int
    """Days that are undetermined."""
    later: int
    """Purges new or gone after that, within `REST` days."""


def spoilt(closes: pl.DataFrame, fault: str, venue: str, at: int) -> pl.DataFrame:
    """Closes with the fault of a venue from a day on; `venue` empty means all."""
    of = pl.lit(value=True) if not venue else pl.col("venue") == venue
    later, that = of & (pl.col("day") >= at), of & (pl.col("day") == at)

    def times(factor: pl.Expr | float, where: pl.Expr) -> pl.DataFrame:
        return closes.with_columns(
            pl.when(where).then(pl.col(name) * factor).otherwise(name).alias(name)
            for name in ("coins", "usd")
        )

    match fault:
        case "x 2 from":
            return times(2.0, later)
        case "x 2 a day":
            return times(2.0, that)
        case "/ 2 from":
            return times(0.5, later)
        case "dropped":
            return closes.filter(~later)
        case "out 24 h":
            return closes.filter(~that)
        case _:
            # Who speaks in coins is read as if in dollars, and the other way round.
            coins = closes.filter(of)["coins"].is_not_null().any()
            return times(1 / pl.col("price") if coins else pl.col("price"), later)


def lacking(some: Sequence[int], others: Sequence[int]) -> list[int]:
    """Those of `some` without one of `others` near."""
    return [d for d in some if not any(abs(d - other) <= NEAR for other in others)]


def outcomes(groups: Sequence[Group] = GROUPS, dates: Sequence[str] = CALM + PURGES) -> Iterator[Outcome]:
    """All faults of all venues on all dates on which the group is whole and its state is known."""
    everything = venues().filter(pl.col("day").is_between(FIRST, LAST))
    for (asset, names), date in ((group, date) for group in groups for date in sorted(dates)):
        at = day(date)
        mine = (pl.col("asset") == asset) & pl.col("venue").is_in(names) & (pl.col("day") <= at + REST)
        of = everything.filter(mine)
        if set(of.filter(pl.col("day") == at)["venue"]) != set(names):
            continue
        cases = [(venue, fault) for venue in names for fault in FAULTS]
        cases += [("", "out 24 h")] * (len(names) > 1)
        # Each case is an asset of its own: one pass over all of them.
        runs = [of.with_columns(asset=pl.lit(""))]
        runs += [
            spoilt(of, fault, venue, at).with_columns(asset=pl.lit(f"{number}"))
            for number, (venue, fault) in enumerate(cases)
        ]
        series = days(pl.concat(runs)).partition_by("asset", as_dict=True)
        base, base_purges = _phases(series[("",)])
        if base[at] == "undetermined":
            continue
        for number, (venue, fault) in enumerate(cases):
            other, purges = _phases(series[(f"{number}",)])
            new, gone = lacking(purges, base_purges), lacking(base_purges, purges)
            span = range(at, at + AFTER + 1)
            blind = [d for d in span if other.get(d, "undetermined") == "undetermined"]
            yield Outcome(
                asset, names, venue, fault, date,
                [d for d in new if d in span], [d for d in gone if d in span],
                sum(base[d] != other[d] for d in span if d not in blind), len(blind),
                sum(d > span[-1] for d in new + gone),
            )  # fmt: skip


def _phases(series: pl.DataFrame) -> tuple[dict[int, str], list[int]]:
    frame = features(series)
    states, entries = walk(frame)
    phases = [state.phase for state in states]
    return dict(zip(frame["day"].to_list(), phases, strict=True)), [entry.day for entry in entries]


def contradicting() -> pl.DataFrame:
    """Bybit's jump of 2021-05-19 beside the vendor's series: growth and phase with the rule, and without it.

    Without it growth is the mean of the two, weighted by dollars (`dollars`) or not at all (`alike`).
    """
    mine = (pl.col("asset") == "BTC") & pl.col("venue").is_in(["bybit", "vendor"])
    of = consistent(venues().filter(mine & pl.col("day").is_between(FIRST, LAST))).sort("day")
    coins, usd = ((pl.col(name) / pl.col(name).shift(1)).log() for name in ("coins", "usd"))
    before = pl.col("usd").shift(1)
    bybit = of.filter(venue="bybit").select("day", bybit=coins, of_bybit=before)
    vendor = of.filter(venue="vendor").select("day", vendor=minmod(coins, usd), of_vendor=before)
    told = bybit.join(vendor, on="day")
    weighted = pl.col("bybit") * pl.col("of_bybit") + pl.col("vendor") * pl.col("of_vendor")
    told = told.with_columns(
        dollars=weighted / (pl.col("of_bybit") + pl.col("of_vendor")),
        alike=(pl.col("bybit") + pl.col("vendor")) / 2,
    )
    series = days(of).join(told.select("day", "dollars", "alike"), on="day", how="left")
    told = told.join(series.select("day", "aside"), on="day")
    for name, growth in (("rule", "growth"), ("dollars", "dollars"), ("alike", "alike")):
        one = series.with_columns(growth=growth)
        if name != "rule":
            one = one.with_columns(linked=pl.col(name).fill_null(0.0))
        phases, _ = _phases(one)
        told = told.join(one.select("day", pl.col("growth").alias(f"g_{name}")), on="day").with_columns(
            pl.col("day").replace_strict(phases, return_dtype=pl.String).alias(f"phase_{name}")
        )
    return told
