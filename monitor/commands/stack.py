"""`monitor stack` and `monitor configure`: Prometheus and Alertmanager beside the live monitor.

The programs are children: whatever ends this process in an orderly way ends them, each by its own id,
and a child that ends by itself ends the whole.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from monitor.children import child, ready
from monitor.commands import live
from monitor.config import Config, ConfigError, address
from monitor.stack import FILLED, alertmanager, prometheus, read_secrets

TAIL = 20
"""Lines of a child that are kept, to say why it ended."""


def write(file: Path, settings: Mapping[str, Any]) -> None:
    """Writes a configuration as a whole or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    draft = file.with_name(f".{file.name}.new")
    try:
        draft.write_text(yaml.safe_dump(dict(settings), allow_unicode=True, sort_keys=False, width=1000))
        draft.replace(file)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error


def configure(source: Path, secrets: Path, out: Path, monitor: str, notifier: str) -> list[str]:
    """Writes `prometheus.yml` and `alertmanager.yml` to a folder; lines that tell what is on and off.

    Args:
        source: folder with the shipped `prometheus.yml` and `grafana/`.
        secrets: folder of one-line files; see `deploy/secrets/README.md`.
        out: folder to write to.
        monitor: address at which Prometheus finds the monitor.
        notifier: address at which it finds Alertmanager.

    Raises:
        ConfigError: a file cannot be read, or has not its form, or cannot be written.
    """
    live.writable(out, "folder")
    settings, channels = alertmanager(source, secrets)
    write(out / "alertmanager.yml", settings)
    write(out / "prometheus.yml", prometheus(source, monitor, notifier))
    return list(channels.lines())


async def stack(config: Config, source: Path, secrets: Path, store: str, notifier: str) -> int:
    """Until cancelled; 1 if a program ended by itself.

    Args:
        config: of the monitor.
        source: folder with the shipped `prometheus.yml` and `grafana/`.
        secrets: folder of one-line files.
        store: address for Prometheus to listen on; port 0 is a free one.
        notifier: the same for Alertmanager.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 -- run by a runner
    # A closed terminal is an orderly end too.
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, task.cancel)
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    programs = [_program("prometheus"), _program("prometheus-alertmanager", "alertmanager")]
    listen, store, notifier = (
        _free(what, name)
        for what, name in ((config.listen, "--listen"), (store, "--prometheus"), (notifier, "--alertmanager"))
    )
    config = config.model_copy(update={"listen": listen})
    for line in configure(source, secrets, config.state_dir, listen, notifier):
        console.print(line)
    hidden = [text for name, text in read_secrets(secrets).items() if name not in FILLED.values()]
    commands = (
        ("alertmanager", notifier, [
            programs[1], f"--config.file={config.state_dir}/alertmanager.yml",
            f"--storage.path={config.state_dir}/alertmanager", f"--web.listen-address={notifier}",
            f"--web.external-url=http://{notifier}", "--cluster.listen-address=", "--log.level=warn",
        ]),
        ("prometheus", store, [
            programs[0], f"--config.file={config.state_dir}/prometheus.yml",
            f"--storage.tsdb.path={config.state_dir}/prometheus", f"--web.listen-address={store}",
            f"--web.external-url=http://{store}", "--storage.tsdb.retention.time=400d",
            "--web.enable-remote-write-receiver", "--log.level=warn",
        ]),
    )  # fmt: skip
    async with AsyncExitStack() as children:
        ends: list[asyncio.Task[Any]] = []
        for name, where, command in commands:
            console.print(f"Starting {name} on http://{where}/")
            child = Child(name, console, hidden)
            await children.enter_async_context(child.running(command, where))
            ends.append(asyncio.create_task(child.ended(), name=name))
        ends.append(asyncio.create_task(live.run(config), name="monitor"))
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in done:
                why = end.result()  # or the monitor's own complaint
                console.print(f"monitor: {end.get_name()} ended by itself: {why}")
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
    return 1


class Child:
    """A program that runs beside us, and what it says."""

    def __init__(self, name: str, console: Console, hidden: Sequence[str]) -> None:
        self.name = name
        self._console = console
        self._hidden = hidden
        self._said: list[str] = []
        self._aloud = False
        """Whether its lines are passed on: not before it is ready, not while it is ended."""
        self._over = asyncio.Event()

    @asynccontextmanager
    async def running(self, command: Sequence[str], where: str) -> AsyncIterator[None]:
        """Yields when it is ready; ends it by its id.

        Raises:
            ConfigError: it ended at once, or was not ready in time.
        """
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        listening = asyncio.create_task(self._listen(process))
        try:
            async with child(process):
                await ready(self.name, where, self._last)
                self._aloud = True
                try:
                    yield
                finally:
                    self._aloud = False
        finally:
            await listening

    def _last(self) -> str | None:
        """What it said last, if it has ended."""
        return (self._said[-1] if self._said else "it said nothing") if self._over.is_set() else None

    async def ended(self) -> str:
        """Waits for its end; why it ended."""
        await self._over.wait()
        return self._last() or ""

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101 -- a pipe was asked for
        async for raw in process.stdout:
            line = raw.decode(errors="replace")
            for secret in self._hidden:
                line = line.replace(secret, "<secret>")
            self._said = [*self._said[-TAIL:], plain(line)]
            if self._aloud:
                self._console.print(f"{self.name}: {self._said[-1]}")
        self._over.set()


def plain(line: str) -> str:
    """What a log line of Prometheus or Alertmanager says, without its time, level and place."""
    found = {}
    for key, value in re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)', line):
        found[key] = value[1:-1].replace('\\"', '"') if value.startswith('"') else value
    if "msg" not in found:
        return line.strip()
    return ": ".join(found[key] for key in ("integration", "msg", "err") if key in found)


def _program(*names: str) -> str:
    """The first that is on PATH."""
    for name in names:
        if found := shutil.which(name):
            return found
    raise ConfigError(f"{names[-1]} is not on PATH: `make tools` brings one")


def _free(listen: str, option: str) -> str:
    """The address, with a port in place of 0.

    Raises:
        ConfigError: it is no address, or is taken.
    """
    try:
        host, port = address(listen)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from error
    with closing(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {listen}: {error.strerror}; choose another with {option}"
            ) from error
        port = probe.getsockname()[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
