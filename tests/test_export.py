"""Stored history in Prometheus: the same series as live, nothing twice, nothing lost."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import given, settings, strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from small_market import Small

from monitor.bars import BAR
from monitor.commands.export import run
from monitor.config import ConfigError, load
from monitor.deleveraging.aggregate import days
from monitor.deleveraging.phases import assess, features
from monitor.history.store import Store
from monitor.ladder import DAY, HOUR, MINUTE
from monitor.metrics import METRICS
from monitor.prometheus import export, tsdb
from monitor.tick.compute import Samples
from monitor.venues import VENUES

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / ".tools" / "usr" / "bin"
METRIC = {metric.name: metric for metric in METRICS}
LEVELS = {"bybit": 5e4, "okx": 3e4}
PAST = 400
"""Days of which only days are stored, but of the last `FINE` also hours, and of an hour minutes."""
FINE = 5


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    for name in ("promtool", "prometheus"):
        assert shutil.which(name), f"{name} is missing: run `make tools`"


def bars(start: int, number: int, step: int, seed: int = 1) -> pl.DataFrame:
    """Two instruments of two venues."""
    dice = random.Random(seed)
    levels, rows = dict(LEVELS), []
    for n in range(number):
        for venue, before in levels.items():
            coins, price = before * (1 + dice.gauss(0, 0.002)), 60_000.0 + n
            levels[venue] = coins
            rows.append((start + n * step, venue, "BTC", "BTCUSDT", "linear", price, price, price, price,
                         coins, coins, coins * price, 1e-4, 0.0, 0.0))  # fmt: skip
    return pl.DataFrame(rows, BAR, orient="row")


# Pure.


def assessed(number: int = 200) -> pl.DataFrame:
    closed = bars(0, number, DAY).with_columns(
        day=(pl.col("time") // DAY).cast(pl.Int32), price="close", supply=pl.lit(19.5e6)
    )
    return assess(features(days(closed)))


def live_labels(samples: Samples) -> dict[str, set[str]]:
    return {
        family.metric.name: {*family.labels.columns, *(name for name, _ in family.metric.fixed)}
        for family in samples.families
    }


def test_names_and_labels_are_those_of_the_live_monitor() -> None:
    live = live_labels(Small().run(60))
    made = export.of_bars(bars(0, 3, HOUR), "hour") | export.of_days(assessed(), 0.6)
    assert set(made) == set(export.NAMES) - set(export.RECORDED)
    for name, lot in made.items():
        assert set(lot.columns) - {"time", "value"} == live[name], name
        assert lot.is_empty() == (name == "leverage_purge_depth_ratio"), "no purge was planted"
        assert METRIC[name].kind == "gauge"


def test_a_bar_is_a_sample_at_its_close() -> None:
    made = export.of_bars(bars(7 * HOUR, 1, HOUR), "hour")
    price = made["leverage_mark_price_usd"].filter(venue="okx").row(0, named=True)
    assert price == {"venue": "okx", "asset": "BTC", "symbol": "BTCUSDT", "time": 8 * HOUR, "value": 60_000.0}
    unknown = bars(0, 1, HOUR).with_columns(pl.lit(None, pl.Float64).alias("usd"))
    made = export.of_bars(unknown, "hour")
    assert made["leverage_open_interest_usd"].is_empty()
    assert made["leverage_open_interest_coins"].height == 2


def test_what_a_close_tells_stands_every_hour_until_the_next() -> None:
    of = assessed()
    made = export.of_days(of, 0.6)
    row = of.filter(pl.col("day") == 190).row(0, named=True)
    ratio = made["leverage_open_interest_to_market_cap_ratio"]
    day = ratio.filter(pl.col("time").is_between(191 * DAY, 192 * DAY - 1))
    assert day["time"].to_list() == [191 * DAY + hour * HOUR for hour in range(24)]
    assert day["value"].unique().to_list() == [row["oi_to_market_cap"]]
    phases = made["leverage_phase"].filter(time=191 * DAY)
    assert phases.filter(value=1.0)["phase"].to_list() == [row["phase"]]
    started = made["leverage_phase_start_timestamp_seconds"].filter(time=191 * DAY)
    assert started["value"].to_list() == [(row["since"] + 1) * 86_400]
    growth = made["leverage_open_interest_growth_ratio"].filter(time=191 * DAY).sort("window")
    assert growth.select("window", "value").rows() == [
        ("14d", row["growth_14d"]), ("24h", row["growth"]), ("72h", row["growth_3d"])
    ]  # fmt: skip


def test_where_little_was_seen_there_is_no_level() -> None:
    blind = assessed().with_columns(coverage=pl.lit(0.5), believed=pl.lit(0.5))
    made = export.of_days(blind, 0.6)
    for name in ("leverage_perp_open_interest_usd", "leverage_open_interest_to_market_cap_zscore",
                 "leverage_open_interest_growth_ratio", "leverage_stretch_ratio"):  # fmt: skip
        assert made[name].is_empty(), name
    assert made["leverage_coverage_ratio"]["value"].unique().to_list() == [0.5]


def test_days_count_only_where_there_are_no_hours() -> None:
    daily, hourly = bars(0, 3, DAY), bars(DAY, 24, HOUR).filter(venue="okx")
    left = export.finest(hourly, daily)
    assert left.filter(venue="okx")["time"].to_list() == [0, 2 * DAY]
    assert left.filter(venue="bybit").height == 3


SERIES = st.tuples(
    st.sampled_from(["bybit", "okx"]), st.text(st.characters(codec="utf-8"), max_size=5),
    st.integers(0, 50), st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(SERIES, min_size=1, max_size=30, unique_by=lambda row: row[:3]))
def test_the_text_is_openmetrics_whatever_the_order(rows: list[tuple[str, str, int, float]]) -> None:
    lot = pl.DataFrame(
        [(venue, "BTC", symbol, at * HOUR, value) for venue, symbol, at, value in rows],
        {"venue": pl.String, "asset": pl.String, "symbol": pl.String, "time": pl.Int64, "value": pl.Float64},
        orient="row",
    )
    text = b"".join(export.openmetrics({"leverage_mark_price_usd": lot})) + export.END
    (family,) = text_string_to_metric_families(text.decode())  # type: ignore[no-untyped-call]
    found: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for sample in family.samples:
        assert {key: sample.labels[key] for key in export.TARGET} == dict(export.TARGET)
        key = sample.labels["venue"], sample.labels["symbol"]
        found.setdefault(key, []).append((round(float(sample.timestamp) * 1000), sample.value))
    wanted: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for venue, symbol, at, value in sorted(rows):
        wanted.setdefault((venue, symbol), []).append((at * HOUR, value))
    assert found == wanted


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.booleans()), unique_by=lambda row: row[0]))
def test_only_what_lacks_is_sent(rows: list[tuple[int, bool]]) -> None:
    made = export.of_bars(bars(0, 61, HOUR), "hour")
    known = [at * HOUR for at, there in rows if there]
    has = {
        name: lot.filter(pl.col("time").is_in(known) & (pl.col("venue") == "okx")).drop("value")
        for name, lot in made.items()
    }
    left = export.lacking(made, has)
    assert export.count(left) + sum(lot.height for lot in has.values()) == export.count(made)
    assert export.count(export.lacking(left, made)) == 0
    assert export.lacking(made, {}) == made or export.count(export.lacking(made, {})) == export.count(made)


def test_spans_meet_and_cover() -> None:
    parts = export.chunks(5 * HOUR, 2_000 * HOUR)
    assert parts[0][0] == 5 * HOUR
    assert parts[-1][1] == 2_000 * HOUR
    assert all(one[1] == two[0] for one, two in pairwise(parts))
    assert {begin // export.CHUNK for begin, _ in parts} == {(end - 1) // export.CHUNK for _, end in parts}


# The command, and real servers.


def monitor(*arguments: str | Path, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ if path is None else {**os.environ, "PATH": path}
    return subprocess.run(
        [sys.executable, "-m", "monitor", "export", *map(str, arguments)],
        capture_output=True, text=True, timeout=100, check=False, env=environment,
    )  # fmt: skip


def exported(
    file: Path, *, out: Path | None = None, data: Path | None = None, url: str | None = None,
    since: str | None = None, until: str | None = None,
) -> int:  # fmt: skip
    """The command in this process, which is quicker."""
    config = load(file, frozenset(VENUES))
    return asyncio.run(run(config, out=out, data=data, url=url, since=since, until=until))


@pytest.fixture
def stored(state_dir: Path, tmp_path: Path) -> tuple[Path, int]:
    """A store that ends now, and a file of settings; the last midnight."""
    now = int(time.time() * 1000)
    midnight, root = now // DAY * DAY, state_dir / "history"
    with Store(root, writable=True) as store:
        store.append(bars(now // MINUTE * MINUTE - 40 * MINUTE, 40, MINUTE))
    with Store(root, writable=False) as store:
        store.backfill("made", "day", bars(midnight - PAST * DAY, PAST, DAY))
        store.backfill("made", "hour", bars(midnight - FINE * DAY, FINE * 24, HOUR))
    settings_file = tmp_path / "monitor.toml"
    settings_file.write_text('scope = ["bybit", "okx"]\n')
    return settings_file, midnight


@contextmanager
def prometheus(data: Path, *flags: str) -> Iterator[str]:
    settings_file = data.parent / "prometheus.yml"
    settings_file.write_text("storage: {tsdb: {out_of_order_time_window: 6h}}\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{probe.getsockname()[1]}"
    process = subprocess.Popen(
        ["prometheus", f"--config.file={settings_file}", f"--storage.tsdb.path={data}",
         f"--web.listen-address={where}", "--log.level=error", *flags],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(300):
            assert process.poll() is None
            try:
                with urllib.request.urlopen(f"http://{where}/-/ready", timeout=2):
                    break
            except OSError:
                time.sleep(0.1)
        yield f"http://{where}"
    finally:
        process.terminate()
        process.wait(20)


def ask(url: str, path: str, **query: str | int) -> list[dict[str, Any]]:
    text = urllib.parse.urlencode(query)
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{text}", timeout=20) as answer:  # noqa: S310 -- loopback
        found: list[dict[str, Any]] = json.loads(answer.read())["data"]["result"]
    return found


def number(of: list[dict[str, Any]]) -> float:
    assert len(of) == 1
    return float(of[0]["value"][1])


def by_venue(url: str, query: str, at: int) -> dict[str, float]:
    return {one["metric"]["venue"]: float(one["value"][1]) for one in ask(url, "query", query=query, time=at)}


RULES = {
    rule["record"]: rule["expr"]
    for group in yaml.safe_load((ROOT / "grafana/rules/recording.yml").read_text())["groups"]
    for rule in group["rules"]
}
KEEP = ("--storage.tsdb.retention.time=420d", "--web.enable-remote-write-receiver")


def test_400_days_come_into_prometheus_once(
    stored: tuple[Path, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stack 2.1, 2.4: blocks, counts, values, hours in the form of the panels, the last hours, twice each."""
    file, midnight = stored
    data = tmp_path / "data"

    def brought(**to: Any) -> int:
        assert exported(file, **to) == 0
        return int(capsys.readouterr().err.split()[0].replace(",", ""))

    first = brought(data=data)
    meta = tsdb.blocks(data)
    assert sum(block["stats"]["numSamples"] for block in meta.values()) == first > 100_000
    assert brought(data=data) == 0
    assert set(tsdb.blocks(data)) == set(meta)
    assert not list(data.glob("leverage-monitor-*"))
    with prometheus(data, *KEEP) as url:
        with pytest.raises(ConfigError, match=r"a Prometheus runs on .*: stop it"):
            exported(file, data=data)
        assert brought(url=url) > 0
        assert brought(url=f"{url}/api/v1/write") == 0
        of = '{job="leverage-monitor",instance="leverage-monitor",venue="okx",symbol="BTCUSDT"}'
        counted = number(ask(url, "query", query=f"count_over_time(leverage_mark_price_usd{of}[410d])"))
        # The minute that closes at a full hour may be an hour's close too.
        assert counted == pytest.approx((PAST - FINE) + FINE * 24 + 40, abs=2)
        at = midnight // 1000
        close = number(ask(url, "query", query=f"leverage_mark_price_usd{of}", time=at - 50 * 86_400))
        assert close == 60_000 + PAST - 51
        panel = ask(url, "query_range", query=f"last_over_time(leverage_open_interest_usd{of}[1h])",
                    start=at - 4 * 86_400 + 1234, end=at, step=3600)  # fmt: skip
        assert len(panel[0]["values"]) == 4 * 24
        for name in export.RECORDED:
            for back in (1, 30, 300):
                made, rule = (by_venue(url, of, at - back * 86_400) for of in (name, RULES[name]))
                assert made == pytest.approx(rule, rel=1e-12), (name, back)
                assert made
        phase = ask(url, "query_range", query='leverage_phase{asset="BTC"} == 1',
                    start=at - 300 * 86_400, end=at - 3600, step=3600)  # fmt: skip
        assert sum(len(one["values"]) for one in phase) == 300 * 24


def test_the_file_is_whole_and_says_what_the_blocks_say(
    stored: tuple[Path, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, midnight = stored
    since = time.strftime("%Y-%m-%d", time.gmtime(midnight // 1000 - 10 * 86_400))
    out = tmp_path / "history.om"
    assert exported(file, out=out, since=since) == 0
    lines = out.read_text().splitlines()
    assert lines[-1] == "# EOF"
    told = sum(not line.startswith("#") for line in lines)
    assert f"{told:,} samples in {out}" in capsys.readouterr().err
    assert asyncio.run(tsdb.create(out, tmp_path / "data", "744h")) == told
    names = {line.partition("{")[0] for line in lines if not line.startswith("#")}
    assert names == set(export.NAMES) - {"leverage_purge_depth_ratio"}
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".history")] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "say where to: --out FILE.om, --prometheus-data DIR or --remote-write URL"),
        ({"out": "x", "since": "soon"}, "--from: no date like 2025-10-10: 'soon'"),
        ({"out": "x", "since": "2025-02-01", "until": "2025-01-01"}, "not before --to"),
        ({"out": "no/x"}, "No such file or directory"),
        ({"url": "http://127.0.0.1:9"}, "no Prometheus answers"),
    ],
)
def test_wrong_options_are_one_line(
    stored: tuple[Path, int], tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    if "out" in options:
        options = {**options, "out": tmp_path / options["out"]}
    with pytest.raises(ConfigError, match=re.escape(said)):
        exported(stored[0], **options)


def test_a_server_that_keeps_little_or_takes_nothing_is_named(
    stored: tuple[Path, int], tmp_path: Path
) -> None:
    with (
        prometheus(tmp_path / "short", "--web.enable-remote-write-receiver") as short,
        pytest.raises(ConfigError, match="keeps 15 days and deletes older history: start it with"),
    ):
        exported(stored[0], url=short)
    with (
        prometheus(tmp_path / "deaf", "--storage.tsdb.retention.time=500d") as deaf,
        pytest.raises(ConfigError, match=r"start it with --web\.enable-remote-write-receiver"),
    ):
        exported(stored[0], url=deaf)


def test_a_missing_program_is_named(stored: tuple[Path, int], tmp_path: Path) -> None:
    done = monitor("-c", stored[0], "--prometheus-data", tmp_path / "data", path="/nonexistent")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "promtool is not on PATH: `make tools` brings one" in done.stderr


def test_without_history_it_says_where_to_get_some() -> None:
    done = monitor("--out", "x.om")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "holds no history yet" in done.stderr
    assert "monitor backfill" in done.stderr


def test_what_promtool_says_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.om").write_text("nonsense\n")
    with pytest.raises(ConfigError, match="promtool failed: "):
        asyncio.run(tsdb.create(tmp_path / "bad.om", tmp_path / "data", "744h"))


def test_what_is_told_of_a_server_is_read_back() -> None:
    labels: Mapping[str, str] = {
        "__name__": "leverage_mark_price_usd", "venue": "okx", "asset": "BTC", "symbol": "X", **export.TARGET
    }  # fmt: skip
    found = export.told([(labels, [(3600.0, 1.0), (7200.0, 2.0)])])
    rows = found["leverage_mark_price_usd"].rows()
    assert rows == [("okx", "BTC", "X", HOUR), ("okx", "BTC", "X", 2 * HOUR)]
