"""The platform's budget for all ServedModels together: it cuts growth, and takes nothing away that runs."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolWish:
    """What one pool runs and what it would like to run."""

    current: int
    """Replicas that are asked for now."""
    wanted: int
    resource: str | None = None
    """Extended resource of each replica, for example nvidia.com/gpu; None for a CPU pool."""
    devices: int = 1
    """Devices of ``resource`` a replica."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What one ServedModel would like to run. Pools that are not scaled belong here too: they use the budget."""

    pools: Mapping[str, PoolWish] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetBudget:
    """Upper bounds over all ServedModels."""

    replicas: int | None = None
    """Replicas of all pools; None for no bound."""
    devices: Mapping[str, int] = field(default_factory=dict)
    """By extended resource; a resource that is not named has no bound."""

    @property
    def is_unlimited(self) -> bool:
        """Whether nothing is bounded."""
        return self.replicas is None and not self.devices


def grant(
    wishes: Mapping[KeyT, Wish], budget: FleetBudget, *, others: Iterable[PoolWish] = ()
) -> Mapping[KeyT, Mapping[str, int]]:
    """Return the replicas of each pool that the budget allows: never fewer than run now or are wanted, if that is less.

    What a pool gives up is free for others at once. The rest goes one by one to the pool that has the smallest share
    of what it wants; equals in the order of ``wishes``. Where even what runs exceeds the budget, nothing grows.
    ``others`` use the budget by what they run, and are granted nothing.
    """
    granted = {
        key: {name: min(pool.current, pool.wanted) for name, pool in wish.pools.items()} for key, wish in wishes.items()
    }
    left = _Left(budget)
    for other in others:
        left.take(other, other.current)
    for key, wish in wishes.items():
        for name, pool in wish.pools.items():
            left.take(pool, granted[key][name])
    worst_first = [
        (_share(granted[key][name], pool), place, key, name)
        for place, (key, name, pool) in enumerate(
            (key, name, pool) for key, wish in wishes.items() for name, pool in wish.pools.items()
        )
        if granted[key][name] < pool.wanted
    ]
    heapq.heapify(worst_first)
    while worst_first:
        _, place, key, name = heapq.heappop(worst_first)
        pool = wishes[key].pools[name]
        if not left.has_room(pool):
            continue
        left.take(pool, 1)
        granted[key][name] += 1
        if granted[key][name] < pool.wanted:
            heapq.heappush(worst_first, (_share(granted[key][name], pool), place, key, name))
    return granted


def _share(granted: int, pool: PoolWish) -> float:
    return granted / pool.wanted


class _Left:
    """What is left of a budget."""

    def __init__(self, budget: FleetBudget) -> None:
        self.replicas = budget.replicas
        self.devices = dict(budget.devices)

    def has_room(self, pool: PoolWish) -> bool:
        devices = self.devices.get(pool.resource) if pool.resource else None
        return (self.replicas is None or self.replicas >= 1) and (devices is None or devices >= pool.devices)

    def take(self, pool: PoolWish, replicas: int) -> None:
        if self.replicas is not None:
            self.replicas -= replicas
        if pool.resource in self.devices:
            self.devices[pool.resource] -= replicas * pool.devices
