"""Pools that left the spec while nothing may be changed: their pods serve, and status shows them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.reconcile.scenes import DEPLOYMENT, FETCHED, change_spec, condition, has_condition, serving
from tests.reconcile.world import KEY

# Admission refuses it; a ServedModel from before that rule is caught by the operator.
REFUSED = {"spec": {"containers": [{"name": "server", "args": []}]}}
LEFT: dict[str, dict[str, Any]] = {
    "paused": {"models": [FETCHED], "pools": [{"name": "gpu"}], "paused": True},
    "refused": {"models": [FETCHED], "pools": [{"name": "gpu", "podTemplate": REFUSED}]},
}


@pytest.mark.parametrize("spec", LEFT.values(), ids=LEFT)
async def test_a_pool_that_left_a_spec_that_is_not_carried_out_goes_on_serving(spec: dict[str, Any]) -> None:
    world, controller, clock = await serving({"models": [FETCHED]})
    change_spec(world, spec)
    clock.advance(20)
    await controller.reconcile(KEY)
    assert world.writes == ["status"]
    assert world.model is not None
    status = world.model["status"]
    assert condition(world, "Ready")["status"] == "True"
    assert status["readyReplicas"] == status["replicas"] == 1
    assert "default" in {pool["name"] for pool in status["pools"]}
    assert condition(world, "Progressing")["status"] == "False"
    assert not has_condition(world, "Reconciling")


async def test_a_pool_of_somebody_else_is_not_shown() -> None:
    world, controller, clock = await serving({"models": [FETCHED]})
    stranger = {"uid": "other", "controller": True, "kind": "ServedModel", "name": "other"}
    world.objects[DEPLOYMENT]["metadata"]["ownerReferences"] = [stranger]
    change_spec(world, LEFT["paused"])
    clock.advance(20)
    await controller.reconcile(KEY)
    assert world.model is not None
    assert [pool["name"] for pool in world.model["status"]["pools"]] == ["gpu"]
