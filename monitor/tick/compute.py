"""Everything between the queue and the exposition, as one deterministic machine.

`Core` is given items and instants and nothing else: the same items and instants give the same
samples, live, in a replay, and in a test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import polars as pl

from monitor.bars import Bars
from monitor.bus import Item
from monitor.deleveraging.past import Looked, Past
from monitor.deleveraging.phases import Thresholds
from monitor.events import Millis
from monitor.ladder import HOUR, Ladder
from monitor.metrics.metric import LABELS, WINDOWS, Metric
from monitor.tick.tables import Tables, Taken
from monitor.tick.views import Fixed, Memory, Scope, Views, fixed, look, remembered
from monitor.weigh import LIFE, Macro, frames as macro_frames


class Family(msgspec.Struct, frozen=True):
    """The samples of one metric at one instant."""

    metric: Metric
    view: pl.DataFrame
    """A row per series."""
    values: pl.Series
    """Float64, as long as `view`; null is no sample."""
    key: tuple[object, ...]
    """Equal keys have equal labels: what a cache of prefixes may rely on."""

    @property
    def labels(self) -> pl.DataFrame:
        """The columns of the metric's labels but the fixed ones."""
        return self.view.select(*LABELS[self.metric.view], *self.metric.labels)


class Samples(msgspec.Struct, frozen=True):
    """All metrics of the market at one instant."""

    now: Millis
    families: Sequence[Family]
    views: Views
    looked: Looked
    """What years of history say of the instant."""
    closed: Sequence[pl.DataFrame] = ()
    """Bars of the minutes that this instant shows to be over, for the store."""


class Core:
    """Applies items, evaluates metrics at an instant."""

    def __init__(
        self, metrics: Sequence[Metric], scope: Scope, feeds: Mapping[str, str],
        venues: Sequence[str], past: Past | None = None, recent: pl.DataFrame | None = None,
    ) -> None:  # fmt: skip
        """What is known of before the first tick: `past`, and `recent` as `views.remembered` needs it."""
        self.tables = Tables(venues, scope.speed)
        self._metrics = metrics
        self._plan = planned(metrics)
        self._windows = {name: WINDOWS[name] for name in WINDOWS if any(name in m.windows for m in metrics)}
        self._scope = scope
        self._feeds = feeds
        self._ladder = Ladder()
        self._memory = Memory()
        self._fixed: tuple[int, Fixed | None] = -1, None
        self._bars = Bars()
        self.past = past or Past(scope.venues, Thresholds(min_coverage=scope.min_coverage), _unknown)
        self._recent = recent
        self._slow: _Slow | None = None
        self._first: Millis | None = None
        """Time of the first tick."""
        self.macro: Macro | None = None
        """What slow sources say, as a whole replaced beside the ticks; None in a replay."""
        self.above: bool | None = None
        """Whether the fair value is above the price, by the last gap that was larger than its error."""

    def remember(self, past: Past, hours: pl.DataFrame) -> None:
        """Replaces what is known of before the first tick: more of it has been found."""
        past.follow(self.past)
        self.past = past
        if self._first is not None:
            # What was seen since the first tick is in the sums already.
            minutes = hours.clear() if self._recent is None else _minutes(self._recent)
            edge = min([self._first, *minutes["time"].to_list()[:1]]) // HOUR * HOUR
            before = hours.with_columns(end=pl.col("time") + HOUR).filter(pl.col("end") <= edge)
            self._recent = pl.concat([before, minutes], how="diagonal")
        self._fixed = -1, None

    def apply(self, item: Item) -> None:
        """Takes an item into account."""
        self.tables.apply(item)

    def take(self, now: Millis) -> Taken:
        """A copy of the state at an instant, to be evaluated while reading goes on."""
        return self.tables.take(now)

    def evaluate(self, taken: Taken) -> Samples:
        """The samples at that instant. One call at a time; may run in another thread than `apply`."""
        self._first = taken.now if self._first is None else self._first
        version, of = self._fixed
        if of is None or version != taken.version:
            of = fixed(taken, self._scope, self._feeds)
            self._fixed = taken.version, of
            if self._recent is not None:
                self._ladder.fill(remembered(of.rows, self._recent))
        views, self._memory = look(taken, of, self._memory, self._ladder, self._scope, self._windows)
        closed = self._bars.push(taken.now, views.instrument)
        for minute in closed:
            self.past.add(minute)
        slow = self._seldom(taken, views, closed=bool(closed))
        found = families(self._plan, of_instant(views, slow.looked), taken.version) | slow.families
        ordered = [found[metric.name] for metric in self._metrics if metric.name in found]
        return Samples(taken.now, ordered, views, slow.looked, closed)

    def _seldom(self, taken: Taken, views: Views, *, closed: bool) -> _Slow:
        """What changes over windows, years of bars and slow sources say: anew when one of them was.

        `closed`: whether a minute has just closed.
        """
        changes, of = views.asset_window, (taken.version, self.past)
        slow = None if closed else self._slow
        if slow is not None and slow.of == of and slow.changes is changes and slow.told is self.macro:
            return slow
        macro = self.macro
        if macro is not None and taken.now - macro.at > int(LIFE * self._scope.speed):
            macro = None
        looked = self.past.look(
            taken.now, taken.version, views.instrument, views.asset, changes,
            {} if macro is None else {asset: one.value for asset, one in macro.supplies.items()},
        )  # fmt: skip
        more, self.above = macro_frames(macro, views.asset, looked.frames, above=self.above)
        looked = msgspec.structs.replace(looked, frames={**looked.frames, **more})
        found = families(self._plan, {"asset_window": changes, **looked.frames}, taken.version)
        self._slow = _Slow(of, changes, self.macro, looked, found)
        return self._slow


class _Slow(msgspec.Struct, frozen=True):
    """What is the same at most ticks, and what it was said of."""

    of: tuple[int, Past]
    changes: pl.DataFrame
    told: Macro | None
    looked: Looked
    families: dict[str, Family]


def _minutes(recent: pl.DataFrame) -> pl.DataFrame:
    return recent.filter(pl.col("end") - pl.col("time") < HOUR)


def _unknown(_asset: str, _time: Millis) -> float | None:
    """The supply of a core that was told none."""
    return None


Plan = Mapping[str, Sequence[tuple[Metric, str | None]]]
"""View → its metrics, each with the column that is its value as it stands, if one is."""


def planned(metrics: Sequence[Metric]) -> Plan:
    """How metrics are evaluated: most are a column of their view, which costs no query."""
    plan: dict[str, list[tuple[Metric, str | None]]] = {}
    for metric in metrics:
        plain = metric.value.meta.is_column() and not metric.windows
        plan.setdefault(metric.view, []).append((metric, metric.value.meta.output_name() if plain else None))
    return plan


def of_instant(views: Views, looked: Looked) -> dict[str, pl.DataFrame]:
    """The views that every tick makes anew; changes and `Looked.frames` are beside them."""
    asset = pl.concat([views.asset, looked.asset], how="horizontal")
    return {"instrument": views.instrument, "flow": views.flow, "asset": asset}


def families(plan: Plan, frames: Mapping[str, pl.DataFrame], version: int) -> dict[str, Family]:
    """Evaluates every metric over its view; one query a view at most. `version`: of the instruments."""
    found: dict[str, Family] = {}
    for view, frame in frames.items():
        mine = plan.get(view, ())
        asked = [_value(metric).alias(metric.name) for metric, column in mine if column is None]
        values = frame.select_seq(asked) if asked else frame
        # These have the same rows while the list of instruments is; other views have few.
        fixed = view in ("instrument", "flow", "asset")
        labels = () if fixed else tuple(tuple(frame[name].to_list()) for name in LABELS[view])  # type: ignore[index]
        for metric, column in mine:
            key = metric.name, version, frame.height, labels
            value = values[metric.name] if column is None else frame[column]
            found[metric.name] = Family(metric, frame, value, key)
    return found


def _value(metric: Metric) -> pl.Expr:
    if not metric.windows:
        return metric.value
    return pl.when(pl.col("window").is_in(metric.windows)).then(metric.value)
