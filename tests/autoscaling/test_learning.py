from __future__ import annotations

from datetime import datetime, timedelta

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


def test_a_window_in_which_replicas_came_is_not_taken_for_a_load_that_none_of_them_had() -> None:
    # One replica cannot keep up with 60 requests/s at 25; then there are four, with its backlog.
    knowledge = PoolKnowledge()
    for index, (ready, rate, late) in enumerate([(1, 25.0, 1.0)] * 4 + [(4, 66.0, 0.6)] + [(4, 62.0, 0.37)] * 12):
        at = NOON + timedelta(seconds=15 * index)
        load = signals(rate, at=at, covered=ready, share=1 - late, window_seconds=15.0)
        knowledge = knowledge.after(pool(load, ready=ready), aim=0.009, promised=0.01, now=at.timestamp())
    assert len(knowledge.curve.bins) > 1
    assert max(each.load for each in knowledge.curve.bins) == pytest.approx(25.0)
    assert knowledge.estimate is not None
    assert not knowledge.estimate.cannot_be_kept


def test_the_first_moments_of_a_burst_at_the_end_of_a_window_are_unlearned_when_the_burst_is_seen() -> None:
    knowledge, known = PoolKnowledge(), []
    for index, (rate, late) in enumerate([(40.0, 0.0), (40.0, 0.0), (44.0, 0.03), (120.0, 0.5)]):
        at = NOON + timedelta(seconds=15 * index)
        load = signals(rate, at=at, covered=1, share=1 - late, window_seconds=15.0)
        knowledge = knowledge.after(pool(load, ready=1), aim=0.009, promised=0.01, now=at.timestamp())
        known.append(knowledge.estimate)
    assert known[1] is not None
    assert known[2] is not None
    assert known[2].is_bounded
    assert known[3] == known[1]


def test_late_requests_at_a_load_that_stays_are_kept_in_mind() -> None:
    knowledge = PoolKnowledge()
    for index, (rate, late) in enumerate([(40.0, 0.0), (40.0, 0.0), (44.0, 0.03), (45.0, 0.03)]):
        at = NOON + timedelta(seconds=15 * index)
        load = signals(rate, at=at, covered=1, share=1 - late, window_seconds=15.0)
        knowledge = knowledge.after(pool(load, ready=1), aim=0.009, promised=0.01, now=at.timestamp())
    assert knowledge.estimate is not None
    assert knowledge.estimate.is_bounded


def test_nothing_is_learned_from_the_window_in_which_a_load_begins_from_none() -> None:
    knowledge = PoolKnowledge()
    for index, (rate, share) in enumerate([(30.0, 1.0)] * 2 + [(0.0, 1.0)] * 3 + [(20.0, 0.5)]):
        at = NOON + timedelta(seconds=15 * index)
        load = signals(rate, at=at, covered=1, share=share, window_seconds=15.0)
        knowledge = knowledge.after(pool(load, ready=1), aim=0.009, promised=0.01, now=at.timestamp())
    assert [each.late for each in knowledge.curve.bins] == [0.0]


def test_what_a_load_that_begins_from_none_tells_is_better_than_nothing() -> None:
    knowledge = PoolKnowledge()
    for index, rate in enumerate([0.0, 20.0]):
        at = NOON + timedelta(seconds=15 * index)
        load = signals(rate, at=at, covered=1, share=0.5, window_seconds=15.0)
        knowledge = knowledge.after(pool(load, ready=1), aim=0.009, promised=0.01, now=at.timestamp())
    assert knowledge.estimate is not None
    assert knowledge.estimate.carries < 20.0


def learned_at(knowledge: PoolKnowledge, knee: float, *, config: str, start: datetime) -> PoolKnowledge:
    """Half an hour at loads around ``knee``, beyond which a tenth is late."""
    for index in range(60):
        at = start + timedelta(seconds=30 * index)
        rate = knee * (0.85, 0.9, 0.95, 1.05, 1.1)[index % 5]
        load = signals(rate, at=at, covered=1, share=0.9 if rate > knee else 1.0, window_seconds=30.0)
        seen = pool(load, ready=1, config_hash=config)
        knowledge = knowledge.after(seen, aim=0.009, promised=0.01, now=at.timestamp())
    return knowledge


def test_on_the_way_back_to_a_config_it_is_known_what_a_replica_carries() -> None:
    hour = timedelta(hours=1)
    first = learned_at(PoolKnowledge(), 100.0, config="one", start=NOON)
    second = learned_at(first, 50.0, config="two", start=NOON + hour)
    assert second.estimate is not None
    assert second.estimate.carries == pytest.approx(50, rel=0.15)
    told = second.capacity("cpu")
    assert told is not None
    assert [each.config_hash for each in told.earlier] == ["one"]

    for known in (second, PoolKnowledge.restored(told, aim=0.009)):
        at = NOON + 2 * hour
        load = signals(60, at=at, covered=1, window_seconds=30.0)
        back = known.after(pool(load, ready=1, config_hash="one"), aim=0.009, promised=0.01, now=at.timestamp())
        assert back.estimate is not None
        assert back.estimate.carries == pytest.approx(100, rel=0.15)
        assert not back.is_of_old_config
        assert [each.config_hash for each in back.earlier] == ["two"]


def test_a_new_config_begins_with_little_trust_in_what_the_last_one_carried() -> None:
    first = learned_at(PoolKnowledge(), 100.0, config="one", start=NOON)
    at = NOON + timedelta(hours=1)
    load = signals(60, at=at, covered=1, window_seconds=15.0)
    new = first.after(pool(load, ready=1, config_hash="two"), aim=0.009, promised=0.01, now=at.timestamp())
    assert new.is_of_old_config
    told = new.capacity("cpu")
    assert told is not None
    assert told.confidence < 0.1


def test_only_the_last_configs_are_remembered() -> None:
    knowledge = PoolKnowledge()
    for number in range(6):
        start = NOON + timedelta(hours=number)
        knowledge = learned_at(knowledge, 100.0, config=f"config-{number}", start=start)
    assert [each.config_hash for each in knowledge.earlier] == ["config-4", "config-3", "config-2"]
