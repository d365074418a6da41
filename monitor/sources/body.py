"""Bytes → rows: what all parsers have in common about JSON, CSV, numbers and dates.

Whatever is wrong with a body is `Rubbish` with a reason that a person can act on.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from typing import TypeVar

import msgspec
import polars as pl

from monitor.sources.source import Rubbish

T = TypeVar("T")
YEARS = 1800, 2200
"""Those outside are typing errors, and some are beyond what a date can hold."""
ROWS = 200_000
"""More rows than any table here has in a hundred years."""

_NUMBER = re.compile(r"-?(\d{1,3}(,\d{3})+|\d{1,20})(\.\d{1,20})?")
_DATE = re.compile(r"[0-9][0-9A-Za-z/ -]{7,10}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)")


def text_of(body: bytes, wanted: str) -> str:
    """The body as text, if it may be what is wanted.

    Raises:
        Rubbish: it is empty, binary, or a page for people.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Rubbish(f"bytes that are no text instead of {wanted}") from None
    if not text.strip():
        raise Rubbish("empty answer")
    if text.lstrip()[0] == "<":
        raise Rubbish(f"HTML instead of {wanted}")
    return text


def json_of(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """The body decoded.

    Raises:
        Rubbish: it is no JSON, or not of the form.
    """
    text = text_of(body, "JSON")
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise Rubbish(f"another form of JSON: {error}") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Rubbish(f"no JSON: {error}") from None
    except RecursionError:
        raise Rubbish("no JSON: nested too deeply") from None


def is_json(body: bytes) -> bool:
    """Whether it begins like an object or a list."""
    return body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")


def csv_of(body: bytes) -> tuple[list[str], list[list[str]]]:
    """Header and rows, stripped; empty lines are left out.

    Raises:
        Rubbish: it is no CSV, a column is there twice, or a row is longer or shorter than the header.
    """
    text = text_of(body, "CSV")
    if is_json(body):
        raise Rubbish("JSON instead of CSV")
    try:
        rows = [
            [cell.strip() for cell in row]
            for row in csv.reader(io.StringIO(text), strict=True)
            if any(cell.strip() for cell in row)
        ]
    except csv.Error as error:
        raise Rubbish(f"no CSV: {error}") from None
    if len(rows) > ROWS:
        raise Rubbish(f"more than {ROWS} rows")
    header, *rest = rows or [[]]
    for column in header:
        if header.count(column) > 1:
            raise Rubbish(f"column {column[:40]!r} is there twice")
    for number, row in enumerate(rest, 2):
        if len(row) != len(header):
            raise Rubbish(f"row {number} has {len(row)} cells, the header has {len(header)}")
    return header, rest


def column_of(header: Sequence[str], *names: str) -> int:
    """Place of the column that has one of the names, in any case.

    Raises:
        Rubbish: there is none.
    """
    lower = [column.lower() for column in header]
    for name in names:
        if name.lower() in lower:
            return lower.index(name.lower())
    raise Rubbish(f"column {names[0]!r} is missing")


def number_of(text: str, what: str) -> float:
    """A decimal number; commas may part thousands, nothing else.

    Raises:
        Rubbish: it is none.
    """
    if not _NUMBER.fullmatch(text):
        raise Rubbish(f"{what}: not a number: {text[:40]!r}")
    return float(text.replace(",", ""))


def finite(number: float | None) -> bool:
    """Whether there is a number."""
    return number is not None and math.isfinite(number)


def dates_of(texts: Sequence[str], *forms: str) -> pl.Series:
    """Dates of texts that are all in one or another of the forms (of `strftime`).

    Raises:
        Rubbish: one is not.
    """
    for text in texts:
        if not _DATE.fullmatch(text):
            raise Rubbish(f"not a date: {text[:40]!r}")
    given = pl.Series("date", texts, dtype=pl.String)
    found = pl.DataFrame({"given": given}).select(
        pl.coalesce(pl.col("given").str.to_date(form, strict=False) for form in forms).alias("date")
    )["date"]
    return _known(texts, found, "date")


def times_of(texts: Sequence[str]) -> pl.Series:
    """Moments of texts like `2026-09-28T12:00:00Z`, in milliseconds UTC.

    Raises:
        Rubbish: one is not like that.
    """
    for text in texts:
        if not _TIME.fullmatch(text):
            raise Rubbish(f"not a time with its zone: {text[:40]!r}")
    given = pl.Series("time", [text.replace("Z", "+00:00") for text in texts], dtype=pl.String)
    column = pl.col("given")
    found = pl.DataFrame({"given": given}).select(
        pl.coalesce(
            column.str.to_datetime(form, time_unit="ms", time_zone="UTC", strict=False)
            for form in ("%Y-%m-%dT%H:%M:%S%.f%:z", "%Y-%m-%dT%H:%M%:z")
        ).alias("time")
    )["time"]
    return _known(texts, found, "time")


def _known(texts: Sequence[str], found: pl.Series, what: str) -> pl.Series:
    for place in (found.is_null() | ~found.dt.year().is_between(*YEARS)).arg_true().head(1):
        raise Rubbish(f"not a {what}: {texts[place][:40]!r}")
    return found


def moments(millis: Sequence[int]) -> pl.Series:
    """Milliseconds as a column of moments."""
    return pl.Series("time", millis, dtype=pl.Int64).cast(pl.Datetime("ms", "UTC"))
