"""Observations to decide on, in few words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tfserving_operator.api.autoscaling import (
    Autoscaling,
    AutoscalingMode,
    AutoscalingStatus,
    Objective,
    PoolCapacity,
    ScalingPolicy,
    Target,
)
from tfserving_operator.api.pool import Pool, PoolReplicas
from tfserving_operator.autoscaling.decide import decide_replicas
from tfserving_operator.autoscaling.decision import Decision
from tfserving_operator.autoscaling.observation import PoolObservation, ScalingObservation
from tfserving_operator.autoscaling.signals import PoolSignals, SignalState
from tfserving_operator.autoscaling.state import ScalingState

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
TEN = PoolReplicas(min=1, max=10)


def spec(policy: ScalingPolicy = ScalingPolicy.LATENCY, **fields: Any) -> Autoscaling:
    fields.setdefault("mode", AutoscalingMode.AUTO)
    if policy is ScalingPolicy.LATENCY:
        fields.setdefault("objective", Objective(latency="50ms"))
    if policy in (ScalingPolicy.HPA, ScalingPolicy.KPA):
        fields.setdefault("target", Target(value=100))
    return Autoscaling(policy=policy, **fields)


def bounds(**fields: Any) -> PoolReplicas:
    return PoolReplicas(**fields)


def knowing(rate: float = 100, confidence: float = 0.9, **fields: Any) -> ScalingState:
    """A state that knows what a replica carries."""
    known = PoolCapacity(name="cpu", requests_per_second=rate, confidence=confidence, **fields)
    return ScalingState.restored(AutoscalingStatus(capacities=[known]), now=NOON)


def signals(rate: float, *, at: datetime, covered: int, share: float = 1.0, **fields: Any) -> PoolSignals:
    fields.setdefault("state", SignalState.MEASURED if rate > 0 else SignalState.NO_TRAFFIC)
    fields.setdefault("window_seconds", 10.0)
    fields.setdefault("good_per_second", rate * share)
    return PoolSignals(at=at, replicas_covered=covered, requests_per_second=rate, **fields)


def pool(
    load: PoolSignals, *, ready: int, name: str = "cpu", replicas: PoolReplicas | None = None, **fields: Any
) -> PoolObservation:
    fields.setdefault("desired", ready)
    cost = fields.pop("cost", None)
    return PoolObservation(
        pool=Pool(name=name, replicas=replicas or PoolReplicas(), cost=cost), signals=load, ready=ready, **fields
    )


def observation(*pools: PoolObservation, spec: Autoscaling, replicas: int = 1) -> ScalingObservation:
    return ScalingObservation(spec=spec, replicas=replicas, pools=pools)


def steady(
    rate: float,
    *,
    ready: int,
    spec: Autoscaling,
    seconds: float = 400,
    start: datetime = NOON,
    state: ScalingState | None = None,
    share: float = 1.0,
    every: float = 10,
    **fields: Any,
) -> tuple[Decision, ScalingState, datetime]:
    """Decide again and again on the same load, with replicas that never follow; return the last decision."""
    state = state or ScalingState.initial()
    now = start
    while True:
        load = signals(rate, at=now, covered=ready, share=share)
        decision, state = decide_replicas(observation(pool(load, ready=ready, **fields), spec=spec), state, now=now)
        if now - start >= timedelta(seconds=seconds):
            return decision, state, now
        now += timedelta(seconds=every)


def totals(decisions: Sequence[Decision]) -> list[int]:
    return [sum(decision.replicas.values()) for decision in decisions]
