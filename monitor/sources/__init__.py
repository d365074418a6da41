"""Slow sources: gold, supply, CME, ETF flows, gold's implied volatility. One file a subject, all pure."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.sources import cftc, cme, etf, etf_assets, gold, gold_proxy, gvz, supply, tonnes
from monitor.sources.source import Source

SOURCES: Mapping[str, Source] = {
    source.name: source
    for module in (gold, gold_proxy, tonnes, supply, cftc, cme, etf, etf_assets, gvz)
    for source in module.SOURCES
}
"""All sources by name."""
