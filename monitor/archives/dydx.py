"""dYdX v4's past: its candles carry the open interest at which they start.

Documents: docs.dydx.exchange, Indexer, "Candles", "Historical Funding" (a rate per hour; only pages
backwards from a moment). Prices are of trades, open interest is in coins.
"""

from __future__ import annotations

import msgspec

from monitor.archives.source import (
    FUNDING_AROUND,
    Fact,
    Kline,
    Page,
    Series,
    Source,
    candle,
    decoded,
    instant,
    iso,
    paid,
    told,
)
from monitor.bars import Step
from monitor.events import Instrument, Millis, OpenInterest
from monitor.venue import Amount, Budget, Price, Rate, Request

_HOUR_S = 3600
_LIMIT = 1000


class Row(msgspec.Struct):
    """A row of `candles`."""

    startedAt: str
    open: Price
    high: Price
    low: Price
    close: Price
    startingOpenInterest: Amount | None = None


class Candles(msgspec.Struct):
    """Answer of `candles/perpetualMarkets/…`, newest first."""

    candles: list[msgspec.Raw]


class Payment(msgspec.Struct):
    """A row of `historicalFunding`."""

    rate: Rate
    effectiveAt: str


class Payments(msgspec.Struct):
    """Answer of `historicalFunding/…`, newest first."""

    historicalFunding: list[msgspec.Raw]


def parse_candles(body: bytes, of: Instrument, _step: Step) -> Page:
    """Answer of `candles/perpetualMarkets/…`: prices, and the open interest of the opening instant."""

    def facts(row: Row) -> list[Fact]:
        time = instant(row.startedAt)
        prices = candle(Kline(time, row.open, row.high, row.low, row.close))
        held = row.startingOpenInterest
        return prices if held is None else [*prices, OpenInterest(of, time, held)]

    rows = decoded(body, Candles).candles
    return told(rows, Row, facts, more=len(rows) >= _LIMIT)


def parse_funding(body: bytes, of: Instrument, _step: Step) -> Page:
    """Answer of `historicalFunding/…`."""
    rows = decoded(body, Payments).historicalFunding
    return told(
        rows, Payment, lambda row: [paid(of, instant(row.effectiveAt), row.rate, _HOUR_S)],
        more=len(rows) >= _LIMIT,
    )  # fmt: skip


def _candles(of: Instrument, start: Millis, end: Millis, step: Step) -> Request:
    every = {"day": "1DAY", "hour": "1HOUR"}[step]
    # One more millisecond, as the documents do not say whether the end belongs to the span: the candle
    # that opens there tells the open interest of the last close.
    return Request(
        f"/v4/candles/perpetualMarkets/{of.symbol}?resolution={every}"
        f"&fromISO={iso(start)}&toISO={iso(end + 1)}&limit={_LIMIT}",
        weight=10,
    )


def _funding(of: Instrument, _start: Millis, end: Millis, _step: Step) -> Request:
    return Request(f"/v4/historicalFunding/{of.symbol}?effectiveBeforeOrAt={iso(end)}&limit={_LIMIT}")


def perpetuals(asset: str) -> list[Instrument]:
    """The perpetual of an asset."""
    return [
        Instrument(
            venue="dydx",
            symbol=f"{asset}-USD",
            asset=asset,
            oi_sides_reason="one side: by the protocol, not stated in its documents",
            funding_interval_s=_HOUR_S,
        )
    ]


DYDX_PAST = Source(
    name="dydx",
    rest_url="https://indexer.dydx.trade",
    budget=Budget("dydx", weight=40, per_s=10),  # 100 requests, or 1000 points of candles, in 10 s
    series=(
        Series(request=_candles, parse=parse_candles, keeps="newest"),
        Series(request=_funding, parse=parse_funding, keeps="newest", around=FUNDING_AROUND),
    ),
    bars={"day": 365, "hour": 480},
    rule=perpetuals,
    evidence="`startingOpenInterest` in coins at the opening of the next period; one side.",
)
