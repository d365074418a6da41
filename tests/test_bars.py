"""Minutes closed from the views, and hours and days rolled from minutes."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence

import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from polars.testing import assert_frame_equal
from small_market import COINS, PRICE, T0, VENUES, Small, instrument

from monitor.bars import BAR, CLOSE_WITHIN, KEY, Bars, Step, roll, unique
from monitor.bus import Listed
from monitor.events import Mark, OpenInterest
from monitor.ladder import DAY, HOUR, MINUTE, SECOND

DAY0 = 1_790_726_400_000
"""2026-09-30 00:00 UTC."""

# Closing minutes.


def quoted(
    market: Small, bars: Bars, seconds: int, silent: Sequence[str] = (), price: float = PRICE
) -> list[pl.DataFrame]:
    """Ticks of 20 seconds, in which everyone but the silent repeats itself."""
    closed = []
    for _ in range(0, seconds, 20):
        for venue in VENUES:
            if venue not in silent:
                market.quote(venue, price)
        samples = market.tick(20)
        closed += bars.push(samples.now, samples.views.instrument)
    return closed


def one(bars: pl.DataFrame, venue: str) -> dict[str, object]:
    found = bars.filter(pl.col("venue") == venue).to_dicts()
    assert len(found) == 1
    return found[0]


def test_a_minute_is_closed_by_the_first_tick_after_it() -> None:
    market, bars = Small(), Bars()
    assert T0 % MINUTE == 0
    assert quoted(market, bars, 20, price=100.0) == []
    assert quoted(market, bars, 20, price=104.0) == []
    assert quoted(market, bars, 20, price=102.0) == []  # at the full minute: it tells what was before
    (minute,) = quoted(market, bars, 20, price=90.0)
    assert dict(minute.schema) == BAR
    row = one(minute, "a")
    assert row["time"] == T0
    assert [row[name] for name in ("open", "high", "low", "close")] == [100.0, 104.0, 100.0, 102.0]
    assert row["native"] == row["coins"] == COINS["a"]
    assert row["usd"] == pytest.approx(COINS["a"] * 102.0)
    assert row["funding_8h"] == 1e-4
    assert (row["long_usd"], row["short_usd"]) == (0.0, 0.0)  # a quiet minute
    assert (one(minute, "e")["long_usd"], one(minute, "e")["short_usd"]) == (None, None)  # no feed
    (minute,) = quoted(market, bars, 60, price=90.0)
    assert one(minute, "a")["open"] == one(minute, "a")["high"] == 90.0
    assert one(minute, "a")["time"] == T0 + MINUTE


def test_liquidations_stand_in_their_minute() -> None:
    market, bars = Small(), Bars()
    quoted(market, bars, 20)
    market.liquidate("a", "long", 2.0)
    (first,) = quoted(market, bars, 60)
    market.liquidate("a", "short", 3.0)
    (second,) = quoted(market, bars, 60)
    assert one(first, "a")["long_usd"] == pytest.approx(2 * PRICE)
    assert one(first, "a")["short_usd"] == 0.0
    assert one(second, "a")["long_usd"] == 0.0
    assert one(second, "a")["short_usd"] == pytest.approx(3 * PRICE)


def test_who_is_silent_has_no_number_and_then_no_row() -> None:
    market, bars = Small(), Bars()
    quoted(market, bars, 80)
    minutes = quoted(market, bars, 900, silent=("b",))
    stale = [row for minute in minutes for row in minute.filter(pl.col("venue") == "b").to_dicts()]
    assert 2 <= len(stale) < len(minutes)
    assert stale[-1]["close"] is None  # a mark lives a minute, funding ten
    assert stale[-1]["native"] is stale[-1]["usd"] is stale[-1]["coins"] is None
    assert minutes[-1]["venue"].to_list() == ["a", "c", "d", "e"]


def test_ticks_coarser_than_a_minute_close_one_each() -> None:
    market, bars = Small(), Bars()
    times = []
    for _ in range(4):
        for venue in VENUES:
            market.quote(venue)
        market.now += 90 * SECOND
        for venue in VENUES:
            market.quote(venue)
        samples = market.tick(10)
        times += [minute["time"][0] for minute in bars.push(samples.now, samples.views.instrument)]
    assert times == [T0 + n * MINUTE for n in (1, 3, 4)]


def test_contracts_of_a_thousand_coins_and_of_dollars() -> None:
    market, bars = Small(), Bars()
    many = instrument("c", "1000PEPEUSDT", "PEPE", multiplier=1000.0)
    dollars = instrument("d", "BTCUSD", margin="inverse", contract_size=100.0, oi_unit="contracts")
    for of in (many, dollars):
        market.core.apply(Listed(of.venue, market.now, (market.of[of.venue], of)))
    for _ in range(2):
        market.say("c", Mark(many, market.now, 0.01, 0.01), OpenInterest(many, market.now, 5e6))
        market.say("d", Mark(dollars, market.now, PRICE, PRICE), OpenInterest(dollars, market.now, 4e4))
        closed = quoted(market, bars, 40)
    (minute,) = closed
    pepe, inverse = (minute.filter(symbol=of.symbol).to_dicts()[0] for of in (many, dollars))
    assert pepe["close"] == pytest.approx(1e-5)
    assert pepe["native"] == pepe["coins"] == pytest.approx(5e9)
    assert pepe["usd"] == pytest.approx(5e4)
    assert inverse["native"] == inverse["usd"] == pytest.approx(4e6)
    assert inverse["coins"] == pytest.approx(4e6 / PRICE)


def row(symbol: str, **more: object) -> dict[str, object]:
    """A row of `Views.instrument`, as far as bars look."""
    return {
        "venue": "a", "asset": "BTC", "symbol": symbol, "margin": "linear", "multiplier": 1.0, "face": 1.0,
        "contracts": 5.0, "price": 100.0, "fresh": True, "usd": 500.0, "coins": 5.0, "rate_8h": 1e-4,
        "perpetual": True, "liquidation_feed": "complete", "long_usd": 0.0, "short_usd": 0.0,
    } | more  # fmt: skip


def frame(rows: Iterable[dict[str, object]]) -> pl.DataFrame:
    floats = dict.fromkeys(("price", "contracts", "usd", "coins", "rate_8h"), pl.Float64)
    return pl.DataFrame(list(rows), schema_overrides=floats)


def test_slots_grow_and_a_liquidation_of_what_was_unlisted_stays() -> None:
    bars = Bars()
    bars.push(1_000, frame([row("x")]))
    bars.push(2_000, frame([row("x", price=101.0, long_usd=7.0), row("y", price=50.0, short_usd=3.0)]))
    silent = dict.fromkeys(("price", "usd", "coins", "rate_8h"))
    gone = row("x", perpetual=False, fresh=False, long_usd=9.0, **silent)
    (minute,) = bars.push(61_000, frame([gone, row("y", short_usd=3.0)]))
    assert minute.select("symbol", "open", "close", "long_usd", "short_usd").rows() == [
        ("x", 100.0, 101.0, 7.0, 0.0),
        ("y", 50.0, 50.0, 0.0, 3.0),
    ]
    (minute,) = bars.push(121_000, frame([gone, row("y", short_usd=3.0)]))
    assert minute.select("symbol", "open", "long_usd", "short_usd").rows() == [
        ("x", None, 2.0, 0.0),
        ("y", 100.0, 0.0, 0.0),
    ]
    (minute,) = bars.push(181_000, frame([gone, row("y", short_usd=3.0)]))
    assert minute["symbol"].to_list() == ["y"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 200_000), st.floats(0, 1e6), st.floats(0, 1e6), st.booleans(),
            st.one_of(st.none(), st.floats(1, 1e5)),
        ),
        min_size=2, max_size=40,
    )
)  # fmt: skip
def test_no_liquidation_is_lost_between_bars(
    ticks: list[tuple[int, float, float, bool, float | None]],
) -> None:
    bars, now = Bars(), 0
    long = short = 0.0
    closed: list[pl.DataFrame] = []
    prices: dict[int, list[float]] = {}
    for passed, more_long, more_short, listed, price in [*ticks, (5 * MINUTE, 0.0, 0.0, True, 1.0)]:
        now += passed
        before = long, short
        long, short = long + more_long, short + more_short
        known = None if price is None or not listed else price
        closed += bars.push(
            now, frame([row("x", perpetual=listed, price=known, long_usd=long, short_usd=short)])
        )
        if known is not None:
            prices.setdefault((now - 1) // MINUTE * MINUTE, []).append(known)
    table = pl.concat([pl.DataFrame(schema=BAR), *closed])
    assert table["time"].is_sorted()
    assert table["time"].is_unique().all()
    assert table["long_usd"].sum() == pytest.approx(before[0], rel=1e-9, abs=1e-6)
    assert table["short_usd"].sum() == pytest.approx(before[1], rel=1e-9, abs=1e-6)
    for bar in table.filter(pl.col("open").is_not_null()).to_dicts():
        seen = prices[bar["time"]]
        assert [bar[name] for name in ("open", "high", "low", "close")] == [
            seen[0], max(seen), min(seen), seen[-1],
        ]  # fmt: skip


# Rolling.

value = st.one_of(st.none(), st.floats(0.5, 2e6))


@st.composite
def minutes(draw: st.DrawFn) -> pl.DataFrame:
    """Minutes of two days, with holes and duplicates, in any order."""
    times = st.sampled_from(
        [DAY0 + n * MINUTE for n in (0, 1, 59, 60, 61, 700, 1259, 1260, 1261, 1380, 1439, 1440, 1441, 2879)]
    )
    rows = draw(
        st.lists(st.tuples(times, st.sampled_from("ab"), *[value] * 10), min_size=1, max_size=40)
    )  # fmt: skip
    return pl.DataFrame(
        [(time, venue, "BTC", "X", "linear", *values) for time, venue, *values in rows],
        schema=BAR, orient="row",
    )  # fmt: skip


def last(values: list[float]) -> float | None:
    return values[-1] if values else None


def same(one: pl.DataFrame, other: pl.DataFrame) -> None:
    assert_frame_equal(one, other, rel_tol=1e-12, abs_tol=1e-9)


@settings(max_examples=150, deadline=None)
@given(minutes(), st.integers(0, 1 << 32))
def test_days_of_minutes_are_days_of_hours(bars: pl.DataFrame, seed: int) -> None:
    days = roll(bars, "day")
    same(roll(roll(bars, "hour"), "day"), days)
    once = unique(bars)
    same(roll(once.sample(fraction=1.0, shuffle=True, seed=seed), "day"), days)
    # Cut anywhere between two hours, rolled in parts, put together.
    cut = DAY0 + random.Random(seed).randrange(48) * HOUR
    sides = (once.filter(pl.col("time") < cut), once.filter(pl.col("time") >= cut))
    same(roll(pl.concat([roll(side, "hour") for side in sides]), "day"), days)
    # Given twice, it counts once.
    same(roll(pl.concat([bars, once]), "day"), days)
    # Still open: what is known by a minute is the same day of hours as of minutes.
    until = once["time"].sample(1, seed=seed).item() + MINUTE
    begun = once.filter(pl.col("time") < until)
    same(roll(roll(begun, "hour", until), "day", until), roll(begun, "day", until))


@settings(max_examples=100, deadline=None)
@given(minutes(), st.sampled_from(["hour", "day"]))
def test_a_rolled_bar_is_what_its_minutes_say(bars: pl.DataFrame, step: Step) -> None:
    length = {"hour": HOUR, "day": DAY}[step]
    newest = {tuple(bar[name] for name in KEY): bar for bar in bars.to_dicts()}
    found = roll(bars, step).to_dicts()
    assert len(found) == len({(key[0] // length, *key[1:]) for key in newest})
    for bar in found:
        end = bar["time"] + length
        parts = sorted(
            (
                part for part in newest.values()
                if bar["time"] <= part["time"] < end and part["venue"] == bar["venue"]
            ),
            key=lambda part: part["time"],
        )  # fmt: skip

        def of(name: str, since: int = 0, parts: list[dict[str, float]] = parts) -> list[float]:
            return [part[name] for part in parts if part["time"] >= since and part[name] is not None]

        assert bar["open"] == next(iter(of("open")), None)
        assert bar["high"] == max(of("high"), default=None)
        assert bar["low"] == min(of("low"), default=None)
        assert bar["close"] == last(of("close"))
        for name in ("native", "coins", "usd", "funding_8h"):
            assert bar[name] == last(of(name, end - CLOSE_WITHIN[step]))
        for name in ("long_usd", "short_usd"):
            if of(name):
                assert bar[name] == pytest.approx(math.fsum(of(name)), rel=1e-12)
            else:
                assert bar[name] is None


def test_a_day_whose_close_nobody_saw_has_no_open_interest() -> None:
    known = {"venue": "a", "asset": "BTC", "symbol": "X", "margin": "linear", "native": 5.0}
    bar = dict.fromkeys(BAR) | known
    early, late = bar | {"time": DAY0 + 20 * HOUR}, bar | {"time": DAY0 + 21 * HOUR}
    assert roll(pl.DataFrame([early], schema=BAR), "day")["native"].to_list() == [None]
    assert roll(pl.DataFrame([early], schema=BAR), "day", DAY0 + 22 * HOUR)["native"].to_list() == [5.0]
    assert roll(pl.DataFrame([late], schema=BAR), "day")["native"].to_list() == [5.0]


def test_nothing_rolls_to_nothing() -> None:
    assert_frame_equal(roll(pl.DataFrame(schema=BAR), "day"), pl.DataFrame(schema=BAR))
