"""Hyperliquid: one coin per frame, a context per second, a cut line for an unknown coin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import orjson
from aiohttp import web

from monitor.events import Millis
from monitor.simulated.connection import Connection
from monitor.simulated.exchange import Exchange, answer
from monitor.simulated.listings import Listing
from monitor.simulated.market import HOUR
from monitor.simulated.wire import amount, price

_SIZE_DECIMALS = {"BTC": 5, "ETH": 4}
_PONG = b'{"channel":"pong"}'


class Hyperliquid(Exchange):
    """A topic is a coin's `activeAssetCtx`."""

    told_within_s: ClassVar[float | None] = 60.0
    throttled_body: ClassVar[object] = None

    def accepts(self, path: str) -> bool:
        """The one path."""
        return path == "/ws"

    def hear(self, connection: Connection, text: str) -> Sequence[bytes]:
        """Ping, subscribe and unsubscribe."""
        try:
            request = orjson.loads(text)
            method = request["method"]
            if method == "ping":
                return [_PONG]
            wanted = request["subscription"]
            kind, coin = wanted["type"], wanted["coin"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return [_unreadable(text)]
        if method not in ("subscribe", "unsubscribe") or kind != "activeAssetCtx":
            return [_unreadable(text)]
        if not isinstance(coin, str):
            return [_unreadable(text)]
        if coin not in self.symbols:
            connection.abort()
            return []
        said = orjson.dumps({"type": kind, "coin": coin}).decode()
        if method == "subscribe" and not connection.subscribe(coin):
            return [_error(f"Already subscribed: {said}")]
        if method == "unsubscribe" and not connection.unsubscribe(coin):
            return [_error(f"Already unsubscribed: {said}")]
        data = {"method": method, "subscription": {"type": kind, "coin": coin}}
        return [orjson.dumps({"channel": "subscriptionResponse", "data": data})]

    def cadence(self, topic: str) -> int:  # noqa: ARG002
        """Every second."""
        return 2

    def is_liquidations(self, topic: str) -> bool:  # noqa: ARG002
        """There is no public feed of them."""
        return False

    def tell(self, topic: str, since: Millis, now: Millis) -> Sequence[bytes]:  # noqa: ARG002
        """The context of one coin; the frame has no time."""
        data = {"coin": topic, "ctx": self._context(self.symbols[topic], now)}
        return [orjson.dumps({"channel": "activeAssetCtx", "data": data})]

    def _context(self, listing: Listing, now: Millis) -> dict[str, Any]:
        day = self.market.mark(listing, now - 24 * HOUR)
        if not listing.live:
            return {
                "funding": "0.0", "openInterest": "0.0", "prevDayPx": price(listing, day),
                "dayNtlVlm": "0.0", "premium": None, "oraclePx": price(listing, day),
                "markPx": price(listing, day), "midPx": None, "impactPxs": None,
                "dayBaseVlm": "0.0",
            }  # fmt: skip
        mark, oracle = self.mark(listing, now), self.market.index_price(listing, now)
        tick, volume = 10.0**-listing.digits, listing.size * 0.9
        bid, ask = price(listing, mark - tick), price(listing, mark + tick)
        held = self.open_interest(listing, now)
        return {
            "funding": f"{self.market.funding(listing, now):.10f}",
            "openInterest": _plain(amount(listing, held)), "prevDayPx": price(listing, day),
            "dayNtlVlm": f"{volume * day:.10f}",
            "premium": f"{self.market.mark(listing, now) / oracle - 1:.10f}",
            "oraclePx": price(listing, oracle), "markPx": price(listing, mark),
            "midPx": price(listing, mark), "impactPxs": [bid, ask],
            "dayBaseVlm": _plain(amount(listing, volume)),
        }  # fmt: skip

    def rest(self, request: web.Request, body: bytes) -> web.Response:
        """`meta` and `metaAndAssetCtxs` of the main dex."""
        try:
            kind = orjson.loads(body)["type"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            kind = None
        if request.method != "POST" or request.path != "/info":
            return web.Response(status=404)
        meta = {"universe": [_coin(one) for one in self.listings], "marginTables": []}
        if kind == "meta":
            return answer(meta)
        if kind == "metaAndAssetCtxs":
            now = self.clock.now()
            return answer([meta, [self._context(one, now) for one in self.listings]])
        return web.Response(status=422, text="Failed to deserialize the JSON body into the target type")


def _plain(text: str) -> str:
    return text if "." in text else f"{text}.0"


def _error(told: str) -> bytes:
    return orjson.dumps({"channel": "error", "data": told})


def _unreadable(text: str) -> bytes:
    return _error(f"Error parsing JSON into valid websocket request: {text}")


def _coin(listing: Listing) -> dict[str, Any]:
    row: dict[str, Any] = {
        "szDecimals": _SIZE_DECIMALS.get(listing.symbol, 0), "name": listing.symbol,
        "maxLeverage": 40 if listing.live else 3, "marginTableId": 56,
    }  # fmt: skip
    return row if listing.live else row | {"isDelisted": True}
