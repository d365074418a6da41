"""Deribit perpetuals, and its volatility index DVOL.

Documents: docs.deribit.com, `ticker`, `trades`, `deribit_volatility_index`. Open interest and
trade amounts are dollars on inverse contracts (`BTC-PERPETUAL`), coins on linear ones. Coinbase
International's perpetuals have been these same books since 2026-09-09 and have no connector.
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
    VolatilityIndex,
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
)

_EIGHT_HOURS = 8 * 3600


class Data(msgspec.Struct, gc=False, kw_only=True):
    """A ticker (full), a price index or a volatility index: each has its own of these fields."""

    timestamp: Time
    index_price: Price | None = None
    instrument_name: str = ""
    open_interest: Amount | None = None
    mark_price: Price | None = None
    current_funding: Rate | None = None
    funding_8h: Rate | None = None
    price: Price | None = None
    volatility: Price | None = None
    index_name: str = ""


class Trade(msgspec.Struct, gc=False):
    """One trade; `direction` is the taker's, `liquidation` says who was liquidated."""

    instrument_name: str
    timestamp: Time
    direction: Literal["buy", "sell"]
    price: Price
    amount: Amount
    trade_id: str
    liquidation: Literal["T", "M", "MT", ""] = ""


class Params(msgspec.Struct, gc=False):
    """The body of a notification; the data show of which channel."""

    data: Data | list[Trade]


class Notification(msgspec.Struct, gc=False):
    """A notification of a subscription."""

    params: Params


_decode = msgspec.json.Decoder(Notification, strict=False).decode


def parse(frame: bytes, instruments: Instruments, _received: Millis) -> Sequence[Event | Reply]:
    """A notification → mark with index, open interest and funding; or liquidations; or an index."""
    try:
        data = _decode(frame).params.data
    except msgspec.MsgspecError as error:
        return _uncommon(frame, error)
    if type(data) is not Data:
        return _trades(data, instruments)  # type: ignore[arg-type]
    if not data.instrument_name:
        return _index(data, instruments)
    try:
        instrument = instruments[data.instrument_name]
    except KeyError:
        return ()
    time = data.timestamp
    events: list[Event] = []
    if (price := data.mark_price) is not None:
        events.append(Mark(instrument, time, price, data.index_price))
    if (amount := data.open_interest) is not None:
        events.append(OpenInterest(instrument, time, amount))
    # Funding accrues each millisecond: what was paid over the last 8 hours, and the present rate
    # written as one of 8 hours. There is no next time.
    if (rate := data.funding_8h) is not None:
        events.append(Funding(instrument, time, rate, _EIGHT_HOURS, None, "settled"))
    if (rate := data.current_funding) is not None:
        events.append(Funding(instrument, time, rate, _EIGHT_HOURS, None))
    return events


def _trades(trades: Sequence[Trade], instruments: Instruments) -> list[Event]:
    events: list[Event] = []
    for trade in trades:
        if not trade.liquidation or (found := instruments.get(trade.instrument_name)) is None:
            continue
        sold: Literal["long", "short"] = "long" if trade.direction == "sell" else "short"
        bought: Literal["long", "short"] = "short" if sold == "long" else "long"
        # T: the taker's position was closed by its own direction; M: the maker's, by the opposite.
        for who in trade.liquidation:
            position = sold if who == "T" else bought
            events.append(
                Liquidation(
                    found,
                    trade.timestamp,
                    position,
                    trade.price,
                    trade.amount,
                    f"{trade.trade_id}{who}",
                )
            )
    return events


def _index(data: Data, instruments: Instruments) -> Sequence[Event]:
    instrument = instruments.get(data.index_name)
    if instrument is None:
        return ()
    if data.volatility is not None:
        # The one fact whose unit the event fixes: a fraction, not the venue's percentage.
        return (VolatilityIndex(instrument, data.timestamp, data.volatility / 100),)
    return () if data.price is None else (Index(instrument, data.timestamp, data.price),)


_CHANNELS = ("ticker.", "incremental_ticker.", "trades.", "deribit_price_index.", "deribit_volatility_index.")


def _uncommon(frame: bytes, cause: Exception) -> Sequence[Reply]:
    try:
        said = orjson.loads(frame)
    except orjson.JSONDecodeError as error:
        raise Unreadable(str(error)) from error
    match said:
        case {"method": "heartbeat", "params": {"type": "test_request"}}:
            return (Reply(_TEST),)
        case {"method": "heartbeat"} | {"result": _}:
            return ()
        case {"params": {"channel": str(channel)}} if not channel.startswith(_CHANNELS):
            return ()  # a channel that we do not follow
        case {"error": error}:
            raise Refused(str(error)) from cause
    raise Unreadable(str(cause)) from cause


_TEST = '{"jsonrpc":"2.0","id":1,"method":"public/test","params":{}}'


def subscribe(topics: Sequence[Topic]) -> Sequence[str]:
    """One request for all: a subscription costs 3,000 of a pool of 30,000, however many channels."""
    return _ask("public/subscribe", topics)


def unsubscribe(topics: Sequence[Topic]) -> Sequence[str]:
    """One request for all."""
    return _ask("public/unsubscribe", topics)


def _ask(method: str, topics: Sequence[Topic]) -> Sequence[str]:
    params = {"channels": [topic.name for topic in topics]}
    return [orjson.dumps({"jsonrpc": "2.0", "id": 2, "method": method, "params": params}).decode()]


def _topics(instruments: Sequence[Instrument]) -> Sequence[Topic]:
    """Ticker and trades of each perpetual, the volatility index of each asset that has one."""
    found: list[Topic] = []
    for of in instruments:
        if of.kind == "perpetual":
            found.append(Topic("ticker", f"ticker.{of.symbol}.100ms"))
            found.append(Topic("trades", f"trades.{of.symbol}.100ms"))
        elif of.kind == "volatility":
            found.append(Topic("deribit_volatility_index", f"deribit_volatility_index.{of.symbol}"))
    return found


_VOLATILITY = ("btc_usd", "eth_usd")


class Listing(msgspec.Struct):
    """A row of `get_instruments`."""

    instrument_name: str
    instrument_type: str
    base_currency: str
    quote_currency: str
    settlement_period: str
    is_active: bool
    contract_size: Size


class Answer(msgspec.Struct):
    """Answer to `get_instruments`."""

    result: list[Listing]


def _instruments(bodies: Sequence[bytes]) -> Sequence[Instrument]:
    found = [_volatility(name) for name in _VOLATILITY]
    for body in bodies:
        try:
            said = msgspec.json.decode(body, type=Answer)
        except msgspec.MsgspecError as error:
            raise Unreadable(str(error)) from error
        found.extend(
            _make(
                row.instrument_name,
                row.base_currency,
                row.quote_currency,
                row.contract_size,
                inverse=row.instrument_type == "reversed",
                perpetual=row.settlement_period == "perpetual",
            )
            for row in said.result
            if row.is_active
        )
    return found


def _volatility(name: str) -> Instrument:
    return Instrument(
        venue="deribit", symbol=name, asset=asset_of(name.partition("_")[0].upper())[0],
        kind="volatility",
    )  # fmt: skip


def _make(symbol: str, base: str, quote: str, size: float, *, inverse: bool, perpetual: bool) -> Instrument:
    asset, multiplier = asset_of(base)
    return Instrument(
        venue="deribit", symbol=symbol, asset=asset, multiplier=multiplier, quote=quote,
        kind="perpetual" if perpetual else "future", margin="inverse" if inverse else "linear",
        contract_size=size,
        oi_unit="usd" if inverse else "coins", liquidation_unit="usd" if inverse else "coins",
        oi_sides=1, oi_sides_reason="one side: market convention, not stated by the venue",
        funding_interval_s=_EIGHT_HOURS if perpetual else None,
    )  # fmt: skip


_SYMBOL = re.compile(r"([A-Z0-9]+)(?:_([A-Z]+))?-(PERPETUAL|\d{1,2}[A-Z]{3}\d\d)")


def _rule(symbol: str) -> Instrument | None:
    if found := _SYMBOL.fullmatch(symbol):
        size = float("nan") if found[2] else 10.0 if found[1] == "BTC" else 1.0
        return _make(
            symbol, found[1], found[2] or "USD", size, inverse=not found[2],
            perpetual=found[3] == "PERPETUAL",
        )  # fmt: skip
    if symbol.endswith("_usd"):
        return _volatility(symbol)
    if "-" in symbol:  # options, strategies: priced in coins or USDC, and nothing that is counted
        base = re.split(r"[-_]", symbol)[0]
        return Instrument(venue="deribit", symbol=symbol, asset=base, kind="option")
    return None


DERIBIT = Venue(
    name="deribit",
    title="Deribit",
    ws_url="wss://streams.deribit.com",
    rest_url="https://www.deribit.com",
    endpoints=(Endpoint("/ws/api/v2", _topics, per_connection=200),),
    channels=(
        Channel("ticker", (Mark, OpenInterest, Funding), silent_after_s=30),
        Channel("trades", (Liquidation,), quiet=True),
        Channel("deribit_volatility_index", (VolatilityIndex,), silent_after_s=120),
    ),
    subscribe=subscribe,
    unsubscribe=unsubscribe,
    parse=parse,
    rule=_rule,
    instruments=InstrumentList(
        (Request("/api/v2/public/get_instruments?currency=any&kind=future"),), _instruments
    ),
    budget=Budget("deribit", weight=1, per_s=2),  # get_instruments: one a second
    hello=('{"jsonrpc":"2.0","id":0,"method":"public/set_heartbeat","params":{"interval":10}}',),
    sends_per_s=3.0,
    liquidation_feed="complete",
    liquidation_evidence=(
        "`liquidation` T: the taker was liquidated, its direction sell closed a long; M: the maker, "
        "by the opposite; MT: both. Every liquidation is a trade on the tape."
    ),
    oi_evidence=(
        "`open_interest` in dollars (inverse) or coins (linear), one side (market convention; the "
        "documents do not say)."
    ),
)
