"""CME's weekly open interest, as the CFTC reports it: Traders in Financial Futures, futures only.

Dataset `gpe5-46if` of the CFTC's public reporting API (venues.md section 18.3). It counts each contract
once. Positions as of a Tuesday are released on the Friday after, 15:30 in New York, at the earliest:
holidays shift it, shutdowns of the government leave gaps of weeks.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import polars as pl

from monitor.events import Millis
from monitor.sources.body import dates_of, is_json, json_of, text_of
from monitor.sources.source import DAY, Rubbish, Source, dated, newest_within, unique, within

CONTRACTS = {"133741": ("BTC", 5.0), "133742": ("BTC", 0.1), "146021": ("ETH", 50.0), "146022": ("ETH", 0.1)}
"""Market code → asset and coins of one contract: standard and micro of each."""

SPREADS = {
    "dealer_spread": "dealer_positions_spread",
    "asset_mgr_spread": "asset_mgr_positions_spread",
    "lev_money_spread": "lev_money_positions_spread",
    "other_spread": "other_rept_positions_spread",
}
"""Contracts held in calendar spreads, by class of trader. Some columns end in `_all`: both are read."""

SCHEMA = pl.Schema({
    "report_date": pl.Date(), "code": pl.String(), "open_interest": pl.Float64(),
    **dict.fromkeys(SPREADS, pl.Float64()), "released": pl.Datetime("ms", "UTC"),
})  # fmt: skip
"""Contracts. `released`: when it could be known at the earliest; do not use it before."""

MOST = 10_000_000
"""Contracts; ten times what CME ever had in any of them."""
OLDEST = 100 * DAY

Count = Annotated[str, msgspec.Meta(pattern=r"^-?\d{1,12}(\.0+)?$")]


class Report(msgspec.Struct):
    """A row. Values are strings, and a value that is unknown is left out."""

    report_date_as_yyyy_mm_dd: str
    cftc_contract_market_code: str
    open_interest_all: Count
    dealer_positions_spread: Count | None = None
    asset_mgr_positions_spread: Count | None = None
    lev_money_positions_spread: Count | None = None
    other_rept_positions_spread: Count | None = None
    dealer_positions_spread_all: Count | None = None
    asset_mgr_positions_spread_all: Count | None = None
    lev_money_positions_spread_all: Count | None = None
    other_rept_positions_spread_all: Count | None = None


class Refusal(msgspec.Struct):
    """What stands in place of the rows."""

    message: str


_reports = msgspec.json.Decoder(list[Report])
_refusal = msgspec.json.Decoder(Refusal)


def tff(body: bytes, now: Millis) -> pl.DataFrame:
    """Rows of the dataset, of our four contracts; others are left out."""
    if is_json(body) and text_of(body, "JSON").lstrip()[0] == "{":
        raise Rubbish(f"refused: {json_of(body, _refusal).message}")
    rows = [row for row in json_of(body, _reports) if row.cftc_contract_market_code in CONTRACTS]
    days = [row.report_date_as_yyyy_mm_dd.removesuffix("T00:00:00.000") for row in rows]
    frame = pl.DataFrame(
        {
            "report_date": dates_of(days, "%Y-%m-%d"),
            "code": [row.cftc_contract_market_code for row in rows],
            "open_interest": [float(row.open_interest_all) for row in rows],
        }
        | {name: [_spread(row, field) for row in rows] for name, field in SPREADS.items()},
        schema={name: kind for name, kind in SCHEMA.items() if name != "released"},
    ).with_columns(released())
    return _checked(frame, now)


def _spread(row: Report, field: str) -> float | None:
    text: str | None = getattr(row, field)
    if text is None:
        text = getattr(row, f"{field}_all")
    return None if text is None else float(text)


def released(report_date: str = "report_date") -> pl.Expr:
    """Friday of the report's week, 15:30 in New York."""
    day = pl.col(report_date)
    return (
        (day + pl.duration(days=5 - day.dt.weekday().cast(pl.Int64)))
        .cast(pl.Datetime("ms"))
        .dt.offset_by("15h30m")
        .dt.replace_time_zone("America/New_York")
        .dt.convert_time_zone("UTC")
        .alias("released")
    )


def _checked(frame: pl.DataFrame, now: Millis) -> pl.DataFrame:
    frame = dated(frame, now, oldest=OLDEST)
    for code in CONTRACTS:
        if not len(frame.filter(pl.col("code") == code)):
            raise Rubbish(f"no rows of contract {code}")
    within(frame, "open_interest", 0, MOST, "contracts")
    for name, field in SPREADS.items():
        if frame[name].is_null().all():
            raise Rubbish(f"column {field!r} is missing")
        within(frame, name, 0, MOST, "contracts")
    unique(frame, "report_date", "code")
    more = frame.filter(pl.sum_horizontal(*SPREADS) > pl.col("open_interest"))
    if len(more):
        raise Rubbish(f"more spreads than open interest in {more['code'][0]} on {more['report_date'][0]}")
    return frame


_CODES = ",".join(f"%27{code}%27" for code in CONTRACTS)

SOURCES = (
    Source(
        name="cftc", kind="cftc", title="CME open interest, weekly", parse=tff, default=True,
        url="https://publicreporting.cftc.gov/resource/gpe5-46if.json"
        f"?$where=cftc_contract_market_code%20in({_CODES})"
        "&$order=report_date_as_yyyy_mm_dd%20DESC&$limit=1000",
        every_s=2 * 3600, max_age=14 * DAY,
        continuous=newest_within(4, ["open_interest"], ["code"]), forget=45 * DAY,
        by=("code",),
    ),
)  # fmt: skip
