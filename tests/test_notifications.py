"""What reaches people: the product's own configuration in a real Alertmanager, to loopback receivers."""

from __future__ import annotations

import asyncio
import html
import itertools
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from receivers import (
    CHANNELS,
    PASSWORD,
    ROOT,
    TOKEN,
    Alertmanager,
    Example,
    Post,
    Receivers,
    alertmanager,
    examples,
    hurried,
    now,
    receiving,
)

from monitor.commands.stack import plain
from monitor.config import ConfigError
from monitor.stack import alertmanager as fit, fit as fit_mapping, read_secrets

pytestmark = pytest.mark.live

PEOPLE = ("slack", "telegram", "discord", "email", "webhook")
TITLES = dict(
    zip(
        CHANNELS, ("Slack", "Telegram", "Discord", "e-mail", "webhook", "PagerDuty", "heartbeat"), strict=True
    )
)
NOT_READY = Receivers()
NOT_READY.http, NOT_READY.smtp = "http://127.0.0.1:1", "127.0.0.1:1"
HOSTILE = 'growth_4h < -8 % & z > 2, *not* `code` [x](y) "quoted" it\'s'


def amtool(*arguments: str | Path) -> str:
    program = shutil.which("amtool")
    assert program, "run `make tools`"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def market(name: str, asset: str = "BTC", severity: str = "warning", **annotations: str) -> Example:
    labels = {"alertname": name, "asset": asset, "category": "market", "severity": severity,
              "job": "leverage-monitor", "instance": "leverage-monitor"}  # fmt: skip
    return Example(
        labels, {"summary": f"{name} is the summary.", "description": f"{asset} {name}."} | annotations
    )


def own(name: str, severity: str = "warning", **labels: str) -> Example:
    told = {"alertname": name, "category": "monitor", "severity": severity, "job": "leverage-monitor"}
    summary = {
        "summary": f"{name} is the summary.",
        "description": f"{labels.get('venue', 'It')}: {name}. More.",
    }
    return Example(told | labels, summary)


def write(settings: Any, folder: Path) -> Path:
    file = folder / "made.yml"
    file.write_text(yaml.safe_dump(settings))
    return file


# The file.


def test_alertmanager_takes_the_file_of_every_choice_of_channels(tmp_path: Path) -> None:
    files = []
    for number in range(len(CHANNELS) + 1):
        for chosen in itertools.combinations(CHANNELS, number):
            secrets = tmp_path / ("-".join(chosen) or "none")
            secrets.mkdir()
            if chosen:
                NOT_READY.secrets(secrets, *chosen)
            made, channels = fit(ROOT, secrets)
            assert {*channels.on} == {TITLES[channel] for channel in chosen}
            assert len(channels.off) == len(CHANNELS) - len(chosen)
            files.append(tmp_path / f"{secrets.name}.yml")
            files[-1].write_text(yaml.safe_dump(made))
            text = yaml.safe_dump(made["receivers"])
            assert text.count("slack_url") == 2 * ("slack" in chosen)  # people, and the pager
            assert "example.org" not in text or "email" in chosen
    assert len(files) == 2 ** len(CHANNELS)
    amtool("check-config", *files)


def test_secrets_stay_in_their_files(tmp_path: Path) -> None:
    made, channels = fit(ROOT, NOT_READY.secrets(tmp_path / "secrets"))
    said = yaml.safe_dump(made) + " ".join(channels.lines())
    for secret in (TOKEN, PASSWORD, "loopback-key", "http://127.0.0.1:1"):
        assert secret not in said


def test_the_places_of_the_shipped_file_are_filled(tmp_path: Path) -> None:
    made, _ = fit(ROOT, NOT_READY.secrets(tmp_path / "secrets"))
    (letter,) = next(one["email_configs"] for one in made["receivers"] if one["name"] == "people")
    assert (letter["to"], letter["from"], letter["smarthost"], letter["auth_username"]) == (
        "you@example.org", "monitor@example.org", "127.0.0.1:1", "monitor",
    )  # fmt: skip


def test_the_shipped_settings_are_not_changed_by_fitting_them(tmp_path: Path) -> None:
    shipped = yaml.safe_load((ROOT / "grafana/alertmanager.yml").read_text())
    before = yaml.safe_dump(shipped)
    folder = NOT_READY.secrets(tmp_path / "secrets")
    first = fit_mapping(shipped, tmp_path, folder, read_secrets(folder))
    assert yaml.safe_dump(shipped) == before
    assert fit_mapping(shipped, tmp_path, folder, read_secrets(folder)) == first


def test_without_a_folder_of_secrets_nobody_is_notified(tmp_path: Path) -> None:
    made, channels = fit(ROOT, tmp_path / "none")
    assert made["receivers"] == [{"name": "people"}, {"name": "pager"}, {"name": "heartbeat"}]
    first, second = channels.lines()
    assert first == "Notifications by no channel"
    assert "Slack (slack_url)" in second


@pytest.mark.parametrize(
    "missing", ["telegram_token", "telegram_chat_id", "email_to", "email_smarthost", "email_password"]
)
def test_a_channel_with_some_of_its_files_is_refused_by_the_name_of_the_missing_one(
    tmp_path: Path, missing: str
) -> None:
    folder = NOT_READY.secrets(tmp_path)
    (folder / missing).unlink()
    with pytest.raises(ConfigError, match=rf"{missing}: missing, though \w+ is there$"):
        fit(ROOT, folder)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("slack_url", b"hooks.slack.example/T0/secret", "not an address that begins with https://"),
        ("telegram_token", b"secret", "not a bot's token"),
        ("telegram_chat_id", b"@secret", "not a chat's number"),
        ("email_to", b"secret", "not an address like"),
        ("email_smarthost", b"secret", "not host:port"),
        ("pagerduty_key", b"secret\nsecret", "not one line"),
        ("pagerduty_key", b" \n", "empty"),
        ("email_password", b"\xff\xfesecret", "not text"),
    ],
)
def test_a_file_that_has_not_its_form_is_named_and_its_content_is_not(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    folder = NOT_READY.secrets(tmp_path)
    (folder / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        fit(ROOT, folder)
    text = str(caught.value)
    assert f"{name}: {said}" in text
    assert "secret" not in text.replace(str(folder), "")
    assert "\n" not in text


# Routes.


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ("alertname=Watchdog severity=info category=monitor", "heartbeat"),
        ("alertname=PurgeStarted asset=BTC category=market severity=warning", "people"),
        ("alertname=PurgeStarted asset=BTC category=market severity=critical", "pager"),
        ("alertname=DeleveragingLikelyComplete asset=BTC category=market severity=info", "people"),
        ("alertname=LeverageStretched asset=ETH category=market severity=warning", "people"),
        ("alertname=FundingExtreme asset=ETH category=market severity=info", "people"),
        ("alertname=LiquidationBurst asset=ETH category=market severity=warning", "people"),
        ("alertname=VolatilityRatioCrossed asset=BTC category=market severity=info", "people"),
        ("alertname=FairValueGapSignChanged asset=BTC category=market severity=info", "people"),
        ("alertname=EtfRedemptionsMaterial asset=BTC category=market severity=warning", "people"),
        ("alertname=PerpsAndCmeDisagree asset=BTC category=market severity=info", "people"),
        ("alertname=MonitorDown category=monitor severity=critical", "pager"),
        ("alertname=MonitorNotComputing category=monitor severity=critical", "pager"),
        ("alertname=CoverageLow asset=BTC category=monitor severity=critical", "pager"),
        ("alertname=CoverageLow asset=BTC category=monitor severity=warning", "people"),
        ("alertname=EventsDropped category=monitor severity=warning", "people"),
        ("alertname=VenueSilent venue=okx category=monitor severity=warning", "people"),
        ("alertname=VenueImplausible venue=okx category=monitor severity=warning", "people"),
        ("alertname=SourceStale source=gold category=monitor severity=warning", "people"),
        ("alertname=OfSomebodyElse severity=warning", "people"),
    ],
)
def test_an_alert_goes_to(tmp_path: Path, labels: str, receiver: str) -> None:
    file = write(fit(ROOT, tmp_path)[0], tmp_path)
    told = amtool("config", "routes", "test", f"--config.file={file}", *labels.split())
    assert told.split() == [receiver]


def test_every_alert_of_the_rules_has_a_route_of_its_severity(tmp_path: Path) -> None:
    file = write(fit(ROOT, tmp_path)[0], tmp_path)
    for name, (one, *_) in examples().items():
        labels = [f"{key}={value}" for key, value in one.labels.items()]
        receiver = amtool("config", "routes", "test", f"--config.file={file}", *labels).strip()
        if name == "Watchdog":
            assert receiver == "heartbeat"
        elif "category" in one.labels:
            assert receiver == ("pager" if one.labels["severity"] == "critical" else "people")


# On the wire.


@asynccontextmanager
async def serving(
    folder: Path, *channels: str, wait: str = "200ms", interval: str = "2s", **changes: Any
) -> AsyncIterator[tuple[Receivers, Alertmanager]]:
    """Receivers, and an Alertmanager that knows them, in a hurry."""
    async with receiving() as receivers:
        settings = receivers.settings(receivers.secrets(folder / "secrets", *channels))
        async with alertmanager(hurried(settings | changes, wait, interval), folder) as server:
            yield receivers, server
    assert receivers.refusals == [] or receivers.closed


TOGETHER = {"wait": "3s", "interval": "5s"}
"""For alerts that are told in one breath: a busy machine may take them in one by one.

A group whose first alert began longer ago than its wait is told at once, without those behind it: such alerts
begin when they are told.
"""


def channels_of(posts: Sequence[Post]) -> list[str]:
    return sorted(post.channel for post in posts)


async def test_a_market_alert_reaches_every_channel_in_its_own_format_and_is_called_off_once(
    tmp_path: Path,
) -> None:
    began = now() - timedelta(hours=2, minutes=14, seconds=5)
    one = market(
        "PurgeStarted", severity="critical", summary="A purge began.", description=HOSTILE,
        value="-9.1 % in 4h", threshold="-8 %, cleared at -3 %", extreme="-21 %",
        runbook_url="docs/RUNBOOK.md#purgestarted", dashboard_url="/d/leverage?var-asset=BTC&from=now-6h",
    )  # fmt: skip
    async with serving(tmp_path) as (receivers, server):
        await server.tell(one.alert(began))
        await receivers.until(lambda: len(receivers.posts) == 6)
        firing = {post.channel: post for post in receivers.posts}
        receivers.posts.clear()
        await server.tell(one.alert(began, now()))
        await receivers.until(lambda: len(receivers.posts) == 6)
        resolved = {post.channel: post for post in receivers.posts}
    assert {*firing} == {*resolved} == {*PEOPLE, "pagerduty"}

    for channel in ("slack", "telegram", "discord", "email", "pagerduty"):
        said = html.unescape(firing[channel].text)
        if channel == "discord":
            said = re.sub(r"\\(.)", r"\1", said)
        for part in ("BTC: A purge began", HOSTILE, "-9.1 % in 4h", "-8 %, cleared at -3 %", "since "):
            assert part in said, (channel, part)
        assert "Over" not in said
        said = resolved[channel].text
        assert "Over \N{EN DASH} BTC: A purge began" in said
        assert "after 2h 14m" in said
        assert "-21 %" in said
        assert HOSTILE not in html.unescape(said)

    (attachment,) = firing["slack"].body["attachments"]
    assert attachment["color"] == "#c4314b"
    assert "&lt; -8 % &amp; z &gt; 2" in attachment["text"]
    assert "<http://127.0.0.1:3000/d/leverage?var-asset=BTC&from=now-6h|Dashboard>" in attachment["text"]
    (attachment,) = resolved["slack"].body["attachments"]
    assert attachment["color"] == "#2e8b57"
    assert "&lt; -8 % &amp; z" in firing["telegram"].body["text"]
    assert r"\*not\* \`code\` \[x](y)" in firing["discord"].body["embeds"][0]["description"]
    assert firing["email"].body["Subject"] == "[critical] BTC: A purge began"
    assert firing["email"].body["To"] == "you@example.org"
    page = firing["email"].body.get_body(("html",)).get_content()
    assert html.escape("growth_4h < -8 % & z > 2") in page
    assert 'href="http://127.0.0.1:3000/d/leverage?var-asset=BTC&amp;from=now-6h"' in page
    event = firing["pagerduty"].body
    assert (event["routing_key"], event["event_action"]) == ("loopback-key", "trigger")
    assert event["payload"]["summary"] == "BTC: A purge began"
    assert (event["payload"]["severity"], event["payload"]["component"]) == ("critical", "BTC")
    assert resolved["pagerduty"].body["event_action"] == "resolve"
    assert resolved["pagerduty"].body["dedup_key"] == event["dedup_key"]
    assert firing["webhook"].body["groupLabels"] == {"alertname": "PurgeStarted", "asset": "BTC"}


async def test_six_silent_venues_are_one_message_and_two_assets_are_two(tmp_path: Path) -> None:
    names = ("binance_coinm", "binance_usdm", "bybit", "deribit", "hyperliquid", "okx")
    silent = [own("VenueSilent", venue=name) for name in names]
    async with serving(tmp_path, *PEOPLE, **TOGETHER) as (receivers, server):
        first = now()
        await server.tell(*(one.alert(first) for one in silent))
        await receivers.until(lambda: len(receivers.posts) >= len(PEOPLE))
        assert channels_of(receivers.posts) == sorted(PEOPLE)
        for post in receivers.posts:
            said = post.text.replace("\\", "")
            assert all(f"{name}: VenueSilent." in said for name in names), post.channel
        receivers.posts.clear()
        # Told again with an earlier beginning, which Alertmanager keeps: nobody waits for three minutes.
        ended = now()
        began = ended - timedelta(minutes=3)
        await server.tell(*(one.alert(began, ended if n < 2 else None) for n, one in enumerate(silent)))
        await receivers.until(lambda: len(receivers.posts) >= len(PEOPLE))
        for post in receivers.posts:
            if post.channel != "webhook":
                assert "(4 of 6 still)" in post.text
                assert "after 3m" in post.text

        receivers.posts.clear()
        await server.tell(*(market("PurgeStarted", asset).alert(began) for asset in ("BTC", "ETH")))
        await receivers.until(lambda: len(receivers.posts) >= 2 * len(PEOPLE))
        assert channels_of(receivers.posts) == sorted(PEOPLE * 2)
        assert {post.body["groupLabels"]["asset"] for post in receivers.of("webhook")} == {"BTC", "ETH"}


async def test_what_explains_itself_is_held_back_and_blindness_never_is(tmp_path: Path) -> None:
    began = now()
    told = [
        market("PurgeStarted", "BTC"), market("LeverageStretched", "BTC"), market("LiquidationBurst", "BTC"),
        market("LiquidationBurst", "ETH"), market("LeverageStretched", "ETH"),
        market("FundingExtreme", "BTC"),
        own("MonitorDown", "critical"), own("MonitorNotComputing", "critical"),
        own("VenueSilent", venue="okx"), own("SourceStale", source="gold"), own("EventsDropped"),
        own("CoverageLow", "critical", asset="BTC"), own("CoverageLow", "warning", asset="BTC"),
        own("CoverageLow", "warning", asset="ETH"),
    ]  # fmt: skip
    through = {
        ("PurgeStarted", "BTC"), ("LiquidationBurst", "ETH"), ("LeverageStretched", "ETH"),
        ("FundingExtreme", "BTC"), ("MonitorDown", None), ("MonitorNotComputing", None),
        ("CoverageLow critical", "BTC"), ("CoverageLow warning", "ETH"),
    }  # fmt: skip

    def heard() -> set[tuple[str, str | None]]:
        found = set()
        for post in receivers.of("webhook"):
            for alert in post.body["alerts"]:
                labels = alert["labels"]
                grade = f" {labels['severity']}" if labels["alertname"] == "CoverageLow" else ""
                found.add((labels["alertname"] + grade, labels.get("asset")))
        return found

    async with serving(tmp_path, "webhook") as (receivers, server):
        # What holds others back is known first, as it is where alerts do not all begin in one second.
        causes = [told[0], *(one for one in told if one.labels["severity"] == "critical")]
        await server.tell(*(one.alert(began) for one in causes))
        await receivers.until(lambda: ("PurgeStarted", "BTC") in heard() and ("MonitorDown", None) in heard())
        await server.tell(*(one.alert(began) for one in told))
        await receivers.until(lambda: heard() >= through)
        # Whoever comes last is behind those that were held back, by two rounds of every group.
        await server.tell(own("OfSomebodyElse").alert(began))
        await receivers.until(lambda: ("OfSomebodyElse", None) in heard())
        assert heard() == through | {("OfSomebodyElse", None)}


async def test_the_heartbeat_goes_to_its_own_receiver_and_is_repeated(tmp_path: Path) -> None:
    def beating(route: dict[str, Any]) -> dict[str, Any]:
        first, *others = route["routes"]
        return {**route, "routes": [{**first, "repeat_interval": "1s"}, *others]}

    route = beating(yaml.safe_load((ROOT / "grafana/alertmanager.yml").read_text())["route"])
    async with serving(tmp_path, "heartbeat", "webhook", route=route) as (receivers, server):
        await server.tell(own("Watchdog", "info").alert(now()))
        await receivers.until(lambda: len(receivers.of("heartbeat")) >= 2)
        assert receivers.of("webhook") == []


async def test_quiet_hours_hold_back_what_is_only_to_know(tmp_path: Path) -> None:
    always = [
        {"name": "quiet-hours", "time_intervals": [{"times": [{"start_time": "00:00", "end_time": "24:00"}]}]}
    ]
    async with serving(tmp_path, "webhook", time_intervals=always) as (receivers, server):
        await server.tell(market("FundingExtreme", severity="info").alert(now()))
        await server.tell(market("EtfRedemptionsMaterial").alert(now()))
        await receivers.until(lambda: len(receivers.posts) >= 1)
        await server.tell(market("PurgeStarted").alert(now()))
        await receivers.until(lambda: len(receivers.posts) >= 2)
        names = {post.body["groupLabels"]["alertname"] for post in receivers.posts}
        assert names == {"EtfRedemptionsMaterial", "PurgeStarted"}


async def test_quiet_hours_are_set_by_nobody_as_shipped(tmp_path: Path) -> None:
    async with serving(tmp_path, "webhook") as (receivers, server):
        await server.tell(market("FundingExtreme", severity="info").alert(now()))
        await receivers.until(lambda: len(receivers.posts) == 1)


async def test_no_channel_refuses_a_message_for_its_length(tmp_path: Path) -> None:
    long = "A <b> & much_too_long story. " * 200
    many = [
        Example(own("VenueSilent", "critical", venue=f"venue_{n:02}").labels,
                {"summary": "Long & short.", "description": f"venue_{n:02}: {long}", "extreme": "x" * 50})
        for n in range(60)
    ]  # fmt: skip
    alone = market("PurgeStarted", severity="critical", summary="s" * 300, description=long, value="v" * 60)
    async with serving(tmp_path, **TOGETHER) as (receivers, server):
        began = now()
        for over in (False, True):
            receivers.posts.clear()
            await server.tell(*(one.alert(began, now() if over else None) for one in (*many, alone)))
            await receivers.until(lambda: len(receivers.posts) >= 12)
            assert channels_of(receivers.posts) == sorted((*PEOPLE, "pagerduty") * 2)


FAILING = {"slack": "401", "discord": "401", "telegram": "invalid_auth", "email": "535"}


async def test_a_withdrawn_key_is_one_line_that_names_channel_and_reason(tmp_path: Path) -> None:
    async with serving(tmp_path, *PEOPLE) as (receivers, server):
        receivers.closed |= {"slack", "telegram", "discord"}
        (tmp_path / "secrets" / "email_password").write_text("wrong")
        await server.tell(market("PurgeStarted").alert(now()))
        await receivers.until(lambda: len(receivers.of("webhook")) == 1 and len(receivers.refusals) == 3)

        def said() -> list[str]:
            return [plain(line) for line in server.log.read_text().splitlines() if "notify" in line.lower()]

        async with asyncio.timeout(30):
            while not all(f"{channel}[0]" in "\n".join(said()) for channel in FAILING):
                await asyncio.sleep(0.1)
        lines = said()
    for channel, reason in FAILING.items():
        assert any(f"{channel}[0]" in line and reason in line for line in lines), (channel, lines)
    assert TOKEN not in "".join(lines)


# The preview.


@pytest.mark.timeout(180)
def test_the_preview_shows_an_alert_in_every_channel(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "preview.py", "MonitorDown", "--out", tmp_path],
        capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = (tmp_path / "MonitorDown.txt").read_text()
    for state in ("firing", "resolved"):
        for channel in (*PEOPLE, "pagerduty"):
            assert f"=== {channel}, {state} ===" in said
    assert "after 2h 14m" in said
    if shutil.which("chromium"):
        assert len(list(tmp_path.glob("MonitorDown-*.png"))) == 3
