"""`monitor demo`: simulated venues, the monitor, and a real Prometheus where one is installed."""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal

import polars as pl
import yaml
from rich.console import Console
from rich.live import Live
from rich.table import Table

from monitor.app import WEIGH_REST_S, Monitor, running
from monitor.children import child, last_words, ready
from monitor.clock import Clock
from monitor.config import Config, ConfigError
from monitor.events import Millis
from monitor.health import Health
from monitor.history.store import Store
from monitor.ladder import HOUR
from monitor.page import clock as utc, dollars, part, percent, share
from monitor.simulated import SCENARIOS, Exchange, Market, simulate
from monitor.simulated.macro import told
from monitor.simulated.past import past
from monitor.sources import SOURCES
from monitor.venues import VENUES
from monitor.weigh import Told

START = 1_790_755_200_000
"""2026-09-30 08:00 UTC, in milliseconds: a demo begins there, so that two are alike."""
FAST = 360.0
"""From this speed on a tick is six minutes of the market."""
PLANTED: tuple[Literal["day", "hour"], ...] = ("day", "hour")
REPOSITORY = Path(__file__).parent.parent


async def demo(
    config: Config, *, seconds: float | None, scenario: str, speed: float | None, seed: int,
    out: Path | None, with_prometheus: bool,
) -> int:  # fmt: skip
    """Until cancelled or the time is over; 1 if no level of open interest was reached."""
    if scenario not in SCENARIOS:
        raise ConfigError(f"unknown scenario {scenario!r}; there are {', '.join(SCENARIOS)}")
    speed = speed or SCENARIOS[scenario].speed
    clock = Clock(START, speed)
    market = Market(SCENARIOS[scenario], seed, START, grain_s=60 if speed > FAST else 1)
    console = Console(stderr=True, soft_wrap=True)
    if not console.is_terminal:
        console.width = 120
    async with AsyncExitStack() as stack:
        # A demo has a past of its own, and leaves none.
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leverage-monitor-")))
        tick = max(0.2, min(config.tick_seconds, FAST / speed))
        config = config.model_copy(update={"state_dir": state, "tick_seconds": tick})
        await asyncio.to_thread(plant, state, market)
        exchanges = await stack.enter_async_context(simulate(VENUES, market, clock))
        monitor = await stack.enter_async_context(
            running(
                against(config, exchanges), clock, record_to=out,
                told=lambda: tell(monitor.health, market, clock.now()),
            )
        )  # fmt: skip
        console.print(f"Status page  http://{monitor.address}/", highlight=False)
        console.print(f"Metrics      http://{monitor.address}/metrics", highlight=False)
        if with_prometheus:
            console.print(await _start_prometheus(stack, monitor.address), highlight=False)
        console.print(
            f"Market clock {speed:g} x the wall's, scenario {scenario!r}; Ctrl-C ends everything.",
            highlight=False,
        )
        try:
            async with asyncio.timeout(seconds):
                await _show(console, monitor, market)
        except TimeoutError:
            pass
        samples = monitor.board.samples
    reached = samples is not None and samples.views.asset["usd"].count() > 0
    return 0 if reached else 1


def plant(state_dir: Path, market: Market) -> None:
    """Gives a monitor the past of a simulated market, as `monitor backfill` would."""
    fed = pl.col("venue").is_in([name for name, venue in VENUES.items() if venue.liquidation_feed != "none"])
    with Store(state_dir / "history", writable=True) as store:
        for step in PLANTED:
            bars = past(market, step)
            told = (pl.when(fed).then(name).alias(name) for name in ("long_usd", "short_usd"))
            store.backfill("simulated", step, bars.with_columns(told))


def tell(health: Health, market: Market, now: Millis) -> Mapping[str, Told]:
    """What the simulated slow sources tell at a time, reported to the health as real ones report it."""
    known = told(market, now)
    # They speak at the full hour, and the market moves on between two looks at them.
    slack = HOUR + round(WEIGH_REST_S * 1000 * health.speed)
    for name, of in known.items():
        health.source(name, SOURCES[name].max_age + slack)
        health.source_good(name, of.as_of)
    return known


def against(config: Config, exchanges: dict[str, Exchange]) -> Config:
    """The settings with the simulators' addresses in place of the venues'."""
    venues = {
        name: config.venue(name).model_copy(update={"ws_url": exchange.ws_url, "rest_url": exchange.rest_url})
        for name, exchange in exchanges.items()
    }
    return config.model_copy(update={"venues": venues})


async def _show(console: Console, monitor: Monitor, market: Market) -> None:
    """A table of the assets, redrawn in a terminal, printed each ten seconds elsewhere."""
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            table = _table(monitor, market)
            if console.is_terminal:
                live.update(table, refresh=True)
                await asyncio.sleep(1)
            else:
                await asyncio.sleep(10)
                console.print(_table(monitor, market))


def _table(monitor: Monitor, market: Market) -> Table:
    now = monitor.clock.now()
    channels = monitor.health.channels()
    up = sum(monitor.health.stream_up(*key) for key in channels)
    title = f"{utc(now)}  {market.leg(now)}  {up} of {len(channels)} channels up"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    names = ("asset", "phase", "price", "open interest", "against average", "growth 4h", "growth 24h",
             "funding 8h", "liquidated 1h", "coverage")  # fmt: skip
    for name in names:
        table.add_column(name, justify="left" if name in names[:2] else "right", no_wrap=True)
    samples = monitor.board.samples
    if samples is None:
        return table
    windows = {(row["asset"], row["window"]): row for row in samples.views.asset_window.iter_rows(named=True)}
    levels = pl.concat([samples.views.asset, samples.looked.asset], how="horizontal")
    for row in levels.iter_rows(named=True):
        of = {window: windows.get((row["asset"], window), {}) for window in ("1h", "4h", "24h")}
        average, ratio = row["average"], row["oi_to_market_cap"]
        phase = row["phase"].replace("_", " ") + ("?" if row["provisional"] else "")
        table.add_row(
            row["asset"], phase, dollars(row["reference"]), dollars(row["usd"]),
            percent(ratio / average - 1 if ratio and average else None, 1),
            percent(of["4h"].get("growth")), percent(of["24h"].get("growth")),
            percent(row["rate_8h"], 4), part(of["1h"].get("liquidation_intensity")), share(row["coverage"]),
        )  # fmt: skip
    return table


async def _start_prometheus(stack: AsyncExitStack, target: str) -> str:
    """Starts one if there is one; says what to open, or what is missing."""
    program = shutil.which("prometheus")
    source = REPOSITORY / "prometheus.yml"
    if program is None or not source.exists():
        missing = "no prometheus on PATH" if program is None else "no prometheus.yml here"
        return f"Prometheus   not started: {missing} (`make demo` brings one)"
    address = await stack.enter_async_context(prometheus(program, source, target))
    query = "leverage_perp_open_interest_usd"
    return f"Prometheus   http://{address}/graph?g0.expr={query}&g0.range_input=5m&g0.tab=0"


@asynccontextmanager
async def prometheus(
    program: str, source: Path, target: str, interval: str | None = None
) -> AsyncIterator[str]:
    """A Prometheus with the repository's configuration, its target's address replaced.

    A demo in a hurry may scrape at another interval than the configuration's.
    Yields the address that it listens on, once it is ready. Its data go with it.

    Raises:
        ConfigError: it ended at once, or was not ready in time.
    """
    settings = yaml.safe_load(source.read_text())
    settings["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    if interval is not None:
        settings["global"] |= {
            "scrape_interval": interval,
            "evaluation_interval": interval,
            "scrape_timeout": interval,
        }
    settings["rule_files"] = [str(source.parent / name) for name in settings["rule_files"]]
    settings.pop("alerting", None)  # no Alertmanager beside a demo
    with tempfile.TemporaryDirectory(prefix="leverage-monitor-") as folder:
        (Path(folder) / "prometheus.yml").write_text(yaml.safe_dump(settings))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        file = Path(folder) / "log"
        with file.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address={address}", "--log.level=warn",
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        async with child(process):
            await ready("prometheus", address, lambda: last_words(process, file))
            yield address
