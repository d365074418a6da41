"""Backfill against servers that tell one known past: its numbers, its faults, what is asked again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import msgspec
import polars as pl
import pytest
from aiohttp import web
from history_servers import NOW, TODAY, Servers, coins, dollars, history_servers, metrics, once, price, rate
from polars.testing import assert_frame_equal

from monitor import backfill as filling
from monitor.archives import SOURCES
from monitor.archives.source import Source
from monitor.backfill import Report, at, backfill, choices_of, fill_gap
from monitor.bars import BAR
from monitor.config import Config, VenueConfig
from monitor.history.store import Store
from monitor.ladder import DAY, HOUR
from monitor.venues import VENUES

DAYS = 100
"""More than one page, and more than one span, of most venues."""


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(filling, "LONGEST_PAUSE_S", 0.02)


@asynccontextmanager
async def opened(tmp_path: Path) -> AsyncIterator[tuple[Servers, Store]]:
    async with history_servers() as servers:
        with Store(tmp_path / "history", writable=False) as store:
            yield servers, store


def sources(servers: Servers, *names: str) -> list[Source]:
    """Sources at the servers, in no hurry to protect them."""
    found = []
    for name in names:
        source = at(SOURCES[name], servers.url, servers.url)
        budget = msgspec.structs.replace(source.budget, weight=1e5)
        if source.archive is not None:
            archive = msgspec.structs.replace(source.archive, budget=budget)
            source = msgspec.structs.replace(source, archive=archive)
        found.append(msgspec.structs.replace(source, budget=budget))
    return found


async def filled(
    servers: Servers, store: Store, *names: str, days: int = DAYS, assets: Sequence[str] = ("BTC",),
    step: Literal["hour", "day"] = "day",
) -> Report:  # fmt: skip
    some = sources(servers, *names)
    start = (NOW - days * DAY) if step == "day" else NOW - days * HOUR
    return await backfill(store, some, assets, start, NOW, step=step)


def expected(margin: str, asset: str, time: int, step: int) -> dict[str, float | None]:
    """A bar as the truth has it."""
    close = price(asset, time + step)
    if margin == "inverse":
        native = usd = dollars(asset, time + step)
        held = native / close
    else:
        native = held = coins(asset, time + step)
        usd = held * close
    return {"close": close, "native": native, "coins": held, "usd": usd, "funding_8h": rate(time + step)}


# The numbers.


def paid(name: str, hour: int) -> bool:
    """Whether the payment for an hour has been made, or is announced as Bitfinex does."""
    every_hour = name in ("deribit", "hyperliquid", "kraken_futures", "dydx", "bitfinex")
    return every_hour or hour < TODAY + 8 * HOUR


@pytest.mark.parametrize("step", ["day", "hour"])
@pytest.mark.parametrize("name", sorted(SOURCES))
async def test_every_bar_of_every_source_is_the_truth(
    name: str, step: Literal["day", "hour"], tmp_path: Path
) -> None:
    async with opened(tmp_path) as (servers, store):
        report = await filled(servers, store, name, step=step, assets=("BTC", "ETH"))
        got = store.read(step)
    assert report.ok, report.lines
    length = DAY if step == "day" else HOUR
    last = NOW // length * length - length
    assert got["time"].max() == last
    assert set(got["asset"]) == {"BTC", "ETH"}
    told = {"close", "funding_8h"} | (
        {"native", "coins", "usd"} if SOURCES[name].has_open_interest else set()
    )
    # COIN-M has no archive: its open interest reaches back 29 days, its prices further.
    reach = last - 28 * DAY if name == "binance_coinm" else 0
    for row in got.rows(named=True):
        truth = expected(row["margin"], row["asset"], row["time"], length)
        for column in told:
            if column in ("native", "coins", "usd") and row["time"] < reach:
                assert row[column] is None, (column, row)
            elif column == "funding_8h" and step == "hour" and not paid(name, row["time"]):
                assert row[column] is None
            else:
                assert row[column] == pytest.approx(truth[column], rel=1e-6, abs=1e-12), (column, row)
        for column in set(BAR) & {"long_usd", "short_usd"}:
            assert row[column] is None
        assert row["low"] <= min(row["open"], row["close"]) <= max(row["open"], row["close"]) <= row["high"]
    for (symbol,), rows in got.group_by("symbol"):
        assert rows.height == DAYS, symbol


async def test_a_cut_answer_is_asked_on(tmp_path: Path) -> None:
    """Spans longer than what one answer holds: from the newest on at Bybit, from the oldest at Gate."""
    days = 450
    async with opened(tmp_path) as (servers, store):
        some = [
            msgspec.structs.replace(source, bars={"day": days})
            for source in sources(servers, "bybit", "okx", "gate", "kucoin")
        ]
        report = await backfill(store, some, ["BTC"], NOW - days * DAY, NOW)
        got = store.read("day")
    assert report.ok, report.lines
    assert servers.count("/v5/market/open-interest?category=linear&symbol=BTCUSDT") == 3
    # The older page of OKX begins with the last row of the newer one.
    assert servers.count("open-interest-history?instId=BTC-USDT-SWAP") == 5
    assert servers.count("contract_stats?contract=BTC_USDT") == 5
    for row in got.rows(named=True):
        truth = expected(row["margin"], "BTC", row["time"], DAY)
        assert row["native"] == pytest.approx(truth["native"], rel=1e-6), row
        assert row["funding_8h"] == pytest.approx(truth["funding_8h"], abs=1e-12), row
    assert {rows.height for _, rows in got.group_by("venue", "symbol")} == {days}


# What goes wrong.


def _page(_request: web.Request | None = None) -> web.StreamResponse:
    return web.Response(text="<html>We are working on it</html>", content_type="text/html")


@pytest.mark.parametrize(
    "fault",
    [
        lambda: web.Response(status=429, headers={"Retry-After": "0.05"}),
        lambda: web.Response(status=503),
        lambda: web.Response(status=500, text="oops"),
        _page,
        lambda: web.json_response({"retCode": 10006, "retMsg": "Too many visits", "result": {}}),
        lambda: web.Response(body=b'{"retCode":0,"retMsg":"OK","result":{"list":[["17'),
    ],
)
async def test_a_fault_that_passes_costs_nothing(
    fault: Callable[[], web.StreamResponse], tmp_path: Path
) -> None:
    async with opened(tmp_path) as (servers, store):
        for part in ("open-interest", "funding/history", "mark-price-kline", "instruments-info"):
            servers.faults.append(once(part, fault, times=2))
        report = await filled(servers, store, "bybit")
        got = store.read("day")
    assert report.ok, report.lines
    assert got.height == 2 * DAYS
    assert got["native"].null_count() == got["funding_8h"].null_count() == 0


async def test_a_venue_that_fails_for_good_is_named_and_stops_no_other(tmp_path: Path) -> None:
    async with opened(tmp_path) as (servers, store):
        servers.faults += [
            once("/v5/market/instruments-info", lambda: web.Response(status=503), times=10**6),
            once("open-interest-history", _page, times=10**6),
            once("/dapi/", lambda: web.Response(status=429, headers={"Retry-After": "0"}), times=10**6),
            once("/fapi/", lambda: web.Response(status=451), times=10**6),
        ]
        some = sources(servers, "bybit", "okx", "gate", "binance_coinm", "binance_usdm")
        some += [at(SOURCES["dydx"], "http://127.0.0.1:1")]
        report = await backfill(store, some, ["BTC"], NOW - DAYS * DAY, NOW)
        got = store.read("day")
    assert not report.ok
    assert set(got["venue"]) == {"gate"}
    assert report.failures["bybit"].startswith("HTTP 503 at /v5/")
    assert report.failures["binance_coinm"].startswith("HTTP 429")
    assert report.failures["binance_usdm"].startswith("HTTP 451")
    assert "127.0.0.1:1" in report.failures["dydx"]
    assert any("okx BTC-USDT-SWAP" in line and "malformed" in line for line in report.lines), report.lines
    assert all("\n" not in line for line in report.lines)
    # Two spans that cannot be read, each asked four times, end each of the two instruments of OKX.
    assert servers.count("/api/v5/rubik/") == 2 * 2 * filling.ATTEMPTS
    assert servers.count("/fapi/") == 1  # asked once: the country will not change


async def test_what_was_got_before_a_failure_is_kept(tmp_path: Path) -> None:
    """The newest span comes first; the second fails; the next run asks for the rest only."""
    async with opened(tmp_path) as (servers, store):
        answers = [0]

        def second(request: web.Request) -> web.StreamResponse | None:
            if "open-interest-history?instId=BTC-USDT-SWAP" in request.path_qs:
                answers[0] += 1
                return web.Response(status=503) if answers[0] > 1 else None
            return None

        servers.faults.append(second)
        report = await filled(servers, store, "okx")
        assert not report.ok
        assert store.read("day").height == 90
        servers.faults.clear()
        servers.asked.clear()
        assert (await filled(servers, store, "okx")).ok
        got = store.read("day")
    assert got.height == 2 * DAYS
    # The span of ten days that was missing, and the one of the last day; the other contract needs two.
    assert servers.count("open-interest-history?instId=BTC-USDT-SWAP") == 2
    assert got["native"].null_count() == 0


async def test_an_answer_without_rows_is_a_hole_and_no_error(tmp_path: Path) -> None:
    async with opened(tmp_path) as (servers, store):
        servers.faults.append(once("open-interest", lambda: web.json_response(
            {"retCode": 0, "retMsg": "OK", "result": {"list": []}}), times=10**6))  # fmt: skip
        report = await filled(servers, store, "bybit", days=5)
        got = store.read("day")
    assert report.ok
    assert [len(one.holes) for one in report.outcomes] == [5, 5]
    assert got["native"].null_count() == got.height == 10
    assert got["close"].null_count() == 0


async def test_a_row_that_cannot_be_read_spoils_no_other(tmp_path: Path) -> None:
    async with opened(tmp_path) as (servers, store):
        rows = [
            {"openInterest": "100", "timestamp": str(TODAY - 2 * DAY)},
            {"openInterest": "", "timestamp": str(TODAY - DAY)},
            {"openInterest": "140", "timestamp": str(TODAY), "singleOpenInterest": "140"},
        ]
        body = {"retCode": 0, "retMsg": "OK", "result": {"list": rows}}
        servers.faults.append(once("open-interest?category=linear", lambda: web.json_response(body), 9))
        report = await filled(servers, store, "bybit", days=3)
        got = store.read("day").filter(pl.col("symbol") == "BTCUSDT")
    assert got["native"].to_list() == [50, None, None]
    linear = next(one for one in report.outcomes if one.symbol == "BTCUSDT")
    assert linear.unread == 2
    assert linear.holes == [TODAY - 2 * DAY, TODAY - DAY]
    assert len(linear.failures) == 1
    assert "1 times its one side" in linear.failures[0]


async def test_rows_out_of_order_repeated_and_from_elsewhere(tmp_path: Path) -> None:
    async with opened(tmp_path) as (servers, store):
        plain = [
            {"openInterest": str(2 * coins("BTC", TODAY - n * DAY)), "timestamp": str(TODAY - n * DAY)}
            for n in range(10)
        ]
        other = [{"openInterest": "1", "timestamp": str(TODAY + n * DAY)} for n in (-400, -12, 1, 5)]
        rows = [*other, *plain[::2], *plain[1::2], *plain]
        body = {"retCode": 0, "retMsg": "OK", "result": {"list": rows}}
        servers.faults.append(once("open-interest?category=linear", lambda: web.json_response(body), 9))
        report = await filled(servers, store, "bybit", days=10)
        got = store.read("day").filter(pl.col("symbol") == "BTCUSDT")
    assert report.ok, report.lines
    assert got.height == 10
    assert got["native"].to_list() == [coins("BTC", time + DAY) for time in got["time"]]


# The archive.


async def test_a_day_that_the_archive_lacks_is_a_hole_and_no_error(tmp_path: Path) -> None:
    async with opened(tmp_path) as (servers, store):
        servers.absent_days = {"2026-08-03"}
        report = await filled(servers, store, "binance_usdm")
        got = store.read("day")
    assert report.ok, report.lines
    (outcome,) = report.outcomes
    day = 1_785_715_200_000
    assert outcome.holes == [day]
    row = got.row(by_predicate=pl.col("time") == day, named=True)
    assert row["native"] is None
    assert row["close"] == price("BTC", day + DAY)
    assert got["native"].null_count() == 1
    assert servers.count("metrics-2026-08-03") == 1


def _damaged(kind: str) -> Callable[[], web.StreamResponse]:
    body = metrics("BTCUSDT", 1_785_715_200_000)
    if kind == "truncated":
        return lambda: web.Response(body=body[: len(body) // 2])
    if kind == "another":
        return lambda: web.Response(body=metrics("BTCUSDT", 1_785_715_200_000 + DAY))
    return _page


@pytest.mark.parametrize("kind", ["truncated", "another", "page"])
@pytest.mark.parametrize("times", [2, 10**6])
async def test_a_damaged_file_is_asked_for_three_times(kind: str, times: int, tmp_path: Path) -> None:
    async with opened(tmp_path) as (servers, store):
        damaged = once("2026-08-03.zip", _damaged(kind), times)
        servers.faults.append(lambda r: None if r.path.endswith("CHECKSUM") else damaged(r))
        report = await filled(servers, store, "binance_usdm")
        got = store.read("day")
    held = got.row(by_predicate=pl.col("time") == 1_785_715_200_000, named=True)["native"]
    assert got.height == DAYS
    assert servers.count("2026-08-03.zip") - servers.count("2026-08-03.zip.CHECKSUM") == 3
    if times == 2:
        assert report.ok, report.lines
        assert held == coins("BTC", 1_785_715_200_000 + DAY)
    else:
        assert held is None
        assert report.lines == ["binance_usdm BTCUSDT: file of 2026-08-03: does not have its checksum"]
        assert got["native"].null_count() == 1


async def test_a_file_without_checksum_and_without_names_is_read(tmp_path: Path) -> None:
    """Files from before August 2022 have no row of names."""
    async with opened(tmp_path) as (servers, store):
        servers.faults += [
            once("CHECKSUM", lambda: web.Response(status=404), times=10**6),
            once(
                "2026-08-03.zip",
                lambda: web.Response(body=metrics("BTCUSDT", 1_785_715_200_000, names=False)),
            ),
        ]
        report = await filled(servers, store, "binance_usdm")
        got = store.read("day")
    assert report.ok, report.lines
    assert got["native"].to_list() == [coins("BTC", time + DAY) for time in got["time"]]


async def test_an_archive_that_is_down_costs_its_days_only(tmp_path: Path) -> None:
    """Asked for the files that are asked for at once, three times each, and then no more."""
    async with opened(tmp_path) as (servers, store):
        servers.faults.append(once("/metrics/", lambda: web.Response(status=503), times=10**6))
        report = await filled(servers, store, "binance_usdm", assets=("BTC", "ETH"))
        got = store.read("day")
    assert not report.ok
    assert not report.failures
    assert "the archive: HTTP 503 at /data/futures/um/daily/metrics/BTCUSDT/" in report.lines[0]
    assert servers.count("/metrics/") <= 2 * filling.FILES_AT_ONCE * 3
    assert servers.count("/metrics/ETHUSDT") == 0
    assert got.height == 2 * 28  # what REST tells: from the first full day of the last 29 on
    assert got["native"].null_count() == 0


async def test_the_beginning_of_the_past_is_found_and_not_asked_beyond(tmp_path: Path) -> None:
    async with opened(tmp_path) as (servers, store):
        servers.since = TODAY - 50 * DAY
        report = await filled(servers, store, "binance_usdm", days=1000)
        got = store.read("day")
    assert report.ok, report.lines
    assert got.height == 50
    # 22 days in files, and what is before them in the same span of 60 days and in the next one, empty.
    files = servers.count(".zip") - servers.count(".CHECKSUM")
    assert 22 < files <= 22 + 60 + 60, files


# Again.


async def test_twice_is_the_same_store_and_asks_for_the_last_day_only(tmp_path: Path) -> None:
    names = ("binance_usdm", "bybit", "okx", "deribit", "gate")
    async with opened(tmp_path) as (servers, store):
        assert (await filled(servers, store, *names)).ok
        first, files = store.read("day"), _bytes(tmp_path)
        servers.asked.clear()
        report = await filled(servers, store, *names)
        assert report.ok
        again = store.read("day")
    assert_frame_equal(first, again)
    assert files == _bytes(tmp_path)
    assert servers.count(".zip") == 0
    for part in ("openInterestHist", "category=linear&symbol=BTCUSDT&intervalTime", "open-interest-history"):
        assert servers.count(part) in (1, 2), part  # one for each contract
    assert all(one.rows == 1 for one in report.outcomes)


async def test_a_last_day_that_is_not_told_any_more_stays(tmp_path: Path) -> None:
    async with opened(tmp_path) as (servers, store):
        assert (await filled(servers, store, "bybit", days=5)).ok
        before = store.read("day")
        servers.faults.append(once("open-interest", lambda: web.json_response(
            {"retCode": 0, "retMsg": "OK", "result": {"list": []}}), times=10**6))  # fmt: skip
        assert (await filled(servers, store, "bybit", days=5)).ok
        assert_frame_equal(store.read("day"), before)


async def test_the_operators_settings_count_as_they_do_live(tmp_path: Path) -> None:
    """Sides and symbols of the settings, as `follow.py` reads them."""
    config = Config(
        venues={"bybit": VenueConfig(oi_sides=1, symbols=("BTCUSDT",))}, assets=("BTC", "ETH")
    )  # fmt: skip
    async with opened(tmp_path) as (servers, store):
        await backfill(
            store, sources(servers, "bybit"), config.assets, NOW - 3 * DAY, NOW, choices=choices_of(config)
        )
        got = store.read("day")
    assert got["symbol"].to_list() == ["BTCUSDT"] * 3
    assert got["native"].to_list() == [2 * coins("BTC", time + DAY) for time in got["time"]]


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


async def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    async with opened(tmp_path) as (servers, store):
        some = sources(servers, "binance_usdm")
        running: asyncio.Task[Report]

        def stop(_venue: str, done: int, total: int, _rows: int) -> None:
            if 0 < done < total:
                running.cancel()

        start = NOW - DAYS * DAY
        running = asyncio.create_task(backfill(store, some, ["BTC"], start, NOW, progress=stop))
        await asyncio.wait([running])
        assert running.cancelled()
        kept = store.read("day").height
        assert kept == 28
        await asyncio.sleep(0.2)  # what was on its way
        servers.asked.clear()
        seen: list[tuple[str, int, int, int]] = []
        report = await backfill(
            store, some, ["BTC"], start, NOW, progress=lambda *told: seen.append(told)
        )  # fmt: skip
        got = store.read("day")
    assert report.ok
    assert got.height == DAYS
    assert got["native"].to_list() == [coins("BTC", time + DAY) for time in got["time"]]
    # What is asked: the 72 days of files, a checksum for each, and the last day by REST.
    assert servers.count(".CHECKSUM") == DAYS - kept
    assert servers.count("openInterestHist") <= 3
    assert seen[0] == ("binance_usdm", 0, DAYS - kept + 1, 0)
    assert seen[-1] == ("binance_usdm", DAYS - kept + 1, DAYS - kept + 1, DAYS - kept + 1)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_runs_that_fail_here_and_there_come_to_the_whole_past(seed: int, tmp_path: Path) -> None:
    """One request in five fails somehow; the same command again and again gets it all, and nothing else."""
    chance = random.Random(seed)
    names = ("binance_usdm", "bybit", "okx", "gate", "dydx")

    def fault(_: web.Request) -> web.StreamResponse | None:
        if chance.random() > 0.2:
            return None
        return chance.choice([
            web.Response(status=503), web.Response(status=429, headers={"Retry-After": "0.01"}), _page(),
            web.Response(body=b'{"code":"0"'), web.Response(body=b"PK\x03\x04"),
        ])  # fmt: skip

    async with opened(tmp_path) as (servers, store):
        servers.faults.append(fault)
        for _ in range(20):
            report = await filled(servers, store, *names, days=60)
            if report.ok:
                break
        got = store.read("day")
    assert report.ok, report.lines
    assert {rows.height for _, rows in got.group_by("venue", "symbol")} == {60}
    for row in got.rows(named=True):
        truth = expected(row["margin"], "BTC", row["time"], DAY)
        for column, value in truth.items():
            assert row[column] == pytest.approx(value, rel=1e-6, abs=1e-12), (column, row)


# The gap of an outage.


async def test_the_gap_of_an_outage_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as (servers, store):
        for source in sources(servers, "binance_usdm", "bybit", "hyperliquid"):
            monkeypatch.setitem(SOURCES, source.name, source)
        settings = {
            name: VenueConfig(enabled=name in ("binance_usdm", "bybit", "hyperliquid"), rest_url=servers.url)
            for name in VENUES
        }
        settings["bybit"] = VenueConfig(rest_url=servers.url, symbols=("BTCUSDT",))
        config = Config(venues=settings, assets=("BTC",))
        report = await fill_gap(store, config, NOW)
        days, hours = store.read("day"), store.read("hour")
        servers.asked.clear()
        again = await fill_gap(store, config, NOW)
    assert report.ok, report.lines
    assert again.ok
    assert set(days["venue"]) == {"binance_usdm", "bybit", "hyperliquid"}
    assert set(hours["venue"]) == {"binance_usdm", "bybit"}
    assert set(days.filter(pl.col("venue") == "bybit")["symbol"]) == {"BTCUSDT"}
    for _, rows in days.group_by("venue", "symbol"):
        assert rows.height == 30
    for _, rows in hours.group_by("venue", "symbol"):
        assert rows.height == 17 * 24
        assert rows["native"].null_count() == 0
    assert servers.count("openInterestHist") == 2  # the last day, and the last hour
