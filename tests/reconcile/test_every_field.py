"""No field of the spec does nothing: each changes the plan for the children, or the decisions on replicas."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.api.spec_leaves import LEAVES, Spec, variants
from tests.autoscaling.scenes import NOON, signals
from tests.reconcile.observed_scenes import view
from tests.resources.cases import CASES, METADATA
from tfserving_operator.api.pool import Pool
from tfserving_operator.api.servedmodel import ServedModel, ServedModelSpec
from tfserving_operator.autoscaling.decide import decide_replicas
from tfserving_operator.autoscaling.decision import Decision
from tfserving_operator.autoscaling.observation import PoolObservation, ScalingObservation
from tfserving_operator.autoscaling.state import ScalingState
from tfserving_operator.reconcile.observed import Observed
from tfserving_operator.reconcile.plan import make_plan
from tfserving_operator.reconcile.scaling_verdicts import measured_at

READ_BY_DECISIONS = {
    path for path in LEAVES if path.startswith("spec.autoscaling.") and path != "spec.autoscaling.mode"
} | {"spec.pools[].cost", "spec.pools[].replicas.maxStarting"}
"""How replicas are decided on. All else is seen in the plan, which takes the decision as it is."""

TICK_SECONDS = 10
START_UP_TICKS = 3
CARRIES = {"gpu": 300.0, "cpu": 100.0}
"""What a replica of each pool carries, in requests a second."""
POOLS = [
    {"name": "gpu", "cost": 4, "replicas": {"max": 3}},
    {"name": "cpu", "cost": 1, "replicas": {"min": 1, "max": 20}},
]
SCALED: tuple[Spec, ...] = (
    {
        "policy": "Fixed",
        "schedules": [{"name": "noon", "start": "10 12 * * *", "durationSeconds": 600, "minReplicas": 9}],
    },
    {
        "policy": "HPA",
        "target": {"value": 80},
        "behavior": {
            way: {
                "stabilizationWindowSeconds": 60,
                "policies": [
                    {"type": "Pods", "value": 1, "periodSeconds": 60},
                    {"type": "Percent", "value": 50, "periodSeconds": 30},
                ],
            }
            for way in ("scaleUp", "scaleDown")
        },
    },
    {"policy": "Latency", "objective": {"latency": "50ms"}, "fill": "Cost"},
    {"policy": "KPA", "target": {"value": 80}},
)


def planned(spec: ServedModelSpec) -> Any:
    """The plan for the children where none is there yet and autoscaling wants seven replicas of each pool."""
    scaling = view(replicas={"default": 7, "cpu": 7, "gpu": 7})
    observed = Observed(ServedModel(metadata=METADATA, spec=spec), children={}, pods=(), now=NOON, scaling=scaling)
    return make_plan(observed, fetcher_image="fetcher:1")


def decided(spec: ServedModelSpec) -> Any:
    """Where the objective is measured, and half an hour of decisions: a rise, a surge, a rollout, a fall, silence."""
    assert spec.autoscaling is not None
    state, decisions, wanted = ScalingState.initial(), list[Decision](), [{pool.name: 2 for pool in spec.pools}]
    for tick in range(180):
        desired, ready = wanted[-1], wanted[max(0, len(wanted) - 1 - START_UP_TICKS)]
        ready = {name: min(ready.get(name, 0), desired.get(name, 0)) for name in desired}
        seen = tuple(look(pool, desired[pool.name], ready, tick) for pool in spec.pools)
        now = NOON + timedelta(seconds=tick * TICK_SECONDS)
        scene = ScalingObservation(spec=spec.autoscaling, replicas=spec.replicas, pools=seen)
        decision, state = decide_replicas(scene, state, now=now)
        decisions.append(decision)
        wanted.append({**desired, **decision.replicas})
    return measured_at(spec.autoscaling), decisions


def look(pool: Pool, desired: int, ready: dict[str, int], tick: int) -> PoolObservation:
    """What is seen of one pool: its share of the load, late where that is more than it carries."""
    carried = sum(count * CARRIES[name] for name, count in ready.items())
    rate = rate_at(tick) * ready[pool.name] * CARRIES[pool.name] / max(1.0, carried)
    return PoolObservation(
        pool=pool,
        signals=signals(
            rate,
            at=NOON + timedelta(seconds=tick * TICK_SECONDS),
            covered=ready[pool.name],
            share=min(0.999, carried / max(1.0, rate_at(tick))),
            concurrency=rate / 50,
        ),
        desired=desired,
        ready=ready[pool.name],
        starting=max(0, desired - ready[pool.name]),
        is_rolling_out=90 <= tick < 93,
        start_up_seconds=START_UP_TICKS * TICK_SECONDS,
    )


def rate_at(tick: int) -> float:
    if tick < 60:
        return 200.0 + 5 * tick
    if tick < 66:
        return 1600.0
    return 600.0 if tick < 92 else 150.0


def changes_something(path: str, specs: list[Spec], outcome: Callable[[ServedModelSpec], Any]) -> bool:
    for spec in specs:
        for place in variants(spec, path):
            first, *others = (outcome(ServedModelSpec.model_validate(variant)) for variant in place)
            if any(other != first for other in others):
                return True
    return False


@pytest.mark.parametrize("path", sorted(LEAVES.keys() - READ_BY_DECISIONS))
def test_a_field_changes_the_plan(path: str) -> None:
    assert changes_something(path, list(CASES.values()), planned)


@pytest.mark.parametrize("path", sorted(READ_BY_DECISIONS))
def test_a_field_of_autoscaling_changes_decisions(path: str) -> None:
    specs = [{**CASES["minimal"], "pools": POOLS, "autoscaling": {"mode": "Auto", **settings}} for settings in SCALED]
    assert changes_something(path, specs, decided)


@pytest.mark.parametrize("path", sorted(READ_BY_DECISIONS))
def test_what_decisions_are_for_is_not_in_the_plan(path: str) -> None:
    assert not changes_something(path, list(CASES.values()), planned)
