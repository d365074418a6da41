"""Simulated venues: one made-up market, told in the venues' real protocols on loopback ports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from monitor.clock import Clock
from monitor.simulated.binance import Binance
from monitor.simulated.bybit import Bybit
from monitor.simulated.deribit import Deribit
from monitor.simulated.exchange import BEAT_S, Exchange
from monitor.simulated.family import Fault
from monitor.simulated.hyperliquid import Hyperliquid
from monitor.simulated.listings import LISTINGS, Listing, listing
from monitor.simulated.market import Forced, Market
from monitor.simulated.okx import Okx
from monitor.simulated.scenarios import SCENARIOS, Leg, Scenario

__all__ = [
    "LISTINGS", "SCENARIOS", "VENUES", "Exchange", "Fault", "Forced", "Leg", "Listing", "Market",
    "Scenario", "listing", "simulate",
]  # fmt: skip

VENUES: dict[str, Callable[[str, Market, Clock], Exchange]] = {
    "binance_usdm": Binance,
    "binance_coinm": Binance,
    "bybit": Bybit,
    "okx": Okx,
    "deribit": Deribit,
    "hyperliquid": Hyperliquid,
}
"""How each simulated venue is made, by name."""


@asynccontextmanager
async def simulate(
    names: Iterable[str],
    market: Market,
    clock: Clock,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    beat_s: float = BEAT_S,
) -> AsyncIterator[dict[str, Exchange]]:
    """Serve some venues until the context ends, by name.

    With a port the venues take that one and those after it, in the order of their names; port 0
    is a free one for each. `beat_s` is the wall time between two marks of an instrument; slower
    facts come every second or fourth beat.
    """
    exchanges = {name: VENUES[name](name, market, clock) for name in names}
    async with AsyncExitStack() as stack:
        for place, exchange in enumerate(exchanges.values()):
            exchange.beat_s = beat_s
            await stack.enter_async_context(exchange.serve(host, port + place if port else 0))
        yield exchanges
