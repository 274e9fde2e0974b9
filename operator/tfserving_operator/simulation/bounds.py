"""How many replicas the pools may have, and how a number of them is shared out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tfserving_operator.api.pool import Pool
from tfserving_operator.api.servedmodel import ServedModelSpec
from tfserving_operator.resources.replicas import fill_up, share_replicas


def scaled(pools: Sequence[Pool]) -> list[Pool]:
    """Return the pools that do not fix their replicas."""
    return [pool for pool in pools if pool.replicas.fixed is None]


def most_replicas(spec: ServedModelSpec, *, devices: int | None = None) -> int | None:
    """Return the most replicas that autoscaling may run, over all pools that are scaled; None where nothing bounds.

    ``devices`` is how many replicas of pools with an accelerator find one; None for all of them.
    """
    by_pool = [
        pool.replicas.max if devices is None or pool.accelerator is None else min(pool.replicas.max or devices, devices)
        for pool in scaled(spec.pools)
    ]
    limits = [] if None in by_pool else [sum(limit or 0 for limit in by_pool)]
    if spec.autoscaling is not None and spec.autoscaling.max_replicas is not None:
        limits.append(spec.autoscaling.max_replicas)
    return min(limits, default=None)


def least_replicas(pools: Sequence[Pool]) -> int:
    """Return the fewest replicas over all pools that are scaled: at least one, as nothing would wake a ServedModel."""
    return max(1, sum(pool.replicas.min or 0 for pool in scaled(pools)))


def shared_out(total: int, pools: Sequence[Pool], *, devices: int | None = None) -> Mapping[str, int]:
    """Return ``total`` replicas by pool, in order of priority; fixed pools have what they fix.

    ``devices`` is how many replicas of each pool with an accelerator find one; None for all of them. A pool gets no
    more than that, except where its bounds ask for more, or there would be none at all.
    """
    if devices is None:
        return share_replicas(total, pools)
    shares = share_replicas(total, [_with_devices(pool, devices) for pool in pools])
    return fill_up(shares, least_replicas(pools), pools)


def _with_devices(pool: Pool, devices: int) -> Pool:
    if pool.accelerator is None or pool.replicas.fixed is not None:
        return pool
    most = devices if pool.replicas.max is None else min(pool.replicas.max, devices)
    bounds = pool.replicas.model_copy(update={"max": max(most, pool.replicas.min or 0)})
    return pool.model_copy(update={"replicas": bounds})


def serving(shares: Mapping[str, int], pools: Sequence[Pool], *, devices: int | None = None) -> Mapping[str, int]:
    """Return how many of ``shares`` find a device, by pool; all of them where no accelerator is needed."""
    return {
        pool.name: shares[pool.name] if devices is None or pool.accelerator is None else min(shares[pool.name], devices)
        for pool in pools
    }
