"""What leaves: price-neutral growth of open interest, and liquidations."""

import polars as pl

from monitor.metrics.metric import Metric

DELEVERAGING = (
    Metric(
        name="leverage_open_interest_growth_ratio",
        help="Price-neutral growth of open interest over the window: log change of native contracts, "
        "weighted by dollars at its start, over instruments fresh at both ends.",
        view="asset_window",
        windows=("5m", "1h", "4h", "24h", "72h", "14d"),
        value=pl.col("growth"),
    ),
    Metric(
        name="leverage_liquidated_usd_total",
        help="Liquidated positions since the start, in dollars at the venue's price. A lower bound "
        "where the feed is throttled; no series where the venue has no feed.",
        view="flow",
        kind="counter",
        value=pl.col("usd"),
    ),
    Metric(
        name="leverage_liquidation_intensity_ratio",
        help="Liquidated dollars in the window over open interest at its start, of the venues that "
        "have a liquidation feed. A lower bound: some feeds are throttled.",
        view="asset_window",
        windows=("5m", "1h", "24h"),
        value=pl.col("liquidation_intensity"),
    ),
    Metric(
        name="leverage_liquidated_usd",
        help="Liquidated dollars in the window, of the venues that have a feed: a lower bound.",
        view="asset_window",
        windows=("1h", "24h"),
        value=pl.col("liquidated_usd"),
    ),
    Metric(
        name="leverage_implied_liquidation_usd",
        help="Open interest that vanished at constant price in the window: what positions closed, "
        "forced or not. 0 where it grew.",
        view="asset_window",
        windows=("1h", "24h"),
        value=pl.col("implied_liquidation_usd"),
    ),
    Metric(
        name="leverage_liquidation_percentile_ratio",
        help="Mid-rank percentile of the liquidation intensity of 24 hours among the days of a year.",
        view="asset",
        value=pl.col("liquidation_percentile"),
    ),
    Metric(
        name="leverage_phase",
        help="1 for the phase that the asset is in, 0 for the others.",
        view="phase",
        value=pl.col("value"),
    ),
    Metric(
        name="leverage_phase_start_timestamp_seconds",
        help="When the phase was entered.",
        view="asset",
        value=pl.col("since_s"),
    ),
    Metric(
        name="leverage_phase_confidence_ratio",
        help="How much the phase is to be trusted, from coverage, agreement of the evidence and distance "
        "from the thresholds. Not a probability.",
        view="asset",
        value=pl.col("confidence"),
    ),
    Metric(
        name="leverage_phase_provisional",
        help="1 while a purge of the running day is not confirmed by its close.",
        view="asset",
        value=pl.col("provisional"),
    ),
    Metric(
        name="leverage_deleveraging_verdict",
        help="1 for the answer to whether deleveraging is likely behind, 0 for the others; undetermined "
        "where there is none to judge.",
        view="verdict",
        value=pl.col("value"),
    ),
    Metric(
        name="leverage_relapse_frequency_ratio",
        help="How often a new purge followed within the window after the phase was entered, in history "
        "(docs/EVALUATION.md).",
        view="asset_horizon",
        value=pl.col("value"),
    ),
    Metric(
        name="leverage_purge_depth_ratio",
        help="Share of open interest at constant price that the last purge destroyed, from the peak of "
        "the 30 days before; while it lasts or stabilises.",
        view="asset",
        value=pl.col("depth"),
    ),
    Metric(
        name="leverage_purge_destroyed_usd",
        help="Dollars of open interest that it destroyed, at the prices of the close before it.",
        view="asset",
        value=pl.col("destroyed_usd"),
    ),
    Metric(
        name="leverage_purge_side",
        help="1 for who was forced out by the last purge, by the price of its days, 0 for the other.",
        view="asset_kind",
        value=pl.col("side"),
    ),
    Metric(
        name="leverage_deleveraging_completeness_ratio",
        help="How far open interest to market cap has gone from its peak before the purge back to its "
        "average, 0 to 1.5; absent where the peak was not above it.",
        view="asset",
        value=pl.col("completeness"),
    ),
)
