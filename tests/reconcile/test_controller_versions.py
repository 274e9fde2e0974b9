from __future__ import annotations

from typing import Any

import pytest

from tests.reconcile.scenes import CLAIMED, FETCHED, Clock, change_spec, condition, controller_of, serving, settle
from tests.reconcile.world import KEY, World, served_model, version
from tfserving_operator.clients.model_service import Unknown, VersionState, VersionStatus
from tfserving_operator.reconcile.controller import Controller
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


async def test_a_version_of_any_64_bits_gets_into_the_status() -> None:
    world, controller, clock = await serving({"models": [CLAIMED]})
    world.answers = {"digits": (version(2**63 - 1), version(20240315123045123), version(-1))}
    clock.advance(20)
    await controller.reconcile(KEY)
    assert world.model is not None
    assert world.model["status"]["models"][0]["versions"] == [2**63 - 1, 20240315123045123, -1]
    assert condition(world, "Ready")["status"] == "True"


async def test_a_label_waits_for_its_version() -> None:
    world, controller, clock = await serving({"models": [CLAIMED | {"versions": {"specific": [1]}}]})
    change_spec(world, {"models": [CLAIMED | {"versions": {"specific": [1, 2]}, "labels": {"stable": 2}}]})
    await controller.reconcile(KEY)
    assert dict(world.reloads[-1].model_config_list.config[0].version_labels) == {}
    world.answers = {"digits": (version(2), version(1))}
    clock.advance(20)
    await controller.reconcile(KEY)
    assert dict(world.reloads[-1].model_config_list.config[0].version_labels) == {"stable": 2}


def started_with(world: World) -> str:
    """What a replica that starts now has to wait for."""
    config = next(obj for ref, obj in world.objects.items() if ref.kind == "ConfigMap" and "-models-" in ref.name)
    text = config["data"]["expected-versions"]
    assert isinstance(text, str)
    return text.strip()


@pytest.mark.parametrize("before", [{"specific": [1]}, {"latest": 1}, {"all": True}])
async def test_replicas_are_started_with_a_version_only_once_one_has_it(before: dict[str, Any]) -> None:
    """Else a version that is not there would take the place of each replica that a node gives up."""
    world, controller, clock = await serving({"models": [CLAIMED | {"versions": before}]})
    usual = started_with(world)
    change_spec(world, {"models": [CLAIMED | {"versions": {"specific": [99]}}]})
    for answer in ((version(1),), Unknown("deadline exceeded"), (version(1),)):
        world.answers = {"digits": answer}
        clock.advance(20)
        await controller.reconcile(KEY)
        assert started_with(world) == usual
    assert condition(world, "Degraded")["reason"] == "VersionNotFound"
    world.answers = {"digits": (version(99), version(1))}
    clock.advance(20)
    await controller.reconcile(KEY)
    assert started_with(world) == "digits specific 99"


async def test_where_nothing_serves_replicas_are_started_with_what_the_spec_says() -> None:
    world, controller, clock = await serving({"models": [CLAIMED | {"versions": {"specific": [99]}}]})
    world.fail_pods({})
    change_spec(world, {"models": [CLAIMED | {"versions": {"specific": [1]}}]})
    clock.advance(20)
    await controller.reconcile(KEY)
    assert started_with(world) == "digits specific 1"


@pytest.mark.parametrize("silent_seconds", [5, 40])
@pytest.mark.parametrize(
    "after",
    [
        pytest.param({"versions": {"specific": [3]}}, id="while another version is awaited"),
        pytest.param({"versions": {"specific": [2]}, "labels": {"stable": 2}}, id="with labels"),
    ],
)
async def test_a_server_that_misses_a_question_keeps_its_config(after: dict[str, Any], silent_seconds: float) -> None:
    """Not known is not gone: the version that serves and its labels would be unloaded."""
    world = World(
        served_model({"models": [CLAIMED | {"versions": {"specific": [2]}, "labels": after.get("labels", {})}]})
    )
    world.answers = {"digits": (version(2),)}
    clock = Clock()
    controller = controller_of(world, clock)
    await settle(world, controller, clock)
    change_spec(world, {"models": [CLAIMED | after]})
    clock.advance(20)
    await controller.reconcile(KEY)
    told = len(world.reloads)
    world.answers = {"digits": Unknown("deadline exceeded")}
    for seconds in (silent_seconds, 2.0, 2.0):
        clock.advance(seconds)
        await controller.reconcile(KEY)
    assert len(world.reloads) == told


async def test_a_server_that_misses_a_question_is_not_said_to_have_lost_its_versions() -> None:
    world, controller, _ = await serving({"models": [CLAIMED]})
    world.answers = {"digits": Unknown("deadline exceeded")}
    await controller.reconcile(KEY)
    assert world.model is not None
    assert [(model["versions"], model["replicas"]) for model in world.model["status"]["models"]] == [([1], 1)]


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


TWO = {"models": [CLAIMED | {"name": "a"}, CLAIMED | {"name": "b"}]}
UNLOADED = version(1, VersionState.END)


async def two_models() -> tuple[World, Controller, Clock]:
    world, clock = World(served_model(TWO)), Clock()
    world.answers = {"a": (version(1),), "b": (version(1),)}
    controller = controller_of(world, clock)
    await settle(world, controller, clock)
    assert condition(world, "Ready")["status"] == "True"
    return world, controller, clock


async def test_a_model_that_was_emptied_beside_another_is_a_fault_in_the_words_of_ready() -> None:
    world, controller, clock = await two_models()
    world.answers = {"a": (UNLOADED,), "b": (version(1),)}
    clock.advance(20)
    await controller.reconcile(KEY)
    ready, degraded = condition(world, "Ready"), condition(world, "Degraded")
    assert (ready["status"], degraded["status"]) == ("False", "True")
    assert ready["reason"] == degraded["reason"] == "ModelLoadFailed"
    assert ready["message"] == degraded["message"]
    assert "no replica has an available version of a" in degraded["message"]


async def test_the_model_that_is_lost_comes_before_what_is_wrong_with_others() -> None:
    world, controller, clock = await two_models()
    labelled = {"models": [CLAIMED | {"name": "a", "labels": {"stable": 7}}, CLAIMED | {"name": "b"}]}
    change_spec(world, labelled)
    await settle(world, controller, clock)
    assert condition(world, "Degraded")["reason"] == "LabelNotAvailable"
    world.answers = {"a": (version(1),), "b": (UNLOADED,)}
    await settle(world, controller, clock)
    assert condition(world, "Degraded")["reason"] == condition(world, "Ready")["reason"] == "ModelLoadFailed"
    assert "label stable" in condition(world, "Degraded")["message"]


async def test_a_model_of_which_a_server_says_nothing_is_not_lost() -> None:
    world, controller, clock = await two_models()
    world.answers = {"a": Unknown("deadline exceeded"), "b": (version(1),)}
    await settle(world, controller, clock)
    assert condition(world, "Ready")["status"] == "True"
    assert condition(world, "Degraded")["status"] == "False"


async def test_a_model_without_a_version_is_no_fault_while_servers_reload() -> None:
    world, controller, clock = await two_models()
    change_spec(world, {"models": [CLAIMED | {"name": "a", "versions": {"latest": 2}}, CLAIMED | {"name": "b"}]})
    world.answers = {"a": (UNLOADED,), "b": (version(1),)}
    await controller.reconcile(KEY)
    assert world.reloads
    clock.advance(5)
    await controller.reconcile(KEY)
    assert condition(world, "Degraded")["status"] == "False"
    clock.advance(20)
    await controller.reconcile(KEY)
    assert condition(world, "Degraded")["reason"] == "ModelLoadFailed"


async def test_a_model_that_is_added_does_not_end_ready_while_its_replicas_are_on_their_way() -> None:
    world, controller, clock = await serving({"models": [CLAIMED]})
    change_spec(world, {"models": [CLAIMED, CLAIMED | {"name": "new"}]})
    world.answers = {"digits": (version(1),), "new": ()}
    for _ in range(3):
        clock.advance(20)
        await controller.reconcile(KEY)
        assert condition(world, "Ready")["status"] == "True"
        assert condition(world, "Degraded")["status"] == "False"
    world.roll_out()
    world.answers = {"digits": (version(1),), "new": (UNLOADED,)}
    await settle(world, controller, clock)
    assert condition(world, "Ready")["reason"] == "ModelLoadFailed"
