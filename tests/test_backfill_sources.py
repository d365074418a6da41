"""Sources of the past by hand: units, sides, times, funding; and that rubbish is never a number.

Figures in answers are those of the venues' documents and recordings (venues.md, sections named).
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Sequence
from itertools import pairwise

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from monitor.archives import (
    SOURCES,
    binance,
    bitfinex,
    bybit,
    deribit,
    dydx,
    gate,
    hyperliquid,
    kraken,
    kucoin,
    okx,
)
from monitor.archives.past import bars, missing, needed
from monitor.archives.source import Candle, Fact, Page, PastStep, Series, date, instant, iso, paid
from monitor.bars import BAR
from monitor.events import Instrument, Mark, OpenInterest
from monitor.ladder import DAY, HOUR, MINUTE
from monitor.venue import Refused, Unreadable
from monitor.venues import VENUES

D = instant("2026-07-11T00:00:00Z")


def of(venue: str, symbol: str) -> Instrument:
    found = VENUES[venue].rule(symbol)
    assert found is not None
    return found


def day(instrument: Instrument, facts: Sequence[Fact], start: int = D) -> dict[str, object]:
    """The one bar of a day."""
    (row,) = bars(instrument, "day", (start, start + DAY), facts).rows(named=True)
    return row


def candle(start: int, close: float) -> Candle:
    return Candle(start, close, close + 1, close - 1, close)


LINEAR = of("bybit", "BTCUSDT")


# Units and sides, by hand.


def test_bybit_counts_both_sides_and_dollars_where_inverse() -> None:
    """§2: a recorded answer of the inverse contract; both sides, hence halved."""
    body = (
        b'{"retCode":0,"retMsg":"OK","result":{"symbol":"BTCUSD","category":"inverse","list":'
        b'[{"openInterest":"461134384.00000000","timestamp":"1669593600000"}],"nextPageCursor":""}}'
    )
    start = 1_669_593_600_000 - DAY
    inverse = of("bybit", "BTCUSD")
    page = bybit.parse_open_interest(body, inverse, "day")
    row = day(inverse, [*page.facts, candle(start, 16_400.0)], start)
    assert row["native"] == row["usd"] == 230_567_192.0
    assert row["coins"] == pytest.approx(14_058.975, abs=0.001)
    assert (row["time"], row["margin"], row["close"]) == (start, "inverse", 16_400.0)


def test_bybit_refuses_a_row_that_is_not_two_sided() -> None:
    """§2: 57118.511 of which 28559.256 is one side; if that ever changes, the row is not read."""

    def body(single: str) -> bytes:
        row = f'{{"openInterest":"57118.511","timestamp":"{D}","singleOpenInterest":"{single}"}}'
        return f'{{"retCode":0,"retMsg":"","result":{{"list":[{row}]}}}}'.encode()

    (fact,) = bybit.parse_open_interest(body("28559.256"), LINEAR, "day").facts
    assert day(LINEAR, [fact], D - DAY)["native"] == 28_559.2555
    assert bybit.parse_open_interest(body(""), LINEAR, "day").facts == [fact]
    with pytest.raises(Unreadable, match="1 times its one side"):
        bybit.parse_open_interest(body("57118.511"), LINEAR, "day")


def test_binance_stamps_the_end_of_the_period_and_counts_coins() -> None:
    """§1.1: the documents' sample of `openInterestHist`, moved to a full day."""
    usdm = of("binance_usdm", "BTCUSDT")
    body = (
        b'[{"symbol":"BTCUSDT","sumOpenInterest":"20403.63700000",'
        b'"sumOpenInterestValue":"150570784.07809979","timestamp":"1583107200000"}]'
    )
    page = binance.parse_open_interest(body, usdm, "day")
    start = 1_583_107_200_000 - DAY
    row = day(usdm, [*page.facts, candle(start, 7379.6)], start)
    assert (row["native"], row["coins"]) == (20_403.637, 20_403.637)
    assert row["usd"] == pytest.approx(150_570_679.6, abs=1)  # coins times 7379.6


def test_binance_coin_margined_contracts_are_a_hundred_dollars() -> None:
    """§1.2: 20403 contracts of 100 USD."""
    coinm = of("binance_coinm", "BTCUSD_PERP")
    body = (
        b'[{"pair":"BTCUSD","contractType":"PERPETUAL","sumOpenInterest":"20403",'
        b'"sumOpenInterestValue":"176196512.23400000","timestamp":1591228800000}]'
    )
    page = binance.parse_open_interest(body, coinm, "day")
    row = day(coinm, [*page.facts, candle(1_591_228_800_000 - DAY, 9_600.0)], 1_591_228_800_000 - DAY)
    assert row["native"] == row["usd"] == 2_040_300.0
    assert row["coins"] == pytest.approx(212.53125)


def test_a_metrics_file_is_read_at_the_close_of_its_day() -> None:
    """§1.1: rows each five minutes from 00:05:01 on; the last is the next day's midnight."""
    usdm = of("binance_usdm", "BTCUSDT")
    table = (
        "create_time,symbol,sum_open_interest,sum_open_interest_value\n"
        "2026-07-11 00:05:01,BTCUSDT,90000.5,1\n"
        "2026-07-11 23:55:00,BTCUSDT,91000,1\n"
        "2026-07-12 00:00:01,BTCUSDT,92000.25,1\n"
    )
    page = binance.parse_metrics(packed(table), usdm)
    assert [fact.time for fact in page.facts] == [D + 5 * MINUTE, D + DAY - 5 * MINUTE, D + DAY]
    assert day(usdm, page.facts)["native"] == 92_000.25
    hours = bars(usdm, "hour", (D, D + DAY), page.facts)
    assert hours.select("time", "native").rows() == [(D + 23 * HOUR, 92_000.25)]


def packed(*tables: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as written:
        for number, table in enumerate(tables):
            written.writestr(f"{number}.csv", table)
    return file.getvalue()


@pytest.mark.parametrize(("field", "value"), [("method", 99), ("flags", 1)])
def test_a_zip_that_is_packed_otherwise_or_locked_is_unreadable(field: str, value: int) -> None:
    body = bytearray(packed("2026-07-11 12:00:01,BTCUSDT,90000\n"))
    # In the header of the file (PK 3 4) and in the directory (PK 1 2): APPNOTE.TXT 4.3.7 and 4.3.12.
    at = {"flags": (6, 8), "method": (8, 10)}[field]
    for mark, place in zip((b"PK\x03\x04", b"PK\x01\x02"), at, strict=True):
        struct.pack_into("<H", body, body.index(mark) + place, value)
    with pytest.raises(Unreadable, match="not a zip of one table"):
        binance.parse_metrics(bytes(body), of("binance_usdm", "BTCUSDT"))


def test_a_file_that_ends_at_noon_does_not_tell_the_close() -> None:
    usdm = of("binance_usdm", "BTCUSDT")
    page = binance.parse_metrics(packed("2026-07-11 12:00:01,BTCUSDT,90000\n"), usdm)
    assert bars(usdm, "day", (D, D + DAY), page.facts).height == 0


@pytest.mark.parametrize(
    "body",
    [
        b"", b"PK\x05\x06", b"<html>", packed(), packed("a,b\n", "c,d\n"), packed(""),
        packed("create_time,symbol,something\n2026-07-11 00:05:01,BTCUSDT,1\n"),
        packed("2026-07-11 00:05:01,BTCUSDT,much\n"), packed("2026-07-11 00:05:01,BTCUSDT,-1\n"),
        packed("2026-07-11 00:05:01,BTCUSDT,NaN\n"), packed("2026-07-11 00:05:01\n"),
        packed("now,BTCUSDT,1\n"), packed('1"\x00\n'), packed("1" * 200_000 + "\n"),
    ],
)  # fmt: skip
def test_what_is_no_metrics_file_is_refused(body: bytes) -> None:
    with pytest.raises(Unreadable):
        binance.parse_metrics(body, of("binance_usdm", "BTCUSDT"))


def test_a_file_that_unpacks_to_more_than_a_table_is_refused() -> None:
    with pytest.raises(Unreadable, match="MiB"):
        binance.parse_metrics(packed("0" * (binance.LARGEST + 1)), of("binance_usdm", "BTCUSDT"))


def test_okx_stamps_the_opening_and_counts_contracts() -> None:
    """§3: 2874486.99 contracts of 0.01 BTC are 28744.8699 BTC."""
    swap = of("okx", "BTC-USDT-SWAP")
    body = f'{{"code":"0","msg":"","data":[["{D}","2874486.99","28744.8699","2385812703.75"]]}}'.encode()
    page = okx.parse_open_interest(body, swap, "day")
    row = day(swap, [*page.facts, candle(D, 83_000.0)])
    assert row["native"] == row["coins"] == pytest.approx(28_744.8699)
    assert row["usd"] == pytest.approx(2_385_824_201.7)
    inverse = of("okx", "BTC-USD-SWAP")
    facts = okx.parse_open_interest(body, inverse, "day").facts
    assert day(inverse, facts)["native"] == pytest.approx(287_448_699.0)


def test_okx_tells_what_was_paid() -> None:
    """§3: predicted 0.0001515032, paid 0.00015."""
    swap = of("okx", "BTC-USDT-SWAP")
    row = (
        b'{"instType":"SWAP","instId":"BTC-USDT-SWAP","fundingRate":"0.0001515032",'
        b'"realizedRate":"0.00015","fundingTime":"1704067200000"}'
    )
    page = okx.parse_funding(b'{"code":"0","data":[' + row + b"]}", swap, "day")
    assert page.facts == [paid(swap, 1_704_067_200_000, 0.00015, None)]


def test_kraken_counts_coins_or_dollars_and_the_close_of_the_period() -> None:
    """§6: open, high, low, close; seconds."""
    linear, inverse = kraken.perpetuals("BTC")
    assert (linear.symbol, inverse.symbol) == ("PF_XBTUSD", "PI_XBTUSD")
    body = (
        f'{{"result":{{"timestamp":[{D // 1000}],"more":false,'
        '"data":[["2192.1466",2193.8,"2192.1","2193.7759"]]},"errors":[]}'
    ).encode()
    facts = kraken.parse_open_interest(body, linear, "day").facts
    assert day(linear, [*facts, candle(D, 80_000.0)])["usd"] == pytest.approx(2193.7759 * 80_000)
    row = day(inverse, [*facts, candle(D, 80_000.0)])
    assert (row["native"], row["usd"]) == (2193.7759, 2193.7759)


def test_kraken_funding_is_relative_and_per_hour() -> None:
    """§6: `relativeFundingRate` 0.0001 an hour is 0.0008 in eight."""
    linear = kraken.perpetuals("BTC")[0]
    rows = ",".join(
        f'{{"timestamp":"{iso(D + hour * HOUR)}","relativeFundingRate":0.0001,"fundingRate":5.0}}'
        for hour in range(1, 25)
    )
    page = kraken.parse_funding(f'{{"result":"success","rates":[{rows}]}}'.encode(), linear, "day")
    assert day(linear, page.facts)["funding_8h"] == pytest.approx(0.0008)


def test_dydx_tells_the_open_interest_at_which_a_candle_starts() -> None:
    """§12: the documents' candle; its 381.7348 coins are those of the close before it."""
    (market,) = dydx.perpetuals("BTC")
    candles = (
        '{"candles":[{"startedAt":"2026-07-12T00:00:00.000Z","ticker":"BTC-USD","resolution":"1DAY",'
        '"low":"89911","high":"89970","open":"89934","close":"89941","startingOpenInterest":"381.7348"}]}'
    )
    facts = dydx.parse_candles(candles.encode(), market, "day").facts
    assert day(market, [*facts, candle(D, 90_000.0)])["native"] == 381.7348


def test_kucoin_counts_lots() -> None:
    """§10: XBTUSDTM 0.001 BTC a lot, 11481754 lots; an inverse lot is a dollar, its multiplier -1."""
    rows = (
        b'{"code":"200000","data":['
        b'{"symbol":"XBTUSDTM","baseCurrency":"XBT","quoteCurrency":"USDT","multiplier":0.001,'
        b'"isInverse":false,"expireDate":null},'
        b'{"symbol":"XBTUSDM","baseCurrency":"XBT","quoteCurrency":"USD","multiplier":-1.0,'
        b'"isInverse":true,"expireDate":null},'
        b'{"symbol":"XBTMU26","baseCurrency":"XBT","quoteCurrency":"USD","multiplier":-1.0,'
        b'"isInverse":true,"expireDate":1790323200000}]}'
    )
    linear, inverse, dated = kucoin.parse_instruments([rows])
    assert (linear.asset, linear.kind, dated.kind) == ("BTC", "perpetual", "future")
    body = f'{{"code":"200000","data":[{{"openInterest":"11481754","ts":{D + DAY}}}]}}'.encode()
    assert day(linear, kucoin.parse_open_interest(body, linear, "day").facts)["native"] == 11_481.754
    assert day(inverse, kucoin.parse_open_interest(body, inverse, "day").facts)["usd"] == 11_481_754


def test_gate_counts_contracts_and_seconds() -> None:
    """§8: 640887002 contracts of 0.0001 BTC; BTC_USD has a multiplier of 0 and is of one dollar."""
    listed = [
        b'[{"name":"BTC_USDT","quanto_multiplier":"0.0001","type":"direct"}]',
        b'[{"name":"BTC_USD","quanto_multiplier":"0","type":"inverse"}]',
    ]
    linear, inverse = gate.parse_instruments(listed)
    body = f'[{{"time":{(D + DAY) // 1000},"open_interest":640887002,"mark_price":1}}]'.encode()
    assert day(linear, gate.parse_stats(body, linear, "day").facts)["native"] == pytest.approx(64_088.7002)
    assert day(inverse, gate.parse_stats(body, inverse, "day").facts)["native"] == 640_887_002


def test_bitfinex_tells_all_in_one_row() -> None:
    """§13: a recorded status; open interest 3005.25851857 BTC, mark 9170.3525."""
    (market,) = bitfinex.perpetuals("BTC")
    due = 1_590_624_000_000
    row = [1590623940000, None, 9166.30324769, 9169.35, None, 1372762.95402242, None, due, -0.00001415,
           533, None, 0.0002, None, None, 9170.3525, None, None, 3005.25851857]  # fmt: skip
    page = bitfinex.parse_status(msgspec.json.encode([row]), market, "day")
    got = day(market, page.facts, due - DAY)
    assert (got["native"], got["close"]) == (3005.25851857, 9170.3525)
    assert paid(market, due, 0.0002, 28_800) in page.facts


def test_deribit_and_hyperliquid_pay_by_the_hour() -> None:
    """§4, §5: `interest_1h` and `fundingRate` of one hour, eight times as much on a base of eight."""
    inverse, coin = of("deribit", "BTC-PERPETUAL"), of("hyperliquid", "BTC")
    hours = [D + hour * HOUR for hour in range(1, 25)]
    body = msgspec.json.encode(
        {"result": [{"timestamp": time, "interest_1h": 1.25e-5, "interest_8h": 9.0} for time in hours]}
    )
    facts = deribit.parse_funding(body, inverse, "day").facts
    assert day(inverse, facts)["funding_8h"] == pytest.approx(0.0001)
    rows = [{"coin": "BTC", "fundingRate": "0.0000125", "premium": "0", "time": time + 55} for time in hours]
    facts = hyperliquid.parse_funding(msgspec.json.encode(rows), coin, "day").facts
    assert day(coin, facts)["funding_8h"] == pytest.approx(0.0001)


def test_a_thousandfold_contract_is_counted_in_coins_and_priced_by_the_coin() -> None:
    thousand = of("binance_usdm", "1000PEPEUSDT")
    row = day(thousand, [OpenInterest(thousand, D + DAY, 5e6), Candle(D, 0.01, 0.012, 0.009, 0.01)])
    assert (row["asset"], row["native"]) == ("PEPE", 5e9)
    assert row["close"] == pytest.approx(1e-5)
    assert row["usd"] == pytest.approx(5e4)


# Funding.


def test_the_day_of_a_payment_is_the_one_that_it_is_for() -> None:
    """Paid at midnight: for the last eight hours of the day before; stamped some milliseconds late."""
    times = [(0, 0.9), (8, 0.0001), (16, 0.0002), (24, 0.0003), (32, 0.9)]
    facts = [paid(LINEAR, D + hour * HOUR + 2, rate, None) for hour, rate in times]
    assert day(LINEAR, facts)["funding_8h"] == pytest.approx(0.0002)


def test_a_payment_counts_for_its_interval() -> None:
    """Eight hours of 0.0001, then every four hours 0.0002, which is 0.0004 in eight: mean 0.0003."""
    times = [(-8, 0.0001), (0, 0.0001), (8, 0.0001), *((hour, 0.0002) for hour in (12, 16, 20, 24))]
    facts = [paid(LINEAR, D + hour * HOUR, rate, None) for hour, rate in times]
    assert day(LINEAR, facts)["funding_8h"] == pytest.approx(0.0003)


def test_a_missing_payment_does_not_double_the_next() -> None:
    facts = [paid(LINEAR, D + hour * HOUR, 0.0001, None) for hour in (0, 8, 24, 32)]
    assert day(LINEAR, facts)["funding_8h"] == pytest.approx(0.0001)


def test_less_than_half_a_day_is_no_mean() -> None:
    facts = [paid(LINEAR, D + hour * HOUR, 0.0001, None) for hour in (-8, 0, 8)]
    assert bars(LINEAR, "day", (D, D + DAY), facts).height == 0


def test_an_hour_has_the_rate_of_the_payment_that_covers_it() -> None:
    facts = [paid(LINEAR, D + hour * HOUR, hour / 1e5, None) for hour in (0, 8, 16)]
    got = bars(LINEAR, "hour", (D, D + DAY), facts)
    assert got["time"].to_list() == [D + hour * HOUR for hour in range(16)]
    assert got["funding_8h"].to_list() == pytest.approx([8e-5] * 8 + [16e-5] * 8)


# Whatever the answers are.


def _told(time: int) -> st.SearchStrategy[Fact]:
    return st.sampled_from(
        (
            OpenInterest(LINEAR, time, 100.0 + time % 977),
            paid(LINEAR, time, (time % 13) / 1e5, None),
            candle(time // DAY * DAY, 50_000.0 + time // DAY % 97),
            Mark(LINEAR, time, 60_000.0 + time % 101),
        )
    )


_some_facts = st.lists(
    st.integers(D - 2 * DAY, D + 4 * DAY), max_size=12, unique_by=lambda time: time // (2 * MINUTE)
).flatmap(lambda times: st.tuples(*(_told(time) for time in times)).map(list))


@given(_some_facts, st.randoms(use_true_random=False), st.sampled_from(["day", "hour"]))
def test_order_repetition_and_rows_from_elsewhere_change_nothing(
    facts: list[Fact], shuffle: object, step: PastStep
) -> None:
    span = (D, D + 2 * DAY)
    plain = bars(LINEAR, step, span, facts)
    mixed = [*facts, *facts]
    shuffle.shuffle(mixed)  # type: ignore[attr-defined]
    assert bars(LINEAR, step, span, mixed).equals(plain)
    assert dict(plain.schema) == BAR
    assert plain["time"].is_between(D, D + 2 * DAY - 1).all()
    assert plain["time"].is_sorted()
    assert plain.select("time").is_unique().all()
    # Cut in two, it is the same.
    parts = [bars(LINEAR, step, (start, start + DAY), facts) for start in (D, D + DAY)]
    assert pl.concat(parts).equals(plain)


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(
        ["", "NaN", "1e400", "-1", "0", "1720000000000", "2026-07-11T00:00:00Z", "Regular", "200000", "x"]
    ),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(
            st.sampled_from(
                ["retCode", "retMsg", "result", "list", "code", "data", "rates", "candles", "timestamp",
                 "more", "openInterest", "sumOpenInterest", "fundingRate", "fundingTime", "time", "ticks",
                 "historicalFunding", "open", "close", "t", "r", "errors", "rate", "effectiveAt", "name",
                 "open_interest", "relativeFundingRate", "interest_1h", "ts", "startedAt", "symbol"]
            ),
            inner, max_size=6,
        )
    ),
    max_leaves=25,
)  # fmt: skip

PARSERS = [(name, series) for name, source in SOURCES.items() for series in source.series]


def _instrument(name: str) -> Instrument:
    rule = SOURCES[name].rule
    return rule("BTC")[0] if rule else LINEAR


def _only_rows_or_the_declared_error(name: str, series: Series, body: bytes) -> None:
    instrument = _instrument(name)
    for step in ("day", "hour"):
        try:
            page = series.parse(body, instrument, step)
        except (Refused, Unreadable):
            continue
        assert isinstance(page, Page)
        got = bars(instrument, step, (D, D + 2 * DAY), page.facts)
        for column in ("open", "high", "low", "close", "native", "coins", "usd", "funding_8h"):
            values = got[column].drop_nulls().to_list()
            assert all(math.isfinite(value) for value in values)
            assert column == "funding_8h" or all(value >= 0 for value in values)


@settings(max_examples=60, deadline=None)
@given(_json)
def test_any_json_is_rows_or_the_declared_error(value: object) -> None:
    body = msgspec.json.encode(value)
    for name, series in PARSERS:
        _only_rows_or_the_declared_error(name, series, body)


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=60) | st.sampled_from([b"[" * 100_000, b'{"a":' * 50_000, b"null", b"<html>"]))
def test_any_bytes_are_rows_or_the_declared_error(body: bytes) -> None:
    for name, series in PARSERS:
        _only_rows_or_the_declared_error(name, series, body)
    with pytest.raises(Unreadable):
        binance.parse_metrics(body, LINEAR)


@pytest.mark.parametrize("body", [b'{"code":"50011","msg":"Too Many Requests","data":[]}'])
def test_a_refusal_says_what_the_venue_said(body: bytes) -> None:
    with pytest.raises(Refused, match="Too Many Requests"):
        okx.parse_open_interest(body, of("okx", "BTC-USDT-SWAP"), "day")


def test_columns_that_changed_places_are_no_candle() -> None:
    """Open, close, high, low instead of open, high, low, close."""
    body = f'{{"code":"200000","data":[[{D},100,101,110,90,5]]}}'.encode()
    with pytest.raises(Unreadable, match="no candle"):
        kucoin.parse_klines(body, LINEAR, "day")


def test_a_bad_row_leaves_those_beside_it_their_own_time() -> None:
    """Where times and values are columns of their own, and where a table has lines of any length."""
    linear = kraken.perpetuals("BTC")[0]
    times = [D // 1000 + n * DAY // 1000 for n in range(3)]
    result = {"timestamp": times, "data": [[1, 1, 1, 10], [1, 1], [1, 1, 1, 30]], "more": True}
    page = kraken.parse_open_interest(msgspec.json.encode({"result": result}), linear, "day")
    assert page.facts == [OpenInterest(linear, D + DAY, 10), OpenInterest(linear, D + 3 * DAY, 30)]
    assert (page.unread, page.more) == (1, True)

    inverse = of("deribit", "BTC-PERPETUAL")
    columns = {
        "ticks": [D, D + HOUR],
        "open": [100, 100],
        "high": [99, 101],
        "low": [98, 99],
        "close": [99, 100],
    }
    chart = {"result": {"status": "ok", **columns}}
    page = deribit.parse_chart(msgspec.json.encode(chart), inverse, "hour")
    assert ({fact.time for fact in page.facts}, page.unread) == ({D + HOUR}, 1)  # one opened above its high

    usdm = of("binance_usdm", "BTCUSDT")
    table = (
        "sum_open_interest,symbol,create_time\n"
        "7,BTCUSDT,2026-07-11 00:05:01\n8,BTCUSDT\n-9,BTCUSDT,2026-07-11 00:15:01\n"
        "10,BTCUSDT,2026-07-11 00:20:00\n"
    )
    page = binance.parse_metrics(packed(table), usdm)
    told = [OpenInterest(usdm, D + 5 * MINUTE, 7), OpenInterest(usdm, D + 20 * MINUTE, 10)]
    assert (page.facts, page.unread) == (told, 2)


@pytest.mark.parametrize(("rows", "more"), [(199, False), (200, True), (201, True)])
def test_an_answer_of_as_many_rows_as_it_may_hold_was_cut(rows: int, *, more: bool) -> None:
    """§2: `open-interest` of Bybit has at most 200 rows; a row that cannot be read counts as well."""
    listed = [{"openInterest": "2", "timestamp": D + n * HOUR} for n in range(rows - 1)]
    body = {"retCode": 0, "retMsg": "", "result": {"list": [*listed, {"openInterest": ""}]}}
    page = bybit.parse_open_interest(msgspec.json.encode(body), LINEAR, "hour")
    assert (len(page.facts), page.unread, page.more) == (rows - 1, 1, more)


# Times, and what is missing.


@given(st.integers(0, 4_000_000_000_000))
def test_times_are_read_as_they_are_written(time: int) -> None:
    assert instant(iso(time)) == time
    assert iso(time).startswith(date(time))


@pytest.mark.parametrize("text", ["", "2026-07-11", "yesterday", "2026-13-11T00:00:00Z", "2026-07-11T0:0:0Z"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a time|month must be"):
        instant(text)


@given(st.sets(st.integers(0, 30)))
def test_missing_spans_and_present_days_are_all_days(there: set[int]) -> None:
    spans = missing([n * DAY for n in there], "day", (5 * DAY, 25 * DAY))
    absent = {n for first, last in spans for n in range(first // DAY, last // DAY)}
    assert absent == set(range(5, 25)) - there
    assert all(one[1] < other[0] for one, other in pairwise(spans))


def test_needed_tells_days_holes_and_the_gap_at_the_end() -> None:
    now = D + 10 * DAY + 3 * HOUR
    facts = [OpenInterest(LINEAR, D + n * DAY, 100.0 + n) for n in (3, 4, 6, 7)]
    store = bars(LINEAR, "day", (D, D + 10 * DAY), [*facts, candle(D + DAY, 5.0)])
    bybit_btc, okx_btc = needed(store, now, 10, [("okx", "BTC")])
    assert (bybit_btc.venue, bybit_btc.days, bybit_btc.holes) == ("bybit", 4, 1)
    assert (bybit_btc.first, bybit_btc.last) == (D + 2 * DAY, D + 6 * DAY)
    assert bybit_btc.missing == (
        (D, D + 2 * DAY), (D + 4 * DAY, D + 5 * DAY), (D + 7 * DAY, D + 10 * DAY),
    )  # fmt: skip
    assert bybit_btc.gap == (D + 7 * DAY, D + 10 * DAY)
    assert (okx_btc.days, okx_btc.first, okx_btc.holes, okx_btc.gap) == (0, None, 0, None)
    assert okx_btc.missing == ((D, D + 10 * DAY),)


def test_every_source_says_what_its_numbers_are() -> None:
    for source in SOURCES.values():
        assert source.evidence
        assert (source.rule is None) != (source.instruments is None)
        assert source.rest_url.startswith("https://")
        assert set(source.bars) == {"day", "hour"}
    assert set(VENUES) <= set(SOURCES)
