"""Hyperliquid perpetuals of the first dex, counted in coins.

Documents: hyperliquid.gitbook.io, "Websocket", "Info endpoint". The frames carry no time: they are
stamped when they arrive. One unknown coin closes the whole socket without a word, so that only
names from the live list are subscribed. There is no public feed of liquidations.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import orjson

from monitor.events import Event, Funding, Instrument, Mark, Millis, OpenInterest
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
    Topic,
    Unreadable,
    Venue,
)

_HOUR = 3600


class Context(msgspec.Struct, gc=False):
    """The state of one coin; `funding` is a rate per hour, `oraclePx` the index."""

    funding: Rate
    openInterest: Amount
    oraclePx: Price
    markPx: Price


class Data(msgspec.Struct, gc=False):
    """A coin and its state."""

    coin: str
    ctx: Context


class ActiveAssetCtx(msgspec.Struct, gc=False):
    """A frame of `activeAssetCtx`, each second; no other channel has a `ctx`."""

    data: Data


_decode = msgspec.json.Decoder(ActiveAssetCtx, strict=False).decode


def parse(frame: bytes, instruments: Instruments, received: Millis) -> Sequence[Event | Reply]:
    """A frame of `activeAssetCtx` → mark with index, open interest, funding."""
    try:
        data = _decode(frame).data
    except msgspec.MsgspecError as error:
        return _uncommon(frame, error)
    try:
        instrument = instruments[data.coin]
    except KeyError:
        return ()
    ctx = data.ctx
    due = received - received % (_HOUR * 1000) + _HOUR * 1000  # paid at the top of each hour
    return (
        Mark(instrument, received, ctx.markPx, ctx.oraclePx),
        OpenInterest(instrument, received, ctx.openInterest),
        Funding(instrument, received, ctx.funding, _HOUR, due),
    )


def _uncommon(frame: bytes, cause: Exception) -> Sequence[Event]:
    try:
        said = orjson.loads(frame)
    except orjson.JSONDecodeError as error:
        raise Unreadable(str(error)) from error
    match said:
        case {"channel": "error", "data": message}:
            raise Refused(str(message)) from cause
        case {"channel": str(channel)} if channel != "activeAssetCtx":
            return ()  # answers, lists whose rows only `meta` can name, channels that we do not follow
    raise Unreadable(str(cause)) from cause


def subscribe(topics: Sequence[Topic]) -> Sequence[str]:
    """One coin a frame: the venue takes no list."""
    return _ask("subscribe", topics)


def unsubscribe(topics: Sequence[Topic]) -> Sequence[str]:
    """One coin a frame."""
    return _ask("unsubscribe", topics)


def _ask(method: str, topics: Sequence[Topic]) -> Sequence[str]:
    return [
        orjson.dumps({"method": method, "subscription": {"type": topic.channel, "coin": topic.name}}).decode()
        for topic in topics
    ]


def _topics(instruments: Sequence[Instrument]) -> Sequence[Topic]:
    return [Topic("activeAssetCtx", of.symbol) for of in instruments]


class Coin(msgspec.Struct):
    """A row of the universe."""

    name: str
    isDelisted: bool = False


class Meta(msgspec.Struct):
    """Answer to `meta`."""

    universe: list[Coin]


def _instruments(bodies: Sequence[bytes]) -> Sequence[Instrument]:
    try:
        said = msgspec.json.decode(bodies[0], type=Meta)
    except (msgspec.MsgspecError, IndexError) as error:
        raise Unreadable(str(error)) from error
    return [found for coin in said.universe if not coin.isDelisted and (found := _rule(coin.name))]


def _rule(symbol: str) -> Instrument | None:
    if ":" in symbol or not symbol:  # perpetuals of other dexes, with margin of their own
        return None
    thousand = symbol[0] == "k" and symbol[1:].isupper()
    return Instrument(
        venue="hyperliquid", symbol=symbol, asset=symbol[1:] if thousand else symbol,
        multiplier=1000.0 if thousand else 1.0, quote="USDC", oi_unit="coins",
        oi_sides=2,
        oi_sides_reason="two sides: weight of disputed evidence, see docs/VENUES.md; halved",
        funding_interval_s=_HOUR,
    )  # fmt: skip


HYPERLIQUID = Venue(
    name="hyperliquid",
    title="Hyperliquid",
    ws_url="wss://api.hyperliquid.xyz",
    rest_url="https://api.hyperliquid.xyz",
    endpoints=(Endpoint("/ws", _topics, per_connection=200),),
    channels=(Channel("activeAssetCtx", (Mark, OpenInterest, Funding), silent_after_s=20),),
    subscribe=subscribe,
    unsubscribe=unsubscribe,
    parse=parse,
    rule=_rule,
    instruments=InstrumentList((Request("/info", weight=20, body='{"type":"meta"}'),), _instruments),
    budget=Budget("hyperliquid", weight=600),  # 1200 a minute and address
    ping='{"method":"ping"}',
    ping_every_s=25.0,
    sends_per_s=20.0,  # 2000 a minute
    liquidation_feed="none",
    liquidation_evidence="No public feed of the market; only single addresses can be followed.",
    oi_evidence=(
        "`openInterest` in coins. Disputed: third-party documents of 2025-07 and 2026 call it "
        "two-sided and match it one to one against their own count; one of 2026 calls the headline "
        "one-sided. Two-sided by weight of evidence, halved; `oi_sides = 1` in the settings of the "
        "venue overrides it."
    ),
)
