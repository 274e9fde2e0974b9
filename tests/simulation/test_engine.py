from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulation.scenes import SERVER, TICK_SECONDS, Script, pool_world, start_up, steady, trace, world
from tfserving_operator.api.pool import PoolReplicas
from tfserving_operator.simulation.engine import replay
from tfserving_operator.simulation.kernel.layout import Seen, Truth
from tfserving_operator.simulation.policies import Constant
from tfserving_operator.simulation.scenario import Nodes, VaryingTime
from tfserving_operator.simulation.world import Replica


def test_as_many_requests_arrive_as_the_trace_says() -> None:
    load = trace({0: 10, 600: 100, 1200: 0, 1800: 50})
    expected = 600 * 55 + 600 * 50 + 600 * 25
    result = replay(load, world(), Constant(), initial={"cpu": 5})
    assert result.requests == pytest.approx(expected, abs=5 * expected**0.5)
    assert result.minute_requests.sum() == result.requests


def test_nothing_arrives_while_the_rate_is_zero() -> None:
    result = replay(trace({0: 0, 600: 0, 601: 50, 660: 50}), world(), Constant(), initial={"cpu": 1})
    assert result.minute_requests[:10].sum() == 0
    assert result.requests > 2000


def test_the_same_seed_gives_the_same_numbers_and_another_one_others() -> None:
    def run(seed: int) -> tuple[float, ...]:
        return tuple(replay(steady(50, 600), world(seed=seed), Constant(), initial={"cpu": 1}).truth.tolist())

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_every_policy_meets_the_same_arrivals() -> None:
    few, many = (replay(steady(80, 1200), world(), Constant(), initial={"cpu": count}) for count in (1, 4))
    assert np.array_equal(few.minute_requests, many.minute_requests)
    assert few.share_within_objective < many.share_within_objective


@settings(max_examples=25)
@given(
    rate=st.floats(0, 300),
    burst=st.floats(1, 5),
    service=st.floats(0.001, 0.2),
    queue=st.integers(1, 50),
    batch=st.integers(1, 4),
    crashes=st.sampled_from([0.0, 2000.0]),
    timeout=st.floats(0.05, 2),
    replicas=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    gpus=st.integers(0, 4),
)
def test_every_request_has_exactly_one_end(
    rate: float,
    burst: float,
    service: float,
    queue: int,
    batch: int,
    crashes: float,
    timeout: float,
    replicas: list[int],
    gpus: int,
) -> None:
    replica = Replica(
        t0_seconds=service, t1_seconds=0.0, t2_seconds=0.0, max_batch_size=batch, max_enqueued=max(queue, batch)
    )
    pool = pool_world(replica, gpu=True, crashes_per_replica_day=crashes, start_up=start_up(4, model_load=4))
    it = world(pool, timeout_seconds=timeout, requests_per_arrival=burst, drain_seconds=0.0)
    load = trace({0: rate, 60: rate, 120: rate}, gpus_available=[4, gpus, 4])
    script = Script({7 * number: {"cpu": count} for number, count in enumerate(replicas)})

    truth = replay(load, it, script, initial={"cpu": 2}).truth

    assert truth[Truth.REQUESTS] == truth[Truth.COMPLETED] + truth[Truth.REFUSED] + truth[Truth.LOST]
    assert 0 <= truth[Truth.GOOD] <= truth[Truth.COMPLETED] - truth[Truth.TIMED_OUT]
    assert truth[Truth.TIMED_OUT] >= 0
    assert truth[Truth.LOST] >= 0


def test_a_request_without_a_ready_replica_is_lost() -> None:
    result = replay(steady(50, 60), world(), Constant(), initial={})
    assert result.requests > 0
    assert result.truth[Truth.LOST] == result.requests
    assert result.share_within_objective == 0


def test_clients_give_up_on_what_takes_too_long() -> None:
    result = replay(steady(200, 300), world(timeout_seconds=0.5), Constant(), initial={"cpu": 1})
    assert result.truth[Truth.TIMED_OUT] > 0.5 * result.truth[Truth.COMPLETED]


def test_a_full_queue_refuses() -> None:
    short = Replica(**{**SERVER.__dict__, "max_enqueued": 5})
    result = replay(steady(200, 300), world(pool_world(short)), Constant(), initial={"cpu": 1})
    assert result.truth[Truth.REFUSED] == pytest.approx(result.requests / 2, rel=0.05)


def test_a_new_replica_is_ready_after_image_and_model() -> None:
    pool = pool_world(start_up=start_up(12, model_load=18))
    script = Script({9: {"cpu": 3}})
    result = replay(steady(1, 120), world(pool), script, initial={"cpu": 1})
    # Ordered at the end of the tenth tick, at 20 s; ready at 50 s, as the tick that ends at 52 s shows.
    ready = result.ready[:, 0]
    assert ready[int(50 / TICK_SECONDS) - 1] == 1
    assert ready[int(52 / TICK_SECONDS)] == 3
    assert script.column(Seen.STARTING)[15] == 2


def test_start_up_times_vary_by_their_spread() -> None:
    times = VaryingTime(median_seconds=40, spread=1.5)
    slow = start_up(0).model_copy(update={"model_load": times})
    script = Script({0: {"cpu": 200}})
    pool = pool_world(start_up=slow, replicas=PoolReplicas(max=200))
    result = replay(steady(1, 400), world(pool, most=200), script, initial={})
    ready = result.ready[:, 0]
    half_at = float(np.argmax(ready >= 100)) * TICK_SECONDS
    share_between = (ready[int(60 / TICK_SECONDS)] - ready[int(40 / 1.5 / TICK_SECONDS)]) / 200
    assert half_at == pytest.approx(40, abs=6)
    assert share_between == pytest.approx(0.68, abs=0.12)


def test_a_replica_without_a_node_waits_for_a_new_one() -> None:
    nodes = Nodes(available=2, most=3, new_node=VaryingTime(median_seconds=100))
    script = Script({0: {"cpu": 5}})
    result = replay(steady(1, 300), world(pool_world(nodes=nodes)), script, initial={"cpu": 1})
    ready, waiting = result.ready[:, 0], script.column(Seen.WAITING)
    assert ready[int(40 / TICK_SECONDS)] == 2
    assert waiting[int(40 / TICK_SECONDS)] == 3
    assert ready[-1] == 3
    assert waiting[-1] == 2
    assert np.argmax(ready == 3) * TICK_SECONDS == pytest.approx(2 + 100 + 20, abs=6)


def test_devices_that_go_away_take_their_replicas_along_and_bring_them_back() -> None:
    load = trace({0: 100, 100: 100, 200: 100, 300: 100}, gpus_available=[4, 2, 4, 4])
    script = Script()
    result = replay(load, world(pool_world(gpu=True)), script, initial={"cpu": 4})
    ready = result.ready[:, 0]
    assert ready[int(90 / TICK_SECONDS)] == 4
    assert ready[int(150 / TICK_SECONDS)] == 2
    assert script.column(Seen.WAITING)[int(150 / TICK_SECONDS)] == 2
    assert ready[-1] == 4


def test_devices_do_not_bound_pools_without_accelerators() -> None:
    load = trace({0: 1, 100: 1}, gpus_available=[0, 0])
    assert replay(load, world(), Constant(), initial={"cpu": 3}).ready.min() == 3


def test_a_crash_loses_requests_and_takes_a_model_load() -> None:
    pool = pool_world(crashes_per_replica_day=400, start_up=start_up(1000, model_load=20))
    script = Script()
    result = replay(steady(50, 7200), world(pool), script, initial={"cpu": 2})
    restarts = script.column(Seen.RESTARTS)[-1]
    # Two replicas, two hours, 400 a day each; while one starts it does not crash.
    assert restarts == pytest.approx(2 * 400 / 12, rel=0.4)
    assert result.truth[Truth.LOST] > 0
    away = float((2 - result.ready[:, 0]).sum()) * TICK_SECONDS
    assert away == pytest.approx(restarts * 20, rel=0.2)


def test_a_replica_is_paid_from_its_order_to_the_end_of_its_drain() -> None:
    script = Script({9: {"cpu": 2}, 49: {"cpu": 1}})
    result = replay(steady(1, 200), world(drain_seconds=30.0), script, initial={"cpu": 1})
    assert result.replica_seconds["cpu"] == pytest.approx(200 + 80 + 30, abs=2 * TICK_SECONDS)
    assert result.scaling_actions == 2


def test_a_replica_that_drains_gets_nothing_new_and_finishes_what_it_has() -> None:
    result = replay(steady(50, 200), world(drain_seconds=10.0), Script({20: {"cpu": 1}}), initial={"cpu": 4})
    assert result.truth[Truth.LOST] == 0


def test_the_newest_of_those_that_start_are_given_up_first() -> None:
    script = Script({0: {"cpu": 4}, 2: {"cpu": 2}})
    result = replay(steady(1, 100), world(), script, initial={"cpu": 1})
    assert result.ready.max() == 2
    assert script.column(Seen.STARTING)[4] == 1


def test_a_slower_service_time_is_met_when_it_comes() -> None:
    load = trace({0: 5, 300: 5, 301: 5, 600: 5}, service_time_scale=[1, 1, 10, 10])
    result = replay(load, world(objective_seconds=0.05), Constant(), initial={"cpu": 4})
    good = result.minute_good[:10] / result.minute_requests[:10]
    assert good[:5].min() > 0.9
    assert good[6:].max() == 0


def test_a_trace_shorter_than_a_tick_is_replayed() -> None:
    result = replay(steady(100, 1.0), world(), Constant(), initial={"cpu": 1})
    assert len(result.ready) == 1
    assert 50 < result.requests < 150
