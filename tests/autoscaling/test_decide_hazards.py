"""Decisions after gaps of telemetry, steps of the clock, idle pools and nodes that do not come."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.autoscaling.scenes import NOON, knowing, observation, pool, signals, spec, steady
from tfserving_operator.api.autoscaling import (
    AutoscalingStatus,
    Behavior,
    Objective,
    PoolCapacity,
    ScalingPolicy,
    ScalingRules,
    Schedule,
    SelectPolicy,
    Target,
    TargetMetric,
)
from tfserving_operator.api.pool import PoolReplicas
from tfserving_operator.autoscaling.decide import decide_replicas
from tfserving_operator.autoscaling.decision import Decision, ScalingRule
from tfserving_operator.autoscaling.signals import PoolSignals, SignalState
from tfserving_operator.autoscaling.state import ScalingState

AT_ONCE = Behavior(scale_down=ScalingRules(stabilization_window_seconds=0))
FOUR = PoolReplicas(min=0, max=4)
NOTHING = PoolSignals(state=SignalState.NO_REPLICAS)


def later(seconds: float, than: datetime = NOON) -> datetime:
    return than + timedelta(seconds=seconds)


# Gaps of telemetry


@pytest.mark.parametrize("odd", [0, 1])
def test_what_hpa_saw_of_a_part_is_not_believed_at_the_next_good_tick(odd: int) -> None:
    hpa = spec(ScalingPolicy.HPA, behavior=AT_ONCE)
    _, state, now = steady(500, ready=5, spec=hpa, every=2, seconds=120)
    for tick in range(30):
        now = later(2, now)
        is_partial = tick % 2 == odd
        part = signals(0, at=now, covered=5, state=SignalState.PARTIAL_ANSWER, message="LATENCY timed out")
        seen = part if is_partial else signals(500, at=now, covered=5)
        decision, state = decide_replicas(observation(pool(seen, ready=5), spec=hpa), state, now=now)
        assert decision.replicas == {"cpu": 5}, tick


@pytest.mark.parametrize(("policy", "in_flight"), [(ScalingPolicy.KPA, 69.0), (ScalingPolicy.HPA, 97.0)])
def test_requests_in_flight_that_are_not_known_are_not_none(policy: ScalingPolicy, in_flight: float) -> None:
    by_concurrency = spec(policy, target=Target(metric=TargetMetric.CONCURRENCY, value=10), behavior=AT_ONCE)
    state, now = ScalingState.initial(), NOON
    for tick in range(90):
        now = later(2, now)
        # From the 120th second a pool has its first requests, of which it is not known how long they take.
        is_new = tick > 60
        pools = [pool(signals(700, at=now, covered=10, concurrency=in_flight), ready=10, name="gpu")]
        pools += [pool(signals(5, at=now, covered=1, concurrency=None), ready=1)] if is_new else []
        decision, state = decide_replicas(observation(*pools, spec=by_concurrency), state, now=now)
    assert decision.replicas["gpu"] == 10


@pytest.mark.parametrize("policy", [ScalingPolicy.LATENCY, ScalingPolicy.HPA, ScalingPolicy.KPA])
def test_after_an_outage_low_load_has_to_last(policy: ScalingPolicy) -> None:
    eager = spec(policy, behavior=AT_ONCE)
    _, state, now = steady(700, ready=10, spec=eager, every=2, seconds=300, state=knowing(100))
    for _ in range(60):
        now = later(2, now)
        lost = signals(0, at=now, covered=0, state=SignalState.PROMETHEUS_SLOW)
        _, state = decide_replicas(observation(pool(lost, ready=10), spec=eager), state, now=now)
    back = now
    while now < later(58, back):
        now = later(2, now)
        low = signals(70, at=now, covered=10)
        decision, state = decide_replicas(observation(pool(low, ready=10), spec=eager), state, now=now)
        assert decision.replicas == {"cpu": 10}, f"{now - back} after it was back"


def test_two_samples_a_minute_apart_are_no_minute_of_samples() -> None:
    eager = spec(behavior=AT_ONCE)
    state = knowing(100)
    for seconds, load in ((0, 70.0), (62, 70.0)):
        low = signals(load, at=later(seconds), covered=10)
        decision, state = decide_replicas(observation(pool(low, ready=10), spec=eager), state, now=later(seconds))
    assert (decision.replicas, decision.rule) == ({"cpu": 10}, ScalingRule.STARTING_UP)


# The clock


@pytest.mark.parametrize("policy", [ScalingPolicy.LATENCY, ScalingPolicy.HPA, ScalingPolicy.KPA])
def test_a_clock_that_is_set_back_does_not_delay_help(policy: ScalingPolicy) -> None:
    # The clock was ten minutes ahead.
    _, state, _ = steady(300, ready=4, spec=spec(policy), start=later(600), seconds=300, state=knowing(100))
    now = later(310)
    for _ in range(5):
        now = later(2, now)
        surge = signals(900, at=now, covered=4, share=0.5)
        decision, state = decide_replicas(observation(pool(surge, ready=4), spec=spec(policy)), state, now=now)
    assert decision.replicas["cpu"] >= 8


def test_a_clock_that_is_set_back_takes_nothing_away() -> None:
    eager = spec(behavior=AT_ONCE)
    _, state, _ = steady(700, ready=8, spec=eager, start=later(600), seconds=300, state=knowing(100))
    for seconds in (310, 312, 350):
        low = signals(50, at=later(seconds), covered=8)
        decision, state = decide_replicas(observation(pool(low, ready=8), spec=eager), state, now=later(seconds))
        assert decision.replicas == {"cpu": 8}


# Pools that run nothing


def on_two_pools(gpu: float, rate: float, *, idle: PoolCapacity, seconds: float, share: float = 1.0) -> Decision:
    """The last decision on eight GPU replicas that carry ``gpu`` each, before a CPU pool that runs nothing."""
    known = PoolCapacity(name="gpu", requests_per_second=gpu, confidence=0.9)
    state, now = ScalingState.restored(AutoscalingStatus(capacities=[known, idle]), now=NOON), NOON
    for _ in range(int(seconds / 10)):
        now = later(10, now)
        busy = pool(signals(rate, at=now, covered=8, share=share), ready=8, name="gpu", config_hash="new")
        idle_pool = pool(NOTHING, ready=0, replicas=PoolReplicas(min=0), config_hash="new")
        decision, state = decide_replicas(observation(busy, idle_pool, spec=spec()), state, now=now)
    return decision


@pytest.mark.parametrize(
    "idle",
    [
        pytest.param(PoolCapacity(name="cpu", requests_per_second=10, confidence=0.9), id="weak"),
        pytest.param(
            PoolCapacity(name="cpu", requests_per_second=100, confidence=0.9, config_hash="old"), id="of another config"
        ),
    ],
)
def test_what_is_known_of_an_idle_pool_keeps_no_replica_of_another(idle: PoolCapacity) -> None:
    assert on_two_pools(100, 300, idle=idle, seconds=1200).replicas == {"gpu": 3, "cpu": 0}


# Schedules hold against everything


@pytest.mark.parametrize(
    "up",
    [
        pytest.param(ScalingRules(tolerance_percent=20), id="tolerance"),
        pytest.param(ScalingRules(select_policy=SelectPolicy.DISABLED), id="disabled"),
        pytest.param(ScalingRules(stabilization_window_seconds=3600), id="stabilization"),
    ],
)
def test_a_schedule_holds_whatever_behavior_says(up: ScalingRules) -> None:
    always = Schedule(name="always", start="* * * * *", duration_seconds=3600, min_replicas=12)
    fixed = spec(ScalingPolicy.FIXED, behavior=Behavior(scale_up=up), schedules=[always])
    seen = pool(signals(100, at=NOON, covered=10), ready=10)
    decision, _ = decide_replicas(observation(seen, spec=fixed, replicas=10), ScalingState.initial(), now=NOON)
    assert decision.replicas == {"cpu": 12}
    assert decision.rule is ScalingRule.SCHEDULE


# Nodes that do not come


def waiting_for_nodes(seconds: float, *, max_replicas: int | None = None, **fields: Any) -> Decision:
    """The last decision where four of seven replicas are ready and would do, and the others wait for nodes."""
    state, now = knowing(100), NOON
    while now < later(seconds):
        now = later(5, now)
        seen = pool(signals(380, at=now, covered=4), ready=4, desired=7, waiting=3, **fields)
        limits = spec(max_replicas=max_replicas)
        decision, state = decide_replicas(observation(seen, spec=limits), state, now=now)
    return decision


def test_replicas_that_wait_for_a_node_are_kept_for_a_while_and_it_is_said() -> None:
    decision = waiting_for_nodes(600)
    assert (decision.replicas, decision.rule) == ({"cpu": 7}, ScalingRule.WAITING_FOR_NODE)
    assert "3 that wait for a node are not given up yet" in decision.message


def test_no_replica_is_kept_beyond_the_most_because_it_waits_for_a_node() -> None:
    decision = waiting_for_nodes(60, max_replicas=6)
    assert (decision.replicas, decision.limit) == ({"cpu": 6}, ScalingRule.MAX_REPLICAS)
    assert "maxReplicas is 6" in decision.message


def test_replicas_that_wait_in_vain_and_are_not_needed_are_given_up() -> None:
    assert waiting_for_nodes(1200).replicas == {"cpu": 4}


def test_what_keeps_a_pool_is_not_said_to_be_a_node_where_nobody_waits() -> None:
    gpu = pool(NOTHING, ready=0, name="gpu", replicas=PoolReplicas(max=4))
    cpu = pool(signals(350, at=NOON, covered=4), ready=4)
    decision, _ = decide_replicas(observation(gpu, cpu, spec=spec()), knowing(100), now=NOON)
    assert decision.replicas == {"gpu": 1, "cpu": 4}
    assert decision.rule is ScalingRule.MIN_REPLICAS


# Another objective


def test_what_was_learned_against_another_latency_is_not_trusted() -> None:
    state, now = ScalingState.initial(), NOON

    def decided(latency: str, rate: float, share: float) -> Decision:
        nonlocal state, now
        now = later(5, now)
        seen = pool(signals(rate, at=now, covered=10, share=share), ready=10, config_hash="one")
        decision, state = decide_replicas(
            observation(seen, spec=spec(objective=Objective(latency=latency))), state, now=now
        )
        return decision

    for rate in (300, 600, 800, 1000, 600, 300):
        for _ in range(60):
            decided("219ms", rate, 1.0)
    assert decided("219ms", 300, 1.0).replicas == {"cpu": 3}
    first = decided("21ms", 300, 0.999)
    assert (first.replicas, first.rule) == ({"cpu": 10}, ScalingRule.COOLDOWN)
    assert all(sum(decided("21ms", 300, 0.999).replicas.values()) >= 6 for _ in range(60))


@pytest.mark.parametrize("percent", [50.0, 90.0, 99.0, 99.9])
def test_what_a_replica_carries_is_restored_for_the_share_that_is_promised(percent: float) -> None:
    known = PoolCapacity(name="cpu", requests_per_second=100, confidence=0.95)
    restored = ScalingState.restored(AutoscalingStatus(capacities=[known]), now=NOON, promised=1 - percent / 100)
    estimate = restored.knowledge["cpu"].estimate
    assert estimate is not None
    assert estimate.carries == pytest.approx(100, rel=0.05)
