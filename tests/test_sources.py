"""Parsers of slow sources: the true formats by hand, and everything that may stand there instead."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from conftest import NOW
from hypothesis import given, settings, strategies as st

from monitor.macro.valuation import gold_tonnes
from monitor.sources import SOURCES, cftc, cme, etf, etf_assets, gold, gold_proxy, gvz, supply, tonnes
from monitor.sources.source import DAY, HOUR, Rubbish, as_of

SAMPLES = Path(__file__).parent / "samples"

FILES = {
    "gold_api": ("gold_api.json",), "lbma_pm": ("lbma_pm.json",), "lbma_am": ("lbma_pm.json",),
    "swissquote": ("swissquote.json",), "yahoo_gc": ("yahoo_gc.json",),
    "binance_xau": ("binance_xau.json",), "binance_xaut": ("binance_xaut.json",),
    "binance_paxg": ("binance_paxg.json",), "okx_xau": ("okx_xau.json",), "okx_xaut": ("okx_xaut.json",),
    "gold_own": ("gold_own.csv", "gold_own.json"), "gold_tonnes": ("gold_tonnes.toml",),
    "mempool": ("mempool.txt",), "blockstream": ("mempool.txt",), "blockchain_info": ("mempool.txt",),
    "ultrasound": ("ultrasound.json",), "etherscan": ("etherscan.json",), "cftc": ("cftc.json",),
    "cme": ("cme.csv",), "etf_btc": ("etf_farside.csv", "etf_coinglass.json", "etf_long.csv"),
    "etf_eth": ("etf_long.csv",), "etf_assets": ("etf_assets.csv",),
    "gvz": ("gvz_cboe.csv",), "gvz_fred": ("gvz_fred.csv",),
}  # fmt: skip
CASES = [(name, file) for name, files in FILES.items() for file in files]

KINDS: dict[str, tuple[pl.Schema, dict[str, tuple[float, float]], tuple[str, ...]]] = {
    "gold": (gold.SCHEMA, {"price_usd_oz": (10, 100_000)}, ()),
    "gold_future": (gold.SCHEMA, {"price_usd_oz": (10, 100_000)}, ()),
    "gold_proxy": (gold_proxy.SCHEMA, {"proxy_usd_oz": (500, 100_000)}, ()),
    "gold_tonnes": (tonnes.SCHEMA, {"tonnes": (-10_000, 250_000)}, ("begin",)),
    "height": (supply.HEIGHT, {"height": (900_000, 1_100_000)}, ()),
    "eth_supply": (supply.ETHER, {"supply_coins": (100e6, 160e6)}, ()),
    "cftc": (
        cftc.SCHEMA, dict.fromkeys(("open_interest", *cftc.SPREADS), (0, 1e7)), tuple(cftc.SPREADS),
    ),
    "etf": (etf.SCHEMA, {"flow_usd": (-10e9, 10e9)}, ("flow_usd",)),
    "etf_assets": (etf_assets.SCHEMA, {"assets_usd": (1e8, 1e12)}, ()),
    "gvz": (gvz.SCHEMA, {"value": (0.04, 1.5)}, ()),
    "cme": (cme.SCHEMA, {"open_interest": (0, 1e7), "settle": (0.01, 1e8)}, ("settle",)),
}  # fmt: skip
"""Schema, bounds, and what may be null, of each kind."""


def sample(file: str) -> bytes:
    return (SAMPLES / file).read_bytes()


def parse(name: str, body: bytes | str | list[Any] | dict[str, Any], now: int = NOW) -> pl.DataFrame:
    if isinstance(body, str):
        body = body.encode()
    elif not isinstance(body, bytes):
        body = orjson.dumps(body)
    return SOURCES[name].parse(body, now)


def said(name: str, body: bytes | str | list[Any] | dict[str, Any], now: int = NOW) -> str:
    with pytest.raises(Rubbish) as caught:
        parse(name, body, now)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def sound(name: str, frame: pl.DataFrame, now: int = NOW) -> None:
    """What every frame promises: its schema, its bounds, its order, no future."""
    source = SOURCES[name]
    schema, bounds, nullable = KINDS[source.kind]
    assert frame.schema == schema
    assert len(frame)
    for column in frame.columns:
        assert column in nullable or frame[column].null_count() == 0, column
    for column, (low, high) in bounds.items():
        assert frame[column].drop_nulls().is_between(low, high).all(), column
    first = frame[frame.columns[0]]
    assert first.is_sorted()
    ahead = 3 * DAY if source.kind == "cme" else HOUR
    assert 0 <= as_of(source, frame, now) <= now
    assert first.cast(pl.Datetime("ms")).cast(pl.Int64).max() <= now + ahead  # type: ignore[operator]


# The true formats.


def test_every_source_has_a_sample() -> None:
    assert set(FILES) == set(SOURCES)


@pytest.mark.parametrize(("name", "file"), CASES)
def test_a_sample_is_sound(name: str, file: str) -> None:
    sound(name, parse(name, sample(file)))


def test_the_live_price_of_gold() -> None:
    frame = parse("gold_api", sample("gold_api.json"))
    assert frame.rows() == [(at("2026-09-30 07:58:21"), 4152.4, "gold_api")]


def test_london_prices_are_dated_by_the_auction_and_have_gaps() -> None:
    frame = parse("lbma_pm", sample("lbma_pm.json"))
    assert frame.tail(3)["time"].to_list() == [
        at("2026-09-25 14:00"), at("2026-09-28 14:00"), at("2026-09-29 14:00"),
    ]  # fmt: skip
    assert frame.tail(3)["price_usd_oz"].to_list() == [4100.5, 4150.25, 4160.0]
    old = frame.filter(pl.col("time").dt.year() == 1968)
    assert old["price_usd_oz"].to_list() == [38.5, 38.1]
    winter = frame.filter(pl.col("time").dt.year() == 2025)
    assert winter["time"].to_list() == [at("2025-01-02 15:00")]
    assert parse("lbma_am", sample("lbma_pm.json"))["time"].to_list()[-1] == at("2026-09-29 09:30")


def test_swissquote_is_the_middle_of_the_newest_standard_quote() -> None:
    frame = parse("swissquote", sample("swissquote.json"))
    assert frame["price_usd_oz"].to_list() == [4153.0]
    assert as_of(SOURCES["swissquote"], frame, NOW) == 1_790_755_150_000


@pytest.mark.parametrize(
    ("told", "stands"),
    [
        ("2026-09-25T20:59:00Z", "2026-09-25 20:59"), ("2026-09-25T21:00:00Z", "2026-09-25 21:00"),
        ("2026-09-26T12:00:00Z", "2026-09-25 21:00"), ("2026-09-27T21:59:59Z", "2026-09-25 21:00"),
        ("2026-09-27T22:00:00Z", "2026-09-27 22:00"),
    ],
)  # fmt: skip
def test_a_price_told_at_the_weekend_is_fridays(told: str, stands: str) -> None:
    body = {"name": "Gold", "price": 4150, "symbol": "XAU", "updatedAt": told}
    assert parse("gold_api", body)["time"].to_list() == [at(stands)]


def test_the_future_is_another_kind_and_skips_bars_without_trade() -> None:
    frame = parse("yahoo_gc", sample("yahoo_gc.json"))
    assert frame["price_usd_oz"].to_list() == [4140.5, 4180.0, 4186.6]
    assert frame["source"].unique().to_list() == ["yahoo_gc"]
    assert SOURCES["yahoo_gc"].kind == "gold_future"


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("binance_xau", (1_790_755_140_000, 4153.1, "XAUUSDT")),
        ("binance_paxg", (1_790_755_140_000, 4160.9, "PAXGUSDT")),
        ("okx_xaut", (1_790_755_150_506, 4155.6, "XAUT-USDT-SWAP")),
    ],
)
def test_what_stands_for_gold_has_a_kind_and_a_column_of_its_own(
    name: str, row: tuple[int, float, str]
) -> None:
    frame = parse(name, sample(f"{name}.json"))
    time, price, symbol = frame.row(0)
    assert (round(time.timestamp() * 1000), price, symbol) == row
    assert SOURCES[name].kind == "gold_proxy"
    assert not set(frame.columns) & (set(gold.SCHEMA) - {"time"})


def test_what_stands_for_gold_is_not_dated_back_to_friday() -> None:
    sunday = at("2026-09-27 12:00")
    millis = int(sunday.timestamp() * 1000)
    body = sample("binance_xau.json").replace(b"1790755140000", str(millis).encode())
    assert parse("binance_xau", body, now=millis)["time"].to_list() == [sunday]


HOLIDAYS = [
    "2020-04-10", "2020-12-25", "2021-01-01", "2021-04-02", "2021-12-24", "2022-04-15", "2022-12-26",
    "2023-01-02", "2023-04-07", "2023-12-25", "2024-01-01", "2024-03-29", "2024-12-25", "2025-01-01",
    "2025-04-18", "2025-12-25",
]  # fmt: skip
"""Weekdays of 2020 to 2025 without a price of spot gold."""


@pytest.mark.parametrize(
    ("moment", "rests"),
    [
        # Summer: New York is four hours behind.
        ("2026-09-25 20:59", False), ("2026-09-25 21:00", True), ("2026-09-27 21:59", True),
        ("2026-09-27 22:00", False),
        # Winter: five. The clocks changed on 2026-11-01.
        ("2026-11-06 21:59", False), ("2026-11-06 22:00", True), ("2026-11-08 22:59", True),
        ("2026-11-08 23:00", False),
        # The hour's break of every evening is no rest.
        ("2026-09-29 21:30", False),
        # Good Friday begins on Thursday evening; Christmas of 2025 was a Thursday.
        ("2026-04-02 20:59", False), ("2026-04-02 21:00", True), ("2026-04-03 12:00", True),
        ("2026-04-05 21:59", True), ("2026-04-05 22:00", False),
        ("2025-12-24 21:59", False), ("2025-12-24 22:00", True), ("2025-12-25 22:59", True),
        ("2025-12-25 23:00", False), ("2025-12-26 12:00", False),
        # A Christmas on Saturday is kept on Friday, a New Year's Day on Saturday is not.
        ("2021-12-24 12:00", True), ("2021-12-31 12:00", False), ("2021-12-27 12:00", False),
        ("2023-01-02 12:00", True), ("2024-01-02 12:00", False), ("2022-12-26 12:00", True),
        ("2024-12-26 12:00", False), ("2024-12-24 12:00", False),
    ],
)  # fmt: skip
def test_when_spot_gold_rests(moment: str, rests: bool) -> None:
    assert gold.closed(int(at(moment).timestamp() * 1000)) is rests


def test_the_holidays_of_six_years() -> None:
    noon = int(at("2020-01-02 12:00").timestamp() * 1000)
    days = [datetime.fromtimestamp((noon + n * DAY) / 1000, UTC) for n in range(2190)]
    rest = [day for day in days if day.weekday() < 5 and gold.closed(int(day.timestamp() * 1000))]
    assert [f"{day:%Y-%m-%d}" for day in rest] == HOLIDAYS


@pytest.mark.parametrize(
    ("year", "month", "day"),
    [(1968, 4, 12), (2008, 3, 21), (2011, 4, 22), (2024, 3, 29), (2026, 4, 3), (2027, 3, 26), (2038, 4, 23)],
)
def test_good_friday(year: int, month: int, day: int) -> None:
    fridays = (date(year, 3, 20) + timedelta(days=n) for n in range(36))
    rest = [one for one in fridays if one.weekday() == 4 and gold.closed(noon_of(one))]
    assert rest == [date(year, month, day)]


def noon_of(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp() * 1000)


def test_an_operators_gold_as_csv_and_json() -> None:
    frame = parse("gold_own", sample("gold_own.csv"))
    assert frame["time"].to_list() == [at("2026-09-25 14:00"), at("2026-09-28 14:00")]
    assert frame["price_usd_oz"].to_list() == [4100.5, 4150.25]
    one = parse("gold_own", sample("gold_own.json"))
    assert one.rows() == [(at("2026-09-30 07:59"), 4152.4, "gold_own")]
    rows = [{"date": "2026-09-25", "price_usd_oz": 4100.5}, {"date": "2026-09-28", "price_usd_oz": 4150.25}]
    assert parse("gold_own", rows).equals(frame)
    timed = "time,price_usd_oz\n2026-09-29T12:00:00+02:00,4160\n"
    assert parse("gold_own", timed)["time"].to_list() == [at("2026-09-29 10:00")]


def test_an_operators_tonnes_are_read_like_the_shipped_ones() -> None:
    frame = parse("gold_tonnes", sample("gold_tonnes.toml"))
    table = tonnes.as_table(frame)
    known = gold_tonnes(table, date(2026, 9, 30))
    assert known is not None
    assert (known.tonnes, known.as_of) == (50_978, date(2025, 12, 31))
    live = gold_tonnes(table, date(2026, 9, 30), "live")
    assert live is not None
    assert live.tonnes == pytest.approx(50_927.5, abs=1e-9)
    shipped = Path(tonnes.__file__).parents[1] / "data" / "gold_tonnes.toml"
    sound("gold_tonnes", parse("gold_tonnes", shipped.read_bytes()))


def test_a_height_is_of_the_moment_it_was_asked() -> None:
    frame = parse("mempool", sample("mempool.txt"))
    assert frame.rows() == [(datetime.fromtimestamp(NOW / 1000, UTC), 969_300)]


@pytest.mark.parametrize(
    ("heights", "agreed"),
    [
        ([], None), ([900_000], None), ([900_000, 900_000], 900_000), ([900_002, 900_000], 900_002),
        ([900_003, 900_000], 900_000), ([900_000, 900_010, 900_009], 900_010),
        ([950_000, 900_001, 900_000], 900_001), ([950_000, 900_000], None), ([900_000, 800_000], None),
        ([900_144, 900_000], 900_000), ([900_145, 900_000], None),
    ],
)  # fmt: skip
def test_a_height_is_believed_when_two_sources_reach_it(heights: list[int], agreed: int | None) -> None:
    assert supply.agreed_height(heights) == agreed


@given(st.lists(st.integers(900_000, 900_400), max_size=4))
def test_the_agreed_height_is_reached_by_two_and_does_not_depend_on_order(heights: list[int]) -> None:
    agreed = supply.agreed_height(heights)
    assert agreed == supply.agreed_height(heights[::-1])
    if agreed is not None:
        assert agreed in heights
        assert sum(height >= agreed - supply.REACH for height in heights) >= 2


def test_ether_supply() -> None:
    frame = parse("ultrasound", sample("ultrasound.json"))
    assert frame["supply_coins"].to_list() == [120_990_000.0, 121_000_000.25, 121_000_010.5]
    assert as_of(SOURCES["ultrasound"], frame, NOW) == 1_790_751_600_000
    # Mined 122,373,866.2178 and staked 3,500,000.5, less 4,873,866.7178 burnt: 121 million.
    wei = parse("etherscan", sample("etherscan.json"))
    assert wei["supply_coins"].to_list() == pytest.approx([121_000_000.0], abs=1e-6)


def test_cftc_rows_by_contract() -> None:
    frame = parse("cftc", sample("cftc.json"))
    assert frame["code"].to_list() == ["133741", "133741", "133742", "146021", "146022"]
    assert frame["report_date"].to_list() == [date(2026, 9, 15), *[date(2026, 9, 22)] * 4]
    ether = frame.filter(pl.col("code") == "146021").row(0, named=True)
    assert ether["open_interest"] == 40_000
    assert (ether["dealer_spread"], ether["asset_mgr_spread"]) == (300, 400)
    assert (ether["lev_money_spread"], ether["other_spread"]) == (5000, None)
    # Friday 2026-09-25, 15:30 in New York, which is 19:30 UTC in summer.
    assert ether["released"] == at("2026-09-25 19:30")


def test_a_report_of_another_weekday_is_released_on_its_friday() -> None:
    # 2025-11-10 was a Monday (methodology section 4: never assume steps of seven days).
    frame = pl.DataFrame({"report_date": [date(2025, 11, 10)]}).select(cftc.released())
    assert frame.item() == at("2025-11-14 20:30")


def test_the_position_proxy_of_the_methodology_comes_out_of_cftcs_rows() -> None:
    # Methodology section 4: open interest, and outright open interest (spreads subtracted), by week.
    weeks = ["2025-10-07", "2025-10-14", "2025-10-21", "2025-10-28", "2025-11-04"]
    interest = {"133741": [29_001, 28_503, 28_477, 28_717, 27_093],
                "146021": [43_251, 45_830, 48_616, 53_183, 43_229]}  # fmt: skip
    outright = {"133741": [26_232, 26_416, 25_993, 25_484, 24_995],
                "146021": [37_632, 39_456, 38_472, 36_747, 34_865]}  # fmt: skip
    rows = [
        {
            "report_date_as_yyyy_mm_dd": f"{week}T00:00:00.000", "cftc_contract_market_code": code,
            "open_interest_all": str(interest[code][n]), "dealer_positions_spread_all": "0",
            "asset_mgr_positions_spread": "0", "other_rept_positions_spread": "0",
            "lev_money_positions_spread": str(interest[code][n] - outright[code][n]),
        }
        for code in interest
        for n, week in enumerate(weeks)
    ]  # fmt: skip
    micro = [
        row | {"cftc_contract_market_code": code}
        for row in rows[:1]
        for code in ("133742", "146022")
    ]  # fmt: skip
    frame = parse("cftc", [*rows, *micro], now=1_762_900_000_000)
    spreads = pl.sum_horizontal(*cftc.SPREADS)
    found = frame.with_columns(outright=pl.col("open_interest") - spreads)
    for code, sign, total in (("133741", [-1, -1, 1, -1], -1908), ("146021", [-1, -1, 1, -1], -10_752)):
        of = found.filter(pl.col("code") == code)
        assert of["outright"].to_list() == outright[code]
        change = of["open_interest"].diff().drop_nulls().abs().to_list()
        assert sum(s * c for s, c in zip(sign, change, strict=True)) == total


def test_cme_rows() -> None:
    frame = parse("cme", sample("cme.csv"))
    assert frame.filter(pl.col("symbol") == "BTC")["open_interest"].to_list() == [25_000, 25_150]
    assert frame.filter(pl.col("symbol") == "MET")["settle"].to_list() == [None, 2550]


def test_a_trade_date_may_run_before_the_calendar_over_a_weekend() -> None:
    friday_evening = at("2026-09-25 23:00").timestamp() * 1000
    body = "date,asset,symbol,open_interest,settle\n2026-09-28,BTC,BTC,1,1\n"
    frame = parse("cme", body, now=int(friday_evening))
    assert as_of(SOURCES["cme"], frame, int(friday_evening)) == int(friday_evening)


def test_farside_counts_millions_and_unreported_is_not_zero() -> None:
    frame = parse("etf_btc", sample("etf_farside.csv"))
    flows = {(day, fund): flow for day, _, fund, flow in frame.iter_rows()}
    assert flows[date(2026, 9, 24), "GBTC"] == -50_400_000
    assert flows[date(2026, 9, 28), "GBTC"] == -20_000_000
    assert flows[date(2026, 9, 24), "MSBT"] is None
    assert flows[date(2026, 9, 25), "IBIT"] == 0
    assert flows[date(2026, 9, 24), "TOTAL"] == 70_100_000
    assert flows[date(2026, 9, 28), "TOTAL"] == -23_700_000
    assert flows[date(2026, 9, 29), "IBIT"] == 12_500_000
    assert flows[date(2026, 9, 29), "TOTAL"] is None  # provisional
    newest = as_of(SOURCES["etf_btc"], frame, NOW)
    assert datetime.fromtimestamp(newest / 1000, UTC).date() == date(2026, 9, 28)


def test_a_day_that_is_not_complete_has_no_total_whatever_is_told() -> None:
    text = sample("etf_farside.csv").decode()
    frame = parse("etf_btc", text)
    assert parse("etf_btc", text.replace("12.5,-,-,-,-,12.5", "12.5,-,-,-,-,99.0")).equals(frame)
    assert parse("etf_btc", text.replace("12.5,-,-,-,-,12.5", "12.5,-,-,-,-,-")).equals(frame)
    whole = parse("etf_btc", text.replace("12.5,-,-,-,-,12.5", "12.5,1,1,1,1,-"))  # summed by us
    assert whole.filter(pl.col("fund") == "TOTAL")["flow_usd"].to_list()[-1] == 16_500_000


def test_coinglass_counts_dollars_and_its_zero_without_funds_is_unreported() -> None:
    frame = parse("etf_btc", sample("etf_coinglass.json"))
    total = frame.filter(pl.col("fund") == "TOTAL")
    assert total["date"].to_list() == [date(2026, 9, 24), date(2026, 9, 28), date(2026, 9, 29)]
    assert total["flow_usd"].to_list() == [70_100_000, -25_200_000, None]


def test_a_holiday_that_coinglass_calls_zero_is_no_day() -> None:
    said_of = orjson.loads(sample("etf_coinglass.json"))
    holiday = {"timestamp": 1_790_294_400_000, "flow_usd": 0, "etf_flows": [{"etf_ticker": "IBIT"}]}
    said_of["data"].insert(1, holiday)
    assert parse("etf_btc", said_of).equals(parse("etf_btc", sample("etf_coinglass.json")))
    del holiday["flow_usd"]  # that nothing was told of a day is another thing
    total = parse("etf_btc", said_of).filter(pl.col("fund") == "TOTAL")
    assert total["flow_usd"].to_list() == [70_100_000, None, -25_200_000, None]


def test_a_long_table_holds_both_assets_and_is_summed() -> None:
    bitcoin, ether = (parse(name, sample("etf_long.csv")) for name in ("etf_btc", "etf_eth"))
    assert set(bitcoin["fund"]) == {"IBIT", "FBTC", "TOTAL"}
    assert bitcoin.filter(pl.col("fund") == "TOTAL")["flow_usd"].to_list() == [-5_200_000, 15_000_000]
    assert ether.filter(pl.col("fund") == "TOTAL")["flow_usd"].to_list() == [7_100_000, -1_200_000]
    rows = [
        {"date": day, "fund": fund, "flow_usd": flow}
        for day, flows in (("2026-09-28", (-10.2e6, 5e6)), ("2026-09-29", (12.5e6, 2.5e6)))
        for fund, flow in zip(("IBIT", "FBTC"), flows, strict=True)
    ]
    assert parse("etf_btc", rows).equals(bitcoin)


def test_new_funds_are_new_columns_in_any_order() -> None:
    rows = [
        row for row in csv.DictReader(io.StringIO(sample("etf_farside.csv").decode()))
        if row["Date"][:1].isdecimal()
    ]  # fmt: skip
    out = io.StringIO()
    writer = csv.DictWriter(out, ["Total", "NEW", "MSBT", "BTC", "Date", "GBTC", "FBTC", "IBIT"], restval="-")
    writer.writeheader()
    writer.writerows(rows)
    changed = parse("etf_btc", out.getvalue()).filter(pl.col("fund") != "NEW")
    assert changed.equals(parse("etf_btc", sample("etf_farside.csv")))


def test_weekends_of_zeros_are_no_days() -> None:
    zeros = "26 Sep 2026,0.0,0.0,0.0,0.0,0.0,0.0\nTotal"
    body = sample("etf_farside.csv").decode().replace("Total,102.3", zeros + ",102.3")
    assert parse("etf_btc", body).equals(parse("etf_btc", sample("etf_farside.csv")))


def test_coinglass_days_that_contradict_their_funds_have_no_total_while_they_are_few() -> None:
    first = 1_780_272_000_000  # 2026-06-01
    flow = {"etf_ticker": "IBIT", "flow_usd": 2e6}
    days: list[dict[str, Any]] = [
        {"timestamp": first + n * DAY, "flow_usd": 2e6, "etf_flows": [flow]} for n in range(120)
    ]
    days[30]["flow_usd"] = 9e6
    frame = parse("etf_btc", {"code": "0", "data": days})
    total = frame.filter(pl.col("fund") == "TOTAL")
    assert total["flow_usd"].null_count() == 1
    for day in days[:60]:
        day["flow_usd"] = 9e6
    assert "differs from the sum of its funds" in said("etf_btc", {"code": "0", "data": days})


def test_a_long_table_in_millions_is_named() -> None:
    body = "date,fund,flow_usd\n2026-09-28,IBIT,-10.2\n2026-09-29,IBIT,886.5\n"
    assert said("etf_btc", body) == "unit: the largest flow is 886.5 USD: millions where dollars belong?"
    assert said("etf_btc", body.replace("886.5", "").replace("-10.2", "-")) == "no rows with a value"


def test_implied_volatility_is_a_fraction() -> None:
    assert parse("gvz", sample("gvz_cboe.csv")).rows() == [
        (date(2026, 9, 25), pytest.approx(0.2015)), (date(2026, 9, 28), pytest.approx(0.214)),
        (date(2026, 9, 29), pytest.approx(0.21)),
    ]  # fmt: skip
    fred = parse("gvz_fred", sample("gvz_fred.csv"))
    assert fred["date"].to_list() == [date(2026, 9, 24), date(2026, 9, 25)]
    older = sample("gvz_fred.csv").replace(b"observation_date", b"DATE")
    assert parse("gvz_fred", older).equals(fred)


# Real series beside the repository, written in the sources' forms.

HISTORY = Path(__file__).parents[1].parent / "shared" / "history"


def evening(day: object) -> int:
    assert isinstance(day, date)
    return int(datetime(day.year, day.month, day.day, 23, tzinfo=UTC).timestamp() * 1000)


if HISTORY.is_dir():

    @pytest.mark.parametrize(
        ("asset", "name", "millions"), [("BTC", "etf_btc", -2040.6), ("ETH", "etf_eth", -837.4)]
    )
    def test_real_flows_in_coinglasss_form(asset: str, name: str, millions: float) -> None:
        # Methodology section 5: flows of 29 October to 5 November 2025.
        table = pl.read_parquet(HISTORY / "etf_flows_coinglass_daily.parquet")
        days = [
            {
                "timestamp": evening(day) - 23 * HOUR,
                "flow_usd": next(flow for fund, flow in rows if fund == "TOTAL"),
                "etf_flows": [
                    {"etf_ticker": fund, "flow_usd": flow} for fund, flow in rows if fund != "TOTAL"
                ],
            }
            for (day,), group in table.filter(pl.col("asset") == asset).group_by("date", maintain_order=True)
            if (rows := group.select("fund", "flow_usd").rows())
        ]
        now = evening(table["date"].max())
        frame = parse(name, {"code": "0", "data": days}, now)
        sound(name, frame, now)
        total = frame.filter(pl.col("fund") == "TOTAL")
        window = total.filter(pl.col("date").is_between(date(2025, 10, 29), date(2025, 11, 5)))
        assert window["flow_usd"].null_count() == 0
        assert float(window["flow_usd"].sum()) / 1e6 == pytest.approx(millions, abs=0.05)
        assert total.row(-1, named=True)["flow_usd"] is None  # 14 November was not yet reported
        assert as_of(SOURCES[name], frame, now) == evening(date(2025, 11, 13)) - 23 * HOUR

    def test_real_flows_in_farsides_form() -> None:
        table = pl.read_parquet(HISTORY / "etf_flows_btc_farside_daily.parquet")

        def cell(value: float) -> str:
            return f"({-value:.1f})" if value < 0 else f"{value:.1f}"

        wide = table.rename({"BTC_mini": "BTC", "total": "Total"}).select(
            pl.col("date").dt.strftime("%d %b %Y").alias("Date"),
            pl.exclude("date").map_elements(cell, return_dtype=pl.String),
        )
        now = evening(table["date"].max())
        frame = parse("etf_btc", wide.write_csv(), now)
        sound("etf_btc", frame, now)
        total = float(frame.filter(pl.col("fund") == "TOTAL")["flow_usd"].sum())
        assert total / 1e6 == pytest.approx(float(table["total"].sum()), abs=0.5)

    def test_a_real_volatility_index_and_real_gold() -> None:
        index = pl.read_parquet(HISTORY / "gvz_daily.parquet")
        now = evening(index["date"].max())
        fred = parse("gvz_fred", index.rename({"date": "observation_date", "gvz": "GVZCLS"}).write_csv(), now)
        assert fred["value"].to_list() == pytest.approx((index["gvz"] / 100).to_list(), rel=1e-12)
        cboe = index.select(pl.col("date").dt.strftime("%m/%d/%Y").alias("DATE"), GVZ="gvz")
        assert parse("gvz", cboe.write_csv(), now).equals(fred)
        prices = pl.read_parquet(HISTORY / "gold_xauusd_daily.parquet")
        own = parse(
            "gold_own", prices.select("date", price_usd_oz="close").write_csv(), evening(prices["date"].max())
        )
        weekdays = prices.filter(pl.col("date").dt.weekday() <= 5)
        assert own["price_usd_oz"].to_list() == weekdays["close"].to_list()


# What may stand there instead.

PAGE = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>"
DENIED = b'{"error":true,"message":"Forbidden","status":"0","result":"","code":"403","msg":"Forbidden"}'


@pytest.mark.parametrize("name", SOURCES)
def test_a_page_for_people_is_named(name: str) -> None:
    assert said(name, PAGE).startswith("HTML instead of ")
    assert said(name, b"  \n" + PAGE).startswith("HTML instead of ")
    assert said(name, b"") == said(name, b" \n ") == "empty answer"
    assert "no text" in said(name, b"\x1f\x8b\x08\x00\xff\xfe")


@pytest.mark.parametrize("name", SOURCES)
def test_a_refusal_in_place_of_the_data_is_rubbish(name: str) -> None:
    assert said(name, DENIED)
    assert said(name, b"null")
    assert said(name, b"[" * 5000)


EMPTY = {
    "lbma_pm": b"[]", "lbma_am": b"[]", "swissquote": b"[]", "cftc": b"[]",
    "yahoo_gc": b'{"chart":{"result":[{"meta":{"currency":"USD","symbol":"GC=F"},"timestamp":[],'
                b'"indicators":{"quote":[{"close":[]}]}}],"error":null}}',
    "gold_own": b"time,price_usd_oz\n", "ultrasound": b'{"d1":[]}',
    "cme": b"date,asset,symbol,open_interest,settle\n",
    "etf_btc": b"Date,IBIT,Total\n", "etf_eth": b'{"code":"0","data":[]}', "gvz": b"DATE,GVZ\n",
    "etf_assets": b"date,asset,assets_usd\n",
    "okx_xau": b'{"code":"0","msg":"","data":[]}', "okx_xaut": b'{"code":"0","msg":"","data":[]}',
    "gvz_fred": b"observation_date,GVZCLS\n2026-09-28,.\n", "gold_tonnes": b'version="1"\nstock=[]\n',
}  # fmt: skip


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_table_is_named(name: str) -> None:
    assert said(name, EMPTY[name]).startswith(("no rows", "gold tonnes: no [[stock]]"))


@pytest.mark.parametrize(
    ("name", "old", "new", "text"),
    [
        # A shifted unit.
        ("gold_api", "4152.40", "1234567", "unit: 1,234,567 USD/oz is outside 10…100,000"),
        ("gold_api", "4152.40", "133.5", "unit: 133.5 USD/oz is outside 500…100,000"),
        ("gold_api", "4152.40", "-4152.40", "unit: -4,152.4 USD/oz is outside"),
        ("gold_api", '"XAU"', '"XAG"', "the price of XAG in USD instead of XAU in USD"),
        ("gold_api", '"Gold"', '"Gold","currency":"EUR"', "in EUR instead of XAU in USD"),
        ("lbma_pm", "4160", "133800", "unit: 133,800 USD/oz"),
        ("lbma_pm", "4160", "1338", "price_usd_oz jumps by more than 1.5 times to 1,338 at 2026-09-29"),
        ("swissquote", "4153.5", "4452.5", "are no market"),
        ("swissquote", "4153.5", "4152.4", "are no market"),
        ("yahoo_gc", '"GC=F"', '"SI=F"', "the price of SI=F in USD instead of GC=F"),
        ("yahoo_gc", "null,4180.0,4186.6]", "null,4180.0]", "4 times and 3 closes"),
        ("binance_xau", '"4153.10000000"', '"133.52000000"', "unit: 133.52 USD/oz is outside 500…100,000"),
        ("binance_xau", '"4153.10000000"', '"4153100.0"', "unit: 4,153,100 USD/oz is outside 500…100,000"),
        ("binance_xau", '"4153.10000000"', '"-1.00000000"', "unit: -1 USD/oz is outside"),
        ("binance_xau", '"4153.10000000"', '"NaN"', "mark price: not a number: 'NaN'"),
        ("binance_xau", '"4153.10000000"', "4153.1", "another form of JSON: Expected `str`"),
        ("binance_xau", '"markPrice"', '"mark"', "missing required field `markPrice`"),
        ("binance_xau", '"XAUUSDT"', '"XAGUSDT"', "the price of XAGUSDT instead of XAUUSDT"),
        ("binance_paxg", '"PAXGUSDT"', '"XAUTUSDT"', "the price of XAUTUSDT instead of PAXGUSDT"),
        ("okx_xau", '"4153.2"', '"4.1532"', "unit: 4.1532 USD/oz is outside 500…100,000"),
        ("okx_xau", '"4153.2"', '""', "mark price: not a number: ''"),
        ("okx_xau", "XAU-USDT-SWAP", "XAG-USDT-SWAP", "the price of XAG-USDT-SWAP instead of XAU-USDT-SWAP"),
        ("okx_xaut", '"code":"0","msg":""', '"code":"51001","msg":"Instrument ID does not exist"',
         "refused: 51001 Instrument ID does not exist"),
        ("okx_xaut", '"1790755150506"', '"yesterday"', "another form of JSON"),
        ("gold_own", "4100.50,London", "4100;50,London", "price_usd_oz: not a number: '4100;50'"),
        ("gold_own", '"4,150.25"', '"4150,25"', "price_usd_oz: not a number: '4150,25'"),
        ("mempool", "969300", "96930", "height 96,930 is outside"),
        ("mempool", "969300", "-1", "not a height: '-1'"),
        ("ultrasound", "121000010.5", "121.0", "unit: 121 ETH is outside 100,000,000…160,000,000"),
        ("etherscan", "122373866217800000000000000", "122373866217800000", "ETH is outside"),
        ("etherscan", '"status":"1"', '"status":"0"', "refused: OK"),
        ("cftc", '"25000"', '"250000000"', "unit: 250,000,000 contracts is outside 0…10,000,000"),
        ("cftc", '"25000"', '"-5"', "unit: -5 contracts is outside"),
        ("cftc", '"25000"', '"a lot"', "another form of JSON"),
        ("cftc", '"1700"', '"26000"', "more spreads than open interest in 133741 on 2026-09-22"),
        ("cftc", '"146021"', '"146020"', "no rows of contract 146021"),
        ("cftc", "lev_money_positions_spread", "lev_money_positions_spreading",
         "column 'lev_money_positions_spread' is missing"),
        ("cme", '"25,150"', "2515000000", "unit: 2,515,000,000 contracts"),
        ("cme", "85010", "-85010", "unit: -85,010 USD"),
        ("cme", "BTC,MBT", "ETH,MBT", "symbol 'MBT' of asset 'ETH'"),
        ("etf_btc", "100.0,20.5,(50.4)", "100000000.0,20500000,(50400000)", "USD a day is outside"),
        ("etf_btc", "70.1\n25", "75.1\n25", "2026-09-24: the total 75.1 m$ differs from the sum of"),
        ("etf_btc", "MSBT", "MSBT2", "unknown column 'MSBT2'"),
        ("etf_btc", "FBTC", "IBIT", "column 'IBIT' is there twice"),
        ("etf_btc", "(50.4)", "(-50.4)", "flow: not a number"),
        ("etf_btc", "24 Sep", "32 Sep", "not a date: '32 Sep 2026'"),
        ("etf_btc", "25 Sep", "24 Sep", "two rows for 2026-09-24"),
        ("gvz", "21.400000", "0.214", "unit: 0.214 % a year is outside 4…150"),
        ("gvz", "21.400000", "2140", "unit: 2,140 % a year is outside 4…150"),
        ("gvz", "09/28/2026", "2026-09-28", "not a date: '2026-09-28'"),
        ("gvz", "DATE,GVZ", "DATE,VIX", "column 'GVZ' is missing"),
        ("gvz", "21.400000", "21.4,9", "row 3 has 3 cells, the header has 2"),
        ("gold_tonnes", "50978", "-50978", "negative tonnes: -50,978 at 2025-12-31"),
        ("gold_tonnes", "50978", "50.978", "stock of 2025-12-31: 50.978 after 48634"),
        ("gold_tonnes", "-50.5", "-50500", "unit: -50,500 tonnes is outside"),
        # A date in the future.
        ("gold_api", "2026-09-30T07:58", "2031-01-01T07:58", "is in the future"),
        ("lbma_pm", "2026-09-29", "2031-01-01", "date 2031-01-01 is in the future"),
        ("swissquote", "1790755150000", "1990755150000", "is in the future"),
        ("yahoo_gc", "1790755000]", "1990755000]", "is in the future"),
        ("binance_xau", "1790755140000", "1990755140000", "time 1990755140000 is in the future"),
        ("okx_xau", "1790755150506", "999999999999999", "time 999999999999999 is in the future"),
        ("okx_xaut", "1790755150506", "1790655150506", "an old table: newest 2026-09-29, may be 1 days old"),
        ("gold_own", "2026-09-28", "2031-01-01", "date 2031-01-01 is in the future"),
        ("ultrasound", "2026-09-30T07:00", "2031-01-01T07:00", "date 2031-01-01 is in the future"),
        ("cftc", "2026-09-22", "2031-01-07", "date 2031-01-07 is in the future"),
        ("cme", "2026-09-29", "2031-01-02", "date 2031-01-02 is in the future"),
        ("etf_btc", "29 Sep 2026", "01 Jan 2031", "date 2031-01-01 is in the future"),
        ("gvz", "09/29/2026", "01/02/2031", "date 2031-01-02 is in the future"),
        ("gvz_fred", "2026-09-25", "2031-01-02", "date 2031-01-02 is in the future"),
        ("gold_tonnes", "2025-12-31\ntonnes = 50978\npublished = 2026-01-31",
         "2031-12-31\ntonnes = 50978\npublished = 2032-01-31", "date 2031-12-31 is in the future"),
        ("lbma_pm", "1968-04-01", "0000-01-03", "not a date: '0000-01-03'"),
        ("cme", "2026-09-28,BTC,MBT", "-026-09-28,BTC,MBT", "not a date: '-026-09-28'"),
        ("lbma_pm", "1968-04-01", "1868-04-02", "is too early"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(name: str, old: str, new: str, text: str) -> None:
    body = sample(FILES[name][0]).decode()
    assert old in body
    assert text in said(name, body.replace(old, new))


@pytest.mark.parametrize(
    "name", [name for name, source in SOURCES.items() if source.kind != "height" and name != "etherscan"]
)
def test_last_years_table_is_named(name: str) -> None:
    body = sample(FILES[name][0])
    assert said(name, body, now=NOW + 366 * DAY).startswith("an old table: newest 202")


def test_a_new_column_changes_nothing_where_columns_have_names() -> None:
    for name in ("gvz", "gvz_fred", "cme"):
        lines = sample(FILES[name][0]).decode().splitlines()
        wider = "\n".join([f"NEW,{lines[0]}", *(f"9,{line}" for line in lines[1:])])
        assert parse(name, wider).equals(parse(name, sample(FILES[name][0])))
    premium, marks = (orjson.loads(sample(f"{name}.json")) for name in ("binance_xau", "okx_xaut"))
    assert parse("binance_xau", premium | {"new": 1}).equals(parse("binance_xau", premium))
    rows = [row | {"new": None} for row in marks["data"]]
    assert parse("okx_xaut", marks | {"data": rows, "new": []}).equals(parse("okx_xaut", marks))
    spelt = sample("cftc.json").replace(b"lev_money_positions_spread", b"lev_money_positions_spread_all")
    rows = [row | {"new": "1"} for row in orjson.loads(spelt)]
    assert parse("cftc", rows).equals(parse("cftc", sample("cftc.json")))


def test_a_byte_order_mark_and_windows_line_ends_are_text() -> None:
    body = b"\xef\xbb\xbf" + sample("gvz_cboe.csv").replace(b"\n", b"\r\n")
    assert parse("gvz", body).equals(parse("gvz", sample("gvz_cboe.csv")))


# The page.

PAGE_OF_SOURCES = Path(__file__).parents[1] / "docs" / "SOURCES.md"
EXAMPLES = re.findall(r"^```\w+ (\w+)\n(.*?)^```", PAGE_OF_SOURCES.read_text(), re.MULTILINE | re.DOTALL)


def test_the_page_names_every_source_and_where_it_is_asked() -> None:
    text = PAGE_OF_SOURCES.read_text()
    for source in SOURCES.values():
        assert f"`{source.name}`" in text
        assert source.url is None or f"`{source.url.partition('?')[0]}`" in text
    assert len(EXAMPLES) >= 9


@pytest.mark.parametrize(("name", "text"), EXAMPLES)
def test_the_examples_of_the_page_are_read(name: str, text: str) -> None:
    sound(name, parse(name, text))


# Continuity.


@pytest.mark.parametrize(
    ("name", "old", "new", "text"),
    [
        ("gold_api", "4152.40", "2000.0", "price_usd_oz jumps from 4,152.4 to 2,000, by more than 1.25"),
        ("binance_xau", "4153.10000000", "5253.10000000", "proxy_usd_oz jumps from 4,153.1 to 5,253.1"),
        ("okx_xaut", "4155.6", "4055.6", None),
        ("okx_xaut", "1790755150506", "1790755050506", "goes back"),
        ("mempool", "969300", "955600", None),
        ("ultrasound", "121000010.5", "125000010.5", "supply_coins jumps"),
        ("cftc", '"25000"', '"125000"', "133741 open_interest jumps from 25,000 to 125,000"),
        ("cme", "40500", "2025000", "ETH open_interest jumps"),
        ("cme", "85010", "850.10", "BTC settle jumps"),
        ("gvz", "21.000000", "21.5", None),
        ("lbma_pm", '{"is_cms_locked":0,"d":"2026-09-29","v":[4160,3060,3560]}',
         '{"is_cms_locked":0,"d":"2026-09-01","v":[4160,3060,3560]}', "goes back: newest 2026-09-28"),
        ("gold_tonnes", "50978", "58000", None),
    ],
)  # fmt: skip
def test_a_value_that_contradicts_the_last_good_one_is_refused(
    name: str, old: str, new: str, text: str | None
) -> None:
    source, body = SOURCES[name], sample(FILES[name][0]).decode()
    before, after = parse(name, body), parse(name, body.replace(old, new))
    assert source.continuous is not None
    source.continuous(before, before)
    if text is None:
        source.continuous(before, after)
    else:
        with pytest.raises(Rubbish, match=text):
            source.continuous(before, after)


def test_flows_are_compared_on_the_days_that_both_tables_have() -> None:
    before = parse("etf_btc", sample("etf_farside.csv"))
    check = SOURCES["etf_btc"].continuous
    assert check is not None
    check(before, before)
    revised = before.with_columns(
        flow_usd=pl.when(pl.col("fund") == "FBTC").then(pl.col("flow_usd") * 1.5).otherwise("flow_usd")
    )
    check(before, revised)
    with pytest.raises(Rubbish, match="flow_usd of the same days jumps by more than 3 times"):
        check(before, before.with_columns(pl.col("flow_usd") / 1000))


def test_every_source_is_compared_with_its_past_and_forgets_it() -> None:
    for source in SOURCES.values():
        assert source.continuous is not None
        assert 0 < source.forget <= 400 * DAY
        assert source.every_s >= 300
        assert source.max_age >= source.every_s * 1000


# Anything.


def attempt(name: str, body: bytes) -> None:
    source, reason = SOURCES[name], None
    try:
        frame = source.parse(body, NOW)
        sound(name, frame)
        assert source.continuous is not None
        source.continuous(source.parse(sample(FILES[name][0]), NOW), frame)
    except Rubbish as error:
        reason = str(error)
    if reason is not None:
        assert 0 < len(reason) <= 200
        assert "\n" not in reason


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(sorted(SOURCES)), st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_no_bytes_raise_anything_else(name: str, body: bytes) -> None:
    attempt(name, body)


@given(st.sampled_from(sorted(SOURCES)), json_values)
@settings(max_examples=200, deadline=None)
def test_no_json_raises_anything_else(name: str, value: object) -> None:
    attempt(name, orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS) if _dumps(value) else b"[")


def _dumps(value: object) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:  # integers beyond 64 bits, lone surrogates
        return False
    return True


PIECES = st.sampled_from(
    ["", "-", "0", "1e400", "nan", "NaN", "inf", "99999999999999999999", "null", '""', "9999-99-99",
     "0000-00-00", "2026-02-30", ",", "\n", '"', "\\ud800",
     "\u0660", "(", "(1)", ".", "-0", "2262-04-12", "+12026-01-01"]
)  # fmt: skip


@given(st.sampled_from(CASES), st.data())
@settings(max_examples=600, deadline=None)
def test_no_damage_to_a_sample_raises_anything_else(case: tuple[str, str], data: st.DataObject) -> None:
    name, file = case
    text = sample(file).decode()
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 12))
        text = text[:begin] + data.draw(PIECES | st.text(max_size=6)) + text[begin + length :]
    attempt(name, text.encode(errors="replace"))


@given(st.sampled_from(CASES), st.data())
@settings(max_examples=200, deadline=None)
def test_a_sample_that_was_cut_off_is_rubbish_or_sound(case: tuple[str, str], data: st.DataObject) -> None:
    name, file = case
    body = sample(file)
    attempt(name, body[: data.draw(st.integers(0, len(body)))])


@given(st.sampled_from(CASES), st.data())
@settings(max_examples=200, deadline=None)
def test_any_number_in_any_place_is_rubbish_or_in_bounds(case: tuple[str, str], data: st.DataObject) -> None:
    name, file = case
    cells = sample(file).decode().replace(":", ",").split(",")
    place = data.draw(st.integers(0, len(cells) - 1))
    number = data.draw(st.floats(allow_nan=False, allow_infinity=False).map(repr) | st.integers().map(str))
    text = sample(file).decode()
    old = cells[place].strip(" []{}\n")
    if old:
        attempt(name, text.replace(old, number, 1).encode())
