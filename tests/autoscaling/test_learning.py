from __future__ import annotations

from datetime import timedelta

import pytest

from tests.autoscaling.scenes import NOON, pool, signals
from tfserving_operator.autoscaling.learning import SURELY_CARRIED_IN_FLIGHT, PoolKnowledge


def learned(*, rate: float, concurrency: float | None, share: float = 1.0, ready: int = 1) -> PoolKnowledge:
    knowledge = PoolKnowledge()
    for index in range(40):
        at = NOON + timedelta(seconds=15 * index)
        load = signals(rate, at=at, covered=ready, share=share, window_seconds=30.0, concurrency=concurrency)
        knowledge = knowledge.after(pool(load, ready=ready), aim=0.009, promised=0.01, now=at.timestamp())
    return knowledge


def test_a_replica_is_known_to_carry_what_leaves_it_next_to_idle_long_before_it_was_tried() -> None:
    # A request in five seconds that takes 30 ms: without Little's law, all that is known is that it carries that.
    estimate = learned(rate=0.2, concurrency=0.2 * 0.03).estimate
    assert estimate is not None
    assert estimate.carries == pytest.approx(SURELY_CARRIED_IN_FLIGHT / 0.03)
    assert estimate.hopeful >= estimate.carries


def test_what_was_seen_counts_where_requests_in_flight_are_not_known() -> None:
    estimate = learned(rate=20.0, concurrency=None).estimate
    assert estimate is not None
    assert estimate.carries == pytest.approx(20.0)


def test_more_than_next_to_idle_is_taken_from_what_was_seen() -> None:
    estimate = learned(rate=20.0, concurrency=20 * 0.03).estimate
    assert estimate is not None
    assert estimate.carries == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("rates", "is_learned"),
    [
        pytest.param([20.0, 20.0, 20.0, 22.0], True, id="steady"),
        pytest.param([20.0, 20.0, 20.0, 60.0], False, id="a-burst-begins"),
        pytest.param([60.0, 60.0, 60.0, 20.0], False, id="a-burst-ends"),
        pytest.param([0.2, 0.2, 0.2, 0.4], True, id="three-requests-more-by-chance"),
    ],
)
def test_nothing_is_learned_from_a_window_in_which_the_load_jumps(rates: list[float], is_learned: bool) -> None:
    knowledge = PoolKnowledge()
    for index, rate in enumerate(rates):
        at = NOON + timedelta(seconds=30 * index)
        before = knowledge
        load = signals(rate, at=at, covered=1, window_seconds=15.0)
        knowledge = knowledge.after(pool(load, ready=1), aim=0.009, promised=0.01, now=at.timestamp())
    assert (knowledge.learned_at > before.learned_at) == is_learned


def surged(late_share_after: float) -> tuple[PoolKnowledge, PoolKnowledge]:
    """One replica that cannot keep up with 60 requests/s at 25, then four, with its backlog: before and after."""
    knowledge = PoolKnowledge()
    looks = [(1, 25.0, 1.0)] * 4 + [(4, 66.0, 0.6)] + [(4, 62.0, late_share_after)]
    before = knowledge
    for index, (ready, rate, late) in enumerate(looks):
        at = NOON + timedelta(seconds=15 * index)
        load = signals(rate, at=at, covered=ready, share=1 - late, window_seconds=15.0)
        knowledge = knowledge.after(pool(load, ready=ready), aim=0.009, promised=0.01, now=at.timestamp())
        before = knowledge if ready == 1 else before
    return before, knowledge


def test_a_window_in_which_replicas_came_is_not_taken_for_a_load_that_none_of_them_had() -> None:
    _, knowledge = surged(0.37)
    assert max(load for _, load in knowledge.loads) <= 25.0
    assert max(each.load for each in knowledge.curve.bins) <= 25.0
    assert knowledge.estimate is not None
    assert not knowledge.estimate.cannot_be_kept


def test_the_backlog_of_a_load_that_is_gone_tells_of_no_load() -> None:
    before, knowledge = surged(0.37)
    assert knowledge.curve == before.curve
    _, without_backlog = surged(0.0)
    assert without_backlog.curve != before.curve
