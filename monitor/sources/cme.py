"""CME's daily open interest and settlement, from the operator's own table.

CME's site forbids robots and refuses them, and a daily feed is paid for (venues.md section 18.4): whoever
has one writes a row a day and contract into this form.
"""

from __future__ import annotations

import polars as pl

from monitor.events import Millis
from monitor.sources.body import column_of, csv_of, dates_of, number_of
from monitor.sources.source import DAY, Rubbish, Source, dated, newest_within, unique, within

SCHEMA = pl.Schema({
    "date": pl.Date(), "asset": pl.String(), "symbol": pl.String(), "open_interest": pl.Float64(),
    "settle": pl.Float64(),
})  # fmt: skip
"""Trade date, contracts, dollars per coin; `settle` may be unknown."""

ASSETS = {"BTC": "BTC", "MBT": "BTC", "ETH": "ETH", "MET": "ETH"}
"""CME's product codes, standard and micro."""
MOST = 10_000_000
DEAREST = 100_000_000.0
OLDEST = 40 * DAY
AHEAD = 3 * DAY
"""A weekend's trades carry the next business day's date, as crypto trades all week since 2026-05-29."""


def daily(body: bytes, now: Millis) -> pl.DataFrame:
    """`date,asset,symbol,open_interest,settle`: one row a trade date and product, summed over expiries."""
    header, rows = csv_of(body)
    date, asset, symbol, interest, settle = (
        column_of(header, name) for name in ("date", "asset", "symbol", "open_interest", "settle")
    )
    for row in rows:
        if ASSETS.get(row[symbol], row[asset]) != row[asset] or not row[asset] or not row[symbol]:
            raise Rubbish(f"symbol {row[symbol][:12]!r} of asset {row[asset][:12]!r}")
    frame = pl.DataFrame(
        {
            "date": dates_of([row[date] for row in rows], "%Y-%m-%d"),
            "asset": [row[asset] for row in rows],
            "symbol": [row[symbol] for row in rows],
            "open_interest": [number_of(row[interest], "open_interest") for row in rows],
            "settle": [number_of(row[settle], "settle") if row[settle] else None for row in rows],
        },
        schema=SCHEMA,
    )
    frame = dated(frame, now, oldest=OLDEST, ahead=AHEAD)
    within(frame, "open_interest", 0, MOST, "contracts")
    within(frame, "settle", 0.01, DEAREST, "USD")
    unique(frame, "date", "symbol")
    return frame


SOURCES = (
    Source(
        name="cme", kind="cme", title="CME open interest, daily (the operator's)", parse=daily,
        every_s=3600, max_age=5 * DAY,
        continuous=newest_within(4, ["open_interest", "settle"], ["symbol"]), forget=30 * DAY,
        by=("asset",), key="optional",
    ),
)  # fmt: skip
