"""Whether memory grows while the monitor runs."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from measure import Row, end, show

SPEED = 100


def section(*, seconds: int) -> list[Row]:
    process = subprocess.Popen(
        [sys.executable, "-m", "monitor", "demo", "--speed", str(SPEED), "--seconds", str(seconds),
         "--no-prometheus", "--listen", "127.0.0.1:0"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    began = time.monotonic()
    seen: list[tuple[float, float]] = []
    try:
        while process.poll() is None:
            if (size := _resident(process.pid)) is not None:
                seen.append(((time.monotonic() - began) / seconds, size))
            time.sleep(0.5)
    finally:
        end(process)
    early, late = _around(seen, 0.2), _around(seen, 0.97)
    label = "" if seconds >= 600 else " (short; --long is what counts)"
    rows = [
        Row("RSS at the end / after 20 %", late / early, 1.10),
        Row("RSS after 20 %", early, unit="MB"),
        Row("RSS at the end", late, unit="MB"),
    ]
    show(f"memory: demo at {SPEED} x, {seconds} s{label}", rows, [f"exit status {process.returncode}"])
    return rows


def _around(seen: list[tuple[float, float]], moment: float) -> float:
    near = [size for at, size in seen if abs(at - moment) <= 0.03]
    if not near:
        raise RuntimeError("the demo ended too early to be measured")
    return median(near)


def _resident(pid: int) -> float | None:
    """Megabytes, or None if it has just ended."""
    said = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=False, text=True)
    text = said.stdout.strip()
    return int(text) / 1024 if text else None
