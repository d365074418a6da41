"""The status page: per asset the numbers, per venue and channel whether they can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import polars as pl
from jinja2 import Environment, StrictUndefined

from monitor import __version__
from monitor.compute import Samples
from monitor.events import Millis, kind_of
from monitor.health import Health
from monitor.venue import Venue

UNKNOWN = "\u2013"

_environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def dollars(value: float | None) -> str:
    """`$8.21 bn`, `$512 m`, `$83,217.50`; a dash if unknown."""
    if value is None:
        return UNKNOWN
    for size, name in ((1e9, "bn"), (1e6, "m")):
        if abs(value) >= size:
            return f"${value / size:,.2f} {name}"
    return f"${value:,.2f}"


def coins(value: float | None) -> str:
    """`28,559`; a dash if unknown."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def percent(value: float | None, digits: int = 2) -> str:
    """`-1.25 %`; a dash if unknown."""
    return UNKNOWN if value is None else f"{value * 100:+.{digits}f} %"


def part(value: float | None) -> str:
    """`0.029 %` of something that is never negative; a dash if unknown."""
    return UNKNOWN if value is None else f"{value * 100:.3f} %"


def share(value: float | None) -> str:
    """`92 %`; a dash if unknown."""
    return UNKNOWN if value is None else f"{value * 100:.0f} %"


def clock(moment: Millis) -> str:
    """`2026-09-30 08:00:03 UTC`."""
    return f"{datetime.fromtimestamp(moment / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def age(seconds: float | None) -> str:
    """`3 s`, `12 min`, `5 h`; a dash if it never happened."""
    if seconds is None:
        return UNKNOWN
    for size, name in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{max(seconds, 0):.0f} s"


_environment.filters.update(
    dollars=dollars, coins=coins, percent=percent, part=part, share=share, clock=clock, age=age,
)  # fmt: skip


def page(health: Health, venues: Sequence[Venue], samples: Samples | None, now: Millis) -> str:
    """The page as HTML, complete in itself: no script, no foreign address."""
    source = resources.files("monitor").joinpath("templates/status.html").read_text()
    return _environment.from_string(source).render(
        version=__version__,
        now=now,
        speed=health.speed,
        assets=[] if samples is None else _assets(samples),
        instruments=[] if samples is None else _instruments(samples),
        channels=[row for venue in venues for row in _channels(health, venue, now)],
        dropped=health.dropped,
    )


def _assets(samples: Samples) -> list[dict[str, Any]]:
    windows: dict[str, dict[str, dict[str, Any]]] = {}
    for row in samples.views.asset_window.iter_rows(named=True):
        windows.setdefault(row["asset"], {})[row["window"]] = row
    none = {"growth": None, "liquidation_intensity": None, "realized_volatility": None}
    rows: list[dict[str, Any]] = []
    for row in samples.views.asset.iter_rows(named=True):
        of = windows.get(row["asset"], {})
        missing = row["expected"] - row["venues"]
        untold = row["listed"] - row["known"]
        rows.append(
            row | {"5m": of.get("5m", none), "1h": of.get("1h", none), "missing": missing, "untold": untold}
        )  # fmt: skip
    return rows


def _instruments(samples: Samples) -> list[dict[str, Any]]:
    return (
        samples.views.instrument.filter("perpetual")
        .sort("asset", "known_usd", descending=[False, True], nulls_last=True)
        .select("venue", "asset", "symbol", "margin", "price", "usd", "coins", "rate_8h", "premium",
                refused=pl.col("mark_refused") | pl.col("open_interest_refused"))
        .to_dicts()
    )  # fmt: skip


def _channels(health: Health, venue: Venue, now: Millis) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    problem = health.last_problem.get(venue.name)
    elapsed = max(1.0, (now - health.since) / 1000 / health.speed)
    channels = (*venue.channels, *(poll.channel for poll in venue.polls))
    used = [channel for channel in channels if (venue.name, channel.name) not in health.unused]
    for channel in used:
        kinds = [kind_of(kind) for kind in channel.kinds]
        heard = [at for k in kinds if (at := health.last_event.get((venue.name, k))) is not None]
        events = sum(health.events[venue.name, kind] for kind in channel.kinds)
        rows.append(
            {
                "venue": venue.title,
                "channel": channel.name,
                "kinds": ", ".join(k.replace("_", " ") for k in kinds),
                "quiet": channel.quiet,
                "up": health.stream_up(venue.name, channel.name),
                "age": (now - max(heard)) / 1000 / health.speed if heard else None,
                "rate": events / elapsed,
                "problem": problem,
                "first": not rows,
                "span": len(used),
            }
        )
    return rows
