"""What the simulated market goes through: legs with the levels that are reached at their ends."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

ASSETS = ("BTC", "ETH", "PEPE")
CALM = "calm"


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of market time. Levels move smoothly from the end of the leg before to its own."""

    name: str
    hours: float
    price: Mapping[str, float]
    """By asset, at the end, relative to the scenario's start."""
    coins: Mapping[str, float]
    """Open interest in coins by asset, at the end, relative to the scenario's start."""
    funding: float = 0.00006
    """Rate per 8 hours, at the end."""
    volatility: float = 42.0
    """Implied, of BTC, annualised, in percent, at the end."""
    noise: float = 1.0
    """How nervous prices are, at the end; 1 is a calm day."""
    liquidated: float = 0.0003
    """Part of the scenario's first open interest that is liquidated in an hour, through the leg."""
    longs: float = 0.5
    """Part of the liquidations that closes longs."""


class Scenario(msgspec.Struct, frozen=True):
    """Named legs in a row; what follows the last one is calm and stays on its levels for ever."""

    name: str
    legs: tuple[Leg, ...]
    speed: float = 60.0
    """Market seconds in a second of the wall, for a demo."""


def _of(btc: float, eth: float) -> Mapping[str, float]:
    return {"BTC": btc, "ETH": eth, "PEPE": eth}


# The purge has the size and the pace of 10 October 2025.
SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(CALM, (Leg(name=CALM, hours=1, price=_of(1, 1), coins=_of(1, 1)),)),
        Scenario(
            "purge",
            (
                Leg(name=CALM, hours=1, price=_of(1, 1), coins=_of(1, 1)),
                Leg(
                    name="build_up", hours=3, price=_of(1.035, 1.05), coins=_of(1.09, 1.12),
                    funding=0.0004, volatility=44, noise=1.2, longs=0.3,
                ),
                Leg(
                    name="stretched", hours=1, price=_of(1.04, 1.055), coins=_of(1.10, 1.13),
                    funding=0.0005, volatility=45, noise=1.2, longs=0.5,
                ),
                Leg(
                    name="purge", hours=0.7, noise=4, liquidated=0.07, longs=0.85,
                    price=_of(1.04 * 0.88, 1.055 * 0.82), coins=_of(1.10 * 0.83, 1.13 * 0.80),
                    funding=-0.0004, volatility=68,
                ),
                Leg(
                    name="stabilising", hours=1, noise=2, liquidated=0.004, longs=0.6,
                    price=_of(0.925, 0.88), coins=_of(0.91, 0.90), funding=-0.0001, volatility=58,
                ),
                Leg(
                    name="recovery", hours=3, price=_of(0.96, 0.93), coins=_of(0.93, 0.92),
                    volatility=48, liquidated=0.0006, longs=0.4,
                ),
            ),
        ),
        # The same in days, for the phases: they take days to be sure of. Begins while leverage builds up.
        Scenario(
            "cycle",
            (
                Leg(
                    name="build_up", hours=24, price=_of(1.02, 1.03), coins=_of(1.02, 1.02),
                    funding=0.00003, volatility=43, noise=1.2, longs=0.4,
                ),
                Leg(
                    name="stretched", hours=30, price=_of(1.04, 1.055), coins=_of(1.11, 1.14),
                    funding=0.0005, volatility=45, noise=1.2, longs=0.5,
                ),
                Leg(
                    name="purge", hours=0.7, noise=4, liquidated=0.07, longs=0.85,
                    price=_of(1.04 * 0.88, 1.055 * 0.82), coins=_of(1.11 * 0.83, 1.14 * 0.80),
                    funding=-0.0004, volatility=68,
                ),
                Leg(
                    name="stabilising", hours=24 * 7, noise=1.5, liquidated=0.0008, longs=0.6,
                    funding=-0.00003, volatility=55, price=_of(0.97, 0.94), coins=_of(0.915, 0.905),
                ),
                Leg(
                    name="reset", hours=24 * 20, funding=0.00004, volatility=45,
                    price=_of(0.98, 0.95), coins=_of(0.92, 0.91),
                ),
            ),
            speed=1440,
        ),
    )
}  # fmt: skip
