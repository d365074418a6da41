"""What is not perpetual: CME's futures by their weekly report, and the spot ETFs by their daily flows."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.boards.frame import frame
from grafana.boards.panels import COINS, SHARE, USD, Panel, Query, last, lines, numbers, states
from grafana.boards.style import BAD, BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY, WARN, steps, words
from monitor.macro.etf import MATERIAL_ASSETS, MATERIAL_RATIO, SMALL_ASSETS, SMALL_RATIO

OF = 'asset=~"$asset"'
SIZES = {0: ("small", GREEN), 1: ("moderate", ORANGE), 2: ("material", RED)}


def board() -> Dashboard:
    """Uid leverage-cme-etf."""
    return frame(
        "leverage-cme-etf", "CME and ETF",
        "Did the futures of CME and the holders of spot ETFs do what perpetuals did?",
        [
            [_cme_now()], [_etf_now()], [_agree()], [_cme()], [_proxy()], [_flow()], [_cumulative()],
            [_redemption()],
        ],
        variables=["asset"], time="now-90d", alerts='category="market", asset=~"$asset|"',
    )  # fmt: skip


def _cme_now() -> Panel:
    return numbers(
        "$asset: perpetuals and CME",
        "Perpetuals at constant price in two weeks, against CME by its last weekly report.",
        [
            Query(f'leverage_open_interest_growth_ratio{{{OF}, window="14d"}}', "perps, 14 d", decimals=1),
            Query(f"leverage_cme_liquidation_proxy_ratio{{{OF}}}", "CME net, 4 wk", decimals=1),
            Query(f"leverage_cme_long_liquidation_ratio{{{OF}}}", "CME longs out, 4 wk", decimals=1),
            Query(f"leverage_cme_open_interest_coins{{{OF}}}", "CME, coins", unit=COINS, decimals=1),
        ],
        by_asset=True, height=4,
    )  # fmt: skip


def _etf_now() -> Panel:
    size = " or ".join(
        f'{number} * (leverage_etf_redemption_size{{{OF}, kind="{name}"}} == 1)'
        for number, (name, _) in SIZES.items()
    )
    return numbers(
        "$asset: are redemptions small against the inflows before?",
        f"Moderate from {SMALL_RATIO:.0%} of the inflows or {SMALL_ASSETS:.0%} of assets, material from "
        f"{MATERIAL_RATIO:.0%} or {MATERIAL_ASSETS:.0%}.",
        [
            Query(f"max by (asset) ({size})", "redemptions", unit="none", words=tuple(words(SIZES))),
            Query(f"leverage_etf_redemption_ratio{{{OF}}}", "of the inflows", decimals=0, steps=tuple(
                steps((None, "text"), (SMALL_RATIO, WARN), (MATERIAL_RATIO, BAD)))),
            Query(f"leverage_etf_redemption_to_assets_ratio{{{OF}}}", "of assets", decimals=2, steps=tuple(
                steps((None, "text"), (SMALL_ASSETS, WARN), (MATERIAL_ASSETS, BAD)))),
            Query(f"leverage_etf_net_flow_usd{{{OF}}}", "last day", unit=USD, decimals=0),
        ],
        by_asset=True, height=4,
    )  # fmt: skip


def _agree() -> Panel:
    return states(
        "Conditions of the whole market",
        "With hysteresis. perps_and_cme_disagree: the one deleveraged most in one asset, the other in "
        "the other.",
        [Query(last("leverage_market_condition"), "{{kind}}")],
        words({0: ("no", "transparent"), 1: ("yes", RED)}), height=4, values=False,
    )  # fmt: skip


def _cme() -> Panel:
    return lines(
        "$asset: open interest at CME", "Standard and micro futures, in coins; a step a week.",
        [Query(last("leverage_cme_open_interest_coins", OF), "open interest", colour=BLUE)],
        unit=COINS, by_asset=True, height=7, decimals=2,
    )  # fmt: skip


def _proxy() -> Panel:
    return lines(
        "$asset: who left CME, four weeks",
        "Net: negative if longs left. Longs out: what fell in falling weeks.",
        [
            Query(last("leverage_cme_liquidation_proxy_ratio", OF), "net", colour=ORANGE),
            Query(last("leverage_cme_long_liquidation_ratio", OF), "longs out", colour=PINK),
            Query(last("leverage_open_interest_growth_ratio", f'{OF}, window="14d"'), "perpetuals, 14 d",
                  colour=GREY),
        ],
        unit=SHARE, by_asset=True, height=7,
    )  # fmt: skip


def _flow() -> Panel:
    return lines(
        "$asset: net flow into spot ETFs", "Of the last day that was reported.",
        [Query(last("leverage_etf_net_flow_usd", OF), "net flow", colour=SKY)],
        # Both, so that bars begin at zero whichever way they point.
        unit=USD, by_asset=True, height=6, bars=True, low=0, high=0,
    )  # fmt: skip


def _cumulative() -> Panel:
    return lines(
        "$asset: all flows so far, and how far under their peak",
        "The drawdown is what has been redeemed since.",
        [
            Query(last("leverage_etf_cumulative_flow_usd", OF), "cumulative", colour=GREEN),
            Query(last("leverage_etf_drawdown_usd", OF), "drawdown (right)", colour=RED,
                  more=(("custom.axisPlacement", "right"),)),
        ],
        unit=USD, by_asset=True, height=6, decimals=2,
    )  # fmt: skip


def _redemption() -> Panel:
    return lines(
        "$asset: redeemed in six trading days, of the inflows before",
        f"Dashed: {SMALL_RATIO:.0%}, where it is no longer small, and {MATERIAL_RATIO:.0%}, where it is "
        "material.",
        [Query(last("leverage_etf_redemption_ratio", OF), "redeemed", colour=ORANGE)],
        unit=SHARE, by_asset=True, height=6, low=0, high=1,
        steps=steps((None, "transparent"), (SMALL_RATIO, WARN), (MATERIAL_RATIO, BAD)),
    )  # fmt: skip
