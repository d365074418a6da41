"""Deribit's past: funding and prices. It keeps no open interest; only a monitor that ran has it.

Documents: docs.deribit.com, `get_funding_rate_history`, `get_tradingview_chart_data`. Funding accrues all
the time: an hourly row tells what the hour paid, `interest_1h`. Prices are of trades.
"""

from __future__ import annotations

import msgspec

from monitor.archives.source import (
    FUNDING_AROUND,
    HOUR_S,
    Kline,
    Page,
    PastStep,
    Rows,
    Series,
    Source,
    candle,
    decoded,
    each,
    paid,
    told,
)
from monitor.events import Instrument, Millis
from monitor.venue import Budget, Price, Rate, Request, Time, Unreadable
from monitor.venues.deribit import DERIBIT

_FUNDING_LIMIT = 744


class Hour(msgspec.Struct):
    """A row of `get_funding_rate_history`."""

    timestamp: Time
    interest_1h: Rate


class Funded(msgspec.Struct):
    """Answer of `get_funding_rate_history`."""

    result: Rows


class Chart(msgspec.Struct):
    """Columns of candles."""

    ticks: list[Time] = []
    open: list[Price] = []
    high: list[Price] = []
    low: list[Price] = []
    close: list[Price] = []


class Charted(msgspec.Struct):
    """Answer of `get_tradingview_chart_data`."""

    result: Chart


def parse_funding(body: bytes, of: Instrument, _step: PastStep) -> Page:
    """Answer of `get_funding_rate_history`."""
    return told(
        decoded(body, Funded).result, Hour, lambda row: [paid(of, row.timestamp, row.interest_1h, HOUR_S)],
        _FUNDING_LIMIT,
    )  # fmt: skip


def parse_chart(body: bytes, _of: Instrument, _step: PastStep) -> Page:
    """Answer of `get_tradingview_chart_data`."""
    chart = decoded(body, Charted).result
    try:
        rows = list(zip(chart.ticks, chart.open, chart.high, chart.low, chart.close, strict=True))
    except ValueError as error:
        raise Unreadable(str(error)) from error
    return each([Kline(*row) for row in rows], candle)


def _span(of: Instrument, start: Millis, end: Millis) -> str:
    return f"instrument_name={of.symbol}&start_timestamp={start}&end_timestamp={end}"


def _funding(of: Instrument, start: Millis, end: Millis, _step: PastStep) -> Request:
    return Request(f"/api/v2/public/get_funding_rate_history?{_span(of, start, end)}")


def _chart(of: Instrument, start: Millis, end: Millis, step: PastStep) -> Request:
    every = {"day": "1D", "hour": "60"}[step]
    return Request(f"/api/v2/public/get_tradingview_chart_data?{_span(of, start, end)}&resolution={every}")


DERIBIT_PAST = Source(
    name="deribit",
    rest_url=DERIBIT.rest_url,
    budget=Budget("deribit_history", weight=5, per_s=1),  # 20 a second
    series=(
        Series(request=_funding, parse=parse_funding, keeps="newest", around=FUNDING_AROUND),
        Series(request=_chart, parse=parse_chart),
    ),
    bars={"day": 30, "hour": 700},
    instruments=DERIBIT.instruments,
    has_open_interest=False,
    evidence="No history of open interest. Funding: `interest_1h`, the rate of one hour.",
)
