"""What years of bars say at an instant: of made-up bars whose averages and phases are known by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from small_market import COINS, FEEDS, PRICE, SUPPLY, T0, VENUES, Small, bars, funding, supply, swing, value

from monitor.bars import roll
from monitor.deleveraging.past import CONDITIONS, Kept, Past
from monitor.deleveraging.phases import PHASES, Thresholds
from monitor.events import Mark, OpenInterest
from monitor.ladder import DAY, HOUR, MINUTE
from monitor.tick.compute import Samples

MIDNIGHT = T0 // DAY * DAY
"""T0 is 08:00 of that day."""
SCOPE = frozenset(VENUES)
RULE = Thresholds()
TOTAL = sum(COINS.values())

Leverage = Callable[[float, str], float]


def flat(_day: float, _venue: str = "") -> float:
    """No trend: leverage swings about its average and is near it now."""
    return swing(_day)


def risen(day: float, _venue: str = "") -> float:
    """Up by an eighth in the last twenty days."""
    return swing(day) + 0.12 * max(0.0, min(1.0, (day + 21) / 20))


class Begun(msgspec.Struct):
    """A market with a past, as a monitor finds it that is started at T0."""

    market: Small
    leverage: Leverage
    started: bool = False

    def now(self, factor: float = 1.0, silent: Sequence[str] = (), rate: float | None = None,
            price: float = PRICE, minutes: float = 60, wrong: str = "", paid: bool = True,
            ) -> Samples:  # fmt: skip
        """All venues speak, then a tick that many minutes later."""
        market = self.market
        market.now += int(minutes * MINUTE)
        at = (market.now - T0) / DAY
        for venue in VENUES:
            if venue not in silent:
                coins = COINS[venue] * math.exp(self.leverage(at, venue)) * factor
                coins *= 2 if venue == wrong else 1
                if paid:
                    market.quote(venue, price, coins, funding(at) if rate is None else rate)
                else:
                    told = market.of[venue]
                    mark = Mark(told, market.now, price, price)
                    market.say(venue, mark, OpenInterest(told, market.now, coins))
        market.now += 1
        samples = market.core.evaluate(market.core.take(market.now - 1))
        market.now -= 1
        return samples

    def until(self, day: float, factor: float = 1.0) -> Samples:
        """Hour by hour until so many days after T0."""
        while self.market.now < T0 + day * DAY - MINUTE:
            samples = self.now(factor)
        return samples


def begun(days: int = 700, leverage: Leverage = flat, kept: Kept | None = None) -> Begun:
    daily = bars(range(MIDNIGHT - days * DAY, MIDNIGHT, DAY), DAY, leverage)
    hours = bars(range(MIDNIGHT - min(15, days) * DAY, T0, HOUR), HOUR, leverage)
    past = Past(SCOPE, RULE, supply, daily, hours.filter(pl.col("time") >= MIDNIGHT), kept=kept)
    return Begun(Small(past=past, recent=hours.with_columns(end=pl.col("time") + HOUR)), leverage)


def phase(samples: Samples) -> str:
    shown = {one: value(samples, "leverage_phase", asset="BTC", phase=one) for one in PHASES}
    assert sorted(shown.values(), key=str) == [0.0] * 5 + [1.0]
    return next(one for one, on in shown.items() if on)


def of(samples: Samples, name: str, **labels: str) -> float | None:
    return value(samples, f"leverage_{name}", asset="BTC", **labels)


def known(found: float | None) -> float:
    assert found is not None
    return found


# Averages and levels.


def test_level_against_supply_and_average() -> None:
    samples = begun().now()
    coins = TOTAL * math.exp(flat(1 / 24))
    assert of(samples, "open_interest_to_market_cap_ratio") == pytest.approx(coins / SUPPLY)
    before = [math.exp(flat(day - 8 / 24)) for day in range(-699, 1)]
    average = sorted(before)[349:351]
    assert of(samples, "open_interest_to_market_cap_average_ratio") == pytest.approx(
        TOTAL * sum(average) / 2 / SUPPLY, rel=1e-6
    )
    assert of(samples, "open_interest_to_market_cap_mean_ratio") == pytest.approx(
        TOTAL * sum(before) / len(before) / SUPPLY, rel=1e-6
    )
    below = sum(one < math.exp(flat(1 / 24)) for one in before) / len(before)
    assert of(samples, "open_interest_to_market_cap_percentile_ratio") == pytest.approx(below, abs=0.002)
    assert of(samples, "market_cap_usd") == SUPPLY * PRICE
    assert of(samples, "history_seconds") == 700 * 86_400


def test_windows_of_days_exist_at_the_first_tick_once_venues_have_spoken() -> None:
    samples = begun().now(minutes=1)
    for window, days in (("4h", 4 / 24), ("24h", 1), ("72h", 3), ("14d", 14)):
        growth = known(of(samples, "open_interest_growth_ratio", window=window))
        # The far end is that of an hour.
        assert growth == pytest.approx(flat(1 / 1440) - flat(-days), abs=0.0015), window
    # A thousandth of all open interest is liquidated a day on either side.
    assert of(samples, "liquidation_intensity_ratio", window="24h") == pytest.approx(0.002, rel=0.02)


def test_without_history_nothing_is_said_but_that_nothing_is_known() -> None:
    samples = Small().run(120)
    assert phase(samples) == "undetermined"
    assert of(samples, "deleveraging_verdict", verdict="undetermined") == 1
    for name in (
        "open_interest_to_market_cap_average_ratio", "open_interest_to_market_cap_mean_ratio",
        "open_interest_to_market_cap_zscore", "open_interest_to_market_cap_percentile_ratio",
        "funding_percentile_ratio", "stretch_ratio", "liquidation_percentile_ratio", "purge_depth_ratio",
        "deleveraging_completeness_ratio", "phase_start_timestamp_seconds",
    ):  # fmt: skip
        assert of(samples, name) is None, name
    for kind in CONDITIONS:
        assert of(samples, "condition", kind=kind) is None, kind


@pytest.mark.parametrize(("days", "wanted"), [(100, "undetermined"), (200, "reset")])
def test_undetermined_while_the_history_is_short(days: int, wanted: str) -> None:
    def even(day: float, _venue: str) -> float:
        return 0.003 * math.sin(day * 1.7) - 0.02 * (day > -30)

    samples = begun(days, even).now()
    assert phase(samples) == wanted
    assert (of(samples, "open_interest_to_market_cap_zscore") is None) == (wanted == "undetermined")
    assert known(of(samples, "phase_confidence_ratio")) <= 0.5


def test_before_a_venue_has_spoken_nothing_is_known_of_funding() -> None:
    samples = begun().now(silent=VENUES, minutes=1)
    assert samples.views.asset["rate_8h"].to_list() == [None]  # no NaN, which would have a rank
    for name in ("funding_rate_8h_weighted_ratio", "funding_percentile_ratio", "stretch_ratio"):
        assert of(samples, name) is None, name
    assert of(samples, "condition", kind="funding_high") is None
    assert phase(samples) == "reset"  # what the last close said


# The state is a function of history and instant.


def minutes_of(first: int, last: int, leverage: Leverage) -> list[pl.DataFrame]:
    """A bar every ten minutes, the last of each hour among them."""
    return [bars([time], MINUTE, leverage) for time in range(first + 9 * MINUTE, last, 10 * MINUTE)]


@pytest.mark.parametrize("cut", [8 * HOUR, 31 * HOUR + 30 * MINUTE, 47 * HOUR + 50 * MINUTE])
def test_who_was_fed_minutes_and_who_read_what_they_were_rolled_to_agree(cut: int) -> None:
    def falling(day: float, venue: str) -> float:
        return risen(day) - (0.15 if day > 0.5 else 0.0) + 1e-3 * math.sin(day + COINS[venue])

    daily = bars(range(MIDNIGHT - 400 * DAY, MIDNIGHT, DAY), DAY, falling)
    live = minutes_of(MIDNIGHT, MIDNIGHT + 3 * DAY, falling)
    fed = Past(SCOPE, RULE, supply, daily)
    for minute in live:
        fed.add(minute)
    seen = pl.concat([minute for minute in live if minute["time"][0] < MIDNIGHT + cut])
    over, hour = (MIDNIGHT + cut) // DAY * DAY, (MIDNIGHT + cut) // HOUR * HOUR
    read = Past(
        SCOPE, RULE, supply, pl.concat([daily, roll(seen.filter(pl.col("time") < over), "day")]),
        roll(seen.filter(pl.col("time").is_between(over, hour, closed="left")), "hour"),
        seen.filter(pl.col("time") >= hour),
    )  # fmt: skip
    for minute in live:
        if minute["time"][0] >= MIDNIGHT + cut:
            read.add(minute)
    assert fed.assessed["day"].max() == MIDNIGHT // DAY + 2  # the day ahead
    assert_frame_equal(fed.assessed, read.assessed, rel_tol=0, abs_tol=1e-9)


def test_a_past_that_is_replaced_by_a_longer_one_goes_on_where_it_stood() -> None:
    one, other = begun(), begun()
    assert phase(one.until(0.25, 0.91)) == phase(other.until(0.25, 0.91)) == "purge"
    fresh = begun(900)
    other.market.core.remember(fresh.market.core.past, bars(range(T0 - DAY, T0, HOUR), HOUR, flat))
    first, second = one.now(0.93), other.now(0.93)
    assert phase(second) == "purge"
    assert of(second, "phase_provisional") == 1
    for name in ("phase_start_timestamp_seconds", "purge_depth_ratio"):
        assert of(first, name) == of(second, name)
    for window in ("4h", "24h"):
        for name in ("open_interest_growth_ratio", "liquidation_intensity_ratio"):
            if (name, window) != ("liquidation_intensity_ratio", "4h"):
                assert known(of(first, name, window=window)) == pytest.approx(
                    known(of(second, name, window=window))
                )
    assert phase(one.until(0.75, 0.93)) == phase(other.until(0.75, 0.93))
    assert of(one.now(), "history_seconds") == 701 * 86_400
    assert of(other.now(), "history_seconds") == 901 * 86_400


# Purges of the running day.


def test_a_purge_of_hours_is_provisional_until_the_close_confirms_it() -> None:
    market = begun()
    before = phase(market.until(3 / 24))
    assert before == "reset"
    samples = market.now(0.91)
    assert phase(samples) == "purge"
    assert of(samples, "phase_provisional") == 1
    assert of(samples, "deleveraging_verdict", verdict="no") == 1
    entered = of(samples, "phase_start_timestamp_seconds")
    assert entered == market.market.now / 1000
    for hour in range(5, 18):  # the last minute of a day is known to be over an hour late here
        samples = market.until(hour / 24, 0.91)
        assert (phase(samples), of(samples, "phase_provisional")) == ("purge", 1), hour
        assert of(samples, "phase_start_timestamp_seconds") == entered
    samples = market.until(18 / 24, 0.91)
    assert (phase(samples), of(samples, "phase_provisional")) == ("purge", 0)
    assert of(samples, "phase_start_timestamp_seconds") == (MIDNIGHT + DAY) / 1000
    assert of(samples, "purge_depth_ratio") == pytest.approx(0.09, abs=0.03)


def test_a_purge_of_hours_that_the_close_does_not_confirm_is_withdrawn() -> None:
    market = begun()
    market.until(3 / 24)
    assert phase(market.now(0.91)) == "purge"
    for hour in range(5, 18):
        samples = market.until(hour / 24)  # everything is back
        assert (phase(samples), of(samples, "phase_provisional")) == ("purge", 1), hour
    samples = market.until(18 / 24)
    assert (phase(samples), of(samples, "phase_provisional")) == ("reset", 0)
    assert of(samples, "purge_depth_ratio") is None


@pytest.mark.parametrize("factor", [0.96, 1.2])
def test_what_is_no_purge_begins_none(factor: float) -> None:
    market = begun()
    market.until(3 / 24)
    for hour in range(4, 19):
        samples = market.until(hour / 24, factor)
        assert phase(samples) == ("reset" if factor < 1 else "build_up"), hour


def test_between_two_hours_only_a_purge_begins() -> None:
    market = begun(leverage=risen)
    assert phase(market.now(minutes=5)) == "build_up"
    crowded = market.now(rate=2e-3, minutes=20)
    assert known(of(crowded, "stretch_ratio")) >= 0.8
    assert phase(crowded) == "build_up"
    assert phase(market.now(rate=2e-3, minutes=35)) == "stretched"
    assert phase(market.now(0.9, rate=2e-3, minutes=10)) == "purge"


# Blindness.


def test_blind_for_two_days_nobody_knows() -> None:
    market = begun()
    assert phase(market.until(1 / 24)) == "reset"
    for hour in range(2, 60):
        samples = market.now(silent=VENUES)
        assert phase(samples) == ("reset" if hour <= 49 else "undetermined"), hour
    assert of(samples, "deleveraging_verdict", verdict="undetermined") == 1
    assert of(samples, "phase_confidence_ratio") == 0


def test_a_purge_of_the_day_does_not_outlive_its_witnesses() -> None:
    market = begun()
    market.until(3 / 24)
    assert phase(market.now(0.91)) == "purge"
    for _ in range(47):
        samples = market.now(silent=VENUES)
    assert phase(samples) == "purge"
    for _ in range(3):
        samples = market.now(silent=VENUES)
    assert (phase(samples), of(samples, "phase_provisional")) == ("undetermined", 0)


@pytest.mark.parametrize("venue", ["a", "c"])
@pytest.mark.parametrize(("leverage", "wanted"), [(flat, "reset"), (risen, "build_up")])
def test_a_venue_that_is_silent_changes_no_phase(venue: str, leverage: Leverage, wanted: str) -> None:
    market = begun(leverage=leverage)
    for hour in range(1, 40):
        samples = market.now(silent=(venue,) if hour > 3 else ())
        assert (phase(samples), of(samples, "phase_provisional")) == (wanted, 0), hour


def test_funding_that_falls_silent_crowds_nobody() -> None:
    market = begun(leverage=risen)
    samples = market.now(rate=rate_of(0.3))
    assert phase(samples) == "build_up"
    assert (
        known(of(samples, "stretch_ratio"))
        < 0.8
        < known(of(samples, "open_interest_to_market_cap_percentile_ratio"))
    )
    for _ in range(12):
        samples = market.now(paid=False)
        assert phase(samples) == "build_up"
    assert of(samples, "funding_percentile_ratio") is None
    assert of(samples, "stretch_ratio") is None
    assert of(samples, "open_interest_to_market_cap_zscore") is not None


@pytest.mark.parametrize("venue", ["a", "c"])
@pytest.mark.parametrize(("leverage", "wanted"), [(flat, "reset"), (risen, "build_up")])
def test_a_venue_that_doubles_moves_neither_phase_nor_distance(
    venue: str, leverage: Leverage, wanted: str
) -> None:
    market, other = begun(leverage=leverage), begun(leverage=leverage)
    # With the level at its highest this would be crowded.
    rate = rate_of(0.6 if leverage is flat else 0.3)
    for hour in range(1, 40):
        samples, true = market.now(rate=rate, wrong=venue if hour > 3 else ""), other.now(rate=rate)
        assert (phase(samples), of(samples, "phase_provisional")) == (wanted, 0), hour
        z = known(of(true, "open_interest_to_market_cap_zscore"))
        assert of(samples, "open_interest_to_market_cap_zscore") == pytest.approx(z, abs=0.02), hour


def test_a_venue_that_is_new_takes_no_part() -> None:
    def joins(day: float, venue: str) -> float:
        return flat(day) + (0.08 * (day + 20) if venue == "e" else 0.0)

    opens = range(MIDNIGHT - 400 * DAY, MIDNIGHT, DAY)
    young = bars(opens, DAY, joins).filter((pl.col("venue") != "e") | (pl.col("time") >= MIDNIGHT - 10 * DAY))
    past = Past(SCOPE, RULE, supply, young)
    without = Past(SCOPE, RULE, supply, young.filter(pl.col("venue") != "e"))
    columns = ["day", "index", "growth"]
    assert_frame_equal(past.assessed.select(columns), without.assessed.select(columns), abs_tol=1e-12)
    market = Begun(Small(past=past), joins)
    samples = market.now()
    assert of(samples, "venue_set_aside", venue="e") == 1
    other = Begun(Small(past=without), joins).now()
    for name in ("open_interest_to_market_cap_zscore", "open_interest_to_market_cap_percentile_ratio"):
        assert of(samples, name) == pytest.approx(known(of(other, name)))


# Conditions.


def rate_of(rank: float) -> float:
    """The rate of now that brings the mean of seven days to a rank among those of a year."""
    rates = [funding(day - 8 / 24) for day in range(-699, 1)]
    means = sorted(sum(rates[n - 6 : n + 1]) / 7 for n in range(len(rates) - 365, len(rates)))
    return 7 * means[int(rank * 365)] - sum(rates[-6:])


@pytest.mark.parametrize(
    ("kind", "course"),
    [
        ("funding_high", [(0.93, 0), (0.96, 1), (0.92, 1), (0.88, 0), (0.92, 0)]),
        ("funding_low", [(0.08, 0), (0.03, 1), (0.08, 1), (0.12, 0), (0.08, 0)]),
    ],
)
def test_a_condition_of_funding_holds_until_well_clear(kind: str, course: list[tuple[float, int]]) -> None:
    market = begun()
    for rank, holds in course:
        samples = market.now(rate=rate_of(rank), minutes=10)
        assert of(samples, "funding_percentile_ratio") == pytest.approx(rank, abs=0.01)
        assert of(samples, "condition", kind=kind) == holds, rank
    assert [of(market.now(rate=rate_of(0.5), minutes=10), "condition", kind=kind)] == [0]


def test_a_burst_holds_until_well_clear() -> None:
    market = begun()
    market.until(1 / 24)
    fed = sum(coins for venue, coins in COINS.items() if FEEDS[venue] != "none")
    for share, holds in ((0.008, 0), (0.012, 1), (0.005, 1), (0.001, 0), (0.005, 0)):
        market.market.now += 1
        market.market.liquidate("a", "long", share * fed)
        market.market.now -= 1
        samples = market.now()
        assert of(samples, "liquidation_intensity_ratio", window="1h") == pytest.approx(share, rel=0.1)
        assert of(samples, "condition", kind="liquidation_burst") == holds, share


def test_hysteresis_and_the_running_day_survive_a_restart() -> None:
    """What is kept is enough: a core that starts with it says what the other one says."""
    market = begun()
    market.until(3 / 24)
    assert phase(market.now(0.91, rate=rate_of(0.97))) == "purge"
    inside = market.now(rate=rate_of(0.92), minutes=5)  # everything is back, funding inside its band
    assert of(inside, "condition", kind="funding_high") == 1
    text = msgspec.json.encode(market.market.core.past.kept())
    again = begun(kept=msgspec.json.decode(text, type=Kept))
    again.market.now = market.market.now
    blind = again.now(silent=VENUES, minutes=1)
    assert (phase(blind), of(blind, "phase_provisional")) == ("purge", 1)
    samples = again.now(rate=rate_of(0.92), minutes=4)
    assert of(samples, "condition", kind="funding_high") == 1
    assert (phase(samples), of(samples, "phase_provisional")) == ("purge", 1)
    for name in ("phase_start_timestamp_seconds", "purge_depth_ratio"):
        assert of(samples, name) == of(inside, name)
    forgotten = begun()
    forgotten.market.now = market.market.now
    assert of(forgotten.now(rate=rate_of(0.92)), "condition", kind="funding_high") == 0


def test_what_was_kept_of_another_day_does_not_count() -> None:
    market = begun()
    market.until(3 / 24)
    assert phase(market.now(0.91)) == "purge"
    kept = market.market.core.past.kept()
    assert phase(begun(699, kept=kept).now()) == "purge"  # the same day closed last
    daily = bars(range(MIDNIGHT - 700 * DAY, MIDNIGHT + DAY, DAY), DAY, flat)
    later = Begun(Small(past=Past(SCOPE, RULE, supply, daily, kept=kept)), flat)
    later.market.now = T0 + DAY
    assert phase(later.now()) == "reset"


# What follows from a fall.


def test_completeness_is_the_part_of_the_way_from_peak_to_average() -> None:
    market = begun(leverage=risen)
    samples = market.until(18 / 24, 0.88)
    assert phase(samples) == "purge"
    now, average = (
        known(of(samples, name))
        for name in ("open_interest_to_market_cap_ratio", "open_interest_to_market_cap_average_ratio")
    )
    peak = TOTAL / SUPPLY * max(math.exp(risen(day - 8 / 24)) for day in range(-29, 1))
    wanted = min(1.5, (peak - now) / (peak - average))
    assert 0.5 < wanted < 1.5
    assert of(samples, "deleveraging_completeness_ratio") == pytest.approx(wanted, rel=1e-6)
    before = TOTAL * math.exp(risen(-8 / 24))
    assert of(samples, "purge_destroyed_usd") == pytest.approx((before - now * SUPPLY) * PRICE, rel=0.01)


def test_position_and_price_effect_are_the_change() -> None:
    market = begun()
    samples = market.now(0.95, price=PRICE * 0.9)
    position, price = (
        known(of(samples, "open_interest_change_usd", kind=kind))
        for kind in ("position_effect", "price_effect")
    )
    usd = known(of(samples, "perp_open_interest_usd"))
    before = TOTAL * PRICE * math.exp(flat(1 / 24 - 1))
    assert position + price == pytest.approx(usd - before, rel=1e-9)
    growth = math.log(0.95) + flat(1 / 24) - flat(1 / 24 - 1)
    assert position == pytest.approx(before * math.expm1(growth), rel=1e-6)
    assert price < 0


def test_open_interest_that_left_beside_what_was_reported() -> None:
    market = begun()
    market.until(3 / 24)
    samples = market.now(0.9)
    implied = known(of(samples, "implied_liquidation_usd", window="24h"))
    growth = known(of(samples, "open_interest_growth_ratio", window="24h"))
    before = TOTAL * PRICE * math.exp(flat(4 / 24 - 1))
    assert implied == pytest.approx(before * (1 - math.exp(growth)), rel=1e-6)
    assert known(of(samples, "liquidated_usd", window="24h")) < implied / 5
    assert of(samples, "condition", kind="liquidation_contradiction") == 1
    market.market.now += 1
    market.market.liquidate("a", "long", 2500.0)
    market.market.now -= 1
    samples = market.now(0.9)
    assert known(of(samples, "liquidated_usd", window="24h")) > implied / 5
    assert of(samples, "condition", kind="liquidation_contradiction") == 0
    grown = begun().now(1.05)
    assert of(grown, "implied_liquidation_usd", window="24h") == 0
    assert of(grown, "condition", kind="liquidation_contradiction") == 0


def test_thresholds_are_shown() -> None:
    samples = begun(200).now()
    for kind, wanted in {
        "purge_growth_1d": -0.06, "purge_z_1d": -5.0, "purge_growth_3d": -0.10, "purge_z_3d": -4.0,
        "purge_growth_4h": -0.06, "reset_z": 0.5, "build_up_z": 1.0, "stretched": 0.8, "unstretched": 0.7,
        "min_coverage": 0.6, "funding_high": 0.95, "funding_high_clear": 0.90, "funding_low": 0.05,
        "funding_low_clear": 0.10, "liquidation_burst": 0.01, "liquidation_burst_clear": 0.003,
    }.items():  # fmt: skip
        assert value(samples, "leverage_threshold_ratio", kind=kind) == wanted, kind
