"""How many coins there are: the height of bitcoin's chain, and ether's supply.

Formats: venues.md sections 18.1 and 18.2. Bitcoin's supply follows from the height exactly; the height is
believed when two sources reach it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import msgspec
import polars as pl

from monitor.events import Millis
from monitor.sources.body import json_of, moments, text_of, times_of
from monitor.sources.source import DAY, HOUR, Rubbish, Source, dated, newest_within, within

HEIGHT = pl.Schema({"time": pl.Datetime("ms", "UTC"), "height": pl.Int64()})
ETHER = pl.Schema({"time": pl.Datetime("ms", "UTC"), "supply_coins": pl.Float64()})

KNOWN_HEIGHT, KNOWN_AT = 900_000, 1_749_168_000_000
"""Mined on 2025-06-06 (methodology section 1.5)."""
BLOCK_MS = 600_000
SLOWEST, FASTEST = 0.8, 1.2
"""Blocks per ten minutes over a long time: difficulty follows within a fortnight."""

REACH = 2
"""Blocks by which one source may be behind another and still confirm it."""
APART = 144
"""Further apart, a day, they do not speak of the same chain. A day is 0.002 % of the supply."""

ETHER_LOW, ETHER_HIGH = 100e6, 160e6


def height(body: bytes, now: Millis) -> pl.DataFrame:
    """A plain number: the height of the newest block, as of now."""
    text = text_of(body, "a number").strip()
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise Rubbish(f"not a height: {text[:40]!r}")
    found = int(text)
    passed = (now - KNOWN_AT) / BLOCK_MS
    low, high = (KNOWN_HEIGHT + passed * speed for speed in (SLOWEST, FASTEST))
    if passed < 0:
        low, high = 0.0, float(KNOWN_HEIGHT)
    if not low - APART <= found <= high + APART:
        raise Rubbish(f"height {found:,} is outside {low:,.0f}…{high:,.0f}, which the date allows")
    return pl.DataFrame({"time": moments([now]), "height": [found]}, schema=HEIGHT)


def agreed_height(heights: Sequence[int]) -> int | None:
    """The greatest height that two sources reach, give or take two blocks; None if no two agree.

    One source that runs ahead alone is not believed, and one that lags is only believed while it is less
    than a day behind: further apart, one of them is wrong and nobody can tell which.
    """
    by_height = sorted(heights, reverse=True)
    for one, next_one in pairwise(by_height):
        if one - next_one <= REACH:
            return one
        if one - next_one <= APART:
            return next_one
    return None


# Ether.

Wei = Annotated[str, msgspec.Meta(pattern=r"^\d{1,30}$")]


class Point(msgspec.Struct):
    """Supply at a moment, in ether."""

    timestamp: str
    supply: float


class OverTime(msgspec.Struct):
    """ultrasound.money's answer; its newest lists are empty while its backend is behind."""

    m5: list[Point] = []
    h1: list[Point] = []
    d1: list[Point] = []
    d7: list[Point] = []
    d30: list[Point] = []


_over_time = msgspec.json.Decoder(OverTime, strict=False)


def ultrasound(body: bytes, now: Millis) -> pl.DataFrame:
    """`{"d1":[{"timestamp":"2026-09-28T00:00:00Z","supply":120700000.5},…],…}`."""
    said = json_of(body, _over_time)
    points = [*said.m5, *said.h1, *said.d1, *said.d7, *said.d30]
    frame = pl.DataFrame(
        {
            "time": times_of([point.timestamp for point in points]),
            "supply_coins": pl.Series([point.supply for point in points], dtype=pl.Float64),
        },
        schema=ETHER,
    )
    return _checked(frame.unique("time", keep="first"), now)


class Parts(msgspec.Struct):
    """Etherscan's parts of the supply, in wei."""

    EthSupply: Wei
    Eth2Staking: Wei
    BurntFees: Wei


class Answer(msgspec.Struct):
    """Etherscan's answer; `result` is a text where it refuses."""

    status: str
    message: str = ""
    result: Parts | str = ""


_answer = msgspec.json.Decoder(Answer)


def etherscan(body: bytes, now: Millis) -> pl.DataFrame:
    """`ethsupply2` of Etherscan V2: what was mined, and earned by staking, less what was burnt."""
    said = json_of(body, _answer)
    if isinstance(said.result, str) or said.status != "1":
        reason = said.result if isinstance(said.result, str) else ""
        raise Rubbish(f"refused: {said.message} {reason}")
    wei = int(said.result.EthSupply) + int(said.result.Eth2Staking) - int(said.result.BurntFees)
    frame = pl.DataFrame({"time": moments([now]), "supply_coins": [wei / 1e18]}, schema=ETHER)
    return _checked(frame, now)


def _checked(frame: pl.DataFrame, now: Millis) -> pl.DataFrame:
    frame = dated(frame, now, oldest=30 * DAY, ahead=HOUR)
    within(frame, "supply_coins", ETHER_LOW, ETHER_HIGH, "ETH")
    return frame


def _height(name: str, url: str, *, default: bool) -> Source:
    return Source(
        name=name, kind="height", title="Height of bitcoin's chain", parse=height, default=default, url=url,
        every_s=600, max_age=6 * HOUR, continuous=newest_within(1.02, ["height"]), forget=30 * DAY,
    )  # fmt: skip


_ETHER = newest_within(1.02, ["supply_coins"])

SOURCES = (
    _height("mempool", "https://mempool.space/api/blocks/tip/height", default=True),
    _height("blockstream", "https://blockstream.info/api/blocks/tip/height", default=True),
    _height("blockchain_info", "https://blockchain.info/q/getblockcount", default=False),
    Source(
        name="ultrasound", kind="eth_supply", title="Ether's supply", parse=ultrasound, default=True,
        url="https://ultrasound.money/api/v2/fees/supply-over-time", every_s=3600, max_age=3 * DAY,
        continuous=_ETHER, forget=30 * DAY,
    ),
    Source(
        name="etherscan", kind="eth_supply", title="Ether's supply", parse=etherscan,
        url="https://api.etherscan.io/v2/api?chainid=1&module=stats&action=ethsupply2", every_s=3600,
        max_age=3 * DAY, continuous=_ETHER, forget=30 * DAY, key="needed",
        key_parameter="apikey",
    ),
)  # fmt: skip
