"""The statistics of methodology 3.4, 6 and 9, against the same by brute force."""

from __future__ import annotations

import math
from statistics import median

import polars as pl
import pytest
from hypothesis import given, strategies as st

from monitor.deleveraging.average import (
    AVERAGE_DAYS,
    ENOUGH_DAYS,
    MAD,
    SCALE_FLOOR,
    against_average,
    median_before,
    percentile,
    scale,
)

values = st.one_of(st.none(), st.sampled_from([0.0, 1.0, 2.0]), st.floats(-10, 10, width=32))
"""With ties and unknown ones."""


def applied(of: pl.Expr, numbers: list[float | None]) -> list[float | None]:
    return pl.DataFrame({"x": numbers}, {"x": pl.Float64}).select(of).to_series().to_list()


def same(found: list[float | None], expected: list[float | None], tolerance: float = 1e-9) -> None:
    assert [one is None for one in found] == [one is None for one in expected]
    assert [one for one in found if one is not None] == pytest.approx(
        [one for one in expected if one is not None], abs=tolerance
    )


@given(st.lists(values, max_size=60), st.integers(1, 20), st.integers(1, 5))
def test_percentile_is_the_mid_rank_among_those_before(
    numbers: list[float | None], length: int, enough: int
) -> None:
    """(#< + #= / 2) / n over the `length` rows before: methodology §9.6."""
    expected: list[float | None] = []
    for at, value in enumerate(numbers):
        before = [one for one in numbers[max(0, at - length) : at] if one is not None]
        if value is None or len(before) < enough:
            expected.append(None)
            continue
        below = sum(one < value for one in before)
        equal = sum(one == value for one in before)
        expected.append((below + equal / 2) / len(before))
    same(applied(percentile(pl.col("x"), length, enough), numbers), expected)


@pytest.mark.parametrize(("value", "rank"), [(0.0, 0.0), (1.0, 0.25), (2.0, 0.75), (3.0, 1.0), (1.5, 0.5)])
def test_percentile_by_hand(value: float, rank: float) -> None:
    assert applied(percentile(pl.col("x"), 10, 1), [1.0, 2.0, 1.0, 2.0, value])[-1] == rank


@given(st.lists(values, max_size=60), st.integers(1, 20), st.integers(1, 5))
def test_median_of_those_before(numbers: list[float | None], length: int, enough: int) -> None:
    expected: list[float | None] = []
    for at in range(len(numbers)):
        before = [one for one in numbers[max(0, at - length) : at] if one is not None]
        expected.append(median(before) if len(before) >= min(enough, length) else None)
    same(applied(median_before(pl.col("x"), length, min(enough, length)), numbers), expected)


def test_the_average_is_the_median_of_the_three_years_before() -> None:
    levels = [0.010 + 0.00001 * day for day in range(1_300)]
    frame = pl.DataFrame({"log": [math.log(level) for level in levels]})
    found = frame.select(**against_average(pl.col("log")))
    average = found["log_average"].exp().to_list()
    assert found["log_average"].null_count() == ENOUGH_DAYS
    assert average[ENOUGH_DAYS] == pytest.approx(median(levels[:ENOUGH_DAYS]), rel=1e-12)
    assert average[700] == pytest.approx(median(levels[:700]), rel=1e-12)
    assert average[1_250] == pytest.approx(median(levels[1_250 - AVERAGE_DAYS : 1_250]), rel=1e-12)
    mean = found["log_mean"].exp().to_list()
    assert mean[1_250] == pytest.approx(sum(levels[:1_250]) / 1_250, rel=1e-12)
    assert found["days_before"].to_list() == list(range(1_300))


def test_a_gap_of_years_leaves_no_average() -> None:
    numbers = [0.0] * 200 + [None] * AVERAGE_DAYS + [0.0] * 200
    average = applied(against_average(pl.col("x"))["log_average"], numbers)
    back = 200 + AVERAGE_DAYS
    assert average[199] == 0.0
    assert average[back + ENOUGH_DAYS - 1] is None
    assert average[back + ENOUGH_DAYS] == 0.0


def test_the_scale_is_robust_and_has_a_floor() -> None:
    wide = [0.1 if day % 2 else -0.1 for day in range(100)]
    spread = applied(scale(pl.col("x")), [*wide, 50.0, 0.1])
    assert spread[29] is None
    assert spread[30] == pytest.approx(MAD * 0.1, rel=1e-12)
    assert spread[-1] == pytest.approx(MAD * 0.1, rel=1e-12), "one outlier does not widen it"
    narrow = applied(scale(pl.col("x")), [0.001] * 100)
    assert narrow[-1] == SCALE_FLOOR


@given(st.lists(st.floats(-1, 1), min_size=5, max_size=300), st.integers(1, 299))
def test_no_statistic_looks_ahead(numbers: list[float], cut: int) -> None:
    cut = min(cut, len(numbers))
    every = [*against_average(pl.col("x")).values(), scale(pl.col("x")), percentile(pl.col("x"), 50, 3)]
    for of in every:
        assert applied(of, list(numbers))[:cut] == applied(of, list(numbers[:cut]))
