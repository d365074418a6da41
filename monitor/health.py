"""What the monitor knows about itself, in one place: counts, lives, last errors.

The shells report here; the collector builds the families afresh at each scrape, and the status page
and the log read the same numbers. Counting is plain integers, because it happens for every frame.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric as PrometheusMetric,
)
from prometheus_client.registry import Collector

from monitor import __version__
from monitor.bus import Heard, Item
from monitor.events import Event, Millis, kind_of
from monitor.venue import Venue

STAGES = (
    "connect", "handshake", "throttled", "refused", "silent", "oversize", "parse", "clock", "late",
    "repeated", "poll", "instruments", "implausible", "compute", "history",
)  # fmt: skip
"""Where things go wrong. `repeated` counts what a venue sent again, which is normal after a reconnect."""

SOURCE_PROBLEMS = (
    "unreachable", "timeout", "status", "denied", "throttled", "redirect", "oversize", "rubbish", "file",
    "cache",
)  # fmt: skip
"""What is wrong with a slow source. `denied`: 401, 403 and the like; `cache`: what was kept is unreadable."""

DELAY_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
COMPUTE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

HEALTH: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "monitor_build_info": ("gauge", ("version", "python"), "The monitor's version."),
    "monitor_stream_up": (
        "gauge", ("venue", "channel"),
        "1 while the channel delivers events, or, where silence is normal, its socket is alive.",
    ),
    "monitor_last_event_timestamp_seconds": (
        "gauge", ("venue", "kind"), "When the newest event of the kind was received.",
    ),
    "monitor_event_delay_seconds": (
        "histogram", ("venue",),
        "Time of receipt minus the venue's time, with the difference of the clocks, by frame.",
    ),
    "monitor_frames_total": ("counter", ("venue",), "Frames and answers read."),
    "monitor_events_total": ("counter", ("venue", "kind"), "Events read from them."),
    "monitor_errors_total": (
        "counter", ("venue", "stage"), "What went wrong, by stage: " + " ".join(STAGES) + ".",
    ),
    "monitor_reconnects_total": ("counter", ("venue",), "Sessions that followed a lost one."),
    "monitor_events_dropped_total": (
        "counter", (), "Events lost because the queue was full, oldest first.",
    ),
    "monitor_implausible_readings": (
        "gauge", ("venue", "kind"),
        "Instruments whose reading is refused at present: it contradicts the market or its own past.",
    ),
    "monitor_source_timestamp_seconds": (
        "gauge", ("source",), "Of what time the newest good value of a slow source is.",
    ),
    "monitor_source_max_age_seconds": (
        "gauge", ("source",), "How old the newest good value of a slow source may be.",
    ),
    "monitor_source_problems_total": (
        "counter", ("source", "kind"),
        "What went wrong with a slow source, by kind: " + " ".join(SOURCE_PROBLEMS) + ".",
    ),
    "monitor_compute_duration_seconds": ("histogram", (), "Time of one tick, evaluation and all."),
    "monitor_market_clock_speed_ratio": (
        "gauge", (), "Speed of the market's clock: 1 live, more in a demo or replay.",
    ),
}  # fmt: skip
"""The monitor's own metrics: type, labels, help. The catalogue and the collector read them here."""


class Problem(msgspec.Struct, frozen=True):
    """The last error of a venue."""

    at: Millis
    stage: str
    text: str


class _Histogram:
    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        total, found = 0, []
        for bound, count in zip([*map(str, self.bounds), "+Inf"], self.counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


class Health(Collector):
    """Counts what happens. Every venue's series exist from the start, at zero."""

    def __init__(self, venues: Iterable[Venue], speed: float = 1.0, since: Millis = 0) -> None:
        self.frames: Counter[str] = Counter()
        self.events: Counter[tuple[str, type[Event]]] = Counter()
        self.errors: Counter[tuple[str, str]] = Counter()
        self.reconnects: Counter[str] = Counter()
        self.last_event: dict[tuple[str, str], Millis] = {}
        self.last_problem: dict[str, Problem] = {}
        self.up: dict[tuple[str, str], dict[str, bool]] = {}
        self.unused: set[tuple[str, str]] = set()
        """Channels on which a venue has nothing of ours, such as the volatility index of an asset that has
        none: they are neither up nor down. Known once the venue's instruments are."""
        self.implausible: Mapping[tuple[str, str], int] = {}
        self.source_as_of: dict[str, Millis] = {}
        self.source_max_age: dict[str, Millis] = {}
        self.source_problems: Counter[tuple[str, str]] = Counter()
        self.source_last_problem: dict[str, Problem] = {}
        """Of each slow source whose last question failed."""
        self.dropped = 0
        self.speed = speed
        self.since = since
        """When counting began."""
        self._delay: dict[str, _Histogram] = {}
        self._compute = _Histogram(COMPUTE_BUCKETS)
        for venue in venues:
            self.frames[venue.name] = self.reconnects[venue.name] = 0
            self._delay[venue.name] = _Histogram(DELAY_BUCKETS)
            for stage in STAGES:
                self.errors[venue.name, stage] = 0
            for channel in (*venue.channels, *(poll.channel for poll in venue.polls)):
                self.up[venue.name, channel.name] = {}
                for kind in channel.kinds:
                    self.events[venue.name, kind] = 0

    def heard(self, item: Item) -> None:
        """Counts an item that was taken from the queue."""
        if type(item) is not Heard:
            return
        venue = item.venue
        self.frames[venue] += 1
        if not item.events:
            return
        for event in item.events:
            self.events[venue, type(event)] += 1
        for kind in {type(event) for event in item.events}:
            self.last_event[venue, kind_of(kind)] = item.received
        delay = self._delay.get(venue)
        if delay is None:
            delay = self._delay[venue] = _Histogram(DELAY_BUCKETS)
        delay.observe((item.received - item.events[-1].time) / 1000 / self.speed)

    def failed(self, venue: str, stage: str, text: str, at: Millis) -> None:
        """Counts an error and keeps its text for the status page."""
        self.errors[venue, stage] += 1
        self.last_problem[venue] = Problem(at, stage, text[:200])

    def source(self, name: str, max_age: Millis) -> None:
        """Makes the series of a slow source, at zero."""
        self.source_max_age[name] = max_age
        for kind in SOURCE_PROBLEMS:
            self.source_problems[name, kind] += 0

    def source_good(self, name: str, as_of: Millis) -> None:
        """A slow source told a good value of that time."""
        self.source_as_of[name] = as_of
        self.source_last_problem.pop(name, None)

    def source_failed(self, name: str, kind: str, text: str, at: Millis) -> None:
        """Counts a problem of a slow source and keeps its text for the status page."""
        self.source_problems[name, kind] += 1
        self.source_last_problem[name] = Problem(at, kind, text[:200])

    def computed(self, seconds: float) -> None:
        """Counts a tick."""
        self._compute.observe(seconds)

    def stream_up(self, venue: str, channel: str) -> bool:
        """Whether a channel is alive on every connection that carries it."""
        parts = self.up.get((venue, channel))
        return parts is not None and bool(parts) and all(parts.values())

    def channels(self) -> list[tuple[str, str]]:
        """Venue and channel of every stream that is to be up."""
        return [key for key in self.up if key not in self.unused]

    def collect(self) -> Iterator[PrometheusMetric]:
        """The families of `HEALTH`."""
        simple: dict[str, list[tuple[list[str], float]]] = {
            "monitor_build_info": [([__version__, platform.python_version()], 1)],
            "monitor_stream_up": [(list(key), float(self.stream_up(*key))) for key in self.channels()],
            "monitor_last_event_timestamp_seconds": [
                ([venue, kind], at / 1000) for (venue, kind), at in self.last_event.items()
            ],
            "monitor_frames_total": [([venue], n) for venue, n in self.frames.items()],
            "monitor_events_total": [([venue, kind_of(kind)], n) for (venue, kind), n in self.events.items()],
            "monitor_errors_total": [(list(key), n) for key, n in self.errors.items()],
            "monitor_reconnects_total": [([venue], n) for venue, n in self.reconnects.items()],
            "monitor_events_dropped_total": [([], self.dropped)],
            "monitor_implausible_readings": [
                ([venue, kind], self.implausible.get((venue, kind), 0))
                for venue in self.frames
                for kind in ("mark", "open_interest")
            ],
            "monitor_source_timestamp_seconds": [([n], at / 1000) for n, at in self.source_as_of.items()],
            "monitor_source_max_age_seconds": [([n], age / 1000) for n, age in self.source_max_age.items()],
            "monitor_source_problems_total": [(list(key), n) for key, n in self.source_problems.items()],
            "monitor_market_clock_speed_ratio": [([], self.speed)],
        }
        for name, (kind, labels, text) in HEALTH.items():
            if kind == "histogram":
                yield self._histogram(name, text, labels)
                continue
            made = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
            family = made(name, text, labels=labels)
            for values, number in simple[name]:
                family.add_metric(values, number)
            yield family

    def _histogram(self, name: str, text: str, labels: Sequence[str]) -> HistogramMetricFamily:
        family = HistogramMetricFamily(name, text, labels=labels)
        if labels:
            for venue, histogram in self._delay.items():
                family.add_metric([venue], histogram.buckets(), histogram.sum)
        else:
            family.add_metric([], self._compute.buckets(), self._compute.sum)
        return family
