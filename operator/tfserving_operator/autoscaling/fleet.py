"""Decisions of the whole fleet, cut to the platform's budget."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from tfserving_operator.api.pool import PoolReplicas
from tfserving_operator.autoscaling.allocation import MOST_REPLICAS
from tfserving_operator.autoscaling.budget import FleetBudget, PoolWish, Wish, grant
from tfserving_operator.autoscaling.decision import Decision, ScalingRule
from tfserving_operator.autoscaling.observation import PoolObservation

KeyT = TypeVar("KeyT", bound=Hashable)


def within_budget(
    pools: Mapping[KeyT, Iterable[PoolObservation]],
    decisions: Mapping[KeyT, Decision],
    budget: FleetBudget,
    *,
    others: Iterable[PoolWish] = (),
) -> Mapping[KeyT, Decision]:
    """Return ``decisions`` as far as the budget goes.

    ``pools`` are those of every ServedModel that is scaled, also where nothing was decided: what they run uses the
    budget. ``others`` are all other pools that serve.
    """
    if budget.is_unlimited:
        return decisions
    wishes = {key: _wish(each, decisions.get(key)) for key, each in pools.items()}
    granted = grant(wishes, budget, others=others)
    return {key: _cut(decision, granted[key]) for key, decision in decisions.items()}


def uses(pools: Iterable[PoolObservation]) -> list[PoolWish]:
    """Return what ``pools`` take of the budget where nothing is decided on them."""
    return list(_wish(pools, None).pools.values())


def _wish(pools: Iterable[PoolObservation], decision: Decision | None) -> Wish:
    wanted = {} if decision is None else decision.replicas
    return Wish(
        pools={
            each.pool.name: PoolWish(
                # A pool's min is its owner's word: the budget bounds what autoscaling adds to it.
                current=max(each.desired, each.pool.replicas.min or 0),
                wanted=wanted.get(each.pool.name, each.desired),
                resource=None if each.pool.accelerator is None else each.pool.accelerator.resource,
                devices=1 if each.pool.accelerator is None else each.pool.accelerator.count,
                most=_most(each.pool.replicas) if each.pool.name in wanted else 0,
            )
            for each in pools
        }
    )


def _most(bounds: PoolReplicas) -> int:
    return MOST_REPLICAS if bounds.max is None else bounds.max


def _cut(decision: Decision, granted: Mapping[str, int]) -> Decision:
    replicas = {name: granted[name] for name in decision.replicas}
    if replicas == decision.replicas:
        return decision
    by_pool = ", ".join(f"{name} {count}" for name, count in replicas.items())
    allowed = by_pool if len(replicas) > 1 else str(sum(replicas.values()))
    return replace(
        decision,
        replicas=replicas,
        rule=ScalingRule.BUDGET,
        message=f"{decision.message}; the fleet's budget allows {allowed}",
        is_limited=True,
        limit=ScalingRule.BUDGET,
    )
