"""`monitor phases`: which phases of leverage a history table went through, and where it stands now."""

from __future__ import annotations

import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec
import orjson
import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from monitor.deleveraging.aggregate import days
from monitor.deleveraging.phases import (
    Thresholds,
    assess,
    features,
    in_words,
    relapse_in_words,
    states,
    table,
)
from monitor.macro.valuation import bitcoin_supply, ether_supply
from monitor.table import TableError, closes, read

SUPPLY = {"BTC": bitcoin_supply, "ETH": ether_supply}
"""What is known offline of assets whose table does not say."""
EPOCH = date(1970, 1, 1)
STYLES = {
    "undetermined": "dim", "reset": "green", "build_up": "yellow", "stretched": "red",
    "purge": "bold magenta", "stabilising": "cyan",
}  # fmt: skip


class Problem(Exception):  # noqa: N818 -- ends the command with one line
    """An option that cannot be followed."""


def show(path: Path, *, asset: str | None, out: Path | None, plot: Path | None, as_json: bool) -> None:
    """Runs the state machine over a table, prints what it found, and writes what was asked for.

    The text has a line per run of a phase. With `as_json` a list of objects is printed, one per asset and
    day, with the columns of design 4.4: dates are ISO texts, null is unknown, and `reasons` are objects of
    `condition`, `value`, `threshold` and `percentile`. `out` has the same columns, each reason as a text.

    Raises:
        TableError: the table cannot be used.
        Problem: an option cannot be followed.
    """
    if out is not None and out.suffix.lower() not in (".parquet", ".csv"):
        raise Problem(f"--out: {out}: ends neither in .parquet nor in .csv")
    if plot is not None and plot.suffix.lower() != ".png":
        raise Problem(f"--plot: {plot}: does not end in .png")
    held = closes(read(path), str(path))
    if asset is not None:
        held = _of_asset(held, asset, path)
    if held.is_empty():
        raise TableError(f"{path}: no day that has ended")
    known = features(days(with_supply(held)))
    assessed = assess(known)
    found = table(assessed)
    if out is not None:
        _write(found, out)
    if plot is not None:
        from monitor.plot import draw  # noqa: PLC0415 -- costs as much as all the rest

        try:
            draw(assessed, plot)
        except OSError as error:
            raise Problem(f"--plot: {plot}: {error.strerror or error}") from error
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(objects(known, found), option=orjson.OPT_APPEND_NEWLINE))
    else:
        _print(found)


def _of_asset(held: pl.DataFrame, asset: str, path: Path) -> pl.DataFrame:
    there = held["asset"].unique().sort()
    if asset not in there:
        raise Problem(f"--asset: {asset!r} is not in {path}; there are {', '.join(there)}")
    return held.filter(pl.col("asset") == asset)


def with_supply(held: pl.DataFrame) -> pl.DataFrame:
    """Closes with the supply that can be estimated offline, for the assets of which the table says none."""
    silent = held.group_by("asset").agg(pl.col("supply").is_null().all(), pl.col("day").unique())
    estimated = [
        (asset, day, supply.value)
        for asset, of in silent.filter("supply").select("asset", "day").iter_rows()
        if asset in SUPPLY
        for day in of
        if (supply := SUPPLY[asset](EPOCH + timedelta(days=day))) is not None
    ]
    schema = {"asset": pl.String, "day": pl.Int32, "estimated": pl.Float64}
    return held.join(
        pl.DataFrame(estimated, schema, orient="row"), on=["asset", "day"], how="left", maintain_order="left"
    ).with_columns(supply=pl.coalesce("supply", "estimated")).drop("estimated")  # fmt: skip


def objects(known: pl.DataFrame, found: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows of the result for JSON; reasons are whole."""
    reasons = {
        asset: iter([msgspec.to_builtins(state.reasons) for state in of])
        for asset, of in states(known, Thresholds()).items()
    }
    return [row | {"reasons": next(reasons[row["asset"]])} for row in found.iter_rows(named=True)]


def _write(found: pl.DataFrame, out: Path) -> None:
    try:
        if out.suffix.lower() == ".csv":
            found.with_columns(pl.col("reasons").list.join("; ")).write_csv(out)
        else:
            found.write_parquet(out)
    except (OSError, pl.exceptions.PolarsError) as error:
        said = error.strerror if isinstance(error, OSError) else None
        raise Problem(f"--out: {out}: {said or str(error).splitlines()[0]}") from error


# The text.


def runs(found: pl.DataFrame) -> pl.DataFrame:
    """A row per asset and run of one phase: how it began, and how it stood on its last day."""
    run = pl.struct("asset", "phase", "since").rle_id()
    return found.group_by(run.alias("run"), maintain_order=True).agg(
        pl.col("asset", "date", "phase").first(),
        pl.len().alias("days"),
        pl.col("side", "depth").last(),
        pl.col("z").first(),
        pl.col("verdict").last(),
        pl.col("reasons").first(),
    )


def _print(found: pl.DataFrame) -> None:
    console = Console(highlight=False, soft_wrap=True)
    lines = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("from", "asset", "phase"):
        lines.add_column(name, no_wrap=True)
    lines.add_column("days", justify="right", no_wrap=True)
    lines.add_column("side", no_wrap=True)
    for name in ("depth", "z"):
        lines.add_column(name, justify="right", no_wrap=True)
    lines.add_column("verdict", no_wrap=True)
    lines.add_column("reasons")
    for row in runs(found).iter_rows(named=True):
        lines.add_row(
            str(row["date"]), row["asset"], Text(row["phase"], STYLES[row["phase"]]), str(row["days"]),
            (row["side"] or "").replace("_", " "), _format(row["depth"], ".1%"), _format(row["z"], "+.2f"),
            row["verdict"], "; ".join(row["reasons"]),
        )  # fmt: skip
    if not console.is_terminal:  # nothing is cut off in a file
        console.width = 10_000
    console.print(lines)
    console.print(
        "z and reasons are those of the first day of a run, depth and verdict those of its last.", style="dim"
    )
    for row in found.group_by("asset", maintain_order=True).last().iter_rows(named=True):
        console.print(today(row), markup=False)


def today(row: dict[str, Any]) -> str:
    """Where an asset stands on a day, in one line."""
    parts = [f"{row['asset']} on {row['date']}: {row['phase'].replace('_', '-')}"]
    if row["since"] is not None:
        parts[0] += f" since {row['since']}"
    parts.append(in_words(row["phase"], row["verdict"]))
    if (relapse := relapse_in_words(row["phase"])) is not None:
        parts[-1] += f" ({relapse})"
    if row["oi_to_market_cap"] is not None:
        level = f"open interest {row['oi_to_market_cap']:.2%} of market cap"
        parts.append(level + (f" (average {row['average']:.2%})" if row["average"] is not None else ""))
    if row["z"] is not None:
        parts.append(f"z {row['z']:+.2f}")
    if row["phase"] != "undetermined":
        parts.append(f"confidence {row['confidence']:.2f}")
    return "; ".join(parts)


def _format(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
