"""What a decision sees: the pools with their bounds, and everything a policy may look at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from tfserving_operator.autoscaling.allocation import TrafficSplit
from tfserving_operator.autoscaling.history import History
from tfserving_operator.autoscaling.load import Load
from tfserving_operator.autoscaling.observation import ScalingObservation
from tfserving_operator.autoscaling.policy import Situation
from tfserving_operator.autoscaling.pool_slots import fixed_replicas, pool_slots, scaled
from tfserving_operator.autoscaling.signals import SignalState
from tfserving_operator.autoscaling.state import ScalingState, place_of_objective, policy_metric, promised_late

ASSUMED_START_UP_SECONDS = 60.0
"""Where no start was seen: pulling a warm image, loading a model of average size and warming up."""


@dataclass(frozen=True, slots=True)
class Sight:
    """One ServedModel at the moment of a decision."""

    situation: Situation
    desired: int
    """Replicas that are asked for now over the pools that are scaled."""
    fixed_desired: int
    stuck: int
    """Those of ``desired`` that wait for a node for longer than a start takes."""
    is_new: bool
    """Nothing runs and nothing is asked for yet."""


def look(
    observation: ScalingObservation, state: ScalingState, load: Load, *, now: datetime, split: TrafficSplit
) -> Sight:
    """Return what is to be decided on."""
    clock = now.timestamp()
    pools = scaled(observation.pools)
    start_up = start_up_seconds(observation)
    estimates = {name: known.estimate for name, known in state.knowledge.items() if known.estimate is not None}
    capacities = {name: estimate.carries for name, estimate in estimates.items()}
    slots = pool_slots(
        observation.pools, capacities, waiting_since=state.waiting_since, patience_seconds=start_up, now=clock
    )
    desired = sum(pool.desired for pool in pools)
    fixed_desired = sum(pool.desired for pool in observation.pools) - desired
    stuck = sum(slot.stuck for slot in slots)
    situation = Situation(
        spec=observation.spec,
        replicas=observation.replicas,
        load=load,
        is_upward_only=not load.may_scale_down,
        history=state.history if load.may_scale_down else _seen_so_far(observation, state, load, clock),
        slots=slots,
        fixed=fixed_replicas(observation.pools, capacities),
        current=desired - stuck,
        ready=sum(pool.ready for pool in pools),
        estimates=estimates,
        promised=promised_late(observation.spec),
        place=place_of_objective(observation.spec),
        aim=state.aim(promised_late(observation.spec)),
        known_rate=_known_rate(state, load, clock),
        is_unproven=any(
            state.knowledge[pool.pool.name].is_of_old_config
            for pool in observation.pools
            if pool.desired > 0 and pool.pool.name in state.knowledge
        ),
        is_steady=state.ready_changed_at <= load.at - load.window_seconds,
        start_up_seconds=start_up,
        split=split,
        now=clock,
        moment=now,
    )
    return Sight(
        situation=situation,
        desired=desired,
        fixed_desired=fixed_desired,
        stuck=stuck,
        is_new=desired == 0 and load.ready == 0 and fixed_desired == 0,
    )


def start_up_seconds(observation: ScalingObservation) -> float:
    """Return the time from asking for a replica to its first requests: the slowest pool's, as measured."""
    known = [pool.start_up_seconds for pool in scaled(observation.pools) if pool.start_up_seconds is not None]
    return max(known, default=ASSUMED_START_UP_SECONDS)


def _known_rate(state: ScalingState, load: Load, clock: float) -> float | None:
    """Requests per second of all replicas; None where too little is seen to say.

    Replicas that became ready a moment ago take their share of the load before Prometheus has two samples of them. What
    the others had until then and have since is known, so the share that is not seen can be told.
    """
    if load.may_scale_down:
        return load.requests_per_second
    if load.state is not SignalState.NOT_YET_REPORTED or not load.covered or load.window_seconds <= 0:
        return None
    unseen = 1 - load.covered / load.ready
    since = min(1.0, max(0.0, (load.at - state.ready_changed_at) / load.window_seconds))
    return load.requests_per_second / (1 - since * unseen)


def _seen_so_far(observation: ScalingObservation, state: ScalingState, load: Load, clock: float) -> History:
    """The history with what is seen now, which is at least there: for the way up only, and not kept."""
    if not load.may_scale_up:
        return state.history
    seen = policy_metric(observation.spec, load)
    with_silent = replace(load, requests_per_second=load.requests_per_second + load.silent_per_second)
    metric = policy_metric(observation.spec, with_silent)
    if seen is None or metric is None:
        return state.history
    settled = state.ready_changed_at <= load.at - 2 * load.window_seconds
    if load.state is SignalState.REPLICAS_MISSING and settled and load.covered:
        metric = max(metric, seen * load.ready / load.covered)
    return state.history.with_sample(metric, at=clock, keep_seconds=observation.spec.stable_window_seconds)
