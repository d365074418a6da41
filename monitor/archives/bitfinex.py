"""Bitfinex' past: the status of a derivative, about each minute: mark, funding and open interest.

Documents: docs.bitfinex.com, "Derivatives Status History". Open interest is in coins; the funding applied
in an eight-hour period is read as paid at its end.
"""

from __future__ import annotations

import msgspec

from monitor.archives.source import HOUR_S, Fact, Page, PastStep, Rows, Series, Source, decoded, paid, told
from monitor.events import Instrument, Mark, Millis, OpenInterest
from monitor.ladder import HOUR
from monitor.venue import Amount, Budget, Price, Rate, Request, Time

_LIMIT = 5000
_EIGHT_HOURS_S = 8 * HOUR_S
_NOTHING = msgspec.Raw


class Status(msgspec.Struct, array_like=True):
    """A row; the fields without a meaning for us are named by their place."""

    time: Time
    _1: _NOTHING
    _2: _NOTHING
    _3: _NOTHING
    _4: _NOTHING
    _5: _NOTHING
    _6: _NOTHING
    next_funding: Time | None
    _8: _NOTHING
    _9: _NOTHING
    _10: _NOTHING
    current_funding: Rate | None
    _12: _NOTHING
    _13: _NOTHING
    mark: Price | None
    _15: _NOTHING
    _16: _NOTHING
    open_interest: Amount | None


def parse_status(body: bytes, of: Instrument, _step: PastStep) -> Page:
    """Answer of `status/deriv/…/hist`."""

    def facts(row: Status) -> list[Fact]:
        found: list[Fact] = []
        if row.mark:
            found.append(Mark(of, row.time, row.mark))
        if row.open_interest is not None:
            found.append(OpenInterest(of, row.time, row.open_interest))
        if row.next_funding is not None and row.current_funding is not None:
            found.append(paid(of, row.next_funding, row.current_funding, _EIGHT_HOURS_S))
        return found

    return told(decoded(body, Rows), Status, facts, _LIMIT)


def _status(of: Instrument, start: Millis, end: Millis, _step: PastStep) -> Request:
    return Request(f"/v2/status/deriv/{of.symbol}/hist?start={start}&end={end}&limit={_LIMIT}&sort=1")


def perpetuals(asset: str) -> list[Instrument]:
    """The perpetual of an asset."""
    return [
        Instrument(
            venue="bitfinex",
            symbol=f"t{asset}F0:USTF0",
            asset=asset,
            quote="USDT",
            oi_sides_reason="one side: assumed, the venue's documents do not say",
            funding_interval_s=_EIGHT_HOURS_S,
        )
    ]


BITFINEX_PAST = Source(
    name="bitfinex",
    rest_url="https://api-pub.bitfinex.com",
    budget=Budget("bitfinex", weight=45),  # 90 a minute
    series=(Series(request=_status, parse=parse_status, around=HOUR),),
    bars={"day": 30, "hour": 300},
    rule=perpetuals,
    evidence="Open interest in coins; one side assumed.",
)
