"""Made-up instruments of 14 venues, and a core that has looked at them for a month."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from monitor.bus import Heard, Listed
from monitor.events import Instrument, Liquidation, Mark, Millis, OpenInterest
from monitor.ladder import DAY, SECOND
from monitor.metrics import METRICS
from monitor.metrics.metric import Metric
from monitor.tick.compute import Core, Samples
from monitor.tick.views import Scope

VENUES = [f"venue{n:02d}" for n in range(14)]
START: Millis = 1_790_755_200_000


def instruments(count: int) -> list[Instrument]:
    """Each asset is traded on every venue, the last one perhaps on fewer."""
    return [
        Instrument(
            venue=VENUES[n % len(VENUES)], symbol=f"A{n // len(VENUES)}USDT", asset=f"A{n // len(VENUES)}",
            quote="USDT", oi_sides_reason="one side: said here", funding_interval_s=28_800,
        )
        for n in range(count)
    ]  # fmt: skip


class Monthly:
    """A core with everything it needs; `tick` goes on by a second."""

    def __init__(self, count: int, metrics: Sequence[Metric] = METRICS) -> None:
        self.of = instruments(count)
        self.core = Core(metrics, Scope(frozenset(VENUES)), dict.fromkeys(VENUES, "complete"), VENUES)
        for venue in VENUES:
            self.core.apply(Listed(venue, START, [of for of in self.of if of.venue == venue]))
        self.now = START
        self.samples: Samples
        self._turn = 0
        # A month in a hundred ticks: each step is a tenth of what is left, so that every window
        # finds a frame of the right age.
        end, left = START + 31 * DAY, 31 * DAY
        while left > SECOND:
            self.now = end - left
            self.apply(self.heard())
            self.evaluate()
            left = int(left * 0.88)
        self.now = end

    def heard(self) -> list[Heard]:
        """Two events of every instrument and some liquidations; venues agree on the price of an asset."""
        self._turn += 1
        wave = 1 + 0.001 * (self._turn % 7)
        received = self.now
        return [
            Heard(
                of.venue,
                received - 1,
                (
                    Mark(of, received - 100, 100 * wave * (1 + n % len(VENUES) / 10_000), 100.0),
                    OpenInterest(of, received - 100, (1e5 + n) * wave),
                    *self._forced(of, n, received),
                ),
            )
            for n, of in enumerate(self.of)
        ]

    def _forced(self, of: Instrument, n: int, received: Millis) -> tuple[Liquidation, ...]:
        """Every fiftieth instrument has one."""
        if (n + self._turn) % 50:
            return ()
        return (Liquidation(of, received - 100, "long" if n % 2 else "short", 100.0, 10.0),)

    def apply(self, heard: Sequence[Heard]) -> None:
        for item in heard:
            self.core.apply(item)

    def evaluate(self) -> None:
        self.samples = self.core.evaluate(self.core.take(self.now))

    def series(self) -> int:
        """Number of series that the samples are written as."""
        return sum(
            int((family.values.is_not_null() & family.values.is_finite()).sum())
            for family in self.samples.families
        )

    def windows(self) -> int:
        """Number of windows whose growth is known for some asset."""
        frame = self.samples.views.asset_window
        return frame.filter(pl.col("growth").is_not_null())["window"].n_unique()
