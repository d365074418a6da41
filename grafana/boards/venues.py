"""Leverage by venue: who holds it, what each pays, and how each of them counts."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.boards.frame import frame
from grafana.boards.panels import (
    COINS,
    SHARE,
    USD,
    Panel,
    Query,
    bars,
    by_venue,
    cells,
    last,
    lines,
    rows_of,
)
from grafana.boards.style import ORANGE, PINK, SKY, venue_colours

OF = 'asset=~"$asset", venue=~"$venue"'
ASSET = 'asset=~"$asset"'
FUNDING = "venue_asset:leverage_funding_rate_8h_ratio:weighted"
EXTREME = 0.0005
"""Funding of 8 h at which a cell has its full colour: five times the usual 0.01 %."""


def board() -> Dashboard:
    """Uid leverage-venues."""
    return frame(
        "leverage-venues", "Leverage by venue",
        "Open interest, funding and premium of each venue. Lines are not stacked: a venue that drops out "
        "must not look like deleveraging.",
        [
            [_total()], [_share()], [_dollars()], [_coins()], [_heat()], [_funding()], [_dispersion()],
            [_premium()], [_instruments()],
        ],
        variables=["asset", "venue"], alerts='asset=~"$asset|", venue=~"$venue|"',
    )  # fmt: skip


def _total() -> Panel:
    return lines(
        "$asset: open interest of all venues",
        "The monitor's own total: a silent venue is carried for an hour, then there is none.",
        [Query(last("leverage_perp_open_interest_usd", ASSET), "all venues", colour=ORANGE)],
        unit=USD, height=6, by_asset=True,
    )  # fmt: skip


def _share() -> Panel:
    return bars(
        "$asset: share of each venue",
        "Of the monitor's total. Venues outside the scope are measured against it too.",
        [Query(f"sort_desc(venue_asset:leverage_open_interest_per_perp_open_interest:ratio{{{OF}}})",
               "{{venue}}")],
        unit=SHARE, height=7, by_asset=True, high=1, colours=venue_colours(),
    )  # fmt: skip


def _dollars() -> Panel:
    return by_venue(
        "$asset: open interest by venue, dollars", "One side, at each instrument's own mark.",
        last("venue_asset:leverage_open_interest_usd:sum", OF), unit=USD, by_asset=True, legend_right=True,
    )  # fmt: skip


def _coins() -> Panel:
    return by_venue(
        "$asset: open interest by venue, coins", "One side. What the price does not move.",
        last("venue_asset:leverage_open_interest_coins:sum", OF), unit=COINS, by_asset=True,
        legend_right=True,
    )  # fmt: skip


def _heat() -> Panel:
    return cells(
        "$asset: funding on a base of 8 h, by venue",
        "Red: longs pay; blue: shorts pay. Full colour at 0.05 % in 8 h.",
        Query(last(FUNDING, OF), "{{venue}}"), unit=SHARE, least=-EXTREME, most=EXTREME, by_asset=True,
    )  # fmt: skip


def _funding() -> Panel:
    return by_venue(
        "$asset: funding by venue, 8 h", "Weighted over the venue's instruments by their open interest.",
        last(FUNDING, OF), unit=SHARE, by_asset=True, legend_right=True, decimals=4,
    )  # fmt: skip


def _dispersion() -> Panel:
    of = last(FUNDING, OF)
    return lines(
        "$asset: how far venues are apart in funding",
        "Dearest and cheapest venue, and the mean of all weighted by open interest. Apart means stress, or a "
        "venue that is wrong.",
        [
            Query(f"max by (asset) ({of})", "dearest", colour=PINK),
            Query(last("leverage_funding_rate_8h_weighted_ratio", ASSET), "weighted", colour=ORANGE),
            Query(f"min by (asset) ({of})", "cheapest", colour=SKY),
        ],
        unit=SHARE, height=7, by_asset=True, decimals=4,
    )  # fmt: skip


def _premium() -> Panel:
    return by_venue(
        "$asset: premium of mark over index", "Weighted over the venue's instruments by their open interest.",
        last("venue_asset:leverage_premium_ratio:weighted", OF), unit=SHARE, by_asset=True,
        legend_right=True, decimals=3,
    )  # fmt: skip


def _instruments() -> Panel:
    usd = f"leverage_open_interest_usd{{{OF}}}"
    info = (
        f"{usd} * on (job, instance, venue, asset, symbol) group_left (contract_size, quote, oi_unit, "
        f"oi_sides, oi_sides_reason, liquidation_feed) leverage_instrument_info{{{OF}}}"
    )
    return rows_of(
        "Instruments, and how each venue counts",
        "Where the unit and the number of sides come from, and whether liquidations are complete, throttled "
        "or not told.",
        [Query(info)],
        columns={
            "venue": "Venue", "asset": "Asset", "symbol": "Symbol", "Value": "Open interest",
            "margin": "Margin", "quote": "Quote", "contract_size": "Contract", "oi_unit": "Unit",
            "oi_sides": "Sides", "liquidation_feed": "Liquidations", "oi_sides_reason": "Why so many sides",
        },
        units={"Open interest": USD}, sort="Open interest", descending=True, height=12,
    )  # fmt: skip
