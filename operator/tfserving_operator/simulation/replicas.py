"""One replica of a pool: as scenario and manifest say, and where they do not, made to fit the trace's peak."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfserving_operator.api.autoscaling import Objective
from tfserving_operator.api.pool import Pool
from tfserving_operator.api.server import Batching, duration_micros
from tfserving_operator.simulation.capacity import share_at
from tfserving_operator.simulation.scenario import PoolScenario, ScenarioError
from tfserving_operator.simulation.world import Replica

_SERVICE_SHARE = 0.2
"""Service time of one request where it is made up, as a share of the objective; at most ``_LONGEST_SHARE``."""
_LONGEST_SHARE = 0.5
_UTILISATION = 0.7
_MOST_PARALLEL = 16
_EXAMPLE_SHARE_ON_ACCELERATOR = 0.05
"""What each further example of a batch adds on an accelerator, as a share of a batch of one."""
_ACCELERATOR_BATCH = 32
_DEFAULT_QUEUE_SECONDS = 10.0
_MOST_ENQUEUED = 20_000
_SERVER_DEFAULT_BATCH = 1000
_SERVER_DEFAULT_ENQUEUED_BATCHES = 10
_STEPS = 12


@dataclass(frozen=True)
class Demand:
    """What a replica is made to carry where nothing says what a batch costs."""

    loads: tuple[tuple[float, float], ...]
    """What one replica is to carry: requests per second, each at a factor of the service time."""
    peak_replicas: float
    objective: Objective
    burst: float

    @property
    def rate(self) -> float:
        """The heaviest load, in requests per second of normal service time."""
        return max(rate * scale for rate, scale in self.loads)


@dataclass(frozen=True)
class Given:
    """What a replica is made from."""

    pool: Pool
    scenario: PoolScenario
    batching: Batching | None


def build_replica(it: Given, demand: Demand, assumptions: list[str]) -> Replica:
    """Return how a replica serves; what is made up is added to ``assumptions``.

    Raises:
        ScenarioError: The scenario says that a batch costs nothing.
    """
    if it.scenario.batch_cost is not None:
        cost = it.scenario.batch_cost
        costs = (cost.t0_micros / 1e6, cost.t1_micros / 1e6, cost.t2_micros / 1e6)
        if sum(costs) <= 0:
            raise ScenarioError(
                f"pool {it.pool.name}: batchCost is 0: write the service time, for example t0Micros: 5000"
            )
        replica = _shaped(it, costs, parallel=_parallel(it, 1))
        return _with_queue(it, replica)
    seconds = duration_micros(demand.objective.latency) / 1e6
    shape, parallel = _made_up_shape(it, demand.rate, seconds)
    fast = _shaped(it, shape, parallel=parallel)
    factor = _factor_that_fits(fast, demand)
    replica = _with_queue(it, fast.slowed(factor))
    assumptions.append(_made_up(it.pool.name, replica, demand, is_slowest=factor >= _slowest(fast, seconds)))
    return replica


def _made_up(pool: str, replica: Replica, demand: Demand, *, is_slowest: bool) -> str:
    at_once = "one at a time" if replica.parallel_batches == 1 else f"{replica.parallel_batches} at once"
    cost = f"one request takes {replica.batch_seconds(1) * 1e3:.4g} ms, {at_once}"
    if replica.max_batch_size > 1:
        cost = (
            f"b requests take {replica.t0_seconds * 1e3:.4g} ms + b x {replica.t1_seconds * 1e3:.4g} ms in a batch of "
            f"up to {replica.max_batch_size}, {at_once}"
        )
    carries = (
        "so slow that a single request takes half of the objective, and the trace's peak still needs fewer than "
        f"{demand.peak_replicas:.4g} replicas"
        if is_slowest
        else f"so that the trace's peak needs {demand.peak_replicas:.4g} replicas at {demand.rate:.4g} requests/s each"
    )
    return f"pool {pool}: nothing says what a batch costs, so {cost}: {carries}"


def _made_up_shape(it: Given, rate: float, objective_seconds: float) -> tuple[tuple[float, float, float], int]:
    """Return costs and parallel batches that a replica might have, before they are made to fit the rate."""
    seconds = _SERVICE_SHARE * objective_seconds
    if it.pool.accelerator is not None:
        example = _EXAMPLE_SHARE_ON_ACCELERATOR * seconds
        return (seconds - example, example, 0.0), _parallel(it, 1)
    wanted = int(np.clip(np.ceil(rate * seconds / _UTILISATION), 1, _MOST_PARALLEL))
    return (0.0, seconds, 0.0), _parallel(it, wanted)


def _slowest(replica: Replica, objective_seconds: float) -> float:
    """Return how much slower ``replica`` may be for a single request to take half of the objective."""
    return _LONGEST_SHARE * objective_seconds / replica.batch_seconds(1)


def _factor_that_fits(replica: Replica, demand: Demand) -> float:
    """Return how much slower ``replica`` may be to carry just what it is to carry, within ``_slowest``."""
    seconds, percent = duration_micros(demand.objective.latency) / 1e6, demand.objective.percent

    def is_kept(factor: float) -> bool:
        shares = (
            share_at(
                replica.slowed(factor * scale), rate, objective_seconds=seconds, percent=percent, burst=demand.burst
            )
            for rate, scale in demand.loads
            if rate > 0
        )
        return all(share >= percent / 100 for share in shares)

    high = _slowest(replica, seconds)
    low = high * 1e-4
    if demand.rate <= 0 or is_kept(high):
        return high
    for _ in range(_STEPS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if is_kept(middle) else (low, middle)
    return low


def _shaped(it: Given, costs: tuple[float, float, float], *, parallel: int) -> Replica:
    noise = it.scenario.service_time_noise
    return Replica(
        t0_seconds=costs[0],
        t1_seconds=costs[1],
        t2_seconds=costs[2],
        noise_distribution=noise.distribution,
        noise_variation=noise.coefficient_of_variation,
        max_batch_size=_batch_size(it),
        batch_timeout_seconds=_batch_timeout_seconds(it),
        parallel_batches=parallel,
    )


def _batch_size(it: Given) -> int:
    if it.scenario.max_batch_size is not None:
        return it.scenario.max_batch_size
    if it.batching is not None:
        return it.batching.max_batch_size or _SERVER_DEFAULT_BATCH
    is_made_up = it.scenario.batch_cost is None
    return _ACCELERATOR_BATCH if it.pool.accelerator is not None and is_made_up else 1


def _batch_timeout_seconds(it: Given) -> float:
    if it.scenario.batch_timeout_micros is not None:
        return it.scenario.batch_timeout_micros / 1e6
    if it.batching is not None and it.batching.batch_timeout is not None:
        return duration_micros(it.batching.batch_timeout) / 1e6
    return 0.0


def _parallel(it: Given, otherwise: int) -> int:
    batching_threads = it.batching.num_batch_threads if it.batching is not None else None
    return it.scenario.parallel_batches or batching_threads or otherwise


def _with_queue(it: Given, replica: Replica) -> Replica:
    """Return ``replica`` with the bound of its queue."""
    if it.scenario.max_enqueued is not None:
        bound = it.scenario.max_enqueued
    elif it.batching is not None:
        batches = it.batching.max_enqueued_batches or _SERVER_DEFAULT_ENQUEUED_BATCHES
        bound = batches * replica.max_batch_size
    else:
        bound = int(_DEFAULT_QUEUE_SECONDS * replica.saturation_per_second)
    fitting = min(_MOST_ENQUEUED, max(1, bound, 2 * replica.max_batch_size))
    return Replica(**{**replica.__dict__, "max_enqueued": fitting})
