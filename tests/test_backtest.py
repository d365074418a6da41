"""Alerts over the past: Prometheus' own rule engine says the same, and the command says it in words."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import given, settings, strategies as st
from rich.console import Console
from synthetic import history
from test_replay import SPEED, record

from monitor.commands.backtest import Backtest, ask, fill, of_closes, of_recordings, read_events, read_rules
from monitor.config import ConfigError
from monitor.deleveraging.aggregate import days
from monitor.deleveraging.phases import PHASES, VERDICTS, Thresholds, assess, features
from monitor.demo import START
from monitor.ladder import DAY, HOUR
from monitor.prometheus.backtest import (
    ALWAYS,
    NEAR_S,
    Firing,
    Judged,
    Known,
    Rule,
    always,
    conditions,
    judge,
    life,
    rules,
    samples,
    seconds,
)
from monitor.table import closes

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "grafana" / "rules"
BIN = ROOT / ".tools" / "usr" / "bin"
TARGET = 'job="leverage-monitor",instance="leverage-monitor"'
JUDGED = {"PurgeStarted", "LeverageStretched", "DeleveragingLikelyComplete", "FundingExtreme", "CoverageLow"}


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    for name in ("promtool", "prometheus"):
        assert shutil.which(name), f"{name} is missing: run `make tools`"


def monitor(*arguments: str | Path, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ if path is None else {**os.environ, "PATH": path}
    return subprocess.run(
        [sys.executable, "-m", "monitor", "backtest", *map(str, arguments)],
        capture_output=True, text=True, timeout=100, check=False, env=environment,
    )  # fmt: skip


def clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


# The life of an alert.


def by_the_second(
    alone: Sequence[bool], held: Sequence[bool], step: int, for_s: int, keep_s: int
) -> set[int]:
    """The seconds at which an alert fires, evaluated at each like Prometheus evaluates a rule."""
    firing: set[int] = set()
    active: int | None = None
    fires, quiet = False, None
    for at in range(len(alone) * step):
        true = (held if fires else alone)[at // step]
        if true:
            quiet = None
            active = at if active is None else active
            if at - active >= for_s:
                fires = True
        elif fires:
            quiet = at if quiet is None else quiet
            if at - quiet >= keep_s:
                fires, active, quiet = False, None, None
        else:
            active = None
        if fires:
            firing.add(at)
    return firing


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12),
    st.integers(2, 9), st.integers(0, 20), st.integers(0, 20),
)  # fmt: skip
def test_an_alert_lives_as_if_it_were_evaluated_each_second(
    states: list[tuple[bool, bool]], step: int, for_s: int, keep_s: int
) -> None:
    alone = [first for first, _ in states]
    held = [first or second for first, second in states]
    found = life(alone, held, step, for_s, keep_s)
    end = len(states) * step
    told = {at for start, until in found for at in range(int(start), int(end if until is None else until))}
    assert told == by_the_second(alone, held, step, for_s, keep_s)


# The same as Prometheus.


def planted(seed: int) -> tuple[dict[str, list[tuple[int, float]]], int]:
    """Samples of each series at hours, of a market that jumps between phases, falls silent, goes blind."""
    dice = random.Random(seed)
    series: dict[str, list[tuple[int, float]]] = {}
    hour = 0
    while hour < 24 * 6:
        phase, verdict = dice.choice(PHASES), dice.choice(VERDICTS)
        coverage, funding = dice.choice((0.95, 0.95, 0.4)), dice.choice((0.0, 1.0))
        for _ in range(dice.choice((2, 7, 20, 30))):
            name = f'leverage_coverage_ratio{{{TARGET},asset="BTC"}}'
            series.setdefault(name, []).append((hour, coverage))
            for one in PHASES:
                name = f'leverage_phase{{{TARGET},asset="BTC",phase="{one}"}}'
                series.setdefault(name, []).append((hour, float(one == phase)))
            for said in VERDICTS:
                name = f'leverage_deleveraging_verdict{{{TARGET},asset="BTC",verdict="{said}"}}'
                series.setdefault(name, []).append((hour, float(said == verdict)))
            for kind in ("funding_high", "funding_low"):
                name = f'leverage_condition{{{TARGET},asset="BTC",kind="{kind}"}}'
                series.setdefault(name, []).append((hour, funding if kind == "funding_high" else 0.0))
            name = f'leverage_phase_provisional{{{TARGET},asset="BTC"}}'
            series.setdefault(name, []).append((hour, 0.0))
            name = f'leverage_threshold_ratio{{{TARGET},kind="min_coverage"}}'
            series.setdefault(name, []).append((hour, 0.6))
            hour += 1
        hour += dice.choice((0, 0, 3, 19))
    return series, hour


def lots(series: Mapping[str, list[tuple[int, float]]], wanted: Sequence[Rule]) -> dict[str, pl.DataFrame]:
    """The same as frames."""
    found: dict[str, list[pl.DataFrame]] = {}
    for text, points in series.items():
        name, _, rest = text.partition("{")
        labels = {
            key: value.strip('"')
            for key, _, value in (pair.partition("=") for pair in rest.rstrip("}").split(","))
            if key not in ("job", "instance")
        }
        frame = pl.DataFrame(points, {"hour": pl.Int64, "value": pl.Float64}, orient="row")
        found.setdefault(name, []).append(
            frame.select(
                *(pl.lit(value).alias(key) for key, value in labels.items()),
                time=pl.col("hour") * HOUR, value="value",
            )
        )  # fmt: skip
    made = {name: pl.concat(frames) for name, frames in found.items()}
    hours = pl.DataFrame({"time": [n * HOUR for n in range(24 * 20)]}, schema={"time": pl.Int64})
    made[ALWAYS] = always(wanted, hours.with_columns(asset=pl.lit("BTC")).select("asset", "time"), hours)
    return made


def dense(points: list[tuple[int, float]], hours: int) -> str:
    """The values every five minutes in the notation of promtool, each held until the next hour."""
    at = dict(points)
    return " ".join(f"{at[n]:g}x11" if n in at else "_x12" for n in range(hours))


@pytest.mark.parametrize("seed", range(3))
def test_prometheus_rule_engine_says_the_same(seed: int, tmp_path: Path) -> None:
    shipped = yaml.safe_load((RULES / "alerts.yml").read_text())
    mine = [
        {key: value for key, value in rule.items() if key != "annotations"}
        for group in shipped["groups"] for rule in group["rules"] if rule["alert"] in JUDGED
    ]  # fmt: skip
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": mine}]}))
    wanted = read_rules(tmp_path)
    series, hours = planted(seed)

    async def tested() -> Backtest:
        made = lots(series, wanted)
        quiet = Console(quiet=True)
        await fill(tmp_path, made, 0, hours * HOUR, quiet)
        return await ask(tmp_path / "data", wanted, [], (0, (hours - 1) * 3600), 3600, 0.6, quiet)

    judged = asyncio.run(tested()).judged
    assert {one.alert for one in judged} == JUDGED
    firings = [firing for one in judged for firing in one.firings]
    assert len({firing.alert for firing in firings}) >= 2
    checks: list[dict[str, Any]] = []
    for alert in sorted(JUDGED):
        for hour in range(hours):
            now = hour * 3600
            expected = [
                {"exp_labels": {**rule.labels, "job": "leverage-monitor", "instance": "leverage-monitor",
                                "asset": "BTC"}}
                for rule in wanted if rule.alert == alert
                for one in judged if one.alert == alert and one.severity == rule.labels["severity"]
                for firing in one.firings
                if firing.start <= now and (firing.end is None or now < firing.end)
            ]  # fmt: skip
            checks.append({"alertname": alert, "eval_time": f"{hour}h", "exp_alerts": expected})
    document = {
        "rule_files": ["rules.yml"], "evaluation_interval": "5m",
        "tests": [{
            "interval": "5m", "alert_rule_test": checks,
            "input_series": [{"series": name, "values": dense(of, hours)} for name, of in series.items()],
        }],
    }  # fmt: skip
    (tmp_path / "test.yml").write_text(yaml.safe_dump(document))
    done = subprocess.run(
        ["promtool", "test", "rules", tmp_path / "test.yml"],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[:3000]


# Tables.


def test_planted_purges_are_told_at_the_close_of_their_day() -> None:
    """Three planted purges of bitcoin; nothing but them fires as a purge."""
    made = history(720, assets=("BTC",))
    events = [
        Known(datetime(on.year, on.month, on.day, tzinfo=UTC).timestamp(), "planted")
        for on in made.purges["BTC"]
    ]
    rule, quiet = read_rules(RULES), Console(quiet=True)
    tested = asyncio.run(of_closes(closes(made.table), rule, events, quiet))
    (purge,) = [one for one in tested.judged if one.alert == "PurgeStarted"]
    assert len(events) == 3
    assert purge.missed == ()
    assert purge.wrong == ()
    assert len(purge.firings) == len(events)
    assert purge.delays_s == pytest.approx([DAY / 1000 + 5] * len(events), abs=DAY / 1000)
    assert purge.wrong_a_month == 0
    phases = assess(features(days(closes(made.table))))["phase"].to_list()
    assert phases.count("undetermined") > 120
    assert purge.blind_s == phases.count("undetermined") * DAY / 1000
    assert {name.split()[0] for name in tested.not_judged} >= {"LiquidationBurst", "Watchdog", "MonitorDown"}
    assert not {name.split()[0] for name in tested.not_judged} & JUDGED
    complete = [one for one in tested.judged if one.alert == "DeleveragingLikelyComplete"]
    assert len(complete[0].firings) >= 2


def test_an_alert_belongs_to_an_event_of_its_asset_that_is_near() -> None:
    day = 86_400.0
    firings = tuple(Firing("PurgeStarted", {}, start * day + 5, start * day + 90) for start in (10, 20, 31))
    one = Judged("PurgeStarted", "critical", "BTC", firings, 10 * day, 0.0, 40.4375 * day)
    known = [Known(9 * day, "a"), Known(33 * day, "b", "BTC"), Known(20 * day, "ether", "ETH"),
             Known(25 * day, "c"), Known(20 * day, "funding", None, "FundingExtreme")]  # fmt: skip
    judged = judge(one, known, 0, 40 * day)
    assert {event.label for event, _ in judged.matches.values()} == {"a"}
    assert [event.label for event in judged.missed] == ["b", "c"]
    assert judged.delays_s == [day + 5]
    assert judged.wrong == firings[1:]
    assert judged.wrong_a_month == pytest.approx(2.0)
    assert judge(one, [], 0, 40 * day).wrong is None
    assert 2 * day == NEAR_S


def test_what_a_rule_reads_is_found_outside_of_its_texts() -> None:
    expr = 'a:b:c and leverage_phase{phase="leverage_x"} == 1 or ALERTS{alertname="up"} or up{job="x"}'
    (rule,) = rules([{"rules": [{"alert": "X", "expr": expr, "for": "1h30m"}, {"record": "y", "expr": "1"}]}])
    assert rule.selectors == ("a:b:c", 'leverage_phase{phase="leverage_x"}', 'up{job="x"}')
    assert ALWAYS in rule.firing
    assert (rule.for_s, rule.keep_s) == (5400, 0)
    assert [seconds(text) for text in ("0", "5s", "2m", "1d12h", "500ms")] == [0, 5, 120, 129_600, 0.5]
    with pytest.raises(ValueError, match="no duration"):
        seconds("soon")


def test_funding_is_told_with_its_hysteresis() -> None:
    table = pl.DataFrame(
        {"asset": ["BTC"] * 6, "day": [0, 1, 2, 3, 4, 5],
         "funding_percentile": [0.94, 0.95, 0.90, 0.89, None, 0.05]}
    )  # fmt: skip
    closed = conditions(table).filter(pl.col("time") % DAY == 0)
    high = closed.filter(kind="funding_high").sort("time")
    assert high["value"].to_list() == [0, 1, 1, 0, 0]
    assert closed.filter(kind="funding_low").sort("time")["value"].to_list() == [0, 0, 0, 0, 1]
    assert high["time"].to_list() == [DAY * n for n in (1, 2, 3, 4, 6)]


# Recordings.


async def test_recordings_are_told_in_market_time(tmp_path: Path) -> None:
    """A second of the clock is four minutes of the demo's market; without history no phase is known."""
    await record(tmp_path, 20)
    covered = Rule("Covered", "leverage_coverage_ratio > 0.9", 5.0, 0.0, {"severity": "info"})
    at = START / 1000 + 5 * 3600 + 10 * SPEED
    known = [Known(at, "middle", "BTC", "Covered")]
    wanted = [*read_rules(RULES), covered]
    tested = await of_recordings([tmp_path], wanted, known, Console(quiet=True))
    judged = {(one.alert, one.asset): one for one in tested.judged}
    assert "VenueSilent (warning)" in tested.not_judged
    assert tested.start == pytest.approx(START / 1000 + 5 * 3600, abs=10 * SPEED)
    one = judged["Covered", "BTC"]
    (firing,) = one.firings
    assert one.start + 5 * SPEED <= firing.start <= one.start + 15 * SPEED
    assert firing.end is None
    assert one.delays_s == [pytest.approx(firing.start - at)]
    assert one.wrong == ()
    purge = judged["PurgeStarted", "BTC"]
    assert purge.firings == ()
    assert purge.blind_s == purge.length_s


# The command.


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.parquet"
    history(400, assets=("BTC",)).table.write_parquet(path)
    return path


def test_the_command_prints_firings_and_what_they_are_worth(table: Path, tmp_path: Path) -> None:
    first = history(400, assets=("BTC",)).purges["BTC"][0]
    events = tmp_path / "events.csv"
    events.write_text(f"date,label\n{first},crash\n{first + timedelta(days=100)},nothing\n")
    done = monitor(table, "--events", events)
    assert (done.returncode, done.stderr) == (0, "")
    assert "PurgeStarted" in done.stdout
    assert "crash" in done.stdout
    assert "1 of 2" in done.stdout
    assert "missed: nothing" in done.stdout
    assert "not judged: LiquidationBurst (warning)" in done.stdout
    told = json.loads(monitor(table, "--events", events, "--json").stdout)
    (purge,) = [one for one in told["judged"] if one["alert"] == "PurgeStarted" and one["firings"]]
    close = datetime(first.year, first.month, first.day, tzinfo=UTC) + timedelta(days=1, seconds=5)
    assert clock(purge["firings"][0]["start"]) == close.isoformat()
    assert purge["matches"][0]["delay_s"] == DAY / 1000 + 5


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ("when,what\n1,2\n", "columns 'date' and 'label' are needed"),
        ("date,label\n2021-13-01,x\n", "column 'date', row 1: no date: '2021-13-01'"),
        (None, "No such file"),
    ],
)
def test_wrong_events_are_one_line(tmp_path: Path, events: str | None, said: str) -> None:
    file = tmp_path / "events.csv"
    if events is not None:
        file.write_text(events)
    with pytest.raises(ConfigError, match=re.escape(said)):
        read_events(file)


def test_events_name_asset_and_alert(tmp_path: Path) -> None:
    file = tmp_path / "events.csv"
    file.write_text("date,label,asset,alert\n2021-05-19,crash,,\n2021-05-19T12:00,x,ETH,FundingExtreme\n")
    assert read_events(file) == [
        Known(1_621_382_400, "crash"), Known(1_621_425_600, "x", "ETH", "FundingExtreme"),
    ]  # fmt: skip


def test_wrong_rules_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no alert in a .yml file there"):
        read_rules(tmp_path)
    (tmp_path / "a.yml").write_text("groups: [{rules: [{alert: A, expr: up, for: soon}]}]")
    with pytest.raises(ConfigError, match=r"a\.yml: no rules of Prometheus: no duration: 'soon'"):
        read_rules(tmp_path)


def test_what_cannot_be_used_is_one_line(table: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, path, said in (
        ((table, empty), None, "cannot be tested in one run"),
        ((empty,), None, "no recording here"),
        ((table,), "/nonexistent", "promtool is not on PATH: `make tools` brings one"),
    ):
        done = monitor(*arguments, path=path)
        assert done.returncode == 2, arguments
        assert said in done.stderr
        assert done.stderr.count("\n") == 1


def test_tables_give_the_series_that_the_rules_read() -> None:
    assessed = assess(features(days(closes(history(200, assets=("BTC",)).table))))
    made = samples(assessed, Thresholds(), read_rules(RULES))
    assert set(made) == {
        "leverage_coverage_ratio", "leverage_phase", "leverage_phase_provisional",
        "leverage_deleveraging_verdict", "leverage_threshold_ratio", "leverage_condition", ALWAYS,
    }  # fmt: skip
    one = made["leverage_phase"].group_by("time").agg(pl.col("value").sum())
    assert one["value"].unique().to_list() == [1.0]
    assert made["leverage_phase"].height == 200 * 24 * len(PHASES)
