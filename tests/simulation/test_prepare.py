from __future__ import annotations

from typing import Any

import pytest

from tests.simulation.scenes import steady, trace
from tfserving_operator.api.servedmodel import ServedModelSpec
from tfserving_operator.simulation import prepare
from tfserving_operator.simulation.capacity import replica_capacity
from tfserving_operator.simulation.prepare import build_world, with_few_requests
from tfserving_operator.simulation.scenario import Scenario, ScenarioError
from tfserving_operator.simulation.trace import Trace
from tfserving_operator.simulation.world import World

AUTO = {"mode": "Auto", "objective": {"latency": "68ms", "percent": 99}}
COSTLY = {
    "pools": [{"name": "cpu", "batchCost": {"t0Micros": 10_000}, "serviceTimeNoise": {"coefficientOfVariation": 0}}]
}


def spec(**fields: Any) -> ServedModelSpec:
    fields.setdefault("models", [{"name": "m", "source": {"uri": "s3://models/m"}}])
    fields.setdefault("pools", [{"name": "cpu", "replicas": {"min": 1, "max": 10}}])
    fields.setdefault("autoscaling", AUTO)
    return ServedModelSpec.model_validate({name: value for name, value in fields.items() if value is not None})


def prepared(it: ServedModelSpec, scenario: dict[str, Any] | None = None, load: Trace | None = None) -> World:
    return build_world(it, Scenario.model_validate(scenario or {}), load or steady(100, 600))


def capacity(it: World, pool: int = 0) -> float:
    return replica_capacity(it.pools[pool].replica, objective_seconds=it.objective_seconds, percent=it.percent)


@pytest.mark.parametrize("rate", [50.0, 500.0, 20_000.0])
def test_a_made_up_replica_carries_its_share_of_the_peak(rate: float) -> None:
    it = prepared(spec(), load=trace({0: rate / 10, 300: rate, 600: 0}))
    # The peak needs 80% of ten replicas. Capacity is known to some percent only.
    assert capacity(it) == pytest.approx(rate / 8, rel=0.15)
    assert any("the trace's peak needs 8 replicas" in each for each in it.assumptions)


def test_no_made_up_replica_is_so_slow_that_one_request_misses_the_objective() -> None:
    it = prepared(spec(), load=steady(0.01, 86_400))
    assert it.pools[0].replica.batch_seconds(1) <= it.objective_seconds / 2 + 1e-9
    assert any("fewer than 8 replicas" in each for each in it.assumptions)


def test_a_made_up_replica_on_an_accelerator_batches() -> None:
    pools = [{"name": "gpu", "accelerator": {}, "replicas": {"max": 10}}]
    it = prepared(spec(pools=pools), load=steady(2000, 600))
    assert it.pools[0].replica.max_batch_size == 32
    assert capacity(it) == pytest.approx(2000 / 8, rel=0.1)


def test_peak_replicas_say_how_many_the_peak_needs() -> None:
    it = prepared(spec(), {"peakReplicas": 4})
    assert capacity(it) == pytest.approx(100 / 4, rel=0.1)


def test_a_given_cost_is_taken_as_it_is() -> None:
    it = prepared(spec(), COSTLY)
    assert it.pools[0].replica.batch_seconds(1) == 0.01
    assert it.assumptions == ()


def test_batching_of_the_manifest_counts() -> None:
    batching = {"maxBatchSize": 16, "batchTimeout": "5ms", "numBatchThreads": 2, "maxEnqueuedBatches": 4}
    replica = prepared(spec(batching=batching), COSTLY).pools[0].replica
    assert (replica.max_batch_size, replica.batch_timeout_seconds) == (16, 0.005)
    assert (replica.parallel_batches, replica.max_enqueued) == (2, 64)


def test_what_no_scenario_says_is_said() -> None:
    assert any("30 s to start" in each and "every 15 s" in each for each in prepared(spec()).assumptions)


def test_without_autoscaling_a_default_promise_is_taken_and_said() -> None:
    it = prepared(spec(autoscaling=None))
    assert (it.objective_seconds, it.percent) == (0.122, 99.0)
    assert any("99% of requests within 122ms" in each for each in it.assumptions)
    assert any("no spec.autoscaling" in each for each in it.assumptions)


def test_the_scenario_s_objective_goes_before_the_manifest_s() -> None:
    it = prepared(spec(), {**COSTLY, "objective": {"latency": "200ms", "percent": 95}})
    assert (it.objective_seconds, it.percent) == (0.2, 95.0)
    assert it.autoscaling.objective is not None
    assert it.autoscaling.objective.latency == "200ms"
    assert it.assumptions == ("the objective is the scenario's, not the manifest's",)


def test_mode_off_is_replayed_and_said() -> None:
    assert "mode is Off" in prepared(spec(autoscaling={**AUTO, "mode": "Off"}), COSTLY).assumptions[0]


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        pytest.param({}, 10, id="nothing runs today"),
        pytest.param({"replicas": 16}, 20, id="sixteen run today"),
    ],
)
def test_without_a_bound_one_is_taken_and_binds_every_policy(fields: dict[str, Any], most: int) -> None:
    it = prepared(spec(pools=[{"name": "cpu"}], **fields))
    # What the peak needs is measured, so a replica or two come on top.
    assert it.most == it.autoscaling.max_replicas == pytest.approx(most, abs=3)
    assert any("nothing bounds the replicas" in each for each in it.assumptions)


def test_without_a_bound_a_given_cost_says_how_many_are_enough() -> None:
    it = prepared(spec(pools=[{"name": "cpu"}]), COSTLY, steady(2000, 600))
    assert it.most >= 2000 / capacity(it) / 0.8


def test_pools_share_one_promise() -> None:
    pools = [
        {"name": "gpu", "accelerator": {}, "replicas": {"min": 1, "max": 4}},
        {"name": "cpu", "replicas": {"max": 6}},
        {"name": "spare", "replicas": {"fixed": 2}},
    ]
    it = prepared(spec(pools=pools))
    assert [pool.is_fixed for pool in it.pools] == [False, False, True]
    assert it.most == 10
    assert len(it.assumptions) == 4


@pytest.mark.parametrize(
    ("fields", "scenario", "words"),
    [
        ({"pools": [{"name": "a", "replicas": {"fixed": 2}}]}, {}, "every pool fixes its replicas"),
        ({"pools": [{"name": "a"}, {"name": "a"}]}, {}, "same name"),
        ({"pools": [{"name": "a", "replicas": {"min": 4, "max": 2}}]}, {}, "swap them"),
        ({"pools": [{"name": "a", "replicas": {"min": 0, "max": 0}}]}, {}, "replicas.max is 0"),
        (
            {"pools": [{"name": "a", "replicas": {"min": 5}}], "autoscaling": {**AUTO, "maxReplicas": 2}},
            {},
            "min come to 5, and autoscaling.maxReplicas is 2",
        ),
        (
            {
                "pools": [{"name": "a"}, {"name": "b", "replicas": {"fixed": 1}}],
                "autoscaling": {
                    **AUTO,
                    "maxReplicas": 2,
                    "schedules": [{"name": "x", "start": "0 7 * * *", "durationSeconds": 60, "minReplicas": 4}],
                },
            },
            {},
            "schedule x asks for 4 replicas, and autoscaling.maxReplicas allows 3",
        ),
        ({}, {"pools": [{"name": "gpu"}]}, "the scenario names the pool 'gpu': the manifest has cpu"),
        ({}, {"pools": [{"name": "cpu"}, {"name": "cpu"}]}, "same name"),
        ({}, {"pools": [{"name": "cpu", "batchCost": {"t0Micros": 0}}]}, "batchCost is 0"),
        ({"autoscaling": {**AUTO, "objective": {"latency": "5us"}}}, {}, "first latency bucket"),
        ({"autoscaling": {**AUTO, "objective": {"latency": "0s"}}}, {}, "first latency bucket"),
        (
            {
                "autoscaling": {
                    **AUTO,
                    "schedules": [
                        {
                            "name": "x",
                            "start": "0 7 * * *",
                            "durationSeconds": 60,
                            "timeZone": "Mars/Olympus",
                            "minReplicas": 2,
                        }
                    ],
                }
            },
            {},
            "Mars/Olympus",
        ),
    ],
)
def test_what_cannot_be_replayed_is_refused(fields: dict[str, Any], scenario: dict[str, Any], words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        prepared(spec(**fields), scenario)


def test_schedules_need_a_calendar() -> None:
    schedule = {"name": "x", "start": "0 7 * * *", "durationSeconds": 60, "minReplicas": 2}
    it = prepared(spec(autoscaling={**AUTO, "schedules": [schedule]}), COSTLY)
    assert "Monday at 00:00" in it.assumptions[0]


def test_a_load_of_very_many_requests_is_thinned_out_where_replicas_are_made_up() -> None:
    load = steady(3 * prepare.MOST_REQUESTS / 86_400, 86_400)
    assert with_few_requests(load, Scenario()).requests_each == 3
    assert with_few_requests(load, Scenario.model_validate(COSTLY)).requests_each == 1
    assert with_few_requests(steady(100, 600), Scenario()).requests_each == 1


def test_no_requests_at_all_can_be_prepared() -> None:
    assert prepared(spec(), load=steady(0, 600)).most == 10


@pytest.mark.parametrize("rate", [1e-5, 1e-6, 1e-300])
def test_hardly_any_requests_are_prepared_as_fast_as_many(rate: float) -> None:
    it = prepared(spec(), load=steady(rate, 600))
    assert it.pools[0].replica.batch_seconds(1) == pytest.approx(0.034)


def test_an_objective_of_decades_is_prepared_as_fast_as_any() -> None:
    it = prepared(spec(autoscaling={**AUTO, "objective": {"latency": "999999999s", "percent": 99}}))
    assert 0 < it.pools[0].replica.batch_seconds(1) < it.objective_seconds / 2
    assert capacity(it) > 0


def test_a_made_up_replica_keeps_the_promise_where_service_takes_longest() -> None:
    load = trace({0: 100, 300: 100, 360: 100, 600: 100}, service_time_scale=[1, 1, 3, 3])
    replica = prepared(spec(), load=load).pools[0].replica
    slow = replica_capacity(replica.slowed(3), objective_seconds=0.068, percent=99)
    assert slow == pytest.approx(100 / 8, rel=0.15)


def test_the_peak_is_made_to_need_no_more_devices_than_there_are() -> None:
    pools = [
        {"name": "gpu", "accelerator": {}, "replicas": {"max": 8}},
        {"name": "cpu", "replicas": {"min": 1, "max": 8}},
    ]
    load = trace({0: 100, 300: 100, 600: 100}, gpus_available=[8, 2, 2])
    assert any("needs 8 replicas" in each for each in prepared(spec(pools=pools), load=load).assumptions)
