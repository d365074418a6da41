"""The simulated venues against the documented protocols, with another websocket implementation."""

from __future__ import annotations

import asyncio
import logging
import socket as sockets
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import aiohttp
import orjson
import pytest
from hypothesis import given, settings, strategies as st
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from monitor.clock import Clock
from monitor.simulated import (
    LISTINGS,
    SCENARIOS,
    VENUES,
    Exchange,
    Fault,
    Market,
    listing,
    simulate,
)
from monitor.simulated.binance import Binance
from monitor.simulated.wire import ROWS, short

HOUR = 3_600_000
START = 1_790_755_200_000
PURGE = START + int(5.35 * HOUR)
PURGE_ENDS = START + int(5.7 * HOUR)
WAIT_S = 4.0

BTC = listing("binance_usdm", "BTCUSDT")
ALL = [one for found in LISTINGS.values() for one in found if one.live]


def market(seed: int = 7, scenario: str = "purge") -> Market:
    return Market(SCENARIOS[scenario], seed, START)


def venue(name: str, seed: int = 7) -> Exchange:
    return VENUES[name](name, market(seed), Clock(PURGE))


@asynccontextmanager
async def running(name: str, *, at: int = PURGE, speed: float = 1.0) -> AsyncIterator[Exchange]:
    async with simulate([name], market(), Clock(at, speed), beat_s=0.1) as exchanges:
        yield exchanges[name]


@asynccontextmanager
async def client(exchange: Exchange, path: str) -> AsyncIterator[ClientConnection]:
    async with connect(exchange.ws_url + path, proxy=None, close_timeout=1) as socket:
        yield socket


async def frame(socket: ClientConnection) -> Any:
    async with asyncio.timeout(WAIT_S):
        return orjson.loads(await socket.recv())


async def ask(socket: ClientConnection, request: object) -> Any:
    await socket.send(orjson.dumps(request).decode())
    return await frame(socket)


async def until(socket: ClientConnection, wanted: Callable[[Any], bool]) -> Any:
    async with asyncio.timeout(WAIT_S):
        while not wanted(found := orjson.loads(await socket.recv())):
            pass
        return found


async def silent(socket: ClientConnection, seconds: float = 0.6) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await socket.recv()
    except TimeoutError:
        return True
    return False


async def closed(socket: ClientConnection) -> int:
    """Close code, 1006 for a cut line."""
    async with asyncio.timeout(WAIT_S):
        try:
            while True:
                await socket.recv()
        except ConnectionClosed as end:
            return 1006 if end.rcvd is None else end.rcvd.code


async def rest(exchange: Exchange, path: str, body: object = None) -> tuple[int, Any, Any]:
    method = "GET" if body is None else "POST"
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, exchange.rest_url + path, json=body) as response,
    ):
        return response.status, response.headers, orjson.loads(await response.read() or b"null")


# The market.


def test_legs_follow_in_order_and_then_stay_calm() -> None:
    hours = [0.5, 2, 4.5, 5.3, 6, 8, 9.8, 500]
    assert [market().leg(START + int(hour * HOUR)) for hour in hours] == [
        "calm", "build_up", "stretched", "purge", "stabilising", "recovery", "calm", "calm",
    ]  # fmt: skip
    assert market().leg(START - HOUR) == "calm"


def test_the_purge_is_as_planted() -> None:
    planted = market()
    before, after = START + 5 * HOUR, PURGE_ENDS
    fall = {"BTC": (0.88, 0.83), "ETH": (0.82, 0.80), "PEPE": (0.82, 0.80)}
    for one in ALL:
        price, coins = fall[one.asset]
        assert planted.mark(one, after) / planted.mark(one, before) == pytest.approx(price, abs=0.02)
        held = planted.coins(one, after) / planted.coins(one, before)
        assert held == pytest.approx(coins, abs=0.01)
        told = planted.open_interest(one, after) / planted.open_interest(one, before)
        in_dollars = one.margin == "inverse"
        assert told == pytest.approx(coins * price if in_dollars else coins, abs=0.02)
        assert planted.funding(one, before) > 0 > planted.funding(one, after)
    assert planted.volatility("BTC", after) > 1.4 * planted.volatility("BTC", before)


def test_liquidations_of_the_purge_are_many_and_of_longs() -> None:
    planted = market()

    def total(start: int, end: int) -> tuple[float, float]:
        rows = [row for one in ALL for row in planted.liquidations(one, start, end)]
        dollars = sum(row.usd for row in rows)
        return dollars, sum(row.usd for row in rows if row.position == "long") / dollars

    calm, _ = total(START, START + HOUR // 2)
    purge, longs = total(PURGE, PURGE + HOUR // 12)
    assert purge / (HOUR // 12) > 50 * calm / (HOUR // 2)
    assert longs == pytest.approx(0.85, abs=0.06)


def test_calm_stays_calm() -> None:
    planted = market(scenario="calm")
    first = planted.mark(BTC, START)
    for hour in range(48):
        assert planted.mark(BTC, START + hour * HOUR) == pytest.approx(first, rel=0.015)
        assert planted.coins(BTC, START + hour * HOUR) == pytest.approx(95_000, rel=0.01)


def test_sizes_are_those_of_the_venues() -> None:
    sizes = [
        ("binance_usdm", "BTCUSDT", 95_000), ("bybit", "BTCUSDT", 57_000),
        ("okx", "BTC-USDT-SWAP", 2_870_000), ("deribit", "BTC-PERPETUAL", 800e6),
        ("hyperliquid", "BTC", 36_000),
    ]  # fmt: skip
    for name, symbol, size in sizes:
        assert market().open_interest(listing(name, symbol), START) == pytest.approx(size, rel=0.01)
    bybit, okx = listing("bybit", "BTCUSDT"), listing("okx", "BTC-USDT-SWAP")
    assert market().coins(bybit, START) == pytest.approx(28_500, rel=0.01)
    assert market().coins(okx, START) == pytest.approx(28_700, rel=0.01)
    assert market().mark(listing("hyperliquid", "kPEPE"), START) == pytest.approx(0.0098, rel=0.02)


def test_another_seed_is_another_market() -> None:
    assert market(1).mark(BTC, PURGE) != market(2).mark(BTC, PURGE)
    assert list(market(1).liquidations(BTC, PURGE, PURGE + 60_000)) != list(
        market(2).liquidations(BTC, PURGE, PURGE + 60_000)
    )


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(ALL),
    st.integers(START, START + 10 * HOUR),
    st.lists(st.integers(0, 60_000), max_size=6),
)
def test_liquidations_do_not_depend_on_how_time_is_cut(one: Any, start: int, cuts: list[int]) -> None:
    whole = list(market().liquidations(one, start, start + 60_000))
    edges = [start, *sorted(start + cut for cut in cuts), start + 60_000]
    again = market()
    parts = [row for left, right in pairwise(edges) for row in again.liquidations(one, left, right)]
    assert parts == whole
    numbers = [row.number for row in whole]
    assert numbers == sorted(set(numbers))
    assert [row.time for row in whole] == sorted(row.time for row in whole)


def test_numbers_of_deribit_are_the_shorter_form() -> None:
    cases = {85500.0: "8.55e4", 83950.0: "83950.0", 3.1e-5: "3.1e-5", -2.1714e-4: "-2.1714e-4",
             0.0: "0.0", 2201640.0: "2201640.0", 0.1296: "0.1296", 2e-5: "2.0e-5"}  # fmt: skip
    for value, text in cases.items():
        assert orjson.dumps(short(value)).decode() == text


# Frames, by what the venues document.

FORCE = "s S o f q p ap X l z T ps st"
TICKER = (
    "symbol tickDirection price24hPcnt lastPrice prevPrice24h highPrice24h lowPrice24h prevPrice1h "
    "markPrice indexPrice openInterest openInterestValue turnover24h volume24h fundingIntervalHour "
    "fundingCap singleOpenInterest singleOpenInterestValue nextFundingTime fundingRate bid1Price "
    "bid1Size ask1Price ask1Size preOpenPrice preQty curPreListingPhase"
)
DERIBIT_HEAD = (
    "timestamp state stats index_price instrument_name last_price settlement_price min_price "
    "max_price open_interest mark_price "
)
DERIBIT_TAIL = " best_ask_price best_bid_price best_ask_amount best_bid_amount"
DERIBIT_FUNDING = "interest_value current_funding estimated_delivery_price funding_8h"
DERIBIT_TICKER = DERIBIT_HEAD + DERIBIT_FUNDING + DERIBIT_TAIL
FUNDING = (
    "formulaType fundingRate fundingTime impactValue instId instType interestRate maxFundingRate "
    "method minFundingRate nextFundingRate nextFundingTime premium prevFundingTime "
    "settFundingRate settState ts"
)
MARK = "e E s p ap P i r T st"
DOCUMENTED: list[tuple[str, str, str, tuple[str | int, ...]]] = [
    ("binance_usdm", "ws btcusdt@markPrice@1s", MARK, ()),
    ("binance_usdm", "stream btcusdt@markPrice", "stream data", ()),
    ("binance_usdm", "ws !markPrice@arr@1s", MARK, (0,)),
    ("binance_usdm", "ws btcusdt@forceOrder", "e E o", ()),
    ("binance_usdm", "ws btcusdt@forceOrder", FORCE, ("o",)),
    ("binance_coinm", "ws btcusd_perp@markPrice@1s", MARK, ()),
    ("binance_coinm", "ws !forceOrder@arr", FORCE, ("o",)),
    ("bybit", "tickers.BTCUSDT", "topic type data cs ts", ()),
    ("bybit", "tickers.BTCUSDT", TICKER, ("data",)),
    ("bybit", "allLiquidation.BTCUSDT", "topic type ts data", ()),
    ("bybit", "allLiquidation.BTCUSDT", "T s S v p", ("data", 0)),
    ("okx", "mark-price BTC-USDT-SWAP", "instId instType markPx ts", ("data", 0)),
    ("okx", "index-tickers BTC-USDT",
     "instId idxPx open24h high24h low24h sodUtc0 sodUtc8 ts", ("data", 0)),
    ("okx", "open-interest BTC-USD-SWAP", "instId instType oi oiCcy oiUsd ts", ("data", 0)),
    ("okx", "funding-rate BTC-USDT-SWAP",
     FUNDING, ("data", 0)),
    ("okx", "liquidation-orders SWAP", "details instFamily instId instType uly", ("data", 0)),
    ("okx", "liquidation-orders SWAP", "bkLoss bkPx ccy posSide side sz ts",
     ("data", 0, "details", 0)),
    ("deribit", "ticker.BTC-PERPETUAL.100ms", DERIBIT_TICKER, ("params", "data")),
    ("deribit", "ticker.BTC_USDC-PERPETUAL.agg2", DERIBIT_TICKER, ("params", "data")),
    ("deribit", "ticker.BTC-25DEC26.100ms",
     f"{DERIBIT_HEAD}estimated_delivery_price{DERIBIT_TAIL}", ("params", "data")),
    ("deribit", "deribit_volatility_index.btc_usd", "timestamp volatility index_name",
     ("params", "data")),
    ("hyperliquid", "BTC", "coin ctx", ("data",)),
    ("hyperliquid", "BTC",
     "funding openInterest prevDayPx dayNtlVlm premium oraclePx markPx midPx impactPxs dayBaseVlm",
     ("data", "ctx")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "topic", "keys", "place"), DOCUMENTED)
def test_frames_have_the_documented_keys_in_their_order(
    name: str, topic: str, keys: str, place: tuple[str | int, ...]
) -> None:
    found = orjson.loads(venue(name).tell(topic, PURGE - 20_000, PURGE)[0])
    for step in place:
        found = found[step]
    assert list(found) == keys.split()


def topics_of(name: str) -> list[str]:
    topics = [topic for venue_name, topic, _, _ in DOCUMENTED if venue_name == name]
    return topics + (["trades.BTC-PERPETUAL.100ms"] if name == "deribit" else [])


@pytest.mark.parametrize("name", VENUES)
def test_one_seed_is_one_text(name: str) -> None:
    def told(seed: int) -> list[bytes]:
        exchange, now = venue(name, seed), PURGE
        return [
            found
            for beat in range(20)
            for topic in topics_of(name)
            for found in exchange.tell(topic, now + beat * 700, now + beat * 700 + 700)
        ]

    assert told(3) == told(3)
    assert told(3) != told(4)


def test_binance_pushes_one_order_per_symbol_and_second_of_order_side() -> None:
    since, now = PURGE, PURGE + 50_000
    frames = [
        orjson.loads(found)["o"]
        for start in range(since, now, 700)
        for found in venue("binance_usdm").tell("ws btcusdt@forceOrder", start, start + 700)
    ]
    seconds = [row["T"] // 1000 for row in frames]
    assert len(seconds) == len(set(seconds)) > 20
    last = {row.time // 1000: row for row in market().liquidations(BTC, since, now)}
    for row in frames:
        if row["T"] // 1000 in last and row["T"] < now - 1000:
            truth = last[row["T"] // 1000]
            assert row["T"] == truth.time
            assert row["S"] == {"long": "SELL", "short": "BUY"}[truth.position]
            assert float(row["z"]) == pytest.approx(truth.amount)


def test_merged_streams_of_binance_carry_both_margins() -> None:
    for name in ("binance_usdm", "binance_coinm"):
        marks = orjson.loads(venue(name).tell("ws !markPrice@arr@1s", PURGE, PURGE)[0])
        assert {row["st"] for row in marks} == {1, 2}
        assert {row["s"]: row["r"] for row in marks}["BTCUSDT_261225"] == ""


def test_bybit_tells_all_of_them_with_the_side_of_the_position() -> None:
    one = listing("bybit", "ETHUSD")
    truth = list(market().liquidations(one, PURGE, PURGE + 60_000))
    [told] = venue("bybit").tell("allLiquidation.ETHUSD", PURGE, PURGE + 60_000)
    rows = orjson.loads(told)["data"]
    assert [(row["T"], row["S"], float(row["v"])) for row in rows] == [
        (row.time, {"long": "Buy", "short": "Sell"}[row.position], row.amount) for row in truth
    ]
    assert venue("bybit").tell("allLiquidation.ETHUSD", PURGE, PURGE) == []


def test_a_flush_of_a_fast_clock_is_capped() -> None:
    [told] = venue("bybit").tell("allLiquidation.BTCUSDT", PURGE, PURGE + 10 * 60_000)
    times = [row["T"] for row in orjson.loads(told)["data"]]
    assert len(times) == ROWS
    assert times == sorted(times)


def test_bybit_counts_both_sides() -> None:
    [told] = venue("bybit").tell("tickers.BTCUSD", PURGE, PURGE)
    data = orjson.loads(told)["data"]
    assert float(data["singleOpenInterest"]) * 2 == pytest.approx(float(data["openInterest"]), abs=2)
    coins = float(data["openInterest"]) / float(data["markPrice"])
    assert float(data["openInterestValue"]) == pytest.approx(coins, rel=1e-6)


def test_dated_futures_of_bybit_have_empty_funding() -> None:
    [told] = venue("bybit").tell("tickers.BTCUSDT-25DEC26", PURGE, PURGE)
    data = orjson.loads(told)["data"]
    assert (data["fundingRate"], data["nextFundingTime"]) == ("", "")


def test_liquidated_side_on_the_tape_of_deribit() -> None:
    one = listing("deribit", "BTC-PERPETUAL")
    truth = {row.number * 2: row for row in market().liquidations(one, PURGE, PURGE + 30_000)}
    [told] = venue("deribit").tell("trades.BTC-PERPETUAL.100ms", PURGE, PURGE + 30_000)
    rows = orjson.loads(told)["params"]["data"]
    forced = [row for row in rows if "liquidation" in row]
    assert len(forced) == len(truth) > 3
    assert len(rows) > len(forced)
    assert {row["liquidation"] for row in forced} <= {"T", "M"}
    for row in forced:
        sold = row["direction"] == "sell"
        long = sold if row["liquidation"] == "T" else not sold
        assert ("long" if long else "short") == truth[row["trade_seq"]].position
        assert row["amount"] == pytest.approx(truth[row["trade_seq"]].amount)
        assert row["contracts"] == pytest.approx(row["amount"] / 10)
    needed = {
        "trade_seq", "trade_id", "timestamp", "tick_direction", "price", "liquidation",
        "instrument_name", "index_price", "direction", "amount",
    }  # fmt: skip
    assert needed <= set(forced[0])
    assert len({row["trade_id"] for row in rows}) == len(rows)


def test_units_of_okx() -> None:
    for symbol in ("BTC-USDT-SWAP", "BTC-USD-SWAP"):
        one = listing("okx", symbol)
        [told] = venue("okx").tell(f"open-interest {symbol}", PURGE, PURGE)
        [row] = orjson.loads(told)["data"]
        assert float(row["oi"]) == pytest.approx(market().open_interest(one, PURGE))
        assert float(row["oiCcy"]) == pytest.approx(market().coins(one, PURGE))
        assert float(row["oiUsd"]) == pytest.approx(market().open_interest_usd(one, PURGE))


def test_interval_of_okx_is_the_difference_of_two_times() -> None:
    [told] = venue("okx").tell("funding-rate ETH-USD-SWAP", PURGE, PURGE)
    [row] = orjson.loads(told)["data"]
    assert int(row["nextFundingTime"]) - int(row["fundingTime"]) == 8 * HOUR
    assert PURGE < int(row["fundingTime"]) <= PURGE + 8 * HOUR


def test_a_delisted_coin_of_hyperliquid_has_nulls() -> None:
    [told] = venue("hyperliquid").tell("HPOS", PURGE, PURGE)
    context = orjson.loads(told)["data"]["ctx"]
    assert (context["premium"], context["midPx"], context["impactPxs"]) == (None, None, None)


# Sockets.


async def test_binance_acknowledges_lists_and_refuses() -> None:
    async with running("binance_usdm") as exchange, client(exchange, "/market/stream") as socket:
        stream = "btcusdt@markPrice@1s"
        request = {"method": "SUBSCRIBE", "params": [stream], "id": 1}
        assert await ask(socket, request) == {"result": None, "id": 1}
        told = await frame(socket)
        assert told["stream"] == stream
        truth = exchange.market.mark(BTC, told["data"]["E"])
        assert float(told["data"]["p"]) == pytest.approx(truth)
        await socket.send('{"method":"LIST_SUBSCRIPTIONS","id":3}')
        listed = await until(socket, lambda found: found.get("id") == 3)
        assert listed == {"result": [stream], "id": 3}
        await socket.send('{"method":"UNSUBSCRIBE","params":["btcusdt@markPrice@1s"],"id":312}')
        await until(socket, lambda found: found.get("id") == 312)
        assert await silent(socket)
        assert (await ask(socket, {"method": "NO", "id": 4}))["code"] == 2
        await socket.send("{")
        assert (await frame(socket))["code"] == 3
        assert exchange.connections == 1


async def test_binance_closes_after_a_binary_request() -> None:
    async with running("binance_usdm") as exchange, client(exchange, "/market/ws") as socket:
        await socket.send(b'{"method":"SUBSCRIBE","params":["btcusdt@markPrice@1s"],"id":1}')
        assert await closed(socket) == 1008
        assert socket.close_reason == "Invalid request"


@pytest.mark.parametrize("path", ["/ws", "/stream", "/public/ws", "/stream?streams=x@markPrice"])
async def test_unrouted_paths_of_binance_acknowledge_and_stay_silent(path: str) -> None:
    async with running("binance_usdm") as exchange, client(exchange, path) as socket:
        request = {"method": "SUBSCRIBE", "params": ["btcusdt@markPrice@1s"], "id": 1}
        assert await ask(socket, request) == {"result": None, "id": 1}
        assert await silent(socket)


async def test_binance_coin_margined_has_the_old_routes_and_streams_in_the_address() -> None:
    path = "/stream?streams=btcusd_perp@markPrice@1s/!forceOrder@arr"
    async with running("binance_coinm", speed=20) as exchange, client(exchange, path) as socket:
        told = await until(socket, lambda found: found["stream"] == "!forceOrder@arr")
        assert told["data"]["o"]["s"] in {one.symbol for one in ALL}
        told = await until(socket, lambda found: found["stream"] == "btcusd_perp@markPrice@1s")
        assert told["data"]["st"] == 2


async def test_binance_pings_by_frame(caplog: pytest.LogCaptureFixture) -> None:
    async with running("binance_usdm") as exchange:
        exchange.second = 0.002
        with caplog.at_level(logging.DEBUG, "websockets"):
            async with client(exchange, "/market/ws") as socket:
                await silent(socket)
        assert any("< PING" in record.getMessage() for record in caplog.records)


async def test_rest_of_binance() -> None:
    async with running("binance_usdm") as exchange:
        status, headers, found = await rest(exchange, "/fapi/v1/openInterest?symbol=BTCUSDT")
        assert (status, list(found)) == (200, ["openInterest", "symbol", "time"])
        assert headers["X-MBX-USED-WEIGHT-1M"] == "1"
        truth = exchange.market.open_interest(BTC, found["time"])
        assert float(found["openInterest"]) == pytest.approx(truth, abs=0.001)
        status, _, found = await rest(exchange, "/fapi/v1/openInterest?symbol=NO")
        assert (status, found) == (400, {"code": -1121, "msg": "Invalid symbol."})
        _, _, found = await rest(exchange, "/fapi/v1/exchangeInfo")
        statuses = {row["symbol"]: (row["contractType"], row["status"]) for row in found["symbols"]}
        assert statuses["BTCUSDT"] == ("PERPETUAL", "TRADING")
        assert statuses["BTCUSDT_261225"] == ("CURRENT_QUARTER", "TRADING")
        assert statuses["BTCBUSD"] == ("PERPETUAL", "SETTLING")
        _, _, found = await rest(exchange, "/fapi/v1/fundingInfo")
        assert [(row["symbol"], row["fundingIntervalHours"]) for row in found] == [("1000PEPEUSDT", 4)]
        assert isinstance(exchange, Binance)
        exchange.weight_limit = exchange.used_weight
        status, headers, found = await rest(exchange, "/fapi/v1/openInterest?symbol=BTCUSDT")
        assert (status, found["code"]) == (429, -1003)
        assert 0 < int(headers["Retry-After"]) <= 60


async def test_rest_of_binance_coin_margined() -> None:
    async with running("binance_coinm") as exchange:
        _, _, found = await rest(exchange, "/dapi/v1/exchangeInfo")
        rows = {row["symbol"]: row for row in found["symbols"]}
        assert [rows[name]["contractSize"] for name in ("BTCUSD_PERP", "ETHUSD_PERP")] == [100, 10]
        assert rows["BTCUSD_PERP"]["contractStatus"] == "TRADING"
        _, _, found = await rest(exchange, "/dapi/v1/openInterest?symbol=BTCUSD_PERP")
        truth = exchange.market.open_interest(listing("binance_coinm", "BTCUSD_PERP"), found["time"])
        assert float(found["openInterest"]) == pytest.approx(truth, abs=1)
        assert (await rest(exchange, "/dapi/v1/fundingInfo"))[2] == []


async def test_bybit_acknowledges_refuses_and_pongs() -> None:
    async with running("bybit") as exchange, client(exchange, "/v5/public/linear") as socket:
        pong = await ask(socket, {"op": "ping"})
        assert list(pong) == ["success", "ret_msg", "conn_id", "req_id", "op"]
        assert (pong["success"], pong["ret_msg"], pong["op"]) == (True, "pong", "ping")
        wrong = await ask(socket, {"op": "subscribe", "args": ["tickers.BTCUSD"]})
        assert list(wrong) == ["success", "ret_msg", "conn_id", "op"]
        assert (wrong["success"], wrong["ret_msg"]) == (False, "Invalid topic: tickers.BTCUSD")
        request = {"req_id": "md0", "op": "subscribe", "args": ["tickers.BTCUSDT"]}
        ack = await ask(socket, request)
        assert (ack["success"], ack["req_id"], ack["op"]) == (True, "md0", "subscribe")


async def test_deltas_of_bybit_add_up_to_what_a_new_subscriber_gets() -> None:
    request = {"op": "subscribe", "args": ["tickers.BTCUSDT"]}
    async with running("bybit") as exchange, client(exchange, "/v5/public/linear") as socket:
        await ask(socket, request)
        first = await frame(socket)
        assert first["type"] == "snapshot"
        state, fields = dict(first["data"]), []
        async with client(exchange, "/v5/public/linear") as other:
            for _ in range(12):
                delta = await frame(socket)
                assert (delta["type"], delta["data"]["symbol"]) == ("delta", "BTCUSDT")
                fields.append(set(delta["data"]))
                state |= delta["data"]
            await ask(other, request)
            snapshot = await frame(other)
            while (delta := await frame(socket))["ts"] < snapshot["ts"]:
                state |= delta["data"]
            assert (snapshot["type"], snapshot["data"]) == ("snapshot", state)
        assert any("openInterest" not in found for found in fields)
        assert any("markPrice" in found for found in fields)


async def test_pages_of_bybit() -> None:
    async with running("bybit") as exchange:
        found, cursor, pages = [], "", 0
        path = "/v5/market/instruments-info?category=linear&limit=3"
        while pages == 0 or cursor:
            _, _, page = await rest(exchange, f"{path}&cursor={cursor}")
            found += [row["symbol"] for row in page["result"]["list"]]
            cursor, pages = page["result"]["nextPageCursor"], pages + 1
        assert found == ["BTCUSDT", "ETHUSDT", "BTCPERP", "BTCUSDT-25DEC26"]
        assert pages == 2
        _, _, page = await rest(exchange, "/v5/market/instruments-info?category=inverse")
        assert [row["fundingInterval"] for row in page["result"]["list"]] == [480, 480]
        assert (await rest(exchange, "/v5/market/instruments-info?category=x"))[2]["retCode"] != 0


async def test_okx_acknowledges_each_argument_refuses_and_pongs() -> None:
    async with running("okx") as exchange, client(exchange, "/ws/v5/public") as socket:
        await socket.send("ping")
        assert await socket.recv() == "pong"
        args = [{"channel": "mark-price", "instId": name} for name in ("BTC-USDT-SWAP", "NO")]
        ack = await ask(socket, {"id": "1512", "op": "subscribe", "args": args})
        assert list(ack) == ["id", "event", "arg", "connId"]
        assert (ack["event"], ack["arg"]) == ("subscribe", args[0])
        error = await frame(socket)
        assert (error["event"], error["code"]) == ("error", "60018")
        told = await frame(socket)
        assert told["arg"] == args[0]
        await socket.send("rubbish")
        error = await until(socket, lambda found: found.get("event") == "error")
        assert error["code"] == "60012"
        index = {"channel": "index-tickers", "instId": "BTC-USD"}
        await socket.send(orjson.dumps({"op": "subscribe", "args": [index]}).decode())
        await until(socket, lambda found: found.get("arg") == index and "data" in found)


async def test_okx_first_repeats_old_liquidations() -> None:
    async with running("okx") as exchange, client(exchange, "/ws/v5/public") as socket:
        subscribed = exchange.clock.now()
        arg = {"channel": "liquidation-orders", "instType": "SWAP"}
        await ask(socket, {"op": "subscribe", "args": [arg]})
        first = await frame(socket)
        rows = [row for found in first["data"] for row in found["details"]]
        assert all(int(row["ts"]) < subscribed for row in rows)
        assert {(row["side"], row["posSide"]) for row in rows} <= {
            ("sell", "long"), ("sell", "net"), ("buy", "short"), ("buy", "net"),
        }  # fmt: skip
        then = await frame(socket)
        assert all(int(row["ts"]) > subscribed - 3000 for found in then["data"] for row in found["details"])


async def test_okx_closes_after_silence() -> None:
    async with running("okx") as exchange, client(exchange, "/ws/v5/public") as socket:
        exchange.second = 0.01
        assert await closed(socket) == 4004


async def test_instruments_of_okx() -> None:
    async with running("okx") as exchange:
        _, _, found = await rest(exchange, "/api/v5/public/instruments?instType=SWAP")
        rows = {row["instId"]: row for row in found["data"]}
        assert [(row["ctVal"], row["ctType"]) for row in rows.values()] == [
            ("0.01", "linear"), ("0.1", "linear"), ("100", "inverse"), ("10", "inverse"),
        ]  # fmt: skip
        assert (await rest(exchange, "/api/v5/public/instruments"))[0] == 400


def rpc(number: int, method: str, **params: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


async def test_deribit_lists_the_channels_that_exist_and_refuses_methods() -> None:
    channels = ["ticker.BTC-PERPETUAL.100ms", "ticker.NO.100ms", "deribit_volatility_index.eth_usd"]
    async with running("deribit") as exchange, client(exchange, "/ws/api/v2") as socket:
        ack = await ask(socket, rpc(3, "public/subscribe", channels=channels))
        assert ack["result"] == [channels[0], channels[2]]
        assert set(ack) == {"jsonrpc", "id", "result", "testnet", "usIn", "usOut", "usDiff"}
        told = await frame(socket)
        data = told["params"]["data"]
        assert (told["method"], told["params"]["channel"]) == ("subscription", channels[0])
        truth = exchange.market.open_interest(listing("deribit", "BTC-PERPETUAL"), data["timestamp"])
        assert data["open_interest"] == pytest.approx(truth, abs=10)
        assert isinstance(data["open_interest"], int)
        await socket.send(orjson.dumps(rpc(4, "public/unsubscribe", channels=channels)).decode())
        await until(socket, lambda found: found.get("id") == 4)
        assert (await ask(socket, rpc(5, "public/no")))["error"]["code"] == -32601
        assert "error" in await ask(socket, rpc(6, "public/set_heartbeat", interval=1))
        assert "error" in await ask(socket, [1])


async def test_deribit_keeps_who_answers_its_heartbeat_and_closes_who_does_not() -> None:
    async with running("deribit") as exchange, client(exchange, "/ws/api/v2") as socket:
        exchange.second = 0.01
        assert (await ask(socket, rpc(0, "public/set_heartbeat", interval=10)))["result"] == "ok"
        for number in (1, 2, 3):
            beat = await frame(socket)
            assert beat["method"] == "heartbeat"
            assert beat["params"] == {"type": "test_request"}
            assert "version" in (await ask(socket, rpc(number, "public/test")))["result"]
        assert await closed(socket) == 1000


async def test_instruments_of_deribit() -> None:
    async with running("deribit") as exchange:
        path = "/api/v2/public/get_instruments?kind=future&currency="
        _, _, found = await rest(exchange, f"{path}any")
        rows = {row["instrument_name"]: row for row in found["result"]}
        assert rows["BTC-PERPETUAL"]["instrument_type"] == "reversed"
        assert rows["BTC_USDC-PERPETUAL"]["instrument_type"] == "linear"
        assert rows["BTC-25DEC26"]["settlement_period"] == "month"
        _, _, found = await rest(exchange, f"{path}ETH")
        assert [row["instrument_name"] for row in found["result"]] == ["ETH-PERPETUAL"]
        assert (await rest(exchange, f"{path}no"))[0] == 400


def coin(name: str, method: str = "subscribe") -> dict[str, object]:
    return {"method": method, "subscription": {"type": "activeAssetCtx", "coin": name}}


async def test_hyperliquid_answers_and_pongs() -> None:
    async with running("hyperliquid") as exchange, client(exchange, "/ws") as socket:
        assert await ask(socket, {"method": "ping"}) == {"channel": "pong"}
        assert await ask(socket, coin("BTC")) == {
            "channel": "subscriptionResponse", "data": coin("BTC"),
        }  # fmt: skip
        told = await frame(socket)
        held = float(told["data"]["ctx"]["openInterest"])
        truth = exchange.market.open_interest(listing("hyperliquid", "BTC"), exchange.clock.now())
        assert told["channel"] == "activeAssetCtx"
        assert held == pytest.approx(truth, rel=1e-3)
        again = await ask(socket, coin("BTC"))
        assert again["channel"] == "error"
        assert again["data"].startswith('Already subscribed: {"type":"activeAssetCtx"')
        await socket.send("{")
        error = await until(socket, lambda found: found["channel"] == "error")
        assert error["data"].startswith("Error parsing JSON into valid websocket request: ")
        await socket.send(orjson.dumps(coin("BTC", "unsubscribe")).decode())
        await until(socket, lambda found: found["channel"] == "subscriptionResponse")


@pytest.mark.parametrize("name", ["NO", "btc", ""])
async def test_hyperliquid_cuts_the_line_at_an_unknown_coin(name: str) -> None:
    async with running("hyperliquid") as exchange, client(exchange, "/ws") as socket:
        await ask(socket, coin("BTC"))
        await socket.send(orjson.dumps(coin(name)).decode())
        started = time.monotonic()
        assert await closed(socket) == 1006
        assert time.monotonic() - started < 2


async def test_hyperliquid_closes_where_it_had_nothing_to_say() -> None:
    async with running("hyperliquid") as exchange, client(exchange, "/ws") as socket:
        exchange.second = 0.005
        assert await closed(socket) == 1000


async def test_rest_of_hyperliquid() -> None:
    async with running("hyperliquid") as exchange:
        _, _, meta = await rest(exchange, "/info", {"type": "meta"})
        assert [row["name"] for row in meta["universe"] if not row.get("isDelisted")] == [
            "BTC", "ETH", "kPEPE",
        ]  # fmt: skip
        _, _, (again, contexts) = await rest(exchange, "/info", {"type": "metaAndAssetCtxs"})
        assert again == meta
        assert len(contexts) == len(meta["universe"])
        assert (await rest(exchange, "/api", {"type": "meta"}))[0] == 404


# Faults.

TICKS: dict[str, tuple[str, object]] = {
    "bybit": ("/v5/public/linear", {"op": "subscribe", "args": ["tickers.BTCUSDT"]}),
    "deribit": ("/ws/api/v2", rpc(1, "public/subscribe", channels=["ticker.ETH-PERPETUAL.100ms"])),
}


async def test_a_silent_venue_still_answers() -> None:
    path, request = TICKS["bybit"]
    async with running("bybit") as exchange, client(exchange, path) as socket:
        exchange.fault = "silent"
        assert (await ask(socket, request))["success"]
        assert await silent(socket)
        assert (await ask(socket, {"op": "ping"}))["ret_msg"] == "pong"
        exchange.fault = None
        assert (await frame(socket))["topic"] == "tickers.BTCUSDT"


async def test_a_venue_that_is_gone_cuts_and_refuses() -> None:
    path, request = TICKS["bybit"]
    async with running("bybit") as exchange:
        async with client(exchange, path) as socket:
            await ask(socket, request)
            exchange.fault = "gone"
            assert await closed(socket) == 1006
        with pytest.raises(InvalidStatus):
            await connect(exchange.ws_url + path, proxy=None)
        assert (await rest(exchange, "/v5/market/instruments-info?category=linear"))[0] == 503
        exchange.fault = None
        async with client(exchange, path) as socket:
            assert (await ask(socket, request))["success"]


async def test_rubbish_is_no_valid_frame() -> None:
    path, request = TICKS["deribit"]
    async with running("deribit") as exchange, client(exchange, path) as socket:
        exchange.fault = "rubbish"
        assert "result" in await ask(socket, request)
        seen: dict[str, int] = defaultdict(int)
        async with asyncio.timeout(WAIT_S):
            for _ in range(3):
                try:
                    found = orjson.loads(await socket.recv())
                except orjson.JSONDecodeError:
                    seen["broken"] += 1
                    continue
                shape = isinstance(found, dict)
                seen["mistyped" if shape else "shape"] += 1
                assert not shape or found["params"]["data"]["mark_price"] == ["rubbish"]
        assert seen == {"broken": 1, "mistyped": 1, "shape": 1}


@pytest.mark.parametrize("fault", [None, "scaled"])
async def test_scaled_values(fault: Fault | None) -> None:
    by = 1000 if fault else 1
    async with running("hyperliquid") as exchange, client(exchange, "/ws") as socket:
        exchange.fault = fault
        await ask(socket, coin("ETH"))
        context = (await frame(socket))["data"]["ctx"]
        one, now = listing("hyperliquid", "ETH"), exchange.clock.now()
        truth = exchange.market.mark(one, now)
        assert float(context["markPx"]) == pytest.approx(by * truth, rel=0.01)
        assert float(context["oraclePx"]) == pytest.approx(truth, rel=0.01)
        held = exchange.market.open_interest(one, now)
        assert float(context["openInterest"]) == pytest.approx(by * held, rel=0.01)


async def test_a_throttled_venue_says_when_to_come_back() -> None:
    async with running("hyperliquid") as exchange:
        exchange.fault = "throttled"
        status, headers, body = await rest(exchange, "/info", {"type": "meta"})
        assert (status, headers["Retry-After"], body) == (429, "2", None)


async def test_a_replay_repeats_the_last_half_minute_and_goes_on_without_a_gap() -> None:
    path, request = "/v5/public/linear", {"op": "subscribe", "args": ["allLiquidation.BTCUSDT"]}
    async with running("bybit") as exchange:
        exchange.fault = "replay"
        rows = []
        for _ in range(2):
            async with client(exchange, path) as socket:
                subscribed = exchange.clock.now()
                await ask(socket, request)
                rows.append((await frame(socket))["data"])
                first, last = rows[-1][0]["T"], rows[-1][-1]["T"]
                assert subscribed - 31_000 < first < last <= subscribed
                then = (await frame(socket))["data"]
                one = listing("bybit", "BTCUSDT")
                truth = exchange.market.liquidations(one, first, then[-1]["T"] + 1)
                assert [row.time for row in truth] == [row["T"] for row in rows[-1] + then]
        assert {row["T"] for row in rows[0]} & {row["T"] for row in rows[1]}


async def test_unknown_paths_are_refused() -> None:
    async with simulate(VENUES, market(), Clock(PURGE)) as exchanges:
        assert len({exchange.ws_url for exchange in exchanges.values()}) == len(VENUES)
        for exchange in exchanges.values():
            with pytest.raises(InvalidStatus):
                await connect(f"{exchange.ws_url}/nowhere", proxy=None)
            assert (await rest_status(exchange, "/nowhere")) in (400, 404)


async def rest_status(exchange: Exchange, path: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(exchange.rest_url + path) as found:
        return found.status


async def test_a_client_that_does_not_read_is_cut_and_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("monitor.simulated.exchange._TOO_SLOW", 100_000)
    channels = [f"trades.{one.symbol}.100ms" for one in LISTINGS["deribit"]]
    # A small window, so that the kernel does not read in the lazy client's place.
    line = sockets.socket()
    line.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    line.setblocking(False)
    async with simulate(["deribit"], market(), Clock(PURGE, 5_000), beat_s=0.01) as exchanges:
        exchange = exchanges["deribit"]
        url = f"{exchange.ws_url}/ws/api/v2"
        host, port = exchange.ws_url.removeprefix("ws://").split(":")
        await asyncio.get_running_loop().sock_connect(line, (host, int(port)))
        lazy = connect(url, sock=line, proxy=None, max_queue=1, close_timeout=0.1)
        async with lazy as idle, client(exchange, "/ws/api/v2") as eager:
            request = orjson.dumps(rpc(1, "public/subscribe", channels=channels)).decode()
            await idle.send(request)
            await eager.send(request)
            async with asyncio.timeout(4 * WAIT_S):
                await until_subscribers(exchange, eager, channels[0], 2)
                await until_subscribers(exchange, eager, channels[0], 1)
            await frame(eager)


async def until_subscribers(exchange: Exchange, reader: ClientConnection, topic: str, count: int) -> None:
    while exchange.subscribers(topic) != count:
        await reader.recv()
