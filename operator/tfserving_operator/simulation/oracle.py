"""The least replica-hours that a clairvoyant could run: the yardstick of all policies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tfserving_operator.simulation.bounds import least_replicas, serving, shared_out
from tfserving_operator.simulation.capacity import replica_capacity
from tfserving_operator.simulation.engine import Replay, replay
from tfserving_operator.simulation.kernel.layout import Array
from tfserving_operator.simulation.policies import Planned
from tfserving_operator.simulation.scenario import VaryingTime
from tfserving_operator.simulation.trace import Trace
from tfserving_operator.simulation.world import PoolWorld, World

_SCALE_POINTS = 9
"""Service time factors at which capacity is measured; between them it is a straight line."""
_AS_CLOSE = 3
"""Decimals of a share: what is the same up to them is as close."""
_MANY_DEVICES = 10**9
_MARGINS = (1.0, 1.01, 1.02, 1.03, 1.05, 1.07, 1.1, 1.15, 1.2, 1.3, 1.5, 2.0)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the oracle runs."""

    by_pool: Array
    """Replicas by tick and pool, paid from the beginning of the tick."""
    totals: Array
    """The same over all scaled pools, by tick."""
    margin: float
    """By how much the demand was raised so that the promise holds."""
    replay: Replay


def demand_by_tick(trace: Trace, world: World, *, margin: float = 1.0) -> Array:
    """Return the replicas needed in each tick, over all scaled pools: within bounds, whole numbers."""
    return _over_scaled(demand_by_pool(trace, world, margin=margin), world)


def demand_by_pool(trace: Trace, world: World, *, margin: float = 1.0) -> Array:
    """Return the replicas needed by tick and pool: within bounds, and as far as can be, no more than find a device."""
    ticks = max(1, math.ceil(trace.duration_seconds / world.tick_seconds - 1e-9))
    edges = np.arange(ticks + 1) * world.tick_seconds
    rates = np.diff(trace.requests_until(edges)) / world.tick_seconds * margin
    scales = np.maximum(trace.scale_at(edges[:-1]), trace.scale_at(edges[1:]))
    capacities = np.array([capacity_by_scale(pool, scales, world) for pool in world.pools])
    if trace.gpus_available is None:
        return pool_totals(_needed(rates, capacities, world), world)
    devices = _devices_since_a_start(trace.gpus_at(edges[:-1]), start_up_ticks(world))
    needed = np.zeros((ticks, len(world.pools)), dtype=np.int64)
    for count in np.unique(devices).tolist():
        at = devices == count
        totals = _needed(rates[at], capacities[:, at], world, devices=count)
        needed[at] = pool_totals(totals, world, devices=count)
    return needed


def _needed(rates: Array, capacities: Array, world: World, *, devices: int | None = None) -> Array:
    """Return how many replicas to share out over the pools, so that those that find a device carry ``rates``."""
    pools = [pool.pool for pool in world.pools]
    fewest = least_replicas(pools)
    needed = np.full(len(rates), fewest)
    # A request goes to any ready replica alike, so the weakest pool in use says how many are needed.
    for total in range(fewest, world.most):
        serve = serving(shared_out(total, pools, devices=devices), pools, devices=devices)
        in_use = [each for pool, each in zip(pools, capacities, strict=True) if serve[pool.name] > 0]
        carried = np.min(in_use, axis=0) * sum(serve.values()) if in_use else np.zeros(len(rates))
        is_short = carried < rates
        if not is_short.any():
            break
        needed[is_short & (needed == total)] = total + 1
    return needed


def _devices_since_a_start(devices: Array, ticks: int) -> Array:
    """Return how many devices were there all the time that a start takes: one that is new carries nothing yet."""
    padded = np.concatenate((np.full(ticks, math.inf), np.minimum(devices, _MANY_DEVICES)))
    fewest: Array = np.lib.stride_tricks.sliding_window_view(padded, ticks + 1).min(axis=1).astype(np.int64)
    return fewest


def _over_scaled(by_pool: Array, world: World) -> Array:
    totals: Array = by_pool[:, [not pool.is_fixed for pool in world.pools]].sum(axis=1)
    return totals


def start_up_ticks(world: World) -> int:
    """Return how long before it is needed a replica is ordered, over all pools."""
    # A replica that is ordered at the end of a tick is ready at the first tick after its start-up.
    return math.ceil(max(pool.start_up_seconds for pool in world.pools) / world.tick_seconds)


def capacity_by_scale(pool: PoolWorld, scales: Array, world: World) -> Array:
    """Return what one replica of ``pool`` carries at each of the service time factors ``scales``."""
    points = np.unique(np.geomspace(float(scales.min()), float(scales.max()), _SCALE_POINTS).round(6))
    capacities = [
        replica_capacity(
            pool.replica.slowed(float(point)),
            objective_seconds=world.objective_seconds,
            percent=world.percent,
            burst=world.requests_per_arrival,
        )
        for point in points
    ]
    return np.interp(scales, points, capacities)


def least_cost_plan(needed: Array, *, start_up_ticks: int, drain_ticks: int) -> Array:
    """Return the replicas to run in each tick so that ``needed`` of them are ready, at the least cost.

    A replica is paid from the start of its start-up to the end of its drain. Each level of the demand (the first
    replica, the second, ...) is a problem of its own: it is needed for some stretches of time, and a gap between two
    of them is bridged when that costs less than to stop and start again: when it is shorter than start-up and drain
    together. That is the exact optimum, because levels are nested: whenever the k-th is needed, so are all below.
    """
    total = np.zeros(len(needed), dtype=np.int64)
    for level in range(1, int(needed.max()) + 1):
        total += _level(needed >= level, start_up_ticks, drain_ticks)
    return total


def _level(is_needed: Array, start_up_ticks: int, drain_ticks: int) -> Array:
    runs = is_needed.copy()
    edges = np.diff(is_needed.astype(np.int8), prepend=0, append=0)
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    for begin in begins:
        runs[max(0, begin - start_up_ticks) : begin] = True
    for end, begin in zip(ends[:-1], begins[1:], strict=True):
        if begin - end <= start_up_ticks + drain_ticks:
            runs[end:begin] = True
    return runs.astype(np.int64)


def oracle_plan(trace: Trace, world: World, *, margin: float) -> Array:
    """Return the replicas by tick and pool, with the demand raised by ``margin``.

    Without devices that come and go, pools fill up one after the other, so a plan for each is one for all together.
    """
    start_up, drain = start_up_ticks(world), math.ceil(world.drain_seconds / world.tick_seconds)
    needed = demand_by_pool(trace, world, margin=margin)
    plans = [least_cost_plan(each, start_up_ticks=start_up, drain_ticks=drain) for each in needed.T]
    return np.stack(plans, axis=1)


def pool_totals(totals: Array, world: World, *, devices: int | None = None) -> Array:
    """Return replicas by tick and pool for replicas by tick over all pools, as ``shared_out`` does."""
    pools = [pool.pool for pool in world.pools]
    shares = {int(total): list(shared_out(int(total), pools, devices=devices).values()) for total in np.unique(totals)}
    return np.array([shares[int(total)] for total in totals], dtype=np.int64)


def replay_plan(trace: Trace, world: World, by_pool: Array) -> Replay:
    """Return what happens under a plan whose start-up times come out as planned."""
    names = tuple(pool.pool.name for pool in world.pools)
    initial: Mapping[str, int] = dict(zip(names, by_pool[0].tolist(), strict=True))
    return replay(trace, _as_planned(world), Planned(names, by_pool), initial=initial)


def _as_planned(world: World) -> World:
    """Start-up times without spread: a clairvoyant knows each of them."""

    def certain(time: VaryingTime) -> VaryingTime:
        return time.model_copy(update={"spread": 1.0})

    pools = tuple(
        replace(
            pool,
            start_up=pool.start_up.model_copy(
                update={"image": certain(pool.start_up.image), "model_load": certain(pool.start_up.model_load)}
            ),
        )
        for pool in world.pools
    )
    return replace(world, pools=pools)


def find_oracle(trace: Trace, world: World) -> Plan:
    """Return the cheapest plan that keeps the promise when it is replayed.

    Capacity is an average over long steady load. Where chance or a ramp within a tick makes the replay miss the
    promise, the demand is raised step by step. Where no step keeps it, that plan is returned which comes closest, and
    of those that come as close the cheapest.
    """
    plans: list[Plan] = []
    for margin in _MARGINS:
        by_pool = oracle_plan(trace, world, margin=margin)
        if plans and np.array_equal(plans[-1].by_pool, by_pool):
            continue
        totals = _over_scaled(by_pool, world)
        plan = Plan(by_pool=by_pool, totals=totals, margin=margin, replay=replay_plan(trace, world, by_pool))
        if plan.replay.share_within_objective >= world.share_promised:
            return plan
        plans.append(plan)
        if totals.min() >= world.most:
            break
    return min(
        plans, key=lambda plan: (-round(plan.replay.share_within_objective, _AS_CLOSE), plan.replay.replica_hours)
    )
