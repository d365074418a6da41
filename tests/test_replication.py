"""`docs/REPLICATION.md`, and what must hold of its numbers."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import msgspec
import pytest

from monitor.app import gold_table
from monitor.commands.replication import (
    CALLS,
    PRESS,
    STUDY,
    Press,
    agrees,
    interval,
    naive,
    page,
    ratio_at,
    read,
    rms,
    study,
    valued,
)
from monitor.commands.valuation import Problem
from monitor.volatility.ratio import Clock

ROOT = Path(__file__).parents[1]
HISTORY = ROOT.parent / "shared" / "history"


@pytest.mark.parametrize("of", PRESS, ids=[f"{of.name} {of.price:g}" for of in PRESS])
def test_press_numbers_agree_with_their_inputs_where_the_study_found_it(of: Press) -> None:
    """Methodology §1.2."""
    assert agrees(of) is of.agrees
    result, low, high = interval(of)
    assert low < result < high


def test_a_price_just_outside_its_interval_does_not_agree() -> None:
    of = next(one for one in PRESS if one.name == "A12")
    _, low, high = interval(of)
    for price, says in ((low - 501, False), (low - 499, True), (high + 499, True), (high + 501, False)):
        assert agrees(msgspec.structs.replace(of, price=price)) is says


def test_rms_by_hand() -> None:
    ratios: list[float | None] = [call.ratio for call in CALLS]
    assert rms(ratios) == 0
    assert rms([None, *ratios[1:]]) == 0
    assert rms([CALLS[0].ratio * 2.718281828459045, *[None] * 7]) == pytest.approx(1)


def test_the_study_is_whole() -> None:
    assert len(STUDY) == 30
    assert min(STUDY, key=lambda key: STUDY[key][1]) == ("aligned", "126 td", "XAUUSD")


def test_a_folder_without_the_tables_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="No such file"):
        page(read(tmp_path), gold_table())
    done = subprocess.run(
        [sys.executable, "-m", "monitor.commands.replication", "--history", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


# Methodology §1.9: ratios of the dates of 2024 and 2025; 0 is "does not span the window".
PRINTED: dict[tuple[Clock, str, str], tuple[float, ...]] = {
    ("aligned", "60 d", "XAUUSD"): (4.651, 2.588, 3.132, 3.680, 2.480, 2.951, 1.566),
    ("aligned", "60 d", "GLD"): (4.712, 2.638, 3.270, 3.537, 2.487, 2.859, 1.458),
    ("aligned", "60 d", "GC=F"): (4.748, 2.707, 3.146, 3.407, 2.418, 2.538, 1.471),
    ("aligned", "90 d", "XAUUSD"): (5.122, 2.724, 3.103, 3.833, 2.208, 2.456, 1.816),
    ("aligned", "90 d", "GLD"): (5.188, 2.803, 3.225, 3.540, 2.208, 2.407, 1.691),
    ("aligned", "90 d", "GC=F"): (0, 2.824, 3.102, 3.353, 2.179, 2.311, 1.666),
    ("aligned", "120 d", "XAUUSD"): (4.395, 2.999, 3.199, 3.532, 1.779, 2.369, 1.803),
    ("aligned", "120 d", "GLD"): (4.407, 3.046, 3.257, 3.357, 1.753, 2.315, 1.694),
    ("aligned", "120 d", "GC=F"): (0, 3.166, 3.227, 3.188, 1.692, 2.247, 1.688),
    ("aligned", "126 td", "XAUUSD"): (3.877, 3.625, 3.526, 3.352, 2.075, 1.802, 1.767),
    ("aligned", "126 td", "GLD"): (3.863, 3.709, 3.585, 3.327, 2.043, 1.805, 1.670),
    ("aligned", "126 td", "GC=F"): (0, 3.860, 3.528, 3.207, 1.957, 1.702, 1.657),
    ("aligned", "180 d", "XAUUSD"): (3.873, 3.657, 3.502, 3.348, 2.074, 1.837, 1.724),
    ("aligned", "180 d", "GLD"): (3.870, 3.699, 3.587, 3.324, 2.060, 1.821, 1.642),
    ("aligned", "180 d", "GC=F"): (0, 3.851, 3.545, 3.207, 1.971, 1.747, 1.629),
    ("own", "60 d", "XAUUSD"): (4.480, 2.463, 2.819, 4.423, 2.417, 2.769, 1.566),
    ("own", "60 d", "GLD"): (4.461, 2.407, 2.910, 4.201, 2.400, 2.631, 1.458),
    ("own", "60 d", "GC=F"): (4.495, 2.470, 2.799, 4.047, 2.356, 2.335, 1.471),
    ("own", "90 d", "XAUUSD"): (4.917, 2.615, 2.861, 4.399, 2.195, 2.357, 1.787),
    ("own", "90 d", "GLD"): (4.915, 2.617, 2.953, 4.068, 2.160, 2.264, 1.645),
    ("own", "90 d", "GC=F"): (0, 2.636, 2.840, 3.836, 2.146, 2.188, 1.620),
    ("own", "120 d", "XAUUSD"): (4.180, 2.857, 2.971, 3.917, 1.812, 2.348, 1.793),
    ("own", "120 d", "GLD"): (4.127, 2.843, 3.009, 3.726, 1.759, 2.246, 1.669),
    ("own", "120 d", "GC=F"): (0, 2.956, 2.981, 3.526, 1.706, 2.190, 1.663),
    ("own", "126 td", "XAUUSD"): (3.732, 3.545, 3.266, 3.422, 2.067, 1.832, 1.788),
    ("own", "126 td", "GLD"): (3.678, 3.563, 3.292, 3.381, 2.208, 1.812, 1.668),
    ("own", "126 td", "GC=F"): (0, 3.709, 3.239, 3.251, 2.120, 1.713, 1.659),
    ("own", "180 d", "XAUUSD"): (3.723, 3.573, 3.247, 3.415, 2.260, 1.869, 1.747),
    ("own", "180 d", "GLD"): (3.685, 3.554, 3.256, 3.374, 2.221, 1.822, 1.636),
    ("own", "180 d", "GC=F"): (0, 3.700, 3.218, 3.251, 2.133, 1.754, 1.628),
}

if HISTORY.is_dir():
    PRICES = read(HISTORY)
    COVERED = [call for call in CALLS if call.day < date(2026, 1, 1)]

    def test_the_page_is_up_to_date() -> None:
        assert (ROOT / "docs/REPLICATION.md").read_text() == page(PRICES, gold_table()), (
            "run `make replication`"
        )

    def test_every_ratio_is_within_six_percent_of_the_banks() -> None:
        assert len(COVERED) == 7
        for call in COVERED:
            found = ratio_at(PRICES, call)
            assert found is not None
            assert found.ratio == pytest.approx(call.ratio, rel=0.06), call.day
            assert found.low < call.ratio < found.high

    def test_fair_values_are_within_twelve_percent_and_seven_on_average() -> None:
        errors = []
        for call in COVERED:
            found = valued(PRICES, gold_table(), call)
            assert found is not None
            errors.append(abs(found.value / call.price - 1))
            assert found.low < call.price < found.high
        assert max(errors) <= 0.12
        assert sum(errors) / len(errors) <= 0.07

    def test_the_naive_ratio_is_rejected_by_the_same_rule() -> None:
        found = [valued(PRICES, gold_table(), call) for call in COVERED]
        errors = [
            one.naive / call.price - 1 for one, call in zip(found, COVERED, strict=True) if one is not None
        ]
        assert len(errors) == 7
        assert min(errors) > 0.12

    def test_a_date_after_the_history_is_not_computed() -> None:
        last = CALLS[-1]
        assert ratio_at(PRICES, last) is None
        assert naive(PRICES, last) is None
        assert valued(PRICES, gold_table(), last) is None

    def test_the_study_of_windows_and_sources_is_reproduced() -> None:
        """Methodology §1.9, every ratio to its last printed digit but one unit, every RMS likewise."""
        rows = list(study(PRICES))
        assert {row[:3] for row in rows} == set(PRINTED) == set(STUDY)
        for clock, window, gold, ratios in rows:
            key = clock, window, gold
            for one, printed in zip(ratios, PRINTED[key], strict=False):
                assert (0 if one is None else one) == pytest.approx(printed, abs=6e-4), key
            assert ratios[-1] is None
            last, error = STUDY[key]
            assert rms([*ratios[:-1], last]) == pytest.approx(error, abs=6e-4), key

    def test_gold_in_dollars_is_what_table_b_says() -> None:
        """Methodology §1.3, from a share of gold: within a percent of ours from spot."""
        for day, trillions in (
            (date(2024, 3, 14), 3.303), (date(2025, 8, 27), 5.314), (date(2025, 10, 1), 6.052),
            (date(2025, 11, 4), 6.161),
        ):  # fmt: skip
            call = next(call for call in CALLS if abs(call.day - day) < timedelta(days=1))
            found = valued(PRICES, gold_table(), call)
            assert found is not None
            assert found.investment_usd / 1e12 == pytest.approx(trillions, rel=0.01)
