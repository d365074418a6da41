"""The rules as Prometheus reads them: valid, tested both ways, explained, and at work."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.macro.etf import MATERIAL_ASSETS, MATERIAL_RATIO, SMALL_ASSETS, SMALL_RATIO

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "grafana" / "rules"
CASES = ROOT / "tests" / "rules"
RUNBOOK = ROOT / "docs" / "RUNBOOK.md"
CATALOGUE = ROOT / "docs" / "METRICS.md"
HEADINGS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
DASHBOARDS = {"deleveraging", "venues", "liquidations", "volatility", "cme-etf", "health"}
NO_OPEN_INTEREST = {"VolatilityRatioCrossed", "FairValueGapSignChanged", "EtfRedemptionsMaterial"}
"""Alerts on the market that read prices, tonnes and flows of funds: coverage says nothing about them."""
FOR_A_DAY = {"VolatilityRatioCrossed", "FairValueGapSignChanged"}
"""Alerts on a crossing: their end is tested in steps of an hour."""
ALWAYS = {"Watchdog"}


def tool(name: str) -> str:
    """The program that `make tools` unpacked, or the machine's own."""
    found = shutil.which(name, path=ROOT / ".tools" / "usr" / "bin") or shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is missing: run `make tools`")
    return found


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=110, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules(file: str) -> list[dict[str, Any]]:
    return [rule for group in load(RULES / file)["groups"] for rule in group["rules"]]


RULES_OF: dict[str, list[dict[str, Any]]] = {}
"""The rules of each alert: two where a graver case asks for something else."""
for _rule in rules("alerts.yml"):
    RULES_OF.setdefault(_rule["alert"], []).append(_rule)
ALERTS = list(RULES_OF)
MARKET = [alert for alert in ALERTS if RULES_OF[alert][0]["labels"]["category"] == "market"]
RECORDS = {rule["record"]: rule["expr"] for rule in rules("recording.yml")}


def catalogue() -> set[str]:
    """The names of all metrics that the monitor exports."""
    text = CATALOGUE.read_text(encoding="utf-8")
    return set(re.findall(r"^\| *`([a-z0-9_]+)", text, re.MULTILINE))


def names(text: str) -> set[str]:
    """The monitor's metrics, and the recorded ones, that a query or a page names."""
    found: set[str] = set()
    for name in re.findall(r"[A-Za-z_:][A-Za-z0-9_:]*", text):
        if name.count(":") == 2:
            found.add(name)
        elif name.startswith(("leverage_", "monitor_")):
            found.add(re.sub(r"_(bucket|count|sum)$", "", name))
    return found


# Valid


def test_prometheus_accepts_its_configuration() -> None:
    run(tool("promtool"), "check", "config", "prometheus.yml")


def test_prometheus_accepts_the_rules_without_a_complaint() -> None:
    run(tool("promtool"), "check", "rules", "--lint-fatal", *sorted(RULES.glob("*.yml")))


def test_alertmanager_accepts_its_configuration() -> None:
    run(tool("amtool"), "check-config", "grafana/alertmanager.yml")


@pytest.mark.parametrize("case", sorted(CASES.glob("*.yml")), ids=lambda path: path.stem)
def test_the_rules_pass_their_cases(case: Path) -> None:
    run(tool("promtool"), "test", "rules", case)


def test_the_configuration_scrapes_the_monitor_where_it_listens() -> None:
    config = load(ROOT / "prometheus.yml")
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "leverage-monitor"
    assert job["static_configs"] == [
        {"targets": ["127.0.0.1:9650"], "labels": {"instance": "leverage-monitor"}}
    ]


# Tested both ways


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_a_case_in_which_it_fires_and_one_in_which_it_stays_silent(alert: str) -> None:
    fires = silent = 0
    for case in load(CASES / f"{alert}.yml")["tests"]:
        looks = [look for look in case["alert_rule_test"] if look["alertname"] == alert]
        assert looks, case["name"]
        if any(look["exp_alerts"] for look in looks):
            fires += 1
            assert case["name"].startswith("fires "), case["name"]
        else:
            silent += 1
            assert case["name"].startswith("stays silent "), case["name"]
    assert fires
    assert silent or alert in ALWAYS


def looks_by_case(alert: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for case in load(CASES / f"{alert}.yml")["tests"]:
        yield case["name"], case["alert_rule_test"]


@pytest.mark.parametrize("alert", MARKET)
def test_an_alert_on_the_market_is_silent_when_a_feed_drops_and_outlives_a_monitor_that_is_down(
    alert: str,
) -> None:
    names = [name for name, _ in looks_by_case(alert)]
    assert any(name.startswith("stays silent") and "venue's feed drops" in name for name in names)
    assert any(
        name.startswith("fires on ") and ("monitor is down" in name or "restart" in name) for name in names
    )


@pytest.mark.parametrize("alert", [*sorted(set(MARKET) - FOR_A_DAY), "CoverageLow", "SourceStale"])
def test_an_alert_is_seen_to_outlive_its_cause_and_to_end(alert: str) -> None:
    assert all("keep_firing_for" in rule for rule in RULES_OF[alert])
    assert any(
        any(before["exp_alerts"] and not after["exp_alerts"] for before, after in pairwise(looks))
        for _, looks in looks_by_case(alert)
    )


@pytest.mark.parametrize("alert", ALERTS)
def test_what_a_person_is_told_fits_a_chat(alert: str) -> None:
    """The templates of notifications cut a description at 450 characters."""
    for _, looks in looks_by_case(alert):
        for said in (one["exp_annotations"] for look in looks for one in look["exp_alerts"]):
            assert len(said["description"]) <= 450
            assert not re.search(r"<no value>|<error|%!", " ".join(said.values()))


def test_there_is_one_file_of_cases_per_alert_and_one_for_the_recording_rules() -> None:
    assert {path.stem for path in CASES.glob("*.yml")} == {*ALERTS, "recording"}


def test_every_recording_rule_is_computed_in_a_case() -> None:
    cases = load(CASES / "recording.yml")["tests"]
    asked = {name for case in cases for look in case["promql_expr_test"] for name in names(look["expr"])}
    assert set(RECORDS) <= asked


def test_a_case_looks_often_enough_to_see_what_the_configuration_sees() -> None:
    interval = load(ROOT / "prometheus.yml")["global"]["evaluation_interval"]
    assert {load(path)["evaluation_interval"] for path in CASES.glob("*.yml")} == {interval}


# Explained


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_how_bad_it_is_what_happened_and_where_to_read_on(alert: str) -> None:
    for rule in RULES_OF[alert]:
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["labels"]["category"] in {"market", "monitor"}
        assert set(rule["labels"]) <= {"severity", "category", "asset"}
        annotations = rule["annotations"]
        needed = {"summary", "description", "runbook_url", "dashboard_url"}
        assert needed <= set(annotations) <= needed | {"value", "threshold", "extreme"}
        assert "{{" not in annotations["summary"], "a summary is the same for every instance of the rule"
        assert annotations["summary"].endswith(".")
        assert len(annotations["summary"]) <= 100
        assert "{{" in annotations["description"], "a description names values"
        assert annotations["runbook_url"] == f"docs/RUNBOOK.md#{alert.lower()}"
        place = re.fullmatch(
            r"/d/leverage-([a-z-]+)(\?var-(asset|venue)=\{\{ \$labels\.\3 \}\})?",
            annotations["dashboard_url"],
        )
        assert place
        assert place[1] in DASHBOARDS


def test_rules_of_one_alert_differ_in_severity() -> None:
    for of in RULES_OF.values():
        severities = [rule["labels"]["severity"] for rule in of]
        assert len(set(severities)) == len(severities)


@pytest.mark.parametrize("alert", sorted(set(MARKET) - NO_OPEN_INTEREST))
def test_an_alert_on_the_market_begins_only_while_its_asset_is_covered(alert: str) -> None:
    (rule,) = RULES_OF[alert]
    assert "leverage_coverage_ratio" in rule["expr"]
    assert 'leverage_threshold_ratio{kind="min_coverage"}' in rule["expr"]


@pytest.mark.parametrize("alert", sorted(set(MARKET) - NO_OPEN_INTEREST - {"PerpsAndCmeDisagree"}))
def test_an_alert_on_an_asset_gives_level_baseline_venues_coverage_and_both_thresholds(alert: str) -> None:
    (rule,) = RULES_OF[alert]
    said = rule["annotations"]
    for part in ("ratio", "average_ratio", "zscore", "percentile_ratio"):
        assert f"leverage_open_interest_to_market_cap_{part}{{" in said["description"]
    for part in ("topk(3, venue_asset:leverage_open_interest_usd:sum{", "leverage_coverage_ratio{", "oldest"):
        assert part in said["description"]
    assert "leverage_threshold_ratio{" in said["threshold"]
    assert "clears" in said["threshold"]
    assert "value" in said


def test_no_rule_repeats_a_threshold_that_the_monitor_exports() -> None:
    """States are 0 or 1; the monitor's own minimum of coverage is asked for by name."""
    for of in RULES_OF.values():
        for rule in of:
            if rule["labels"]["category"] == "market":
                numbers = re.findall(r"(?:==|!=|[<>]=?)\s*(-?[\d.]+)", rule["expr"])
                assert set(numbers) <= {"0", "1"}, rule["alert"]


def test_the_bounds_told_of_redemptions_are_those_of_the_label() -> None:
    (rule,) = RULES_OF["EtfRedemptionsMaterial"]
    said = rule["annotations"]
    material = f"{MATERIAL_RATIO * 100:.0f} % of the inflows or {MATERIAL_ASSETS * 100:.0f} % of assets"
    assert said["threshold"].startswith(material)
    assert f"{SMALL_RATIO * 100:.0f} % and {SMALL_ASSETS * 100:.0f} %" in said["description"]


def firing_at(
    folder: Path, alert: str, series: dict[str, str], looks: dict[str, bool], step: str = "1h"
) -> None:
    """Checks when an alert fires over days, which would take minutes in steps of 5 s."""
    case = {
        "name": alert,
        "interval": step,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})',
                "eval_time": at,
                "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
            }
            for at, fires in looks.items()
        ],
    }
    file = folder / "days.yml"
    whole = {"rule_files": [str(RULES / "alerts.yml")], "evaluation_interval": step, "tests": [case]}
    file.write_text(yaml.safe_dump(whole), encoding="utf-8")
    run(tool("promtool"), "test", "rules", file)


def test_a_purge_is_remembered_for_thirty_days_also_from_imported_history(tmp_path: Path) -> None:
    series = {
        'leverage_phase{asset="BTC",phase="purge"}': "0x23 1x47 0x900",
        'leverage_phase{asset="BTC",phase="reset"}': "0x71 1x900",
        'leverage_deleveraging_verdict{asset="BTC",verdict="yes"}': "0x239 1x900",
        'leverage_coverage_ratio{asset="BTC"}': "0.97x1200",
        'leverage_threshold_ratio{kind="min_coverage"}': "0.6x1200",
    }
    looks = {"9d": False, "11d": True, "32d": True, "34d": False}
    firing_at(tmp_path, "DeleveragingLikelyComplete", series, looks)


@pytest.mark.parametrize("alert", sorted(FOR_A_DAY))
def test_a_crossing_is_told_for_a_day(alert: str, tmp_path: Path) -> None:
    series = {
        'leverage_market_condition{kind="volatility_ratio_below_2"}': "1x47 0x100",
        'leverage_market_condition{kind="fair_value_above_price"}': "0x47 1x100",
        "leverage_fair_value_gap_certain": "1x150",
    }
    looks = {"1d": False, "47h": False, "50h": True, "70h": True, "76h": False, "5d": False}
    firing_at(tmp_path, alert, series, looks)


def test_missing_data_does_not_keep_an_alert_for_ever(tmp_path: Path) -> None:
    series = {
        'leverage_phase{asset="BTC",phase="purge"}': "1x9 stale",
        'leverage_coverage_ratio{asset="BTC"}': "0.97x9 stale",
        'leverage_threshold_ratio{kind="min_coverage"}': "0.6x9 stale",
    }
    looks = {"30m": True, "20h": True, "24h": True, "25h": False, "30h": False}
    firing_at(tmp_path, "PurgeStarted", series, looks, step="4m")


def test_the_runbook_has_a_section_for_every_alert_and_for_nothing_else() -> None:
    sections = re.findall(r"^## (.+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(sections) == sorted(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_a_runbook_section_has_the_four_headings_each_with_a_text(alert: str) -> None:
    text = RUNBOOK.read_text(encoding="utf-8")
    _, _, section = text.partition(f"\n## {alert}\n")
    section, _, _ = section.partition("\n## ")
    _, *parts = re.split(r"^### (.+)$", section, flags=re.MULTILINE)
    assert parts[::2] == HEADINGS
    assert all(part.strip() for part in parts[1::2])


def test_every_metric_that_a_rule_or_the_runbook_names_exists() -> None:
    queries = [*RECORDS.values()]
    for rule in rules("alerts.yml"):
        queries += [rule["expr"], *rule["annotations"].values()]
    named = names("\n".join([*queries, RUNBOOK.read_text(encoding="utf-8")]))
    assert named - set(RECORDS) - catalogue() == set()


def test_no_recording_rule_adds_up_open_interest_over_venues() -> None:
    for record, query in RECORDS.items():
        if "open_interest" in query:
            assert record.startswith("venue_"), f"{record} would fall when a venue falls silent"


# At work

EXPOSITION = """\
# HELP monitor_stream_up 1 while the channel delivers.
# TYPE monitor_stream_up gauge
monitor_stream_up{venue="bybit",channel="mark"} 1
monitor_stream_up{venue="bybit",channel="liquidation"} 1
monitor_stream_up{venue="okx",channel="mark"} 0
monitor_stream_up{venue="okx",channel="liquidation"} 1
# HELP leverage_open_interest_usd Open interest.
# TYPE leverage_open_interest_usd gauge
leverage_open_interest_usd{venue="bybit",asset="BTC",symbol="BTCUSDT",margin="linear"} 2e9
leverage_open_interest_usd{venue="bybit",asset="BTC",symbol="BTCUSD",margin="inverse"} 5e8
# HELP leverage_perp_open_interest_usd Open interest of the scope.
# TYPE leverage_perp_open_interest_usd gauge
leverage_perp_open_interest_usd{asset="BTC"} 1e10
"""


class _Metrics(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = EXPOSITION.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class calls it so
        """Keep quiet."""


@contextmanager
def exporter() -> Iterator[str]:
    """Serves the exposition text; gives its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Metrics) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def get(port: int, path: str) -> str | None:
    """The answer, or None while there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, http.client.HTTPException):
        return None
    else:
        return text if answer.status == http.client.OK else None
    finally:
        connection.close()


class Prometheus:
    """A real Prometheus on a free loopback port."""

    def __init__(self, config: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.log = config.with_name("prometheus.log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    tool("prometheus"),
                    f"--config.file={config}",
                    f"--storage.tsdb.path={config.with_name('data')}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def alive(self) -> None:
        if self.process.poll() is not None:
            pytest.fail(f"Prometheus ended:\n{self.log.read_text(encoding='utf-8')[-2000:]}")

    def query(self, text: str) -> list[tuple[dict[str, str], float]]:
        """The labels and value of each series; empty while there is no answer."""
        answer = get(self.port, "/api/v1/query?" + urllib.parse.urlencode({"query": text}))
        if answer is None:
            return []
        return [(row["metric"], float(row["value"][1])) for row in json.loads(answer)["data"]["result"]]


@contextmanager
def prometheus(config: Path) -> Iterator[Prometheus]:
    server = Prometheus(config)
    try:
        yield server
    finally:
        server.stop()


def hurried(target: str, folder: Path) -> Path:
    """The repository's configuration with another target, every second, and nobody to notify."""
    config = load(ROOT / "prometheus.yml")
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    del config["alerting"]
    shutil.copytree(RULES, folder / "grafana" / "rules")
    copy = folder / "prometheus.yml"
    copy.write_text(yaml.safe_dump(config), encoding="utf-8")
    return copy


def test_prometheus_records_and_raises_what_the_monitor_exports(tmp_path: Path) -> None:
    share = "venue_asset:leverage_open_interest_per_perp_open_interest:ratio"
    silent = 'ALERTS{alertname="VenueSilent"}'
    with exporter() as target, prometheus(hurried(target, tmp_path)) as server:
        deadline = time.monotonic() + 60
        while not (server.query(share) and server.query(silent)):
            server.alive()
            assert time.monotonic() < deadline, "no answer within a minute"
            time.sleep(0.1)

        ((labels, value),) = server.query(share)
        assert (labels["job"], labels["instance"]) == ("leverage-monitor", "leverage-monitor")
        assert (labels["venue"], labels["asset"], value) == ("bybit", "BTC", 0.25)

        ((labels, _),) = server.query(silent)
        assert labels["venue"] == "okx"
        assert labels["alertstate"] in {"pending", "firing"}

        status = json.loads(get(server.port, "/api/v1/rules") or "{}")
        failed = [
            rule["name"]
            for group in status["data"]["groups"]
            for rule in group["rules"]
            if rule["health"] == "err"
        ]
        assert failed == []
