"""The phase machine: each transition by a path made for it, and what must hold for all histories."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from synthetic import history

from monitor.deleveraging.aggregate import days
from monitor.deleveraging.phases import (
    EVIDENCE,
    PHASES,
    TABLE,
    VERDICTS,
    Machine,
    Reason,
    State,
    Thresholds,
    agreement,
    assess,
    confidence,
    cusum,
    features,
    margin,
    table,
    verdict,
)
from monitor.table import closes, read

RULE = Thresholds()
SHARED = Path(__file__).parents[1].parent / "shared" / "history"
CALM: dict[str, Any] = {
    "growth": 0.0, "z_growth": 0.0, "growth_scale": 0.01, "growth_3d": 0.0, "z_growth_3d": 0.0,
    "growth_14d": 0.0, "growth_percentile": 0.5, "growth_3d_percentile": 0.5, "z": 0.7, "percentile": 0.7,
    "stretch": 0.5, "open_interest": 0.0, "peak": 0.0, "before": 0.0,
    "before_usd": 1e10, "usd": 1e10, "return_1d": -0.01, "return_3d": 0.02,
    "coverage": 1.0, "believed": 1.0, "days_before": 500, "funding_percentile": 0.6,
    "liquidation_percentile": 0.5, "cusum": 0.0, "dispersion": 0.01,
}  # fmt: skip
"""A day on which nothing happens; above the average by less than starts or ends anything."""
SHOCK = {"growth": -0.08, "z_growth": -8.0, "open_interest": -0.08, "peak": 0.02}


def row(day: int, **more: Any) -> dict[str, Any]:
    return CALM | {"day": day} | more


def walk(state: State, rows: Iterable[dict[str, Any]], rule: Thresholds = RULE) -> list[State]:
    machine, found = Machine(rule), []
    for one in rows:
        state = machine.step(state, one)
        found.append(state)
    return found


def stay(state: State, first: int, count: int, **more: Any) -> list[str]:
    """Phases on `count` days alike."""
    return [one.phase for one in walk(state, (row(first + day, **more) for day in range(count)))]


def at(phase: Any, since: float = 100, **more: Any) -> State:
    return State(phase=phase, since=since, seen=since, **more)


# The table of methodology 7.2, each dwell from both sides.


@pytest.mark.parametrize(("z", "phase"), [(0.5, "reset"), (-3.0, "reset"), (0.51, "build_up")])
def test_undetermined_ends_when_enough_is_known(z: float, phase: str) -> None:
    assert stay(State(), 1, 1, z=z) == [phase]


def test_reset_to_build_up_by_level_after_five_days() -> None:
    assert stay(at("reset"), 101, 6, z=1.01) == ["reset"] * 4 + ["build_up"] * 2
    assert stay(at("reset"), 101, 9, z=1.0) == ["reset"] * 9


def test_reset_to_build_up_by_growth() -> None:
    assert stay(at("reset"), 101, 6, z=0.01, growth_14d=0.10) == ["reset"] * 4 + ["build_up"] * 2
    assert stay(at("reset"), 101, 9, z=0.0, growth_14d=0.30) == ["reset"] * 9
    assert stay(at("reset"), 101, 9, z=0.3, growth_14d=0.099) == ["reset"] * 9


def test_build_up_to_stretched_after_three_days() -> None:
    assert stay(at("build_up"), 101, 4, stretch=0.80) == ["build_up"] * 2 + ["stretched"] * 2
    assert stay(at("build_up"), 101, 9, stretch=0.799) == ["build_up"] * 9


def test_build_up_to_reset_after_five_days() -> None:
    assert stay(at("build_up"), 101, 6, z=-0.01, growth_14d=0.0) == ["build_up"] * 4 + ["reset"] * 2
    assert stay(at("build_up"), 101, 9, z=-0.01, growth_14d=0.01) == ["build_up"] * 9
    assert stay(at("build_up"), 101, 9, z=0.0, growth_14d=-0.1) == ["build_up"] * 9


def test_stretched_to_build_up_after_three_days() -> None:
    assert stay(at("stretched"), 101, 4, stretch=0.699) == ["stretched"] * 2 + ["build_up"] * 2
    assert stay(at("stretched"), 101, 9, stretch=0.70) == ["stretched"] * 9


@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase not in ("undetermined", "purge")])
def test_a_shock_of_one_day_is_a_purge_from_anywhere_at_once(phase: str) -> None:
    def purges(growth: float, z_growth: float) -> bool:
        shock = row(101, growth=growth, z_growth=z_growth, open_interest=growth)
        return walk(at(phase), [shock])[0].phase == "purge"

    assert purges(-0.06, -5.0)
    assert not purges(-0.0599, -9.0)
    assert not purges(-0.17, -4.99)
    assert purges(-0.18, -3.5)
    assert not purges(-0.5, -3.49)


@pytest.mark.parametrize("phase", ["reset", "build_up", "stretched"])
def test_a_fall_over_three_days_is_a_purge(phase: str) -> None:
    def purges(growth: float, z_growth: float) -> bool:
        return walk(at(phase), [row(101, growth_3d=growth, z_growth_3d=z_growth)])[0].phase == "purge"

    assert purges(-0.10, -4.0)
    assert not purges(-0.0999, -9.0)
    assert not purges(-0.3, -3.99)


def test_from_stabilising_three_days_count_only_at_a_new_low() -> None:
    state = at("stabilising", trough=-0.10, peak=0.0)
    fall = {"growth_3d": -0.12, "z_growth_3d": -5.0}
    low = math.log(0.97)
    assert stay(state, 101, 1, **fall, open_interest=-0.10 + low + 1e-9) == ["stabilising"]
    found = walk(state, [row(101, **fall, open_interest=-0.10 + low - 1e-9)])[0]
    assert found.phase == "purge"
    assert [reason.condition for reason in found.reasons] == [
        "growth_3d", "growth_3d_z", "open_interest_to_trough",
    ]  # fmt: skip


def test_a_purge_ends_after_three_quiet_days() -> None:
    begun = walk(at("stretched"), [row(101, **SHOCK)])[0]
    assert stay(begun, 102, 4) == ["purge"] * 2 + ["stabilising"] * 2
    assert stay(begun, 102, 6, z_growth=-2.0) == ["purge"] * 6
    assert stay(begun, 102, 4, z_growth=-1.99) == ["purge"] * 2 + ["stabilising"] * 2


def test_a_loud_day_starts_the_count_again_and_deepens_the_purge() -> None:
    rows = [row(101, **SHOCK), row(102), row(103), row(104, z_growth=-3.0, open_interest=-0.2)]
    found = walk(at("stretched"), [*rows, row(105), row(106), row(107)])
    assert [one.phase for one in found] == ["purge"] * 6 + ["stabilising"]
    assert found[0].depth == pytest.approx(1 - math.exp(-0.10), abs=1e-12)
    assert found[-1].depth == pytest.approx(1 - math.exp(-0.22), abs=1e-12)
    assert {one.since for one in found[:-1]} == {101}


def test_a_second_shock_inside_a_purge_is_the_same_purge() -> None:
    found = walk(at("stretched"), [row(101, **SHOCK), row(102, **SHOCK | {"open_interest": -0.3})])
    assert [one.since for one in found] == [101, 101]
    assert found[1].trough == -0.3


def test_stabilising_to_reset_after_four_days_of_which_three_at_the_average() -> None:
    assert stay(at("stabilising"), 101, 5, z=0.5) == ["stabilising"] * 3 + ["reset"] * 2
    high = [row(100 + day, z=0.51) for day in range(1, 5)]
    later = [row(100 + day, z=0.5) for day in range(5, 9)]
    assert [one.phase for one in walk(at("stabilising"), high + later)] == (
        ["stabilising"] * 4 + ["stabilising"] * 2 + ["reset"] * 2
    )


def test_stabilising_to_build_up_after_fourteen_days_above() -> None:
    assert stay(at("stabilising"), 101, 15, z=0.51) == ["stabilising"] * 13 + ["build_up"] * 2


def test_a_shock_comes_before_every_exit() -> None:
    due = row(150, z=0.0, **{key: value for key, value in SHOCK.items() if key != "z"})
    assert walk(at("stabilising", calm=100.0), [due])[0].phase == "purge"


# Side, depth, reasons.


@pytest.mark.parametrize(
    ("shock", "side"),
    [
        # 0.10 in three days is as much as 0.0577 in one.
        ({**SHOCK, "return_1d": -0.058, "return_3d": 0.10}, "long_flush"),
        ({**SHOCK, "return_1d": -0.057, "return_3d": 0.10}, "short_squeeze"),
        ({**SHOCK, "return_1d": 0.058, "return_3d": -0.10}, "short_squeeze"),
        ({**SHOCK, "return_1d": 0.057, "return_3d": -0.10}, "long_flush"),
        ({**SHOCK, "return_1d": -0.01, "return_3d": None}, "long_flush"),
        ({**SHOCK, "return_1d": None, "return_3d": 0.01}, "short_squeeze"),
        ({**SHOCK, "return_1d": None, "return_3d": None}, None),
    ],
)
def test_the_price_of_one_day_or_three_tells_the_side(shock: dict[str, Any], side: str | None) -> None:
    assert walk(at("stretched"), [row(101, **shock)])[0].side == side


def test_the_side_and_depth_end_with_the_episode() -> None:
    begun = walk(at("stretched"), [row(101, **SHOCK)])[0]
    assert begun.depth == pytest.approx(1 - math.exp(-0.10), abs=1e-12)
    reset = walk(begun, (row(day, z=0.0) for day in range(102, 120)))[-1]
    assert reset.phase == "reset"
    assert reset.depth is None
    assert reset.purged == 101


def test_a_relapse_is_measured_from_the_first_peak() -> None:
    begun = walk(at("stretched"), [row(101, **SHOCK), *(row(day) for day in range(102, 106))])[-1]
    assert begun.phase == "stabilising"
    again = walk(begun, [row(106, growth=-0.07, z_growth=-7.0, open_interest=-0.15, peak=-0.05)])[0]
    assert again.since == 106
    assert again.depth == pytest.approx(1 - math.exp(-0.17), abs=1e-12)


def test_reasons_hold_value_threshold_and_percentile() -> None:
    found = walk(at("reset"), [row(101, **SHOCK, growth_percentile=0.004)])[0]
    assert found.reasons == (
        Reason("growth_1d", -0.08, -0.06, 0.004), Reason("growth_1d_z", -8.0, -5.0, 0.004),
    )  # fmt: skip
    assert str(found.reasons[0]) == "growth_1d: -0.08 against -0.06"


# Blindness.

BLIND: list[dict[str, Any]] = [
    {"believed": 0.59, "coverage": 0.59}, {"z": None},
    {"growth": None, "z_growth": None, "growth_3d": None, "z_growth_3d": None},
]  # fmt: skip


@pytest.mark.parametrize("blind", BLIND)
@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase != "undetermined"])
def test_two_blind_days_freeze_and_a_third_is_undetermined(phase: str, blind: dict[str, Any]) -> None:
    state = at(phase, trough=-0.1)
    found = walk(state, (row(101 + day, **blind) for day in range(3)))
    assert found[0] == found[1] == state
    assert found[2].phase == "undetermined"
    assert found[2].since == 103


@pytest.mark.parametrize("blind", BLIND)
def test_the_reason_for_nothing_is_what_is_missing(blind: dict[str, Any]) -> None:
    last = walk(at("reset"), (row(101 + day, **blind) for day in range(3)))[-1]
    assert [reason.condition for reason in last.reasons] == (["coverage"] if "believed" in blind else [])
    assert all(reason.value < reason.threshold for reason in last.reasons)


def test_a_shock_seen_by_a_minority_is_none() -> None:
    assert walk(at("reset"), [row(101, **SHOCK, believed=0.59, coverage=0.59)])[0].phase == "reset"
    assert walk(at("reset"), [row(101, **SHOCK, believed=0.60, coverage=0.60)])[0].phase == "purge"


# Verdict: methodology 7.5.


@pytest.mark.parametrize(
    ("phase", "dwell", "z", "purged", "answer"),
    [
        ("purge", 0, 3.0, 0, "no"),
        ("purge", 9, -3.0, 9, "no"),
        ("stabilising", 3, 0.5, 7, "yes"),
        ("stabilising", 2, 0.5, 7, "undetermined"),
        ("stabilising", 3, 0.5, 6, "undetermined"),
        ("stabilising", 3, 0.51, 7, "partly"),
        ("reset", 0, 0.5, 7, "yes"),
        ("reset", 0, 0.5, 6, "undetermined"),
        ("reset", 50, 0.51, 60, "undetermined"),
        ("reset", 50, 0.4, None, "yes"),
        ("build_up", 50, -1.0, 90, "undetermined"),
        ("stretched", 50, 2.0, 90, "undetermined"),
        ("undetermined", 50, -1.0, 90, "undetermined"),
        ("reset", 50, None, 90, "undetermined"),
    ],
)
def test_verdict(phase: str, dwell: int, z: float | None, purged: int | None, answer: str) -> None:
    state = at(phase, since=1000 - dwell, purged=None if purged is None else 1000 - purged)
    assert verdict(state, row(1000, z=z), 1000, RULE) == answer


# Confidence: methodology 7.4.

states = st.builds(
    State, phase=st.sampled_from(PHASES), since=st.floats(0, 100),
    seen=st.one_of(st.none(), st.floats(90, 100)),
    reasons=st.sampled_from([(), (Reason("growth_1d", -0.08, -0.06),)]),
)  # fmt: skip
rows = st.builds(
    lambda **more: row(100, **more),
    coverage=st.floats(0, 1), z=st.floats(-5, 5), z_growth=st.floats(-20, 20), growth_3d=st.floats(-1, 1),
    growth_14d=st.one_of(st.none(), st.floats(-1, 1)), stretch=st.one_of(st.none(), st.floats(0, 1)),
    funding_percentile=st.one_of(st.none(), st.floats(0, 1)), days_before=st.integers(0, 2000),
    liquidation_percentile=st.one_of(st.none(), st.floats(0, 1)), cusum=st.floats(0, 20),
    dispersion=st.one_of(st.none(), st.floats(0, 0.1)),
)  # fmt: skip


@given(states, rows)
def test_confidence_is_between_nothing_and_one(state: State, one: dict[str, Any]) -> None:
    value = confidence(state, one, 100.0, RULE)
    assert 0 <= value <= (0.5 if one["days_before"] < 365 else 1)
    assert 0 <= agreement(state.phase, one) <= 1
    assert 0 <= margin(state, one, RULE) <= 1
    if state.phase == "undetermined":
        assert value == 0


@given(states, rows, st.floats(0, 1))
def test_less_coverage_is_never_more_confidence(state: State, one: dict[str, Any], less: float) -> None:
    fewer = one | {"coverage": one["coverage"] * less, "believed": one["believed"] * less}
    assert confidence(state, fewer, 100.0, RULE) <= confidence(state, one, 100.0, RULE) + 1e-12


def test_confidence_by_hand() -> None:
    """All evidence agrees, coverage is 0.45, z is a tenth (its error) below the threshold of build-up."""
    state = State(phase="reset", since=50.0, seen=100.0)
    one = row(100, z=0.9, coverage=0.45, believed=0.45)
    assert agreement("reset", one) == 1
    assert margin(state, one, RULE) == pytest.approx(math.erf(1 / math.sqrt(2)), abs=1e-9)
    assert confidence(state, one, 100.0, RULE) == pytest.approx(0.5 * math.sqrt(0.682689), abs=1e-6)


def test_confidence_fades_with_a_stale_state() -> None:
    state = State(phase="reset", since=50.0, seen=100.0)
    fresh, day_old = (confidence(state, row(int(when), z=0.0), when, RULE) for when in (100.0, 101.0))
    assert day_old == pytest.approx(fresh * math.exp(-24 / 12), rel=1e-9)


def test_evidence_that_is_not_there_does_not_count() -> None:
    silent = row(100, funding_percentile=None, liquidation_percentile=None, cusum=None)
    assert agreement("purge", silent | {"growth_3d": -0.1}) == 1
    assert agreement("purge", silent | {"growth_3d": 0.1}) == 0
    assert sum(EVIDENCE.values()) == pytest.approx(1)


def test_cusum() -> None:
    """Methodology §10."""
    assert cusum([0.2, -0.5, -2, -3, 0.1, 0.4]) == pytest.approx([0, 0, 1.5, 4.0, 3.4, 2.5], abs=1e-12)
    assert cusum([-3.0, None, -1.0]) == pytest.approx([2.5, 2.5, 3.0], abs=1e-12)


# Whole histories.


def result(held: pl.DataFrame) -> pl.DataFrame:
    return table(assess(features(days(held))))


MADE = history(800, assets=("BTC",))
HELD = closes(MADE.table)
RESULT = result(HELD)


def test_planted_purges_are_found_on_their_day() -> None:
    entered = (pl.col("phase") == "purge") & (pl.col("date") == pl.col("since"))
    entries = RESULT.filter(entered)["date"].to_list()
    assert entries == MADE.purges["BTC"]
    sides = RESULT.filter(pl.col("date").is_in(entries))["side"].to_list()
    assert sides == ["long_flush", "long_flush", "short_squeeze"]


def test_the_columns_and_words_of_the_result() -> None:
    assert dict(RESULT.schema) == dict(TABLE)
    assert set(RESULT["phase"]) <= set(PHASES)
    assert set(RESULT["verdict"]) <= set(VERDICTS)
    assert RESULT.filter(pl.col("phase") == "undetermined").filter(pl.col("confidence") > 0).is_empty()
    deep = RESULT.filter(pl.col("depth").is_not_null())
    assert deep["depth"].min() > 0.05  # type: ignore[operator]
    assert set(deep["phase"]) == {"purge", "stabilising"}


def test_nothing_before_120_days_and_half_confidence_before_a_year() -> None:
    """An average needs 120 days, its scale 30 more; the first of them is day 0."""
    assert set(RESULT["phase"][:150]) == {"undetermined"}
    assert RESULT["phase"][150] != "undetermined"
    assert RESULT["confidence"][:365].max() <= 0.5  # type: ignore[operator]
    assert RESULT["confidence"][365:].max() > 0.5  # type: ignore[operator]
    assert set(RESULT["verdict"][:150]) == {"undetermined"}


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 799))
def test_results_up_to_a_day_do_not_know_what_follows(cut: int) -> None:
    last = HELD["day"][0] + cut
    known = result(HELD.filter(pl.col("day") <= last))
    assert known.equals(RESULT[: cut + 1])


SHORT = HELD.filter(pl.col("day") < HELD["day"][0] + 300)
SHORT_RESULT = result(SHORT)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_the_order_of_the_rows_does_not_matter(seed: int) -> None:
    assert result(SHORT.sample(fraction=1, shuffle=True, seed=seed)).equals(SHORT_RESULT)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.2, 5))
def test_of_rows_with_one_key_the_last_counts(seed: int, factor: float) -> None:
    again = SHORT.sample(200, seed=seed, with_replacement=True)
    before = again.with_columns(pl.col("coins", "usd") * factor)
    assert result(pl.concat([before, SHORT.sample(fraction=1, shuffle=True, seed=seed)])).equals(SHORT_RESULT)
    assert result(pl.concat([SHORT, again])).equals(SHORT_RESULT)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_late_rows_are_as_good_as_punctual_ones(seed: int) -> None:
    late = SHORT.with_row_index().sample(100, seed=seed)
    punctual = SHORT.with_row_index().join(late.select("index"), on="index", how="anti")
    assert result(pl.concat([punctual, late]).drop("index")).equals(SHORT_RESULT)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.5, 5), st.floats(0.2, 5))
def test_units_change_no_phase(size: float, price: float) -> None:
    """All open interest, or all prices, times a constant; none comes near half of all coins."""
    scaled = SHORT.with_columns(
        pl.col("coins") * size, pl.col("price") * price, pl.col("usd", "long_usd", "short_usd") * size * price
    )
    found = result(scaled)
    same = ("phase", "since", "side", "verdict")
    assert found.select(same).equals(SHORT_RESULT.select(same))
    for column in ("z", "growth", "depth", "percentile", "confidence"):
        pair = pl.DataFrame({"a": found[column], "b": SHORT_RESULT[column]}).drop_nulls()
        assert pair["a"].to_list() == pytest.approx(pair["b"].to_list(), abs=1e-6)


def test_two_assets_do_not_know_of_each_other() -> None:
    both = closes(history(300).table)
    found = result(both)
    for asset in ("BTC", "ETH"):
        alone = result(both.filter(pl.col("asset") == asset))
        assert found.filter(pl.col("asset") == asset).equals(alone)


# Real history, where it lies beside the repository.

EVENTS = (
    "2019-09-24", "2020-03-12", "2020-05-10", "2020-09-03", "2020-11-26", "2021-01-11", "2021-02-22",
    "2021-04-18", "2021-05-19", "2021-09-07", "2021-12-04", "2022-01-21", "2022-05-11", "2022-06-13",
    "2022-11-08", "2023-08-17", "2024-01-03", "2024-04-13", "2024-07-05", "2024-08-05",
)  # fmt: skip
"""The twenty of methodology §8."""


def bitcoin() -> pl.DataFrame:
    market = pl.read_parquet(SHARED / "marketcap_btc_coinmetrics_daily.parquet").select(
        "date", "price_usd", supply="supply_btc"
    )
    funding = pl.read_parquet(SHARED / "funding_btc_cryptoquant_daily.parquet").select(
        "date", funding_8h=pl.col("funding_pct") / 100
    )
    held = pl.read_parquet(SHARED / "oi_btc_cryptoquant_daily.parquet")
    return (
        held.join(market, on="date", how="left").join(funding, on="date", how="left")
        .with_columns(asset=pl.lit("BTC")).sort("date")
    )  # fmt: skip


def hourly() -> pl.DataFrame:
    held = pl.read_parquet(SHARED / "oi_bybit_hourly.parquet").filter(pl.col("asset") == "BTC")
    price = pl.read_parquet(SHARED / "ohlcv_binance_spot_daily.parquet").filter(pl.col("asset") == "BTC")
    return (
        held.with_columns(date=pl.col("ts").dt.date())
        .join(price.select("date", price_usd="close"), on="date").drop("date")
        .with_columns(venue=pl.lit("bybit"), margin=pl.lit("linear")).sort("ts")
    )  # fmt: skip


if SHARED.is_dir():

    def test_purges_of_bitcoin_are_found(tmp_path: Path) -> None:
        """Acceptance of methodology §7.6.8: at least 15 of 20 within two days, at most 4 others a year."""
        bitcoin().write_parquet(tmp_path / "bitcoin.parquet")
        found = result(closes(read(tmp_path / "bitcoin.parquet")))
        first = date(2019, 9, 1)
        entries = found.filter(
            (pl.col("phase") == "purge") & (pl.col("date") == pl.col("since")) & (pl.col("date") >= first)
        )["date"].to_list()
        events = [date.fromisoformat(event) for event in EVENTS]
        hit = [event for event in events if any(abs((entry - event).days) <= 2 for entry in entries)]
        unmatched = [entry for entry in entries if all(abs((entry - event).days) > 2 for event in events)]
        assert len(hit) >= 15
        assert len(unmatched) / ((found["date"][-1] - first).days / 365.25) <= 4

    def test_an_hourly_table_of_one_venue(tmp_path: Path) -> None:
        """Two whole years; the figure that jumped in May 2021, while the market fell, is set aside."""
        hourly().write_parquet(tmp_path / "bybit.parquet")
        known = features(days(closes(read(tmp_path / "bybit.parquet"))))
        assert known.height == 761
        assert known["usd"].null_count() == 0
        jump = known.filter(pl.col("day").cast(pl.Date) == date(2021, 5, 19)).row(0, named=True)
        assert jump["aside"] == ["bybit: contradicts"]
        assert jump["growth"] is None


def test_the_day_of_return_from_a_gap_is_no_blind_day() -> None:
    missing = [row(101 + day, z=None, growth=None, z_growth=None, growth_3d=None) for day in range(2)]
    back = row(103, growth=None, z_growth=None)
    assert [state.phase for state in walk(at("reset"), iter([*missing, back, row(104)]))] == ["reset"] * 4


def test_the_dollars_of_a_purge_are_those_of_the_close_before() -> None:
    """Methodology 3.3: OI of 9 October 2025 times (1 - exp(g)), bitcoin."""
    level = {"growth": -0.170891, "z_growth": -15.0, "open_interest": -0.170891, "before": 0.0}
    shock = row(101, **level, before_usd=90_237_622_503, usd=70_505_795_930)
    state = walk(at("stretched"), [shock])[0]
    assert state.destroyed_usd == pytest.approx(14.18e9, rel=1e-3)
