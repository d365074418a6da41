"""Files of bars: a name tells the time that a file covers, and a file is whole or absent.

`20260930T0812` covers a minute, `20260930T08` an hour, `20260930` a day, `202609` a month, `2026` a year.
Each carries a short account of what is in it, so that a summary of years reads only the ends of files.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import polars as pl

from monitor.bars import BAR, STEPS, Step
from monitor.events import Millis

Level = Literal["minute", "hour", "day", "month", "year"]
FORMATS: dict[Level, str] = {
    "minute": "%Y%m%dT%H%M", "hour": "%Y%m%dT%H", "day": "%Y%m%d", "month": "%Y%m", "year": "%Y",
}  # fmt: skip
_LENGTHS: dict[Level, int] = {"minute": 13, "hour": 11, "day": 8, "month": 6, "year": 4}
_LEVELS: dict[int, Level] = {length: level for level, length in _LENGTHS.items()}
SUFFIX, UNFINISHED, BAD = ".parquet", ".tmp", ".bad"
ACCOUNT = "bars"
"""Key of a file's metadata under which its accounts stand."""


class Unreadable(Exception):  # noqa: N818 -- what a file is, not what went wrong with us
    """A file that is no table of bars."""


class File(NamedTuple):
    """A file, and the time from `start` until `end` (milliseconds) outside of which it has nothing."""

    path: Path
    start: Millis
    end: Millis


class Account(msgspec.Struct, array_like=True, frozen=True):
    """What a file has of an asset on a venue."""

    venue: str
    asset: str
    rows: int
    runs: list[tuple[Millis, Millis]]
    """First and last opening time of each stretch without a gap."""


class Accounts(msgspec.Struct, array_like=True, frozen=True):
    """What a file has."""

    sources: tuple[str, ...]
    """Where backfilled bars came from; none for a monitor's own."""
    of: list[Account]


_accounts = msgspec.json.Decoder(Accounts)


def name_of(time: Millis, level: Level) -> str:
    """Name of the file of a level that covers a time, without suffix."""
    return datetime.fromtimestamp(time // 1000, UTC).strftime(FORMATS[level])


def level_of(name: str) -> Level | None:
    """Level of a name; None if it is no name of ours."""
    return _LEVELS.get(len(name))


def coarser(name: str, level: Level) -> str:
    """Name of the file of a coarser level that covers another."""
    return name[: _LENGTHS[level]]


def span(name: str) -> tuple[Millis, Millis] | None:
    """The time that a name covers, milliseconds; None if it is no name of ours."""
    level = level_of(name)
    try:
        start = datetime.strptime(name, FORMATS[level]).replace(tzinfo=UTC) if level else None
    except ValueError:
        start = None
    if start is None:
        return None
    begin = int(start.timestamp()) * 1000
    match level:
        case "year":
            end = start.replace(year=start.year + 1)
        case "month":
            end = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
        case "day" | "hour" | "minute":
            return begin, begin + STEPS[level]
    return begin, int(end.timestamp()) * 1000


def listing(folder: Path) -> list[File]:
    """Its files, oldest first, a coarser one before those within it; none if there is no folder.

    A folder that is being compacted is listed until it looks the same twice: one look may come too early
    for the new file and too late for those that it replaces.
    """
    names = _names(folder)
    while (again := _names(folder)) != names:
        names = again
    found = []
    for name in names:
        covered = span(name.removesuffix(SUFFIX)) if name.endswith(SUFFIX) else None
        if covered is not None:
            found.append(File(folder / name, *covered))
    return sorted(found, key=lambda file: (file.start, -file.end))


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))  # noqa: PTH208 -- names are all that is looked at
    except FileNotFoundError:
        return set()


def disjoint(files: Iterable[File]) -> bool:
    """Whether no two of a listing cover the same time."""
    until: Millis | None = None
    for file in files:
        if until is not None and file.start < until:
            return False
        until = file.end
    return True


def write(path: Path, bars: pl.DataFrame, step: Step, sources: Iterable[str] = ()) -> None:
    """Puts a table in the place of what is there, durably, or changes nothing.

    Raises:
        OSError: the disk does not take it.
    """
    account = Accounts(tuple(sorted(set(sources))), list(_account(bars, STEPS[step])))
    text = msgspec.json.encode(account).decode()
    buffer = io.BytesIO()
    bars.write_parquet(buffer, compression="zstd", metadata={ACCOUNT: text})
    put(path, buffer.getbuffer())


def put(path: Path, data: bytes | memoryview) -> None:
    """Puts a file in the place of what is there, durably, or changes nothing.

    Raises:
        OSError: the disk does not take it.
    """
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(folder: Path) -> None:
    """Makes the names in a folder durable: what was renamed, made or removed."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make(folder: Path) -> None:
    """Makes a folder and its parents, durably."""
    if not folder.is_dir():
        make(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def read(path: Path) -> pl.DataFrame:
    """The table of a file, of one moment even if it is replaced meanwhile.

    Raises:
        Unreadable: it is no table of bars.
        OSError: it cannot be opened.
    """
    data = path.read_bytes()
    try:
        bars = pl.read_parquet(data)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise Unreadable(str(error).partition("\n")[0]) from error
    if bars.schema != BAR:
        raise Unreadable("its columns are not those of bars")
    return bars


def accounts(path: Path, step: Step) -> Accounts:
    """What a file has, from its end; from its rows where another program wrote it.

    Raises:
        Unreadable: it is no table of bars.
        OSError: it cannot be opened.
    """
    try:
        text = pl.read_parquet_metadata(path).get(ACCOUNT)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise Unreadable(str(error).partition("\n")[0]) from error
    try:
        return _accounts.decode(text or "")
    except msgspec.DecodeError:
        return Accounts((), list(_account(read(path), STEPS[step])))


def _account(bars: pl.DataFrame, step: Millis) -> Iterator[Account]:
    rows = {(venue, asset): count for venue, asset, count in bars.group_by("venue", "asset").len().rows()}
    same = (pl.col("venue") == pl.col("venue").shift()) & (pl.col("asset") == pl.col("asset").shift())
    found: dict[tuple[str, str], list[tuple[Millis, Millis]]] = {}
    runs = (
        bars.select("venue", "asset", "time")
        .unique()
        .sort("venue", "asset", "time")
        .with_columns(run=((pl.col("time").diff() != step) | ~same).fill_null(value=True).cum_sum())
        .group_by("venue", "asset", "run", maintain_order=True)
        .agg(pl.col("time").first().alias("first"), pl.col("time").last().alias("last"))
    )
    for venue, asset, _, first, last in runs.rows():
        found.setdefault((venue, asset), []).append((first, last))
    for key, spans in found.items():
        yield Account(*key, rows[key], spans)
