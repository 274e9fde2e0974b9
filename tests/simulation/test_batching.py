from __future__ import annotations

import pytest

from tests.simulation.scenes import Script, pool_world, steady, world
from tfserving_operator.simulation.engine import Replay, replay
from tfserving_operator.simulation.kernel.layout import Truth
from tfserving_operator.simulation.world import Replica

BATCHED = Replica(t0_seconds=0.02, t1_seconds=0.002, t2_seconds=0.0, max_batch_size=8, max_enqueued=80)


def serve(replica: Replica, rate: float, *, seconds: float = 1000.0, burst: float = 1.0) -> Replay:
    it = world(pool_world(replica), requests_per_arrival=burst)
    return replay(steady(rate, seconds), it, Script(), initial={"cpu": 1})


def mean_batch(result: Replay) -> float:
    return float(result.truth[Truth.COMPLETED] / result.truth[Truth.BATCHES])


def test_an_overloaded_server_runs_full_batches_without_a_pause() -> None:
    result = serve(BATCHED, 3 * BATCHED.saturation_per_second)
    assert mean_batch(result) == pytest.approx(8, rel=0.01)
    assert result.truth[Truth.COMPLETED] / 1000 == pytest.approx(BATCHED.saturation_per_second, rel=0.01)
    assert result.truth[Truth.REFUSED] == pytest.approx(result.requests * 2 / 3, rel=0.02)


def test_a_lone_request_waits_for_the_batch_timeout() -> None:
    patient = Replica(**{**BATCHED.__dict__, "batch_timeout_seconds": 0.05})
    result = serve(patient, 0.05, seconds=40_000)
    assert mean_batch(result) == pytest.approx(1, rel=0.02)
    latency = result.truth[Truth.LATENCY_SECONDS] / result.truth[Truth.COMPLETED]
    assert latency == pytest.approx(0.05 + 0.022, rel=0.02)


def test_without_a_timeout_a_lone_request_does_not_wait() -> None:
    result = serve(BATCHED, 0.05, seconds=40_000)
    assert result.truth[Truth.WAIT_SECONDS] / result.truth[Truth.COMPLETED] < 0.001


def test_batches_grow_with_the_load() -> None:
    sizes = [mean_batch(serve(BATCHED, rate)) for rate in (5, 60, 120, 200)]
    assert sizes == sorted(sizes)
    assert sizes[0] < 1.2
    assert sizes[-1] > 4


def test_a_request_never_answers_faster_than_its_batch() -> None:
    result = serve(BATCHED, 100)
    served = result.truth[Truth.LATENCY_SECONDS] - result.truth[Truth.WAIT_SECONDS]
    assert served / result.truth[Truth.COMPLETED] >= 0.022


def test_requests_that_come_together_share_batches() -> None:
    assert mean_batch(serve(BATCHED, 5, burst=4)) > 2.5


def test_parallel_batches_multiply_what_a_server_carries() -> None:
    two = Replica(**{**BATCHED.__dict__, "parallel_batches": 2})
    result = serve(two, 3 * two.saturation_per_second)
    assert result.truth[Truth.COMPLETED] / 1000 == pytest.approx(2 * BATCHED.saturation_per_second, rel=0.01)
