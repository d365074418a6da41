"""How much leverage there is, and what is paid for it: prices, open interest, funding."""

import polars as pl

from monitor.metric import Metric

LEVERAGE = (
    Metric(
        name="leverage_mark_price_usd",
        help="Mark price of one coin of the asset (1000PEPE is divided by 1000).",
        view="instrument",
        value=pl.col("price"),
    ),
    Metric(
        name="leverage_index_price_usd",
        help="Index price of one coin of the asset, as the venue computes it.",
        view="instrument",
        value=pl.col("index_price"),
    ),
    Metric(
        name="leverage_premium_ratio",
        help="Mark price over index price, minus one.",
        view="instrument",
        value=pl.col("premium"),
    ),
    Metric(
        name="leverage_instrument_info",
        help="How the venue counts: contract size (coins if linear, dollars if inverse), unit and "
        "sides of open interest with the reason, and class of its liquidation feed.",
        view="instrument",
        labels=(
            "contract_size", "margin", "quote", "oi_unit", "oi_sides", "oi_sides_reason",
            "liquidation_feed",
        ),
        value=pl.when("perpetual").then(1.0),
    ),
    Metric(
        name="leverage_open_interest_usd",
        help="Open interest, one side, in dollars at the instrument's own mark price.",
        view="instrument",
        labels=("margin",),
        value=pl.col("usd"),
    ),
    Metric(
        name="leverage_open_interest_coins",
        help="Open interest, one side, in coins of the asset.",
        view="instrument",
        labels=("margin",),
        value=pl.col("coins"),
    ),
    Metric(
        name="leverage_funding_rate_ratio",
        help="Funding rate of the running interval, as a fraction per interval; longs pay if positive.",
        view="instrument",
        value=pl.col("rate"),
    ),
    Metric(
        name="leverage_funding_rate_8h_ratio",
        help="Funding rate of the running interval on a base of 8 hours.",
        view="instrument",
        value=pl.col("rate_8h"),
    ),
    Metric(
        name="leverage_funding_interval_seconds",
        help="Interval of the funding rate.",
        view="instrument",
        value=pl.when(pl.col("rate").is_not_null()).then(pl.col("interval_s").cast(pl.Float64)),
    ),
    Metric(
        name="leverage_reference_price_usd",
        help="Median mark price of the asset over all believed instruments.",
        view="asset",
        value=pl.col("reference"),
    ),
    Metric(
        name="leverage_perp_open_interest_usd",
        help="Open interest of the scope's perpetuals, one side, in dollars. A silent instrument is "
        "carried for an hour; absent if coverage is too low or a venue never spoke.",
        view="asset",
        value=pl.col("usd"),
    ),
    Metric(
        name="leverage_perp_open_interest_coins",
        help="Open interest of the scope's perpetuals, one side, in coins. A silent instrument is "
        "carried for an hour; absent if coverage is too low or a venue never spoke.",
        view="asset",
        value=pl.col("coins"),
    ),
    Metric(
        name="leverage_coverage_ratio",
        help="Share of the scope's last known open interest that is fresh, times the share of its "
        "venues, or instruments where that is less, that ever spoke.",
        view="asset",
        value=pl.col("coverage"),
    ),
    Metric(
        name="leverage_funding_rate_8h_weighted_ratio",
        help="Funding rate on a base of 8 hours, weighted by open interest in dollars.",
        view="asset",
        value=pl.col("rate_8h"),
    ),
)  # fmt: skip
