"""The first screen: has the market deleveraged? Six questions per asset, then the evidence over time."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.boards.frame import frame
from grafana.boards.panels import (
    NUMBER,
    POINTS,
    SHARE,
    TIME,
    USD,
    Panel,
    Query,
    bars,
    code,
    last,
    lines,
    numbers,
    states,
)
from grafana.boards.style import (
    ASSETS_COLOURS,
    AVERAGE,
    BAD,
    COVERAGE_WARNING,
    GREEN,
    GREY,
    LEVEL,
    LONG,
    ORANGE,
    PHASE_WORDS,
    PINK,
    PROVISIONAL,
    RED,
    RULE,
    SHORT,
    SKY,
    VERDICT_WORDS,
    WARN,
    steps,
    words,
)
from monitor.deleveraging.past import CONDITIONS
from monitor.deleveraging.phases import PHASES, VERDICTS
from monitor.macro.etf import MATERIAL_ASSETS, MATERIAL_RATIO, SMALL_ASSETS, SMALL_RATIO
from monitor.volatility.ratio import WINDOW

OF = 'asset=~"$asset"'
STEP = "[$__interval]"
LEVEL_OF = "leverage_open_interest_to_market_cap"
SHOWN = ("funding_high", "funding_low", "liquidation_burst", "liquidation_contradiction",
         "average_disagreement")  # fmt: skip


def phase(at: str = "") -> str:
    """The phase's number; a purge that is not confirmed yet comes before what the closed days say."""
    known = code("leverage_phase", "phase", PHASES, at=at)
    provisional = last("leverage_phase_provisional", OF) if at else f"leverage_phase_provisional{{{OF}}}"
    body = known.removesuffix(")")
    return f"{body} or {PROVISIONAL} * ({provisional} == 1))"


def edge(z: float) -> str:
    """Where open interest to market cap would be `z` robust deviations from its average.

    The average times the ratio's own distance from it, scaled: the deviation is of logarithms.
    """
    level, average = last(f"{LEVEL_OF}_ratio", OF), last(f"{LEVEL_OF}_average_ratio", OF)
    return f"{average} * exp({z:g} * ln({level} / {average}) / {last(f'{LEVEL_OF}_zscore', OF)})"


def of_threshold(expr: str, kind: str) -> str:
    """A value as a share of the threshold in force, so that different units share an axis."""
    threshold = f'leverage_threshold_ratio{{kind="{kind}"}}'
    return f"clamp_min({expr} / on (job, instance) group_left () {threshold}, 0)"


def growth(window: str) -> str:
    """Price-neutral growth of open interest now."""
    return f'leverage_open_interest_growth_ratio{{{OF}, window="{window}"}}'


def board() -> Dashboard:
    """Uid leverage-deleveraging."""
    return frame(
        "leverage-deleveraging", "Deleveraging",
        "Has the market deleveraged? Phase, leverage against its own average, what is paid and liquidated, "
        "CME and ETFs, gold, and whether these answers can be trusted.",
        [
            [_phase()], [_phase_over_time()], [_since()], [_level()], [_paid()], [_others()],
            [_gold(), _trust()],
            [_level_over_time()], [_distance()], [_purge()],
            [_growth()], [_change()], [_funding()], [_price()],
            [_conditions()], [_confidence(), _coverage()],
        ],
        folded=("A year, by the hour", [[_year()]]),
        variables=["asset"], alerts='category="market", asset=~"$asset|"',
    )  # fmt: skip


def _phase() -> Panel:
    return numbers(
        "$asset: which phase, and is deleveraging behind?",
        "The phase of the days that have closed; purge? is a purge of the running day that its close has not "
        "confirmed. Grey: too little is known, which is not calm.",
        [
            Query(phase(), "phase", words=tuple(words(PHASE_WORDS)), unit="none"),
            Query(code("leverage_deleveraging_verdict", "verdict", VERDICTS), "deleveraging behind?",
                  words=tuple(words(VERDICT_WORDS)), unit="none"),
        ],
        by_asset=True, background=True,
    )  # fmt: skip


def _phase_over_time() -> Panel:
    return states(
        "Phases",
        "The same over time, a row per asset. A gap is a time without the monitor.",
        [Query(phase(STEP), "{{asset}}")], words(PHASE_WORDS), height=3,
    )  # fmt: skip


def _since() -> Panel:
    return numbers(
        "$asset: since when, how sure?",
        "When the phase began, how much it is to be trusted, how crowded positions are, and how often in "
        "history a new purge followed within 30 days of this phase.",
        [
            Query(f"leverage_phase_start_timestamp_seconds{{{OF}}} * 1000", "since, UTC", unit=TIME),
            Query(f"leverage_phase_confidence_ratio{{{OF}}}", "confidence", decimals=0),
            Query(f"leverage_stretch_ratio{{{OF}}}", "stretch", decimals=0, steps=tuple(
                steps((None, "text"), (RULE.stretched, BAD)))),
            Query(f'leverage_relapse_frequency_ratio{{{OF}, window="30d"}}', "purged again, 30 d",
                  decimals=0),
        ],
        by_asset=True,
    )  # fmt: skip


def _level() -> Panel:
    ratio, average = f"{LEVEL_OF}_ratio{{{OF}}}", f"{LEVEL_OF}_average_ratio{{{OF}}}"
    z = steps((None, "text"), (RULE.build_up_z, BAD))
    return numbers(
        "$asset: how much leverage, against its average?",
        "Open interest of perpetuals over market cap, its long-term average, and how far it is from it. "
        f"Build-up begins at z = {RULE.build_up_z:g}, back at average is z = {RULE.reset_z:g} or less.",
        [
            Query(ratio, "of market cap", decimals=2), Query(average, "average", decimals=2),
            Query(f"{ratio} / {average} - 1", "from average", decimals=1),
            Query(f"{LEVEL_OF}_zscore{{{OF}}}", "z", unit=NUMBER, decimals=2, steps=tuple(z)),
            Query(f"{LEVEL_OF}_percentile_ratio{{{OF}}}", "percentile", decimals=0),
        ],
        by_asset=True,
    )  # fmt: skip


def _paid() -> Panel:
    rate = f"asset_position:leverage_liquidated_usd:rate5m{{{OF}"
    high, low = CONDITIONS["funding_high"][0], abs(CONDITIONS["funding_low"][0])
    funding = steps((None, SKY), (low, "text"), (high, BAD))
    return numbers(
        "$asset: what is paid, what is liquidated?",
        "Funding weighted by open interest (longs pay if positive) and its percentile in a year. "
        "Liquidations are a lower bound; implied is what vanished at constant price, forced or not.",
        [
            Query(f"leverage_funding_rate_8h_weighted_ratio{{{OF}}}", "funding, 8 h", decimals=4),
            Query(f"leverage_funding_percentile_ratio{{{OF}}}", "percentile", decimals=0,
                  steps=tuple(funding)),
            Query(f'leverage_liquidated_usd{{{OF}, window="24h"}}', "liquidated, 24 h", unit=USD, decimals=0),
            Query(f'leverage_implied_liquidation_usd{{{OF}, window="24h"}}', "implied, 24 h", unit=USD,
                  decimals=0),
            Query(f'sum by (asset) ({rate}, position="long"}}) / (sum by (asset) ({rate}}}) > 0)',
                  "longs, 5 min", decimals=0),
        ],
        by_asset=True,
    )  # fmt: skip


def _others() -> Panel:
    return numbers(
        "$asset: do perpetuals, CME and ETFs agree?",
        "Perpetuals at constant price; CME by its weekly report; redemptions of the spot ETFs against the "
        "inflows before, and against their assets.",
        [
            Query(growth("14d"), "perps, 14 d", decimals=1),
            Query(f"leverage_cme_liquidation_proxy_ratio{{{OF}}}", "CME net, 4 wk", decimals=1),
            Query(f"leverage_cme_long_liquidation_ratio{{{OF}}}", "CME longs, 4 wk", decimals=1),
            Query(f"leverage_etf_redemption_ratio{{{OF}}}", "ETF, of inflow", decimals=0, steps=tuple(
                steps((None, "text"), (SMALL_RATIO, WARN), (MATERIAL_RATIO, BAD)))),
            Query(f"leverage_etf_redemption_to_assets_ratio{{{OF}}}", "of assets", decimals=2, steps=tuple(
                steps((None, "text"), (SMALL_ASSETS, WARN), (MATERIAL_ASSETS, BAD)))),
        ],
        by_asset=True,
    )  # fmt: skip


def _gold() -> Panel:
    ratio = f'leverage_bitcoin_gold_volatility_ratio{{window="{WINDOW}d", gold="spot", bound="%s"}}'
    return numbers(
        "What does bitcoin cost against gold, on equal risk?",
        "Volatility of bitcoin over gold's with its 90 % interval, the price at which both take the same "
        "risk capital, and its distance from the price. Conditional on bitcoin deserving gold's share; no "
        "forecast.",
        [
            Query(ratio % "mid", "volatility ratio", unit=NUMBER, decimals=2),
            Query(ratio % "low", "low", unit=NUMBER, decimals=2),
            Query(ratio % "high", "high", unit=NUMBER, decimals=2),
            Query('leverage_fair_value_usd{bound="mid"}', "fair value", unit=USD, decimals=0),
            Query("leverage_fair_value_gap_ratio", "gap", decimals=0),
        ],
    )  # fmt: skip


def _trust() -> Panel:
    coverage = steps((None, BAD), (RULE.min_coverage, WARN), (COVERAGE_WARNING, "text"))
    return numbers(
        "Can these answers be trusted now?",
        f"The fresh share of open interest: under {RULE.min_coverage:.0%} the phase is frozen, under "
        f"{COVERAGE_WARNING:.0%} an alert says so. Silent channels, how long the slowest venue's open "
        "interest has not been heard, and how much history the averages have.",
        [
            Query(f"leverage_coverage_ratio{{{OF}}}", "{{asset}} covered", decimals=0, steps=tuple(coverage)),
            Query("count(monitor_stream_up) - sum(monitor_stream_up)", "channels silent",
                  unit="none", steps=tuple(steps((None, "text"), (1, BAD)))),
            Query("max(max by (job, instance) (monitor_last_event_timestamp_seconds) - on (job, instance) "
                  'group_right () monitor_last_event_timestamp_seconds{kind="open_interest"})',
                  "oldest input", unit="s", decimals=0),
            Query(f"min(leverage_history_seconds{{{OF}}})", "history", unit="s", decimals=1),
        ],
    )  # fmt: skip


def _level_over_time() -> Panel:
    return _level_lines("$asset: open interest to market cap", "Against its long-term average.", height=9)


def _year() -> Panel:
    return _level_lines(
        "$asset: open interest to market cap, a year",
        "The same whatever time is chosen above, by the hour, so that imported history is one line.",
        height=8, time_from="365d", interval="1h", points=4 * POINTS,
    )  # fmt: skip


def _level_lines(title: str, about: str, *, height: int, **options: Any) -> Panel:
    band: tuple[tuple[str, object], ...] = (
        ("custom.lineWidth", 0), ("custom.showPoints", "never"), ("custom.hideFrom",
         {"legend": True, "tooltip": False, "viz": False}),
    )  # fmt: skip
    dashed = (
        ("custom.lineStyle", {"fill": "dash", "dash": [6, 5]}),
        ("custom.lineWidth", 1),
        ("custom.showPoints", "never"),
    )
    return lines(
        title,
        f"{about} The band is {RULE.reset_z:g} robust deviations of three years on either side: within and "
        f"under it leverage is back at average. Dashed: {RULE.build_up_z:g}, a build-up from there.",
        [
            Query(last(f"{LEVEL_OF}_ratio", OF), "open interest / market cap", colour=LEVEL),
            Query(last(f"{LEVEL_OF}_average_ratio", OF), "average", colour=AVERAGE,
                  more=(("custom.lineWidth", 2),)),
            Query(last(f"{LEVEL_OF}_mean_ratio", OF), "mean of all history", colour=GREY, more=dashed),
            Query(edge(RULE.build_up_z), f"z = {RULE.build_up_z:g}", colour=AVERAGE, more=dashed),
            Query(edge(RULE.reset_z), f"z = {RULE.reset_z:g}", colour=AVERAGE, more=(
                *band, ("custom.fillBelowTo", f"z = -{RULE.reset_z:g}"), ("custom.fillOpacity", 22))),
            Query(edge(-RULE.reset_z), f"z = -{RULE.reset_z:g}", colour=AVERAGE, more=band),
        ],
        unit=SHARE, height=height, by_asset=True, **options,
    )  # fmt: skip


def _distance() -> Panel:
    intensity = f'leverage_liquidation_intensity_ratio{{{OF}, window="1h"}}'
    return bars(
        "$asset: why this phase? Each condition as a share of its threshold",
        "100 % is met. A purge takes a fall of a day or of three with enough deviations, or provisionally of "
        "four hours; stretched and build-up are the other way. The thresholds are those in force.",
        [
            Query(of_threshold(growth("4h"), "purge_growth_4h"), "fall in 4 h"),
            Query(of_threshold(growth("24h"), "purge_growth_1d"), "fall in 24 h"),
            Query(of_threshold(growth("72h"), "purge_growth_3d"), "fall in 72 h"),
            Query(of_threshold(intensity, "liquidation_burst"), "liquidated in 1 h"),
            Query(of_threshold(f"leverage_stretch_ratio{{{OF}}}", "stretched"), "stretch"),
            Query(of_threshold(f"{LEVEL_OF}_zscore{{{OF}}}", "build_up_z"), "z, for a build-up"),
            Query(of_threshold(f"leverage_funding_percentile_ratio{{{OF}}}", "funding_high"),
                  "funding high"),
        ],
        unit=SHARE, steps=steps((None, SKY), (1, BAD)), high=2, height=8, by_asset=True,
    )  # fmt: skip


def _purge() -> Panel:
    side = f"leverage_purge_side{{{OF}, kind="
    sides = {0: ("longs", LONG), 1: ("shorts", SHORT)}
    return numbers(
        "$asset: the last purge",
        "While it lasts or stabilises; dashes at other times. Back to average: how far open interest to "
        "market cap has come from its peak, 100 % is the average.",
        [
            Query(f'max by (asset) (0 * ({side}"long_flush"}} == 1) or ({side}"short_squeeze"}} == 1))',
                  "forced out", unit="none", words=tuple(words(sides))),
            Query(f"leverage_purge_depth_ratio{{{OF}}}", "of open interest", decimals=0),
            Query(f"leverage_purge_destroyed_usd{{{OF}}}", "destroyed", unit=USD, decimals=1),
            Query(f"leverage_deleveraging_completeness_ratio{{{OF}}}", "back to average", decimals=0),
        ],
        by_asset=True,
    )  # fmt: skip


def _growth() -> Panel:
    def over(window: str, name: str, colour: str) -> Query:
        metric = last("leverage_open_interest_growth_ratio", f'{OF}, window="{window}"')
        return Query(metric, name, colour=colour)

    return lines(
        "$asset: change of open interest at constant price",
        "Log changes of native contracts, over instruments fresh at both ends: neither a price nor a venue "
        "that drops out moves it. Dashed: where a fall of 4 h or a day, and of 3 days, can be a purge.",
        [over("4h", "4 h", ORANGE), over("24h", "24 h", SKY), over("72h", "72 h", PINK)],
        unit=SHARE, height=7, by_asset=True,
        steps=steps((None, RED), (RULE.purge_growth_3d, ORANGE), (RULE.purge_growth, "transparent")),
    )  # fmt: skip


def _change() -> Panel:
    metric = "leverage_open_interest_change_usd"
    return lines(
        "$asset: change of open interest in 24 h, and what made it",
        "A fall in dollars that the price made is no deleveraging.",
        [
            Query(last(metric, f'{OF}, kind="position_effect"'), "positions", colour=ORANGE),
            Query(last(metric, f'{OF}, kind="price_effect"'), "price", colour=GREY),
        ],
        unit=USD, height=7, by_asset=True,
    )  # fmt: skip


def _funding() -> Panel:
    metric = last("leverage_funding_rate_8h_weighted_ratio", OF)
    return lines(
        "$asset: funding, 8 h",
        "Weighted by open interest in dollars; longs pay while it is positive.",
        [Query(metric, "funding", colour=ORANGE)], unit=SHARE, height=6, by_asset=True, decimals=4,
    )  # fmt: skip


def _price() -> Panel:
    return lines(
        "$asset: price", "The price that all else is read against.",
        [Query(last("leverage_reference_price_usd", OF), "median of marks", colour=GREEN)],
        unit=USD, height=6, by_asset=True,
    )  # fmt: skip


def _conditions() -> Panel:
    held = words({0: ("no", "transparent"), 1: ("yes", RED)})
    kinds = "|".join(SHOWN)
    return states(
        "Conditions that hold",
        "With hysteresis. Contradiction: open interest fell far more than was reported liquidated, so the "
        "feeds say too little. Disagreement: above the one average and under the other.",
        [Query(last("leverage_condition", f'{OF}, kind=~"{kinds}"'), "{{asset}} {{kind}}")], held,
        height=8, values=False,
    )  # fmt: skip


def _confidence() -> Panel:
    return lines(
        "Confidence", "Under what coverage, agreement and distance from thresholds the phases stood.",
        [Query(last("leverage_phase_confidence_ratio", OF), "{{asset}}")],
        unit=SHARE, height=6, low=0, high=1, colours=ASSETS_COLOURS,
    )  # fmt: skip


def _coverage() -> Panel:
    return lines(
        "Coverage", "Dashed: where an alert begins, and where the phase is frozen.",
        [Query(last("leverage_coverage_ratio", OF), "{{asset}}")],
        unit=SHARE, height=6, low=0, high=1, colours=ASSETS_COLOURS,
        steps=steps((None, BAD), (RULE.min_coverage, WARN), (COVERAGE_WARNING, "transparent")),
    )  # fmt: skip
