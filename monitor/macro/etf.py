"""Whether redemptions of the spot funds are small: against the inflows before them, and against their assets.

A day that was not reported is not a day without flow: it is null, and nothing is said of a window that
has one inside.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

import msgspec
import polars as pl

Label = Literal["small", "moderate", "material"]
SMALL_ASSETS, SMALL_RATIO = 0.02, 0.5
MATERIAL_ASSETS, MATERIAL_RATIO = 0.05, 1.0
"""Bounds of the labels (methodology §5)."""


def cumulative(flows: pl.DataFrame) -> pl.DataFrame:
    """Flows since the start, and how far they are under their highest.

    Args:
        flows: `date` (US trade date), `asset`, `flow_usd` of all funds together; null is not reported.

    Returns:
        The same, sorted, with `cumulative_usd`, `drawdown_usd` (zero or negative) and `drawdown_ratio` (of
        the highest, null while that is not positive); null on a day that was not reported.
    """
    total, asset = pl.col("cumulative_usd"), "asset"
    highest = total.cum_max().over(asset)
    return (
        flows.sort(asset, "date")
        .with_columns(cumulative_usd=pl.col("flow_usd").cum_sum().over(asset))
        .with_columns(drawdown_usd=total - highest)
        .with_columns(drawdown_ratio=pl.when(highest > 0).then(pl.col("drawdown_usd") / highest))
    )


class Redemption(msgspec.Struct, frozen=True):
    """Money that left in a window. Dollars; ratios are fractions. None where it cannot be known."""

    flow_usd: float | None
    """Net flow of the window, negative if money left."""
    until: date | None
    """The window's last reported day."""
    inflow_usd: float | None
    """Net flow of the reference window."""
    ratio: float | None
    """Money that left over the reference's inflow; none without an inflow."""
    assets_ratio: float | None
    """Money that left over the assets at the start."""
    label: Label | None


def redemption(
    flows: pl.DataFrame, window: tuple[date, date], reference: tuple[date, date],
    assets_usd: float | None = None,
) -> Redemption:  # fmt: skip
    """Compares what left in a window with what came in a reference window, both ends included.

    Args:
        flows: `date` and `flow_usd` of one asset's funds together; null is not reported.
        window: Of the redemptions. Unreported days at its end are not yet in it.
        reference: Of the inflows before.
        assets_usd: Assets of the funds at the start of the window; they differ by provider.
    """
    flow, until = _reported(flows, window)
    inflow, _ = _reported(flows, reference)
    left = None if flow is None else max(-flow, 0.0)
    ratio = left / inflow if left is not None and inflow is not None and inflow > 0 else None
    share = left / assets_usd if left is not None and assets_usd else None
    return Redemption(flow, until, inflow, ratio, share, label(ratio, share))


def _reported(flows: pl.DataFrame, window: tuple[date, date]) -> tuple[float | None, date | None]:
    """Sum until the last reported day of a window; None if a day before that is not reported."""
    days = flows.filter(pl.col("date").is_between(*window)).sort("date")
    until = days.filter(pl.col("flow_usd").is_not_null())["date"].max()
    if not isinstance(until, date):
        return None, None
    inside = days.filter(pl.col("date") <= until)["flow_usd"]
    return (None if inside.null_count() else float(inside.sum())), until


def label(ratio: float | None, assets_ratio: float | None) -> Label | None:
    """`small` if both are, `material` if one is large; None where that depends on an unknown."""
    known = [
        (value >= material, value < small)
        for value, small, material in (
            (ratio, SMALL_RATIO, MATERIAL_RATIO),
            (assets_ratio, SMALL_ASSETS, MATERIAL_ASSETS),
        )
        if value is not None
    ]
    if any(material for material, _ in known):
        return "material"
    if len(known) < 2:  # noqa: PLR2004 -- both
        return None
    return "small" if all(small for _, small in known) else "moderate"
