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


def hold_until_taken_over(
    wanted: Mapping[str, int], current: Mapping[str, int], ready: Mapping[str, int]
) -> Mapping[str, int]:
    """Return the replicas to run now, on the way to ``wanted``: at least those, and no ready one given up too early.

    ``current`` is what the Deployments run, ``ready`` what takes requests. When replicas move from one pool to
    another, the old ones go as fast as the new ones get ready: there are never fewer ready replicas than the smaller
    of what is wanted and what is ready now. Scaling down as a whole is not held back. Ready replicas are kept in the
    pools that come first.
    """
    spare = max(0, sum(ready.values()) - sum(wanted.values()))
    held = dict(wanted)
    for pool in reversed(list(wanted)):
        surplus = min(ready.get(pool, 0), current.get(pool, 0)) - wanted[pool]
        if surplus > 0:
            given_up = min(surplus, spare)
            spare -= given_up
            held[pool] = wanted[pool] + surplus - given_up
    return held
