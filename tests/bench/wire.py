"""Frames of 14 sockets, each numbered within its socket: the number is in the price.

The shapes are those of the venues' own ticker and mark price messages, one instrument a frame.
"""

from __future__ import annotations

from typing import NamedTuple

from monitor.events import Event, Instrument, Mark
from monitor.venues import VENUES

PER_SOCKET = 428
BASE = 60_000
STEPS = 100
"""Numbers in one unit of price."""


class Shape(NamedTuple):
    """How a venue names an instrument and tells its price (`%d.%02d`) at a time (`%d`)."""

    symbol: str
    text: str
    events: int


SHAPES = {
    "binance_usdm": Shape(
        "A{n}USDT",
        '{"stream":"SYMBOL@markPrice@1s","data":{"e":"markPriceUpdate","E":TIME,"s":"SYMBOL",'
        '"p":"PRICE","ap":"60010.11000000","P":"60020.11000000","i":"60001.12086957","r":"0.00010000",'
        '"T":1790784000000,"st":1}}',
        2,
    ),
    "bybit": Shape(
        "A{n}USDT",
        '{"topic":"tickers.SYMBOL","type":"delta","data":{"symbol":"SYMBOL","tickDirection":"PlusTick",'
        '"price24hPcnt":"0.017103","markPrice":"PRICE","indexPrice":"60001.36","openInterest":"68744.761",'
        '"openInterestValue":"1183601235.91","bid1Price":"60000.50","bid1Size":"84.489",'
        '"ask1Price":"60001.00","ask1Size":"83.020"},"cs":24987956059,"ts":TIME}',
        2,
    ),
    "okx": Shape(
        "A{n}-USDT-SWAP",
        '{"arg":{"channel":"mark-price","instId":"SYMBOL"},"data":[{"instId":"SYMBOL","instType":"SWAP",'
        '"markPx":"PRICE","ts":"TIME"}]}',
        1,
    ),
    "deribit": Shape(
        "A{n}_USDC-PERPETUAL",
        '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"ticker.SYMBOL.100ms","data":{'
        '"timestamp":TIME,"state":"open","stats":{"high":61000.5,"low":59000.5,"price_change":-0.5,'
        '"volume":123.5,"volume_usd":7.4e6,"volume_notional":7.4e6},"index_price":60001.12,'
        '"instrument_name":"SYMBOL","last_price":60000.5,"settlement_price":60000.25,"min_price":59100.5,'
        '"max_price":60900.5,"open_interest":812.5,"mark_price":PRICE,"best_ask_price":60001.0,'
        '"best_bid_price":60000.5,"interest_value":1.1e-2,"current_funding":2.1e-5,"funding_8h":1.9e-5,'
        '"best_ask_amount":12.5,"best_bid_amount":3.25}}}',
        4,
    ),
    "hyperliquid": Shape(
        "A{n}",
        '{"channel":"activeAssetCtx","data":{"coin":"SYMBOL","ctx":{"funding":"0.0000125",'
        '"openInterest":"29712.46","prevDayPx":"59500.0","dayNtlVlm":"3291452834.1","premium":"0.0003",'
        '"oraclePx":"60001.0","markPx":"PRICE","midPx":"60000.5","impactPxs":["60000.0","60001.0"],'
        '"dayBaseVlm":"54000.1"}}}',
        3,
    ),
}
SOCKETS = [*["binance_usdm", "bybit", "okx", "hyperliquid"] * 3, "deribit", "bybit"]
EVENTS = sum(SHAPES[venue].events for venue in SOCKETS) / len(SOCKETS)
"""Events in a frame, on average."""


def symbols(socket: int) -> list[str]:
    """What is told on a socket; sockets of one venue share none."""
    venue = SOCKETS[socket]
    place = SOCKETS[:socket].count(venue)
    return [SHAPES[venue].symbol.replace("{n}", str(place * PER_SOCKET + n)) for n in range(PER_SOCKET)]


def instruments(socket: int) -> list[Instrument]:
    rule = VENUES[SOCKETS[socket]].rule
    return [of for symbol in symbols(socket) if (of := rule(symbol)) is not None]


def number(events: tuple[Event, ...] | list[Event]) -> int:
    """Which frame of its socket told these events."""
    first = events[0]
    if type(first) is not Mark:
        raise TypeError(first)
    return round((first.price - BASE) * STEPS)


class Socket:
    """Makes the frames of one socket, header and all."""

    def __init__(self, place: int) -> None:
        text = SHAPES[SOCKETS[place]].text.replace("%", "%%")
        self._texts = [
            text.replace("SYMBOL", symbol).replace("PRICE", "%(a)d.%(b)02d").replace("TIME", "%(t)d").encode()
            for symbol in symbols(place)
        ]
        self.sent = 0

    def next(self, now: int) -> bytes:
        n = self.sent
        self.sent += 1
        body = self._texts[n % PER_SOCKET] % {b"a": BASE + n // STEPS, b"b": n % STEPS, b"t": now}
        size = len(body)
        if size < 126:
            return bytes((0x81, size)) + body
        return b"\x81\x7e" + size.to_bytes(2, "big") + body
