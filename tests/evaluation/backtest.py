"""The shipped alerts over the vendor's series, as `monitor backtest` tests them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from rich.console import Console

from evaluation.history import day, text, vendor
from evaluation.scoring import EVENTS
from monitor.commands.backtest import Backtest, of_closes, read_rules
from monitor.ladder import DAY
from monitor.prometheus.backtest import Known

ROOT = Path(__file__).parents[2]
SINCE = day("2020-01-01")


def backtest() -> Backtest:
    """Alerts on bitcoin since 2020, with the events of methodology 8 known."""
    tools = ROOT / ".tools" / "usr" / "bin"
    if str(tools) not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = f"{tools}{os.pathsep}{os.environ['PATH']}"
    known = [Known(event * DAY / 1000, text(event)) for event in EVENTS if event >= SINCE]
    rules = read_rules(ROOT / "grafana" / "rules")
    return asyncio.run(of_closes(vendor(), rules, known, Console(quiet=True), (SINCE + 1) * DAY))
