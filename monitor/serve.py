"""What the monitor serves by HTTP: `/metrics`, the status page `/`, `/-/healthy`, `/-/ready`.

The text of the market's metrics is made in a worker thread, once for each tick that is scraped: the
loop that reads sockets never waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web
from isal import igzip
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.process_collector import ProcessCollector

from monitor.config import address
from monitor.events import Millis
from monitor.health import Health
from monitor.page import page
from monitor.prometheus.exposition import CONTENT_TYPE, Writer
from monitor.tick.compute import Samples
from monitor.venue import Venue


class Board:
    """The newest samples and the monitor's health, as text and as a page."""

    def __init__(self, health: Health, venues: Sequence[Venue], now: Callable[[], Millis]) -> None:
        self.health = health
        self.venues = venues
        self.now = now
        self.samples: Samples | None = None
        """Replaced as a whole by each tick; None before the first, and after one that failed."""
        self._writer = Writer()
        self._written: tuple[Samples | None, bytes] = (None, b"")
        self._lock = asyncio.Lock()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(health)
        ProcessCollector(registry=self._registry)

    def market_text(self) -> bytes:
        """The market's metrics of the newest tick."""
        samples = self.samples
        if samples is not self._written[0]:
            self._written = samples, b"" if samples is None else self._writer.text(samples)
        return self._written[1]

    def own_text(self) -> bytes:
        """The monitor's metrics now, and those of its process."""
        return generate_latest(self._registry)

    async def metrics(self, request: web.Request) -> web.Response:
        """`/metrics`, compressed where the scraper takes it."""
        async with self._lock:  # the writer's cache has one user at a time
            market = await asyncio.to_thread(self.market_text)
        body = market + self.own_text()
        headers = {"Content-Type": CONTENT_TYPE, "Vary": "Accept-Encoding"}
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            body = await asyncio.to_thread(igzip.compress, body, 1)
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=body, headers=headers)

    async def status(self, _: web.Request) -> web.Response:
        """The status page."""
        text = page(self.health, self.venues, self.samples, self.now())
        return web.Response(text=text, content_type="text/html")

    async def healthy(self, _: web.Request) -> web.Response:
        """200 while the process answers."""
        return web.Response(text="healthy\n")

    async def ready(self, _: web.Request) -> web.Response:
        """200 once a tick was computed and any channel delivers; 503 before."""
        ups = [self.health.stream_up(*key) for key in self.health.channels()]
        if self.samples is None or not any(ups):
            return web.Response(status=503, text="no venue has spoken yet\n")
        return web.Response(text="ready\n")


@asynccontextmanager
async def serve(listen: str, board: Board) -> AsyncIterator[str]:
    """Serves until the context ends; yields the address it listens on (port 0 takes a free one).

    Raises:
        OSError: the port is taken, or the address is not ours.
    """
    app = web.Application()
    app.add_routes(
        [
            web.get("/metrics", board.metrics),
            web.get("/", board.status),
            web.get("/-/healthy", board.healthy),
            web.get("/-/ready", board.ready),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        host, port = address(listen)
        await web.TCPSite(runner, host, port).start()
        bound = runner.addresses[0]
        yield f"{bound[0]}:{bound[1]}"
    finally:
        await runner.cleanup()
