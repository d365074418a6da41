"""The position proxy of CME and perpetuals, and when a report may be used."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from monitor.macro.cme import WEEKLY, available_at, cme_rows, increments, liquidation, usable

# Methodology §4: report, open interest and price of bitcoin, of ether.
GOLDEN = [
    (date(2025, 9, 30), 26_874, 114_048.93, 43_169, 4_145.15),
    (date(2025, 10, 7), 29_001, 121_332.95, 43_251, 4_447.70),
    (date(2025, 10, 14), 28_503, 113_028.14, 45_830, 4_125.02),
    (date(2025, 10, 21), 28_477, 108_297.67, 48_616, 3_873.05),
    (date(2025, 10, 28), 28_717, 112_898.45, 53_183, 3_979.20),
    (date(2025, 11, 4), 27_093, 101_497.22, 43_229, 3_287.05),
]
OUTRIGHT = {
    "BTC": [None, 26_232, 26_416, 25_993, 25_484, 24_995],
    "ETH": [None, 37_632, 39_456, 38_472, 36_747, 34_865],
}
INCREMENTS = {"BTC": [2_127, -498, -26, 240, -1_624], "ETH": [82, -2_579, -2_786, 4_567, -9_954]}
SIZE = {"BTC": 5, "ETH": 50}
START, END = date(2025, 10, 7), date(2025, 11, 4)


def golden() -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    for n, (day, bitcoin, bitcoin_price, ether, ether_price) in enumerate(GOLDEN):
        for contract, held, price in (("BTC", bitcoin, bitcoin_price), ("ETH", ether, ether_price)):
            outright = OUTRIGHT[contract][n]
            spreads = None if outright is None else held - outright
            rows.append({"contract": contract, "date": day, "open_interest": held, "price": price,
                         "spreads": spreads})  # fmt: skip
    return cme_rows(pl.DataFrame(rows, infer_schema_length=None))


def weekly(*rows: tuple[Any, ...]) -> pl.DataFrame:
    """Rows of (contract, coins, date, open interest, spreads, price) of bitcoin at CME."""
    return pl.DataFrame([("cme", "BTC", *row) for row in rows], schema=WEEKLY, orient="row")


@pytest.mark.parametrize("asset", ["BTC", "ETH"])
def test_golden_increments(asset: str) -> None:
    found = increments(golden()).filter(asset=asset)
    assert (found["increment"] / SIZE[asset]).to_list()[1:] == pytest.approx(INCREMENTS[asset])
    assert found["increment"][0] is None
    assert found["position"][-1] == pytest.approx(sum(INCREMENTS[asset]) * SIZE[asset])
    assert found["since"].to_list()[1:] == [day for day, *_ in GOLDEN[:-1]]


@pytest.mark.parametrize(
    ("asset", "contracts", "share", "coins", "outright", "outright_share", "long", "long_share"),
    [
        ("BTC", -1_908, -0.06579, -9_540, -587, -0.0224, 2_148, 0.074),
        ("ETH", -10_752, -0.24860, -537_600, -2_965, -0.0788, 9_954, 0.230),
    ],
)
def test_golden_liquidation(
    asset: str, contracts: int, share: float, coins: float, outright: int, outright_share: float, long: int,
    long_share: float,
) -> None:  # fmt: skip
    """Methodology §4 and §10, from 7 October to 4 November 2025."""
    row = liquidation(golden(), START, END).filter(asset=asset).row(0, named=True)
    assert row["reports"] == 4
    assert row["proxy"] == pytest.approx(coins) == contracts * SIZE[asset]
    assert row["proxy_ratio"] == pytest.approx(share, abs=5e-6)
    assert row["outright_proxy"] == pytest.approx(outright * SIZE[asset])
    assert row["outright_proxy_ratio"] == pytest.approx(outright_share, abs=5e-5)
    assert row["long"] == pytest.approx(long * SIZE[asset])
    assert row["long_ratio"] == pytest.approx(long_share, abs=5e-4)


def test_ether_was_liquidated_more_than_bitcoin_at_cme() -> None:
    """The article's claim, with and without spreads."""
    found = liquidation(golden(), START, END)
    bitcoin, ether = (found.filter(asset=asset).row(0, named=True) for asset in ("BTC", "ETH"))
    for of in ("proxy_ratio", "outright_proxy_ratio"):
        assert ether[of] < bitcoin[of] < 0
    assert 3.4 < ether["outright_proxy_ratio"] / bitcoin["outright_proxy_ratio"] < 3.9


def test_perpetuals_are_on_the_same_scale() -> None:
    """The same coins as one contract of one coin, in another market, have the same shares."""
    perpetuals = golden().filter(asset="BTC").with_columns(
        market=pl.lit("perpetual"), contract=pl.lit("all"), coins=pl.lit(1.0),
        open_interest=pl.col("open_interest") * 50, spreads=pl.lit(0.0),
    )  # fmt: skip
    found = liquidation(pl.concat([golden(), perpetuals]), START, END)
    assert found.select("market", "asset").rows() == [
        ("cme", "BTC"), ("cme", "ETH"), ("perpetual", "BTC"),
    ]  # fmt: skip
    ratios = found.filter(asset="BTC")["proxy_ratio"]
    assert ratios[0] == pytest.approx(ratios[1])


@settings(deadline=None)
@given(st.permutations(range(12)), st.floats(0.1, 1000))
def test_order_of_rows_and_size_of_contracts_do_not_matter(order: list[int], size: float) -> None:
    rows = golden()
    scaled = rows[order].with_columns(pl.col("coins") * size)
    one, other = (liquidation(of, START, END).sort("asset") for of in (rows, scaled))
    for of in ("proxy_ratio", "long_ratio", "outright_proxy_ratio"):
        assert other[of].to_list() == pytest.approx(one[of].to_list())
    assert (other["proxy"] / size).to_list() == pytest.approx(one["proxy"].to_list())


def test_a_week_without_a_move_says_nothing() -> None:
    rows = weekly(
        ("BTC", 5.0, date(2025, 1, 7), 100, None, 100_000),
        ("BTC", 5.0, date(2025, 1, 14), 50, None, 100_050),
        ("BTC", 5.0, date(2025, 1, 21), 60, None, 100_050),
    )
    assert increments(rows)["sign"].to_list() == [None, 0.0, 0.0]
    assert increments(rows)["increment"].to_list() == [None, 0.0, 0.0]


def test_reports_may_be_weeks_apart_and_a_day_off() -> None:
    """A shutdown leaves weeks out; 2025-11-10 stands for the 11th, a holiday."""
    rows = weekly(
        ("BTC", 5.0, date(2025, 9, 30), 100, 10, 114_000),
        ("BTC", 5.0, date(2025, 11, 10), 80, 10, 106_000),
    )
    found = increments(rows).row(1, named=True)
    assert (found["since"], found["increment"], found["outright_increment"]) == (
        date(2025, 9, 30),
        -100,
        -100,
    )


def test_a_contract_that_is_listed_or_left_out_moves_nothing() -> None:
    rows = weekly(
        ("BTC", 5.0, date(2025, 1, 7), 100, None, 100_000),
        ("BTC", 5.0, date(2025, 1, 14), 110, None, 110_000),
        ("MBT", 0.1, date(2025, 1, 14), 5_000, None, 110_000),
        ("BTC", 5.0, date(2025, 1, 21), 120, None, 120_000),
        ("MBT", 0.1, date(2025, 1, 21), 6_000, None, 120_000),
        ("BTC", 5.0, date(2025, 1, 28), 130, None, 130_000),
    )
    found = increments(rows)
    assert found["change"].to_list() == pytest.approx([None, 50, 150, 50])
    assert found["open_interest"].to_list() == pytest.approx([500, 1_050, 1_200, None])


def test_where_no_week_fell_nothing_was_liquidated() -> None:
    rising = golden().with_columns(price=100.0 + pl.col("date").rank())
    for row in liquidation(rising, START, END).iter_rows(named=True):
        shown = [row[name] for name in ("long", "long_ratio", "outright_long", "outright_long_ratio")]
        assert [f"{value:.0%}" for value in shown] == ["0%"] * 4  # a zero without a sign


def test_what_is_not_reported_is_null_and_not_zero() -> None:
    rows = golden().with_columns(
        spreads=pl.when(pl.col("date") == date(2025, 10, 21)).then(None).otherwise("spreads")
    )
    row = liquidation(rows, START, END).row(0, named=True)
    assert row["outright_proxy"] is row["outright_proxy_ratio"] is row["outright_long"] is None
    assert row["proxy"] == pytest.approx(-9_540)
    missing = golden().filter(pl.col("date") != START)
    assert liquidation(missing, START, END).is_empty()


def test_contracts_of_unknown_size_are_left_out() -> None:
    row = {"contract": "XYZ", "date": START, "open_interest": 1, "price": 1.0, "spreads": 0}
    assert cme_rows(pl.DataFrame([row])).is_empty()
    sizes = cme_rows(pl.DataFrame([row | {"contract": code} for code in ("BTC", "MBT", "ETH", "MET")]))
    assert sizes["coins"].to_list() == [5.0, 0.1, 50.0, 0.1]
    codes = cme_rows(
        pl.DataFrame([row | {"contract": code} for code in ("133741", "133742", "146021", "146022")])
    )
    assert codes.drop("contract").equals(sizes.drop("contract"))


# Release.


@pytest.mark.parametrize(
    ("report", "out"),
    [
        (date(2025, 9, 23), datetime(2025, 9, 26, 19, 30, tzinfo=UTC)),  # summer time
        (date(2025, 1, 28), datetime(2025, 1, 31, 20, 30, tzinfo=UTC)),  # winter time
        (date(2023, 11, 21), datetime(2023, 11, 27, 20, 30, tzinfo=UTC)),  # Thanksgiving: Monday
        (date(2025, 7, 1), datetime(2025, 7, 7, 19, 30, tzinfo=UTC)),  # 4 July is a Friday
        (date(2025, 11, 10), datetime(2025, 11, 17, 20, 30, tzinfo=UTC)),  # Monday, for Veterans Day
        (date(2021, 12, 28), datetime(2022, 1, 3, 20, 30, tzinfo=UTC)),  # New Year kept on Friday
        (date(2024, 1, 16), datetime(2024, 1, 19, 20, 30, tzinfo=UTC)),  # Martin Luther King was Monday
        (date(2025, 12, 23), datetime(2025, 12, 29, 20, 30, tzinfo=UTC)),  # Christmas
        (date(2026, 6, 16), datetime(2026, 6, 22, 19, 30, tzinfo=UTC)),  # Juneteenth is a Friday
    ],
)
def test_a_report_is_out_on_friday_or_the_next_business_day(report: date, out: datetime) -> None:
    assert available_at(report) == out


@given(st.dates(date(2018, 1, 1), date(2035, 12, 31)))
def test_a_report_is_never_out_before_its_friday(day: date) -> None:
    tuesday = day + timedelta(days=(1 - day.weekday()) % 7)
    out = available_at(tuesday)
    assert 3 <= (out.date() - tuesday).days <= 7
    assert out.weekday() < 5
    assert (out.hour, out.minute) == (15, 30)


def test_a_report_is_used_from_its_release_and_not_from_its_date() -> None:
    new_york = ZoneInfo("America/New_York")
    before, after = (datetime(2025, 11, 7, 15, minute, tzinfo=new_york) for minute in (29, 30))
    assert usable(golden(), before)["date"].max() == date(2025, 10, 28)
    assert usable(golden(), after)["date"].max() == date(2025, 11, 4)


def test_a_report_that_came_late_is_used_from_its_receipt() -> None:
    """A shutdown: no rule tells, so what was received when decides."""
    received = datetime(2025, 12, 1, tzinfo=UTC)
    rows = golden().with_columns(
        received=pl.when(pl.col("date") >= date(2025, 10, 7)).then(pl.lit(received)).otherwise(None)
    )
    assert usable(rows, datetime(2025, 11, 20, tzinfo=UTC))["date"].max() == date(2025, 9, 30)
    assert usable(rows, received)["date"].max() == date(2025, 11, 4)
