"""The facts that venues tell, and the instrument that each fact is about.

An event repeats what one message said, in the venue's own units. Whatever needs two messages
(dollars need a price) is a join, done once for all venues in `views.py`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Millis: TypeAlias = int
"""Milliseconds since 1970-01-01 UTC. Seconds occur only in what Prometheus sees."""

Unit = Literal["contracts", "coins", "usd"]
Margin = Literal["linear", "inverse"]
Position = Literal["long", "short"]
Kind = Literal["perpetual", "future", "option", "index", "volatility"]


class Instrument(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What is traded under one symbol of one venue, and how its numbers are to be read.

    Two instruments are compared by identity, which makes the lookup of an event's row cheap; use
    `same` to compare what they say.
    """

    venue: str
    symbol: str
    """The venue's own name."""
    asset: str
    """BTC, ETH, …; the coin itself where the symbol trades a multiple of it (`1000PEPE` → PEPE)."""
    kind: Kind = "perpetual"
    margin: Margin = "linear"
    """`linear`: settled in dollars, counted in coins. `inverse`: settled in coins, counted in dollars."""
    quote: str = "USD"
    contract_size: float = 1.0
    """One contract: coins if linear, dollars if inverse."""
    multiplier: float = 1.0
    """Coins that one quoted price is the price of: 1000 for `1000PEPE`."""
    oi_unit: Unit = "coins"
    """Unit of an `OpenInterest.amount`."""
    oi_sides: Literal[1, 2] = 1
    """2 where the venue adds longs and shorts; `views.py` divides by it."""
    oi_sides_reason: str = ""
    """Evidence for `oi_sides`, as shown in `leverage_instrument_info`."""
    liquidation_unit: Unit = "coins"
    """Unit of a `Liquidation.amount`."""
    funding_interval_s: int | None = None
    """Where the instrument list says it; a message that says it itself wins."""
    index_symbol: str | None = None
    """Symbol of the `Index` events that are this instrument's index, where they have their own."""

    def same(self, other: Instrument) -> bool:
        """Whether both say the same."""
        return msgspec.structs.astuple(self) == msgspec.structs.astuple(other)


class Mark(msgspec.Struct, frozen=True, gc=False, tag="mark"):
    """Mark price, and the index price where the same message has it; quote currency per quoted unit."""

    instrument: Instrument
    time: Millis
    price: float
    index_price: float | None = None


class Index(msgspec.Struct, frozen=True, gc=False, tag="index"):
    """Index price told alone. The instrument is the index itself, or the contract it was told for."""

    instrument: Instrument
    time: Millis
    price: float


class Funding(msgspec.Struct, frozen=True, gc=False, tag="funding"):
    """Funding rate as a fraction per interval, as the venue means it; longs pay where it is positive."""

    instrument: Instrument
    time: Millis
    rate: float
    interval_s: int | None
    next_time: Millis | None
    state: Literal["predicted", "settled"] = "predicted"
    """`predicted`: of the interval that runs now. `settled`: of the last one that was paid."""


class OpenInterest(msgspec.Struct, frozen=True, gc=False, tag="open_interest"):
    """Open interest in the instrument's `oi_unit`, counted on its `oi_sides`."""

    instrument: Instrument
    time: Millis
    amount: float


class Liquidation(msgspec.Struct, frozen=True, gc=False, tag="liquidation"):
    """One forced close. `position` is the position that was closed, whatever word the venue uses."""

    instrument: Instrument
    time: Millis
    position: Position
    price: float | None
    amount: float
    """In the instrument's `liquidation_unit`."""
    id: str | None = None
    """The venue's own identity of it, where there is one: what tells a repetition from a second one."""


class VolatilityIndex(msgspec.Struct, frozen=True, gc=False, tag="volatility_index"):
    """Implied volatility of an asset, annualised, as a fraction."""

    instrument: Instrument
    time: Millis
    value: float


Event: TypeAlias = Mark | Index | Funding | OpenInterest | Liquidation | VolatilityIndex


def kind_of(event: type[Event]) -> str:
    """Name of a kind of event, as `decode` and the labels print it."""
    return str(event.__struct_config__.tag)


def as_json(event: Event) -> dict[str, object]:
    """One event as `monitor decode` prints it (keys and order are a contract, see README)."""
    of = event.instrument
    head: dict[str, object] = {
        "kind": kind_of(type(event)), "venue": of.venue, "symbol": of.symbol, "asset": of.asset,
        "time_ms": event.time,
    }  # fmt: skip
    match event:
        case Mark(_, _, price, None):
            return head | {"price": price}
        case Mark(_, _, price, index_price):
            return head | {"price": price, "index_price": index_price}
        case Index(_, _, price):
            return head | {"price": price}
        case Funding(_, _, rate, interval_s, next_time, state):
            return head | {
                "rate": rate, "interval_s": interval_s, "next_time_ms": next_time, "state": state,
            }  # fmt: skip
        case OpenInterest(_, _, amount):
            return head | {"amount": amount, "unit": of.oi_unit, "sides": of.oi_sides}
        case Liquidation(_, _, position, price, amount, _):
            return head | {
                "position": position, "price": price, "amount": amount,
                "unit": of.liquidation_unit,
            }  # fmt: skip
        case VolatilityIndex(_, _, value):
            return head | {"value": value}
