"""What status says of autoscaling: the conditions, what was decided and why, and what was learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tfserving_operator.api.autoscaling import (
    AutoscalingMode,
    AutoscalingStatus,
    RecommendedReplicas,
    ScalingDecision,
)
from tfserving_operator.api.conditions import ConditionType, Reason
from tfserving_operator.reconcile.conditions import Verdict
from tfserving_operator.reconcile.observed import Observed
from tfserving_operator.reconcile.plan import Plan
from tfserving_operator.reconcile.scaling_board import ScalingView
from tfserving_operator.reconcile.scaling_verdicts import NOT_LOOKED_YET, measured_at, stands_in_status
from tfserving_operator.reconcile.wanted_replicas import scaling_mode

MAX_DECISIONS: Final = 20


def scaling_verdicts(observed: Observed, plan: Plan) -> Mapping[ConditionType, Verdict]:
    """Return the conditions of autoscaling; none where it is off and left nothing behind."""
    model = observed.model
    if scaling_mode(model.spec) is AutoscalingMode.OFF:
        return {} if plan.applied is None else {ConditionType.SCALING_ACTIVE: _kept(plan, model.spec.replicas)}
    view = _view(observed)
    if view is not None:
        shown = {ConditionType.SCALING_ACTIVE: view.active, ConditionType.SCALING_LIMITED: view.limited}
    else:
        # The operator has just started: what it said before holds until it has looked.
        kinds = (ConditionType.SCALING_ACTIVE, ConditionType.SCALING_LIMITED)
        shown = {kind: stands_in_status(model.status.conditions, kind) for kind in kinds}
        shown[ConditionType.SCALING_ACTIVE] = shown[ConditionType.SCALING_ACTIVE] or NOT_LOOKED_YET
    return {kind: verdict for kind, verdict in shown.items() if verdict is not None}


def autoscaling_status(observed: Observed, plan: Plan) -> AutoscalingStatus | None:
    """Return ``status.autoscaling``; None where autoscaling is off and left nothing behind."""
    spec = observed.model.spec
    if spec.autoscaling is None or scaling_mode(spec) is AutoscalingMode.OFF:
        return None if plan.applied is None else AutoscalingStatus(applied=plan.applied)
    before = observed.model.status.autoscaling or AutoscalingStatus()
    view = _view(observed)
    edges = measured_at(spec.autoscaling)
    pools = {pool.name for pool in spec.pools}
    recommended = before.recommended if view is None or view.replicas is None else _listed(view.replicas)
    capacities = before.capacities if view is None or not view.capacities else list(view.capacities)
    decisions = before.decisions if view is None else _with_older(view.decisions, before.decisions)
    has_scaled = view is not None and view.mode is AutoscalingMode.AUTO and view.decisions
    return AutoscalingStatus(
        measured_latency=None if edges is None else str(edges),
        recommended=[pool for pool in recommended if pool.name in pools],
        applied=plan.applied,
        last_scale_time=view.decisions[0].time if view is not None and has_scaled else before.last_scale_time,
        capacities=[pool for pool in capacities if pool.name in pools],
        decisions=decisions,
    )


def new_decisions(old: AutoscalingStatus | None, new: AutoscalingStatus | None) -> Sequence[ScalingDecision]:
    """Return the decisions that ``new`` tells of and ``old`` did not, the oldest first."""
    told = old.decisions if old is not None else []
    return [decision for decision in reversed(new.decisions if new is not None else []) if decision not in told]


def _view(observed: Observed) -> ScalingView | None:
    """What the scaling loop says of this very ServedModel in its present mode."""
    view, model = observed.scaling, observed.model
    is_current = view is not None and view.uid == model.metadata.uid and view.mode is scaling_mode(model.spec)
    return view if is_current else None


def _kept(plan: Plan, spec_replicas: int) -> Verdict:
    kept = ", ".join(f"{pool.name} {pool.replicas}" for pool in plan.applied.pools) if plan.applied else ""
    message = (
        f"mode Auto ended and its replicas were kept ({kept}): set spec.replicas, which is {spec_replicas}, to "
        "another number to take over"
    )
    return Verdict(False, Reason.REPLICAS_KEPT, message)


def _listed(replicas: Mapping[str, int]) -> list[RecommendedReplicas]:
    return [RecommendedReplicas(name=name, replicas=count) for name, count in replicas.items()]


def _with_older(newest: Sequence[ScalingDecision], told: Sequence[ScalingDecision]) -> list[ScalingDecision]:
    """Those of this process, and before them what an earlier one told of."""
    return [*newest, *(decision for decision in told if decision not in newest)][:MAX_DECISIONS]
