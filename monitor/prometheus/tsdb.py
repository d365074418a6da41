"""Prometheus' own programs over its data: blocks made by promtool, a server for questions, remote write."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp
import cramjam
import orjson

from monitor.children import child, last_words, ready
from monitor.config import ConfigError

MOST_POINTS = 10_000
"""Of a series in one answer; Prometheus refuses more than 11,000."""
HEADERS = {
    "Content-Encoding": "snappy", "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}  # fmt: skip
ATTEMPTS = 5

Points = list[tuple[float, float]]
Matrix = list[tuple[dict[str, str], Points]]
"""Labels of each series, and its points: seconds, value."""


def program(name: str) -> str:
    """Where a program is.

    Raises:
        ConfigError: it is not on PATH.
    """
    if found := shutil.which(name):
        return found
    raise ConfigError(f"{name} is not on PATH: `make tools` brings one to .tools/usr/bin")


def free(data: Path) -> None:
    """Checks that no Prometheus runs on a folder.

    Raises:
        ConfigError: one does, or the folder is none or cannot be written.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        busy = _locked(data / "lock") or _open(data / "queries.active")
        tempfile.TemporaryFile(dir=data).close()
    except OSError as error:
        raise ConfigError(f"{data}: {error.strerror}") from error
    if busy:
        raise ConfigError(
            f"a Prometheus runs on {data}: stop it, run this again, start it, and give it the last hours "
            "with --remote-write"
        )


def _locked(file: Path) -> bool:
    """Whether another process holds the lock of a file, if there is the file."""
    if not file.exists():
        return False
    with file.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _open(file: Path) -> bool:
    """Whether a process that we may look at has a file open: Debian's Prometheus takes no lock."""
    if not file.exists():
        return False
    wanted = str(file.resolve())
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # it closed meanwhile
            if str(entry.readlink()) == wanted:
                return True
    return False


def blocks(data: Path) -> dict[str, Any]:
    """By name of each block in a folder what its `meta.json` says; of one that cannot be read nothing."""
    found = {}
    for meta in data.glob("*/meta.json"):
        try:
            found[meta.parent.name] = orjson.loads(meta.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            continue
    return found


async def create(text: Path, data: Path, longest: str) -> int:
    """Makes blocks of a file of OpenMetrics; the number of samples that came into them.

    Args:
        text: ends with `# EOF`.
        data: folder of Prometheus.
        longest: duration of a block at most, such as `744h`.

    Raises:
        ConfigError: promtool is missing or refuses the file.
    """
    before = set(blocks(data))
    await run(
        program("promtool"), "tsdb", "create-blocks-from", "openmetrics",
        f"--max-block-duration={longest}", "--quiet", str(text), str(data),
    )  # fmt: skip
    made = {name: meta for name, meta in blocks(data).items() if name not in before}
    return sum(int(meta["stats"]["numSamples"]) for meta in made.values())


async def run(*command: str) -> str:
    """What a program says; it ends with this task.

    Raises:
        ConfigError: it failed.
    """
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    text = said.decode(errors="replace").strip()
    if process.returncode:
        last = text.rpartition("\n")[2] or "it said nothing"
        raise ConfigError(f"{Path(command[0]).name} failed: {last}")
    return text


@contextmanager
def linked(data: Path) -> Iterator[Path]:
    """A folder with hard links of all blocks, in which a server may do as it likes.

    Raises:
        OSError: the folder cannot be written.
    """
    for killed in data.glob("leverage-monitor-*"):
        shutil.rmtree(killed, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="leverage-monitor-", dir=data) as folder:
        for name in blocks(data):
            for file in (data / name).rglob("*"):
                copy = Path(folder) / file.relative_to(data)
                if file.is_file():
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    os.link(file, copy)
        yield Path(folder)


@asynccontextmanager
async def server(data: Path) -> AsyncIterator[str]:
    """A Prometheus on loopback that scrapes nothing and forgets nothing, until the end; its address.

    Raises:
        ConfigError: there is none on PATH, or it does not come up.
    """
    command = program("prometheus")
    with tempfile.TemporaryDirectory(prefix="leverage-monitor-") as folder, socket.socket() as probe:
        settings, log = Path(folder) / "prometheus.yml", Path(folder) / "log"
        settings.write_text("global: {scrape_interval: 1m}\n")
        probe.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{probe.getsockname()[1]}"
        probe.close()
        with log.open("wb") as said:
            process = await asyncio.create_subprocess_exec(
                command, f"--config.file={settings}", f"--storage.tsdb.path={data}",
                "--storage.tsdb.retention.time=100y", f"--web.listen-address={where}", "--log.level=warn",
                "--query.max-samples=200000000", "--query.timeout=10m",
                stdin=asyncio.subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip
        async with child(process):
            await ready("prometheus", where, lambda: last_words(process, log))
            yield f"http://{where}"


class Client:
    """Questions to a Prometheus; `async with` opens it."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=600, connect=10)
        self._session = aiohttp.ClientSession(timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None  # noqa: S101 -- it was opened
        await self._session.close()

    async def ask(self, path: str, **data: str | list[str]) -> Any:
        """The `data` of an answer of the API.

        Raises:
            ConfigError: nobody answers, or it refuses.
        """
        assert self._session is not None  # noqa: S101 -- it was opened
        pairs = [
            (key.replace("match", "match[]"), one)
            for key, value in data.items()
            for one in ([value] if isinstance(value, str) else value)
        ]
        try:
            method = "POST" if pairs else "GET"
            async with self._session.request(
                method, f"{self.url}/api/v1/{path}", data=pairs or None
            ) as answer:
                body = orjson.loads(await answer.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ConfigError(f"{self.url}: no Prometheus answers: {error}") from error
        except orjson.JSONDecodeError as error:
            raise ConfigError(f"{self.url}: no answer of a Prometheus") from error
        if body.get("status") != "success":
            raise ConfigError(f"{self.url}: {body.get('error', 'refused')}")
        return body["data"]

    async def matrix(self, query: str, start: int, end: int, step: int) -> Matrix:
        """A query at each step from `start` to `end`, seconds, both included.

        Raises:
            ConfigError: see `ask`.
        """
        found: dict[str, tuple[dict[str, str], Points]] = {}
        for begin in range(start, end + 1, step * MOST_POINTS):
            last = min(end, begin + step * (MOST_POINTS - 1))
            data = await self.ask(
                "query_range", query=query, start=str(begin), end=str(last), step=str(step)
            )  # fmt: skip
            for one in data["result"]:
                key = repr(sorted(one["metric"].items()))
                points = found.setdefault(key, (one["metric"], []))[1]
                points += [(float(at), float(value)) for at, value in one["values"]]
        return list(found.values())

    async def write(self, messages: Iterable[bytes]) -> None:
        """Sends messages of remote write; what is refused for good ends it, what fails is tried again.

        Raises:
            ConfigError: nobody answers, or it refuses.
        """
        assert self._session is not None  # noqa: S101 -- it was opened
        for message in messages:
            body = bytes(cramjam.snappy.compress_raw(message))
            why = ""
            for attempt in range(ATTEMPTS):
                if attempt:
                    await asyncio.sleep(0.2 * 2**attempt)
                try:
                    async with self._session.post(
                        f"{self.url}/api/v1/write", data=body, headers=HEADERS
                    ) as answer:
                        if answer.ok:
                            break
                        why = (await answer.text()).strip() or str(answer.reason)
                        status = answer.status
                except (aiohttp.ClientError, TimeoutError) as error:
                    why, status = f"no Prometheus answers: {error}", 503
                if status < 500 and status != 429:  # noqa: PLR2004 -- refused for good
                    raise ConfigError(f"{self.url}: {_advice(status, why)}")
            else:
                raise ConfigError(f"{self.url}: {_advice(status, why)}")


def _advice(status: int, why: str) -> str:
    if status == 404 or "needs to be enabled" in why:  # noqa: PLR2004 -- not found
        return "takes no remote write: start it with --web.enable-remote-write-receiver"
    if "out of bounds" in why or "out of order" in why or "too old" in why:
        return f"{why}: set storage.tsdb.out_of_order_time_window: 6h in prometheus.yml"
    return why
