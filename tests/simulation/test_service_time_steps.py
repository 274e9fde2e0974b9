"""A service time that grows at once: replicas come while they help, and none is taken away into an overload."""

from __future__ import annotations

import pytest

from tests.simulation.scenes import TICK_SECONDS, Diary, pool_world, start_up, trace, world
from tfserving_operator.api.autoscaling import Autoscaling
from tfserving_operator.api.pool import PoolReplicas
from tfserving_operator.autoscaling.decision import Decision, ScalingRule
from tfserving_operator.simulation.engine import replay
from tfserving_operator.simulation.world import Replica

REQUESTS_PER_SECOND = 100.0
SERVICE_SECONDS = 0.024
OBJECTIVE_SECONDS = 0.121439
"""A bucket edge, so that what is late is seen as it is."""
MOST = 60
STEP_SECONDS = 1200.0
END_SECONDS = 4800.0
SETTLED_SECONDS = 900.0
"""After the step: replicas have come, and the queues of the old ones are empty."""


def replayed(factor: float, seed: int) -> tuple[list[Decision], float]:
    """Return the decisions after the step, and the share within the objective over all."""
    autoscaling = Autoscaling.model_validate({"mode": "Auto", "objective": {"latency": "121439us", "percent": 99}})
    its_world = world(
        pool_world(
            Replica(t0_seconds=SERVICE_SECONDS, t1_seconds=0.0, t2_seconds=0.0, noise_variation=0.1, max_enqueued=410),
            replicas=PoolReplicas(min=1, max=MOST),
            start_up=start_up(10.0, model_load=20.0),
        ),
        objective_seconds=OBJECTIVE_SECONDS,
        good_edge_seconds=OBJECTIVE_SECONDS,
        autoscaling=autoscaling,
        most=MOST,
        timeout_seconds=10.0,
        seed=seed,
    )
    rates = {at: REQUESTS_PER_SECOND for at in (0.0, STEP_SECONDS, STEP_SECONDS + 60, END_SECONDS)}
    operator = Diary(its_world)
    result = replay(
        trace(rates, service_time_scale=[1.0, 1.0, factor, factor]), its_world, operator, initial={"cpu": 12}
    )
    return operator.decisions[round(STEP_SECONDS / TICK_SECONDS) :], result.share_within_objective


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_replicas_that_help_are_not_said_to_be_of_no_use(seed: int) -> None:
    decisions, share = replayed(1.5, seed)
    assert ScalingRule.REPLICAS_CANNOT_HELP not in {decision.rule for decision in decisions}
    assert share > 0.97


@pytest.mark.parametrize("factor", [3.0, 6.0], ids=["nearly as long as the objective", "longer than the objective"])
@pytest.mark.parametrize("seed", [1, 2])
def test_where_the_objective_cannot_be_kept_replicas_stay_far_from_overload(factor: float, seed: int) -> None:
    decisions, _ = replayed(factor, seed)
    settled = decisions[round(SETTLED_SECONDS / TICK_SECONDS) :]
    busy = REQUESTS_PER_SECOND * SERVICE_SECONDS * factor
    assert min(decision.replicas["cpu"] for decision in settled) >= 1.5 * busy


def test_that_replicas_cannot_help_is_said_and_ends_their_growth() -> None:
    decisions, _ = replayed(6.0, seed=1)
    last = decisions[-round(SETTLED_SECONDS / TICK_SECONDS) :]
    assert max(decision.replicas["cpu"] for decision in last) < MOST
    said = [decision.message for decision in last if decision.rule is ScalingRule.REPLICAS_CANNOT_HELP]
    assert said
    assert all("more replicas would not help" in message for message in said)
