"""What stands for gold while spot gold rests: perpetuals on gold, and on tokens that are an ounce each.

Shown at weekends and never computed with (methodology section 1.6): so their price has a kind and a column of
its own, and nothing that reads gold can read it. It is in dollars of a stablecoin; tokens stand 5 to 20 bps
above spot (venues.md section 17, one source). Formats: venues.md sections 1.1 (`premiumIndex`) and 3
(`mark-price`).
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import polars as pl

from monitor.events import Millis
from monitor.sources.body import json_of, moments, number_of
from monitor.sources.gold import CLOCK, HIGH, NEWEST_LOW
from monitor.sources.source import DAY, HOUR, Parser, Rubbish, Source, dated, newest_within, within

SCHEMA = pl.Schema({"time": pl.Datetime("ms", "UTC"), "proxy_usd_oz": pl.Float64(), "symbol": pl.String()})
"""A row: the mark price of the perpetual named by `symbol`, dollars of a stablecoin per troy ounce."""

OLDEST = DAY

Time = Annotated[int, msgspec.Meta(ge=0)]
TimeText = Annotated[str, msgspec.Meta(pattern=r"^\d{1,15}$")]


def _one(symbol: str, price: str, time: Millis, now: Millis) -> pl.DataFrame:
    if time > now + CLOCK:
        raise Rubbish(f"time {time} is in the future")
    frame = pl.DataFrame(
        {"time": moments([time]), "proxy_usd_oz": [number_of(price, "mark price")], "symbol": symbol},
        schema=SCHEMA,
    )
    frame = dated(frame, now, oldest=OLDEST, ahead=CLOCK)
    within(frame, "proxy_usd_oz", NEWEST_LOW, HIGH, "USD/oz")
    return frame


class Premium(msgspec.Struct):
    """Binance's answer for one symbol."""

    symbol: str
    markPrice: str  # noqa: N815 -- as on the wire
    time: Time


_premium = msgspec.json.Decoder(Premium)


def _binance(symbol: str) -> Parser:
    def parse(body: bytes, now: Millis) -> pl.DataFrame:
        """`{"symbol":"XAUUSDT","markPrice":"4153.10000000","indexPrice":"…","time":1790755140000,…}`."""
        said = json_of(body, _premium)
        if said.symbol != symbol:
            raise Rubbish(f"the price of {said.symbol[:20]} instead of {symbol}")
        return _one(symbol, said.markPrice, said.time, now)

    return parse


class Mark(msgspec.Struct):
    """A row of OKX's mark prices."""

    instId: str  # noqa: N815 -- as on the wire
    markPx: str  # noqa: N815 -- as on the wire
    ts: TimeText


class Marks(msgspec.Struct):
    """OKX's answer: rows, or a code other than 0 and what is wrong."""

    code: str
    msg: str = ""
    data: list[Mark] = []


_marks = msgspec.json.Decoder(Marks)


def _okx(symbol: str) -> Parser:
    def parse(body: bytes, now: Millis) -> pl.DataFrame:
        """`{"code":"0","msg":"","data":[{"instId":"XAU-USDT-SWAP","markPx":"4153.2","ts":"…",…}]}`."""
        said = json_of(body, _marks)
        if said.code != "0":
            raise Rubbish(f"refused: {said.code[:8]} {said.msg}")
        if not said.data:
            raise Rubbish("no rows")
        if len(said.data) > 1 or said.data[0].instId != symbol:
            raise Rubbish(f"the price of {said.data[-1].instId[:20]} instead of {symbol}")
        return _one(symbol, said.data[0].markPx, int(said.data[0].ts), now)

    return parse


_SAME = newest_within(1.25, ["proxy_usd_oz"])


def _source(name: str, title: str, parse: Parser, url: str, *, default: bool = False) -> Source:
    return Source(
        name=name, kind="gold_proxy", title=title, parse=parse, url=url, default=default,
        every_s=300, max_age=HOUR, continuous=_SAME, forget=7 * DAY,
    )  # fmt: skip


_BINANCE = "https://fapi.binance.com/fapi/v1/premiumIndex?symbol="
_OKX = "https://www.okx.com/api/v5/public/mark-price?instType=SWAP&instId="

SOURCES = (
    _source("binance_xau", "Perpetual on gold, Binance", _binance("XAUUSDT"), f"{_BINANCE}XAUUSDT",
            default=True),
    _source("okx_xau", "Perpetual on gold, OKX", _okx("XAU-USDT-SWAP"), f"{_OKX}XAU-USDT-SWAP"),
    _source("okx_xaut", "Perpetual on Tether's gold token, OKX", _okx("XAUT-USDT-SWAP"),
            f"{_OKX}XAUT-USDT-SWAP", default=True),
    _source("binance_xaut", "Perpetual on Tether's gold token, Binance", _binance("XAUTUSDT"),
            f"{_BINANCE}XAUTUSDT"),
    _source("binance_paxg", "Perpetual on Paxos' gold token, Binance", _binance("PAXGUSDT"),
            f"{_BINANCE}PAXGUSDT"),
)  # fmt: skip
"""In the order in which one stands for another: without a token's premium first."""
