"""The dashboards: what the code makes, sound in form, and every query answered by a demo's Prometheus."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import polars as pl
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from test_alerts_end_to_end import Program, free, on_path

from monitor import plot
from monitor.commands.catalogue import rows, unit_of
from monitor.deleveraging import phases
from monitor.deleveraging.past import CONDITIONS
from monitor.demo import PLANTED, prometheus
from monitor.health import Health
from monitor.history.store import Store
from monitor.ladder import DAY
from monitor.macro import etf
from monitor.prometheus import export
from monitor.prometheus.backtest import seconds
from monitor.serve import Board, serve
from monitor.simulated import SCENARIOS, Market
from monitor.simulated.past import past
from monitor.stack import prometheus as shipped
from monitor.volatility import ratio as volatility_ratio

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "grafana" / "dashboards"
FILES = sorted(FOLDER.glob("*.json"))
BOARDS: dict[str, dict[str, Any]] = {file.stem: json.loads(file.read_text()) for file in FILES}
UIDS = {f"leverage-{name}" for name in (
    "deleveraging", "venues", "liquidations", "volatility", "cme-etf", "health")}  # fmt: skip
RULES = {name: yaml.safe_load((ROOT / "grafana" / "rules" / f"{name}.yml").read_text())
         for name in ("alerts", "recording")}  # fmt: skip
UNITS = {"currencyUSD", "percentunit", "short", "none", "s", "bytes", "time:D MMM HH:mm"}
"""Of Grafana's those that are used."""
UNIT_OF = {"usd": "currencyUSD", "ratio": "percentunit", "coins": "short"}
SCRAPE_S = 5
CHOSEN = {"venue": ".+", "window": "24h", "horizon": "30d", "estimator": "close_to_close"}
every = pytest.mark.parametrize("uid", sorted(UIDS))


def panels(uid: str) -> list[dict[str, Any]]:
    """Those in folded rows too, without the rows."""
    flat = itertools.chain.from_iterable([one, *one.get("panels", [])] for one in BOARDS[uid]["panels"])
    return [one for one in flat if one["type"] != "row"]


def queries(uid: str) -> Iterator[tuple[str, str, bool]]:
    """Where it stands, the expression, whether it asks for a moment."""
    for panel in panels(uid):
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"], target.get("instant", False)
    for annotation in BOARDS[uid]["annotations"]["list"]:
        yield annotation["name"], annotation["target"]["expr"], False


def variables(uid: str) -> list[dict[str, Any]]:
    return list(BOARDS[uid]["templating"]["list"])


def filled(expr: str, chosen: dict[str, str], interval: str = "15s") -> str:
    expr = expr.replace("$__rate_interval", "20s").replace("$__interval", interval)
    for name, value in chosen.items():
        expr = expr.replace(f"${name}", value)
    return expr


def names_in(expr: str) -> set[str]:
    bare = re.sub(r'"[^"]*"', "", expr)
    return set(re.findall(r"(?:\b[a-z_]+:)?\b(?:leverage|monitor|process)_[a-z0-9_]+(?::[a-z0-9_]+)?", bare))


# As the code makes them.


def test_the_committed_files_are_what_the_code_makes_byte_by_byte(tmp_path: Path) -> None:
    (tmp_path / "of-a-dashboard-that-is-gone.json").write_text("{}")
    subprocess.run([sys.executable, "-m", "grafana.boards", tmp_path], cwd=ROOT, check=True, timeout=60)
    made = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert made == {file.name: file.read_bytes() for file in FOLDER.iterdir()}, "run `make dashboards`"
    assert set(BOARDS) == UIDS


def paths(value: object, at: str = "") -> set[str]:
    if isinstance(value, dict):
        here = {f"{at}.{key}" for key in value}
        return here.union(*(paths(inner, f"{at}.{key}") for key, inner in value.items()))
    if isinstance(value, list):
        return set().union(*(paths(one, f"{at}[{number}]") for number, one in enumerate(value)))
    return set()


@every
def test_grafanas_own_types_know_every_key(uid: str) -> None:
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        # It prefers dashboards of a newer form, which cannot be provisioned from files yet (stack.md 3.6).
        from grafana_foundation_sdk.cog.plugins import register_default_plugins  # noqa: PLC0415
        from grafana_foundation_sdk.models.dashboard import Dashboard  # noqa: PLC0415
    register_default_plugins()
    again = json.loads(json.dumps(Dashboard.from_json(BOARDS[uid]), cls=JSONEncoder))
    assert paths(BOARDS[uid]) - paths(again) == set()


# Form: what grafana/dashboard-linter asks, and what we ask. There is one monitor, so no job and instance.


@every
def test_a_dashboard_is_whole(uid: str) -> None:
    board = BOARDS[uid]
    assert board["uid"] == uid
    assert 8 <= len(uid) <= 40
    assert board["editable"] is False
    assert board["timezone"] == "utc"
    assert board["graphTooltip"] == 1
    assert board["title"]
    assert board["description"]
    assert "leverage-monitor" in board["tags"]
    assert int(board["refresh"].removesuffix("s")) >= SCRAPE_S
    assert board["schemaVersion"] >= 41
    (link,) = board["links"]
    assert link["type"] == "dashboards"
    assert link["tags"] == ["leverage-monitor"]
    assert link["keepTime"]
    assert link["includeVars"]


@every
def test_a_panel_says_what_it_shows_in_which_unit_from_which_source(uid: str) -> None:
    assert len({panel["title"] for panel in panels(uid)}) == len(panels(uid))
    for panel in panels(uid):
        assert panel["title"]
        assert len(panel["description"]) > 20, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["targets"], panel["title"]
        for where in (panel, *panel["targets"]):
            assert where["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)
        assert all(refs)


@every
def test_ids_are_unique_and_nothing_lies_on_anything_else(uid: str) -> None:
    ids = [panel["id"] for panel in [*BOARDS[uid]["panels"], *panels(uid)] if panel["type"] != "row"]
    rows_of = [panel["id"] for panel in BOARDS[uid]["panels"] if panel["type"] == "row"]
    assert len({*ids, *rows_of}) == len(panels(uid)) + len(rows_of)
    taken: set[tuple[int, int]] = set()
    for panel in panels(uid):
        at = panel["gridPos"]
        cells = set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not taken & cells, panel["title"]
        taken |= cells


@every
def test_gaps_are_gaps_and_history_of_any_grain_shows(uid: str) -> None:
    """A bare selector looks back five minutes, so hourly samples fall between the steps (stack.md 2.4)."""
    for panel in panels(uid):
        custom = panel["fieldConfig"]["defaults"].get("custom", {})
        if panel["type"] in {"timeseries", "state-timeline"}:
            assert custom["spanNulls"] is False, panel["title"]
        if panel["type"] in {"timeseries", "state-timeline", "heatmap"}:
            for target in panel["targets"]:
                for name in names_in(target["expr"]):
                    if name.startswith("process_"):
                        continue
                    bare = rf"{name}(?:\{{[^}}]*\}})?(?!\[|\w|:|\{{)"
                    once = re.findall(bare, target["expr"])
                    assert not once or name.endswith("_total"), (panel["title"], once)


@every
def test_variables_are_loaded_anew_with_the_time_and_each_is_used(uid: str) -> None:
    texts = " ".join([expr for _, expr, _ in queries(uid)] + [panel["title"] for panel in panels(uid)])
    source, *rest = variables(uid)
    assert (source["name"], source["label"], source["query"]) == ("datasource", "Data source", "prometheus")
    for variable in rest:
        assert variable["refresh"] == 2
        assert variable["label"]
        assert variable["datasource"]["uid"] == "${datasource}"
        assert re.search(rf"\${variable['name']}\b", texts), variable["name"]
    known = {"__interval", "__rate_interval", *(one["name"] for one in variables(uid))}
    assert set(re.findall(r"\$(\w+)", texts)) <= known


@every
def test_counters_are_read_as_rates_over_grafanas_interval(uid: str) -> None:
    counters = {row.name for row in rows() if row.kind == "counter"}
    for where, expr, _ in queries(uid):
        for name in names_in(expr) & counters:
            of = re.findall(rf"(\w+)\({name}(?:\{{[^}}]*\}})?(\[[^\]]+\])?", expr)
            assert of, where
            # A sum that only says whether anything happened at all stands beside the rate.
            assert any(function in {"rate", "increase"} for function, _ in of) or name not in expr, where
            assert all(span in {"[$__rate_interval]", "[1h]", ""} for _, span in of), where


@every
def test_queries_name_metrics_and_recordings_that_there_are(uid: str) -> None:
    recorded = {rule["record"] for group in RULES["recording"]["groups"] for rule in group["rules"]}
    parts = {f"{row.name}{end}" for row in rows() for end in ("_bucket", "_sum", "_count")}
    known = {row.name for row in rows()} | parts | recorded | {"process_resident_memory_bytes"}
    for where, expr, _ in queries(uid):
        assert names_in(expr) <= known, where


@every
def test_open_interest_is_never_added_up_over_venues_here(uid: str) -> None:
    """What happens to be present falls when a venue drops out; the total is the monitor's own."""
    for where, expr, _ in queries(uid):
        assert not re.search(r"\b(sum|avg|count)\b[^(]*\([^)]*open_interest_(usd|coins)", expr), where
    for panel in panels(uid):
        stacking = panel["fieldConfig"]["defaults"].get("custom", {}).get("stacking", {})
        assert stacking.get("mode", "none") == "none", panel["title"]


@every
def test_units_follow_from_the_metrics_names(uid: str) -> None:
    for panel in panels(uid):
        if panel["type"] in {"table", "state-timeline"}:
            continue
        own = {override["matcher"]["options"]: prop["value"] for override in panel["fieldConfig"]["overrides"]
               for prop in override["properties"] if prop["id"] == "unit"}  # fmt: skip
        for target in panel["targets"]:
            expr = target["expr"]
            names = names_in(expr)
            if len(names) != 1 or re.search(r"[*/]|==|count", expr):
                continue
            unit = UNIT_OF.get(unit_of(names.pop()))
            shown = own.get(target["refId"], panel["fieldConfig"]["defaults"]["unit"])
            if re.search("bitcoin_gold|break_even|variance_premium|clock_speed", expr):
                unit = None  # a ratio that is read as a number: 1.8 times, not 180 %
            assert unit in {None, shown}, (panel["title"], target["refId"])


def marks(panel: dict[str, Any]) -> Iterator[float]:
    config = panel["fieldConfig"]
    found = [config["defaults"].get("thresholds", {})]
    found += [one["value"] for override in config["overrides"] for one in override["properties"]
              if one["id"] == "thresholds"]  # fmt: skip
    for threshold in found:
        yield from (step["value"] for step in threshold.get("steps", []) if step.get("value") is not None)


def test_no_threshold_is_made_up_here() -> None:
    """Each number is one of the monitor's or of its rules; 0 and 1 stand for any, all, and the whole."""
    (warning,) = {
        float(found)
        for group in RULES["alerts"]["groups"]
        for rule in group["rules"]
        for found in re.findall(r"leverage_coverage_ratio < ([\d.]+)", rule["expr"])
    }
    known = {0.0, 1.0, warning, *msgspec.structs.astuple(phases.Thresholds())}
    known |= {abs(value) for pair in CONDITIONS.values() for value in pair}
    known |= {etf.SMALL_ASSETS, etf.SMALL_RATIO, etf.MATERIAL_ASSETS, etf.MATERIAL_RATIO}
    known |= {volatility_mark()}
    shown = {(uid, panel["title"], mark) for uid in UIDS for panel in panels(uid) for mark in marks(panel)}
    assert {one for one in shown if one[2] not in known} == set()
    assert {warning, phases.Thresholds().min_coverage} <= {mark for *_, mark in shown}


def volatility_mark() -> float:
    """In the name of the condition that the alert reads."""
    (kind,) = {
        found
        for group in RULES["alerts"]["groups"]
        for rule in group["rules"]
        for found in re.findall(r'kind="volatility_ratio_below_(\d+)"', rule["expr"])
    }
    assert volatility_ratio.WINDOW > 0
    return float(kind)


def test_a_phase_has_one_colour_everywhere() -> None:
    words = {phase.replace("_", "-"): plot.SPANS[phase][0] for phase in phases.PHASES}
    found: dict[str, set[str]] = {}
    for uid in UIDS:
        for mapping in re.finditer(r'"color": "([^"]+)", "index": \d+, "text": "([^"]+)"',
                                   json.dumps(BOARDS[uid], sort_keys=True)):  # fmt: skip
            found.setdefault(mapping[2], set()).add(mapping[1])
    assert {phase: found[phase] for phase in words} == {phase: {colour} for phase, colour in words.items()}


def test_every_alert_leads_to_a_dashboard_that_takes_its_variables() -> None:
    for group in RULES["alerts"]["groups"]:
        for rule in group["rules"]:
            uid, _, asked = rule["annotations"]["dashboard_url"].removeprefix("/d/").partition("?")
            assert set(re.findall(r"var-(\w+)=", asked)) <= {one["name"] for one in variables(uid)}


def test_promtool_parses_every_query(tmp_path: Path) -> None:
    chosen = {"asset": "BTC"} | CHOSEN
    found = [filled(expr, chosen) for uid in sorted(UIDS) for _, expr, _ in queries(uid)]
    recordings = [{"record": f"query:of:panel{number}", "expr": expr} for number, expr in enumerate(found)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": recordings}]}))
    done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(found)} rules found" in done.stdout


def test_provisioning_is_as_grafana_reads_it() -> None:
    folder = ROOT / "grafana" / "provisioning"
    sources = yaml.safe_load((folder / "datasources" / "leverage-monitor.yaml").read_text())
    store, alerts = sources["datasources"]
    assert (sources["apiVersion"], store["type"], alerts["type"]) == (1, "prometheus", "alertmanager")
    assert store["isDefault"]
    assert store["jsonData"]["alertmanagerUid"] == alerts["uid"]
    assert alerts["jsonData"]["implementation"] == "prometheus"
    assert not store["editable"]
    scrape = yaml.safe_load((ROOT / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert store["jsonData"]["timeInterval"] == scrape
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["grafana"]
    for source in (store, alerts):
        assert source["url"].removeprefix("$") in compose["environment"]
    (provider,) = yaml.safe_load((folder / "dashboards" / "leverage-monitor.yaml").read_text())["providers"]
    assert provider["type"] == "file"
    assert not provider["allowUiUpdates"]
    mounted = {one.split(":")[1]: one.split(":")[0] for one in compose["volumes"]}
    parent = provider["options"]["path"].removesuffix("/dashboards")
    assert (ROOT / mounted[parent] / "dashboards").resolve() == FOLDER
    assert compose["environment"]["GF_PATHS_PROVISIONING"] == f"{parent}/provisioning"
    for uid in UIDS:
        assert variables(uid)[0]["current"]["value"] == store["uid"]


def test_there_is_a_small_picture_of_each_dashboard_in_both_themes() -> None:
    for uid in UIDS:
        for theme in ("dark", "light"):
            file = ROOT / "docs" / "images" / f"dashboard-{uid.removeprefix('leverage-')}-{theme}.png"
            assert file.read_bytes().startswith(b"\x89PNG")
            assert file.stat().st_size < 150_000, file.name


# At work.


OF_SOURCES = "monitor_source_"
"""A demo's market tells what slow sources would, and none is asked: they have their own test."""


async def answer(session: aiohttp.ClientSession, address: str, path: str, **params: str) -> list[Any]:
    async with session.post(f"http://{address}/api/v1/{path}", data=params) as response:
        told = await response.json()
    assert told["status"] == "success", (params, told)
    assert not told.get("warnings"), (params, told)
    result: list[Any] = told["data"]["result"]
    return result


VIEWS = {"30d": (30 * DAY, "3h"), "365d": (365 * DAY, "2d")}
"""Of long ranges: length, and the step that Grafana takes for 220 points (for 100, of annotations, 6 h)."""

GROWTHS = {"24h", "72h", "14d"}
"""Windows of growth that daily closes tell (`docs/EXPORT.md`): 4 h is known of what was scraped only."""

OR_ELSE = "leverage_phase_provisional"
"""Of the running day, so that no store holds it; the panel of the phases shows it where it is."""


def of_history() -> Iterator[tuple[str, str, str, str]]:
    """Where it stands, range, step and expression of what reads series that are imported."""
    for uid in sorted(UIDS):
        for panel in panels(uid):
            for target in panel["targets"]:
                known = names_in(target["expr"]) <= {*export.NAMES, OR_ELSE}
                windows = set(re.findall(r'window="(\w+)"', target["expr"]))
                if target.get("instant") or not known or not windows <= GROWTHS:
                    continue
                where = f"{uid}: {panel['title']} {target['refId']}"
                own = panel.get("timeFrom")
                for view, (_, step) in VIEWS.items():
                    if own in (None, view):
                        yield where, view, "10h" if own else step, target["expr"]


def imported(folder: Path, now: int) -> Path:
    """A folder of Prometheus with a history of the demo's instruments until now, as an operator imports it.

    A fifth of open interest went in a day, three weeks ago.
    """
    state, data = folder / "state", folder / "data"
    market = Market(SCENARIOS["cycle"], 1, now)
    with Store(state / "history", writable=True) as store:
        for step in PLANTED:
            fell = pl.when(pl.col("time") < now - 21 * DAY).then(1.25).otherwise(1.0)
            bars = past(market, step).with_columns(pl.col("coins", "usd") * fell)
            store.backfill("simulated", step, bars)
    subprocess.run(
        [sys.executable, "-m", "monitor", "export", "--prometheus-data", data],
        check=True, timeout=100, env=os.environ | {"MONITOR_STATE_DIR": str(state)},
    )  # fmt: skip
    return data


def remembering(folder: Path, data: Path, target: str) -> Program:
    """A Prometheus on a folder with history: the shipped settings, in a hurry, with nobody to notify."""
    settings = shipped(ROOT, target, "")
    del settings["alerting"]
    settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    listen = free()
    return Program(
        [on_path("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={data}",
         f"--web.listen-address={listen}", "--storage.tsdb.retention.time=402d", "--log.level=warn"],
        listen, "/-/ready", folder / "prometheus.log",
    )  # fmt: skip


@pytest.mark.timeout(300)
async def test_every_query_of_every_panel_variable_and_annotation_has_data_in_a_demo(tmp_path: Path) -> None:
    """In the market of the demo, where a purge comes after half a minute, and with history before it."""
    data = await asyncio.to_thread(imported, tmp_path, int(time.time() * 1000))
    began = time.time()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "monitor", "demo", "--listen", "127.0.0.1:0", "--no-prometheus",
        "--scenario", "cycle", "--speed", "7200",
        stderr=asyncio.subprocess.PIPE, env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip
    try:
        assert process.stderr is not None
        said = ""
        while "Ctrl-C" not in said:
            said += (await asyncio.wait_for(process.stderr.readline(), 60)).decode()
        drained = asyncio.create_task(process.stderr.read())
        target = said.split("Metrics")[1].split("http://")[1].split("/")[0]
        store = remembering(tmp_path, data, target)
        await store.start()
        try:
            async with aiohttp.ClientSession() as session:
                await remembers(session, store.address, began)
                empty = asked()
                while empty and time.time() < began + 200:
                    await asyncio.sleep(2)
                    for expr, instant in sorted(empty):
                        if await has_data(session, store.address, began, expr, instant=instant):
                            empty.remove((expr, instant))
                assert empty == set()
                for uid in UIDS:
                    for variable in variables(uid)[1:]:
                        await offers(session, store.address, variable)
        finally:
            await store.end()
        drained.cancel()
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), 20)


async def remembers(session: aiohttp.ClientSession, address: str, began: float) -> None:
    """Each history panel has something at nearly every step of a long range that ends when the demo began."""
    asking = list(of_history())
    assert len({where for where, *_ in asking}) >= 20
    few = {}
    for where, view, step, expr in asking:
        length = VIEWS[view][0] / 1000
        for asset in ("BTC", "ETH"):
            found = await before(session, address, began, expr, asset, (length, step))
            known = {at for series in found for at, value in series["values"] if value != "NaN"}
            if len(known) < 0.95 * length / seconds(step) - 2:
                few[where, view, asset] = len(known)
    assert few == {}
    for annotation in (one for uid in UIDS for one in BOARDS[uid]["annotations"]["list"]):
        expr = annotation["target"]["expr"]
        if names_in(expr) <= set(export.NAMES) and "ALERTS" not in expr:
            for asset in ("BTC", "ETH"):
                found = await before(session, address, began, expr, asset, (VIEWS["30d"][0] / 1000, "6h"))
                assert {"purge", "stabilising"} <= {series["metric"]["phase"] for series in found}


async def before(
    session: aiohttp.ClientSession, address: str, began: float, expr: str, asset: str, view: tuple[float, str]
) -> list[Any]:
    """What was imported for a view, of some length in seconds and a step, that ends when the demo began."""
    length, step = view
    # Blocks end three hours before now.
    return await answer(
        session, address, "query_range", query=filled(expr, {"asset": asset} | CHOSEN, step),
        start=str(began - length), end=str(began - 4 * 3600), step=step,
    )  # fmt: skip


async def test_queries_of_slow_sources_have_data_where_there_are_some() -> None:
    program = shutil.which("prometheus")
    assert program, "run `make tools`"
    began = time.time()
    health = Health({})
    health.source("gold_api", 3 * DAY)
    health.source_good("gold_api", int(began * 1000) - DAY)
    texts = {filled(expr, CHOSEN) for uid in UIDS for _, expr, _ in queries(uid) if OF_SOURCES in expr}
    assert texts
    async with (
        serve("127.0.0.1:0", Board(health, (), lambda: int(time.time() * 1000))) as target,
        prometheus(program, ROOT / "prometheus.yml", target, "1s") as address,
        aiohttp.ClientSession() as session,
    ):
        while texts and time.time() < began + 60:
            await asyncio.sleep(1)
            texts = {one for one in texts if not await has_data(session, address, began, one, instant=False)}
    assert texts == set()


def asked() -> set[tuple[str, bool]]:
    """All expressions, filled for each asset, and whether they ask for a moment."""
    found = set()
    for uid in UIDS:
        for _, expr, instant in queries(uid):
            if OF_SOURCES in expr:
                continue
            for asset in ("BTC", "ETH"):
                found.add((filled(expr, {"asset": asset} | CHOSEN), instant))
    assert len(found) > 150
    assert not any("$" in expr for expr, _ in found)
    return found


async def has_data(
    session: aiohttp.ClientSession, address: str, began: float, expr: str, *, instant: bool
) -> bool:
    if instant:
        return bool(await answer(session, address, "query", query=expr))
    found = await answer(session, address, "query_range", query=expr, start=str(began), end=str(time.time()),
                         step="1")  # fmt: skip
    return any(value != "NaN" for series in found for _, value in series["values"])


async def offers(session: aiohttp.ClientSession, address: str, variable: dict[str, Any]) -> None:
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
    url = f"http://{address}/api/v1/label/{label}/values"
    async with session.get(url, params={"match[]": metric}) as response:
        offered = set((await response.json())["data"])
    chosen = variable["current"]["value"]
    chosen = set(chosen) if isinstance(chosen, list) else {chosen}
    assert offered
    assert chosen - {"$__all"} <= offered
