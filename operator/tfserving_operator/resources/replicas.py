"""How many replicas each pool has: shared out from a total, kept within bounds, moved without a gap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tfserving_operator.api.pool import Pool


def share_replicas(total: int, pools: Sequence[Pool]) -> Mapping[str, int]:
    """Return the replicas of each pool, by name.

    A fixed pool has what it says. Every other pool has its ``min``; what is left of ``total`` goes to the pools in
    order, each up to its ``max``. Where the bounds do not allow ``total`` the bounds win.
    """
    return fill_up({pool.name: fewest_replicas(pool) for pool in pools}, total, pools)


def fill_up(shares: Mapping[str, int], total: int, pools: Sequence[Pool]) -> Mapping[str, int]:
    """Return ``shares``, raised to ``total`` over the pools that do not fix theirs: in order, each up to its max."""
    filled = dict(shares)
    scaled = scaled_pools(pools)
    left = total - sum(filled[pool.name] for pool in scaled)
    for pool in scaled:
        room = left if pool.replicas.max is None else min(left, pool.replicas.max - filled[pool.name])
        if room > 0:
            filled[pool.name] += room
            left -= room
    return filled


def clip_replicas(
    wanted: Mapping[str, int], pools: Sequence[Pool], *, max_total: int | None = None
) -> Mapping[str, int]:
    """Return the replicas of each pool: ``wanted``, within the bounds that the pools have now.

    A fixed pool has what it says; one that ``wanted`` does not name has its min. Above ``max_total``, which counts
    the pools that are not fixed, the last pools give up first what they have above their min.
    """
    clipped = {pool.name: _clip(wanted.get(pool.name, 0), pool) for pool in pools}
    if max_total is None:
        return clipped
    scaled = scaled_pools(pools)
    excess = sum(clipped[pool.name] for pool in scaled) - max_total
    for pool in reversed(scaled):
        given_up = max(0, min(excess, clipped[pool.name] - fewest_replicas(pool)))
        clipped[pool.name] -= given_up
        excess -= given_up
    return clipped


def scaled_pools(pools: Sequence[Pool]) -> list[Pool]:
    """Return the pools that do not fix their replicas."""
    return [pool for pool in pools if pool.replicas.fixed is None]


def fewest_replicas(pool: Pool) -> int:
    """Return what the pool has at least."""
    return pool.replicas.fixed if pool.replicas.fixed is not None else pool.replicas.min or 0


def _clip(wanted: int, pool: Pool) -> int:
    if pool.replicas.fixed is not None:
        return pool.replicas.fixed
    at_least = max(wanted, fewest_replicas(pool))
    return at_least if pool.replicas.max is None else min(at_least, pool.replicas.max)


def hold_until_taken_over(
    wanted: Mapping[str, int], current: Mapping[str, int], ready: Mapping[str, int], *, enough: int | None = None
) -> Mapping[str, int]:
    """Return the replicas to run now, on the way to ``wanted``: at least those, and no ready one given up too early.

    ``current`` is what the Deployments run, ``ready`` what takes requests. When replicas move from one pool to
    another, the old ones go as fast as the new ones get ready: there are never fewer ready replicas than the smaller
    of what is wanted and what is ready now. Scaling down as a whole is not held back. Ready replicas are kept in the
    pools that come first. ``enough`` is how many of those that are wanted have to serve, where the others wait for
    nodes and may do so for long; None: all of them.
    """
    # A pod that its Deployment has just given up is still ready for a moment: it takes over from nobody.
    staying = {pool: min(ready.get(pool, 0), current.get(pool, 0)) for pool in wanted}
    to_serve = sum(wanted.values()) if enough is None else min(enough, sum(wanted.values()))
    spare = max(0, sum(staying.values()) - to_serve)
    held = dict(wanted)
    for pool in reversed(list(wanted)):
        surplus = staying[pool] - wanted[pool]
        if surplus > 0:
            given_up = min(surplus, spare)
            spare -= given_up
            held[pool] = wanted[pool] + surplus - given_up
    return held
