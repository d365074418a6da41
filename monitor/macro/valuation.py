"""What bitcoin would cost if it tied up as much risk capital as the gold that private investors hold.

A mechanical comparison, not a forecast: it says what follows from its assumptions, and names them all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import Annotated, Literal

import msgspec
import polars as pl

OUNCES_PER_TONNE = 1_000_000 / 31.1034768

Mode = Literal["jpm", "live"]
"""`jpm`: the last published year-end stock, which reproduces the bank's figures; `live`: with flows since."""
Positive = Annotated[float, msgspec.Meta(gt=0)]


class Known(msgspec.Struct, frozen=True):
    """A number, where it comes from, and the day that it speaks of."""

    value: float
    source: str
    as_of: date | None = None
    error: float | None = None
    """Relative, where it can be stated."""


# Gold (methodology §1.3, §1.4).

STOCK_ERROR = 0.02
"""Revisions of the stock, relative."""
STOCK_LIFE = timedelta(days=400)


class Stock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tonnes held at the end of a year."""

    as_of: date
    tonnes: Positive
    published: date
    source: str


class Flow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tonnes bought in a time: bars and coins, and the change of the funds; may be negative."""

    begin: date
    end: date
    tonnes: float
    published: date
    source: str


class GoldTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The versioned table of tonnes."""

    version: str
    stock: Sequence[Stock]
    flow: Sequence[Flow] = ()


class TableError(ValueError):
    """The table of tonnes cannot be used. The text names the place."""


def read_gold_table(text: str) -> GoldTable:
    """The table from its TOML text.

    Raises:
        TableError: it is no TOML, a field is missing, unknown or of the wrong kind, tonnes are not positive,
            years do not ascend, a figure is published before its day, or a stock is a fifth off the last.
    """
    try:
        table = msgspec.toml.decode(text, type=GoldTable)
    except msgspec.DecodeError as error:
        raise TableError(f"gold tonnes: {error}") from error
    if not table.stock:
        raise TableError("gold tonnes: no [[stock]]")
    for item in table.stock:
        if item.published < item.as_of:
            raise TableError(f"gold tonnes: stock of {item.as_of}: published before its day")
    for before, after in pairwise(table.stock):
        if after.as_of <= before.as_of:
            raise TableError(f"gold tonnes: stock of {after.as_of}: not after {before.as_of}")
        if not 0.8 < after.tonnes / before.tonnes < 1.25:  # noqa: PLR2004 -- said above
            raise TableError(f"gold tonnes: stock of {after.as_of}: {after.tonnes:g} after {before.tonnes:g}")
    for flow in table.flow:
        if not flow.begin <= flow.end <= flow.published:
            raise TableError(f"gold tonnes: flow of {flow.begin}: begin, end, published do not ascend")
    return table


class Tonnes(msgspec.Struct, frozen=True):
    """Gold of private investors on a day."""

    tonnes: float
    low: float
    high: float
    as_of: date
    source: str
    stale: bool
    """The stock is of more than 400 days ago: a year's table is missing."""


def gold_tonnes(table: GoldTable, on: date, mode: Mode = "jpm") -> Tonnes | None:
    """Tonnes as they were known on a day; None before the first table was published.

    The interval is ±2 % for revisions and takes in the other mode (methodology §1.4).
    """
    known = [item for item in table.stock if item.published <= on]
    if not known:
        return None
    stock = known[-1]
    since = [flow for flow in table.flow if flow.published <= on and flow.begin > stock.as_of]
    live = stock.tonnes + sum(flow.tonnes for flow in since)
    tonnes = stock.tonnes if mode == "jpm" else live
    flowed = mode == "live" and bool(since)
    return Tonnes(
        tonnes=tonnes,
        low=min(stock.tonnes, live) * (1 - STOCK_ERROR),
        high=max(stock.tonnes, live) * (1 + STOCK_ERROR),
        as_of=since[-1].end if flowed else stock.as_of,
        source=f"{stock.source} + {len(since)} flows" if flowed else stock.source,
        stale=on - stock.as_of > STOCK_LIFE,
    )


def gold_investment(tonnes: float, ounce_usd: float) -> float:
    """Dollars that private investors hold in gold, from tonnes and dollars per troy ounce."""
    return tonnes * OUNCES_PER_TONNE * ounce_usd


# Supply (methodology §1.5, venues §18.1, §18.2).

ERA = 210_000
"""Blocks between halvings."""
FIRST_SUBSIDY = 5_000_000_000
"""Satoshi."""
HEIGHTS = (
    (date(2009, 1, 3), 0),
    (date(2012, 11, 28), 210_000),
    (date(2016, 7, 9), 420_000),
    (date(2020, 5, 11), 630_000),
    (date(2024, 4, 20), 840_000),
    (date(2025, 6, 6), 900_000),
    (date(2026, 3, 10), 940_000),
)
"""Days on which the chain had so many blocks: the first block, the halvings, and two of methodology §1.5, the
last of which is approximate."""
EXACT_SINCE = date(2020, 5, 11)
"""Before it blocks came less evenly between the days known: one percent of the coins."""
BLOCKS_PER_DAY = 144
ETHER = Known(120.7e6, "about 120.7 M in late 2025 (methodology §1.5)", date(2025, 11, 5), 0.01)
ETHERS = (
    (date(2020, 1, 1), 109.1e6),
    (date(2021, 1, 1), 114.1e6),
    (date(2022, 1, 1), 119.0e6),
    (date(2022, 9, 15), 120.5e6),
    (date(2023, 7, 1), 120.2e6),
    (date(2024, 1, 1), 120.2e6),
    (date(2025, 1, 1), 120.5e6),
    (date(2025, 11, 5), ETHER.value),
)
"""Coins of ether as aggregators counted them, rounded; 2022-09-15 ended mining."""
ETHER_ERROR = 0.02


def bitcoin_issued(blocks: int) -> float:
    """Coins that the first `blocks` blocks paid out, by the rule of halving.

    A chain whose tip has height h has h + 1 blocks (the first has height 0). The sum is exact, in satoshi.
    """
    satoshi, subsidy = 0, FIRST_SUBSIDY
    while blocks > 0 and subsidy:
        counted = min(ERA, blocks)
        satoshi += counted * subsidy
        blocks -= counted
        subsidy //= 2
    return satoshi / 1e8


def bitcoin_height(on: date) -> float | None:
    """Blocks at the end of a day without asking anybody; None before the first day known.

    Interpolated between the days of `HEIGHTS`, after them 144 blocks a day.
    """
    if on < HEIGHTS[0][0]:
        return None
    for (day, height), (later, higher) in pairwise(HEIGHTS):
        if on <= later:
            return height + (higher - height) * ((on - day) / (later - day))
    day, height = HEIGHTS[-1]
    return float(height + BLOCKS_PER_DAY * (on - day).days)


def bitcoin_supply(on: date) -> Known | None:
    """Coins mined until a day, estimated offline.

    The error is 0.1 % between the days known (1 % before 2020-05-11), and grows after them by what 2 % more
    or fewer blocks pay.
    """
    height = bitcoin_height(on)
    if height is None:
        return None
    day, known = HEIGHTS[-1]
    coins = bitcoin_issued(round(height))
    beyond = max(height - known, 0.0) * 0.02 * FIRST_SUBSIDY / 2 ** (known // ERA) / 1e8
    source = "estimated block height" if on <= day else f"block height at {BLOCKS_PER_DAY} a day since {day}"
    error = 0.001 if on >= EXACT_SINCE else 0.01
    return Known(coins, source, on, error + beyond / coins) if coins else None


def ether_supply(on: date) -> Known | None:
    """Coins of ether: to 2 % between the days known, later with an error that grows; None before."""
    if on < ETHERS[0][0] or ETHER.as_of is None or ETHER.error is None:
        return None
    for (day, coins), (later, more) in pairwise(ETHERS):
        if on < later:
            value = coins + (more - coins) * ((on - day) / (later - day))
            return Known(value, "between the days known", on, ETHER_ERROR)
    years = (on - ETHER.as_of).days / 365
    return msgspec.structs.replace(ETHER, error=ETHER.error * (1 + years))


# Fair value (methodology §1.1, §1.8, §9.15).
CERTAIN = 1.64
"""Standard deviations that leave out 5 % on either side."""


class FairValue(msgspec.Struct, frozen=True):
    """Dollars; ratios are fractions. Null is what was not known."""

    cap_usd: float
    """Market capitalisation at the fair value."""
    parity_usd: float
    """Price at which bitcoin would be worth as much as the gold: a ratio of 1."""
    low_usd: float | None
    mid_usd: float
    """Median over the draws of the ratio, or the value at the one ratio."""
    high_usd: float | None
    mean_usd: float
    gap_usd: float | None
    """Fair value minus price: positive if bitcoin is below it."""
    gap_ratio: float | None
    break_even_ratio: float | None
    """The volatility ratio at which the price is the fair value."""
    gap_certain: bool | None
    """Whether the gap's sign outlasts the error of the ratio: abs(ln(FV/P)) > 1.64 sd(ln R)."""


def fair_value(
    gold_investment_usd: float, ratio: float | pl.Series, supply: float, spot: float | None = None
) -> FairValue:
    """Gold investment over volatility ratio and supply, and how far the price is from it.

    It is convex in the ratio, so it is computed for each draw and never at the mean ratio.

    Args:
        gold_investment_usd: What private investors hold in gold.
        ratio: Volatility of bitcoin over that of gold: one number, or draws of a bootstrap.
        supply: Coins.
        spot: Dollars a coin.

    Raises:
        ValueError: something is not a positive number.
    """
    draws = ratio if isinstance(ratio, pl.Series) else pl.Series([float(ratio)])
    given = (gold_investment_usd, supply, *([] if spot is None else [spot]))
    if draws.is_empty() or not all(math.isfinite(x) and x > 0 for x in (*given, *draws)):
        raise ValueError("gold investment, ratio, supply and price are positive numbers")
    parity = gold_investment_usd / supply
    value, one = pl.col("value"), len(draws) == 1
    low, mid, high, mean, error = (
        (parity / draws)
        .to_frame("value")
        .select(
            *(value.quantile(q, "linear").alias(str(q)) for q in (0.05, 0.5, 0.95)),
            mean=value.mean(), error=value.log().std(),
        )
        .row(0)
    )  # fmt: skip
    return FairValue(
        cap_usd=mid * supply,
        parity_usd=parity,
        low_usd=None if one else low,
        mid_usd=mid,
        high_usd=None if one else high,
        mean_usd=mean,
        gap_usd=None if spot is None else mid - spot,
        gap_ratio=None if spot is None else mid / spot - 1,
        break_even_ratio=None if spot is None else parity / spot,
        gap_certain=None if one or spot is None else abs(math.log(mid / spot)) > CERTAIN * error,
    )


def rounding_interval(
    gold: float, gold_half: float, ratio: float, ratio_half: float, supply: float
) -> tuple[float, float]:
    """Fair values that printed figures allow: each lies within half a unit of its last digit (§1.2)."""
    low = (gold - gold_half) / ((ratio + ratio_half) * supply)
    return low, (gold + gold_half) / ((ratio - ratio_half) * supply)


# What is assumed where nothing is said.


class Stored(msgspec.Struct, frozen=True):
    """What the monitor knows by itself; None where it does not."""

    ratio: Known | None = None
    draws: pl.Series | None = None
    """Of the same ratio."""
    ounce_usd: Known | None = None
    blocks: Known | None = None
    """Blocks of the chain: height of the tip plus one."""
    spot: Known | None = None


class Given(msgspec.Struct, frozen=True):
    """What the user says, in the units of `FairValue`; None where nothing."""

    ratio: float | None = None
    gold_investment_usd: float | None = None
    supply: float | None = None
    spot: float | None = None


class Assumptions(msgspec.Struct, frozen=True):
    """All that a fair value follows from."""

    gold_investment_usd: Known
    ratio: Known
    supply: Known
    spot: Known | None
    draws: pl.Series | None = None

    def fair_value(self) -> FairValue:
        """What follows; without a price, no gap."""
        return fair_value(
            self.gold_investment_usd.value,
            self.ratio.value if self.draws is None else self.draws,
            self.supply.value,
            None if self.spot is None else self.spot.value,
        )


class Unknown(ValueError):  # noqa: N818 -- reads as what happened
    """Something can be neither given nor known. The text names the option that would say it."""


def complete(given: Given, stored: Stored, table: GoldTable, today: date, mode: Mode = "jpm") -> Assumptions:
    """What is given, else what is stored, else what can be worked out offline.

    Args:
        given: By the user.
        stored: By the monitor.
        table: Tonnes of gold.
        today: The day to value at.
        mode: As in `gold_tonnes`.

    Raises:
        Unknown: ratio, gold investment or supply is none of them. The price alone may stay unknown.
    """
    ratio = _said(given.ratio) or stored.ratio
    if ratio is None:
        raise Unknown("no volatility ratio is stored: give --ratio, as from `monitor volatility-ratio`")
    supply = _said(given.supply) or _mined(stored.blocks, today)
    if supply is None:
        raise Unknown(f"the supply of {today} cannot be estimated: give --supply COINS")
    return Assumptions(
        gold_investment_usd=_said(given.gold_investment_usd) or _held(stored.ounce_usd, table, today, mode),
        ratio=ratio,
        supply=supply,
        spot=_said(given.spot) or stored.spot,
        draws=stored.draws if given.ratio is None else None,
    )


def _said(value: float | None) -> Known | None:
    return None if value is None else Known(value, "given")


def _mined(blocks: Known | None, today: date) -> Known | None:
    if blocks is None:
        return bitcoin_supply(today)
    return Known(bitcoin_issued(round(blocks.value)), blocks.source, blocks.as_of, 0.0)


def _held(ounce: Known | None, table: GoldTable, today: date, mode: Mode) -> Known:
    tonnes = gold_tonnes(table, today, mode)
    if ounce is None or tonnes is None:
        missing = "price of gold is stored" if ounce is None else f"gold tonnes were published by {today}"
        raise Unknown(f"no {missing}: give --gold-investment USD")
    stale = f" (stale: {tonnes.as_of})" if tonnes.stale else ""
    return Known(
        gold_investment(tonnes.tonnes, ounce.value),
        f"{tonnes.tonnes:,.0f} t{stale} at {ounce.value:,.2f} USD/oz ({ounce.source})",
        ounce.as_of,
        max(tonnes.high / tonnes.tonnes - 1, 1 - tonnes.low / tonnes.tonnes),
    )
