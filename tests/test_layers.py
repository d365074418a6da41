"""Who may import whom. A module that declares no layer here fails."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1] / "monitor"

LAYERS: tuple[tuple[str, ...], ...] = (
    ("events",),
    ("clock", "venue", "bus", "ladder", "query"),
    ("bars", "volatility", "macro", "venues", "metrics", "recording", "config", "health"),
    ("deleveraging", "sources", "history", "archives", "children", "stack"),
    ("weigh", "table", "board", "plot", "feeds"),
    ("tick",),
    ("prometheus", "page", "backfill"),
    ("serve",),
    ("app",),
    ("simulated",),
    ("commands", "demo"),
    ("__main__",),
)
"""From the bottom up. A module imports only from lower rows; a package counts as one."""

PURE = ("events", "venue", "venues", "bus", "ladder", "query", "metrics", "tick", "bars", "archives", "board",
        "deleveraging", "sources", "volatility.estimators", "volatility.realized", "prometheus.exposition",
        "prometheus.export", "prometheus.backtest")  # fmt: skip
"""A package, or a module in one."""
FORBIDDEN = {"asyncio", "websockets", "aiohttp", "time", "datetime", "random", "os", "socket", "logging",
             "prometheus_client", "pathlib", "threading"}  # fmt: skip
ONLY = {
    "websockets": {"feeds.feed", "commands"},
    "matplotlib": {"plot"},
    "cramjam": {"prometheus.tsdb"},
    "polars": {"ladder", "query", "metrics", "tick", "bars", "history", "archives", "deleveraging",
               "volatility", "macro", "weigh", "sources", "feeds.slow", "prometheus", "table", "plot", "page",
               "app", "backfill", "simulated", "demo", "commands"},
}  # fmt: skip
"""Libraries that only these packages, or modules in one, may import."""


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts != ("__init__",):
            found.append((parts[0], path))
    return found


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def row(name: str) -> int:
    for number, names in enumerate(LAYERS):
        if name in names:
            return number
    raise AssertionError(f"{name}: no layer")


def test_modules_import_only_from_below() -> None:
    for name, path in modules():
        for imported in imports(path):
            parts = imported.split(".")
            if parts[0] == "monitor" and len(parts) > 1 and parts[1] not in (name, "__version__"):
                assert row(parts[1]) < row(name), f"{path.name} imports {imported}"


def listed(path: Path, names: Iterable[str]) -> bool:
    """Whether a list names the module or its package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] in names or ".".join(parts) in names


def test_every_name_in_the_lists_is_there() -> None:
    names = {name for name, _ in modules()}
    assert {name for names in LAYERS for name in names} == names
    for one in {*PURE, *(name for allowed in ONLY.values() for name in allowed)}:
        assert (ROOT / one.replace(".", "/")).is_dir() or (ROOT / f"{one.replace('.', '/')}.py").is_file(), (
            one
        )


def test_the_core_does_no_io_and_reads_no_clock() -> None:
    for _, path in modules():
        if listed(path, PURE):
            wrong = {one.split(".")[0] for one in imports(path)} & FORBIDDEN
            assert not wrong, f"{path.name} imports {wrong}"


def test_some_libraries_have_one_place() -> None:
    for _, path in modules():
        for library, allowed in ONLY.items():
            used = any(one.split(".")[0] == library for one in imports(path))
            assert not used or listed(path, allowed), f"{path.name} imports {library}"


def test_shared_code_names_no_venue() -> None:
    from monitor.venues import VENUES  # noqa: PLC0415 -- the only test that needs it

    for name, path in modules():
        if name not in ("venues", "archives", "simulated", "__main__", "config"):
            text = path.read_text()
            assert not [venue for venue in VENUES if f'"{venue}"' in text], path.name
