"""GVZ, Cboe's implied volatility of gold, daily: from Cboe's own history, or from FRED's copy.

Formats: venues.md section 18.7. Both say per cent a year; here it is a fraction.
"""

from __future__ import annotations

import polars as pl

from monitor.events import Millis
from monitor.sources.body import column_of, csv_of, dates_of, number_of
from monitor.sources.source import DAY, Parser, Source, dated, newest_within, steady, unique, within

SCHEMA = pl.Schema({"date": pl.Date(), "value": pl.Float64()})

LOW, HIGH = 4.0, 150.0
"""Per cent; from 2008 to 2026 it was between 8 and 65."""
STEP = 3.0
OLDEST = 40 * DAY
MISSING = ("", ".")


def _gvz(column: str, dates: tuple[str, ...], form: str) -> Parser:
    def parse(body: bytes, now: Millis) -> pl.DataFrame:
        header, rows = csv_of(body)
        day, value = column_of(header, *dates), column_of(header, column)
        known = [(row[day], number_of(row[value], column)) for row in rows if row[value] not in MISSING]
        frame = pl.DataFrame(
            {"date": dates_of([day for day, _ in known], form), "value": [value for _, value in known]},
            schema=SCHEMA,
        )
        frame = dated(frame, now, oldest=OLDEST)
        within(frame, "value", LOW, HIGH, "% a year")
        unique(frame, "date")
        steady(frame, "value", STEP)
        return frame.with_columns(pl.col("value") / 100)

    return parse


cboe = _gvz("GVZ", ("DATE",), "%m/%d/%Y")
"""`DATE,GVZ`, the day as `09/28/2026`."""
fred = _gvz("GVZCLS", ("observation_date", "DATE"), "%Y-%m-%d")
"""`observation_date,GVZCLS` (older: `DATE,GVZCLS`); a point or nothing where there was no value."""

_JUMP = newest_within(3, ["value"])

SOURCES = (
    Source(
        name="gvz", kind="gvz", title="Gold's implied volatility (Cboe)", parse=cboe, default=True,
        url="https://cdn.cboe.com/api/global/us_indices/daily_prices/GVZ_History.csv",
        every_s=3 * 3600, max_age=6 * DAY, continuous=_JUMP, forget=30 * DAY,
    ),
    Source(
        name="gvz_fred", kind="gvz", title="Gold's implied volatility (FRED)", parse=fred,
        url="https://fred.stlouisfed.org/graph/fredgraph.csv?id=GVZCLS",
        every_s=6 * 3600, max_age=7 * DAY, continuous=_JUMP, forget=30 * DAY,
    ),
)  # fmt: skip
