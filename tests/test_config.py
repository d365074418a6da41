"""Settings: one line that says which key is wrong; the environment before the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config import Config, ConfigError, address, load
from monitor.venues import VENUES

KNOWN = frozenset(VENUES)


def write(folder: Path, text: str) -> Path:
    path = folder / "monitor.toml"
    path.write_text(text)
    return path


def test_every_key_is_optional() -> None:
    config = load(None, KNOWN)
    assert config.assets == ("BTC", "ETH")
    assert config.listen == "127.0.0.1:9650"


def test_a_file_and_the_environment_over_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(
        tmp_path,
        'assets = ["SOL"]\nlisten = ":9000"\n[venues.bybit]\nenabled = false\noi_sides = 1\n',
    )
    monkeypatch.setenv("MONITOR_LISTEN", "127.0.0.1:9001")
    monkeypatch.setenv("MONITOR_VENUES__BYBIT__ENABLED", "true")
    config = load(path, KNOWN)
    assert config.assets == ("SOL",)
    assert config.listen == "127.0.0.1:9001"
    assert config.venue("bybit").enabled
    assert config.venue("bybit").oi_sides == 1
    assert config.venue("okx").enabled


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("asets = []", "unknown key 'asets'"),
        ("[venues.bybit]\nenabld = true", "unknown key 'venues.bybit.enabld'"),
        ("[venues.bitmex]\nenabled = true", "unknown venue 'bitmex'"),
        ('scope = ["ftx"]', "unknown venue 'ftx'"),
        ("assets = []", "assets"),
        ('assets = ["btc"]', "assets.0"),
        ('listen = "nowhere"', "listen"),
        ('listen = "127.0.0.1:99999"', "listen"),
        ("min_coverage = 1.5", "min_coverage"),
        ("[venues.okx]\noi_sides = 3", "venues.okx.oi_sides"),
        ('[venues.okx]\nws_url = "http://x"', "venues.okx.ws_url"),
        ('bus = "mqtt://x"', "bus"),
        ("assets = [", "not TOML"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text), KNOWN)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value).strip().replace("\n", "", 0) or "TOML" in said


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.toml", KNOWN)


def test_addresses() -> None:
    assert address("127.0.0.1:9650") == ("127.0.0.1", 9650)
    assert address(":1") == ("127.0.0.1", 1)
    assert address("[::1]:80") == ("::1", 80)
    for wrong in ("9650x", "host:1", "127.0.0.1:-1", ""):
        with pytest.raises(ValueError, match=r".*"):
            address(wrong)


def test_every_setting_is_in_the_readme() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    for name in Config.model_fields:
        assert f"`{name}`" in readme, name
