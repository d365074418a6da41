"""What leaves: price-neutral growth of open interest, and liquidations."""

import polars as pl

from monitor.metric import Metric

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
)
