"""Progressing says whether pods move, Reconciling whether the spec is still on its way (kstatus: InProgress)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.reconcile.scenes import CLAIMED, DEPLOYMENT, FETCHED, Clock, change_spec, condition, has_condition, serving
from tests.reconcile.world import KEY, SCHEDULED, World, raw_pod
from tfserving_operator.clients.errors import Rejected
from tfserving_operator.reconcile.controller import Controller
from tfserving_operator.resources.names import POOL_LABEL

NOT_READY = {"type": "Ready", "status": "False"}
PULLS = {"state": {"waiting": {"reason": "ErrImagePull"}}}
NO_IMAGE = {"conditions": [SCHEDULED, NOT_READY], "containerStatuses": [{"name": "server", "image": "no:1", **PULLS}]}
LOADING = {
    "conditions": [SCHEDULED, NOT_READY],
    "containerStatuses": [{"name": "server", "started": False, "state": {"running": {}}}],
}
TWO_POOLS = [{"name": "a", "replicas": {"fixed": 1}}, {"name": "b", "replicas": {"fixed": 1}}]


async def updated(world: World, controller: Controller, clock: Clock, status: dict[str, Any], **spec: Any) -> None:
    """Change the spec; the new pod beside the old one then has ``status``."""
    assert world.model is not None
    change_spec(world, world.model["spec"] | spec)
    await controller.reconcile(KEY)
    deployment = world.objects[DEPLOYMENT]
    deployment["status"] = {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 1, "readyReplicas": 1}
    world.cached_pods.append(raw_pod(deployment, 7, status=status))
    clock.advance(20)
    await controller.reconcile(KEY)


@pytest.mark.parametrize(
    ("replicas", "said"),
    [
        (2, "every pool runs what the spec says"),
        (9, "every pool runs what the spec says; spec.replicas is 9, and the pools' max allow 3: raise a max for more"),
        (0, "every pool runs what the spec says"),
    ],
    ids=["within the bounds", "above", "below, as where it is left out"],
)
async def test_replicas_that_the_pools_do_not_allow_are_told_of(replicas: int, said: str) -> None:
    pools = [
        {"name": "default", "replicas": {"min": 1, "max": 3}},
        {"name": "more", "replicas": {"max": 0}},
        {"name": "base", "replicas": {"fixed": 1}},
    ]
    world, _, _ = await serving({"models": [CLAIMED], "pools": pools, "replicas": replicas})
    progressing = condition(world, "Progressing")
    assert (progressing["reason"], progressing["message"]) == ("UpToDate", said)


async def test_a_label_that_points_nowhere_does_not_stop_a_rollout_that_moves() -> None:
    world, controller, clock = await serving({"models": [CLAIMED | {"labels": {"stable": 7}}]})
    clock.advance(60)
    await controller.reconcile(KEY)
    assert condition(world, "Degraded")["reason"] == "LabelNotAvailable"
    assert condition(world, "Progressing")["reason"] == "UpToDate"
    assert not has_condition(world, "Reconciling")
    await updated(world, controller, clock, LOADING, server={"image": "example.com/server:2"})
    assert condition(world, "Degraded")["reason"] == "LabelNotAvailable"
    assert condition(world, "Progressing")["status"] == "True"
    assert condition(world, "Progressing")["reason"] == "RollingUpdate"
    assert condition(world, "Reconciling")["status"] == "True"


async def test_an_update_that_is_stuck_is_reconciling_so_that_kstatus_does_not_call_it_done() -> None:
    world, controller, clock = await serving()
    await updated(world, controller, clock, NO_IMAGE, server={"image": "no:1"})
    assert condition(world, "Ready")["status"] == "True"
    assert condition(world, "Progressing")["status"] == "False"
    assert not has_condition(world, "Stalled")
    reconciling = condition(world, "Reconciling")
    assert (reconciling["status"], reconciling["reason"]) == ("True", "ImagePullFailed")
    assert "waiting for a problem to be solved: pool default: image no:1 cannot be pulled" in reconciling["message"]


async def test_only_what_is_waited_for_stands_in_progressing() -> None:
    world, controller, clock = await serving({"models": [CLAIMED | {"labels": {"stable": 7}}]})
    clock.advance(60)
    await updated(world, controller, clock, NO_IMAGE, server={"image": "no:1"})
    assert "label stable" in condition(world, "Degraded")["message"]
    assert "label stable" not in condition(world, "Progressing")["message"]
    assert condition(world, "Progressing")["reason"] == "ImagePullFailed"


async def test_while_paused_a_stuck_update_is_not_reconciling() -> None:
    world, controller, clock = await serving()
    await updated(world, controller, clock, NO_IMAGE, server={"image": "no:1"})
    assert world.model is not None
    change_spec(world, world.model["spec"] | {"paused": True})
    await controller.reconcile(KEY)
    assert condition(world, "Progressing")["reason"] == "PausedByUser"
    assert not has_condition(world, "Reconciling")


async def test_a_pool_that_moves_is_progress_beside_one_that_is_stuck() -> None:
    world, controller, clock = await serving({"models": [FETCHED], "pools": TWO_POOLS})
    world.fail_pods(NO_IMAGE, pool="a")
    world.fail_pods(LOADING, pool="b")
    clock.advance(20)
    await controller.reconcile(KEY)
    assert condition(world, "Degraded")["reason"] == "ImagePullFailed"
    assert condition(world, "Progressing")["status"] == "True"
    world.roll_out()
    world.fail_pods(NO_IMAGE, pool="a")
    await controller.reconcile(KEY)
    assert condition(world, "Progressing")["reason"] == "ImagePullFailed"


async def test_a_pool_that_is_kept_for_a_stuck_one_is_no_progress() -> None:
    world, controller, clock = await serving()
    assert world.model is not None
    change_spec(world, world.model["spec"] | {"pools": [{"name": "gpu"}]})
    await controller.reconcile(KEY)
    (new,) = (each for each in world.deployments() if each["metadata"]["labels"][POOL_LABEL] == "gpu")
    world.cached_pods.append(raw_pod(new, 0, status=NO_IMAGE))
    clock.advance(20)
    await controller.reconcile(KEY)
    assert condition(world, "Ready")["status"] == "True"
    assert condition(world, "Progressing")["status"] == "False"
    assert condition(world, "Reconciling")["reason"] == "ImagePullFailed"


@pytest.mark.parametrize(
    ("error", "kstatus"),
    [
        (Rejected("exceeded quota: compute", reason="Forbidden"), "Reconciling"),
        (Rejected("denied by a webhook", reason="Forbidden"), "Stalled"),
    ],
)
async def test_an_update_that_was_refused_is_not_done(error: Rejected, kstatus: str) -> None:
    world, controller, clock = await serving()
    assert world.model is not None
    world.failures["apply Deployment"] = error
    change_spec(world, world.model["spec"] | {"server": {"image": "example.com/server:2"}})
    clock.advance(20)
    await controller.reconcile(KEY)
    assert condition(world, "Ready")["status"] == "True"
    assert condition(world, "Progressing")["status"] == "False"
    assert [name for name in ("Reconciling", "Stalled") if has_condition(world, name)] == [kstatus]
    assert str(error) in condition(world, "Progressing")["message"]
