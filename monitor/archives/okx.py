"""OKX's past: daily open interest since January 2024, funding of three months.

Documents: www.okx.com/docs-v5, "Get contract open interest history", "Get funding rate history", "Get
mark price candlesticks history". Days are asked as `1Dutc`: a plain `1D` begins at 16:00 UTC. A row of
open interest is stamped with the opening of its period and moves until its close, hence is the close's.
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
from monitor.bars import STEPS
from monitor.events import Instrument, Millis, OpenInterest
from monitor.venue import Amount, Rate, Refused, Request, Time
from monitor.venues.okx import OKX

_OPEN_INTEREST_LIMIT, _FUNDING_LIMIT, _CANDLE_LIMIT = 100, 400, 100
_CODE: dict[PastStep, str] = {"day": "1Dutc", "hour": "1H"}


class Answer(msgspec.Struct):
    """Any answer."""

    code: str
    msg: str = ""
    data: Rows = []


class Held(msgspec.Struct, array_like=True):
    """Opening time and contracts; coins and dollars follow."""

    time: Time
    contracts: Amount


class Payment(msgspec.Struct):
    """A row of `funding-rate-history`; `realizedRate` is what was paid."""

    fundingTime: Time
    fundingRate: Rate
    realizedRate: Rate | Literal[""] | None = None


def _rows(body: bytes) -> Rows:
    said = decoded(body, Answer)
    if said.code != "0":
        raise Refused(f"{said.code} {said.msg}")
    return said.data


def parse_open_interest(body: bytes, of: Instrument, step: PastStep) -> Page:
    """Answer of `open-interest-history`."""
    return told(
        _rows(body), Held, lambda row: [OpenInterest(of, row.time + STEPS[step], row.contracts)],
        _OPEN_INTEREST_LIMIT,
    )  # fmt: skip


def parse_funding(body: bytes, of: Instrument, _step: PastStep) -> Page:
    """Answer of `funding-rate-history`."""

    def facts(row: Payment) -> list[Fact]:
        rate = row.realizedRate if isinstance(row.realizedRate, float) else row.fundingRate
        return [paid(of, row.fundingTime, rate)]

    return told(_rows(body), Payment, facts, _FUNDING_LIMIT)


def parse_candles(body: bytes, _of: Instrument, _step: PastStep) -> Page:
    """Answer of `history-mark-price-candles`."""
    return told(_rows(body), Kline, candle, _CANDLE_LIMIT)


def _open_interest(of: Instrument, start: Millis, end: Millis, step: PastStep) -> Request:
    # The documents do not say whether the ends belong to the span.
    return Request(
        f"/api/v5/rubik/stat/contracts/open-interest-history?instId={of.symbol}&period={_CODE[step]}"
        f"&begin={start - STEPS[step] - 1}&end={end + 1}&limit={_OPEN_INTEREST_LIMIT}"
    )


def _funding(of: Instrument, start: Millis, end: Millis, _step: PastStep) -> Request:
    # `after` asks for what is earlier, `before` for what is later, both without the moment itself.
    return Request(
        f"/api/v5/public/funding-rate-history?instId={of.symbol}"
        f"&before={start - 1}&after={end + 1}&limit={_FUNDING_LIMIT}"
    )


def _candles(of: Instrument, start: Millis, end: Millis, step: PastStep) -> Request:
    return Request(
        f"/api/v5/market/history-mark-price-candles?instId={of.symbol}&bar={_CODE[step]}"
        f"&before={start - 1}&after={end + 1}&limit={_CANDLE_LIMIT}"
    )


OKX_PAST = Source(
    name="okx",
    rest_url=OKX.rest_url,
    budget=OKX.budget,
    series=(
        Series(request=_open_interest, parse=parse_open_interest, keeps="newest"),
        Series(request=_funding, parse=parse_funding, keeps="newest", around=FUNDING_AROUND),
        Series(request=_candles, parse=parse_candles, keeps="newest"),
    ),
    bars={"day": 90, "hour": 90},
    instruments=OKX.instruments,
    evidence="`oi` in contracts at the close of the period; one side assumed, like the live channel's.",
)
