"""The newest state of every instrument, conflated, and the liquidations since the last tick.

Marks, funding and open interest are states: the last one counts. Liquidations are occurrences: all
are kept, once each. A row (slot) belongs to one symbol of one venue for the life of the process.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence

import msgspec
import polars as pl

from monitor.bus import Heard, Item
from monitor.events import (
    Funding,
    Index,
    Instrument,
    Liquidation,
    Mark,
    Millis,
    OpenInterest,
    VolatilityIndex,
)

AHEAD: Millis = 5_000
"""An event from further in the future than this is refused: its clock or ours is wrong."""
LATE: Millis = 60_000
"""A liquidation older than this when it arrives is a repetition of history, not news."""

STATE = {
    "mark": pl.Float64, "mark_time": pl.Int64, "index": pl.Float64, "index_time": pl.Int64,
    "rate": pl.Float64, "interval_s": pl.Int64, "rate_time": pl.Int64,
    "amount": pl.Float64, "amount_time": pl.Int64,
}  # fmt: skip
"""Columns of `Taken.state`: as the venue said it, with the venue's time."""
LIQUIDATIONS = {
    "slot": pl.UInt32, "long": pl.Boolean, "amount": pl.Float64, "price": pl.Float64,
}  # fmt: skip


class Taken(msgspec.Struct, frozen=True):
    """What a tick is computed from: a copy, so that reading can go on."""

    now: Millis
    version: int
    """Changes with `instruments`."""
    instruments: Sequence[Instrument]
    """By slot."""
    listed: Sequence[bool]
    """By slot: whether the venue still lists it."""
    unlisted_venues: frozenset[str]
    """Venues whose instruments have not been read yet."""
    state: pl.DataFrame
    """A row per slot, columns `STATE`; null where nothing was said yet."""
    liquidations: pl.DataFrame
    """Columns `LIQUIDATIONS`, in the order of arrival."""
    volatility: dict[str, tuple[float, Millis]]
    """Implied volatility by asset, with its time."""


class Tables:
    """Applies what is heard. `speed` is the market clock's: limits of age are market time."""

    def __init__(self, venues: Sequence[str], speed: float = 1.0) -> None:
        self._slots: dict[Instrument, int] = {}
        self._by_name: dict[tuple[str, str], int] = {}
        self._followers: dict[tuple[str, str], list[int]] = {}
        self._instruments: list[Instrument] = []
        self._listed: list[bool] = []
        self._unlisted = set(venues)
        self._version = 0
        self._state: dict[str, list[float | int | None]] = {name: [] for name in STATE}
        self._liquidations: list[tuple[int, bool, float, float | None]] = []
        self._seen: OrderedDict[tuple[object, ...], Millis] = OrderedDict()
        self._volatility: dict[str, tuple[float, Millis]] = {}
        self._ahead = int(AHEAD * speed)
        self._late = int(LATE * speed)
        self.refused: Counter[tuple[str, str]] = Counter()
        """Events refused so far, by venue and stage (`clock`, `late`, `repeated`)."""

    def apply(self, item: Item) -> None:
        """Takes a frame's events, or a venue's list of instruments, into account."""
        if type(item) is not Heard:
            self._list(item.venue, item.instruments)  # type: ignore[union-attr]
            return
        latest = item.received + self._ahead
        state = self._state
        for at, event in enumerate(item.events):
            time = event.time
            if time > latest:
                self.refused[item.venue, "clock"] += 1
                continue
            slot = self._slots.get(event.instrument)
            if slot is None:
                slot = self._slot(event.instrument)
            kind = type(event)
            if kind is Mark:
                if time >= (state["mark_time"][slot] or 0):
                    state["mark"][slot] = event.price  # type: ignore[union-attr]
                    state["mark_time"][slot] = time
                    if event.index_price is not None:  # type: ignore[union-attr]
                        state["index"][slot] = event.index_price  # type: ignore[union-attr]
                        state["index_time"][slot] = time
            elif kind is OpenInterest:
                if time >= (state["amount_time"][slot] or 0):
                    state["amount"][slot] = event.amount  # type: ignore[union-attr]
                    state["amount_time"][slot] = time
            else:
                self._other(event, slot, item, at)  # type: ignore[arg-type]

    def _other(
        self,
        event: Funding | Index | Liquidation | VolatilityIndex,
        slot: int,
        item: Heard,
        at: int,
    ) -> None:
        state, of = self._state, event.instrument
        match event:
            case Funding(_, time, rate, interval_s, _, "predicted"):
                if time >= (state["rate_time"][slot] or 0):
                    state["rate"][slot] = rate
                    state["interval_s"][slot] = interval_s or of.funding_interval_s
                    state["rate_time"][slot] = time
            case Index(_, time, price):
                alone = of.kind != "index"
                slots = [slot] if alone else self._followers.get((of.venue, of.symbol), [])
                for follower in slots:
                    if time >= (state["index_time"][follower] or 0):
                        state["index"][follower] = price
                        state["index_time"][follower] = time
            case Liquidation():
                self._liquidation(event, slot, item, at)
            case VolatilityIndex(_, time, value):
                if time >= self._volatility.get(of.asset, (0.0, 0))[1]:
                    self._volatility[of.asset] = value, time
            case _:
                pass  # a settled rate is history, not a state

    def _liquidation(self, event: Liquidation, slot: int, item: Heard, at: int) -> None:
        if event.time < item.received - self._late:
            self.refused[item.venue, "late"] += 1
            return
        # Without an identity of the venue's, two equal rows of one frame are two liquidations, and
        # the same frame sent again is the same two.
        key = (
            (slot, event.id)
            if event.id is not None
            else (slot, event.time, event.position, event.price, event.amount, _rank(item, at))
        )
        if key in self._seen:
            self.refused[item.venue, "repeated"] += 1
            return
        self._seen[key] = item.received
        while self._seen and next(iter(self._seen.values())) < item.received - 2 * self._late:
            self._seen.popitem(last=False)
        self._liquidations.append((slot, event.position == "long", event.amount, event.price))

    def _slot(self, of: Instrument) -> int:
        """The row of an instrument, made or found by name; what it said in other units is forgotten."""
        name = of.venue, of.symbol
        slot = self._by_name.get(name)
        if slot is None:
            slot = self._by_name[name] = len(self._instruments)
            self._instruments.append(of)
            self._listed.append(True)
            for column in self._state.values():
                column.append(None)
        elif not (before := self._instruments[slot]).same(of):
            for column in self._state.values():
                column[slot] = None
            self._slots.pop(before, None)
            self._instruments[slot] = of
        self._slots[of] = slot
        if of.index_symbol is not None:
            followers = self._followers.setdefault((of.venue, of.index_symbol), [])
            if slot not in followers:
                followers.append(slot)
        self._version += 1
        return slot

    def _list(self, venue: str, instruments: Sequence[Instrument]) -> None:
        slots = {self._slot(of) for of in instruments if self._slots.get(of) is None}
        slots |= {self._slots[of] for of in instruments}
        for slot, of in enumerate(self._instruments):
            if of.venue == venue and self._listed[slot] != (slot in slots):
                self._listed[slot] = slot in slots
                self._version += 1
        if venue in self._unlisted:
            self._unlisted.discard(venue)
            self._version += 1

    def take(self, now: Millis) -> Taken:
        """The state now, and the liquidations since the last call."""
        liquidations, self._liquidations = self._liquidations, []
        return Taken(
            now=now,
            version=self._version,
            instruments=tuple(self._instruments),
            listed=tuple(self._listed),
            unlisted_venues=frozenset(self._unlisted),
            state=pl.DataFrame(
                {name: pl.Series(column, dtype=STATE[name]) for name, column in self._state.items()}
            ),
            liquidations=pl.DataFrame(liquidations, schema=LIQUIDATIONS, orient="row"),
            volatility=dict(self._volatility),
        )


def _rank(item: Heard, at: int) -> int:
    """How many equal events stand before this one in its frame."""
    return sum(1 for other in item.events[:at] if other == item.events[at])
