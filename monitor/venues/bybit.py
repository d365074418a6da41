"""Bybit V5: linear (USDT and USDC) and inverse perpetuals.

Documents: bybit-exchange.github.io/docs/v5, "Ticker", "All Liquidation", "Get Instruments Info".
A ticker is a snapshot first and then deltas that hold only what changed, which is why an event
tells one fact: nothing has to be remembered here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

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
    DOLLARS,
    Amount,
    Budget,
    Channel,
    Endpoint,
    Hours,
    InstrumentList,
    Instruments,
    Price,
    Rate,
    Refused,
    Reply,
    Request,
    Time,
    Topic,
    Unreadable,
    Venue,
    asset_of,
)


class Ticker(msgspec.Struct, gc=False):
    """`tickers.<symbol>`: absent means unchanged."""

    symbol: str
    markPrice: Price | None = None
    indexPrice: Price | None = None
    openInterest: Amount | None = None
    fundingRate: Rate | Literal[""] | None = None
    """Empty on dated contracts, like the time below."""
    fundingIntervalHour: Hours | None = None
    nextFundingTime: Time | Literal[""] | None = None


class Row(msgspec.Struct, gc=False):
    """One liquidation of `allLiquidation.<symbol>`; `S` is the side of the position."""

    T: Time
    s: str
    S: Literal["Buy", "Sell"]
    v: Amount
    p: Price


class Frame(msgspec.Struct, gc=False):
    """A frame of a topic: tickers are objects, liquidations lists."""

    ts: Time
    data: Ticker | list[Row]


_decode = msgspec.json.Decoder(Frame, strict=False).decode


def parse(frame: bytes, instruments: Instruments, _received: Millis) -> Sequence[Event | Reply]:
    """A frame of a topic → what it tells of mark, index, open interest, funding, liquidations."""
    try:
        said = _decode(frame)
    except msgspec.MsgspecError as error:
        return _uncommon(frame, error)
    data, time = said.data, said.ts
    if type(data) is not Ticker:
        return _liquidations(data, instruments)  # type: ignore[arg-type]
    try:
        instrument = instruments[data.symbol]
    except KeyError:
        return ()
    events: list[Event] = []
    if (price := data.markPrice) is not None:
        events.append(Mark(instrument, time, price, data.indexPrice))
    elif (price := data.indexPrice) is not None:
        events.append(Index(instrument, time, price))
    if (amount := data.openInterest) is not None:
        events.append(OpenInterest(instrument, time, amount))
    if type(rate := data.fundingRate) is float:
        hours = data.fundingIntervalHour
        interval = None if hours is None else hours * 3600
        events.append(Funding(instrument, time, rate, interval, data.nextFundingTime or None))
    return events


def _liquidations(rows: list[Row], instruments: Instruments) -> list[Event]:
    events: list[Event] = []
    for row in rows:
        if (instrument := instruments.get(row.s)) is not None:
            position: Position = "long" if row.S == "Buy" else "short"
            events.append(Liquidation(instrument, row.T, position, row.p, row.v))
    return events


def _uncommon(frame: bytes, cause: Exception) -> Sequence[Event]:
    """Acknowledgements and pongs have `op`; refusals have it with `success` false."""
    try:
        said = orjson.loads(frame)
    except orjson.JSONDecodeError as error:
        raise Unreadable(str(error)) from error
    topic = said.get("topic") if isinstance(said, dict) else None
    if isinstance(topic, str) and not topic.startswith(("tickers.", "allLiquidation.")):
        return ()  # a topic that we do not follow
    if not isinstance(said, dict) or "op" not in said:
        raise Unreadable(str(cause)) from cause
    if said.get("success") is False:
        raise Refused(str(said.get("ret_msg")))
    return ()


def subscribe(topics: Sequence[Topic]) -> Sequence[str]:
    """Subscriptions of at most 4,000 characters (a connection may hold 21,000)."""
    return _ask("subscribe", topics)


def unsubscribe(topics: Sequence[Topic]) -> Sequence[str]:
    """Unsubscriptions."""
    return _ask("unsubscribe", topics)


def _ask(op: str, topics: Sequence[Topic]) -> Sequence[str]:
    frames, args, length = [], list[str](), 0
    for topic in topics:
        if length + len(topic.name) > 4000:  # noqa: PLR2004 -- said above
            frames.append({"op": op, "args": args})
            args, length = [], 0
        args.append(topic.name)
        length += len(topic.name) + 3
    return [orjson.dumps(one).decode() for one in [*frames, {"op": op, "args": args}]]


def _topics(margin: str) -> Callable[[Sequence[Instrument]], Sequence[Topic]]:
    return lambda instruments: [
        Topic(channel, f"{channel}.{of.symbol}")
        for of in instruments
        if of.margin == margin
        for channel in ("tickers", "allLiquidation")
    ]


class Listing(msgspec.Struct):
    """A row of `instruments-info`; `fundingInterval` is in minutes."""

    symbol: str
    contractType: str
    status: str
    baseCoin: str
    quoteCoin: str
    fundingInterval: Annotated[int, msgspec.Meta(ge=0, le=60 * 24 * 366)] = 0
    isPreListing: bool = False
    symbolType: str = ""


class Page(msgspec.Struct):
    """The `result` of `instruments-info`."""

    rows: list[Listing] = msgspec.field(name="list")
    nextPageCursor: str = ""


class Answer(msgspec.Struct):
    """Answer to `instruments-info`; the result of a refusal is empty."""

    retCode: int
    retMsg: str
    result: msgspec.Raw


def _page(body: bytes) -> Page:
    try:
        said = msgspec.json.decode(body, type=Answer)
        if said.retCode == 0:
            return msgspec.json.decode(said.result, type=Page, strict=False)
    except msgspec.MsgspecError as error:
        raise Unreadable(str(error)) from error
    raise Refused(said.retMsg)


def _next_page(request: Request, body: bytes) -> Request | None:
    cursor = _page(body).nextPageCursor
    return Request(f"{request.path.partition('&cursor=')[0]}&cursor={cursor}") if cursor else None


def _instruments(bodies: Sequence[bytes]) -> Sequence[Instrument]:
    return [
        _make(row.symbol, row.baseCoin, row.quoteCoin, row.contractType, row.fundingInterval * 60)
        for body in bodies
        for row in _page(body).rows
        if row.status == "Trading"
        and not row.isPreListing
        # Stock and commodity contracts share the names of coins.
        and row.symbolType in ("", "innovation")
    ]


def _make(symbol: str, base: str, quote: str, contract: str, interval: int = 0) -> Instrument:
    asset, multiplier = asset_of(base)
    inverse = contract.startswith("Inverse")
    return Instrument(
        venue="bybit", symbol=symbol, asset=asset, multiplier=multiplier, quote=quote,
        kind="perpetual" if contract.endswith("Perpetual") else "future",
        margin="inverse" if inverse else "linear",
        oi_unit="usd" if inverse else "coins", liquidation_unit="usd" if inverse else "coins",
        oi_sides=2, oi_sides_reason="two sides: the venue's documents of 2026-06-11; halved",
        funding_interval_s=interval or None,
    )  # fmt: skip


_SYMBOL = re.compile(r"([A-Z0-9]+?)(USDT|USDC|USDE|PERP|USD)([FGHJKMNQUVXZ]\d\d|-\w+)?")


def _rule(symbol: str) -> Instrument | None:
    if "-" in symbol and symbol[-2:] in ("-C", "-P", "DT", "DC"):
        option = symbol.split("-")
        if len(option) >= 4:  # noqa: PLR2004 -- asset-date-strike-right
            return Instrument(venue="bybit", symbol=symbol, asset=option[0], kind="option")
    if not (found := _SYMBOL.fullmatch(symbol)):
        return None
    base, quote, expiry = found[1], found[2], found[3]
    style = "Inverse" if quote == "USD" else "Linear"
    contract = style + ("Futures" if expiry else "Perpetual")
    return _make(symbol, base, quote if quote in DOLLARS else "USDC", contract)


BYBIT = Venue(
    name="bybit",
    title="Bybit",
    ws_url="wss://stream.bybit.com",
    rest_url="https://api.bybit.com",
    endpoints=(
        Endpoint("/v5/public/linear", _topics("linear"), per_connection=400),
        Endpoint("/v5/public/inverse", _topics("inverse"), per_connection=400),
    ),
    channels=(
        Channel("tickers", (Mark, Index, OpenInterest, Funding), silent_after_s=15),
        Channel("allLiquidation", (Liquidation,), quiet=True),
    ),
    subscribe=subscribe,
    unsubscribe=unsubscribe,
    parse=parse,
    rule=_rule,
    instruments=InstrumentList(
        (
            Request("/v5/market/instruments-info?category=linear&limit=1000"),
            Request("/v5/market/instruments-info?category=inverse&limit=1000"),
        ),
        _instruments,
        next_page=_next_page,
    ),
    # 600 in 5 s; over it the venue refuses by 403 for ten minutes.
    budget=Budget("bybit", weight=300, per_s=5, refusals=(403, 429), patience_s=600),
    ping='{"op":"ping"}',
    liquidation_feed="complete",
    liquidation_evidence=(
        "The position's side: Buy means that a long was liquidated (venue's documents, All "
        "Liquidation). All liquidations, every 500 ms, since 2025-02-20."
    ),
    oi_evidence=(
        "`openInterest` in coins (linear) or dollars (inverse), both sides (documents of "
        "2026-06-11, where `singleOpenInterest` is half of it); halved."
    ),
)
