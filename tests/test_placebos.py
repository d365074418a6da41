"""What one venue can do to the daily series of an asset: methodology 7.6.6, on markets made by hand."""

from __future__ import annotations

import math

import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from monitor.deleveraging.aggregate import CLOSES, capped, days
from monitor.deleveraging.phases import Machine, State, Thresholds, features

LONG, FAULT = 200, 170
"""Days of a history, and the one on which a venue is spoilt."""
WIGGLE = (0.004, -0.006, 0.01, -0.012, 0.008, -0.003, 0.005, -0.007)
SIZES = {"a": 50_000.0, "b": 40_000.0, "c": 30_000.0}
PRICE = 40_000.0


def market(sizes: dict[str, float], falls: dict[tuple[str, int], float] | None = None) -> pl.DataFrame:
    """Closes of linear venues that wander by a per cent; `falls` are log changes of a venue on a day."""
    rows = []
    for number, (venue, size) in enumerate(sizes.items()):
        level = math.log(size)
        for day in range(LONG):
            level += WIGGLE[(day + number) % len(WIGGLE)] + (falls or {}).get((venue, day), 0.0)
            rows.append({"day": day, "asset": "BTC", "venue": venue, "symbol": "", "margin": "linear",
                         "price": PRICE, "coins": math.exp(level), "supply": 2e7})  # fmt: skip
    return pl.DataFrame(rows, schema=dict(CLOSES))


def times(closes: pl.DataFrame, venue: str, factor: float, where: pl.Expr) -> pl.DataFrame:
    of = (pl.col("venue") == venue) & where
    return closes.with_columns(coins=pl.when(of).then(pl.col("coins") * factor).otherwise("coins"))


def states(closes: pl.DataFrame) -> list[State]:
    return list(Machine(Thresholds()).run(features(days(closes)).iter_rows(named=True)))


def purges(closes: pl.DataFrame) -> list[int]:
    phases = ["", *(state.phase for state in states(closes))]
    return [day for day in range(LONG) if phases[day + 1] == "purge" != phases[day]]


def growth(closes: pl.DataFrame, day: int) -> float | None:
    value: float | None = days(closes).row(by_predicate=pl.col("day") == day, named=True)["growth"]
    return value


FROM, THAT = pl.col("day") >= FAULT, pl.col("day") == FAULT


@pytest.mark.parametrize("sizes", [SIZES, {"a": 50_000.0, "b": 40_000.0}, {"a": 50_000.0}], ids=len)
@pytest.mark.parametrize("factor", [2.0, 0.5, PRICE, 1 / PRICE], ids=str)
@pytest.mark.parametrize("where", [FROM, THAT], ids=["from a day on", "one day"])
def test_a_spoilt_venue_makes_no_purge(sizes: dict[str, float], factor: float, where: pl.Expr) -> None:
    for venue in sizes:
        assert purges(times(market(sizes), venue, factor, where)) == []


@pytest.mark.parametrize("silent", [pl.lit(value=True), pl.col("venue") == "a"], ids=["all", "one"])
def test_an_outage_of_a_day_changes_no_state(silent: pl.Expr) -> None:
    closes = market(SIZES)
    whole = [state.phase for state in states(closes)]
    assert [state.phase for state in states(closes.filter(~(silent & THAT)))] == whole


def test_who_is_set_aside_has_no_weight() -> None:
    closes = times(market(SIZES), "a", 0.5, FROM)
    row = days(closes).row(by_predicate=pl.col("day") == FAULT, named=True)
    assert row["aside"] == ["a: contradicts"]
    others = [WIGGLE[(FAULT + number) % len(WIGGLE)] for number in (1, 2)]
    assert min(others) <= row["growth"] <= max(others)


@given(st.lists(st.none() | st.floats(0.01, 100.0), min_size=1, max_size=8))
def test_weights_are_of_those_who_take_part_alone(worths: list[float | None]) -> None:
    total = sum(worth for worth in worths if worth is not None)
    shares = [None if worth is None else worth / total for worth in worths]
    frame = pl.DataFrame({"of": 1, "share": shares}, schema={"of": pl.Int32, "share": pl.Float64})
    weights = capped(frame, "share", ["of"])["share"].to_list()
    assert [weight is None for weight in weights] == [share is None for share in shares]
    assert total == 0 or sum(w for w in weights if w is not None) == pytest.approx(1, rel=1e-9)


def test_a_fall_that_a_minority_saw_decides_nothing() -> None:
    sizes = {"large": 90_000.0, "small": 10_000.0}
    closes = times(market(sizes, {("small", FAULT): -0.15}), "large", 0.4, THAT)
    seen = growth(closes, FAULT)
    assert seen is not None
    assert seen < -0.1, "the small venue alone is believed"
    assert purges(closes) == []


def test_a_fall_that_all_others_saw_is_a_purge_whatever_the_largest_says() -> None:
    sizes = {"large": 60_000.0, "b": 10_000.0, "c": 8_000.0}
    closes = market(sizes, {(venue, FAULT): -0.2 for venue in sizes})
    assert purges(closes) == [FAULT]
    for factor in (2.0, 0.5):
        assert purges(times(closes, "large", factor, THAT)) == [FAULT]


def test_a_venue_alone_is_not_believed_when_it_returns_from_a_jump() -> None:
    closes = times(market({"a": 50_000.0}, {("a", FAULT + 1): 0.15}), "a", 2.0, THAT)
    assert growth(closes, FAULT + 1) is None, "a fall by 42 % the day after a refused doubling"
    assert purges(closes) == []


def test_the_change_of_two_days_is_not_held_against_that_of_one() -> None:
    both = {("a", FAULT): -0.45, ("b", FAULT): -0.30}
    closes = market({"a": 50_000.0, "b": 40_000.0}, both).filter(~((pl.col("venue") == "a") & THAT))
    back = days(closes).row(by_predicate=pl.col("day") == FAULT + 1, named=True)
    assert back["aside"] == []
    whole = days(market({"a": 50_000.0, "b": 40_000.0}, both)).filter(pl.col("day") <= FAULT + 1)
    sums = [frame.filter(pl.col("day").is_between(FAULT, FAULT + 1))["linked"].sum() for frame in
            (days(closes), whole)]  # fmt: skip
    assert sums[0] == pytest.approx(sums[1], abs=0.06), "an outage neither hides a fall nor counts it twice"


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(sorted(SIZES)), st.floats(-4, 4), st.integers(130, LONG - 1), st.integers(1, 30))
def test_no_reading_of_one_venue_of_three_makes_a_purge(
    venue: str, log: float, day: int, length: int
) -> None:
    where = pl.col("day").is_between(day, day + length - 1)
    closes = times(market({"a": 30_000.0, "b": 28_000.0, "c": 26_000.0}), venue, math.exp(log), where)
    if abs(log) > 0.5:
        assert purges(closes) == []


def test_every_venue_gone_is_no_purge_and_then_unknown() -> None:
    closes = market({"a": 50_000.0}).filter(~FROM | (pl.col("day") == LONG - 1))
    phases = [state.phase for state in states(closes)]
    assert "purge" not in phases
    assert phases[FAULT - 1] == phases[FAULT + 1] != "undetermined"
    assert phases[FAULT + 2 :] == ["undetermined"] * (LONG - FAULT - 2)
