"""How much leverage there is, and what is paid for it: prices, open interest, funding."""

import polars as pl

from monitor.metrics.metric import Metric

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
    Metric(
        name="leverage_supply_coins",
        help="Coins in circulation: mined, by block height for bitcoin; an estimate between readings.",
        view="asset",
        value=pl.col("supply"),
    ),
    Metric(
        name="leverage_market_cap_usd",
        help="Supply times the reference price.",
        view="asset",
        value=pl.col("market_cap"),
    ),
    Metric(
        name="leverage_open_interest_to_market_cap_ratio",
        help="Open interest of the scope's perpetuals in coins over supply: the price cancels.",
        view="asset",
        value=pl.col("oi_to_market_cap"),
    ),
    Metric(
        name="leverage_open_interest_to_market_cap_average_ratio",
        help="Its long-term average: median of the three years before today, in the units of today's "
        "scope. Absent with less than 120 days of history.",
        view="asset",
        value=pl.col("average"),
    ),
    Metric(
        name="leverage_open_interest_to_market_cap_mean_ratio",
        help="Its mean since the history begins, in the units of today's scope.",
        view="asset",
        value=pl.col("mean"),
    ),
    Metric(
        name="leverage_open_interest_to_market_cap_zscore",
        help="Log distance of open interest to market cap from its long-term average, in robust "
        "standard deviations of three years.",
        view="asset",
        value=pl.col("z"),
    ),
    Metric(
        name="leverage_at_average_start_timestamp_seconds",
        help="Since when open interest to market cap has been at or under its long-term average; absent "
        "while it is above.",
        view="asset",
        value=pl.col("at_average_s"),
    ),
    Metric(
        name="leverage_open_interest_to_market_cap_percentile_ratio",
        help="Mid-rank percentile of open interest to market cap in the three years before today.",
        view="asset",
        value=pl.col("percentile"),
    ),
    Metric(
        name="leverage_funding_percentile_ratio",
        help="Mid-rank percentile of the seven-day mean of weighted funding in the year before.",
        view="asset",
        value=pl.col("funding_percentile"),
    ),
    Metric(
        name="leverage_stretch_ratio",
        help="How crowded: 0.6 of the percentile of open interest to market cap and 0.4 of that of funding.",
        view="asset",
        value=pl.col("stretch"),
    ),
    Metric(
        name="leverage_history_seconds",
        help="Length of the history of open interest behind the averages.",
        view="asset",
        value=pl.col("history_s"),
    ),
    Metric(
        name="leverage_open_interest_change_usd",
        help="Change of open interest in 24 hours, split: what positions did at constant price, and "
        "what the price did to them.",
        view="asset_kind",
        value=pl.col("effect_usd"),
    ),
    Metric(
        name="leverage_condition",
        help="1 while a condition holds, with hysteresis: funding_high, funding_low, liquidation_burst; "
        "liquidation_contradiction: open interest fell far more than was reported liquidated; "
        "average_disagreement: above the one average and under the other.",
        view="asset_kind",
        value=pl.col("condition"),
    ),
    Metric(
        name="leverage_threshold_ratio",
        help="What the phases and conditions compare with; growths are log changes, z in deviations.",
        view="kind",
        value=pl.col("value"),
    ),
    Metric(
        name="leverage_venue_set_aside",
        help="1 for a venue that took no part in the aggregates of the last day that closed: it "
        "contradicted the others, stood still or is new.",
        view="asset_venue",
        value=pl.col("value"),
    ),
)  # fmt: skip
