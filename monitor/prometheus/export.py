"""Stored history as samples with the names and labels that the live monitor exports.

Values come through the declarations of the metrics, so that an imported series and the scraped one are the
same series. What is known once a day stands until the next close: it is repeated every hour, because a
sample that is older than five minutes is invisible to a query.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from monitor.bars import STEPS, Step
from monitor.deleveraging.phases import PHASES, VERDICTS
from monitor.events import Millis
from monitor.ladder import DAY, HOUR
from monitor.metrics import METRICS
from monitor.metrics.metric import LABELS, Metric, View

TARGET: Mapping[str, str] = {"instance": "leverage-monitor", "job": "leverage-monitor"}
"""Labels that Prometheus gives to what it scrapes (`prometheus.yml`): another name is another series."""
CHUNK: Millis = 486 * HOUR
"""Samples of one block: the largest that promtool makes when allowed what a server compacts to, 31 days.

Each is imported from a file of its own, because promtool reads the whole file for every block.
"""
DAY_TIMES = DAY // HOUR

INSTRUMENT = (
    "leverage_mark_price_usd", "leverage_open_interest_usd", "leverage_open_interest_coins",
    "leverage_funding_rate_8h_ratio",
)  # fmt: skip
"""Of each bar."""
ASSET = (
    "leverage_reference_price_usd", "leverage_perp_open_interest_usd", "leverage_perp_open_interest_coins",
    "leverage_coverage_ratio", "leverage_funding_rate_8h_weighted_ratio", "leverage_supply_coins",
    "leverage_market_cap_usd", "leverage_open_interest_to_market_cap_ratio",
    "leverage_open_interest_to_market_cap_average_ratio", "leverage_open_interest_to_market_cap_mean_ratio",
    "leverage_open_interest_to_market_cap_zscore", "leverage_open_interest_to_market_cap_percentile_ratio",
    "leverage_funding_percentile_ratio", "leverage_stretch_ratio", "leverage_phase",
    "leverage_phase_start_timestamp_seconds", "leverage_phase_confidence_ratio",
    "leverage_deleveraging_verdict", "leverage_purge_depth_ratio", "leverage_open_interest_growth_ratio",
)  # fmt: skip
"""Of each close of a day."""
RECORDED = (
    "venue_asset:leverage_open_interest_usd:sum", "venue_asset:leverage_open_interest_coins:sum",
    "venue_asset:leverage_funding_rate_8h_ratio:weighted",
)  # fmt: skip
"""What `grafana/rules/recording.yml` makes of the instruments: Prometheus records the present only."""
NAMES = (*INSTRUMENT, *ASSET, *RECORDED)
_OF = {metric.name: metric for metric in METRICS}
_GROWTHS = {"24h": "growth", "72h": "growth_3d", "14d": "growth_14d"}
"""Windows that end at a close → columns of `phases.features`."""

Lots = Mapping[str, pl.DataFrame]
"""By name of the metric: its labels, `time` (milliseconds UTC) and `value`; no row without a number."""


def lots(names: Sequence[str], view: View, frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The samples of metrics over the rows of a view, each of which has a `time` as well."""
    found = {}
    for metric in (_OF[name] for name in names):
        if metric.view == view:
            found[metric.name] = _lot(metric, frame)
    return found


def _lot(metric: Metric, frame: pl.DataFrame) -> pl.DataFrame:
    labels = [*LABELS[metric.view], *metric.labels]
    return frame.select(
        *(pl.col(name).fill_null("") for name in labels),
        *(pl.lit(value).alias(name) for name, value in metric.fixed),
        "time",
        value=metric.value.cast(pl.Float64),
    ).filter(pl.col("value").is_finite())


def of_bars(bars: pl.DataFrame, step: Step) -> dict[str, pl.DataFrame]:
    """Samples of instruments, each at the close of its bar.

    Args:
        bars: a table of `bars.BAR`.
        step: of the bars.
    """
    frame = bars.with_columns(time=pl.col("time") + STEPS[step], price="close", rate_8h="funding_8h")
    return lots(INSTRUMENT, "instrument", frame)


def recorded(samples: Lots) -> dict[str, pl.DataFrame]:
    """What the recording rules say of samples of instruments, by venue and asset.

    Args:
        samples: all that is known of `INSTRUMENT` at their times.
    """
    key = ["venue", "asset", "time"]
    usd, coins, rates = (samples[name] for name in INSTRUMENT[1:])
    rated = usd.join(rates, on=["symbol", *key], suffix="_8h")
    weighted = (pl.col("value") * pl.col("value_8h")).sum() / pl.col("value").sum()
    found = (
        usd.group_by(key).agg(pl.col("value").sum()),
        coins.group_by(key).agg(pl.col("value").sum()),
        rated.group_by(key).agg(value=weighted).filter(pl.col("value").is_finite()),
    )
    return dict(zip(RECORDED, found, strict=True))


def finest(hours: pl.DataFrame, days: pl.DataFrame) -> pl.DataFrame:
    """Of the bars of days those of which there is no bar of an hour of the same instrument."""
    key = ["venue", "asset", "symbol"]
    known = hours.select(*key, day=pl.col("time") // DAY).unique()
    return days.with_columns(day=pl.col("time") // DAY).join(known, on=[*key, "day"], how="anti").drop("day")


def of_days(assessed: pl.DataFrame, min_coverage: float) -> dict[str, pl.DataFrame]:
    """Samples of assets, at the close of each day and at each full hour until the next.

    Levels and changes are left out on days of which less than `min_coverage` was seen, as live.

    Args:
        assessed: days as `phases.assess` gives them.
        min_coverage: share of open interest below which there is no level.
    """
    seen = pl.col("coverage") >= min_coverage
    believed = pl.col("believed") >= min_coverage
    hours = pl.int_ranges(0, DAY_TIMES, dtype=pl.Int64) * HOUR
    frame = (
        assessed.with_columns(time=(pl.col("day").cast(pl.Int64) + 1) * DAY + hours)
        .explode("time")
        .with_columns(
            reference="price", rate_8h=pl.when(seen).then("funding_8h"),
            market_cap=pl.col("supply") * pl.col("price"), since_s=(pl.col("since") + 1.0) * DAY / 1000,
            **{name: pl.when(seen).then(name) for name in ("usd", "coins", "oi_to_market_cap")},
            **{name: pl.when(believed).then(name) for name in (
                "average", "mean", "z", "percentile", "stretch", *_GROWTHS.values(),
            )},
        )
    )  # fmt: skip
    return (
        lots(ASSET, "asset", frame)
        | lots(ASSET, "asset_window", _windows(frame))
        | lots(ASSET, "phase", _one_of(frame, "phase", PHASES))
        | lots(ASSET, "verdict", _one_of(frame, "verdict", VERDICTS))
    )


def _windows(frame: pl.DataFrame) -> pl.DataFrame:
    return pl.concat(
        [
            frame.select("asset", "time", window=pl.lit(window), growth=pl.col(column))
            for window, column in _GROWTHS.items()
        ]
    )


def _one_of(frame: pl.DataFrame, column: str, names: Sequence[str]) -> pl.DataFrame:
    """1 for the name that a row says, 0 for the others."""
    return pl.concat(
        [
            frame.select(
                "asset", "time", pl.lit(name).alias(column), value=(pl.col(column) == name).cast(pl.Float64)
            )
            for name in names
        ]
    )


def within(samples: Lots, start: Millis, end: Millis) -> dict[str, pl.DataFrame]:
    """The samples from `start` until before `end`."""
    inside = (pl.col("time") >= start) & (pl.col("time") < end)
    return {name: lot.filter(inside) for name, lot in samples.items()}


def lacking(samples: Lots, there: Lots) -> dict[str, pl.DataFrame]:
    """The samples of which the series has none at that time yet."""
    left = {}
    for name, lot in samples.items():
        key = [column for column in lot.columns if column != "value"]
        left[name] = lot.join(there[name], on=key, how="anti") if name in there else lot
    return left


def count(samples: Lots) -> int:
    """Number of samples."""
    return sum(lot.height for lot in samples.values())


# Prometheus' formats.


def openmetrics(samples: Lots) -> Iterator[bytes]:
    """OpenMetrics text without its last line, which is `END`. Of each series the samples ascend.

    Times are whole seconds: promtool would cut a fraction off.
    """
    for name, lot in samples.items():
        if lot.is_empty():
            continue
        labels = [column for column in lot.columns if column not in ("time", "value")]
        pairs = [_pair(label, pl.col(label)) for label in labels]
        pairs += [pl.lit(f'{label}="{value}"') for label, value in TARGET.items()]
        prefix = pl.concat_str(pl.lit(f"{name}{{"), pl.concat_str(pairs, separator=","), pl.lit("} "))
        lines = lot.sort(*labels, "time").select(
            pl.concat_str(prefix, pl.col("value"), pl.lit(" "), pl.col("time") // 1000)
        )
        yield f"# TYPE {name} gauge\n".encode()
        yield "\n".join(lines.to_series().to_list()).encode() + b"\n"


END = b"# EOF\n"


def _pair(label: str, value: pl.Expr) -> pl.Expr:
    escaped = value
    for raw, told in (("\\", r"\\"), ('"', r"\""), ("\n", r"\n")):
        escaped = escaped.str.replace_all(raw, told, literal=True)
    return pl.concat_str(pl.lit(f'{label}="'), escaped, pl.lit('"'))


def write_requests(samples: Lots, most: int = 5_000) -> Iterator[bytes]:
    """Messages `WriteRequest` of Prometheus' remote write 1.0, of about `most` samples each.

    Prometheus, `prompb/remote.proto` and `types.proto`: a message is a list of fields 1, time series;
    of a series field 1 is a label (1 name, 2 value), sorted by name, and field 2 a sample (1 double,
    2 milliseconds). No client library that is kept for this was found that does without gRPC's compiler.
    """
    message, held = b"", 0
    for labels, times, values in _series(samples):
        fields = [
            _field(1, _field(1, name.encode()) + _field(2, text.encode()))
            for name, text in sorted(labels.items())
            if text
        ]
        for time, value in zip(times, values, strict=True):
            fields.append(_field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(time)))
        message += _field(1, b"".join(fields))
        held += len(times)
        if held >= most:
            yield message
            message, held = b"", 0
    if message:
        yield message


def _series(samples: Lots) -> Iterator[tuple[dict[str, str], list[Millis], list[float]]]:
    for name, lot in samples.items():
        labels = [column for column in lot.columns if column not in ("time", "value")]
        for key, rows in lot.sort("time").group_by(labels, maintain_order=True):
            named = {label: str(text) for label, text in zip(labels, key, strict=True)}
            yield {"__name__": name, **TARGET, **named}, rows["time"].to_list(), rows["value"].to_list()


def _field(number: int, content: bytes) -> bytes:
    """A field of a known length."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:  # noqa: PLR2004 -- seven bits a byte
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def told(
    answer: Sequence[tuple[Mapping[str, str], Sequence[tuple[float, float]]]],
) -> dict[str, pl.DataFrame]:
    """What a query for series found, as samples: labels without those of `TARGET`, and times."""
    rows: dict[str, dict[str, list[object]]] = {}
    for labels, points in answer:
        metric = labels["__name__"]
        names = ("venue", "asset") if metric in RECORDED else _OF[metric].all_labels
        into = rows.setdefault(metric, {name: [] for name in (*names, "time")})
        for name in names:
            into[name] += [labels.get(name, "")] * len(points)
        into["time"] += [round(at * 1000) for at, _ in points]
    return {
        name: pl.DataFrame(of, schema={**dict.fromkeys(of, pl.String), "time": pl.Int64})
        for name, of in rows.items()
    }


def chunks(start: Millis, end: Millis, length: Millis = CHUNK) -> list[tuple[Millis, Millis]]:
    """The spans of a length that the time from `start` to before `end` falls into, cut to it."""
    first, last = start // length, -(-end // length)
    return [(max(start, n * length), min(end, (n + 1) * length)) for n in range(first, last)]
