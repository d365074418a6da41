"""The text of `/metrics`: what the official parser and promtool make of it."""

from __future__ import annotations

import gzip
import math
import shutil
import subprocess
from collections.abc import AsyncIterator

import aiohttp
import pytest
from hypothesis import given, settings, strategies as st
from prometheus_client.parser import text_string_to_metric_families
from small_market import PRICE, VENUES, Small, instrument

from monitor.bus import Heard, Listed
from monitor.health import HEALTH, Health
from monitor.metrics import METRICS
from monitor.prometheus.exposition import CONTENT_TYPE, Writer
from monitor.serve import Board, serve
from monitor.tick.compute import Samples
from monitor.venues import VENUES as REAL


def full() -> Samples:
    market = Small()
    market.run(4000)
    market.liquidate("a", "long", 3)
    return market.run(20)


def parsed(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_round_trip_through_the_official_parser() -> None:
    samples = full()
    found = parsed(Writer().text(samples).decode())
    expected = {}
    for family in samples.families:
        for row, number in zip(family.labels.iter_rows(named=True), family.values.to_list(), strict=True):
            if number is not None and math.isfinite(number):
                labels = frozenset((row | dict(family.metric.fixed)).items())
                expected[family.metric.name, labels] = number
    assert found == expected
    assert len(found) > 60


@given(symbol=st.text(min_size=1, max_size=12), asset=st.text(min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_any_label_value_survives(symbol: str, asset: str) -> None:
    market = Small()
    odd = instrument("a", symbol, asset)
    market.core.apply(Listed("a", market.now, (odd,)))
    market.of["a"] = odd
    market.quote("a")
    text = Writer().text(market.tick(1)).decode()
    # The parser splits lines at more characters than the format knows, so only such texts are read.
    if text.splitlines() == text.split("\n")[: len(text.splitlines())]:
        assert parsed(text)[
            "leverage_mark_price_usd", frozenset({("venue", "a"), ("asset", asset), ("symbol", symbol)})
        ] == PRICE  # fmt: skip
    assert all(line.startswith(("#", "leverage_")) for line in text.rstrip("\n").split("\n"))


def test_prefixes_follow_the_instruments() -> None:
    writer, market = Writer(), Small()
    market.run(20)
    writer.text(market.run(20))
    market.core.apply(Listed("a", market.now, (market.of["a"], instrument("a", "NEW"))))
    market.of["a"] = instrument("a", "NEW")
    market.core.apply(Listed("a", market.now, (market.of["a"],)))
    samples = market.run(20)
    assert writer.text(samples) == Writer().text(samples)


def test_names_units_and_labels_follow_the_conventions() -> None:
    units = ("_usd", "_coins", "_ratio", "_seconds", "_info", "_zscore", "_tonnes")
    states = {
        "leverage_phase", "leverage_phase_provisional", "leverage_deleveraging_verdict", "leverage_condition",
        "leverage_purge_side", "leverage_venue_set_aside", "leverage_fair_value_gap_certain",
        "leverage_etf_redemption_size", "leverage_market_condition",
    }  # fmt: skip
    labels = {
        "venue", "asset", "symbol", "margin", "position", "window", "estimator", "gold", "bound", "phase",
        "verdict", "kind", "stage", "channel", "source",
        # and those of the two _info families, whose labels are what they tell
        "contract_size", "quote", "oi_unit", "oi_sides", "oi_sides_reason", "liquidation_feed", "version",
        "python",
    }  # fmt: skip
    for metric in METRICS:
        assert metric.name.startswith("leverage_")
        assert metric.name in states or metric.name.removesuffix("_total").endswith(units)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert set(metric.all_labels) <= labels
        assert bool(metric.windows) == (metric.view == "asset_window")
        assert metric.help.endswith((".", ")."))
    for name, (_, own, text) in HEALTH.items():
        assert name.startswith("monitor_")
        assert set(own) <= labels
        assert text.endswith(".")


@pytest.fixture
async def board() -> AsyncIterator[tuple[Board, str]]:
    health = Health(REAL.values())
    board = Board(health, list(REAL.values()), lambda: 1_790_755_300_000)
    async with serve("127.0.0.1:0", board) as address:
        yield board, f"http://{address}"


async def get(url: str, encoding: str = "identity") -> tuple[int, dict[str, str], bytes]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        async with session.get(url, headers={"Accept-Encoding": encoding}) as answer:
            return answer.status, dict(answer.headers), await answer.read()


async def test_promtool_is_content_with_a_full_scrape(board: tuple[Board, str]) -> None:
    board[0].samples = full()
    status, headers, body = await get(board[1] + "/metrics")
    assert status == 200
    assert headers["Content-Type"] == CONTENT_TYPE
    promtool = shutil.which("promtool")
    assert promtool, "run `make tools`"
    checked = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True, check=False)  # noqa: ASYNC221
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
    families = {family.name for family in text_string_to_metric_families(body.decode())}
    assert {name.removesuffix("_total") for name in HEALTH} - {
        "monitor_last_event_timestamp_seconds"
    } <= families


async def test_a_scrape_may_be_compressed(board: tuple[Board, str]) -> None:
    board[0].samples = full()
    _, headers, body = await get(board[1] + "/metrics", "gzip")
    assert headers["Content-Encoding"] == "gzip"
    _, _, plain = await get(board[1] + "/metrics")
    market = board[0].market_text()
    assert gzip.decompress(body)[: len(market)] == plain[: len(market)] == market


async def test_ready_only_when_something_is_known(board: tuple[Board, str]) -> None:
    assert (await get(board[1] + "/-/healthy"))[0] == 200
    assert (await get(board[1] + "/-/ready"))[0] == 503
    board[0].samples = full()
    board[0].health.up["okx", "mark-price"]["x"] = True
    assert (await get(board[1] + "/-/ready"))[0] == 200


async def test_the_page_shows_assets_venues_and_escapes_what_venues_say(board: tuple[Board, str]) -> None:
    _, _, empty = await get(board[1] + "/")
    assert b"No venue has spoken yet" in empty
    board[0].samples = full()
    board[0].health.failed("bybit", "refused", '<script>alert("x")</script>', 1_790_755_300_000)
    _, headers, body = await get(board[1] + "/")
    text = body.decode()
    assert headers["Content-Type"].startswith("text/html")
    assert "$10.00 bn" in text
    assert "50,000" in text  # coins of the largest venue
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text
    for venue in REAL.values():
        assert venue.title in text


async def test_the_page_says_why_there_is_no_level(board: tuple[Board, str]) -> None:
    board[0].samples = Small().run(60, silent=("e",))
    _, _, body = await get(board[1] + "/")
    assert b"1 of 5 venues of the scope have" in body


def test_health_counts_and_ages() -> None:
    health = Health(REAL.values())
    market = Small()
    health.heard(Heard("bybit", market.now + 250, ()))
    text = "".join(
        f"{sample.name}{sorted(sample.labels.items())} {sample.value}\n"
        for family in health.collect()
        for sample in family.samples
    )
    assert "monitor_frames_total[('venue', 'bybit')] 1" in text
    assert "monitor_stream_up[('channel', 'tickers'), ('venue', 'bybit')] 0.0" in text
    assert len(VENUES) == 5
