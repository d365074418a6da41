"""The article's claims and the six questions, answered from samples alone.

The page, the command and the tests give the same mapping of samples, so a verdict cannot differ between
them. An input that is absent, or older than it may be, makes a claim unknown, with the reason; never false.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

import msgspec

from monitor.deleveraging.average import ENOUGH_DAYS
from monitor.deleveraging.phases import (
    PHASES,
    RELAPSE_ANY_DAY,
    VERDICTS,
    Phase,
    Thresholds,
    Verdict,
    in_words,
    relapse_in_words,
)
from monitor.sources import SOURCES

Key: TypeAlias = tuple[str, frozenset[tuple[str, str]]]
"""Name of a metric and its labels."""
Known: TypeAlias = Mapping[Key, float]
"""Samples of one instant. What is not in it is not known."""
Truth = Literal["true", "false", "mixed", "unknown"]
Form = Literal["z", "share", "change", "ratio", "usd", "confidence"]
"""How a value is to be shown: deviations, part of a whole, signed part, plain ratio, dollars."""

DAY_S = 86_400.0
HIGH, MEDIUM = 0.7, 0.4
"""Confidence from which on it is called so (methodology 7.4)."""
RATIO_WINDOW, RATIO_DAYS = "126d", 126
RATIO_LIMIT = 2.0
TIE = 0.05
"""Completeness of two assets that differs by less is the same."""
RULE = Thresholds()
NO_FLOWS = "no ETF flows: give a file, docs/SOURCES.md"
NO_CME = "no CME report yet: source cftc, docs/SOURCES.md"
WEEKEND_GOLD = "gold (proxy, weekend)"
NO_GOLD = "no gold price yet: sources lbma_pm and gold_api, docs/SOURCES.md"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One claim, of one asset."""

    claim: str
    metric: str
    """What `value` is a sample of."""
    rule: str
    asset: str
    value: float | None
    form: Form
    verdict: Truth
    remark: str
    """Why it is unknown, or what to know beside the value."""
    low: float | None = None
    high: float | None = None
    """Ends of the 90 % interval of the value, where it has one."""
    since: float | None = None
    """Seconds since 1970: when the state behind the verdict began, where it has a beginning."""
    as_of: float | None = None
    """Seconds since 1970: of what time the value is; of the newest of its sources if they are slow."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The first of the six questions, of one asset: where it stands and whether deleveraging is behind."""

    asset: str
    phase: Phase
    provisional: bool
    """A purge of the running day, not confirmed by its close."""
    since: float | None
    """Seconds since 1970."""
    side: Literal["long_flush", "short_squeeze"] | None
    depth: float | None
    destroyed_usd: float | None
    verdict: Verdict
    words: str
    confidence: float | None
    label: str
    """Of the confidence: high, medium, low."""
    relapse: str | None
    """What followed after such a phase before, and after any day."""
    missing: str | None
    """Why nothing can be said, where nothing can."""


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """What stands for gold while spot gold rests: to be shown, and in none of the claims."""

    source: str
    symbol: str
    usd: float
    """Of a stablecoin, an ounce."""
    as_of: float | None
    """Seconds since 1970."""


def key(name: str, **labels: str) -> Key:
    """The key of a sample."""
    return name, frozenset(labels.items())


def read(known: Known, name: str, **labels: str) -> float | None:
    """A sample, or None."""
    return known.get((name, frozenset(labels.items())))


def heard_at(known: Known) -> float | None:
    """When the newest event of any venue was received, in seconds since 1970."""
    return max(_all(known, "monitor_last_event_timestamp_seconds"), default=None)


def followed(known: Known) -> list[str]:
    """The assets there are samples of: bitcoin and ether first."""
    found = {label for (name, labels) in known if name == "leverage_coverage_ratio" for _, label in labels}
    return sorted(found, key=lambda asset: (asset != "BTC", asset != "ETH", asset))


def confidence_label(confidence: float) -> str:
    """`high`, `medium` or `low` (methodology 7.4)."""
    return "high" if confidence >= HIGH else "medium" if confidence >= MEDIUM else "low"


def answer(known: Known, asset: str) -> Answer:
    """Phase and verdict of an asset."""
    phase: Phase = "undetermined"
    for one in PHASES:
        if read(known, "leverage_phase", asset=asset, phase=one) == 1:
            phase = one
    verdict: Verdict = "undetermined"
    for said in VERDICTS:
        if read(known, "leverage_deleveraging_verdict", asset=asset, verdict=said) == 1:
            verdict = said
    sides: tuple[Literal["long_flush", "short_squeeze"], ...] = ("long_flush", "short_squeeze")
    side = next((s for s in sides if read(known, "leverage_purge_side", asset=asset, kind=s) == 1), None)
    unknown = phase == "undetermined"
    confidence = None if unknown else read(known, "leverage_phase_confidence_ratio", asset=asset)
    return Answer(
        asset=asset,
        phase=phase,
        provisional=read(known, "leverage_phase_provisional", asset=asset) == 1,
        since=None if unknown else read(known, "leverage_phase_start_timestamp_seconds", asset=asset),
        side=side,
        depth=read(known, "leverage_purge_depth_ratio", asset=asset),
        destroyed_usd=read(known, "leverage_purge_destroyed_usd", asset=asset),
        verdict=verdict,
        words=in_words(phase, verdict),
        confidence=confidence,
        label="" if confidence is None else confidence_label(confidence),
        relapse=_relapse(phase),
        missing=missing(known, asset) if unknown else None,
    )


def _relapse(phase: Phase) -> str | None:
    counted = relapse_in_words(phase)
    if counted is None:
        return None
    purges, days = RELAPSE_ANY_DAY[30]
    return f"{counted}; of all days outside a purge {purges / days:.0%} did"


def missing(known: Known, asset: str) -> str:
    """Why an asset has no average, or no phase."""
    coverage = read(known, "leverage_coverage_ratio", asset=asset)
    least = read(known, "leverage_threshold_ratio", kind="min_coverage") or RULE.min_coverage
    history = (read(known, "leverage_history_seconds", asset=asset) or 0.0) / DAY_S
    if coverage is None:
        return "no venue has spoken of it yet"
    if coverage < least:
        return f"blind: coverage {coverage:.0%}, at least {least:.0%} is needed"
    if history < ENOUGH_DAYS:
        return f"history shorter than {ENOUGH_DAYS} days ({history:.0f}): run `monitor backfill`"
    return "warming up: changes of 24 hours are not known yet"


def board(known: Known, at: float | None = None) -> list[Row]:
    """The claims of November 2025 (methodology 0.1), each judged by its rule on what is known.

    Args:
        known: samples of one instant.
        at: that instant, in seconds since 1970; the newest event's if not given.
    """
    now = heard_at(known) if at is None else at
    return [
        *_average(known, now),
        *_less_pronounced(known, now),
        *_cme(known, now),
        *_etf(known, now),
        *_behind(known, now),
        *_volatility_ratio(known, now),
        *_fair_value(known, now),
    ]


BOTH = ("BTC", "ETH")


def _average(known: Known, now: float | None) -> Iterable[Row]:
    metric = "leverage_open_interest_to_market_cap_zscore"
    limit = read(known, "leverage_threshold_ratio", kind="reset_z")
    limit = RULE.reset_z if limit is None else limit
    for asset in BOTH:
        z = read(known, metric, asset=asset)
        verdict, remark, since = _held(known, asset, z, limit, now)
        yield Row(
            claim="Perpetual open interest is back at its long-term average.", metric=metric,
            rule=f"z at or below {limit:+g} for {RULE.reset_days:g} days", asset=asset, value=z, form="z",
            verdict=verdict, remark=remark, since=since, as_of=None if z is None else now,
        )  # fmt: skip


def _held(
    known: Known, asset: str, z: float | None, limit: float, now: float | None
) -> tuple[Truth, str, float | None]:
    """Whether z has been low for as long as the rule wants, and since when."""
    if z is None:
        return "unknown", missing(known, asset), None
    level = read(known, "leverage_open_interest_to_market_cap_ratio", asset=asset)
    average = read(known, "leverage_open_interest_to_market_cap_average_ratio", asset=asset)
    beside = "" if not level or not average else f"{level / average - 1:+.0%} against the average"
    if z > limit:
        return "false", beside, None
    since = read(known, "leverage_at_average_start_timestamp_seconds", asset=asset)
    if since is None and read(known, "leverage_phase", asset=asset, phase="reset") == 1:
        # The phase is entered after those days, and left where z is high.
        since = read(known, "leverage_phase_start_timestamp_seconds", asset=asset)
        return "true", beside, since
    if since is not None and now is not None and now - since >= RULE.reset_days * DAY_S:
        return "true", beside, since
    short = f"there now, not known to have held for {RULE.reset_days:g} days"
    return "mixed", f"{beside}; {short}" if beside else short, since


def _less_pronounced(known: Known, now: float | None) -> Iterable[Row]:
    metric = "leverage_deleveraging_completeness_ratio"
    values = {asset: read(known, metric, asset=asset) for asset in BOTH}
    bitcoin, ether = values["BTC"], values["ETH"]
    verdict: Truth = "unknown"
    if bitcoin is not None and ether is not None:
        verdict = "mixed" if abs(ether - bitcoin) < TIE else "true" if ether < bitcoin else "false"
    for asset, value in values.items():
        remark = "of the way from the peak before the purge back to the average"
        if value is None:
            purged = read(known, "leverage_purge_depth_ratio", asset=asset) is not None
            z = read(known, "leverage_open_interest_to_market_cap_zscore", asset=asset)
            remark = "no purge is under way or stabilising, nothing to compare"
            if z is None:
                remark = missing(known, asset)
            elif purged:
                remark = "was not above its average before the purge"
        yield Row(
            claim="Ether followed, less pronounced.", metric=metric,
            rule=f"completeness of ETH below BTC's by {TIE * 100:.0f} points", asset=asset, value=value,
            form="share", verdict=verdict, remark=remark, as_of=None if value is None else now,
        )  # fmt: skip


def _cme(known: Known, now: float | None) -> Iterable[Row]:
    metric = "leverage_cme_liquidation_proxy_ratio"
    as_of, late = slow(known, now, "cftc", "cme")
    values = {asset: None if late else read(known, metric, asset=asset) for asset in BOTH}
    bitcoin, ether = values["BTC"], values["ETH"]
    verdict: Truth = "unknown"
    if bitcoin is not None and ether is not None:
        verdict = "true" if ether < min(bitcoin, 0.0) else "false"
    for asset, value in values.items():
        longs = read(known, "leverage_cme_long_liquidation_ratio", asset=asset)
        told = "" if longs is None else f"{longs or 0.0:.1%} of open interest went in falling weeks"
        yield Row(
            claim="In CME futures it is the opposite: more was liquidated in ether.", metric=metric,
            rule="position change of 4 weeks: ETH below BTC and below zero", asset=asset, value=value,
            form="change", verdict=verdict, remark=late or (NO_CME if value is None else told), as_of=as_of,
        )  # fmt: skip


def _etf(known: Known, now: float | None) -> Iterable[Row]:
    metric = "leverage_etf_redemption_to_assets_ratio"
    truths: dict[str, Truth] = {"small": "true", "moderate": "mixed", "material": "false"}
    for asset in BOTH:
        as_of, late = slow(known, now, f"etf_{asset.lower()}")
        ratio = read(known, "leverage_etf_redemption_ratio", asset=asset)
        value = None if late else read(known, metric, asset=asset)
        size = None
        if not late:
            name = "leverage_etf_redemption_size"
            size = next((kind for kind in truths if read(known, name, asset=asset, kind=kind) == 1), None)
        if late or (size is None and ratio is None and value is None):
            remark = late or NO_FLOWS
        else:
            against = "unknown" if ratio is None else f"{ratio:.0%}"
            remark = f"{size or 'size unknown'}: {against} of the two weeks' inflow before the peak"
            if value is None:
                remark += "; assets of the funds unknown"
        yield Row(
            claim="ETF redemptions are small against the inflows before.", metric=metric,
            rule="under 2 % of assets and under 50 % of inflows", asset=asset, value=value, form="share",
            verdict="unknown" if size is None else truths[size], remark=remark, as_of=as_of,
        )  # fmt: skip


def _behind(known: Known, now: float | None) -> Iterable[Row]:
    truths: dict[Verdict, Truth] = {
        "yes": "true", "partly": "mixed", "no": "false", "undetermined": "unknown",
    }  # fmt: skip
    for asset in BOTH:
        said = answer(known, asset)
        parts = [said.missing or said.words]
        if said.confidence is not None:
            parts.append(f"confidence {said.label}")
        if said.relapse is not None:
            parts.append(said.relapse)
        yield Row(
            claim="Deleveraging is likely behind (which says nothing about price).",
            metric="leverage_phase_confidence_ratio",
            rule="stabilising for 3 days or reset, z at or below +0.5, no purge for 7 days",
            asset=asset, value=said.confidence, form="confidence", verdict=truths[said.verdict],
            remark="; ".join(parts), since=said.since, as_of=None if said.confidence is None else now,
        )  # fmt: skip


def ratios(known: Known, window: str = RATIO_WINDOW) -> dict[str, float]:
    """The volatility ratio of a window by its bounds; of spot gold where there are several golds."""
    found: dict[str, dict[str, float]] = {}
    for (name, labels), value in known.items():
        of = dict(labels)
        if name == "leverage_bitcoin_gold_volatility_ratio" and of.get("window") == window:
            found.setdefault(of.get("gold", ""), {})[of.get("bound", "mid")] = value
    golds = sorted(found, key=lambda gold: (gold != "spot", gold))
    return found[golds[0]] if golds else {}


def _volatility_ratio(known: Known, now: float | None) -> Iterable[Row]:
    as_of, late = slow(known, now, "gold")
    of = {} if late else ratios(known)
    mid, low, high = of.get("mid"), of.get("low"), of.get("high")
    verdict: Truth = "unknown"
    remark = late or NO_GOLD
    if mid is not None:
        verdict = "true" if mid < RATIO_LIMIT else "false"
        remark = f"bitcoin takes {mid:.2f} times the risk capital of gold"
        if low is not None and high is not None and low < RATIO_LIMIT <= high:
            remark += f"; its interval holds {RATIO_LIMIT:g}"
    elif not late and as_of is not None:
        remark = f"{RATIO_DAYS} gold trading days of both are not known yet"
    yield Row(
        claim="Bitcoin takes less than twice the risk capital of gold.",
        metric="leverage_bitcoin_gold_volatility_ratio",
        rule=f"volatility ratio of {RATIO_DAYS} gold trading days under {RATIO_LIMIT:.1f}", asset="BTC",
        value=mid, low=low, high=high, form="ratio", verdict=verdict, remark=remark, as_of=as_of,
    )  # fmt: skip


def _fair_value(known: Known, now: float | None) -> Iterable[Row]:
    metric = "leverage_fair_value_usd"
    as_of, late = slow(known, now, "gold")
    bounds: dict[str, float | None] = {
        bound: None if late else read(known, metric, bound=bound) for bound in ("mid", "low", "high")
    }
    mid = bounds["mid"]
    gap, usd = read(known, "leverage_fair_value_gap_ratio"), read(known, "leverage_fair_value_gap_usd")
    certain = read(known, "leverage_fair_value_gap_certain")
    verdict: Truth = "unknown"
    remark = late or NO_GOLD
    if mid is not None and (gap is None or usd is None):
        remark = "no price of bitcoin to hold it against"
    elif mid is not None and gap is not None and usd is not None:
        verdict = "mixed" if certain != 1 else "true" if gap > 0 else "false"
        error = {1.0: "larger than its error", 0.0: "within its error"}.get(certain or 0.0, "")
        if certain is None:
            error = "its error is unknown"
        sign = "above" if gap > 0 else "below"
        remark = f"{abs(usd):,.0f} USD ({gap:+.0%}) {sign} the price, {error}; conditional, no forecast"
    yield Row(
        claim="Held against gold at equal risk, bitcoin is worth more than it costs.", metric=metric,
        rule="gold investment / (volatility ratio x supply) above the price by more than its error",
        asset="BTC", value=mid, low=bounds["low"], high=bounds["high"], form="usd", verdict=verdict,
        remark=remark, as_of=as_of,
    )  # fmt: skip


def gold_proxy(known: Known, at: float | None = None) -> Proxy | None:
    """What stands for gold now: a perpetual on gold before one on a token. None while spot gold is traded.

    Args:
        known: samples of one instant.
        at: that instant, in seconds since 1970; the newest event's if not given.
    """
    now = heard_at(known) if at is None else at
    found = {
        of["source"]: (of["symbol"], value)
        for (name, labels), value in known.items()
        if name == "leverage_gold_proxy_price_usd" and (of := dict(labels))
    }
    for source in SOURCES:
        if source in found and slow(known, now, source)[1] is None:
            symbol, usd = found[source]
            return Proxy(source=source, symbol=symbol, usd=usd, as_of=slow(known, now, source)[0])
    return None


def slow(known: Known, now: float | None, *kinds: str) -> tuple[float | None, str | None]:
    """Of what time the newest value of slow sources is, by name or kind; and a reason if it is too old."""
    ages: list[tuple[float, float, str]] = []
    for name, source in SOURCES.items():
        at = read(known, "monitor_source_timestamp_seconds", source=name)
        if at is not None and (name in kinds or source.kind in kinds):
            life = read(known, "monitor_source_max_age_seconds", source=name)
            ages.append((at, math.inf if life is None else life, name))
    if not ages:
        return None, None
    newest = max(ages)[0]
    if now is None or any(now - at <= life for at, life, _ in ages):
        return newest, None
    return newest, f"source {max(ages)[2]} is {(now - newest) / DAY_S:.1f} days old, older than it may be"


def _all(known: Known, name: str) -> Iterable[float]:
    return (value for (of, _), value in known.items() if of == name)
