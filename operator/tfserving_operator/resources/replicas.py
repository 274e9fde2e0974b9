"""How ``spec.replicas`` is shared out over the pools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tfserving_operator.api.pool import Pool


def share_replicas(total: int, pools: Sequence[Pool]) -> Mapping[str, int]:
    """Return the replicas of each pool, by name.

    A fixed pool has what it says. Every other pool has its ``min``; what is left of ``total`` goes to the pools in
    order, each up to its ``max``. Where the bounds do not allow ``total`` the bounds win.
    """
    shares = {
        pool.name: pool.replicas.fixed if pool.replicas.fixed is not None else pool.replicas.min or 0 for pool in pools
    }
    scaled = [pool for pool in pools if pool.replicas.fixed is None]
    left = total - sum(shares[pool.name] for pool in scaled)
    for pool in scaled:
        room = left if pool.replicas.max is None else min(left, pool.replicas.max - shares[pool.name])
        if room > 0:
            shares[pool.name] += room
            left -= room
    return shares
