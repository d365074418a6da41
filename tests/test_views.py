"""Aggregates that one venue cannot move by itself; windows and levels by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings, strategies as st
from small_market import COINS, PRICE, VENUES, Small, instrument, value

from monitor.bus import Listed
from monitor.events import Funding, Mark, OpenInterest

USD = "leverage_perp_open_interest_usd"
TOTAL_COINS = "leverage_perp_open_interest_coins"
COVERAGE = "leverage_coverage_ratio"
GROWTH = "leverage_open_interest_growth_ratio"
TOTAL = sum(COINS.values())


def test_level_is_the_sum_of_the_scope() -> None:
    samples = Small().run(60)
    assert value(samples, TOTAL_COINS, asset="BTC") == pytest.approx(TOTAL)  # 125,000 coins
    assert value(samples, USD, asset="BTC") == pytest.approx(TOTAL * PRICE)  # 10 bn dollars
    assert value(samples, COVERAGE, asset="BTC") == 1.0


def test_no_level_before_every_venue_of_the_scope_has_spoken() -> None:
    market = Small()
    samples = market.run(60, silent=("e",))
    assert value(samples, USD, asset="BTC") is None
    assert value(samples, COVERAGE, asset="BTC") == pytest.approx(4 / 5)
    samples = market.run(60)
    assert value(samples, USD, asset="BTC") == pytest.approx(TOTAL * PRICE)


def test_a_venue_whose_list_is_unread_may_trade_the_asset() -> None:
    samples = Small(listed=("a", "b", "c", "d")).run(60, silent=("e",))
    assert value(samples, USD, asset="BTC") is None


def test_a_venue_outside_the_scope_moves_no_aggregate() -> None:
    samples = Small(venues=("a", "b", "c", "d")).run(60)
    assert value(samples, TOTAL_COINS, asset="BTC") == pytest.approx(TOTAL - COINS["e"])
    assert value(samples, "leverage_open_interest_coins", venue="e") == COINS["e"]


def test_a_silent_venue_is_carried_then_missed_and_never_a_fall() -> None:
    market = Small()
    market.run(900)
    for minute in range(1, 59):  # carried for an hour
        samples = market.run(60, silent=("b",))
        assert value(samples, TOTAL_COINS, asset="BTC") == pytest.approx(TOTAL), minute
        growth = value(samples, GROWTH, asset="BTC", window="5m")
        assert growth == pytest.approx(0.0, abs=1e-12), minute
    assert value(samples, COVERAGE, asset="BTC") == pytest.approx(95 / 125)
    samples = market.run(600, silent=("b",))
    assert value(samples, USD, asset="BTC") is None  # absent, not smaller
    assert value(market.run(600), TOTAL_COINS, asset="BTC") == pytest.approx(TOTAL)


def test_below_the_least_coverage_there_is_no_level_and_no_change() -> None:
    market = Small()
    market.run(900)
    samples = market.run(420, silent=("a", "e"))  # 48 % is silent beyond its life of 5 minutes
    assert value(samples, COVERAGE, asset="BTC") == pytest.approx(65 / 125)
    assert value(samples, USD, asset="BTC") is None
    assert value(samples, GROWTH, asset="BTC", window="5m") is None
    assert value(samples, "leverage_funding_rate_8h_weighted_ratio", asset="BTC") is None


@pytest.mark.parametrize("factor", [1000.0, 1e-3, 1e6])
def test_a_unit_a_thousand_times_wrong_moves_nothing_and_is_named(factor: float) -> None:
    market = Small()
    market.run(900)
    for _ in range(60):
        for venue in VENUES:
            market.quote(venue, coins=COINS[venue] * (factor if venue == "c" else 1))
        samples = market.tick(10)
        assert value(samples, TOTAL_COINS, asset="BTC") == pytest.approx(TOTAL)
        assert value(samples, GROWTH, asset="BTC", window="5m") == pytest.approx(0.0, abs=1e-12)
        assert value(samples, "leverage_open_interest_coins", venue="c") is None
        assert samples.views.implausible == {("c", "open_interest"): 1}
    assert value(market.run(60), "leverage_open_interest_coins", venue="c") == COINS["c"]


def test_a_unit_a_thousand_times_wrong_from_the_first_reading_gives_no_level() -> None:
    market = Small()
    for _ in range(60):
        for venue in VENUES:
            market.quote(venue, coins=COINS[venue] * (1000 if venue == "c" else 1))
        samples = market.tick(10)
    assert value(samples, USD, asset="BTC") is None
    assert samples.views.implausible == {("c", "open_interest"): 1}


@pytest.mark.parametrize("factor", [1000.0, 1e-3, 2.0])
def test_a_wrong_price_moves_nothing_and_is_named(factor: float) -> None:
    market = Small()
    market.run(900)
    for _ in range(30):
        for venue in VENUES:
            market.quote(venue, PRICE * (factor if venue == "a" else 1))
        samples = market.tick(10)
        assert value(samples, "leverage_reference_price_usd", asset="BTC") == PRICE
        assert value(samples, USD, asset="BTC") == pytest.approx(TOTAL * PRICE)
        assert value(samples, "leverage_mark_price_usd", venue="a") is None
        volatility = value(samples, "leverage_realized_volatility_ratio", asset="BTC", window="5m")
        assert volatility == 0.0
    assert samples.views.implausible[("a", "mark")] == 1


def test_a_crash_of_the_whole_market_is_believed() -> None:
    market = Small()
    market.run(900)
    samples = market.run(10, price=PRICE * 0.6)  # 40 % in ten seconds, everywhere
    assert value(samples, "leverage_reference_price_usd", asset="BTC") == PRICE * 0.6
    assert value(samples, USD, asset="BTC") == pytest.approx(TOTAL * PRICE * 0.6)
    assert samples.views.implausible == {}


@pytest.mark.parametrize("venues", [("a",), ("a", "b")])
def test_one_or_two_venues_alone_are_not_believed_a_jump(venues: tuple[str, ...]) -> None:
    market = Small(venues=venues)
    silent = tuple(venue for venue in VENUES if venue not in venues)
    market.run(300, silent)
    samples = market.run(540, silent, price=PRICE * 1000)
    assert value(samples, "leverage_mark_price_usd", venue="a") is None
    assert value(samples, "leverage_reference_price_usd", asset="BTC") is None
    assert value(samples, USD, asset="BTC") != pytest.approx(TOTAL * PRICE * 1000)
    samples = market.run(120, silent)
    assert value(samples, "leverage_mark_price_usd", venue="a") == PRICE


def test_a_new_instrument_is_held_against_the_price_that_its_asset_has() -> None:
    market = Small(venues=("a",))
    market.run(60, silent=[venue for venue in VENUES if venue != "a"])
    listed = instrument("a", "BTCUSD_NEW")
    market.say("a", Mark(listed, market.now, PRICE * 1.5))  # the middle of both would be near either
    samples = market.tick()
    assert samples.views.implausible == {("a", "mark"): 1}
    assert value(samples, "leverage_mark_price_usd", symbol="BTCUSD_NEW") is None
    assert value(samples, "leverage_reference_price_usd", asset="BTC") == PRICE


def test_growth_by_hand() -> None:
    market = Small()
    market.run(3660)
    for venue in VENUES:  # a loses a fifth, the others stay: 0.4 x ln 0.8
        market.quote(venue, coins=COINS[venue] * (0.8 if venue == "a" else 1))
    samples = market.tick(5)
    expected = 50 / 125 * math.log(0.8)
    assert value(samples, GROWTH, asset="BTC", window="5m") == pytest.approx(expected, rel=1e-12)
    assert value(samples, GROWTH, asset="BTC", window="1h") == pytest.approx(expected, rel=1e-12)
    assert value(samples, GROWTH, asset="BTC", window="4h") is None  # not that old


def test_levels_are_of_the_tick_and_changes_of_the_last_five_seconds() -> None:
    market = Small()
    market.run(900)
    for venue in VENUES:
        market.quote(venue, coins=COINS[venue] * 0.8)
    seen = [market.tick(1) for _ in range(5)]
    assert [value(one, TOTAL_COINS, asset="BTC") for one in seen] == pytest.approx([0.8 * TOTAL] * 5)
    changes = [value(one, GROWTH, asset="BTC", window="5m") for one in seen]
    assert changes == pytest.approx([0.0] * 4 + [math.log(0.8)], abs=1e-12)


def test_growth_does_not_see_the_price() -> None:
    market = Small()
    market.run(900)
    samples = market.run(60, price=PRICE * 0.9)
    assert value(samples, GROWTH, asset="BTC", window="5m") == 0.0
    assert value(samples, USD, asset="BTC") == pytest.approx(TOTAL * PRICE * 0.9)


def test_a_venue_that_joins_moves_no_growth() -> None:
    market = Small()
    market.run(900, silent=("e",))
    samples = market.run(60)
    assert value(samples, GROWTH, asset="BTC", window="5m") == pytest.approx(0.0, abs=1e-12)


def test_funding_is_weighted_by_dollars_on_eight_hours() -> None:
    market = Small()
    for venue in VENUES:
        market.quote(venue, rate=8e-4 if venue == "a" else 1e-4)
    samples = market.tick(1)
    expected = 8e-4 * 50 / 125 + 1e-4 * 75 / 125
    found = value(samples, "leverage_funding_rate_8h_weighted_ratio", asset="BTC")
    assert found == pytest.approx(expected, rel=1e-12)


def test_an_hourly_rate_counts_eightfold_and_an_unknown_interval_not_at_all() -> None:
    market = Small()
    market.run(10)
    market.say("a", Funding(market.of["a"], market.now, 1e-5, 3600, None))
    samples = market.tick(1)
    assert value(samples, "leverage_funding_rate_ratio", venue="a") == 1e-5
    assert value(samples, "leverage_funding_rate_8h_ratio", venue="a") == pytest.approx(8e-5)


def test_liquidations_and_their_intensity_by_hand() -> None:
    market = Small()
    market.run(3660)
    market.liquidate("a", "long", 100)  # 8 m dollars
    market.liquidate("b", "short", 25)  # 2 m dollars
    for venue in VENUES:
        market.quote(venue)
    samples = market.tick(5)
    total = "leverage_liquidated_usd_total"
    assert value(samples, total, venue="a", position="long") == pytest.approx(8e6)
    assert value(samples, total, venue="b", position="short") == pytest.approx(2e6)
    assert value(samples, total, venue="c", position="long") == 0.0  # has a feed, saw none
    assert value(samples, total, venue="e", position="long") is None  # has no feed
    # 10 m dollars over the open interest of the four venues with a feed: 115,000 coins.
    expected = 10e6 / (115_000 * PRICE)
    found = value(samples, "leverage_liquidation_intensity_ratio", asset="BTC", window="1h")
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_liquidation_larger_than_its_open_interest_adds_nothing() -> None:
    market = Small()
    market.run(60)
    market.liquidate("a", "long", COINS["a"] * 1000)
    samples = market.tick(1)
    assert value(samples, "leverage_liquidated_usd_total", venue="a", position="long") == 0.0


def test_realised_volatility_by_hand() -> None:
    market = Small()
    price = PRICE
    for step in range(301):
        price = PRICE * (1.001 if step % 2 else 1.0)
        for venue in VENUES:
            market.quote(venue, price)
        samples = market.tick(1)
    # Each second ln(1.001) up or down: variance of a year is its square times seconds of a year.
    expected = math.log(1.001) * math.sqrt(365 * 86_400)
    found = value(samples, "leverage_realized_volatility_ratio", asset="BTC", window="5m")
    assert found == pytest.approx(expected, rel=1e-9)


def test_premium_and_its_absence() -> None:
    market = Small()
    market.run(10)
    of = market.of["a"]
    market.say("a", Mark(of, market.now, PRICE * 1.001, PRICE))
    samples = market.tick(1)
    assert value(samples, "leverage_premium_ratio", venue="a") == pytest.approx(0.001)
    market.say("a", Mark(of, market.now, PRICE, None))
    samples = market.tick(120)  # the index is older than its life
    assert value(samples, "leverage_premium_ratio", venue="a") is None


def test_a_delisted_instrument_leaves_everything_but_its_counter() -> None:
    market = Small()
    market.run(60)
    market.liquidate("a", "long", 1)
    market.tick(1)
    market.core.apply(Listed("a", market.now, ()))
    samples = market.run(60, silent=("a",))
    assert value(samples, "leverage_open_interest_usd", venue="a") is None
    assert value(samples, TOTAL_COINS, asset="BTC") == pytest.approx(TOTAL - COINS["a"])
    assert value(samples, "leverage_liquidated_usd_total", venue="a", position="long") == PRICE


def test_a_new_contract_size_forgets_what_was_said_in_the_old_one() -> None:
    market = Small()
    market.run(60)
    changed = instrument("a", contract_size=0.01, oi_unit="contracts")
    market.core.apply(Listed("a", market.now, (changed,)))
    samples = market.tick(1)
    assert value(samples, "leverage_open_interest_usd", venue="a") is None
    market.of["a"] = changed
    market.quote("a", coins=COINS["a"] * 100)  # in contracts of a hundredth
    assert value(market.tick(1), "leverage_open_interest_coins", venue="a") == pytest.approx(COINS["a"])


@given(order=st.permutations(range(10)), repeat=st.booleans())
@settings(max_examples=25, deadline=None)
def test_order_and_repetition_of_states_do_not_matter(order: list[int], repeat: bool) -> None:
    """States carry times: late and repeated ones change nothing."""
    market = Small()
    events = [
        event
        for n, venue in enumerate(VENUES)
        for event in (
            Mark(market.of[venue], market.now + n, PRICE + n),
            OpenInterest(market.of[venue], market.now + n, COINS[venue]),
        )
    ]
    for at in order:
        market.say(events[at].instrument.venue, events[at])
        if repeat:
            market.say(events[at].instrument.venue, events[at])
    for venue in VENUES:
        of = market.of[venue]
        market.say(venue, Mark(of, market.now - 5_000, 1.0), OpenInterest(of, market.now - 5_000, 1.0))
    samples = market.tick(1)
    assert value(samples, TOTAL_COINS, asset="BTC") == pytest.approx(TOTAL)
    for n, venue in enumerate(VENUES):
        assert value(samples, "leverage_mark_price_usd", venue=venue) == PRICE + n


def test_no_level_before_every_instrument_of_the_scope_has_spoken() -> None:
    market = Small()
    market.run(60)
    second = instrument("a", "BTCUSDC")
    market.core.apply(Listed("a", market.now, (market.of["a"], second)))
    samples = market.run(20)
    assert value(samples, USD, asset="BTC") is None
    assert value(samples, COVERAGE, asset="BTC") == pytest.approx(5 / 6)
    market.say("a", Mark(second, market.now, PRICE, PRICE), OpenInterest(second, market.now, 1_000.0))
    samples = market.run(20)
    assert value(samples, TOTAL_COINS, asset="BTC") == pytest.approx(TOTAL + 1_000)
    assert value(samples, COVERAGE, asset="BTC") == 1.0


def test_a_wrong_first_reading_that_was_believed_is_forgotten_after_an_hour() -> None:
    """Alone in the first tick there is nothing to hold it against; later there is."""
    market = Small()
    market.quote("a", coins=COINS["a"] * 20)
    market.tick(1)
    samples = market.run(3000, step=60)
    assert value(samples, "leverage_open_interest_coins", venue="a") is None  # refused: 20 times less
    samples = market.run(900, step=60)
    assert value(samples, TOTAL_COINS, asset="BTC") == pytest.approx(TOTAL)
