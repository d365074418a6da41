"""A real monitor on the sockets of `sending.py`: feeds, queue, a tick each second, `/metrics`."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import uvloop
from measure import tell
from wire import SOCKETS, instruments, number

from monitor.app import Monitor, scope_of
from monitor.bus import Heard, Item, Listed
from monitor.clock import Clock
from monitor.config import Config
from monitor.events import Instrument
from monitor.feeds.feed import Feed, Sinks
from monitor.metrics import METRICS
from monitor.serve import serve
from monitor.tick.compute import Core
from monitor.venue import Topic

PATIENCE_S = 60.0


class Checking(Core):
    """A core that looks at the number of each frame as it leaves the queue."""

    def watch(self, places: dict[Instrument, int]) -> None:
        self.places = places
        self.due = [0] * len(SOCKETS)
        self.reordered = 0

    def apply(self, item: Item) -> None:
        if type(item) is Heard:
            place = self.places[item.events[0].instrument]
            found = number(list(item.events))
            self.reordered += found != self.due[place]
            self.due[place] = found + 1
        super().apply(item)


async def main(port: int, frames: int, *, check: bool) -> None:
    config = Config(listen="127.0.0.1:0", state_dir=Path("unused"))
    monitor = Monitor(config, Clock(), None, None)
    of = {place: instruments(place) for place in range(len(SOCKETS))}
    checking: Checking | None = None
    if check:
        feeds = {venue.name: venue.liquidation_feed for venue in monitor.venues}
        scope = scope_of(config, monitor.venues)
        checking = Checking(METRICS, scope, feeds, [venue.name for venue in monitor.venues])
        checking.watch({one: place for place, some in of.items() for one in some})
        monitor.core = checking
    now = monitor.clock.now()
    for venue in monitor.venues:
        listed = [one for place, some in of.items() if SOCKETS[place] == venue.name for one in some]
        monitor.queue.put(Listed(venue.name, now, listed))
    async with serve(config.listen, monitor.board) as address, asyncio.TaskGroup() as group:
        tasks = [group.create_task(feed(monitor, place, of[place], port).run()) for place in of]
        tasks.append(group.create_task(monitor.tick()))
        tell({"address": address})
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.readline)
        began, spent = time.time(), time.process_time()
        while consumed(monitor) < frames and time.time() < began + PATIENCE_S:
            await asyncio.sleep(0.01)
        ended, spent = time.time(), time.process_time() - spent
        tell(
            {
                "frames": consumed(monitor), "events": sum(monitor.health.events.values()),
                "dropped": monitor.queue.dropped, "reordered": checking.reordered if checking else 0,
                "errors": sum(monitor.health.errors.values()), "wall": ended - began, "cpu": spent,
                "ended": ended,
            }
        )  # fmt: skip
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


def consumed(monitor: Monitor) -> int:
    return sum(monitor.health.frames.values())


def feed(monitor: Monitor, place: int, of: list[Instrument], port: int) -> Feed:
    venue = next(venue for venue in monitor.venues if venue.name == SOCKETS[place])
    venue = msgspec.structs.replace(venue, ws_url=f"ws://127.0.0.1:{port}")
    topics = [Topic(channel.name, channel.name) for channel in venue.channels]
    return Feed(
        venue, f"/{place}", topics, {one.symbol: one for one in of},
        Sinks(monitor.queue.put), monitor.health, monitor.clock,
    )  # fmt: skip


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), check=sys.argv[3] == "check"))
