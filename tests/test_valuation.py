"""Gold, supply and fair value: the golden numbers, and the two commands."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from monitor.app import gold_table
from monitor.commands.replication import GAP, UPLIFT, solve
from monitor.commands.valuation import Problem, read_prices
from monitor.macro.valuation import (
    OUNCES_PER_TONNE,
    Given,
    Known,
    Stored,
    TableError,
    Unknown,
    bitcoin_height,
    bitcoin_issued,
    bitcoin_supply,
    complete,
    ether_supply,
    fair_value,
    gold_investment,
    gold_tonnes,
    read_gold_table,
    rounding_interval,
)
from monitor.weigh import trading_days

HISTORY = Path(__file__).parents[1].parent / "shared" / "history"
TABLE = gold_table()
MONITOR = [sys.executable, "-m", "monitor"]

# Methodology §10.
FAIR_VALUES = [
    ("A6", 3.3e12, 0.05e12, 3.7, 0.05, 19_653_800, 45_380, 45_000, (44_097, 46_699)),
    ("A10", 5.0e12, 0.05e12, 2.0, 0.05, 19_912_000, 125_552, 126_000, (121_265, 130_059)),
    ("A11", 6.0e12, 0.5e12, 1.85, 0.005, 19_927_800, 162_750, 165_000, (148_785, 176_790)),
    ("A12", 6.2e12, 0.05e12, 1.8, 0.05, 19_943_100, 172_713, 170_000, (166_690, 179_081)),
    ("A13", 8.0e12, 0.05e12, 1.5, 0.05, 19_984_700, 266_871, 266_000, (256_649, 277_799)),
    ("A1", 2.7e12, 0.05e12, 1.0, 0.0, 18_591_900, 145_225, 146_000, (142_535, 147_914)),
]
GOLD_INVESTMENTS = [(48_634, 3940.454, 6.161e12), (50_978, 4942.2, 8.100e12), (47_454, 2164.658, 3.303e12)]
SUPPLIES = {630_000: 18_375_000, 840_000: 19_687_500, 900_000: 19_875_000}

# Venues §18.1: issued up to and including the block of a height, which is one block more.
HEIGHTS = {839_999: 19_687_500.0, 840_000: 19_687_503.125, 939_999: 20_000_000.0, 960_000: 20_062_503.125,
           1_049_999: 20_343_750.0}  # fmt: skip


@pytest.mark.parametrize("row", FAIR_VALUES, ids=[row[0] for row in FAIR_VALUES])
def test_golden_fair_value_and_what_rounding_allows(
    row: tuple[str, float, float, float, float, float, float, float, tuple[float, float]],
) -> None:
    _, gold, gold_half, ratio, ratio_half, supply, expected, printed, interval = row
    assert fair_value(gold, ratio, supply).mid_usd == pytest.approx(expected, abs=1)
    low, high = rounding_interval(gold, gold_half, ratio, ratio_half, supply)
    assert (low, high) == pytest.approx(interval, abs=2)
    assert low <= printed <= high


def test_golden_gold_investment() -> None:
    assert pytest.approx(32150.746568627983, rel=1e-14) == OUNCES_PER_TONNE
    for tonnes, ounce, dollars in GOLD_INVESTMENTS:
        assert gold_investment(tonnes, ounce) == pytest.approx(dollars, rel=2e-4)


def test_golden_solution_of_the_note_of_november() -> None:
    spot, value = solve(UPLIFT, GAP)
    assert (spot, value) == pytest.approx((101_492.54, 169_492.54), abs=0.005)


@pytest.mark.parametrize(("blocks", "coins"), SUPPLIES.items())
def test_golden_supply_of_so_many_blocks(blocks: int, coins: int) -> None:
    assert bitcoin_issued(blocks) == coins


@pytest.mark.parametrize(("height", "coins"), HEIGHTS.items())
def test_golden_supply_at_a_height(height: int, coins: float) -> None:
    assert bitcoin_issued(height + 1) == coins


def test_the_supply_ends_where_the_subsidy_does() -> None:
    assert bitcoin_issued(10**8) == 20_999_999.9769
    assert bitcoin_issued(0) == 0


@given(st.integers(0, 7_000_000))
def test_each_block_pays_the_subsidy_of_its_era(height: int) -> None:
    paid = bitcoin_issued(height + 1) - bitcoin_issued(height)
    assert paid == pytest.approx((5_000_000_000 >> (height // 210_000)) / 1e8, abs=1e-8)


@pytest.mark.parametrize(
    ("on", "millions"),
    [((2021, 1, 4), 18.5919), ((2021, 4, 1), 18.6712), ((2022, 2, 8), 18.9565), ((2024, 3, 14), 19.6538),
     ((2024, 7, 18), 19.7280), ((2024, 12, 31), 19.8035), ((2025, 4, 3), 19.8459), ((2025, 8, 28), 19.9120),
     ((2025, 10, 1), 19.9278), ((2025, 11, 4), 19.9431), ((2026, 2, 4), 19.9847)],
)  # fmt: skip
def test_supply_is_estimated_offline_as_the_study_did(on: tuple[int, int, int], millions: float) -> None:
    """The column of supplies of methodology §1.2."""
    known = bitcoin_supply(date(*on))
    assert known is not None
    assert known.value / 1e6 == pytest.approx(millions, abs=0.0006)
    assert known.error == 0.001


def test_supply_after_the_last_known_day_says_how_sure_it_is() -> None:
    soon, later = bitcoin_supply(date(2026, 3, 11)), bitcoin_supply(date(2027, 3, 10))
    assert soon is not None
    assert later is not None
    assert soon.error is not None
    assert later.error is not None
    assert 0.001 < soon.error < later.error < 0.002
    assert bitcoin_height(date(2026, 3, 20)) == 940_000 + 10 * 144
    assert bitcoin_supply(date(2009, 1, 2)) is None
    before = bitcoin_supply(date(2016, 7, 9))
    assert before is not None
    assert (before.value, before.error) == (15_750_000, 0.01)


def test_ether_has_a_supply_since_2020_and_none_before() -> None:
    now, later = ether_supply(date(2025, 11, 5)), ether_supply(date(2027, 11, 5))
    assert now == Known(120.7e6, "about 120.7 M in late 2025 (methodology §1.5)", date(2025, 11, 5), 0.01)
    assert later is not None
    assert later.error == pytest.approx(0.03)
    assert ether_supply(date(2019, 12, 31)) is None
    mined = ether_supply(date(2021, 7, 2))
    assert mined is not None
    assert mined.value == pytest.approx(116.55e6, rel=0.001)
    assert mined.error == 0.02


# Gold.


@pytest.mark.parametrize(
    ("on", "tonnes"),
    [((2024, 3, 14), 47_454), ((2024, 12, 31), 47_454), ((2025, 8, 27), 48_634), ((2025, 11, 4), 48_634),
     ((2026, 2, 4), 50_978), ((2021, 4, 1), 44_385)],
)  # fmt: skip
def test_tonnes_are_the_last_that_were_published(on: tuple[int, int, int], tonnes: float) -> None:
    """Methodology §1.3, table B; the end of a year is known at the end of the next January."""
    found = gold_tonnes(TABLE, date(*on))
    assert found is not None
    assert found.tonnes == tonnes
    assert (found.low, found.high) == pytest.approx((tonnes * 0.98, tonnes * 1.02))
    assert not found.stale


def test_before_the_first_table_nothing_is_known() -> None:
    assert gold_tonnes(TABLE, date(2020, 1, 30)) is None


@pytest.mark.parametrize(("on", "stale"), [((2027, 2, 4), False), ((2027, 2, 5), True)])
def test_a_stock_of_more_than_400_days_ago_is_stale(on: tuple[int, int, int], *, stale: bool) -> None:
    found = gold_tonnes(TABLE, date(*on))
    assert found is not None
    assert found.stale is stale


STOCK = '[[stock]]\nas_of = 2024-12-31\ntonnes = 48634\npublished = 2025-01-31\nsource = "a"\n'
FLOW = (
    '[[flow]]\nbegin = 2025-01-01\nend = 2025-03-31\ntonnes = 551.5\npublished = 2025-04-30\nsource = "b"\n'
)


def test_live_adds_the_flows_published_since() -> None:
    table = read_gold_table(f'version = "1"\n{STOCK}{FLOW}')
    before, after = (gold_tonnes(table, day, "live") for day in (date(2025, 4, 29), date(2025, 4, 30)))
    assert before is not None
    assert after is not None
    assert (before.tonnes, before.as_of) == (48_634, date(2024, 12, 31))
    assert (after.tonnes, after.as_of) == (49_185.5, date(2025, 3, 31))
    assert after.low == pytest.approx(48_634 * 0.98)
    assert after.high == pytest.approx(49_185.5 * 1.02)
    jpm = gold_tonnes(table, date(2025, 4, 30))
    assert jpm is not None
    assert (jpm.tonnes, jpm.high) == (48_634, after.high)


def test_flows_of_a_year_end_with_its_stock() -> None:
    """48,634 + 2,175 is not 50,978: the stock is revised, and replaces what was added up (§1.3)."""
    found = gold_tonnes(TABLE, date(2026, 2, 4), "live")
    assert found is not None
    assert found.tonnes == 50_978


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<html>", "gold tonnes"),
        ('version = "1"\nstock = []', "no \\[\\[stock"),
        (f'version = "1"\n{STOCK}'.replace("48634", "-48634"), "tonnes"),
        (f'version = "1"\n{STOCK}'.replace("tonnes = 48634\n", ""), "tonnes"),
        (f'version = "1"\n{STOCK}jewellery = 1\n', "jewellery"),
        (f'version = "1"\n{STOCK}{STOCK}', "not after 2024-12-31"),
        (f'version = "1"\n{STOCK}' + STOCK.replace("2024", "2025").replace("2025-01", "2026-01")
         .replace("48634", "50978000"), "after 48634"),
        (f'version = "1"\n{STOCK}'.replace("2025-01-31", "2024-01-31"), "before its day"),
        (f'version = "1"\n{STOCK}{FLOW}'.replace("2025-04-30", "2025-02-28"), "do not ascend"),
    ],
)  # fmt: skip
def test_a_wrong_table_is_named_in_one_line(text: str, says: str) -> None:
    with pytest.raises(TableError, match=says) as told:
        read_gold_table(text)
    assert "\n" not in str(told.value)


# Fair value.


def test_gap_and_break_even_agree_with_each_other() -> None:
    value = fair_value(6.2e12, 1.8, 19_943_100, 101_492.54)
    assert value.gap_usd == pytest.approx(172_713.59 - 101_492.54, abs=0.01)
    assert value.gap_ratio == pytest.approx(0.7017, abs=1e-4)
    assert value.break_even_ratio is not None
    assert fair_value(6.2e12, value.break_even_ratio, 19_943_100).mid_usd == pytest.approx(101_492.54)
    assert value.parity_usd == pytest.approx(6.2e12 / 19_943_100)
    assert value.cap_usd == pytest.approx(6.2e12 / 1.8)
    assert (value.low_usd, value.high_usd, value.gap_certain) == (None, None, None)


def test_fair_value_is_taken_over_the_draws_and_not_at_their_mean() -> None:
    """Methodology §9.15: it is convex in the ratio."""
    draws = pl.Series([random.Random(n).lognormvariate(math.log(1.8), 0.15) for n in range(4000)])
    value = fair_value(6.2e12, draws, 19_943_100, 101_492.54)
    by_hand = sorted(6.2e12 / ratio / 19_943_100 for ratio in draws)
    assert value.mid_usd == pytest.approx((by_hand[1999] + by_hand[2000]) / 2)
    assert value.low_usd == pytest.approx(by_hand[200], rel=1e-3)
    assert value.high_usd == pytest.approx(by_hand[3799], rel=1e-3)
    assert value.mean_usd == pytest.approx(math.fsum(by_hand) / 4000)
    at_mean = 6.2e12 / (math.fsum(draws) / 4000) / 19_943_100
    assert value.mean_usd > at_mean * 1.01
    assert value.gap_certain is True
    assert fair_value(6.2e12, draws, 19_943_100, 160_000).gap_certain is False


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_what_is_not_positive_is_refused(wrong: float) -> None:
    for at in range(4):
        values: list[float] = [6.2e12, 1.8, 19_943_100, 101_492.54]
        values[at] = wrong
        with pytest.raises(ValueError, match="positive"):
            fair_value(*values)
    with pytest.raises(ValueError, match="positive"):
        fair_value(6.2e12, pl.Series([1.8, wrong]), 19_943_100)


NOW = date(2025, 11, 5)
STORED = Stored(
    ratio=Known(1.77, "stored"), draws=pl.Series([1.5, 1.77, 2.1]), ounce_usd=Known(3931.83, "spot", NOW),
    blocks=Known(922_001, "two nodes", NOW), spot=Known(101_500, "index"),
)  # fmt: skip


def test_what_is_given_is_taken_and_the_rest_is_stored() -> None:
    stored = complete(Given(), STORED, TABLE, NOW)
    assert stored.gold_investment_usd.value == pytest.approx(6.148e12, rel=1e-4)
    assert stored.gold_investment_usd.error == pytest.approx(0.02)
    assert stored.supply.value == bitcoin_issued(922_001)
    assert stored.fair_value().low_usd is not None
    told = complete(Given(ratio=1.8, gold_investment_usd=6.2e12, supply=19_943_100), STORED, TABLE, NOW)
    assert told.fair_value().mid_usd == pytest.approx(172_713.6, abs=0.1)
    assert told.fair_value().low_usd is None
    assert told.spot == STORED.spot


@pytest.mark.parametrize(
    ("stored", "on", "option"),
    [
        (Stored(ounce_usd=STORED.ounce_usd), NOW, "--ratio"),
        (Stored(ratio=STORED.ratio), NOW, "--gold-investment"),
        (Stored(ratio=STORED.ratio, ounce_usd=STORED.ounce_usd), date(2019, 1, 1), "--gold-investment"),
    ],
)
def test_what_cannot_be_known_names_its_option(stored: Stored, on: date, option: str) -> None:
    with pytest.raises(Unknown, match=option):
        complete(Given(), stored, TABLE, on)


def test_a_stale_table_is_said_in_the_source() -> None:
    assumed = complete(Given(), STORED, TABLE, date(2028, 1, 1))
    assert "stale" in assumed.gold_investment_usd.source


# Tables of prices.


def csv(tmp_path: Path, text: str, name: str = "t.csv") -> Path:
    file = tmp_path / name
    file.write_text(text)
    return file


def test_a_table_may_be_unsorted_have_gaps_and_name_things_otherwise(tmp_path: Path) -> None:
    rows = ["ts,asset,price_usd", "2025-01-03T00:00:00Z,BTC,3", "2025-01-01,BTC,1", "2025-01-02,BTC,"]
    text = "\n".join([*rows, "2025-01-01,ETH,9", ""])
    found = read_prices(csv(tmp_path, text), ("BTC",))
    assert found["close"].to_list() == [1.0, 3.0]
    assert found["date"].to_list() == [date(2025, 1, 1), date(2025, 1, 3)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("day,close\n2025-01-01,1\n", "no column 'date' or 'ts'"),
        ("date,open\n2025-01-01,1\n", "no column 'close' or 'price_usd'"),
        ("date,close\n2025-01-01,1\n01/02/2025,2\n", "column 'date', row 2: '01/02/2025' is no date"),
        ("date,close\n2025-01-01,1\n,2\n", "column 'date', row 2: no date"),
        ("date,close\n2025-01-01,1\n2025-01-02,-3\n", "column 'close', row 2: '-3' is no positive price"),
        ("date,close\n2025-01-01,0\n", "column 'close', row 1: '0' is no positive price"),
        ("date,close\n2025-01-01,nan\n", "column 'close', row 1: 'nan' is no positive price"),
        ("date,close\n2025-01-01,about\n", "column 'close', row 1: 'about' is no positive price"),
        (
            "date,close\n2025-01-01,1\n2025-01-02,2\n2025-01-01,3\n",
            "column 'date', row 3: 2025-01-01 is there",
        ),
        ("date,asset,close\n2025-01-01,ETH,1\n", "column 'asset': no row of BTC"),
        ("date,close\n", "column 'close': no price"),
        ("date,close\n2025-01-01,\n", "column 'close': no price"),
        ("", "neither Parquet nor CSV"),
        ("PAR1 and then nothing", "neither Parquet nor CSV"),
    ],
)
def test_a_wrong_table_is_named_with_column_and_row(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(Problem) as told:
        read_prices(csv(tmp_path, text), ("BTC",))
    assert says in str(told.value)
    assert "\n" not in str(told.value)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="No such file"):
        read_prices(tmp_path / "none.csv", ("BTC",))
    with pytest.raises(Problem, match="directory"):
        read_prices(tmp_path, ("BTC",))


def test_hours_of_gold_are_days_that_end_at_five_in_new_york(tmp_path: Path) -> None:
    """Summer and winter; the session of Sunday evening is Monday's."""
    stamps = [
        "2025-07-03T20:00",
        "2025-07-03T21:00",
        "2025-01-03T21:00",
        "2025-01-05T23:00",
        "2025-01-06T21:00",
    ]
    text = "ts,close\n" + "".join(f"{stamp}:00Z,{n + 1}\n" for n, stamp in enumerate(stamps))
    days = trading_days(read_prices(csv(tmp_path, text), ("GOLD",)))
    assert dict(days.select("date", "close").iter_rows()) == {
        date(2025, 1, 3): 3.0, date(2025, 1, 6): 5.0, date(2025, 7, 3): 1.0, date(2025, 7, 4): 2.0,
    }  # fmt: skip


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=20), st.sampled_from(["us", "ms", "ns"]))
def test_parquet_and_csv_say_the_same(values: list[float], unit: str) -> None:
    import tempfile  # noqa: PLC0415 -- hypothesis and tmp_path do not mix

    days = [datetime(2025, 1, 1) + timedelta(days=n) for n in range(len(values))]  # noqa: DTZ001 -- on purpose
    table = pl.DataFrame({"date": days, "close": values}).with_columns(
        pl.col("date").dt.cast_time_unit(unit)  # type: ignore[arg-type]
    )
    with tempfile.TemporaryDirectory() as folder:
        table.write_parquet(Path(folder) / "t.parquet")
        table.write_csv(Path(folder) / "t.csv")
        one, other = (read_prices(Path(folder) / f"t.{kind}", ("BTC",)) for kind in ("parquet", "csv"))
    assert one.equals(other)
    assert one["close"].to_list() == values


# The commands.


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MONITOR, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False,
        env=os.environ | {"COLUMNS": "200", "TERM": "dumb"},
    )  # fmt: skip


def two_tables(tmp_path: Path) -> tuple[Path, Path]:
    rng, price, gold = random.Random(7), 100.0, 50.0
    bitcoin_rows, gold_rows = ["date,close"], ["date,close"]
    for n in range(200):
        day = date(2025, 1, 1) + timedelta(days=n)
        price *= math.exp(rng.gauss(0, 0.03))
        bitcoin_rows.append(f"{day},{price}")
        if day.weekday() < 5:
            gold *= math.exp(rng.gauss(0, 0.01))
            gold_rows.append(f"{day},{gold}")
    return (
        csv(tmp_path, "\n".join(bitcoin_rows), "btc.csv"),
        csv(tmp_path, "\n".join(gold_rows), "gold.csv"),
    )


def test_volatility_ratio_prints_the_object_of_the_contract(tmp_path: Path) -> None:
    bitcoin, gold = two_tables(tmp_path)
    tables = ("volatility-ratio", "--bitcoin", bitcoin, "--gold", gold)
    done = run(
        *tables, "--on", "2025-07-01", "--on", "2025-07-19", "--window", "60", "--clock", "own", "--json"
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [list(row) for row in rows] == [["date", "window", "ratio", "low", "high", "clock"]] * 2
    assert [(row["date"], row["window"], row["clock"]) for row in rows] == [
        ("2025-07-01", 60, "own"), ("2025-07-19", 60, "own"),
    ]  # fmt: skip
    for row in rows:
        assert row["low"] < row["ratio"] < row["high"]
        assert 1.5 < row["ratio"] < 6
    plain = run(*tables)
    assert plain.returncode == 0
    assert "2025-07-19  126" in plain.stdout


def test_a_date_that_is_not_covered_is_named_and_the_others_are_printed(tmp_path: Path) -> None:
    bitcoin, gold = two_tables(tmp_path)
    done = run("volatility-ratio", "--bitcoin", bitcoin, "--gold", gold, "--json", "--window", "60",
               "--on", "2025-07-01", "--on", "2025-08-01")  # fmt: skip
    assert done.returncode == 1
    assert [row["date"] for row in json.loads(done.stdout)] == ["2025-07-01"]
    assert done.stderr.strip() == (
        "monitor: gold_stale: the newest price of gold until 2025-08-01 is of 2025-07-18"
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--clock", "utc"), "--clock: 'utc' is neither aligned nor own"),
        (("--on", "yesterday"), "--on: 'yesterday' is no date like 2025-11-04"),
        (("--window", "19"), "--window: 19 returns are too few"),
    ],
)
def test_wrong_arguments_end_with_one_line(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    bitcoin, gold = two_tables(tmp_path)
    done = run("volatility-ratio", "--bitcoin", bitcoin, "--gold", gold, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_fair_value_prints_value_and_assumptions() -> None:
    done = run("fair-value", "--ratio", "1.8", "--gold-investment", "6.2e12", "--supply", "19943100",
               "--spot", "101492.54", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["fair_value_usd"] == pytest.approx(172_713.59, abs=0.01)
    assert found["gap_usd"] == pytest.approx(71_221.05, abs=0.01)
    assert found["break_even_ratio"] == pytest.approx(3.0631, abs=1e-4)
    assert found["low_usd"] is None
    assert found["assumptions"]["ratio"]["source"] == "given"
    plain = run("fair-value", "--ratio", "1.8", "--gold-investment", "6.2e12")
    assert plain.returncode == 0
    assert "give --spot USD" in plain.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give --ratio"),
        (("--ratio", "1.8"), "give --gold-investment"),
        (("--ratio", "0"), "--ratio: 0 is no positive number"),
        (("--ratio", "1.8", "--gold-investment", "nan"), "--gold-investment: nan is no positive number"),
    ],
)
def test_fair_value_says_which_option_it_needs(arguments: tuple[str, ...], says: str) -> None:
    done = run("fair-value", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


if HISTORY.is_dir():

    def test_supply_is_within_its_error_of_what_was_counted() -> None:
        counted = pl.read_parquet(HISTORY / "marketcap_btc_coinmetrics_daily.parquet")
        for day, coins in counted["date", "supply_btc"].iter_rows():
            known = bitcoin_supply(day)
            assert known is not None
            assert known.error is not None
            assert known.value == pytest.approx(coins, rel=known.error), day

    @pytest.mark.parametrize(
        ("gold", "ratio"),
        [("gold_xauusd_daily", 1.767), ("gold_gld_daily", 1.670), ("gold_gcf_daily", 1.657),
         ("gold_xauusd_hourly", 1.767)],
    )  # fmt: skip
    def test_the_tables_of_the_history_work_as_they_are(gold: str, ratio: float) -> None:
        """Methodology §1.9, 126 td, aligned."""
        bitcoin = HISTORY / "ohlcv_binance_spot_daily.parquet"
        done = run("volatility-ratio", "--bitcoin", bitcoin, "--gold", HISTORY / f"{gold}.parquet",
                   "--on", "2025-11-04", "--json")  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)[0]["ratio"] == pytest.approx(ratio, abs=6e-4)
