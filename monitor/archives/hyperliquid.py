"""Hyperliquid's past: funding and prices. It keeps no open interest; only a monitor that ran has it.

Documents: hyperliquid.gitbook.io, "Info endpoint", `fundingHistory` (a rate per hour, paid hourly, 500
rows a page) and `candleSnapshot` (trades; the last 5000 candles).
"""

from __future__ import annotations

import msgspec
import orjson

from monitor.archives.source import (
    FUNDING_AROUND,
    HOUR_S,
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
from monitor.events import Instrument, Millis
from monitor.venue import Price, Rate, Request, Time
from monitor.venues.hyperliquid import HYPERLIQUID

_FUNDING_LIMIT = 500


class Payment(msgspec.Struct):
    """A row of `fundingHistory`."""

    fundingRate: Rate
    time: Time


class Row(msgspec.Struct):
    """A row of `candleSnapshot`; `t` is the opening time."""

    t: Time
    o: Price
    h: Price
    l: Price  # noqa: E741 -- the venue's name
    c: Price


def parse_funding(body: bytes, of: Instrument, _step: PastStep) -> Page:
    """Answer of `fundingHistory`."""
    return told(
        decoded(body, Rows), Payment, lambda row: [paid(of, row.time, row.fundingRate, HOUR_S)],
        _FUNDING_LIMIT,
    )  # fmt: skip


def parse_candles(body: bytes, _of: Instrument, _step: PastStep) -> Page:
    """Answer of `candleSnapshot`."""
    return told(decoded(body, Rows), Row, lambda row: candle(Kline(row.t, row.o, row.h, row.l, row.c)))


def _funding(of: Instrument, start: Millis, end: Millis, _step: PastStep) -> Request:
    asked = {"type": "fundingHistory", "coin": of.symbol, "startTime": start, "endTime": end}
    return Request("/info", weight=45, body=orjson.dumps(asked).decode())  # 20, and one for 20 rows


def _candles(of: Instrument, start: Millis, end: Millis, step: PastStep) -> Request:
    every = {"day": "1d", "hour": "1h"}[step]
    span = {"coin": of.symbol, "interval": every, "startTime": start, "endTime": end}
    return Request("/info", weight=30, body=orjson.dumps({"type": "candleSnapshot", "req": span}).decode())


HYPERLIQUID_PAST = Source(
    name="hyperliquid",
    rest_url=HYPERLIQUID.rest_url,
    budget=HYPERLIQUID.budget,
    series=(
        Series(request=_funding, parse=parse_funding, around=FUNDING_AROUND),
        Series(request=_candles, parse=parse_candles),
    ),
    bars={"day": 100, "hour": 480},
    instruments=HYPERLIQUID.instruments,
    has_open_interest=False,
    evidence="No history of open interest. Funding: the rate of one hour.",
)
