"""The API server, and webhooks in front of it, store some fields in another form than they were applied in."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.reconcile.scenes import CLAIMED, DEPLOYMENT, Clock, change_spec, controller_of, settle
from tests.reconcile.world import KEY, World, served_model
from tfserving_operator.reconcile.controller import Controller

POD_TEMPLATE = {
    "spec": {
        "containers": [
            {
                "name": "proxy",
                "image": "example.com/proxy:1",
                "resources": {"limits": {"cpu": "0.0001"}},
                "livenessProbe": {"exec": {"command": ["true"]}, "initialDelaySeconds": 0, "periodSeconds": 0},
                "volumeMounts": [{"name": "scratch", "mountPath": "/scratch", "readOnly": False}],
            }
        ],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    }
}
POOL = {"name": "default", "podTemplate": POD_TEMPLATE}
SPEC = {"models": [CLAIMED], "pools": [POOL]}


def proxy_of(deployment: dict[str, Any]) -> dict[str, Any]:
    containers = deployment["spec"]["template"]["spec"]["containers"]
    proxies = [container for container in containers if container["name"] == "proxy"]
    return proxies[0] if proxies else {}


def as_kubernetes_stores_it(obj: dict[str, Any]) -> None:
    proxy = proxy_of(obj) if obj["kind"] == "Deployment" else {}
    if proxy:
        # Zero values are left out, a period of 0 is the default, a CPU is at least 1m; a webhook sets the registry.
        proxy["livenessProbe"]["periodSeconds"] = proxy["livenessProbe"]["periodSeconds"] or 10
        del proxy["livenessProbe"]["initialDelaySeconds"], proxy["volumeMounts"][0]["readOnly"]
        proxy["resources"]["limits"]["cpu"] = "1m"
        proxy["image"] = proxy["image"].replace("example.com", "mirror.internal")


async def stored_otherwise(spec: dict[str, Any] | None = None) -> tuple[World, Controller, Clock]:
    world, clock = World(served_model(spec or SPEC)), Clock()
    world.stored_form = as_kubernetes_stores_it
    controller = controller_of(world, clock)
    await controller.reconcile(KEY)
    world.roll_out()
    clock.advance(20)
    return world, controller, clock


def applies_of(world: World) -> list[str]:
    return [write for write in world.writes if write.startswith("apply")]


async def test_what_is_stored_in_another_form_is_not_applied_again() -> None:
    world, controller, _ = await stored_otherwise()
    world.writes.clear()
    for _ in range(3):
        await controller.reconcile(KEY)
    assert applies_of(world) == []


async def test_a_restarted_operator_applies_such_a_child_once_which_is_no_event() -> None:
    world, controller, clock = await stored_otherwise()
    await settle(world, controller, clock)
    world.writes.clear()
    world.events.clear()
    restarted = controller_of(world, clock)
    for _ in range(3):
        await restarted.reconcile(KEY)
    assert world.writes == ["apply Deployment digits-default"]
    assert world.events == []


async def test_a_pool_that_left_the_spec_goes_although_another_is_stored_otherwise() -> None:
    world, controller, clock = await stored_otherwise({"models": [CLAIMED], "pools": [POOL, {"name": "more"}]})
    change_spec(world, SPEC)
    await settle(world, controller, clock)
    assert {ref.name for ref in world.objects if "more" in ref.name} == set()


def edit(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(container: Any) -> None:
        *parents, last = path
        for part in parents:
            container = container[part]
        container[last] = value

    return change


@pytest.mark.parametrize(
    "by_hand",
    [
        pytest.param(edit("livenessProbe", "periodSeconds", value=60), id="a default"),
        pytest.param(edit("livenessProbe", "initialDelaySeconds", value=5), id="a zero that is left out"),
        pytest.param(edit("volumeMounts", 0, "readOnly", value=True), id="a false that is left out"),
        pytest.param(edit("resources", "limits", "cpu", value="2"), id="a rounded quantity"),
        pytest.param(edit("image", value="evil.example/proxy:1"), id="what a webhook sets"),
        pytest.param(edit("livenessProbe", value=None), id="a parent of such fields"),
    ],
)
async def test_an_edit_of_a_field_that_is_stored_otherwise_is_repaired(by_hand: Callable[[Any], None]) -> None:
    world, controller, _ = await stored_otherwise()
    before = copy.deepcopy(proxy_of(world.objects[DEPLOYMENT]))
    by_hand(proxy_of(world.objects[DEPLOYMENT]))
    world.writes.clear()
    for _ in range(3):
        await controller.reconcile(KEY)
    assert applies_of(world) == ["apply Deployment digits-default"]
    assert proxy_of(world.objects[DEPLOYMENT]) == before


async def test_a_changed_field_is_applied_although_it_was_stored_otherwise() -> None:
    world, controller, _ = await stored_otherwise()
    pool: dict[str, Any] = copy.deepcopy(POOL)
    pool["podTemplate"]["spec"]["containers"][0]["livenessProbe"]["periodSeconds"] = 7
    change_spec(world, SPEC | {"pools": [pool]})
    await controller.reconcile(KEY)
    assert proxy_of(world.objects[DEPLOYMENT])["livenessProbe"] == {"exec": {"command": ["true"]}, "periodSeconds": 7}
