"""Policies side by side on one trace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from tfserving_operator.api.autoscaling import (
    Autoscaling,
    AutoscalingMode,
    Behavior,
    ScalingPolicy,
    Target,
    TargetMetric,
)
from tfserving_operator.autoscaling.policies.kpa import TARGET_UTILISATION
from tfserving_operator.simulation.capacity import replica_capacity
from tfserving_operator.simulation.engine import Replay, replay
from tfserving_operator.simulation.kernel.layout import Array
from tfserving_operator.simulation.oracle import Plan, find_oracle, pool_totals
from tfserving_operator.simulation.policies import Constant, Operator
from tfserving_operator.simulation.trace import Trace
from tfserving_operator.simulation.world import World

USUAL_UTILISATION = 0.7
"""Of a replica's true capacity: what HPA and KPA aim at, where the manifest does not say it."""
_LEAST_CAPACITY = 1e-6


class PolicyName(StrEnum):
    """What a trace can be replayed with."""

    LATENCY = "Latency"
    HPA = "HPA"
    KPA = "KPA"
    FIXED = "Fixed"
    STATIC_PEAK = "StaticPeak"
    ORACLE = "Oracle"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One policy on one trace."""

    replay: Replay
    oracle_replica_hours: float

    @property
    def worst_minute_share(self) -> float:
        """The smallest share within the objective of all minutes that had requests; 1 without any."""
        sent = self.replay.minute_requests
        has_requests = sent > 0
        if not has_requests.any():
            return 1.0
        return max(0.0, float(np.min(self.replay.minute_good[has_requests] / sent[has_requests])))

    @property
    def hours_of_oracle(self) -> float:
        """Replica-hours relative to the oracle's; 1 where both run nothing."""
        if self.oracle_replica_hours <= 0:
            return 1.0
        return self.replay.replica_hours / self.oracle_replica_hours

    def cost(self, prices: Mapping[str, float]) -> float:
        """Return what it cost; ``prices`` are those of an hour of one replica, by pool."""
        return sum(seconds / 3600 * prices[name] for name, seconds in self.replay.replica_seconds.items())


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All policies on one trace."""

    trace: Trace
    world: World
    oracle: Plan
    results: Mapping[str, Result]
    assumptions: tuple[str, ...]

    @property
    def prices(self) -> Mapping[str, float]:
        """Price of one replica for an hour, by pool."""
        return {pool.pool.name: 1.0 if pool.pool.cost is None else pool.pool.cost for pool in self.world.pools}

    @property
    def is_promise_within_reach(self) -> bool:
        """Whether the oracle keeps what was promised."""
        return self.oracle.replay.share_within_objective >= self.world.share_promised


def compare(
    trace: Trace, world: World, names: Iterable[PolicyName], *, on_begin: Callable[[str], None] = lambda name: None
) -> Comparison:
    """Return how each policy does on ``trace``: all begin with the replicas that the oracle has at the beginning.

    ``on_begin`` is told the name of each policy before it is replayed; the oracle always comes first.
    """
    on_begin(PolicyName.ORACLE.value)
    oracle = find_oracle(trace, world)
    assumptions = list(world.assumptions)
    results = {}
    for name in dict.fromkeys(names):
        if name is not PolicyName.ORACLE:
            on_begin(name.value)
        outcome = _replayed(name, trace, world, oracle, assumptions)
        results[name.value] = Result(replay=outcome, oracle_replica_hours=oracle.replay.replica_hours)
    return Comparison(trace=trace, world=world, oracle=oracle, results=results, assumptions=tuple(assumptions))


def _replayed(name: PolicyName, trace: Trace, world: World, oracle: Plan, assumptions: list[str]) -> Replay:
    if name is PolicyName.ORACLE:
        return oracle.replay
    if name is PolicyName.STATIC_PEAK:
        peak = _named(oracle.by_pool.max(axis=0), world)
        return replay(trace, world, Constant(peak), initial=peak)
    its_world = replace(world, autoscaling=_settings(ScalingPolicy(name.value), world, assumptions))
    is_fixed = name is PolicyName.FIXED
    begins_with = by_pool(min(world.replicas, world.most), world) if is_fixed else _named(oracle.by_pool[0], world)
    return replay(trace, its_world, Operator(its_world), initial=begins_with)


def by_pool(total: int, world: World) -> dict[str, int]:
    """Return how ``total`` replicas spread over the pools, in their order of priority."""
    return _named(pool_totals(np.array([total]), world)[0], world)


def _named(shares: Array, world: World) -> dict[str, int]:
    return {pool.pool.name: int(share) for pool, share in zip(world.pools, shares, strict=True)}


def _settings(policy: ScalingPolicy, world: World, assumptions: list[str]) -> Autoscaling:
    """Return the manifest's settings with ``policy``: its target and behavior are for the policy that it names."""
    manifest = world.autoscaling
    update: dict[str, object] = {"mode": AutoscalingMode.AUTO, "policy": policy}
    if policy is not manifest.policy:
        update |= {"behavior": Behavior(), "target": None}
    is_without_target = policy is not manifest.policy or manifest.target is None
    if policy in (ScalingPolicy.HPA, ScalingPolicy.KPA) and is_without_target:
        update["target"] = target = _usual_target(policy, world)
        assumptions.append(
            f"{policy} has no target, so it is {target.value:.4g} requests/s for each replica: it is told what a "
            f"replica carries, and runs it at {USUAL_UTILISATION:.0%} of that"
        )
    return manifest.model_copy(update=update)


def _usual_target(policy: ScalingPolicy, world: World) -> Target:
    aimed_at = USUAL_UTILISATION * max(_LEAST_CAPACITY, weakest_capacity(world))
    # KPA itself aims at a share of its target.
    value = aimed_at / TARGET_UTILISATION if policy is ScalingPolicy.KPA else aimed_at
    return Target(metric=TargetMetric.REQUESTS_PER_SECOND, value=value)


def weakest_capacity(world: World) -> float:
    """Return the requests per second that a replica of the weakest pool carries within the objective."""
    return min(
        replica_capacity(
            pool.replica,
            objective_seconds=world.objective_seconds,
            percent=world.percent,
            burst=world.requests_per_arrival,
        )
        for pool in world.pools
    )
