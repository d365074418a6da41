"""Bars of the past from the facts that a venue told, and what the store still lacks of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import isfinite

import msgspec
import polars as pl

from monitor.archives.source import Candle, Fact, PastStep
from monitor.bars import BAR, STEPS
from monitor.events import Funding, Instrument, Mark, Millis, OpenInterest
from monitor.ladder import DAY, HOUR, MINUTE

LAST_PART = 12
"""A value is that of the close if it is of the last twelfth of the bar: two hours of a day."""
_EIGHT_HOURS = 8 * HOUR

Span = tuple[Millis, Millis]
"""From an opening time up to, and without, another."""


def bars(of: Instrument, step: PastStep, span: Span, facts: Iterable[Fact]) -> pl.DataFrame:
    """Bars of one instrument within a span, of facts in any order, repeated or from outside it.

    `native` and `coins` are those of the instant of the close, one side; `usd` is theirs at the close's
    price. `funding_8h` of a day is the mean of the rates that were paid for the time within it, each
    for as long as its interval, on a base of 8 hours: steadier than the last payment, and the same
    whether a venue pays hourly or three times a day; null if less than half the day is told. That of an
    hour is the rate of the payment that covers it. Liquidations are null.

    Returns:
        A table of `BAR`, by time. A row only where something is known.
    """
    length = STEPS[step]
    told = _sorted(facts, length)
    funding = _funding(told.payments, length)
    rows = []
    for time in range(span[0], span[1], length):
        price = told.prices.get(time)
        close = None if price is None else price.close / of.multiplier
        native, coins, usd = _amounts(of, told.held.get(time), close)
        rate = funding.get(time)
        if close is None and native is None and rate is None:
            continue
        ohlc = (None,) * 4 if price is None else tuple(
            value / of.multiplier for value in (price.open, price.high, price.low, price.close)
        )  # fmt: skip
        names = (time, of.venue, of.asset, of.symbol, of.margin)
        rows.append((*names, *ohlc, native, coins, usd, rate, None, None))
    return pl.DataFrame(rows, schema=BAR, orient="row")


class _Told(msgspec.Struct):
    """Prices and open interest by the bar that they are of, payments by their minute."""

    prices: dict[Millis, Candle] = {}
    held: dict[Millis, float] = {}
    payments: dict[Millis, Funding] = {}


def _sorted(facts: Iterable[Fact], length: Millis) -> _Told:
    candles: dict[Millis, Candle] = {}
    marks: dict[Millis, float] = {}
    amounts: dict[Millis, float] = {}
    payments: dict[Millis, Funding] = {}
    for fact in facts:
        match fact:
            case Candle():
                if fact.time % length == 0:
                    candles[fact.time] = fact
            case OpenInterest():
                if fact.amount > 0:
                    amounts[_minute(fact.time)] = fact.amount
            case Mark():
                marks[_minute(fact.time)] = fact.price
            case Funding():
                payments[_minute(fact.time)] = fact
    return _Told(candles | _sampled(marks, length), _at_close(amounts, length), payments)


def _sampled(marks: dict[Millis, float], length: Millis) -> dict[Millis, Candle]:
    """Candles of single prices, where one of them is of the close."""
    found: dict[Millis, Candle] = {}
    for time in sorted(marks):
        bar, price = _closes(time, length), marks[time]
        so_far = found.get(bar) or Candle(bar, price, price, price, price)
        found[bar] = Candle(bar, so_far.open, max(so_far.high, price), min(so_far.low, price), price)
    return {bar: found[bar] for bar in _at_close(marks, length)}


def _at_close(values: dict[Millis, float], length: Millis) -> dict[Millis, float]:
    """The last value of each bar, where it is of its close."""
    return {
        _closes(time, length): values[time]
        for time in sorted(values)
        if _near_close(time, _closes(time, length), length)
    }


def _minute(time: Millis) -> Millis:
    """Venues stamp what is of 08:00 some milliseconds, or a second, later."""
    return (time + MINUTE // 2) // MINUTE * MINUTE


def _closes(time: Millis, length: Millis) -> Millis:
    """The bar that an instant is in; the instant of its close belongs to it, that of its opening not."""
    return (time - 1) // length * length


def _near_close(time: Millis, bar: Millis, length: Millis) -> bool:
    return bar + length - time <= length // LAST_PART


def _amounts(
    of: Instrument, held: float | None, close: float | None
) -> tuple[float | None, float | None, float | None]:
    """Native amount, coins and dollars, one side, as `readings.py` makes them of live readings."""
    if held is None:
        return None, None, None
    native = held / of.oi_sides * (of.contract_size if of.oi_unit == "contracts" else 1.0)
    if of.margin == "inverse":
        return native, None if close is None else _finite(native / close), native
    coins = native * of.multiplier
    return coins, coins, None if close is None else _finite(coins * close)


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def _funding(payments: dict[Millis, Funding], length: Millis) -> dict[Millis, float]:
    """Rates on a base of 8 hours by bar."""
    times = sorted(payments)
    gaps = {later: later - earlier for earlier, later in pairwise(times)}
    following = {earlier: later - earlier for earlier, later in pairwise(times)}
    told: dict[Millis, list[tuple[float, Millis]]] = {}
    covering: dict[Millis, float] = {}
    for time in times:
        fact = payments[time]
        interval = (fact.interval_s or 0) * 1000
        if not interval:
            # The gap since the payment before, unless that one is missing.
            gap = gaps.get(time, following.get(time, _EIGHT_HOURS))
            interval = gap if gap <= _EIGHT_HOURS else following.get(time, _EIGHT_HOURS)
            interval = min(max(interval, HOUR), _EIGHT_HOURS)
        told.setdefault(_closes(time, length), []).append((fact.rate, interval))
        for bar in range(_closes(time, length), time - interval - length, -length):
            covering[bar] = fact.rate * _EIGHT_HOURS / interval
    if length < DAY:
        return covering
    return {
        bar: sum(rate for rate, _ in paid) * _EIGHT_HOURS / sum(interval for _, interval in paid)
        for bar, paid in told.items()
        if sum(interval for _, interval in paid) * 2 >= length
    }


def missing(times: Iterable[Millis], step: PastStep, span: Span) -> list[Span]:
    """The spans of bars that are not among these times, oldest first."""
    length, there = STEPS[step], set(times)
    found: list[Span] = []
    for time in range(span[0], span[1], length):
        if time in there:
            continue
        if found and found[-1][1] == time:
            found[-1] = (found[-1][0], time + length)
        else:
            found.append((time, time + length))
    return found


class Coverage(msgspec.Struct, frozen=True):
    """How much daily open interest there is of an asset on a venue."""

    venue: str
    asset: str
    days: int
    first: Millis | None
    last: Millis | None
    missing: tuple[Span, ...]
    """Up to the last complete day: what is before `first` too."""

    @property
    def holes(self) -> int:
        """Missing days after the first and before the last."""
        if self.first is None or self.last is None:
            return 0
        return (self.last - self.first) // DAY + 1 - self.days

    @property
    def gap(self) -> Span | None:
        """What is missing at the end: an outage that has just ended."""
        return self.missing[-1] if self.missing and self.last and self.missing[-1][0] > self.last else None


def needed(
    store: pl.DataFrame, now: Millis, days: int = 1095, pairs: Sequence[tuple[str, str]] = ()
) -> list[Coverage]:
    """What there is, and what is missing, of the days that an average needs.

    Args:
        store: daily bars.
        now: the time; the day that runs is not needed.
        days: length of the average.
        pairs: venues and assets that must be told of even if the store has none of them.

    Returns:
        One for each venue and asset, in order.
    """
    end = now // DAY * DAY
    span = (end - days * DAY, end)
    there: dict[tuple[str, str], list[Millis]] = {pair: [] for pair in pairs}
    known = store.filter(pl.col("native").is_not_null(), pl.col("time").is_between(*span, closed="left"))
    for (venue, asset), rows in known.group_by("venue", "asset"):
        there[str(venue), str(asset)] = sorted(set(rows["time"].to_list()))
    return [_coverage(venue, asset, times, span) for (venue, asset), times in sorted(there.items())]


def _coverage(venue: str, asset: str, times: Sequence[Millis], span: Span) -> Coverage:
    first, last = (times[0], times[-1]) if times else (None, None)
    return Coverage(venue, asset, len(times), first, last, tuple(missing(times, "day", span)))
