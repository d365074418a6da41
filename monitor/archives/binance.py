"""Binance's past: dollar-margined perpetuals from its archive and by REST, coin-margined ones by REST.

Documents: developers.binance.com, "Open Interest Statistics", "Get Funding Rate History", "Mark Price
Kline"; github.com/binance/binance-public-data. REST tells open interest of the last 30 days only; the
archive has every five minutes since September 2020, published the next day. Prices are the mark's.
`sumOpenInterest` is in coins (USDⓈ-M) or contracts (COIN-M) and counted like the live `openInterest`.
"""

from __future__ import annotations

import csv
import io
import struct
import zipfile
import zlib
from collections.abc import Callable

import msgspec

from monitor.archives.source import (
    FUNDING_AROUND,
    Archive,
    Fact,
    Kline,
    Page,
    PastStep,
    Rows,
    Series,
    Source,
    candle,
    date,
    decoded,
    each,
    instant,
    paid,
    told,
)
from monitor.events import Instrument, Millis, OpenInterest
from monitor.ladder import DAY, MINUTE
from monitor.venue import Amount, Budget, Rate, Request, Time, Unreadable
from monitor.venues.binance_coinm import BINANCE_COINM
from monitor.venues.binance_usdm import BINANCE_USDM

REACH = 29 * DAY
"""Of `openInterestHist`: the documents say 30 days, and an older start is refused by -1130."""
FIVE_MINUTES = 5 * MINUTE
LARGEST = 16 << 20
"""Bytes of a day's table; a real one has 30 kB."""
_CODE: dict[PastStep, str] = {"day": "1d", "hour": "1h"}
_OPEN_INTEREST_LIMIT, _FUNDING_LIMIT, _KLINE_LIMIT = 500, 1000, 499
# Weights are of the 1200 a minute that we allow ourselves. `openInterestHist` costs the venue none but has
# 1000 requests in five minutes of its own, `fundingRate` 500: these weights keep both under half of that.
_OPEN_INTEREST_WEIGHT, _FUNDING_WEIGHT, _KLINE_WEIGHT = 12, 24, 2
_METRICS = ["create_time", "symbol", "sum_open_interest"]
"""The first columns of the archive's tables, which had no row of names before August 2022."""


class Statistics(msgspec.Struct):
    """A row of `openInterestHist`; the time is the END of the period (venues.md §1.1)."""

    sumOpenInterest: Amount
    timestamp: Time


class Payment(msgspec.Struct):
    """A row of `fundingRate`; `Special` ones are dividends."""

    fundingRate: Rate
    fundingTime: Time
    rateType: str = "Regular"


class Metrics(msgspec.Struct):
    """A row of a `metrics` file, in coins."""

    create_time: str
    sum_open_interest: Amount


def parse_open_interest(body: bytes, of: Instrument, _step: PastStep) -> Page:
    """Answer of `openInterestHist`."""
    return told(
        decoded(body, Rows), Statistics, lambda row: [OpenInterest(of, row.timestamp, row.sumOpenInterest)],
        _OPEN_INTEREST_LIMIT,
    )  # fmt: skip


def parse_funding(body: bytes, of: Instrument, _step: PastStep) -> Page:
    """Answer of `fundingRate`."""

    def facts(row: Payment) -> list[Fact]:
        regular = row.rateType == "Regular"
        return [paid(of, row.fundingTime, row.fundingRate)] if regular else []

    return told(decoded(body, Rows), Payment, facts, _FUNDING_LIMIT)


def parse_klines(body: bytes, _of: Instrument, _step: PastStep) -> Page:
    """Answer of `markPriceKlines`."""
    return told(decoded(body, Rows), Kline, candle, _KLINE_LIMIT)


def parse_metrics(body: bytes, of: Instrument) -> Page:
    """A `metrics` file: a zip of one table, with or without a row of names.

    Times are a second or so after the five minutes that they are of, hence rounded.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as packed:
            (name,) = packed.namelist()
            with packed.open(name) as file:
                text = file.read(LARGEST + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError,
            struct.error, OverflowError, MemoryError) as error:  # fmt: skip
        raise Unreadable(f"not a zip of one table: {error}") from error
    if len(text) > LARGEST:
        raise Unreadable(f"a table of more than {LARGEST >> 20} MiB")
    try:
        rows = [row for row in csv.reader(io.StringIO(text.decode())) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise Unreadable(f"not a table: {error}") from error
    names = rows.pop(0) if rows and not rows[0][0][:1].isdigit() else _METRICS
    if not rows:
        raise Unreadable("an empty table")

    def facts(row: list[str]) -> list[Fact]:
        read = msgspec.convert(dict(zip(names, row, strict=False)), Metrics, strict=False)
        rounded = (instant(read.create_time) + FIVE_MINUTES // 2) // FIVE_MINUTES * FIVE_MINUTES
        return [OpenInterest(of, rounded, read.sum_open_interest)]

    return each(rows, facts)


def _spans(path: str, weight: float, limit: int, step_name: str) -> Callable[..., Request]:
    def request(of: Instrument, start: Millis, end: Millis, step: PastStep) -> Request:
        which = f"&{step_name}={_CODE[step]}" if step_name else ""
        span = f"&startTime={start}&endTime={end}&limit={limit}"
        return Request(f"{path}?symbol={of.symbol}{which}{span}", weight=weight)

    return request


def _by_pair(of: Instrument, start: Millis, end: Millis, step: PastStep) -> Request:
    """COIN-M asks by pair and kind of contract."""
    return Request(
        f"/futures/data/openInterestHist?pair={of.symbol.partition('_')[0]}&contractType=PERPETUAL"
        f"&period={_CODE[step]}&startTime={start}&endTime={end}&limit={_OPEN_INTEREST_LIMIT}",
        weight=_OPEN_INTEREST_WEIGHT,
    )


def _series(prefix: str, open_interest: Callable[..., Request]) -> tuple[Series, ...]:
    return (
        Series(request=open_interest, parse=parse_open_interest, reach=REACH),
        Series(
            request=_spans(f"{prefix}/fundingRate", _FUNDING_WEIGHT, _FUNDING_LIMIT, ""),
            parse=parse_funding, around=FUNDING_AROUND,
        ),
        Series(
            request=_spans(f"{prefix}/markPriceKlines", _KLINE_WEIGHT, _KLINE_LIMIT, "interval"),
            parse=parse_klines,
        ),
    )  # fmt: skip


def _path(of: Instrument, day: Millis) -> str:
    return f"/data/futures/um/daily/metrics/{of.symbol}/{of.symbol}-metrics-{date(day)}.zip"


USDM = Source(
    name="binance_usdm",
    rest_url=BINANCE_USDM.rest_url,
    budget=BINANCE_USDM.budget,
    series=_series(
        "/fapi/v1",
        _spans("/futures/data/openInterestHist", _OPEN_INTEREST_WEIGHT, _OPEN_INTEREST_LIMIT, "period"),
    ),
    bars={"day": 60, "hour": 480},
    instruments=BINANCE_USDM.instruments,
    archive=Archive(
        rest_url="https://data.binance.vision",
        budget=Budget("binance_archive", weight=20, per_s=1),
        path=_path,
        parse=parse_metrics,
    ),
    evidence="`sum_open_interest` in coins at the end of the period, one side (market convention).",
)
COINM = Source(
    name="binance_coinm",
    rest_url=BINANCE_COINM.rest_url,
    budget=BINANCE_COINM.budget,
    series=_series("/dapi/v1", _by_pair),
    bars={"day": 60, "hour": 480},
    instruments=BINANCE_COINM.instruments,
    evidence="`sumOpenInterest` in contracts, one side (market convention); the last 30 days only.",
)
