"""The shell that asks slow sources: polite, patient, and not to be impressed by rubbish."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from aiohttp import web
from conftest import NOW, Respond, raw, rest_server, until

from monitor.clock import Clock
from monitor.config import Config, ConfigError, SourceConfig
from monitor.feeds import slow as slows
from monitor.feeds.slow import AGENT, Asked, Slow, chosen
from monitor.health import HEALTH, SOURCE_PROBLEMS, Health
from monitor.sources import SOURCES
from monitor.sources.source import DAY, HOUR, Source

SAMPLES = Path(__file__).parent / "samples"
GOLD = SOURCES["gold_api"]
SECRET = "s3cret-k3y"  # noqa: S105 -- what must never be seen again


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first question comes at once."""
    monkeypatch.setattr(slows, "SPREAD_S", 0.0)


def gold(price: float = 4152.4, time: str = "2026-09-30T07:58:21Z") -> bytes:
    return orjson.dumps({"name": "Gold", "price": price, "symbol": "XAU", "updatedAt": time})


def quick(source: Source = GOLD, every_s: float = 0.1, **changes: Any) -> Source:
    return msgspec.structs.replace(source, every_s=every_s, **changes)


class Run(msgspec.Struct):
    """A `Slow` that runs, and what it told."""

    slow: Slow
    health: Health

    def problems(self, kind: str, source: str = "gold_api") -> int:
        return self.health.source_problems[source, kind]


@asynccontextmanager
async def running(folder: Path, *asked: Asked, now: int = NOW) -> AsyncIterator[Run]:
    """Runs it meanwhile; fails if it ended by itself."""
    health = Health([])
    slow = Slow(asked, folder, health, Clock(now))
    task = asyncio.create_task(slow.run())
    try:
        yield Run(slow, health)
        if task.done():
            await task
            raise AssertionError("it ended by itself")
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=5)
    assert task.cancelled()


def rested(folder: Path, *asked: Asked, now: int = NOW) -> Run:
    """A `Slow` that only remembers."""
    health = Health([])
    return Run(Slow(asked, folder, health, Clock(now)), health)


class Server(msgspec.Struct):
    """Answers from a list, the last one for ever; keeps the questions."""

    answers: Sequence[web.Response | bytes]
    asked: list[tuple[float, web.Request]] = []

    async def respond(self, request: web.Request) -> web.StreamResponse:
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append((asyncio.get_running_loop().time(), request))
        if isinstance(answer, bytes):
            return web.Response(body=answer)
        return web.Response(body=answer.body, status=answer.status, headers=answer.headers)


def kept(folder: Path, name: str = "gold_api") -> slows.Kept:
    return msgspec.json.decode((folder / f"{name}.json").read_bytes(), type=slows.Kept)


def waits_s(folder: Path, name: str = "gold_api") -> float:
    about = kept(folder, name)
    return (about.not_before - about.asked_at) / 1000


# What is good.


async def test_asks_keeps_and_tells(tmp_path: Path) -> None:
    server = Server([gold()])
    async with rest_server(server.respond) as url, running(tmp_path, Asked(GOLD, url + "/XAU")) as run:
        await until(lambda: run.slow.values and (tmp_path / "gold_api.body").exists())
        value = run.slow.values["gold_api"]
        assert value.frame["price_usd_oz"].to_list() == [4152.4]
        assert value.as_of == 1_790_755_101_000
        assert 0 <= value.fetched_at - NOW < 5000
        assert value.problem is None
        assert run.health.source_as_of == {"gold_api": value.as_of}
        await until(lambda: waits_s(tmp_path) >= GOLD.every_s)
        await asyncio.sleep(0.2)
    assert len(server.asked) == 1
    request = server.asked[0][1]
    assert request.headers["User-Agent"] == AGENT
    assert "leverage-monitor" in AGENT
    assert (tmp_path / "gold_api.body").read_bytes() == gold()


@pytest.mark.parametrize("name", ["cftc", "yahoo_gc", "gvz_fred", "swissquote", "binance_paxg", "okx_xau"])
async def test_addresses_arrive_as_they_are_meant(tmp_path: Path, name: str) -> None:
    server = Server([b"<html>"])
    source = SOURCES[name]
    assert source.url is not None
    path = source.url.split("://", 1)[1].partition("/")[2]
    async with rest_server(server.respond) as url, running(tmp_path, Asked(source, f"{url}/{path}")) as run:
        await until(lambda: run.slow.problems)
    request = server.asked[0][1]
    assert request.raw_path == f"/{path}"
    if name == "cftc":
        assert request.query == {
            "$where": "cftc_contract_market_code in('133741','133742','146021','146022')",
            "$order": "report_date_as_yyyy_mm_dd DESC", "$limit": "1000",
        }  # fmt: skip


async def test_asks_at_most_once_in_its_interval(tmp_path: Path) -> None:
    server = Server([gold()])
    async with rest_server(server.respond) as url:
        async with running(tmp_path, Asked(quick(every_s=0.3), url)):
            await until(lambda: len(server.asked) >= 4)
    times = [time for time, _ in server.asked]
    assert all(after - before >= 0.29 for before, after in pairwise(times))


async def test_what_has_not_changed_is_not_sent_again(tmp_path: Path) -> None:
    tag = {"ETag": '"v1"', "Last-Modified": "Wed, 30 Sep 2026 07:00:00 GMT"}
    server = Server([web.Response(body=gold(), headers=tag), web.Response(status=304)])
    async with rest_server(server.respond) as url:
        async with running(tmp_path, Asked(quick(), url)) as run:
            await until(lambda: run.slow.values)
            first = run.slow.values["gold_api"]
            await until(lambda: run.slow.values["gold_api"].fetched_at > first.fetched_at)
            second = run.slow.values["gold_api"]
    assert (second.as_of, second.problem) == (first.as_of, None)
    assert second.frame.equals(first.frame)
    for _, request in server.asked[1:]:
        assert request.headers["If-None-Match"] == '"v1"'
        assert request.headers["If-Modified-Since"] == tag["Last-Modified"]
    assert "If-None-Match" not in server.asked[0][1].headers


async def test_an_unchanged_table_grows_too_old(tmp_path: Path) -> None:
    tag = {"ETag": '"v1"'}
    server = Server([web.Response(body=gold(), headers=tag)])
    async with rest_server(server.respond) as url:
        asked = Asked(quick(), url)
        async with running(tmp_path, asked) as run:
            await until(lambda: run.slow.values and (tmp_path / "gold_api.body").exists())
            await until(lambda: kept(tmp_path).etag)
        server.answers = [web.Response(status=304)]
        async with running(tmp_path, asked, now=NOW + 10 * DAY) as run:
            await until(lambda: run.problems("rubbish"))
            value = run.slow.values["gold_api"]
    assert value.as_of == 1_790_755_101_000
    assert value.problem is not None
    assert value.problem.startswith("an old table")


async def test_all_sources_are_asked_and_one_that_fails_disturbs_no_other(tmp_path: Path) -> None:
    async def respond(request: web.Request) -> web.StreamResponse:
        if request.path == "/broken":
            return web.Response(status=500)
        return web.Response(body=b"969300" if request.path == "/height" else gold())

    async with rest_server(respond) as url:
        async with running(
            tmp_path, Asked(GOLD, url + "/gold"), Asked(SOURCES["mempool"], url + "/height"),
            Asked(SOURCES["cftc"], url + "/broken"),
        ) as run:  # fmt: skip
            await until(lambda: len(run.slow.values) == 2 and run.slow.problems)
            assert set(run.slow.values) == {"gold_api", "mempool"}
            assert set(run.slow.problems) == {"cftc"}
            assert run.problems("status", "cftc") == 1


async def test_nothing_to_ask_runs_too(tmp_path: Path) -> None:
    async with running(tmp_path):
        await asyncio.sleep(0.05)


# What is not.


@pytest.mark.parametrize(
    ("answer", "kind", "text", "least_s"),
    [
        (web.Response(status=403, body=b"<html>"), "denied", "127.0.0.1: HTTP 403", 2 * 3600),
        (web.Response(status=401), "denied", "127.0.0.1: HTTP 401", 2 * 3600),
        (web.Response(status=429), "throttled", "127.0.0.1: HTTP 429", 2 * 3600),
        (web.Response(status=429, headers={"Retry-After": "20000"}), "throttled", "HTTP 429", 20_000),
        (web.Response(status=429, headers={"Retry-After": "1"}), "throttled", "HTTP 429", 2 * 3600),
        (web.Response(status=500), "status", "127.0.0.1: HTTP 500", 300),
        (web.Response(status=503, headers={"Retry-After": "4000"}), "status", "HTTP 503", 4000),
        (web.Response(status=204), "status", "127.0.0.1: HTTP 204", 300),
        (web.Response(status=304), "status", "nothing has changed since an answer that we do not have", 300),
        (web.Response(body=b"<html>blocked</html>"), "rubbish", "HTML instead of JSON", 300),
        (web.Response(body=gold(41.5)), "rubbish", "unit: 41.5 USD/oz is outside 500", 300),
        (web.Response(status=302, headers={"Location": "http://127.0.0.2/x?token=abc"}), "redirect",
         "127.0.0.1: redirected to http://127.0.0.2, not followed", 300),
        (web.Response(status=301, headers={"Location": "/again"}), "redirect", "more than 3 times", 300),
        (web.Response(status=301), "redirect", "more than 3 times", 300),
    ],
)  # fmt: skip
async def test_a_bad_answer_is_named_counted_and_waited_for(
    tmp_path: Path, answer: web.Response, kind: str, text: str, least_s: float
) -> None:
    server = Server([answer])
    async with rest_server(server.respond) as url, running(tmp_path, Asked(GOLD, url + "/XAU?a=b")) as run:
        await until(lambda: run.slow.problems)
        assert text in run.slow.problems["gold_api"]
        assert "token" not in run.slow.problems["gold_api"]
        assert run.problems(kind) == sum(run.health.source_problems.values()) == 1
        assert run.health.source_last_problem["gold_api"].stage == kind
        assert run.slow.values == {}
        assert run.health.source_as_of == {}
        await until(lambda: kept(tmp_path).failures)
        await until(lambda: waits_s(tmp_path) >= least_s)
        assert waits_s(tmp_path) <= least_s * 1.2 + 1
    assert len(server.asked) <= slows.REDIRECTS + 1


async def test_a_bad_answer_leaves_the_last_good_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = (web.Response(status=403), web.Response(body=b"<html>"), web.Response(status=500))
    server = Server([gold(), *bad, gold(1e9), gold(4160)])
    monkeypatch.setattr(slows, "PATIENCE_S", 0.1)
    async with rest_server(server.respond) as url:
        async with running(tmp_path, Asked(quick(every_s=0.05), url)) as run:
            for kind in ("denied", "rubbish", "status"):
                await until(lambda kind=kind: run.problems(kind))  # type: ignore[misc]
                value = run.slow.values["gold_api"]
                assert value.frame["price_usd_oz"].to_list() == [4152.4]
                assert value.as_of == 1_790_755_101_000
            await until(lambda: run.problems("rubbish") == 2, 10)
            assert run.slow.values["gold_api"].problem is not None
            assert run.health.source_as_of == {"gold_api": 1_790_755_101_000}
            await until(lambda: "gold_api" not in run.slow.problems, 10)
            good = run.slow.values["gold_api"]
    assert (good.frame["price_usd_oz"].to_list(), good.problem) == ([4160], None)
    assert run.health.source_last_problem == {}


@pytest.mark.parametrize("name", ["binance_xau", "okx_xaut"])
async def test_a_refusal_leaves_the_last_price_of_what_stands_for_gold(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = (SAMPLES / f"{name}.json").read_bytes()
    bad = web.Response(status=451), web.Response(body=b"<html>"), web.Response(body=b"[]")
    server = Server([good, *bad])
    monkeypatch.setattr(slows, "PATIENCE_S", 0.1)
    async with rest_server(server.respond) as url:
        async with running(tmp_path, Asked(quick(SOURCES[name], every_s=0.05), url)) as run:
            await until(lambda: run.problems("denied", name))
            await until(lambda: run.problems("rubbish", name) >= 2, 10)
            value = run.slow.values[name]
    assert value.frame.equals(SOURCES[name].parse(good, NOW))
    assert (value.as_of, value.problem) == (run.health.source_as_of[name], run.slow.problems[name])


async def test_failures_double_the_wait_and_success_resets_it(tmp_path: Path) -> None:
    server = Server((*(web.Response(status=500) for _ in range(4)), gold()))
    async with rest_server(server.respond) as url:
        async with running(tmp_path, Asked(quick(every_s=0.1), url)) as run:
            await until(lambda: len(server.asked) >= 7, 20)
            assert run.slow.problems == {}
    times = [time for time, _ in server.asked]
    steps = [after - before for before, after in pairwise(times)]
    for step, least in zip(steps, (0.1, 0.2, 0.4, 0.8, 0.1, 0.1), strict=False):
        assert least - 0.01 <= step
    assert steps[3] > 4 * steps[4] * 0.5


async def test_waits_do_not_grow_for_ever(tmp_path: Path) -> None:
    run = rested(tmp_path, Asked(GOLD, "http://127.0.0.1:1"))
    asked = Asked(GOLD, "http://127.0.0.1:1")
    plain = [run.slow._wait(asked, slows.Failed("status", "")) for _ in range(20)]  # noqa: SLF001
    assert plain[:3] == [300, 600, 1200]
    assert plain[-1] == slows.LONGEST_S
    denied = run.slow._wait(asked, slows.Failed("denied", "", slows.PATIENCE_S))  # noqa: SLF001
    assert denied == DAY / 1000


async def test_a_server_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slows, "TIMEOUT_S", 0.2)
    async with raw(None) as address, running(tmp_path, Asked(GOLD, f"http://{address}/")) as run:
        await until(lambda: run.problems("timeout"))
        assert run.slow.problems["gold_api"] == "127.0.0.1: no answer in 0 s"


@pytest.mark.parametrize(
    "answer", [b"", b"rubbish\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"]
)
async def test_an_answer_that_is_none(tmp_path: Path, answer: bytes) -> None:
    async with raw(answer) as address, running(tmp_path, Asked(GOLD, f"http://{address}/")) as run:
        await until(lambda: run.problems("unreachable"))


async def test_nobody_there(tmp_path: Path) -> None:
    async with running(tmp_path, Asked(GOLD, "http://127.0.0.1:1/x?token=abc")) as run:
        await until(lambda: run.problems("unreachable"))
        assert run.slow.problems["gold_api"] == "127.0.0.1: Connection refused"


async def test_an_answer_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slows, "LARGEST", 1 << 20)
    server = Server([b"0" * (3 << 20)])
    async with rest_server(server.respond) as url, running(tmp_path, Asked(GOLD, url)) as run:
        await until(lambda: run.problems("oversize"))
        assert run.slow.problems["gold_api"] == "127.0.0.1: more than 1 MiB"


async def test_a_redirect_within_the_host_is_followed(tmp_path: Path) -> None:
    async def respond(request: web.Request) -> web.StreamResponse:
        if request.path == "/old":
            return web.Response(status=302, headers={"Location": "/new"})
        return web.Response(body=gold())

    async with rest_server(respond) as url, running(tmp_path, Asked(GOLD, url + "/old")) as run:
        await until(lambda: run.slow.values)


async def test_a_redirect_elsewhere_is_not_even_asked(tmp_path: Path) -> None:
    other = Server([gold()])
    async with rest_server(other.respond) as elsewhere:
        moved = Server([web.Response(status=307, headers={"Location": elsewhere + "/XAU"})])
        async with rest_server(moved.respond) as url, running(tmp_path, Asked(GOLD, url)) as run:
            await until(lambda: run.problems("redirect"))
    assert other.asked == []


# Continuity.


async def test_a_jump_is_refused_until_the_past_is_forgotten(tmp_path: Path) -> None:
    server = Server([gold(4152), gold(2000)])
    async with rest_server(server.respond) as url:
        async with running(tmp_path, Asked(quick(forget=700), url)) as run:
            await until(lambda: run.problems("rubbish"))
            assert "jumps from 4,152 to 2,000" in run.slow.problems["gold_api"]
            assert run.slow.values["gold_api"].frame["price_usd_oz"].to_list() == [4152]
            await until(lambda: not run.slow.problems, 10)
            assert run.slow.values["gold_api"].frame["price_usd_oz"].to_list() == [2000]


# Restarts.


@asynccontextmanager
async def before_and_after(folder: Path) -> AsyncIterator[tuple[Asked, Server]]:
    """One run has kept a value; the next begins."""
    server = Server([gold(), web.Response(status=500)])
    async with rest_server(server.respond) as url:
        asked = Asked(GOLD, url)
        async with running(folder, asked) as run:
            await until(lambda: run.slow.values and (folder / "gold_api.body").exists())
            await until(lambda: kept(folder).digest)
        yield asked, server


async def test_a_restart_keeps_the_value_with_its_age_and_the_schedule(tmp_path: Path) -> None:
    async with before_and_after(tmp_path) as (asked, server):
        run = rested(tmp_path, asked, now=NOW + 20 * DAY)
        value = run.slow.values["gold_api"]
        assert value.frame["price_usd_oz"].to_list() == [4152.4]
        assert value.as_of == 1_790_755_101_000
        assert value.fetched_at < NOW + 5000
        assert run.health.source_as_of == {"gold_api": value.as_of}
        assert run.slow.problems == {}
        async with running(tmp_path, asked, now=NOW + HOUR // 60) as again:
            await asyncio.sleep(0.3)
            assert again.slow.values["gold_api"].as_of == value.as_of
        assert len(server.asked) == 1  # a minute after the first question there is no second
        async with running(tmp_path, asked, now=NOW + HOUR) as again:
            await until(lambda: again.problems("status"))
            assert again.slow.values["gold_api"].as_of == value.as_of
            assert again.slow.values["gold_api"].problem == "127.0.0.1: HTTP 500"
        assert len(server.asked) == 2


async def test_a_restart_does_not_forget_that_it_was_denied(tmp_path: Path) -> None:
    server = Server([web.Response(status=403)])
    async with rest_server(server.respond) as url:
        async with running(tmp_path, Asked(GOLD, url)) as run:
            await until(lambda: run.problems("denied"))
            await until(lambda: waits_s(tmp_path) > 3600)
        async with running(tmp_path, Asked(GOLD, url), now=NOW + HOUR) as run:
            await asyncio.sleep(0.3)
    assert len(server.asked) == 1


@pytest.mark.parametrize("damage", ["body cut", "body gone", "about cut", "about rubbish", "both swapped"])
async def test_what_a_crash_has_cut_off_is_ignored_and_named(tmp_path: Path, damage: str) -> None:
    async with before_and_after(tmp_path) as (asked, _):
        body, about = tmp_path / "gold_api.body", tmp_path / "gold_api.json"
        match damage:
            case "body cut":
                body.write_bytes(body.read_bytes()[:-10])
            case "body gone":
                body.unlink()
            case "about cut":
                about.write_bytes(about.read_bytes()[:-10])
            case "about rubbish":
                about.write_bytes(b"\xff\xfe\0")
            case _:
                body.write_bytes(gold(9999))
        run = rested(tmp_path, asked)
        assert run.slow.values == {}
        assert run.problems("cache") == 1
        assert run.slow.problems["gold_api"].startswith("ignored what was kept: ")
        assert str(tmp_path) in run.slow.problems["gold_api"]
        server = Server([gold(4160)])
        async with rest_server(server.respond) as url:
            async with running(tmp_path, msgspec.structs.replace(asked, url=url)) as again:
                await until(lambda: again.slow.values)
                assert again.slow.problems == {}
        assert "If-None-Match" not in server.asked[0][1].headers


async def test_what_another_address_told_is_not_this_ones(tmp_path: Path) -> None:
    async with before_and_after(tmp_path) as (asked, _):
        run = rested(tmp_path, msgspec.structs.replace(asked, url=f"{asked.url}/other"))
        assert run.slow.values == {}
        assert run.slow.problems == {}


async def test_a_folder_that_cannot_be_written_costs_only_the_restart(tmp_path: Path) -> None:
    (tmp_path / "sources").write_text("a file where the folder should be")
    server = Server([gold()])
    async with rest_server(server.respond) as url, running(tmp_path / "sources", Asked(GOLD, url)) as run:
        await until(lambda: run.slow.values and run.problems("cache") >= 3)
        assert run.slow.values["gold_api"].frame["price_usd_oz"].to_list() == [4152.4]
        assert "cannot keep it" in run.slow.problems["gold_api"]


# The operator's files.


async def test_a_file_is_read_and_read_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slows, "FILE_EVERY_S", 0.05)
    path = tmp_path / "flows.csv"
    text = (SAMPLES / "etf_farside.csv").read_text()
    asked = Asked(SOURCES["etf_btc"], file=path)
    async with running(tmp_path / "kept", asked) as run:
        await until(lambda: run.problems("file", "etf_btc"))
        assert run.slow.problems["etf_btc"] == f"{path}: No such file or directory"
        path.write_text(text)
        await until(lambda: run.slow.values)
        assert run.slow.problems == {}
        first = run.slow.values["etf_btc"]
        path.write_text(text.replace("12.5,-,-,-,-,12.5", "12.5,1.0,1.0,1.0,1.0,16.5"))
        await until(lambda: run.slow.values["etf_btc"].as_of > first.as_of)
        second = run.slow.values["etf_btc"]
        assert second.as_of - first.as_of == DAY
        path.write_text("<html>")
        await until(lambda: run.problems("rubbish", "etf_btc") >= 2)  # and again, until it is mended
        assert run.slow.values["etf_btc"].as_of == second.as_of
        path.unlink()
        await until(lambda: run.problems("file", "etf_btc") >= 2)
    assert rested(tmp_path / "kept", asked).slow.values["etf_btc"].as_of == second.as_of


# Secrets.


@pytest.mark.parametrize("name", ["etherscan", "etf_btc"])
async def test_a_key_is_sent_and_never_seen_again(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = tmp_path / "key"
    key.write_text(f"{SECRET}\n")
    asked: list[web.Request] = []

    async def respond(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        if len(asked) == 2:
            return web.Response(status=302, headers={"Location": f"http://127.0.0.2/{SECRET}"})
        said = {"status": "0", "message": "NOTOK", "result": f"Invalid API Key {SECRET}",
                "code": "30001", "msg": f"invalid {SECRET}"}  # fmt: skip
        return web.json_response(said)

    folder = tmp_path / "kept"
    async with rest_server(respond) as url:
        one = Asked(quick(SOURCES[name]), f"{url}/api?module=stats", key_file=key)
        async with running(folder, one) as run:
            await until(lambda: run.problems("rubbish", name) >= 2 and run.problems("redirect", name), 10)
            assert "nvalid" in run.slow.problems[name]
            told = [repr(run.slow.problems), repr(run.health.source_last_problem), caplog.text]
    if name == "etherscan":
        assert asked[0].query == {"module": "stats", "apikey": SECRET}
    else:
        assert asked[0].headers["CG-API-KEY"] == SECRET
        assert asked[0].query_string == "module=stats"
    assert caplog.text.count("nvalid") >= 1
    told += [path.read_text() for path in folder.iterdir()]
    assert not [text for text in told if SECRET in text]


@pytest.mark.parametrize(
    ("content", "text"),
    [(None, "No such file"), (b"", "holds no key"), (b"a\nb", "holds no key"), (b"\xff\xfe", "holds no key")],
)
async def test_a_key_file_without_a_key_is_named_and_nobody_is_asked(
    tmp_path: Path, content: bytes | None, text: str
) -> None:
    key = tmp_path / "key"
    if content is not None:
        key.write_bytes(content)
    server = Server([gold()])
    async with rest_server(server.respond) as url:
        one = Asked(SOURCES["etherscan"], url, key_file=key)
        async with running(tmp_path / "kept", one) as run:
            await until(lambda: run.problems("file", "etherscan"))
            assert text in run.slow.problems["etherscan"]
    assert server.asked == []


async def test_an_address_that_holds_a_token_is_not_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    respond: Respond = Server([web.Response(status=500), b"<html>"]).respond
    async with rest_server(respond) as url:
        async with running(tmp_path, Asked(quick(), f"{url}/{SECRET}?token={SECRET}")) as run:
            await until(lambda: run.problems("status") and run.problems("rubbish"))
    told = [caplog.text, *(path.read_text() for path in tmp_path.iterdir())]
    assert "source gold_api: status: 127.0.0.1: HTTP 500" in caplog.text
    assert not [text for text in told if SECRET in text]


# Metrics.


async def test_the_metrics_of_sources(tmp_path: Path) -> None:
    async with before_and_after(tmp_path) as (asked, _):
        run = rested(tmp_path, asked, Asked(SOURCES["cftc"], "http://127.0.0.1:1"))
    run.health.source_failed("cftc", "denied", "HTTP 403", NOW)
    found = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in run.health.collect()
        for sample in family.samples
        if sample.name.startswith("monitor_source")
    }
    assert found["monitor_source_timestamp_seconds", ("gold_api",)] == 1_790_755_101
    assert ("monitor_source_timestamp_seconds", ("cftc",)) not in found
    assert found["monitor_source_max_age_seconds", ("cftc",)] == 14 * 86_400
    assert found["monitor_source_problems_total", ("cftc", "denied")] == 1
    for name in ("gold_api", "cftc"):
        for kind in SOURCE_PROBLEMS:
            assert ("monitor_source_problems_total", (name, kind)) in found
    for name in ("monitor_source_timestamp_seconds", "monitor_source_max_age_seconds"):
        assert HEALTH[name][1] == ("source",)


# Settings.


def test_the_usual_sources_need_no_settings() -> None:
    assert {one.name for one in chosen(Config())} == {
        "gold_api", "lbma_pm", "binance_xau", "okx_xaut", "mempool", "blockstream", "cftc", "ultrasound",
        "gvz",
    }  # fmt: skip


def test_naming_a_source_switches_it_on_and_one_can_be_switched_off(tmp_path: Path) -> None:
    config = Config(
        sources={
            "swissquote": SourceConfig(), "gold_api": SourceConfig(enabled=False),
            "etf_btc": SourceConfig(file=tmp_path / "flows.csv"),
            "mempool": SourceConfig(url="http://127.0.0.1:3000/api/blocks/tip/height"),
        }
    )  # fmt: skip
    found = {one.name: one for one in chosen(config)}
    assert "swissquote" in found
    assert "gold_api" not in found
    assert (found["etf_btc"].url, found["etf_btc"].file) == (None, tmp_path / "flows.csv")
    assert found["etf_btc"].every_s == slows.FILE_EVERY_S
    assert found["mempool"].url == "http://127.0.0.1:3000/api/blocks/tip/height"
    assert found["mempool"].every_s == SOURCES["mempool"].every_s


@pytest.mark.parametrize(
    ("name", "setting", "text"),
    [
        ("gold_apl", SourceConfig(), "unknown source 'gold_apl'; there are gold_api, lbma_pm"),
        ("etf_btc", SourceConfig(), "sources.etf_btc: give a file or a url; docs/SOURCES.md shows the form"),
        ("cme", SourceConfig(url="http://x/", file=Path("y")), "sources.cme: give url or file, not both"),
        ("etherscan", SourceConfig(), "sources.etherscan: needs key_file"),
        ("gold_api", SourceConfig(key_file=Path("k")), "sources.gold_api: wants no key"),
    ],
)
def test_wrong_settings_are_told_in_one_line(name: str, setting: SourceConfig, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        chosen(Config(sources={name: setting}))
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_of_sources_come_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONITOR_SOURCES__ETHERSCAN__KEY_FILE", "/run/secrets/etherscan")
    assert Config().sources["etherscan"].key_file == Path("/run/secrets/etherscan")
