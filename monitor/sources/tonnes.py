"""Private gold in tonnes, for who has newer figures than the shipped table: the same form, checked the same.

World Gold Council's "bars and coins (including gold-backed ETFs)" at each year's end, and the flows that
were published since (methodology section 1.4). Central banks, jewellery and other uses are not in it.
"""

from __future__ import annotations

from typing import Any

import msgspec
import polars as pl

from monitor.events import Millis
from monitor.macro.valuation import Flow, GoldTable, Stock, TableError, read_gold_table
from monitor.sources.body import text_of
from monitor.sources.source import DAY, Rubbish, Source, dated, newest_within, say, unique, within

SCHEMA = pl.Schema(
    {
        "date": pl.Date(), "kind": pl.String(), "tonnes": pl.Float64(), "begin": pl.Date(),
        "published": pl.Date(), "source": pl.String(),
    }
)  # fmt: skip
"""`kind`: `stock`, held at the date; `flow`, added from `begin` to the date."""

LOW, HIGH = 10_000.0, 250_000.0
"""Tonnes; all gold ever mined is 220,000."""
FLOW_MOST = 10_000.0
OLDEST = 400 * DAY
"""A year's stock comes out at the end of January."""


def table(body: bytes, now: Millis) -> pl.DataFrame:
    """TOML with `[[stock]]` and `[[flow]]`, as `monitor/data/gold_tonnes.toml`."""
    text = text_of(body, "TOML")
    try:
        _negative(msgspec.toml.decode(text))
        said = read_gold_table(text)
    except (TableError, msgspec.DecodeError, RecursionError) as error:
        raise Rubbish(str(error) or "no TOML: nested too deeply") from None
    rows = [(one.as_of, "stock", one.tonnes, None, one.published, one.source) for one in said.stock]
    rows += [(one.end, "flow", one.tonnes, one.begin, one.published, one.source) for one in said.flow]  # type: ignore[misc]
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    stocks = _stocks(frame)
    dated(stocks, now, oldest=OLDEST)
    within(stocks, "tonnes", LOW, HIGH, "tonnes")
    within(frame, "tonnes", -FLOW_MOST, HIGH, "tonnes")
    unique(frame, "date", "kind")
    return dated(frame, now, oldest=OLDEST)


def _negative(said: Any) -> None:
    stocks = said.get("stock")
    for one in stocks if isinstance(stocks, list) else ():
        tonnes = one.get("tonnes") if isinstance(one, dict) else None
        if isinstance(tonnes, int | float) and tonnes < 0:
            raise Rubbish(f"negative tonnes: {say(tonnes)} at {one.get('as_of')}")


def _stocks(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("kind") == "stock")


def as_table(frame: pl.DataFrame) -> GoldTable:
    """The frame as `valuation.gold_tonnes` reads it."""
    rows = list(frame.iter_rows(named=True))
    return GoldTable(
        version="the operator's",
        stock=[
            Stock(row["date"], row["tonnes"], row["published"], row["source"])
            for row in rows
            if row["kind"] == "stock"
        ],
        flow=[
            Flow(row["begin"], row["date"], row["tonnes"], row["published"], row["source"])
            for row in rows
            if row["kind"] == "flow"
        ],
    )


_steady = newest_within(1.25, ["tonnes"])


def _continuous(old: pl.DataFrame, new: pl.DataFrame) -> None:
    _steady(_stocks(old), _stocks(new))


SOURCES = (
    Source(
        name="gold_tonnes", kind="gold_tonnes", title="Private gold (the operator's)", parse=table,
        every_s=24 * 3600, max_age=OLDEST, continuous=_continuous, forget=OLDEST,
        known=pl.col("kind") == "stock",
    ),
)  # fmt: skip
