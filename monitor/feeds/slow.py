"""The only code that asks slow sources: on a schedule, politely, and with what was good kept on disk.

A source is asked at most once in its interval, also across restarts; failures double the wait, a refusal
makes it hours. What is rubbish is named and counted and changes nothing: the last good value stays, and
grows old.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import aiohttp
import msgspec
import polars as pl
from yarl import URL

from monitor import __version__
from monitor.clock import Clock
from monitor.config import Config, ConfigError, SourceConfig
from monitor.events import Millis
from monitor.feeds.rest import retry_after
from monitor.health import Health
from monitor.sources import SOURCES
from monitor.sources.source import DAY, Rubbish, Source, as_of

log = logging.getLogger("monitor")

TIMEOUT_S = 30.0
LARGEST = 32 << 20
"""Bytes of an answer; the largest source has 2 MB."""
REDIRECTS = 3
SPREAD_S = 3.0
"""The first questions after a start are spread over so long."""
JITTER = 0.1
"""Share of a wait that is added to it at random."""
LONGEST_S = 6 * 3600.0
"""Failures double the wait up to this."""
PATIENCE_S = 2 * 3600.0
"""The first wait after a refusal, if the source does not name a longer one."""
FILE_EVERY_S = 60.0
AGENT = f"Mozilla/5.0 (compatible; leverage-monitor/{__version__})"
"""Says what we are, in the form that old servers know."""

OK, NOT_MODIFIED = 200, 304
MOVED = (301, 302, 303, 307, 308)
DENIED = (401, 402, 403, 407, 451)
THROTTLED = (418, 429)


class Asked(msgspec.Struct, frozen=True):
    """A source as the operator wants it: from where, and with which key."""

    source: Source
    url: str | None = None
    file: Path | None = None
    key_file: Path | None = None

    @property
    def name(self) -> str:
        """Of the source."""
        return self.source.name

    @property
    def every_s(self) -> float:
        """Seconds between two questions; a file is at hand."""
        return self.source.every_s if self.file is None else min(self.source.every_s, FILE_EVERY_S)

    @property
    def origin(self) -> str:
        """Tells one place from another without telling it, because an address may hold a secret."""
        return hashlib.sha256(f"{self.file or self.url}".encode()).hexdigest()[:16]


class Value(msgspec.Struct, frozen=True):
    """The last good answer of a source."""

    frame: pl.DataFrame
    """In the schema of the source's kind."""
    as_of: Millis
    """Of what time its newest value is."""
    fetched_at: Millis
    """When it was last found to be the present answer."""
    problem: str | None = None
    """What has been wrong since, in one line."""


class Kept(msgspec.Struct):
    """What the disk knows of a source besides the body."""

    origin: str
    asked_at: Millis = 0
    not_before: Millis = 0
    """The next question may not come earlier."""
    failures: int = 0
    fetched_at: Millis = 0
    as_of: Millis = 0
    digest: str = ""
    """Of the body that stands beside it; none: there is no good answer yet."""
    etag: str | None = None
    last_modified: str | None = None


class Failed(Exception):  # noqa: N818 -- reads as what happened
    """A question failed: the kind of the problem, a line about it, and the least wait."""

    def __init__(self, kind: str, text: str, wait_s: float = 0.0) -> None:
        super().__init__(text)
        self.kind = kind
        self.wait_s = wait_s


class Answer(msgspec.Struct, frozen=True):
    """A body, or None where the one we have is still the present one."""

    body: bytes | None
    etag: str | None = None
    last_modified: str | None = None


def chosen(config: Config) -> list[Asked]:
    """The sources to ask: the usual ones and those that the settings name, less those they switch off.

    Raises:
        ConfigError: an unknown name, a source without an address or without the key that it needs.
    """
    if unknown := sorted(set(config.sources) - set(SOURCES)):
        raise ConfigError(f"sources: unknown source {unknown[0]!r}; there are {', '.join(SOURCES)}")
    found = []
    for source in SOURCES.values():
        setting = config.sources.get(source.name, SourceConfig(enabled=source.default))
        if not setting.enabled:
            continue
        where = f"sources.{source.name}"
        if setting.url and setting.file:
            raise ConfigError(f"{where}: give url or file, not both")
        if not (setting.url or setting.file or source.url):
            raise ConfigError(f"{where}: give a file or a url; docs/SOURCES.md shows the form")
        if source.key == "needed" and setting.key_file is None and setting.file is None:
            raise ConfigError(f"{where}: needs key_file, the file that holds your key")
        if setting.key_file is not None and not (source.key_parameter or source.key_header):
            raise ConfigError(f"{where}: wants no key")
        url = None if setting.file else setting.url or source.url
        found.append(Asked(source, url, setting.file, setting.key_file))
    return found


class Slow:
    """All slow sources, asked until cancelled."""

    def __init__(self, asked: Iterable[Asked], folder: Path, health: Health, clock: Clock) -> None:
        """Reads what the last run kept.

        Args:
            asked: the sources.
            folder: where answers are kept, `state_dir/sources`.
            health: told what is good and what is wrong.
            clock: the present. Lives are its time, waits are wall time.
        """
        self.values: dict[str, Value] = {}
        """The last good value of each source that ever had one."""
        self.problems: dict[str, str] = {}
        """What is wrong at present, also of sources that never had a value."""
        self._asked = list(asked)
        self._folder = folder
        self._health = health
        self._clock = clock
        self._kept: dict[str, Kept] = {}
        self._bodies: dict[str, bytes] = {}
        self._stamps: dict[str, tuple[int, int]] = {}
        for one in self._asked:
            health.source(one.name, one.source.max_age)
            self._restore(one)

    async def run(self) -> None:
        """Asks each source at its interval, for ever. Ends only by cancellation."""
        if not self._asked:
            await asyncio.Event().wait()
        headers = {"User-Agent": AGENT, "Accept-Encoding": "gzip, deflate"}
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(
            headers=headers, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            async with asyncio.TaskGroup() as group:
                for one in self._asked:
                    group.create_task(self._follow(one, session), name=f"source {one.name}")

    async def _follow(self, one: Asked, session: aiohttp.ClientSession) -> None:
        kept = self._kept[one.name]
        wait = self._clock.seconds_until(kept.not_before)
        await asyncio.sleep(min(wait, DAY / 1000) + random.uniform(0, min(SPREAD_S, one.every_s)))
        while True:
            await asyncio.sleep(await self._turn(one, session))

    async def _turn(self, one: Asked, session: aiohttp.ClientSession) -> float:
        """Asks once, and says how many seconds to wait."""
        kept = self._kept[one.name]
        kept.asked_at = self._clock.now()
        # Written before the question: a process that dies of the answer must not ask again at once.
        kept.not_before = kept.asked_at + int(one.every_s * 1000)
        await self._write(one)
        wait, told = one.every_s, False
        try:
            answer = await (self._ask(one, session) if one.file is None else self._read(one))
            told = answer.body is not None
            await self._take(one, answer)
            kept.failures = 0
        except Failed as error:
            self._fail(one, error.kind, str(error))
            wait = self._wait(one, error)
        wait *= 1 + JITTER * random.random()
        kept.not_before = self._clock.now() + int(wait * 1000)
        await self._write(one, body=told and not kept.failures)
        return wait

    def _wait(self, one: Asked, error: Failed) -> float:
        kept = self._kept[one.name]
        doubled = 2.0 ** min(kept.failures, 10)
        kept.failures += 1
        if one.file is not None:
            return one.every_s
        if error.wait_s:
            return max(min(error.wait_s * doubled, DAY / 1000), one.every_s)
        return max(min(one.every_s * doubled, LONGEST_S), one.every_s)

    # Asking.

    async def _ask(self, one: Asked, session: aiohttp.ClientSession) -> Answer:
        """The answer of the source's address, redirects within its host followed."""
        url, headers = self._question(one)
        host = url.host or ""
        try:
            for _ in range(REDIRECTS + 1):
                async with session.get(url, headers=headers, allow_redirects=False) as answer:
                    if answer.status in MOVED:
                        url = _moved(url, answer.headers.get("Location"))
                        continue
                    return await _answer(answer)
        except TimeoutError:
            raise Failed("timeout", f"{host}: no answer in {TIMEOUT_S:.0f} s") from None
        except aiohttp.ClientConnectorCertificateError:
            raise Failed("unreachable", f"{host}: its certificate is not valid") from None
        except aiohttp.ClientConnectorError as error:
            raise Failed("unreachable", f"{host}: {_reason(error.os_error)}") from None
        except (aiohttp.ClientError, ValueError, OSError) as error:  # their texts may hold the address
            raise Failed("unreachable", f"{host}: {type(error).__name__}") from None
        raise Failed("redirect", f"{host}: redirected more than {REDIRECTS} times")

    def _question(self, one: Asked) -> tuple[URL, dict[str, str]]:
        kept, source = self._kept[one.name], one.source
        headers = {}
        if one.name in self._bodies:
            if kept.etag:
                headers["If-None-Match"] = kept.etag
            if kept.last_modified:
                headers["If-Modified-Since"] = kept.last_modified
        try:
            url = URL(one.url or "", encoded=True)
        except ValueError:
            raise Failed("unreachable", "the url of the settings is none") from None
        key = _key(one)
        if key and source.key_header:
            headers[source.key_header] = key
        elif key and source.key_parameter:
            url = url.update_query({source.key_parameter: key})
        return url, headers

    async def _read(self, one: Asked) -> Answer:
        """The operator's file, or nothing where it has not been touched."""
        path = one.file or Path()
        try:
            stat = await asyncio.to_thread(path.stat)
            stamp = stat.st_mtime_ns, stat.st_size
            if stamp == self._stamps.get(one.name) and one.name in self._bodies:
                return Answer(None)
            if stat.st_size > LARGEST:
                raise Failed("oversize", f"{path}: more than {LARGEST >> 20} MiB")
            body = await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            raise Failed("file", f"{path}: {error.strerror}") from None
        self._stamps[one.name] = stamp
        return Answer(body)

    # Believing.

    async def _take(self, one: Asked, answer: Answer) -> None:
        """Makes an answer the value, if it may be."""
        kept, now = self._kept[one.name], self._clock.now()
        body = self._bodies.get(one.name) if answer.body is None else answer.body
        if body is None:
            raise Failed("status", "nothing has changed since an answer that we do not have")
        try:
            # A thread, because a table of decades would hold up the sockets.
            frame = await asyncio.to_thread(one.source.parse, body, now)
            old = self.values.get(one.name)
            fresh = old is not None and now - old.fetched_at <= one.source.forget
            if one.source.continuous is not None and old is not None and fresh:
                one.source.continuous(old.frame, frame)
        except Rubbish as error:
            self._stamps.pop(one.name, None)
            raise Failed("rubbish", str(error)) from None
        kept.fetched_at, kept.as_of = now, as_of(one.source, frame, now)
        if answer.body is not None:
            kept.etag, kept.last_modified = answer.etag, answer.last_modified
            kept.digest = _digest(body)
            self._bodies[one.name] = body
        self._good(one, Value(frame, kept.as_of, now))

    def _good(self, one: Asked, value: Value) -> None:
        self.values[one.name] = value
        if self.problems.pop(one.name, None):
            log.info("source %s: good again", one.name)
        self._health.source_good(one.name, value.as_of)

    def _fail(self, one: Asked, kind: str, text: str) -> None:
        text = " ".join(text.split())
        try:
            secret = _key(one)
        except Failed:
            secret = None
        if secret:
            text = text.replace(secret, "…")
        if self.problems.get(one.name) != text:
            log.warning("source %s: %s: %s", one.name, kind, text)
        self.problems[one.name] = text
        if (value := self.values.get(one.name)) is not None:
            self.values[one.name] = msgspec.structs.replace(value, problem=text)
        self._health.source_failed(one.name, kind, text, self._clock.now())

    # Keeping.

    def _paths(self, one: Asked) -> tuple[Path, Path]:
        return self._folder / f"{one.name}.json", self._folder / f"{one.name}.body"

    def _restore(self, one: Asked) -> None:
        """Reads what was kept; what cannot be read is named, and asked for again."""
        self._kept[one.name] = Kept(one.origin)
        about, path = self._paths(one)
        try:
            kept = msgspec.json.decode(about.read_bytes(), type=Kept)
            if kept.origin != one.origin:
                return  # another address since: its answers are not this one's
            self._kept[one.name] = kept
            if not kept.digest:
                return
            body = path.read_bytes()
            if _digest(body) != kept.digest:
                _damaged(f"{path}: cut off or changed")
            # Judged as of its time: it was good then, and its age is shown.
            frame = one.source.parse(body, kept.fetched_at)
            value = Value(frame, as_of(one.source, frame, kept.fetched_at), kept.fetched_at)
        except FileNotFoundError as error:
            if error.filename != str(about):
                self._forget(one, f"{error.filename}: {error.strerror}")
        except OSError as error:
            self._forget(one, f"{error.filename}: {error.strerror}")
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._forget(one, f"{about}: cut off or changed")
        except (Rubbish, Failed) as error:
            self._forget(one, str(error))
        else:
            self._bodies[one.name] = body
            self._good(one, value)

    def _forget(self, one: Asked, text: str) -> None:
        kept = self._kept[one.name]
        self._kept[one.name] = Kept(
            one.origin, asked_at=kept.asked_at, not_before=kept.not_before, failures=kept.failures
        )
        self._fail(one, "cache", f"ignored what was kept: {text}")

    async def _write(self, one: Asked, *, body: bool = False) -> None:
        """Keeps it; a disk that is full costs the restart, not the value."""
        try:
            await asyncio.to_thread(self._keep, one, body=body)
        except OSError as error:
            self._fail(one, "cache", f"cannot keep it: {error.filename or self._folder}: {error.strerror}")

    def _keep(self, one: Asked, *, body: bool) -> None:
        about, path = self._paths(one)
        self._folder.mkdir(parents=True, exist_ok=True)
        if body:
            _replace(path, self._bodies[one.name])
        _replace(about, msgspec.json.encode(self._kept[one.name]))


def _reason(error: OSError) -> str:
    """What the system calls it; names that are not found have their own numbers."""
    number = error.errno or 0
    return os.strerror(number) if number > 0 else error.strerror or type(error).__name__


def _damaged(text: str) -> NoReturn:
    raise Failed("cache", text)


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _replace(path: Path, data: bytes) -> None:
    """Writes a file so that a crash leaves the old one or the new one."""
    new = path.with_name(path.name + ".new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _key(one: Asked) -> str | None:
    """The operator's key.

    Raises:
        Failed: its file cannot be read, or holds no key.
    """
    if one.key_file is None:
        return None
    try:
        key = one.key_file.read_text().strip()
    except OSError as error:
        raise Failed("file", f"{one.key_file}: {error.strerror}") from None
    except UnicodeDecodeError:
        key = ""
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise Failed("file", f"{one.key_file}: holds no key")
    return key


def _moved(url: URL, location: str | None) -> URL:
    try:
        target = url.join(URL(location or ""))
    except ValueError:
        raise Failed("redirect", f"{url.host}: redirected to no address") from None
    if (target.host, target.port, target.scheme) != (url.host, url.port, url.scheme):
        raise Failed("redirect", f"{url.host}: redirected to {target.scheme}://{target.host}, not followed")
    return target


async def _answer(answer: aiohttp.ClientResponse) -> Answer:
    host, status = answer.url.host, answer.status
    if status == NOT_MODIFIED:
        return Answer(None)
    if status in THROTTLED or status in DENIED:
        wait = max(retry_after(answer.headers.get("Retry-After"), 0.0), PATIENCE_S)
        kind = "throttled" if status in THROTTLED else "denied"
        raise Failed(kind, f"{host}: HTTP {status}", wait)
    if status != OK:
        raise Failed("status", f"{host}: HTTP {status}", retry_after(answer.headers.get("Retry-After"), 0.0))
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > LARGEST:
            raise Failed("oversize", f"{host}: more than {LARGEST >> 20} MiB")
    return Answer(bytes(body), answer.headers.get("ETag"), answer.headers.get("Last-Modified"))
