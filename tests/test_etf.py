"""Redemptions of the funds against inflows and assets."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, strategies as st

from monitor.macro.etf import Label, cumulative, label, redemption

HISTORY = Path(__file__).parents[1].parent / "shared" / "history"

# Methodology §5: flows of the weeks to these Fridays, millions of dollars.
FRIDAYS = [date(2025, 9, 19) + timedelta(weeks=n) for n in range(9)]
WEEKS = {
    "BTC": [886.5, -897.6, 3236.0, 2699.7, -1225.3, 446.3, -799.0, -1208.4, -619.6],
    "ETH": [557.0, -795.8, 1295.9, 483.0, -311.8, -243.9, 16.1, -507.7, -550.4],
}
REDEEMED = {"BTC": -2040.6, "ETH": -837.4}
"""29 October to 5 November."""
RATIO = {"BTC": 0.3438, "ETH": 0.4707}
TWO_WEEKS = (date(2025, 9, 27), date(2025, 10, 10))
WINDOW = (date(2025, 10, 29), date(2025, 11, 5))


def flows(*values: float | None, start: date = date(2025, 1, 1)) -> pl.DataFrame:
    days = [start + timedelta(days=n) for n in range(len(values))]
    return pl.DataFrame({"date": days, "asset": "BTC", "flow_usd": values},
                        schema={"date": pl.Date, "asset": pl.String, "flow_usd": pl.Float64})  # fmt: skip


def day(n: int) -> date:
    return date(2025, 1, n)


@pytest.mark.parametrize("asset", ["BTC", "ETH"])
def test_golden_redemption_ratio(asset: str) -> None:
    """Weeks stand on their Fridays; the days from 29 October are one row, as §5 gives their sum."""
    table = pl.DataFrame(
        {
            "date": [*FRIDAYS[:4], WINDOW[1]],
            "flow_usd": [1e6 * x for x in (*WEEKS[asset][:4], REDEEMED[asset])],
        }
    )
    found = redemption(table, WINDOW, TWO_WEEKS)
    assert found.inflow_usd == pytest.approx(1e6 * (WEEKS[asset][2] + WEEKS[asset][3]))
    assert found.ratio == pytest.approx(RATIO[asset], abs=1.01e-4)


def test_golden_share_of_assets() -> None:
    """10 to 14 October: 228.2 m of 155.0 bn."""
    found = redemption(flows(-228.2e6), (day(1), day(1)), (day(2), day(3)), 155.0e9)
    assert found.assets_ratio == pytest.approx(0.00147, abs=5e-6)


@pytest.mark.parametrize(
    ("ratio", "assets", "says"),
    [
        (0.344, 0.013, "small"), (0.4999, 0.0199, "small"), (0.50, 0.013, "moderate"),
        (0.344, 0.02, "moderate"), (1.0, 0.001, "material"), (0.1, 0.05, "material"),
        (None, 0.05, "material"), (1.2, None, "material"),
        (None, 0.01, None), (0.1, None, None), (None, None, None), (0.0, 0.0, "small"),
    ],
)  # fmt: skip
def test_labels(ratio: float | None, assets: float | None, says: Label | None) -> None:
    assert label(ratio, assets) == says


def test_cumulative_and_drawdown_by_hand() -> None:
    found = cumulative(flows(-5, 10, 20, -12, None, 4, 30))
    assert found["cumulative_usd"].to_list() == [-5, 5, 25, 13, None, 17, 47]
    assert found["drawdown_usd"].to_list() == [0, 0, 0, -12, None, -8, 0]
    assert found["drawdown_ratio"].to_list() == pytest.approx([None, 0, 0, -12 / 25, None, -8 / 25, 0])


def test_a_day_that_is_not_reported_is_not_a_day_without_flow() -> None:
    window, before = (day(4), day(6)), (day(1), day(3))
    whole = redemption(flows(10, 20, 30, -5, -6, -7), window, before, 1000)
    assert (whole.flow_usd, whole.inflow_usd, whole.ratio, whole.until) == (-18, 60, 0.3, day(6))
    running = redemption(flows(10, 20, 30, -5, -6, None), window, before, 1000)
    assert (running.flow_usd, running.until) == (-11, day(5))
    hole = redemption(flows(10, 20, 30, -5, None, -7), window, before, 1000)
    assert (hole.flow_usd, hole.ratio, hole.assets_ratio, hole.label) == (None, None, None, None)
    none = redemption(flows(10, 20, 30, None, None, None), window, before, 1000)
    assert (none.flow_usd, none.until, none.label) == (None, None, None)
    unsure = redemption(flows(10, None, 30, -5, -6, -7), window, before, 1000)
    assert (unsure.inflow_usd, unsure.ratio, unsure.assets_ratio) == (None, None, 0.018)


def test_inflows_are_no_redemption_and_without_inflows_there_is_no_ratio() -> None:
    window, before = (day(4), day(6)), (day(1), day(3))
    gained = redemption(flows(10, 20, 30, 5, 6, 7), window, before, 1000)
    assert (gained.ratio, gained.assets_ratio, gained.label) == (0, 0, "small")
    falling = redemption(flows(-10, -20, 3, -5, -6, -7), window, before, 1000)
    assert (falling.ratio, falling.assets_ratio, falling.label) == (None, 0.018, None)


@given(st.lists(st.one_of(st.none(), st.integers(-100, 100)), min_size=1, max_size=30), st.randoms())
def test_the_order_of_rows_does_not_matter(values: list[int | None], shuffle: object) -> None:
    table = flows(*values)
    order = list(range(len(values)))
    shuffle.shuffle(order)  # type: ignore[attr-defined]
    assert cumulative(table[order]).equals(cumulative(table))
    window = (day(1), day(min(len(values), 28)))
    assert redemption(table[order], window, window, 1000) == redemption(table, window, window, 1000)


if HISTORY.is_dir():
    _ROWS = pl.read_parquet(HISTORY / "etf_flows_coinglass_daily.parquet").filter(pl.col("fund") == "TOTAL")

    @pytest.mark.parametrize("asset", ["BTC", "ETH"])
    def test_weeks_of_real_flows(asset: str) -> None:
        """Methodology §5; the last week is to 13 November."""
        rows = _ROWS.filter(asset=asset)
        for friday, million in zip(FRIDAYS, WEEKS[asset], strict=True):
            week = rows.filter(pl.col("date").is_between(friday - timedelta(days=6), friday))
            assert week["flow_usd"].sum() == pytest.approx(1e6 * million, abs=0.06e6)

    @pytest.mark.parametrize(
        ("asset", "peak", "on", "drawdowns"),
        [
            ("BTC", 63.116, date(2025, 10, 9), (-2.472, -0.039, -3.410)),
            ("ETH", 15.123, date(2025, 10, 8), (-1.197, -0.079, -1.781)),
        ],
    )
    def test_redemptions_of_real_flows(
        asset: str, peak: float, on: date, drawdowns: tuple[float, float, float]
    ) -> None:
        rows = _ROWS.filter(asset=asset).select("date", "asset", "flow_usd")
        found = redemption(rows, WINDOW, TWO_WEEKS)
        assert found.flow_usd == pytest.approx(1e6 * REDEEMED[asset], abs=0.06e6)
        assert found.ratio == pytest.approx(RATIO[asset], abs=1e-4)
        run = cumulative(rows)
        top = run.filter(pl.col("cumulative_usd") == run["cumulative_usd"].max()).row(0, named=True)
        assert (top["cumulative_usd"] / 1e9, top["date"]) == (pytest.approx(peak, abs=6e-4), on)
        then, later = (run.filter(date=date(2025, 11, n)).row(0, named=True) for n in (5, 13))
        assert then["drawdown_usd"] / 1e9 == pytest.approx(drawdowns[0], abs=6e-4)
        assert then["drawdown_ratio"] == pytest.approx(drawdowns[1], abs=6e-4)
        assert later["drawdown_usd"] / 1e9 == pytest.approx(drawdowns[2], abs=6e-4)

    def test_redemptions_of_bitcoin_were_small() -> None:
        """The article's claim: 34 % of two weeks' inflow, 1.3 % of the assets (155.0 bn)."""
        rows = _ROWS.filter(asset="BTC")
        found = redemption(rows, WINDOW, TWO_WEEKS, 155.0e9)
        assert found.assets_ratio == pytest.approx(0.0132, abs=1e-4)
        assert found.label == "small"

    def test_the_two_tables_agree_on_the_first_ten_days() -> None:
        """Farside is in millions. Later they differ where one missed late reports."""
        farside = pl.read_parquet(HISTORY / "etf_flows_btc_farside_daily.parquet")
        both = _ROWS.filter(asset="BTC").join(farside, on="date").sort("date").head(10)
        for dollars, millions in both["flow_usd", "total"].iter_rows():
            assert dollars / 1e6 == pytest.approx(millions, abs=0.2)
