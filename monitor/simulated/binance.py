"""Binance USD-M and COIN-M as they speak since 2026: routes, acknowledgements, streams, REST."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, ClassVar

import orjson
from aiohttp import web

from monitor.clock import Clock
from monitor.events import Millis
from monitor.simulated import binance_rest
from monitor.simulated.connection import Connection
from monitor.simulated.exchange import Exchange, answer
from monitor.simulated.listings import LISTINGS, Listing
from monitor.simulated.market import Forced, Market
from monitor.simulated.wire import amount, price

_METHODS = "`SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`"
_MARGIN_NUMBER = {"binance_usdm": 1, "binance_coinm": 2}


class Binance(Exchange):
    """One of the two hosts.

    A topic is a form and a stream. The form is `stream` (wrapped), `ws` (bare) or `unrouted`: since
    April 2026 what is asked on another route is acknowledged and never delivered.
    """

    ping_every_s: ClassVar[float | None] = 180.0
    throttled_body: ClassVar[object] = {"code": -1003, "msg": "Too many requests."}

    def __init__(self, name: str, market: Market, clock: Clock) -> None:
        super().__init__(name, market, clock)
        self.weight_limit = 2400
        """Weight of a wall minute."""
        self.used_weight = 0
        self._minute = 0
        self._root = "/market" if name == "binance_usdm" else ""

    def accepts(self, path: str) -> bool:
        """The routes of both generations."""
        for route in ("", "/market", "/public", "/private"):
            tail = path.removeprefix(route)
            if path.startswith(route) and (tail == "/stream" or f"{tail}/".startswith("/ws/")):
                return True
        return False

    def opened(self, connection: Connection) -> None:
        """Streams may stand in the address."""
        _, _, named = connection.path.partition("/ws/")
        for stream in (connection.query.get("streams") or named).split("/"):
            if stream:
                connection.subscribe(f"{self._form(connection)} {stream}")

    def _form(self, connection: Connection) -> str:
        if connection.path == f"{self._root}/stream":
            return "stream"
        return "ws" if f"{connection.path}/".startswith(f"{self._root}/ws/") else "unrouted"

    def hear(self, connection: Connection, text: str) -> Sequence[bytes]:
        """SUBSCRIBE, UNSUBSCRIBE and LIST_SUBSCRIPTIONS."""
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            return [orjson.dumps({"code": 3, "msg": f"Invalid JSON: {error}"})]
        if not isinstance(request, dict):
            return [_invalid("invalid type, expected struct Request")]
        method, streams = request.get("method"), request.get("params")
        if method == "LIST_SUBSCRIPTIONS":
            named = [topic.partition(" ")[2] for topic in connection.topics]
            return [orjson.dumps({"result": named, "id": request.get("id")})]
        if method not in ("SUBSCRIBE", "UNSUBSCRIBE"):
            return [_invalid(f"unknown variant `{method}`, expected one of {_METHODS}")]
        if not isinstance(request.get("id"), int | str):
            return [_invalid("request ID must be an unsigned integer")]
        if not isinstance(streams, list) or not all(isinstance(name, str) for name in streams):
            return [_invalid("params must be an array of strings")]
        for stream in streams:
            topic = f"{self._form(connection)} {stream}"
            if method == "SUBSCRIBE":
                connection.subscribe(topic)
            else:
                connection.unsubscribe(topic)
        return [orjson.dumps({"result": None, "id": request["id"]})]

    async def hear_binary(self, connection: Connection) -> None:
        """Even a correct request is refused in a binary frame."""
        await connection.close(1008, b"Invalid request")

    def cadence(self, topic: str) -> int:
        """Marks without `@1s` come three times as slowly."""
        return 3 if topic.endswith(("@markPrice", "!markPrice@arr")) else 1

    def is_liquidations(self, topic: str) -> bool:
        """`forceOrder` streams."""
        return "forceOrder" in topic

    def tell(self, topic: str, since: Millis, now: Millis) -> Sequence[bytes]:
        """Frames of one stream."""
        form, _, stream = topic.partition(" ")
        if form == "unrouted":
            return []
        frames = self._frames(stream, since, now)
        if form == "stream":
            head = orjson.dumps(stream)
            return [b'{"stream":%b,"data":%b}' % (head, frame) for frame in frames]
        return frames

    def _frames(self, stream: str, since: Millis, now: Millis) -> list[bytes]:
        name, _, channel = stream.partition("@")
        if "1s" in channel and since < now and since // 1000 == now // 1000:
            return []  # one in a second of market time
        match name, channel:
            case "!markPrice", "arr" | "arr@1s":
                marks = [self._mark(listing, now) for listing in _merged() if listing.live]
                return [orjson.dumps(marks)]
            case "!forceOrder", "arr":
                return [frame for listing in _merged() for frame in self._orders(listing, since, now)]
        listing = self.symbols.get(name.upper())
        if listing is None or not listing.live or name != name.lower():
            return []
        match channel:
            case "markPrice" | "markPrice@1s":
                return [orjson.dumps(self._mark(listing, now))]
            case "forceOrder":
                return self._orders(listing, since, now)
        return []

    def _mark(self, listing: Listing, now: Millis) -> dict[str, Any]:
        second = now // 1000 * 1000
        mark = f"{self.mark(listing, second):.8f}"
        index = self.market.index_price(listing, second)
        dated = listing.kind == "future"
        return {
            "e": "markPriceUpdate", "E": second, "s": listing.symbol, "p": mark, "ap": mark,
            "P": f"{index * 1.0005:.8f}", "i": f"{index:.8f}",
            "r": "" if dated else f"{self.market.funding(listing, second):.8f}",
            "T": 0 if dated else self.market.next_funding(listing, second),
            "st": _MARGIN_NUMBER[listing.venue],
        }  # fmt: skip

    def _orders(self, listing: Listing, since: Millis, now: Millis) -> list[bytes]:
        rows = self.forced_throttled(listing, since, now)
        return [orjson.dumps(_force_order(row, now)) for row in rows]

    def rest(self, request: web.Request, body: bytes) -> web.Response:  # noqa: ARG002
        """REST of fapi or dapi, weighed."""
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute, self.used_weight = minute, 0
        self.used_weight += 1
        headers = {"X-MBX-USED-WEIGHT-1M": str(self.used_weight)}
        if self.used_weight > self.weight_limit:
            headers["Retry-After"] = str(60 - int(time.monotonic() % 60))
            told = (
                f"Too many requests; current limit of IP({request.remote}) is {self.weight_limit} "
                "requests per minute. Please use the websocket for live updates to avoid polling "
                "the API."
            )
            return answer({"code": -1003, "msg": told}, status=429, headers=headers)
        now = self.clock.now()
        api = "/fapi/v1/" if self.name == "binance_usdm" else "/dapi/v1/"
        match request.path.removeprefix(api):
            case "exchangeInfo":
                return answer(binance_rest.exchange_info(self.listings, now), headers=headers)
            case "fundingInfo":
                return answer(binance_rest.funding_info(self.listings), headers=headers)
            case "openInterest":
                symbol = request.query.get("symbol", "")
                listing = self.symbols.get(symbol)
                amount_now = 0.0 if listing is None else self.open_interest(listing, now)
                status, found = binance_rest.open_interest(symbol, listing, amount_now, now)
                return answer(found, status=status, headers=headers)
        return web.Response(status=404, headers=headers)


def _merged() -> tuple[Listing, ...]:
    """Since June 2026 the streams of all symbols carry both margins on either host."""
    return LISTINGS["binance_usdm"] + LISTINGS["binance_coinm"]


def _invalid(why: str) -> bytes:
    return orjson.dumps({"code": 2, "msg": f"Invalid request: {why} at line 1 column 28"})


def _force_order(row: Forced, now: Millis) -> dict[str, Any]:
    """`S` is the side of the order: a long is closed by a SELL."""
    of, long = row.listing, row.position == "long"
    size = amount(of, row.amount)
    return {
        "e": "forceOrder", "E": now,
        "o": {
            "s": of.symbol, "S": "SELL" if long else "BUY", "o": "LIMIT", "f": "IOC", "q": size,
            "p": price(of, row.price * (0.995 if long else 1.005)), "ap": price(of, row.price),
            "X": "FILLED", "l": amount(of, max(of.step, row.amount / 2)), "z": size, "T": row.time,
            "ps": binance_rest.pair_of(of), "st": _MARGIN_NUMBER[of.venue],
        },
    }  # fmt: skip
