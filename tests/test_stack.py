"""The whole stack: as containers (the files are checked), as a service, and for real on this machine."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from receivers import ROOT, Example, now, receiving

from monitor import __version__
from monitor.commands.stack import plain
from monitor.venues import VENUES

pytestmark = pytest.mark.live


def tool(name: str) -> str:
    """The program that `make tools` unpacked, or the machine's own."""
    found = shutil.which(name, path=ROOT / ".tools" / "usr" / "bin") or shutil.which(name)
    assert found, f"{name} is missing: run `make tools`"
    return found


def ran(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT, **options
    )  # fmt: skip


# Containers.

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def compose(file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return ran(tool("docker-compose"), "-f", file, *arguments)


@pytest.mark.parametrize("profile", [(), ("--profile", "broker")], ids=["default", "broker"])
def test_compose_takes_its_file(profile: tuple[str, ...]) -> None:
    done = compose(ROOT / "compose.yaml", *profile, "config", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_compose_would_say_if_the_file_were_wrong(tmp_path: Path) -> None:
    wrong = (ROOT / "compose.yaml").read_text().replace("service_healthy", "service_happy")
    (tmp_path / "compose.yaml").write_text(wrong)
    assert compose(tmp_path / "compose.yaml", "config", "-q").returncode != 0


def test_the_broker_is_there_only_when_asked_for() -> None:
    named = compose(ROOT / "compose.yaml", "config", "--services").stdout.split()
    assert {*named} == {"monitor", "configure", "prometheus", "alertmanager", "grafana"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_is_pinned_unprivileged_and_on_loopback(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+", service["image"])
    assert int(service["user"].split(":")[0]) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "pid", "devices"} & {*service}
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    for mount in service["volumes"]:
        source = mount.split(":")[0]
        if source.startswith("."):
            assert (ROOT / source).exists()
            assert mount.endswith(":ro"), f"{mount}: files of the host are only read"
        else:
            assert source in COMPOSE["volumes"]


def test_every_server_has_a_health_check() -> None:
    for name, service in SERVICES.items():
        if name == "configure":
            assert service["healthcheck"] == {"disable": True}  # it ends
        elif name == "monitor":
            assert "HEALTHCHECK" in DOCKERFILE
        else:
            assert service["healthcheck"]["test"]


def test_the_servers_are_told_the_same_as_by_make_stack() -> None:
    said = (ROOT / "monitor/commands/stack.py").read_text()
    for name in ("prometheus", "alertmanager"):
        for flag in SERVICES[name]["command"]:
            key, _, value = flag.partition("=")
            assert key in said
            if "retention" in key:
                assert flag in said, value


def test_the_image_is_made_of_files_that_are_sent_to_the_builder() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set()
    for line in DOCKERFILE.splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied |= {*line.split()[1:-1]}
    assert copied == sent
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_checks_hashes_and_runs_as_nobody_special() -> None:
    assert "--require-hashes -r requirements.lock" in DOCKERFILE
    assert "--no-index" in DOCKERFILE
    users = re.findall(r"^USER (\d+):", DOCKERFILE, re.MULTILINE)
    assert [int(user) > 0 for user in users] == [True]
    assert {*re.findall(r"^FROM python:(\S+)", DOCKERFILE, re.MULTILINE)} == {"3.12.11-slim-bookworm"}
    assert SERVICES["monitor"]["image"] == SERVICES["configure"]["image"] == f"leverage-monitor:{__version__}"


# The service.

UNIT = ROOT / "deploy" / "leverage-monitor.service"


def unit(folder: Path, text: str) -> Path:
    """The unit, for a program that is here."""
    file = folder / UNIT.name
    file.write_text(text.replace("/opt/leverage-monitor/bin/monitor", sys.executable))
    return file


def complaints(file: Path) -> list[str]:
    done = ran(tool("systemd-analyze"), "verify", file)
    return [line for line in done.stderr.splitlines() if file.name in line]


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    assert complaints(unit(tmp_path, UNIT.read_text())) == []


def test_systemd_would_say_if_the_unit_were_wrong(tmp_path: Path) -> None:
    assert complaints(unit(tmp_path, UNIT.read_text().replace("DynamicUser", "DynamicUsr")))


def test_the_unit_is_hardened(tmp_path: Path) -> None:
    done = ran(
        tool("systemd-analyze"), "security", "--offline=true", "--no-pager", unit(tmp_path, UNIT.read_text())
    )
    level = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", done.stdout)
    assert level, done.stdout + done.stderr
    assert float(level[1]) <= 1.5  # of 10; one that says nothing has 9.6


# `monitor configure`, as the container runs it.


def test_configure_writes_what_both_programs_accept(tmp_path: Path) -> None:
    secrets, out = tmp_path / "secrets", tmp_path / "out"
    secrets.mkdir()
    (secrets / "slack_url").write_text("https://hooks.slack.example/services/T/B/secret\n")
    done = ran(
        sys.executable, "-m", "monitor", "configure", f"--source={ROOT}", f"--secrets={secrets}",
        f"--out={out}", "--monitor=monitor:9650", "--alertmanager=alertmanager:9093",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = done.stderr.splitlines()
    assert first == "Notifications by Slack"
    assert second.startswith("Left out, for want of files: Telegram (telegram_token, telegram_chat_id), ")
    assert ran(tool("promtool"), "check", "config", out / "prometheus.yml").returncode == 0
    assert ran(tool("amtool"), "check-config", out / "alertmanager.yml").returncode == 0
    made = yaml.safe_load((out / "prometheus.yml").read_text())
    assert made["scrape_configs"][0]["static_configs"][0]["targets"] == ["monitor:9650"]
    assert made["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] == ["alertmanager:9093"]
    assert "secret\n" not in "".join(file.read_text() for file in out.iterdir())


# `make stack`.


@pytest.fixture
def surroundings(tmp_path: Path) -> dict[str, str]:
    """A state folder of its own, and one venue, on an address where nobody answers."""
    found = {
        "MONITOR_STATE_DIR": str(tmp_path / "state"),
        "MONITOR_SCOPE": '["bybit"]',
        "PATH": f"{ROOT / '.tools' / 'usr' / 'bin'}:{os.environ['PATH']}",
        "TERM": "dumb",
        "MONITOR_VENUES__BYBIT__WS_URL": "ws://127.0.0.1:1",
        "MONITOR_VENUES__BYBIT__REST_URL": "http://127.0.0.1:1",
    }
    for name in VENUES:
        if name != "bybit":
            found[f"MONITOR_VENUES__{name.upper()}__ENABLED"] = "false"
    return found


ANYWHERE = dict.fromkeys(("listen", "prometheus", "alertmanager"), "127.0.0.1:0")


class Stack:
    """A running `monitor stack`, and what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""

    async def until(self, true: Callable[[str], object]) -> None:
        assert self.process.stderr is not None
        async with asyncio.timeout(60):
            while not true(self.said):
                line = await self.process.stderr.readline()
                assert line, self.said
                self.said += line.decode()

    def address(self, name: str) -> str:
        return self.said.split(name, 1)[1].split("http://", 1)[1].split("/", 1)[0]

    def children(self) -> list[int]:
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(status.read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == self.process.pid:
                found.append(int(status.parent.name))
        return found


@asynccontextmanager
async def stack(
    environment: Mapping[str, str],
    /,
    listen: Mapping[str, str] = ANYWHERE,
    *,
    secrets: Path,
    source: Path = ROOT,
) -> AsyncIterator[Stack]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "monitor", "stack",
        *(f"--{name}={value}" for name, value in listen.items()),
        f"--secrets={secrets}", f"--source={source}",
        stderr=asyncio.subprocess.PIPE, env=os.environ | environment,
    )  # fmt: skip
    try:
        yield Stack(process)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def answer(address: str, path: str) -> Any:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://{address}{path}") as got:
            return await got.json()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
async def test_the_stack_knows_each_other_and_one_signal_ends_all(
    tmp_path: Path, surroundings: dict[str, str], number: signal.Signals
) -> None:
    async with stack(surroundings, secrets=tmp_path) as running:
        await running.until(lambda said: "Metrics " in said)
        children = running.children()
        assert len(children) == 2
        if number == signal.SIGINT:
            store, notifier = running.address("prometheus on"), running.address("alertmanager on")
            async with asyncio.timeout(60):
                while True:
                    found = (await answer(store, "/api/v1/query?query=up"))["data"]["result"]
                    if found and found[0]["value"][1] == "1":
                        break
                    await asyncio.sleep(0.2)
            told = (await answer(store, "/api/v1/alertmanagers"))["data"]["activeAlertmanagers"]
            assert [one["url"] for one in told] == [f"http://{notifier}/api/v2/alerts"]
        running.process.send_signal(number)
        assert await asyncio.wait_for(running.process.wait(), 30) == 0
        assert not any(Path(f"/proc/{child}").exists() for child in children)


@pytest.mark.parametrize("which", ANYWHERE)
async def test_a_port_in_use_is_one_line_and_nothing_is_started(
    tmp_path: Path, surroundings: dict[str, str], which: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        async with stack(surroundings, {**ANYWHERE, which: where}, secrets=tmp_path) as running:
            _, said = await asyncio.wait_for(running.process.communicate(), 60)
    line = f"monitor: cannot listen on {where}: Address already in use; choose another with --{which}\n"
    assert (running.process.returncode, said.decode()) == (2, line)
    assert not list((tmp_path / "state").glob("*/"))


async def refusal(environment: Mapping[str, str], secrets: Path, source: Path = ROOT) -> str:
    """The one line that a stack ends with at once; those before it are about channels and addresses."""
    async with stack(environment, secrets=secrets, source=source) as running:
        _, said = await asyncio.wait_for(running.process.communicate(), 60)
        assert running.process.returncode == 2, said
    lines = said.decode().splitlines()
    assert [
        line for line in lines if not line.startswith(("Notifications ", "Left out", "Starting "))
    ] == lines[-1:]
    return lines[-1]


async def test_a_missing_program_is_one_line(tmp_path: Path, surroundings: dict[str, str]) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    said = await refusal(surroundings | {"PATH": str(empty)}, secrets=tmp_path)
    assert said == "monitor: prometheus is not on PATH: `make tools` brings one"
    (empty / "prometheus").symlink_to(tool("prometheus"))
    said = await refusal(surroundings | {"PATH": str(empty)}, secrets=tmp_path)
    assert said == "monitor: alertmanager is not on PATH: `make tools` brings one"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of what is shipped, to spoil."""
    folder = tmp_path / "source"
    shutil.copytree(ROOT / "grafana", folder / "grafana")
    shutil.copy(ROOT / "prometheus.yml", folder)
    return folder


async def test_a_bad_template_is_one_line(tmp_path: Path, surroundings: dict[str, str], source: Path) -> None:
    (source / "grafana/templates/slack.tmpl").write_text(
        '{{ define "slack.text" }}{{ shout .Status }}{{ end }}'
    )
    said = await refusal(surroundings, secrets=tmp_path / "none", source=source)
    assert said.startswith("monitor: alertmanager ended: ")
    assert "slack.tmpl:1" in said
    assert '"shout" not defined' in said


async def test_a_bad_rule_is_one_line(tmp_path: Path, surroundings: dict[str, str], source: Path) -> None:
    (source / "grafana/rules/alerts.yml").write_text(
        "groups: [{name: a, rules: [{alert: A, expr: 'sum(', labels: {}}]}]"
    )
    said = await refusal(surroundings, secrets=tmp_path / "none", source=source)
    assert said.startswith("monitor: prometheus ended: ")


async def test_a_missing_or_broken_configuration_is_one_line(
    tmp_path: Path, surroundings: dict[str, str], source: Path
) -> None:
    said = await refusal(surroundings, secrets=tmp_path / "none", source=tmp_path)
    assert said == f"monitor: {tmp_path}/grafana/alertmanager.yml: No such file or directory"
    (source / "grafana/alertmanager.yml").write_text("route: [")
    said = await refusal(surroundings, secrets=tmp_path / "none", source=source)
    assert f"monitor: {source}/grafana/alertmanager.yml: not YAML" in said


async def test_a_half_configured_channel_is_one_line(tmp_path: Path, surroundings: dict[str, str]) -> None:
    (tmp_path / "telegram_token").write_text("1:token")
    said = await refusal(surroundings, secrets=tmp_path)
    assert said == f"monitor: {tmp_path}/telegram_chat_id: missing, though telegram_token is there"


async def test_a_program_that_ends_by_itself_ends_the_whole(
    tmp_path: Path, surroundings: dict[str, str]
) -> None:
    async with stack(surroundings, secrets=tmp_path) as running:
        await running.until(lambda said: "Metrics " in said)
        children = running.children()
        (prometheus,) = (
            one for one in children if "prometheus.yml" in Path(f"/proc/{one}/cmdline").read_text()
        )
        os.kill(prometheus, signal.SIGKILL)
        await running.until(lambda said: "ended by itself" in said)
        assert await asyncio.wait_for(running.process.wait(), 30) == 1
        assert "monitor: prometheus ended by itself" in running.said
        assert not any(Path(f"/proc/{child}").exists() for child in children)


@pytest.mark.parametrize(
    ("url", "reason"),
    [("{http}/slack", "unexpected status code 401"), ("http://127.0.0.1:1/secret", "connection refused")],
    ids=["wrong credentials", "unreachable"],
)
async def test_a_failing_receiver_is_one_line_without_its_secret(
    tmp_path: Path, surroundings: dict[str, str], url: str, reason: str
) -> None:
    labels = {"alertname": "PurgeStarted", "asset": "BTC", "category": "market", "severity": "warning"}
    alert = Example(labels, {"summary": "A purge began.", "description": "BTC."}).alert(now())
    async with receiving() as receivers:
        secrets = receivers.secrets(tmp_path / "secrets", "slack", "webhook")
        receivers.closed.add("slack")  # the key was withdrawn
        secret = url.format(http=receivers.http)
        (secrets / "slack_url").write_text(secret)
        async with stack(surroundings, secrets=secrets) as running:
            await running.until(lambda said: "Metrics " in said)
            async with aiohttp.ClientSession() as session:
                where = f"http://{running.address('alertmanager on')}/api/v2/alerts"
                async with session.post(where, json=[alert]) as got:
                    assert got.status == 200
            await running.until(lambda said: "slack[0]" in said)
            await receivers.until(lambda: receivers.of("webhook"))
    (line,) = (line for line in running.said.splitlines() if "slack[0]" in line)
    assert line.startswith("alertmanager: ")
    assert reason in line
    assert secret not in running.said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('ts=2026-11-26T11:00:00Z caller=main.go:1 level=error msg="Loading failed" err="no \\"x\\""',
         'Loading failed: no "x"'),
        ("time=2026-11-26 level=WARN source=a.go:1 msg=Failed integration=slack[0] err=EOF",
         "slack[0]: Failed: EOF"),
        ("panic: out of memory", "panic: out of memory"),
    ],
)  # fmt: skip
def test_a_log_line_is_shown_without_what_only_its_program_needs(line: str, said: str) -> None:
    assert plain(line) == said
