"""How much prices move, and how much they are expected to."""

import polars as pl

from monitor.metrics.metric import Metric

VOLATILITY = (
    Metric(
        name="leverage_realized_volatility_ratio",
        help="Realised volatility, annualised at 365 days (gold: 252). Of 5m, and of 1h with estimator "
        "realized_variance: of marks at each tick, median over the scope's instruments. Of other windows and "
        "estimators: of bars of the asset's reference price, the median over the scope (1h: minutes, 24h: "
        "5 minutes, 7d: hours, longer: days), when a bar closes. 126d: of the last 126 trading days of gold, "
        "GOLD and BTC sampled at gold's times, both at 252; their quotient is the volatility ratio.",
        view="asset_window_estimator",
        value=pl.col("value"),
    ),
    Metric(
        name="leverage_implied_volatility_ratio",
        help="Implied volatility of 30 days, annualised (Deribit DVOL; gold: GVZ of the last trading day).",
        view="asset_macro",
        value=pl.col("implied"),
    ),
    Metric(
        name="leverage_variance_premium_ratio",
        help="Implied variance minus realised variance of 30 days (close to close), both annualised: "
        "positive where more movement is expected than there was.",
        view="asset_macro",
        value=pl.col("variance_premium"),
    ),
    Metric(
        name="leverage_jump_share_ratio",
        help="Share of realised variance that was jumps, by bipower variation, over bars of the window.",
        view="asset_horizon",
        value=pl.col("jump_share"),
    ),
)
