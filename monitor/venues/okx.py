"""OKX V5 swaps, counted in contracts.

Documents: www.okx.com/docs-v5, "Public Data" channels. The first push of `liquidation-orders` after
a subscription may be an old snapshot; `tables.py` tells by time and content.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import msgspec
import orjson

from monitor.events import (
    Event,
    Funding,
    Index,
    Instrument,
    Liquidation,
    Mark,
    Millis,
    OpenInterest,
    Position,
)
from monitor.venue import (
    Amount,
    Budget,
    Channel,
    Endpoint,
    InstrumentList,
    Instruments,
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


class Detail(msgspec.Struct, gc=False):
    """One liquidation; `posSide` is the position, or `net`, where the order's `side` tells."""

    bkPx: Price
    posSide: str
    side: Literal["buy", "sell"]
    sz: Amount
    ts: Time


class Row(msgspec.Struct, gc=False, kw_only=True):
    """A row of any channel read here: each has its own of these fields, in the wire's order."""

    details: list[Detail] | None = None
    fundingRate: Rate | None = None
    fundingTime: Time = 0
    instId: str
    markPx: Price | None = None
    idxPx: Price | None = None
    oi: Amount | None = None
    nextFundingTime: Time = 0
    prevFundingTime: Time | Literal[""] | None = None
    settFundingRate: Rate | Literal[""] | None = None
    """Empty before a contract's first payment."""
    ts: Time = 0


class Push(msgspec.Struct, gc=False):
    """A push of a channel; its rows show which."""

    data: list[Row]


_decode = msgspec.json.Decoder(Push, strict=False).decode
_PONG = b"pong"


def parse(frame: bytes, instruments: Instruments, received: Millis) -> Sequence[Event | Reply]:
    """A push → events of its channel."""
    try:
        said = _decode(frame)
    except msgspec.MsgspecError as error:
        return () if frame == _PONG else _uncommon(frame, error)
    rows = said.data
    if len(rows) == 1:  # the common case, in few steps
        row = rows[0]
        try:
            instrument = instruments[row.instId]
        except KeyError:
            return ()
        if (price := row.markPx) is not None:
            return (Mark(instrument, row.ts, price),)
        return _row(row, instrument, received)
    return [event for row in rows for event in _row(row, instruments.get(row.instId), received)]


def _row(row: Row, instrument: Instrument | None, received: Millis) -> Sequence[Event]:
    if instrument is None:
        return ()
    if (price := row.markPx) is not None:
        return (Mark(instrument, row.ts, price),)
    if (amount := row.oi) is not None:
        return (OpenInterest(instrument, row.ts, amount),)
    if (price := row.idxPx) is not None:
        return (Index(instrument, row.ts, price),)
    if (rate := row.fundingRate) is not None:
        return _funding(instrument, row, rate, received)
    events: list[Event] = []
    for one in row.details or ():
        long = one.posSide == "long" or (one.posSide != "short" and one.side == "sell")
        position: Position = "long" if long else "short"
        events.append(Liquidation(instrument, one.ts, position, one.bkPx, one.sz))
    return events


def _funding(instrument: Instrument, row: Row, rate: float, received: Millis) -> Sequence[Funding]:
    """The running rate settles at `fundingTime`; the next time is one interval later."""
    due = row.fundingTime
    after = row.nextFundingTime
    interval = (after - due) // 1000 if after > due > 0 else None
    time = row.ts or received  # until 2022 the message had no time
    running = Funding(instrument, time, rate, interval, due or None)
    paid, before = row.settFundingRate, row.prevFundingTime
    if not isinstance(paid, float) or not isinstance(before, int) or before >= due:
        return (running,)
    return (Funding(instrument, time, paid, (due - before) // 1000, None, "settled"), running)


_CHANNELS = ("mark-price", "index-tickers", "funding-rate", "open-interest", "liquidation-orders")


def _uncommon(frame: bytes, cause: Exception) -> Sequence[Event]:
    try:
        said = orjson.loads(frame)
    except orjson.JSONDecodeError as error:
        raise Unreadable(str(error)) from error
    match said:
        case {"event": "error"}:
            raise Refused(str(said.get("msg") or said)) from cause
        case {"event": _}:
            return ()  # acknowledgements, connection counts, notices of an upgrade
        case {"arg": {"channel": str(channel)}} if channel not in _CHANNELS:
            return ()  # a channel that we do not follow
    raise Unreadable(str(cause)) from cause


def subscribe(topics: Sequence[Topic]) -> Sequence[str]:
    """Subscriptions of 100 arguments: far below 64 kB a request and 480 requests an hour."""
    return _ask("subscribe", topics)


def unsubscribe(topics: Sequence[Topic]) -> Sequence[str]:
    """Unsubscriptions."""
    return _ask("unsubscribe", topics)


def _ask(op: str, topics: Sequence[Topic]) -> Sequence[str]:
    def arg(topic: Topic) -> dict[str, str]:
        what = "instType" if topic.channel == "liquidation-orders" else "instId"
        return {"channel": topic.channel, what: topic.name}

    return [
        orjson.dumps({"op": op, "args": [arg(topic) for topic in some]}).decode()
        for some in batches(topics, 100)
    ]


def _topics(instruments: Sequence[Instrument]) -> Sequence[Topic]:
    """Four channels for each swap and its index, and one for all liquidations of swaps."""
    swaps = [
        Topic(channel, of.symbol)
        for of in instruments
        if of.kind == "perpetual"
        for channel in ("mark-price", "funding-rate", "open-interest")
    ]
    names = dict.fromkeys(of.index_symbol for of in instruments if of.index_symbol)
    indices = [Topic("index-tickers", name) for name in names]
    return [*swaps, *indices, *([Topic("liquidation-orders", "SWAP")] if swaps else [])]


class Listing(msgspec.Struct):
    """A row of `instruments`."""

    instId: str
    ctVal: str
    ctMult: str
    ctType: Literal["linear", "inverse", ""]
    settleCcy: str
    state: str
    instCategory: str = "1"


class Answer(msgspec.Struct):
    """Answer to `instruments`."""

    code: str
    msg: str
    data: list[Listing]


def _instruments(bodies: Sequence[bytes]) -> Sequence[Instrument]:
    found: list[Instrument] = []
    for body in bodies:
        try:
            said = msgspec.json.decode(body, type=Answer)
        except msgspec.MsgspecError as error:
            raise Unreadable(str(error)) from error
        if said.code != "0":
            raise Refused(said.msg)
        for row in said.data:
            # Category 1 is crypto; stocks and commodities are traded under names of their own.
            if row.state == "live" and row.ctType and row.instCategory == "1":
                found.extend(_make(row.instId, _size(row.ctVal) * _size(row.ctMult)))
    return found


def _size(text: str) -> float:
    try:
        return msgspec.convert(text, Size, strict=False)
    except msgspec.ValidationError as error:
        raise Unreadable(f"contract size {text!r}: {error}") from error


def _make(symbol: str, size: float) -> Sequence[Instrument]:
    """A swap, and the index it follows as an instrument of its own."""
    base, quote, _ = symbol.split("-", 2)
    asset, multiplier = asset_of(base)
    inverse = quote == "USD"
    swap = Instrument(
        venue="okx", symbol=symbol, asset=asset, multiplier=multiplier, quote=quote,
        margin="inverse" if inverse else "linear", contract_size=size / multiplier,
        kind="perpetual" if symbol.endswith("-SWAP") else "future",
        oi_unit="contracts", liquidation_unit="contracts",
        oi_sides=1, oi_sides_reason="one side: assumed, the venue's documents do not say",
        index_symbol=f"{base}-{quote}",
    )  # fmt: skip
    index = Instrument(
        venue="okx", symbol=f"{base}-{quote}", asset=asset, multiplier=multiplier, quote=quote,
        kind="index",
    )  # fmt: skip
    return swap, index


_SIZES = {"BTC-USDT": 0.01, "ETH-USDT": 0.1, "BTC-USDC": 0.01, "ETH-USDC": 0.1}
"""Contract sizes of the venue's own rules, for frames that are read without its list."""
_SYMBOL = re.compile(r"([A-Z0-9]+)-([A-Z0-9]+)(?:-(SWAP|\d{6}(-\d+-[CP])?))?")


def _rule(symbol: str) -> Instrument | None:
    if not (found := _SYMBOL.fullmatch(symbol)):
        return None
    base, quote, contract, option = found.groups()
    if contract is None or option:
        asset, multiplier = asset_of(base)
        return Instrument(
            venue="okx", symbol=symbol, asset=asset, multiplier=multiplier, quote=quote,
            kind="option" if option else "index", oi_unit="contracts",
        )  # fmt: skip
    inverse = 100.0 if base == "BTC" else 10.0
    size = inverse if quote == "USD" else _SIZES.get(f"{base}-{quote}", float("nan"))
    return _make(symbol, size)[0]


OKX = Venue(
    name="okx",
    title="OKX",
    ws_url="wss://ws.okx.com:8443",
    rest_url="https://www.okx.com",
    endpoints=(Endpoint("/ws/v5/public", _topics, per_connection=300),),
    channels=(
        Channel("mark-price", (Mark,), silent_after_s=30),
        Channel("index-tickers", (Index,), silent_after_s=90),
        Channel("funding-rate", (Funding,), silent_after_s=240),
        Channel("open-interest", (OpenInterest,), silent_after_s=90),
        Channel("liquidation-orders", (Liquidation,), quiet=True),
    ),
    subscribe=subscribe,
    unsubscribe=unsubscribe,
    parse=parse,
    rule=_rule,
    instruments=InstrumentList((Request("/api/v5/public/instruments?instType=SWAP"),), _instruments),
    budget=Budget("okx", weight=10, per_s=2),  # 20 in 2 s
    ping="ping",
    liquidation_feed="throttled",
    liquidation_evidence=(
        "posSide names the position; with `net` the order's side does (sell closed a long). At most "
        "one order for each contract and second (venue's documents), hence a lower bound."
    ),
    oi_evidence="`oi` in contracts of `ctVal` x `ctMult`; one side assumed, the documents do not say.",
)
