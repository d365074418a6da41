"""Gate's past: statistics of a contract, with its open interest in contracts.

Documents: www.gate.com/docs/developers/apiv4, "Futures stats", "Futures market historical funding rate",
"Futures market K-line chart". Live rows of the same statistics are sent seconds after their time, so
the open interest is read as that of the instant; the documents do not say. Prices are the mark's.
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
    Price,
    Rate,
    Request,
    Time,
    asset_of,
)

_STATS_LIMIT, _FUNDING_LIMIT = 100, 1000
_CODE: dict[PastStep, str] = {"day": "1d", "hour": "1h"}


class Contract(msgspec.Struct):
    """A row of `contracts`; the multiplier of an inverse contract is 0."""

    name: str
    quanto_multiplier: Amount
    type: str = "direct"


class Stats(msgspec.Struct):
    """A row of `contract_stats`, in seconds."""

    time: Time
    open_interest: Amount


class Payment(msgspec.Struct):
    """A row of `funding_rate`, in seconds."""

    t: Time
    r: Rate


class Row(msgspec.Struct):
    """A row of `candlesticks`, in seconds."""

    t: Time
    o: Price
    h: Price
    l: Price  # noqa: E741 -- the venue's name
    c: Price


def parse_instruments(bodies: Sequence[bytes]) -> list[Instrument]:
    """Answers of `contracts` → perpetuals.

    Raises:
        Unreadable: by an answer.
    """
    found = []
    for row in (one for body in bodies for one in decoded(body, list[Contract])):
        base, _, quote = row.name.partition("_")
        asset, multiplier = asset_of(base)
        inverse = row.type == "inverse"
        if inverse or row.quanto_multiplier > 0:
            found.append(
                Instrument(
                    venue="gate",
                    symbol=row.name,
                    asset=asset,
                    multiplier=multiplier,
                    quote=quote,
                    margin="inverse" if inverse else "linear",
                    oi_unit="contracts",
                    contract_size=1.0 if inverse else row.quanto_multiplier,
                    oi_sides_reason="one side: `position_size` of the contract is the total of longs",
                )
            )
    return found


def parse_stats(body: bytes, of: Instrument, _step: PastStep) -> Page:
    """Answer of `contract_stats`."""
    return told(
        decoded(body, Rows), Stats, lambda row: [OpenInterest(of, row.time * 1000, row.open_interest)],
        _STATS_LIMIT,
    )  # fmt: skip


def parse_funding(body: bytes, of: Instrument, _step: PastStep) -> Page:
    """Answer of `funding_rate`."""
    return told(decoded(body, Rows), Payment, lambda row: [paid(of, row.t * 1000, row.r)], _FUNDING_LIMIT)


def parse_candles(body: bytes, _of: Instrument, _step: PastStep) -> Page:
    """Answer of `candlesticks`."""
    return told(decoded(body, Rows), Row, lambda row: candle(Kline(row.t * 1000, row.o, row.h, row.l, row.c)))


def _market(of: Instrument) -> str:
    return f"/api/v4/futures/{'btc' if of.margin == 'inverse' else 'usdt'}"


def _stats(of: Instrument, start: Millis, _end: Millis, step: PastStep) -> Request:
    return Request(
        f"{_market(of)}/contract_stats?contract={of.symbol}&from={start // 1000}"
        f"&interval={_CODE[step]}&limit={_STATS_LIMIT}"
    )


def _funding(of: Instrument, start: Millis, end: Millis, _step: PastStep) -> Request:
    return Request(
        f"{_market(of)}/funding_rate?contract={of.symbol}"
        f"&from={start // 1000}&to={end // 1000}&limit={_FUNDING_LIMIT}"
    )


def _candles(of: Instrument, start: Millis, end: Millis, step: PastStep) -> Request:
    return Request(
        f"{_market(of)}/candlesticks?contract=mark_{of.symbol}"
        f"&from={start // 1000}&to={end // 1000}&interval={_CODE[step]}"
    )


GATE_PAST = Source(
    name="gate",
    rest_url="https://api.gateio.ws",
    budget=Budget("gate", weight=60, per_s=10),  # 200 in 10 s
    series=(
        Series(request=_stats, parse=parse_stats),
        Series(request=_funding, parse=parse_funding, keeps="newest", around=FUNDING_AROUND),
        Series(request=_candles, parse=parse_candles),
    ),
    bars={"day": 90, "hour": 90},
    instruments=InstrumentList(
        (Request("/api/v4/futures/usdt/contracts"), Request("/api/v4/futures/btc/contracts")),
        parse_instruments,
    ),
    evidence="`open_interest` in contracts; one side, as `position_size` is the total of longs.",
)
