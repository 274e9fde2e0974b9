"""What each pool may be asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tfserving_operator.autoscaling.allocation import MOST_REPLICAS, FixedReplicas, PoolSlot
from tfserving_operator.autoscaling.observation import PoolObservation

NODE_PATIENCE_SECONDS = 900.0
"""How long a replica that waits for a node is not taken back: bringing a GPU node takes cloud providers minutes."""


def scaled(pools: Sequence[PoolObservation]) -> list[PoolObservation]:
    """Return the pools that do not fix their replicas."""
    return [pool for pool in pools if pool.pool.replicas.fixed is None]


def pool_slots(
    pools: Sequence[PoolObservation],
    capacities: Mapping[str, float],
    *,
    waiting_since: Mapping[str, float],
    patience_seconds: float,
    now: float,
) -> tuple[PoolSlot, ...]:
    """Return what may be asked of each pool that is scaled; ``patience_seconds`` is how long a start may take."""
    minimums = _minimums(pools)
    slots = []
    for each in scaled(pools):
        bounds = each.pool.replicas
        fewest = minimums[each.pool.name]
        most = MOST_REPLICAS if bounds.max is None else max(fewest, bounds.max)
        reachable = most
        if bounds.max_starting is not None:
            on_the_way = max(each.desired - each.ready, each.starting + each.waiting, 0)
            reachable = min(most, each.desired + max(0, bounds.max_starting - on_the_way))
        since = waiting_since.get(each.pool.name)
        is_stuck = since is not None and now - since > patience_seconds
        slots.append(
            PoolSlot(
                name=each.pool.name,
                fewest=fewest,
                most=most,
                desired=each.desired,
                reachable=max(reachable, min(each.desired, most)),
                stuck=min(each.waiting, each.desired) if is_stuck else 0,
                cost=1.0 if each.pool.cost is None else each.pool.cost,
                capacity=capacities.get(each.pool.name),
            )
        )
    return tuple(slots)


def fixed_replicas(pools: Sequence[PoolObservation], capacities: Mapping[str, float]) -> FixedReplicas:
    """Return what the pools that fix their replicas add to the ones that are scaled."""
    serving = [pool for pool in pools if pool.pool.replicas.fixed is not None and pool.ready > 0]
    known = [capacities[pool.pool.name] for pool in serving if pool.pool.name in capacities]
    return FixedReplicas(ready=sum(pool.ready for pool in serving), capacity=min(known, default=None))


def _minimums(pools: Sequence[PoolObservation]) -> dict[str, int]:
    """Each pool's min; where none has one, the first pool keeps a replica: nothing would wake a ServedModel."""
    minimums = {pool.pool.name: pool.pool.replicas.min for pool in scaled(pools)}
    if not any(minimums.values()):
        first = next((name for name, minimum in minimums.items() if minimum is None), None)
        if first is not None:
            minimums[first] = 1
    return {name: minimum or 0 for name, minimum in minimums.items()}
