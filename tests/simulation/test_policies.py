"""The operator in the simulator: what it decides, and how its Deployments get there."""

from __future__ import annotations

from tests.simulation.scenes import Diary, pool_world, steady, trace, world
from tfserving_operator.api.autoscaling import Autoscaling, AutoscalingMode, Objective, ScalingPolicy
from tfserving_operator.api.pool import PoolReplicas
from tfserving_operator.simulation.engine import replay
from tfserving_operator.simulation.policies import Operator

UP_TO_THREE = PoolReplicas(min=0, max=3)
FIXED = Autoscaling(mode=AutoscalingMode.AUTO, objective=Objective(latency="50ms"), policy=ScalingPolicy.FIXED)


def test_a_pool_is_given_up_no_sooner_than_another_has_taken_over() -> None:
    pools = [pool_world(name=name, replicas=UP_TO_THREE) for name in ("first", "second")]
    it = world(*pools, autoscaling=FIXED, replicas=3, most=6)
    moved = replay(steady(100, 120), it, Operator(it), initial={"first": 0, "second": 3})
    assert moved.ready[-1].tolist() == [3, 0]
    assert moved.ready.sum(axis=1).min() == 3


def test_a_fixed_pool_takes_over_from_nobody() -> None:
    pools = [
        pool_world(name="spare", replicas=PoolReplicas(fixed=2)),
        *(pool_world(name=name, replicas=UP_TO_THREE) for name in ("first", "second")),
    ]
    it = world(*pools, autoscaling=FIXED, replicas=3, most=6)
    moved = replay(steady(100, 120), it, Operator(it), initial={"spare": 2, "first": 0, "second": 3})
    assert moved.ready[-1].tolist() == [2, 3, 0]
    assert moved.ready.sum(axis=1).min() == 5


def test_one_pool_always_runs_what_was_just_decided() -> None:
    it = world()
    operator = Diary(it)
    hill = trace({0: 40, 300: 40, 600: 400, 900: 400, 1200: 40, 2400: 40})
    run = replay(hill, it, operator, initial={"cpu": 1})
    assert run.desired[1:, 0].tolist() == [decision.replicas["cpu"] for decision in operator.decisions[:-1]]
    assert run.scaling_actions > 4
