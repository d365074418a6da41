"""Binance COIN-M futures: coin-margined, counted in contracts of 100 dollars (BTC) or 10.

Documents: developers.binance.com, Derivatives, COIN-M Futures. The messages are those of
`binance_usdm`, and mean the same: the functions are shared.
"""

from __future__ import annotations

import re

from monitor.events import Instrument
from monitor.venue import Endpoint, InstrumentList, Poll, Request, Venue
from monitor.venues.binance_usdm import (
    BUDGET,
    CHANNELS,
    FEED_EVIDENCE,
    OPEN_INTEREST,
    instrument,
    instruments_reader,
    parse,
    parse_open_interest,
    requests_open_interest,
    subscribe,
    topics,
    unsubscribe,
)

_SYMBOL = re.compile(r"([A-Z0-9]+)USD_(PERP|\d{6})")


def _rule(symbol: str) -> Instrument | None:
    if not (found := _SYMBOL.fullmatch(symbol)):
        return None
    contract = "PERPETUAL" if found[2] == "PERP" else "FUTURE"
    return _make(found[1], "USD", symbol, contract, 100 if found[1] == "BTC" else 10)


def _make(
    base: str, quote: str, symbol: str, contract: str, size: float, interval: int | None = None
) -> Instrument:
    return instrument(
        symbol, base, quote, contract, venue="binance_coinm", margin="inverse", contract_size=size,
        oi_unit="contracts", liquidation_unit="contracts", funding_interval_s=interval,
    )  # fmt: skip


BINANCE_COINM = Venue(
    name="binance_coinm",
    title="Binance COIN-M",
    ws_url="wss://dstream.binance.com",
    rest_url="https://dapi.binance.com",
    endpoints=(Endpoint("/stream", topics, per_connection=200),),
    channels=CHANNELS,
    subscribe=subscribe,
    unsubscribe=unsubscribe,
    parse=parse,
    rule=_rule,
    instruments=InstrumentList(
        (Request("/dapi/v1/exchangeInfo"), Request("/dapi/v1/fundingInfo")),
        instruments_reader(
            lambda row, interval: _make(
                row.baseAsset,
                row.quoteAsset,
                row.symbol,
                row.contractType,
                row.contractSize,
                interval,
            )
        ),
    ),
    budget=BUDGET,
    polls=(Poll(OPEN_INTEREST, requests_open_interest("/dapi/v1"), parse_open_interest, every_s=5),),
    liquidation_feed="throttled",
    liquidation_evidence=FEED_EVIDENCE,
    oi_evidence="`openInterest` in contracts of 100 USD (BTC) or 10 USD, one side (convention).",
)
