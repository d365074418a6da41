"""What a slow source is: constants and pure functions, no socket, no file, no clock.

A source file builds `Source` values; `slow.py` asks them and keeps what they said. A parser turns one body
into a frame of dated values, or says in one line why it is rubbish: there is no third thing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import msgspec
import polars as pl

from monitor.events import Millis

HOUR: Millis = 3_600_000
DAY: Millis = 24 * HOUR

EARLIEST = pl.date(1968, 1, 1)
"""The first London price of gold; nothing here is older."""

Kind = Literal[
    "gold", "gold_future", "gold_proxy", "gold_tonnes", "height", "eth_supply", "cftc", "etf", "etf_assets",
    "gvz", "cme",
]  # fmt: skip
Parser: TypeAlias = Callable[[bytes, Millis], pl.DataFrame]
"""Body and the present time → dated values, oldest first, in the schema of the kind.

Raises `Rubbish`, and nothing else, whatever the bytes are.
"""
Continuity: TypeAlias = Callable[[pl.DataFrame, pl.DataFrame], None]
"""The last good frame and a new one. Raises `Rubbish` where the new one contradicts the old."""


class Rubbish(Exception):  # noqa: N818 -- reads as what it is
    """A body that is not what the source promised; the text is one line and names what is wrong."""

    def __init__(self, text: str) -> None:
        super().__init__(" ".join(text.split())[:200])


class Source(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One slow source."""

    name: str
    kind: Kind
    title: str
    parse: Parser
    url: str | None = None
    """Where it is asked; None: only the operator's own file or address."""
    file: str | None = None
    """Read instead of asking, if the operator has one."""
    every_s: float
    """Seconds between two questions, at least; wall time."""
    max_age: Millis
    """How old its newest value may be before `SourceStale` tells."""
    continuous: Continuity | None = None
    forget: Millis = 0
    """A last good value that was fetched longer ago is no longer compared with."""
    by: tuple[str, ...] = ()
    """Columns of its series: it is as old as the one whose newest value is oldest."""
    known: pl.Expr | None = None
    """Which rows count as values; all, if absent."""
    default: bool = False
    """Asked without being named in the settings."""
    key: Literal["none", "optional", "needed"] = "none"
    key_parameter: str | None = None
    """Name in the query that carries the key."""
    key_header: str | None = None
    """Name of the header that carries it."""


def when(frame: pl.DataFrame) -> str:
    """The column that dates the rows: the first one."""
    return frame.columns[0]


def as_of(source: Source, frame: pl.DataFrame, now: Millis) -> Millis:
    """Time of the newest value, in milliseconds; a date counts as its first moment in UTC.

    Where there are several series, of the one that is behind.
    """
    time = pl.col(when(frame)).cast(pl.Datetime("ms")).cast(pl.Int64)
    known = frame if source.known is None else frame.filter(source.known)
    newest = known.group_by(source.by or pl.lit(0)).agg(time.max().alias("newest"))
    return min(int(newest.select(pl.col("newest").min()).item()), now)


# Checks.


def say(number: float) -> str:
    """A number as a person writes it."""
    return f"{number:,.10g}"


def within(frame: pl.DataFrame, column: str, low: float, high: float, unit: str) -> None:
    """Refuses a frame that holds a value outside of the bounds, or one that is no number.

    Raises:
        Rubbish: it does; the text names the first.
    """
    wrong = frame.filter(~pl.col(column).is_between(low, high))[column]
    if len(wrong):
        raise Rubbish(f"unit: {say(wrong[0])} {unit} is outside {say(low)}…{say(high)}")


def dated(frame: pl.DataFrame, now: Millis, *, oldest: Millis, ahead: Millis = 0) -> pl.DataFrame:
    """The frame, oldest row first, if its dates can be true.

    Args:
        frame: rows dated by their first column.
        now: the present.
        oldest: how far the newest row may lie behind it.
        ahead: how far a row may lie in the future: trade dates run before the calendar.

    Raises:
        Rubbish: it has no rows, or a date that is absurd, in the future, or all of them are old.
    """
    name = when(frame)
    if not len(frame):
        raise Rubbish("no rows")
    frame = frame.sort(name, maintain_order=True)
    day = pl.col(name).cast(pl.Date)
    first, last, newest = frame.select(
        day.min().alias("first"), day.max().alias("last"),
        pl.col(name).cast(pl.Datetime("ms")).cast(pl.Int64).max().alias("newest"),
    ).row(0)  # fmt: skip
    if frame.select((day < EARLIEST).any()).item():
        raise Rubbish(f"date {first} is too early")
    if newest > now + ahead:
        raise Rubbish(f"date {last} is in the future")
    if newest < now - oldest:
        raise Rubbish(f"an old table: newest {last}, may be {oldest / DAY:.0f} days old")
    return frame


def unique(frame: pl.DataFrame, *keys: str) -> None:
    """Refuses two rows of the same key.

    Raises:
        Rubbish: the text names the first.
    """
    twice = frame.filter(frame.select(keys).is_duplicated())
    if len(twice):
        raise Rubbish("two rows for " + " ".join(str(one) for one in twice.select(keys).row(0)))


def steady(frame: pl.DataFrame, column: str, factor: float) -> None:
    """Refuses a table in which neighbouring rows differ by more than a factor.

    Raises:
        Rubbish: a part of the table has another unit.
    """
    ratio = pl.col(column) / pl.col(column).shift(1)
    wrong = frame.filter((ratio > factor) | (ratio < 1 / factor))
    if len(wrong):
        raise Rubbish(
            f"{column} jumps by more than {say(factor)} times to {say(wrong[column][0])}"
            f" at {wrong[when(frame)][0]}"
        )


# Continuity.


def forward(old: pl.DataFrame, new: pl.DataFrame) -> None:
    """Refuses a frame that ends before the last good one did.

    Raises:
        Rubbish: it does.
    """
    newest = pl.col(when(new)).max()
    ends, ended = new.select(newest).item(), old.select(newest).item()
    if ends < ended:
        raise Rubbish(f"goes back: newest {ends}, had {ended}")


def newest_within(factor: float, columns: Sequence[str], by: Sequence[str] = ()) -> Continuity:
    """Compares the newest value of each series with the last good one.

    Args:
        factor: a value that is more than so many times the last one, or less than its part, is refused.
        columns: that are compared.
        by: columns that tell the series apart.
    """

    def check(old: pl.DataFrame, new: pl.DataFrame) -> None:
        forward(old, new)
        for column in columns:
            before, after = _newest(old, column, by), _newest(new, column, by)
            for key, value in after.items():
                last = before.get(key)
                if last and not last / factor <= value <= last * factor:
                    of = " ".join([*key, column])
                    raise Rubbish(
                        f"{of} jumps from {say(last)} to {say(value)},"
                        f" by more than {say(factor)} times: another unit?"
                    )

    return check


def _newest(frame: pl.DataFrame, column: str, by: Sequence[str]) -> dict[tuple[str, ...], float]:
    known = frame.filter(pl.col(column).is_not_null()).select(*by, column)
    return {tuple(map(str, row[:-1])): float(row[-1]) for row in known.iter_rows()}


def overlap_within(factor: float, column: str, by: Sequence[str]) -> Continuity:
    """Compares the size of all values of the rows that both frames have: for flows of either sign.

    Args:
        factor: as for `newest_within`, of the sums of the absolute values.
        column: that is compared.
        by: columns that make a row the same row.
    """

    def check(old: pl.DataFrame, new: pl.DataFrame) -> None:
        forward(old, new)
        both = old.join(new, on=list(by), how="inner").drop_nulls([column, f"{column}_right"])
        before, after = (float(both[one].abs().sum()) for one in (column, f"{column}_right"))
        if before and not before / factor <= after <= before * factor:
            raise Rubbish(f"{column} of the same days jumps by more than {say(factor)} times: another unit?")

    return check
