"""The least replica-hours that a clairvoyant could run: the yardstick of all policies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tfserving_operator.simulation.bounds import least_replicas, shared_out
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
_MARGINS = (1.0, 1.01, 1.02, 1.03, 1.05, 1.07, 1.1, 1.15, 1.2, 1.3, 1.5, 2.0)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the oracle runs."""

    totals: Array
    """Replicas over all scaled pools, by tick, paid from the beginning of the tick."""
    margin: float
    """By how much the demand was raised so that the promise holds."""
    replay: Replay


def demand_by_tick(trace: Trace, world: World, *, margin: float = 1.0) -> Array:
    """Return the replicas needed in each tick, over all scaled pools: within bounds, whole numbers."""
    ticks = max(1, math.ceil(trace.duration_seconds / world.tick_seconds - 1e-9))
    edges = np.arange(ticks + 1) * world.tick_seconds
    rates = np.diff(trace.requests_until(edges)) / world.tick_seconds * margin
    scales = np.maximum(trace.scale_at(edges[:-1]), trace.scale_at(edges[1:]))
    fewest = least_replicas([pool.pool for pool in world.pools])
    needed = np.full(ticks, fewest)
    capacities = [capacity_by_scale(pool, scales, world) for pool in world.pools]
    # A request goes to any ready replica alike, so the weakest pool in use says how many are needed.
    for total in range(fewest, world.most):
        shares = shared_out(total, [pool.pool for pool in world.pools])
        in_use = [each for pool, each in zip(world.pools, capacities, strict=True) if shares[pool.pool.name] > 0]
        carried = np.min(in_use, axis=0) * sum(shares.values()) if in_use else np.zeros(ticks)
        is_short = carried < rates
        if not is_short.any():
            break
        needed[is_short & (needed == total)] = total + 1
    return needed


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
    """Return the replicas over all scaled pools by tick, with the demand raised by ``margin``."""
    start_up = max(pool.start_up_seconds for pool in world.pools)
    return least_cost_plan(
        demand_by_tick(trace, world, margin=margin),
        # A replica that is ordered at the end of a tick is ready at the first tick after its start-up.
        start_up_ticks=math.ceil(start_up / world.tick_seconds),
        drain_ticks=math.ceil(world.drain_seconds / world.tick_seconds),
    )


def pool_totals(totals: Array, world: World) -> Array:
    """Return replicas by tick and pool for replicas by tick over all pools."""
    pools = [pool.pool for pool in world.pools]
    shares = {int(total): list(shared_out(int(total), pools).values()) for total in np.unique(totals)}
    return np.array([shares[int(total)] for total in totals], dtype=np.int64)


def replay_plan(trace: Trace, world: World, totals: Array) -> Replay:
    """Return what happens under a plan whose start-up times come out as planned."""
    names = tuple(pool.pool.name for pool in world.pools)
    by_pool = pool_totals(totals, world)
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
        totals = oracle_plan(trace, world, margin=margin)
        if plans and np.array_equal(plans[-1].totals, totals):
            continue
        plan = Plan(totals=totals, margin=margin, replay=replay_plan(trace, world, totals))
        if plan.replay.share_within_objective >= world.share_promised:
            return plan
        plans.append(plan)
        if totals.min() >= world.most:
            break
    return min(
        plans, key=lambda plan: (-round(plan.replay.share_within_objective, _AS_CLOSE), plan.replay.replica_hours)
    )
