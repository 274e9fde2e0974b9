"""Decisions over several pools: which one grows, and what waits for nodes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.autoscaling.scenes import NOON, TEN, bounds, knowing, observation, pool, signals, spec
from tfserving_operator.api.autoscaling import AutoscalingStatus, FillOrder, PoolCapacity
from tfserving_operator.autoscaling.decide import decide_replicas
from tfserving_operator.autoscaling.decision import ScalingRule
from tfserving_operator.autoscaling.signals import PoolSignals, SignalState
from tfserving_operator.autoscaling.state import ScalingState


def gpu_and_cpu(
    rate: float, *, now: Any = NOON, gpu: Any = None, cpu: Any = None, share: float = 1.0, **fields: Any
) -> Any:
    gpu = {"ready": 2, "replicas": bounds(min=1, max=4), **(gpu or {})}
    cpu = {"ready": 0, "replicas": bounds(max=20), **(cpu or {})}
    total = gpu["ready"] + cpu["ready"]
    parts = {
        name: pool(
            signals(rate * each["ready"] / total, at=now, covered=each["ready"], share=share)
            if each["ready"]
            else PoolSignals(state=SignalState.NO_REPLICAS),
            name=name,
            **each,
        )
        for name, each in {"gpu": gpu, "cpu": cpu}.items()
    }
    return observation(*parts.values(), spec=spec(**fields))


def knowing_both(gpu: float, cpu: float) -> ScalingState:
    capacities = [
        PoolCapacity(name="gpu", requests_per_second=gpu, confidence=0.9),
        PoolCapacity(name="cpu", requests_per_second=cpu, confidence=0.9),
    ]
    return ScalingState.restored(AutoscalingStatus(capacities=capacities), now=NOON)


def test_the_overflow_goes_to_the_next_pool() -> None:
    decision, _ = decide_replicas(gpu_and_cpu(600), knowing_both(100, 90), now=NOON)
    assert decision.replicas["gpu"] == 4
    assert decision.replicas["cpu"] >= 3


def test_overflow_that_would_make_things_worse_is_not_added() -> None:
    decision, _ = decide_replicas(gpu_and_cpu(600), knowing_both(100, 5), now=NOON)
    assert decision.replicas == {"gpu": 4, "cpu": 0}


def test_as_many_start_as_may_at_once() -> None:
    scarce = {"replicas": bounds(min=1, max=4, max_starting=1), "desired": 3, "starting": 1}
    decision, _ = decide_replicas(gpu_and_cpu(400, gpu=scarce), knowing_both(100, 90), now=NOON)
    assert decision.replicas["gpu"] == 3
    assert decision.replicas["cpu"] >= 1


def test_a_replica_that_waits_for_a_node_is_not_taken_back_and_the_next_pool_helps() -> None:
    state, now = knowing_both(100, 90), NOON
    waiting = {"desired": 4, "waiting": 2}
    for _ in range(60):
        now += timedelta(seconds=5)
        decision, state = decide_replicas(gpu_and_cpu(380, now=now, gpu=waiting, share=0.5), state, now=now)
    assert decision.replicas["gpu"] == 4
    assert decision.replicas["cpu"] >= 2
    for _ in range(80):
        now += timedelta(seconds=5)
        decision, state = decide_replicas(gpu_and_cpu(60, now=now, gpu=waiting), state, now=now)
    assert decision.replicas == {"gpu": 4, "cpu": 0}
    assert decision.rule is ScalingRule.WAITING_FOR_NODE
    assert decision.enough == 1, "the CPU replicas need not serve until a node comes for what waits"
    for _ in range(120):
        now += timedelta(seconds=5)
        decision, state = decide_replicas(gpu_and_cpu(60, now=now, gpu=waiting), state, now=now)
    assert decision.replicas["gpu"] < 4


def test_all_replicas_are_needed_where_none_waits_for_a_node() -> None:
    decision, _ = decide_replicas(gpu_and_cpu(380), knowing_both(100, 90), now=NOON)
    assert decision.enough is None


def test_the_cheaper_pool_grows_first_where_cost_counts() -> None:
    prices: dict[str, Any] = {"gpu": {"cost": 10.0, "replicas": bounds(max=4)}, "cpu": {"cost": 1.0}}
    decision, _ = decide_replicas(gpu_and_cpu(350, fill=FillOrder.COST, **prices), knowing_both(100, 90), now=NOON)
    assert decision.replicas["cpu"] >= 2


def test_pools_that_fix_their_replicas_carry_their_share_and_are_not_decided_on() -> None:
    fixed = pool(signals(250, at=NOON, covered=5), ready=5, name="own", replicas=bounds(fixed=5))
    mine = pool(signals(50, at=NOON, covered=1), ready=1, replicas=TEN)
    decision, _ = decide_replicas(observation(fixed, mine, spec=spec()), knowing(100), now=NOON)
    assert set(decision.replicas) == {"cpu"}
    assert decision.replicas["cpu"] == 1


def test_the_first_pool_keeps_a_replica_where_none_has_a_minimum() -> None:
    idle = gpu_and_cpu(0, gpu={"replicas": bounds(max=4)})
    state, now = knowing_both(100, 90), NOON
    for _ in range(100):
        now += timedelta(seconds=5)
        seen = gpu_and_cpu(0, now=now, gpu={"replicas": bounds(max=4)})
        decision, state = decide_replicas(seen, state, now=now)
    assert idle.pools[0].desired == 2
    assert decision.replicas == {"gpu": 1, "cpu": 0}
