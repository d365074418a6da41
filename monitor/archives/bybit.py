"""Bybit's past, back to each contract's launch.

Documents: bybit-exchange.github.io/docs/v5, "Get Open Interest", "Get Funding Rate History", "Get Mark
Price Kline". `openInterest` counts both sides here as on the live ticker (the documents of 2026-06-11
say so for both, and give half of it as `singleOpenInterest`): the instrument's `oi_sides` halves both.
Hourly values kept by others (2020 to 2022) are those of the instant of their time.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from monitor.archives.source import (
    FUNDING_AROUND,
    Fact,
    Kline,
    Page,
    PastStep,
    Rows,
    Series,
    Source,
    candle,
    decoded,
    paid,
    told,
)
from monitor.events import Instrument, Millis, OpenInterest
from monitor.venue import Amount, Rate, Refused, Request, Time
from monitor.venues.bybit import BYBIT

_OPEN_INTEREST_LIMIT, _FUNDING_LIMIT, _KLINE_LIMIT = 200, 200, 1000
_SIDES, _SIDES_TOLERANCE = 2, 0.1


class Result(msgspec.Struct):
    """The rows of any answer, newest first."""

    rows: Rows = msgspec.field(name="list", default_factory=list)


class Answer(msgspec.Struct):
    """Any answer; the result of a refusal is empty."""

    retCode: int
    retMsg: str
    result: Result


class Held(msgspec.Struct):
    """A row of `open-interest`."""

    openInterest: Amount
    timestamp: Time
    singleOpenInterest: Amount | Literal[""] | None = None


class Payment(msgspec.Struct):
    """A row of `funding/history`."""

    fundingRate: Rate
    fundingRateTimestamp: Time


def _rows(body: bytes) -> Rows:
    said = decoded(body, Answer)
    if said.retCode != 0:
        raise Refused(said.retMsg)
    return said.result.rows


def parse_open_interest(body: bytes, of: Instrument, _step: PastStep) -> Page:
    """Answer of `open-interest`; a row that is not twice its own single side is not believed."""

    def facts(row: Held) -> list[Fact]:
        single = row.singleOpenInterest
        if isinstance(single, float) and single > 0:
            sides = row.openInterest / single
            if abs(sides - _SIDES) > _SIDES_TOLERANCE:
                raise ValueError(f"open interest is {sides:.3g} times its one side")
        return [OpenInterest(of, row.timestamp, row.openInterest)]

    return told(_rows(body), Held, facts, _OPEN_INTEREST_LIMIT)


def parse_funding(body: bytes, of: Instrument, _step: PastStep) -> Page:
    """Answer of `funding/history`."""
    return told(
        _rows(body), Payment, lambda row: [paid(of, row.fundingRateTimestamp, row.fundingRate)],
        _FUNDING_LIMIT,
    )  # fmt: skip


def parse_klines(body: bytes, _of: Instrument, _step: PastStep) -> Page:
    """Answer of `mark-price-kline`."""
    return told(_rows(body), Kline, candle, _KLINE_LIMIT)


def _what(of: Instrument) -> str:
    return f"category={of.margin}&symbol={of.symbol}"


def _open_interest(of: Instrument, start: Millis, end: Millis, step: PastStep) -> Request:
    every = {"day": "1d", "hour": "1h"}[step]
    return Request(
        f"/v5/market/open-interest?{_what(of)}&intervalTime={every}"
        f"&startTime={start}&endTime={end}&limit={_OPEN_INTEREST_LIMIT}"
    )


def _funding(of: Instrument, start: Millis, end: Millis, _step: PastStep) -> Request:
    return Request(
        f"/v5/market/funding/history?{_what(of)}&startTime={start}&endTime={end}&limit={_FUNDING_LIMIT}"
    )


def _klines(of: Instrument, start: Millis, end: Millis, step: PastStep) -> Request:
    every = {"day": "D", "hour": "60"}[step]
    return Request(
        f"/v5/market/mark-price-kline?{_what(of)}&interval={every}"
        f"&start={start}&end={end}&limit={_KLINE_LIMIT}"
    )


BYBIT_PAST = Source(
    name="bybit",
    rest_url=BYBIT.rest_url,
    budget=BYBIT.budget,
    series=(
        Series(request=_open_interest, parse=parse_open_interest, keeps="newest"),
        Series(request=_funding, parse=parse_funding, keeps="newest", around=FUNDING_AROUND),
        Series(request=_klines, parse=parse_klines, keeps="newest"),
    ),
    bars={"day": 180, "hour": 180},
    instruments=BYBIT.instruments,
    evidence="`openInterest`, both sides (documents of 2026-06-11), halved like the live ticker's.",
)
