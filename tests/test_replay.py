"""A replay of what a live monitor recorded gives the same text at the same instants."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from monitor.app import Replay, running
from monitor.clock import Clock
from monitor.config import Config
from monitor.demo import START, against
from monitor.prometheus.exposition import Writer
from monitor.recording import Header, RecordingError, Tick, files, read
from monitor.simulated import SCENARIOS, Market, simulate
from monitor.venues import VENUES

pytestmark = pytest.mark.live

SPEED = 240.0


async def record(folder: Path, seconds: float) -> dict[int, bytes]:
    """Records a purge; the live text of the market's metrics by instant."""
    clock = Clock(START + 5 * 3_600_000, SPEED)  # the purge begins there
    market = Market(SCENARIOS["purge"], seed=3, start=START)
    live: dict[int, bytes] = {}
    writer = Writer()
    async with simulate(VENUES, market, clock) as exchanges:
        config = against(Config(listen="127.0.0.1:0", tick_seconds=0.5), exchanges)
        async with running(config, clock, record_to=folder) as monitor:
            until = asyncio.get_running_loop().time() + seconds
            while asyncio.get_running_loop().time() < until:
                await asyncio.sleep(0.02)
                samples = monitor.board.samples
                if samples is not None and samples.now not in live:
                    live[samples.now] = writer.text(samples)
    return live


async def test_replay_gives_the_identical_text_at_the_same_instants(tmp_path: Path) -> None:
    live = await record(tmp_path, 18)
    entries = list(read(files([tmp_path])[0]))
    header = entries[0]
    assert isinstance(header, Header)
    machine = Replay(header)
    writer = Writer()
    compared = 0
    for entry in entries[1:]:
        assert not isinstance(entry, Header)
        samples = machine.entry(entry)
        if samples is not None and samples.now in live:
            assert writer.text(samples) == live[samples.now]
            compared += 1
    assert compared == len(live) >= 15
    text = next(reversed(live.values())).decode()
    for name in (
        'leverage_perp_open_interest_usd{asset="BTC"}',
        'leverage_open_interest_growth_ratio{asset="ETH",window="5m"}',
        'leverage_liquidated_usd_total{venue="bybit",asset="BTC",position="long"}',
        'leverage_realized_volatility_ratio{asset="BTC",window="5m"',
    ):
        assert name in text


async def test_a_recording_that_was_cut_off_is_read_up_to_the_cut(tmp_path: Path) -> None:
    await record(tmp_path, 4)
    whole = files([tmp_path])[0]
    entries = list(read(whole))
    cut = tmp_path / "cut.jsonl.zst"
    for share in (0.3, 0.6, 0.95):
        cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
        kept = list(read(cut))
        assert kept == entries[: len(kept)]


def test_a_line_that_is_no_entry_is_named(tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text('{"is":"tick","now":1}\n{"is":"tick","now":"soon"}\n')
    entries = read(file)
    assert next(entries) == Tick(1)
    with pytest.raises(RecordingError, match=r"bad\.jsonl: line 2"):
        next(entries)


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no recording here"):
        files([tmp_path])
