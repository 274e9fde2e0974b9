"""The status of a ServedModel, computed from what was observed and from what came of the writes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tfserving_operator.api.conditions import ConditionStatus, ConditionType, Reason, headline
from tfserving_operator.api.model import Model
from tfserving_operator.api.servedmodel import ModelStatus, PoolStatus, ServedModelStatus
from tfserving_operator.reconcile.conditions import Verdict, set_conditions
from tfserving_operator.reconcile.faults import decide_degraded
from tfserving_operator.reconcile.model_statuses import ModelStatuses, available_versions, wanted_failures
from tfserving_operator.reconcile.observed import InvalidServedModel, Observed
from tfserving_operator.reconcile.plan import Plan, Refusal
from tfserving_operator.reconcile.pod_view import PodView
from tfserving_operator.reconcile.pool_state import pool_state
from tfserving_operator.reconcile.scaling_status import autoscaling_status, scaling_verdicts
from tfserving_operator.reconcile.verdicts import decide_progressing, decide_ready, decide_reconciling
from tfserving_operator.reconcile.wording import shorten, version_summary
from tfserving_operator.resources.names import model_selector
from tfserving_operator.resources.services import build_endpoints

_NEEDS_A_PERSON = frozenset({Reason.INVALID_SPEC, Reason.NAME_TOO_LONG, Reason.CHILD_CONFLICT, Reason.CHILD_REJECTED})


def compute_status(observed: Observed, plan: Plan, refusals: Sequence[Refusal]) -> ServedModelStatus:
    """Return the whole status. Equal inputs give an equal status, transition times included."""
    model = observed.model
    pools = [pool_state(observed, plan, name) for name in (*plan.replicas, *plan.retained)]
    desired, ready = sum(pool.desired for pool in pools), sum(pool.ready for pool in pools)
    models = _model_statuses(observed, observed.pods, desired)
    degraded = decide_degraded(observed, pools, refusals)
    progressing = decide_progressing(observed, plan, pools, refusals)
    needs_a_person = any(refusal.reason in _NEEDS_A_PERSON for refusal in refusals)
    stalled = Verdict(needs_a_person, degraded.reason, degraded.message)
    verdicts = {
        ConditionType.READY: decide_ready(observed, pools, models, degraded),
        ConditionType.PROGRESSING: progressing,
        ConditionType.DEGRADED: degraded,
        ConditionType.PAUSED: Verdict(
            model.spec.paused,
            Reason.PAUSED_BY_USER,
            "spec.paused is true: children are left as they are until it is removed",
        ),
        ConditionType.RECONCILING: decide_reconciling(progressing, stalled),
        ConditionType.STALLED: stalled,
        **scaling_verdicts(observed, plan),
    }
    conditions = set_conditions(model.status.conditions, verdicts, model.metadata.generation, observed.now)
    telling = headline(conditions)
    return ServedModelStatus(
        observed_generation=model.metadata.generation,
        reason=telling.reason if telling else None,
        message=telling.message if telling else None,
        conditions=conditions,
        replicas=sum(pool.total for pool in pools),
        ready_replicas=ready,
        desired_replicas=desired,
        ready_summary=f"{ready}/{desired}",
        pool_summary=shorten(", ".join(f"{pool.name} {pool.ready}/{pool.desired}" for pool in pools), 256),
        version_summary=version_summary(models),
        selector=",".join(f"{key}={value}" for key, value in model_selector(model.metadata.name).items()),
        endpoints=build_endpoints(model.metadata.name, model.metadata.namespace, model.spec.networking),
        pools=[
            PoolStatus(
                name=pool.name,
                desired=pool.desired,
                ready=pool.ready,
                updated=pool.updated,
                version_summary=version_summary(_model_statuses(observed, pool.pods, pool.desired)) or None,
                message=shorten(pool.problem.message) if pool.problem else None,
            )
            for pool in pools
        ],
        models=models,
        autoscaling=autoscaling_status(observed, plan),
    )


def compute_invalid_status(invalid: InvalidServedModel, *, now: datetime) -> ServedModelStatus:
    """Return the status of a ServedModel that cannot be read: its children stay, and so does what is known of them."""
    problem = Verdict(
        True,
        Reason.INVALID_SPEC,
        f"the spec cannot be carried out, children are left as they are: {shorten(invalid.problem)}",
    )
    ready = next((c for c in invalid.status.conditions if c.type == ConditionType.READY), None)
    is_ready = ready is not None and ready.status is ConditionStatus.TRUE
    verdicts = {
        ConditionType.READY: (
            Verdict(True, Reason.SERVING, "the replicas of the previous spec go on serving")
            if is_ready
            else Verdict(False, Reason.INVALID_SPEC, problem.message)
        ),
        ConditionType.PROGRESSING: Verdict(False, Reason.INVALID_SPEC, problem.message),
        ConditionType.DEGRADED: problem,
        ConditionType.STALLED: problem,
    }
    generation = invalid.metadata.generation
    return invalid.status.model_copy(
        update={
            "observed_generation": generation,
            "reason": problem.reason,
            "message": problem.message,
            "conditions": set_conditions(invalid.status.conditions, verdicts, generation, now),
        }
    )


def _model_statuses(observed: Observed, pods: Sequence[PodView], desired: int) -> list[ModelStatus]:
    """Return what ``pods``, of which ``desired`` are wanted, say of each model."""
    ready = [pod.uid for pod in pods if pod.is_ready]
    answers = [observed.model_statuses[uid] for uid in ready if uid in observed.model_statuses]
    return [_model_status(answers, model, desired) for model in observed.model.spec.models]


def _model_status(answers: Sequence[ModelStatuses], model: Model, desired: int) -> ModelStatus:
    available = [available_versions(statuses, model.name) for statuses in answers]
    wanted = set(model.versions.specific or ())
    newest = max((version for versions in available for version in versions), default=None)
    expected = wanted or ({newest} if newest is not None else set())
    failures = sorted({f"version {v.version}: {v.error_message}" for s in answers for v in wanted_failures(s, model)})
    return ModelStatus(
        name=model.name,
        versions=sorted(set().union(*available), reverse=True)[:64],
        desired=desired,
        replicas=sum(bool(expected) and expected <= versions for versions in available),
        message=shorten("; ".join(failures)) if failures else None,
    )
