"""What is kept, what is refused, and what counts once."""

from __future__ import annotations

from small_market import PRICE, Small, instrument, value

from monitor.bus import Heard, Listed
from monitor.events import Index, Liquidation, Mark, VolatilityIndex
from monitor.tick.tables import LATE, Tables

TOTAL = "leverage_liquidated_usd_total"


def test_a_repeated_frame_of_liquidations_counts_once() -> None:
    market = Small()
    market.run(60)
    frame = Heard("a", market.now, [Liquidation(market.of["a"], market.now, "long", PRICE, 2.0)] * 2)
    market.core.apply(frame)  # two equal rows of one frame are two liquidations
    market.core.apply(frame)  # the frame again is the same two
    samples = market.tick(1)
    assert value(samples, TOTAL, venue="a", position="long") == 4 * PRICE
    assert market.core.tables.refused["a", "repeated"] == 2


def test_the_venue_s_identity_tells_repetitions() -> None:
    market = Small()
    market.run(60)
    of = market.of["a"]
    for name in ("1T", "2T", "1T"):
        market.say("a", Liquidation(of, market.now, "short", PRICE, 1.0, name))
    assert value(market.tick(1), TOTAL, venue="a", position="short") == 2 * PRICE


def test_an_old_liquidation_is_history() -> None:
    market = Small()
    market.run(60)
    market.liquidate("a", "long", 1.0, at=market.now - LATE - 1)
    assert value(market.tick(1), TOTAL, venue="a", position="long") == 0.0
    assert market.core.tables.refused["a", "late"] == 1


def test_an_event_of_the_future_is_refused() -> None:
    market = Small()
    market.run(60)
    market.say("a", Mark(market.of["a"], market.now + 10_000, PRICE * 1.1))
    assert value(market.tick(1), "leverage_mark_price_usd", venue="a") == PRICE
    assert market.core.tables.refused["a", "clock"] == 1


def test_what_is_remembered_of_liquidations_is_bounded() -> None:
    tables = Tables(["a"])
    of = instrument("a")
    for second in range(2_000):
        now = 1_000_000 + second * 1000
        tables.apply(Heard("a", now, [Liquidation(of, now, "long", PRICE, 1.0)]))
        tables.take(now)
    assert len(tables._seen) <= 2 * LATE // 1000 + 2  # noqa: SLF001 -- the bound is the point


def test_an_index_told_for_several_contracts_reaches_them_all() -> None:
    tables = Tables(["a"])
    swaps = [instrument("a", name, index_symbol="BTC-USD") for name in ("X", "Y")]
    index = instrument("a", "BTC-USD", kind="index")
    tables.apply(Listed("a", 0, (*swaps, index)))
    tables.apply(Heard("a", 10, [Index(index, 10, 5.0)]))
    assert tables.take(11).state["index"].to_list() == [5.0, 5.0, None]


def test_the_newest_volatility_index_counts() -> None:
    tables = Tables(["a"])
    of = instrument("a", "btc_usd", kind="volatility")
    for time, level in ((10, 0.4), (20, 0.5), (15, 0.9)):
        tables.apply(Heard("a", 20, [VolatilityIndex(of, time, level)]))
    assert tables.take(21).volatility == {"BTC": (0.5, 20)}


def test_a_list_retires_and_revives_a_slot() -> None:
    tables = Tables(["a", "b"])
    x, y = instrument("a", "X"), instrument("a", "Y")
    tables.apply(Listed("a", 0, (x, y)))
    assert tables.take(1).unlisted_venues == {"b"}
    tables.apply(Listed("a", 2, (y,)))
    assert tables.take(3).listed == (False, True)
    tables.apply(Listed("a", 4, (instrument("a", "X"), y)))
    taken = tables.take(5)
    assert taken.listed == (True, True)
    assert [of.symbol for of in taken.instruments] == ["X", "Y"]
