"""Liquidations: who, where, how much, and whether what is reported can be all."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.boards.frame import frame
from grafana.boards.panels import SHARE, USD, Panel, Query, by_venue, last, lines, numbers, rows_of, states
from grafana.boards.style import BAD, GREY, LONG, ORANGE, RED, SHORT, WARN, steps, words
from monitor.deleveraging.past import CONDITIONS

OF = 'asset=~"$asset"'


def board() -> Dashboard:
    """Uid leverage-liquidations."""
    return frame(
        "leverage-liquidations", "Liquidations",
        "Longs and shorts that were forced out, by venue. All are lower bounds: most venues throttle their "
        "feed, some have none.",
        [
            [_now()], [_sides()], [_implied()], [_intensity()], [_venues()], [_bursts()],
            [_feeds()],
        ],
        variables=["asset", "venue", "window"], alerts='category="market", asset=~"$asset|"',
    )  # fmt: skip


def _now() -> Panel:
    begins, ends = CONDITIONS["liquidation_burst"]
    window = f'{OF}, window="$window"'
    return numbers(
        "$asset: liquidated in $window",
        "What was reported, what vanished at constant price, forced or not, the last hour against open "
        "interest, and where the day is among those of a year.",
        [
            Query(f"leverage_liquidated_usd{{{window}}}", "reported", unit=USD, decimals=0),
            Query(f"leverage_implied_liquidation_usd{{{window}}}", "implied", unit=USD, decimals=0),
            Query(f'leverage_liquidation_intensity_ratio{{{OF}, window="1h"}}', "of open interest, 1 h",
                  decimals=2, steps=tuple(steps((None, "text"), (ends, WARN), (begins, BAD)))),
            Query(f"leverage_liquidation_percentile_ratio{{{OF}}}", "percentile, 24 h", decimals=0),
        ],
        height=4, by_asset=True,
    )  # fmt: skip


def _sides() -> Panel:
    metric = f'leverage_liquidated_usd_total{{{OF}, venue=~"$venue", position='
    down: tuple[tuple[str, object], ...] = (("custom.transform", "negative-Y"),)
    return lines(
        "$asset: liquidated in each step, by side",
        "Longs above the line, shorts below, of the chosen venues.",
        [
            Query(f'sum by (asset) (increase({metric}"long"}}[$__rate_interval]))', "longs", colour=LONG),
            Query(f'sum by (asset) (increase({metric}"short"}}[$__rate_interval]))', "shorts", colour=SHORT,
                  more=down),
        ],
        unit=USD, by_asset=True, bars=True, calcs=("max",),
    )  # fmt: skip


def _implied() -> Panel:
    window = f'{OF}, window="$window"'
    return lines(
        "$asset: reported against implied, $window",
        "Implied is open interest that vanished at constant price. Far above what was reported, either the "
        "feeds say too little or positions were closed by choice.",
        [
            Query(last("leverage_liquidated_usd", window), "reported", colour=ORANGE),
            Query(last("leverage_implied_liquidation_usd", window), "implied", colour=GREY),
        ],
        unit=USD, by_asset=True, height=7,
    )  # fmt: skip


def _intensity() -> Panel:
    begins, ends = CONDITIONS["liquidation_burst"]
    return lines(
        "$asset: liquidated in an hour, of open interest",
        f"A burst begins at the upper dashed line, {begins:.1%}, and ends under the lower, {ends:.1%}.",
        [
            Query(f'max_over_time(leverage_liquidation_intensity_ratio{{{OF}, window="1h"}}[$__interval])',
                  "1 h", colour=RED),
        ],
        unit=SHARE, by_asset=True, height=6, calcs=("max",),
        steps=steps((None, "transparent"), (ends, WARN), (begins, BAD)),
    )  # fmt: skip


def _venues() -> Panel:
    metric = f'leverage_liquidated_usd_total{{{OF}, venue=~"$venue"}}[$__rate_interval]'
    return by_venue(
        "$asset: liquidated in each step, by venue",
        "Both sides. No line: that venue has no feed; zero: it has one and was quiet.",
        f"sum by (venue) (increase({metric}))", unit=USD, by_asset=True, legend_right=True, calcs=("max",),
    )  # fmt: skip


def _bursts() -> Panel:
    kinds = "liquidation_burst|liquidation_contradiction"
    return states(
        "Bursts, and contradictions",
        "A contradiction: open interest fell far more than was reported liquidated, so what is reported "
        "cannot be all.",
        [Query(last("leverage_condition", f'{OF}, kind=~"{kinds}"'), "{{asset}} {{kind}}")],
        words({0: ("no", "transparent"), 1: ("yes", RED)}), height=5, values=False,
    )  # fmt: skip


def _feeds() -> Panel:
    return rows_of(
        "What each venue tells of liquidations", "Complete, throttled (often one a second), or none.",
        [Query(f'count by (venue, liquidation_feed) (leverage_instrument_info{{{OF}, venue=~"$venue"}})')],
        columns={"venue": "Venue", "liquidation_feed": "Feed", "Value": "Instruments"},
        sort="Venue", height=8,
    )  # fmt: skip
