"""The sockets' shell against servers that do what venues do on their worst days."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Sequence
from http import HTTPStatus

import msgspec
import orjson
import pytest
from conftest import (
    ACKNOWLEDGED,
    BTC,
    OKX_TOPICS,
    Fed,
    Peer,
    Refuse,
    Talk,
    by_rule,
    feeding,
    liquidation,
    listen,
    lively,
    mark,
    okx,
    open_interest,
    peer,
    raw,
    until,
    venue_at,
)
from hypothesis import given, strategies as st
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from monitor.clock import Clock
from monitor.events import Event, Liquidation, Mark, OpenInterest
from monitor.feeds import feed as feeds
from monitor.feeds.feed import FIRST_PAUSE_S, LARGEST_FRAME, LONGEST_PAUSE_S, Feed, Sinks, inflate, pause
from monitor.health import Health
from monitor.simulated import SCENARIOS, Market, simulate
from monitor.venue import Instruments, Refused, Reply, Topic
from monitor.venues import VENUES


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "WATCH_EVERY_S", 0.05)


def says(*frames: str | bytes, then: Talk = listen) -> Talk:
    async def talk(socket: ServerConnection, served: Peer) -> None:
        for frame in frames:
            await socket.send(frame)
        await then(socket, served)

    return talk


async def hang_up(socket: ServerConnection, _: Peer) -> None:
    await socket.close()


async def spoken(fed: Fed, events: int = 1) -> None:
    await until(lambda: len(fed.events) >= events)


# What is said to the venue.


async def test_reads_what_it_was_sent() -> None:
    async with peer(says(ACKNOWLEDGED, mark(84_000), open_interest(7), liquidation())) as served:
        async with okx(served.url, topics=OKX_TOPICS) as fed:
            await spoken(fed, 3)
    assert [type(event) for event in fed.events] == [Mark, OpenInterest, Liquidation]
    assert isinstance(fed.events[0], Mark)
    assert fed.events[0].price == 84_000
    assert [len(item.events) for item in fed.heard] == [0, 1, 1, 1]


@pytest.mark.parametrize("name", VENUES)
async def test_subscribes_in_text_frames_within_the_limits(name: str) -> None:
    topics = [Topic(VENUES[name].channels[0].name, f"name{n}.of.a.topic") for n in range(130)]
    wanted = [*VENUES[name].hello, *VENUES[name].subscribe(topics)]
    async with peer() as served, feeding(venue_at(name, served.url), topics, {}):
        await until(lambda: len(served.said) >= len(wanted))
    assert served.said[: len(wanted)] == wanted
    assert all(isinstance(text, str) and len(text) < 16_000 for text in served.said)
    assert sum(text.count("name") for text in map(str, served.said)) >= len(topics)


async def test_says_hello_before_it_subscribes() -> None:
    topics = [Topic("ticker", "ticker.BTC-PERPETUAL.100ms")]
    async with peer() as served, feeding(venue_at("deribit", served.url), topics, {}):
        await until(lambda: len(served.said) >= 2)
    assert [orjson.loads(text)["method"] for text in served.said] == [
        "public/set_heartbeat", "public/subscribe",
    ]  # fmt: skip


async def test_sends_no_faster_than_the_venue_reads() -> None:
    venue = msgspec.structs.replace(venue_at("hyperliquid"), sends_per_s=20.0)
    topics = [Topic("activeAssetCtx", f"C{n}") for n in range(10)]
    async with peer() as served:
        began = asyncio.get_running_loop().time()
        async with feeding(msgspec.structs.replace(venue, ws_url=served.url), topics, {}):
            await until(lambda: len(served.said) == 10)
            assert asyncio.get_running_loop().time() - began >= 9 / 20


async def test_keeps_alive_in_the_venues_own_words() -> None:
    async with peer() as served:
        venue = msgspec.structs.replace(venue_at("okx", served.url), ping_every_s=0.05)
        async with feeding(venue, OKX_TOPICS[:1], {}):
            await until(lambda: served.said.count("ping") >= 3)


async def test_answers_what_the_venue_wants_answered() -> None:
    asked = '{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}'
    topics = [Topic("ticker", "ticker.BTC-PERPETUAL.100ms")]
    async with peer(says(asked, asked)) as served, feeding(venue_at("deribit", served.url), topics, {}):
        await until(lambda: sum("public/test" in str(text) for text in served.said) == 2)
        assert len(served.sockets) == 1


async def test_answers_ping_frames() -> None:
    answered = asyncio.Event()

    async def ping(socket: ServerConnection, served: Peer) -> None:
        await (await socket.ping())
        answered.set()
        await listen(socket, served)

    async with peer(ping) as served, okx(served.url):
        await asyncio.wait_for(answered.wait(), 5)


# What the venue says.


async def test_reads_binary_frames_plain_and_compressed() -> None:
    frames = (mark(1).encode(), gzip.compress(mark(2).encode()))
    async with peer(says(*frames)) as served, okx(served.url) as fed:
        await spoken(fed, 2)
    assert [event.price for event in fed.events if isinstance(event, Mark)] == [1, 2]


BOMB = gzip.compress(b" " * (LARGEST_FRAME + 1), mtime=0)


@pytest.mark.parametrize(
    "frame",
    [BOMB, gzip.compress(b"{}" * 99)[:-9], b"\x1f\x8b rubbish", b"\x1f\x8b"],
    ids=["bomb", "cut off", "rubbish", "short"],
)
async def test_refuses_a_compressed_frame_that_is_too_large_or_broken(frame: bytes) -> None:
    async with peer(says(frame, mark())) as served, okx(served.url) as fed:
        await spoken(fed)
    assert fed.errors("parse") == 1
    assert len(served.sockets) == 1


def test_inflates_up_to_the_limit() -> None:
    assert inflate(gzip.compress(b" " * LARGEST_FRAME)) == b" " * LARGEST_FRAME


def _mistyped(value: object) -> object:
    if isinstance(value, dict):
        return {key: _mistyped(inner) for key, inner in value.items()}
    return [_mistyped(inner) for inner in value] if isinstance(value, list) else {"rubbish": None}


def _numbers(value: object, number: str) -> str:
    """The same as text, with another number for each that there is."""
    match value:
        case dict():
            inner = (f"{orjson.dumps(key).decode()}:{_numbers(of, number)}" for key, of in value.items())
            return "{" + ",".join(inner) + "}"
        case list():
            return "[" + ",".join(_numbers(of, number) for of in value) + "]"
        case int() | float():
            return number
        case str() if value.replace(".", "").replace("-", "").isdecimal():
            return number if number[0] == '"' else f'"{number}"'
    return orjson.dumps(value).decode()


SPOILERS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "truncated": lambda frame: frame[: len(frame) // 2],
    "doubled": lambda frame: frame + frame,
    "wrong types": lambda frame: orjson.dumps(_mistyped(orjson.loads(frame))),
    "NaN": lambda frame: _numbers(orjson.loads(frame), "NaN").encode(),
    "1e400": lambda frame: _numbers(orjson.loads(frame), "1e400").encode(),
    "negative": lambda frame: _numbers(orjson.loads(frame), "-1e9").encode(),
    "not UTF-8": lambda frame: frame.replace(b'"', b'"\xff\xfe', 3),
    "zeros": lambda frame: b"\0" * len(frame),
    "deep": lambda _: b"[" * 100_000,
    "deep and whole": lambda _: b'{"data":' * 20_000 + b"1" + b"}" * 20_000,
    "another shape": lambda _: b'[null,{"rubbish":[1,"NaN"]}]',
    "a number": lambda _: b"17",
    "a text": lambda _: b'"rubbish"',
    "null": lambda _: b"null",
}


async def _honest(name: str) -> tuple[bytes, str]:
    """A frame that tells something, and the symbol that it tells of."""
    clock = Clock(1_790_755_200_000)
    market = Market(SCENARIOS["calm"], 7, 1_790_755_200_000)
    channel = VENUES[name].channels[0].name
    async with simulate([name], market, clock) as exchanges:
        exchange = exchanges[name]
        listing = next(one for one in exchange.listings if one.live)
        instruments = by_rule(name, listing.symbol)
        path = VENUES[name].endpoints[0].path
        topics = [
            t for t in VENUES[name].endpoints[0].topics([*instruments.values()]) if t.channel == channel
        ]
        async with feeding(venue_at(name, exchange.ws_url), topics, instruments, path) as fed:
            frames: list[bytes] = []
            sinks = Sinks(fed.heard.append, lambda _venue, _at, _source, frame: frames.append(frame))
            fed.feed._sinks = sinks  # noqa: SLF001 -- the recorder's place
            await spoken(fed)
    for frame in frames:
        if VENUES[name].parse(frame, instruments, clock.now()):
            return frame, listing.symbol
    raise AssertionError(name)


@pytest.mark.parametrize("name", VENUES)
async def test_rubbish_is_counted_and_nothing_else_is_lost(name: str) -> None:
    honest, symbol = await _honest(name)
    instruments = by_rule(name, symbol)
    spoilt = [spoil(honest) for spoil in SPOILERS.values()]
    odd = honest.replace(symbol.encode(), b'B\\"T\\nC{}\\\\')
    frames = [part for rubbish in spoilt for part in (honest, rubbish)]
    topics = [Topic(VENUES[name].channels[0].name, "x")]
    whole = len(VENUES[name].parse(honest, instruments, 0))
    async with peer(says(*frames, odd, honest)) as served:
        async with feeding(venue_at(name, served.url), topics, instruments) as fed:
            await until(lambda: len(fed.events) >= (len(spoilt) + 1) * whole)
            await until(lambda: fed.errors("parse") >= len(spoilt))
    assert fed.errors("parse") == len(spoilt)
    assert len(fed.events) == (len(spoilt) + 1) * whole
    assert len(served.sockets) == 1
    assert fed.errors("connect") == 0


async def test_a_symbol_with_quotes_and_line_ends_is_like_any_other() -> None:
    symbol = 'B"T\nC\\'
    of = msgspec.structs.replace(by_rule("okx", BTC)[BTC], symbol=symbol)
    frame = mark().replace(BTC, orjson.dumps(symbol).decode()[1:-1])
    async with peer(says(frame)) as served:
        topics = [Topic("mark-price", symbol)]
        async with feeding(venue_at("okx", served.url), topics, {symbol: of}) as fed:
            await spoken(fed)
            await until(lambda: served.said)
    assert fed.events[0].instrument is of
    assert orjson.loads(served.said[0])["args"][0]["instId"] == symbol


async def test_an_oversized_frame_ends_the_session_and_is_counted() -> None:
    async def talk(socket: ServerConnection, served: Peer) -> None:
        if len(served.sockets) == 1:
            await socket.send("x" * (16 << 20))
        await says(mark())(socket, served)

    async with peer(talk) as served, okx(served.url) as fed:
        await spoken(fed)
    assert fed.errors("oversize") == 1
    assert len(served.sockets) == 2
    assert fed.health.reconnects["okx"] == 1


@pytest.mark.parametrize("frame", [b"\x8f\x00", b"\xf1\x00", b"\x81\x81\0\0\0\0a", b"\x80\x00", b"\x88\x01a"])
async def test_a_broken_protocol_is_a_lost_connection(frame: bytes) -> None:
    async def talk(socket: ServerConnection, _: Peer) -> None:
        socket.transport.write(frame)
        await socket.wait_closed()

    async with peer(talk) as served, okx(served.url) as fed:
        await until(lambda: fed.errors("connect") >= 1)


async def test_a_refusal_ends_the_session_and_asks_for_the_list() -> None:
    no = '{"event":"error","code":"60018","msg":"BTC-USDT-SWAP doesn\'t exist"}'
    async with peer(says(mark(), no)) as served, okx(served.url) as fed:
        await until(lambda: len(fed.lost) >= 2)
    assert fed.errors("refused") >= 2
    assert fed.health.last_problem["okx"].text == "BTC-USDT-SWAP doesn't exist"


# Ends and back-off.


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_the_pause_has_full_jitter_and_doubles_to_a_minute(failures: int, drawn: float) -> None:
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures, 100))
    assert pause(failures, lambda: drawn) == pytest.approx(drawn * longest)
    assert pause(failures, lambda: 1.0) == longest <= 60.0
    assert 0 <= pause(failures) <= longest


@pytest.mark.usefixtures("hasty")
async def test_a_venue_that_hangs_up_is_not_hammered() -> None:
    async def attempts(talk: Talk) -> None:
        async with peer(talk) as served, okx(served.url) as fed:
            await asyncio.sleep(1.5)
            assert 1 <= len(served.sockets) <= 12
            assert fed.errors("connect") >= 1
            assert not fed.up("mark-price")

    await asyncio.gather(attempts(hang_up), attempts(says(ACKNOWLEDGED, "pong", then=hang_up)))


async def test_an_event_resets_the_pause() -> None:
    async with peer(says(mark(), then=hang_up)) as served, okx(served.url):
        # Each pause is at most the first; without the reset the fifth would be up to 4 s.
        await until(lambda: len(served.sockets) >= 6, 5 * FIRST_PAUSE_S + 1)


async def test_a_port_that_is_closed_is_counted() -> None:
    async with peer() as served:
        url = served.url
    async with okx(url) as fed:
        await until(lambda: fed.errors("connect") >= 2)


@pytest.mark.usefixtures("hasty")
async def test_a_stream_is_down_once_its_socket_is_gone() -> None:
    async with peer(says(mark())) as served, okx(served.url) as fed:
        await until(lambda: fed.up("mark-price"))
        served.sockets[0].transport.abort()
        await until(lambda: not fed.up("mark-price"), 0.5)
        await until(lambda: fed.up("mark-price"))
    assert not fed.up("mark-price")


def _status(status: HTTPStatus, *headers: tuple[str, str]) -> Refuse:
    def refuse(_socket: ServerConnection, _request: Request) -> Response:
        return Response(status, status.phrase, Headers([*headers, ("Content-Length", "0")]))

    return refuse


@pytest.mark.parametrize("code", [418, 429])
async def test_a_throttled_handshake_waits_as_told(code: int) -> None:
    refuse = _status(HTTPStatus(code), ("Retry-After", "0.6"))
    async with peer(refuse=refuse) as served, okx(served.url) as fed:
        await until(lambda: len(served.handshakes) >= 2)
        assert served.handshakes[1] - served.handshakes[0] >= 0.59
        assert fed.errors("throttled") >= 1
        assert fed.errors("handshake") == fed.errors("connect") == 0


@pytest.mark.parametrize(
    ("headers", "least"),
    [
        ([], 59),
        ([("Retry-After", "soon")], 59),
        ([("Retry-After", "inf")], 59),
        ([("Retry-After", "Wed, 21 Oct 2015 07:28:00 +99999999999999999")], 59),
        ([("Retry-After", "1e9")], 80_000),
        ([("Retry-After", "70"), ("Retry-After", "80")], 70),
    ],
)
async def test_a_throttled_handshake_that_does_not_say_waits_longest(
    headers: list[tuple[str, str]], least: float
) -> None:
    async with peer(refuse=_status(HTTPStatus.TOO_MANY_REQUESTS, *headers)) as served:
        health = Health([VENUES["okx"]])
        feed = Feed(
            venue_at("okx", served.url), "/ws", OKX_TOPICS, {}, Sinks(lambda _: None), health, Clock(0)
        )
        assert least <= await feed._session() <= 86_400  # noqa: SLF001 -- nobody waits a minute here
    assert health.errors["okx", "throttled"] == 1


@pytest.mark.parametrize("status", [HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.BAD_GATEWAY])
async def test_another_refused_handshake_is_counted(status: HTTPStatus) -> None:
    async with peer(refuse=_status(status)) as served, okx(served.url) as fed:
        await until(lambda: fed.errors("handshake") >= 1)
        assert fed.errors("throttled") == fed.errors("connect") == 0
        assert str(status.value) in fed.health.last_problem["okx"].text


@pytest.mark.parametrize(
    "location", ["ftp://x/", "ws://[::1", "ws://127.0.0.1:99999999/", "ws://a..b/", "", "ws://127.0.0.1:1/#x"]
)
async def test_redirections_are_not_followed(location: str) -> None:
    refuse = _status(HTTPStatus.FOUND, ("Location", location))
    async with peer(refuse=refuse) as served, okx(served.url) as fed:
        await until(lambda: fed.errors("handshake") >= 1)
    assert fed.errors("handshake") >= len(served.handshakes) - 1


HTTP = b"HTTP/1.1 "


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"\0\xff rubbish\r\n\r\n", HTTP + b"101 X\r\n\r\n", HTTP + b"200 OK\r\nX: " + b"a" * 100_000,
        HTTP + b"500 X\r\nContent-Length: -5\r\n\r\n", HTTP + b"500 X\r\nContent-Length: 99999999999\r\n\r\n",
        HTTP + b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        HTTP + b"200 OK\r\n" + b"X: a\r\n" * 999,
    ],
)  # fmt: skip
async def test_no_answer_to_a_handshake_ends_the_feed(answer: bytes) -> None:
    async with raw(answer) as address, okx(f"ws://{address}") as fed:
        await until(lambda: fed.errors("connect") >= 1)


# Silence.


async def _marks(socket: ServerConnection, _: Peer) -> None:
    while True:
        await socket.send(ACKNOWLEDGED)
        await socket.send(mark())
        await asyncio.sleep(0.02)


@pytest.mark.usefixtures("hasty")
async def test_a_silent_channel_is_subscribed_again_and_then_reconnected() -> None:
    async with peer(_marks) as served, okx(served.url, silent_after_s=0.25, topics=OKX_TOPICS) as fed:
        await until(lambda: fed.errors("silent") >= 1)
        assert fed.up("mark-price")
        assert not fed.up("open-interest")
        await until(lambda: len(served.sockets) == 2)
    asked = [orjson.loads(text) for text in served.texts[0] if text != "ping"]
    assert [one["op"] for one in asked] == ["subscribe", *["unsubscribe", "subscribe"] * 3]
    assert {arg["channel"] for one in asked[1:] for arg in one["args"]} == {"open-interest"}
    assert fed.errors("silent") == 4  # three times asked again, once closed
    assert "open-interest" in fed.health.last_problem["okx"].text


@pytest.mark.usefixtures("hasty")
async def test_a_silent_channel_heals_on_its_socket() -> None:
    async def talk(socket: ServerConnection, served: Peer) -> None:
        while True:
            await socket.send(mark())
            if any("unsubscribe" in str(text) for text in served.said):
                await socket.send(open_interest())
            await asyncio.sleep(0.02)

    async with peer(talk) as served, okx(served.url, silent_after_s=0.25, topics=OKX_TOPICS) as fed:
        await until(lambda: fed.up("open-interest"))
        await asyncio.sleep(0.6)
        assert fed.up("open-interest")
        assert fed.errors("silent") == len(served.sockets) == 1


@pytest.mark.usefixtures("hasty")
async def test_silence_after_the_acknowledgement_ends_the_session() -> None:
    async with peer(says(ACKNOWLEDGED)) as served, okx(served.url, silent_after_s=0.3) as fed:
        await until(lambda: fed.errors("silent") >= 1)
        assert not fed.up("mark-price")
        await until(lambda: len(served.sockets) >= 2)


@pytest.mark.usefixtures("hasty")
async def test_neither_pongs_nor_acknowledgements_are_life() -> None:
    async def chatter(socket: ServerConnection, _: Peer) -> None:
        while True:
            await socket.send("pong")
            await socket.send(ACKNOWLEDGED)
            await asyncio.sleep(0.02)

    async with peer(chatter) as served, okx(served.url, silent_after_s=0.2) as fed:
        await until(lambda: len(served.sockets) >= 2)
        assert fed.errors("silent") >= 1
        assert not fed.up("mark-price")


@pytest.mark.usefixtures("hasty")
async def test_a_quiet_channel_beside_a_loud_one_is_left_alone() -> None:
    topics = (OKX_TOPICS[0], OKX_TOPICS[2])
    async with peer(_marks) as served, okx(served.url, silent_after_s=0.2, topics=topics) as fed:
        await until(lambda: fed.up("liquidation-orders"))
        for _ in range(20):
            await asyncio.sleep(0.05)
            assert fed.up("liquidation-orders")
            assert fed.up("mark-price")
    assert len(served.sockets) == 1
    assert fed.errors("silent") == 0
    assert not any("unsubscribe" in str(text) for text in served.said)


@pytest.mark.usefixtures("hasty")
async def test_a_quiet_channel_alone_is_up_while_its_peer_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "PING_EVERY_S", 0.2)
    monkeypatch.setattr(feeds, "CLOSE_TIMEOUT_S", 0.1)
    async with peer() as served, okx(served.url, silent_after_s=0.2, topics=OKX_TOPICS[2:]) as fed:
        await until(lambda: fed.up("liquidation-orders"))
        await asyncio.sleep(0.6)
        assert fed.up("liquidation-orders")
        assert len(served.sockets) == 1
        served.sockets[0].transport.pause_reading()  # the line is cut, and nobody says so
        await until(lambda: fed.errors("connect") >= 1)


@pytest.mark.usefixtures("hasty")
async def test_every_connection_of_a_channel_must_live() -> None:
    async with peer(_marks) as served, okx(served.url) as fed:
        await until(lambda: fed.up("mark-price"))
        fed.health.up["okx", "mark-price"]["another"] = False
        assert not fed.up("mark-price")


# The end.


async def test_cancellation_leaves_nothing_behind() -> None:
    async with peer(_marks) as served:
        before = asyncio.all_tasks()
        async with okx(served.url, topics=OKX_TOPICS) as fed:
            await spoken(fed)
        mine = {"feed", "keepalive"}
        left = [t for t in asyncio.all_tasks() - before if "Server" not in repr(t) and "peer" not in repr(t)]
        assert not [task for task in left if task.get_name() in mine or "monitor" in repr(task)]
    assert not fed.up("mark-price")
    assert fed.health.up["okx", "mark-price"] == {}


async def test_cancellation_while_connecting_or_waiting_is_clean() -> None:
    async with raw(None) as address:
        async with okx(f"ws://{address}"):
            await asyncio.sleep(0.1)  # in the handshake
    async with okx("ws://127.0.0.1:1") as fed:
        await until(lambda: fed.errors("connect") >= 2)  # in a pause


async def test_cancellation_in_the_moment_of_a_loss_is_not_forgotten() -> None:
    async with peer(says(mark())) as served:
        task: asyncio.Task[None]

        def parse(_frame: bytes, _instruments: Instruments, _received: int) -> Sequence[Event | Reply]:
            task.cancel()
            raise Refused("in the same moment")

        venue = msgspec.structs.replace(venue_at("okx", served.url), parse=parse)
        health = Health([venue])
        feed = Feed(venue, "/ws", OKX_TOPICS, {}, Sinks(lambda _: None), health, Clock(0))
        task = asyncio.create_task(feed.run())
        await asyncio.wait([task], timeout=3)
        assert task.cancelled()


@pytest.mark.usefixtures("hasty")
async def test_a_full_house_of_faults_ends_in_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepts and closes, falls silent, sends rubbish, refuses, then talks."""
    monkeypatch.setattr(feeds, "FIRST_PAUSE_S", 0.05)
    acts: list[Talk] = [hang_up, says("rubbish", then=hang_up), listen, _marks]

    async def talk(socket: ServerConnection, served: Peer) -> None:
        await acts[min(len(served.sockets), len(acts)) - 1](socket, served)

    async with peer(talk) as served:
        venue = lively(venue_at("okx", served.url), 0.3)
        async with feeding(venue, OKX_TOPICS[:1], by_rule("okx", BTC)) as fed:
            await until(lambda: fed.up("mark-price"), 12)
        assert len(served.sockets) == 4
        assert [fed.errors(stage) for stage in ("connect", "parse", "silent")] == [2, 1, 1]
