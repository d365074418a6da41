"""The clock: live it is the wall's, in a demo it runs faster. Everything else is given the time."""

from __future__ import annotations

import time

from monitor.events import Millis


class Clock:
    """Market time. At speed 1 without a start it is the time of day in UTC.

    Lives of values and windows are market time; sockets, polls and scrapes are wall time.
    """

    def __init__(self, start: Millis | None = None, speed: float = 1.0) -> None:
        self.speed = speed
        self._zero = time.monotonic()
        self._start = time.time() * 1000 if start is None else float(start)

    def now(self) -> Millis:
        """The present, in milliseconds; never runs backwards, whatever the time of day does."""
        return int(self._start + (time.monotonic() - self._zero) * 1000 * self.speed)

    def seconds_until(self, moment: Millis) -> float:
        """Wall seconds until a market time; 0 if it is past."""
        return max(0.0, (moment - self.now()) / 1000 / self.speed)
