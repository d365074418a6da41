"""Panels of each kind as the dashboards use them, with the metrics' own help as their description."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec
from grafana_foundation_sdk.builders import (
    bargauge,
    common as common_builders,
    dashboard as dashboards,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common, dashboard, heatmap as heatmaps
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.boards.style import GREY, venue_colours
from monitor.commands.catalogue import rows
from monitor.page import UNKNOWN

SOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
POINTS = 220
"""Points of a line. Each sample is in one step, so history of an hour's grain is never empty; and with so
few points a step is an hour from seven days on, so that it is a line there and not dots."""
USD, SHARE, COINS, NUMBER, SECONDS = "currencyUSD", "percentunit", "short", "short", "s"
TIME = "time:D MMM HH:mm"
HELP = {row.name: row.help for row in rows()}

Builder = timeseries.Panel | stat.Panel | statetimeline.Panel | bargauge.Panel | table.Panel | heatmap.Panel


class Query(msgspec.Struct, frozen=True):
    """PromQL, and what its series are called."""

    expr: str
    name: str = "__auto"
    unit: str = ""
    """Where it is another than the panel's."""
    colour: str = ""
    words: tuple[dashboard.ValueMapping, ...] = ()
    steps: tuple[dashboard.Threshold, ...] = ()
    decimals: int | None = None
    more: tuple[tuple[str, object], ...] = ()
    """Further properties of the field, such as `custom.fillBelowTo`."""


class Panel(msgspec.Struct, frozen=True):
    """A panel and the room that it takes on a grid of 24 columns."""

    builder: Builder
    title: str
    width: int
    height: int
    by_asset: bool = False
    """Repeated for each chosen asset, two side by side."""


def last(metric: str, matchers: str = "") -> str:
    """The last sample of each step, so that history of any grain shows, and a gap is a gap."""
    return f"last_over_time({metric}{{{matchers}}}[$__interval])" if matchers else (
        f"last_over_time({metric}[$__interval])"
    )  # fmt: skip


def code(metric: str, label: str, values: Sequence[str], *, at: str = "", by: str = "asset") -> str:
    """Which of the values of a state's label holds, as its number; `at` is `[$__interval]` over a range."""
    part = f'{metric}{{asset=~"$asset", {label}="%s"}}'
    parts = [f"{number} * ({_at(part % value, at)} == 1)" for number, value in enumerate(values)]
    return f"max by ({by}) ({' or '.join(parts)})"


def _at(selector: str, at: str) -> str:
    return f"last_over_time({selector}{at})" if at else selector


def describe(about: str, queries: Sequence[Query]) -> str:
    """The sentence, and below it what the monitor says of each metric in the queries."""
    names = dict.fromkeys(
        name for query in queries for name in re.findall(r"\b(?:leverage|monitor)_[a-z0-9_]+\b", query.expr)
    )
    helps = [f"`{name}`: {HELP[name]}" for name in names if name in HELP]
    return "\n\n".join([about, *helps])


def _start(builder: Builder, title: str, about: str, queries: Sequence[Query], unit: str) -> None:
    builder.title(title).description(describe(about, queries)).datasource(SOURCE).unit(unit)


def _targets(builder: Builder, queries: Sequence[Query], *, instant: bool, as_table: bool = False) -> None:
    for number, query in enumerate(queries):
        target = prometheus.Dataquery().expr(query.expr).ref_id(chr(ord("A") + number)).datasource(SOURCE)
        target.legend_format(query.name)
        if as_table:
            target.format(PromQueryFormat.TABLE)
        builder.with_target(target.instant() if instant else target.range())


def _overrides(builder: Builder, queries: Sequence[Query], unit: str) -> None:
    """By query, in its own right: a name may be of several series."""
    for number, query in enumerate(queries):
        properties: list[tuple[str, object]] = []
        if query.unit and query.unit != unit:
            properties.append(("unit", query.unit))
        if query.colour:
            properties.append(("color", {"mode": "fixed", "fixedColor": query.colour}))
        if query.words:
            properties.append(("mappings", [one.to_json() for one in query.words]))
        if query.steps:
            steps = [one.to_json() for one in query.steps]
            properties.append(("thresholds", {"mode": "absolute", "steps": steps}))
        if query.decimals is not None:
            properties.append(("decimals", query.decimals))
        properties += query.more
        if properties:
            builder.override_by_query(
                chr(ord("A") + number),
                [dashboard.DynamicConfigValue(id_val=name, value=value) for name, value in properties],
            )


def numbers(
    title: str, about: str, queries: Sequence[Query], *, unit: str = SHARE, width: int = 12, height: int = 3,
    by_asset: bool = False, background: bool = False,
) -> Panel:  # fmt: skip
    """Present values side by side. What is unknown is a dash; colour only where it means something."""
    panel = stat.Panel()
    _start(panel, title, about, queries, unit)
    _targets(panel, queries, instant=True)
    panel.reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    panel.graph_mode(common.BigValueGraphMode.NONE).text_mode(common.BigValueTextMode.VALUE_AND_NAME)
    colour = common.BigValueColorMode.BACKGROUND_SOLID if background else common.BigValueColorMode.VALUE
    panel.color_mode(colour).justify_mode(common.BigValueJustifyMode.CENTER).no_value(UNKNOWN)
    panel.orientation(common.VizOrientation.VERTICAL).wide_layout(False)
    # Sizes of their own, or each value would be as large as its room allows.
    small, large = (12, 26) if background else (13, 22)
    panel.text(common_builders.VizTextDisplayOptions().title_size(small).value_size(large))
    panel.color_scheme(dashboards.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
    panel.thresholds(_plain())
    _overrides(panel, queries, unit)
    return Panel(panel, title, width, height, by_asset)


def _stepped(steps: Sequence[dashboard.Threshold]) -> dashboards.ThresholdsConfig:
    return dashboards.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(list(steps))


def _plain() -> dashboards.ThresholdsConfig:
    return _stepped([dashboard.Threshold(value=None, color="text")])


def lines(
    title: str, about: str, queries: Sequence[Query], *, unit: str, width: int = 12, height: int = 8,
    by_asset: bool = False, steps: Sequence[dashboard.Threshold] = (), bars: bool = False,
    colours: Mapping[str, tuple[str, bool]] | None = None, calcs: Sequence[str] = ("lastNotNull",),
    legend_right: bool = False, low: float | None = None, high: float | None = None,
    time_from: str = "", interval: str = "", points: int = POINTS, decimals: int | None = None,
) -> Panel:  # fmt: skip
    """Values over time; a gap is a gap. `steps` are drawn as dashed lines."""
    panel = timeseries.Panel()
    _start(panel, title, about, queries, unit)
    _targets(panel, queries, instant=False)
    panel.span_nulls(False).show_points(common.VisibilityMode.AUTO).point_size(4).line_width(2)
    panel.max_data_points(points).fill_opacity(0)
    panel.color_scheme(dashboards.FieldColor().mode(dashboard.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    if bars:
        panel.draw_style(common.GraphDrawStyle.BARS).fill_opacity(80).line_width(0)
    else:
        panel.draw_style(common.GraphDrawStyle.LINE)
        panel.line_interpolation(common.LineInterpolation.LINEAR)
    legend = common_builders.VizLegendOptions().show_legend(True).calcs(list(calcs))
    legend.display_mode(common.LegendDisplayMode.TABLE if legend_right else common.LegendDisplayMode.LIST)
    legend.placement(common.LegendPlacement.RIGHT if legend_right else common.LegendPlacement.BOTTOM)
    panel.legend(legend)
    tooltip = common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI)
    panel.tooltip(tooltip.sort(common.SortOrder.DESCENDING))
    panel.thresholds(_stepped(steps) if steps else _plain())
    if steps:
        mode = common.GraphThresholdsStyleMode.DASHED
        panel.thresholds_style(common_builders.GraphThresholdsStyleConfig().mode(mode))
    if low is not None:
        panel.axis_soft_min(low)
    if high is not None:
        panel.axis_soft_max(high)
    if time_from:
        panel.time_from(time_from)
    if interval:
        panel.interval(interval)
    if decimals is not None:
        panel.decimals(decimals)
    _coloured(panel, colours or {})
    _overrides(panel, queries, unit)
    return Panel(panel, title, width, height, by_asset)


def _coloured(panel: Builder, colours: Mapping[str, tuple[str, bool]]) -> None:
    """By the name of a series its colour, and a dashed line where the colours had been used up."""
    for name, (colour, dashed) in colours.items():
        properties: list[tuple[str, object]] = [("color", {"mode": "fixed", "fixedColor": colour})]
        if dashed:
            properties.append(("custom.lineStyle", {"fill": "dash", "dash": [8, 6]}))
        panel.override_by_name(
            name, [dashboard.DynamicConfigValue(id_val=one, value=value) for one, value in properties]
        )


def by_venue(title: str, about: str, expr: str, *, unit: str, **options: object) -> Panel:
    """A line per venue, each in its colour, largest readings in the legend."""
    return lines(
        title, about, [Query(expr, "{{venue}}")], unit=unit, colours=venue_colours(), **options,  # type: ignore[arg-type]
    )  # fmt: skip


def states(
    title: str, about: str, queries: Sequence[Query], mapping: Sequence[dashboard.ValueMapping], *,
    width: int = 24, height: int = 4, values: bool = True, legend: bool = False,
) -> Panel:  # fmt: skip
    """Bands of colour over time, one row per series."""
    panel = statetimeline.Panel()
    _start(panel, title, about, queries, "none")
    _targets(panel, queries, instant=False)
    panel.mappings(list(mapping)).span_nulls(False).max_data_points(POINTS)
    panel.merge_values(True).row_height(0.85).fill_opacity(90).line_width(0)
    panel.show_value(common.VisibilityMode.AUTO if values else common.VisibilityMode.NEVER)
    panel.align_value(common.TimelineValueAlignment.LEFT)
    # The words' colours decide; this is for a number without a word.
    panel.color_scheme(dashboards.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
    panel.thresholds(_stepped([dashboard.Threshold(value=None, color=GREY)]))
    panel.legend(
        common_builders.VizLegendOptions().show_legend(legend).display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
    )  # fmt: skip
    panel.tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.SINGLE))
    return Panel(panel, title, width, height)


def bars(
    title: str, about: str, queries: Sequence[Query], *, unit: str, steps: Sequence[dashboard.Threshold] = (),
    width: int = 12, height: int = 8, low: float = 0, high: float | None = None, by_asset: bool = False,
    colours: Mapping[str, tuple[str, bool]] | None = None,
) -> Panel:  # fmt: skip
    """Present values as horizontal bars."""
    panel = bargauge.Panel()
    _start(panel, title, about, queries, unit)
    _targets(panel, queries, instant=True)
    panel.reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    panel.orientation(common.VizOrientation.HORIZONTAL).display_mode(common.BarGaugeDisplayMode.BASIC)
    panel.value_mode(common.BarGaugeValueMode.COLOR).show_unfilled(True).min(low)
    panel.name_placement(common.BarGaugeNamePlacement.LEFT).no_value(UNKNOWN)
    panel.text(common_builders.VizTextDisplayOptions().title_size(13).value_size(14))
    if high is not None:
        panel.max(high)
    panel.color_scheme(dashboards.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
    panel.thresholds(_stepped(steps) if steps else _plain())
    for name, (colour, _) in (colours or {}).items():
        _coloured(panel, {name: (colour, False)})
    _overrides(panel, queries, unit)
    return Panel(panel, title, width, height, by_asset)


def cells(
    title: str, about: str, query: Query, *, unit: str, least: float, most: float, width: int = 24,
    height: int = 7, by_asset: bool = False,
) -> Panel:  # fmt: skip
    """A row per series, a column per step; blue below zero, red above, white between."""
    panel = heatmap.Panel()
    _start(panel, title, about, [query], unit)
    _targets(panel, [query], instant=False)
    panel.max_data_points(POINTS).calculate(False).cell_gap(0).show_legend()
    colour = heatmap.HeatmapColorOptions().mode(heatmaps.HeatmapColorMode.SCHEME).scheme("RdBu").reverse(True)
    panel.color(colour.fill(GREY).exponent(0.5).steps(64).min(least).max(most))
    panel.cell_values(heatmap.CellValues().unit(unit).decimals(4))
    panel.y_axis(heatmap.YAxisConfig().axis_placement(common.AxisPlacement.LEFT).unit("none"))
    panel.rows_frame(heatmap.RowsHeatmapOptions().layout(common.HeatmapCellLayout.AUTO))
    panel.tooltip(heatmap.HeatmapTooltip().mode(common.TooltipDisplayMode.SINGLE).y_histogram(False))
    return Panel(panel, title, width, height, by_asset)


def rows_of(
    title: str, about: str, queries: Sequence[Query], *, columns: Mapping[str, str],
    units: Mapping[str, str] | None = None, unit: str = "none", width: int = 24, height: int = 8,
    sort: str = "", descending: bool = False, joined_by: str = "",
) -> Panel:  # fmt: skip
    """A table. `columns` are the labels and values shown, in order, with their headings."""
    panel = table.Panel()
    _start(panel, title, about, queries, unit)
    _targets(panel, queries, instant=True, as_table=True)
    panel.cell_height(common.TableCellHeight.SM).show_header(True).filterable(False)
    if joined_by:
        panel.with_transformation(
            dashboard.DataTransformerConfig(
                id_val="joinByField", options={"byField": joined_by, "mode": "outer"}
            )
        )
    panel.with_transformation(
        dashboard.DataTransformerConfig(
            id_val="filterFieldsByName", options={"include": {"names": list(columns)}}
        )
    )
    order = {name: number for number, name in enumerate(columns)}
    options = {"excludeByName": {}, "indexByName": order, "renameByName": dict(columns)}
    panel.with_transformation(dashboard.DataTransformerConfig(id_val="organize", options=options))
    for name, of in (units or {}).items():
        panel.override_by_name(name, [dashboard.DynamicConfigValue(id_val="unit", value=of)])
    panel.thresholds(_plain())
    if sort:
        panel.sort_by([common_builders.TableSortByFieldState().display_name(sort).desc(descending)])
    return Panel(panel, title, width, height)
