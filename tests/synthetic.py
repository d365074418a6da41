"""A made-up market of years, with purges where they were planted: calm, build-up, crash, calm."""

from __future__ import annotations

import math
import random
from datetime import date, timedelta
from typing import NamedTuple

import polars as pl

FIRST = date(2019, 1, 1)
SHARES = {
    "alpha": ("linear", 0.34), "beta": ("linear", 0.24), "gamma": ("inverse", 0.18),
    "delta": ("linear", 0.14), "epsilon": ("inverse", 0.10),
}  # fmt: skip
"""Venues: margin, and share of open interest at the start."""
SUPPLY = {"BTC": 19.5e6, "ETH": 118e6}
PRICE = {"BTC": 8_000.0, "ETH": 240.0}
CYCLE = 240
"""Days from calm to calm."""
CRASH = {220: -0.09, 221: -0.13, 222: -0.04}
"""Day of the cycle: log change of open interest at constant price."""


class History(NamedTuple):
    """A table of design 4.4, and the days on which a purge was planted, by asset."""

    table: pl.DataFrame
    purges: dict[str, list[date]]


def history(days: int = 2_400, seed: int = 1, assets: tuple[str, ...] = ("BTC", "ETH")) -> History:
    """Both assets' daily closes of five venues."""
    rows: list[tuple[object, ...]] = []
    purges: dict[str, list[date]] = {}
    for number, asset in enumerate(assets):
        dice = random.Random(f"{seed} {asset}")
        price, total = PRICE.get(asset, 1.0), 0.006 * SUPPLY.get(asset, 1e9)
        coins = {venue: total * share for venue, (_, share) in SHARES.items()}
        purges[asset] = []
        for day in range(days):
            # Ether's cycle runs half a cycle later, so that both are not always in one phase.
            at, squeeze = (day + number * CYCLE // 2) % CYCLE, (day // CYCLE) % 3 == 2
            on = FIRST + timedelta(days=day)
            growth, moved, funding, flow = _market(at, squeeze=squeeze, dice=dice)
            if at == min(CRASH) and day > CYCLE // 2:
                purges[asset].append(on)
            price *= math.exp(moved)
            for venue, (margin, share) in SHARES.items():
                own = growth + dice.gauss(0, 0.003)
                coins[venue] *= math.exp(own - (moved if margin == "inverse" else 0.0))
                liquidated = coins[venue] * price * flow
                rows.append(
                    (
                        on, asset, venue, margin, price, coins[venue] * price, coins[venue],
                        SUPPLY.get(asset), funding + dice.gauss(0, 5e-6),
                        liquidated * (0.2 if squeeze else 0.8), liquidated * (0.8 if squeeze else 0.2), share,
                    )
                )  # fmt: skip
    columns = {
        "date": pl.Date, "asset": pl.String, "venue": pl.String, "margin": pl.String,
        "price_usd": pl.Float64, "oi_usd": pl.Float64, "oi_coin": pl.Float64, "supply": pl.Float64,
        "funding_8h": pl.Float64, "long_liquidated_usd": pl.Float64, "short_liquidated_usd": pl.Float64,
        "share": pl.Float64,
    }  # fmt: skip
    return History(pl.DataFrame(rows, columns, orient="row").drop("share"), purges)


def _market(at: int, *, squeeze: bool, dice: random.Random) -> tuple[float, float, float, float]:
    """Growth, price's log change, funding per 8 h, liquidations over open interest, of a day of the cycle."""
    calm = dice.gauss(0, 0.018)
    if at in CRASH:
        fall = CRASH[at]
        return fall + dice.gauss(0, 0.004), -fall * 0.8 if squeeze else fall * 0.9, -5e-5, 0.06
    if 120 <= at < 220:
        return 0.0026 + dice.gauss(0, 0.008), 0.0035 + calm, 1e-4 + (at - 120) * 1.5e-6, 0.006
    if at > max(CRASH):
        return dice.gauss(0, 0.004), calm * 0.5, 4e-5, 0.004
    return dice.gauss(0, 0.008), calm, 7e-5, 0.004
