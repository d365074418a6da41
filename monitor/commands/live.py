"""`monitor run` and `monitor record`: following the real venues."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from monitor.app import Monitor, running
from monitor.clock import Clock
from monitor.config import Config, ConfigError
from monitor.deleveraging.average import ENOUGH_DAYS, YEAR
from monitor.page import age


def writable(folder: Path, what: str) -> None:
    """Makes the folder, and a file in it, or says what is wrong.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0")
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigError(f"{what} {folder}: {error.strerror}") from error


async def run(config: Config) -> int:
    """Until cancelled."""
    writable(config.state_dir, "state_dir")
    async with running(config, Clock(), catch_up=True, slow=True) as monitor:
        console = Console(stderr=True, soft_wrap=True)
        names = ", ".join(venue.title for venue in monitor.venues)
        console.print(f"Following {', '.join(config.assets)} on {names}.", highlight=False)
        console.print(f"Status page  http://{monitor.address}/", highlight=False)
        console.print(f"Metrics      http://{monitor.address}/metrics", highlight=False)
        for line in short(monitor):
            console.print(line, highlight=False)
        await asyncio.Event().wait()
    return 0


def short(monitor: Monitor) -> list[str]:
    """What to say of a history that is too short for the long-term average."""
    known = dict.fromkeys(monitor.config.assets, 0.0) | monitor.core.past.days_known
    few = [f"{asset} {days:.0f} days" for asset, days in known.items() if days < YEAR]
    text = (
        f"History      {', '.join(few)} of open interest. Phases need {ENOUGH_DAYS} days, and are sure of "
        f"themselves after {YEAR}: `monitor backfill` fetches three years while this runs."
    )
    return [text] if few else []


async def record(config: Config, out: Path, seconds: float | None) -> int:
    """Until cancelled or the time is over; 1 if no venue told anything."""
    writable(out, "--out")
    async with running(config, Clock(), record_to=out, compute=False) as monitor:
        recorder = monitor.recorder
        assert recorder is not None  # noqa: S101 -- asked for
        began = asyncio.get_running_loop().time()
        console = Console(stderr=True)
        try:
            async with asyncio.timeout(seconds):
                with Live(console=console, refresh_per_second=2, transient=True) as live:
                    while True:
                        elapsed = asyncio.get_running_loop().time() - began
                        live.update(_progress(monitor, elapsed))
                        await asyncio.sleep(0.5)
        except TimeoutError:
            pass
        finally:
            console.print(f"{recorder.frames} frames in {recorder.path}", highlight=False)
    return 0 if sum(monitor.health.events.values()) else 1


def _progress(monitor: Monitor, elapsed: float) -> Table:
    table = Table(title=f"recording, {age(elapsed)}", title_justify="left", box=None)
    for name in ("venue", "frames", "events", "last error"):
        table.add_column(name, justify="left" if name in ("venue", "last error") else "right")
    health = monitor.health
    for venue in monitor.venues:
        events = sum(n for (name, _), n in health.events.items() if name == venue.name)
        problem = health.last_problem.get(venue.name)
        said = f"{problem.stage}: {problem.text}" if problem else ""
        table.add_row(venue.name, str(health.frames[venue.name]), str(events), said)
    return table
