"""How numbers and faults look on the wire."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import orjson

from monitor.simulated.listings import Listing
from monitor.simulated.market import Forced

ROWS = 50
"""Liquidations of one symbol in one flush, at the most; only a fast clock has more."""


def price(listing: Listing, value: float) -> str:
    """A price with the decimals of its listing."""
    return f"{value:.{listing.digits}f}"


def amount(listing: Listing, value: float) -> str:
    """An amount with the decimals of its listing's step."""
    return f"{value:.{max(0, -round(math.log10(listing.step)))}f}"


def short(value: float) -> orjson.Fragment:
    """A float as Deribit writes it: the shorter of fixed and exponent form (`8.55e4`)."""
    fixed = repr(value)
    if value == 0:
        return orjson.Fragment("0.0")
    digits, _, exponent = f"{value:.16e}".partition("e")
    for precision in range(1, 17):
        digits, _, exponent = f"{value:.{precision}e}".partition("e")
        if float(f"{digits}e{exponent}") == value:
            break
    scientific = f"{digits}e{int(exponent)}"
    return orjson.Fragment(fixed if "e" not in fixed and len(fixed) <= len(scientific) else scientific)


def last_of_each_second(rows: Iterable[Forced]) -> list[Forced]:
    """One liquidation per second: the venues that throttle push the latest."""
    return list({row.time // 1000: row for row in rows}.values())


def biggest(rows: list[Forced]) -> list[Forced]:
    """The biggest `ROWS`, still in order."""
    if len(rows) <= ROWS:
        return rows
    kept = sorted(rows, key=lambda row: row.usd)[-ROWS:]
    return sorted(kept, key=lambda row: row.number)


def spoil(frame: bytes, turn: int) -> bytes:
    """What a frame is replaced by: truncated, of wrong types, or of another shape, in turn."""
    match turn % 3:
        case 0:
            return frame[: max(1, len(frame) // 2)].decode(errors="ignore").encode()
        case 1:
            return orjson.dumps(_mistyped(orjson.loads(frame)))
    return b'[null,{"rubbish":[1,"NaN"]}]'


def _mistyped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _mistyped(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_mistyped(inner) for inner in value]
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return value
    return ["rubbish"]
