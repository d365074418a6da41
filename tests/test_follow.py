"""One venue, followed through listings, delistings, rubbish lists and refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import orjson
import pytest
from aiohttp import web
from conftest import BTC, ETH, NOW, Peer, Talk, mark, peer, rest_server, until, venue_at
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from monitor.bus import Heard, Item, Listed, Queue
from monitor.clock import Clock
from monitor.events import Event, Instrument, Mark, OpenInterest
from monitor.feeds import follow
from monitor.feeds.follow import Choice, Follower, read_instruments
from monitor.feeds.rest import Rest
from monitor.health import Health
from monitor.metrics import METRICS
from monitor.recording import Frame
from monitor.simulated import SCENARIOS, Market, simulate
from monitor.tick.compute import Core
from monitor.tick.tables import Tables
from monitor.tick.views import Scope
from monitor.venue import Channel, Instruments, Poll, Request, Unreadable, Venue
from monitor.venues import VENUES

OURS = Choice(frozenset({"BTC", "ETH", "SOL"}))


def _row(symbol: str, **changed: str) -> dict[str, str]:
    row = {
        "instId": symbol, "ctVal": "0.01", "ctMult": "1", "ctType": "linear", "settleCcy": "USDT",
        "state": "live", "instCategory": "1",
    }  # fmt: skip
    return row | changed


def listing(*rows: dict[str, str]) -> bytes:
    return orjson.dumps({"code": "0", "msg": "", "data": rows})


class World:
    """A venue of one list and one socket, both as told, and who follows it."""

    def __init__(self, venue: Venue, served: Peer) -> None:
        self.venue = venue
        self.served = served
        self.health = Health([venue])
        self.items: list[Item] = []
        self.frames: list[Frame] = []
        self.tables = Tables([venue.name])

    def put(self, item: Item) -> None:
        self.items.append(item)
        self.tables.apply(item)

    @property
    def lists(self) -> list[list[str]]:
        return [[of.symbol for of in i.instruments] for i in self.items if isinstance(i, Listed)]

    @property
    def events(self) -> list[Event]:
        return [event for item in self.items if isinstance(item, Heard) for event in item.events]

    def lists_only(self, names: set[str]) -> bool:
        return bool(self.lists) and set(self.lists[-1]) == names

    def tells(self, names: set[str], since: int) -> bool:
        """Whether all of them were told of after so many events."""
        return {event.instrument.symbol for event in self.events[since:]} >= names

    def subscribed(self, socket: int = -1) -> list[str]:
        """Marks that a connection asked for."""
        return [
            arg["instId"]
            for text in (self.served.texts[socket] if self.served.texts else ())
            if text != "ping"
            for arg in orjson.loads(text)["args"]
            if arg["channel"] == "mark-price"
        ]

    def errors(self, stage: str) -> int:
        return self.health.errors[self.venue.name, stage]


async def _marks(socket: ServerConnection, _: Peer) -> None:
    while True:
        for symbol in (BTC, ETH, "SOL-USDT-SWAP"):
            await socket.send(mark(symbol=symbol))
        await asyncio.sleep(0.02)


Body = Callable[[int], bytes | web.Response]


@asynccontextmanager
async def followed(
    body: Body, *, every_s: float = 0.3, choice: Choice = OURS,
    change: Callable[[Venue], Venue] = lambda venue: venue,
    talk: Talk = _marks,
) -> AsyncIterator[World]:  # fmt: skip
    """Follows OKX; `body` answers the n-th question for the list."""
    asked = 0

    async def respond(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += request.path == "/api/v5/public/instruments"
        answer = body(asked if request.path == "/api/v5/public/instruments" else 0)
        return web.Response(body=answer) if isinstance(answer, bytes) else answer

    async with rest_server(respond) as url, peer(talk) as served, Rest() as rest:
        venue = venue_at("okx", served.url, url)
        listed = msgspec.structs.replace(venue.instruments, every_s=every_s)
        world = World(change(msgspec.structs.replace(venue, instruments=listed)), served)
        follower = Follower(
            world.venue, choice, rest, world.put, world.frames.append, world.health, Clock(NOW)
        )
        task = asyncio.create_task(follower.run())
        try:
            yield world
            if task.done():
                await task
                raise AssertionError("the follower ended by itself")
        finally:
            task.cancel()
            await asyncio.wait([task], timeout=5)
        assert task.cancelled()
        assert not [other for other in asyncio.all_tasks() if "monitor/" in repr(other)]


# Listings come and go.


async def test_listings_and_delistings_need_no_restart() -> None:
    rows = [_row(BTC), _row(ETH)]
    async with followed(lambda _: listing(*rows)) as world:
        await until(lambda: len({e.instrument.symbol for e in world.events if type(e) is Mark}) == 2)
        await until(lambda: world.subscribed(0) == [BTC, ETH])

        rows.append(_row("SOL-USDT-SWAP"))
        await until(lambda: any(e.instrument.symbol == "SOL-USDT-SWAP" for e in world.events))
        await until(lambda: world.subscribed() == [BTC, ETH, "SOL-USDT-SWAP"])

        del rows[1]
        await until(lambda: world.subscribed() == [BTC, "SOL-USDT-SWAP"])
        taken = world.tables.take(NOW)
        assert {of.symbol: listed for of, listed in zip(taken.instruments, taken.listed, strict=True)} == {
            BTC: True, "BTC-USDT": True, ETH: False, "ETH-USDT": False,
            "SOL-USDT-SWAP": True, "SOL-USDT": True,
        }  # fmt: skip
        before = len(world.items)
        await asyncio.sleep(0.3)
        assert ETH not in {
            e.instrument.symbol for i in world.items[before:] if isinstance(i, Heard) for e in i.events
        }
        rows.insert(1, _row(ETH))
        await until(lambda: world.subscribed() == [BTC, ETH, "SOL-USDT-SWAP"])
        await until(lambda: all(world.tables.take(NOW).listed))


async def test_a_list_that_says_the_same_changes_nothing() -> None:
    async with followed(lambda _: listing(_row(BTC)), every_s=0.1) as world:
        await until(lambda: len(world.lists) >= 5)
        listed = [item.instruments for item in world.items if isinstance(item, Listed)]
        assert all(a is b for later in listed for a, b in zip(listed[0], later, strict=True))
        assert len(world.served.sockets) == 1
        assert world.health.reconnects["okx"] == 0


async def test_topics_are_split_over_connections() -> None:
    rows = [_row(f"{name}-USDT-SWAP") for name in ("BTC", "ETH", "SOL")]

    def split(venue: Venue) -> Venue:
        endpoint = msgspec.structs.replace(venue.endpoints[0], per_connection=4)
        return msgspec.structs.replace(venue, endpoints=(endpoint,))

    async with followed(lambda _: listing(*rows), change=split) as world:
        await until(lambda: len(world.served.texts) == 4 and all(world.served.texts))
        await asyncio.sleep(0.1)
        asked = [
            [(a["channel"], a.get("instId") or a["instType"]) for t in texts for a in orjson.loads(t)["args"]]
            for texts in world.served.texts
        ]
    assert sorted(map(len, asked)) == [1, 4, 4, 4]
    assert len({topic for some in asked for topic in some}) == 13  # three of each swap and index; one


async def test_a_simulated_venue_that_lists_and_delists_is_followed() -> None:
    clock = Clock(NOW)
    async with simulate(["hyperliquid"], Market(SCENARIOS["calm"], 3, NOW), clock, beat_s=0.1) as exchanges:
        exchange = exchanges["hyperliquid"]
        both = exchange.listings
        exchange.listings = both[:1]
        venue = venue_at("hyperliquid", exchange.ws_url, exchange.rest_url)
        listed = msgspec.structs.replace(venue.instruments, every_s=0.3)
        world = World(msgspec.structs.replace(venue, instruments=listed), Peer())
        async with Rest() as rest:
            follower = Follower(world.venue, OURS, rest, world.put, None, world.health, clock)
            task = asyncio.create_task(follower.run())
            for listings in (both[:1], both[:2], both[1:2]):
                exchange.listings = listings
                names = {one.symbol for one in listings}
                await until(partial(world.lists_only, names))
                await until(partial(world.tells, names, len(world.events)))
            task.cancel()
            await asyncio.wait([task])
    assert world.errors("connect") == world.errors("silent") == 0


# Lists that are no lists.


RUBBISH: dict[str, bytes | web.Response] = {
    "nothing": b"",
    "truncated": listing(_row(BTC))[:50],
    "of another shape": b'{"data":[1,2,3]}',
    "not UTF-8": b'\xff\xfe{"code":"0"}',
    "a page of a proxy": b"<html>502 Bad Gateway</html>",
    "a size that is no number": listing(_row(BTC, ctVal="huge")),
    "a name that is none": listing(_row("BTC")),
    "a refusal": b'{"code":"50011","msg":"Too Many Requests","data":[]}',
    "deep": b"[" * 100_000,
    "empty": listing(),
    "of suspended contracts": listing(_row(BTC, state="suspend"), _row(ETH, state="suspend")),
}


@pytest.mark.parametrize("body", RUBBISH.values(), ids=RUBBISH)
async def test_a_list_that_cannot_be_read_changes_nothing(body: bytes) -> None:
    def answers(asked: int) -> bytes:
        return body if 2 <= asked <= 3 else listing(_row(BTC))

    async with followed(answers, every_s=0.1) as world:
        await until(lambda: world.errors("instruments") >= 1)
        seen = len(world.events)
        await until(lambda: len(world.events) > seen)  # what was listed goes on
        assert world.lists == [[BTC, "BTC-USDT"]]
        assert len(world.served.sockets) == 1
        assert all(world.tables.take(NOW).listed)
    assert world.health.last_problem["okx"].stage == "instruments"


async def test_a_first_list_that_fails_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bad: list[bytes | web.Response] = [web.Response(status=503)]
    pauses: list[int] = []

    def hurried(failures: int) -> float:
        pauses.append(failures)
        return 0.0

    monkeypatch.setattr(follow, "pause", hurried)
    async with followed(lambda asked: (bad[asked - 1 : asked] or [listing(_row(BTC))])[0]) as world:
        assert not world.served.sockets
        await until(lambda: world.events, 8)
        assert world.errors("instruments") == 1
        assert pauses == [1]  # it backs off, by a second at least


async def test_a_throttled_list_waits_as_told_and_is_counted() -> None:
    def answers(asked: int) -> bytes | web.Response:
        return web.Response(status=429, headers={"Retry-After": "1.1"}) if asked == 1 else listing(_row(BTC))

    async with followed(answers) as world:
        began = asyncio.get_running_loop().time()
        await until(lambda: world.lists)
        assert asyncio.get_running_loop().time() - began >= 1.0
        assert world.errors("throttled") == 1
        assert world.errors("instruments") == 0


async def test_a_lost_session_asks_for_the_list_at_once_but_not_too_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(follow, "REREAD_AT_MOST_EVERY_S", 0.5)
    lists: list[float] = []
    gone = f'{{"event":"error","msg":"{ETH} does not exist","code":"60018"}}'

    async def talk(socket: ServerConnection, served: Peer) -> None:
        await asyncio.sleep(0.1)
        if len(served.sockets) == 1:
            await socket.send(gone)
        await _marks(socket, served)

    def answers(asked: int) -> bytes:
        lists.append(asyncio.get_running_loop().time())
        return listing(_row(BTC)) if asked > 1 else listing(_row(BTC), _row(ETH))

    async with followed(answers, every_s=600, talk=talk) as world:
        await until(lambda: len(world.lists) == 2, 3)
        await until(lambda: world.events)
        assert world.errors("refused") == 1
        assert 0.45 <= lists[1] - lists[0] <= 1.0
        await asyncio.sleep(0.7)
        assert len(lists) == 2


async def test_a_session_that_ends_before_the_list_was_read_is_no_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(follow, "REREAD_AT_MOST_EVERY_S", 0.1)
    async with followed(lambda _: listing(_row(BTC)), every_s=600) as world:
        await until(lambda: world.events)
        await asyncio.sleep(0.5)
        assert len(world.lists) == 1


async def test_lists_are_recorded_as_they_came() -> None:
    body = listing(_row(BTC))
    async with followed(lambda _: body) as world:
        await until(lambda: len(world.frames) > 3)
    assert (world.frames[0].source, world.frames[0].texts) == ("instruments", (body.decode(),))
    assert world.frames[1].source == "ws"


# The choice.


def _of(**changed: object) -> Instrument:
    base = VENUES["okx"].rule(BTC)
    assert base is not None
    return msgspec.structs.replace(base, **changed)


def test_ours_are_perpetuals_in_dollars_with_their_indices() -> None:
    index = _of(symbol="BTC-USDT", kind="index")
    other = _of(symbol="BTC-EUR", kind="index")
    dvol = _of(symbol="btc_usd", kind="volatility")
    swap, small = _of(), _of(symbol="BTC-USDC-SWAP", quote="USDC")
    found = [swap, small, index, other, dvol, _of(quote="EUR"), _of(kind="future"), _of(asset="DOGE")]
    assert Choice(frozenset({"BTC"})).of(found) == [swap, small, index, dvol]
    only = Choice(frozenset({"BTC"}), symbols=frozenset({BTC}))
    assert only.of(found) == [swap, index, dvol]


def test_the_operator_decides_how_open_interest_is_counted() -> None:
    two = _of(oi_sides=2, oi_sides_reason="evidence")
    assert Choice(frozenset({"BTC"}), oi_sides=2).of([two]) == [two]
    (one,) = Choice(frozenset({"BTC"}), oi_sides=1).of([two])
    assert (one.oi_sides, one.oi_sides_reason) == (1, "one side: the operator's setting")
    (halved,) = Choice(frozenset({"BTC"}), oi_sides=2).of([_of()])
    assert (halved.oi_sides, halved.oi_sides_reason) == (2, "two sides, halved: the operator's setting")


async def test_the_operators_reason_is_shown_in_the_metrics() -> None:
    clock = Clock(NOW)
    market = Market(SCENARIOS["calm"], 3, NOW)
    async with simulate(["bybit"], market, clock, beat_s=0.1) as exchanges, Rest() as rest:
        exchange = exchanges["bybit"]
        venue = venue_at("bybit", exchange.ws_url, exchange.rest_url)
        core = Core(METRICS, Scope(frozenset({"bybit"})), {"bybit": "complete"}, ["bybit"])
        choice = Choice(frozenset({"BTC"}), frozenset({"BTCUSDT"}), oi_sides=1)
        heard: list[Event] = []

        def put(item: Item) -> None:
            core.apply(item)
            heard.extend(item.events if isinstance(item, Heard) else ())

        task = asyncio.create_task(Follower(venue, choice, rest, put, None, Health([venue]), clock).run())
        await until(lambda: {Mark, OpenInterest} <= {type(event) for event in heard})
        task.cancel()
        await asyncio.wait([task])
        samples = core.evaluate(core.take(clock.now()))
    families = {family.metric.name: family for family in samples.families}
    info = families["leverage_instrument_info"].labels.rows(named=True)[0]
    assert (info["oi_sides"], info["oi_sides_reason"]) == ("1", "one side: the operator's setting")
    amount = next(event.amount for event in reversed(heard) if isinstance(event, OpenInterest))
    assert families["leverage_open_interest_coins"].values.to_list() == [pytest.approx(amount)]


def test_an_instrument_that_says_the_same_stays_the_same_object() -> None:
    before = read_instruments(VENUES["okx"], OURS, [listing(_row(BTC), _row(ETH))], {})
    after = read_instruments(VENUES["okx"], OURS, [listing(_row(BTC), _row(ETH, ctVal="1"))], before)
    assert after[BTC] is before[BTC]
    assert after[ETH] is not before[ETH]


def test_a_list_without_any_perpetual_is_not_believed() -> None:
    with pytest.raises(Unreadable):
        read_instruments(VENUES["okx"], OURS, [listing()], {})
    assert read_instruments(VENUES["okx"], Choice(frozenset({"DOGE"})), [listing(_row(BTC))], {}) == {}


# Polls.


POLLED = Channel("polled", (OpenInterest,), silent_after_s=0.3)


def _read(body: bytes, instruments: Instruments, received: int) -> Sequence[Event]:
    return [OpenInterest(instruments[BTC], received, orjson.loads(body)["amount"])]


def _polls(venue: Venue) -> Venue:
    poll = Poll(POLLED, lambda ours: [Request(f"/poll?{of.symbol}") for of in ours], _read, every_s=0.05)
    return msgspec.structs.replace(venue, polls=(poll,))


@pytest.mark.parametrize(
    ("answer", "stage"),
    [
        (lambda: web.Response(), "parse"),  # noqa: PLW0108 -- one for each question
        (lambda: web.Response(text='{"amount"'), "parse"),
        (lambda: web.Response(text="{}"), "parse"),
        (lambda: web.Response(status=500), "poll"),
        (lambda: web.Response(status=429, headers={"Retry-After": "1"}), "throttled"),
    ],
)
async def test_a_poll_that_fails_is_counted_and_asked_again(
    answer: Callable[[], web.Response], stage: str
) -> None:
    good = True

    def answers(asked: int) -> bytes | web.Response:
        return listing(_row(BTC)) if asked else b'{"amount":5}' if good else answer()

    async with followed(answers, every_s=600, change=_polls) as world:
        up = partial(world.health.stream_up, "okx", "polled")
        await until(up)
        assert any(type(event) is OpenInterest for event in world.events)
        good = False
        await until(lambda: world.errors(stage) >= 1)
        await until(lambda: not up(), 0.8)
        good = True
        await until(up, 4)


# The queue.


def test_the_queue_gives_what_came_before_an_instant() -> None:
    queue = Queue()
    event = Mark(_of(), 1, 5.0)
    for received in (1, 2, 3):
        queue.put(Heard("okx", received, (event,)))
    assert [item.received for item in queue.take(before=3)] == [1, 2]
    assert (len(queue), queue.dropped) == (1, 0)


def test_a_full_queue_loses_the_oldest_events_and_no_list() -> None:
    queue = Queue(limit=3)
    event = Mark(_of(), 1, 5.0)
    queue.put(Listed("okx", 0, ()))
    for received in range(1, 6):
        queue.put(Heard("okx", received, (event,)))
    assert (len(queue), queue.dropped) == (3, 2)
    assert [item.received for item in queue.take(before=9)] == [0, 3, 4, 5]
    queue.put(Heard("okx", 9, (event,) * 5))
    assert (len(queue), queue.dropped) == (0, 7)


async def test_a_socket_that_ends_does_not_end_the_follower() -> None:
    async def talk(socket: ServerConnection, served: Peer) -> None:
        try:
            await _marks(socket, served)
        except ConnectionClosed:
            return

    async with followed(lambda _: listing(_row(BTC)), talk=talk) as world:
        await until(lambda: world.events)
        world.served.sockets[0].transport.abort()
        await until(lambda: len(world.served.sockets) >= 2)
        assert world.health.reconnects["okx"] >= 1


@pytest.mark.parametrize(
    ("asset", "used"), [("SOL", set()), ("BTC", {"ticker", "trades", "deribit_volatility_index"})]
)
async def test_a_channel_with_nothing_of_ours_is_neither_up_nor_down(asset: str, used: set[str]) -> None:
    clock = Clock()
    async with simulate(["deribit"], Market(SCENARIOS["calm"], 1, clock.now()), clock) as exchanges:
        simulated = exchanges["deribit"]
        venue = venue_at("deribit", simulated.ws_url, simulated.rest_url)
        health, items = Health([venue]), list[Item]()
        assert len(health.channels()) == 3  # not known yet: down, not absent
        async with Rest() as rest:
            choice = Choice(frozenset({asset}))
            task = asyncio.create_task(Follower(venue, choice, rest, items.append, None, health, clock).run())
            await until(lambda: bool(items), 5)
            assert {channel for _, channel in health.channels()} == used
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
