"""What a scrape costs, and whether the loop that reads sockets stands still meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

from isal import igzip
from market import Monthly
from measure import Row, answer, child, end, fetch, in_turns, ratio, say, show
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric as PrometheusMetric
from prometheus_client.registry import Collector

from monitor.prometheus.exposition import Writer
from monitor.tick.compute import Samples

PER_INSTRUMENT = 9
LARGE, SMALL = 48_000, 10_000
PHASE_S = 2.0


def section() -> list[Row]:
    large, small = Monthly(LARGE // PER_INSTRUMENT), Monthly(SMALL // PER_INSTRUMENT)
    writer, registry = Writer(), CollectorRegistry()
    registry.register(Library(small.samples))
    found = in_turns(
        {"library": lambda: generate_latest(registry), "ours": lambda: writer.text(small.samples)}, 15
    )
    other = Writer()
    text = other.text(large.samples)
    cost = in_turns(
        {
            "text": lambda: other.text(large.samples),
            "gzip": lambda: igzip.compress(text, 1),
        },
        15,
    )  # fmt: skip
    cost |= in_turns({"first": lambda: Writer().text(large.samples)}, 3)
    ms = {name: median(values) * 1000 for name, values in cost.items()}
    rows = [
        Row(f"text of {large.series()} series", ms["text"], unit="ms CPU"),
        Row(f"gzip of its {len(text) / 1e6:.1f} MB (isal, level 1)", ms["gzip"], unit="ms CPU"),
        Row("text and gzip", ms["text"] + ms["gzip"], 60.0, "ms CPU"),
        Row("text after a listing changed (prefixes made anew)", ms["first"], unit="ms CPU"),
        Row(f"generate_latest / ours, {small.series()} series", ratio(found, "library", "ours"), 10.0,
            least=True),
    ]  # fmt: skip
    stalls, notes = _stalls()
    show("scrape", rows + stalls, notes)
    return rows + stalls


class Library(Collector):
    """The same families as the client library has them; made before, so that only writing counts."""

    def __init__(self, samples: Samples) -> None:
        self._families = []
        for family in samples.families:
            metric = family.metric
            made = GaugeMetricFamily(metric.name, metric.help, labels=metric.all_labels)
            constant = [value for _, value in metric.fixed]
            for labels, value in zip(family.labels.rows(), family.values.to_list(), strict=True):
                if value is not None:
                    made.add_metric([*labels, *constant], value)
            self._families.append(made)

    def collect(self) -> Iterator[PrometheusMetric]:
        yield from self._families


def _stalls(rounds: int = 5) -> tuple[list[Row], list[str]]:
    """Gaps in a heartbeat of 1 ms beside the board, idle and scraped, in turns."""
    serving = child("serving.py", str(LARGE // PER_INSTRUMENT))
    gaps: dict[str, list[float]] = {"idle": [], "scraped": []}
    tails: dict[str, list[float]] = {"idle": [], "scraped": []}
    scrapes, size = 0, 0
    try:
        url = f"http://{answer(serving)['address']}/metrics"
        for _ in range(rounds):
            for phase, found in gaps.items():
                say(serving, phase)
                ends = time.monotonic() + PHASE_S
                while time.monotonic() < ends:
                    if phase == "idle":
                        time.sleep(0.1)
                    else:
                        size = fetch(url)
                        scrapes += 1
                say(serving, "end")
                said = answer(serving)
                found.append(said["longest"])
                tails[phase].append(said["p99"])
    finally:
        end(serving)
    rows = [
        Row("stall of the loop while scraped, quietest round", min(gaps["scraped"]), 50.0, "ms wall"),
        Row("the same, median of the rounds", median(gaps["scraped"]), unit="ms wall"),
        Row("the same, 99th percentile of gaps", median(tails["scraped"]), unit="ms wall"),
        Row("stall of the idle loop (the machine's own), median", median(gaps["idle"]), unit="ms wall"),
    ]
    worst = f"the longest of all is {max(gaps['scraped']):.1f} ms scraped, {max(gaps['idle']):.1f} ms idle"
    return rows, [
        f"{scrapes} scrapes of {size / 1e3:.0f} kB (gzip), new samples five times a second, {rounds} rounds;",
        f"what we do stalls every round, what the machine does only some; {worst}.",
    ]
