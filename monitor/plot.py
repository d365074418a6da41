"""The picture of `monitor phases`: price, leverage against its average, and the phases in between."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from monitor.deleveraging.phases import Thresholds, in_words, relapse_in_words

# Okabe and Ito's colours, which stay apart for the colour-blind: (colour, opacity) behind the price.
SPANS: Mapping[str, tuple[str, float]] = {
    "undetermined": ("#999999", 0.22),
    "reset": ("#009E73", 0.30),
    "build_up": ("#F0E442", 0.45),
    "stretched": ("#E69F00", 0.62),
    "purge": ("#D55E00", 0.95),
    "stabilising": ("#56B4E9", 0.55),
}
INK, PALE, AVERAGE = "#1a1a1a", "#777777", "#0072B2"
SIDES: Mapping[str, tuple[str, str, str]] = {
    "long_flush": ("v", "#D55E00", "purge of longs"),
    "short_squeeze": ("^", "#0072B2", "purge of shorts"),
}
"""Marker, colour and word of a purge's side; the triangle points where the price went."""
STYLE: dict[Any, Any] = {
    "font.size": 11, "axes.edgecolor": "#bbbbbb", "axes.labelcolor": INK, "axes.labelsize": 10.5,
    "axes.spines.top": False, "axes.spines.right": False, "xtick.color": PALE, "ytick.color": PALE,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "axes.grid": True, "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6, "axes.axisbelow": True, "figure.facecolor": "white", "text.color": INK,
    "date.converter": "concise",
}  # fmt: skip
WIDTH, HEIGHT, DPI = 14.0, 5.6, 100
"""Inches of the picture, and of each asset."""
DEEP = 0.10
"""Purges that destroyed at least this share of open interest are labelled with it."""
ROOM = 24
"""So many labels fit side by side."""
MARGIN = 0.815
"""The part of the width that is left of the verdict."""


def draw(assessed: pl.DataFrame, path: Path) -> None:
    """Draws the assets of `phases.assess` below each other, 1400 pixels wide, to a PNG.

    Raises:
        OSError: the file cannot be written.
    """
    parts = assessed.partition_by("asset", maintain_order=True)
    with rc_context(STYLE):
        height = HEIGHT * len(parts) + 0.9
        figure = Figure(figsize=(WIDTH, height), dpi=DPI)
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(
            len(parts), 1, hspace=0.11, left=0.072, right=MARGIN, top=1 - 0.72 / height, bottom=0.42 / height
        )
        for number, part in enumerate(parts):
            pair = grid[number].subgridspec(2, 1, height_ratios=[1.25, 1.0], hspace=0.07)
            price = figure.add_subplot(pair[0])
            leverage = figure.add_subplot(pair[1], sharex=price)
            _price(price, part)
            _leverage(leverage, part)
            _spans((price, leverage), part)
            _verdict(price, leverage, part)
        _legend(figure, height)
        figure.savefig(path, format="png")


def _dates(part: pl.DataFrame) -> Any:
    return part["day"].cast(pl.Date).to_numpy()


def _floats(part: pl.DataFrame, of: pl.Expr) -> Any:
    return part.select(of.cast(pl.Float64)).to_series().to_numpy()


def _price(axes: Axes, part: pl.DataFrame) -> None:
    axes.plot(_dates(part), _floats(part, pl.col("price")), color=INK, linewidth=1.1, zorder=3)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel(f"{part['asset'][0]} price, USD (log)")
    axes.tick_params(labelbottom=False)
    purges = _purges(part)
    for side, (marker, colour, _) in SIDES.items():
        of = purges.filter(pl.col("side") == side)
        axes.scatter(
            _dates(of), _floats(of, pl.col("price")), marker=marker, s=62, color=colour,
            edgecolors="white", linewidths=0.8, zorder=4,
        )  # fmt: skip
    for row in _labelled(purges, part.height / ROOM).iter_rows(named=True):
        below = row["side"] != "short_squeeze"
        axes.annotate(
            f"-{row['deepest']:.0%}", (row["date"], row["price"]), (0, -9 if below else 9),
            textcoords="offset points", ha="center", va="top" if below else "bottom", fontsize=8.5, zorder=5,
            bbox={"boxstyle": "round,pad=0.12", "fc": "white", "ec": "none", "alpha": 0.7},
        )  # fmt: skip
    axes.margins(x=0.005, y=0.12)


def _purges(part: pl.DataFrame) -> pl.DataFrame:
    """The first day of each purge, with the depth that it reached."""
    return (
        part.filter(pl.col("phase") == "purge")
        .group_by("since", maintain_order=True)
        .agg(pl.col("day", "price", "side").first(), pl.col("depth").max().alias("deepest"))
        .filter(pl.col("price").is_not_null())
        .with_columns(date=pl.col("day").cast(pl.Date))
    )


def _labelled(purges: pl.DataFrame, apart: float) -> pl.DataFrame:
    """The deep ones, without those that would write over the label of a deeper one."""
    taken: list[int] = []
    for day in purges.filter(pl.col("deepest") >= DEEP).sort("deepest", descending=True)["day"]:
        if all(abs(day - other) >= apart for other in taken):
            taken.append(day)
    return purges.filter(pl.col("day").is_in(taken))


def _leverage(axes: Axes, part: pl.DataFrame) -> None:
    """Open interest over market capitalisation; over nothing where the supply is not known."""
    dates = _dates(part)
    if known := bool(part["oi_to_market_cap"].is_not_null().any()):
        level, average, mean = (pl.col(name) for name in ("oi_to_market_cap", "average", "mean"))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    else:
        level, average, mean = (pl.col(name).exp() for name in ("index", "log_average", "log_mean"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.set_ylabel("open interest to market cap" if known else "open interest, coins")
    axes.margins(y=0.09)
    rule = Thresholds()

    def edge(z: float) -> Any:
        return _floats(part, average * (z * pl.col("scale")).exp())

    axes.fill_between(
        dates, edge(-rule.reset_z), edge(rule.reset_z), color=AVERAGE, alpha=0.22, linewidth=0, zorder=2
    )
    axes.plot(dates, edge(rule.build_up_z), color=AVERAGE, linewidth=0.9, linestyle=(0, (4, 3)), zorder=2)
    axes.plot(dates, _floats(part, average), color=AVERAGE, linewidth=1.6, zorder=3)
    axes.plot(dates, _floats(part, mean), color=PALE, linewidth=0.9, linestyle=(0, (1, 1.5)), zorder=3)
    axes.plot(dates, _floats(part, level), color=INK, linewidth=1.1, zorder=4)


def _spans(panels: tuple[Axes, Axes], part: pl.DataFrame) -> None:
    """Whole behind the price; as a strip along the foot of the leverage, where lines need the room."""
    run = pl.struct("phase", "since").rle_id()
    runs = part.group_by(run.alias("run"), maintain_order=True).agg(
        pl.col("phase").first(),
        pl.col("day").first().cast(pl.Date).alias("first"),
        (pl.col("day").last() + 1).cast(pl.Date).alias("end"),
    )
    price, leverage = panels
    for phase, first, end in runs.select("phase", "first", "end").iter_rows():
        colour, opacity = SPANS[phase]
        price.axvspan(first, end, color=colour, alpha=opacity, linewidth=0, zorder=0)
        leverage.axvspan(first, end, 0, 0.035, color=colour, alpha=max(opacity, 0.6), linewidth=0, zorder=1)


def _verdict(price: Axes, leverage: Axes, part: pl.DataFrame) -> None:
    last = part.row(-1, named=True)
    colour, opacity = SPANS[last["phase"]]
    price.text(1.02, 0.97, last["asset"], transform=price.transAxes, fontsize=20, weight="bold", va="top")
    since = "" if last["since"] is None else f"\nsince {_iso(last['since'])}"
    price.text(
        1.022, 0.77, f"{last['phase'].replace('_', '-')}{since}", transform=price.transAxes, va="top",
        fontsize=12, linespacing=1.4,
        bbox={"boxstyle": "round,pad=0.35", "fc": (colour, opacity), "ec": "none"},
    )  # fmt: skip
    words = in_words(last["phase"], last["verdict"])
    price.text(
        1.02, 0.47, _wrapped(words[0].upper() + words[1:]), transform=price.transAxes, va="top",
        fontsize=13, weight="bold", linespacing=1.3,
    )  # fmt: skip
    if (relapse := relapse_in_words(last["phase"])) is not None:
        price.text(1.02, 0.2, _wrapped(relapse, 32), transform=price.transAxes, va="top", fontsize=9)
    lines = [f"on {_iso(last['day'])} (UTC)"]
    if last["oi_to_market_cap"] is not None:
        lines.append(f"now  {last['oi_to_market_cap']:.2%}")
        if last["average"] is not None:
            lines.append(f"average  {last['average']:.2%}")
    if last["z"] is not None:
        lines.append(f"z  {last['z']:+.2f}, percentile {last['percentile']:.0%}")
    lines.append(f"confidence  {last['confidence']:.2f}")
    leverage.text(1.02, 0.97, "\n".join(lines), transform=leverage.transAxes, va="top", linespacing=1.55)


def _iso(day: int) -> str:
    return str(pl.Series([day], dtype=pl.Int32).cast(pl.Date)[0])


def _wrapped(text: str, width: int = 22) -> str:
    return "\n".join(textwrap.wrap(text, width))


def _legend(figure: Figure, height: float) -> None:
    phases = [
        Patch(color=colour, alpha=opacity, label=phase.replace("_", "-"), linewidth=0)
        for phase, (colour, opacity) in SPANS.items()
    ]
    sides = [
        Line2D([], [], marker=marker, color=colour, linestyle="", markersize=8, label=word)
        for marker, colour, word in SIDES.values()
    ]
    rule = Thresholds()
    lines = [
        Line2D([], [], color=AVERAGE, linewidth=1.6, label="3-year median"),
        Patch(color=AVERAGE, alpha=0.22, linewidth=0, label=f"±{rule.reset_z:g} z"),
        Line2D([], [], color=AVERAGE, linewidth=0.9, linestyle=(0, (4, 3)), label=f"+{rule.build_up_z:g} z"),
        Line2D([], [], color=PALE, linewidth=0.9, linestyle=(0, (1, 1.5)), label="mean of all so far"),
    ]
    rows: list[tuple[list[Any], float]] = [([*phases, *sides], 0.2), (lines, 0.48)]
    for handles, below in rows:
        figure.legend(
            handles=handles, ncols=len(handles), loc="center left",
            bbox_to_anchor=(0.064, 1 - below / height), frameon=False, fontsize=10,
            handlelength=1.6, columnspacing=1.3,
        )  # fmt: skip
