"""The status of a ServedModel, computed from what was observed and from what came of the writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tfserving_operator.api.conditions import ConditionStatus, ConditionType, Reason, headline
from tfserving_operator.api.refs import ObjectRef
from tfserving_operator.api.servedmodel import ModelStatus, PoolStatus, ServedModelStatus
from tfserving_operator.reconcile.conditions import Verdict, set_conditions
from tfserving_operator.reconcile.model_statuses import available_versions, failed_versions, is_known
from tfserving_operator.reconcile.observed import InvalidServedModel, Observed, RawObject
from tfserving_operator.reconcile.plan import Plan, Refusal
from tfserving_operator.reconcile.pod_view import PodPhase, PodProblem, PodView
from tfserving_operator.resources.names import deployment_name, model_selector
from tfserving_operator.resources.services import build_endpoints

_MAX_MESSAGE_LENGTH = 1000
_SILENCE_GRACE = timedelta(seconds=30)
_SILENCE_MESSAGE = (
    "a ready replica does not tell the operator which versions it serves: allow traffic from the operator to port "
    "8500 of the pods, or look whether the server is overloaded"
)
_RELOAD_GRACE = timedelta(seconds=10)
"""The server looks for new versions once a second; a version that it does not list after this is not there."""
_NEEDS_A_PERSON = frozenset({Reason.INVALID_SPEC, Reason.NAME_TOO_LONG, Reason.CHILD_CONFLICT, Reason.CHILD_REJECTED})


@dataclass(frozen=True)
class PoolState:
    """One pool, as its Deployment and its pods say."""

    name: str
    desired: int
    ready: int
    updated: int
    total: int
    """Pods that are not draining."""
    exists: bool
    is_rolled_out: bool
    pods: tuple[PodView, ...]
    problem: PodProblem | None


def compute_status(observed: Observed, plan: Plan, refusals: Sequence[Refusal]) -> ServedModelStatus:
    """Return the whole status. Equal inputs give an equal status, transition times included."""
    model = observed.model
    pools = [_pool_state(observed, plan, name) for name in (*plan.replicas, *plan.retained)]
    models = [_model_status(observed, name) for name in (m.name for m in model.spec.models)]
    desired, ready = sum(pool.desired for pool in pools), sum(pool.ready for pool in pools)
    degraded = _degraded(observed, pools, refusals)
    progressing = _progressing(observed, plan, pools, degraded)
    verdicts = {
        ConditionType.READY: _ready(observed, pools, models, degraded),
        ConditionType.PROGRESSING: progressing,
        ConditionType.DEGRADED: degraded,
        ConditionType.PAUSED: Verdict(
            model.spec.paused,
            Reason.PAUSED_BY_USER,
            "spec.paused is true: children are left as they are until it is removed",
        ),
        ConditionType.RECONCILING: Verdict(
            progressing.is_true and not model.spec.paused, progressing.reason, progressing.message
        ),
        ConditionType.STALLED: Verdict(
            any(refusal.reason in _NEEDS_A_PERSON for refusal in refusals), degraded.reason, degraded.message
        ),
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
        pool_summary=", ".join(f"{pool.name} {pool.ready}/{pool.desired}" for pool in pools),
        version_summary=_version_summary(models),
        selector=",".join(f"{key}={value}" for key, value in model_selector(model.metadata.name).items()),
        endpoints=build_endpoints(model.metadata.name, model.metadata.namespace, model.spec.networking),
        pools=[
            PoolStatus(
                name=pool.name,
                desired=pool.desired,
                ready=pool.ready,
                updated=pool.updated,
                message=_shorten(pool.problem.message) if pool.problem else None,
            )
            for pool in pools
        ],
        models=models,
    )


def compute_invalid_status(invalid: InvalidServedModel, *, now: datetime) -> ServedModelStatus:
    """Return the status of a ServedModel that cannot be read: its children stay, and so does what is known of them."""
    problem = Verdict(
        True,
        Reason.INVALID_SPEC,
        f"the spec cannot be carried out, children are left as they are: {_shorten(invalid.problem)}",
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


def _pool_state(observed: Observed, plan: Plan, name: str) -> PoolState:
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
        total=sum(pod.phase is not PodPhase.TERMINATING for pod in pods),
        exists=bool(deployment),
        is_rolled_out=bool(deployment) and is_current and updated == desired == total and ready >= desired,
        pods=pods,
        problem=_pool_problem(pods, status),
    )


def _pool_problem(pods: Sequence[PodView], deployment_status: RawObject) -> PodProblem | None:
    """The pool's first problem, in an order that does not depend on which pod was asked first."""
    failure = next((c for c in deployment_status.get("conditions", []) if c["type"] == "ReplicaFailure"), None)
    if failure is not None and failure["status"] == "True":
        return PodProblem(
            _refusal_reason(failure["message"]), f"a pod was refused: {' '.join(failure['message'].split())}"
        )
    problems = sorted(
        {pod.problem for pod in pods if pod.problem}, key=lambda problem: (problem.reason, problem.message)
    )
    return problems[0] if problems else None


def _refusal_reason(message: str) -> Reason:
    if "exceeded quota" in message:
        return Reason.QUOTA_EXCEEDED
    return Reason.MISSING_REFERENCE if "error looking up service account" in message else Reason.POD_REJECTED


def _model_status(observed: Observed, name: str) -> ModelStatus:
    ready = [pod for pod in observed.pods if pod.is_ready and pod.uid in observed.model_statuses]
    answers = [observed.model_statuses[pod.uid] for pod in ready]
    available = [available_versions(statuses, name) for statuses in answers]
    wanted = set(next(m for m in observed.model.spec.models if m.name == name).versions.specific or ())
    newest = max((version for versions in available for version in versions), default=None)
    expected = wanted or ({newest} if newest is not None else set())
    failures = sorted({f"version {v.version}: {v.error_message}" for s in answers for v in failed_versions(s, name)})
    return ModelStatus(
        name=name,
        versions=sorted(set().union(*available), reverse=True)[:64],
        replicas=sum(bool(expected) and expected <= versions for versions in available),
        message=_shorten("; ".join(failures)) if failures else None,
    )


def _ready(observed: Observed, pools: Sequence[PoolState], models: Sequence[ModelStatus], degraded: Verdict) -> Verdict:
    ready, desired = sum(pool.ready for pool in pools), sum(pool.desired for pool in pools)
    if ready == 0 and desired == 0:
        return Verdict(True, Reason.SCALED_TO_ZERO, "no replicas are wanted, so nothing answers requests")
    if ready == 0:
        if degraded.is_true:
            return Verdict(False, degraded.reason, degraded.message)
        return Verdict(False, Reason.NO_READY_REPLICAS, f"none of {desired} replicas is ready: {_phases(pools)}")
    lost = [model.name for model in models if not model.versions and _all_known(observed, model.name)]
    if lost:
        names = ", ".join(lost)
        return Verdict(False, Reason.MODEL_LOAD_FAILED, f"no replica has an available version of {names}")
    versions = _version_summary(models)
    return Verdict(True, Reason.SERVING, f"{ready} of {desired} replicas serve {versions or 'requests'}")


def _all_known(observed: Observed, model: str) -> bool:
    ready = [pod for pod in observed.pods if pod.is_ready]
    return bool(ready) and all(is_known(observed.model_statuses.get(pod.uid, {}), model) for pod in ready)


def _progressing(observed: Observed, plan: Plan, pools: Sequence[PoolState], degraded: Verdict) -> Verdict:
    unfinished = [pool for pool in pools if not pool.is_rolled_out or pool.name in plan.retained]
    if observed.model.spec.paused:
        return Verdict(False, Reason.PAUSED_BY_USER, "spec.paused is true: nothing is changed")
    if not unfinished:
        reloading = [reload for reload in plan.reloads if reload.is_change]
        if reloading:
            message = f"{len(reloading)} replicas are told new versions or labels"
            return Verdict(True, Reason.RELOADING_CONFIG, message)
        return Verdict(False, Reason.UP_TO_DATE, "every pool runs what the spec says")
    if degraded.is_true:
        return Verdict(False, degraded.reason, f"waiting for a problem to be solved: {degraded.message}")
    return Verdict(True, _progress_reason(unfinished), "; ".join(_progress_text(pool, plan) for pool in unfinished))


def _progress_reason(pools: Sequence[PoolState]) -> Reason:
    if not all(pool.exists for pool in pools):
        return Reason.CREATING
    if any(0 < pool.updated < pool.total or (pool.updated == 0 and pool.total > 0) for pool in pools):
        return Reason.ROLLING_UPDATE
    phases = {pod.phase for pool in pools for pod in pool.pods}
    if PodPhase.FETCHING in phases:
        return Reason.FETCHING_MODEL
    if PodPhase.LOADING in phases:
        return Reason.LOADING_MODEL
    if any(pool.ready for pool in pools):
        return Reason.SCALING
    return Reason.CREATING


def _progress_text(pool: PoolState, plan: Plan) -> str:
    if pool.name in plan.retained:
        return f"pool {pool.name} left the spec and is kept until the other pools are ready"
    if pool.name in plan.held:
        return f"pool {pool.name}: keeps {plan.held[pool.name]} replicas until other pools have taken over"
    text = f"pool {pool.name}: {pool.ready} of {pool.desired} replicas ready"
    old = pool.total - pool.updated
    if old > 0:
        text += f", {old} of an earlier spec still there"
    phases = _phases([pool])
    return f"{text}; {phases}" if phases else text


def _phases(pools: Sequence[PoolState]) -> str:
    """Count the replicas that are on their way, by how far they are."""
    on_the_way = [
        pod.phase for pool in pools for pod in pool.pods if pod.phase not in (PodPhase.READY, PodPhase.TERMINATING)
    ]
    counts = [(phase, on_the_way.count(phase)) for phase in PodPhase if phase in on_the_way]
    return ", ".join(f"{count} {phase}" for phase, count in counts) or "no pod exists yet"


def _degraded(observed: Observed, pools: Sequence[PoolState], refusals: Sequence[Refusal]) -> Verdict:
    faults: list[tuple[Reason, str]] = [(refusal.reason, refusal.message) for refusal in refusals]
    for pool in pools:
        if pool.problem is not None and pool.ready < max(pool.desired, pool.total):
            serving = f" ({pool.ready} replicas go on serving)" if pool.ready else ""
            faults.append((pool.problem.reason, f"pool {pool.name}: {pool.problem.message}{serving}"))
    faults += _model_faults(observed)
    if not faults:
        if observed.silent_since is not None and observed.now - observed.silent_since >= _SILENCE_GRACE:
            return Verdict(None, Reason.MODEL_STATUS_UNKNOWN, _SILENCE_MESSAGE)
        return Verdict(False, Reason.AS_EXPECTED, "nothing is wrong")
    return Verdict(True, faults[0][0], "; ".join(dict.fromkeys(message for _, message in faults)))


def _model_faults(observed: Observed) -> list[tuple[Reason, str]]:
    faults: list[tuple[Reason, str]] = []
    ready = [pod for pod in observed.pods if pod.is_ready]
    for model in observed.model.spec.models:
        answers = [observed.model_statuses[pod.uid] for pod in ready if pod.uid in observed.model_statuses]
        failures = {v.version: v.error_message for statuses in answers for v in failed_versions(statuses, model.name)}
        for version, message in sorted(failures.items()):
            faults.append(
                (
                    Reason.MODEL_LOAD_FAILED,
                    f"model {model.name}: version {version} did not load ({_shorten(message, 300)}); the versions "
                    "that were available go on serving: publish a good one under a new number",
                )
            )
        known = [statuses for statuses in answers if is_known(statuses, model.name)]
        available = set().union(*(available_versions(statuses, model.name) for statuses in known))
        if not known or len(known) < len(ready) or _is_reloading(observed, ready):
            continue
        for wanted in sorted(set(model.versions.specific or ()) - available - set(failures)):
            faults.append((Reason.VERSION_NOT_FOUND, _missing_version(model.name, wanted, available)))
        for label, version in sorted(model.labels.items()):
            if version not in available:
                faults.append((Reason.LABEL_NOT_AVAILABLE, _missing_label(model.name, label, version, available)))
    return faults


def _is_reloading(observed: Observed, ready: Sequence[PodView]) -> bool:
    """Whether a replica was told of versions or labels so recently that it may still be loading them."""
    if observed.model.spec.server.tls is not None:
        return False
    loaded = [observed.loaded_configs.get(pod.incarnation) for pod in ready]
    return any(config is None or observed.now - config.at < _RELOAD_GRACE for config in loaded)


def _missing_version(model: str, version: int, available: set[int]) -> str:
    return (
        f"model {model}: version {version} is wanted, but the servers do not find it; they serve "
        f"{_versions_text(available)}: publish it, or correct versions.specific"
    )


def _missing_label(model: str, label: str, version: int, available: set[int]) -> str:
    return (
        f"model {model}: label {label} points at version {version}, which is not served; served are "
        f"{_versions_text(available)}: point it at one of them, or serve that version"
    )


def _versions_text(versions: set[int]) -> str:
    return ", ".join(str(version) for version in sorted(versions, reverse=True)[:10]) or "none"


def _version_summary(models: Sequence[ModelStatus]) -> str:
    """For example ``digits@2,1 resnet@7``; models without a known version are left out."""
    texts = [f"{model.name}@{','.join(str(v) for v in model.versions[:3])}" for model in models if model.versions]
    return _shorten(" ".join(texts), 200)


def _shorten(text: str, length: int = _MAX_MESSAGE_LENGTH) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
