from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.simulation.scenes import HOUR, pool_world, steady, trace, world
from tfserving_operator.api.autoscaling import Autoscaling, AutoscalingMode, Objective, ScalingPolicy, Target
from tfserving_operator.api.pool import PoolReplicas
from tfserving_operator.autoscaling.decide import decide_replicas
from tfserving_operator.autoscaling.state import ScalingState
from tfserving_operator.simulation.comparison import Comparison, PolicyName, compare
from tfserving_operator.simulation.engine import Moment, replay
from tfserving_operator.simulation.policies import Operator
from tfserving_operator.simulation.report import as_json, percentage, time_unit
from tfserving_operator.simulation.sight import observation_of
from tfserving_operator.simulation.world import World

HILL = trace({0: 60, 1200: 60, 1800: 400, 2700: 400, 3300: 60, HOUR: 60})


def settings(**fields: Any) -> Autoscaling:
    return Autoscaling(mode=AutoscalingMode.RECOMMEND, objective=Objective(latency="50ms"), **fields)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(HILL, world(), list(PolicyName))


def test_every_policy_is_replayed_in_the_order_asked_for(comparison: Comparison) -> None:
    assert list(comparison.results) == ["Latency", "HPA", "KPA", "Fixed", "StaticPeak", "Oracle"]


def test_policies_scale_and_the_fixed_ones_do_not(comparison: Comparison) -> None:
    actions = {name: result.replay.scaling_actions for name, result in comparison.results.items()}
    assert all(actions[name] > 0 for name in ("Latency", "HPA", "KPA", "Oracle"))
    assert actions["Fixed"] == actions["StaticPeak"] == 0


def test_hpa_and_kpa_follow_a_slow_hill(comparison: Comparison) -> None:
    for name in ("HPA", "KPA"):
        assert comparison.results[name].replay.share_within_objective > 0.99
        assert 1.0 < comparison.results[name].hours_of_oracle < 2.0


def test_one_replica_is_not_enough_for_the_hill(comparison: Comparison) -> None:
    assert comparison.results["Fixed"].replay.share_within_objective < 0.5
    assert comparison.results["Fixed"].worst_minute_share < 0.1


def test_static_peak_runs_what_the_oracle_runs_at_most(comparison: Comparison) -> None:
    ready = comparison.results["StaticPeak"].replay.ready
    assert ready.min() == ready.max() == comparison.oracle.totals.max()


def test_static_peak_has_a_device_for_every_replica() -> None:
    pools = (
        pool_world(name="gpu", gpu=True, replicas=PoolReplicas(min=0, max=8)),
        pool_world(replicas=PoolReplicas(min=0, max=8)),
    )
    load = trace({0: 300, 600: 300}, gpus_available=[2, 2])
    it = compare(load, world(*pools, most=16), [PolicyName.STATIC_PEAK])
    assert it.is_promise_within_reach
    assert it.results["StaticPeak"].replay.share_within_objective >= 0.99


def test_rivals_are_told_the_capacity_and_that_is_said(comparison: Comparison) -> None:
    assert len([each for each in comparison.assumptions if "told what a replica carries" in each]) == 2


def test_progress_is_told_the_oracle_first() -> None:
    told: list[str] = []
    compare(steady(10, 60), world(), [PolicyName.FIXED, PolicyName.ORACLE], on_begin=told.append)
    assert told == ["Oracle", "Fixed"]


def test_the_manifest_s_target_is_for_its_own_policy() -> None:
    manifest = settings(policy=ScalingPolicy.HPA, target=Target(value=5))
    it = compare(steady(40, 1800), world(autoscaling=manifest), [PolicyName.HPA, PolicyName.KPA])
    assert 8 <= it.results["HPA"].replay.ready.max() <= 9
    assert it.results["KPA"].replay.ready.max() < 4
    assert [each.split()[0] for each in it.assumptions] == ["KPA"]


def test_fixed_begins_with_what_the_manifest_runs() -> None:
    it = compare(steady(10, 120), world(replicas=7), [PolicyName.FIXED])
    assert it.results["Fixed"].replay.ready.min() == 7


class Recorder:
    """Decides as production does, beside the replay."""

    def __init__(self, it: World) -> None:
        self.world = it
        self.state: ScalingState | None = None
        self.replicas: list[dict[str, int]] = []

    def decide(self, moment: Moment) -> dict[str, int]:
        state = self.state or ScalingState.restored(None, now=moment.now)
        decision, self.state = decide_replicas(observation_of(moment, self.world), state, now=moment.now)
        self.replicas.append(dict(decision.replicas))
        return self.replicas[-1]


def test_a_replay_takes_every_decision_as_the_operator_would() -> None:
    it = world(autoscaling=replace_mode(settings()))
    recorder = Recorder(it)
    mine = replay(HILL, it, recorder, initial={"cpu": 1})
    its = replay(HILL, it, Operator(it), initial={"cpu": 1})
    assert mine.desired.tolist() == its.desired.tolist()
    assert [each["cpu"] for each in recorder.replicas[:-1]] == mine.desired[1:, 0].tolist()


def replace_mode(autoscaling: Autoscaling) -> Autoscaling:
    return autoscaling.model_copy(update={"mode": AutoscalingMode.AUTO})


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(30, "seconds"), (119, "seconds"), (120, "minutes"), (3599, "minutes"), (3600, "hours"), (172_800, "days")],
)
def test_a_time_is_told_in_a_unit_of_which_it_has_some(seconds: float, expected: str) -> None:
    assert time_unit(seconds)[0] == expected


def test_json_has_the_agreed_keys_for_each_policy(comparison: Comparison) -> None:
    document = json.loads(as_json(comparison))
    assert set(document) == {"trace", "scenario", "oracle", "policies"}
    assert list(document["policies"]) == list(comparison.results)
    for numbers in document["policies"].values():
        assert {
            "share_within_objective",
            "replica_hours",
            "oracle_replica_hours",
            "scaling_actions",
            "worst_minute_share",
        } <= set(numbers)
        assert numbers["oracle_replica_hours"] == document["policies"]["Oracle"]["replica_hours"]
        assert 0 <= numbers["worst_minute_share"] <= numbers["share_within_objective"] <= 1
        assert numbers["replica_hours"] == pytest.approx(sum(numbers["replica_hours_by_pool"].values()))


def test_requests_are_counted_as_what_they_stand_for() -> None:
    load = steady(100, 600)
    thinned = json.loads(as_json(compare(load.thinned(10), world(), [PolicyName.FIXED])))
    assert thinned["trace"]["requests_per_simulated_request"] == 10
    assert thinned["policies"]["Fixed"]["requests"] == pytest.approx(60_000, rel=0.1)


def test_cost_is_hours_at_the_pools_prices() -> None:
    gpu = pool_world(name="gpu")
    gpu = replace(gpu, pool=gpu.pool.model_copy(update={"cost": 3.0}))
    it = compare(steady(10, HOUR), world(gpu), [PolicyName.FIXED])
    assert it.results["Fixed"].cost(it.prices) == pytest.approx(3.0, rel=0.01)


def test_an_unreachable_promise_is_told() -> None:
    it = compare(steady(10, 60), world(objective_seconds=0.009, good_edge_seconds=0.0064), [PolicyName.ORACLE])
    assert not it.is_promise_within_reach
    assert json.loads(as_json(it))["oracle"]["keeps_promise"] is False


@pytest.mark.parametrize(
    ("share", "words"), [(1.0, "100.00%"), (0.999_999, "99.99%"), (0.98765, "98.77%"), (0.0, "0.00%")]
)
def test_a_share_below_one_is_never_shown_as_all(share: float, words: str) -> None:
    assert percentage(share) == words
