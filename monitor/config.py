"""The settings: one TOML file, every key optional, unknown keys refused; the environment overrides.

`MONITOR_LISTEN`, `MONITOR_ASSETS='["BTC"]'`, `MONITOR_VENUES__BYBIT__ENABLED=false`: two underscores
go one level down. Secrets stand in the file that a `*_file` key names, never in this one.
"""

from __future__ import annotations

import tomllib
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

LISTEN = "127.0.0.1:9650"


class ConfigError(Exception):
    """Wrong settings; the text is one line that says which and what to do."""


class VenueConfig(BaseModel):
    """Settings of one venue."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    ws_url: Annotated[str, Field(pattern="^wss?://")] | None = None
    """Base address of its sockets, so that a proxy or a simulator can stand in."""
    rest_url: Annotated[str, Field(pattern="^https?://")] | None = None
    symbols: tuple[str, ...] | None = None
    """Only these of its instruments; all perpetuals of `assets` if absent."""
    oi_sides: Literal[1, 2] | None = None
    """How the venue counts open interest, where the sources dispute it."""


class SourceConfig(BaseModel):
    """Settings of one slow source; naming one switches it on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    url: Annotated[str, Field(pattern="^https?://")] | None = None
    """Asked instead of the source's own address; the answer has to have the source's form."""
    file: Path | None = None
    """Read instead of asking."""
    key_file: Path | None = None
    """File that holds the key, for sources that want one."""


class Config(BaseSettings):
    """All settings, with their defaults."""

    model_config = SettingsConfigDict(
        env_prefix="MONITOR_", env_nested_delimiter="__", extra="forbid", frozen=True,
        nested_model_default_partial_update=True,
    )  # fmt: skip

    assets: Annotated[tuple[Annotated[str, Field(pattern="^[A-Z0-9]+$")], ...], Field(min_length=1)] = (
        "BTC", "ETH",
    )  # fmt: skip
    scope: tuple[str, ...] | None = None
    """Venues in the aggregates; all enabled ones if absent."""
    listen: str = LISTEN
    """Address and port of `/metrics` and the status page."""
    state_dir: Path = Path(platformdirs.user_state_dir("leverage-monitor"))
    bus: Literal["memory"] = "memory"
    """How events reach the computation. Only `memory` so far."""
    min_coverage: Annotated[float, Field(gt=0, le=1)] = 0.6
    """Below this share of fresh open interest the aggregates are absent."""
    tick_seconds: Annotated[float, Field(ge=0.2, le=60)] = 1.0
    venues: dict[str, VenueConfig] = {}
    thresholds: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = {}
    """Of the phases, by name (`phases.Thresholds`); those of the methodology if absent."""
    sources: dict[str, SourceConfig] = {}
    """Slow sources by name (`docs/SOURCES.md`)."""

    @field_validator("listen")
    @classmethod
    def _address(cls, value: str) -> str:
        address(value)
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- no .env file is read
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- nor a folder of secrets
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment before the file."""
        _ = settings_cls
        return env_settings, init_settings

    def venue(self, name: str) -> VenueConfig:
        """Settings of a venue, given or default."""
        return self.venues.get(name, VenueConfig())


def address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, or of `:PORT` on loopback.

    Raises:
        ValueError: it is neither.
    """
    host, _, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdecimal() or not 0 <= int(port) <= 65535:  # noqa: PLR2004 -- ports end there
        raise ValueError(f"not an address and port like {LISTEN}: {text!r}")
    if host != "localhost":
        ip_address(host)
    return host, int(port)


def load(path: Path | None, known: frozenset[str]) -> Config:
    """Reads the file, then the environment, and checks the names of venues against those known.

    Raises:
        ConfigError: the file cannot be read, or a key or value in it is wrong.
    """
    where = str(path) if path else "environment"
    data: dict[str, Any] = {}
    if path is not None:
        try:
            data = tomllib.loads(path.read_text())
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not TOML: {error}") from error
    try:
        config = Config(**data)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first(error)}") from error
    except SettingsError as error:
        raise ConfigError(f"environment: {error}") from error
    for key, names in (("venues", config.venues), ("scope", config.scope or ())):
        if unknown := sorted(set(names) - known):
            raise ConfigError(
                f"{where}: {key}: unknown venue {unknown[0]!r}; there are {', '.join(sorted(known))}"
            )
    return config


def _first(error: ValidationError) -> str:
    """The first complaint, with the path of the key."""
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key {path!r}"
    return f"{path}: {first['msg']}"
