"""`monitor volatility-ratio` and `monitor fair-value`: bitcoin against gold, from tables or by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast, get_args

import orjson
import polars as pl
from rich.console import Console
from rich.table import Table

from monitor.app import gold_table, scope_of, venues_of
from monitor.clock import Clock
from monitor.config import Config
from monitor.deleveraging.past import HISTORY_DAYS
from monitor.events import Millis
from monitor.feeds.slow import Slow, chosen
from monitor.health import Health
from monitor.history.store import Store
from monitor.ladder import DAY, HOUR
from monitor.macro.valuation import (
    Assumptions,
    FairValue,
    Given,
    GoldTable,
    Known,
    Stored,
    TableError,
    Unknown,
    complete,
)
from monitor.sources.tonnes import as_table
from monitor.volatility.estimators import LEAST
from monitor.volatility.ratio import STALE, Clock as Sampling, NotCovered, Ratio, volatility_ratio
from monitor.volatility.realized import reference
from monitor.weigh import Told, gold_daily, height_at, ounce_usd, trading_days

GOLD = ("GOLD", "XAU", "XAUUSD", "PAXG", "XAUT")
"""Names of gold in the column `asset`, the first that a table has is taken."""
SPOT_LIFE: Millis = 26 * HOUR
"""A stored price may be as old as a verdict (methodology §9.20)."""


class Problem(Exception):  # noqa: N818 -- ends the command with one line
    """What is wrong with the arguments, or with a table that they name."""


# Tables (design §4.4).


def read_prices(path: Path, assets: Sequence[str]) -> pl.DataFrame:
    """Prices of a Parquet or CSV table: `date` or `ts`, and `close` or `price_usd`; an empty price is a gap.

    Args:
        path: The table. With a column `asset`, only rows of one of `assets` are read.
        assets: Names of the asset, in the order of preference.

    Returns:
        `date` (UTC) and `close`, sorted, and `ts` where the table has that.

    Raises:
        Problem: the table cannot be read, or is wrong; names the column and the row (the first is 1).
    """
    table = _load(path).with_row_index("row", offset=1)
    time = next((name for name in ("date", "ts") if name in table.columns), None)
    price = next((name for name in ("close", "price_usd") if name in table.columns), None)
    if time is None or price is None:
        missing = "'date' or 'ts'" if time is None else "'close' or 'price_usd'"
        raise Problem(f"{path}: no column {missing}")
    if "asset" in table.columns:
        names = table["asset"].cast(pl.String)
        held = next((name for name in assets if (names == name).any()), None)
        if held is None:
            raise Problem(f"{path}: column 'asset': no row of {' or '.join(assets)}")
        table = table.filter(names == held)
    table = table.with_columns(
        at=_times(path, time, table), close=_numbers(path, price, table)
    ).filter(pl.col("close").is_not_null())  # fmt: skip
    if table.is_empty():
        raise Problem(f"{path}: column {price!r}: no price")
    again = table.filter(~pl.col("at").is_first_distinct())
    if not again.is_empty():
        at = again["at"][0]
        text = at.date() if time == "date" else at
        raise Problem(f"{path}: column {time!r}, row {again['row'][0]}: {text} is there twice")
    found = table.select("at", "close", date=pl.col("at").dt.date()).sort("at")
    return found.drop("at") if time == "date" else found.rename({"at": "ts"})


def _load(path: Path) -> pl.DataFrame:
    try:
        with path.open("rb") as file:
            columnar = file.read(4) == b"PAR1"
        return pl.read_parquet(path) if columnar else pl.read_csv(path, infer_schema=False)
    except OSError as error:
        raise Problem(f"{path}: {error.strerror or error}") from error
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise Problem(f"{path}: neither Parquet nor CSV: {str(error).splitlines()[0]}") from error


def _times(path: Path, column: str, table: pl.DataFrame) -> pl.Series:
    """A column of dates, times or their ISO texts, as times in UTC; without a zone they are UTC."""
    times = table[column]
    if times.dtype == pl.Date:
        times = times.cast(pl.Datetime("ms"))
    if not isinstance(times.dtype, pl.Datetime):
        return pl.Series(
            column,
            [_time(path, column, *one) for one in table.select("row", column).iter_rows()],
            dtype=pl.Datetime("ms", "UTC"),
        )
    missing = table.filter(times.is_null())
    if not missing.is_empty():
        raise Problem(f"{path}: column {column!r}, row {missing['row'][0]}: no date")
    utc = times.dt.replace_time_zone("UTC") if times.dtype.time_zone is None else times
    return utc.dt.convert_time_zone("UTC").dt.cast_time_unit("ms")


def _time(path: Path, column: str, row: int, value: Any) -> datetime:
    try:
        time = datetime.fromisoformat(value.strip())
    except (ValueError, AttributeError):
        said = "no date" if value is None else f"{value!r} is no date"
        raise Problem(f"{path}: column {column!r}, row {row}: {said}") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _numbers(path: Path, column: str, table: pl.DataFrame) -> pl.Series:
    """A column of prices, as floats; null is a price that is missing."""
    said = table[column]
    if said.dtype == pl.String:
        said = said.str.strip_chars().replace("", None)
    numbers = said.cast(pl.Float64, strict=False)
    # A comparison with NaN is false in Python and true in polars: it is asked for by name.
    bad = said.is_not_null() & ~(numbers.is_finite() & (numbers > 0)).fill_null(value=False)
    if bad.any():
        at = table.filter(bad)
        what = f"{at[column][0]!r} is no positive price"
        raise Problem(f"{path}: column {column!r}, row {at['row'][0]}: {what}")
    return numbers


# volatility-ratio


def show_ratio(
    bitcoin: Path, gold: Path, window: int, on: Sequence[str], clock: str, *, as_json: bool
) -> int:  # fmt: skip
    """Prints the ratio on each date; those that the tables do not cover are named, and the status is then 1.

    Raises:
        Problem: a table or an argument is wrong.
    """
    if clock not in get_args(Sampling):
        raise Problem(f"--clock: {clock!r} is neither {' nor '.join(get_args(Sampling))}")
    if window < LEAST:
        raise Problem(f"--window: {window} returns are too few, {LEAST} are needed")
    dates: list[date | None] = [_date(text) for text in on]
    prices = read_prices(bitcoin, ("BTC",)), trading_days(read_prices(gold, GOLD))
    found, console = [], Console(stderr=True, soft_wrap=True, highlight=False)
    for day in dates or [None]:
        try:
            found.append(volatility_ratio(*prices, window, day, cast("Sampling", clock)))
        except NotCovered as error:
            console.print(f"monitor: {error}", markup=False)
    if as_json:
        rows = [
            {"date": one.on, "window": one.window, "ratio": one.ratio, "low": one.low, "high": one.high,
             "clock": one.clock}
            for one in found
        ]  # fmt: skip
        print(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())  # noqa: T201 -- the output
    elif found:
        Console(highlight=False).print(_ratios(found))
    return 0 if len(found) == max(len(dates), 1) else 1


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Problem(f"--on: {text!r} is no date like 2025-11-04") from None


def _ratios(found: Sequence[Ratio]) -> Table:
    table = Table("date", "window", "clock", "ratio", "5 %", "95 %", "last price", "jumps of gold", box=None)
    for one in found:
        table.add_row(
            str(one.on), str(one.window), one.clock, f"{one.ratio:.3f}", f"{one.low:.2f}", f"{one.high:.2f}",
            str(one.until), f"{one.gold_jump_share:.0%}",
        )  # fmt: skip
    return table


# fair-value


def stored(config: Config, now: Millis) -> tuple[Stored, GoldTable]:
    """What a monitor of these settings left on the disk: answers of slow sources, and bars.

    Args:
        config: whose `state_dir` is read; it is not written.
        now: the present, milliseconds.

    Raises:
        ConfigError: a source of the settings is unknown.
        OSError: the history is there and cannot be read.
        TableError: the table of tonnes cannot be used.
    """
    sources = Slow(chosen(config), config.state_dir / "sources", Health([]), Clock(now))
    told = {name: Told(value.frame, value.as_of) for name, value in sources.values.items()}
    venues = scope_of(config, venues_of(config)).venues
    with Store(config.state_dir / "history", writable=False) as store:
        days = store.read("day", now - HISTORY_DAYS * DAY, now // DAY * DAY, assets=("BTC",), venues=venues)
        hours = store.read("hour", now - SPOT_LIFE, now, assets=("BTC",), venues=venues, open=True)
    closes = reference(days).select(pl.from_epoch("time", time_unit="ms").dt.date().alias("date"), "close")
    ratio, height = _stored_ratio(closes, gold_daily(told, now), now), height_at(told, now)
    tonnes = told.get("gold_tonnes")
    return Stored(
        ratio=None if ratio is None else Known(
            ratio.ratio, f"{ratio.window} trading days of spot gold until {ratio.until}", ratio.on,
            ratio.error,
        ),
        draws=None if ratio is None else ratio.draws,
        ounce_usd=ounce_usd(told, now),
        blocks=None if height is None else Known(height.value + 1, height.source, height.as_of),
        spot=_stored_spot(reference(hours)),
    ), gold_table() if tonnes is None else as_table(tonnes.frame)  # fmt: skip


def _stored_ratio(bitcoin: pl.DataFrame, gold: pl.DataFrame, now: Millis) -> Ratio | None:
    try:
        found = volatility_ratio(bitcoin, gold)
    except NotCovered:
        return None
    return found if datetime.fromtimestamp(now / 1000, UTC).date() - found.on <= STALE else None


def _stored_spot(hours: pl.DataFrame) -> Known | None:
    """The reference price at the end of the newest hour."""
    if hours.is_empty():
        return None
    newest = hours.sort("time").row(-1, named=True)
    at = datetime.fromtimestamp(newest["time"] / 1000, UTC)
    return Known(newest["close"], f"median of marks in the hour of {at:%Y-%m-%d %H:%M} UTC", at.date())


def show_fair_value(
    given: Given, known: Stored, today: date, *, as_json: bool, table: GoldTable | None = None
) -> None:
    """Prints the fair value and all that it follows from.

    Without a `table` of tonnes it is the one that comes with the program.

    Raises:
        Problem: a figure is not positive, or unknown and not given.
    """
    for name in given.__struct_fields__:
        value = getattr(given, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            option = name.removesuffix("_usd").replace("_", "-")
            raise Problem(f"--{option}: {value:g} is no positive number")
    try:
        assumed = complete(given, known, table or gold_table(), today)
    except (Unknown, TableError) as error:
        raise Problem(str(error)) from error
    value = assumed.fair_value()
    if as_json:
        print(orjson.dumps(_object(assumed, value), option=orjson.OPT_INDENT_2).decode())  # noqa: T201
        return
    shown = Table("", "", "", box=None, show_header=False)
    for row in _lines(assumed, value):
        shown.add_row(*row)
    Console(highlight=False).print(shown)


def _object(assumed: Assumptions, value: FairValue) -> dict[str, Any]:
    """One object; null is unknown."""
    assumptions = {
        "ratio": assumed.ratio,
        "gold_investment_usd": assumed.gold_investment_usd,
        "supply_coins": assumed.supply,
        "spot_usd": assumed.spot,
    }
    return {
        "fair_value_usd": value.mid_usd,
        "low_usd": value.low_usd,
        "high_usd": value.high_usd,
        "gap_usd": value.gap_usd,
        "gap_ratio": value.gap_ratio,
        "gap_certain": value.gap_certain,
        "break_even_ratio": value.break_even_ratio,
        "market_cap_usd": value.cap_usd,
        "parity_usd": value.parity_usd,
        **{name: None if known is None else known.value for name, known in assumptions.items()},
        "assumptions": {
            name: {"source": known.source, "as_of": known.as_of, "error": known.error}
            for name, known in assumptions.items()
            if known is not None
        },
    }


def _lines(assumed: Assumptions, value: FairValue) -> list[tuple[str, str, str]]:
    band = "" if value.low_usd is None else f"90 %: {value.low_usd:,.0f} to {value.high_usd:,.0f}"
    lines = [("fair value", f"{value.mid_usd:,.0f} USD", band)]
    if value.gap_usd is None or value.gap_ratio is None:
        lines.append(("gap", "unknown", "no price is stored: give --spot USD"))
    else:
        sure = {None: "", True: "larger than its error", False: "within its error"}[value.gap_certain]
        lines += [
            ("gap", f"{value.gap_usd:+,.0f} USD, {value.gap_ratio:+.1%}", sure),
            ("break-even ratio", f"{value.break_even_ratio:.2f}", "at which the price is fair"),
        ]
    lines += [
        ("market capitalisation", f"{value.cap_usd / 1e12:.3f} tn USD", "at the fair value"),
        ("parity", f"{value.parity_usd:,.0f} USD", "as much as the gold, a ratio of 1"),
        ("volatility ratio", f"{assumed.ratio.value:.3f}", assumed.ratio.source),
        ("gold investment", f"{assumed.gold_investment_usd.value / 1e12:.3f} tn USD",
         assumed.gold_investment_usd.source),
        ("supply", f"{assumed.supply.value:,.0f}", _source(assumed.supply)),
    ]  # fmt: skip
    if assumed.spot is not None:
        lines.append(("price", f"{assumed.spot.value:,.2f} USD", assumed.spot.source))
    return lines


def _source(one: Known) -> str:
    return one.source if one.error is None else f"{one.source}, ±{one.error:.2%}"
