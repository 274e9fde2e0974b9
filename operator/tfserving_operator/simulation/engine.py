"""The simulator: a trace meets a world and a policy, tick by tick."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import numpy as np

from tfserving_operator.simulation.fleet import add_replica, give_up_replicas, grown
from tfserving_operator.simulation.kernel.layout import (
    SEEN,
    TRUTHS,
    Array,
    Fleet,
    Seen,
    Settings,
    Tally,
    Truth,
    new_fleet,
)
from tfserving_operator.simulation.kernel.random_numbers import Stream, stream_keys, uniform
from tfserving_operator.simulation.kernel.tick import advance, serve_until
from tfserving_operator.simulation.scenario import LoadBalancing, NoiseDistribution, ServiceTimeNoise
from tfserving_operator.simulation.trace import Trace
from tfserving_operator.simulation.world import World, noise_factors

_NOISE_QUANTILES = 1 << 14
_MOST_SLOTS_A_TICK = 8
_LONG_AFTER_SECONDS = 1e18
_SECONDS_A_DAY = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The end of a tick: what a policy may look at."""

    tick: int
    seconds: float
    now: datetime
    desired: Mapping[str, int]
    """Replicas wanted until now, by pool."""
    seen: Array
    """Pool x ``Seen``; valid until the next tick."""


class Policy(Protocol):
    """What sets the replicas."""

    def decide(self, moment: Moment) -> Mapping[str, int]:
        """Return the replicas wanted from now on, by pool; pools that are left out stay as they are."""
        ...


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What happened. Arrays by tick are taken at its end."""

    truth: Array
    """By ``Truth``."""
    minute_requests: Array
    minute_good: Array
    replica_seconds: Mapping[str, float]
    """Paid, by pool."""
    scaling_actions: int
    desired: Array
    """Tick x pool."""
    ready: Array
    """Tick x pool."""
    in_flight: Array
    """By tick."""
    tick_seconds: float

    @property
    def requests(self) -> int:
        """All that were sent."""
        return int(self.truth[Truth.REQUESTS])

    @property
    def share_within_objective(self) -> float:
        """Share of all requests that were answered within the objective; 1 without any."""
        return float(self.truth[Truth.GOOD]) / self.requests if self.requests else 1.0

    @property
    def replica_hours(self) -> float:
        """Paid hours over all pools."""
        return sum(self.replica_seconds.values()) / 3600


@functools.lru_cache(maxsize=32)
def _noise(distribution: NoiseDistribution, variation: float) -> Array:
    noise = ServiceTimeNoise(distribution=distribution, coefficient_of_variation=variation)
    return np.array(noise_factors(noise, _NOISE_QUANTILES))


def slots_per_tick(trace: Trace, tick_seconds: float) -> int:
    """Return in how many steps the rate follows the trace within a tick: four for each row, 1 to 8."""
    shortest = float(np.min(np.diff(trace.times_seconds)))
    return int(min(_MOST_SLOTS_A_TICK, max(1, math.ceil(4 * tick_seconds / shortest))))


def build_settings(trace: Trace, world: World, ticks: int) -> Settings:
    """Return what does not change during a run of so many ticks."""
    slots = slots_per_tick(trace, world.tick_seconds)
    slot_seconds = world.tick_seconds / slots
    edges = np.arange(ticks * slots + 1) * slot_seconds
    expected = np.diff(trace.requests_until(edges))
    replicas = [pool.replica for pool in world.pools]

    def by_pool(values: list[Any], kind: type = np.float64) -> Array:
        return np.array(values, dtype=kind)

    return Settings(
        keys=stream_keys(world.seed),
        t0_seconds=by_pool([replica.t0_seconds for replica in replicas]),
        t1_seconds=by_pool([replica.t1_seconds for replica in replicas]),
        t2_seconds=by_pool([replica.t2_seconds for replica in replicas]),
        noise=np.array([_noise(replica.noise_distribution, replica.noise_variation) for replica in replicas]),
        max_batch_size=by_pool([replica.max_batch_size for replica in replicas], np.int64),
        batch_timeout_seconds=by_pool([replica.batch_timeout_seconds for replica in replicas]),
        parallel_batches=by_pool([replica.parallel_batches for replica in replicas], np.int64),
        max_enqueued=by_pool([replica.max_enqueued for replica in replicas], np.int64),
        nodes_available=by_pool([pool.nodes.available for pool in world.pools], np.int64),
        nodes_most=by_pool([pool.nodes.most for pool in world.pools], np.int64),
        gpu_bound=by_pool(
            [trace.gpus_available is not None and pool.pool.accelerator is not None for pool in world.pools], np.bool_
        ),
        restart_seconds=by_pool([pool.start_up.model_load.median_seconds for pool in world.pools]),
        crashes_per_second=by_pool([pool.crashes_per_replica_day / _SECONDS_A_DAY for pool in world.pools]),
        rates=np.maximum(0.0, expected / slot_seconds),
        scales=trace.scale_at(edges[:-1] + slot_seconds / 2),
        gpus=np.minimum(trace.gpus_at(edges[:-1]), 1e9),
        slot_seconds=slot_seconds,
        objective_seconds=world.objective_seconds,
        good_edge_seconds=world.good_edge_seconds,
        next_edge_seconds=world.next_edge_seconds,
        timeout_seconds=world.timeout_seconds,
        burst_mean=float(world.requests_per_arrival),
        is_least_loaded=world.load_balancing is LoadBalancing.LEAST_LOADED,
        scrape_interval_seconds=float(world.scraping.interval_seconds),
        scrape_delay_seconds=float(world.scraping.delay_seconds),
        scrape_loss=float(world.scraping.loss_probability),
        lookback_seconds=world.lookback_seconds,
    )


class Run:
    """One replay under way."""

    def __init__(self, trace: Trace, world: World, initial: Mapping[str, int]) -> None:
        """Begin with ``initial`` ready replicas, by pool."""
        self.world = world
        self.trace = trace
        self.ticks = max(1, math.ceil(trace.duration_seconds / world.tick_seconds - 1e-9))
        self.settings = build_settings(trace, world, self.ticks)
        self.desired = {pool.pool.name: initial.get(pool.pool.name, 0) for pool in world.pools}
        self.serial = 0
        self.fleet = self._new_fleet()
        self.tally = self._new_tally()
        for index, pool in enumerate(world.pools):
            for _ in range(self.desired[pool.pool.name]):
                self._add(index, 0.0, is_ready=True)

    def _new_fleet(self) -> Fleet:
        replicas = [pool.replica for pool in self.world.pools]
        return new_fleet(
            2 * sum(self.desired.values()) + 8,
            queue_capacity=max(replica.max_enqueued for replica in replicas),
            parallel=max(replica.parallel_batches for replica in replicas),
        )

    def _new_tally(self) -> Tally:
        minutes = int(self.trace.duration_seconds / 60) + 3
        first_gap = -math.log(uniform(self.settings.keys[Stream.ARRIVAL], 0))
        return Tally(
            truth=np.zeros(TRUTHS),
            minute_requests=np.zeros(minutes),
            minute_good=np.zeros(minutes),
            exposure=np.array([first_gap]),
            arrivals=np.zeros(1, dtype=np.int64),
            seen=np.zeros((len(self.world.pools), SEEN)),
            ready=np.zeros(self.fleet.phase.shape[0], dtype=np.int64),
        )

    def _add(self, pool: int, seconds: float, *, is_ready: bool = False) -> None:
        if not add_replica(self.fleet, self.settings, self.world.pools[pool], pool, self.serial, seconds, is_ready):
            self.fleet = grown(self.fleet)
            self.tally = self.tally._replace(ready=np.zeros(self.fleet.phase.shape[0], dtype=np.int64))
            add_replica(self.fleet, self.settings, self.world.pools[pool], pool, self.serial, seconds, is_ready)
        self.serial += 1

    def scale(self, wanted: Mapping[str, int], seconds: float) -> bool:
        """Set the replicas of the pools in ``wanted``; say whether that changed any."""
        is_changed = False
        for index, pool in enumerate(self.world.pools):
            name = pool.pool.name
            change = wanted.get(name, self.desired[name]) - self.desired[name]
            is_changed |= change != 0
            for _ in range(change):
                self._add(index, seconds)
            if change < 0:
                give_up_replicas(self.fleet, index, -change, seconds, self.world.drain_seconds)
            self.desired[name] += change
        return is_changed

    def replay(self, policy: Policy) -> Replay:
        """Let the whole trace pass, with ``policy`` deciding at the end of each tick."""
        tick_seconds = self.world.tick_seconds
        pools = len(self.world.pools)
        desired, ready, in_flight = (np.zeros((self.ticks, pools)) for _ in range(3))
        paid = np.zeros(pools)
        actions = 0
        for tick in range(self.ticks):
            desired[tick] = list(self.desired.values())
            end = (tick + 1) * tick_seconds
            advance(self.fleet, self.settings, self.tally, tick * tick_seconds, end)
            seen = self.tally.seen
            ready[tick] = seen[:, Seen.READY]
            in_flight[tick] = seen[:, Seen.IN_FLIGHT]
            paid += seen[:, Seen.PAID]
            now = self.trace.origin + timedelta(seconds=end)
            moment = Moment(tick=tick, seconds=end, now=now, desired=self.desired, seen=seen)
            actions += self.scale(policy.decide(moment), end)
        # Nothing arrives any more; what still waits is served.
        serve_until(self.fleet, self.settings, self.tally, _LONG_AFTER_SECONDS)
        names = [pool.pool.name for pool in self.world.pools]
        return Replay(
            truth=self.tally.truth,
            minute_requests=self.tally.minute_requests,
            minute_good=self.tally.minute_good,
            replica_seconds=dict(zip(names, (paid * tick_seconds).tolist(), strict=True)),
            scaling_actions=actions,
            desired=desired,
            ready=ready,
            in_flight=in_flight.sum(axis=1),
            tick_seconds=tick_seconds,
        )


def replay(trace: Trace, world: World, policy: Policy, *, initial: Mapping[str, int]) -> Replay:
    """Return what happens when ``trace`` meets ``world`` and ``policy``, beginning with ``initial`` ready replicas."""
    return Run(trace, world, initial).replay(policy)
