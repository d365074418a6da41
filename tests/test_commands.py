"""The command line: exit status 0, 1, 2, one clear line, never a traceback."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from monitor.venues import VENUES

MONITOR = [sys.executable, "-m", "monitor"]
BYBIT = '{"topic":"tickers.BTCUSDT","ts":1790757082283,"data":{"symbol":"BTCUSDT","markPrice":"83024.70"}}'


def run(*arguments: str, text: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MONITOR, *arguments], input=text, capture_output=True, text=True, timeout=60, check=False,
        env=os.environ | {"COLUMNS": "200", "TERM": "dumb"} | environment,
    )  # fmt: skip


def one_line(done: subprocess.CompletedProcess[str], said: str) -> None:
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_decode_prints_events_and_unwraps() -> None:
    wrapped = json.dumps({"id": "x", "text": BYBIT})
    done = run("decode", "bybit", text=f"{BYBIT}\n\n{wrapped}\n")
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    expected = {"kind": "mark", "venue": "bybit", "symbol": "BTCUSDT", "asset": "BTC",
                "time_ms": 1790757082283, "price": 83024.7}  # fmt: skip
    assert lines == [expected, expected]


def test_decode_names_the_line_that_it_cannot_read_and_reads_the_others() -> None:
    done = run("decode", "bybit", text=f"{BYBIT}\nrubbish\n{BYBIT}\n")
    assert done.returncode == 1
    assert done.stderr.startswith("line 2: ")
    assert len(done.stdout.splitlines()) == 2


def test_an_unknown_venue_and_a_wrong_option() -> None:
    one_line(run("decode", "ftx"), "unknown venue 'ftx'; there are binance_usdm")
    assert run("run", "--no-such-option").returncode == 2


def test_wrong_settings_end_with_one_line(tmp_path: Path) -> None:
    file = tmp_path / "monitor.toml"
    file.write_text("asets = []")
    one_line(run("run", "--config", str(file)), "unknown key 'asets'")
    one_line(run("run", "--config", str(tmp_path / "none.toml")), "No such file")
    one_line(run("run", "--listen", "nonsense"), "--listen")


def test_a_port_in_use_ends_with_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        one_line(
            run("run", "--listen", address, MONITOR_STATE_DIR=str(tmp_path)),
            f"cannot listen on {address}: Address already in use",
        )


def test_an_unwritable_state_folder_ends_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("run", "--listen", "127.0.0.1:0", MONITOR_STATE_DIR=str(tmp_path / "file" / "state"))
    one_line(done, "state_dir")


def test_unreachable_venues_are_tried_again_and_ctrl_c_ends_cleanly(tmp_path: Path) -> None:
    """Nothing listens there: the monitor keeps trying, serves, and ends with 0."""
    addresses = {
        f"MONITOR_VENUES__{name.upper()}__{part}": f"{scheme}://127.0.0.1:9"
        for name in VENUES
        for part, scheme in (("WS_URL", "ws"), ("REST_URL", "http"))
    }
    process = subprocess.Popen(
        [*MONITOR, "run", "--listen", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True,
        env=os.environ | addresses | {"MONITOR_STATE_DIR": str(tmp_path), "COLUMNS": "200"},
    )  # fmt: skip
    try:
        assert process.stderr is not None
        assert "Following BTC, ETH" in process.stderr.readline()
        time.sleep(2)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def test_check_prints_a_line_for_each_and_fails_where_nothing_answers(tmp_path: Path) -> None:
    addresses = {
        f"MONITOR_VENUES__{name.upper()}__{part}": f"{scheme}://127.0.0.1:9"
        for name in VENUES
        for part, scheme in (("WS_URL", "ws"), ("REST_URL", "http"))
    }
    done = run("check", MONITOR_STATE_DIR=str(tmp_path), **addresses)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line[:4] for line in lines[:2]] == ["ok  ", "ok  "]
    for name in VENUES:
        assert any(line.startswith("FAIL") and f"{name} instruments" in line for line in lines)


def test_replay_of_nothing_and_of_a_wrong_file(tmp_path: Path) -> None:
    one_line(run("replay", str(tmp_path)), "no recording here")
    one_line(run("replay", str(tmp_path / "gone.jsonl")), "No such file")
    (tmp_path / "x.jsonl").write_text('{"is":"tick","now":1}\n')
    one_line(run("replay", str(tmp_path)), "no header of a recording")


def test_metrics_lists_the_catalogue() -> None:
    done = run("metrics")
    assert done.returncode == 0
    assert "leverage_open_interest_growth_ratio" in done.stdout
    assert "monitor_stream_up" in done.stdout


@pytest.mark.parametrize("command", ["run", "demo", "record", "replay", "decode", "check", "metrics"])
def test_help_has_an_example(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert command == "metrics" or "Example" in done.stdout


def test_demo_records_and_the_recording_replays(tmp_path: Path) -> None:
    done = run("demo", "--seconds", "8", "--listen", "127.0.0.1:0", "--no-prometheus", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    text = tmp_path / "metrics.prom"
    again = run("replay", str(tmp_path), "--metrics", str(text))
    assert again.returncode == 0, again.stderr
    assert 'leverage_perp_open_interest_usd{asset="BTC"}' in text.read_text()


def test_a_scope_that_could_never_speak_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "monitor.toml"
    file.write_text('scope = ["okx", "bybit"]\n[venues.bybit]\nenabled = false\n')
    done = run("run", "--config", str(file), "--listen", "127.0.0.1:0", MONITOR_STATE_DIR=str(tmp_path))
    one_line(done, "scope: 'bybit' is not enabled")


RECORDING = """
import asyncio, sys
from pathlib import Path
from monitor.__main__ import loop_run
from monitor.app import running
from monitor.clock import Clock
from monitor.config import Config
from monitor.demo import START, against
from monitor.simulated import SCENARIOS, Market, simulate
from monitor.venues import VENUES

async def record():
    clock = Clock(START, 400)
    async with simulate(VENUES, Market(SCENARIOS["purge"], 1, START), clock) as exchanges:
        async with running(against(Config(listen=":0"), exchanges), clock, record_to=Path(sys.argv[1])):
            await asyncio.sleep(40)
    return 0

loop_run(record)
"""


def test_a_disk_that_takes_no_more_ends_a_recording_with_its_reason(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RECORDING, str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False, env=os.environ | {"COLUMNS": "200"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )  # fmt: skip
    said = done.stderr.rstrip().splitlines()
    assert any(line.endswith(".jsonl.zst: File too large") for line in said), done.stderr
    assert done.returncode != 0
