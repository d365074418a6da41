"""Venues' REST and an archive that tell one made-up past in the real formats, with faults as told.

The truth is arithmetic: any test can compute what a bar must be without asking the servers.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web
from conftest import rest_server

from monitor.archives.source import instant
from monitor.ladder import DAY, HOUR, MINUTE

NOW = 1_790_755_200_000 + 5 * HOUR + 7 * MINUTE
"""2026-09-30 13:07 UTC."""
TODAY = NOW // DAY * DAY
OLDEST = 150 * DAY
"""Funding of Kraken and dYdX begins here."""
SIZES = {"BTC": 0.01, "ETH": 0.1}
"""Contracts of OKX; those of the others are powers of ten as well."""


def price(asset: str, time: int) -> float:
    return {"BTC": 60_000.0, "ETH": 3_000.0}[asset] + (time // HOUR) % 500


def coins(asset: str, time: int) -> float:
    """One side of a linear contract."""
    return {"BTC": 20_000.0, "ETH": 300_000.0}[asset] + (time // HOUR) % 701


def dollars(asset: str, time: int) -> float:
    """One side of an inverse contract."""
    return {"BTC": 4e8, "ETH": 2e8}[asset] + (time // HOUR) % 701 * 100


def rate(time: int) -> float:
    """On a base of eight hours, the same for the three payments of a day."""
    return ((time - 1) // DAY % 7 - 3) / 10_000


def steps(servers: Servers, start: int, end: int, every: int) -> list[int]:
    """Moments of a grid, both ends included, none of the future."""
    return list(range(-(-start // every) * every, min(end, servers.now) + 1, every))


def ohlc(asset: str, time: int, every: int) -> list[float]:
    first, last = price(asset, time), price(asset, time + every)
    return [first, max(first, last) + 1, min(first, last) - 1, last]


Fault = Callable[[web.Request], web.StreamResponse | None]


class Servers(msgspec.Struct):
    """What was asked, and how to misbehave."""

    asked: list[str] = []
    """Paths with their queries, or bodies."""
    faults: list[Fault] = []
    """Asked in order; the first that answers does so instead of the server."""
    absent_days: set[str] = set()
    """Days without a file."""
    now: int = NOW
    since: int = 0
    """Before this there is nothing."""
    url: str = ""
    before: Callable[[web.Request], Awaitable[None]] | None = None
    """Waited for before each answer."""

    def count(self, part: str) -> int:
        """Requests with this in them."""
        return sum(part in one for one in self.asked)


def once(part: str, answer: Callable[[], web.StreamResponse], times: int = 1) -> Fault:
    """Answers so, the first times that a path with this part is asked."""
    left = [times]

    def fault(request: web.Request) -> web.StreamResponse | None:
        if part in request.path_qs and left[0] > 0:
            left[0] -= 1
            return answer()
        return None

    return fault


@asynccontextmanager
async def history_servers(now: int = NOW) -> AsyncIterator[Servers]:
    """All of them at one address."""
    servers = Servers(now=now)

    async def respond(request: web.Request) -> web.StreamResponse:
        body = await request.text()
        servers.asked.append(request.path_qs + body)
        if servers.before is not None:
            await servers.before(request)
        for fault in servers.faults:
            if (said := fault(request)) is not None:
                return said
        for start, answer in ANSWERS.items():
            if request.path.startswith(start):
                query = dict(request.query)
                if body:
                    query["body"] = body
                return answer(servers, request.path, query)
        return web.Response(status=404, text="<html>no such page</html>")

    async with rest_server(respond) as servers.url:
        yield servers


def _json(value: object) -> web.StreamResponse:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def _cut(rows: list[Any], limit: int, *, newest: bool) -> list[Any]:
    """As many as the venue gives: the newest, newest first, or the oldest."""
    return rows[::-1][:limit] if newest else rows[:limit]


def _linear(symbol: str) -> bool:
    return not symbol.endswith(("USD", "USD_PERP", "USD-SWAP", "USDM", "_USD"))


def _asset(symbol: str) -> str:
    return "ETH" if "ETH" in symbol else "BTC"


def _held(symbol: str, time: int) -> float:
    return (coins if _linear(symbol) else dollars)(_asset(symbol), time)


def _payments(servers: Servers, start: int, end: int, every: int = 8 * HOUR) -> list[int]:
    return [time for time in steps(servers, start, end, every) if time > servers.since]


# Binance.


def _binance_list(_servers: Servers, path: str, _query: dict[str, str]) -> web.StreamResponse:
    if path.endswith("fundingInfo"):
        return _json([])
    coinm = path.startswith("/dapi")
    rows = [
        {
            "symbol": f"{asset}USD_PERP" if coinm else f"{asset}USDT", "contractType": "PERPETUAL",
            "baseAsset": asset, "quoteAsset": "USD" if coinm else "USDT",
            "contractStatus" if coinm else "status": "TRADING",
            "contractSize": 100 if asset == "BTC" else 10,
        }
        for asset in SIZES
    ]  # fmt: skip
    return _json({"symbols": rows})


def _binance_open_interest(servers: Servers, _path: str, query: dict[str, str]) -> web.StreamResponse:
    every = {"1d": DAY, "1h": HOUR}[query["period"]]
    start, end = int(query["startTime"]), int(query["endTime"])
    if start < servers.now - 30 * DAY:
        return web.json_response({"code": -1130, "msg": "parameter 'startTime' is invalid."}, status=400)
    asset = _asset(query.get("symbol") or query["pair"])
    rows = []
    for time in steps(servers, start, end, every):
        if time <= servers.since:
            continue
        if "pair" in query:
            amount = dollars(asset, time) / (100 if asset == "BTC" else 10)
        else:
            amount = coins(asset, time)
        rows.append({"sumOpenInterest": str(amount), "timestamp": time})
    return _json(_cut(rows, min(500, int(query["limit"])), newest=False))


def _binance_funding(servers: Servers, _path: str, query: dict[str, str]) -> web.StreamResponse:
    rows = [
        {"symbol": query["symbol"], "fundingRate": f"{rate(time):.8f}", "fundingTime": time + 3}
        for time in _payments(servers, int(query["startTime"]), int(query["endTime"]))
    ]
    return _json(_cut(rows, min(1000, int(query["limit"])), newest=False))


def _binance_klines(servers: Servers, _path: str, query: dict[str, str]) -> web.StreamResponse:
    every = {"1d": DAY, "1h": HOUR}[query["interval"]]
    rows = [
        [time, *(str(value) for value in ohlc(_asset(query["symbol"]), time, every)), "0", time + every - 1]
        for time in steps(servers, int(query["startTime"]), int(query["endTime"]), every)
        if time >= servers.since
    ]
    return _json(_cut(rows, min(1500, int(query["limit"])), newest=False))


def metrics(symbol: str, day: int, *, names: bool = True) -> bytes:
    """A `metrics` file: every five minutes, a second late."""
    columns = "create_time,symbol,sum_open_interest,sum_open_interest_value,count_long_short_ratio\n"
    lines = []
    for time in range(day + 5 * MINUTE, day + DAY + 1, 5 * MINUTE):
        held = coins(_asset(symbol), time)
        stamp = f"{datetime.fromtimestamp(time / 1000 + 1, UTC):%Y-%m-%d %H:%M:%S}"
        lines.append(f"{stamp},{symbol},{held},{held * price(_asset(symbol), time)},1.5\n")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        # Named with a fixed date, so that the file has one checksum.
        packed.writestr(zipfile.ZipInfo("metrics.csv"), (columns if names else "") + "".join(lines))
    return file.getvalue()


def _archive(servers: Servers, path: str, _query: dict[str, str]) -> web.StreamResponse:
    name = path.rpartition("/")[2].removesuffix(".CHECKSUM")
    symbol, _, date = name.removesuffix(".zip").partition("-metrics-")
    day = instant(f"{date} 00:00:00")
    if date in servers.absent_days or day < servers.since or day + DAY > servers.now:
        return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>")
    body = metrics(symbol, day)
    if path.endswith(".CHECKSUM"):
        return web.Response(text=f"{hashlib.sha256(body).hexdigest()}  {name}\n")
    return web.Response(body=body)


# Bybit.


def _bybit(rows: list[Any]) -> web.StreamResponse:
    return _json({"retCode": 0, "retMsg": "OK", "result": {"category": "", "list": rows}})


def _bybit_list(_servers: Servers, _path: str, query: dict[str, str]) -> web.StreamResponse:
    inverse = query["category"] == "inverse"
    rows = [
        {
            "symbol": f"{asset}USD" if inverse else f"{asset}USDT", "status": "Trading", "baseCoin": asset,
            "contractType": "InversePerpetual" if inverse else "LinearPerpetual",
            "quoteCoin": "USD" if inverse else "USDT", "fundingInterval": 480,
        }
        for asset in SIZES
    ]  # fmt: skip
    return _bybit(rows)


def _bybit_open_interest(servers: Servers, _path: str, query: dict[str, str]) -> web.StreamResponse:
    every = {"1d": DAY, "1h": HOUR}[query["intervalTime"]]
    rows = [
        {"openInterest": str(2 * _held(query["symbol"], time)), "timestamp": str(time)}
        for time in steps(servers, int(query["startTime"]), int(query["endTime"]), every)
        if time > servers.since
    ]
    return _bybit(_cut(rows, min(200, int(query["limit"])), newest=True))


def _bybit_funding(servers: Servers, _path: str, query: dict[str, str]) -> web.StreamResponse:
    rows = [
        {"symbol": query["symbol"], "fundingRate": f"{rate(time):.8f}", "fundingRateTimestamp": str(time)}
        for time in _payments(servers, int(query["startTime"]), int(query["endTime"]))
    ]
    return _bybit(_cut(rows, min(200, int(query["limit"])), newest=True))


def _bybit_klines(servers: Servers, _path: str, query: dict[str, str]) -> web.StreamResponse:
    every = {"D": DAY, "60": HOUR}[query["interval"]]
    rows = [
        [str(time), *(str(value) for value in ohlc(_asset(query["symbol"]), time, every))]
        for time in steps(servers, int(query["start"]), int(query["end"]), every)
        if time >= servers.since
    ]
    return _bybit(_cut(rows, min(1000, int(query["limit"])), newest=True))


# OKX: both ends of a span are not of it.


def _okx(rows: list[Any]) -> web.StreamResponse:
    return _json({"code": "0", "msg": "", "data": rows})


def _okx_list(_servers: Servers, _path: str, _query: dict[str, str]) -> web.StreamResponse:
    rows = []
    for asset, size in SIZES.items():
        for quote, value in (("USDT", size), ("USD", 100 if asset == "BTC" else 10)):
            kind = "inverse" if quote == "USD" else "linear"
            rows.append(
                {
                    "instId": f"{asset}-{quote}-SWAP",
                    "ctVal": str(value),
                    "ctMult": "1",
                    "ctType": kind,
                    "settleCcy": quote,
                    "state": "live",
                }
            )
    return _okx(rows)


def _okx_open_interest(servers: Servers, _path: str, query: dict[str, str]) -> web.StreamResponse:
    every = {"1Dutc": DAY, "1H": HOUR}[query["period"]]
    symbol = query["instId"]
    asset = _asset(symbol)
    size = SIZES[asset] if _linear(symbol) else {"BTC": 100, "ETH": 10}[asset]
    rows = [
        [str(time), str(_held(symbol, time + every) / size), "0", "0"]
        for time in steps(servers, int(query["begin"]) + 1, int(query["end"]) - 1, every)
        if time >= servers.since
    ]
    return _okx(_cut(rows, min(100, int(query["limit"])), newest=True))


def _okx_funding(servers: Servers, _path: str, query: dict[str, str]) -> web.StreamResponse:
    rows = [
        {"fundingRate": "0.00999", "realizedRate": f"{rate(time):.8f}", "fundingTime": str(time)}
        for time in _payments(servers, int(query["before"]) + 1, int(query["after"]) - 1)
    ]
    return _okx(_cut(rows, min(400, int(query["limit"])), newest=True))


def _okx_candles(servers: Servers, _path: str, query: dict[str, str]) -> web.StreamResponse:
    every = {"1Dutc": DAY, "1H": HOUR}[query["bar"]]
    rows = [
        [str(time), *(str(value) for value in ohlc(_asset(query["instId"]), time, every)), "1"]
        for time in steps(servers, int(query["before"]) + 1, int(query["after"]) - 1, every)
        if time >= servers.since
    ]
    return _okx(_cut(rows, min(100, int(query["limit"])), newest=True))


# Deribit and Hyperliquid: hourly funding, prices of trades.


def _deribit(servers: Servers, path: str, query: dict[str, str]) -> web.StreamResponse:
    if path.endswith("get_instruments"):
        rows = [
            {
                "instrument_name": f"{asset}-PERPETUAL", "instrument_type": "reversed",
                "base_currency": asset,
                "quote_currency": "USD", "settlement_period": "perpetual", "is_active": True,
                "contract_size": 10,
            }
            for asset in SIZES
        ]  # fmt: skip
        return _json({"result": rows})
    start, end = int(query["start_timestamp"]), int(query["end_timestamp"])
    if path.endswith("get_funding_rate_history"):
        rows = [
            {"timestamp": time, "interest_8h": 0.5, "interest_1h": rate(time) / 8, "index_price": 1.0}
            for time in _payments(servers, start, end, HOUR)
        ]
        return _json({"jsonrpc": "2.0", "result": rows[-744:]})
    every = {"1D": DAY, "60": HOUR}[query["resolution"]]
    asset = _asset(query["instrument_name"])
    ticks = [time for time in steps(servers, start, end, every) if time >= servers.since]
    columns = [list(column) for column in zip(*(ohlc(asset, t, every) for t in ticks), strict=True)]
    names = zip(("open", "high", "low", "close"), columns or [[]] * 4, strict=True)
    return _json({"result": {"ticks": ticks, **dict(names), "status": "ok"}})


def _hyperliquid(servers: Servers, _path: str, query: dict[str, str]) -> web.StreamResponse:
    asked = msgspec.json.decode(query["body"])
    if asked["type"] == "meta":
        return _json({"universe": [{"name": asset} for asset in SIZES]})
    if asked["type"] == "fundingHistory":
        rows = [
            {"coin": asked["coin"], "fundingRate": f"{rate(time) / 8:.10f}", "time": time + 76}
            for time in _payments(servers, asked["startTime"], asked["endTime"], HOUR)
        ]
        return _json(rows[:500])
    span = asked["req"]
    every = {"1d": DAY, "1h": HOUR}[span["interval"]]
    names = ("o", "h", "l", "c")
    candles = [
        {"t": time, **dict(zip(names, map(str, ohlc(span["coin"], time, every)), strict=True))}
        for time in steps(servers, span["startTime"], span["endTime"], every)
        if time >= servers.since
    ]
    return _json(candles[-5000:])


# Kraken, dYdX, KuCoin, Gate, Bitfinex.


def _kraken_analytics(servers: Servers, path: str, query: dict[str, str]) -> web.StreamResponse:
    symbol, every = path.split("/")[5], int(query["interval"]) * 1000
    held = dollars if symbol.startswith("PI") else coins
    times = [
        time
        for time in steps(servers, int(query["since"]) * 1000, int(query["to"]) * 1000, every)
        if time >= servers.since
    ]
    kept = times[:500]
    data = [["1", "9e9", "1", str(held(_asset(symbol), time + every))] for time in kept]
    seconds = [time // 1000 for time in kept]
    return _json({"result": {"timestamp": seconds, "more": len(times) > 500, "data": data}, "errors": []})


def _kraken_candles(servers: Servers, path: str, query: dict[str, str]) -> web.StreamResponse:
    symbol, code = path.split("/")[5:7]
    every = {"1d": DAY, "1h": HOUR}[code]
    times = [
        time
        for time in steps(servers, int(query["from"]) * 1000, int(query["to"]) * 1000, every)
        if time >= servers.since
    ]
    names = ("open", "high", "low", "close")
    rows = [
        {"time": time, **dict(zip(names, map(str, ohlc(_asset(symbol), time, every)), strict=True))}
        for time in times[:500]
    ]
    return _json({"candles": rows, "more_candles": len(times) > 500})


def _iso(time: int) -> str:
    return f"{datetime.fromtimestamp(time / 1000, UTC):%Y-%m-%dT%H:%M:%S}.{time % 1000:03d}Z"


def _kraken_funding(servers: Servers, _path: str, _query: dict[str, str]) -> web.StreamResponse:
    rows = [
        {"timestamp": _iso(time), "relativeFundingRate": rate(time) / 8, "fundingRate": 0.9}
        for time in _payments(servers, servers.now - OLDEST, servers.now, HOUR)
    ]
    return _json({"result": "success", "rates": rows})


def _dydx_candles(servers: Servers, path: str, query: dict[str, str]) -> web.StreamResponse:
    asset = _asset(path)
    every = {"1DAY": DAY, "1HOUR": HOUR}[query["resolution"]]
    names = ("open", "high", "low", "close")
    rows = [
        {
            "startedAt": _iso(time), "ticker": f"{asset}-USD",
            "startingOpenInterest": str(coins(asset, time)),
            **dict(zip(names, map(str, ohlc(asset, time, every)), strict=True)),
        }
        for time in steps(servers, instant(query["fromISO"]), instant(query["toISO"]) - 1, every)
        if time >= servers.since
    ]  # fmt: skip
    return _json({"candles": _cut(rows, min(1000, int(query["limit"])), newest=True)})


def _dydx_funding(servers: Servers, _path: str, query: dict[str, str]) -> web.StreamResponse:
    rows = [
        {"rate": f"{rate(time) / 8:.10f}", "effectiveAt": _iso(time + 219), "price": "1"}
        for time in _payments(
            servers, servers.now - OLDEST, instant(query["effectiveBeforeOrAt"]) - 219, HOUR
        )
    ]
    return _json({"historicalFunding": _cut(rows, min(1000, int(query["limit"])), newest=True)})


def _kucoin(rows: list[Any]) -> web.StreamResponse:
    return _json({"code": "200000", "data": rows})


def _kucoin_list(_servers: Servers, _path: str, _query: dict[str, str]) -> web.StreamResponse:
    rows = []
    for asset, base in (("BTC", "XBT"), ("ETH", "ETH")):
        for symbol, quote, size in ((f"{base}USDTM", "USDT", SIZES[asset] / 10), (f"{base}USDM", "USD", -1)):
            rows.append(
                {
                    "symbol": symbol,
                    "baseCurrency": base,
                    "quoteCurrency": quote,
                    "multiplier": size,
                    "isInverse": quote == "USD",
                    "expireDate": None,
                }
            )
    return _kucoin(rows)


def _kucoin_open_interest(servers: Servers, _path: str, query: dict[str, str]) -> web.StreamResponse:
    every = {"1day": DAY, "1hour": HOUR}[query["interval"]]
    symbol = query["symbol"]
    size = SIZES[_asset(symbol)] / 10 if _linear(symbol) else 1
    rows = [
        {"openInterest": str(_held(symbol, time) / size), "ts": time}
        for time in steps(servers, int(query["startAt"]), int(query["endAt"]), every)
        if time > servers.since
    ]
    return _kucoin(_cut(rows, min(200, int(query["pageSize"])), newest=True))


def _kucoin_funding(servers: Servers, _path: str, query: dict[str, str]) -> web.StreamResponse:
    rows = [
        {"symbol": query["symbol"], "fundingRate": rate(time), "timepoint": time}
        for time in _payments(servers, int(query["from"]), int(query["to"]))
    ]
    return _kucoin(_cut(rows, 100, newest=True))


def _kucoin_klines(servers: Servers, _path: str, query: dict[str, str]) -> web.StreamResponse:
    every = int(query["granularity"]) * MINUTE
    rows = [
        [time, *ohlc(_asset(query["symbol"]), time, every), 12345]
        for time in steps(servers, int(query["from"]), int(query["to"]), every)
        if time >= servers.since
    ]
    return _kucoin(_cut(rows, 200, newest=False))


def _gate(servers: Servers, path: str, query: dict[str, str]) -> web.StreamResponse:
    market, what = path.split("/")[4:6]
    if what == "contracts":
        if market == "btc":
            return _json([{"name": "BTC_USD", "quanto_multiplier": "0", "type": "inverse"}])
        sizes = {"BTC": "0.0001", "ETH": "0.01"}
        return _json(
            [{"name": f"{a}_USDT", "quanto_multiplier": m, "type": "direct"} for a, m in sizes.items()]
        )
    symbol = query["contract"]
    asset, start = _asset(symbol), int(query["from"]) * 1000
    if what == "funding_rate":
        times = _payments(servers, start, int(query["to"]) * 1000)
        rows: list[Any] = [{"t": time // 1000, "r": f"{rate(time):.8f}"} for time in times]
        return _json(_cut(rows, min(1000, int(query["limit"])), newest=True))
    every = {"1d": DAY, "1h": HOUR}[query["interval"]]
    if what == "contract_stats":
        size = {"BTC": 0.0001, "ETH": 0.01}[asset] if market == "usdt" else 1
        rows = [
            {"time": time // 1000, "open_interest": f"{_held(symbol, time) / size:.4f}", "mark_price": 1.0}
            for time in steps(servers, start, servers.now, every)
            if time > servers.since
        ]
        return _json(_cut(rows, min(100, int(query["limit"])), newest=False))
    names = ("o", "h", "l", "c")
    return _json(
        [
            {"t": time // 1000, **dict(zip(names, map(str, ohlc(asset, time, every)), strict=True))}
            for time in steps(servers, start, int(query["to"]) * 1000, every)
            if time >= servers.since
        ]
    )


def _bitfinex(servers: Servers, path: str, query: dict[str, str]) -> web.StreamResponse:
    """A row each five minutes."""
    asset = _asset(path)
    rows = []
    for time in steps(servers, int(query["start"]), int(query["end"]), 5 * MINUTE)[: int(query["limit"])]:
        if time <= servers.since:
            continue
        row: list[Any] = [None] * 23
        due = -(-(time + 1) // (8 * HOUR)) * 8 * HOUR
        row[0], row[7], row[11] = time, due, rate(due)
        row[14], row[17] = price(asset, time), coins(asset, time)
        rows.append(row)
    return _json(rows)


ANSWERS: dict[str, Callable[[Servers, str, dict[str, str]], web.StreamResponse]] = {
    "/fapi/v1/exchangeInfo": _binance_list, "/fapi/v1/fundingInfo": _binance_list,
    "/dapi/v1/exchangeInfo": _binance_list, "/dapi/v1/fundingInfo": _binance_list,
    "/futures/data/openInterestHist": _binance_open_interest,
    "/fapi/v1/fundingRate": _binance_funding, "/dapi/v1/fundingRate": _binance_funding,
    "/fapi/v1/markPriceKlines": _binance_klines, "/dapi/v1/markPriceKlines": _binance_klines,
    "/data/futures/um/daily/metrics/": _archive,
    "/v5/market/instruments-info": _bybit_list, "/v5/market/open-interest": _bybit_open_interest,
    "/v5/market/funding/history": _bybit_funding, "/v5/market/mark-price-kline": _bybit_klines,
    "/api/v5/public/instruments": _okx_list,
    "/api/v5/rubik/stat/contracts/open-interest-history": _okx_open_interest,
    "/api/v5/public/funding-rate-history": _okx_funding,
    "/api/v5/market/history-mark-price-candles": _okx_candles,
    "/api/v2/public/": _deribit,
    "/info": _hyperliquid,
    "/api/charts/v1/analytics/": _kraken_analytics, "/api/charts/v1/mark/": _kraken_candles,
    "/derivatives/api/v4/historicalfundingrates": _kraken_funding,
    "/v4/candles/perpetualMarkets/": _dydx_candles, "/v4/historicalFunding/": _dydx_funding,
    "/api/v1/contracts/active": _kucoin_list, "/api/ua/v1/market/open-interest": _kucoin_open_interest,
    "/api/v1/contract/funding-rates": _kucoin_funding, "/api/v1/kline/query": _kucoin_klines,
    "/api/v4/futures/": _gate,
    "/v2/status/deriv/": _bitfinex,
}  # fmt: skip
