"""KuCoin's past: open interest from its unified interface, funding and prices from the classic one.

Documents: www.kucoin.com/docs-new, "Get Open Interest", "Get Public Funding History", "Get Klines". Open
interest is in lots of the contract's `multiplier` (inverse: of one dollar) at the instant of its time.
Prices are of trades.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from monitor.archives.source import (
    FUNDING_AROUND,
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
from monitor.venue import (
    Amount,
    Budget,
    InstrumentList,
    Rate,
    Refused,
    Request,
    Time,
    asset_of,
)

_OPEN_INTEREST_LIMIT, _FUNDING_LIMIT, _KLINE_LIMIT = 200, 100, 200
LARGEST = 1e18
"""Of a contract, as of those of other venues."""


class Answer(msgspec.Struct):
    """Any answer."""

    code: str
    msg: str = ""
    data: Rows | None = None


class Contract(msgspec.Struct):
    """A row of `contracts/active`."""

    symbol: str
    baseCurrency: str
    quoteCurrency: str
    multiplier: float
    isInverse: bool = False
    expireDate: int | None = None


class Held(msgspec.Struct):
    """A row of `open-interest`."""

    openInterest: Amount
    ts: Time


class Payment(msgspec.Struct):
    """A row of `contract/funding-rates`."""

    fundingRate: Rate
    timepoint: Time


def _rows(body: bytes) -> Rows:
    said = decoded(body, Answer)
    if said.code != "200000":
        raise Refused(f"{said.code} {said.msg}")
    return said.data or []


def parse_instruments(bodies: Sequence[bytes]) -> list[Instrument]:
    """Answer of `contracts/active`; a contract that has no size is none of ours.

    Raises:
        Refused, Unreadable: by the answer.
    """
    found = []
    for row in (decoded(bytes(raw), Contract) for body in bodies for raw in _rows(body)):
        asset, multiplier = asset_of(row.baseCurrency)
        if not (row.isInverse or 0 < row.multiplier < LARGEST):
            continue
        found.append(
            Instrument(
                venue="kucoin",
                symbol=row.symbol,
                asset=asset,
                multiplier=multiplier,
                kind="perpetual" if row.expireDate is None else "future",
                quote=row.quoteCurrency,
                margin="inverse" if row.isInverse else "linear",
                oi_unit="contracts",
                contract_size=1.0 if row.isInverse else row.multiplier,
                oi_sides_reason="one side: assumed, the venue's documents do not say",
            )
        )
    return found


def parse_open_interest(body: bytes, of: Instrument, _step: PastStep) -> Page:
    """Answer of `open-interest` with an interval."""
    return told(
        _rows(body), Held, lambda row: [OpenInterest(of, row.ts, row.openInterest)], _OPEN_INTEREST_LIMIT
    )


def parse_funding(body: bytes, of: Instrument, _step: PastStep) -> Page:
    """Answer of `contract/funding-rates`."""
    return told(_rows(body), Payment, lambda row: [paid(of, row.timepoint, row.fundingRate)], _FUNDING_LIMIT)


def parse_klines(body: bytes, _of: Instrument, _step: PastStep) -> Page:
    """Answer of `kline/query`."""
    return told(_rows(body), Kline, candle, _KLINE_LIMIT)


def _open_interest(of: Instrument, start: Millis, end: Millis, step: PastStep) -> Request:
    every = {"day": "1day", "hour": "1hour"}[step]
    return Request(
        f"/api/ua/v1/market/open-interest?symbol={of.symbol}&interval={every}"
        f"&startAt={start}&endAt={end}&pageSize={_OPEN_INTEREST_LIMIT}",
        weight=10,
    )


def _funding(of: Instrument, start: Millis, end: Millis, _step: PastStep) -> Request:
    return Request(f"/api/v1/contract/funding-rates?symbol={of.symbol}&from={start}&to={end}", weight=5)


def _klines(of: Instrument, start: Millis, end: Millis, step: PastStep) -> Request:
    every = {"day": 1440, "hour": 60}[step]
    return Request(
        f"/api/v1/kline/query?symbol={of.symbol}&granularity={every}&from={start}&to={end}", weight=3
    )


KUCOIN_PAST = Source(
    name="kucoin",
    rest_url="https://api-futures.kucoin.com",
    budget=Budget("kucoin", weight=600, per_s=30),  # 2000 in 30 s
    series=(
        Series(
            request=_open_interest,
            parse=parse_open_interest,
            keeps="newest",
            rest_url="https://api.kucoin.com",
        ),
        Series(request=_funding, parse=parse_funding, keeps="newest", around=FUNDING_AROUND),
        Series(request=_klines, parse=parse_klines),
    ),
    bars={"day": 30, "hour": 180},  # a funding answer has a hundred rows
    instruments=InstrumentList((Request("/api/v1/contracts/active", weight=3),), parse_instruments),
    evidence="`openInterest` in lots; one side assumed.",
)
