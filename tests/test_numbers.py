"""Numbers by hand: from the venue's own list and frames to lines of the exposition.

Every expected value is written as its arithmetic. One venue at a time, so that nothing else moves it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitor.bus import Heard, Listed
from monitor.events import Instrument
from monitor.metrics import METRICS
from monitor.prometheus.exposition import Writer
from monitor.tick.compute import Core
from monitor.tick.views import Scope
from monitor.venue import Reply
from monitor.venues import VENUES

NOW = 1_795_000_000_000
AT = NOW - 500
"""When the venue says it; received `NOW`."""
DUE = 1_795_017_600_000
EXACT = 1e-12

Labels = Mapping[str, str]
Lines = Sequence[tuple[str, Labels, float]]


def instruments(name: str, bodies: Sequence[object]) -> list[Instrument]:
    return list(VENUES[name].instruments.parse([orjson.dumps(body) for body in bodies]))


def exposition(name: str, listed: Sequence[Instrument], frames: Sequence[object]) -> Lines:
    """What a scrape shows after these frames, given the list."""
    venue = VENUES[name]
    core = Core(METRICS, Scope(frozenset({name})), {name: venue.liquidation_feed}, [name])
    core.apply(Listed(name, NOW, tuple(listed)))
    by_symbol = {of.symbol: of for of in listed}
    for frame in frames:
        polled = isinstance(frame, dict) and name.startswith("binance") and "openInterest" in frame
        parse = venue.polls[0].parse if polled else venue.parse
        events = [one for one in parse(orjson.dumps(frame), by_symbol, NOW) if not isinstance(one, Reply)]
        assert events, frame
        core.apply(Heard(name, NOW, events))
    text = Writer().text(core.evaluate(core.take(NOW + 1))).decode()
    return [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def value(lines: Lines, metric: str, **labels: str) -> float | None:
    """The value of the only line of that name with these labels; None if there is none."""
    found = [n for name, has, n in lines if name == metric and labels.items() <= has.items()]
    assert len(found) <= 1, (metric, labels)
    return found[0] if found else None


# Lists, as the venues document them.


def binance_usdm(symbol: str, base: str, hours: int | None = None) -> list[object]:
    row = {
        "symbol": symbol, "contractType": "PERPETUAL", "status": "TRADING", "baseAsset": base,
        "quoteAsset": "USDT", "marginAsset": "USDT",
    }  # fmt: skip
    return [{"symbols": [row]}, [{"symbol": symbol, "fundingIntervalHours": hours}] if hours else []]


def binance_coinm(symbol: str, base: str, size: int) -> list[object]:
    row = {
        "symbol": symbol, "contractType": "PERPETUAL", "contractStatus": "TRADING", "baseAsset": base,
        "quoteAsset": "USD", "marginAsset": base, "contractSize": size,
    }  # fmt: skip
    return [{"symbols": [row]}, []]


def bybit(symbol: str, base: str, quote: str, contract: str, minutes: int) -> list[object]:
    row = {
        "symbol": symbol, "contractType": contract, "status": "Trading", "baseCoin": base,
        "quoteCoin": quote, "fundingInterval": minutes, "isPreListing": False, "symbolType": "",
    }  # fmt: skip
    return [{"retCode": 0, "retMsg": "OK", "result": {"list": [row], "nextPageCursor": ""}}]


def okx(symbol: str, size: str, kind: str) -> list[object]:
    row = {
        "instId": symbol, "ctVal": size, "ctMult": "1", "ctType": kind, "settleCcy": "USDT",
        "state": "live", "instCategory": "1",
    }  # fmt: skip
    return [{"code": "0", "msg": "", "data": [row]}]


def deribit(symbol: str, base: str, quote: str, size: float) -> list[object]:
    row = {
        "instrument_name": symbol, "base_currency": base, "quote_currency": quote, "contract_size": size,
        "instrument_type": "reversed" if quote == "USD" else "linear", "is_active": True,
        "settlement_period": "perpetual",
    }  # fmt: skip
    return [{"result": [row]}]


def hyperliquid(coin: str) -> list[object]:
    return [{"universe": [{"name": coin, "szDecimals": 5, "maxLeverage": 40}]}]


# Frames, as the venues document them.


def binance_mark(symbol: str, mark: str, index: str, rate: str) -> dict[str, Any]:
    payload = {
        "e": "markPriceUpdate", "E": AT, "s": symbol, "p": mark, "ap": mark, "P": mark, "i": index,
        "r": rate, "T": DUE, "st": 1,
    }  # fmt: skip
    return {"stream": f"{symbol.lower()}@markPrice@1s", "data": payload}


def binance_interest(symbol: str, amount: str) -> dict[str, Any]:
    return {"symbol": symbol, "openInterest": amount, "time": AT}


def binance_order(symbol: str, side: str, price: str, amount: str) -> dict[str, Any]:
    order = {
        "s": symbol, "S": side, "o": "LIMIT", "f": "IOC", "q": amount, "p": "1", "ap": price,
        "X": "FILLED", "l": amount, "z": amount, "T": AT, "ps": symbol, "st": 1,
    }  # fmt: skip
    return {"stream": "!forceOrder@arr", "data": {"e": "forceOrder", "E": AT, "o": order}}


def bybit_ticker(symbol: str, mark: str, amount: str, rate: str, hours: str) -> dict[str, Any]:
    data = {
        "symbol": symbol, "lastPrice": mark, "markPrice": mark, "indexPrice": mark,
        "openInterest": amount, "fundingIntervalHour": hours, "nextFundingTime": str(DUE),
        "fundingRate": rate,
    }  # fmt: skip
    return {"topic": f"tickers.{symbol}", "type": "snapshot", "data": data, "cs": 1, "ts": AT}


def bybit_liquidation(symbol: str, *rows: tuple[str, str, str]) -> dict[str, Any]:
    data = [{"T": AT + n, "s": symbol, "S": side, "v": v, "p": p} for n, (side, v, p) in enumerate(rows)]
    return {"topic": f"allLiquidation.{symbol}", "type": "snapshot", "ts": AT, "data": data}


def okx_push(channel: str, symbol: str, **row: object) -> dict[str, Any]:
    of = {"instId": symbol, "instType": "SWAP", "ts": str(AT)} | row
    return {"arg": {"channel": channel, "instId": symbol}, "data": [of]}


def okx_state(symbol: str, mark: str, amount: str, rate: str, hours: int) -> list[object]:
    return [
        okx_push("mark-price", symbol, markPx=mark),
        okx_push("open-interest", symbol, oi=amount, oiCcy="1", oiUsd="1"),
        okx_push(
            "funding-rate", symbol, fundingRate=rate, nextFundingRate="", fundingTime=str(DUE),
            nextFundingTime=str(DUE + hours * 3_600_000), settFundingRate="0.5", settState="settled",
            prevFundingTime=str(DUE - hours * 3_600_000),
        ),
    ]  # fmt: skip


def okx_liquidation(symbol: str, *rows: tuple[str, str, str, str]) -> dict[str, Any]:
    details = [
        {
            "bkLoss": "0",
            "bkPx": price,
            "ccy": "",
            "posSide": position,
            "side": side,
            "sz": size,
            "ts": str(AT),
        }
        for position, side, price, size in rows
    ]
    return {
        "arg": {"channel": "liquidation-orders", "instType": "SWAP"},
        "data": [{"details": details, "instId": symbol, "instType": "SWAP"}],
    }


def deribit_ticker(symbol: str, mark: float, amount: float, rate: float) -> dict[str, Any]:
    data = {
        "timestamp": AT, "state": "open", "instrument_name": symbol, "index_price": mark,
        "mark_price": mark, "open_interest": amount, "current_funding": rate, "funding_8h": 0.5,
    }  # fmt: skip
    params = {"channel": f"ticker.{symbol}.100ms", "data": data}
    return {"jsonrpc": "2.0", "method": "subscription", "params": params}


def deribit_trades(symbol: str, *rows: tuple[str, str, float, float]) -> dict[str, Any]:
    data = [
        {"trade_seq": n, "trade_id": f"9{n}", "timestamp": AT, "instrument_name": symbol, "price": price,
         "direction": direction, "amount": amount} | ({"liquidation": flag} if flag else {})
        for n, (flag, direction, price, amount) in enumerate(rows)
    ]  # fmt: skip
    params = {"channel": f"trades.{symbol}.100ms", "data": data}
    return {"jsonrpc": "2.0", "method": "subscription", "params": params}


def hyperliquid_context(coin: str, mark: str, amount: str, rate: str) -> dict[str, Any]:
    context = {"funding": rate, "openInterest": amount, "oraclePx": mark, "markPx": mark, "premium": None}
    return {"channel": "activeAssetCtx", "data": {"coin": coin, "ctx": context}}


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A contract, what its venue says of it, and what a scrape must then show."""

    venue: str
    symbol: str
    asset: str = "BTC"
    margin: str
    bodies: Sequence[object]
    frames: Sequence[object]
    price: float
    usd: float
    coins: float
    rate_8h: float
    contract_size: str = "1"
    sides: str = "1"


CASES = [
    Case(  # coins, one side
        venue="binance_usdm", symbol="BTCUSDT", margin="linear",
        bodies=binance_usdm("BTCUSDT", "BTC"),
        frames=[
            binance_mark("BTCUSDT", "71250.50000000", "71240.00000000", "0.00012500"),
            binance_interest("BTCUSDT", "88123.456"),
        ],
        price=71250.5,
        coins=88123.456,
        usd=88123.456 * 71250.5,
        rate_8h=0.000125,  # absent from fundingInfo: 8 hours
    ),
    Case(  # thousands of coins at the price of a thousand
        venue="binance_usdm", symbol="1000PEPEUSDT", asset="PEPE", margin="linear",
        bodies=binance_usdm("1000PEPEUSDT", "1000PEPE", hours=4),
        frames=[
            binance_mark("1000PEPEUSDT", "0.01234560", "0.01234000", "-0.00003100"),
            binance_interest("1000PEPEUSDT", "14000000000"),
        ],
        price=0.0123456 / 1000,
        coins=14e9 * 1000,
        usd=14e9 * 0.0123456,
        rate_8h=-0.000031 * (8 / 4),
    ),
    Case(  # contracts of 100 dollars
        venue="binance_coinm", symbol="BTCUSD_PERP", margin="inverse", contract_size="100",
        bodies=binance_coinm("BTCUSD_PERP", "BTC", 100),
        frames=[
            binance_mark("BTCUSD_PERP", "71233.40000000", "71236.00000000", "-0.00004100"),
            binance_interest("BTCUSD_PERP", "6012345"),
        ],
        price=71233.4,
        usd=6_012_345 * 100,
        coins=6_012_345 * 100 / 71233.4,
        rate_8h=-0.000041,
    ),
    Case(  # contracts of 10 dollars
        venue="binance_coinm", symbol="ETHUSD_PERP", asset="ETH", margin="inverse", contract_size="10",
        bodies=binance_coinm("ETHUSD_PERP", "ETH", 10),
        frames=[
            binance_mark("ETHUSD_PERP", "3079.50000000", "3080.00000000", "0.00010000"),
            binance_interest("ETHUSD_PERP", "21000000"),
        ],
        price=3079.5,
        usd=21_000_000 * 10,
        coins=21_000_000 * 10 / 3079.5,
        rate_8h=0.0001,
    ),
    Case(  # coins, longs and shorts added
        venue="bybit", symbol="BTCUSDT", margin="linear", sides="2",
        bodies=bybit("BTCUSDT", "BTC", "USDT", "LinearPerpetual", 480),
        frames=[bybit_ticker("BTCUSDT", "71250.80", "56000.250", "0.00007500", "8")],
        price=71250.8,
        coins=56000.25 / 2,
        usd=56000.25 / 2 * 71250.8,
        rate_8h=0.000075,
    ),
    Case(  # dollars, longs and shorts added
        venue="bybit", symbol="BTCUSD", margin="inverse", sides="2",
        bodies=bybit("BTCUSD", "BTC", "USD", "InversePerpetual", 480),
        frames=[bybit_ticker("BTCUSD", "71231.50", "480000000", "0.0001", "8")],
        price=71231.5,
        usd=480e6 / 2,
        coins=480e6 / 2 / 71231.5,
        rate_8h=0.0001,
    ),
    Case(  # thousands of coins, both sides, an interval of one hour
        venue="bybit", symbol="1000PEPEUSDT", asset="PEPE", margin="linear", sides="2",
        bodies=bybit("1000PEPEUSDT", "1000PEPE", "USDT", "LinearPerpetual", 240),
        frames=[bybit_ticker("1000PEPEUSDT", "0.0123450", "9800000000", "0.00001", "1")],
        price=0.012345 / 1000,
        coins=9.8e9 / 2 * 1000,
        usd=9.8e9 / 2 * 0.012345,
        rate_8h=0.00001 * 8,  # the message's hour before the list's four
    ),
    Case(  # contracts of 0.01 coins
        venue="okx", symbol="BTC-USDT-SWAP", margin="linear", contract_size="0.01",
        bodies=okx("BTC-USDT-SWAP", "0.01", "linear"),
        frames=okx_state("BTC-USDT-SWAP", "71248.9", "2800000.25", "0.00004321", 8),
        price=71248.9,
        coins=2_800_000.25 * 0.01,
        usd=2_800_000.25 * 0.01 * 71248.9,
        rate_8h=0.00004321,
    ),
    Case(  # contracts of 10 dollars, an interval of 4 hours by the two times of the message
        venue="okx", symbol="ETH-USD-SWAP", asset="ETH", margin="inverse", contract_size="10",
        bodies=okx("ETH-USD-SWAP", "10", "inverse"),
        frames=okx_state("ETH-USD-SWAP", "3080.25", "13000000", "-0.0002", 4),
        price=3080.25,
        usd=13e6 * 10,
        coins=13e6 * 10 / 3080.25,
        rate_8h=-0.0002 * (8 / 4),
    ),
    Case(  # dollars: the contract of 10 is already counted in
        venue="deribit", symbol="BTC-PERPETUAL", margin="inverse", contract_size="10",
        bodies=deribit("BTC-PERPETUAL", "BTC", "USD", 10.0),
        frames=[deribit_ticker("BTC-PERPETUAL", 71229.14, 801234560, -1.25e-4)],
        price=71229.14,
        usd=801_234_560,
        coins=801_234_560 / 71229.14,
        rate_8h=-0.000125,
    ),
    Case(  # coins
        venue="deribit", symbol="ETH_USDC-PERPETUAL", asset="ETH", margin="linear", contract_size="0.001",
        bodies=deribit("ETH_USDC-PERPETUAL", "ETH", "USDC", 0.001),
        frames=[deribit_ticker("ETH_USDC-PERPETUAL", 3080.9, 5120.75, 2e-5)],
        price=3080.9,
        coins=5120.75,
        usd=5120.75 * 3080.9,
        rate_8h=0.00002,
    ),
    Case(  # coins, both sides, a rate for each hour
        venue="hyperliquid", symbol="BTC", margin="linear", sides="2",
        bodies=hyperliquid("BTC"),
        frames=[hyperliquid_context("BTC", "71225.0", "36000.5", "0.0000125")],
        price=71225,
        coins=36000.5 / 2,
        usd=36000.5 / 2 * 71225,
        rate_8h=0.0000125 * 8,
    ),
    Case(  # thousands of coins
        venue="hyperliquid", symbol="kPEPE", asset="PEPE", margin="linear", sides="2",
        bodies=hyperliquid("kPEPE"),
        frames=[hyperliquid_context("kPEPE", "0.012341", "3000000000.0", "-0.0000041")],
        price=0.012341 / 1000,
        coins=3e9 / 2 * 1000,
        usd=3e9 / 2 * 0.012341,
        rate_8h=-0.0000041 * 8,
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[f"{case.venue}-{case.symbol}" for case in CASES])
def test_open_interest_funding_and_price_by_hand(case: Case) -> None:
    lines = exposition(case.venue, instruments(case.venue, case.bodies), case.frames)
    of = {"venue": case.venue, "symbol": case.symbol, "asset": case.asset}
    expected = {
        "leverage_mark_price_usd": case.price,
        "leverage_open_interest_usd": case.usd,
        "leverage_open_interest_coins": case.coins,
        "leverage_funding_rate_8h_ratio": case.rate_8h,
    }
    found = {metric: value(lines, metric, **of) for metric in expected}
    assert found == pytest.approx(expected, rel=EXACT, abs=0)
    for unit in ("usd", "coins"):
        one = value(lines, f"leverage_open_interest_{unit}", **of, margin=case.margin)
        assert one == found[f"leverage_open_interest_{unit}"]
        # The only contract of the only venue: the asset's level is the same.
        assert value(lines, f"leverage_perp_open_interest_{unit}", asset=case.asset) == one
    (info,) = [labels for name, labels, _ in lines if name == "leverage_instrument_info"]
    assert of.items() <= info.items()
    assert (info["margin"], info["oi_sides"]) == (case.margin, case.sides)
    assert info["contract_size"] == case.contract_size
    assert info["liquidation_feed"] == VENUES[case.venue].liquidation_feed
    assert ("halved" in info["oi_sides_reason"]) == (case.sides == "2")


def test_the_reasons_for_halving_are_shown() -> None:
    reasons = {}
    for case in CASES:
        for name, labels, _ in exposition(case.venue, instruments(case.venue, case.bodies), case.frames):
            if name == "leverage_instrument_info":
                reasons[case.venue] = labels["oi_sides_reason"]
    assert reasons["bybit"].startswith("two sides: the venue's documents")
    assert reasons["hyperliquid"].startswith("two sides: weight of disputed evidence")
    assert all(reasons[name].startswith("one side") for name in set(VENUES) - {"bybit", "hyperliquid"})


LIQUIDATED = [
    pytest.param(  # coins: the order's side, at the average fill, for what was filled
        "binance_usdm", binance_usdm("BTCUSDT", "BTC"),
        [
            binance_mark("BTCUSDT", "71250.5", "71250.5", "0"),
            binance_interest("BTCUSDT", "88123.456"),
            binance_order("BTCUSDT", "SELL", "71000.25", "0.240"),
            binance_order("BTCUSDT", "BUY", "71500.75", "1.100"),
            binance_order("BTCUSDT", "SELL", "70900.00", "0.010"),
        ],
        "BTC", 0.240 * 71000.25 + 0.010 * 70900, 1.1 * 71500.75, id="binance_usdm-coins",
    ),
    pytest.param(  # thousands of coins at the price of a thousand
        "binance_usdm", binance_usdm("1000PEPEUSDT", "1000PEPE"),
        [
            binance_mark("1000PEPEUSDT", "0.0123456", "0.0123456", "0"),
            binance_interest("1000PEPEUSDT", "14000000000"),
            binance_order("1000PEPEUSDT", "BUY", "0.0124100", "81000"),
        ],
        "PEPE", 0.0, 81_000 * 0.01241, id="binance_usdm-thousands",
    ),
    pytest.param(  # contracts of 100 dollars, whatever the price
        "binance_coinm", binance_coinm("BTCUSD_PERP", "BTC", 100),
        [
            binance_mark("BTCUSD_PERP", "71233.4", "71233.4", "0"),
            binance_interest("BTCUSD_PERP", "6012345"),
            binance_order("BTCUSD_PERP", "SELL", "71010.0", "37"),
            binance_order("BTCUSD_PERP", "BUY", "71400.0", "5"),
        ],
        "BTC", 37 * 100.0, 5 * 100.0, id="binance_coinm-contracts-inverse",
    ),
    pytest.param(  # coins: the position's side, at the bankruptcy price; equal rows are two
        "bybit", bybit("BTCUSDT", "BTC", "USDT", "LinearPerpetual", 480),
        [
            bybit_ticker("BTCUSDT", "71250.80", "56000.250", "0", "8"),
            bybit_liquidation("BTCUSDT", ("Buy", "0.5", "70400.5"), ("Sell", "0.25", "72100"),
                              ("Buy", "0.006", "70300")),
        ],
        "BTC", 0.5 * 70400.5 + 0.006 * 70300, 0.25 * 72100, id="bybit-coins",
    ),
    pytest.param(  # dollars
        "bybit", bybit("BTCUSD", "BTC", "USD", "InversePerpetual", 480),
        [
            bybit_ticker("BTCUSD", "71231.50", "480000000", "0", "8"),
            bybit_liquidation("BTCUSD", ("Sell", "12500", "71800.50"), ("Buy", "300", "70000.00")),
        ],
        "BTC", 300.0, 12_500.0, id="bybit-usd",
    ),
    pytest.param(  # contracts of 0.01 coins; without a position's side the order's tells
        "okx", okx("BTC-USDT-SWAP", "0.01", "linear"),
        [
            *okx_state("BTC-USDT-SWAP", "71248.9", "2800000.25", "0", 8),
            okx_liquidation(
                "BTC-USDT-SWAP", ("long", "sell", "70950.3", "6.25"), ("short", "buy", "71630.8", "0.4"),
                ("net", "sell", "70900", "3"), ("net", "buy", "71700", "2"),
            ),
        ],
        "BTC", 6.25 * 0.01 * 70950.3 + 3 * 0.01 * 70900, 0.4 * 0.01 * 71630.8 + 2 * 0.01 * 71700,
        id="okx-contracts-linear",
    ),
    pytest.param(  # contracts of 10 dollars
        "okx", okx("ETH-USD-SWAP", "10", "inverse"),
        [
            *okx_state("ETH-USD-SWAP", "3080.25", "13000000", "0", 8),
            okx_liquidation("ETH-USD-SWAP", ("short", "buy", "3111.5", "45")),
        ],
        "ETH", 0.0, 45 * 10.0, id="okx-contracts-inverse",
    ),
    pytest.param(  # dollars: T closes the taker's position, M the maker's, MT both
        "deribit", deribit("BTC-PERPETUAL", "BTC", "USD", 10.0),
        [
            deribit_ticker("BTC-PERPETUAL", 71229.14, 801234560, 0.0),
            deribit_trades(
                "BTC-PERPETUAL", ("T", "sell", 71000.5, 5400.0), ("M", "sell", 71400.0, 900.0),
                ("", "sell", 71100.0, 77770.0), ("MT", "buy", 71200.0, 20.0), ("M", "buy", 71000.0, 800.0),
            ),
        ],
        "BTC", 5400.0 + 20 + 800, 900.0 + 20, id="deribit-usd",
    ),
    pytest.param(  # coins
        "deribit", deribit("ETH_USDC-PERPETUAL", "ETH", "USDC", 0.001),
        [
            deribit_ticker("ETH_USDC-PERPETUAL", 3080.9, 5120.75, 0.0),
            deribit_trades("ETH_USDC-PERPETUAL", ("T", "sell", 3050.25, 1.5), ("T", "buy", 3100.5, 0.7)),
        ],
        "ETH", 1.5 * 3050.25, 0.7 * 3100.5, id="deribit-coins",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "bodies", "frames", "asset", "longs", "shorts"), LIQUIDATED)
def test_liquidated_dollars_by_hand(
    name: str, bodies: Sequence[object], frames: Sequence[object], asset: str, longs: float, shorts: float
) -> None:
    lines = exposition(name, instruments(name, bodies), frames)
    for position, usd in (("long", longs), ("short", shorts)):
        found = value(
            lines, "leverage_liquidated_usd_total", venue=name, asset=asset, position=position
        )  # fmt: skip
        assert found == pytest.approx(usd, rel=EXACT, abs=0)
    again = exposition(name, instruments(name, bodies), [*frames, frames[-1]])
    for position, usd in (("long", longs), ("short", shorts)):
        total = value(again, "leverage_liquidated_usd_total", asset=asset, position=position)
        assert total == pytest.approx(usd, rel=EXACT, abs=0)  # a repetition counts once


def test_a_venue_without_a_feed_has_no_series_of_liquidations() -> None:
    frames = [hyperliquid_context("BTC", "71225.0", "36000.5", "0")]
    lines = exposition("hyperliquid", instruments("hyperliquid", hyperliquid("BTC")), frames)
    assert not [name for name, _, _ in lines if name == "leverage_liquidated_usd_total"]


def test_the_premium_is_of_the_venues_own_index() -> None:
    bodies = okx("BTC-USDT-SWAP", "0.01", "linear")
    index = {"instId": "BTC-USDT", "idxPx": "71200.5", "ts": str(AT)}
    frames = [
        *okx_state("BTC-USDT-SWAP", "71248.9", "100", "0", 8),
        {"arg": {"channel": "index-tickers", "instId": "BTC-USDT"}, "data": [index]},
    ]
    lines = exposition("okx", instruments("okx", bodies), frames)
    assert value(lines, "leverage_index_price_usd", symbol="BTC-USDT-SWAP") == 71200.5
    premium = value(lines, "leverage_premium_ratio", symbol="BTC-USDT-SWAP")
    assert premium == pytest.approx(71248.9 / 71200.5 - 1, rel=EXACT, abs=1e-15)


def test_implied_volatility_is_a_fraction() -> None:
    data = {"timestamp": AT, "volatility": 48.25, "index_name": "btc_usd"}
    dvol = {"params": {"channel": "deribit_volatility_index.btc_usd", "data": data}}
    bodies = deribit("BTC-PERPETUAL", "BTC", "USD", 10.0)
    frames = [deribit_ticker("BTC-PERPETUAL", 71229.14, 801234560, 0.0), dvol]
    lines = exposition("deribit", instruments("deribit", bodies), frames)
    assert value(lines, "leverage_implied_volatility_ratio", asset="BTC") == 48.25 / 100
