"""Loads that begin at once: what is learned while replicas come must not say that they do not help."""

from __future__ import annotations

import pytest

from tests.simulation.scenes import TICK_SECONDS, Diary, pool_world, start_up, trace, world
from tfserving_operator.api.autoscaling import Autoscaling
from tfserving_operator.api.pool import PoolReplicas
from tfserving_operator.autoscaling.decision import Decision, ScalingRule
from tfserving_operator.simulation.engine import replay
from tfserving_operator.simulation.scenario import Scraping
from tfserving_operator.simulation.world import Replica

NEEDED = 3
SURGE_SECONDS = 120.0
SEEN_WITHIN_SECONDS = 8.0
"""Two scrapes until a whole window is of the surge, their delay, and a tick; another window where the first says too
little."""
ONE_SERVER = Replica(t0_seconds=0.04, t1_seconds=0.0, t2_seconds=0.0, noise_variation=0.05)
"""25 requests/s at most."""
REFUSING = Replica(t0_seconds=0.04, t1_seconds=0.0, t2_seconds=0.0, noise_variation=0.05, max_enqueued=16)
SIXTEEN_SERVERS = Replica(t0_seconds=0.04, t1_seconds=0.0, t2_seconds=0.0, noise_variation=0.5, parallel_batches=16)
"""400 requests/s at most."""


def begins(seed: int) -> float:
    """The second in which the surge begins: at another point between two scrapes for each seed."""
    return 5.0 + seed % 20 / 10


def decisions_in_a_surge(
    replica: Replica, before: float, surge: float, *, start_up_seconds: float, seed: int
) -> list[Decision]:
    autoscaling = Autoscaling.model_validate(
        {
            "mode": "Auto",
            "objective": {"latency": "218592us", "percent": 90},
            "stableWindowSeconds": 6,
            "panicWindowSeconds": 2,
            "cooldownSeconds": 5,
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 6}},
        }
    )
    bounds = PoolReplicas(min=1, max=4)
    its_world = world(
        pool_world(replica, replicas=bounds, start_up=start_up(start_up_seconds)),
        objective_seconds=0.218592,
        percent=90,
        good_edge_seconds=0.218591,
        autoscaling=autoscaling,
        scraping=Scraping(interval_seconds=2, delay_seconds=0.3),
        seed=seed,
    )
    begin = begins(seed)
    surges = trace({0: before, begin: before, begin + 0.1: surge, SURGE_SECONDS: surge})
    operator = Diary(its_world)
    replay(surges, its_world, operator, initial={"cpu": 1})
    return operator.decisions


@pytest.mark.parametrize("start_up_seconds", [1.5, 20.0])
@pytest.mark.parametrize(
    ("replica", "before", "surge"),
    [
        pytest.param(ONE_SERVER, 0.5, 60.0, id="one-server"),
        pytest.param(ONE_SERVER, 0.0, 60.0, id="from-nothing"),
        pytest.param(REFUSING, 0.5, 60.0, id="refuses-soon"),
        pytest.param(SIXTEEN_SERVERS, 100.0, 1000.0, id="sixteen-servers"),
    ],
)
def test_replicas_that_a_surge_needs_come_and_are_kept(
    replica: Replica, before: float, surge: float, start_up_seconds: float
) -> None:
    for seed in range(8):
        decisions = decisions_in_a_surge(replica, before, surge, start_up_seconds=start_up_seconds, seed=seed)
        wanted = [decision.replicas["cpu"] for decision in decisions]
        assert max(wanted) >= NEEDED, seed
        first = next(tick for tick, replicas in enumerate(wanted, start=1) if replicas >= NEEDED)
        assert first * TICK_SECONDS - begins(seed) <= SEEN_WITHIN_SECONDS, seed
        assert min(wanted[first - 1 :]) >= NEEDED, seed
        assert ScalingRule.REPLICAS_CANNOT_HELP not in {decision.rule for decision in decisions}, seed
