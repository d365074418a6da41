"""Binance USDⓈ-M futures: dollar-margined perpetuals, counted in coins.

Documents: developers.binance.com, Derivatives, USDⓈ-M Futures, "Websocket Market Streams" and
"Market Data Endpoints". Since April 2026 the streams read here live under `/market`; a wrong path
connects, acknowledges and stays silent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
import orjson

from monitor.events import (
    Event,
    Funding,
    Instrument,
    Liquidation,
    Margin,
    Mark,
    Millis,
    OpenInterest,
    Position,
    Unit,
)
from monitor.venue import (
    Amount,
    Budget,
    Channel,
    Endpoint,
    Hours,
    InstrumentList,
    Instruments,
    Poll,
    Price,
    Rate,
    Refused,
    Reply,
    Request,
    Size,
    Time,
    Topic,
    Unreadable,
    Venue,
    asset_of,
    batches,
)


class MarkPrice(msgspec.Struct, gc=False, kw_only=True, tag_field="e", tag="markPriceUpdate"):
    """`<symbol>@markPrice@1s`."""

    E: Time
    s: str
    p: Price
    i: Price | None = None
    r: Rate | Literal[""]
    """Empty on dated contracts."""
    T: Time
    """When `r` is due; zero on contracts without funding."""


class Order(msgspec.Struct, gc=False):
    """The forced order of a `forceOrder`: `S` is the side of the order, not of the position."""

    s: str
    S: Literal["BUY", "SELL"]
    ap: Price
    z: Amount
    T: Time


class ForceOrder(msgspec.Struct, gc=False, tag_field="e", tag="forceOrder"):
    """`<symbol>@forceOrder`: at most one for each symbol and second."""

    o: Order


class Ticker(msgspec.Struct, gc=False, tag_field="e", tag="24hrTicker"):
    """Known, and nothing in it that we track."""


class IndexPrice(msgspec.Struct, gc=False, tag_field="e", tag="indexPriceUpdate"):
    """Known; the mark price message has the index too."""


Payload = MarkPrice | ForceOrder | Ticker | IndexPrice


class Combined(msgspec.Struct, gc=False):
    """A frame of `/stream`: the payload says what it is, the stream's name is not needed."""

    data: Payload | list[Payload]


class OpenInterestAnswer(msgspec.Struct, gc=False):
    """Answer to `openInterest`."""

    symbol: str
    openInterest: Amount
    time: Time


_S = b"s"
"""Third byte of a combined frame: `{"stream"`. A raw one begins with another key, or a bracket."""
_combined = msgspec.json.Decoder(Combined, strict=False).decode
_raw = msgspec.json.Decoder(Payload | list[Payload], strict=False).decode
_open_interest = msgspec.json.Decoder(OpenInterestAnswer, strict=False)


def parse(frame: bytes, instruments: Instruments, _received: Millis) -> Sequence[Event | Reply]:
    """A combined or raw stream frame → mark and funding, or a liquidation."""
    try:
        data = _combined(frame).data if frame[2:3] == _S else _raw(frame)
    except msgspec.MsgspecError as error:
        return _uncommon(frame, instruments, error)
    if type(data) is not MarkPrice:
        return _payload(data, instruments)
    try:
        instrument = instruments[data.s]
    except KeyError:
        return ()
    time, due, rate = data.E, data.T, data.r
    if due and type(rate) is float:
        return Mark(instrument, time, data.p, data.i), Funding(instrument, time, rate, None, due)
    return (Mark(instrument, time, data.p, data.i),)


def _payload(data: Payload | Sequence[Payload], instruments: Instruments) -> Sequence[Event]:
    """Any payload; `parse` takes the commonest itself, which spares it this call."""
    if type(data) is ForceOrder:
        order = data.o
        if (instrument := instruments.get(order.s)) is None:
            return ()
        position: Position = "long" if order.S == "SELL" else "short"
        return (Liquidation(instrument, order.T, position, order.ap, order.z),)
    events: list[Event] = []
    for one in data if isinstance(data, list) else ():
        if type(one) is not MarkPrice:
            events.extend(_payload(one, instruments))
        elif (instrument := instruments.get(one.s)) is not None:
            events.append(Mark(instrument, one.E, one.p, one.i))
            if one.T and type(one.r) is float:
                events.append(Funding(instrument, one.E, one.r, None, one.T))
    return events


def _uncommon(frame: bytes, instruments: Instruments, cause: Exception) -> Sequence[Event]:
    """Acknowledgements and refusals, and combined frames that are written otherwise than today."""
    try:
        said = orjson.loads(frame)
    except orjson.JSONDecodeError as error:
        raise Unreadable(str(error)) from error
    if isinstance(said, dict):
        if "code" in said or "error" in said:
            raise Refused(str(said.get("msg") or said.get("error"))) from cause
        if "result" in said:
            return ()
        if _foreign(said.get("data", said)):
            return ()
        if "data" in said:
            try:
                data = _combined(frame).data
                return _payload(data if isinstance(data, list) else [data], instruments)
            except msgspec.MsgspecError as error:
                raise Unreadable(str(error)) from error
    raise Unreadable(str(cause)) from cause


_OURS = ("markPriceUpdate", "forceOrder")


def _foreign(data: object) -> bool:
    """Whether it is an event of the venue that we do not follow, such as a trade."""
    name = data.get("e") if isinstance(data, dict) else None
    return isinstance(name, str) and name not in _OURS


def parse_open_interest(body: bytes, instruments: Instruments, _received: Millis) -> Sequence[Event]:
    """Answer to `openInterest?symbol=`: coins (USDⓈ-M) or contracts (COIN-M), one side."""
    try:
        said = _open_interest.decode(body)
    except msgspec.MsgspecError as error:
        raise Unreadable(str(error)) from error
    instrument = instruments.get(said.symbol)
    return () if instrument is None else (OpenInterest(instrument, said.time, said.openInterest),)


def subscribe(topics: Sequence[Topic]) -> Sequence[str]:
    """SUBSCRIBE frames; the venue reads ten messages a second from us, so many names go in one."""
    return _ask("SUBSCRIBE", topics)


def unsubscribe(topics: Sequence[Topic]) -> Sequence[str]:
    """UNSUBSCRIBE frames."""
    return _ask("UNSUBSCRIBE", topics)


def _ask(method: str, topics: Sequence[Topic]) -> Sequence[str]:
    return [
        orjson.dumps({"method": method, "params": [t.name for t in some], "id": n}).decode()
        for n, some in enumerate(batches(topics, 50), 1)
    ]


def topics(instruments: Sequence[Instrument]) -> Sequence[Topic]:
    """Mark price each second and forced orders, by symbol.

    By symbol, not `!forceOrder@arr`: since June 2026 that one sends both of the venue's markets on
    both hosts, and would be counted twice.
    """
    return [
        Topic(channel, f"{of.symbol.lower()}@{stream}")
        for of in instruments
        for channel, stream in (("markPrice", "markPrice@1s"), ("forceOrder", "forceOrder"))
    ]


def instrument(symbol: str, base: str, quote: str, contract: str, **of_margin: object) -> Instrument:
    """An instrument of either market from its parts."""
    asset, multiplier = asset_of(base)
    return Instrument(
        symbol=symbol, asset=asset, multiplier=multiplier, quote=quote,
        kind="perpetual" if contract in ("PERPETUAL", "TRADIFI_PERPETUAL") else "future",
        oi_sides=1, oi_sides_reason="one side: market convention, not stated by the venue",
        **of_margin,  # type: ignore[arg-type]
    )  # fmt: skip


class Listing(msgspec.Struct):
    """A row of `exchangeInfo`. Delisted symbols stay in it with another status."""

    symbol: str
    contractType: str
    baseAsset: str
    quoteAsset: str
    status: str = ""
    contractStatus: str = ""
    contractSize: Size = 1


class ExchangeInfo(msgspec.Struct):
    """Answer to `exchangeInfo`."""

    symbols: list[Listing]


class FundingInfo(msgspec.Struct):
    """A row of `fundingInfo`, which lists only the symbols whose terms were adjusted."""

    symbol: str
    fundingIntervalHours: Hours = 8


def instruments_reader(
    make: Callable[[Listing, int], Instrument],
) -> Callable[[Sequence[bytes]], Sequence[Instrument]]:
    """Reads `exchangeInfo` and `fundingInfo`; a symbol that the second lacks pays every 8 hours."""

    def read(bodies: Sequence[bytes]) -> Sequence[Instrument]:
        try:
            listed = msgspec.json.decode(bodies[0], type=ExchangeInfo, strict=False)
            adjusted = msgspec.json.decode(bodies[1], type=list[FundingInfo], strict=False)
        except (msgspec.MsgspecError, IndexError) as error:
            raise Unreadable(str(error)) from error
        hours = {row.symbol: row.fundingIntervalHours for row in adjusted}
        return [
            make(row, hours.get(row.symbol, 8) * 3600)
            for row in listed.symbols
            if "TRADING" in (row.status, row.contractStatus)
        ]

    return read


def requests_open_interest(prefix: str) -> Callable[[Sequence[Instrument]], Sequence[Request]]:
    """One question for each symbol: the venue has no stream and no list of open interest."""
    return lambda instruments: [
        Request(f"{prefix}/openInterest?symbol={of.symbol}", weight=1) for of in instruments
    ]


CHANNELS = (
    Channel("markPrice", (Mark, Funding), silent_after_s=15),
    Channel("forceOrder", (Liquidation,), quiet=True),
)
OPEN_INTEREST = Channel("openInterest", (OpenInterest,), silent_after_s=60)
BUDGET = Budget("binance", weight=1200)  # 2400 a minute and address, shared by fapi and dapi
FEED_EVIDENCE = (
    "The order's side: SELL closed a long. At most one order for each symbol and second "
    "(venue's documents since 2021-04-27), hence a lower bound."
)


def _rule(symbol: str) -> Instrument | None:
    pair, _, expiry = symbol.partition("_")
    for quote in ("USDT", "USDC", "BUSD", "USD1"):
        if pair.endswith(quote) and len(pair) > len(quote):
            contract = "PERPETUAL" if not expiry else "FUTURE"
            return _make(pair.removesuffix(quote), quote, symbol, contract)
    return None


def _make(base: str, quote: str, symbol: str, contract: str, interval: int | None = None) -> Instrument:
    margin: Margin = "linear"
    unit: Unit = "coins"
    return instrument(
        symbol, base, quote, contract, venue="binance_usdm", margin=margin,
        oi_unit=unit, liquidation_unit=unit, funding_interval_s=interval,
    )  # fmt: skip


BINANCE_USDM = Venue(
    name="binance_usdm",
    title="Binance USD-M",
    ws_url="wss://fstream.binance.com",
    rest_url="https://fapi.binance.com",
    endpoints=(Endpoint("/market/stream", topics, per_connection=200),),
    channels=CHANNELS,
    subscribe=subscribe,
    unsubscribe=unsubscribe,
    parse=parse,
    rule=_rule,
    instruments=InstrumentList(
        (Request("/fapi/v1/exchangeInfo"), Request("/fapi/v1/fundingInfo")),
        instruments_reader(
            lambda row, interval: _make(row.baseAsset, row.quoteAsset, row.symbol, row.contractType, interval)
        ),
    ),
    budget=BUDGET,
    polls=(Poll(OPEN_INTEREST, requests_open_interest("/fapi/v1"), parse_open_interest, every_s=5),),
    liquidation_feed="throttled",
    liquidation_evidence=FEED_EVIDENCE,
    oi_evidence="`openInterest` in coins, one side (market convention; the documents do not say).",
)
