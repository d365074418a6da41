"""Receivers of notifications on loopback, each as strict as the service whose interface it speaks.

Limits: Slack 3,000 characters in a section, Telegram 4,096 in a message, Discord 256 in an embed's title and
4,096 in its description, PagerDuty 1,024 in a summary. What breaks one is refused, as the services do.
"""

from __future__ import annotations

import asyncio
import email.policy
import json
import logging
import re
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import yaml
from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from monitor.children import child, last_words, ready
from monitor.stack import alertmanager as fit_alertmanager

ROOT = Path(__file__).parents[1]
RULES = ROOT / "grafana" / "rules" / "alerts.yml"
CASES = ROOT / "tests" / "rules"
TOKEN, CHAT = "123456:loopback-token", -1001234567890
USER, PASSWORD = "monitor", "loopback-password"
CHANNELS = ("slack", "telegram", "discord", "email", "webhook", "pagerduty", "heartbeat")


class Post(msgspec.Struct):
    """One notification, as it came."""

    channel: str
    body: Any
    """Decoded JSON; of an e-mail the `EmailMessage`."""

    @property
    def text(self) -> str:
        """All that a person reads of it."""
        return "\n".join(part for part in _parts(self.channel, self.body) if part)


def _parts(channel: str, body: Any) -> Iterable[str]:
    match channel:
        case "slack":
            for one in body["attachments"]:
                yield from (one["title"], one["text"], one["footer"])
        case "telegram":
            yield body["text"]
        case "discord":
            yield body.get("content") or ""
            for one in body["embeds"]:
                yield from (one["title"], one["description"])
        case "email":
            yield f"Subject: {body['Subject']}"
            plain = body.get_body(("plain",))
            assert plain is not None
            yield plain.get_content()
        case "pagerduty":
            yield body["event_action"]
            if "payload" in body:
                yield body["payload"]["summary"]
                yield from (f"{key}: {said}" for key, said in body["payload"]["custom_details"].items())
        case _:
            yield json.dumps(body, indent=1, ensure_ascii=False)


class _Tags(HTMLParser):
    """Whether a text is HTML as Telegram takes it: few tags, closed in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.wrong = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        if tag not in ("b", "i", "a", "code") or (attrs and tag != "a"):
            self.wrong = tag

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong = tag


def _slack(body: Any) -> str:
    for one in body["attachments"]:
        if len(one["text"]) > 3000:
            return "text_too_long"
        rest = re.sub(r"<https?://[^<>|\s]+\|[^<>|]+>", "", one["text"])
        if re.search(r"[<>]|&(?!amp;|lt;|gt;)", rest):
            return "not_escaped"
    return ""


def _telegram(body: Any) -> str:
    if body["chat_id"] not in (CHAT, str(CHAT)) or body["parse_mode"] != "HTML":
        return "chat not found"
    if len(body["text"]) > 4096:
        return "message is too long"
    tags = _Tags()
    tags.feed(body["text"])
    return f"can't parse entities: {tags.wrong or tags.open}" if tags.wrong or tags.open else ""


def _discord(body: Any) -> str:
    long = any(len(one["title"]) > 256 or len(one["description"]) > 4096 for one in body["embeds"])
    return "embed too long" if long else ""


def _pagerduty(body: Any) -> str:
    return "summary too long" if len(body.get("payload", {}).get("summary", "")) > 1024 else ""


REFUSED: dict[str, Callable[[Any], str]] = {
    "slack": _slack, "telegram": _telegram, "discord": _discord, "pagerduty": _pagerduty,
}  # fmt: skip
"""Why a service would refuse a message, or nothing."""


class Receivers:
    """All of them, and what they got."""

    def __init__(self) -> None:
        self.http = ""
        self.smtp = ""
        self.posts: list[Post] = []
        self.refusals: list[str] = []
        self.closed: set[str] = set()
        """Channels that answer 401, as with a withdrawn key."""
        self.came = asyncio.Event()

    def of(self, channel: str) -> list[Post]:
        return [post for post in self.posts if post.channel == channel]

    def take(self, channel: str, body: Any) -> str:
        why = "invalid_auth" if channel in self.closed else REFUSED.get(channel, lambda _: "")(body)
        if why:
            self.refusals.append(f"{channel}: {why}")
        else:
            self.posts.append(Post(channel, body))
        self.came.set()
        return why

    async def until(self, true: Callable[[], object], seconds: float = 30) -> None:
        async with asyncio.timeout(seconds):
            while not true():
                self.came.clear()
                await self.came.wait()

    def secrets(self, folder: Path, *channels: str) -> Path:
        """A folder of secrets that lead here, for all channels or those named."""
        files = {
            "slack": {"slack_url": f"{self.http}/slack"},
            "telegram": {"telegram_token": TOKEN, "telegram_chat_id": str(CHAT)},
            "discord": {"discord_url": f"{self.http}/discord"},
            "email": {
                "email_to": "you@example.org", "email_from": "monitor@example.org",
                "email_smarthost": self.smtp, "email_username": USER, "email_password": PASSWORD,
            },
            "webhook": {"webhook_url": f"{self.http}/webhook"},
            "pagerduty": {"pagerduty_key": "loopback-key"},
            "heartbeat": {"heartbeat_url": f"{self.http}/heartbeat"},
        }  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        for channel in channels or CHANNELS:
            for name, text in files[channel].items():
                (folder / name).write_text(text + "\n")  # as an editor leaves it
        return folder

    def settings(self, secrets: Path, source: Path = ROOT) -> dict[str, Any]:
        """The product's own configuration, led here where no secret says so."""
        made, _ = fit_alertmanager(source, secrets)
        for receiver in made["receivers"]:
            for one in receiver.get("telegram_configs", ()):
                one["api_url"] = f"{self.http}/telegram"
            for one in receiver.get("pagerduty_configs", ()):
                one["url"] = f"{self.http}/pagerduty"
            for one in receiver.get("email_configs", ()):
                one["require_tls"] = False  # no certificate on loopback
        return made


def _application(receivers: Receivers) -> web.Application:
    async def hook(request: web.Request) -> web.Response:
        channel = request.match_info["channel"]
        why = receivers.take(channel, await request.json())
        if why:
            return web.Response(status=401 if why == "invalid_auth" else 400, text=why)
        status = {"discord": 204, "pagerduty": 202}.get(channel, 200)
        return web.Response(status=status, text="" if status == 204 else "ok")

    async def telegram(request: web.Request) -> web.Response:
        why = "" if request.match_info["token"] == TOKEN else "Unauthorized"
        why = why or receivers.take("telegram", await request.json())
        if why:
            return web.json_response(
                {"ok": False, "error_code": 401 if why in ("Unauthorized", "invalid_auth") else 400,
                 "description": why},
                status=401 if why in ("Unauthorized", "invalid_auth") else 400,
            )  # fmt: skip
        chat = {"id": CHAT, "type": "supergroup"}
        return web.json_response({"ok": True, "result": {"message_id": 1, "date": 1, "chat": chat}})

    application = web.Application()
    application.router.add_post("/telegram/bot{token}/sendMessage", telegram)
    application.router.add_post("/{channel}", hook)
    return application


class _Mailbox:
    """aiosmtpd's handler."""

    def __init__(self, receivers: Receivers) -> None:
        self._receivers = receivers

    async def handle_DATA(  # noqa: N802 -- aiosmtpd calls it so
        self, _server: SMTP, session: Session, envelope: Envelope,
    ) -> str:  # fmt: skip
        if not session.authenticated:
            return "530 authentication required"
        content = envelope.content
        assert isinstance(content, bytes)
        letter = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(letter, EmailMessage)
        why = self._receivers.take("email", letter)
        return f"550 {why}" if why else "250 OK"


def _mail(receivers: Receivers) -> SMTP:
    def knows(_1: SMTP, _2: Session, _3: Envelope, _mechanism: str, said: Any) -> AuthResult:
        good = said == LoginPassword(USER.encode(), PASSWORD.encode())
        return AuthResult(success=good, handled=False)

    logging.getLogger("mail.log").setLevel(logging.ERROR)
    # Its LOGIN asks in words that Alertmanager does not know; PLAIN is the standard.
    return SMTP(
        _Mailbox(receivers), hostname="loopback", enable_SMTPUTF8=True,
        auth_require_tls=False, authenticator=knows, auth_exclude_mechanism=["LOGIN"],
    )  # fmt: skip


@asynccontextmanager
async def receiving() -> AsyncIterator[Receivers]:
    """Receivers on free ports."""
    receivers = Receivers()
    runner = web.AppRunner(_application(receivers), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    mail = await asyncio.get_running_loop().create_server(lambda: _mail(receivers), "127.0.0.1", 0)
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receivers.http = f"http://127.0.0.1:{runner.addresses[0][1]}"
        receivers.smtp = f"127.0.0.1:{mail.sockets[0].getsockname()[1]}"
        yield receivers
    finally:
        mail.close()
        await mail.wait_closed()
        await runner.cleanup()


# Alertmanager.


def hurried(settings: Mapping[str, Any], wait: str = "200ms", interval: str = "2s") -> dict[str, Any]:
    """The same, for people in a hurry: waits and intervals of each route are short."""

    def route(one: Mapping[str, Any]) -> dict[str, Any]:
        return {**one, "group_wait": wait, "group_interval": interval,
                "routes": [route(child) for child in one.get("routes", ())]}  # fmt: skip

    return {**settings, "route": route(settings["route"])}


class Alertmanager:
    """A real one on a free loopback port."""

    def __init__(self, address: str, log: Path) -> None:
        self.address = address
        self.log = log

    async def tell(self, *alerts: Mapping[str, Any]) -> None:
        """Gives it alerts as Prometheus does."""
        async with aiohttp.ClientSession() as session:
            async with session.post(f"http://{self.address}/api/v2/alerts", json=list(alerts)) as answer:
                assert answer.status == 200, await answer.text()


@asynccontextmanager
async def alertmanager(settings: Mapping[str, Any], folder: Path) -> AsyncIterator[Alertmanager]:
    """Runs it meanwhile; fails with its last words if it does not start."""
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    assert program, "run `make tools`"
    file = folder / "alertmanager.yml"
    file.write_text(yaml.safe_dump(dict(settings), allow_unicode=True))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    log = folder / "alertmanager.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            program, f"--config.file={file}", f"--storage.path={folder / 'data'}",
            "--cluster.listen-address=", f"--web.listen-address={address}",
            "--web.external-url=http://127.0.0.1:9093",
            stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    async with child(process):
        await ready("alertmanager", address, lambda: last_words(process, log))
        yield Alertmanager(address, log)


# Alerts.


class Example(msgspec.Struct, frozen=True):
    """An alert as its rule makes it."""

    labels: dict[str, str]
    annotations: dict[str, str]

    @property
    def name(self) -> str:
        return self.labels["alertname"]

    def alert(self, began: datetime, ended: datetime | None = None) -> dict[str, Any]:
        """For Alertmanager; what has no end stands."""
        told = {"labels": self.labels, "annotations": self.annotations, "startsAt": began.isoformat()}
        return told if ended is None else {**told, "endsAt": ended.isoformat()}


def now() -> datetime:
    return datetime.now(UTC)


def examples() -> dict[str, list[Example]]:
    """Of each alert in the rules, what its first firing case expects: labels and texts with values."""
    found = {}
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            name = rule["alert"]
            expected = _expected(name) or [{"exp_labels": rule["labels"], "exp_annotations": _bare(rule)}]
            found[name] = [
                Example({"alertname": name, **one["exp_labels"]}, one["exp_annotations"]) for one in expected
            ]
    return found


def _expected(name: str) -> list[dict[str, dict[str, str]]]:
    file = CASES / f"{name}.yml"
    cases = yaml.safe_load(file.read_text(encoding="utf-8"))["tests"] if file.exists() else ()
    looks = (look for case in cases for look in case["alert_rule_test"] if look["alertname"] == name)
    told = (look["exp_alerts"] for look in looks)
    return next(
        (alerts for alerts in told if alerts and "summary" in alerts[0].get("exp_annotations", {})), []
    )


def _bare(rule: Mapping[str, Any]) -> dict[str, str]:
    """Texts of a rule that no case renders, without what is filled in."""
    return {key: re.sub(r"{{.*?}}", "…", said, flags=re.DOTALL) for key, said in rule["annotations"].items()}
