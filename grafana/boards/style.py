"""Colours, words and thresholds, the same on every dashboard, taken from where the monitor has them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from grafana_foundation_sdk.models.dashboard import Threshold, ValueMap, ValueMapping, ValueMappingResult

from monitor.deleveraging.phases import PHASES, VERDICTS, Thresholds
from monitor.plot import SPANS
from monitor.sources import SOURCES
from monitor.venues import VENUES

# Okabe and Ito's colours, which stay apart for the colour-blind, on white and on black.
BLUE, SKY, GREEN, YELLOW, ORANGE, RED, PINK, GREY = (
    "#0072B2", "#56B4E9", "#009E73", "#F0E442", "#E69F00", "#D55E00", "#CC79A7", "#999999",
)  # fmt: skip
GOOD, WARN, BAD, NEUTRAL = GREEN, ORANGE, RED, GREY
LONG, SHORT = RED, BLUE
LEVEL, AVERAGE = ORANGE, BLUE
ASSETS_COLOURS = {"BTC": (ORANGE, False), "ETH": (SKY, False)}
"""By asset its colour, and whether its line is dashed."""
KINDS = ("mark", "index", "funding", "open_interest", "liquidation", "volatility_index")
DISTINCT = (ORANGE, SKY, GREEN, PINK, BLUE, RED, YELLOW)
RULE = Thresholds()
ALERTS = (Path(__file__).parents[1] / "rules" / "alerts.yml").read_text()

PROVISIONAL = len(PHASES)
"""Stands for a purge that its day has not confirmed, after the numbers of the phases."""


def in_rule(pattern: str) -> float:
    """The number that a rule compares with.

    Raises:
        ValueError: the rule says it another way now.
    """
    found = re.search(pattern + r" ([\d.]+)", ALERTS)
    if found is None:
        raise ValueError(f"no rule has {pattern!r}")
    return float(found[1])


COVERAGE_WARNING = in_rule(r"leverage_coverage_ratio <")


def venue_colours() -> dict[str, tuple[str, bool]]:
    """By venue its colour, and whether its line is dashed because the colours had been used up."""
    return {
        venue: (DISTINCT[number % len(DISTINCT)], number >= len(DISTINCT))
        for number, venue in enumerate(VENUES)
    }


def kind_colours() -> dict[str, tuple[str, bool]]:
    """By kind of event its colour; red is for what was lost."""
    free = [colour for colour in DISTINCT if colour != BAD]
    return {kind: (free[number], False) for number, kind in enumerate(KINDS)}


def source_colours() -> dict[str, tuple[str, bool]]:
    """By slow source the colour of what it speaks of; the first that does has the solid line."""
    subject = {"gold_future": "gold", "gold_tonnes": "gold", "cme": "cftc", "etf_assets": "etf"}
    free = iter((*DISTINCT[:-1], GREY))  # yellow is hardly seen on a white page
    colours: dict[str, str] = {}
    found = {}
    for name, source in SOURCES.items():
        of = subject.get(source.kind, source.kind)
        found[name] = (colours[of], True) if of in colours else (colours.setdefault(of, next(free)), False)
    return found


def steps(*marks: tuple[float | None, str]) -> list[Threshold]:
    """Thresholds from the lowest up; the first begins at None."""
    return [Threshold(value=value, color=colour) for value, colour in marks]


def words(texts: Mapping[int, tuple[str, str]]) -> list[ValueMapping]:
    """What numbers mean: value to text and colour."""
    return [
        ValueMap(
            options={
                str(value): ValueMappingResult(text=text, color=colour, index=index)
                for index, (value, (text, colour)) in enumerate(texts.items())
            }
        )
    ]


PHASE_WORDS = {
    **{number: (phase.replace("_", "-"), SPANS[phase][0]) for number, phase in enumerate(PHASES)},
    PROVISIONAL: ("purge?", SPANS["purge"][0]),
}
VERDICT_COLOURS: Mapping[str, str] = {"yes": GOOD, "partly": YELLOW, "no": BAD, "undetermined": NEUTRAL}
VERDICT_WORDS: Mapping[int, tuple[str, str]] = {
    number: (verdict, VERDICT_COLOURS[verdict]) for number, verdict in enumerate(VERDICTS)
}
