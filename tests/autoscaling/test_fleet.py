"""Decisions of the whole fleet, cut to the platform's budget."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfserving_operator.api.pool import Accelerator, Pool, PoolReplicas
from tfserving_operator.autoscaling.budget import FleetBudget, PoolWish
from tfserving_operator.autoscaling.decision import Decision, ScalingRule
from tfserving_operator.autoscaling.fleet import within_budget
from tfserving_operator.autoscaling.observation import PoolObservation
from tfserving_operator.autoscaling.signals import PoolSignals, SignalState

GPU = "nvidia.com/gpu"
EMPTY = PoolReplicas()


def pool(desired: int, *, name: str = "cpu", gpus: int = 0, replicas: PoolReplicas = EMPTY) -> PoolObservation:
    return PoolObservation(
        pool=Pool(name=name, replicas=replicas, accelerator=Accelerator(count=gpus) if gpus else None),
        signals=PoolSignals(state=SignalState.MEASURED),
        desired=desired,
        ready=desired,
    )


def decision(**replicas: int) -> Decision:
    return Decision(replicas=replicas, rule=ScalingRule.FORECAST, message="load wants them")


def totals(granted: Mapping[str, Decision]) -> dict[str, int]:
    return {key: sum(each.replicas.values()) for key, each in granted.items()}


def test_without_a_budget_decisions_stay_as_they_are() -> None:
    decisions = {"a": decision(cpu=50)}
    assert within_budget({}, decisions, FleetBudget()) is decisions


def test_a_decision_that_fits_stays_as_it_is() -> None:
    made = decision(cpu=5)
    assert within_budget({"a": [pool(2)]}, {"a": made}, FleetBudget(replicas=5))["a"] is made


def test_a_cut_says_which_bound_it_was_and_what_it_allows() -> None:
    cut = within_budget({"a": [pool(2)]}, {"a": decision(cpu=5)}, FleetBudget(replicas=4))["a"]
    assert cut.replicas == {"cpu": 4}
    assert (cut.rule, cut.limit, cut.is_limited) == (ScalingRule.BUDGET, ScalingRule.BUDGET, True)
    assert cut.message == "load wants them; the fleet's budget allows 4"


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        pytest.param([], 6, id="alone"),
        pytest.param([pool(2)], 4, id="beside one that nothing was decided on"),
        pytest.param([pool(2, replicas=PoolReplicas(fixed=2))], 4, id="beside a fixed pool"),
        pytest.param([pool(20)], 1, id="beside more than the budget"),
    ],
)
def test_what_others_run_uses_the_budget(others: list[PoolObservation], expected: int) -> None:
    granted = within_budget({"a": [pool(1)], "b": others}, {"a": decision(cpu=9)}, FleetBudget(replicas=6))
    assert totals(granted) == {"a": expected}


@pytest.mark.parametrize(
    ("budget", "expected"), [(FleetBudget(replicas=6), 4), (FleetBudget(devices={GPU: 7}), 3)], ids=["replicas", "GPUs"]
)
def test_what_serves_besides_uses_the_budget(budget: FleetBudget, expected: int) -> None:
    others = [PoolWish(current=2, wanted=2, resource=GPU, devices=2)]
    pools = {"a": [pool(1, name="gpu", gpus=1)]}
    assert totals(within_budget(pools, {"a": decision(gpu=9)}, budget, others=others)) == {"a": expected}


def test_a_pool_gets_its_min_whatever_the_budget_says() -> None:
    pools = {"a": [pool(0, replicas=PoolReplicas(min=3))]}
    assert totals(within_budget(pools, {"a": decision(cpu=5)}, FleetBudget(replicas=1))) == {"a": 3}


def test_what_is_given_up_is_free_at_once() -> None:
    pools = {"down": [pool(6)], "up": [pool(2)]}
    decisions = {"down": decision(cpu=2), "up": decision(cpu=6)}
    assert totals(within_budget(pools, decisions, FleetBudget(replicas=8))) == {"down": 2, "up": 6}


def test_devices_bound_the_pools_that_use_them_and_no_others() -> None:
    pools = {"a": [pool(1, name="gpu", gpus=2), pool(0)]}
    granted = within_budget(pools, {"a": decision(gpu=4, cpu=3)}, FleetBudget(devices={GPU: 5}))
    assert granted["a"].replicas == {"gpu": 2, "cpu": 3}


numbers = st.integers(0, 20)


@given(fleet=st.lists(st.tuples(numbers, numbers), min_size=1, max_size=6), bound=st.integers(1, 60))
def test_the_budget_takes_nothing_that_runs_and_grants_nothing_above_it(
    fleet: list[tuple[int, int]], bound: int
) -> None:
    pools = {str(n): [pool(desired)] for n, (desired, _) in enumerate(fleet)}
    decisions = {str(n): decision(cpu=wanted) for n, (_, wanted) in enumerate(fleet)}
    granted = totals(within_budget(pools, decisions, FleetBudget(replicas=bound)))
    least = {str(n): min(desired, wanted) for n, (desired, wanted) in enumerate(fleet)}
    assert all(least[key] <= granted[key] <= sum(decisions[key].replicas.values()) for key in granted)
    assert sum(granted.values()) <= max(bound, sum(least.values()))
    wanted = sum(wanted for _, wanted in fleet)
    assert sum(granted.values()) >= min(bound, wanted)
