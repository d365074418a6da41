"""What three years of history cost: at the start, at a tick, and when a day closes."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from statistics import mean, median
from time import perf_counter, process_time

import polars as pl
from history import ASSETS, END, VENUES as HISTORY_VENUES, fill
from market import VENUES, Monthly, instruments
from measure import Row, show
from tick import CYCLE, TARGETS_MS, tick

from monitor.app import remember, supply
from monitor.bars import BAR, Step
from monitor.deleveraging.past import HISTORY_DAYS, Past
from monitor.deleveraging.phases import Thresholds
from monitor.events import Millis
from monitor.history.store import Store
from monitor.ladder import DAY, HOUR, MINUTE
from monitor.tick.views import Scope
from monitor.volatility.realized import REFERENCE, STEPS as REALIZED, Realized, reference

START_TARGET_S = 2.0


def section(rounds: int = 8) -> list[Row]:
    rows = [*_starts(), *_ticks(rounds), *_hour()]
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


def _ticks(rounds: int) -> list[Row]:
    """Of each size with the past and without, in turn."""
    plain = {count: Monthly(count) for count in TARGETS_MS}
    deep = {count: _deep(count) for count in TARGETS_MS}
    kinds = [(deep, count) for count in TARGETS_MS] + [(plain, count) for count in TARGETS_MS]
    found: dict[int, list[float]] = {id(of[count]): [] for of, count in kinds}
    for _ in range(rounds):
        for of, count in random.sample(kinds, len(kinds)):
            found[id(of[count])].append(mean(tick(of[count])[1] for _ in range(CYCLE)))

    def ratio(big: Monthly, small: Monthly) -> float:
        return median(one / other for one, other in zip(found[id(big)], found[id(small)], strict=True))

    for month in deep.values():
        asset = month.samples.looked.asset
        if asset["average"].count() + asset["percentile"].count() == 0:
            raise RuntimeError("the past said nothing")
    rows = []
    for count, target in TARGETS_MS.items():
        name = f"tick with the past, {count} instruments, mean of {CYCLE} ticks"
        rows.append(Row(name, median(found[id(deep[count])]) * 1000, target, "ms CPU"))
        rows.append(
            Row(f"beside the same tick without, {count} instruments", ratio(deep[count], plain[count]))
        )
    rows.append(
        Row("tick of 6000 / tick of 500 instruments, with the past", ratio(deep[6000], deep[500]), 4.0)
    )
    return rows


def _deep(count: int) -> Monthly:
    month = Monthly(count)
    days, hours = (_bars(count, month.now, step) for step in ("day", "hour"))
    month.core.past = Past(frozenset(VENUES), Thresholds(), supply, days, hours)
    return month


def _hour(count: int = 6000) -> list[Row]:
    """Closing the minutes of an hour: realised volatility of all windows, with what they need behind."""
    end = END // DAY * DAY
    minute = _bars(count, end, "day").filter(pl.col("time") == end - DAY)
    known = reference(minute).drop("time")
    times = pl.DataFrame({"time": pl.int_range(end - DAY, end, MINUTE, eager=True)})
    prices = pl.col("open", "high", "low", "close")
    minutes = times.join(known, how="cross").with_columns(
        prices * _wave(MINUTE)
    ).select(*REFERENCE)  # fmt: skip
    hours = pl.DataFrame({"time": pl.int_range(end - 9 * DAY, end, HOUR, eager=True)})
    realized = Realized(
        _bars(count, end, "day"),
        hours.join(minute.drop("time"), how="cross").with_columns(prices * _wave(HOUR)).select(*BAR),
        minutes,
    )
    closing = []
    for number in range(60):
        time = end + number * MINUTE
        bars = minute.with_columns(time=pl.lit(time)).with_columns(prices * _wave(MINUTE))
        began = process_time()
        realized.minute(bars, time)
        closing.append(process_time() - began)
    windows = realized.shown(time + MINUTE)[0]["window"].n_unique()
    if windows != sum(map(len, REALIZED.values())):
        raise RuntimeError(f"{windows} windows had values")
    return [
        Row(f"realised volatility: an hour of {count} instruments, a second", sum(closing) / 3600 * 1000,
            TARGETS_MS[count], "ms CPU"),
        Row("the longest of its minutes", max(closing) * 1000, unit="ms CPU"),
    ]  # fmt: skip


def _wave(step: Millis) -> pl.Expr:
    """Prices that move from bar to bar."""
    return 1 + 0.001 * (pl.col("time") // step % 7)


def _bars(count: int, now: int, step: Step) -> pl.DataFrame:
    """Of the made-up instruments: levels that swing about what they say now."""
    midnight = now // DAY * DAY
    today = range(midnight, now // HOUR * HOUR, HOUR)
    times = range(midnight - HISTORY_DAYS * DAY, midnight, DAY) if step == "day" else today
    names = [(of.venue, of.asset, of.symbol, 100.0, 1e5 + n) for n, of in enumerate(instruments(count))]
    schema = ("venue", "asset", "symbol", "close", "native")
    rows = pl.DataFrame({"time": times}, schema={"time": pl.Int64}).join(
        pl.DataFrame(names, schema=schema, orient="row"), how="cross"
    )
    swing = 1 + 0.1 * (pl.col("time") / DAY / 40).sin() + 0.01 * (pl.col("time") / DAY * 1.7).sin()
    return rows.with_columns(close=pl.col("close") * _wave(DAY)).with_columns(
        margin=pl.lit("linear"), native=pl.col("native") * swing, open="close", high="close", low="close",
        funding_8h=pl.lit(1e-4), long_usd=pl.lit(0.0), short_usd=pl.lit(0.0),
    ).with_columns(
        coins="native", usd=pl.col("native") * pl.col("close")
    ).select(pl.col(name).cast(dtype) for name, dtype in BAR.items())  # fmt: skip
