"""Can the monitor be trusted: per venue and channel what arrives, how late, and what went wrong."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.boards.frame import frame
from grafana.boards.panels import (
    SECONDS,
    SHARE,
    Panel,
    Query,
    by_venue,
    last,
    lines,
    numbers,
    rows_of,
    states,
)
from grafana.boards.style import (
    ASSETS_COLOURS,
    BAD,
    COVERAGE_WARNING,
    GOOD,
    GREY,
    ORANGE,
    PINK,
    RULE,
    SKY,
    WARN,
    kind_colours,
    source_colours,
    steps,
    words,
)

OF = 'venue=~"$venue"'
RATE = "[$__rate_interval]"


def board() -> Dashboard:
    """Uid leverage-health."""
    return frame(
        "leverage-health", "Monitor health",
        "Whether the answers of the other dashboards can be trusted now, and if not, which venue is why.",
        [
            [_now()], [_up()], [_firing(), _coverage()], [_age(), _sources()], [_delay(), _frames()],
            [_errors(), _reconnects()], [_ticks(), _dropped()], [_refused(), _memory()],
        ],
        variables=["asset", "venue"], time="now-6h", alerts='venue=~"$venue|"',
    )  # fmt: skip


def _now() -> Panel:
    coverage = steps((None, BAD), (RULE.min_coverage, WARN), (COVERAGE_WARNING, GOOD))
    return numbers(
        "Now",
        "Coverage is the share of open interest that is fresh. Version and speed: more than one is a demo or "
        "a replay, where ages are of the market's clock.",
        [
            Query('leverage_coverage_ratio{asset=~"$asset"}', "{{asset}} covered", decimals=0,
                  steps=tuple(coverage)),
            Query("sum(monitor_stream_up)", "channels up", unit="none"),
            Query("count(monitor_stream_up) - sum(monitor_stream_up)", "channels silent",
                  unit="none", steps=tuple(steps((None, GOOD), (1, BAD)))),
            Query(f"sum(monitor_implausible_readings{{{OF}}})", "readings refused", unit="none",
                  steps=tuple(steps((None, GOOD), (1, WARN)))),
            Query('count(ALERTS{alertstate="firing", alertname!="Watchdog"}) or vector(0)', "alerts firing",
                  unit="none", steps=tuple(steps((None, GOOD), (1, WARN)))),
            Query("monitor_market_clock_speed_ratio", "clock speed", unit="none"),
            Query("monitor_build_info", "version {{version}}", unit="none"),
        ],
        width=24, height=4,
    )  # fmt: skip


def _up() -> Panel:
    return states(
        "Channels",
        "A row per venue and channel. Liquidations may be quiet for hours: that channel is judged by its "
        "socket.",
        [Query(last("monitor_stream_up", OF), "{{venue}} {{channel}}")],
        words({0: ("silent", BAD), 1: ("up", SKY)}), height=12, values=False,
    )  # fmt: skip


def _firing() -> Panel:
    return rows_of(
        "Alerts that fire", "As Prometheus has them; the Watchdog always fires, or nobody would be told.",
        [Query('ALERTS{alertstate="firing"}')],
        columns={"alertname": "Alert", "severity": "Severity", "asset": "Asset", "venue": "Venue"},
        sort="Severity", width=12, height=7,
    )  # fmt: skip


def _coverage() -> Panel:
    return lines(
        "Coverage",
        f"Dashed: {COVERAGE_WARNING:.0%}, where an alert begins, and {RULE.min_coverage:.0%}, under which "
        "the phase is frozen.",
        [Query(last("leverage_coverage_ratio", 'asset=~"$asset"'), "{{asset}}")],
        unit=SHARE, height=7, low=0, high=1, colours=ASSETS_COLOURS,
        steps=steps((None, BAD), (RULE.min_coverage, WARN), (COVERAGE_WARNING, "transparent")),
    )  # fmt: skip


def _age() -> Panel:
    heard = f"max by (job, instance, venue) ({last('monitor_last_event_timestamp_seconds', OF)})"
    newest = f"max by (job, instance) ({last('monitor_last_event_timestamp_seconds')})"
    return by_venue(
        "Age of each venue's newest event",
        "By this clock; where the market's clock runs faster (a demo), behind the newest event of all.",
        f"(time() - {heard}) and on (job, instance) ({last('monitor_market_clock_speed_ratio')} == 1) "
        f"or {newest} - on (job, instance) group_right () {heard}",
        unit=SECONDS, height=8, legend_right=True,
    )  # fmt: skip


def _sources() -> Panel:
    told = last("monitor_source_timestamp_seconds")
    newest = f"max by (job, instance) ({last('monitor_last_event_timestamp_seconds')})"
    age = (
        f"(time() - {told}) and on (job, instance) ({last('monitor_market_clock_speed_ratio')} == 1) "
        f"or {newest} - on (job, instance) group_right () {told}"
    )
    return lines(
        "Age of slow sources, of what is allowed",
        "Gold, CME, supply, ETF flows. Over the dashed line an alert begins. Where the market's clock runs "
        "faster (a demo, whose sources are simulated), age is behind the newest event.",
        [Query(f"({age}) / {last('monitor_source_max_age_seconds')}", "{{source}}")],
        unit=SHARE, height=8, low=0, high=1, steps=steps((None, "transparent"), (1, BAD)),
        colours=source_colours(),
    )  # fmt: skip


def _delay() -> Panel:
    buckets = f"sum by (venue, le) (rate(monitor_event_delay_seconds_bucket{{{OF}}}{RATE}))"
    return by_venue(
        "Delay of frames, 99 % are faster",
        "From the venue's clock to receipt, the clocks' difference included.",
        f"histogram_quantile(0.99, {buckets})", unit=SECONDS, legend_right=True,
    )  # fmt: skip


def _frames() -> Panel:
    return by_venue(
        "Frames a second", "A venue that sends nothing is at zero; one that is not understood has errors.",
        f"rate(monitor_frames_total{{{OF}}}{RATE})", unit="short", legend_right=True,
    )  # fmt: skip


def _errors() -> Panel:
    errors = f"monitor_errors_total{{{OF}}}"
    by_stage = f"60 * sum by (stage) (rate({errors}{RATE})) and sum by (stage) ({errors}) > 0"
    together = f'label_replace(60 * sum(rate({errors}{RATE})), "stage", "all", "", "")'
    return lines(
        "Errors a minute, by stage", "Stages where something went wrong since the start, and all together.",
        [Query(f"{by_stage} or {together}", "{{stage}}")], unit="short", legend_right=True,
        calcs=("max",), high=1,
        colours={"all": (GREY, False)},
    )  # fmt: skip


def _reconnects() -> Panel:
    return by_venue(
        "Reconnections in an hour", "Venues end sessions once a day on purpose.",
        f"increase(monitor_reconnects_total{{{OF}}}[1h])", unit="short", legend_right=True,
        calcs=("max",), high=1,
    )  # fmt: skip


def _ticks() -> Panel:
    def quantile(share: float) -> str:
        buckets = f"sum by (le) (rate(monitor_compute_duration_seconds_bucket{RATE}))"
        return f"histogram_quantile({share:g}, {buckets})"

    return lines(
        "Time of a tick", "Half and 99 % are faster. It must stay well under the tick's interval.",
        [Query(quantile(0.99), "99 %", colour=ORANGE), Query(quantile(0.5), "50 %", colour=SKY)],
        unit=SECONDS, height=6, low=0,
    )  # fmt: skip


def _dropped() -> Panel:
    return lines(
        "Events a second, and lost", "Events read from frames, and those lost because the queue was full.",
        [
            Query(f"sum by (kind) (rate(monitor_events_total{{{OF}}}{RATE}))", "{{kind}}"),
            Query(f"rate(monitor_events_dropped_total{RATE})", "lost", colour=BAD),
        ],
        unit="short", height=6, legend_right=True, colours=kind_colours(),
    )  # fmt: skip


def _refused() -> Panel:
    return by_venue(
        "Readings refused as implausible", "An alert begins when any is refused for a minute.",
        f"sum by (venue) ({last('monitor_implausible_readings', OF)})", unit="short", height=6,
        legend_right=True, calcs=("max",), high=1,
    )  # fmt: skip


def _memory() -> Panel:
    return lines(
        "Memory of the monitor", "It must not grow without end.",
        [Query('process_resident_memory_bytes{job="leverage-monitor"}', "resident", colour=PINK)],
        unit="bytes", height=6, low=0,
    )  # fmt: skip
