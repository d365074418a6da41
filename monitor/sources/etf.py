"""Daily flows of the US spot ETFs, in the two shapes in which tables of them are public.

Farside's: a row a day, a column a fund, millions of dollars, `(50.4)` is negative, `-` is not reported yet.
CoinGlass's: day, fund, dollars (venues.md section 18.5, methodology section 5). Not reported is not zero.
The pages themselves forbid robots, so it is the operator's file, or the address of a paid interface.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec
import polars as pl

from monitor.events import Millis
from monitor.sources.body import column_of, csv_of, dates_of, is_json, json_of, moments, number_of
from monitor.sources.source import (
    DAY,
    Parser,
    Rubbish,
    Source,
    dated,
    overlap_within,
    say,
    unique,
    within,
)

SCHEMA = pl.Schema({"date": pl.Date(), "asset": pl.String(), "fund": pl.String(), "flow_usd": pl.Float64()})
"""US trade date. Fund `TOTAL` is the day's sum, unknown while a fund has not reported."""

TOTAL = "TOTAL"
MOST = 10e9
"""Dollars that one fund may move in a day; three times the record of all together."""
LEAST = 10_000.0
"""The largest flow of a table in dollars is more: the funds themselves count in tenths of millions."""
AGREE = 1_000_000.0
"""Dollars by which a total may differ from the sum of its funds."""
CONTRADICTIONS = 0.02
"""Share of past days whose total may contradict its funds, as CoinGlass's do; those days have none."""
ALIVE = 10
"""Days of a table, back from its newest: a fund that reported in them is expected to report again."""
OLDEST = 40 * DAY

TICKER = re.compile(r"[A-Z]{2,5}")
UNREPORTED = ("", "-", "\N{EN DASH}", "n/a")
SUMMARIES = {"total", "average", "maximum", "minimum", "fee", "seed", "staking"}
"""Rows of Farside's table that are no days."""
FORMS = ("%Y-%m-%d", "%d %b %Y")

Cell = tuple[str, str, float | None]
"""Day, fund, dollars."""


def _millions(text: str) -> float | None:
    if text.lower() in UNREPORTED:
        return None
    sign = 1.0
    if text.startswith("(") and text.endswith(")"):
        sign, text = -1.0, text[1:-1]
        if text.startswith("-"):
            raise Rubbish(f"flow: not a number: '({text[:38]})'")
    return round(sign * number_of(text, "flow") * 1e6)


def _wide(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterable[Cell]:
    """Farside's, read by header: new funds are new columns."""
    day, total = column_of(header, "date"), column_of(header, "total")
    for place, column in enumerate(header):
        if place not in (day, total) and not TICKER.fullmatch(column):
            raise Rubbish(f"unknown column {column[:40]!r}")
    for row in rows:
        if row[day].lower() in SUMMARIES:
            continue
        for place, cell in enumerate(row):
            if place != day:
                yield row[day], TOTAL if place == total else header[place], _millions(cell)


def _long(header: Sequence[str], rows: Sequence[Sequence[str]], asset: str) -> Iterable[Cell]:
    """CoinGlass's as CSV: `date,asset,fund,flow_usd`; without `asset` all rows are of ours."""
    day, fund = column_of(header, "date"), column_of(header, "fund")
    flow = column_of(header, "flow_usd")
    of = column_of(header, "asset") if "asset" in [name.lower() for name in header] else None
    for row in rows:
        if of is None or row[of].upper() == asset:
            text = row[flow]
            known = text.lower() not in UNREPORTED
            yield row[day], _fund(row[fund]), number_of(text, "flow_usd") if known else None


def _fund(name: str) -> str:
    if not TICKER.fullmatch(name.upper()):
        raise Rubbish(f"unknown fund {name[:40]!r}")
    return name.upper()


class Flow(msgspec.Struct):
    """A fund's flow; left out where it has not reported."""

    etf_ticker: str
    flow_usd: float | None = None


class Day(msgspec.Struct):
    """A day of CoinGlass's history."""

    timestamp: int
    flow_usd: float | None = None
    etf_flows: list[Flow] = []


class History(msgspec.Struct):
    """CoinGlass's answer; `code` other than 0 is a refusal."""

    code: str
    msg: str = ""
    data: list[Day] = []


_history = msgspec.json.Decoder(History, strict=False)


class Row(msgspec.Struct):
    """A row of a plain list."""

    date: str
    fund: str
    flow_usd: float | None = None
    asset: str | None = None


_list = msgspec.json.Decoder(list[Row])


def _json(body: bytes, asset: str) -> Iterable[Cell]:
    if body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"[":
        for row in json_of(body, _list):
            if row.asset is None or row.asset.upper() == asset:
                yield row.date, _fund(row.fund), row.flow_usd
        return
    said = json_of(body, _history)
    if said.code != "0":
        raise Rubbish(f"refused: {said.code} {said.msg}")
    for day in said.data:
        if not 0 <= day.timestamp < 1 << 43:
            raise Rubbish(f"not a time in milliseconds: {day.timestamp}")
    texts = moments([day.timestamp for day in said.data]).dt.strftime("%Y-%m-%d").to_list()
    for text, day in zip(texts, said.data, strict=True):
        yield text, TOTAL, day.flow_usd
        for flow in day.etf_flows:
            yield text, _fund(flow.etf_ticker), flow.flow_usd


def _flows(asset: str) -> Parser:
    def parse(body: bytes, now: Millis) -> pl.DataFrame:
        strict = False
        if is_json(body):
            cells = list(_json(body, asset))
        else:
            header, rows = csv_of(body)
            strict = "fund" not in [name.lower() for name in header]
            cells = list(_wide(header, rows) if strict else _long(header, rows, asset))
        if not cells:
            raise Rubbish(f"no rows for {asset}")
        frame = pl.DataFrame(
            {
                "date": dates_of([day for day, _, _ in cells], *FORMS),
                "asset": asset,
                "fund": [fund for _, fund, _ in cells],
                "flow_usd": pl.Series([flow for _, _, flow in cells], dtype=pl.Float64),
            },
            schema=SCHEMA,
        )
        return _checked(frame, now, strict=strict)

    return parse


def _checked(frame: pl.DataFrame, now: Millis, *, strict: bool) -> pl.DataFrame:
    frame = dated(frame.filter(pl.col("date").dt.weekday() <= 5), now, oldest=OLDEST)  # noqa: PLR2004
    unique(frame, "date", "fund")
    within(frame, "flow_usd", -MOST, MOST, "USD a day")
    largest = frame["flow_usd"].abs().max()
    if largest is None:
        raise Rubbish("no rows with a value")
    if 0 < largest < LEAST:  # type: ignore[operator]
        raise Rubbish(f"unit: the largest flow is {say(largest)} USD: millions where dollars belong?")  # type: ignore[arg-type]
    frame = _totals(frame, strict=strict)
    if frame.filter(pl.col("fund") == TOTAL)["flow_usd"].is_null().all():
        raise Rubbish("no rows with a total")
    return frame


def _totals(frame: pl.DataFrame, *, strict: bool) -> pl.DataFrame:
    """Totals that are known: told or summed, complete, and not contradicted by their funds."""
    funds = frame.filter(pl.col("fund") != TOTAL)
    if not len(funds):
        raise Rubbish("no rows of single funds")
    days = _days(funds, frame.filter(pl.col("fund") == TOTAL).select("date", told="flow_usd"))
    newest = days["date"][-1]
    if not _complete(days):
        open_day = pl.col("date") == newest
        days = days.with_columns(
            pl.when(~open_day).then(name).alias(name) for name in ("total", "apart")
        )  # fmt: skip
    _contradicted(days, strict=strict)
    totals = days.select(
        "date", asset=pl.lit(frame["asset"][0]), fund=pl.lit(TOTAL),
        flow_usd=pl.when(pl.col("apart").not_().fill_null(True)).then("total"),
    )  # fmt: skip
    return pl.concat([funds.join(days, on="date", how="semi"), totals]).sort("date", "fund")


def _days(funds: pl.DataFrame, told: pl.DataFrame) -> pl.DataFrame:
    """A row a day: who reported, their `sum`, the `total`, and whether the two are `apart`."""
    days = (
        funds.group_by("date")
        .agg(
            pl.col("flow_usd").sum().alias("sum"),
            pl.col("fund").filter(pl.col("flow_usd").is_not_null()).alias("reported"),
        )
        .join(told, on="date", how="full", coalesce=True)
        .sort("date")
    )
    some = (pl.col("reported").list.len() > 0).fill_null(False)
    # CoinGlass says zero of a day on which no fund reported: a holiday, or not reported yet.
    nothing = ~some & (pl.col("told") == 0)
    holiday = nothing & (pl.col("date") < pl.col("date").filter(some).max())
    return (
        days.with_columns(
            pl.col("sum").fill_null(0.0),
            total=pl.when(some).then(pl.coalesce("told", "sum")).when(~nothing).then("told"),
        )
        .filter(~holiday.fill_null(False))
        .with_columns(apart=(pl.col("total") - pl.col("sum")).abs() > AGREE)
    )


def _complete(days: pl.DataFrame) -> bool:
    """Whether every fund that is alive has reported on the newest day."""
    reported = [set(funds or ()) for funds in days["reported"].tail(ALIVE).to_list()]
    return set().union(*reported) == reported[-1]


def _contradicted(days: pl.DataFrame, *, strict: bool) -> None:
    """Refuses a table whose totals are not those of its funds, but for a few past days of CoinGlass's."""
    wrong = days.filter("apart")
    if not len(wrong):
        return
    one = wrong.row(-1, named=True)
    if strict or one["date"] == days["date"][-1] or len(wrong) > CONTRADICTIONS * len(days):
        raise Rubbish(
            f"{one['date']}: the total {say(one['total'] / 1e6)} m$ differs from the sum of its funds,"
            f" {say(one['sum'] / 1e6)} m$: a column is missing"
        )


bitcoin = _flows("BTC")
ether = _flows("ETH")


def _source(name: str, title: str, parse: Parser) -> Source:
    return Source(
        name=name, kind="etf", title=title, parse=parse, every_s=3600, max_age=6 * DAY,
        continuous=overlap_within(3, "flow_usd", ["date", "fund"]), forget=30 * DAY,
        known=(pl.col("fund") == TOTAL) & pl.col("flow_usd").is_not_null(),
        key="optional", key_header="CG-API-KEY",
    )  # fmt: skip


SOURCES = (
    _source("etf_btc", "Flows of the US spot bitcoin ETFs (the operator's)", bitcoin),
    _source("etf_eth", "Flows of the US spot ether ETFs (the operator's)", ether),
)
