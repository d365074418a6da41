"""`monitor board`: what was claimed in November 2025, judged by what a running monitor knows now."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import aiohttp
import msgspec
import orjson
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table
from rich.text import Text
from yarl import URL

from monitor.board import WEEKEND_GOLD, Key, Row, Truth, board, gold_proxy, heard_at
from monitor.config import address
from monitor.page import UNKNOWN, in_words, short, value_in_words

TIMEOUT_S = 10.0
LARGEST = 64 << 20
"""Bytes of an answer; 20,000 series are 3 MB."""
OK = 200
STYLES: dict[Truth, str] = {
    "true": "bold blue", "false": "bold red", "mixed": "bold yellow", "unknown": "dim",
}  # fmt: skip
ANYWHERE = ("0.0.0.0", "::")


class WrongAddress(Exception):  # noqa: N818 -- ends the command with one line
    """The address is none."""


class NoAnswer(Exception):  # noqa: N818 -- ends the command with one line
    """No monitor answered; the text says what to do."""


def show(url: str, *, as_json: bool) -> None:
    """Prints the board of a running monitor.

    With `as_json` a list of objects: `claim`, `metric`, `rule`, `asset`, `value`, `low` and `high` (its 90 %
    interval), `verdict` (`true`, `false`, `mixed`, `unknown`), `remark`, `since` and `as_of` as ISO texts in
    UTC. Null is unknown.

    Args:
        url: Of the monitor, such as `http://127.0.0.1:9650`; `/metrics` may be left out.
        as_json: Whether to print JSON.

    Raises:
        WrongAddress: the address is none.
        NoAnswer: nobody answers there, or not a monitor.
    """
    known = samples(asyncio.run(_fetch(url)), url)
    rows = board(known)
    if as_json:
        said = [_object(row) for row in rows]
        sys.stdout.buffer.write(orjson.dumps(said, option=orjson.OPT_APPEND_NEWLINE))
    else:
        _print(rows)
        if (proxy := gold_proxy(known)) is not None:
            Console(highlight=False).print(Text(f"{WEEKEND_GOLD}: {in_words(proxy, heard_at(known))}", "dim"))


def of_listen(listen: str) -> str:
    """The address at which a monitor with this `listen` answers on this machine."""
    host, port = address(listen)
    host = "127.0.0.1" if host in ANYWHERE else host
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def samples(text: str, url: str) -> dict[Key, float]:
    """The samples of a monitor's text.

    Raises:
        NoAnswer: it is not the text of a monitor.
    """
    found: dict[Key, float] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if math.isfinite(sample.value):
                    found[sample.name, frozenset(sample.labels.items())] = sample.value
    except (ValueError, KeyError, IndexError):  # the parser's ways to refuse a text
        found.clear()
    if not any(name == "monitor_build_info" for name, _ in found):
        raise NoAnswer(f"{url} answers, but is no monitor: give the address of `monitor run` with --url")
    return found


async def _fetch(text: str) -> str:
    try:
        url = URL(text)
    except ValueError:
        raise WrongAddress(f"{text!r} is no address") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise WrongAddress(f"{text!r} is no address like http://127.0.0.1:9650")
    if not url.path.endswith("/metrics"):
        url = url / "metrics"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session,
            session.get(url) as answer,
        ):
            if answer.status != OK:
                raise NoAnswer(f"{url} answers HTTP {answer.status}: is that a monitor?")
            body = await answer.content.read(LARGEST)
            while len(body) < LARGEST and (more := await answer.content.read(LARGEST - len(body))):
                body += more
    except (aiohttp.ClientError, OSError, TimeoutError):
        raise NoAnswer(f"no monitor answers at {text}: start one with `monitor run`, or give --url") from None
    return body.decode("utf-8", "replace")


def _object(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(row)
    del found["form"]
    return found | {"since": _iso(row.since), "as_of": _iso(row.as_of)}


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _print(rows: Sequence[Row]) -> None:
    console = Console(highlight=False)
    for claim, of in groupby(rows, key=lambda row: row.claim):
        told = list(of)
        console.print(Text(claim, "bold"))
        console.print(Text(f"  {told[0].rule}  ({told[0].metric})", "dim"))
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=6, no_wrap=True)
        table.add_column(width=7, no_wrap=True)
        table.add_column(width=29, no_wrap=True)
        table.add_column(ratio=1)
        for row in told:
            remark = Text(row.remark)
            if row.as_of is not None:
                remark.append(f"  ({short(round(row.as_of * 1000))} UTC)", "dim")
            value = value_in_words(row)
            table.add_row(
                f"  {row.asset}", Text(row.verdict, STYLES[row.verdict]),
                Text(value, "dim" if value == UNKNOWN else ""), remark,
            )  # fmt: skip
        console.print(table)
        console.print()
