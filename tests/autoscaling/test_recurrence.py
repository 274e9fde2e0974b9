from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfserving_operator.autoscaling.recurrence import Recurrence

HOUR = 3600
WINDOW_SECONDS, LEAD_SECONDS = 30.0, 60.0
BASE = 100.0


def followed(
    rate_at: Callable[[float], float],
    *,
    hours: float,
    known: Recurrence | None = None,
    begin: float = 500_000 * HOUR,
    gap: Callable[[float], bool] = lambda at: False,
) -> tuple[Recurrence, list[float]]:
    """The memory, and what it expects at each sample, where all but ``BASE`` is missed."""
    known = known or Recurrence()
    expected = []
    for step in range(0, int(hours * HOUR), 15):
        at = begin + step
        if not gap(step):
            known = known.after(
                rate_at(step), BASE, at=at, window_seconds=WINDOW_SECONDS, lead_seconds=LEAD_SECONDS
            ).recalling(now=at, lead_seconds=LEAD_SECONDS)
        expected.append(known.expected(lead_seconds=LEAD_SECONDS, price=5.0))
    return known, expected


def hourly(at: float, *, early: float = 0.0) -> float:
    return 600.0 if (at + early) % HOUR < 90 and at >= HOUR - early else BASE


def minutes(expected: Iterable[float], hour: int) -> list[float]:
    """What was expected at most in each minute of an hour."""
    of_hour = list(expected)[hour * 240 : (hour + 1) * 240]
    return [max(of_hour[4 * minute : 4 * minute + 4]) for minute in range(60)]


def test_a_burst_on_the_hour_is_provided_for_before_it_comes() -> None:
    _, expected = followed(hourly, hours=9)
    assert minutes(expected, 7)[59] > 500.0


def test_other_minutes_of_the_hour_are_left_alone() -> None:
    _, expected = followed(hourly, hours=9)
    assert max(minutes(expected, 7)[4:57]) == 0.0


def test_one_burst_is_no_pattern() -> None:
    _, expected = followed(lambda at: 600.0 if HOUR <= at < HOUR + 90 else BASE, hours=4)
    assert max(expected) == 0.0


@pytest.mark.parametrize("early", [-30, 30])
def test_a_phase_that_wanders_is_tolerated(early: float) -> None:
    known, _ = followed(hourly, hours=8)
    _, expected = followed(hourly, hours=1, known=known, begin=500_008 * HOUR)
    first_of_burst = next(index for index in range(240) if hourly(index * 15 + 7 * HOUR, early=early) > BASE)
    ready_since = (first_of_burst * 15 - LEAD_SECONDS) / 15
    assert ready_since < 0 or expected[int(ready_since)] > 500.0


def test_a_pattern_that_ends_fades_within_hours() -> None:
    known, _ = followed(hourly, hours=8)
    _, expected = followed(lambda at: BASE, hours=12, known=known, begin=500_008 * HOUR)
    held = [max(minutes(expected, hour)[57:]) > 0 for hour in range(12)]
    assert held[0]
    assert not any(held[4:])


def test_what_was_provided_for_anyway_is_no_burst() -> None:
    known = Recurrence()
    for step in range(0, 6 * HOUR, 15):
        rate = hourly(step)
        known = known.after(rate, 700.0, at=1e9 + step, window_seconds=WINDOW_SECONDS, lead_seconds=LEAD_SECONDS)
        known = known.recalling(now=1e9 + step, lead_seconds=LEAD_SECONDS)
        assert known.expected(lead_seconds=LEAD_SECONDS, price=15.0) == 0.0


def test_a_late_request_that_is_worth_more_is_provided_for_on_less_evidence() -> None:
    known, _ = followed(hourly, hours=3)
    known = known.recalling(now=(500_003 * HOUR - 45.0), lead_seconds=LEAD_SECONDS)
    answers = [known.expected(lead_seconds=LEAD_SECONDS, price=price) for price in (1.0, 5.0, 15.0)]
    assert answers == sorted(answers)
    assert answers[0] == 0.0 < answers[-1]


def test_the_same_sample_again_changes_nothing() -> None:
    known, _ = followed(hourly, hours=2)
    for seconds in (-15.0, 0.0):
        again = known.after(
            9999.0, BASE, at=known.at + seconds, window_seconds=WINDOW_SECONDS, lead_seconds=LEAD_SECONDS
        )
        assert again is known
    assert known.recalling(now=known.at, lead_seconds=LEAD_SECONDS) is known


def test_hours_without_telemetry_count_neither_way() -> None:
    known, _ = followed(hourly, hours=8)
    _, expected = followed(hourly, hours=4, known=known, begin=500_008 * HOUR, gap=lambda at: at < 3 * HOUR - 300)
    assert minutes(expected, 2)[59] > 500.0


def test_after_a_day_without_telemetry_nothing_is_remembered() -> None:
    known, _ = followed(hourly, hours=8)
    _, expected = followed(lambda at: BASE, hours=1, known=known, begin=500_040 * HOUR)
    assert max(expected) == 0.0


@given(
    rates=st.lists(st.tuples(st.floats(0, 1e12), st.floats(0, 1e12), st.floats(0, 1e5)), min_size=1, max_size=40),
    lead=st.floats(0, 1e4),
    price=st.floats(1, 15),
)
@settings(max_examples=60)
def test_memory_is_bounded_and_no_more_is_expected_than_was_missed(
    rates: list[tuple[float, float, float]], lead: float, price: float
) -> None:
    known, at = Recurrence(), 1e9
    for rate, provided, seconds in rates:
        at += seconds
        known = known.after(rate, provided, at=at, window_seconds=30.0, lead_seconds=lead)
        known = known.recalling(now=at, lead_seconds=lead)
        assert (
            0.0 <= known.expected(lead_seconds=lead, price=price) <= 1e-6 + 1.001 * 2 * max(max(e[:2]) for e in rates)
        )
    assert len(pickle.dumps(known)) < 12_000


def test_the_state_stays_small() -> None:
    known, _ = followed(lambda at: BASE + at % 977, hours=50)
    assert len(pickle.dumps(known)) < 10_000
