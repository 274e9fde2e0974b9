from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfserving_operator.api.autoscaling import RateLimit, RateLimitType, ScalingRules, SelectPolicy
from tfserving_operator.autoscaling.behavior import BehaviorState, rate_limited

PODS_4 = RateLimit(type=RateLimitType.PODS, value=4, period_seconds=60)
DOUBLE = RateLimit(type=RateLimitType.PERCENT, value=100, period_seconds=60)
TENTH = RateLimit(type=RateLimitType.PERCENT, value=10, period_seconds=60)


def rules(select: SelectPolicy = SelectPolicy.MAX, *limits: RateLimit) -> ScalingRules:
    return ScalingRules(select_policy=select, policies=list(limits))


def seen(*totals: tuple[float, int]) -> BehaviorState:
    state = BehaviorState()
    for at, total in totals:
        state = state.with_total(total, now=at)
    return state


@pytest.mark.parametrize(
    ("given_rules", "current", "wanted", "allowed"),
    [
        pytest.param(rules(), 10, 90, 90, id="no-limits-up"),
        pytest.param(rules(), 10, 1, 1, id="no-limits-down"),
        pytest.param(rules(SelectPolicy.DISABLED), 10, 90, 10, id="disabled-up"),
        pytest.param(rules(SelectPolicy.DISABLED), 10, 1, 10, id="disabled-down"),
        pytest.param(rules(SelectPolicy.MAX, PODS_4), 10, 90, 14, id="pods-up"),
        pytest.param(rules(SelectPolicy.MAX, PODS_4), 10, 1, 6, id="pods-down"),
        pytest.param(rules(SelectPolicy.MAX, PODS_4, DOUBLE), 10, 90, 20, id="the-most-permissive"),
        pytest.param(rules(SelectPolicy.MIN, PODS_4, DOUBLE), 10, 90, 14, id="the-strictest"),
        pytest.param(rules(SelectPolicy.MAX, TENTH), 1, 5, 2, id="a-small-percentage-still-moves-up"),
        pytest.param(rules(SelectPolicy.MAX, TENTH), 20, 1, 18, id="percent-down"),
        pytest.param(rules(SelectPolicy.MAX, PODS_4), 10, 12, 12, id="within-the-limit"),
    ],
)
def test_a_rate_limit_binds(given_rules: ScalingRules, current: int, wanted: int, allowed: int) -> None:
    state = seen((0, current))
    assert rate_limited(wanted, given_rules, given_rules.policies, state, 1000.0) == allowed


def test_changes_of_the_period_count_whoever_made_them() -> None:
    state = seen((0, 10), (30, 13))
    assert rate_limited(90, rules(SelectPolicy.MAX, PODS_4), [PODS_4], state, 60.0) == 14


def test_changes_before_the_period_are_forgotten() -> None:
    state = seen((0, 10), (30, 13))
    assert rate_limited(90, rules(SelectPolicy.MAX, PODS_4), [PODS_4], state, 91.0) == 17


def test_the_highest_recommendation_of_the_window_binds_downwards() -> None:
    state = BehaviorState()
    for now, wanted in [(0, 9), (10, 7), (20, 8), (30, 3)]:
        state = state.with_recommendation(wanted, now=now, down_seconds=25, up_seconds=0)
    assert state.stabilized(3, current=9) == 8


def test_the_lowest_recommendation_of_the_window_binds_upwards() -> None:
    state = BehaviorState()
    for now, wanted in [(0, 3), (10, 6), (20, 9)]:
        state = state.with_recommendation(wanted, now=now, down_seconds=0, up_seconds=15)
    assert state.stabilized(9, current=2) == 6


RECOMMENDATIONS = st.lists(st.tuples(st.floats(0.1, 30), st.integers(1, 40)), min_size=1, max_size=40)


@given(RECOMMENDATIONS, st.integers(1, 40), st.floats(0, 60), st.floats(0, 60))
def test_what_is_remembered_is_enough_to_know_the_extremes_of_both_windows(
    steps: list[tuple[float, int]], current: int, down_seconds: float, up_seconds: float
) -> None:
    state, now, told = BehaviorState(), 0.0, list[tuple[float, int]]()
    for elapsed, wanted in steps:
        now += elapsed
        told.append((now, wanted))
        state = state.with_recommendation(wanted, now=now, down_seconds=down_seconds, up_seconds=up_seconds)
    last = told[-1][1]
    highest = max([value for at, value in told if at > now - down_seconds] + [last])
    lowest = min([value for at, value in told if at > now - up_seconds] + [last])
    assert state.stabilized(last, current=current) == min(max(current, lowest), highest)
