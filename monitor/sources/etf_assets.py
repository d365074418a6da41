"""Assets of the US spot ETFs, by day: what redemptions are measured against. The operator's file or address.

`date,asset,assets_usd`. Providers differ, because they price the coins differently (methodology section 5).
"""

from __future__ import annotations

import polars as pl

from monitor.events import Millis
from monitor.sources.body import column_of, csv_of, dates_of, number_of
from monitor.sources.source import DAY, Source, dated, newest_within, steady, unique, within

SCHEMA = pl.Schema({"date": pl.Date(), "asset": pl.String(), "assets_usd": pl.Float64()})

LOW, HIGH = 1e8, 1e12
"""Dollars; all of bitcoin's held 1.7e11 at their peak of October 2025."""
STEP = 2.0
OLDEST = 40 * DAY


def parse(body: bytes, now: Millis) -> pl.DataFrame:
    """A row per day and asset, as told.

    Raises:
        Rubbish: it is no such table, or a value in it is none.
    """
    header, rows = csv_of(body)
    day, asset, value = (column_of(header, name) for name in ("date", "asset", "assets_usd"))
    known = [row for row in rows if row[value].strip()]
    frame = pl.DataFrame(
        {
            "date": dates_of([row[day] for row in known], "%Y-%m-%d"),
            "asset": [row[asset].upper() for row in known],
            "assets_usd": [number_of(row[value], "assets_usd") for row in known],
        },
        schema=SCHEMA,
    )
    frame = dated(frame, now, oldest=OLDEST)
    within(frame, "assets_usd", LOW, HIGH, "USD")
    unique(frame, "date", "asset")
    for of in frame.partition_by("asset"):
        steady(of.sort("date"), "assets_usd", STEP)
    return frame.sort("date", "asset")


SOURCES = (
    Source(
        name="etf_assets", kind="etf_assets", title="Assets of the US spot ETFs (the operator's)",
        parse=parse, every_s=6 * 3600, max_age=40 * DAY, forget=30 * DAY,
        continuous=newest_within(3, ["assets_usd"], ["asset"]),
    ),
)  # fmt: skip
