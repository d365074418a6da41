"""Everything between the queue and the exposition, as one deterministic machine.

`Core` is given items and instants and nothing else: the same items and instants give the same
samples, live, in a replay, and in a test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import polars as pl

from monitor.bus import Item
from monitor.events import Millis
from monitor.ladder import Ladder
from monitor.metric import LABELS, WINDOWS, Metric, View
from monitor.tables import Tables, Taken
from monitor.views import Memory, Scope, Views, fixed, look


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


class Core:
    """Applies items, evaluates metrics at an instant."""

    def __init__(
        self, metrics: Sequence[Metric], scope: Scope, feeds: Mapping[str, str],
        venues: Sequence[str],
    ) -> None:  # fmt: skip
        self.tables = Tables(venues, scope.speed)
        self._metrics = metrics
        self._windows = {name: WINDOWS[name] for name in WINDOWS if any(name in m.windows for m in metrics)}
        self._scope = scope
        self._feeds = feeds
        self._ladder = Ladder()
        self._memory = Memory()
        self._fixed: tuple[int, pl.DataFrame] = (-1, pl.DataFrame())

    def apply(self, item: Item) -> None:
        """Takes an item into account."""
        self.tables.apply(item)

    def take(self, now: Millis) -> Taken:
        """A copy of the state at an instant, to be evaluated while reading goes on."""
        return self.tables.take(now)

    def evaluate(self, taken: Taken) -> Samples:
        """The samples at that instant. One call at a time; may run in another thread than `apply`."""
        if self._fixed[0] != taken.version:
            self._fixed = taken.version, fixed(taken, self._scope, self._feeds)
        views, self._memory = look(
            taken, self._fixed[1], self._memory, self._ladder, self._scope, self._windows
        )
        return Samples(taken.now, families(self._metrics, views, taken.version), views)


def families(metrics: Sequence[Metric], views: Views, version: int) -> list[Family]:
    """Evaluates every metric over its view; one query a view."""
    frames: dict[View, pl.DataFrame] = {
        "instrument": views.instrument, "flow": views.flow, "asset": views.asset,
        "asset_window": views.asset_window,
    }  # fmt: skip
    found: dict[str, Family] = {}
    for view, frame in frames.items():
        mine = [metric for metric in metrics if metric.view == view]
        values = frame.select(_value(metric).alias(metric.name) for metric in mine)
        shape = tuple(frame["window"]) if view == "asset_window" else frame.height
        for metric in mine:
            key = metric.name, version, shape
            found[metric.name] = Family(metric, frame, values[metric.name], key)
    return [found[metric.name] for metric in metrics]


def _value(metric: Metric) -> pl.Expr:
    if not metric.windows:
        return metric.value
    return pl.when(pl.col("window").is_in(metric.windows)).then(metric.value)
