"""Kraken Futures' past: `PF_` perpetuals counted in coins, `PI_` ones in dollars.

Documents: docs.kraken.com, Futures API, "Market Analytics", "Market Candles", "Historical Funding Rates".
Open interest comes as open, high, low, close of a period that is stamped with its opening; the close is
read. The funding answer is the whole past at once, hourly; `relativeFundingRate` is the rate.
"""

from __future__ import annotations

import msgspec

from monitor.archives.source import (
    FUNDING_AROUND,
    HOUR_S,
    Fact,
    Kline,
    Page,
    PastStep,
    Rows,
    Series,
    Source,
    candle,
    decoded,
    each,
    instant,
    paid,
    told,
)
from monitor.bars import STEPS
from monitor.events import Instrument, Margin, Millis, OpenInterest, Unit
from monitor.venue import Amount, Budget, Rate, Refused, Request, Time, Unreadable

_FIRST_MILLIS = 10**11
"""Times below it are seconds: copies of answers have both."""


class Held(msgspec.Struct, array_like=True):
    """Open interest at the open, the highest, the lowest and the close of a period."""

    open: Amount
    high: Amount
    low: Amount
    close: Amount


class Analytics(msgspec.Struct):
    """The `result` of an analytics answer."""

    timestamp: list[Time]
    data: Rows
    more: bool = False


class Analysed(msgspec.Struct):
    """Answer of `analytics/…/open-interest`."""

    result: Analytics | None = None
    errors: list[msgspec.Raw] = []


class Row(Kline, array_like=False):
    """A row of `charts/v1/mark/…`, by the names of its fields."""


class Candles(msgspec.Struct):
    """Answer of `charts/v1/mark/…`."""

    candles: Rows
    more_candles: bool = False


class Payment(msgspec.Struct):
    """A row of `historicalfundingrates`."""

    timestamp: str
    relativeFundingRate: Rate


class Rates(msgspec.Struct):
    """Answer of `historicalfundingrates`."""

    rates: Rows


def parse_open_interest(body: bytes, of: Instrument, step: PastStep) -> Page:
    """Answer of `analytics/…/open-interest`."""
    said = decoded(body, Analysed)
    if said.result is None or said.errors:
        raise Refused(b" ".join(bytes(one) for one in said.errors)[:200].decode(errors="replace"))
    times, values = said.result.timestamp, said.result.data
    if len(times) != len(values):
        raise Unreadable("not as many times as values")

    def facts(row: tuple[Millis, msgspec.Raw]) -> list[Fact]:
        opened = row[0] * 1000 if row[0] < _FIRST_MILLIS else row[0]
        return [OpenInterest(of, opened + STEPS[step], decoded(bytes(row[1]), Held).close)]

    page = each(list(zip(times, values, strict=True)), facts)
    page.more = said.result.more
    return page


def parse_candles(body: bytes, _of: Instrument, _step: PastStep) -> Page:
    """Answer of `charts/v1/mark/…`."""
    said = decoded(body, Candles)
    page = told(said.candles, Row, candle)
    page.more = said.more_candles
    return page


def parse_funding(body: bytes, of: Instrument, _step: PastStep) -> Page:
    """Answer of `historicalfundingrates`."""

    def facts(row: Payment) -> list[Fact]:
        return [paid(of, instant(row.timestamp), row.relativeFundingRate, HOUR_S)]

    return told(decoded(body, Rates).rates, Payment, facts)


def _open_interest(of: Instrument, start: Millis, end: Millis, step: PastStep) -> Request:
    return Request(
        f"/api/charts/v1/analytics/{of.symbol}/open-interest"
        f"?since={start // 1000}&to={end // 1000}&interval={STEPS[step] // 1000}"
    )


def _candles(of: Instrument, start: Millis, end: Millis, step: PastStep) -> Request:
    every = {"day": "1d", "hour": "1h"}[step]
    return Request(f"/api/charts/v1/mark/{of.symbol}/{every}?from={start // 1000}&to={end // 1000}")


def _funding(of: Instrument, _start: Millis, _end: Millis, _step: PastStep) -> Request:
    return Request(f"/derivatives/api/v4/historicalfundingrates?symbol={of.symbol}")


def perpetuals(asset: str) -> list[Instrument]:
    """Both perpetuals of an asset; the inverse one exists for the oldest assets only."""
    base = "XBT" if asset == "BTC" else asset
    kinds: list[tuple[str, Margin, Unit]] = [("PF", "linear", "coins")]
    if asset in ("BTC", "ETH"):
        kinds.append(("PI", "inverse", "usd"))
    return [
        Instrument(
            venue="kraken_futures",
            symbol=f"{prefix}_{base}USD",
            asset=asset,
            margin=margin,
            oi_unit=unit,
            oi_sides_reason="one side: assumed, the venue's documents do not say",
            funding_interval_s=HOUR_S,
        )
        for prefix, margin, unit in kinds
    ]


KRAKEN_PAST = Source(
    name="kraken_futures",
    rest_url="https://futures.kraken.com",
    budget=Budget("kraken_futures", weight=2, per_s=1),  # 5 a second advised
    series=(
        Series(request=_open_interest, parse=parse_open_interest),
        Series(request=_candles, parse=parse_candles),
        Series(request=_funding, parse=parse_funding, around=FUNDING_AROUND),
    ),
    bars={"day": 1200, "hour": 1000},  # few: the funding answer is the whole past each time
    rule=perpetuals,
    evidence="Close of the period, coins (`PF_`) or dollars (`PI_`); one side assumed.",
)
