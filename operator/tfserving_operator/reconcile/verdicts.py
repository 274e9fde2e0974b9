"""The Ready, Progressing and Reconciling conditions: does it serve, is it on its way, is there a way to go."""

from __future__ import annotations

from collections.abc import Sequence

from tfserving_operator.api.autoscaling import AutoscalingMode
from tfserving_operator.api.conditions import Reason
from tfserving_operator.api.servedmodel import ModelStatus
from tfserving_operator.reconcile.conditions import Verdict
from tfserving_operator.reconcile.faults import lost_models, pool_fault
from tfserving_operator.reconcile.observed import Observed
from tfserving_operator.reconcile.plan import Plan, Refusal
from tfserving_operator.reconcile.pod_view import PodPhase
from tfserving_operator.reconcile.pool_state import PoolState
from tfserving_operator.reconcile.wanted_replicas import scaling_mode
from tfserving_operator.reconcile.wording import version_summary
from tfserving_operator.resources.replicas import scaled_pools


def decide_ready(
    observed: Observed, pools: Sequence[PoolState], models: Sequence[ModelStatus], degraded: Verdict
) -> Verdict:
    """Say whether every model is answered for, by replicas of this spec or of an earlier one."""
    ready, desired = sum(pool.ready for pool in pools), sum(pool.desired for pool in pools)
    if ready == 0 and desired == 0:
        return Verdict(True, Reason.SCALED_TO_ZERO, "no replicas are wanted, so nothing answers requests")
    if ready == 0:
        if degraded.is_true:
            return Verdict(False, degraded.reason, degraded.message)
        return Verdict(False, Reason.NO_READY_REPLICAS, f"none of {desired} replicas is ready: {_phases(pools)}")
    lost = lost_models(observed)
    if lost is not None:
        return Verdict(False, Reason.MODEL_LOAD_FAILED, lost)
    versions = version_summary(models)
    return Verdict(True, Reason.SERVING, f"{ready} of {desired} replicas serve {versions or 'requests'}")


def decide_progressing(
    observed: Observed, plan: Plan, pools: Sequence[PoolState], refusals: Sequence[Refusal]
) -> Verdict:
    """Say whether pods are on their way to what the spec says.

    What is wrong beside them, such as a label that points nowhere, does not stop them: only a refusal does, or a
    problem of the pools that still have a way to go.
    """
    unfinished = [pool for pool in pools if not pool.is_rolled_out or pool.name in plan.retained]
    if observed.model.spec.paused:
        return Verdict(False, Reason.PAUSED_BY_USER, "spec.paused is true: nothing is changed")
    obstacles = [(refusal.reason, refusal.message) for refusal in refusals] or _obstacles(unfinished, plan)
    if obstacles:
        messages = "; ".join(dict.fromkeys(message for _, message in obstacles))
        return Verdict(False, obstacles[0][0], f"waiting for a problem to be solved: {messages}")
    if not unfinished:
        reloading = [reload for reload in plan.reloads if reload.is_change]
        if reloading:
            message = f"{len(reloading)} replicas are told new versions or labels"
            return Verdict(True, Reason.RELOADING_CONFIG, message)
        return Verdict(False, Reason.UP_TO_DATE, f"every pool runs what the spec says{_unmet_replicas(observed, plan)}")
    return Verdict(True, _progress_reason(unfinished), "; ".join(_progress_text(pool, plan) for pool in unfinished))


def _unmet_replicas(observed: Observed, plan: Plan) -> str:
    """Say that the pools' max do not allow spec.replicas; it is not refused, as autoscalers ask for what they like.

    Nothing where mode Auto sets the replicas: ScalingLimited is about them. Nor where the pools' min ask for more: with
    replicas left out, that is what was meant.
    """
    spec = observed.model.spec
    pools = scaled_pools(spec.pools)
    if not pools or plan.applied is not None or scaling_mode(spec) is AutoscalingMode.AUTO:
        return ""
    total = sum(plan.replicas[pool.name] for pool in pools)
    if total < spec.replicas:
        return f"; spec.replicas is {spec.replicas}, and the pools' max allow {total}: raise a max for more"
    return ""


def _obstacles(unfinished: Sequence[PoolState], plan: Plan) -> list[tuple[Reason, str]]:
    """Return what stops the pools; empty while one of them moves. Those that are kept for others do not count."""
    faults = [pool_fault(pool) for pool in unfinished if pool.name not in plan.retained]
    moving = [pool for pool in unfinished if pool.name not in (*plan.retained, *plan.held) and pool_fault(pool) is None]
    return [] if moving else [fault for fault in faults if fault is not None]


def decide_reconciling(progressing: Verdict, stalled: Verdict) -> Verdict:
    """Say that the spec is still to be carried out: pods move, or wait for a problem that may end without a change.

    kstatus (Flux, kpt) takes what is neither Reconciling nor Stalled, and Ready, for done.
    """
    is_done = progressing.reason in (Reason.UP_TO_DATE, Reason.PAUSED_BY_USER)
    return Verdict(not is_done and not stalled.is_true, progressing.reason, progressing.message)


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
    on_the_way = [pod.phase for pool in pools for pod in pool.pods if pod.is_live and not pod.is_ready]
    counts = [(phase, on_the_way.count(phase)) for phase in PodPhase if phase in on_the_way]
    return ", ".join(f"{count} {phase}" for phase, count in counts) or "no pod exists yet"
