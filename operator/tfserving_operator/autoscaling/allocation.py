"""Which pool gets the replicas."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tfserving_operator.api.autoscaling import FillOrder

MOST_REPLICAS = 10_000
_WORTH_MOVING_FOR = 0.9
"""Another mix of pools is taken up only when it costs at most this much of the present one."""


class TrafficSplit(StrEnum):
    """How requests are spread over replicas of different pools."""

    EVEN = "Even"
    """Every ready replica gets the same, whatever it carries: one Kubernetes Service over all pools."""
    WEIGHTED = "Weighted"
    """Every ready replica gets what it carries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSlot:
    """One pool that is scaled: what it may have, what it has, what one replica of it costs and carries."""

    name: str
    fewest: int
    most: int
    desired: int
    reachable: int
    """The most it may be asked for now: ``most``, what may start at once, what there are nodes for."""
    stuck: int = 0
    """Replicas that have waited for a node for longer than a start takes: they carry nothing for now."""
    cost: float = 1.0
    capacity: float | None = None
    """Requests per second of one replica within the objective; None where nothing is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedReplicas:
    """Replicas of pools that are not scaled: with an even split they get their share of requests too."""

    ready: int = 0
    capacity: float | None = None
    """Of the weakest of them, where it is known."""


@dataclass(frozen=True, slots=True)
class Mix:
    """How many replicas carry a load, and the pools to take them from, in the order to fill them."""

    total: int
    order: tuple[str, ...]
    carries: float
    """Requests per second that they carry together."""
    needed: int
    """How many it would take, were there as many as one likes."""


def in_fill_order(slots: Sequence[PoolSlot], fill: FillOrder) -> tuple[str, ...]:
    """Return the names of the pools, the one to grow first at the front; equals stay in the order of the spec."""
    if fill is FillOrder.PRIORITY:
        return tuple(slot.name for slot in slots)
    known = all(slot.capacity for slot in slots)
    return tuple(
        slot.name for slot in sorted(slots, key=lambda s: s.cost / s.capacity if known and s.capacity else s.cost)
    )


def mix_for(
    requests_per_second: float, slots: Sequence[PoolSlot], fixed: FixedReplicas, fill: FillOrder, split: TrafficSplit
) -> Mix | None:
    """Return the mix that carries the load, else the one that carries most; None where no capacity is known.

    With an even split all replicas get the same, so a mix carries its number of replicas x the smallest capacity
    among them: replicas that carry little can make things worse. A pool that was never measured is taken to carry
    what the weakest known one does.
    """
    known = [slot.capacity for slot in slots if slot.capacity]
    if not known:
        return None
    guess = min(known)
    capacities = {slot.name: slot.capacity or guess for slot in slots}
    candidates = _candidates(slots, capacities, fill)
    mixes = [_even_mix(requests_per_second, each, capacities, fixed) for each in candidates]
    if split is TrafficSplit.WEIGHTED:
        mixes = [_weighted_mix(requests_per_second, slots, capacities, fixed, fill)]
    enough = [mix for mix in mixes if mix.carries >= requests_per_second]
    if not enough:
        return max(mixes, key=lambda mix: mix.carries)
    if fill is FillOrder.PRIORITY:
        return enough[0]
    return _cheapest(enough, slots)


def _candidates(
    slots: Sequence[PoolSlot], capacities: Mapping[str, float], fill: FillOrder
) -> list[Sequence[PoolSlot]]:
    """The sets of pools to choose from, in the order to fill them; pools with a minimum are in each."""
    if fill is FillOrder.PRIORITY:
        return [
            [slot for place, slot in enumerate(slots) if place < length or slot.fewest > 0]
            for length in range(1, len(slots) + 1)
        ]
    cheapest_first = sorted(slots, key=lambda slot: slot.cost)
    running_first = sorted(cheapest_first, key=lambda slot: slot.desired == 0)
    return [
        [slot for slot in order if slot.fewest > 0 or capacities[slot.name] >= weakest]
        for weakest in sorted(set(capacities.values()), reverse=True)
        for order in (cheapest_first, running_first)
    ]


def _even_mix(
    requests_per_second: float, slots: Sequence[PoolSlot], capacities: Mapping[str, float], fixed: FixedReplicas
) -> Mix:
    weakest = min(
        [capacities[slot.name] for slot in slots] + ([fixed.capacity] if fixed.capacity and fixed.ready else [])
    )
    fewest = sum(slot.fewest for slot in slots)
    most = max(fewest, sum(working_room(slot) for slot in slots))
    needed = math.ceil(requests_per_second / weakest - 1e-9) - fixed.ready
    total = min(max(needed, fewest), most)
    order = tuple(slot.name for slot in slots)
    return Mix(total, order, carries=(total + fixed.ready) * weakest, needed=max(0, needed))


def _weighted_mix(
    requests_per_second: float,
    slots: Sequence[PoolSlot],
    capacities: Mapping[str, float],
    fixed: FixedReplicas,
    fill: FillOrder,
) -> Mix:
    order = list(slots)
    if fill is FillOrder.COST:
        order.sort(key=lambda slot: slot.cost / capacities[slot.name])
    carries = fixed.ready * (fixed.capacity or 0.0) + sum(slot.fewest * capacities[slot.name] for slot in slots)
    total = sum(slot.fewest for slot in slots)
    for slot in order:
        room = max(0, working_room(slot) - slot.fewest)
        added = min(room, max(0, math.ceil((requests_per_second - carries) / capacities[slot.name] - 1e-9)))
        total += added
        carries += added * capacities[slot.name]
    missing = math.ceil(max(0.0, requests_per_second - carries) / capacities[order[-1].name] - 1e-9)
    return Mix(total, tuple(slot.name for slot in order), carries=carries, needed=total + missing)


def _cheapest(mixes: Sequence[Mix], slots: Sequence[PoolSlot]) -> Mix:
    """The cheapest mix; the pools that run now are left only for one that is clearly cheaper."""
    by_name = {slot.name: slot for slot in slots}
    running = {slot.name for slot in slots if slot.desired > 0}

    def price(mix: Mix) -> float:
        shares = shared_out(mix.total, slots, mix.order)
        cost = sum(by_name[name].cost * replicas for name, replicas in shares.items())
        is_running = {name for name, replicas in shares.items() if replicas > 0} <= running
        return cost * _WORTH_MOVING_FOR if is_running else cost

    return min(mixes, key=price)


def working_room(slot: PoolSlot) -> int:
    """Return how many replicas of the pool could carry load soon."""
    if slot.stuck:
        return max(0, slot.desired - slot.stuck)
    return slot.reachable


def shared_out(total: int, slots: Sequence[PoolSlot], order: Iterable[str]) -> dict[str, int]:
    """Return ``total`` by pool: each pool's fewest, then the pools of ``order`` up to what is reachable now.

    What has no place there goes to the other pools, then to those that wait for nodes; the bounds of the pools win
    over ``total``.
    """
    by_name = {slot.name: slot for slot in slots}
    names = [*order, *(slot.name for slot in slots)]
    shares = {slot.name: slot.fewest for slot in slots}
    left = total - sum(shares.values())
    for room in (working_room, lambda slot: slot.reachable):
        for name in names:
            added = min(left, room(by_name[name]) - shares[name])
            if added > 0:
                shares[name] += added
                left -= added
    return shares


def grown(total: int, slots: Sequence[PoolSlot], order: Iterable[str]) -> dict[str, int]:
    """Return ``total`` by pool without taking any replica from a pool: what is missing goes to ``order``."""
    held = [
        PoolSlot(
            name=slot.name,
            fewest=min(max(slot.desired, slot.fewest), slot.most),
            most=slot.most,
            desired=slot.desired,
            reachable=max(slot.reachable, slot.desired),
            stuck=slot.stuck,
        )
        for slot in slots
    ]
    return shared_out(total, held, order)
