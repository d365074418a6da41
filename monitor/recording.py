"""Frames as they came, with their time of receipt: written while running, read back by a replay.

One JSON object a line, compressed with zstandard. The first line is a `Header`; then `Frame`s in the
order of receipt, with `Tick`s at the instants at which the monitor computed. A recording that was cut
off by a crash is readable up to the cut. Plain `.jsonl` files without compression are read as well.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec
import orjson
import zstandard

from monitor.events import Millis

FORMAT = 1
SUFFIXES = (".jsonl.zst", ".jsonl", ".ndjson")


class RecordingError(Exception):
    """A recording that cannot be read; the text names file and line."""


class Header(msgspec.Struct, frozen=True, tag="header", tag_field="is"):
    """What the monitor was set to: a replay computes the same only with the same."""

    format: int = FORMAT
    speed: float = 1.0
    assets: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()
    venues: tuple[str, ...] = ()
    min_coverage: float = 0.6
    symbols: dict[str, tuple[str, ...]] = {}
    oi_sides: dict[str, int] = {}
    thresholds: dict[str, float] = {}


class Frame(msgspec.Struct, frozen=True, tag="frame", tag_field="is"):
    """A frame of a socket, an answer to a poll, or the answers that list a venue's instruments."""

    venue: str
    received: Millis
    source: str
    """`ws`, `instruments`, or the channel of a poll."""
    texts: tuple[str, ...]
    """One text; for `instruments` one for each answer. Bytes that are no UTF-8 stand in base64."""
    base64: bool = False


class Tick(msgspec.Struct, frozen=True, tag="tick", tag_field="is"):
    """An instant at which the monitor computed."""

    now: Millis


Entry = Header | Frame | Tick
_entry = msgspec.json.Decoder(Entry)


def frame(venue: str, received: Millis, source: str, bodies: Sequence[bytes]) -> Frame:
    """A frame from the bytes that came."""
    try:
        return Frame(venue, received, source, tuple(body.decode() for body in bodies))
    except UnicodeDecodeError:
        coded = tuple(base64.b64encode(body).decode() for body in bodies)
        return Frame(venue, received, source, coded, base64=True)


def bodies(of: Frame) -> list[bytes]:
    """The bytes that came."""
    return [base64.b64decode(text) if of.base64 else text.encode() for text in of.texts]


class Recorder:
    """Appends entries to one file, which exists from the start and is complete after `close`."""

    FLUSH_EVERY = 1 << 18
    """Bytes of text after which a whole block is on disk: what a crash may lose."""

    def __init__(self, directory: Path, started: str, header: Header) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / f"{started}.jsonl.zst"
        self._file: BinaryIO = self.path.open("xb")
        self._writer = zstandard.ZstdCompressor(level=3).stream_writer(self._file)
        self._pending = 0
        self.frames = 0
        self.bytes = 0
        self.write(header)

    def write(self, entry: Entry) -> None:
        """Appends one entry.

        Raises:
            RecordingError: the disk does not take it; nothing that follows would be complete.
        """
        line = msgspec.json.encode(entry) + b"\n"
        try:
            self._append(line)
        except OSError as error:
            raise RecordingError(f"{self.path}: {error.strerror}") from error
        self.frames += type(entry) is Frame
        self.bytes += len(line)

    def _append(self, line: bytes) -> None:
        self._writer.write(line)
        self._pending += len(line)
        if self._pending >= self.FLUSH_EVERY:
            self._writer.flush(zstandard.FLUSH_BLOCK)
            self._file.flush()
            self._pending = 0

    def close(self) -> None:
        """Ends the file.

        Raises:
            RecordingError: the disk does not take its end.
        """
        try:
            with self._file:
                self._writer.flush(zstandard.FLUSH_FRAME)
        except OSError as error:
            raise RecordingError(f"{self.path}: {error.strerror}") from error


def files(paths: Sequence[Path]) -> list[Path]:
    """The recordings among files and folders, in the order of their names.

    Raises:
        RecordingError: there are none.
    """
    found = [
        file
        for path in paths
        for file in (sorted(path.iterdir()) if path.is_dir() else [path])
        if file.name.endswith(SUFFIXES)
    ]
    if not found:
        names = ", ".join(map(str, paths))
        raise RecordingError(f"{names}: no recording here (a file that ends in {SUFFIXES[0]})")
    return found


def read(path: Path) -> Iterator[Entry]:
    """Entries of one file.

    Raises:
        RecordingError: it cannot be opened, or a line is no entry (a cut-off end is none: it ends).
    """
    try:
        with path.open("rb") as file:
            yield from _lines(path, _inflated(path, file))
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from error


def _inflated(path: Path, file: BinaryIO) -> Iterator[bytes]:
    if not path.name.endswith(".zst"):
        yield from file
        return
    reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
    try:
        yield from io.BufferedReader(reader)
    except zstandard.ZstdError as error:
        raise RecordingError(f"{path}: {error}") from error


def _lines(path: Path, lines: Iterator[bytes]) -> Iterator[Entry]:
    for number, line in enumerate(lines, 1):
        try:
            yield _entry.decode(line)
        except (msgspec.MsgspecError, orjson.JSONDecodeError) as error:
            if not line.endswith(b"\n"):
                return  # the recorder was cut off here
            raise RecordingError(f"{path}: line {number}: {error}") from error
