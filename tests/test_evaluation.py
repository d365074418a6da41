"""The evaluation on real history: the page is what the run gives, and what was to be accepted holds.

The history lies beside the repository; without it there is nothing to run.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from evaluation import relapse, selection
from evaluation.history import HISTORY, day
from evaluation.page import FALLS, SQUEEZES, page
from evaluation.placebos import CALM
from evaluation.result import Result
from evaluation.scoring import EVENTS, SINCE, last_friday, score

from monitor.deleveraging.phases import RELAPSE, RELAPSE_ANY_DAY

ROOT = Path(__file__).parents[1]
CASES = [Result()] if HISTORY.is_dir() else []
"""One, or none; what is expensive is computed at most once."""
with_history = pytest.mark.parametrize("found", CASES, ids=["history"][: len(CASES)])


@with_history
def test_it_finds_what_was_to_be_found(found: Result) -> None:
    """Methodology 7.6.8 and 7.3, on the same series with closing prices of another source."""
    assert found.score.events == len(EVENTS) == 20
    assert len(found.score.found) >= 15
    assert found.score.a_year <= 4
    for (_, one), events, a_year in zip(
        found.sensitivity, (17, 16, 17, 16, 14), (4.5, 3.1, 2.3, 1.9, 1.6), strict=True
    ):
        assert len(one.found) == pytest.approx(events, abs=2)
        assert one.a_year == pytest.approx(a_year, abs=0.7)
    for (_, one, share), told in zip(found.averages, (0.41, 0.37, 0.31, 0.24), strict=True):
        assert len(one.found) >= 15
        assert share == pytest.approx(told, abs=0.03)


@with_history
def test_squeezes_are_told_from_flushes(found: Result) -> None:
    """Methodology 8: the side test, and the purges of events that prices call flushes."""
    sides = {entry.day: entry.state.side for entry in found.entries}
    assert {sides[squeeze] for squeeze in SQUEEZES} == {"short_squeeze"}
    flushes = [sides[alarm] for alarm in found.score.found.values()]
    assert flushes.count("long_flush") >= len(flushes) - 1


@with_history
def test_falls_of_price_alone_are_no_purge(found: Result) -> None:
    assert len(FALLS) == 3
    assert not set(FALLS) & set(found.score.found)


@with_history
def test_thresholds_chosen_without_the_year_are_accepted_too(found: Result) -> None:
    for way in selection.WAYS:
        folds = selection.without_a_year(found.grid, found.until, way)
        assert sum(one.events for *_, one in folds) == 20
        assert sum(len(one.found) for *_, one in folds) >= 13
        assert sum(len(one.unmatched) for *_, one in folds) / found.score.years <= 4


@with_history
def test_the_relapse_that_is_shown_is_the_one_that_was_counted(found: Result) -> None:
    assert found.relapses == {**RELAPSE, "": RELAPSE_ANY_DAY}
    assert relapse.brier(found.forecasts(30))[0] < relapse.brier(found.forecasts(30))[1]


@with_history
@pytest.mark.timeout(300)
def test_no_fault_of_a_venue_makes_a_purge_on_a_calm_day(found: Result) -> None:
    calm = [one for one in found.outcomes if one.date in CALM]
    assert len(calm) > 300
    assert [one for one in calm if one.new or one.gone] == []
    three = [one for one in calm if len(one.venues) == 3]
    assert {one.asset for one in calm} == {"BTC", "ETH"}
    assert [one for one in three if one.moved] == []
    scaled = [one for one in found.outcomes if len(one.venues) == 3 and one.fault[0] in "x/"]
    assert len(scaled) > 30
    assert [one for one in scaled if one.new or one.gone or one.blind] == []
    hidden = [one for one in found.outcomes if len(one.venues) == 3 and one.gone]
    assert {one.venue for one in hidden} == {"vendor"}, "only where most of the market is gone"


@with_history
@pytest.mark.timeout(300)
def test_the_page_is_up_to_date(found: Result) -> None:
    assert (ROOT / "docs" / "EVALUATION.md").read_text() == page(found), "run `make evaluation`"


def test_alarms_are_matched_once_and_counted_by_span() -> None:
    one = score([100, 103, 110], 90, 200, events=[101, 150])
    assert one.found == {101: 100}
    assert one.unmatched == [110]
    assert (one.alarms, one.events, one.recall) == (3, 2, 0.5)
    assert one.a_year == pytest.approx(365.25 / 111)
    assert last_friday(day("2023-06-30"))
    assert not last_friday(day("2023-06-23"))


def test_relapses_need_days_that_the_history_covers() -> None:
    counted = relapse.counts([SINCE, SINCE + 90], [SINCE + 7, SINCE + 95], SINCE + 100)
    assert counted == {7: (2, 2), 14: (1, 1), 30: (1, 1)}
    assert relapse.smoothed((1, 2)) == 0.5


def test_without_history_the_command_says_so(tmp_path: Path) -> None:
    copied = tmp_path / "main" / "tests" / "evaluation"
    copied.mkdir(parents=True)
    for source in (ROOT / "tests" / "evaluation").glob("*.*"):
        (copied / source.name).write_bytes(source.read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "evaluation"], cwd=copied.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("evaluation: no market history")
    assert done.stderr.count("\n") == 1
