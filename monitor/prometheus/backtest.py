"""Alerting rules over the past: when each would have fired and ended.

Prometheus evaluates the expressions, over samples that lie in it. What is left is the life of an alert,
which Prometheus computes only for the present: `for`, `keep_firing_for`, and that a rule may read its own
state (`ALERTS`) to stay. The last is why each expression is evaluated twice: as if its alert were not
firing, and as if it were (a series in place of `ALERTS` that is always 1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import polars as pl

from monitor.deleveraging.past import CONDITIONS
from monitor.deleveraging.phases import Thresholds
from monitor.ladder import DAY, HOUR
from monitor.metrics import METRICS
from monitor.metrics.metric import LABELS
from monitor.prometheus.export import of_days

ALWAYS = "backtest_alerts"
"""Stands for `ALERTS` of an alert that fires."""
STEP_S = HOUR // 1000
"""Rows of a table are held to the next, and looked at this often, since windows of rules begin and end."""
_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^}]*\})?")
GATES = ("leverage_coverage_ratio", "leverage_threshold_ratio")
"""What every alert on the market asks before it begins."""
_STATES = ("leverage_phase", "leverage_deleveraging_verdict")
_EXPORTED = {metric.name: metric for metric in METRICS}


class Rule(msgspec.Struct, frozen=True):
    """An alerting rule, without its texts."""

    alert: str
    expr: str
    for_s: float
    keep_s: float
    labels: Mapping[str, str]

    @property
    def selectors(self) -> tuple[str, ...]:
        """The series that it reads, but its own state."""
        bare = re.sub(r'"[^"]*"', lambda text: "\0" * len(text.group()), self.expr)
        found: dict[str, None] = {}
        for match in _SELECTOR.finditer(bare):
            name = match.group(1)
            if name == "up" or name.startswith(("leverage_", "monitor_")) or name.count(":") > 1:
                found[self.expr[match.start() : match.end()]] = None
        return tuple(found)

    @property
    def firing(self) -> str:
        """The expression while the alert fires."""
        return re.sub(r"\bALERTS\b", ALWAYS, self.expr)

    def known(self, min_coverage: float) -> str:
        """An expression that has an answer for each asset of which the rule could tell."""
        own = [one for one in self.selectors if not one.startswith(GATES)]
        of = [f"count by (asset) ({one})" for one in dict.fromkeys(own)]
        if not of:
            return "count by (asset) (leverage_coverage_ratio)"
        known = " and on (asset) ".join(of)
        if any(one.startswith(GATES[0]) for one in self.selectors):
            known += f" and on (asset) leverage_coverage_ratio >= {min_coverage}"
        if any(one.startswith(_STATES) for one in own):
            known += ' unless on (asset) leverage_phase{phase="undetermined"} == 1'
        return known


def rules(groups: Iterable[Mapping[str, Any]]) -> list[Rule]:
    """The alerts of groups of rules.

    Raises:
        KeyError: a rule has no expression.
        ValueError: a duration is none.
    """
    return [
        Rule(
            str(one["alert"]), str(one["expr"]), seconds(str(one.get("for", "0s"))),
            seconds(str(one.get("keep_firing_for", "0s"))), one.get("labels") or {},
        )
        for group in groups
        for one in group.get("rules") or []
        if "alert" in one
    ]  # fmt: skip


_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}


def seconds(text: str) -> float:
    """A duration as Prometheus writes it.

    Raises:
        ValueError: it is none.
    """
    if not re.fullmatch(r"(\d+(ms|[smhdwy]))+|0", text):
        raise ValueError(f"no duration: {text!r}")
    return float(sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+)(ms|[smhdwy])", text)))


class Firing(msgspec.Struct, frozen=True):
    """One alert, from when it fired to when it ended."""

    alert: str
    labels: Mapping[str, str]
    start: float
    """Seconds UTC."""
    end: float | None
    """None: it still fires where the input ends."""


def life(
    alone: Sequence[bool], held: Sequence[bool], step_s: float, for_s: float, keep_s: float
) -> list[tuple[float, float | None]]:
    """When an alert fires, in seconds since the first instant.

    Between two instants nothing changes. An alert whose expression has had an answer for `for_s` fires, one
    that has had none for `keep_s` ends: Prometheus, `rules/alerting.go`, `AlertingRule.Eval`.

    Args:
        alone: whether the expression has an answer at each instant while the alert does not fire.
        held: the same while it does.
        step_s: from one instant to the next.
        for_s: `for` of the rule.
        keep_s: `keep_firing_for`.
    """
    found: list[tuple[float, float | None]] = []
    pending: float | None = None
    fired: float | None = None
    quiet: float | None = None
    for number, (without, within) in enumerate(zip(alone, held, strict=True)):
        at, following = number * step_s, (number + 1) * step_s
        if fired is None:
            pending = (at if pending is None else pending) if without else None
        elif within:
            quiet = None
        else:
            quiet = at if quiet is None else quiet
        if fired is None and pending is not None and pending + for_s < following:
            fired, pending = pending + for_s, None
        if fired is not None and quiet is not None and quiet + keep_s < following:
            found.append((fired, quiet + keep_s))
            fired = quiet = None
    if fired is not None:
        found.append((fired, None))
    return found


# What a table would have been exported as.


def samples(assessed: pl.DataFrame, rule: Thresholds, wanted: Sequence[Rule]) -> dict[str, pl.DataFrame]:
    """What the monitor would have exported of days, of what the rules read, and the series `ALWAYS`.

    Args:
        assessed: days as `phases.assess` gives them.
        rule: thresholds of the phases.
        wanted: the rules.
    """
    names = {match.group() for one in wanted for s in one.selectors if (match := re.match(r"\w+", s))}
    found = {name: lot for name, lot in of_days(assessed, rule.min_coverage).items() if name in names}
    times = found["leverage_coverage_ratio"].select("asset", "time")
    every = times.select("time").unique().sort("time")
    found["leverage_phase_provisional"] = times.with_columns(value=pl.lit(0.0))
    found["leverage_threshold_ratio"] = every.select(
        pl.lit("min_coverage").alias("kind"), "time", value=pl.lit(rule.min_coverage)
    )
    found["leverage_condition"] = conditions(assessed)
    found[ALWAYS] = always(wanted, times, every)
    return found


def always(wanted: Sequence[Rule], times: pl.DataFrame, every: pl.DataFrame) -> pl.DataFrame:
    """The state of every alert, as if it fired all the time: for each asset, and for none."""
    states = [one for one in wanted if re.search(r"\bALERTS\b", one.expr)]
    labels = ("alertname", "alertstate", "severity", "category", "asset")
    of = pl.concat([times, every.with_columns(asset=pl.lit(""))], how="diagonal").unique()
    lots = [
        of.with_columns(
            alertname=pl.lit(one.alert), alertstate=pl.lit("firing"), value=pl.lit(1.0),
            **{name: pl.lit(one.labels.get(name, "")) for name in ("severity", "category")},
        ).select(*labels, "time", "value")
        for one in states
    ]  # fmt: skip
    schema = {**dict.fromkeys(labels, pl.String), "time": pl.Int64, "value": pl.Float64}
    return pl.concat([pl.DataFrame(schema=schema), *lots]).unique(maintain_order=True)


def conditions(assessed: pl.DataFrame) -> pl.DataFrame:
    """The conditions that daily closes tell: funding, with its hysteresis, from each close to the next."""
    rows: list[tuple[str, str, int, float]] = []
    for (asset,), days in assessed.group_by("asset", maintain_order=True):
        for kind, sign in (("funding_high", 1), ("funding_low", -1)):
            begins, ends = CONDITIONS[kind]
            held = False
            for day, percentile in days.select("day", "funding_percentile").iter_rows():
                held = percentile is not None and sign * percentile >= (ends if held else begins)
                if percentile is not None:
                    rows.append((str(asset), kind, (day + 1) * DAY, float(held)))
    names = LABELS[_EXPORTED["leverage_condition"].view]
    schema = {**dict.fromkeys(names, pl.String), "time": pl.Int64, "value": pl.Float64}
    hours = pl.int_ranges(0, DAY // HOUR, dtype=pl.Int64) * HOUR
    return (
        pl.DataFrame(rows, schema, orient="row").with_columns(pl.col("time") + hours).explode("time")
    )  # fmt: skip


# Held against events.


class Known(msgspec.Struct, frozen=True):
    """Something that is known to have happened."""

    at: float
    """Seconds UTC; of a date its beginning."""
    label: str
    asset: str | None = None
    alert: str = "PurgeStarted"


class Judged(msgspec.Struct, frozen=True):
    """What became of one alert on one asset."""

    alert: str
    severity: str
    asset: str
    firings: tuple[Firing, ...]
    blind_s: float
    """Time at which it could not have told."""
    start: float
    end: float
    """Of the input, seconds UTC."""
    matches: Mapping[str, tuple[Known, Firing]] = {}
    """By label and date: the event, and the first alert near it."""
    missed: tuple[Known, ...] = ()
    wrong: tuple[Firing, ...] | None = None
    """Alerts near no event; None where no event is known for the alert."""

    @property
    def length_s(self) -> float:
        """Of the input."""
        return self.end - self.start

    @property
    def delays_s(self) -> list[float]:
        """From the event to the alert."""
        return [firing.start - known.at for known, firing in self.matches.values()]

    @property
    def wrong_a_month(self) -> float | None:
        """Alerts near no event, in a month of time that is not blind."""
        seen = self.length_s - self.blind_s
        if self.wrong is None or seen <= 0:
            return None
        return len(self.wrong) / seen * MONTH_S


MONTH_S = 365.25 * 86_400 / 12
NEAR_S = 2 * 86_400
"""An alert belongs to an event if it begins within two days before the event's day, or after it."""
DAY_S = 86_400


def judge(of: Judged, events: Sequence[Known], start: float, end: float) -> Judged:
    """Holds alerts against the events of their asset, each alert to any event that is near."""
    mine = [
        one for one in events
        if one.alert == of.alert and one.asset in (None, of.asset) and start <= one.at <= end
    ]  # fmt: skip
    if not mine:
        return of
    matches, missed = {}, []
    for one in mine:
        near = [firing for firing in of.firings if _near(one, firing)]
        if near:
            first = min(near, key=lambda firing: (abs(firing.start - one.at), firing.start))
            matches[f"{one.at} {one.label}"] = one, first
        else:
            missed.append(one)
    wrong = tuple(firing for firing in of.firings if not any(_near(one, firing) for one in mine))
    return msgspec.structs.replace(of, matches=matches, missed=tuple(missed), wrong=wrong)


def _near(event: Known, firing: Firing) -> bool:
    """A close tells of its day: an alert at the close of the second day after is still near."""
    return event.at - NEAR_S + DAY_S <= firing.start <= event.at + NEAR_S + DAY_S + 60
