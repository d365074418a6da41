"""Definitions that were tried beside the defaults, on the vendor's bitcoin and on one venue's ether."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from evaluation.history import day
from evaluation.scoring import SINCE, Entry, Score, score, walk
from monitor.deleveraging.average import MAD, median_before
from monitor.deleveraging.phases import GROWTH_ENOUGH, GROWTH_SCALE_FLOOR, Thresholds

HALF = day("2022-01-01")
ETHER_SINCE = day("2021-04-15")


class Alternative(NamedTuple):
    """What a definition finds."""

    name: str
    whole: Score
    first: Score
    second: Score
    ether: Score


def scaled(frame: pl.DataFrame, length: int, floor: float = GROWTH_SCALE_FLOOR) -> pl.DataFrame:
    """Features with another window, or floor, of the scale of growth."""
    spread = MAD * median_before(pl.col("growth").abs(), length, GROWTH_ENOUGH)
    known = pl.col("growth").is_not_null().cum_sum().shift(1) >= GROWTH_ENOUGH
    return frame.with_columns(
        growth_scale=pl.when(known).then(pl.max_horizontal(spread, floor))
    ).with_columns(
        z_growth=pl.col("growth") / pl.col("growth_scale"),
        z_growth_3d=pl.col("growth_3d") / (pl.col("growth_scale") * math.sqrt(3)),
    )  # fmt: skip


def alternatives(bitcoin: pl.DataFrame, ether: pl.DataFrame) -> list[Alternative]:
    """The defaults and each alternative, scored on the whole span, on its halves, and on ether."""
    default = Thresholds()
    until, ether_until = bitcoin["day"][-1], ether["day"][-1]

    def alarms(frame: pl.DataFrame, rule: Thresholds) -> list[int]:
        return [entry.day for entry in walk(frame, rule)[1]]

    def one(name: str, frames: tuple[pl.DataFrame, pl.DataFrame], rule: Thresholds = default) -> Alternative:
        found = alarms(frames[0], rule)
        return Alternative(
            name, score(found, SINCE, until), score(found, SINCE, HALF - 1), score(found, HALF, until),
            score(alarms(frames[1], rule), ETHER_SINCE, ether_until),
        )  # fmt: skip

    both = (bitcoin, ether)
    return [
        one("the defaults", both),
        one("z₁, g₁ = -5, -5 %", both, Thresholds(purge_growth=-0.05)),
        one("z₁, g₁ = -6, -5 %", both, Thresholds(purge_z=-6.0, purge_growth=-0.05)),
        one("scale of g over 180 d", (scaled(bitcoin, 180), scaled(ether, 180))),
        one("floor of the scale 0.012", (scaled(bitcoin, 365, 0.012), scaled(ether, 365, 0.012))),
        one("three days, z ≤ -3.5", both, Thresholds(purge_z_3d=-3.5)),
        one("without g ≤ -18 % and z ≤ -3.5", both, Thresholds(purge_severe=-math.inf)),
    ]


def flushes(entries: Sequence[Entry]) -> dict[str, int]:
    """How many of the purges are long flushes by the price of one day, of three, of the larger one."""

    def larger(entry: Entry) -> float:
        one, three = float(entry.row["return_1d"]), float(entry.row["return_3d"])
        return one if abs(one) >= abs(three) / math.sqrt(3) else three

    return {
        "one": sum(entry.row["return_1d"] < 0 for entry in entries),
        "three": sum(entry.row["return_3d"] < 0 for entry in entries),
        "larger": sum(larger(entry) < 0 for entry in entries),
    }
