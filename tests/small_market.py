"""A small market for the tests of the core: instruments, and what they say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import polars as pl

from monitor.bars import BAR
from monitor.bus import Heard, Listed
from monitor.clock import Clock
from monitor.deleveraging.past import Past
from monitor.events import Event, Funding, Instrument, Liquidation, Mark, Millis, OpenInterest, Position
from monitor.metrics import METRICS
from monitor.serve import Board
from monitor.tick.compute import Core, Samples
from monitor.tick.views import Scope

T0 = 1_790_755_200_000
VENUES = ("a", "b", "c", "d", "e")
FEEDS = {"a": "complete", "b": "throttled", "c": "complete", "d": "complete", "e": "none"}
COINS = {"a": 50_000.0, "b": 30_000.0, "c": 20_000.0, "d": 15_000.0, "e": 10_000.0}
"""Open interest of BTC in coins: 125,000 in all, no venue above 40 %."""
PRICE = 80_000.0


def instrument(venue: str, symbol: str = "BTCUSDT", asset: str = "BTC", **more: object) -> Instrument:
    return Instrument(venue=venue, symbol=symbol, asset=asset, funding_interval_s=28_800, **more)  # type: ignore[arg-type]


class Small:
    """Five venues with one instrument each, a tick a second unless told otherwise."""

    def __init__(
        self, venues: Sequence[str] = VENUES, listed: Sequence[str] = VENUES, past: Past | None = None,
        recent: pl.DataFrame | None = None,
    ) -> None:  # fmt: skip
        self.core = Core(METRICS, Scope(frozenset(venues)), FEEDS, venues, past, recent)
        self.of = {venue: instrument(venue) for venue in VENUES}
        self.now = T0
        for venue in listed:
            self.core.apply(Listed(venue, T0 - 1, (self.of[venue],)))

    def say(self, venue: str, *events: Event) -> None:
        self.core.apply(Heard(venue, self.now, events))

    def quote(self, venue: str, price: float = PRICE, coins: float | None = None, rate: float = 1e-4) -> None:
        of, amount = self.of[venue], COINS[venue] if coins is None else coins
        self.say(
            venue,
            Mark(of, self.now, price, price),
            OpenInterest(of, self.now, amount),
            Funding(of, self.now, rate, None, None),
        )

    def liquidate(self, venue: str, position: Position, amount: float, at: int | None = None) -> None:
        self.say(
            venue,
            Liquidation(self.of[venue], self.now if at is None else at, position, PRICE, amount),
        )

    def tick(self, seconds: float = 1.0) -> Samples:
        self.now += int(seconds * 1000)
        return self.core.evaluate(self.core.take(self.now))

    def run(self, seconds: int, silent: Sequence[str] = (), price: float = PRICE, step: int = 20) -> Samples:
        """Everyone but the silent repeats itself every step."""
        for _ in range(0, seconds, step):
            for venue in VENUES:
                if venue not in silent:
                    self.quote(venue, price)
            samples = self.tick(step)
        return samples


class Patient(Clock):
    """A fast clock that waits for the monitor where the machine is busy, so that no tick is left out."""

    def __init__(self, start: Millis, speed: float, tick_seconds: float) -> None:
        super().__init__(start, speed)
        self._step = int(tick_seconds * 1000 * speed)
        self._done = self._held = self._most = 0
        self.board: Board | None = None
        """Of the monitor that is waited for, from its first tick on."""

    def now(self) -> Millis:
        now = super().now() - self._held
        if self.board is None or self.board.samples is None:
            return now
        if (newest := self.board.samples.now) != self._done:
            # The monitor asks for the time before anybody else does, and chooses the same instant as next.
            most = self._most if self._done else now
            self._held += max(0, now - most)
            now = min(now, most)
            self._done, self._most = newest, (now // self._step + 1) * self._step
        self._held += max(0, now - self._most)
        return min(now, self._most)


SUPPLY = 20e6
"""Coins of BTC, for ever."""


def supply(asset: str, _time: int) -> float | None:
    return SUPPLY if asset == "BTC" else None


def swing(day: float) -> float:
    """Log of leverage about its average: half a year long, and a shiver."""
    return 0.08 * math.sin(2 * math.pi * day / 180) + 0.003 * math.sin(day * 1.7)


def funding(day: float) -> float:
    return 1e-4 * (1 + 0.5 * math.sin(day / 11))


def bars(
    opens: Iterable[int], length: int, leverage: Callable[[float, str], float],
    price: Callable[[float], float] = lambda _: PRICE, venues: Sequence[str] = VENUES,
) -> pl.DataFrame:  # fmt: skip
    """Bars of the five venues; levels are functions of the days between their close and `T0`."""
    rows = []
    for time in opens:
        at = (time + length - T0) / 86_400_000
        for venue in venues:
            coins = COINS[venue] * math.exp(leverage(at, venue))
            usd = coins * price(at)
            flow = None if FEEDS[venue] == "none" else usd * 0.001 * length / 86_400_000
            rows.append(
                (time, venue, "BTC", "BTCUSDT", "linear", price(at), price(at), price(at), price(at),
                 coins, coins, usd, funding(at), flow, flow)
            )  # fmt: skip
    return pl.DataFrame(rows, schema=BAR, orient="row")


def value(samples: Samples, name: str, **labels: str) -> float | None:
    """The one sample of a metric with these labels; None if there is none."""
    family = next(family for family in samples.families if family.metric.name == name)
    found = [
        number
        for row, number in zip(family.labels.iter_rows(named=True), family.values.to_list(), strict=True)
        if all(row[key] == wanted for key, wanted in labels.items())
    ]
    assert len(found) <= 1
    number = found[0] if found else None
    assert number is None or isinstance(number, float)
    return number
