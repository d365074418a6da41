"""What the phases of the whole history of both assets cost, and the command that prints them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from statistics import median
from time import process_time

import polars as pl
from measure import REPOSITORY, Row, show
from synthetic import FIRST, history

from monitor.deleveraging.aggregate import days
from monitor.deleveraging.phases import assess, features, table
from monitor.table import closes, read

TARGET_S = 2.0
LENGTH = (date(2026, 11, 1) - FIRST).days


def section(rounds: int = 5) -> list[Row]:
    made = history(LENGTH).table
    keys = ["date", "asset"]
    total = made.group_by(keys, maintain_order=True).agg(
        pl.col("price_usd", "supply", "funding_8h").first(),
        pl.col("oi_usd", "oi_coin", "long_liquidated_usd", "short_liquidated_usd").sum(),
    ).sort("asset", "date")  # fmt: skip
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, frame in (("one series", total), ("five venues", made)):
            path = Path(folder) / f"{name.replace(' ', '-')}.parquet"
            frame.write_parquet(path)
            computed = median(_computed(path) for _ in range(rounds))
            rows.append(Row(f"{name}: read, aggregate, assess", computed, TARGET_S, "s CPU"))
            command = median(_command(path) for _ in range(rounds))
            rows.append(Row(f"{name}: `monitor phases`, start-up included", command, TARGET_S, "s"))
    show(f"phases: both assets, {LENGTH} days each, since {FIRST}", rows)
    return rows


def _computed(path: Path) -> float:
    began = process_time()
    found = table(assess(features(days(closes(read(path))))))
    if found.height != 2 * LENGTH:
        raise RuntimeError(f"{found.height} rows")
    return process_time() - began


def _command(path: Path) -> float:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "monitor", "phases", str(path)],
        cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - began
