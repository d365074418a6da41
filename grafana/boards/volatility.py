"""Volatility, and what bitcoin costs against gold on equal risk capital."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.boards.frame import frame
from grafana.boards.panels import NUMBER, SHARE, USD, Panel, Query, last, lines, numbers
from grafana.boards.style import (
    ASSETS_COLOURS,
    AVERAGE,
    BAD,
    GREEN,
    GREY,
    LEVEL,
    ORANGE,
    PINK,
    RED,
    SKY,
    WARN,
    YELLOW,
    steps,
    words,
)
from monitor.volatility.ratio import WINDOW

RATIO = "leverage_bitcoin_gold_volatility_ratio"
OWN_CLOCK = "leverage_bitcoin_gold_own_clock_volatility_ratio"
OF = 'asset=~"$asset"'
CHOSEN = 'estimator=~"$estimator", window="$horizon"'
GOLD = PINK
"""Not yellow, which a white page hardly shows."""
ESTIMATOR_COLOURS = {
    "close_to_close": (SKY, False), "ewma": (GREEN, False), "yang_zhang": (PINK, False),
    "realized_variance": (AVERAGE, False), "bipower": (RED, False), "parkinson": (YELLOW, False),
    "garman_klass": (GREY, False), "rogers_satchell": (GREY, True),
}  # fmt: skip
TWO = 2.0
"""Under it the note of November 2025 calls bitcoin attractive (methodology 0.1)."""


def board() -> Dashboard:
    """Uid leverage-volatility."""
    return frame(
        "leverage-volatility", "Volatility and gold",
        "How volatile, by estimator; bitcoin against gold on equal risk capital, with its error band.",
        [
            [_now()], [_ratio(), _fair_value()], [_gap(), _gold()], [_both()], [_volatility()],
            [_assets(), _premium()],
        ],
        variables=["asset", "horizon", "estimator"], alerts='category="market"',
    )  # fmt: skip


def _bound(metric: str, bound: str) -> str:
    return f'{metric}{{window="{WINDOW}d", gold="spot", bound="{bound}"}}'


def _now() -> Panel:
    certain = words({0: ("uncertain", WARN), 1: ("certain", GREEN)})
    return numbers(
        "Bitcoin against gold",
        "Ratio of volatilities with its 90 % interval; the price of equal risk capital; the gap to the "
        "price, and whether its sign outlasts the sampling error. Conditional on bitcoin deserving gold's "
        "share.",
        [
            Query(_bound(RATIO, "mid"), "volatility ratio", decimals=2),
            Query(_bound(RATIO, "low"), "low", decimals=2), Query(_bound(RATIO, "high"), "high", decimals=2),
            Query("leverage_break_even_volatility_ratio", "break-even ratio", decimals=2),
            Query('leverage_fair_value_usd{bound="mid"}', "fair value", unit=USD, decimals=0),
            Query("leverage_fair_value_gap_usd", "gap", unit=USD, decimals=0),
            Query("leverage_fair_value_gap_ratio", "gap", unit=SHARE, decimals=0),
            Query("leverage_fair_value_gap_certain", "its sign", words=tuple(certain)),
        ],
        unit=NUMBER, width=24, height=4,
    )  # fmt: skip


def _band(low: str, high: str, to: str) -> list[Query]:
    """The edges of a band, filled between."""
    edge: tuple[tuple[str, object], ...] = (("custom.lineWidth", 1), ("custom.showPoints", "never"))
    fill = (*edge, ("custom.fillBelowTo", to), ("custom.fillOpacity", 18))
    return [Query(high, "high", colour=AVERAGE, more=fill), Query(low, to, colour=AVERAGE, more=edge)]


def _ratio() -> Panel:
    def of(bound: str, metric: str = RATIO) -> str:
        return last(metric, f'window="{WINDOW}d", gold="spot", bound="{bound}"')

    return lines(
        "Volatility of bitcoin over gold's",
        f"Over {WINDOW} gold trading days, with its 90 % interval. Dashed: {TWO:g}, the article's mark; the "
        "break-even ratio is where the price would be the fair value. Own clock: bitcoin's calendar days at "
        "365 over gold's trading days at 252, a check.",
        [
            Query(of("mid"), "ratio", colour=LEVEL), *_band(of("low"), of("high"), "low"),
            Query(of("mid", OWN_CLOCK), "own clock", colour=SKY),
            Query(last("leverage_break_even_volatility_ratio"), "break-even", colour=GREY),
        ],
        unit=NUMBER, decimals=2, steps=steps((None, "transparent"), (TWO, BAD)),
    )  # fmt: skip


def _fair_value() -> Panel:
    def of(bound: str) -> str:
        return last("leverage_fair_value_usd", f'bound="{bound}"')

    return lines(
        "Price on equal risk capital with gold, and the price",
        "Fair only if bitcoin deserves gold's share of private investment; no forecast. The band is the "
        "sampling error of the volatility ratio.",
        [
            Query(of("mid"), "fair value", colour=LEVEL), *_band(of("low"), of("high"), "low"),
            Query(last("leverage_reference_price_usd", 'asset="BTC"'), "price", colour=GREEN),
        ],
        unit=USD,
    )  # fmt: skip


def _gap() -> Panel:
    return lines(
        "Fair value over price, minus one", "Positive: bitcoin is below it. Its sign is an alert.",
        [Query(last("leverage_fair_value_gap_ratio"), "gap", colour=LEVEL)],
        unit=SHARE, height=7, steps=steps((None, "transparent"), (0, GREY)),
    )  # fmt: skip


def _gold() -> Panel:
    return lines(
        "Gold",
        "Dollars an ounce, and what private investors hold in it. Proxies stand for gold while spot rests: "
        "to be shown only, and tokens (PAXG, XAUT) 5 to 20 bps above spot.",
        [
            Query(last("leverage_gold_price_usd"), "ounce", colour=GOLD),
            Query(last("leverage_gold_proxy_price_usd"), "{{symbol}} (proxy, weekend)"),
            Query(last("leverage_gold_private_investment_usd"), "held privately (right)", colour=GREY,
                  more=(
                      ("custom.axisPlacement", "right"),
                      # It moves with the ounce, and would hide it.
                      ("custom.lineStyle", {"fill": "dash", "dash": [6, 8]}),
                  )),
        ],
        unit=USD, height=7, decimals=3,
    )  # fmt: skip


def _both() -> Panel:
    matchers = f'asset=~"BTC|GOLD", estimator="close_to_close", window="{WINDOW}d"'
    return lines(
        f"Volatility over {WINDOW} gold trading days",
        "Bitcoin sampled at gold's times, both annualised at 252: their quotient is the ratio.",
        [Query(last("leverage_realized_volatility_ratio", matchers), "{{asset}}")],
        unit=SHARE, low=0, height=6, width=24, colours={**ASSETS_COLOURS, "GOLD": (GOLD, False)},
    )  # fmt: skip


def _volatility() -> Panel:
    realised = last("leverage_realized_volatility_ratio", f"{OF}, {CHOSEN}")
    return lines(
        "$asset: volatility of $horizon, annualised",
        "Realised by the chosen estimators, and implied for the next 30 days.",
        [
            Query(realised, "{{estimator}}"),
            Query(last("leverage_implied_volatility_ratio", OF), "implied, 30 d", colour=ORANGE),
        ],
        unit=SHARE, by_asset=True, low=0, colours=ESTIMATOR_COLOURS,
    )  # fmt: skip


def _assets() -> Panel:
    matchers = 'asset=~"BTC|ETH|GOLD", estimator="close_to_close", window="$horizon"'
    return lines(
        "Volatility of $horizon, from close to close",
        "Bitcoin and ether annualised at 365 days, gold at 252.",
        [Query(last("leverage_realized_volatility_ratio", matchers), "{{asset}}")],
        unit=SHARE, low=0, height=7, colours={**ASSETS_COLOURS, "GOLD": (GOLD, False)},
    )  # fmt: skip


def _premium() -> Panel:
    return lines(
        "Implied minus realised variance, 30 d", "Positive: more movement is expected than there was.",
        [Query(last("leverage_variance_premium_ratio", OF), "{{asset}}")],
        unit=NUMBER, decimals=2, height=7, colours=ASSETS_COLOURS,
        steps=steps((None, "transparent"), (0, GREY)),
    )  # fmt: skip
