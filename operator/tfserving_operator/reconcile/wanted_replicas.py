"""How many replicas each pool should have: what the spec says, what was decided, or what runs already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tfserving_operator.api.autoscaling import AppliedReplicas, AutoscalingMode, RecommendedReplicas
from tfserving_operator.api.servedmodel import ServedModelSpec
from tfserving_operator.reconcile.observed import Observed, running_pools
from tfserving_operator.resources.replicas import clip_replicas, fill_up, scaled_pools, share_replicas


@dataclass(frozen=True)
class Wanted:
    """Wanted replicas by pool, and what is to be remembered of them."""

    replicas: Mapping[str, int]
    applied: AppliedReplicas | None = None
    """What mode Auto made, for status; None where spec.replicas counts."""
    enough: int | None = None
    """How many of them have to serve, where others wait for nodes; None: all."""


def scaling_mode(spec: ServedModelSpec) -> AutoscalingMode:
    """Return the mode; Off where nothing is said."""
    return spec.autoscaling.mode if spec.autoscaling is not None else AutoscalingMode.OFF


def wanted_replicas(observed: Observed) -> Wanted:
    """Return what each pool should have.

    In mode Auto that is what was decided; where nothing is decided (the operator has just started, the load is not
    known) it is what the Deployments run, within the bounds of the spec. When mode Auto ends, what it made stays until
    spec.replicas is changed, as deleting a HorizontalPodAutoscaler leaves replicas alone. What it made is what status
    says, not what the Deployments run then: a move between pools goes on to its end, and edits by hand are drift.
    """
    spec, applied = observed.model.spec, _applied_before(observed)
    if scaling_mode(spec) is AutoscalingMode.AUTO:
        decided = _decided(observed)
        wanted = _without_scaling_down_on_departure(observed, decided)
        enough = _enough(observed, wanted) if wanted == decided else None
        return replace(_remembered(wanted, spec), enough=enough)
    shared = share_replicas(spec.replicas, spec.pools)
    if applied is None or applied.spec_replicas != spec.replicas:
        return Wanted(shared)
    kept = _held(observed) if _is_ahead_of_status(observed, applied) else _made(observed, applied)
    kept = _without_scaling_down_on_departure(observed, kept)
    return Wanted(shared) if kept == shared else _remembered(kept, spec)


def _decided(observed: Observed) -> Mapping[str, int]:
    held, view = _held(observed), observed.scaling
    if view is None or view.replicas is None or view.mode is not AutoscalingMode.AUTO:
        return held
    return _within_bounds({**held, **view.replicas}, observed.model.spec)


def _enough(observed: Observed, wanted: Mapping[str, int]) -> int | None:
    """How many replicas of all pools have to serve, those of fixed pools included."""
    view = observed.scaling
    if view is None or view.replicas is None or view.mode is not AutoscalingMode.AUTO or view.enough is None:
        return None
    scaled = {pool.name for pool in scaled_pools(observed.model.spec.pools)}
    return view.enough + sum(count for name, count in wanted.items() if name not in scaled)


def _held(observed: Observed) -> dict[str, int]:
    """What runs; in place of a Deployment that is gone, what it ran; at the very first, the share of spec.replicas."""
    spec = observed.model.spec
    running = {name: pool.replicas for name, pool in running_pools(observed.children).items()}
    applied = _applied_before(observed)
    known = _by_name(applied) | running
    if not any(pool.name in known for pool in scaled_pools(spec.pools)):
        known |= share_replicas(spec.replicas, spec.pools)
    return dict(_within_bounds(known, spec))


def _made(observed: Observed, applied: AppliedReplicas) -> Mapping[str, int]:
    return _within_bounds(_by_name(applied), observed.model.spec)


def _is_ahead_of_status(observed: Observed, applied: AppliedReplicas) -> bool:
    """Whether what runs may be a decision of mode Auto that did not get into status before the mode ended.

    That is so while status is of an earlier spec, and no pool still has to get ready what others wait for to hand over.
    """
    if observed.model.status.observed_generation == observed.model.metadata.generation:
        return False
    ready = Counter(pod.pool for pod in observed.pods if pod.is_ready)
    return all(ready[pool.name] >= pool.replicas for pool in applied.pools)


def _without_scaling_down_on_departure(observed: Observed, wanted: Mapping[str, int]) -> Mapping[str, int]:
    """While a pool that left the spec goes on serving, the others provide for its load too.

    Its requests are in no signal of theirs. What was wanted before it left stands in status.
    """
    spec = observed.model.spec
    names = {pool.name for pool in spec.pools}
    departing = sum(pool.replicas for name, pool in running_pools(observed.children).items() if name not in names)
    if departing == 0:
        return wanted
    fixed = names - {pool.name for pool in scaled_pools(spec.pools)}
    before = sum(pool.desired for pool in observed.model.status.pools if pool.name not in fixed)
    return _within_bounds(fill_up(wanted, max(before, departing), spec.pools), spec)


def _within_bounds(wanted: Mapping[str, int], spec: ServedModelSpec) -> Mapping[str, int]:
    max_total = spec.autoscaling.max_replicas if spec.autoscaling is not None else None
    return clip_replicas(wanted, spec.pools, max_total=max_total)


def _by_name(applied: AppliedReplicas | None) -> dict[str, int]:
    return {pool.name: pool.replicas for pool in applied.pools} if applied is not None else {}


def _applied_before(observed: Observed) -> AppliedReplicas | None:
    status = observed.model.status.autoscaling
    return status.applied if status is not None else None


def _remembered(replicas: Mapping[str, int], spec: ServedModelSpec) -> Wanted:
    pools = [RecommendedReplicas(name=pool.name, replicas=replicas[pool.name]) for pool in scaled_pools(spec.pools)]
    return Wanted(replicas, AppliedReplicas(spec_replicas=spec.replicas, pools=pools))
