"""What all dashboards share: variables, annotations, links, time, and how panels are laid out."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard as dashboards, prometheus
from grafana_foundation_sdk.models import dashboard

from grafana.boards.panels import SOURCE, Panel
from grafana.boards.style import PINK, RED

TAG = "leverage-monitor"
COLUMNS = 24
REFRESH = "10s"
"""Not more often than two scrapes."""

VARIABLES = {
    "asset": ("Asset", "leverage_reference_price_usd", ("BTC", "ETH")),
    "venue": ("Venue", "monitor_stream_up", None),
    "window": ("Window", "leverage_liquidated_usd", "24h"),
    "horizon": ("Window", "leverage_realized_volatility_ratio", "30d"),
    "estimator": ("Estimator", "leverage_realized_volatility_ratio",
                  ("close_to_close", "yang_zhang", "ewma")),
}  # fmt: skip
"""What it is called, the metric whose label has its values, and what is chosen first: one, some, or all
(None). Windows of volatility are others than those of liquidations, so links must not mix them up."""
LABELS = {"horizon": "window"}
"""Of the metric, where it is not called as the variable."""


def frame(
    uid: str, title: str, about: str, rows: Sequence[Sequence[Panel]], *, variables: Sequence[str],
    time: str = "now-24h", alerts: str = 'category="market"',
    folded: tuple[str, Sequence[Sequence[Panel]]] | None = None,
) -> dashboards.Dashboard:  # fmt: skip
    """A whole dashboard; each of `rows` is as high as its highest panel. `folded` is asked for when opened.

    Raises:
        ValueError: a row is wider than the grid.
    """
    board = dashboards.Dashboard(title).uid(uid).description(about).tags([TAG]).timezone("utc").readonly()
    board.time(time, "now").refresh(REFRESH).tooltip(dashboard.DashboardCursorSync.CROSSHAIR).version(1)
    source = dashboards.DatasourceVariable("datasource").label("Data source").type("prometheus")
    chosen = dashboard.VariableOption(selected=True, text="Prometheus", value="prometheus")
    board.with_variable(source.current(chosen))
    for name in variables:
        board.with_variable(_variable(name))
    asset = 'asset=~"$asset"' if "asset" in variables else 'asset!=""'
    board.annotation(_phases(asset))
    board.annotation(_alerts(alerts))
    link = dashboards.DashboardLink("Leverage monitor").type(dashboard.DashboardLinkType.DASHBOARDS)
    board.link(link.tags([TAG]).icon("external link").include_vars(True).keep_time(True).as_dropdown(False))
    top, number = _laid_out(board, rows, 0, 0)
    if folded is not None:
        name, inside = folded
        place = dashboard.GridPos(h=1, w=COLUMNS, x=0, y=top)
        row = dashboards.Row(name).collapsed(True).id(number + 1).grid_pos(place)
        _laid_out(row, inside, top + 1, number + 1)
        board.with_row(row)
    return board


def _laid_out(
    into: dashboards.Dashboard | dashboards.Row, rows: Sequence[Sequence[Panel]], top: int, number: int
) -> tuple[int, int]:
    """Adds the rows from `top` down; where they end, and the last panel's number."""
    for row in rows:
        left = 0
        for panel in row:
            number += 1
            place = dashboard.GridPos(h=panel.height, w=panel.width, x=left, y=top)
            if panel.by_asset:
                place.w = COLUMNS
                panel.builder.repeat("asset").repeat_direction("h").max_per_row(2)
            into.with_panel(panel.builder.id(number).grid_pos(place))
            left += place.w
        if left > COLUMNS:
            raise ValueError(f"{row[0].title!r} and its neighbours take {left} columns")
        top += max(panel.height for panel in row)
    return top, number


def _variable(name: str) -> dashboards.QueryVariable:
    label, metric, first = VARIABLES[name]
    text = f"label_values({metric}, {LABELS.get(name, name)})"
    many = not isinstance(first, str)
    variable = dashboards.QueryVariable(name).label(label).datasource(SOURCE).definition(text)
    variable.query({"query": text, "refId": f"variable-{name}", "qryType": 1})
    variable.refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED).multi(many).include_all(many)
    variable.sort(dashboard.VariableSort.NATURAL_ASC).allow_custom_value(False)
    if many:
        variable.all_value(".+")
    if first is None:
        return variable.current(dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]))
    value = first if isinstance(first, str) else list(first)
    return variable.current(dashboard.VariableOption(selected=True, text=value, value=value))


def _phases(asset: str) -> dashboards.AnnotationQuery:
    # Of the ends of two steps: hourly samples may stand alone in theirs, where nothing changes.
    phase = f"last_over_time(leverage_phase{{{asset}}}[$__interval]"
    return _annotation(
        "Phase changes",
        f"{phase}) == 1 and {phase} offset $__interval) == 0",
        PINK, "{{asset}}: {{phase}}", "since this moment", "asset,phase",
    )  # fmt: skip


def _alerts(which: str) -> dashboards.AnnotationQuery:
    return _annotation(
        "Alerts",
        f'max_over_time(ALERTS{{alertstate="firing", alertname!="Watchdog", {which}}}[$__interval])',
        RED, "{{alertname}} {{asset}} {{venue}}", "{{severity}}", "alertname,severity",
    )  # fmt: skip


def _annotation(
    name: str, expr: str, colour: str, title: str, text: str, tags: str
) -> dashboards.AnnotationQuery:
    query = prometheus.Dataquery().expr(expr).ref_id("Anno").range().interval("1m").legend_format(title)
    made = dashboards.AnnotationQuery().name(name).datasource(SOURCE).enable(True).icon_color(colour)
    made.expr(expr).step("1m").title_format(title).text_format(text).tag_keys(tags)
    return made.target(query)
