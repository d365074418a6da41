"""What a venue's past is: how a span of it is asked for, and the facts that the answers tell.

A source is a value of constants and pure functions, like a venue: `backfill.py` asks, `past.py` makes
bars of the facts. Open interest and funding are the same events as those of the live feeds, about the
same instruments, so that units and sides go one way and history fits the present.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeAlias, TypeVar

import msgspec
import polars as pl

from monitor.events import Funding, Instrument, Mark, Millis, OpenInterest
from monitor.ladder import HOUR
from monitor.venue import Budget, InstrumentList, Price, Request, Time, Unreadable

Row = TypeVar("Row")
PastStep: TypeAlias = Literal["hour", "day"]
"""Bars that venues are asked for; minutes are only known to who was there."""


class Candle(msgspec.Struct, frozen=True, gc=False):
    """Prices of one step from its opening time on; quote currency per quoted unit."""

    time: Millis
    open: float
    high: float
    low: float
    close: float


Fact: TypeAlias = OpenInterest | Funding | Candle | Mark
"""Open interest is that of an instant. Funding was paid at its time, for the interval before it."""


class Page(msgspec.Struct):
    """What one answer told."""

    facts: list[Fact] = []
    more: bool = False
    """Whether the answer was cut at its limit."""
    unread: int = 0
    """Rows that the format does not explain, and of the last of them the reason."""
    why: str = ""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of question, and how its answers are read."""

    request: Callable[[Instrument, Millis, Millis, PastStep], Request]
    """For the rows of a span, both ends included; rows from outside it do no harm."""
    parse: Callable[[bytes, Instrument, PastStep], Page]
    """Answer → facts.

    Raises:
        Refused: the venue says no.
        Unreadable: the format does not explain it.
    """
    keeps: Literal["oldest", "newest"] = "oldest"
    """Which rows a cut answer holds: the next page is asked on from there."""
    around: Millis = 0
    """Asked beyond both ends of the span."""
    reach: Millis | None = None
    """How far back from now the venue answers."""
    rest_url: str | None = None
    """Where it is not the source's."""


class Archive(msgspec.Struct, frozen=True, kw_only=True):
    """Files of one day each, with their checksums beside them."""

    rest_url: str
    budget: Budget
    path: Callable[[Instrument, Millis], str]
    """Of the file of the day that begins then; its checksum is at the path with `.CHECKSUM`."""
    parse: Callable[[bytes, Instrument], Page]
    """Raises:
        Unreadable: it is no such file.
    """


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The past of one venue."""

    name: str
    rest_url: str
    budget: Budget
    series: tuple[Series, ...]
    bars: dict[PastStep, int]
    """Bars that are asked for at once, by step. They are stored together."""
    instruments: InstrumentList | None = None
    """As the live connector reads them, so that the same contracts are counted in the same way."""
    rule: Callable[[str], Sequence[Instrument]] | None = None
    """The perpetuals of an asset by name, where there is no list to read."""
    archive: Archive | None = None
    """For open interest older than the series' `reach`."""
    has_open_interest: bool = True
    evidence: str
    """What its numbers are, and who says so."""


FUNDING_AROUND = 8 * HOUR
"""The payment before the span tells the interval of its first; the one after it covers its last hour."""
HOUR_S = HOUR // 1000
"""Interval of funding that is paid hourly, in seconds."""
Rows: TypeAlias = list[msgspec.Raw]
"""Rows of an answer that are yet to be read: one by one, so that a bad one spoils no other."""


def decoded(body: bytes, kind: type[Row]) -> Row:
    """An answer, checked.

    Raises:
        Unreadable: it is something else.
    """
    try:
        return msgspec.json.decode(body, type=kind, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(str(error) or "nested too deep") from error


def each(rows: Sequence[Row], facts: Callable[[Row], Iterable[Fact]]) -> Page:
    """Facts of the rows that can be read; one that cannot is counted and spoils no other.

    Raises:
        Unreadable: none of them can.
    """
    page = Page()
    for row in rows:
        try:
            page.facts.extend(facts(row))
        except (Unreadable, ValueError, msgspec.ValidationError) as error:
            page.unread += 1
            page.why = str(error)
    if rows and page.unread == len(rows):
        raise Unreadable(page.why)
    return page


def told(
    rows: Rows, kind: type[Row], facts: Callable[[Row], Iterable[Fact]], limit: int | None = None
) -> Page:
    """Facts of `each` row of a kind; as many as `limit`, and the answer was cut.

    Raises:
        Unreadable: none of the rows can be read.
    """
    page = each(rows, lambda raw: facts(decoded(bytes(raw), kind)))
    page.more = limit is not None and len(rows) >= limit
    return page


class Kline(msgspec.Struct, array_like=True):
    """Opening time, open, high, low, close, and more that is not read; numbers or texts."""

    time: Time
    open: Price
    high: Price
    low: Price
    close: Price


def candle(row: Kline) -> list[Fact]:
    """The candle of a row, where its prices can be those of one: this finds columns that changed places."""
    if not 0 < row.low <= min(row.open, row.close) <= max(row.open, row.close) <= row.high:
        raise ValueError(f"no candle: {row.open:g} {row.high:g} {row.low:g} {row.close:g}")
    return [Candle(row.time, row.open, row.high, row.low, row.close)]


def paid(of: Instrument, time: Millis, rate: float, interval_s: int | None = None) -> Funding:
    """A payment; the interval is None where the venue does not tell it."""
    return Funding(of, time, rate, interval_s, None, "settled")


_INSTANT = re.compile(
    r"(\d{4})-([01]\d)-([0-3]\d)[T ]([0-2]\d):([0-5]\d):([0-6]\d)(?:\.(\d{1,3})\d*)?(?:Z|\+00:00)?"
)


def instant(text: str) -> Millis:
    """Milliseconds of a UTC time such as `2026-07-11 00:05:01` or `2026-07-11T00:05:01.250Z`.

    Raises:
        ValueError: it is not one.
    """
    if not (found := _INSTANT.fullmatch(text)):
        raise ValueError(f"not a time: {text[:40]!r}")
    parts = [int(part) for part in found.groups()[:6]]
    return calendar.timegm((*parts, 0, 0, 0)) * 1000 + int((found[7] or "0").ljust(3, "0"))


def iso(time: Millis) -> str:
    """`2026-07-11T00:05:01.250Z`."""
    return str(pl.Series([time]).cast(pl.Datetime("ms")).dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")[0])


def date(time: Millis) -> str:
    """`2026-07-11`."""
    return iso(time)[:10]
