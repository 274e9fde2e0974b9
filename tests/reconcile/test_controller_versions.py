from __future__ import annotations

from typing import Any

import pytest

from tests.reconcile.scenes import CLAIMED, FETCHED, change_spec, condition, serving
from tests.reconcile.world import KEY, version
from tfserving_operator.clients.model_service import Unknown, VersionState, VersionStatus
from tfserving_operator.resources.names import POOL_LABEL


async def test_a_new_version_on_a_claim_is_reloaded_beside_the_one_that_serves() -> None:
    world, controller, clock = await serving({"models": [CLAIMED | {"versions": {"specific": [1]}}]})
    change_spec(world, {"models": [CLAIMED | {"versions": {"specific": [2]}}]})
    clock.advance(20)
    await controller.reconcile(KEY)
    policy = world.reloads[-1].model_config_list.config[0].model_version_policy
    assert list(policy.specific.versions) == [1, 2]
    world.answers = {"digits": (version(2), version(1))}
    clock.advance(20)
    await controller.reconcile(KEY)
    policy = world.reloads[-1].model_config_list.config[0].model_version_policy
    assert list(policy.specific.versions) == [2]
    assert not [write for write in world.writes if "Deployment" in write]


async def test_a_label_waits_for_its_version() -> None:
    world, controller, clock = await serving({"models": [CLAIMED | {"versions": {"specific": [1]}}]})
    change_spec(world, {"models": [CLAIMED | {"versions": {"specific": [1, 2]}, "labels": {"stable": 2}}]})
    await controller.reconcile(KEY)
    assert dict(world.reloads[-1].model_config_list.config[0].version_labels) == {}
    world.answers = {"digits": (version(2), version(1))}
    clock.advance(20)
    await controller.reconcile(KEY)
    assert dict(world.reloads[-1].model_config_list.config[0].version_labels) == {"stable": 2}


async def test_a_label_of_a_version_that_never_comes_is_explained() -> None:
    world, controller, clock = await serving({"models": [CLAIMED | {"labels": {"stable": 7}}]})
    clock.advance(60)
    await controller.reconcile(KEY)
    assert condition(world, "Degraded")["reason"] == "LabelNotAvailable"
    assert (
        "label stable points at version 7, which is not served; served are 1" in condition(world, "Degraded")["message"]
    )
    assert condition(world, "Ready")["status"] == "True"


async def test_a_version_that_fails_to_load_is_quoted_and_the_old_one_serves_on() -> None:
    world, controller, clock = await serving({"models": [CLAIMED]})
    world.answers = {"digits": (version(2, VersionState.END, error="Data loss: corrupt"), version(1))}
    clock.advance(20)
    await controller.reconcile(KEY)
    assert condition(world, "Degraded")["reason"] == "ModelLoadFailed"
    assert "version 2 did not load (Data loss: corrupt)" in condition(world, "Degraded")["message"]
    assert condition(world, "Ready")["status"] == "True"


async def test_status_says_which_pool_serves_which_version() -> None:
    pools = [{"name": "gpu", "replicas": {"fixed": 1}}, {"name": "cpu", "replicas": {"fixed": 1}}]
    world, controller, clock = await serving({"models": [CLAIMED], "pools": pools})
    newer = next(pod for pod in world.cached_pods if pod["metadata"]["labels"][POOL_LABEL] == "gpu")
    newer["status"]["podIP"] = "10.0.0.9"
    world.answers_of = {"10.0.0.9:8500": {"digits": (version(2), version(1))}}
    clock.advance(20)
    await controller.reconcile(KEY)
    assert world.model is not None
    status = world.model["status"]
    assert {pool["name"]: pool["versionSummary"] for pool in status["pools"]} == {
        "gpu": "digits@2,1",
        "cpu": "digits@1",
    }
    (digits,) = status["models"]
    assert (digits["versions"], digits["replicas"], digits["desired"]) == ([2, 1], 1, 2)


def failed(number: int) -> VersionStatus:
    return version(number, VersionState.END, error="Data loss: corrupt")


@pytest.mark.parametrize(
    ("versions", "answers", "degraded"),
    [
        ({"latest": 1}, (failed(3), version(2)), "True"),
        ({"latest": 1}, (version(4), failed(3)), "False"),
        ({"latest": 2}, (version(4), failed(3), version(2)), "True"),
        ({"all": True}, (version(4), failed(3), version(2)), "True"),
        ({"specific": [3]}, (version(4), failed(3)), "True"),
        ({"specific": [4]}, (version(4), failed(3)), "False"),
    ],
)
async def test_a_failed_version_is_a_fault_as_long_as_it_is_wanted(
    versions: dict[str, Any], answers: tuple[VersionStatus, ...], degraded: str
) -> None:
    world, controller, clock = await serving({"models": [CLAIMED | {"versions": versions}]})
    world.answers = {"digits": answers}
    for _ in range(3):
        clock.advance(20)
        await controller.reconcile(KEY)
    assert condition(world, "Degraded")["status"] == degraded


async def test_a_server_that_stays_silent_makes_degraded_unknown_and_ready_stays() -> None:
    world, controller, clock = await serving()
    world.answers = {"digits": Unknown("deadline exceeded")}
    await controller.reconcile(KEY)
    assert condition(world, "Degraded")["status"] == "False"
    clock.advance(20)
    await controller.reconcile(KEY)
    clock.advance(20)
    await controller.reconcile(KEY)
    clock.advance(20)
    await controller.reconcile(KEY)
    assert condition(world, "Degraded")["status"] == "Unknown"
    assert condition(world, "Degraded")["reason"] == "ModelStatusUnknown"
    assert condition(world, "Ready")["status"] == "True"


async def test_pods_of_an_earlier_spec_are_not_asked_for_the_new_version() -> None:
    world, controller, clock = await serving({"models": [FETCHED | {"versions": {"specific": [1]}}]})
    change_spec(world, {"models": [FETCHED | {"versions": {"specific": [2]}}]})
    for _ in range(3):
        clock.advance(20)
        await controller.reconcile(KEY)
    assert condition(world, "Degraded")["status"] == "False"
    assert [event for event in world.events if event[0] == "Warning"] == []
