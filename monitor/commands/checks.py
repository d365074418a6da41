"""`monitor check`: whether a monitor would run here, one line for each thing that it needs."""

from __future__ import annotations

import asyncio
import shutil
import socket
import time
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime

import aiohttp
from rich.console import Console
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from monitor.app import choice_of, venues_of
from monitor.commands.live import writable
from monitor.config import Config, ConfigError, address
from monitor.feeds.feed import UNREADABLE
from monitor.feeds.follow import read_instruments
from monitor.feeds.rest import Rest, RestError
from monitor.feeds.slow import chosen
from monitor.venue import Refused, Venue

TIMEOUT_S = 10.0
CLOCK_S = 2.0
"""Offset of our clock from a venue's that is still good; its header counts whole seconds."""
FREE_BYTES = 1 << 30


async def check(config: Config) -> int:
    """Prints a line for each; 1 if any fails."""
    console = Console(soft_wrap=True, highlight=False)
    failed = 0
    async for name, problem, good in _all(config):
        failed += problem is not None
        mark = "[green]ok  [/]" if problem is None else "[red]FAIL[/]"
        console.print(f"{mark} {name}: ", end="")
        console.print(good if problem is None else problem, markup=False)
    return 1 if failed else 0


async def _all(config: Config) -> AsyncIterator[tuple[str, str | None, str]]:
    yield "settings", None, f"assets {', '.join(config.assets)}"
    yield "state_dir", *_state(config)
    yield "listen", *_port(config)
    yield "sources", *_sources(config)
    venues = venues_of(config)
    async with Rest() as rest:
        lists = [asyncio.create_task(_list(rest, config, venue)) for venue in venues]
        clocks = [asyncio.create_task(_clock(venue)) for venue in venues]
        sockets = {
            f"{venue.name} {endpoint.path}": asyncio.create_task(_socket(venue.ws_url + endpoint.path))
            for venue in venues
            for endpoint in venue.endpoints
        }
        for venue, found in zip(venues, lists, strict=True):
            yield f"{venue.name} instruments", *(await found)
        for venue, found in zip(venues, clocks, strict=True):
            yield f"{venue.name} clock", *(await found)
        for name, found in sockets.items():
            yield name, *(await found)


def _state(config: Config) -> tuple[str | None, str]:
    try:
        writable(config.state_dir, "state_dir")
    except ConfigError as error:
        return str(error), ""
    free = shutil.disk_usage(config.state_dir).free
    text = f"writable, {free / (1 << 30):.1f} GiB free"
    return (None, text) if free >= FREE_BYTES else (f"{text}: less than 1 GiB", "")


def _sources(config: Config) -> tuple[str | None, str]:
    """The settings of the slow sources; they are not asked, because each is polite to its host."""
    try:
        asked = chosen(config)
    except ConfigError as error:
        return str(error).removeprefix("sources: "), ""
    missing = [str(one.key_file) for one in asked if one.key_file is not None and not one.key_file.is_file()]
    if missing:
        return f"{missing[0]}: no such file", ""
    return None, ", ".join(one.name for one in asked) or "none"


def _port(config: Config) -> tuple[str | None, str]:
    host, port = address(config.listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return f"{config.listen}: {error.strerror}", ""
    return None, config.listen


async def _list(rest: Rest, config: Config, venue: Venue) -> tuple[str | None, str]:
    try:
        bodies = await rest.instruments(venue)
        ours = read_instruments(venue, choice_of(config, venue.name), bodies, {})
    except (RestError, Refused, *UNREADABLE) as error:
        return f"{venue.rest_url}: {error}", ""
    count = sum(of.kind == "perpetual" for of in ours.values())
    return (None, f"{count} perpetuals") if count else ("no perpetual of the assets", "")


async def _clock(venue: Venue) -> tuple[str | None, str]:
    """Our clock against the `Date` of the venue's answer, less half the way there and back."""
    try:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            began = time.time()
            async with session.get(venue.rest_url) as answer:
                middle = (began + time.time()) / 2
                said = parsedate_to_datetime(answer.headers["Date"]).timestamp() + 0.5
    except (aiohttp.ClientError, TimeoutError, KeyError, ValueError) as error:
        return f"{venue.rest_url}: {error or type(error).__name__}", ""
    offset = middle - said
    text = f"{offset:+.1f} s from the venue's"
    return (None, text) if abs(offset) <= CLOCK_S else (f"{text}: set this machine's clock", "")


async def _socket(url: str) -> tuple[str | None, str]:
    try:
        async with connect(url, open_timeout=TIMEOUT_S, compression=None, proxy=None):
            return None, "handshake"
    except (OSError, TimeoutError, WebSocketException) as error:
        return f"{url}: {error or type(error).__name__}", ""
