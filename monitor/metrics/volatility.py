"""How much prices move, and how much they are expected to."""

import polars as pl

from monitor.metric import Metric

VOLATILITY = (
    Metric(
        name="leverage_realized_volatility_ratio",
        help="Realised volatility of marks sampled at each tick, annualised at 365 days: median over "
        "the scope's instruments of the root of realised variance.",
        view="asset_window",
        windows=("5m", "1h"),
        fixed=(("estimator", "realized_variance"),),
        value=pl.col("realized_volatility"),
    ),
    Metric(
        name="leverage_implied_volatility_ratio",
        help="Implied volatility of 30 days, annualised (Deribit DVOL).",
        view="asset",
        value=pl.col("implied"),
    ),
)
