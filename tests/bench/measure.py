"""How the benchmark measures, and how it shows what it found.

Machines are noisy and differ. What counts is the ratio of two alternatives that ran in turns in one
process, and CPU time of the process under test; wall time counts only where a stall is meant.
"""

from __future__ import annotations

import json
import math
import random
import select
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

PATIENCE_S = 90.0
"""A child that is silent for so long has failed."""
HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
console = Console(highlight=False)
if not console.is_terminal:
    console.width = 130


class Row(NamedTuple):
    """One line of a table. Without a target it is there to be read with the others."""

    what: str
    measured: float
    target: float | None = None
    unit: str = "x"
    least: bool = False
    """Whether the target is to be reached; otherwise it is not to be exceeded."""

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.measured >= self.target if self.least else self.measured <= self.target

    def cells(self) -> tuple[str, str, str, str]:
        if self.target is None:
            return self.what, f"{self.measured:.4g} {self.unit}", "", ""
        sign = ">=" if self.least else "<="
        if self.target and self.measured:
            share = self.measured / self.target
            far = f"{share:.2f} of it" if self.target else ""
        else:
            far = f"{self.measured - self.target:+.4g}"
        colour = "green" if self.met else "red"
        word = "met" if self.met else "MISSED"
        return (
            self.what, f"{self.measured:.4g} {self.unit}", f"{sign} {self.target:g} {self.unit}",
            f"[{colour}]{word}[/], {far}",
        )  # fmt: skip


def show(title: str, rows: Iterable[Row], notes: Sequence[str] = ()) -> None:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("what", overflow="fold")
    for name in ("measured", "target", "how far"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row.cells())
    console.print(table)
    for note in notes:
        console.print(f"  {note}")
    console.print()


def in_turns(
    alternatives: Mapping[str, Callable[[], object]], rounds: int, repeat: int = 1
) -> dict[str, list[float]]:
    """CPU seconds of each alternative in each round; the order in a round is random."""
    found: dict[str, list[float]] = {name: [] for name in alternatives}
    names = list(alternatives)
    for _ in range(rounds):
        random.shuffle(names)
        for name in names:
            call = alternatives[name]
            began = process_time()
            for _ in range(repeat):
                call()
            found[name].append((process_time() - began) / repeat)
    return found


def ratio(found: Mapping[str, Sequence[float]], one: str, other: str) -> float:
    """Median over the rounds of one alternative over another."""
    return median(a / b for a, b in zip(found[one], found[other], strict=True))


def geometric_mean(values: Iterable[float]) -> float:
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs))


def child(script: str, *arguments: str, python: str = sys.executable) -> subprocess.Popen[bytes]:
    """A script of this folder in a process of its own; it answers in lines of JSON."""
    return subprocess.Popen(
        [python, str(HERE / script), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def answer(process: subprocess.Popen[bytes]) -> Any:
    """The next line that a child says; each is one write."""
    stdout = process.stdout
    heard = stdout is not None and select.select([stdout], [], [], PATIENCE_S)[0]
    if stdout is None or not heard or not (line := stdout.readline()):
        raise RuntimeError(f"a child of the benchmark says nothing, status {process.poll()}")
    return json.loads(line)


def tell(what: object) -> None:
    """A child's answer."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def say(process: subprocess.Popen[bytes], word: str) -> None:
    """A line to a child."""
    if process.stdin is not None:
        process.stdin.write(f"{word}\n".encode())
        process.stdin.flush()


def fetch(url: str) -> int:
    """Scrapes as Prometheus does; the number of bytes that came."""
    request = urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})  # noqa: S310 -- loopback
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
        return len(response.read())


def end(*processes: subprocess.Popen[bytes]) -> None:
    """Ends children that were started here."""
    for process in processes:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
