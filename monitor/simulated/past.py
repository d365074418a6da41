"""What a simulated market went through before it begins: bars as a monitor would have kept them.

Three years of days and two weeks of hours, so that averages and phases have something to stand on. The past
ends where the market starts: leverage swung about its average for years and has been building up for a
fortnight.
"""

from __future__ import annotations

import math

import polars as pl

from monitor.bars import BAR, STEPS, Step
from monitor.events import Millis
from monitor.ladder import DAY
from monitor.simulated.listings import LISTINGS, Listing
from monitor.simulated.market import Market
from monitor.simulated.noise import key_of, smoothstep, waves
from monitor.simulated.scenarios import ASSETS

DAYS = 3 * 365 + 60
HOURS = 31 * 24

_SWINGS = ((230 * DAY, 0.09), (83 * DAY, 0.05))
"""Periods and heights of the log of leverage about its average."""
_ABOVE = 0.09
"""Where it stands when the market starts, some days after a rise of a fortnight."""
_RISE, _RISEN = 14 * DAY, 4 * DAY
_LOW = -0.03
_COINS = ((6 * DAY, 0.006), (DAY, 0.004))
_PRICE = ((400 * DAY, 0.35), (90 * DAY, 0.15), (20 * DAY, 0.06), (3 * DAY, 0.02), (DAY, 0.012))
_FUNDING = ((60 * DAY, 0.00003), (9 * DAY, 0.00003), (DAY, 0.00002))
_LIQUIDATED = 0.004
"""Of open interest, on an ordinary day."""


def past(market: Market, step: Step) -> pl.DataFrame:
    """Bars (`bars.BAR`) of the perpetuals, until the last one that closed when the market started."""
    length = STEPS[step]
    last = market.start // length * length
    count = DAYS if step == "day" else HOURS
    opens = range(last - count * length, last, length)
    course = pl.concat([_course(market, asset, opens, length) for asset in ASSETS])
    traded = [of for listed in LISTINGS.values() for of in listed if of.live and of.kind == "perpetual"]
    now = pl.DataFrame([_now(market, of) for of in traded], orient="row", schema=_NOW)
    coins = pl.col("coins_now") * pl.col("leverage")
    return (
        course.join(now, on="asset")
        .with_columns(pl.col(name) * pl.col("price_now") for name in ("open", "high", "low", "close"))
        .with_columns(
            coins=coins, usd=coins * pl.col("close"), funding_8h=pl.col("funding_now") + pl.col("funding")
        )
        .with_columns(
            native=pl.when(pl.col("margin") == "linear").then("coins").otherwise("usd"),
            long_usd=pl.col("usd") * pl.col("liquidated") / 2,
            short_usd=pl.col("usd") * pl.col("liquidated") / 2,
        )
        .select(pl.col(name).cast(dtype) for name, dtype in BAR.items())
        .sort("time", "venue", "asset", "symbol")
    )  # fmt: skip


_NOW = ("asset", "venue", "symbol", "margin", "coins_now", "price_now", "funding_now")


def _now(market: Market, of: Listing) -> tuple[object, ...]:
    start = market.start
    price = market.mark(of, start) / of.multiplier
    funding = market.funding(of, start) * 8 / of.interval_h
    return of.asset, of.venue, of.symbol, of.margin, market.coins(of, start), price, funding


def _course(market: Market, asset: str, opens: range, length: Millis) -> pl.DataFrame:
    """What all instruments of an asset share, relative to the start of the market."""
    start = market.start

    def noise(name: str, octaves: tuple[tuple[int, float], ...], time: Millis) -> float:
        key = key_of(market.seed, "past", name, asset)
        return waves(key, time, octaves) - waves(key, start, octaves)

    rows = []
    for time in opens:
        close = time + length
        first, last = (math.exp(noise("price", _PRICE, at)) for at in (time, close))
        busy = math.exp(noise("liquidated", ((5 * DAY, 0.8), (DAY, 0.5)), close))
        rows.append(
            (
                asset, time, first, max(first, last) * 1.002, min(first, last) * 0.998, last,
                math.exp(_leverage(start - close) + noise("coins", _COINS, close)),
                # As ordinary as the level is not when the market starts: the scenario brings crowding.
                _risen(start - close) * waves(key_of(market.seed, "past", "funding", asset), close, _FUNDING),
                _LIQUIDATED * busy * length / DAY,
            )
        )  # fmt: skip
    names = ("asset", "time", "open", "high", "low", "close", "leverage", "funding", "liquidated")
    return pl.DataFrame(rows, orient="row", schema=names)


def _risen(before: Millis) -> float:
    """0 when the market starts, 1 before the rise."""
    return smoothstep((before - _RISEN) / _RISE)


def _leverage(before: Millis) -> float:
    """Log of leverage so long before the start, relative to that of the start."""
    swings = sum(height * math.sin(2 * math.pi * before / period) for period, height in _SWINGS)
    swinging = smoothstep((before - _RISEN - _RISE) / (2 * _RISE))
    risen = _risen(before)
    return (1 - risen) * _ABOVE + risen * ((1 - swinging) * _LOW + swinging * swings) - _ABOVE
