"""`monitor phases`: what it prints and writes, for tables as they come and for those that are wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from synthetic import FIRST, history

from monitor.commands.phases import Problem, runs, show, today, with_supply
from monitor.deleveraging.phases import PHASES, TABLE, VERDICTS
from monitor.macro.valuation import bitcoin_supply, ether_supply
from monitor.table import TableError, closes

MADE = history(700)
TOTAL = (
    MADE.table.group_by("date", "asset", maintain_order=True)
    .agg(pl.col("price_usd", "supply", "funding_8h").first(), pl.col("oi_usd", "oi_coin").sum())
    .sort("asset", "date")
)
"""Both assets without venues."""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "monitor", "phases", *map(str, arguments)], capture_output=True, text=True,
        timeout=100, check=False, env=os.environ | {"TERM": "dumb", "COLUMNS": "80"},
    )  # fmt: skip


def written(frame: pl.DataFrame, folder: Path, name: str = "table.parquet") -> Path:
    path = folder / name
    if path.suffix == ".csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    return path


def rows(capsys: pytest.CaptureFixture[str], path: Path, **more: Any) -> list[dict[str, Any]]:
    """The objects of `--json`."""
    show(path, **{"asset": None, "out": None, "plot": None, "as_json": True} | more)
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, list)
    for row in found:
        assert list(row) == list(TABLE)
        assert row["phase"] in PHASES
        assert row["verdict"] in VERDICTS
        assert 0 <= row["confidence"] <= 1
    return found


def purges(found: list[dict[str, Any]]) -> dict[str, list[date]]:
    """The days on which purges began."""
    return {
        asset: [
            date.fromisoformat(row["date"])
            for row in found
            if row["asset"] == asset and row["phase"] == "purge" and row["since"] == row["date"]
        ]
        for asset in dict.fromkeys(row["asset"] for row in found)
    }


def phases_of(found: list[dict[str, Any]], asset: str = "BTC") -> list[str]:
    return [row["phase"] for row in found if row["asset"] == asset]


# As a user calls it.


def test_the_command_prints_runs_and_where_it_stands(tmp_path: Path) -> None:
    done = run(written(MADE.table, tmp_path))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == [
        "from", "asset", "phase", "days", "side", "depth", "z", "verdict", "reasons",
    ]  # fmt: skip
    for asset, planted in MADE.purges.items():
        purges = [line.split() for line in lines if line.split()[1:3] == [asset, "purge"]]
        assert [line[0] for line in purges] == [str(day) for day in planted]
        assert all("growth_1d:" in line and "-5" in line for line in purges), "whole, not cut to the width"
    assert [line for line in lines if line.startswith(f"BTC on {FIRST + timedelta(days=699)}: ")]
    assert [line for line in lines if line.startswith(f"ETH on {FIRST + timedelta(days=699)}: ")]


def test_json_parquet_csv_and_picture(tmp_path: Path) -> None:
    path = written(MADE.table, tmp_path)
    done = run(path, "--json", "--out", tmp_path / "out.parquet", "--plot", tmp_path / "out.png")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 1400
    parquet = pl.read_parquet(tmp_path / "out.parquet")
    assert dict(parquet.schema) == dict(TABLE)
    plain = [name for name in TABLE if name != "reasons"]
    assert [[row[name] for name in plain] for row in found] == [
        [value.isoformat() if isinstance(value, date) else value for value in row]
        for row in parquet.select(plain).iter_rows()
    ]
    reasons = next(row["reasons"] for row in found if row["phase"] == "purge")
    assert [reason["condition"] for reason in reasons] == ["growth_1d", "growth_1d_z"]
    assert all(reason["value"] <= reason["threshold"] < 0 for reason in reasons)
    assert all(0 <= reason["percentile"] <= 0.05 for reason in reasons)
    assert [len(row["reasons"]) for row in found] == parquet["reasons"].list.len().to_list()
    assert run(path, "--out", tmp_path / "out.csv").returncode == 0
    text = pl.read_csv(tmp_path / "out.csv", schema={**TABLE, "reasons": pl.String})
    assert text["reasons"].fill_null("").to_list() == parquet["reasons"].list.join("; ").to_list()
    assert text.drop("reasons").equals(parquet.drop("reasons"))
    header = (tmp_path / "out.png").read_bytes()[:24]
    assert header.startswith(b"\x89PNG")
    assert int.from_bytes(header[16:20], "big") == 1400


def test_one_asset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(capsys, written(MADE.table, tmp_path), asset="ETH")
    assert {row["asset"] for row in found} == {"ETH"}
    assert found == [row for row in rows(capsys, tmp_path / "table.parquet") if row["asset"] == "ETH"]


WRONG: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], str]] = {
    "missing column": (lambda frame: frame.drop("price_usd"), "column 'price_usd' is missing"),
    "text": (
        lambda frame: frame.with_columns(
            oi_usd=pl.when(pl.int_range(pl.len()) == 6).then(pl.lit("x"))
            .otherwise(pl.col("oi_usd").cast(pl.String))
        ),
        "column 'oi_usd', row 7",
    ),
    "negative price": (
        lambda frame: frame.with_columns(
            price_usd=pl.when(pl.int_range(pl.len()) == 4).then(-1.0).otherwise(1.0)
        ),
        "column 'price_usd', row 5",
    ),
    "doubled": (lambda frame: pl.concat([frame, frame[:1]]), "column 'date', row 21"),
    "unsorted": (lambda frame: frame.reverse(), "column 'date', row 2"),
    "two scopes": (
        lambda frame: pl.concat([frame.with_columns(venue=pl.lit(v)) for v in ("total", "bybit")]),
        "column 'venue', row 1",
    ),
    "empty": (lambda frame: frame[:0], "no rows"),
    "no date": (
        lambda frame: frame.with_columns(date=pl.lit("yesterday")),
        "column 'date', row 1: no date (UTC): 'yesterday'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_table_ends_with_one_line(case: str, name: str, tmp_path: Path) -> None:
    make, said = WRONG[case]
    path = written(make(TOTAL.filter(pl.col("asset") == "BTC")[:20]), tmp_path, name)
    done = run(path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"monitor: {path}: {said}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_wrong_options_end_with_one_line(tmp_path: Path) -> None:
    path = written(TOTAL[:20], tmp_path)
    for options, said in (
        (("--out", tmp_path / "out.xlsx"), "--out: "),
        (("--out", tmp_path / "missing" / "out.csv"), "--out: "),
        (("--out", tmp_path / "missing" / "out.parquet"), "--out: "),
        (("--plot", tmp_path / "out.pdf"), "--plot: "),
        (("--plot", tmp_path / "missing" / "out.png"), "--plot: "),
        (("--asset", "DOGE"), "--asset: 'DOGE' is not in"),
    ):
        done = run(path, *options)
        assert done.returncode == 2, options
        assert done.stderr.startswith(f"monitor: {said}")
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""


# Tables as they come.


def dropped(*columns: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda frame: frame.drop(columns)


def holed(frame: pl.DataFrame) -> pl.DataFrame:
    """Nothing known of any optional column on every third day, NaN on every seventh."""
    day = pl.int_range(pl.len()).over("asset", "venue")
    return frame.with_columns(
        pl.when(day % 7 == 3).then(float("nan")).when(day % 3 != 1).then(column).alias(column)
        for column in ("supply", "funding_8h", "long_liquidated_usd", "short_liquidated_usd")
    )


GOOD: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "coins only": dropped("oi_usd"),
    "dollars only": dropped("oi_coin"),
    "no optional column": dropped("supply", "funding_8h", "long_liquidated_usd", "short_liquidated_usd"),
    "holes in every optional column": holed,
    "funding on some days": lambda frame: frame.with_columns(
        funding_8h=pl.when(pl.col("date").dt.weekday() < 6).then("funding_8h")
    ),
    "dates as text with Z": lambda frame: frame.with_columns(
        date=pl.col("date").dt.strftime("%Y-%m-%dT00:00:00Z")
    ),
    "ts at midnight": lambda frame: frame.with_columns(ts=pl.col("date").cast(pl.Datetime("us", "UTC"))).drop(
        "date"
    ),
}


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
@pytest.mark.parametrize("case", GOOD)
def test_a_purge_is_found_whatever_the_table_holds(
    case: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = rows(capsys, written(GOOD[case](MADE.table), tmp_path, name))
    assert purges(found) == MADE.purges


@pytest.mark.parametrize("case", ["no margin", "no venue"])
def test_without_margins_a_squeeze_may_be_the_price_alone(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ether's second purge is of shorts: in dollars hardly less is open, and minmod believes the least."""
    found = rows(capsys, written(MADE.table.drop("margin") if case == "no margin" else TOTAL, tmp_path))
    assert purges(found) == MADE.purges | {"ETH": MADE.purges["ETH"][:1]}
    rise = next(row for row in found if row["date"] == str(MADE.purges["ETH"][1]) and row["asset"] == "ETH")
    assert -0.05 < rise["growth"] <= 0


def test_bitcoins_supply_is_estimated_where_the_table_has_none() -> None:
    held = with_supply(closes(TOTAL.drop("supply"))).with_columns(date=pl.col("day").cast(pl.Date))
    for asset, estimate in (("BTC", bitcoin_supply), ("ETH", ether_supply)):
        known = [estimate(day) for day in held.filter(pl.col("asset") == asset)["date"]]
        supply = held.filter(pl.col("asset") == asset)["supply"].to_list()
        assert supply == [one and one.value for one in known]
    assert held.filter((pl.col("asset") == "BTC") & (pl.col("date") > date(2020, 6, 1)))["supply"].min()
    given = closes(TOTAL)
    assert with_supply(given).equals(given)


def test_an_asset_of_which_no_supply_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = TOTAL.drop("supply").filter(pl.col("asset") == "BTC").with_columns(asset=pl.lit("SOL"))
    found = rows(capsys, written(frame, tmp_path))
    assert {row["oi_to_market_cap"] for row in found} == {row["average"] for row in found} == {None}
    assert found[-1]["z"] is not None
    assert purges(found) == {"SOL": MADE.purges["BTC"]}
    show(tmp_path / "table.parquet", asset=None, out=None, plot=tmp_path / "out.png", as_json=False)
    assert "of market cap" not in capsys.readouterr().out


@pytest.mark.parametrize("length", [1, 2, 30, 119, 149])
def test_a_short_history_is_undetermined(
    length: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(TOTAL.group_by("asset", maintain_order=True).head(length), tmp_path)
    found = rows(capsys, path, plot=tmp_path / "out.png", out=tmp_path / "out.csv")
    assert len(found) == 2 * length
    assert {(row["phase"], row["verdict"], row["confidence"]) for row in found} == {
        ("undetermined", "undetermined", 0.0)
    }
    assert {row["since"] for row in found} == {None}
    show(path, asset=None, out=None, plot=None, as_json=False)
    assert "undetermined; nothing can be said yet" in capsys.readouterr().out


def test_a_short_history_beside_a_long_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bitcoin, ether = (TOTAL.filter(pl.col("asset") == asset) for asset in ("BTC", "ETH"))
    found = rows(capsys, written(pl.concat([bitcoin, ether[-30:]]), tmp_path), plot=tmp_path / "out.png")
    assert set(phases_of(found, "ETH")) == {"undetermined"}
    assert len(set(phases_of(found))) > 3


def test_years_without_data_are_undetermined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bitcoin = TOTAL.filter(pl.col("asset") == "BTC")
    later = bitcoin.with_columns(pl.col("date").dt.offset_by("2557d"))
    found = rows(capsys, written(pl.concat([bitcoin, later]), tmp_path), plot=tmp_path / "out.png")
    gap = [row for row in found if "2020-12-04" <= row["date"] < "2026-01-01"]
    assert len(gap) == 1854
    assert {row["phase"] for row in gap} == {"undetermined"}
    assert {row["z"] for row in gap} == {row["growth"] for row in gap} == {None}
    back = [row["phase"] for row in found if row["date"] >= "2026-01-01"]
    assert set(back[:120]) == {"undetermined"}, "the average of long ago says nothing"
    assert "purge" in back


def test_a_day_that_runs_is_no_day(tmp_path: Path) -> None:
    """One asset whose first day has not ended: nothing to say, in one line."""
    frame = pl.DataFrame(
        {"ts": ["2024-01-01T08:00Z"], "asset": ["BTC"], "price_usd": [1.0], "oi_coin": [1.0]}
    )
    with pytest.raises(TableError, match="no day that has ended"):
        show(written(frame, tmp_path), asset=None, out=None, plot=None, as_json=True)


def test_open_interest_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All unknown, or all zero: a row per day, and no number."""
    for value in (None, 0.0, float("nan")):
        nothing = pl.lit(value, pl.Float64)
        frame = TOTAL.head(200).with_columns(oi_usd=nothing, oi_coin=nothing)
        found = rows(capsys, written(frame, tmp_path), plot=tmp_path / "out.png")
        assert len(found) == 200
        assert {(row["phase"], row["oi_to_market_cap"], row["z"], row["growth"]) for row in found} == {
            ("undetermined", None, None, None)
        }


def test_an_asset_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="there are BTC, ETH"):
        show(written(TOTAL, tmp_path), asset="btc", out=None, plot=None, as_json=True)


# Parts of the text.


def test_a_run_begins_with_its_first_day_and_ends_with_its_last() -> None:
    found = pl.DataFrame(
        {
            "asset": ["BTC"] * 4, "date": [date(2024, 1, day) for day in range(1, 5)],
            "phase": ["purge", "purge", "stabilising", "purge"],
            "since": [date(2024, 1, 1), date(2024, 1, 1), date(2024, 1, 3), date(2024, 1, 4)],
            "side": ["long_flush"] * 4, "depth": [0.1, 0.2, 0.2, 0.3], "z": [1.0, 0.9, 0.8, 0.7],
            "verdict": ["no", "no", "partly", "no"], "reasons": [["a"], ["a"], ["b"], ["c"]],
        }
    )  # fmt: skip
    assert runs(found).drop("run", "side").rows() == [
        ("BTC", date(2024, 1, 1), "purge", 2, 0.2, 1.0, "no", ["a"]),
        ("BTC", date(2024, 1, 3), "stabilising", 1, 0.2, 0.8, "partly", ["b"]),
        ("BTC", date(2024, 1, 4), "purge", 1, 0.3, 0.7, "no", ["c"]),
    ]


def test_the_last_line_says_what_is_known() -> None:
    row = dict.fromkeys(TABLE) | {
        "asset": "BTC", "date": date(2024, 1, 2), "phase": "purge", "since": date(2024, 1, 1),
        "verdict": "no", "z": 0.456, "confidence": 0.7, "oi_to_market_cap": 0.0123,
    }  # fmt: skip
    assert today(row) == (
        "BTC on 2024-01-02: purge since 2024-01-01; deleveraging is under way; "
        "open interest 1.23% of market cap; z +0.46; confidence 0.70"
    )
