"""A history table is read to the cell: a wrong one is refused by column and row, a good one gives closes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from monitor.deleveraging.aggregate import CLOSES
from monitor.table import TableError, closes, read

FIRST = date(2024, 1, 1)
DAY0 = (FIRST - date(1970, 1, 1)).days


def good(days: int = 4, **more: list[Any]) -> pl.DataFrame:
    columns: dict[str, list[Any]] = {
        "date": [FIRST + timedelta(days=day) for day in range(days)],
        "asset": ["BTC"] * days,
        "price_usd": [40_000.0 + day for day in range(days)],
        "oi_usd": [9e9 + day for day in range(days)],
    }
    return pl.DataFrame(columns | more)


def hours(*when: str, **more: list[Any]) -> pl.DataFrame:
    columns: dict[str, list[Any]] = {
        "ts": list(when), "asset": ["BTC"] * len(when), "price_usd": [100.0] * len(when),
        "oi_coin": [float(number) for number in range(1, len(when) + 1)],
    }  # fmt: skip
    return pl.DataFrame(columns | more)


def coins(frame: pl.DataFrame) -> list[tuple[int, float | None]]:
    """Day counted from the first of 2024, and coins."""
    return [(day - DAY0, value) for day, value in closes(frame).select("day", "coins").iter_rows()]


# Wrong tables, as text and as they are in a Parquet file.

WRONG: dict[str, tuple[Callable[[], pl.DataFrame], str]] = {
    "no price": (lambda: good().drop("price_usd"), "column 'price_usd' is missing"),
    "no asset": (lambda: good().drop("asset"), "column 'asset' is missing"),
    "no date": (lambda: good().drop("date"), "column 'date' (or 'ts') is missing"),
    "no open interest": (lambda: good().drop("oi_usd"), "column 'oi_usd' (or 'oi_coin') is missing"),
    "text in a number": (
        lambda: good(oi_usd=["1", "2", "about 3", "4"]), "column 'oi_usd', row 3: no number: 'about 3'",
    ),
    "thousands": (
        lambda: good(oi_usd=["1,000", "2", "3", "4"]), "column 'oi_usd', row 1: no number: '1,000'",
    ),
    "negative price": (
        lambda: good(price_usd=[1.0, -2.0, 3.0, 4.0]), "column 'price_usd', row 2: negative: -2",
    ),
    "price of zero": (
        lambda: good(price_usd=[1.0, 2.0, 3.0, 0.0]), "column 'price_usd', row 4: a price of 0",
    ),
    "negative open interest": (
        lambda: good(oi_usd=[1.0, 2.0, 3.0, -4.0]), "column 'oi_usd', row 4: negative: -4",
    ),
    "negative liquidation": (
        lambda: good(long_liquidated_usd=[1.0, None, -3.0, 4.0]),
        "column 'long_liquidated_usd', row 3: negative: -3",
    ),
    "infinite": (
        lambda: good(supply=[1.0, float("inf"), 1.0, 1.0]), "column 'supply', row 2: no finite number",
    ),
    "too large": (lambda: good(oi_usd=["1", "1e400", "3", "4"]), "column 'oi_usd', row 2: no finite number"),
    "same day twice": (
        lambda: pl.concat([good(), good().tail(1)]), "column 'date', row 5: this key (BTC) occurred before",
    ),
    "same day twice in two notations": (
        lambda: good(date=["2024-01-01", "2024-01-02", "2024-01-02T00:00:00Z", "2024-01-03"]),
        "column 'date', row 3: this key (BTC) occurred before",
    ),
    "unsorted": (
        lambda: pl.concat([good().tail(1), good(3)]),
        "column 'date', row 2: earlier than the row before it (BTC); sort the table",
    ),
    "a total beside its venues": (
        lambda: pl.concat([good(venue=["bybit"] * 4), good(venue=["all"] * 4)]),
        "column 'venue', row 5: 'all' beside single venues: two scopes are mixed",
    ),
    "rows with and without venue": (
        lambda: pl.concat([good(venue=["bybit"] * 4), good(venue=[""] * 4)]),
        "column 'venue', row 5: empty where other rows name one: two scopes are mixed",
    ),
    "a venue with and without margin": (
        lambda: pl.concat([good(venue=["bybit"] * 4, margin=[m] * 4) for m in ("linear", "")]),
        "column 'margin', row 1: other rows of this venue name none: two scopes are mixed",
    ),
    "unknown margin": (
        lambda: good(margin=["linear", "linear", "quanto", "linear"]),
        "column 'margin', row 3: 'quanto' is neither linear nor inverse",
    ),
    "no such date": (
        lambda: good(date=["2024-01-01", "2024-02-30", "2024-03-01", "2024-03-02"]),
        "column 'date', row 2: no date (UTC): '2024-02-30'",
    ),
    "another country's date": (
        lambda: good(date=["01/02/2024", "01/03/2024", "01/04/2024", "01/05/2024"]),
        "column 'date', row 1: no date (UTC): '01/02/2024'",
    ),
    "another zone": (
        lambda: good(date=["2024-01-01T00:00:00+02:00"] * 4),
        "column 'date', row 1: no date (UTC): '2024-01-01T00:00:00+02:00'",
    ),
    "empty date": (
        lambda: good(date=["2024-01-01", None, "2024-01-03", "2024-01-04"]), "column 'date', row 2: no date",
    ),
    "year of a typing error": (
        lambda: good(date=["0204-01-01", "2024-01-02", "2024-01-03", "2024-01-04"]),
        "column 'date', row 1: no date (UTC) between 2009 and 2100: 0204-01-01",
    ),
    "empty asset": (lambda: good(asset=["BTC", "", "BTC", "BTC"]), "column 'asset', row 2: empty"),
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_table_is_refused_by_column_and_row(case: str, suffix: str, tmp_path: Path) -> None:
    make, said = WRONG[case]
    path = tmp_path / f"table{suffix}"
    frame = make()
    if suffix == ".csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    with pytest.raises(TableError) as caught:
        closes(read(path), path.name)
    assert str(caught.value).startswith(f"{path.name}: {said}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("date", [1, 2, 3, 4], "column 'date', row 1: no date: 1"),
        ("asset", [1, 2, 3, 4], "column 'asset', row 1: no text: 1"),
        ("price_usd", [True, True, True, True], "column 'price_usd', row 1: no number: True"),
        ("date", [None] * 4, "column 'date', row 1: no date"),
    ],
)
def test_a_column_of_the_wrong_kind(column: str, values: list[Any], said: str) -> None:
    with pytest.raises(TableError, match=r"^table: ") as caught:
        closes(good().with_columns(pl.Series(column, values)))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("table.csv", b"", "not CSV"),
        ("table.csv", b"date,asset,price_usd,oi_usd\n", "no rows"),
        ("table.csv", b"date,asset\n2024-01-01,BTC,1,2,3\n", "not CSV"),
        ("table.csv", b"date,asset,price_usd,oi_usd\n2024-01-01,BTC\xff\xfe,1,2\n", "not CSV"),
        ("table.parquet", b"", "not Parquet"),
        ("table.parquet", b"PAR1 and then nothing that was promised PAR1", "not Parquet"),
        ("table.txt", b"date,asset,price_usd,oi_usd\n2024-01-01,BTC,1,2\n", "not Parquet"),
    ],
)
def test_what_is_no_table(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(TableError) as caught:
        read(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no such file"):
        read(tmp_path / "missing.csv")
    with pytest.raises(TableError, match="is a folder"):
        read(tmp_path)


def test_an_empty_parquet(tmp_path: Path) -> None:
    good(0).write_parquet(tmp_path / "empty.parquet")
    with pytest.raises(TableError, match="no rows"):
        read(tmp_path / "empty.parquet")


# Good tables.


def test_the_closes_have_the_columns_that_the_aggregate_wants() -> None:
    held = closes(good())
    assert dict(held.schema) == dict(CLOSES)
    assert held["day"].to_list() == [DAY0, DAY0 + 1, DAY0 + 2, DAY0 + 3]
    assert held["usd"].to_list() == [9e9, 9e9 + 1, 9e9 + 2, 9e9 + 3]
    assert held.select("coins", "margin", "supply", "funding_8h", "long_usd").null_count().row(0) == (4,) * 5


TIMES: dict[str, list[Any]] = {
    "dates": [FIRST, FIRST + timedelta(days=1)],
    "texts": ["2024-01-01", "2024-01-02"],
    "texts with Z": ["2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"],
    "texts with a space": ["2024-01-01 00:00:00", "2024-01-02 00:00:00.000"],
    "texts of polars": ["2024-01-01 00:00:00 UTC", "2024-01-02 00:00:00 UTC"],
    "texts of pandas": ["2024-01-01 00:00:00+00:00", "2024-01-02 00:00:00+00:00"],
    "texts to the minute": ["2024-01-01T00:00", "2024-01-02T00:00Z"],
    "times without zone": [datetime(2024, 1, 1), datetime(2024, 1, 2)],  # noqa: DTZ001 -- that is the case
    "times of UTC": [datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)],
    "times of another zone": [
        datetime(2024, 1, 1, 9, tzinfo=timezone(timedelta(hours=9))),
        datetime(2024, 1, 2, 9, tzinfo=timezone(timedelta(hours=9))),
    ],
}


@pytest.mark.parametrize("column", ["date", "ts"])
@pytest.mark.parametrize("case", TIMES)
def test_notations_of_a_day(case: str, column: str) -> None:
    frame = good(2, date=TIMES[case]).rename({"date": column})
    assert closes(frame)["day"].to_list() == [DAY0, DAY0 + 1]


@pytest.mark.parametrize("kind", [pl.Int64, pl.Int8, pl.Float32, pl.Decimal(12, 2), pl.String])
def test_kinds_of_numbers(kind: pl.DataType) -> None:
    frame = good(2, oi_usd=[Decimal(100), Decimal(101)]).with_columns(pl.col("oi_usd").cast(kind))
    assert closes(frame)["usd"].to_list() == [100.0, 101.0]


def test_what_is_empty_or_no_number_is_unknown(tmp_path: Path) -> None:
    frame = good(3, oi_usd=[1.0, float("nan"), None], funding_8h=[None, 1e-4, float("nan")])
    for held in (closes(frame), _by_csv(frame, tmp_path)):
        assert held["usd"].to_list() == [1.0, None, None]
        assert held["funding_8h"].to_list() == [None, 1e-4, None]


def _by_csv(frame: pl.DataFrame, folder: Path) -> pl.DataFrame:
    frame.write_csv(folder / "table.csv")
    return closes(read(folder / "table.csv"))


def test_text_and_parquet_are_the_same(tmp_path: Path) -> None:
    frame = good(4, venue=["a"] * 4, margin=["Linear", "linear", " LINEAR", "linear"], supply=[1, 2, 3, 4])
    assert _by_csv(frame, tmp_path).equals(closes(frame))


def test_negative_funding_is_good() -> None:
    assert closes(good(1, funding_8h=[-0.001]))["funding_8h"].to_list() == [-0.001]


def test_a_column_of_nothing_but_nulls_is_not_there() -> None:
    frame = good(venue=[None] * 4, margin=[None] * 4, supply=[None] * 4, oi_coin=[None] * 4)
    assert closes(frame).equals(closes(good()))


def test_venues_with_and_without_margin_may_stand_side_by_side() -> None:
    frame = pl.concat([good(venue=["a"] * 4, margin=["inverse"] * 4), good(venue=["b"] * 4, margin=[""] * 4)])
    held = closes(frame)
    assert held.select("venue", "margin").unique().sort("venue").rows() == [("a", "inverse"), ("b", None)]


def test_linear_and_inverse_of_a_venue_are_two_instruments() -> None:
    frame = pl.concat([good(venue=["a"] * 4, margin=[margin] * 4) for margin in ("linear", "inverse")])
    assert closes(frame)["symbol"].unique().sort().to_list() == ["inverse", "linear"]


# Times inside a day.

HOURS = [f"{hour:02}:00:00" for hour in range(24)]


def test_the_last_reading_of_a_day_is_its_close() -> None:
    when = [f"2024-01-0{day} {hour}" for day in (1, 2) for hour in HOURS]
    assert coins(hours(*when)) == [(0, 24.0), (1, 48.0)]


def test_a_day_that_still_runs_has_no_row() -> None:
    when = [f"2024-01-0{day} {hour}" for day in (1, 2) for hour in HOURS][:-1]
    assert coins(hours(*when)) == [(0, 24.0)]


def test_a_day_that_ended_early_has_no_close() -> None:
    """Its last readings at 20:00 end at 21:00, three hours before the close; at 19:00 they are too early."""
    first = [f"2024-01-01 {hour}" for hour in HOURS]
    second = [f"2024-01-02 {hour}" for hour in HOURS]
    third = [f"2024-01-03 {hour}" for hour in HOURS]
    assert coins(hours(*first, *second[:21], *third)) == [(0, 24.0), (1, 45.0), (2, 69.0)]
    assert coins(hours(*first, *second[:20], *third)) == [(0, 24.0), (1, None), (2, 68.0)]


def test_a_daily_reading_at_another_hour_is_a_close() -> None:
    assert coins(hours("2024-01-01 08:00", "2024-01-02 08:00", "2024-01-03 08:00")) == [
        (0, 1.0), (1, 2.0), (2, 3.0),
    ]  # fmt: skip


def test_each_instrument_has_its_own_step() -> None:
    hourly = hours(*(f"2024-01-0{day} {hour}" for day in (1, 2) for hour in HOURS), venue=["a"] * 48)
    daily = hours("2024-01-01 00:00", "2024-01-02 00:00", venue=["b"] * 2)
    held = closes(pl.concat([hourly, daily]))
    assert held.filter(pl.col("venue") == "b")["coins"].to_list() == [1.0, 2.0]
    assert held.filter(pl.col("venue") == "a")["coins"].to_list() == [24.0, 48.0]


def test_flows_of_a_day_are_summed_and_funding_is_averaged() -> None:
    when = [f"2024-01-01 {hour}" for hour in HOURS]
    flow = [None] * 22 + [3.0, 4.0]
    frame = hours(*when, long_liquidated_usd=flow, short_liquidated_usd=[None] * 24,
                  funding_8h=[1e-4] * 12 + [3e-4] * 12)  # fmt: skip
    held = closes(frame).row(0, named=True)
    assert held["long_usd"] == 7.0
    assert held["short_usd"] is None
    assert held["funding_8h"] == pytest.approx(2e-4, rel=1e-12)
