"""The snapshot ladder against brute force."""

from __future__ import annotations

import polars as pl
from hypothesis import given, settings, strategies as st

from monitor.ladder import DAY, HOUR, MINUTE, RINGS, Ladder


def frame(value: int) -> pl.DataFrame:
    return pl.DataFrame({"n": [value]})


@given(
    steps=st.lists(st.integers(1, 400_000), min_size=1, max_size=200),
    window=st.sampled_from([MINUTE, 5 * MINUTE, HOUR, 4 * HOUR, DAY]),
)
@settings(max_examples=60, deadline=None)
def test_lag_is_a_frame_at_least_a_window_old_and_not_much_older(steps: list[int], window: int) -> None:
    ladder, now, times = Ladder(), 0, list[int]()
    for step in steps:
        now += step
        ladder.push(now, frame(now))
        times.append(now)
    found = ladder.lag(now, window)
    ring = next(step for step, span in RINGS.items() if span >= window)
    oldest = now - window - max(ring, window // 5)
    old_enough = [time for time in times if oldest + ring <= time <= now - window]
    if found is None:
        # Nothing that a ring of this step was bound to keep may have been overlooked.
        assert not old_enough
    else:
        time, kept = found
        assert oldest <= time <= now - window
        assert kept["n"].to_list() == [time]


def test_memory_is_bounded_by_the_rings() -> None:
    ladder = Ladder()
    for minute in range(60 * 24 * 40):
        ladder.push(minute * MINUTE, frame(minute))
    most = sum(span // max(step, MINUTE) + 2 for step, span in RINGS.items())
    assert len(ladder) <= most


def test_no_lag_before_the_window_has_passed() -> None:
    ladder = Ladder()
    for second in range(300):
        ladder.push(second * 1000, frame(second))
    assert ladder.lag(299_000, 5 * MINUTE) is None
    ladder.push(300_000, frame(300))
    assert ladder.lag(300_000, 5 * MINUTE) is not None


def test_an_outage_is_no_window() -> None:
    ladder = Ladder()
    ladder.push(0, frame(0))
    ladder.push(2 * HOUR, frame(1))
    assert ladder.lag(2 * HOUR, HOUR) is None


def test_what_was_before_the_first_tick_is_found_and_what_came_since_is_kept() -> None:
    ladder = Ladder()
    past = [(hour * HOUR, frame(-hour)) for hour in range(400)]
    past += [(399 * HOUR + minute * 5 * MINUTE, frame(minute)) for minute in range(1, 12)]
    ladder.fill(past)
    now = 400 * HOUR + 10 * MINUTE
    for step in range(50):
        ladder.push(now + step * MINUTE, frame(1000 + step))
        ladder.fill(past)  # again and again: nothing is there twice
    now += 49 * MINUTE
    for window, wanted in ((HOUR, 399 * HOUR + 55 * MINUTE), (4 * HOUR, 396 * HOUR), (14 * DAY, 64 * HOUR)):
        found = ladder.lag(now, window)
        assert found is not None
        assert found[0] == wanted
    recent = ladder.lag(now, 5 * MINUTE)
    assert recent is not None
    assert recent[1]["n"].to_list() == [1044]
    assert len(ladder) <= sum(span // max(step, 5 * MINUTE) + 2 for step, span in RINGS.items()) + 100
    ladder.fill([])
    assert ladder.lag(now, 4 * HOUR) is None
    assert ladder.lag(now, 5 * MINUTE) is not None


@given(past=st.lists(st.integers(1, 3 * HOUR), max_size=60), window=st.sampled_from([HOUR, 4 * HOUR, DAY]))
@settings(max_examples=60, deadline=None)
def test_a_filled_frame_is_at_least_a_window_old_and_not_much_older(past: list[int], window: int) -> None:
    ladder, time, frames = Ladder(), 0, []
    for step in past:
        time += step
        frames.append((time, frame(time)))
    ladder.fill(frames)
    now = time + 1
    ladder.push(now, frame(now))
    if (found := ladder.lag(now, window)) is not None:
        assert now - window - max(HOUR, window // 5) <= found[0] <= now - window
        assert found[1]["n"].to_list() == [found[0]]
