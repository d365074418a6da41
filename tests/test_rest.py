"""The shell that asks by HTTP, against servers that do not want to be asked."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import msgspec
import orjson
import pytest
from aiohttp import web
from conftest import Respond, raw, rest_server, until, venue_at
from hypothesis import given, strategies as st

from monitor.feeds import rest as rests
from monitor.feeds.rest import PAGES, Rest, RestError, Throttled, retry_after
from monitor.venue import Budget, InstrumentList, Request, Unreadable, Venue
from monitor.venues import VENUES

ASK = Request("/ask?what=that")


def _venue(url: str, budget: Budget | None = None) -> Venue:
    return msgspec.structs.replace(venue_at("okx", rest=url), budget=budget or Budget("test", 1000.0))


@asynccontextmanager
async def asking(respond: Respond, budget: Budget | None = None) -> AsyncIterator[tuple[Rest, Venue]]:
    async with rest_server(respond) as url, Rest() as rest:
        yield rest, _venue(url, budget)


async def _ok(_: web.Request) -> web.StreamResponse:
    return web.Response(text="{}")


def _now() -> float:
    return asyncio.get_running_loop().time()


# What is asked.


async def test_gets_the_body() -> None:
    async def respond(request: web.Request) -> web.StreamResponse:
        return web.Response(text=f"{request.method} {request.path_qs} {request.headers['User-Agent']}")

    async with asking(respond) as (rest, venue):
        assert await rest.ask(venue, ASK) == b"GET /ask?what=that leverage-monitor"


async def test_posts_a_body_as_json() -> None:
    async def respond(request: web.Request) -> web.StreamResponse:
        return web.json_response([request.method, request.content_type, await request.json()])

    async with asking(respond) as (rest, venue):
        asked = Request("/info", body='{"type":"meta"}')
        assert orjson.loads(await rest.ask(venue, asked)) == ["POST", "application/json", {"type": "meta"}]


async def test_reads_an_answer_that_is_compressed() -> None:
    async def respond(_: web.Request) -> web.StreamResponse:
        return web.Response(body=gzip.compress(b"[1]"), headers={"Content-Encoding": "gzip"})

    async with asking(respond) as (rest, venue):
        assert await rest.ask(venue, ASK) == b"[1]"


def _paging(url: str, pages: int) -> Venue:
    def following(request: Request, body: bytes) -> Request | None:
        page = orjson.loads(body)
        if not isinstance(page, int):
            raise Unreadable(str(page))
        return Request(f"{request.path[:2]}?page={page + 1}") if page + 1 < pages else None

    listed = InstrumentList((Request("/a?page=0"), Request("/b?page=0")), lambda _: (), following)
    return msgspec.structs.replace(_venue(url), instruments=listed)


async def _page(request: web.Request) -> web.StreamResponse:
    return web.Response(text=request.query["page"])


async def test_turns_the_pages_of_each_list() -> None:
    async with rest_server(_page) as url, Rest() as rest:
        assert await rest.instruments(_paging(url, 3)) == [b"0", b"1", b"2"] * 2


async def test_a_list_that_never_ends_is_left() -> None:
    async with rest_server(_page) as url, Rest() as rest:
        assert len(await rest.instruments(_paging(url, 1 << 30))) == 2 * PAGES


async def test_a_page_that_fails_fails_the_list() -> None:
    async def respond(request: web.Request) -> web.StreamResponse:
        return web.Response(status=500) if request.query["page"] == "2" else await _page(request)

    async def rubbish(_: web.Request) -> web.StreamResponse:
        return web.Response(text="[]")

    async with rest_server(respond) as url, rest_server(rubbish) as other, Rest() as rest:
        with pytest.raises(RestError, match=r"^HTTP 500 at /a$"):
            await rest.instruments(_paging(url, 3))
        with pytest.raises(Unreadable):
            await rest.instruments(_paging(other, 3))


# What goes wrong.


@pytest.mark.parametrize("status", [204, 301, 302, 400, 403, 404, 451, 500, 503])
async def test_another_status_is_an_error(status: int) -> None:
    async def respond(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": "http://a..b/"})

    async with asking(respond) as (rest, venue):
        with pytest.raises(RestError, match=f"^HTTP {status} at /ask$"):
            await rest.ask(venue, ASK)


HTTP = b"HTTP/1.1 "


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"\0\xff rubbish\r\n\r\n", HTTP + b"abc OK\r\n\r\n", HTTP + b"200 OK\r\nX: " + b"a" * 99_999,
        HTTP + b"200 OK\r\nContent-Length: -5\r\n\r\nabc", HTTP + b"200 OK\r\nContent-Length: 9\r\n\r\nabc",
        HTTP + b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc", HTTP + b"101 Switching\r\n\r\n",
        HTTP + b"200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nabcde",
        HTTP + b"200 OK\r\nContent-Encoding: br\r\nContent-Length: 5\r\n\r\nabcde",
        HTTP + b"302 Found\r\nLocation: foo://\xff\r\nContent-Length: 0\r\n\r\n",
    ],
)  # fmt: skip
async def test_an_answer_that_is_no_answer_is_an_error(answer: bytes) -> None:
    async with raw(answer) as address, Rest() as rest:
        with pytest.raises(RestError):
            await rest.ask(_venue(f"http://{address}"), ASK)


async def test_a_port_that_is_closed_is_an_error() -> None:
    async with Rest() as rest:
        with pytest.raises(RestError, match=r"127\.0\.0\.1:1"):
            await rest.ask(_venue("http://127.0.0.1:1"), ASK)


@pytest.mark.parametrize("at_once", [True, False])
async def test_an_answer_that_does_not_end_in_time_is_an_error(
    at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rests, "TIMEOUT_S", 0.3)

    async def respond(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        if at_once:
            await answer.prepare(request)
            await answer.write(b"{")
        await asyncio.sleep(1)
        return answer

    async with asking(respond) as (rest, venue):
        with pytest.raises(RestError, match="no answer in"):
            await rest.ask(venue, ASK)


@pytest.mark.parametrize("compressed", [True, False])
async def test_an_answer_that_is_too_large_is_an_error(
    compressed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rests, "LARGEST", 2 << 20)

    async def respond(_: web.Request) -> web.StreamResponse:
        body = b"0" * (20 << 20)
        if compressed:
            return web.Response(body=gzip.compress(body, 1), headers={"Content-Encoding": "gzip"})
        return web.Response(body=body)

    async with asking(respond) as (rest, venue):
        with pytest.raises(RestError, match=r"more than 2 MiB|[Dd]ecompress"):
            await rest.ask(venue, ASK)


# Patience.


def test_retry_after_is_seconds_or_a_date_or_the_default() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert retry_after("7", 60) == 7
    assert retry_after("0.5", 60) == 0.5
    assert 80 < retry_after(soon, 60) <= 90
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT", 60) == 0
    assert retry_after("-3", 60) == 0
    assert retry_after("99999999", 60) == 86_400
    for nonsense in (
        None, "", " ", "soon", "nan", "inf", "1e999", "Wed, 21 Oct 2015 07:28:00", ",", "1 2 3",
        "Wed, 21 Oct 2015 07:28:00 +99999999999999999", "Wed, 21 Oct 99999 07:28:00 GMT", "9" * 5000,
    ):  # fmt: skip
        assert retry_after(nonsense, 60) == 60, nonsense


@given(st.text(max_size=40) | st.from_regex(r"\w{3}, \d+ (Jan|Feb) \d+ \d+:\d+:\d+ ([+-]\d+|GMT|)"))
def test_no_retry_after_raises(text: str) -> None:
    assert 0 <= retry_after(text, 60) <= 86_400


@pytest.mark.parametrize(("status", "form"), [(418, "seconds"), (429, "seconds"), (429, "date")])
async def test_throttling_pauses_the_whole_budget(status: int, form: str) -> None:
    asked: list[tuple[str, float]] = []

    async def respond(request: web.Request) -> web.StreamResponse:
        asked.append((request.path, _now()))
        if request.path != "/first":
            return web.Response(text="{}")
        # A date has whole seconds: this one is between 0.4 and 1.4 s away.
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=1.4), usegmt=True)
        return web.Response(status=status, headers={"Retry-After": "0.6" if form == "seconds" else date})

    async with rest_server(respond) as url, Rest() as rest:
        one, other = _venue(url, Budget("shared", 100)), _venue(url, Budget("shared", 100))
        apart = _venue(url, Budget("apart", 100))
        with pytest.raises(Throttled) as told:
            await rest.ask(one, Request("/first"))
        assert 0.3 <= told.value.seconds <= 1.4
        began = _now()
        await rest.ask(apart, Request("/apart"))
        assert _now() - began < 0.3
        await rest.ask(other, Request("/second"))
        assert _now() - began >= told.value.seconds - 0.1
    assert [path for path, _ in asked] == ["/first", "/apart", "/second"]


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "soon"}, {"Retry-After": "inf"}])
async def test_throttling_without_a_time_waits_a_minute(headers: dict[str, str]) -> None:
    async def respond(_: web.Request) -> web.StreamResponse:
        return web.Response(status=429, headers=headers)

    async with asking(respond) as (rest, venue):
        with pytest.raises(Throttled, match="asked to wait 60 s"):
            await rest.ask(venue, ASK)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(rest.ask(venue, ASK), 0.2)


async def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    waits = iter(["0.8", "0"])
    both = asyncio.Barrier(2)

    async def respond(request: web.Request) -> web.StreamResponse:
        if request.path == "/late":
            return web.Response(text="{}")
        wait = next(waits)
        await both.wait()
        await asyncio.sleep(0.1 if wait == "0" else 0)
        return web.Response(status=429, headers={"Retry-After": wait})

    async with asking(respond) as (rest, venue):
        began = _now()
        await asyncio.gather(*(rest.ask(venue, ASK) for _ in range(2)), return_exceptions=True)
        await rest.ask(venue, Request("/late"))
        assert _now() - began >= 0.75


async def test_questions_that_wait_for_their_budget_are_stopped_too() -> None:
    asked: list[float] = []

    async def respond(_: web.Request) -> web.StreamResponse:
        asked.append(_now())
        if len(asked) == 1:
            return web.Response(status=429, headers={"Retry-After": "1"})
        return web.Response(text="{}")

    async with asking(respond, Budget("slow", 1, per_s=0.2)) as (rest, venue):
        told = await asyncio.gather(*(rest.ask(venue, ASK) for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in told] == [Throttled, bytes, bytes]
    assert asked[1] - asked[0] >= 0.95


async def test_the_budget_spaces_questions() -> None:
    async with asking(_ok, Budget("slow", weight=10, per_s=1)) as (rest, venue):
        began = _now()
        heavy = Request("/heavy", weight=5)
        await asyncio.gather(*(rest.ask(venue, heavy) for _ in range(2)))
        assert _now() - began < 0.4  # what a second allows, at once
        await asyncio.gather(*(rest.ask(venue, heavy) for _ in range(2)))
        assert 0.8 <= _now() - began < 2.0


async def test_venues_of_one_budget_share_it() -> None:
    async with rest_server(_ok) as url, Rest() as rest:
        venues = [_venue(url, Budget("shared", weight=2, per_s=0.5)) for _ in range(2)]
        began = _now()
        await asyncio.gather(*(rest.ask(venue, ASK) for venue in venues * 2))
        assert _now() - began >= 0.4


async def test_a_question_heavier_than_its_budget_is_asked_all_the_same() -> None:
    async with asking(_ok, Budget("small", weight=2, per_s=0.1)) as (rest, venue):
        assert await rest.ask(venue, Request("/heavy", weight=50)) == b"{}"


async def test_every_venue_can_afford_what_it_asks() -> None:
    for venue in VENUES.values():
        for request in venue.instruments.requests:
            assert request.weight <= venue.budget.weight


async def test_cancellation_while_asking_or_waiting_is_clean() -> None:
    asked = asyncio.Event()

    async def respond(_: web.Request) -> web.StreamResponse:
        asked.set()
        await asyncio.sleep(0.5)
        return web.Response(status=429)

    async with asking(respond, Budget("slow", 1, per_s=60)) as (rest, venue):
        tasks = [asyncio.create_task(rest.ask(venue, ASK)) for _ in range(3)]
        await asyncio.wait_for(asked.wait(), 3)
        for task in tasks:
            task.cancel()
        await until(lambda: all(task.done() for task in tasks))
        assert all(task.cancelled() for task in tasks)


async def test_a_venue_may_refuse_by_a_status_of_its_own() -> None:
    """Bybit answers 403 when it is asked too often, and wants ten minutes; elsewhere that is an error."""

    async def respond(_: web.Request) -> web.StreamResponse:
        return web.Response(status=403)

    async with rest_server(respond) as url, Rest() as rest:
        with pytest.raises(Throttled) as told:
            await rest.ask(_venue(url, VENUES["bybit"].budget), Request("/"))
        assert told.value.seconds == 600
        with pytest.raises(RestError, match="HTTP 403"):
            await rest.ask(_venue(url, VENUES["okx"].budget), Request("/"))
