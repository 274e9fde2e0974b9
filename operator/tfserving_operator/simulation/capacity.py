"""What one replica really carries: found by the simulator itself."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace

from tfserving_operator.api.autoscaling import Autoscaling, AutoscalingMode
from tfserving_operator.api.pool import Pool
from tfserving_operator.simulation.engine import Moment, replay
from tfserving_operator.simulation.scenario import LoadBalancing, Nodes, Scraping, StartUp
from tfserving_operator.simulation.trace import build_trace
from tfserving_operator.simulation.world import PoolWorld, Replica, World

_FAILURES_TO_SEE = 600
"""Requests beyond the objective that make the share known to about a tenth of what is promised to fail."""
_FEWEST_REQUESTS, _MOST_REQUESTS = 40_000, 600_000
_TICKS = 100
_STEPS = 14
_LEAST_LOAD = 1e-3
"""Share of the saturation throughput at which a replica counts as idle."""
_LONGEST_SECONDS = 1e8
"""Of a measurement: the simulator keeps numbers of every minute."""
_SEED = 20_240_101


class _Hold:
    def decide(self, moment: Moment) -> Mapping[str, int]:
        return {}


@functools.lru_cache(maxsize=4096)
def share_at(
    replica: Replica, requests_per_second: float, *, objective_seconds: float, percent: float, burst: float = 1.0
) -> float:
    """Return the share of requests within the objective on one replica under a steady load."""
    requests = min(_MOST_REQUESTS, max(_FEWEST_REQUESTS, _FAILURES_TO_SEE / (1 - percent / 100)))
    duration = requests / requests_per_second
    if duration > _LONGEST_SECONDS:
        # An idle replica is idle at any rate. Then only the unit of time is another: what decades would show, days do.
        requests_per_second = max(requests_per_second, _LEAST_LOAD * replica.saturation_per_second)
        faster = max(1.0, requests / requests_per_second / _LONGEST_SECONDS)
        requests_per_second *= faster
        objective_seconds /= faster
        replica = replace(replica.slowed(1 / faster), batch_timeout_seconds=replica.batch_timeout_seconds / faster)
        duration = requests / requests_per_second
    pool = PoolWorld(
        pool=Pool(name="one"),
        replica=replica,
        start_up=StartUp(),
        nodes=Nodes(),
        crashes_per_replica_day=0.0,
        least=1,
        most=1,
    )
    world = World(
        autoscaling=Autoscaling(mode=AutoscalingMode.OFF),
        replicas=1,
        pools=(pool,),
        objective_seconds=objective_seconds,
        percent=percent,
        good_edge_seconds=objective_seconds,
        timeout_seconds=objective_seconds,
        most=1,
        load_balancing=LoadBalancing.RANDOM,
        scraping=Scraping(interval_seconds=300),
        requests_per_arrival=burst,
        drain_seconds=0.0,
        tick_seconds=duration / _TICKS,
        seed=_SEED,
    )
    steady = build_trace(name="steady", time_seconds=[0.0, duration], requests_per_second=[requests_per_second] * 2)
    return replay(steady, world, _Hold(), initial={"one": 1}).share_within_objective


@functools.lru_cache(maxsize=1024)
def replica_capacity(replica: Replica, *, objective_seconds: float, percent: float, burst: float = 1.0) -> float:
    """Return the most requests per second at which ``percent`` of them are within the objective, on one replica.

    0 where not even an idle replica keeps the objective. Found by bisection, as more load never helps.
    """

    def is_kept(rate: float) -> bool:
        share = share_at(replica, rate, objective_seconds=objective_seconds, percent=percent, burst=burst)
        return share >= percent / 100

    low, high = _LEAST_LOAD * replica.saturation_per_second, replica.saturation_per_second
    if not is_kept(low):
        return 0.0
    for _ in range(_STEPS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if is_kept(middle) else (low, middle)
    return low
