"""The simulator against what is known of queues in closed form."""

from __future__ import annotations

import math

import pytest

from tests.simulation.scenes import Script, pool_world, steady, world
from tfserving_operator.simulation.engine import Replay, replay
from tfserving_operator.simulation.kernel.layout import Truth
from tfserving_operator.simulation.scenario import LoadBalancing, NoiseDistribution
from tfserving_operator.simulation.world import Replica

SERVICE_SECONDS = 0.01
REQUESTS = 1_000_000


def serve(
    *,
    load: float,
    servers: int = 1,
    replicas: int = 1,
    distribution: NoiseDistribution = NoiseDistribution.EXPONENTIAL,
    variation: float = 0.0,
    objective_seconds: float = 0.05,
    load_balancing: LoadBalancing = LoadBalancing.RANDOM,
) -> Replay:
    """Serve so many requests at ``load`` (offered work over servers); nobody gives up and nothing is refused."""
    replica = Replica(
        t0_seconds=SERVICE_SECONDS,
        t1_seconds=0.0,
        t2_seconds=0.0,
        noise_distribution=distribution,
        noise_variation=variation,
        parallel_batches=servers,
        max_enqueued=20_000,
    )
    rate = load * servers * replicas / SERVICE_SECONDS
    it = world(
        pool_world(replica),
        objective_seconds=objective_seconds,
        load_balancing=load_balancing,
        tick_seconds=REQUESTS / rate / 100,
    )
    return replay(steady(rate, REQUESTS / rate), it, Script(), initial={"cpu": replicas})


def mean_wait_seconds(result: Replay) -> float:
    return float(result.truth[Truth.WAIT_SECONDS] / result.truth[Truth.COMPLETED])


def erlang_c(servers: int, load: float) -> float:
    """Probability that a request of M/M/c waits (Erlang 1917)."""
    offered = servers * load
    waits = offered**servers / math.factorial(servers) / (1 - load)
    return waits / (sum(offered**busy / math.factorial(busy) for busy in range(servers)) + waits)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (1, 0.8), (2, 0.7), (4, 0.85), (8, 0.6)])
def test_mean_wait_of_mmc_is_erlang_c(servers: int, load: float) -> None:
    expected = erlang_c(servers, load) * SERVICE_SECONDS / (servers * (1 - load))
    assert mean_wait_seconds(serve(load=load, servers=servers)) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("objective_seconds", [0.01, 0.03, 0.1])
def test_time_in_mm1_is_exponential(objective_seconds: float) -> None:
    load = 0.7
    beyond = math.exp(-(1 - load) / SERVICE_SECONDS * objective_seconds)
    result = serve(load=load, objective_seconds=objective_seconds)
    assert 1 - result.share_within_objective == pytest.approx(beyond, rel=0.05)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.9])
def test_mean_wait_of_md1_is_pollaczek_khinchine(load: float) -> None:
    result = serve(load=load, distribution=NoiseDistribution.LOG_NORMAL)
    assert mean_wait_seconds(result) == pytest.approx(SERVICE_SECONDS * load / (2 * (1 - load)), rel=0.05)


@pytest.mark.parametrize("variation", [0.5, 1.5])
def test_mean_wait_of_mg1_grows_with_the_variance(variation: float) -> None:
    load = 0.6
    result = serve(load=load, distribution=NoiseDistribution.LOG_NORMAL, variation=variation)
    expected = SERVICE_SECONDS * load * (1 + variation**2) / (2 * (1 - load))
    assert mean_wait_seconds(result) == pytest.approx(expected, rel=0.08)


def test_little_s_law_holds() -> None:
    result = serve(load=0.8, servers=2)
    in_system = float(result.in_flight.mean())
    rate = result.requests / (len(result.in_flight) * result.tick_seconds)
    mean_seconds = float(result.truth[Truth.LATENCY_SECONDS] / result.truth[Truth.COMPLETED])
    # In flight is sampled at the end of a hundred ticks only.
    assert in_system == pytest.approx(rate * mean_seconds, rel=0.25)


def test_work_is_neither_lost_nor_made() -> None:
    result = serve(load=0.7, servers=2, distribution=NoiseDistribution.LOG_NORMAL, variation=0.3)
    assert float(result.truth[Truth.BUSY_SECONDS]) == pytest.approx(result.requests * SERVICE_SECONDS, rel=0.005)


def test_two_replicas_that_are_chosen_at_random_are_two_queues() -> None:
    load = 0.7
    alone = SERVICE_SECONDS * load / (1 - load)
    assert mean_wait_seconds(serve(load=load, replicas=2)) == pytest.approx(alone, rel=0.05)


def test_the_least_loaded_replica_lies_between_one_shared_queue_and_two_of_their_own() -> None:
    load = 0.7
    shared = erlang_c(2, load) * SERVICE_SECONDS / (2 * (1 - load))
    alone = SERVICE_SECONDS * load / (1 - load)
    wait = mean_wait_seconds(serve(load=load, replicas=2, load_balancing=LoadBalancing.LEAST_LOADED))
    assert shared < wait < 0.6 * alone
