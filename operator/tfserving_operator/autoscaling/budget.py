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
    most: int = 0
    """What it may have in place of pools that the budget gives nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What one ServedModel would like to run, by pool, the preferred one first.

    Pools that are not scaled belong here too: they use the budget.
    """

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

    What a ServedModel gives up is free for others at once. What it moves from one pool to another is not given up: a
    replica goes only as far as one that takes over is granted. The rest goes one by one to the pool that has the
    smallest share of what it wants; equals in the order of ``wishes``. A pool that is granted nothing is stood in for
    by others of its ServedModel. Where even what runs exceeds the budget, nothing grows. ``others`` use the budget by
    what they run, and are granted nothing.
    """
    left = _Left(budget)
    for other in others:
        left.take(other, other.current)
    shares = {key: _Share(wish, left) for key, wish in wishes.items()}
    worst_first = [
        (shares[key].part(name), place, key, name)
        for place, (key, name) in enumerate((key, name) for key, wish in wishes.items() for name in wish.pools)
        if shares[key].lacks(name)
    ]
    heapq.heapify(worst_first)
    while worst_first:
        _, place, key, name = heapq.heappop(worst_first)
        if shares[key].grow(name) and shares[key].lacks(name):
            heapq.heappush(worst_first, (shares[key].part(name), place, key, name))
    for share in shares.values():
        share.stand_in()
    return {key: share.granted for key, share in shares.items()}


class _Share:
    """What one ServedModel is granted so far; it takes from what is left of the budget."""

    def __init__(self, wish: Wish, left: _Left) -> None:
        """Begin with what runs, without what is given up and moves nowhere."""
        self._wish = wish
        self._left = left
        to_move = sum(max(0, pool.wanted - pool.current) for pool in wish.pools.values())
        self.granted: dict[str, int] = {}
        for name, pool in wish.pools.items():
            kept = min(to_move, max(0, pool.current - pool.wanted))
            to_move -= kept
            self.granted[name] = min(pool.current, pool.wanted) + kept
            left.take(pool, self.granted[name])

    def lacks(self, name: str) -> bool:
        return self.granted[name] < self._wish.pools[name].wanted

    def part(self, name: str) -> float:
        return self.granted[name] / self._wish.pools[name].wanted

    def grow(self, name: str) -> bool:
        """Add a replica to a pool, in place of one that moves where there is one; False where there is no room."""
        pools = self._wish.pools
        moving = next((other for other in reversed(list(pools)) if self.granted[other] > pools[other].wanted), None)
        self._change(moving, -1)
        if not self._left.has_room(pools[name]):
            self._change(moving, 1)
            return False
        self._change(name, 1)
        return True

    def stand_in(self) -> None:
        """Let other pools serve in place of those that are granted nothing, as far as replicas do not stay anyway."""
        pools = self._wish.pools
        refused = [name for name in pools if self.lacks(name) and self.granted[name] == 0]
        staying = sum(max(0, self.granted[name] - pool.wanted) for name, pool in pools.items())
        missing = sum(pools[name].wanted for name in refused) - staying
        for name, pool in pools.items():
            while name not in refused and missing > 0 and self.granted[name] < pool.most and self._left.has_room(pool):
                self._change(name, 1)
                missing -= 1

    def _change(self, name: str | None, replicas: int) -> None:
        if name is not None:
            self._left.take(self._wish.pools[name], replicas)
            self.granted[name] += replicas


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
