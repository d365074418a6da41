"""Bybit V5 linear and inverse: tickers by deltas, all liquidations, paged listings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import quote, unquote

import orjson
from aiohttp import web

from monitor.clock import Clock
from monitor.events import Margin, Millis
from monitor.simulated.connection import Connection
from monitor.simulated.exchange import Exchange, answer
from monitor.simulated.listings import Listing
from monitor.simulated.market import HOUR, Market
from monitor.simulated.noise import draw
from monitor.simulated.wire import amount, price

_PATHS: dict[str, Margin] = {"/v5/public/linear": "linear", "/v5/public/inverse": "inverse"}


class Bybit(Exchange):
    """Both categories on one port."""

    told_within_s: ClassVar[float | None] = 600.0
    throttled_body: ClassVar[object] = {"retCode": 10006, "retMsg": "Too many visits!"}

    def __init__(self, name: str, market: Market, clock: Clock) -> None:
        super().__init__(name, market, clock)
        self._told: dict[str, dict[str, str]] = {}

    def accepts(self, path: str) -> bool:
        """One path per category."""
        return path in _PATHS

    def hear(self, connection: Connection, text: str) -> Sequence[bytes]:
        """Subscribe, unsubscribe, ping; a request with an unknown topic is refused as a whole."""
        try:
            request = orjson.loads(text)
            op, args = request["op"], request.get("args", [])
            known = [self._listing(connection.path, topic) is not None for topic in args]
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return [_ack(connection, "", "", success=False, told="Invalid request")]
        mark = str(request.get("req_id", ""))
        match op:
            case "ping":
                return [_ack(connection, mark, "ping", success=True, told="pong")]
            case "subscribe" | "unsubscribe":
                if not all(known):
                    wrong = f"Invalid topic: {args[known.index(False)]}"
                    return [_ack(connection, mark, op, success=False, told=wrong)]
                for topic in args:
                    if op == "subscribe":
                        connection.subscribe(topic)
                    else:
                        connection.unsubscribe(topic)
                return [_ack(connection, mark, op, success=True)]
        return [_ack(connection, mark, str(op), success=False, told="Invalid op")]

    def _listing(self, path: str, topic: str) -> Listing | None:
        channel, _, symbol = topic.partition(".")
        listing = self.symbols.get(symbol)
        if channel not in ("tickers", "allLiquidation") or listing is None:
            return None
        return listing if listing.margin == _PATHS[path] else None

    def is_liquidations(self, topic: str) -> bool:
        """`allLiquidation` topics."""
        return topic.startswith("allLiquidation.")

    def greet(self, topic: str, now: Millis) -> Sequence[bytes]:
        """A ticker's snapshot is what the deltas so far add up to."""
        if self.is_liquidations(topic):
            return []
        listing = self.symbols[topic.partition(".")[2]]
        if self.subscribers(topic) == 1 or topic not in self._told:
            self._told[topic] = self._ticker(listing, now)
        return [_ticker_frame(topic, "snapshot", self._told[topic], now)]

    def tell(self, topic: str, since: Millis, now: Millis) -> Sequence[bytes]:
        """A ticker's changes, or the liquidations where there are some."""
        listing = self.symbols[topic.partition(".")[2]]
        if self.is_liquidations(topic):
            return self._liquidations(topic, listing, since, now)
        ticker = self._ticker(listing, now)
        before = self._told.get(topic)
        self._told[topic] = ticker
        if before is None:
            return [_ticker_frame(topic, "snapshot", ticker, now)]
        changed = {key: value for key, value in ticker.items() if before[key] != value}
        if not changed:
            return []
        return [_ticker_frame(topic, "delta", {"symbol": listing.symbol} | changed, now)]

    def _ticker(self, listing: Listing, now: Millis) -> dict[str, str]:
        # Not everything moves with every message: deltas have to be merged.
        second, slow = now // 1000 * 1000, now // 2000 * 2000
        mark, day = self.mark(listing, second), self.market.mark(listing, second - 24 * HOUR)
        held = round(self.open_interest(listing, slow) / listing.step) * listing.step
        worth = held * mark if listing.margin == "linear" else held / mark
        volume, perpetual = listing.size * 0.78, listing.kind == "perpetual"
        turnover = volume * day if listing.margin == "linear" else volume / day
        last, tick = price(listing, mark), 10.0**-listing.digits
        money = 2 if listing.margin == "linear" else 4
        bid, ask = draw(1, now) * 5 + listing.step, draw(2, now) * 5 + listing.step
        return {
            "symbol": listing.symbol,
            "tickDirection": "PlusTick" if draw(3, now) < 0.5 else "ZeroMinusTick",
            "price24hPcnt": f"{mark / day - 1:.6f}", "lastPrice": last,
            "prevPrice24h": price(listing, day), "highPrice24h": price(listing, day * 1.06),
            "lowPrice24h": price(listing, day * 0.8),
            "prevPrice1h": price(listing, self.market.mark(listing, second - HOUR)),
            "markPrice": last,
            "indexPrice": price(listing, self.market.index_price(listing, second)),
            "openInterest": amount(listing, held), "openInterestValue": f"{worth:.{money}f}",
            "turnover24h": f"{turnover:.4f}", "volume24h": f"{volume:.4f}",
            "fundingIntervalHour": str(listing.interval_h) if perpetual else "",
            "fundingCap": "0.00333" if perpetual else "",
            "singleOpenInterest": amount(listing, held / 2),
            "singleOpenInterestValue": f"{worth / 2:.{money}f}",
            "nextFundingTime":
                str(self.market.next_funding(listing, now)) if perpetual else "",
            "fundingRate": f"{self.market.funding(listing, slow):.8f}" if perpetual else "",
            "bid1Price": last, "bid1Size": amount(listing, bid),
            "ask1Price": price(listing, mark + tick), "ask1Size": amount(listing, ask),
            "preOpenPrice": "", "preQty": "", "curPreListingPhase": "",
        }  # fmt: skip

    def _liquidations(self, topic: str, listing: Listing, since: Millis, now: Millis) -> list[bytes]:
        # `S` is the side of the position, unlike elsewhere; `p` is the bankruptcy price.
        data = [
            {
                "T": row.time, "s": listing.symbol,
                "S": "Buy" if row.position == "long" else "Sell",
                "v": amount(listing, row.amount),
                "p": price(listing, row.price * (0.996 if row.position == "long" else 1.004)),
            }
            for row in self.forced(listing, since, now)
        ]  # fmt: skip
        frame = {"topic": topic, "type": "snapshot", "ts": now, "data": data}
        return [orjson.dumps(frame)] if data else []

    def rest(self, request: web.Request, body: bytes) -> web.Response:  # noqa: ARG002
        """`instruments-info`, with pages."""
        now = self.clock.now()
        if request.path != "/v5/market/instruments-info":
            return web.Response(status=404)
        category, limit = request.query.get("category"), request.query.get("limit", "500")
        if category not in _PATHS.values() or not limit.isdigit() or not 1 <= int(limit) <= 1000:
            return answer(_envelope(10001, "params error: Invalid parameter", {}, now))
        rows = [listing for listing in self.listings if listing.margin == category]
        _, _, last = unquote(request.query.get("cursor", "")).partition("&last=")
        symbols = [listing.symbol for listing in rows]
        start = symbols.index(last) + 1 if last in symbols else 0
        page = rows[start : start + int(limit)]
        more = start + int(limit) < len(rows)
        cursor = quote(f"first={page[0].symbol}&last={page[-1].symbol}", safe="") if more else ""
        found = {
            "category": category, "list": [_info(one) for one in page], "nextPageCursor": cursor,
        }  # fmt: skip
        return answer(_envelope(0, "OK", found, now))


def _ack(connection: Connection, mark: str, op: str, *, success: bool, told: str = "") -> bytes:
    named = {"conn_id": f"da7tpgurt1e5jtsdk7hg-{connection.id}"}
    # A refusal is told without `req_id`.
    named |= {"req_id": mark} if success else {}
    return orjson.dumps({"success": success, "ret_msg": told, **named, "op": op})


def _ticker_frame(topic: str, kind: str, data: dict[str, str], now: Millis) -> bytes:
    sequence = now // 10 + 640_000_000_000
    return orjson.dumps({"topic": topic, "type": kind, "data": data, "cs": sequence, "ts": now})


def _envelope(code: int, told: str, result: dict[str, Any], now: Millis) -> dict[str, Any]:
    return {"retCode": code, "retMsg": told, "result": result, "retExtInfo": {}, "time": now}


def _info(listing: Listing) -> dict[str, Any]:
    side = "Linear" if listing.margin == "linear" else "Inverse"
    dated = listing.kind == "future"
    return {
        "symbol": listing.symbol, "contractType": f"{side}{'Futures' if dated else 'Perpetual'}",
        "status": "Trading", "baseCoin": listing.asset, "quoteCoin": listing.quote,
        "launchTime": "1584230400000", "deliveryTime": str(listing.expiry or 0),
        "deliveryFeeRate": "", "priceScale": str(listing.digits),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": "0.10", "maxPrice": "1999999.80", "tickSize": "0.10"},
        "lotSizeFilter": {
            "maxOrderQty": "1190.000", "minOrderQty": amount(listing, listing.step),
            "qtyStep": amount(listing, listing.step), "minNotionalValue": "5",
        },
        "unifiedMarginTrade": True, "fundingInterval": 0 if dated else listing.interval_h * 60,
        "settleCoin": listing.quote if listing.margin == "linear" else listing.asset,
        "copyTrading": "none", "upperFundingRate": "0.00333", "lowerFundingRate": "-0.00333",
        "isPreListing": False, "preListingInfo": None, "symbolType": "",
    }  # fmt: skip
