"""Policy HPA: the formula of Kubernetes' HorizontalPodAutoscaler v2 on one metric.

Source: Kubernetes, pkg/controller/podautoscaler/replica_calculator.go (``calcPlainMetricReplicas``): wanted =
ceil(replicas x average / target), not within the tolerance of 10%; on the way down a replica without a sample counts as
just at the target, on the way up it and every replica that is not ready count as idle; what turns the direction is not
done. The controller looks every 15 seconds (``--horizontal-pod-autoscaler-sync-period``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tfserving_operator.api.autoscaling import RateLimit, RateLimitType, TargetMetric
from tfserving_operator.autoscaling.decision import ScalingRule
from tfserving_operator.autoscaling.policy import Situation, Want

SYNC_SECONDS = 15.0
TOLERANCE = 0.1
DOWN_STABILIZATION_SECONDS = 300
UP_LIMITS = (
    RateLimit(type=RateLimitType.PODS, value=4, period_seconds=15),
    RateLimit(type=RateLimitType.PERCENT, value=100, period_seconds=15),
)
DOWN_LIMITS = (RateLimit(type=RateLimitType.PERCENT, value=100, period_seconds=15),)
"""``behavior`` where the user gives none, as autoscaling/v2 documents it."""


@dataclass(frozen=True, slots=True)
class HpaState:
    """The answer of the last look."""

    looked_at: float = -math.inf
    want: Want | None = None


class HpaPolicy:
    """ceil(replicas x average / target)."""

    def initial(self) -> HpaState:
        """Return the state before the first look."""
        return HpaState()

    def decide(self, situation: Situation, state: HpaState) -> tuple[Want, HpaState]:
        """Look every 15 seconds; between two looks the answer stays."""
        if state.want is not None and situation.now - state.looked_at < SYNC_SECONDS:
            return state.want, state
        want = _look(situation)
        if situation.is_upward_only:
            # Good for now, and for adding replicas only: at a later look, on good numbers, it would be believed.
            return want, state
        return want, HpaState(looked_at=situation.now, want=want)


def _look(situation: Situation) -> Want:
    target = situation.spec.target
    if target is None:
        return Want(replicas=situation.current, rule=ScalingRule.HPA, message="policy HPA has no target and")
    unit = "requests/s" if target.metric is TargetMetric.REQUESTS_PER_SECOND else "requests in flight"
    covered = max(1, situation.load.covered)
    measured = situation.history.newest
    wanted, is_in_tolerance = hpa_replicas(
        measured,
        target.value,
        covered=covered,
        missing=max(0, situation.load.ready - covered),
        unready=situation.pending,
        current=situation.current + situation.fixed.ready,
        tolerances=_tolerances(situation),
    )
    return Want(
        replicas=wanted - situation.fixed.ready,
        rule=ScalingRule.IN_TOLERANCE if is_in_tolerance else ScalingRule.HPA,
        message=f"{measured / covered:.4g} {unit} a replica on {covered} replicas against a target of {target.value:g}",
    )


def _tolerances(situation: Situation) -> tuple[float, float]:
    down = situation.spec.behavior.scale_down.tolerance_percent
    up = situation.spec.behavior.scale_up.tolerance_percent
    return (TOLERANCE if down is None else down / 100, TOLERANCE if up is None else up / 100)


def hpa_replicas(
    measured: float,
    target: float,
    *,
    covered: int,
    missing: int,
    unready: int,
    current: int,
    tolerances: tuple[float, float] = (TOLERANCE, TOLERANCE),
) -> tuple[int, bool]:
    """Return the wanted replicas, and whether they stay because the change is within the tolerance (down, up).

    ``measured`` is the sum over the ``covered`` replicas, at least one; ``missing`` are ready without a sample,
    ``unready`` not ready yet.
    """
    first = measured / covered / target
    counts_unready = unready > 0 and first > 1
    if not counts_unready and not missing:
        if _is_within(first, tolerances):
            return current, True
        return math.ceil(first * covered - 1e-9), False
    replicas = covered + missing + (unready if counts_unready else 0)
    ratio = (measured + (missing * target if first < 1 else 0.0)) / replicas / target
    if _is_within(ratio, tolerances) or (first < 1) != (ratio < 1):
        return current, True
    wanted = math.ceil(ratio * replicas - 1e-9)
    turns = (ratio < 1 and wanted > current) or (ratio > 1 and wanted < current)
    return (current, True) if turns else (wanted, False)


def _is_within(ratio: float, tolerances: tuple[float, float]) -> bool:
    down, up = tolerances
    return 1 - down <= ratio <= 1 + up
