"""Volatility of bars against formulas written out by hand, and the ratio against its study."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from monitor.ladder import DAY, HOUR, MINUTE
from monitor.volatility.estimators import (
    ESTIMATORS,
    annualised,
    closed,
    from_terms,
    jump_share,
    streaming,
    sums,
    terms,
    volatilities,
)
from monitor.volatility.ratio import NotCovered, bootstrap, pairs, ratio_of, volatility_ratio

HISTORY = Path(__file__).parents[1].parent / "shared" / "history"

# Methodology §2.
GOLDEN = {
    "open": [100, 101, 103, 102, 99, 100.5], "high": [102, 104, 104.5, 102.5, 101, 103],
    "low": [99, 100.5, 101, 98, 97.5, 100], "close": [101.5, 103.5, 101.5, 98.5, 100, 102.5],
}  # fmt: skip
EXPECTED = {
    "close_to_close": 0.4757635428, "close_to_close_zero_mean": 0.4271815631, "parkinson": 0.4017652505,
    "garman_klass": 0.3991308583, "rogers_satchell": 0.3804626065, "yang_zhang": 0.4107720213,
    "ewma": 0.3884623453,
}  # fmt: skip
RETURNS = [0.001, -0.002, 0.0015, -0.0005, 0.012, -0.001, 0.0007, -0.0012]

Bar = tuple[float, float, float, float]
"""Open, high, low, close."""


def frame(bars: Sequence[Bar], asset: str = "BTC", step: int = DAY, start: int = 0) -> pl.DataFrame:
    rows = [(asset, start + n * step, *map(float, bar)) for n, bar in enumerate(bars)]
    return pl.DataFrame(rows, schema=["asset", "time", "open", "high", "low", "close"], orient="row")


def golden() -> pl.DataFrame:
    return frame(list(zip(*GOLDEN.values(), strict=True)))


def of(found: pl.DataFrame, estimator: str) -> float | None:
    value: float | None = found.filter(pl.col("estimator") == estimator)["volatility"].item()
    return value


@pytest.mark.parametrize("estimator", EXPECTED)
def test_golden_volatility(estimator: str) -> None:
    found = volatilities(golden(), {"all": 6 * DAY}, 365, 5 * DAY, least=2)
    assert of(found, estimator) == pytest.approx(EXPECTED[estimator], abs=5.1e-11)


def test_golden_realised_variance_bipower_and_jump_share() -> None:
    closes = [100 * math.exp(sum(RETURNS[:n])) for n in range(len(RETURNS) + 1)]
    bars = frame([(close, close, close, close) for close in closes])
    row = from_terms(sums(terms(bars), {"all": 100 * DAY}, 8 * DAY), least=2).row(0, named=True)
    assert 8 * row["realized_variance"] == pytest.approx(1.5443e-4, rel=1e-10)
    assert 8 * row["bipower"] == pytest.approx(4.54005019e-5, rel=1e-8)
    assert 8 * row["bipower"] * 7 / 8 == pytest.approx(3.97254391e-5, rel=1e-8)
    assert row["jump_share"] == pytest.approx(0.70601, abs=5e-6)


def test_fewer_than_twenty_bars_are_no_estimate() -> None:
    bars = frame([(100 + n % 3, 103 + n % 3, 99, 101 + n % 3) for n in range(21)])
    short = volatilities(bars, {"w": 19 * DAY}, 365, 20 * DAY)
    enough = volatilities(bars, {"w": 20 * DAY}, 365, 20 * DAY)
    assert short["volatility"].null_count() == len(ESTIMATORS)
    assert enough["volatility"].null_count() == 0


def test_a_negative_variance_is_clamped_and_flagged() -> None:
    """Bars that do not contradict themselves cannot do it but for rounding: the sums are made up."""
    found = sums(terms(golden()), {"all": 6 * DAY}, 5 * DAY).with_columns(range_squares=pl.lit(0.0))
    rows = annualised(from_terms(found, least=2), 365)
    assert of(rows, "garman_klass") == 0
    assert rows.filter("clamped")["estimator"].to_list() == ["garman_klass"]


def test_a_bar_that_contradicts_itself_is_no_bar() -> None:
    wrong = [(100, 99, 98, 100), (100, 101, 0, 100), (100, 101, -1, 100), (100, math.inf, 99, 100)]
    for bar in wrong:
        bars = golden()
        spoilt = pl.concat([bars, frame([bar], start=6 * DAY), frame([(102, 103, 101, 102)], start=7 * DAY)])
        clean = spoilt.filter(pl.col("time") != 6 * DAY)
        assert terms(spoilt).equals(terms(clean))


def test_each_asset_has_its_own_clock() -> None:
    both = pl.concat([golden(), golden().with_columns(asset=pl.lit("GOLD"))])
    per_year = pl.when(pl.col("asset") == "GOLD").then(252.0).otherwise(365.0)
    found = volatilities(both, {"all": 6 * DAY}, per_year, 5 * DAY, least=2)
    bitcoin, gold = (
        of(found.filter(pl.col("asset") == asset), "close_to_close") or 0.0 for asset in ("BTC", "GOLD")
    )
    assert gold / bitcoin == pytest.approx(math.sqrt(252 / 365))


# By hand: straightforward formulas over a window of bars and the close before it.


def variance(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def by_hand(before: Sequence[Bar], window: Sequence[Bar]) -> dict[str, float]:
    """Variance per bar; `before` are the bars before the window."""
    known = [*before[-1:], *window]
    follows = list(pairwise(known))
    r = [math.log(bar[3] / last[3]) for last, bar in follows]
    o = [math.log(bar[0] / last[3]) for last, bar in follows]
    c = [math.log(bar[3] / bar[0]) for _, bar in follows]
    n, m = len(window), len(r)

    def rogers(bar: Bar) -> float:
        u, d, body = (math.log(x / bar[0]) for x in (bar[1], bar[2], bar[3]))
        return u * (u - body) + d * (d - body)

    ewma = r[0] ** 2
    for one in r[1:]:
        ewma = 0.94 * ewma + 0.06 * one**2
    k = 0.34 / (1.34 + (m + 1) / (m - 1))
    squares = math.fsum(one**2 for one in r)
    products = math.fsum(abs(one) * abs(last) for last, one in pairwise(r))
    klass = [
        0.5 * math.log(bar[1] / bar[2]) ** 2 - (2 * math.log(2) - 1) * math.log(bar[3] / bar[0]) ** 2
        for bar in window
    ]
    return {
        "close_to_close": variance(r),
        "close_to_close_zero_mean": squares / m,
        "ewma": ewma,
        "parkinson": math.fsum(math.log(bar[1] / bar[2]) ** 2 for bar in window) / (4 * n * math.log(2)),
        "garman_klass": math.fsum(klass) / n,
        "rogers_satchell": math.fsum(map(rogers, window)) / n,
        "yang_zhang": variance(o)
        + k * variance(c)
        + (1 - k) * math.fsum(rogers(bar) for _, bar in follows) / m,
        "realized_variance": squares / m,
        "bipower": math.pi / 2 * m / (m - 1) * products / m,
    }


def walk(seed: int, count: int, size: float = 0.01) -> list[Bar]:
    """Bars with gaps and ranges."""
    rng = random.Random(seed)
    price, bars = 100.0, []
    for _ in range(count):
        opened = price * math.exp(rng.gauss(0, size / 3))
        price = opened * math.exp(rng.gauss(0, size))
        top, bottom = max(opened, price), min(opened, price)
        high, low = (
            top * math.exp(abs(rng.gauss(0, size / 2))),
            bottom * math.exp(-abs(rng.gauss(0, size / 2))),
        )
        bars.append((opened, high, low, price))
    return bars


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), count=st.integers(22, 60), window=st.integers(21, 70))
def test_batch_is_what_the_formulas_say(seed: int, count: int, window: int) -> None:
    bars = walk(seed, count)
    found = volatilities(frame(bars), {"w": window * DAY}, 365, (count - 1) * DAY)
    expected = by_hand(bars[:-window], bars[-window:])
    for estimator in ESTIMATORS:
        assert of(found, estimator) == pytest.approx(math.sqrt(365 * expected[estimator]), rel=1e-12)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    shuffle=st.randoms(use_true_random=False),
    missing=st.lists(st.integers(0, 79), max_size=15),
    windows=st.lists(st.integers(22, 90), min_size=1, max_size=3, unique=True),
)
def test_streaming_is_batch_in_any_order_of_arrival(
    seed: int, shuffle: random.Random, missing: list[int], windows: list[int]
) -> None:
    """Bars may be missing and come in any order; the open bar has many states and the last one counts."""
    assets = ("BTC", "ETH", "SOL")
    bars = pl.concat(
        frame(walk(seed + n, 81), asset, MINUTE).filter(~pl.col("time").is_in([m * MINUTE for m in missing]))
        for n, asset in enumerate(assets)
    )
    lengths = {f"{count}m": count * MINUTE for count in windows}
    order = list(range(bars.height))
    shuffle.shuffle(order)
    mixed = bars[order]
    opened = mixed.filter(pl.col("time") == 80 * MINUTE)
    past = closed(terms(mixed.filter(pl.col("time") < 80 * MINUTE)), lengths, 80 * MINUTE)
    early = opened.with_columns(close=pl.col("open"), high=pl.col("open"), low=pl.col("open"))
    streaming(past, early, 525_600)  # leaves nothing behind
    key = ["asset", "window", "estimator"]
    live = streaming(past, opened, 525_600).sort(key)
    batch = volatilities(mixed, lengths, 525_600, 80 * MINUTE).sort(key)
    assert live.select(key).equals(batch.select(key))
    for one, other in zip(live["volatility"], batch["volatility"], strict=True):
        assert one == (None if other is None else pytest.approx(other, rel=1e-12))


@settings(deadline=None, max_examples=25)
@given(
    prices=st.lists(st.floats(90, 110), min_size=3, max_size=12),
    shuffle=st.randoms(use_true_random=False),
)
def test_prices_within_a_bar_may_come_in_any_order(prices: list[float], shuffle: random.Random) -> None:
    """A bar is made of prices by their own time, so their arrival does not matter."""
    ticks = pl.DataFrame({"at": range(len(prices)), "price": prices})
    order = list(range(len(prices)))
    shuffle.shuffle(order)

    def bar(arrived: pl.DataFrame) -> pl.DataFrame:
        by_time = pl.col("price").sort_by("at")
        return arrived.select(
            pl.lit("BTC").alias("asset"), pl.lit(60 * MINUTE).alias("time"),
            open=by_time.first(), high=pl.col("price").max(), low=pl.col("price").min(), close=by_time.last(),
        )  # fmt: skip

    past = closed(terms(frame(walk(1, 60), step=MINUTE)), {"1h": HOUR}, 60 * MINUTE)
    one, other = (streaming(past, bar(arrived), 525_600) for arrived in (ticks, ticks[order]))
    assert one.equals(other)


def test_an_asset_that_is_new_or_silent_has_what_is_known_of_it() -> None:
    minute = MINUTE
    past_bars = pl.concat([frame(walk(1, 60), "BTC", minute), frame(walk(2, 60), "OLD", minute)])
    opened = pl.concat(
        [frame([(100, 101, 99, 100)], "NEW", start=60 * minute), frame(walk(3, 1), "BTC", start=60 * minute)]
    )
    past = closed(terms(past_bars), {"1h": HOUR}, 60 * minute)
    live = streaming(past, opened, 525_600)
    batch = volatilities(pl.concat([past_bars, opened]), {"1h": HOUR}, 525_600, 60 * minute)
    key = ["asset", "window", "estimator"]
    both = live.join(batch, on=key, suffix="_batch", how="full")
    assert both.height == live.height == 3 * len(ESTIMATORS)
    for one, other in zip(both["volatility"], both["volatility_batch"], strict=True):
        assert one == (None if other is None else pytest.approx(other, rel=1e-12))
    assert live.filter(asset="NEW")["volatility"].null_count() == len(ESTIMATORS)


def _many(instruments: int, minutes: int) -> pl.DataFrame:
    """Minute bars of many instruments."""
    size = instruments * minutes
    uniform = pl.Series([random.Random(1).random() for _ in range(997)])
    return (
        pl.DataFrame({"cell": range(size)})
        .select(
            asset="A" + (pl.col("cell") % instruments).cast(pl.String),
            time=pl.col("cell") // instruments * MINUTE,
            open=100 + pl.lit(uniform).gather(pl.col("cell") % 997),
            close=100 + pl.lit(uniform).gather(pl.col("cell") * 7 % 997),
        )
        .with_columns(
            high=pl.max_horizontal("open", "close") + 0.1, low=pl.min_horizontal("open", "close") - 0.1
        )
    )


def test_a_tick_costs_the_open_bar_and_not_the_hour() -> None:
    """25 ms at 6,000 instruments is the budget; ratios of times are asserted, as machines differ."""
    bars = _many(6000, 61)
    opened = bars.filter(pl.col("time") == 60 * MINUTE)
    past = closed(terms(bars.filter(pl.col("time") < 60 * MINUTE)), {"1h": HOUR}, 60 * MINUTE)

    def best(work: Callable[[], pl.DataFrame]) -> tuple[float, pl.DataFrame]:
        took = []
        for _ in range(5):
            began = time.process_time()
            found = work()
            took.append(time.process_time() - began)
        return min(took), found

    tick, live = best(lambda: streaming(past, opened, 525_600))
    whole, batch = best(lambda: volatilities(bars, {"1h": HOUR}, 525_600, 60 * MINUTE))
    assert live.height == batch.height == 6000 * len(ESTIMATORS)
    assert tick < whole / 3


# Bitcoin against gold.


def prices(start: date, values: Sequence[float], *, weekends: bool = True) -> pl.DataFrame:
    days: list[date] = []
    day = start
    while len(days) < len(values):
        if weekends or day.weekday() < 5:
            days.append(day)
        day += timedelta(days=1)
    return pl.DataFrame({"date": days, "close": list(values)}, schema={"date": pl.Date, "close": pl.Float64})


def path(seed: int, count: int, size: float) -> list[float]:
    rng = random.Random(seed)
    values = [100.0]
    for _ in range(count - 1):
        values.append(values[-1] * math.exp(rng.gauss(0, size)))
    return values


MONDAY = date(2024, 1, 1)
BITCOIN = prices(MONDAY, path(1, 366, 0.03))
GOLD = prices(MONDAY, path(2, 262, 0.01), weekends=False)
END = date(2024, 12, 30)


def test_bitcoin_is_sampled_on_golds_days() -> None:
    """By hand: over the days of gold, Monday's return of bitcoin has the weekend in it."""
    found = volatility_ratio(BITCOIN, GOLD, 126, END)
    closes = dict(BITCOIN.iter_rows())
    gold = [(day, price) for day, price in GOLD.iter_rows() if day <= END][-127:]
    follows = list(pairwise(gold))
    r_gold = [math.log(price / last) for (_, last), (_, price) in follows]
    r_bitcoin = [math.log(closes[day] / closes[before]) for (before, _), (day, _) in follows]
    assert found.ratio == pytest.approx(math.sqrt(variance(r_bitcoin) / variance(r_gold)), rel=1e-12)
    own = volatility_ratio(BITCOIN, GOLD, 126, END, "own").ratio
    days = [gold[0][0] + timedelta(days=n) for n in range((gold[-1][0] - gold[0][0]).days + 1)]
    daily = [math.log(closes[day] / closes[before]) for before, day in pairwise(days)]
    by_own = math.sqrt(365 * variance(daily) / (252 * variance(r_gold)))
    assert own == pytest.approx(by_own, rel=1e-12)


def test_prices_of_gold_repeated_at_weekends_change_nothing() -> None:
    fridays = GOLD.filter(pl.col("date").dt.weekday() == 5)
    weekends = [fridays.with_columns(pl.col("date").dt.offset_by(f"{n}d")) for n in (1, 2)]
    filled = pl.concat([GOLD, *weekends])
    assert filled.height > GOLD.height
    assert pairs(BITCOIN, filled).equals(pairs(BITCOIN, GOLD))


def test_a_holiday_is_a_gap_and_no_return_of_zero() -> None:
    holiday = date(2024, 7, 4)
    rows = pairs(BITCOIN, GOLD.filter(pl.col("date") != holiday))
    row = rows.filter(pl.col("date") == date(2024, 7, 5)).row(0, named=True)
    closes, gold = dict(BITCOIN.iter_rows()), dict(GOLD.iter_rows())
    before, after = date(2024, 7, 3), date(2024, 7, 5)
    assert row["gold"] == pytest.approx(math.log(gold[after] / gold[before]))
    assert row["bitcoin"] == pytest.approx(math.log(closes[after] / closes[before]))
    assert row["days"] == 2


def test_nothing_later_than_the_date_is_looked_at() -> None:
    early = date(2024, 9, 30)
    known = volatility_ratio(
        BITCOIN.filter(pl.col("date") <= early), GOLD.filter(pl.col("date") <= early), on=early
    )
    again = volatility_ratio(BITCOIN, GOLD, on=early)
    assert (known.ratio, known.low, known.high) == (again.ratio, again.low, again.high)


def test_the_same_seed_gives_the_same_interval_and_another_a_close_one() -> None:
    one, same = (volatility_ratio(BITCOIN, GOLD, on=END) for _ in range(2))
    other = volatility_ratio(BITCOIN, GOLD, on=END, seed=99)
    assert one.draws.equals(same.draws)
    assert not one.draws.equals(other.draws)
    assert one.low < one.mid < one.high
    assert (other.low, other.high) == pytest.approx((one.low, one.high), rel=0.03)


def test_the_bootstrap_keeps_pairs_and_has_the_error_of_independent_returns() -> None:
    """Three times gold is 3 in every draw; independent normal returns have 1 / sqrt(n) as error."""
    window = pairs(BITCOIN, GOLD).tail(200)
    tied = window.with_columns(bitcoin=3 * pl.col("gold"))
    assert bootstrap(tied).to_list() == pytest.approx([3.0] * 4000)
    error = pl.DataFrame({"draw": bootstrap(window)}).select(pl.col("draw").log().std()).item()
    assert error == pytest.approx(1 / math.sqrt(200), rel=0.25)


HOLE = pl.col("date").is_between(date(2024, 9, 1), date(2024, 9, 14))


@pytest.mark.parametrize(
    ("bitcoin", "gold", "on", "says"),
    [
        (BITCOIN, GOLD.filter(pl.col("date") < date(2024, 12, 20)), END, "gold_stale"),
        (BITCOIN.filter(pl.col("date") < date(2024, 12, 20)), GOLD, END, "bitcoin: no price"),
        (BITCOIN, GOLD, date(2023, 1, 1), "gold: no price"),
        (BITCOIN, GOLD, date(2024, 3, 1), "share 44 returns"),
        (BITCOIN, GOLD.filter(~HOLE), END, "no common"),
        (BITCOIN, GOLD.with_columns(close=pl.lit(100.0)), END, "does not move"),
        (BITCOIN.clear(), GOLD, None, "bitcoin: no price"),
    ],
)  # fmt: skip
def test_what_the_tables_do_not_cover_is_said(
    bitcoin: pl.DataFrame, gold: pl.DataFrame, on: date | None, says: str
) -> None:
    with pytest.raises(NotCovered, match=says):
        volatility_ratio(bitcoin, gold, on=on)


def test_a_short_window_is_refused() -> None:
    with pytest.raises(NotCovered, match="too short"):
        volatility_ratio(BITCOIN, GOLD, window=19, on=END)


def test_a_weekend_is_served_by_friday() -> None:
    found = volatility_ratio(BITCOIN, GOLD, on=date(2024, 12, 22))
    assert (found.on, found.until) == (date(2024, 12, 22), date(2024, 12, 20))


def test_a_jump_of_gold_is_told() -> None:
    calm = pl.Series([0.001, -0.001] * 30)
    assert jump_share(calm) < 0.1
    assert jump_share(pl.concat([calm, pl.Series([0.05]), calm])) > 0.8


def test_the_raw_ratio_of_deviations_is_too_low_by_the_clocks() -> None:
    """sd(calendar days) / sd(trading days), which methodology §2 calls wrong."""
    window = pairs(BITCOIN, GOLD).tail(200)
    naive = ratio_of(window, "own") * math.sqrt(252 / 365)
    assert naive / ratio_of(window, "aligned") == pytest.approx(0.831, abs=0.1)


if HISTORY.is_dir():
    _REAL = pl.read_parquet(HISTORY / "ohlcv_binance_spot_daily.parquet").filter(pl.col("asset") == "BTC")
    _GLD = pl.read_parquet(HISTORY / "gold_gld_daily.parquet").select("date", "close")

    @pytest.mark.parametrize(
        ("on", "ratio", "low", "high"),
        [
            (date(2025, 8, 27), 2.04, 1.58, 2.70),
            (date(2025, 10, 1), 1.80, 1.52, 2.19),
            (date(2025, 11, 4), 1.65, 1.35, 2.18),
        ],
    )
    def test_the_interval_is_that_of_the_study(on: date, ratio: float, low: float, high: float) -> None:
        """Methodology §1.8, from a share of gold; its closes of bitcoin are another index's."""
        found = volatility_ratio(_REAL.select("date", "close"), _GLD, on=on)
        assert found.ratio == pytest.approx(ratio, rel=0.015)
        assert (found.low, found.high) == pytest.approx((low, high), rel=0.03)

    @pytest.mark.parametrize(
        ("on", "own", "aligned", "gold"),
        [
            (date(2024, 3, 14), 0.4660, 0.4884, 0.1262), (date(2024, 7, 18), 0.5360, 0.5583, 0.1497),
            (date(2024, 12, 31), 0.5192, 0.5648, 0.1557), (date(2025, 4, 3), 0.5073, 0.4958, 0.1472),
            (date(2025, 8, 27), 0.4386, 0.4035, 0.1975), (date(2025, 10, 1), 0.3582, 0.3571, 0.1984),
            (date(2025, 11, 4), 0.3420, 0.3412, 0.2062),
        ],
    )  # fmt: skip
    def test_the_volatilities_are_those_of_the_study(
        on: date, own: float, aligned: float, gold: float
    ) -> None:
        """Methodology §1.7, table C: gold to its last digit; its closes of bitcoin are another index's."""
        closes = _REAL.select("date", "close")
        found = {clock: volatility_ratio(closes, _GLD, on=on, clock=clock) for clock in ("aligned", "own")}
        for one in found.values():
            assert one.gold_volatility == pytest.approx(gold, abs=5.1e-5)
            assert one.ratio == pytest.approx(one.bitcoin_volatility / one.gold_volatility, rel=1e-12)
        assert found["aligned"].bitcoin_volatility == pytest.approx(aligned, rel=0.02)
        assert found["own"].bitcoin_volatility == pytest.approx(own, rel=0.02)
