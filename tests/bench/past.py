"""What three years of history cost: at the start, at a tick, and when a day closes."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import polars as pl
from history import ASSETS, END, VENUES as HISTORY_VENUES, fill
from market import VENUES, Monthly, instruments
from measure import Row, show

from monitor.app import remember, supply
from monitor.bars import BAR, Step
from monitor.history.store import Store
from monitor.ladder import DAY, HOUR, SECOND
from monitor.past import HISTORY_DAYS, Past
from monitor.phases import Thresholds
from monitor.views import Scope

TARGETS_MS = {10: 10.0, 500: 10.0, 6000: 25.0}
START_TARGET_S = 2.0


def section(rounds: int = 25) -> list[Row]:
    rows = _starts()
    for count, target in TARGETS_MS.items():
        rows += _ticks(count, target, rounds)
    show(f"past: {HISTORY_DAYS} days behind", rows)
    return rows


def _starts() -> list[Row]:
    """From the folder to the first answer: repair, read, average, phases."""
    scope = Scope(frozenset(f"venue_{n}" for n in range(HISTORY_VENUES)))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "history"
        fill(root, "day", END - HISTORY_DAYS * DAY)
        fill(root, "hour", END - 17 * DAY)
        taken, computed, closed = [], [], []
        for _ in range(3):
            began = perf_counter()
            with Store(root, writable=True) as store:
                before = remember(store, scope, END + HOUR)
            read = perf_counter()
            past = before.past(scope, Thresholds())
            taken.append(perf_counter() - began)
            computed.append(perf_counter() - read)
            closed.append(_close(past, before.hourly))
    pairs = HISTORY_VENUES * ASSETS
    if past.assessed["asset"].n_unique() != ASSETS or before.daily.height != HISTORY_DAYS * pairs:
        raise RuntimeError(f"{before.daily.height} days")
    return [
        Row(
            f"start: read and assess, {HISTORY_VENUES} x {ASSETS} markets", median(taken), START_TARGET_S, "s"
        ),
        Row("of it: aggregate, average, phases", median(computed), unit="s"),
        Row("a day closes", median(closed), unit="s CPU"),
    ]


def _close(past: Past, hourly: pl.DataFrame) -> float:
    """CPU of the minute that shows a day to be over: once a day, beside the event loop."""
    last = hourly.filter(pl.col("time") == pl.col("time").max())
    past.add(last.with_columns(time=pl.lit(END + DAY - 60_000)))
    began = process_time()
    past.add(last.with_columns(time=pl.lit(END + DAY)))
    return process_time() - began


def _ticks(count: int, target: float, rounds: int) -> list[Row]:
    plain, deep = Monthly(count), Monthly(count)
    deep.core.past = Past(
        frozenset(VENUES), Thresholds(), supply, _bars(count, deep.now, "day"), _bars(count, deep.now, "hour")
    )
    found: dict[str, list[float]] = {"plain": [], "deep": []}
    months: Mapping[str, Monthly] = {"plain": plain, "deep": deep}
    for _ in range(rounds):
        for name in random.sample(list(months), len(months)):
            month = months[name]
            month.now += SECOND
            month.apply(month.heard())
            began = process_time()
            month.evaluate()
            found[name].append(process_time() - began)
    known = deep.samples.looked.asset["average"].count() + deep.samples.looked.asset["percentile"].count()
    if known == 0:
        raise RuntimeError("the past said nothing")
    ratio = median(big / small for big, small in zip(found["deep"], found["plain"], strict=True))
    return [
        Row(f"tick with the past, {count} instruments", median(found["deep"]) * 1000, target, "ms CPU"),
        Row(f"beside the same tick without, {count} instruments", ratio),
    ]


def _bars(count: int, now: int, step: Step) -> pl.DataFrame:
    """Of the made-up instruments: levels that swing about what they say now."""
    midnight = now // DAY * DAY
    today = range(midnight, now // HOUR * HOUR, HOUR)
    times = range(midnight - HISTORY_DAYS * DAY, midnight, DAY) if step == "day" else today
    names = [
        (of.venue, of.asset, of.symbol, 100.0 + n % 50, 1e5 + n) for n, of in enumerate(instruments(count))
    ]
    schema = ("venue", "asset", "symbol", "close", "native")
    rows = pl.DataFrame({"time": times}, schema={"time": pl.Int64}).join(
        pl.DataFrame(names, schema=schema, orient="row"), how="cross"
    )
    swing = 1 + 0.1 * (pl.col("time") / DAY / 40).sin() + 0.01 * (pl.col("time") / DAY * 1.7).sin()
    return rows.with_columns(
        margin=pl.lit("linear"), native=pl.col("native") * swing, open="close", high="close", low="close",
        funding_8h=pl.lit(1e-4), long_usd=pl.lit(0.0), short_usd=pl.lit(0.0),
    ).with_columns(
        coins="native", usd=pl.col("native") * pl.col("close")
    ).select(pl.col(name).cast(dtype) for name, dtype in BAR.items())  # fmt: skip
