"""The instruments that the simulated venues list."""

from __future__ import annotations

import msgspec

from monitor.events import Kind, Margin, Unit


class Listing(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What one venue trades under one symbol, how big it is there, and how it prints numbers."""

    venue: str
    symbol: str
    asset: str
    size: float
    """Open interest at the start, in the unit and on the sides that the venue reports."""
    kind: Kind = "perpetual"
    margin: Margin = "linear"
    quote: str = "USDT"
    contract_size: float = 1.0
    """Of one contract: quoted units if linear, dollars if inverse."""
    multiplier: float = 1.0
    """Coins that one quoted price is the price of."""
    unit: Unit = "coins"
    """Of open interest and liquidations; `coins` counts quoted units (thousands for `1000PEPE`)."""
    sides: int = 1
    """2 where the venue adds longs and shorts in its open interest."""
    interval_h: int = 8
    """Hours between two funding payments, and what a funding rate is for."""
    expiry: int | None = None
    """Milliseconds; None is never."""
    live: bool = True
    """False for what the venue still lists and no longer trades."""
    digits: int = 2
    """Decimals of a price."""
    step: float = 0.001
    """Smallest difference of amounts, in `unit`."""


EXPIRY = 1_798_185_600_000  # 2026-12-25 08:00 UTC

_USDM, _COINM = "binance_usdm", "binance_coinm"


def _binance() -> tuple[Listing, ...]:
    return (
        Listing(venue=_USDM, symbol="BTCUSDT", asset="BTC", size=95_000, digits=1),
        Listing(venue=_USDM, symbol="ETHUSDT", asset="ETH", size=2_300_000),
        Listing(venue=_USDM, symbol="BTCUSDC", asset="BTC", size=5_200, digits=1, quote="USDC"),
        Listing(
            venue=_USDM, symbol="1000PEPEUSDT", asset="PEPE", size=14_000_000_000, digits=7, step=1,
            multiplier=1000, interval_h=4,
        ),
        Listing(
            venue=_USDM, symbol="BTCUSDT_261225", asset="BTC", size=2_400, digits=1, kind="future",
            expiry=EXPIRY,
        ),
        Listing(
            venue=_USDM, symbol="BTCBUSD", asset="BTC", size=0, digits=1, quote="BUSD", live=False,
        ),
        Listing(
            venue=_COINM, symbol="BTCUSD_PERP", asset="BTC", size=6_200_000, digits=1, quote="USD",
            margin="inverse", unit="contracts", contract_size=100, step=1,
        ),
        Listing(
            venue=_COINM, symbol="ETHUSD_PERP", asset="ETH", size=21_000_000, quote="USD",
            margin="inverse", unit="contracts", contract_size=10, step=1,
        ),
    )  # fmt: skip


def _bybit() -> tuple[Listing, ...]:
    venue = "bybit"
    return (
        Listing(venue=venue, symbol="BTCUSDT", asset="BTC", size=57_000, sides=2),
        Listing(venue=venue, symbol="ETHUSDT", asset="ETH", size=800_000, sides=2, step=0.01),
        Listing(venue=venue, symbol="BTCPERP", asset="BTC", size=2_900, sides=2, quote="USDC"),
        Listing(
            venue=venue, symbol="BTCUSDT-25DEC26", asset="BTC", size=310, sides=2, kind="future",
            expiry=EXPIRY,
        ),
        Listing(
            venue=venue, symbol="BTCUSD", asset="BTC", size=520_000_000, sides=2, quote="USD",
            margin="inverse", unit="usd", step=1,
        ),
        Listing(
            venue=venue, symbol="ETHUSD", asset="ETH", size=140_000_000, sides=2, quote="USD",
            margin="inverse", unit="usd", step=1,
        ),
    )  # fmt: skip


def _okx() -> tuple[Listing, ...]:
    venue = "okx"
    return (
        Listing(
            venue=venue, symbol="BTC-USDT-SWAP", asset="BTC", size=2_870_000, digits=1,
            unit="contracts", contract_size=0.01, step=0.01,
        ),
        Listing(
            venue=venue, symbol="ETH-USDT-SWAP", asset="ETH", size=5_836_000,
            unit="contracts", contract_size=0.1, step=0.01,
        ),
        Listing(
            venue=venue, symbol="BTC-USD-SWAP", asset="BTC", size=3_900_000, digits=1, quote="USD",
            margin="inverse", unit="contracts", contract_size=100, step=1,
        ),
        Listing(
            venue=venue, symbol="ETH-USD-SWAP", asset="ETH", size=13_500_000, quote="USD",
            margin="inverse", unit="contracts", contract_size=10, step=1,
        ),
    )  # fmt: skip


def _deribit() -> tuple[Listing, ...]:
    venue = "deribit"
    return (
        Listing(
            venue=venue, symbol="BTC-PERPETUAL", asset="BTC", size=800_000_000, quote="USD",
            margin="inverse", unit="usd", contract_size=10, step=10,
        ),
        Listing(
            venue=venue, symbol="ETH-PERPETUAL", asset="ETH", size=235_000_000, quote="USD",
            margin="inverse", unit="usd", contract_size=1, step=1,
        ),
        Listing(
            venue=venue, symbol="BTC_USDC-PERPETUAL", asset="BTC", size=1_450, quote="USDC",
            contract_size=0.0001, step=0.0001,
        ),
        Listing(
            venue=venue, symbol="BTC-25DEC26", asset="BTC", size=312_000_000, quote="USD",
            kind="future", margin="inverse", unit="usd", contract_size=10, step=10, expiry=EXPIRY,
        ),
    )  # fmt: skip


def _hyperliquid() -> tuple[Listing, ...]:
    venue = "hyperliquid"
    return (
        Listing(
            venue=venue, symbol="BTC", asset="BTC", size=36_000, sides=2, quote="USDC", digits=1,
            interval_h=1, step=0.00001,
        ),
        Listing(
            venue=venue, symbol="ETH", asset="ETH", size=640_000, sides=2, quote="USDC",
            interval_h=1, step=0.0001,
        ),
        Listing(
            venue=venue, symbol="kPEPE", asset="PEPE", size=3_100_000_000, sides=2, quote="USDC",
            digits=6, interval_h=1, multiplier=1000, step=1,
        ),
        Listing(
            venue=venue, symbol="HPOS", asset="HPOS", size=0, sides=2, quote="USDC", digits=5,
            interval_h=1, step=1, live=False,
        ),
    )  # fmt: skip


LISTINGS: dict[str, tuple[Listing, ...]] = {}
"""By venue, in the order of the venue's own list."""

for _listing in (*_binance(), *_bybit(), *_okx(), *_deribit(), *_hyperliquid()):
    LISTINGS[_listing.venue] = (*LISTINGS.get(_listing.venue, ()), _listing)


def listing(venue: str, symbol: str) -> Listing:
    """The listing of a symbol.

    Raises:
        KeyError: the venue does not list it.
    """
    for found in LISTINGS[venue]:
        if found.symbol == symbol:
            return found
    raise KeyError(symbol)
