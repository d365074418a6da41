"""One series of an asset from many venues: golden numbers, and venues that misbehave."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from monitor.deleveraging.aggregate import CAP, CLOSES, DAYS, capped, consistent, contradicts, days, minmod
from monitor.deleveraging.phases import features

FIRST = 19_000
PRICE = 40_000.0


def book(
    venue: str, coins: Sequence[float | None], price: float | Sequence[float] = PRICE, *,
    margin: str | None = "linear", first: int = FIRST, usd: Sequence[float] | None = None,
    supply: float | None = None,
) -> pl.DataFrame:  # fmt: skip
    """An instrument's closes; a day without coins has no row."""
    prices = [price] * len(coins) if isinstance(price, float) else price
    rows = [
        (first + day, "BTC", venue, margin or "", margin, prices[day], value, usd[day] if usd else None,
         supply, None, None, None)
        for day, value in enumerate(coins)
        if value is not None
    ]  # fmt: skip
    return pl.DataFrame(rows, dict(CLOSES), orient="row")


def series(frame: pl.DataFrame, column: str) -> list[float | None]:
    return frame[column].to_list()


# Golden numbers.


@pytest.mark.parametrize(
    ("coins", "usd", "growth"),
    [(-0.170891, -0.246766, -0.170891), (-0.105361, 0.0, 0.0), (0.0, -0.105361, 0.0), (0.05, 0.02, 0.02)],
)
def test_minmod(coins: float, usd: float, growth: float) -> None:
    """Methodology §10."""
    found = pl.select(minmod(pl.lit(coins), pl.lit(usd))).item()
    assert found == pytest.approx(growth, abs=1e-12)


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_minmod_is_the_smallest_change_that_a_mix_allows(coins: float, usd: float) -> None:
    """For any share of inverse contracts the change lies between the two (methodology §3.3)."""
    mixes = [coins + (usd - coins) * share / 50 for share in range(51)]
    nearest = 0.0 if min(mixes) <= 0 <= max(mixes) else min(mixes, key=abs)
    assert pl.select(minmod(pl.lit(coins), pl.lit(usd))).item() == pytest.approx(nearest, abs=1e-12)


@pytest.mark.parametrize(
    ("coins", "usd", "growth", "purged"),
    [
        ((741_705, 625_193), (90_237_622_503, 70_505_795_930), -0.170891, 14.18e9),
        ((13_533_731, 11_024_521), (59_116_552_895, 42_220_828_080), -0.205063, 10.96e9),
    ],
)
def test_the_tenth_of_october(
    coins: tuple[float, float], usd: tuple[float, float], growth: float, purged: float
) -> None:
    """Methodology §3.3: CoinGlass closes of 9 and 10 October 2025, bitcoin and ether."""
    prices = [dollars / amount for dollars, amount in zip(usd, coins, strict=True)]
    found = features(days(book("", list(coins), prices, margin=None, usd=list(usd))))
    assert found["growth"][1] == pytest.approx(growth, abs=1e-6)
    assert -found["position_effect_usd"][1] == pytest.approx(purged, abs=0.005e9)
    assert found["change_usd"][1] == pytest.approx(usd[1] - usd[0], rel=1e-12)


@pytest.mark.parametrize("moved", [0.10, -0.10])
def test_a_price_alone_is_no_growth(moved: float) -> None:
    """Methodology §3.3: an inverse book keeps its dollars, a linear book its coins."""
    prices = [PRICE, PRICE * (1 + moved)]
    inverse = book("i", [1e5, 1e5 / (1 + moved)], prices, margin="inverse")
    linear = book("l", [1e5, 1e5], prices)
    for known in (inverse, linear, pl.concat([inverse, linear])):
        assert days(known)["growth"][1] == pytest.approx(0.0, abs=1e-12)
        unsaid = known.with_columns(margin=pl.lit(None, dtype=pl.String))
        assert days(unsaid)["growth"][1] == pytest.approx(0.0, abs=1e-12)


def test_growth_is_in_the_native_unit() -> None:
    prices = [PRICE, PRICE * 0.8]
    assert days(book("l", [1e5, 9e4], prices))["growth"][1] == pytest.approx(math.log(0.9), abs=1e-12)
    inverse = book("i", [1e5, 1e5], prices, margin="inverse")
    assert days(inverse)["growth"][1] == pytest.approx(math.log(0.8), abs=1e-12)


# Weights.


@pytest.mark.parametrize(
    ("shares", "weights"),
    [
        ([0.35, 0.35, 0.3], [0.35, 0.35, 0.3]),
        ([0.6, 0.3, 0.1], [0.4, 0.4, 0.2]),
        ([0.5, 0.2, 0.15, 0.15], [0.4, 0.24, 0.18, 0.18]),
        # The small one carries at most twice its share: 0.4 and 0.2, of 0.6.
        ([0.9, 0.1], [2 / 3, 1 / 3]),
        ([1.0], [1.0]),
    ],
)
def test_the_cap_by_hand(shares: list[float], weights: list[float]) -> None:
    frame = pl.DataFrame({"day": [1] * len(shares), "share": shares})
    assert capped(frame, "share", ["day"])["share"].to_list() == pytest.approx(weights, abs=1e-12)


@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=12))
def test_weights_sum_to_one_and_none_but_the_needed_is_above_the_cap(raw: list[float]) -> None:
    shares = [value / sum(raw) for value in raw]
    frame = capped(pl.DataFrame({"day": [1] * len(shares), "share": shares}), "share", ["day"])
    weights = frame["share"].to_list()
    assert sum(weights) == pytest.approx(1.0, abs=1e-9)
    assert all(weight >= 0 for weight in weights)
    if sum(min(2 * share, CAP) for share in shares) >= 1:  # the others can carry what the large ones lose
        assert max(weights) <= CAP + 1e-9


def test_one_venue_moves_the_market_by_its_weight_at_most() -> None:
    held = pl.concat([book("a", [6e4, 5.4e4]), book("b", [3e4, 3e4]), book("c", [1e4, 1e4])])
    assert days(held)["growth"][1] == pytest.approx(0.4 * math.log(0.9), abs=1e-12)


# Venues that misbehave, in a market whose growth is known.

TOLERANCE = 0.012
"""Of growth and index: the honest venues differ by 0.2 % a day, and carry other weights without one."""
LENGTH, AT = 120, 60
SHARES = {"a": 3e4, "b": 2.5e4, "c": 2e4, "d": 1.5e4, "e": 1e4}


def market(seed: int = 1, crash: float = 0.0) -> dict[str, list[float]]:
    """Coins of five venues; on the day `AT` all fall alike."""
    dice = random.Random(seed)
    common = [dice.gauss(0, 0.01) + (crash if day == AT else 0.0) for day in range(LENGTH)]
    return {
        venue: [
            coins * math.exp(sum(common[: day + 1]) + dice.gauss(0, 0.002)) for day in range(LENGTH)
        ]
        for venue, coins in SHARES.items()
    }  # fmt: skip


def closes_of(held: dict[str, list[float]]) -> pl.DataFrame:
    return pl.concat([book(venue, coins) for venue, coins in held.items()])


def doubled(coins: list[float | None]) -> list[float | None]:
    return [value and value * (2 if day >= AT else 1) for day, value in enumerate(coins)]


def doubled_once(coins: list[float | None]) -> list[float | None]:
    return [value and value * (2 if day == AT else 1) for day, value in enumerate(coins)]


def halved(coins: list[float | None]) -> list[float | None]:
    return [value and value / (2 if day >= AT else 1) for day, value in enumerate(coins)]


def in_dollars(coins: list[float | None]) -> list[float | None]:
    return [value and value * (PRICE if day >= AT else 1) for day, value in enumerate(coins)]


def in_thousands(coins: list[float | None]) -> list[float | None]:
    return [value and value / (1000 if day >= AT else 1) for day, value in enumerate(coins)]


def stalls(coins: list[float | None]) -> list[float | None]:
    return [coins[min(day, AT)] for day in range(LENGTH)]


def leaves(coins: list[float | None]) -> list[float | None]:
    return [value if day < AT else None for day, value in enumerate(coins)]


def joins(coins: list[float | None]) -> list[float | None]:
    return [value if day >= AT else None for day, value in enumerate(coins)]


def out_for_a_day(coins: list[float | None]) -> list[float | None]:
    return [None if day == AT else value for day, value in enumerate(coins)]


def zero_for_a_day(coins: list[float | None]) -> list[float | None]:
    return [0.0 if day == AT else value for day, value in enumerate(coins)]


Twist = Callable[[list[float | None]], list[float | None]]
TWISTS: list[tuple[Twist, int, str]] = [
    (doubled, AT, "contradicts"),
    (doubled_once, AT, "contradicts"),
    (halved, AT, "contradicts"),
    (in_dollars, AT, "refused"),
    (in_thousands, AT, "refused"),
    (stalls, AT + 2, "stands still"),
    (leaves, AT, "silent"),
    (joins, AT, "new"),
    (out_for_a_day, AT, "silent"),
    (zero_for_a_day, AT, "refused"),
]
"""What a venue does, the day on which it is named, and the word for it."""


@pytest.mark.parametrize("venue", ["a", "c", "e"])
@pytest.mark.parametrize(("twist", "day", "word"), TWISTS, ids=lambda of: getattr(of, "__name__", str(of)))
def test_no_venue_moves_the_market_alone(twist: Twist, day: int, word: str, venue: str) -> None:
    honest = market()
    base = days(closes_of(honest))
    found = days(closes_of({**honest, venue: twist(list(honest[venue]))}))  # type: ignore[dict-item]
    apart = (found["growth"] - base["growth"]).abs().max()
    assert isinstance(apart, float)
    assert apart < TOLERANCE
    moved = found["index"].diff() - base["index"].diff()
    drift = moved.cum_sum().abs().max()
    assert isinstance(drift, float)
    assert drift < TOLERANCE
    assert f"{venue}: {word}" in found["aside"][day]


@pytest.mark.parametrize("venue", ["a", "c", "e"])
def test_a_venue_that_rises_while_the_market_falls_is_no_witness(venue: str) -> None:
    """As Bybit on 2021-05-19: x 3.6 in two hours, decaying over five days, while the others fall."""
    honest = market(crash=-0.25)
    base = days(closes_of(honest))
    swollen = [
        value * (1 + 2.6 * math.exp(-(day - AT) / 1.5) if day >= AT else 1)
        for day, value in enumerate(honest[venue])
    ]
    found = days(closes_of({**honest, venue: swollen}))
    assert f"{venue}: contradicts" in found["aside"][AT]
    apart = (found["growth"] - base["growth"]).abs().max()
    assert isinstance(apart, float)
    # The largest has 30 %, and is believed again when it is 5 % a day from the others.
    assert apart < 0.3 * 0.05 + 0.002
    assert found["growth"][AT] == pytest.approx(-0.25, abs=0.02)


def test_what_all_venues_do_is_believed() -> None:
    found = days(closes_of(market(crash=-0.5)))
    assert found["growth"][AT] == pytest.approx(-0.5, abs=0.03)
    assert found["aside"][AT].to_list() == []


def test_an_honest_market_sets_nobody_aside() -> None:
    found = days(closes_of(market()))
    assert found["aside"].list.len().sum() == 0
    assert found["spliced"].sum() == 0
    assert found["believed"][1:].min() == 1.0
    assert found["coverage"].min() == 1.0


def test_a_venue_that_joins_leaves_a_splice() -> None:
    honest = market()
    found = days(pl.concat([book(v, joins(list(c)) if v == "c" else c) for v, c in honest.items()]))
    assert found["spliced"].to_list()[AT] is True
    stepped = math.log(found["coins"][AT] / found["coins"][AT - 1])
    assert stepped == pytest.approx(math.log(1 / 0.8), abs=0.03), "the level that is shown has the venue"
    assert found["index"][AT] - found["index"][AT - 1] == pytest.approx(found["linked"][AT], abs=TOLERANCE)


def test_a_venue_that_leaves_is_missed_for_thirty_days() -> None:
    honest = market()
    found = days(pl.concat([book(v, leaves(list(c)) if v == "b" else list(c)) for v, c in honest.items()]))
    assert found["coverage"][AT - 1] == 1.0
    assert found["coverage"][AT] == pytest.approx(0.75, abs=0.01)
    assert found["coverage"][AT + 29] == pytest.approx(0.75, abs=0.03)
    assert found["coverage"][AT + 30] == 1.0


def test_contradiction_rules_by_hand() -> None:
    def wrong(*changes: float) -> list[bool]:
        frame = pl.DataFrame({"day": [1] * len(changes), "change": list(changes)})
        return frame.select(contradicts(pl.col("change"), ["day"])).to_series().to_list()

    assert wrong(0.01, 0.02, 0.35) == [False, False, True]
    assert wrong(0.01, 0.02, 0.31) == [False, False, False], "0.30 and the median's 0.02"
    assert wrong(-0.06, -0.07, 0.11) == [False, False, True], "rises while the market falls"
    assert wrong(-0.04, -0.04, 0.11) == [False, False, False]
    assert wrong(0.01, 0.40) == [False, True]
    assert wrong(0.40) == [False]
    assert wrong(0.41) == [True]
    assert wrong(-0.59) == [False]
    assert wrong(-0.61) == [True]


# One row.


def test_dollars_and_coins_complete_each_other() -> None:
    frame = book("a", [1e5, 1e5], usd=[4e9, 4e9])
    only = frame.with_columns(coins=pl.lit(None, dtype=pl.Float64))
    assert consistent(only)["coins"].to_list() == [1e5, 1e5]
    only = frame.with_columns(usd=pl.lit(None, dtype=pl.Float64))
    assert consistent(only)["usd"].to_list() == [4e9, 4e9]


@pytest.mark.parametrize(
    ("coins", "usd", "supply", "kept"),
    [
        (1e5, 4e9, None, True),
        (1e5, 4.9e9, None, True),
        (1e5, 5.1e9, None, False),
        (1e5, 3.1e9, None, False),
        (1e5, 4e9, 2e5, True),
        (1e5, 4e9, 1.9e5, False),
        (0.0, None, None, False),
    ],
)
def test_a_row_that_contradicts_itself_is_not_used(
    coins: float, usd: float | None, supply: float | None, kept: bool
) -> None:
    frame = book("a", [coins], supply=supply).with_columns(usd=pl.lit(usd, dtype=pl.Float64))
    assert consistent(frame)["coins"].is_not_null().item() is kept


# Gaps.


def test_a_gap_of_everything_brings_its_change_of_level_and_no_growth() -> None:
    def index(gap: int) -> float:
        coins: list[float | None] = [1e5] * 50 + [None] * gap + [8e4] * 20
        found = days(book("a", [value and value + day for day, value in enumerate(coins)]))
        assert found.height == 70 + gap
        assert found["growth"][50 + gap] is None, "a change across a gap is no day's"
        return float(found["index"][-1] - found["index"][49])

    assert index(2) == pytest.approx(math.log(0.8), abs=2e-3)
    assert index(3) == pytest.approx(math.log(0.8), abs=2e-3)
    assert index(300) == pytest.approx(math.log(0.8), abs=6e-3)


def test_every_calendar_day_has_a_row_and_no_number_is_made_up() -> None:
    found = days(pl.concat([book("a", [1e5, 1.1e5]), book("a", [1.2e5, 1.3e5], first=FIRST + 2000)]))
    assert found.height == 2002
    hole = found[10:1990]
    assert hole.select("coins", "usd", "index", "growth").null_count().row(0) == (1980,) * 4
    assert hole["coverage"].max() == 0.0
    assert found["growth"][2000] is None
    assert found["growth"][-1] == pytest.approx(math.log(1.3 / 1.2)), "nobody else was there meanwhile"
    assert found["aside"][-1].to_list() == []


def test_no_closes_no_days() -> None:
    found = days(pl.DataFrame(schema=dict(CLOSES)))
    assert found.is_empty()
    assert list(found.columns) == list(DAYS)


# Price and position.


def with_prices(seed: int, held: dict[str, list[float | None]]) -> pl.DataFrame:
    dice = random.Random(seed)
    prices = [PRICE]
    for _ in range(LENGTH - 1):
        prices.append(prices[-1] * math.exp(dice.gauss(0, 0.03)))
    return features(days(pl.concat([book(venue, coins, prices) for venue, coins in held.items()])))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_the_effects_of_price_and_positions_sum_to_the_change(seed: int) -> None:
    found = with_prices(seed, {venue: list(coins) for venue, coins in market(seed).items()})[1:]
    change, price, position = (
        found[name].to_numpy() for name in ("change_usd", "price_effect_usd", "position_effect_usd")
    )
    assert price + position == pytest.approx(change, rel=1e-9)
    usd, growth, moved = (found[name].to_numpy() for name in ("usd", "growth", "return_1d"))
    linear = (usd - change) * np.exp(growth) * np.expm1(moved)
    assert price == pytest.approx(linear, abs=1e-4 * usd.max()), "the price's move on what was not closed"


@pytest.mark.parametrize("twist", [joins, doubled, leaves])
def test_what_a_venue_brings_or_takes_is_no_effect_of_the_price(twist: Twist) -> None:
    held = {venue: list(coins) for venue, coins in market().items()}
    found = with_prices(1, {**held, "c": twist(held["c"])})  # type: ignore[dict-item, arg-type]
    usual = found["price_effect_usd"] / found["usd"].shift(1)
    assert usual.abs().max() < 0.12  # type: ignore[operator]


@pytest.mark.parametrize("gap", [4, 20, 200])
def test_a_level_is_compared_across_an_outage_of_everything(gap: int) -> None:
    """Nobody saw the fall, so it is no growth; but the level is where it is, and so is the index."""
    rows = [
        {"day": day, "asset": "BTC", "venue": venue, "symbol": venue, "margin": "linear", "price": 100.0,
         "coins": coins * (1.0 if day < 100 else 0.8) * (1 + 0.001 * (day % 3))}
        for venue, coins in (("a", 500.0), ("b", 300.0), ("c", 200.0))
        for day in (*range(100), *range(100 + gap, 130 + gap))
    ]  # fmt: skip
    frame = days(pl.DataFrame(rows).select(*(
        pl.col(name).cast(dtype) if name in rows[0] else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in CLOSES.items()
    )))  # fmt: skip
    before, after = frame.filter(pl.col("day") == 99), frame.filter(pl.col("day") == 102 + gap)
    fall = after["index"][0] - before["index"][0]
    levels = math.log(after["coins"][0] / before["coins"][0])
    assert fall == pytest.approx(levels, abs=1e-9)
    assert frame.filter(pl.col("day") == 100 + gap)["growth"][0] is None
    assert abs(frame["growth"].drop_nulls().min() or 0) < 0.01  # type: ignore[arg-type, operator]
