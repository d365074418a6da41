"""A whole monitor under load: how much of a core it takes, and whether it loses anything."""

from __future__ import annotations

import threading
from typing import Any

from measure import Row, answer, child, end, fetch, say, show
from wire import EVENTS, PER_SOCKET, SOCKETS

SECONDS = 10.0
SCRAPE_EVERY_S = 5.0


def section() -> list[Row]:
    quiet, volatile, burst = (
        _run(10_000 / EVENTS, check=False), _run(20_000 / EVENTS, check=False), _run(50_000, check=True),
    )  # fmt: skip
    lost = burst["sent"] - burst["frames"]
    rows = [
        Row(f"{_events(quiet)} events/s: share of a core", quiet["cpu"] / quiet["wall"], 0.5, "CPU/wall"),
        Row(f"{_events(quiet)} events/s: a frame", _each(quiet), unit="µs CPU"),
        Row(f"{_events(volatile)} events/s: share of a core", volatile["cpu"] / volatile["wall"], None,
            "CPU/wall"),
        Row("burst: lost frames", lost + burst["dropped"], 0, "frames"),
        Row("burst: frames out of order", burst["reordered"], 0, "frames"),
        Row("burst: errors counted", burst["errors"], 0, "errors"),
        Row("burst: offered", burst["sent"] / burst["offered_s"], 50_000 * 0.99, "frames/s", least=True),
        Row("burst: taken from the queue", burst["frames"] / burst["wall"], unit="frames/s"),
        Row("burst: taken after the last was sent", burst["late"], 1.0, "s"),
        Row("burst: share of a core", burst["cpu"] / burst["wall"], unit="CPU/wall"),
        Row("burst: a frame", _each(burst), unit="µs CPU"),
    ]  # fmt: skip
    count = len(SOCKETS) * PER_SOCKET
    notes = [
        f"{len(SOCKETS)} sockets, {count} instruments, {EVENTS:.2f} events a frame, {SECONDS:.0f} s each,",
        f"a tick each second and a scrape every {SCRAPE_EVERY_S:.0f} s included;",
        f"at most {burst['waiting'] / 1e6:.1f} MB waited in the burst's sender.",
    ]
    show("stream", rows, notes)
    return rows


def _events(said: dict[str, Any]) -> str:
    return f"{said['events'] / said['wall']:,.0f}"


def _each(said: dict[str, Any]) -> float:
    return float(said["cpu"] / said["frames"] * 1e6)


def _run(rate: float, *, check: bool) -> dict[str, Any]:
    """What the monitor says of itself after a load, and what the sender says of the load."""
    sender = child("sending.py", str(rate), str(SECONDS))
    processes = [sender]
    over = threading.Event()
    scraper: threading.Thread | None = None
    try:
        port = answer(sender)["port"]
        frames = int(rate * SECONDS)
        monitor = child("receiving.py", str(port), str(frames), "check" if check else "plain")
        processes.append(monitor)
        address = answer(monitor)["address"]
        answer(sender)  # all are connected
        scraper = threading.Thread(target=_scrape, args=(f"http://{address}/metrics", over))
        scraper.start()
        say(monitor, "go")
        say(sender, "go")
        load, said = answer(sender), answer(monitor)
    finally:
        over.set()
        if scraper is not None:
            scraper.join()
        end(*processes)
    said |= {
        "sent": load["frames"], "offered_s": load["seconds"], "waiting": load["waiting"],
        "late": max(0.0, said["ended"] - load["ended"]),
    }  # fmt: skip
    return dict(said)


def _scrape(url: str, over: threading.Event) -> None:
    while not over.wait(SCRAPE_EVERY_S):
        try:
            fetch(url)
        except OSError:
            return
