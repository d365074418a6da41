"""The oldest servers that are supported, Prometheus 2.42 and Alertmanager 0.25: what they can of ours.

Everything of Prometheus. Of Alertmanager the routes, waits and inhibitions, with a webhook: secrets in files
of most channels, and the functions that the messages' templates use, came with 0.26 to 0.28.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from receivers import ROOT
from test_alerts_end_to_end import ASSETS, on_path, stack

FLOOR = ROOT / ".tools" / "bookworm" / "usr" / "bin"


@pytest.fixture(autouse=True)
def floor(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (FLOOR / "prometheus").exists(), "run `make tools`"
    monkeypatch.setenv("PATH", f"{FLOOR}{os.pathsep}{os.environ['PATH']}")


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(
        [on_path("promtool"), *map(str, arguments)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_these_are_the_oldest() -> None:
    for program, version in (("prometheus", "2.42"), ("prometheus-alertmanager", "0.25")):
        said = subprocess.run([on_path(program), "--version"], capture_output=True, text=True, check=True)
        assert f"version {version}." in said.stdout + said.stderr


def test_the_old_promtool_reads_what_is_shipped() -> None:
    promtool("check", "config", ROOT / "prometheus.yml")
    promtool("check", "rules", *sorted((ROOT / "grafana" / "rules").glob("*.yml")))


@pytest.mark.parametrize("case", sorted((ROOT / "tests" / "rules").glob("*.yml")), ids=lambda file: file.stem)
def test_the_rules_pass_their_cases_in_the_old_one(case: Path) -> None:
    promtool("test", "rules", case)


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same without what the old Alertmanager does not know: templates, and addresses in files."""
    receivers = []
    for receiver in settings["receivers"]:
        hooks = [
            {key: value for key, value in hook.items() if key != "url_file"}
            | ({"url": Path(hook["url_file"]).read_text().strip()} if "url_file" in hook else {})
            for hook in receiver.get("webhook_configs", ())
        ]
        receivers.append({"name": receiver["name"], **({"webhook_configs": hooks} if hooks else {})})
    left = {key: value for key, value in settings.items() if key != "templates"}
    return {**left, "receivers": receivers}


@pytest.mark.live
@pytest.mark.timeout(300)
async def test_a_purge_reaches_a_webhook_through_the_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MONITOR_STATE_DIR")  # its history is planted in the folder that the stack names
    async with stack("purge", tmp_path, speed=600, tick=0.6, after_s=5, impatient=True, fit=plain) as of:
        await of.until(lambda: of.said("PurgeStarted", "firing") == list(ASSETS), 120)
        for post in of.posts("PurgeStarted"):
            (alert,) = post["alerts"]
            assert alert["annotations"]["summary"] == "Leverage is being purged."
        assert of.said("PurgeStarted", "resolved") == []
