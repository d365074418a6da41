"""What a metric is. Its declaration is the one place: text, page and catalogue are made from it."""

from __future__ import annotations

from typing import Literal

import msgspec
import polars as pl

from monitor.events import Millis
from monitor.ladder import DAY, HOUR, MINUTE

View = Literal[
    "instrument", "flow", "asset", "asset_window", "asset_horizon", "asset_venue", "phase", "verdict",
    "asset_kind", "kind", "asset_window_estimator", "asset_macro", "asset_kind_macro", "kind_macro", "ratio",
    "bound", "market", "gold_proxy",
]  # fmt: skip
"""The shapes that metrics are computed over, named by what a row stands for (`market`: one row)."""
LABELS: dict[View, tuple[str, ...]] = {
    "instrument": ("venue", "asset", "symbol"),
    "flow": ("venue", "asset", "position"),
    "asset": ("asset",),
    "asset_window": ("asset", "window"),
    "asset_horizon": ("asset", "window"),
    "asset_venue": ("asset", "venue"),
    "phase": ("asset", "phase"),
    "verdict": ("asset", "verdict"),
    "asset_kind": ("asset", "kind"),
    "kind": ("kind",),
    "asset_window_estimator": ("asset", "window", "estimator"),
    "asset_macro": ("asset",),
    "asset_kind_macro": ("asset", "kind"),
    "kind_macro": ("kind",),
    "ratio": ("window", "gold", "bound"),
    "bound": ("bound",),
    "market": (),
    "gold_proxy": ("source", "symbol"),
}
WINDOWS: dict[str, Millis] = {
    "1m": MINUTE, "5m": 5 * MINUTE, "1h": HOUR, "4h": 4 * HOUR, "24h": DAY, "72h": 3 * DAY,
    "14d": 14 * DAY,
}  # fmt: skip
Kind = Literal["gauge", "counter"]
UNITS = ("usd", "coins", "ratio", "seconds", "info", "tonnes")
"""What a name ends in (before `_total`)."""


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One family of series. A null or a number that is not finite is no sample."""

    name: str
    help: str
    view: View
    value: pl.Expr
    """Over the columns of the view."""
    kind: Kind = "gauge"
    labels: tuple[str, ...] = ()
    """Columns of the view that become labels beside those of `LABELS[view]`."""
    fixed: tuple[tuple[str, str], ...] = ()
    """Labels with one value, such as the estimator of a volatility."""
    windows: tuple[str, ...] = ()
    """Of `WINDOWS`, for the view `asset_window`."""

    @property
    def all_labels(self) -> tuple[str, ...]:
        """Names of its labels, in their order."""
        return LABELS[self.view] + self.labels + tuple(name for name, _ in self.fixed)
