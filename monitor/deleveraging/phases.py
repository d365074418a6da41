"""Which phase of leverage an asset is in, why, and whether deleveraging is behind it. Methodology 7.

`features` are columns of a day; `Machine.step` takes one row after another and is the whole state machine.
Both look only back. The same step serves daily history and the running day of the live monitor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec
import polars as pl

from monitor.deleveraging.average import (
    AVERAGE_DAYS,
    ENOUGH_DAYS,
    MAD,
    YEAR,
    against_average,
    median_before,
    percentile,
    scale,
)

Phase = Literal["undetermined", "reset", "build_up", "stretched", "purge", "stabilising"]
PHASES: tuple[Phase, ...] = ("undetermined", "reset", "build_up", "stretched", "purge", "stabilising")
Verdict = Literal["yes", "partly", "no", "undetermined"]
VERDICTS: tuple[Verdict, ...] = ("yes", "partly", "no", "undetermined")


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """What the transitions compare with; defaults are those of methodology 7.2. Growths are log changes."""

    purge_growth: float = -0.06
    """One-day growth at or below which, with `purge_z`, leverage is being destroyed."""
    purge_z: float = -5.0
    purge_severe: float = -0.18
    """So much in a day is a purge from `purge_severe_z` on: a thin or young venue is loud on any day."""
    purge_severe_z: float = -3.5
    purge_growth_3d: float = -0.10
    purge_z_3d: float = -4.0
    purge_growth_4h: float = -0.06
    """Intraday: provisional until the day closes."""
    purge_new_low: float = 0.97
    """While stabilising, open interest under this part of the trough is a new purge."""
    quiet_z: float = -2.0
    quiet_days: float = 3
    reset_z: float = 0.5
    """At or below it leverage is back at its long-term average."""
    reset_days: float = 3
    stabilising_days: float = 4
    stabilising_most_days: float = 14
    build_up_z: float = 1.0
    build_up_growth_14d: float = 0.10
    dwell_days: float = 5
    stretched: float = 0.80
    unstretched: float = 0.70
    stretched_days: float = 3
    min_coverage: float = 0.6
    blind_days: float = 2
    verdict_days: float = 7
    """Days without a purge before deleveraging can be behind."""


GROWTH_SCALE_FLOOR = 0.008
GROWTH_ENOUGH = 60
FUNDING_ENOUGH = 90
PEAK_DAYS = 30
STRETCH_WEIGHTS = (0.6, 0.4)
"""Of the percentiles of open interest to market cap, and of funding."""


def features(days: pl.DataFrame, average_days: int = AVERAGE_DAYS) -> pl.DataFrame:
    """Adds to the daily series (`aggregate.DAYS`) what decides the transitions, a row per asset and day.

    Levels are logs until shown: `index` against `log_average` is what decides, so that a splice of the
    scope moves neither. `oi_to_market_cap` and `average` are in the units of the scope of that day.
    `average_days` is the length of the long-term average.
    """
    assets = days.sort("asset", "day").partition_by("asset", maintain_order=True)
    return pl.concat([_of_asset(frame, average_days) for frame in assets or [days]])


def _of_asset(days: pl.DataFrame, average_days: int) -> pl.DataFrame:
    known = pl.col("index").is_not_null()
    funding = pl.col("funding_8h").rolling_mean(7, min_samples=4)
    open_interest_before = pl.col("usd").shift(1)
    liquidated = pl.sum_horizontal("long_usd", "short_usd")
    told = pl.col("long_usd").is_not_null() | pl.col("short_usd").is_not_null()
    frame = (
        days.with_columns(
            **against_average(pl.col("index"), average_days),
            growth_scale=pl.max_horizontal(
                MAD * median_before(pl.col("growth").abs(), YEAR, GROWTH_ENOUGH), GROWTH_SCALE_FLOOR
            ),
            growth_3d=pl.col("linked").rolling_sum(3, min_samples=3),
            growth_14d=pl.col("linked").rolling_sum(14, min_samples=14),
            open_interest=pl.col("linked").cum_sum(),
            return_1d=(pl.col("price") / pl.col("price").shift(1)).log(),
            return_3d=(pl.col("price") / pl.col("price").shift(3)).log(),
            funding_percentile=percentile(funding, YEAR, FUNDING_ENOUGH),
            funding_7d=funding,
            liquidation_intensity=pl.when(told & (open_interest_before > 0)).then(
                liquidated / open_interest_before
            ),
            before_usd=open_interest_before.forward_fill(),
            change_usd=pl.col("usd") - open_interest_before,
        )
        .with_columns(
            growth_scale=pl.when(pl.col("growth").is_not_null().cum_sum().shift(1) >= GROWTH_ENOUGH).then(
                "growth_scale"
            ),
            deviation=pl.col("index") - pl.col("log_average"),
            percentile=percentile(pl.col("index"), average_days, ENOUGH_DAYS),
            liquidation_percentile=percentile(pl.col("liquidation_intensity"), YEAR, FUNDING_ENOUGH),
            oi_to_market_cap=pl.when(known & pl.col("supply").is_not_null()).then(
                pl.col("coins") / pl.col("supply")
            ),
            position_effect_usd=open_interest_before * (pl.col("growth").exp() - 1),
            growth_percentile=percentile(pl.col("growth"), YEAR, GROWTH_ENOUGH),
            growth_3d_percentile=percentile(pl.col("growth_3d"), YEAR, GROWTH_ENOUGH),
            peak=pl.col("open_interest").rolling_max(PEAK_DAYS + 1, min_samples=1),
            before=pl.col("open_interest").shift(1).fill_null(pl.col("open_interest")),
        )
        .with_columns(
            # On a day of a splice the change is also what a venue brought or took.
            price_effect_usd=pl.when(~pl.col("spliced")).then(
                pl.col("change_usd") - pl.col("position_effect_usd")
            ),
            scale=scale(pl.col("deviation"), average_days),
            z_growth=pl.col("growth") / pl.col("growth_scale"),
            z_growth_3d=pl.col("growth_3d") / (pl.col("growth_scale") * math.sqrt(3)),
            average=pl.col("oi_to_market_cap") * (-pl.col("deviation")).exp(),
            mean=pl.col("oi_to_market_cap") * (pl.col("log_mean") - pl.col("index")).exp(),
        )
        .with_columns(z=pl.col("deviation") / pl.col("scale"))
    )
    falls = pl.Series("cusum", cusum(frame["z_growth"].to_list()), dtype=pl.Float64)
    return frame.with_columns(falls, stretch=stretch())


def stretch() -> pl.Expr:
    """How crowded: weighted mean of the percentiles that are known; null where open interest's is not."""
    level, funding = STRETCH_WEIGHTS
    both = level * pl.col("percentile") + funding * pl.col("funding_percentile")
    return pl.coalesce(both, "percentile")


def stretch_of(level: float | None, funding: float | None) -> float | None:
    """The same of two numbers."""
    if level is None or funding is None:
        return level
    return STRETCH_WEIGHTS[0] * level + STRETCH_WEIGHTS[1] * funding


CUSUM_SLACK, CUSUM_ALARM = 0.5, 4.0


def cusum(values: list[float | None], slack: float = CUSUM_SLACK) -> list[float]:
    """One-sided sums of falls, C = max(0, C - x - slack) (methodology 6); unknown values add nothing."""
    total, sums = 0.0, []
    for value in values:
        if value is not None:
            total = max(0.0, total - value - slack)
        sums.append(total)
    return sums


class Reason(msgspec.Struct, frozen=True):
    """One condition that binds: what was compared with what."""

    condition: str
    value: float
    threshold: float
    percentile: float | None = None

    def __str__(self) -> str:
        return f"{self.condition}: {self.value:+.4g} against {self.threshold:+.4g}"


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Where the machine stands after a row."""

    phase: Phase = "undetermined"
    since: float = 0.0
    """Day (fraction allowed) on which the phase was entered."""
    purged: float | None = None
    """Day of the last entry into purge."""
    side: Literal["long_flush", "short_squeeze"] | None = None
    peak: float = 0.0
    """Log open interest at constant price, the highest of the 30 days before the purge."""
    trough: float = 0.0
    before: float = 0.0
    """Log open interest at the close before the purge."""
    before_usd: float | None = None
    """Dollars of it."""
    quiet: float | None = None
    """First day of the present run of quiet days."""
    calm: float | None = None
    """First day of the present run at or under the average."""
    seen: float | None = None
    """Last day on which enough was known."""
    reasons: tuple[Reason, ...] = ()

    @property
    def destroyed_usd(self) -> float | None:
        """Dollars that the last purge destroyed, at the prices before it (methodology 3.3)."""
        if self.depth is None or self.before_usd is None:
            return None
        return self.before_usd * (1 - math.exp(min(0.0, self.trough - self.before)))

    @property
    def depth(self) -> float | None:
        """Share of open interest that the last purge destroyed, while it lasts or stabilises."""
        if self.phase not in ("purge", "stabilising"):
            return None
        return 1 - math.exp(min(0.0, self.trough - self.peak))


Row = Mapping[str, Any]


class Machine:
    """The transitions of methodology 7.2 over rows in the order of time."""

    def __init__(self, thresholds: Thresholds) -> None:
        self.thresholds = thresholds

    def step(self, state: State, row: Row, growth_4h: float | None = None) -> State:
        """The state after a row: data first, then the shock, which pre-empts everything, then the exits.

        `row` holds `day` (a number of days, with a fraction inside a day) and the columns of `features`;
        `growth_4h` is known inside a day only.
        """
        at = float(row["day"])
        if not self.sees(row):
            return self._blind(state, row, at)
        state = self._runs(state, row, at)
        if found := self._shock(state, row) or self._shock_4h(row, growth_4h):
            return self._purge(state, row, at, found)
        if state.phase in ("purge", "stabilising"):
            trough = min(state.trough, row["open_interest"])
            state = msgspec.structs.replace(state, trough=trough)
        return self._exit(state, row, at)

    def sees(self, row: Row) -> bool:
        """Whether enough is known: a change that only a minority witnessed decides nothing.

        On the day of return from a gap the change of that day is unknown, that of three days is not.
        """
        changed = row["growth"] is not None or row["growth_3d"] is not None
        return changed and row["z"] is not None and bool(row["believed"] >= self.thresholds.min_coverage)

    def shocked(self, state: State, row: Row, growth_4h: float | None) -> State:
        """The state between two steps: a purge if one has begun, else as it was."""
        if not self.sees(row) or not (self._shock(state, row) or self._shock_4h(row, growth_4h)):
            return state
        return self.step(state, row, growth_4h)

    def follow(self, state: State, row: Row) -> State:
        """A purge of the running day, which stands until the day closes."""
        if not self.sees(row):
            return state
        trough = min(state.trough, row["open_interest"])
        return msgspec.structs.replace(state, trough=trough, seen=float(row["day"]))

    def _shock_4h(self, row: Row, growth: float | None) -> tuple[Reason, ...]:
        rule, scale = self.thresholds, row["growth_scale"]
        if growth is None or scale is None:
            return ()
        found = (
            Reason("growth_4h", growth, rule.purge_growth_4h),
            Reason("growth_4h_z", growth / scale, rule.purge_z),
        )
        return found if all(reason.value <= reason.threshold for reason in found) else ()

    def _blind(self, state: State, row: Row, at: float) -> State:
        """Freezes for up to two days, then nobody knows."""
        enough = row["days_before"] >= ENOUGH_DAYS
        last = state.seen
        if enough and last is not None and at - last <= self.thresholds.blind_days:
            return state
        if state.phase == "undetermined":
            return state
        # `believed` is what the rule looks at; where that is enough, the day has no growth or no average.
        seen = Reason("coverage", row["believed"], self.thresholds.min_coverage)
        reasons = (seen,) if seen.value < seen.threshold else ()
        return State(phase="undetermined", since=at, purged=state.purged, reasons=reasons)

    def _runs(self, state: State, row: Row, at: float) -> State:
        rule = self.thresholds
        calm = row["z"] <= rule.reset_z
        state = msgspec.structs.replace(
            state, seen=at, calm=(at if state.calm is None else state.calm) if calm else None
        )
        if row["z_growth"] is None:  # neither quiet nor loud
            return state
        counted = row["z_growth"] > rule.quiet_z and (state.phase != "purge" or at >= state.since + 1)
        return msgspec.structs.replace(
            state, quiet=(at if state.quiet is None else state.quiet) if counted else None
        )

    def _shock(self, state: State, row: Row) -> tuple[Reason, ...]:
        rule = self.thresholds
        if row["growth_scale"] is None:
            return ()
        if row["growth"] is not None:
            for fall, z in ((rule.purge_growth, rule.purge_z), (rule.purge_severe, rule.purge_severe_z)):
                if row["growth"] <= fall and row["z_growth"] <= z:
                    percentile = row["growth_percentile"]
                    return (
                        Reason("growth_1d", row["growth"], fall, percentile),
                        Reason("growth_1d_z", row["z_growth"], z, percentile),
                    )
        if row["growth_3d"] is None or state.phase == "purge":
            return ()
        if not (row["growth_3d"] <= rule.purge_growth_3d and row["z_growth_3d"] <= rule.purge_z_3d):
            return ()
        three = (
            Reason("growth_3d", row["growth_3d"], rule.purge_growth_3d, row["growth_3d_percentile"]),
            Reason("growth_3d_z", row["z_growth_3d"], rule.purge_z_3d, row["growth_3d_percentile"]),
        )
        if state.phase == "stabilising":
            # The three-day sum still holds the purge that is over: only a new low is news.
            low = Reason(
                "open_interest_to_trough", math.exp(row["open_interest"] - state.trough), rule.purge_new_low
            )
            return (*three, low) if low.value < low.threshold else ()
        return three

    def _purge(self, state: State, row: Row, at: float, reasons: tuple[Reason, ...]) -> State:
        level = row["open_interest"]
        if state.phase == "purge":
            return msgspec.structs.replace(state, trough=min(state.trough, level), quiet=None)
        moved = _moved(row["return_1d"], row["return_3d"])
        again = state.phase == "stabilising"
        return msgspec.structs.replace(
            state, phase="purge", since=at, purged=at, quiet=None,
            side=None if moved is None else "long_flush" if moved < 0 else "short_squeeze",
            peak=max(state.peak, row["peak"]) if again else row["peak"],
            trough=level, before=row["before"], before_usd=row["before_usd"], reasons=reasons,
        )  # fmt: skip

    def _exit(self, state: State, row: Row, at: float) -> State:  # noqa: C901, PLR0912 -- the table of 7.2
        rule = self.thresholds
        dwell = at - state.since
        z = Reason("z", row["z"], rule.reset_z, row["percentile"])
        growth_14d = row["growth_14d"]
        match state.phase:
            case "undetermined":
                return self._enter(state, at, "reset" if z.value <= z.threshold else "build_up", z)
            case "purge":
                since = None if row["z_growth"] is None else state.quiet
                if since is not None and at - since >= rule.quiet_days - 1:
                    quiet = Reason("growth_1d_z", row["z_growth"], rule.quiet_z)
                    return self._enter(state, at, "stabilising", quiet)
            case "stabilising":
                settled = state.calm is not None and at - state.calm >= rule.reset_days - 1
                if dwell >= rule.stabilising_days and settled:
                    return self._enter(state, at, "reset", z)
                if dwell >= rule.stabilising_most_days and z.value > rule.reset_z:
                    return self._enter(state, at, "build_up", z)
            case "reset" if dwell >= rule.dwell_days:
                if z.value > rule.build_up_z:
                    high = Reason("z", z.value, rule.build_up_z, z.percentile)
                    return self._enter(state, at, "build_up", high)
                if growth_14d is not None and growth_14d >= rule.build_up_growth_14d and z.value > 0:
                    grown = Reason("growth_14d", growth_14d, rule.build_up_growth_14d)
                    return self._enter(state, at, "build_up", grown, Reason("z", z.value, 0.0, z.percentile))
            case "build_up":
                stretched = row["stretch"]
                if dwell >= rule.stretched_days and stretched is not None and stretched >= rule.stretched:
                    return self._enter(state, at, "stretched", Reason("stretch", stretched, rule.stretched))
                if dwell >= rule.dwell_days and z.value < 0 and growth_14d is not None and growth_14d <= 0:
                    low = Reason("z", z.value, 0.0, z.percentile)
                    return self._enter(state, at, "reset", low, Reason("growth_14d", growth_14d, 0.0))
            case "stretched":
                stretched = row["stretch"]
                if dwell >= rule.stretched_days and stretched is not None and stretched < rule.unstretched:
                    return self._enter(state, at, "build_up", Reason("stretch", stretched, rule.unstretched))
            case _:
                pass
        return state

    def _enter(self, state: State, at: float, phase: Phase, *reasons: Reason) -> State:
        return msgspec.structs.replace(state, phase=phase, since=at, quiet=None, reasons=reasons)

    def run(self, rows: Iterator[Row]) -> Iterator[State]:
        """The state after each row."""
        state = State()
        for row in rows:
            state = self.step(state, row)
            yield state


def _moved(day: float | None, three: float | None) -> float | None:
    """The price of one day or of three, whichever moved more for its length: who was forced out."""
    if day is None or three is None:
        return day if three is None else three
    return day if abs(day) >= abs(three) / math.sqrt(3) else three


def verdict(state: State, row: Row, at: float, rule: Thresholds) -> Verdict:
    """Whether deleveraging is likely behind: methodology 7.5. `undetermined` where there is none to judge."""
    if state.phase == "purge":
        return "no"
    z = row["z"]
    if z is None or state.phase not in ("stabilising", "reset"):
        return "undetermined"
    if z > rule.reset_z:
        return "partly" if state.phase == "stabilising" else "undetermined"
    settled = state.phase == "reset" or at - state.since >= rule.quiet_days
    old = state.purged is None or at - state.purged >= rule.verdict_days
    return "yes" if settled and old else "undetermined"


def in_words(phase: str, answer: str) -> str:
    """The verdict as a sentence that says no more than it knows; it says nothing about price."""
    match answer:
        case "yes":
            return "deleveraging is likely behind"
        case "partly":
            return "leverage fell but is still above its average"
        case "no":
            return "deleveraging is under way"
        case _ if phase in ("build_up", "stretched"):
            return "leverage is up: there is no deleveraging to judge"
        case _:
            return "nothing can be said yet"


def relapse_in_words(phase: str) -> str | None:
    """How often a new purge followed within 30 days of entering a phase, where that was counted."""
    for known, within in RELAPSE.items():
        if known == phase:
            purges, entries = within[30]
            name = phase.replace("_", "-")
            return f"{purges} of bitcoin's {entries} entries into {name} (2019-2024) met a purge in 30 days"
    return None


RELAPSE: Mapping[str, Mapping[int, tuple[int, int]]] = {
    "stabilising": {7: (1, 28), 14: (3, 28), 30: (8, 28)},
    "reset": {7: (1, 17), 14: (2, 17), 30: (6, 17)},
    "stretched": {7: (3, 21), 14: (5, 21), 30: (10, 21)},
}
"""How often a new purge began within so many days of entering a phase, and of how many entries: bitcoin,
2019-09 to 2024-11, the phases of this module (methodology 7.5; docs/EVALUATION.md, section 3)."""
RELAPSE_ANY_DAY: Mapping[int, tuple[int, int]] = {7: (193, 1802), 14: (377, 1795), 30: (754, 1779)}
"""The same after any day outside a purge: what the frequencies of `RELAPSE` are to be held against."""

EVIDENCE = {"open_interest": 0.4, "funding": 0.2, "liquidations": 0.15, "basis": 0.1, "cusum": 0.15}
"""Weights of what should agree with a phase: methodology 7.4."""
SHORT_CONFIDENCE = 0.5
"""The most that a history of less than a year allows."""
FULL_COVERAGE = 0.9
STALE_HOURS = 12.0
MARGIN_FLOOR = 0.1
"""A threshold is known to a tenth of itself at best."""


def agreement(phase: Phase, row: Row) -> float:
    """Weight of the evidence that fits the phase, of the evidence there is; in [0, 1].

    A basis is not in the history tables and never counts there.
    """
    fits: dict[str, bool | None] = dict.fromkeys(EVIDENCE)
    z, growth_14d, funding = row["z"], row["growth_14d"], row["funding_percentile"]
    liquidations, falls = row["liquidation_percentile"], row["cusum"]
    alarm = None if falls is None else falls >= CUSUM_ALARM
    match phase:
        case "purge":
            fits["open_interest"] = None if row["growth_3d"] is None else row["growth_3d"] < 0
            fits["funding"] = None if funding is None else funding < 0.7  # noqa: PLR2004 -- no longer crowded
            fits["liquidations"] = None if liquidations is None else liquidations >= 0.9  # noqa: PLR2004
            fits["cusum"] = alarm
        case "stabilising" | "reset":
            fits["open_interest"] = None if row["z_growth"] is None else row["z_growth"] > -2  # noqa: PLR2004
            fits["funding"] = None if funding is None else funding <= 0.7  # noqa: PLR2004
            fits["liquidations"] = None if liquidations is None else liquidations < 0.9  # noqa: PLR2004
            fits["cusum"] = None if alarm is None else not alarm
        case "build_up" | "stretched":
            fits["open_interest"] = None if z is None else z > 0 or (growth_14d or 0.0) > 0
            fits["funding"] = None if funding is None else funding >= 0.5  # noqa: PLR2004
            fits["liquidations"] = None if liquidations is None else liquidations < 0.95  # noqa: PLR2004
            fits["cusum"] = None if alarm is None else not alarm
        case _:
            pass
    known = {name: fit for name, fit in fits.items() if fit is not None}
    total = sum(EVIDENCE[name] for name in known)
    return sum(EVIDENCE[name] for name, fit in known.items() if fit) / total if total else 0.0


def margin(state: State, row: Row, rule: Thresholds) -> float:
    """How far the quantity that would change the phase is from its threshold: 2 Phi(|x - theta| / e) - 1."""
    x: float | None
    match state.phase:
        case "purge" if state.reasons:
            x, theta = state.reasons[0].value, state.reasons[0].threshold
        case "stabilising":
            x, theta = row["z_growth"], rule.purge_z
        case "reset":
            x, theta = row["z"], rule.build_up_z
        case "build_up" | "stretched":
            x = row["stretch"]
            theta = rule.stretched if state.phase == "build_up" else rule.unstretched
        case _:
            return 0.0
    if x is None:
        return 0.0
    growth = state.phase == "purge"
    spread = max(MARGIN_FLOOR * abs(theta), (row["dispersion"] or 0.0) if growth else 0.0)
    return math.erf(abs(x - theta) / spread / math.sqrt(2))


def confidence(state: State, row: Row, at: float, rule: Thresholds) -> float:
    """How much the phase should be trusted, in [0, 1]; no probability. Methodology 7.4."""
    if state.phase == "undetermined" or state.seen is None:
        return 0.0
    stale = math.exp(-max(0.0, at - state.seen) * 24 / STALE_HOURS)
    data = min(1.0, (row["coverage"] or 0.0) / FULL_COVERAGE) if at == state.seen else 1.0
    value = data * stale * math.sqrt(agreement(state.phase, row) * margin(state, row, rule))
    return min(value, SHORT_CONFIDENCE) if row["days_before"] < YEAR else value


TABLE: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "date": pl.Date, "asset": pl.String, "phase": pl.String, "since": pl.Date, "side": pl.String,
    "depth": pl.Float64, "oi_to_market_cap": pl.Float64, "average": pl.Float64, "deviation": pl.Float64,
    "z": pl.Float64, "percentile": pl.Float64, "growth": pl.Float64, "growth_3d": pl.Float64,
    "stretch": pl.Float64, "verdict": pl.String, "confidence": pl.Float64, "reasons": pl.List(pl.String),
}  # fmt: skip
"""Columns of `monitor phases` (design 4.4): `deviation` of the level from its average as a ratio, growths as
log changes, `depth` the share of open interest that a purge destroyed."""


def states(days: pl.DataFrame, rule: Thresholds) -> dict[str, list[State]]:
    """The state of each asset after each of its days; `days` as `features` gives them."""
    machine = Machine(rule)
    return {
        str(asset): list(machine.run(frame.iter_rows(named=True)))
        for (asset,), frame in days.group_by("asset", maintain_order=True)
    }


def assess(days: pl.DataFrame, rule: Thresholds | None = None) -> pl.DataFrame:
    """Adds phase, verdict, confidence and reasons to the features of days."""
    rule = rule or Thresholds()
    rows = []
    found = {asset: iter(of) for asset, of in states(days, rule).items()}
    for row in days.iter_rows(named=True):
        state, at = next(found[row["asset"]]), float(row["day"])
        rows.append(
            (
                state.phase, int(state.since) if state.phase != "undetermined" or state.since else None,
                state.side if state.depth is not None else None, state.depth,
                verdict(state, row, at, rule), confidence(state, row, at, rule),
                [str(reason) for reason in state.reasons],
            )
        )  # fmt: skip
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "phase": pl.String, "since": pl.Int32, "side": pl.String, "depth": pl.Float64,
        "verdict": pl.String, "confidence": pl.Float64, "reasons": pl.List(pl.String),
    }  # fmt: skip
    return pl.concat([days, pl.DataFrame(rows, schema, orient="row")], how="horizontal")


def table(assessed: pl.DataFrame) -> pl.DataFrame:
    """What `monitor phases` gives out."""
    return assessed.with_columns(
        date=pl.col("day").cast(pl.Date),
        since=pl.col("since").cast(pl.Date),
        deviation=pl.col("deviation").exp() - 1,
    ).select(*TABLE)
