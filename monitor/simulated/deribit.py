"""Deribit: JSON-RPC, heartbeats that want an answer, tickers, trades, the volatility index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import orjson
from aiohttp import web

from monitor.events import Millis
from monitor.simulated import deribit_data
from monitor.simulated.connection import Connection
from monitor.simulated.exchange import Exchange, answer
from monitor.simulated.wire import ROWS, short

_TEST = b'{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}'
_INVALID = (-32602, "Invalid params")
_VOLATILITY = "deribit_volatility_index"


class Deribit(Exchange):
    """A topic is a channel."""

    throttled_body: ClassVar[object] = {
        "jsonrpc": "2.0", "error": {"code": 10028, "message": "too_many_requests", "data": None},
    }  # fmt: skip

    def accepts(self, path: str) -> bool:
        """The one path."""
        return path == "/ws/api/v2"

    def hear(self, connection: Connection, text: str) -> Sequence[bytes]:
        """One JSON-RPC request."""
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError:
            return [self._reply(None, error=(-32700, "Parse error"))]
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return [self._reply(None, error=(-32600, "Invalid Request"))]
        params = request.get("params")
        result = self._result(connection, request["method"], params if isinstance(params, dict) else {})
        if isinstance(result, tuple):
            return [self._reply(request.get("id"), error=result)]
        return [self._reply(request.get("id"), result)]

    def _result(
        self, connection: Connection, method: str, params: dict[str, Any]
    ) -> str | list[str] | dict[str, str] | tuple[int, str]:
        """Result of a request, or code and message of an error."""
        match method:
            case "public/test":
                connection.unanswered = 0
                return {"version": "1.2.26"}
            case "public/set_heartbeat":
                interval = params.get("interval")
                if not isinstance(interval, int | float) or interval < 10:
                    return _INVALID
                connection.heartbeat_s, connection.unanswered = float(interval), 0
                connection.heartbeat_at = connection.heard + interval * self.second
                return "ok"
            case "public/disable_heartbeat":
                connection.heartbeat_s = None
                return "ok"
            case "public/subscribe" | "public/unsubscribe":
                channels = params.get("channels")
                if not isinstance(channels, list):
                    return _INVALID
                known = [channel for channel in channels if self._exists(channel)]
                for channel in known:
                    if method == "public/subscribe":
                        connection.subscribe(channel)
                    else:
                        connection.unsubscribe(channel)
                return known
        return (-32601, "Method not found")

    def _reply(self, asked: object, result: object = None, error: tuple[int, str] | None = None) -> bytes:
        now = self.clock.now() * 1000
        body: dict[str, Any] = {"jsonrpc": "2.0", "id": asked}
        if error is not None:
            body["error"] = {"code": error[0], "message": error[1], "data": None}
        else:
            body["result"] = result
        return orjson.dumps(body | {"testnet": False, "usIn": now, "usOut": now + 90, "usDiff": 90})

    def _exists(self, channel: object) -> bool:
        if not isinstance(channel, str):
            return False
        match channel.split("."):
            case ["ticker" | "trades", symbol, "100ms" | "agg2"]:
                return symbol in self.symbols
            case [name, "btc_usd" | "eth_usd"]:
                return name == _VOLATILITY
        return False

    def heartbeat(self, connection: Connection, wall: float) -> bytes | None:
        """A test request; the socket of a client that left the last one unanswered is closed."""
        if connection.heartbeat_s is None or wall < connection.heartbeat_at:
            return None
        if connection.unanswered:
            self.dismiss(connection, 1000, b"")
            connection.heartbeat_s = None
            return None
        connection.unanswered += 1
        connection.heartbeat_at = wall + connection.heartbeat_s * self.second
        return _TEST

    def cadence(self, topic: str) -> int:
        """What is aggregated, and the volatility index, comes every second."""
        return 2 if topic.startswith(("ticker.", _VOLATILITY)) and "100ms" not in topic else 1

    def is_liquidations(self, topic: str) -> bool:
        """The trade tape."""
        return topic.startswith("trades.")

    def tell(self, topic: str, since: Millis, now: Millis) -> Sequence[bytes]:
        """Frames of one channel."""
        channel, name, *_ = topic.split(".")
        data: object
        if channel == _VOLATILITY:
            value = self.market.volatility(name[:3].upper(), now)
            data = {"timestamp": now, "volatility": short(round(value, 2)), "index_name": name}
            return [_push(topic, data)]
        listing = self.symbols[name]
        if channel == "ticker":
            mark, held = self.mark(listing, now), self.open_interest(listing, now)
            data = deribit_data.ticker(self.market, listing, now, mark, held)
            return [_push(topic, data)]
        forced = self.forced(listing, since, now)
        rows = [deribit_data.liquidation(self.market, row) for row in forced]
        rows += deribit_data.trades(self.market, listing, since, now)[: ROWS - len(rows)]
        rows.sort(key=lambda row: (row["timestamp"], row["trade_seq"]))
        return [_push(topic, rows)] if rows else []

    def rest(self, request: web.Request, body: bytes) -> web.Response:  # noqa: ARG002
        """`get_instruments`."""
        now = self.clock.now() * 1000
        if request.path != "/api/v2/public/get_instruments":
            error = {"code": -32601, "message": "Method not found"}
            return answer({"jsonrpc": "2.0", "error": error}, status=400)
        currency, kind = request.query.get("currency"), request.query.get("kind", "future")
        if currency not in ("any", "BTC", "ETH", "USDC", "USDT", "EURR"):
            error = {"code": -32602, "message": "Invalid params"}
            return answer({"jsonrpc": "2.0", "error": error}, status=400)
        rows = [
            row
            for listing in self.listings
            if (row := deribit_data.info(listing))["settlement_currency"] == currency or currency == "any"
        ]
        return answer(
            {
                "jsonrpc": "2.0", "result": rows if kind in ("future", "any") else [],
                "usIn": now, "usOut": now + 90, "usDiff": 90, "testnet": False,
            }
        )  # fmt: skip


def _push(channel: str, data: object) -> bytes:
    params = {"channel": channel, "data": data}
    return orjson.dumps({"jsonrpc": "2.0", "method": "subscription", "params": params})
