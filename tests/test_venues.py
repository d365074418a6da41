"""Every venue against its documented wire format: frames, lists of instruments, what is asked."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec
import orjson
import pytest
from hypothesis import given, settings, strategies as st

from monitor.events import Event, Funding, Instrument, Liquidation, Mark, Position, as_json
from monitor.feeds.feed import UNREADABLE
from monitor.venue import ByRule, Refused, Reply, Request, Topic, Unreadable, Venue, asset_of, batches
from monitor.venues import VENUES

RECORDINGS = Path(__file__).parent / "recordings"
RECEIVED = 1_795_000_123_456
"""When the recorded frames came: the time of events to which the venue gives none."""
MOST = 2**53
"""Times and intervals stay below it, in columns of 64 bits."""
PARSES = (Refused, *UNREADABLE)

each_venue = pytest.mark.parametrize("venue", VENUES.values(), ids=VENUES)


class Line(msgspec.Struct, frozen=True):
    """A recorded frame, and what it is to be read as."""

    text: str
    events: list[dict[str, Any]]
    source: str = "ws"
    """`ws`, or the channel of the poll that it answers."""
    refused: str | None = None
    reply: dict[str, Any] | None = None


def recording(venue: Venue) -> list[Line]:
    path = RECORDINGS / f"{venue.name}.jsonl"
    return [msgspec.json.decode(line, type=Line) for line in path.read_bytes().splitlines()]


LINES = [(venue, line) for venue in VENUES.values() for line in recording(venue)]
IDS = [f"{venue.name}-{number}" for number, (venue, _) in enumerate(LINES)]


def read(venue: Venue, frame: bytes, source: str = "ws") -> Sequence[Event | Reply]:
    """By the venue's rule of names, as `decode` reads."""
    parse = next((poll.parse for poll in venue.polls if poll.channel.name == source), venue.parse)
    return parse(frame, ByRule(venue.rule), RECEIVED)


# Recorded frames.


@pytest.mark.parametrize(("venue", "line"), LINES, ids=IDS)
def test_a_recorded_frame_is_read_as_written_beside_it(venue: Venue, line: Line) -> None:
    frame = line.text.encode()
    if line.refused is not None:
        with pytest.raises(Refused) as refused:
            read(venue, frame, line.source)
        assert line.refused in str(refused.value)
        return
    said = read(venue, frame, line.source)
    found = [as_json(one) for one in said if not isinstance(one, Reply)]
    assert [list(one.items()) for one in found] == [list(one.items()) for one in line.events]
    replies = [orjson.loads(one.text) for one in said if isinstance(one, Reply)]
    assert replies == ([] if line.reply is None else [line.reply])


@each_venue
def test_a_recording_has_every_kind_of_its_venue_and_frames_that_mean_nothing(venue: Venue) -> None:
    lines = recording(venue)
    channels = [*venue.channels, *(poll.channel for poll in venue.polls)]
    wanted = {str(kind.__struct_config__.tag) for channel in channels for kind in channel.kinds}
    found = {event["kind"] for line in lines for event in line.events}
    assert wanted <= found
    assert found - wanted <= {"index"}
    quiet = [line for line in lines if not line.events and not line.refused and not line.reply]
    assert quiet
    assert any(line.refused for line in lines)
    if "liquidation" in wanted:
        sides = {event["position"] for line in lines for event in line.events if "position" in event}
        assert sides == {"long", "short"}


@each_venue
def test_instruments_that_are_not_ours_are_passed_over(venue: Venue) -> None:
    for line in recording(venue):
        if line.refused is None and line.source == "ws":
            assert all(isinstance(one, Reply) for one in venue.parse(line.text.encode(), {}, RECEIVED))


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("binance_usdm", '{"e":"markPriceUpdate","E":1,"s":"BTCUSDT","p":"7e4","i":"7e4","r":"1e9","T":2}'),
        ("binance_usdm", '{"data":{"e":"markPriceUpdate","E":1,"s":"BTCUSDT","p":"-1","r":"0","T":2}}'),
        ("binance_coinm", '{"symbol":"BTCUSD_PERP","openInterest":"many","time":1}'),
        ("bybit", '{"topic":"tickers.BTCUSDT","ts":1,"data":{"symbol":"BTCUSDT","fundingRate":"nan"}}'),
        ("bybit", '{"topic":"tickers.BTCUSDT","ts":1,"data":{"symbol":"BTCUSDT","fundingRate":"50"}}'),
        (
            "bybit",
            '{"ts":1,"data":{"symbol":"BTCUSDT","fundingRate":"0","fundingIntervalHour":"99999999999"}}',
        ),
        ("bybit", '{"topic":"tickers.BTCUSDT","ts":1,"data":{"symbol":"BTCUSDT","markPrice":"1e13"}}'),
        ("okx", '{"data":[{"instId":"BTC-USDT","fundingRate":"0","fundingTime":"99999999999999999999"}]}'),
        ("okx", '{"data":[{"instId":"BTC-USDT-SWAP","markPx":null}]}x'),
        ("deribit", '{"params":{"data":{"timestamp":1,"instrument_name":"BTC-PERPETUAL","mark_price":-1}}}'),
        ("hyperliquid", '{"data":{"coin":"BTC","ctx":{"funding":"0","openInterest":"1","oraclePx":"1"}}}'),
        *((name, text) for name in VENUES for text in ("", "{}", "[]", "null", "ping?", '"a"', "7")),
    ],
)
def test_rubbish_is_unreadable(name: str, frame: str) -> None:
    source = "openInterest" if "openInterest" in frame and name == "binance_coinm" else "ws"
    if name.startswith("binance") and frame == "[]":
        assert not read(VENUES[name], frame.encode())  # an array of no payloads
        return
    with pytest.raises(Unreadable):
        read(VENUES[name], frame.encode(), source)


def test_a_deribit_trade_without_the_identity_that_tells_repetitions_is_unreadable() -> None:
    trade = {"timestamp": 1, "instrument_name": "BTC-PERPETUAL", "direction": "sell", "liquidation": "T"}
    trade |= {"price": 1, "amount": 1}
    with pytest.raises(Unreadable):
        read(VENUES["deribit"], orjson.dumps({"params": {"data": [trade]}}))
    (one,) = read(VENUES["deribit"], orjson.dumps({"params": {"data": [trade | {"trade_id": "4"}]}}))
    assert isinstance(one, Liquidation)
    assert one.id == "4T"


@pytest.mark.parametrize("word", ["", "both", "LONG"])
def test_an_okx_liquidation_of_unknown_position_side_goes_by_the_order(word: str) -> None:
    detail = {"bkPx": "70000", "posSide": word, "side": "sell", "sz": "1", "ts": "1"}
    frame = orjson.dumps({"data": [{"instId": "BTC-USDT-SWAP", "details": [detail]}]})
    (one,) = read(VENUES["okx"], frame)
    assert isinstance(one, Liquidation)
    assert one.position == "long"


# Damaged frames.


def anything(venue: Venue) -> ByRule:
    """Instruments under every name, so that no damage to a symbol hides the rest of a frame."""
    return ByRule(lambda symbol: Instrument(venue=venue.name, symbol=symbol, asset="BTC"))


def sane(event: Event) -> bool:
    """Whether its numbers are finite and fit their columns, and it can be printed."""
    numbers = [
        value
        for value in msgspec.structs.astuple(event)
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
    bounded = all(math.isfinite(number) and abs(number) < 1e18 for number in numbers)
    if isinstance(event, Funding):
        bounded = bounded and 0 <= (event.interval_s or 0) < MOST and 0 <= (event.next_time or 0) < MOST
    if isinstance(event, Liquidation):
        bounded = bounded and event.position in get_args(Position)
    return bounded and 0 <= event.time < MOST and bool(orjson.dumps(as_json(event)))


def holds(venue: Venue, frame: bytes, source: str = "ws") -> None:
    """A frame is refused, unreadable, or sane; nothing else comes of it."""
    parse = next((poll.parse for poll in venue.polls if poll.channel.name == source), venue.parse)
    for instruments in (anything(venue), ByRule(venue.rule)):
        try:
            said = parse(frame, instruments, RECEIVED)
        except PARSES:
            continue
        for one in said:
            assert isinstance(one, Reply) or sane(one), one


lines = st.sampled_from(LINES)
RAW = ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "9" * 400, "1e19", "-1", "-0.0", "1E-320"]
"""Written into a frame as they are, without quotes and within them."""
wrong: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.sampled_from(["", 'a"b\n\\', "\n", "BTC\x00USDT", "1e400", "nan", "inf", "-1", "1_0", " 1", "0x10"]),
    st.sampled_from([[], {}, [[]], [{}], {"data": {}}, {"a": [None]}, 2**63, 2**64, 10**40, 1e308]),
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Container and key of everything within a JSON value."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


@given(lines, st.data())
@settings(max_examples=400, deadline=None)
def test_truncated_and_flipped_frames_never_say_nonsense(
    case: tuple[Venue, Line], data: st.DataObject
) -> None:
    venue, line = case
    frame = bytearray(line.text.encode())
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(frame) - 1))
        frame[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.none() | st.integers(0, len(frame)))
    holds(venue, bytes(frame[:cut]), line.source)


@given(lines, st.data())
@settings(max_examples=600, deadline=None)
def test_wrong_values_never_become_events(case: tuple[Venue, Line], data: st.DataObject) -> None:
    venue, line = case
    try:
        said = json.loads(line.text)
    except ValueError:
        return
    mark = "\x01here\x01"
    raw = data.draw(st.none() | st.sampled_from(RAW))
    container, key = data.draw(st.sampled_from(list(places(said))))
    container[key] = data.draw(wrong) if raw is None else mark
    text = json.dumps(said, ensure_ascii=data.draw(st.booleans()))
    if raw is not None:
        quoted = json.dumps(mark)
        text = text.replace(quoted, data.draw(st.sampled_from([raw, f'"{raw}"'])))
    holds(venue, text.encode(errors="surrogatepass"), line.source)


@given(st.sampled_from(list(VENUES.values())), st.binary(max_size=60))
@settings(deadline=None)
def test_noise_is_unreadable(venue: Venue, frame: bytes) -> None:
    holds(venue, frame)
    holds(venue, b'{"data":' + frame)
    for poll in venue.polls:
        holds(venue, frame, poll.channel.name)


@pytest.mark.parametrize("wrapped", [b"[" * 100_000, b'{"data":' * 100_000, b'{"params":{"data":' * 50_000])
@each_venue
def test_depth_is_no_crash(venue: Venue, wrapped: bytes) -> None:
    holds(venue, wrapped)


@each_venue
def test_bytes_that_are_no_text_are_unreadable(venue: Venue) -> None:
    for line in recording(venue):
        for bad in (b"\xff", b"\xc3\x28", b"\xed\xa0\x80"):
            for at in range(0, len(line.text), 7):
                text = line.text.encode()
                holds(venue, text[:at] + bad + text[at + 1 :], line.source)


# Lists of instruments, as documented.

BINANCE_USDM_LIST: tuple[Any, ...] = (
    {"timezone": "UTC", "rateLimits": [], "symbols": [
        {"symbol": "BTCUSDT", "pair": "BTCUSDT", "contractType": "PERPETUAL", "status": "TRADING",
         "baseAsset": "BTC", "quoteAsset": "USDT", "marginAsset": "USDT", "underlyingType": "COIN"},
        {"symbol": "1000PEPEUSDT", "pair": "1000PEPEUSDT", "contractType": "PERPETUAL",
         "status": "TRADING", "baseAsset": "1000PEPE", "quoteAsset": "USDT", "marginAsset": "USDT"},
        {"symbol": "ETHUSDC", "pair": "ETHUSDC", "contractType": "PERPETUAL", "status": "TRADING",
         "baseAsset": "ETH", "quoteAsset": "USDC", "marginAsset": "USDC"},
        {"symbol": "BTCUSDT_270326", "pair": "BTCUSDT", "contractType": "CURRENT_QUARTER",
         "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT", "marginAsset": "USDT"},
        {"symbol": "BTCBUSD", "pair": "BTCBUSD", "contractType": "PERPETUAL", "status": "SETTLING",
         "baseAsset": "BTC", "quoteAsset": "BUSD", "marginAsset": "BUSD"},
        {"symbol": "SOONUSDT", "pair": "SOONUSDT", "contractType": "PERPETUAL",
         "status": "PENDING_TRADING", "baseAsset": "SOON", "quoteAsset": "USDT"},
    ]},
    [{"symbol": "1000PEPEUSDT", "adjustedFundingRateCap": "0.02", "adjustedFundingRateFloor": "-0.02",
      "fundingIntervalHours": 4, "disclaimer": False}],
)  # fmt: skip

BINANCE_COINM_LIST: tuple[Any, ...] = (
    {"symbols": [
        {"symbol": "BTCUSD_PERP", "pair": "BTCUSD", "contractType": "PERPETUAL", "contractSize": 100,
         "contractStatus": "TRADING", "baseAsset": "BTC", "quoteAsset": "USD", "marginAsset": "BTC"},
        {"symbol": "XRPUSD_PERP", "pair": "XRPUSD", "contractType": "PERPETUAL", "contractSize": 10,
         "contractStatus": "TRADING", "baseAsset": "XRP", "quoteAsset": "USD", "marginAsset": "XRP"},
        {"symbol": "BTCUSD_270326", "pair": "BTCUSD", "contractType": "CURRENT_QUARTER",
         "contractSize": 100, "contractStatus": "TRADING", "baseAsset": "BTC", "quoteAsset": "USD"},
        {"symbol": "LUNAUSD_PERP", "pair": "LUNAUSD", "contractType": "PERPETUAL", "contractSize": 10,
         "contractStatus": "CLOSE", "baseAsset": "LUNA", "quoteAsset": "USD", "marginAsset": "LUNA"},
    ]},
    [{"symbol": "XRPUSD_PERP", "fundingIntervalHours": 1}],
)  # fmt: skip


def bybit_row(symbol: str, base: str, quote: str, contract: str, **more: Any) -> dict[str, Any]:
    return {
        "symbol": symbol, "contractType": contract, "status": "Trading", "baseCoin": base,
        "quoteCoin": quote, "settleCoin": quote, "launchTime": "1600000000000", "deliveryTime": "0",
        "fundingInterval": 480, "isPreListing": False, "symbolType": "",
        "lotSizeFilter": {"qtyStep": "0.001"},
    } | more  # fmt: skip


def bybit_page(category: str, cursor: str, *rows: dict[str, Any]) -> dict[str, Any]:
    return {
        "retCode": 0, "retMsg": "OK", "retExtInfo": {}, "time": 1795000000000,
        "result": {"category": category, "list": list(rows), "nextPageCursor": cursor},
    }  # fmt: skip


BYBIT_LIST: tuple[Any, ...] = (
    bybit_page(
        "linear", "first%3DBTCUSDT%26last%3DETHPERP",
        bybit_row("BTCUSDT", "BTC", "USDT", "LinearPerpetual"),
        bybit_row("ETHPERP", "ETH", "USDC", "LinearPerpetual", fundingInterval="60"),
    ),
    bybit_page(
        "linear", "",
        bybit_row("1000PEPEUSDT", "1000PEPE", "USDT", "LinearPerpetual",
                  fundingInterval=240, symbolType="innovation"),
        bybit_row("BTCUSDT-26MAR27", "BTC", "USDT", "LinearFutures", fundingInterval=0),
        bybit_row("OLDUSDT", "OLD", "USDT", "LinearPerpetual", status="Closed"),
        bybit_row("NEWUSDT", "NEW", "USDT", "LinearPerpetual", isPreListing=True),
        bybit_row("PREUSDT", "PRE", "USDT", "LinearPerpetual", status="PreLaunch"),
        bybit_row("TSLAUSDT", "TSLA", "USDT", "LinearPerpetual", symbolType="stock"),
        bybit_row("XAUUSDT", "XAU", "USDT", "LinearPerpetual", symbolType="commodity"),
        bybit_row("EURUSDT", "EUR", "USDT", "LinearPerpetual", symbolType="forex"),
        bybit_row("AAPLXUSDT", "AAPLX", "USDT", "LinearPerpetual", symbolType="xstocks"),
    ),
    bybit_page(
        "inverse", "",
        bybit_row("BTCUSD", "BTC", "USD", "InversePerpetual"),
        bybit_row("BTCUSDH27", "BTC", "USD", "InverseFutures", fundingInterval=0),
    ),
)  # fmt: skip


def okx_row(symbol: str, size: str, kind: str, **more: Any) -> dict[str, Any]:
    base, quote, _ = symbol.split("-")
    linear = kind == "linear"
    return {
        "instType": "SWAP", "instId": symbol, "uly": f"{base}-{quote}", "ctVal": size, "ctMult": "1",
        "ctValCcy": base if linear else "USD", "ctType": kind, "settleCcy": quote if linear else base,
        "state": "live", "ruleType": "normal", "listTime": "1600000000000", "instCategory": "1",
    } | more  # fmt: skip


OKX_LIST: tuple[Any, ...] = (
    {"code": "0", "msg": "", "data": [
        okx_row("BTC-USDT-SWAP", "0.01", "linear"),
        okx_row("ETH-USD-SWAP", "10", "inverse"),
        okx_row("PEPE-USDT-SWAP", "10000000", "linear"),
        okx_row("SUI-USDC-SWAP", "0.5", "linear", ctMult="2"),
        okx_row("OLD-USDT-SWAP", "1", "linear", state="suspend"),
        okx_row("NEW-USDT-SWAP", "", "linear", state="preopen"),
        okx_row("TSLA-USDT-SWAP", "1", "linear", instCategory="3"),
        okx_row("XAU-USDT-SWAP", "1", "linear", instCategory="4"),
    ]},
)  # fmt: skip


def deribit_row(symbol: str, base: str, quote: str, size: float, **more: Any) -> dict[str, Any]:
    return {
        "instrument_name": symbol, "kind": "future", "base_currency": base, "quote_currency": quote,
        "instrument_type": "reversed" if quote == "USD" else "linear", "contract_size": size,
        "settlement_currency": base if quote == "USD" else quote, "settlement_period": "perpetual",
        "is_active": True, "state": "open", "max_leverage": 50,
    } | more  # fmt: skip


DERIBIT_LIST: tuple[Any, ...] = (
    {"jsonrpc": "2.0", "usIn": 1, "usOut": 2, "usDiff": 1, "testnet": False, "result": [
        deribit_row("BTC-PERPETUAL", "BTC", "USD", 10.0),
        deribit_row("ETH-PERPETUAL", "ETH", "USD", 1.0),
        deribit_row("BTC_USDC-PERPETUAL", "BTC", "USDC", 0.0001),
        deribit_row("BTC-26MAR27", "BTC", "USD", 10.0, settlement_period="month"),
        deribit_row("SOL-PERPETUAL", "SOL", "USD", 1.0, is_active=False, state="closed"),
    ]},
)  # fmt: skip

HYPERLIQUID_LIST: tuple[Any, ...] = (
    {"universe": [
        {"name": "BTC", "szDecimals": 5, "maxLeverage": 40, "marginTableId": 56},
        {"name": "kPEPE", "szDecimals": 0, "maxLeverage": 10, "marginTableId": 52},
        {"name": "KAITO", "szDecimals": 0, "maxLeverage": 5, "marginTableId": 5},
        {"name": "MATIC", "szDecimals": 1, "maxLeverage": 20, "marginTableId": 20, "isDelisted": True},
        {"name": "xyz:TSLA", "szDecimals": 1, "maxLeverage": 10, "marginTableId": 20},
    ]},
)  # fmt: skip

LISTS: dict[str, tuple[Any, ...]] = {
    "binance_usdm": BINANCE_USDM_LIST, "binance_coinm": BINANCE_COINM_LIST, "bybit": BYBIT_LIST,
    "okx": OKX_LIST, "deribit": DERIBIT_LIST, "hyperliquid": HYPERLIQUID_LIST,
}  # fmt: skip


def listed(name: str, bodies: Sequence[Any] | None = None) -> list[Instrument]:
    answers = LISTS[name] if bodies is None else bodies
    return list(VENUES[name].instruments.parse([orjson.dumps(body) for body in answers]))


HEADINGS = (
    "symbol", "asset", "kind", "margin", "quote", "contract_size", "multiplier", "oi_unit", "oi_sides",
    "liquidation_unit", "funding_interval_s", "index_symbol",
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("binance_usdm", [
            "BTCUSDT BTC perpetual linear USDT 1 1 coins 1 coins 28800 -",
            "1000PEPEUSDT PEPE perpetual linear USDT 1 1000 coins 1 coins 14400 -",
            "ETHUSDC ETH perpetual linear USDC 1 1 coins 1 coins 28800 -",
            "BTCUSDT_270326 BTC future linear USDT 1 1 coins 1 coins 28800 -",
        ]),
        ("binance_coinm", [
            "BTCUSD_PERP BTC perpetual inverse USD 100 1 contracts 1 contracts 28800 -",
            "XRPUSD_PERP XRP perpetual inverse USD 10 1 contracts 1 contracts 3600 -",
            "BTCUSD_270326 BTC future inverse USD 100 1 contracts 1 contracts 28800 -",
        ]),
        ("bybit", [
            "BTCUSDT BTC perpetual linear USDT 1 1 coins 2 coins 28800 -",
            "ETHPERP ETH perpetual linear USDC 1 1 coins 2 coins 3600 -",
            "1000PEPEUSDT PEPE perpetual linear USDT 1 1000 coins 2 coins 14400 -",
            "BTCUSDT-26MAR27 BTC future linear USDT 1 1 coins 2 coins - -",
            "BTCUSD BTC perpetual inverse USD 1 1 usd 2 usd 28800 -",
            "BTCUSDH27 BTC future inverse USD 1 1 usd 2 usd - -",
        ]),
        ("okx", [
            "BTC-USDT-SWAP BTC perpetual linear USDT 0.01 1 contracts 1 contracts - BTC-USDT",
            "BTC-USDT BTC index linear USDT 1 1 coins 1 coins - -",
            "ETH-USD-SWAP ETH perpetual inverse USD 10 1 contracts 1 contracts - ETH-USD",
            "ETH-USD ETH index linear USD 1 1 coins 1 coins - -",
            "PEPE-USDT-SWAP PEPE perpetual linear USDT 1e+07 1 contracts 1 contracts - PEPE-USDT",
            "PEPE-USDT PEPE index linear USDT 1 1 coins 1 coins - -",
            "SUI-USDC-SWAP SUI perpetual linear USDC 1 1 contracts 1 contracts - SUI-USDC",
            "SUI-USDC SUI index linear USDC 1 1 coins 1 coins - -",
        ]),
        ("deribit", [
            "btc_usd BTC volatility linear USD 1 1 coins 1 coins - -",
            "eth_usd ETH volatility linear USD 1 1 coins 1 coins - -",
            "BTC-PERPETUAL BTC perpetual inverse USD 10 1 usd 1 usd 28800 -",
            "ETH-PERPETUAL ETH perpetual inverse USD 1 1 usd 1 usd 28800 -",
            "BTC_USDC-PERPETUAL BTC perpetual linear USDC 0.0001 1 coins 1 coins 28800 -",
            "BTC-26MAR27 BTC future inverse USD 10 1 usd 1 usd - -",
        ]),
        ("hyperliquid", [
            "BTC BTC perpetual linear USDC 1 1 coins 2 coins 3600 -",
            "kPEPE PEPE perpetual linear USDC 1 1000 coins 2 coins 3600 -",
            "KAITO KAITO perpetual linear USDC 1 1 coins 2 coins 3600 -",
        ]),
    ],
)  # fmt: skip
def test_a_documented_list_gives_what_is_traded(name: str, rows: list[str]) -> None:
    def cell(value: object) -> str:
        return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

    found = listed(name)
    assert [" ".join(cell(getattr(of, heading)) for heading in HEADINGS) for of in found] == rows
    assert {of.venue for of in found} == {name}
    counted = [of for of in found if of.kind == "perpetual"]
    assert all(of.oi_sides_reason for of in counted)


@each_venue
def test_the_rule_of_names_agrees_with_the_list(venue: Venue) -> None:
    unknown = {"PEPE-USDT-SWAP", "SUI-USDC-SWAP", "BTC_USDC-PERPETUAL"}  # sizes that only a list says
    for of in listed(venue.name):
        ruled = venue.rule(of.symbol)
        assert ruled is not None
        if of.symbol in unknown:
            assert math.isnan(ruled.contract_size)
            ruled = msgspec.structs.replace(ruled, contract_size=of.contract_size)
        same = msgspec.structs.replace(ruled, funding_interval_s=of.funding_interval_s)
        if of.kind == "index":
            same = msgspec.structs.replace(same, oi_unit=of.oi_unit)
        assert same.same(of), (same, of)


@pytest.mark.parametrize(
    ("base", "asset", "multiplier"),
    [
        ("1000PEPE", "PEPE", 1e3), ("10000SATS", "SATS", 1e4), ("100000MOG", "MOG", 1e5),
        ("1000000BABYDOGE", "BABYDOGE", 1e6), ("1MBABYDOGE", "BABYDOGE", 1e6), ("XBT", "BTC", 1),
        ("1INCH", "1INCH", 1), ("BTC", "BTC", 1), ("1000", "1000", 1), ("USD1", "USD1", 1),
    ],
)  # fmt: skip
def test_multiples_of_a_coin_are_told_by_their_name(base: str, asset: str, multiplier: float) -> None:
    assert asset_of(base) == (asset, multiplier)


def test_bybit_pages_go_on_until_there_is_no_cursor() -> None:
    following = VENUES["bybit"].instruments.next_page
    assert following is not None
    first = VENUES["bybit"].instruments.requests[0]
    second = following(first, orjson.dumps(BYBIT_LIST[0]))
    path = "/v5/market/instruments-info?category=linear&limit=1000&cursor="
    assert second == Request(path + "first%3DBTCUSDT%26last%3DETHPERP")
    assert second is not None
    third = following(second, orjson.dumps(bybit_page("linear", "page3")))
    assert third == Request(path + "page3")
    assert following(second, orjson.dumps(BYBIT_LIST[1])) is None


@pytest.mark.parametrize(
    ("name", "body", "text"),
    [
        ("bybit", {"retCode": 10006, "retMsg": "Too many visits!", "result": {}}, "Too many visits!"),
        ("okx", {"code": "50011", "msg": "Too Many Requests", "data": []}, "Too Many Requests"),
    ],
)
def test_a_list_may_be_refused(name: str, body: object, text: str) -> None:
    with pytest.raises(Refused, match=text):
        listed(name, [body])


@each_venue
def test_a_list_of_rubbish_is_unreadable(venue: Venue) -> None:
    for body in (b"", b"{}", b"null", b"[]", b"<html>429</html>", b'{"code":-1003,"msg":"banned"}', b"\xff"):
        with pytest.raises((Unreadable, UnicodeDecodeError)):
            venue.instruments.parse([body, body])
    if venue.name.startswith("binance") or venue.name == "hyperliquid":
        with pytest.raises(Unreadable):
            venue.instruments.parse([])


@pytest.mark.parametrize("size", ["", "nan", "inf", "0", "-1", "1e400", "much"])
def test_an_okx_contract_without_a_size_is_not_guessed(size: str) -> None:
    with pytest.raises(Unreadable):
        listed("okx", [{"code": "0", "msg": "", "data": [okx_row("BTC-USDT-SWAP", size, "linear")]}])


@given(st.sampled_from(list(VENUES)), st.data())
@settings(max_examples=500, deadline=None)
def test_wrong_values_in_a_list_never_become_instruments(name: str, data: st.DataObject) -> None:
    bodies = orjson.loads(orjson.dumps(LISTS[name]))
    container, key = data.draw(st.sampled_from(list(places(bodies))))
    container[key] = data.draw(wrong)
    answers = [json.dumps(body).encode() for body in bodies]
    try:
        found = VENUES[name].instruments.parse(answers)
    except PARSES:
        return
    for of in found:
        for number in (of.contract_size, of.multiplier):
            assert math.isfinite(number)
            assert number > 0
        assert 0 < (of.funding_interval_s or 1) < MOST


# What is asked.

ADDRESSES = {
    "binance_usdm": ["wss://fstream.binance.com/market/stream"],
    "binance_coinm": ["wss://dstream.binance.com/stream"],
    "bybit": ["wss://stream.bybit.com/v5/public/linear", "wss://stream.bybit.com/v5/public/inverse"],
    "okx": ["wss://ws.okx.com:8443/ws/v5/public"],
    "deribit": ["wss://streams.deribit.com/ws/api/v2"],
    "hyperliquid": ["wss://api.hyperliquid.xyz/ws"],
}
LIST_ADDRESSES = {
    "binance_usdm": ["https://fapi.binance.com/fapi/v1/exchangeInfo", "https://fapi.binance.com/fapi/v1/fundingInfo"],
    "binance_coinm": ["https://dapi.binance.com/dapi/v1/exchangeInfo", "https://dapi.binance.com/dapi/v1/fundingInfo"],
    "bybit": [
        "https://api.bybit.com/v5/market/instruments-info?category=linear&limit=1000",
        "https://api.bybit.com/v5/market/instruments-info?category=inverse&limit=1000",
    ],
    "okx": ["https://www.okx.com/api/v5/public/instruments?instType=SWAP"],
    "deribit": ["https://www.deribit.com/api/v2/public/get_instruments?currency=any&kind=future"],
    "hyperliquid": ["https://api.hyperliquid.xyz/info"],
}  # fmt: skip


@each_venue
def test_addresses_are_the_documented_ones(venue: Venue) -> None:
    assert [venue.ws_url + endpoint.path for endpoint in venue.endpoints] == ADDRESSES[venue.name]
    asked = [venue.rest_url + request.path for request in venue.instruments.requests]
    assert asked == LIST_ADDRESSES[venue.name]


def test_requests_by_rest_are_the_documented_ones() -> None:
    asked = VENUES["hyperliquid"].instruments.requests[0]
    assert asked.body is not None
    assert orjson.loads(asked.body) == {"type": "meta"}
    assert asked.weight == 20
    for name, path in (("binance_usdm", "/fapi/v1"), ("binance_coinm", "/dapi/v1")):
        (poll,) = VENUES[name].polls
        perpetuals = listed(name)[:2]
        assert poll.requests(perpetuals) == [
            Request(f"{path}/openInterest?symbol={of.symbol}", weight=1) for of in perpetuals
        ]
    assert VENUES["binance_usdm"].budget == VENUES["binance_coinm"].budget
    assert VENUES["binance_usdm"].budget.weight < 2400


def many(name: str, count: int = 700) -> list[Instrument]:
    """More instruments than any venue has, with the longest names seen: all that the list gave, and more."""
    found = listed(name)
    tail = {"okx": "-USDT-SWAP", "deribit": "_USDC-PERPETUAL", "hyperliquid": ""}.get(name, "USDT")
    example = next(of for of in found if of.kind == "perpetual")
    more = (
        msgspec.structs.replace(example, symbol=f"1000000BABYDOGE{n}{tail}", index_symbol=f"DOGE{n}-USDT")
        for n in range(count)
    )
    return [*found, *more]


def connections(venue: Venue) -> list[tuple[str, list[Topic]]]:
    """Path and topics of every socket that so many instruments need."""
    return [
        (endpoint.path, list(topics))
        for endpoint in venue.endpoints
        for topics in batches(endpoint.topics(many(venue.name)), endpoint.per_connection)
    ]


def frames(
    venue: Venue, ask: Callable[[Sequence[Topic]], Sequence[str]]
) -> list[tuple[list[Topic], list[Any]]]:
    """Topics of each socket, and the frames that ask for them."""
    found = []
    for _, topics in connections(venue):
        texts = ask(topics)
        assert all(type(text) is str for text in texts)  # binary frames are refused by some venues
        found.append((topics, [orjson.loads(text) for text in texts]))
    return found


@each_venue
def test_topics_are_of_known_channels_and_cover_all_of_them(venue: Venue) -> None:
    topics = [topic for _, some in connections(venue) for topic in some]
    assert {topic.channel for topic in topics} == {channel.name for channel in venue.channels}
    assert len(topics) == len(set(topics))


@pytest.mark.parametrize("name", ["binance_usdm", "binance_coinm"])
def test_binance_subscribes_at_most_200_streams_on_a_socket_and_50_in_a_frame(name: str) -> None:
    venue = VENUES[name]
    for method in ("SUBSCRIBE", "UNSUBSCRIBE"):
        for topics, asked in frames(venue, venue.subscribe if method == "SUBSCRIBE" else venue.unsubscribe):
            assert len(topics) <= 200
            assert all(len(one["params"]) <= 50 for one in asked)
            assert all(one["method"] == method and isinstance(one["id"], int) for one in asked)
            assert [stream for one in asked for stream in one["params"]] == [topic.name for topic in topics]
    of = listed(name)[0]
    symbol = of.symbol.lower()
    assert [topic.name for topic in venue.endpoints[0].topics([of])] == [
        f"{symbol}@markPrice@1s",
        f"{symbol}@forceOrder",
    ]
    assert venue.sends_per_s < 10


def test_bybit_holds_at_most_21000_characters_of_arguments() -> None:
    venue = VENUES["bybit"]
    for op in ("subscribe", "unsubscribe"):
        for topics, asked in frames(venue, venue.subscribe if op == "subscribe" else venue.unsubscribe):
            assert all(one["op"] == op and one["args"] for one in asked)
            args = [arg for one in asked for arg in one["args"]]
            assert args == [topic.name for topic in topics]
            assert len(orjson.dumps(args)) <= 21_000
    by_path = dict(reversed(connections(venue)))  # the first socket of each
    names = [topic.name for topic in by_path["/v5/public/linear"][:2]]
    assert names == ["tickers.BTCUSDT", "allLiquidation.BTCUSDT"]
    assert {topic.name for topic in by_path["/v5/public/inverse"]} == {
        "tickers.BTCUSD", "allLiquidation.BTCUSD", "tickers.BTCUSDH27", "allLiquidation.BTCUSDH27",
    }  # fmt: skip


def test_okx_asks_in_less_than_64_kb_and_once_for_all_liquidations() -> None:
    venue = VENUES["okx"]
    args = []
    for op in ("subscribe", "unsubscribe"):
        for topics, asked in frames(venue, venue.subscribe if op == "subscribe" else venue.unsubscribe):
            assert all(one["op"] == op and len(orjson.dumps(one)) < 64_000 for one in asked)
            assert sum(len(one["args"]) for one in asked) == len(topics)
            assert len(asked) <= 480 // 100  # an hour's worth, with a hundred renewals
            args += [arg for one in asked for arg in one["args"]] if op == "subscribe" else []
    for wanted in (
        {"channel": "mark-price", "instId": "BTC-USDT-SWAP"},
        {"channel": "funding-rate", "instId": "BTC-USDT-SWAP"},
        {"channel": "open-interest", "instId": "ETH-USD-SWAP"},
        {"channel": "index-tickers", "instId": "ETH-USD"},
        {"channel": "liquidation-orders", "instType": "SWAP"},
    ):
        assert args.count(wanted) == 1
    assert not venue.endpoints[0].topics([])


def test_deribit_asks_once_for_everything_on_a_socket() -> None:
    venue = VENUES["deribit"]
    for method in ("public/subscribe", "public/unsubscribe"):
        ask = venue.subscribe if method == "public/subscribe" else venue.unsubscribe
        for topics, asked in frames(venue, ask):
            (one,) = asked
            assert one == {
                "jsonrpc": "2.0", "id": one["id"], "method": method,
                "params": {"channels": [topic.name for topic in topics]},
            }  # fmt: skip
    names = [topic.name for topic in venue.endpoints[0].topics(listed("deribit"))]
    assert names[:4] == [
        "deribit_volatility_index.btc_usd", "deribit_volatility_index.eth_usd",
        "ticker.BTC-PERPETUAL.100ms", "trades.BTC-PERPETUAL.100ms",
    ]  # fmt: skip
    assert not any("BTC-26MAR27" in name for name in names)
    (hello,) = venue.hello
    assert orjson.loads(hello)["method"] == "public/set_heartbeat"
    assert orjson.loads(hello)["params"]["interval"] >= 10


def test_hyperliquid_asks_for_one_coin_a_frame() -> None:
    venue = VENUES["hyperliquid"]
    for method in ("subscribe", "unsubscribe"):
        for topics, asked in frames(venue, venue.subscribe if method == "subscribe" else venue.unsubscribe):
            assert asked == [
                {"method": method, "subscription": {"type": "activeAssetCtx", "coin": topic.name}}
                for topic in topics
            ]
    assert sum(len(topics) for _, topics in connections(venue)) <= 1000
    assert len(connections(venue)) <= 10
    assert venue.sends_per_s * 60 < 2000


@pytest.mark.parametrize(
    ("name", "ping", "at_least_every_s"),
    [
        ("bybit", '{"op":"ping"}', 20), ("okx", "ping", 30), ("hyperliquid", '{"method":"ping"}', 60),
        ("binance_usdm", None, 0), ("binance_coinm", None, 0), ("deribit", None, 0),
    ],
)  # fmt: skip
def test_pings_are_the_venues_own_words(name: str, ping: str | None, at_least_every_s: float) -> None:
    venue = VENUES[name]
    assert venue.ping == ping
    if ping is not None:
        assert venue.ping_every_s <= at_least_every_s


def test_a_combined_frame_of_binance_may_be_written_in_another_order() -> None:
    venue = VENUES["binance_usdm"]
    frame = b'{ "data": {"e":"markPriceUpdate","E":1,"s":"BTCUSDT","p":"2","r":"0.1","T":5}, "stream": "x"}'
    events = venue.parse(frame, ByRule(venue.rule), 1)
    assert [type(event) for event in events] == [Mark, Funding]


@pytest.mark.parametrize(
    ("venue", "text"),
    [
        ("binance_usdm", '{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1,"s":"BTCUSDT","p":"1"}}'),
        ("binance_coinm", '{"e":"bookTicker","u":1,"s":"BTCUSD_PERP","b":"1","a":"2"}'),
        ("bybit", '{"topic":"orderbook.50.BTCUSDT","ts":1,"data":{"s":"BTCUSDT","b":[],"a":[]}}'),
        ("okx", '{"arg":{"channel":"adl-warning","instType":"SWAP"},"data":[{"instFamily":"BTC-USDT"}]}'),
        ("deribit", '{"method":"subscription","params":{"channel":"book.BTC-PERPETUAL.raw","data":{}}}'),
        ("hyperliquid", '{"channel":"l2Book","data":{"coin":"BTC","time":1,"levels":[[],[]]}}'),
    ],
)  # fmt: skip
def test_a_channel_that_we_do_not_follow_tells_nothing_and_is_no_error(venue: str, text: str) -> None:
    assert list(VENUES[venue].parse(text.encode(), ByRule(VENUES[venue].rule), 1)) == []
