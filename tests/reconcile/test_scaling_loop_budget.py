"""The scaling loop within the budget of the fleet: who counts against it, and what stops at it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.reconcile.scaling_scenes import (
    FETCHED,
    FIXED_POLICY,
    Fleet,
    Script,
    raw_model,
    scaled_spec,
)
from tfserving_operator.api.conditions import Reason
from tfserving_operator.autoscaling.budget import FleetBudget
from tfserving_operator.autoscaling.decision import ScalingRule

OFF = {"mode": "Off"}


async def test_growth_stops_at_the_budget_and_says_so() -> None:
    fleet = Fleet(
        *(raw_model(name, scaled_spec(replicas=2)) for name in ("a", "b")),
        decide=Script(wanted=5),
        budget=FleetBudget(replicas=6),
    )
    for name in ("a", "b"):
        fleet.cache.run(name, default=2)
    await fleet.tick(20)
    views = [fleet.shown(name) for name in ("a", "b")]
    assert [view.replicas for view in views] == [{"default": 3}, {"default": 3}]
    assert all(view.decisions[0].rule == ScalingRule.BUDGET for view in views)
    assert all(view.limited is not None and view.limited.reason is Reason.FLEET_BUDGET for view in views)


@pytest.mark.parametrize("autoscaling", [None, OFF, FIXED_POLICY], ids=["none", "off", "paused"])
async def test_replicas_of_those_that_are_not_scaled_use_the_budget_too(autoscaling: dict[str, Any] | None) -> None:
    other = {name: value for name, value in scaled_spec(autoscaling=autoscaling).items() if value is not None}
    fleet = Fleet(
        raw_model("a", scaled_spec(replicas=2)),
        raw_model("b", other | {"paused": True}),
        decide=Script(wanted=5),
        budget=FleetBudget(replicas=6),
    )
    fleet.cache.run("a", default=1)
    fleet.cache.run("b", default=3)
    await fleet.tick()
    assert fleet.shown("a").replicas == {"default": 3}


@pytest.mark.parametrize(
    ("wanted_of_all", "running", "budget", "expected"),
    [
        pytest.param(9, 4, 10, 6, id="that would like more"),
        pytest.param(5, 9, 12, 3, id="that could do with less"),
    ],
)
async def test_a_recommendation_takes_what_runs_and_neither_more_nor_less(
    wanted_of_all: int, running: int, budget: int, expected: int
) -> None:
    fleet = Fleet(
        raw_model("auto", scaled_spec(replicas=2)),
        raw_model("watched", scaled_spec(replicas=2, autoscaling=FIXED_POLICY | {"mode": "Recommend"})),
        decide=Script(wanted=wanted_of_all),
        budget=FleetBudget(replicas=budget),
    )
    fleet.cache.run("auto", default=2)
    fleet.cache.run("watched", default=running)
    await fleet.tick()
    assert fleet.shown("auto").replicas == {"default": expected}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(scaled_spec(pools=[{"name": "new"}]), 3, id="of a pool that left its spec"),
        pytest.param({"models": [FETCHED], "pools": [{"name": "new"}]}, 3, id="of such a pool without autoscaling"),
        pytest.param({"models": "none"}, 3, id="of a spec that cannot be read"),
    ],
)
async def test_replicas_that_still_serve_use_the_budget(spec: dict[str, Any], expected: int) -> None:
    fleet = Fleet(
        raw_model("a", scaled_spec(replicas=5)),
        raw_model("b", spec | {"replicas": 0}),
        decide=Script(),
        budget=FleetBudget(replicas=6),
    )
    fleet.cache.run("a", default=1)
    fleet.cache.run("b", default=3)
    await fleet.tick()
    assert fleet.shown("a").replicas == {"default": expected}


async def test_what_cannot_be_looked_at_keeps_its_part_of_the_budget() -> None:
    fleet = Fleet(
        raw_model("a", scaled_spec(replicas=5)),
        raw_model("b", scaled_spec(autoscaling=OFF)),
        decide=Script(),
        budget=FleetBudget(replicas=6),
    )
    fleet.cache.run("a", default=1)
    fleet.cache.run("b", default=3)
    await fleet.tick()
    fleet.cache.unreadable.add("b")
    fleet.cache.run("b", default=3)
    await fleet.tick()
    assert fleet.shown("a").replicas == {"default": 3}


async def test_replicas_that_use_the_budget_are_looked_at_again_only_when_something_changed() -> None:
    fleet = Fleet(
        raw_model("a", scaled_spec(replicas=2)),
        raw_model("b", scaled_spec(autoscaling=OFF)),
        decide=Script(wanted=9),
        budget=FleetBudget(replicas=6),
    )
    fleet.cache.run("a", default=1)
    fleet.cache.run("b", default=3)
    await fleet.tick(5)
    assert fleet.cache.looks == 2
    fleet.cache.run("b", default=1)
    await fleet.tick(5)
    assert fleet.cache.looks == 3
    assert fleet.shown("a").replicas == {"default": 5}
