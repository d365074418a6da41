"""dYdX v4's past: its candles carry the open interest at which they start.

Documents: docs.dydx.exchange, Indexer, "Candles", "Historical Funding" (a rate per hour; only pages
backwards from a moment). Prices are of trades, open interest is in coins.
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
    instant,
    iso,
    paid,
    told,
)
from monitor.events import Instrument, Millis, OpenInterest
from monitor.venue import Amount, Budget, Price, Rate, Request

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

    candles: Rows


class Payment(msgspec.Struct):
    """A row of `historicalFunding`."""

    rate: Rate
    effectiveAt: str


class Payments(msgspec.Struct):
    """Answer of `historicalFunding/…`, newest first."""

    historicalFunding: Rows


def parse_candles(body: bytes, of: Instrument, _step: PastStep) -> Page:
    """Answer of `candles/perpetualMarkets/…`: prices, and the open interest of the opening instant."""

    def facts(row: Row) -> list[Fact]:
        time = instant(row.startedAt)
        prices = candle(Kline(time, row.open, row.high, row.low, row.close))
        held = row.startingOpenInterest
        return prices if held is None else [*prices, OpenInterest(of, time, held)]

    return told(decoded(body, Candles).candles, Row, facts, _LIMIT)


def parse_funding(body: bytes, of: Instrument, _step: PastStep) -> Page:
    """Answer of `historicalFunding/…`."""

    def facts(row: Payment) -> list[Fact]:
        return [paid(of, instant(row.effectiveAt), row.rate, HOUR_S)]

    return told(decoded(body, Payments).historicalFunding, Payment, facts, _LIMIT)


def _candles(of: Instrument, start: Millis, end: Millis, step: PastStep) -> Request:
    every = {"day": "1DAY", "hour": "1HOUR"}[step]
    # One more millisecond, as the documents do not say whether the end belongs to the span: the candle
    # that opens there tells the open interest of the last close.
    return Request(
        f"/v4/candles/perpetualMarkets/{of.symbol}?resolution={every}"
        f"&fromISO={iso(start)}&toISO={iso(end + 1)}&limit={_LIMIT}",
        weight=10,
    )


def _funding(of: Instrument, _start: Millis, end: Millis, _step: PastStep) -> Request:
    return Request(f"/v4/historicalFunding/{of.symbol}?effectiveBeforeOrAt={iso(end)}&limit={_LIMIT}")


def perpetuals(asset: str) -> list[Instrument]:
    """The perpetual of an asset."""
    return [
        Instrument(
            venue="dydx",
            symbol=f"{asset}-USD",
            asset=asset,
            oi_sides_reason="one side: by the protocol, not stated in its documents",
            funding_interval_s=HOUR_S,
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
