"""Replicas are created and given up: the few changes of the arrays that Python makes between ticks."""

from __future__ import annotations

import numpy as np

from tfserving_operator.simulation.kernel.layout import Fleet, Phase, Settings
from tfserving_operator.simulation.kernel.lifecycle import become_ready
from tfserving_operator.simulation.kernel.random_numbers import Stream, uniform
from tfserving_operator.simulation.world import PoolWorld, time_at

_NEWEST_BUILD_FIRST = (Phase.WAITING, Phase.STARTING, Phase.READY)


def add_replica(
    fleet: Fleet, settings: Settings, pool: PoolWorld, index: int, serial: int, seconds: float, is_ready: bool
) -> bool:
    """Put a new replica into a free slot; False when there is none.

    ``serial`` counts replicas: the n-th replica takes the same time to start under every policy.
    """
    free = np.flatnonzero(fleet.phase == Phase.FREE)
    if len(free) == 0:
        return False
    slot = int(free[0])
    keys = settings.keys
    fleet.pool[slot] = index
    fleet.serial[slot] = serial
    fleet.created_seconds[slot] = seconds
    fleet.start_up_seconds[slot] = time_at(pool.start_up.image, _quantile(keys[Stream.START_UP], 2 * serial)) + time_at(
        pool.start_up.model_load, _quantile(keys[Stream.START_UP], 2 * serial + 1)
    )
    fleet.node_seconds[slot] = time_at(pool.nodes.new_node, _quantile(keys[Stream.NODE], serial))
    fleet.scrape_phase[slot] = uniform(keys[Stream.SCRAPE_PHASE], serial) * settings.scrape_interval_seconds
    fleet.queue_entries[slot] = fleet.queued[slot] = fleet.batches_begun[slot] = 0
    fleet.sample_count[slot] = fleet.restarts[slot] = 0
    fleet.took_seconds[slot] = -1.0
    fleet.free_seconds[slot] = 0.0
    fleet.phase[slot] = Phase.WAITING
    if is_ready:
        # It runs since before the trace began, and has as much of a start-up behind it as others.
        become_ready(fleet, settings, slot, seconds)
        fleet.took_seconds[slot] = fleet.start_up_seconds[slot]
    return True


def give_up_replicas(fleet: Fleet, index: int, count: int, seconds: float, drain_seconds: float) -> None:
    """Give up ``count`` replicas of a pool: those that wait first, then those that start, the newest first.

    That is the order of Kubernetes' ReplicaSet controller. A ready one drains; the others end at once.
    """
    for phase in _NEWEST_BUILD_FIRST:
        slots = np.flatnonzero((fleet.phase == phase) & (fleet.pool == index))
        newest_first = slots[np.argsort(-fleet.serial[slots])]
        for slot in newest_first[:count]:
            is_ready = phase is Phase.READY
            fleet.phase[slot] = Phase.DRAINING if is_ready else Phase.FREE
            fleet.due_seconds[slot] = seconds + drain_seconds
        count -= min(count, len(newest_first))


def grown(fleet: Fleet) -> Fleet:
    """Return the same fleet with twice as many slots."""
    return Fleet(*(np.concatenate((array, np.zeros_like(array))) for array in fleet))


def _quantile(key: np.uint64, index: int) -> float:
    return min(1 - 1e-12, max(1e-12, uniform(key, index)))
