from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.reconcile.scenes import CLAIMED, DEPLOYMENT, condition, controller_of, serving
from tests.reconcile.world import KEY, UID, World
from tfserving_operator.api.refs import ObjectRef
from tfserving_operator.resources.names import APPLIED_HASH_ANNOTATION

CHILD_KINDS = ["Deployment", "Service", "ConfigMap", "PodDisruptionBudget"]


@pytest.mark.parametrize("kind", CHILD_KINDS)
async def test_a_deleted_child_comes_back(kind: str) -> None:
    world, controller, _ = await serving()
    before = dict(world.objects)
    for ref in [ref for ref in world.objects if ref.kind == kind]:
        del world.objects[ref]
    await controller.reconcile(KEY)
    assert set(world.objects) == set(before)


@pytest.mark.parametrize("kind", CHILD_KINDS)
async def test_a_removed_owner_reference_is_put_back(kind: str) -> None:
    world, controller, _ = await serving()
    edited = [ref for ref in world.objects if ref.kind == kind]
    for ref in edited:
        world.objects[ref]["metadata"]["ownerReferences"] = []
    await controller.reconcile(KEY)
    assert sorted(world.writes) == sorted(f"apply {kind} {ref.name}" for ref in edited)
    assert {world.objects[ref]["metadata"]["ownerReferences"][0]["uid"] for ref in edited} == {UID}


@pytest.mark.parametrize("kind", CHILD_KINDS)
async def test_a_child_without_its_labels_is_recognised_by_its_owner(kind: str) -> None:
    world, controller, _ = await serving()
    edited = [ref for ref in world.objects if ref.kind == kind]
    labels = {ref: world.objects[ref]["metadata"]["labels"] for ref in edited}
    for ref in edited:
        world.objects[ref]["metadata"]["labels"] = {}
    await controller.reconcile(KEY)
    assert sorted(world.writes) == sorted(f"apply {kind} {ref.name}" for ref in edited)
    assert {ref: world.objects[ref]["metadata"]["labels"] for ref in edited} == labels


async def test_what_somebody_added_to_a_child_is_taken_out_again() -> None:
    world, controller, _ = await serving()
    live = world.objects[DEPLOYMENT]
    live["spec"]["template"]["spec"]["nodeSelector"] = {"disk": "ssd"}
    live["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = "now"
    pod_fields: dict[str, Any] = {"f:nodeSelector": {}, "f:containers": {'k:{"name":"server"}': {"f:image": {}}}}
    annotations: dict[str, Any] = {"f:annotations": {"f:kubectl.kubernetes.io/restartedAt": {}}}
    live["metadata"]["managedFields"] = [
        {"manager": "tfserving-operator", "fieldsV1": {"f:spec": {"f:template": {"f:spec": {
            "f:containers": {'k:{"name":"server"}': {".": {}, "f:image": {}}}}}}}},
        {"manager": "kubectl-edit", "fieldsV1": {"f:spec": {"f:template": {
            "f:metadata": annotations, "f:spec": pod_fields}}}},
        {"manager": "kube-controller-manager", "subresource": "status", "fieldsV1": {"f:status": {}}},
    ]  # fmt: skip
    await controller.reconcile(KEY)
    assert world.writes == ["update Deployment digits-default"]
    template = world.objects[DEPLOYMENT]["spec"]["template"]
    assert "nodeSelector" not in template["spec"]
    assert template["spec"]["containers"][0]["name"] == "server"
    assert "kubectl.kubernetes.io/restartedAt" in template["metadata"]["annotations"]
    await controller.reconcile(KEY)
    assert world.writes == ["update Deployment digits-default"]


def fetcher_of(world: World) -> dict[str, Any]:
    fetcher: dict[str, Any] = world.objects[DEPLOYMENT]["spec"]["template"]["spec"]["initContainers"][0]
    return fetcher


@pytest.mark.parametrize("restarts", [False, True], ids=["the same operator", "a restarted one"])
async def test_an_edited_image_of_a_fetcher_is_put_back(restarts: bool) -> None:
    world, controller, clock = await serving()
    fetcher_of(world)["image"] = "example.com/somebody-elses:9"
    await (controller_of(world, clock) if restarts else controller).reconcile(KEY)
    assert world.writes == ["apply Deployment digits-default"]
    assert fetcher_of(world)["image"] == "example.com/tfserving-operator:1"


@pytest.mark.parametrize("knows_its_fetcher", [True, False], ids=["of this version", "of an earlier one, without it"])
async def test_a_deployment_keeps_its_fetcher_when_the_operator_is_upgraded(knows_its_fetcher: bool) -> None:
    world, controller, _ = await serving()
    annotations = world.objects[DEPLOYMENT]["metadata"]["annotations"]
    annotations |= {"tfserving.dev/fetcher-image": "example.com/tfserving-operator:0", APPLIED_HASH_ANNOTATION: "old"}
    if not knows_its_fetcher:
        del annotations["tfserving.dev/fetcher-image"]
    fetcher_of(world)["image"] = "example.com/tfserving-operator:0"
    before = copy.deepcopy(world.objects[DEPLOYMENT]["spec"]["template"])
    for _ in range(2):
        await controller.reconcile(KEY)
    assert world.writes == ["apply Deployment digits-default"]
    after = world.objects[DEPLOYMENT]
    assert after["spec"]["template"] == before
    assert after["metadata"]["annotations"]["tfserving.dev/fetcher-image"] == "example.com/tfserving-operator:0"


async def test_a_deployment_that_fetches_nothing_names_no_fetcher() -> None:
    world, _, _ = await serving({"models": [CLAIMED]})
    assert "tfserving.dev/fetcher-image" not in world.objects[DEPLOYMENT]["metadata"]["annotations"]


# What somebody else owns


async def test_a_service_of_somebody_else_is_neither_touched_nor_merged_into() -> None:
    world = World()
    foreign = ObjectRef("v1", "Service", "models", "digits")
    world.objects[foreign] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "digits", "namespace": "models", "uid": "theirs"},
    }
    await controller_of(world).reconcile(KEY)
    assert "apply Service digits" not in world.writes
    assert condition(world, "Degraded")["reason"] == "ChildConflict"
    assert "Service digits exists and was not made by this operator" in condition(world, "Degraded")["message"]
    assert condition(world, "Stalled")["status"] == "True"


async def test_a_child_of_another_resource_is_named_with_its_owner() -> None:
    world, controller, _ = await serving()
    owner = world.objects[DEPLOYMENT]["metadata"]["ownerReferences"][0]
    world.objects[DEPLOYMENT]["metadata"]["ownerReferences"] = [owner | {"uid": "other", "name": "digits-x"}]
    await controller.reconcile(KEY)
    assert world.writes == ["status"]
    assert "belongs to ServedModel digits-x" in condition(world, "Degraded")["message"]
