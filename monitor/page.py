"""The status page: the six questions, the board, and per venue and source whether they can be trusted.

Rows of numbers are made here, as texts; the template only lays them out. A value that is absent, or older
than it may be, is a dash or a reason: nothing of an earlier instant stands in for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any

import msgspec
import polars as pl
from jinja2 import Environment, StrictUndefined, Template

from monitor import __version__, board
from monitor.board import Answer, Known, Row, read
from monitor.deleveraging.average import ENOUGH_DAYS
from monitor.events import Millis, kind_of
from monitor.health import Health
from monitor.tick.compute import Samples
from monitor.venue import Venue

UNKNOWN = "\u2013"

_environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def dollars(value: float | None) -> str:
    """`$8.21 bn`, `$512 m`, `$83,217.50`; a dash if unknown."""
    if value is None:
        return UNKNOWN
    for size, name in ((1e12, "tn"), (1e9, "bn"), (1e6, "m")):
        if abs(value) >= size:
            return f"${value / size:,.2f} {name}".replace("$-", "-$")
    return f"${value:,.2f}".replace("$-", "-$")


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
    """`3 s`, `12 min`, `5 h`, `4 d`; a dash if it never happened."""
    if seconds is None:
        return UNKNOWN
    for size, name in ((86_400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{max(seconds, 0):.0f} s"


def capitalize_first(text: str) -> str:
    """The text as the beginning of a sentence."""
    return text[:1].upper() + text[1:]


_environment.filters.update(
    dollars=dollars, coins=coins, percent=percent, part=part, share=share, clock=clock, age=age,
    capitalize_first=capitalize_first,
)  # fmt: skip


LIFE_S = 90.0
"""Samples older than this are not shown as present: the longest tick that the settings allow, and half."""
SCALE = 4.0
"""Deviations at both ends of the bar."""
CONDITIONS = {
    "growth_4h": ("Open interest in 4 h (log)", True), "growth_4h_z": ("4 h in daily deviations", False),
    "growth_1d": ("Open interest in 24 h (log)", True), "growth_1d_z": ("24 h in daily deviations", False),
    "growth_3d": ("Open interest in 72 h (log)", True), "growth_3d_z": ("72 h in deviations", False),
    "growth_14d": ("Open interest in 14 d (log)", True),
    "open_interest_to_trough": ("Open interest to the last trough", False),
    "z": ("Open interest / market cap, deviations from its average", False),
    "stretch": ("Crowding", False), "coverage": ("Coverage", False),
}  # fmt: skip
"""Conditions of `phases.Reason` in words, and whether they are changes."""
SIDES = {"long_flush": "longs were forced out", "short_squeeze": "shorts were forced out"}

Show = Callable[[float | None], str]


class Line(msgspec.Struct, frozen=True):
    """One row of a panel: a label, and a text for each asset."""

    label: str
    cells: Sequence[str]
    strong: Sequence[bool]
    """Cells that want attention."""


class Panel(msgspec.Struct, frozen=True):
    """One of the questions, as a small table."""

    title: str
    assets: Sequence[str]
    lines: Sequence[Line]
    note: str = ""
    bars: Sequence[tuple[str, float]] = ()
    """Asset and deviation from the average, drawn on one scale."""


def flat(samples: Samples) -> dict[board.Key, float]:
    """The samples of everything but single instruments, as the board reads them."""
    found: dict[board.Key, float] = {}
    for family in samples.families:
        metric = family.metric
        if metric.view in ("instrument", "flow"):
            continue
        labels = family.labels
        rows = labels.rows() if labels.columns else [()] * len(family.values)
        for row, value in zip(rows, family.values, strict=True):
            if value is not None and math.isfinite(value):
                pairs = zip(labels.columns, row, strict=True)
                found[metric.name, frozenset((*pairs, *metric.fixed))] = value
    return found


def known(health: Health, samples: Samples | None, now: Millis) -> dict[board.Key, float]:
    """What may be shown as present: nothing of an instant that is over."""
    late = samples is None or (now - samples.now) / 1000 / health.speed > LIFE_S
    found = {} if samples is None or late else flat(samples)
    for name, at in health.source_as_of.items():
        found[board.key("monitor_source_timestamp_seconds", source=name)] = at / 1000
        found[board.key("monitor_source_max_age_seconds", source=name)] = health.source_max_age[name] / 1000
    return found


def page(health: Health, venues: Sequence[Venue], samples: Samples | None, now: Millis) -> str:
    """The page as HTML, complete in itself: no foreign address."""
    present = known(health, samples, now)
    late = samples is not None and (now - samples.now) / 1000 / health.speed > LIFE_S
    shown = None if late else samples
    assets = board.followed(present)
    answers = [board.answer(present, asset) for asset in assets]
    return _template().render(
        version=__version__,
        now=now,
        speed=health.speed,
        late=None if samples is None or not late else (now - samples.now) / 1000 / health.speed,
        cards=[_card(one, present, shown, now) for one in answers],
        panels=[
            _leverage(present, assets),
            _paid(present, assets),
            _cme_and_etf(present, assets, now / 1000),
            _gold(present, now / 1000),
            _trust(present, assets, shown, health),
        ],
        claims=_claims(board.board(present, now / 1000)),
        instruments=[] if shown is None else _instruments(shown),
        channels=[row for venue in venues for row in _channels(health, venue, now)],
        sources=[_source(health, name, now) for name in sorted(health.source_max_age)],
        dropped=health.dropped,
    )


@cache
def _template() -> Template:
    return _environment.from_string(
        resources.files("monitor").joinpath("templates/status.html").read_text("utf-8")
    )


# The first question.


def _card(said: Answer, present: Known, samples: Samples | None, now: Millis) -> dict[str, Any]:
    level = _level(samples, said.asset)
    since = None if said.since is None else round(said.since * 1000)
    return {
        "asset": said.asset,
        "price": dollars(read(present, "leverage_reference_price_usd", asset=said.asset)),
        "phase": said.phase,
        "name": said.phase.replace("_", "-"),
        "provisional": said.provisional,
        "since": None if since is None else f"since {short(since)}, {age(max(0, now - since) / 1000)}",
        "purge": _purge(said),
        "words": said.words,
        "verdict": said.verdict,
        "confidence": None if said.confidence is None else f"{said.label} ({said.confidence:.2f})",
        "coverage": share(read(present, "leverage_coverage_ratio", asset=said.asset)),
        "relapse": said.relapse,
        "missing": said.missing,
        "reasons": [_reason(text) for text in level.get("reasons", "").split("; ") if text],
        "level": _no_level(level),
    }


def _level(samples: Samples | None, asset: str) -> dict[str, Any]:
    """What the views and the past say of an asset."""
    if samples is None:
        return {}
    both = zip(
        samples.views.asset.iter_rows(named=True), samples.looked.asset.iter_rows(named=True), strict=True
    )
    return next((row | more for row, more in both if row["asset"] == asset), {})


def _purge(said: Answer) -> str | None:
    if said.depth is None:
        return None
    parts = [f"{said.depth:.1%} of open interest gone"]
    if said.destroyed_usd is not None:
        parts.append(dollars(said.destroyed_usd))
    if said.side is not None:
        parts.append(SIDES[said.side])
    return ", ".join(parts)


def _reason(text: str) -> str:
    """`growth_1d: -0.186 against -0.06` in words; any other text as it is."""
    name, _, numbers = text.partition(": ")
    words, change = CONDITIONS.get(name, ("", False))
    value, _, threshold = numbers.partition(" against ")
    try:
        pair = float(value), float(threshold)
    except ValueError:
        return text
    if not words:
        return text
    first, second = (f"{one * 100:+.1f} %" if change else f"{one:+.2f}" for one in pair)
    return f"{words}: {first}, threshold {second}"


def _no_level(level: Mapping[str, Any]) -> str | None:
    """Why there is no open interest of the whole scope, where there is none."""
    if not level or level["usd"] is not None:
        return None
    if level["expected"] > level["venues"]:
        which = f"{level['expected'] - level['venues']} of {level['expected']} venues"
        return f"{which} of the scope have not told their open interest yet"
    if level["listed"] > level["known"]:
        which = f"{level['listed'] - level['known']} of {level['listed']} instruments"
        return f"{which} of the scope have not told their open interest yet"
    return "too little of the open interest is fresh"


# The others.


def _lines(present: Known, assets: Sequence[str], rows: Sequence[tuple[str, str, Show, dict[str, str]]]
           ) -> list[Line]:  # fmt: skip
    return [
        Line(label, [show(read(present, name, asset=asset, **labels)) for asset in assets],
             [False] * len(assets))
        for label, name, show, labels in rows
    ]  # fmt: skip


def _leverage(present: Known, assets: Sequence[str]) -> Panel:
    level, average = "leverage_open_interest_to_market_cap_ratio", "_average_ratio"
    growth = "leverage_open_interest_growth_ratio"
    change = "leverage_open_interest_change_usd"
    lines = _lines(present, assets, (
        ("Open interest / market cap", level, _part2, {}),
        ("Its long-term average", level.removesuffix("_ratio") + average, _part2, {}),
        ("Distance in deviations", "leverage_open_interest_to_market_cap_zscore", _signed, {}),
        ("Percentile of three years", "leverage_open_interest_to_market_cap_percentile_ratio", share, {}),
        ("Open interest", "leverage_perp_open_interest_usd", dollars, {}),
        ("Growth in 4 h (log)", growth, percent, {"window": "4h"}),
        ("Growth in 24 h (log)", growth, percent, {"window": "24h"}),
        ("Growth in 72 h (log)", growth, percent, {"window": "72h"}),
        ("24 h: by positions", change, dollars, {"kind": "position_effect"}),
        ("24 h: by price", change, dollars, {"kind": "price_effect"}),
    ))  # fmt: skip
    z = {asset: read(present, "leverage_open_interest_to_market_cap_zscore", asset=asset) for asset in assets}
    bars = [(asset, max(-SCALE, min(SCALE, value))) for asset, value in z.items() if value is not None]
    held = {a: read(present, "leverage_condition", asset=a, kind="average_disagreement") for a in assets}
    apart = [asset for asset, one in held.items() if one == 1]
    note = "Growth is at constant price."
    if apart:
        note += f" {' and '.join(apart)}: the mean of all history is on the other side."
    return Panel("Leverage against its average", assets, lines, note, bars)


def _paid(present: Known, assets: Sequence[str]) -> Panel:
    reported, implied = "leverage_liquidated_usd", "leverage_implied_liquidation_usd"
    lines = _lines(present, assets, (
        ("Funding, 8 h base", "leverage_funding_rate_8h_weighted_ratio", _funding, {}),
        ("7-day mean, percentile", "leverage_funding_percentile_ratio", share, {}),
        ("Crowding (0 to 1)", "leverage_stretch_ratio", _plain, {}),
        ("Liquidated in 1 h, reported", reported, _at_least, {"window": "1h"}),
        ("in 1 h, implied", implied, dollars, {"window": "1h"}),
        ("Liquidated in 24 h, reported", reported, _at_least, {"window": "24h"}),
        ("in 24 h, implied", implied, dollars, {"window": "24h"}),
        ("24 h, percentile of a year", "leverage_liquidation_percentile_ratio", share, {}),
        ("Implied volatility", "leverage_implied_volatility_ratio", share, {}),
    ))  # fmt: skip
    kinds = {
        "funding_high": "funding is extreme, longs pay", "funding_low": "funding is extreme, shorts pay",
        "liquidation_burst": "burst of liquidations",
        "liquidation_contradiction": "far more vanished than was reported",
    }  # fmt: skip
    told = [
        f"{asset}: {words}"
        for asset in assets
        for kind, words in kinds.items()
        if read(present, "leverage_condition", asset=asset, kind=kind) == 1
    ]
    note = f"{'; '.join(told)}. " if told else ""
    return Panel(
        "Paid for leverage, and liquidated", assets, lines,
        f"{note}Reported: a lower bound, some feeds are throttled. Implied: what closed at constant price.",
    )  # fmt: skip


def _cme_and_etf(present: Known, assets: Sequence[str], now: float) -> Panel:
    cme = {asset: board.slow(present, now, "cftc", "cme")[1] is None for asset in assets}
    etf = {asset: board.slow(present, now, f"etf_{asset.lower()}")[1] is None for asset in assets}

    def line(label: str, name: str, show: Show, fresh: Mapping[str, bool]) -> Line:
        cells = [show(read(present, name, asset=a)) if fresh[a] else "too old" for a in assets]
        return Line(label, cells, [not fresh[a] for a in assets])

    growth = ("Perpetuals, growth in 14 d (log)", "leverage_open_interest_growth_ratio", percent)
    lines = [
        *_lines(present, assets, ((*growth, {"window": "14d"}),)),
        line("CME, position change of 4 weeks", "leverage_cme_liquidation_proxy_ratio", percent, cme),
        line("CME, longs liquidated", "leverage_cme_long_liquidation_ratio", _part2, cme),
        line("ETF flow of the last day", "leverage_etf_net_flow_usd", dollars, etf),
        line("ETF redeemed, of inflows before", "leverage_etf_redemption_ratio", share, etf),
        line("ETF redeemed, of assets", "leverage_etf_redemption_to_assets_ratio", _part2, etf),
    ]
    disagree = read(present, "leverage_market_condition", kind="perps_and_cme_disagree")
    # The condition is made of CME's reports: older than they may be, it says nothing.
    words = {1.0: "Perpetuals and CME disagree.", 0.0: "Perpetuals and CME do not clearly disagree."}
    note = words.get(disagree, "") if disagree is not None and all(cme.values()) else ""
    return Panel("Perpetuals and CME, ETF redemptions", assets, lines, note)


def _gold(present: Known, now: float) -> Panel:
    late = board.slow(present, now, "gold")[1]
    of = {} if late else board.ratios(present)
    fair = {
        bound: None if late else read(present, "leverage_fair_value_usd", bound=bound)
        for bound in ("mid", "low", "high")
    }

    def one(label: str, name: str, show: Show) -> Line:
        return Line(label, ["too old" if late else show(read(present, name))], [late is not None])

    weekend = _weekend_gold(present, now)
    lines = [
        Line("Volatility against gold's", [_band(of.get("mid"), of.get("low"), of.get("high"), _plain)],
             [False]),
        Line("Fair value of a bitcoin", [_whole(fair["mid"])], [False]),
        Line("its 90 % interval", [_interval(fair["low"], fair["high"])], [False]),
        Line("Price", [_whole(read(present, "leverage_reference_price_usd", asset="BTC"))], [False]),
        one("Gap to the price", "leverage_fair_value_gap_ratio", _change),
        one("Ratio at which the price is fair", "leverage_break_even_volatility_ratio", _plain),
        one("Gold, an ounce", "leverage_gold_price_usd", dollars),
        *weekend,
        one("Held in gold privately", "leverage_gold_private_investment_usd", dollars),
    ]  # fmt: skip
    certain = None if late else read(present, "leverage_fair_value_gap_certain")
    sure = {1.0: "The gap is larger than its error. ", 0.0: "The gap is within its error. "}
    note = f"{late}. " if late else sure.get(certain, "") if certain is not None else ""
    note += "Spot gold rests: the proxy is shown only, nothing here is computed from it. " if weekend else ""
    return Panel(
        "Bitcoin against gold", ["BTC"], lines,
        f"{note}In brackets 90 %. Conditional on bitcoin deserving gold's share of risk; no forecast.",
    )  # fmt: skip


def _weekend_gold(present: Known, now: float) -> list[Line]:
    """A line while spot gold rests, and none while it is traded."""
    proxy = board.gold_proxy(present, now)
    if proxy is None:
        return []
    return [Line(capitalize_first(board.WEEKEND_GOLD), [in_words(proxy, now)], [False])]


def in_words(proxy: board.Proxy, now: float | None) -> str:
    """`$4,153.10, XAUUSDT of binance_xau, 3 min old`."""
    told = f"{dollars(proxy.usd)}, {proxy.symbol} of {proxy.source}"
    return told if proxy.as_of is None or now is None else f"{told}, {age(now - proxy.as_of)} old"


def _trust(present: Known, assets: Sequence[str], samples: Samples | None, health: Health) -> Panel:
    least = read(present, "leverage_threshold_ratio", kind="min_coverage") or board.RULE.min_coverage
    coverage = {asset: read(present, "leverage_coverage_ratio", asset=asset) for asset in assets}
    levels = {asset: _level(samples, asset) for asset in assets}
    aside = {
        asset: sorted(
            dict(labels)["venue"]
            for (name, labels), value in present.items()
            if name == "leverage_venue_set_aside" and value == 1 and dict(labels)["asset"] == asset
        )
        for asset in assets
    }
    days = {asset: read(present, "leverage_history_seconds", asset=asset) for asset in assets}
    lines = [
        Line("Coverage", [share(coverage[a]) for a in assets], [(coverage[a] or 0) < 0.9 for a in assets]),  # noqa: PLR2004 -- full coverage, phases.FULL_COVERAGE
        Line("Venues heard", [_of(levels[a], "venues", "expected") for a in assets], [False] * len(assets)),
        Line("Instruments heard", [_of(levels[a], "known", "listed") for a in assets], [False] * len(assets)),
        Line("Set aside at the last close", [", ".join(aside[a]) or "none" for a in assets],
             [bool(aside[a]) for a in assets]),
        Line("History", [UNKNOWN if days[a] is None else age(days[a]) for a in assets],
             [(days[a] or 0) < ENOUGH_DAYS * board.DAY_S for a in assets]),
    ]  # fmt: skip
    channels = health.channels()
    up = sum(health.stream_up(*one) for one in channels)
    bad = sum(health.implausible.values())
    note = [f"{up} of {len(channels)} channels up.", f"Under {least:.0%} coverage no phase is told."]
    if bad:
        note.insert(1, f"{bad} readings are not believed.")
    return Panel("Can it be trusted now", assets, lines, " ".join(note))


def _of(level: Mapping[str, Any], part: str, whole: str) -> str:
    return f"{level[part]} of {level[whole]}" if level else UNKNOWN


def _band(mid: float | None, low: float | None, high: float | None, show: Show) -> str:
    if mid is None or low is None or high is None:
        return show(mid)
    return f"{show(mid)} [{show(low)}, {show(high)}]"


def _interval(low: float | None, high: float | None) -> str:
    return UNKNOWN if low is None or high is None else f"{_whole(low)} to {_whole(high)}"


def _part2(value: float | None) -> str:
    return UNKNOWN if value is None else f"{(value or 0.0) * 100:.2f} %"  # there is a -0.0


def _signed(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:+.2f}"


def _plain(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f}"


def _whole(value: float | None) -> str:
    return UNKNOWN if value is None else f"${value:,.0f}"


def _funding(value: float | None) -> str:
    return percent(value, 4)


def _change(value: float | None) -> str:
    return percent(value, 0)


def _at_least(value: float | None) -> str:
    return UNKNOWN if value is None else f"≥ {dollars(value)}"


# The board.


def value_in_words(row: Row) -> str:
    """The value of a claim with its interval: `-2.24 %`, `1.65 [1.35, 2.18]`; a dash if unknown."""
    show: Mapping[board.Form, Show] = {
        "z": _signed, "share": _part2, "change": percent, "ratio": _plain, "usd": _whole,
        "confidence": _plain,
    }  # fmt: skip
    return _band(row.value, row.low, row.high, show[row.form])


def _claims(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows by claim."""
    claims: dict[str, dict[str, Any]] = {}
    for row in rows:
        claim = claims.setdefault(row.claim, {"claim": row.claim, "rule": row.rule, "rows": []})
        claim["rows"].append(
            {
                "asset": row.asset,
                "value": value_in_words(row),
                "verdict": row.verdict,
                "remark": row.remark,
                "as_of": UNKNOWN if row.as_of is None else short(round(row.as_of * 1000)),
            }
        )
    return list(claims.values())


def short(moment: Millis) -> str:
    """`2026-09-30 08:00`, in UTC."""
    return f"{datetime.fromtimestamp(moment / 1000, UTC):%Y-%m-%d %H:%M}"


# Instruments, channels, sources.


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


def _source(health: Health, name: str, now: Millis) -> dict[str, Any]:
    as_of = health.source_as_of.get(name)
    problem = health.source_last_problem.get(name)
    state = "never answered" if as_of is None else "good"
    if as_of is not None and now - as_of > health.source_max_age[name]:
        state = "too old"
    elif problem is not None and as_of is not None:
        state = "failing, last value kept"
    return {
        "name": name,
        "state": state,
        "good": state == "good",
        "as_of": UNKNOWN if as_of is None else short(as_of),
        "age": None if as_of is None else (now - as_of) / 1000,
        "life": health.source_max_age[name] / 1000,
        "problem": problem,
    }
