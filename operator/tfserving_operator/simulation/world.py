"""A scenario with everything decided: numbers instead of options, for the pools of one ServedModel."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from statistics import NormalDist

from tfserving_operator.api.autoscaling import Autoscaling
from tfserving_operator.api.pool import Pool
from tfserving_operator.autoscaling.buckets import EDGES_MICROS
from tfserving_operator.simulation.scenario import (
    LoadBalancing,
    Nodes,
    NoiseDistribution,
    Scraping,
    ServiceTimeNoise,
    StartUp,
    VaryingTime,
)

_NORMAL = NormalDist()
_ROUNDING = 1e-9
# As in clients/prometheus.py, for an operator that was told the scrape interval.
_SHORTEST_LOOKBACK_SECONDS, _LOOKBACK_SCRAPES = 60.0, 4
_SHORTEST_PATIENCE_SECONDS, _PATIENCE_SCRAPES = 30.0, 3


@dataclass(frozen=True, kw_only=True)
class Replica:
    """How one replica serves. Hashable, so that what it carries is measured once."""

    t0_seconds: float
    t1_seconds: float
    t2_seconds: float
    noise_distribution: NoiseDistribution = NoiseDistribution.LOG_NORMAL
    noise_variation: float = 0.0
    """Standard deviation / mean."""
    max_batch_size: int = 1
    batch_timeout_seconds: float = 0.0
    parallel_batches: int = 1
    max_enqueued: int = 1000

    def batch_seconds(self, size: int) -> float:
        """Return the mean service time of a batch of ``size``."""
        return self.t0_seconds + size * (self.t1_seconds + size * self.t2_seconds)

    @property
    def saturation_per_second(self) -> float:
        """Requests per second of full batches without a pause."""
        seconds = self.batch_seconds(self.max_batch_size)
        return self.parallel_batches * self.max_batch_size / seconds if seconds > 0 else math.inf

    def slowed(self, factor: float) -> Replica:
        """Return the same replica with ``factor`` times the service time."""
        costs = (self.t0_seconds * factor, self.t1_seconds * factor, self.t2_seconds * factor)
        return Replica(**{**self.__dict__, **dict(zip(("t0_seconds", "t1_seconds", "t2_seconds"), costs, strict=True))})


@dataclass(frozen=True, kw_only=True)
class PoolWorld:
    """One pool of the manifest and how its replicas behave."""

    pool: Pool
    replica: Replica
    start_up: StartUp
    nodes: Nodes
    crashes_per_replica_day: float
    least: int
    most: int

    @property
    def is_fixed(self) -> bool:
        """Whether nobody scales it."""
        return self.pool.replicas.fixed is not None

    @property
    def start_up_seconds(self) -> float:
        """Median time from creation to ready."""
        return self.start_up.image.median_seconds + self.start_up.model_load.median_seconds


@dataclass(frozen=True, kw_only=True)
class World:
    """What a trace meets, in numbers."""

    autoscaling: Autoscaling
    replicas: int
    """``spec.replicas`` of the manifest."""
    pools: tuple[PoolWorld, ...]
    objective_seconds: float
    percent: float
    good_edge_seconds: float
    """The bucket edge at which the operator measures the objective."""
    timeout_seconds: float
    most: int
    """Most replicas over all pools that are scaled."""
    load_balancing: LoadBalancing
    scraping: Scraping
    requests_per_arrival: float
    drain_seconds: float
    tick_seconds: float
    seed: int
    assumptions: tuple[str, ...] = ()
    """What was not given, in sentences."""

    @property
    def next_edge_seconds(self) -> float:
        """The bucket edge above ``good_edge_seconds``; infinity beyond the last."""
        above = bisect_right(EDGES_MICROS, self.good_edge_seconds * 1e6 * (1 + _ROUNDING))
        return EDGES_MICROS[above] / 1e6 if above < len(EDGES_MICROS) else math.inf

    @property
    def lookback_seconds(self) -> float:
        """How old samples may be that the operator's queries use."""
        return max(_SHORTEST_LOOKBACK_SECONDS, float(math.ceil(_LOOKBACK_SCRAPES * self.scraping.interval_seconds)))

    @property
    def max_sample_age_seconds(self) -> float:
        """Older samples are stale to the operator."""
        return max(_SHORTEST_PATIENCE_SECONDS, _PATIENCE_SCRAPES * self.scraping.interval_seconds)

    @property
    def share_promised(self) -> float:
        """Share of requests promised to be within the objective, 0 to 1."""
        return self.percent / 100


def time_at(time: VaryingTime, quantile: float) -> float:
    """Return that quantile (0 to 1, both excluded) of ``time``, in seconds."""
    return float(time.median_seconds * time.spread ** _NORMAL.inv_cdf(quantile))


def noise_factors(noise: ServiceTimeNoise, count: int) -> list[float]:
    """Return ``count`` factors of the service time with mean exactly 1: the middles of as many equal quantiles."""
    quantiles = [(step + 0.5) / count for step in range(count)]
    if noise.distribution is NoiseDistribution.EXPONENTIAL:
        factors = [-math.log1p(-quantile) for quantile in quantiles]
    else:
        sigma = math.sqrt(math.log1p(noise.coefficient_of_variation**2))
        factors = [math.exp(sigma * _NORMAL.inv_cdf(quantile)) for quantile in quantiles]
    mean = math.fsum(factors) / count
    return [factor / mean for factor in factors]
