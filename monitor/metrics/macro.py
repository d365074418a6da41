"""What changes by the day: gold and fair value, CME, ETF flows. From slow sources, as old as they are."""

import polars as pl

from monitor.metrics.metric import Metric

MACRO = (
    Metric(
        name="leverage_bitcoin_gold_volatility_ratio",
        help="Volatility of bitcoin over that of gold: how much more risk capital it takes. Window in gold "
        "trading days; mid is the ratio, low and high end its 90 % interval.",
        view="ratio",
        value=pl.col("aligned"),
    ),
    Metric(
        name="leverage_bitcoin_gold_own_clock_volatility_ratio",
        help="The same with each annualised by its own clock over the same span: bitcoin's calendar days at "
        "365, gold's trading days at 252. A check on the ratio; nothing is computed from it.",
        view="ratio",
        value=pl.col("own"),
    ),
    Metric(
        name="leverage_gold_price_usd",
        help="Spot gold, dollars per troy ounce; while it rests its last price.",
        view="market",
        value=pl.col("gold_price_usd"),
    ),
    Metric(
        name="leverage_gold_proxy_price_usd",
        help="What stands for gold while spot gold rests (weekends, Good Friday, Christmas, New Year's Day), "
        "else absent: perpetuals on gold and on tokens of an ounce, in dollars of a stablecoin. Tokens stand "
        "5 to 20 bps above spot. To be shown only: no ratio, fair value or return is computed from it.",
        view="gold_proxy",
        value=pl.col("value"),
    ),
    Metric(
        name="leverage_gold_private_tonnes",
        help="Gold that private investors hold: bars, coins and funds, at the end of the last year that "
        "was published.",
        view="market",
        value=pl.col("gold_tonnes"),
    ),
    Metric(
        name="leverage_gold_private_investment_usd",
        help="What private investors hold in gold, at spot.",
        view="market",
        value=pl.col("gold_private_investment_usd"),
    ),
    Metric(
        name="leverage_fair_value_usd",
        help="What a bitcoin would cost on equal risk capital with gold. Conditional on bitcoin deserving "
        "gold's share of risk capital; no forecast.",
        view="bound",
        value=pl.col("value"),
    ),
    Metric(
        name="leverage_fair_value_gap_usd",
        help="Fair value minus price: positive if bitcoin is below it.",
        view="market",
        value=pl.col("gap_usd"),
    ),
    Metric(
        name="leverage_fair_value_gap_ratio",
        help="Fair value over price, minus one.",
        view="market",
        value=pl.col("gap_ratio"),
    ),
    Metric(
        name="leverage_fair_value_gap_certain",
        help="1 if the sign of the gap outlasts the sampling error of the volatility ratio, else 0.",
        view="market",
        value=pl.col("gap_certain"),
    ),
    Metric(
        name="leverage_break_even_volatility_ratio",
        help="The volatility ratio at which the price would be the fair value.",
        view="market",
        value=pl.col("break_even_ratio"),
    ),
    Metric(
        name="leverage_cme_open_interest_coins",
        help="Open interest of CME's futures, standard and micro, in coins; weekly, usable from release "
        "(daily where the operator has a table).",
        view="asset_macro",
        value=pl.col("cme_coins"),
    ),
    Metric(
        name="leverage_cme_position_proxy_coins",
        help="Sum of weekly changes of CME open interest, each with the sign of the week's price, without "
        "calendar spreads, since the first report whose price is known; absent with a hole in it.",
        view="asset_macro",
        value=pl.col("cme_proxy_coins"),
    ),
    Metric(
        name="leverage_cme_liquidation_proxy_ratio",
        help="That sum over the last four weeks, over open interest at their start; negative if longs left.",
        view="asset_macro",
        value=pl.col("cme_proxy_ratio"),
    ),
    Metric(
        name="leverage_cme_long_liquidation_ratio",
        help="Falls of CME open interest in falling weeks of the last four, over open interest at their "
        "start, without calendar spreads.",
        view="asset_macro",
        value=pl.col("cme_long_ratio"),
    ),
    Metric(
        name="leverage_etf_net_flow_usd",
        help="Net flow into the spot ETFs on the last day that was reported.",
        view="asset_macro",
        value=pl.col("etf_flow_usd"),
    ),
    Metric(
        name="leverage_etf_cumulative_flow_usd",
        help="Sum of all net flows that were reported.",
        view="asset_macro",
        value=pl.col("etf_cumulative_usd"),
    ),
    Metric(
        name="leverage_etf_drawdown_usd",
        help="Cumulative flow minus its highest so far.",
        view="asset_macro",
        value=pl.col("etf_drawdown_usd"),
    ),
    Metric(
        name="leverage_etf_redemption_ratio",
        help="What was redeemed in the last six trading days over the inflows of the two weeks that ended "
        "with that of the peak of cumulative flow before them.",
        view="asset_macro",
        value=pl.col("etf_redemption_ratio"),
    ),
    Metric(
        name="leverage_etf_redemption_to_assets_ratio",
        help="The same over the assets of the funds when it began.",
        view="asset_macro",
        value=pl.col("etf_redemption_to_assets_ratio"),
    ),
    Metric(
        name="leverage_etf_redemption_size",
        help="1 for how large redemptions are: small, moderate or material, 0 for the others.",
        view="asset_kind_macro",
        value=pl.col("value"),
    ),
    Metric(
        name="leverage_market_condition",
        help="1 while a condition of the whole market holds, with hysteresis: volatility_ratio_below_2 "
        "(begins under 2.0, ends above 2.1), fair_value_above_price (turns over when the gap is larger than "
        "its error), perps_and_cme_disagree (which of bitcoin and ether fell more: begins when both "
        "differences pass 2 % of open interest, ends under 1 %). Absent while its inputs are.",
        view="kind_macro",
        value=pl.col("value"),
    ),
)
