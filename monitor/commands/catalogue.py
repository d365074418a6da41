"""`monitor metrics`: the catalogue, made from the declarations."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from rich.console import Console
from rich.padding import Padding

from monitor.health import HEALTH
from monitor.metrics import METRICS
from monitor.metrics.metric import UNITS


class Row(msgspec.Struct, frozen=True):
    """One metric of the catalogue."""

    name: str
    kind: str
    unit: str
    labels: str
    help: str


def rows() -> Iterator[Row]:
    """All metrics: those of the market, then the monitor's own."""
    for metric in METRICS:
        labels = ", ".join(metric.all_labels)
        if metric.windows:
            labels = labels.replace("window", f"window ({' '.join(metric.windows)})")
        yield Row(metric.name, metric.kind, unit_of(metric.name), labels, metric.help)
    for name, (kind, labels_of, text) in HEALTH.items():
        yield Row(name, kind, unit_of(name), ", ".join(labels_of), text)


def unit_of(name: str) -> str:
    """The unit that a name ends in, if it does."""
    last = name.removesuffix("_total").rpartition("_")[2]
    return last if last in UNITS and last != "info" else ""


def reference() -> str:
    """`docs/METRICS.md`."""
    head = [
        "# Metrics", "",
        "Made by `monitor metrics --markdown` from the declarations; do not edit.", "",
        "Absent is honest: a series without a fresh, believable value is not there. Sums over venues",
        "are the monitor's own (`leverage_perp_…`), because a sum over whatever happens to be present",
        "falls when a venue drops out.", "",
        "| name | type | unit | labels | meaning |", "|---|---|---|---|---|",
    ]  # fmt: skip
    lines = [f"| `{row.name}` | {row.kind} | {row.unit} | {row.labels} | {row.help} |" for row in rows()]
    return "\n".join([*head, *lines]) + "\n"


def show(*, markdown: bool) -> None:
    """Prints it, as text for a terminal or as the page."""
    if markdown:
        print(reference(), end="")  # noqa: T201 -- the command's output
        return
    console = Console(highlight=False)
    for row in rows():
        console.print(f"[bold]{row.name}[/]  {row.kind}  [dim]{row.labels}[/]", soft_wrap=True)
        console.print(Padding(row.help, (0, 0, 1, 4)), markup=False)
