"""OKX V5 public channels of swaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import orjson
from aiohttp import web

from monitor.events import Millis
from monitor.simulated.connection import Connection
from monitor.simulated.exchange import Exchange, answer
from monitor.simulated.listings import Listing
from monitor.simulated.market import HOUR, Forced
from monitor.simulated.noise import draw
from monitor.simulated.wire import amount, price

_CHANNELS = ("mark-price", "index-tickers", "funding-rate", "open-interest")
_TYPES = ("SWAP", "FUTURES", "MARGIN", "OPTION")
_OLD_MS = 600_000
_OLD_ROWS = 20


class Okx(Exchange):
    """A topic is the channel and the instrument or instrument type."""

    heard_within_s: ClassVar[float | None] = 30.0
    silence_close: ClassVar[tuple[int, bytes]] = (4004, b"No data received in 30s.")
    throttled_body: ClassVar[object] = {"code": "50011", "data": [], "msg": "Too Many Requests"}

    def accepts(self, path: str) -> bool:
        """The public path."""
        return path == "/ws/v5/public"

    def hear(self, connection: Connection, text: str) -> Sequence[bytes]:
        """The text `ping`, subscribe and unsubscribe: one answer per argument."""
        if text == "ping":
            return [b"pong"]
        try:
            request = orjson.loads(text)
            op, args = request["op"], list(request["args"])
            named = {"id": request["id"]} if "id" in request else {}
            topics = [f"{arg['channel']} {arg.get('instId') or arg['instType']}" for arg in args]
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            op, args, named, topics = "", [], {}, []
        if op not in ("subscribe", "unsubscribe") or not args:
            return [_error(connection, {}, "60012", f"Invalid request: {text}")]
        replies = []
        for arg, topic in zip(args, topics, strict=True):
            if not self._exists(topic):
                named_by = next(key for key in ("instId", "instType") if key in arg)
                told = (
                    f"Wrong URL or channel:{arg['channel']},{named_by}:{arg[named_by]} doesn't "
                    "exist. Please use the correct URL, channel and parameters referring to API "
                    "document."
                )
                replies.append(_error(connection, named, "60018", told))
                continue
            if op == "subscribe":
                connection.subscribe(topic)
            else:
                connection.unsubscribe(topic)
            ack = {"event": op, "arg": arg, "connId": connection.id}
            replies.append(orjson.dumps(named | ack))
        return replies

    def _exists(self, topic: str) -> bool:
        channel, _, name = topic.partition(" ")
        if channel == "liquidation-orders":
            return name in _TYPES
        if channel == "index-tickers":
            return f"{name}-SWAP" in self.symbols
        return channel in _CHANNELS and name in self.symbols

    def cadence(self, topic: str) -> int:
        """Funding changes slowest."""
        channel = topic.partition(" ")[0]
        return {"open-interest": 2, "funding-rate": 4}.get(channel, 1)

    def is_liquidations(self, topic: str) -> bool:
        """`liquidation-orders`."""
        return topic.startswith("liquidation-orders ")

    def greet(self, topic: str, now: Millis) -> Sequence[bytes]:
        """The first push of liquidations repeats old ones."""
        if topic != "liquidation-orders SWAP":
            return self.tell(topic, now, now)
        old = [
            _orders_of(listing, rows[-_OLD_ROWS:])
            for listing in self.listings
            if (rows := self.forced_throttled(listing, now - _OLD_MS, now - 1000))
        ]
        return [_push({"channel": "liquidation-orders", "instType": "SWAP"}, old)] if old else []

    def tell(self, topic: str, since: Millis, now: Millis) -> Sequence[bytes]:
        """Frames of one topic."""
        channel, _, name = topic.partition(" ")
        if channel == "liquidation-orders":
            if name != "SWAP":
                return []
            arg = {"channel": channel, "instType": name}
            return [
                _push(arg, [_orders_of(listing, rows)])
                for listing in self.listings
                if (rows := self.forced_throttled(listing, since, now))
            ]
        arg = {"channel": channel, "instId": name}
        if channel == "index-tickers":
            return [_push(arg, [self._index(name, self.symbols[f"{name}-SWAP"], now)])]
        listing = self.symbols[name]
        match channel:
            case "mark-price":
                row = _head(listing) | {
                    "markPx": price(listing, self.mark(listing, now)), "ts": str(now),
                }  # fmt: skip
            case "open-interest":
                row = self._open_interest(listing, now)
            case _:
                row = self._funding(listing, now)
        return [_push(arg, [row])]

    def _index(self, name: str, listing: Listing, now: Millis) -> dict[str, str]:
        day = self.market.index_price(listing, now - 24 * HOUR)
        return {
            "instId": name, "idxPx": price(listing, self.market.index_price(listing, now)),
            "open24h": price(listing, day), "high24h": price(listing, day * 1.06),
            "low24h": price(listing, day * 0.8), "sodUtc0": price(listing, day),
            "sodUtc8": price(listing, day), "ts": str(now),
        }  # fmt: skip

    def _open_interest(self, listing: Listing, now: Millis) -> dict[str, str]:
        held = self.open_interest(listing, now)
        mark = self.mark(listing, now)
        size = held * listing.contract_size
        coins, usd = (size, size * mark) if listing.margin == "linear" else (size / mark, size)
        return _head(listing) | {
            "oi": f"{held:.11f}", "oiCcy": f"{coins:.13f}", "oiUsd": f"{usd:.12f}", "ts": str(now),
        }  # fmt: skip

    def _funding(self, listing: Listing, now: Millis) -> dict[str, str]:
        due, interval = self.market.next_funding(listing, now), listing.interval_h * HOUR
        index = self.market.index_price(listing, now)
        return {
            "formulaType": "withRate", "fundingRate": f"{self.market.funding(listing, now):.16f}",
            "fundingTime": str(due), "impactValue": "20000.0000000000000000",
            "instId": listing.symbol, "instType": "SWAP", "interestRate": "0.0001000000000000",
            "maxFundingRate": "0.00375", "method": "current_period", "minFundingRate": "-0.00375",
            "nextFundingRate": "", "nextFundingTime": str(due + interval),
            "premium": f"{self.market.mark(listing, now) / index - 1:.16f}",
            "prevFundingTime": str(due - interval),
            "settFundingRate": f"{self.market.funding(listing, due - interval - 1):.16f}",
            "settState": "settled", "ts": str(now),
        }  # fmt: skip

    def rest(self, request: web.Request, body: bytes) -> web.Response:  # noqa: ARG002
        """`instruments`."""
        if request.path != "/api/v5/public/instruments":
            return web.Response(status=404)
        kind = request.query.get("instType")
        if kind not in (*_TYPES, "SPOT"):
            told = "Parameter instType can not be empty" if not kind else "Parameter instType error"
            return answer({"code": "51000", "data": [], "msg": told}, status=400)
        rows = [_info(listing) for listing in self.listings] if kind == "SWAP" else []
        return answer({"code": "0", "data": rows, "msg": ""})


def _error(connection: Connection, named: dict[str, Any], code: str, told: str) -> bytes:
    error = {"event": "error", "code": code, "msg": told, "connId": connection.id}
    return orjson.dumps(named | error)


def _push(arg: dict[str, str], data: Sequence[object]) -> bytes:
    return orjson.dumps({"arg": arg, "data": data})


def _head(listing: Listing) -> dict[str, str]:
    return {"instId": listing.symbol, "instType": "SWAP"}


def _family(listing: Listing) -> str:
    return listing.symbol.removesuffix("-SWAP")


def _orders_of(listing: Listing, rows: Sequence[Forced]) -> dict[str, Any]:
    family = _family(listing)
    return {
        "details": [_detail(row) for row in rows], "instFamily": family,
        "instId": listing.symbol, "instType": "SWAP", "uly": family,
    }  # fmt: skip


def _detail(row: Forced) -> dict[str, str]:
    # Accounts in net mode have no position side of their own: then the order's side has to do.
    long, net = row.position == "long", draw(5, row.number) < 0.25
    return {
        "bkLoss": "0", "bkPx": price(row.listing, row.price * (0.996 if long else 1.004)),
        "ccy": "", "posSide": "net" if net else row.position, "side": "sell" if long else "buy",
        "sz": amount(row.listing, row.amount), "ts": str(row.time),
    }  # fmt: skip


def _info(listing: Listing) -> dict[str, Any]:
    base, quote, _ = listing.symbol.split("-")
    linear = listing.margin == "linear"
    return {
        "alias": "", "auctionEndTime": "", "baseCcy": "", "category": "1", "contTdSwTime": "",
        "ctMult": "1", "ctType": listing.margin, "ctVal": f"{listing.contract_size:g}",
        "ctValCcy": base if linear else "USD", "expTime": "", "futureSettlement": False,
        "instCategory": "1", "instFamily": _family(listing), "instId": listing.symbol,
        "instType": "SWAP", "lever": "100", "listTime": "1606468572000",
        "lotSz": f"{listing.step:g}", "maxIcebergSz": "100000000", "maxLmtAmt": "20000000",
        "maxLmtSz": "100000000", "maxMktAmt": "", "maxMktSz": "35000", "minSz": f"{listing.step:g}",
        "openType": "", "optType": "", "preMktSwTime": "", "quoteCcy": "", "ruleType": "normal",
        "settleCcy": quote if linear else base, "state": "live", "stk": "",
        "tickSz": f"{10.0**-listing.digits:g}", "tradeQuoteCcyList": [], "uly": _family(listing),
    }  # fmt: skip
