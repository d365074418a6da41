"""The snapshot ladder: a window is now minus then, so its cost does not depend on its length.

Every tick pushes one immutable frame of cumulative sums and last values. Rings keep them at 1 s for
5 minutes, 10 s for an hour, 5 minutes for a day and an hour for 30 days (measured design: shared
performance study, method E). Sums are of increments, so no large number is subtracted from another.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence

import polars as pl

from monitor.events import Millis

SECOND: Millis = 1_000
MINUTE: Millis = 60 * SECOND
HOUR: Millis = 60 * MINUTE
DAY: Millis = 24 * HOUR

RINGS: Mapping[Millis, Millis] = {
    SECOND: 5 * MINUTE,
    10 * SECOND: HOUR,
    5 * MINUTE: DAY,
    HOUR: 30 * DAY,
}
"""Step → span."""
COARSEST = 4
"""A window is at least so many steps of the ring that tells its far end."""


class _Ring:
    def __init__(self, step: Millis, span: Millis) -> None:
        self.step, self.span = step, span
        self.times: deque[Millis] = deque()
        self.frames: deque[pl.DataFrame] = deque()
        self.pushed: Millis | None = None
        """Time of the first frame that was pushed."""

    def push(self, now: Millis, frame: pl.DataFrame) -> None:
        self.pushed = now if self.pushed is None else self.pushed
        if self.times and now < self.times[-1] + self.step:
            return
        self.times.append(now)
        self.frames.append(frame)
        # One entry at or before the far end of the span is kept, so that the full window has its lag.
        while len(self.times) > 1 and self.times[1] <= now - self.span:
            self.times.popleft()
            self.frames.popleft()

    def fill(self, past: Sequence[tuple[Millis, pl.DataFrame]]) -> None:
        """Frames of before the first push, thinned as pushes are, in the place of earlier ones."""
        first = self.pushed
        newest = self.times[-1] if self.times else past[-1][0] if past else 0
        filled: list[tuple[Millis, pl.DataFrame]] = []
        for time, frame in past:
            if first is not None and time >= first:
                break
            if filled and time < filled[-1][0] + self.step:
                continue
            if filled and time <= newest - self.span:
                filled.clear()
            filled.append((time, frame))
        own = zip(self.times, self.frames, strict=True)
        since = [(time, frame) for time, frame in own if first is not None and time >= first]
        self.times = deque(time for time, _ in (*filled, *since))
        self.frames = deque(frame for _, frame in (*filled, *since))


class Ladder:
    """Frames of one shape (a row per slot, in slot order) by time of market."""

    def __init__(self) -> None:
        self._rings = [_Ring(step, span) for step, span in RINGS.items()]

    def push(self, now: Millis, frame: pl.DataFrame) -> None:
        """Adds the frame of a tick; times must not decrease."""
        for ring in self._rings:
            ring.push(now, frame)

    def lag(self, now: Millis, window: Millis) -> tuple[Millis, pl.DataFrame] | None:
        """The newest frame that is at least `window` old, and its time.

        None while the ladder is shorter than the window, or where its nearest frame is older than
        1.2 windows (an outage): such a difference would be one of another window.
        """
        for ring in self._rings:
            if ring.span >= window >= COARSEST * ring.step:
                at = bisect_right(ring.times, now - window) - 1
                if at >= 0 and ring.times[at] >= now - window - max(ring.step, window // 5):
                    return ring.times[at], ring.frames[at]
        return None

    def fill(self, past: Sequence[tuple[Millis, pl.DataFrame]]) -> None:
        """Puts frames of before the first tick, in the order of time, on the rings.

        Frames that were filled in before are replaced.
        """
        for ring in self._rings:
            ring.fill(past)

    def __len__(self) -> int:
        return sum(len(ring.times) for ring in self._rings)
