"""Reads a history table that somebody hands over: Parquet or CSV, checked to the cell.

A wrong table ends with one line that names the column and the row (rows of data are counted from 1).
What is read is the same as what the store holds: daily closes of instruments (`aggregate.CLOSES`).
"""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from monitor.deleveraging.aggregate import CLOSES
from monitor.ladder import DAY, HOUR

DAY_S = DAY // 1000
CLOSE_HOURS = 3
"""The close of a day is a reading of its last hours; a day that ends earlier is unknown."""

REQUIRED = ("asset", "price_usd")
OPEN_INTEREST = ("oi_usd", "oi_coin")
NUMBERS = {
    "price_usd": "price", "oi_usd": "usd", "oi_coin": "coins", "supply": "supply",
    "funding_8h": "funding_8h", "long_liquidated_usd": "long_usd", "short_liquidated_usd": "short_usd",
}  # fmt: skip
"""Column of a table → column of the closes."""
SIGNED = ("funding_8h",)
FLOWS = ("long_usd", "short_usd")
MARGINS = ("linear", "inverse")
YEARS = (2009, 2100)
"""Bitcoin began in the first; another year is a typing error, and would make a calendar of centuries."""
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?( ?UTC|Z|[+-]00:?00)?$")


class TableError(Exception):
    """The table cannot be used; the text is one line that names column and row."""


def read(path: Path) -> pl.DataFrame:
    """The table as it stands; a CSV's cells are all text.

    Raises:
        TableError: it is missing, neither Parquet nor CSV, or empty.
    """
    if path.is_dir():
        raise TableError(f"{path}: is a folder")
    if not path.is_file():
        raise TableError(f"{path}: no such file")
    try:
        if path.suffix.lower() == ".csv":
            frame = pl.read_csv(path, infer_schema=False)
        else:
            frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        kind = "CSV" if path.suffix.lower() == ".csv" else "Parquet"
        raise TableError(f"{path}: not {kind}: {str(error).splitlines()[0]}") from error
    if frame.is_empty():
        raise TableError(f"{path}: no rows")
    return frame


def closes(frame: pl.DataFrame, name: str = "table") -> pl.DataFrame:
    """Daily closes (`aggregate.CLOSES`) of a table with the columns of design 4.4.

    `date`, or `ts` (of which the last reading of a day counts), `asset`, `price_usd`, and `oi_usd` or
    `oi_coin`; optional `venue`, `margin`, `supply`, `funding_8h`, `long_liquidated_usd`,
    `short_liquidated_usd`. Liquidations of a day's rows are summed, other columns are the last known.

    Raises:
        TableError: a column is missing, a cell is no date or number, a price or amount is negative, a key
            occurs twice, an instrument's rows are not in the order of time, or two scopes are mixed.
    """
    for column in REQUIRED:
        if column not in frame.columns:
            raise TableError(f"{name}: column {column!r} is missing; there are {', '.join(frame.columns)}")
    when = next((column for column in ("ts", "date") if column in frame.columns), None)
    if when is None:
        raise TableError(f"{name}: column 'date' (or 'ts') is missing")
    if not any(column in frame.columns for column in OPEN_INTEREST):
        raise TableError(f"{name}: column 'oi_usd' (or 'oi_coin') is missing")
    checked = pl.DataFrame(
        {
            "seconds": _times(frame[when], when, name),
            "asset": _texts(frame, "asset", name),
            "venue": _texts(frame, "venue", name),
            "margin": _margins(frame, name),
            **{
                column: _numbers(frame[source], source, name)
                if source in frame.columns
                else pl.Series([None] * frame.height, dtype=pl.Float64)
                for source, column in NUMBERS.items()
            },
        }
    )
    _keys(checked, when, name)
    return _daily(checked)


def _first(bad: pl.Series) -> int | None:
    """Number of the first row for which something holds."""
    row = bad.fill_null(value=False).arg_max()
    return None if row is None or not bad[row] else row + 1


def _times(series: pl.Series, column: str, name: str) -> pl.Series:
    """Seconds since 1970, UTC."""
    if series.dtype == pl.Date:
        times = series.cast(pl.Datetime("ms"))
    elif isinstance(series.dtype, pl.Datetime):
        times = series
        if series.dtype.time_zone is not None:
            times = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    elif series.dtype == pl.String:
        clean = series.str.strip_chars()
        fits = clean.str.contains(_DATE.pattern)
        text = clean.str.replace(r"( ?UTC|Z|[+-]00:?00)$", "").str.replace("T", " ")
        wide = text.str.len_chars() > 10  # noqa: PLR2004 -- longer than a date
        padded = pl.select(pl.when(wide).then(text).otherwise(text + " 00:00:00")).to_series()
        padded = pl.select(
            pl.when(padded.str.len_chars() == 16).then(padded + ":00").otherwise(padded)  # noqa: PLR2004 -- to minutes
        ).to_series()
        times = padded.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="ms")
        times = pl.select(pl.when(fits).then(times)).to_series()
        if (row := _first(times.is_null())) is not None:
            raise TableError(f"{name}: column {column!r}, row {row}: no date (UTC): {series[row - 1]!r}")
    else:
        raise TableError(f"{name}: column {column!r}, row 1: no date: {series[0]!r}")
    if (row := _first(times.is_null())) is not None:
        raise TableError(f"{name}: column {column!r}, row {row}: no date")
    if (row := _first(~times.dt.year().is_between(*YEARS))) is not None:
        first, last = YEARS
        said = times[row - 1]
        raise TableError(
            f"{name}: column {column!r}, row {row}: no date (UTC) between {first} and {last}: {said.date()}"
        )
    return times.cast(pl.Datetime("ms")).dt.epoch("s")


def _texts(frame: pl.DataFrame, column: str, name: str) -> pl.Series:
    if column not in frame.columns:
        return pl.Series([""] * frame.height, dtype=pl.String)
    series = frame[column]
    if series.dtype not in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        raise TableError(f"{name}: column {column!r}, row 1: no text: {series[0]!r}")
    series = series.cast(pl.String).str.strip_chars()
    empty = series.is_null() | (series == "")
    if column == "asset" and (row := _first(empty)) is not None:
        raise TableError(f"{name}: column {column!r}, row {row}: empty")
    if column == "venue" and not empty.all() and (row := _first(empty)) is not None:
        raise TableError(
            f"{name}: column {column!r}, row {row}: empty where other rows name one: two scopes are mixed"
        )
    return series.fill_null("")


def _margins(frame: pl.DataFrame, name: str) -> pl.Series:
    series = _texts(frame, "margin", name).str.to_lowercase()
    wrong = ~series.is_in(["", *MARGINS])
    if (row := _first(wrong)) is not None:
        raise TableError(
            f"{name}: column 'margin', row {row}: {series[row - 1]!r} is neither linear nor inverse"
        )
    return pl.select(pl.when(series != "").then(series)).to_series()


def _numbers(series: pl.Series, column: str, name: str) -> pl.Series:
    if series.dtype == pl.String:
        clean = series.str.strip_chars()
        numbers = clean.cast(pl.Float64, strict=False)
        bad = numbers.is_null() & clean.is_not_null() & (clean != "")
    elif series.dtype.is_numeric() or series.dtype == pl.Null:
        numbers, bad = series.cast(pl.Float64), pl.Series([False] * len(series))
    else:
        raise TableError(f"{name}: column {column!r}, row 1: no number: {series[0]!r}")
    if (row := _first(bad)) is not None:
        raise TableError(f"{name}: column {column!r}, row {row}: no number: {series[row - 1]!r}")
    numbers = numbers.fill_nan(None)
    if (row := _first(numbers.is_infinite())) is not None:
        raise TableError(f"{name}: column {column!r}, row {row}: no finite number")
    if column not in SIGNED and (row := _first(numbers < 0)) is not None:
        raise TableError(f"{name}: column {column!r}, row {row}: negative: {numbers[row - 1]:g}")
    if column == "price_usd" and (row := _first(numbers == 0)) is not None:
        raise TableError(f"{name}: column {column!r}, row {row}: a price of 0")
    return numbers


def _keys(rows: pl.DataFrame, when: str, name: str) -> None:
    key = ["asset", "venue", "margin"]
    doubled = rows.select(~pl.struct("seconds", *key).is_first_distinct())
    if (row := _first(doubled.to_series())) is not None:
        raise TableError(f"{name}: column {when!r}, row {row}: this key ({_key(rows, row)}) occurred before")
    back = rows.select(pl.col("seconds") < pl.col("seconds").shift(1).over(key)).to_series()
    if (row := _first(back)) is not None:
        raise TableError(
            f"{name}: column {when!r}, row {row}: earlier than the row before it ({_key(rows, row)}); "
            "sort the table"
        )
    mixed = rows.select(
        pl.col("margin").is_null().any().over("asset", "venue") & pl.col("margin").is_not_null()
    ).to_series()
    if (row := _first(mixed)) is not None:
        raise TableError(
            f"{name}: column 'margin', row {row}: other rows of this venue name none: two scopes are mixed"
        )
    for asset, venues in rows.group_by("asset").agg(pl.col("venue").unique()).rows():
        total = sorted({venue for venue in venues if venue.lower() in TOTALS})
        if total and len(venues) > 1:
            row = _first((rows["asset"] == asset) & (rows["venue"] == total[0]))
            raise TableError(
                f"{name}: column 'venue', row {row}: {total[0]!r} beside single venues: two scopes are mixed"
            )


TOTALS = ("all", "total", "aggregate", "aggregated", "market")
"""Names that stand for a sum of venues."""


def _key(rows: pl.DataFrame, row: int) -> str:
    return ", ".join(str(value) for value in rows.row(row - 1)[1:4] if value)


def _daily(rows: pl.DataFrame) -> pl.DataFrame:
    """The last reading of each day; of a day that is still running, none."""
    key = ["day", "asset", "venue", "margin"]
    rows = rows.with_columns(day=(pl.col("seconds") // DAY_S).cast(pl.Int32))
    inside = rows["seconds"].filter(rows["seconds"] % DAY_S != 0)
    if len(inside):
        # An instrument's readings stand for the time to its next one.
        step = pl.col("seconds").diff().min().fill_null(HOUR // 1000).clip(1, DAY_S)
        until = pl.col("seconds") % DAY_S + step.over("asset", "venue", "margin")
        # Only readings of the last hours are a close; flows are summed over the whole day.
        late = until >= DAY_S - CLOSE_HOURS * 3600
        last = rows.select((pl.col("seconds").max() // DAY_S).over("asset")).to_series()
        ended = rows.select(until.alias("until"), "day", "asset").select(
            (pl.col("until").max() >= DAY_S).over("day", "asset")
        ).to_series()  # fmt: skip
        rows = rows.filter((rows["day"] != last) | ended).with_columns(
            pl.when(late).then(column).alias(column) for column in ("usd", "coins")
        )
    frame = (
        rows.sort("seconds", maintain_order=True)
        .group_by(key, maintain_order=True)
        .agg(
            *(pl.col(name).drop_nulls().last() for name in ("price", "usd", "coins", "supply")),
            pl.col("funding_8h").mean(),
            *(pl.when(pl.col(n).count() > 0).then(pl.col(n).sum()).alias(n) for n in FLOWS),
        )
        .with_columns(symbol=pl.col("margin").fill_null(""))
    )  # fmt: skip
    return frame.select(pl.col(column).cast(dtype) for column, dtype in CLOSES.items())
