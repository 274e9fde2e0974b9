"""What the scaling loop sees of a ServedModel's pools: everything of a scaling observation but the load."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from tfserving_operator.api.pool import Pool
from tfserving_operator.api.refs import ObjectRef
from tfserving_operator.api.servedmodel import ServedModelSpec
from tfserving_operator.autoscaling.budget import PoolWish
from tfserving_operator.autoscaling.observation import PoolObservation
from tfserving_operator.autoscaling.signals import PoolSignals, SignalState
from tfserving_operator.reconcile.budget_use import budget_use
from tfserving_operator.reconcile.pod_problem import pod_condition
from tfserving_operator.reconcile.pod_view import PodPhase, PodView, view_pod
from tfserving_operator.resources.names import POOL_LABEL, TEMPLATE_HASH_ANNOTATION

RawObject = Mapping[str, Any]
StartUpTimes = dict[str, float]
"""Seconds from a pod's creation to ready, by UID, as first seen."""

_UNREAD: Final = PoolSignals(state=SignalState.PROMETHEUS_UNAVAILABLE, message="not read yet")
_NEWEST: Final = 3
_START_UP_MARGIN_SECONDS: Final = 600.0
"""On top of the load timeout, as for a Deployment's progress deadline; what took longer was no start."""


@dataclass(frozen=True, kw_only=True)
class PoolsSeen:
    """The pools of one ServedModel, with signals still to come."""

    pools: tuple[PoolObservation, ...] = ()
    ready_pods: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Names of the replicas that take requests, by pool."""
    departed: tuple[PoolWish, ...] = ()
    """What pools that left the spec and still serve use of the fleet's budget."""


def see_pools(
    spec: ServedModelSpec,
    children: Mapping[ObjectRef, RawObject],
    pods: Sequence[RawObject],
    *,
    start_ups: StartUpTimes,
    now: datetime,
) -> PoolsSeen:
    """Return the pools of ``spec`` as Deployments and pods show them.

    ``start_ups`` is brought up to date: readiness may come and go later, so the first sight of it counts.
    """
    deployments = {
        child["metadata"].get("labels", {}).get(POOL_LABEL): child
        for ref, child in children.items()
        if ref.kind == "Deployment"
    }
    views = [view_pod(pod, now) for pod in pods]
    names = {pool.name for pool in spec.pools}
    _note_start_ups(start_ups, pods, views, spec.server.load_timeout_seconds + _START_UP_MARGIN_SECONDS)
    return PoolsSeen(
        pools=tuple(_see_pool(pool, deployments.get(pool.name, {}), pods, views, start_ups) for pool in spec.pools),
        ready_pods={
            pool.name: frozenset(view.name for view in views if view.pool == pool.name and view.is_ready)
            for pool in spec.pools
        },
        departed=tuple(use for name, use in budget_use(children).items() if name not in names),
    )


def _see_pool(
    pool: Pool,
    deployment: RawObject,
    pods: Sequence[RawObject],
    views: Sequence[PodView],
    start_ups: StartUpTimes,
) -> PoolObservation:
    own = [view for view in views if view.pool == pool.name]
    status = deployment.get("status", {})
    newest = sorted(
        (pod["metadata"].get("creationTimestamp", ""), start_ups[pod["metadata"]["uid"]])
        for pod, view in zip(pods, views, strict=True)
        if view.pool == pool.name and view.uid in start_ups
    )[-_NEWEST:]
    return PoolObservation(
        pool=pool,
        signals=_UNREAD,
        desired=deployment.get("spec", {}).get("replicas", 0),
        ready=sum(view.is_ready for view in own),
        starting=sum(view.phase in (PodPhase.STARTING, PodPhase.FETCHING, PodPhase.LOADING) for view in own),
        waiting=sum(view.phase is PodPhase.PENDING for view in own),
        # Not by observedGeneration, which lags behind for a moment after every change of replicas too.
        is_rolling_out=status.get("updatedReplicas", 0) < status.get("replicas", 0),
        restarts=sum(view.restarts for view in own),
        start_up_seconds=statistics.median(seconds for _, seconds in newest) if newest else None,
        config_hash=deployment.get("metadata", {}).get("annotations", {}).get(TEMPLATE_HASH_ANNOTATION, ""),
    )


def _note_start_ups(
    start_ups: StartUpTimes, pods: Sequence[RawObject], views: Sequence[PodView], longest_seconds: float
) -> None:
    alive = {view.uid for view in views}
    for uid in [uid for uid in start_ups if uid not in alive]:
        del start_ups[uid]
    for pod, view in zip(pods, views, strict=True):
        if view.is_ready and view.restarts == 0 and view.uid not in start_ups:
            seconds = _start_up_seconds(pod)
            if seconds is not None and 0 <= seconds <= longest_seconds:
                start_ups[view.uid] = seconds


def _start_up_seconds(pod: RawObject) -> float | None:
    created = pod["metadata"].get("creationTimestamp")
    ready = pod_condition(pod, "Ready").get("lastTransitionTime")
    if not created or not ready:
        return None
    return (datetime.fromisoformat(ready) - datetime.fromisoformat(created)).total_seconds()
