"""The shipped configurations of Prometheus and Alertmanager, made to fit the place where they run.

Alertmanager knows no conditions: a channel whose secret is missing would fail at each message. So its
file is made from the shipped one and from the files that exist: a channel without its files is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from monitor.config import ConfigError

TITLES = {
    "slack_configs": "Slack",
    "telegram_configs": "Telegram",
    "discord_configs": "Discord",
    "email_configs": "e-mail",
    "pagerduty_configs": "PagerDuty",
    "webhook_configs": "webhook",
}
FILLED = {
    "chat_id": "telegram_chat_id",
    "to": "email_to",
    "from": "email_from",
    "smarthost": "email_smarthost",
    "auth_username": "email_username",
}
"""Keys that are no secret and still the operator's own: Alertmanager reads them from no file, so we do."""
URL = re.compile(r"https?://\S+"), "an address that begins with https://"
FORMS = {
    "slack_url": URL,
    "discord_url": URL,
    "webhook_url": URL,
    "heartbeat_url": URL,
    "telegram_token": (re.compile(r"\d+:[\w-]+"), "a bot's token like 123456:ABC-def"),
    "telegram_chat_id": (re.compile(r"-?\d+"), "a chat's number like -1001234567890"),
    "email_to": (re.compile(r"[^@\n]+@[^@\n]+"), "an address like you@example.org"),
    "email_from": (re.compile(r"[^@\n]+@[^@\n]+"), "an address like you@example.org"),
    "email_smarthost": (re.compile(r"\S+:\d+"), "host:port"),
}
"""What a file must look like, and how to say so; any other is one line."""
ONE_LINE = re.compile(r"[^\n]+"), "one line"


class Channels(msgspec.Struct, frozen=True):
    """What became of the channels."""

    on: tuple[str, ...]
    off: tuple[str, ...]
    """Each with the files that it lacks."""

    def lines(self) -> Iterator[str]:
        """As an operator reads it."""
        yield f"Notifications by {', '.join(self.on)}" if self.on else "Notifications by no channel"
        if self.off:
            yield f"Left out, for want of files: {', '.join(self.off)}"


def alertmanager(source: Path, secrets: Path) -> tuple[dict[str, Any], Channels]:
    """Alertmanager's configuration with the channels whose files are there.

    Args:
        source: the repository's folder, or one like it: `grafana/alertmanager.yml`, `grafana/templates`.
        secrets: folder of one-line files, named in `deploy/secrets/README.md`.

    Raises:
        ConfigError: a file cannot be read or has not its form, or a channel has some of its files only.
    """
    file = source / "grafana" / "alertmanager.yml"
    folder = secrets.resolve()
    return fit(_mapping(file), file.parent.resolve(), folder, read_secrets(folder))


def fit(
    shipped: Mapping[str, Any], base: Path, folder: Path, files: Mapping[str, str]
) -> tuple[dict[str, Any], Channels]:
    """The same for what was read already: `base` is where templates lie, `files` what `folder` holds."""
    on: dict[str, None] = {}
    off: dict[str, None] = {}
    receivers = []
    for receiver in shipped["receivers"]:
        kept: dict[str, Any] = {"name": receiver["name"]}
        for kind, channels in receiver.items():
            for channel in channels if kind in TITLES else ():
                title = "heartbeat" if receiver["name"] == "heartbeat" else TITLES[kind]
                needs = {key: _name(key, value) for key, value in channel.items() if _name(key, value)}
                missing = [name for name in needs.values() if name not in files]
                if not missing:
                    on[title] = None
                    kept.setdefault(kind, []).append(_filled(channel, needs, folder, files))
                elif len(missing) == len(needs):
                    off[f"{title} ({', '.join(missing)})"] = None
                else:
                    there = next(name for name in needs.values() if name in files)
                    raise ConfigError(f"{folder / missing[0]}: missing, though {there} is there")
        receivers.append(kept)
    templates = [str(base / pattern) for pattern in shipped["templates"]]
    return {**shipped, "templates": templates, "receivers": receivers}, Channels(tuple(on), tuple(off))


def _name(key: str, value: Any) -> str:
    """The file that a key needs, or nothing."""
    return str(value) if key.endswith("_file") else FILLED.get(key, "")


def _filled(
    channel: Mapping[str, Any], needs: Mapping[str, str], folder: Path, files: Mapping[str, str]
) -> dict[str, Any]:
    filled = dict(channel)
    for key, name in needs.items():
        if key.endswith("_file"):
            filled[key] = str(folder / name)
        else:
            filled[key] = int(files[name]) if key == "chat_id" else files[name]
    return filled


def read_secrets(folder: Path) -> dict[str, str]:
    """The one-line files of a folder by name, stripped; none if there is no folder.

    Raises:
        ConfigError: one cannot be read or has not its form. Its content is not told.
    """
    found: dict[str, str] = {}
    if not folder.is_dir():
        return found
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or file.suffix == ".md" or not file.is_file():
            continue
        try:
            text = file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"{file}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{file}: not text") from error
        form, said = FORMS.get(file.name, ONE_LINE)
        if not form.fullmatch(text):
            raise ConfigError(f"{file}: {f'not {said}' if text else 'empty; write it or remove it'}")
        found[file.name] = text
    return found


def prometheus(source: Path, monitor: str, alertmanager: str) -> dict[str, Any]:
    """Prometheus' configuration with the addresses of the two others.

    Raises:
        ConfigError: `prometheus.yml` in the folder cannot be read.
    """
    settings = _mapping(source / "prometheus.yml")
    settings["scrape_configs"][0]["static_configs"][0]["targets"] = [monitor]
    settings["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [alertmanager]
    settings["rule_files"] = [str(source.resolve() / name) for name in settings["rule_files"]]
    return settings


def _mapping(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not YAML: {error}") from error
    return found
