"""One pool, as its Deployment and its pods say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tfserving_operator.api.conditions import Reason
from tfserving_operator.api.refs import ObjectRef
from tfserving_operator.reconcile.observed import Observed, RawObject
from tfserving_operator.reconcile.plan import Plan
from tfserving_operator.reconcile.pod_problem import PodProblem
from tfserving_operator.reconcile.pod_view import PodPhase, PodView
from tfserving_operator.resources.names import deployment_name


@dataclass(frozen=True)
class PoolState:
    """One pool, as its Deployment and its pods say."""

    name: str
    desired: int
    ready: int
    updated: int
    total: int
    """Pods that neither drain nor have ended."""
    exists: bool
    is_rolled_out: bool
    pods: tuple[PodView, ...]
    problem: PodProblem | None


def pool_state(observed: Observed, plan: Plan, name: str) -> PoolState:
    """Return the state of the pool called ``name``; one without a Deployment has nothing and is not rolled out."""
    metadata = observed.model.metadata
    ref = ObjectRef("apps/v1", "Deployment", metadata.namespace, deployment_name(metadata.name, name))
    deployment: RawObject = observed.children.get(ref, {})
    status: RawObject = deployment.get("status", {})
    desired = plan.replicas.get(name, 0)
    pods = tuple(pod for pod in observed.pods if pod.pool == name)
    ready = sum(pod.is_ready for pod in pods)
    updated, total = status.get("updatedReplicas", 0), status.get("replicas", 0)
    is_current = status.get("observedGeneration", 0) >= deployment.get("metadata", {}).get("generation", 1)
    return PoolState(
        name=name,
        desired=desired,
        ready=ready,
        updated=updated,
        total=sum(pod.is_live for pod in pods),
        exists=bool(deployment),
        is_rolled_out=bool(deployment) and is_current and updated == desired == total and ready >= desired,
        pods=pods,
        problem=_pool_problem(pods, status, is_short=ready < desired),
    )


def _pool_problem(pods: Sequence[PodView], deployment_status: RawObject, *, is_short: bool) -> PodProblem | None:
    """The pool's first problem; that of a pod which ended only where replicas are missing and no other says why."""
    conditions = {condition["type"]: condition for condition in deployment_status.get("conditions", [])}
    failure = conditions.get("ReplicaFailure")
    if failure is not None and failure["status"] == "True":
        return PodProblem(
            _refusal_reason(failure["message"]), f"a pod was refused: {' '.join(failure['message'].split())}"
        )
    live = _first_problem(pod for pod in pods if pod.phase is not PodPhase.FINISHED)
    problem = live or (_first_problem(pods) if is_short else None)
    if problem is not None:
        return problem
    # The Deployment controller's verdict after progressDeadlineSeconds: the last resort, as it knows no cause.
    if conditions.get("Progressing", {}).get("reason") == "ProgressDeadlineExceeded":
        return PodProblem(
            Reason.REPLICAS_UNAVAILABLE, "replicas do not become ready and the pods do not say why: read their events"
        )
    return None


def _first_problem(pods: Iterable[PodView]) -> PodProblem | None:
    """In an order that does not depend on which pod was asked first."""
    problems = {pod.problem for pod in pods if pod.problem}
    return min(problems, key=lambda problem: (problem.reason, problem.message), default=None)


def _refusal_reason(message: str) -> Reason:
    if "exceeded quota" in message:
        return Reason.QUOTA_EXCEEDED
    return Reason.MISSING_REFERENCE if "error looking up service account" in message else Reason.POD_REJECTED
