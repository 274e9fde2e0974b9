from __future__ import annotations

from typing import Any

import pytest

from tests.reconcile.scenes import DEPLOYMENT, FETCHED, Clock, change_spec, condition, controller_of, serving, settle
from tests.reconcile.world import KEY, NOW, SCHEDULED, KilledError, World, raw_pod, served_model
from tfserving_operator.api.refs import ObjectRef
from tfserving_operator.clients.errors import Conflict, Rejected, Unavailable
from tfserving_operator.reconcile.controller import Controller


async def test_a_refused_child_is_explained_and_the_rest_goes_on() -> None:
    world = World()
    world.failures["apply PodDisruptionBudget"] = Rejected("spec.maxUnavailable: bad", reason="Invalid")
    await controller_of(world).reconcile(KEY)
    assert "spec.maxUnavailable: bad" in condition(world, "Degraded")["message"]
    assert DEPLOYMENT in world.objects


async def test_no_deployment_without_its_config() -> None:
    world = World()
    world.failures["apply ConfigMap"] = Rejected("exceeded quota", reason="Forbidden")
    await controller_of(world).reconcile(KEY)
    assert DEPLOYMENT not in world.objects


async def test_a_conflict_is_no_event() -> None:
    world = World()
    world.failures["apply Service"] = Conflict("the object has been modified")
    with pytest.raises(Conflict):
        await controller_of(world).reconcile(KEY)
    assert not [event for event in world.events if event[0] == "Warning"]


async def test_an_unavailable_api_server_is_for_the_queue_to_retry() -> None:
    world = World()
    world.failures["apply Service"] = Unavailable("429")
    with pytest.raises(Unavailable):
        await controller_of(world).reconcile(KEY)


@pytest.mark.parametrize("call", range(1, 18))
async def test_killed_at_any_call_the_next_run_ends_in_the_same_state(call: int) -> None:
    undisturbed, _, _ = await serving()
    world, clock = World(), Clock()
    world.die_at_call = call
    try:
        await settle(world, controller_of(world, clock), clock)
    except KilledError:
        world.die_at_call = None
    await settle(world, controller_of(world, clock), clock)

    def state(w: World) -> dict[ObjectRef, Any]:
        return {
            ref: (obj["metadata"]["annotations"], obj.get("spec"), obj.get("data")) for ref, obj in w.objects.items()
        }

    assert state(world) == state(undisturbed)
    assert condition(world, "Ready")["status"] == "True"


NOT_READY = {"type": "Ready", "status": "False"}
IMAGE_MISSING = {
    "conditions": [SCHEDULED, NOT_READY],
    "containerStatuses": [{"name": "server", "image": "no:1", "state": {"waiting": {"reason": "ErrImagePull"}}}],
}


async def test_a_bad_image_on_a_new_pool_leaves_ready_true_and_degraded_says_why() -> None:
    world, controller, _ = await serving(
        {"models": [FETCHED], "replicas": 2, "pools": [{"name": "a", "replicas": {"max": 1}}, {"name": "b"}]}
    )
    world.fail_pods(IMAGE_MISSING, pool="b")
    await controller.reconcile(KEY)
    assert condition(world, "Ready")["status"] == "True"
    assert condition(world, "Degraded")["reason"] == "ImagePullFailed"
    assert "pool b: image no:1 cannot be pulled" in condition(world, "Degraded")["message"]
    assert "pool a" not in condition(world, "Degraded")["message"]
    assert [event[:2] for event in world.events] == [("Warning", "ImagePullFailed")]


async def test_with_no_replica_left_ready_says_the_reason_itself() -> None:
    world, controller, _ = await serving()
    world.fail_pods(IMAGE_MISSING)
    await controller.reconcile(KEY)
    assert condition(world, "Ready")["status"] == "False"
    assert condition(world, "Ready")["reason"] == "ImagePullFailed"


@pytest.mark.parametrize(
    ("message", "reason", "words"),
    [
        ('pods "x" is forbidden: exceeded quota: compute', "QuotaExceeded", "exceeded quota: compute"),
        (
            'pods "x-" is forbidden: error looking up service account ns/robot: serviceaccount "robot" not found',
            "MissingReference",
            'serviceaccount "robot" not found',
        ),
        ('pods "x" is forbidden: violates PodSecurity', "PodRejected", "violates PodSecurity"),
    ],
)
async def test_why_no_pod_can_be_made_is_named(message: str, reason: str, words: str) -> None:
    world, controller, _ = await serving()
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    world.objects[DEPLOYMENT]["status"] = {"replicas": 0, "conditions": [failure]}
    world.cached_pods = []
    await controller.reconcile(KEY)
    assert condition(world, "Ready")["reason"] == reason
    assert words in condition(world, "Ready")["message"]


async def until_degraded(world: World, controller: Controller, clock: Clock) -> None:
    """Reconcile when the controller wants to, and at no other time."""
    waited_seconds = 0.0
    while condition(world, "Degraded")["status"] == "False" and waited_seconds < 120:
        look_again_seconds = await controller.reconcile(KEY)
        assert look_again_seconds is not None
        clock.advance(look_again_seconds)
        waited_seconds += look_again_seconds


async def test_a_missing_secret_is_named_although_no_event_tells_of_it() -> None:
    world, controller, clock = await serving()
    unmounted = {"type": "PodReadyToStartContainers", "status": "False", "lastTransitionTime": NOW.isoformat()}
    world.fail_pods({"conditions": [SCHEDULED, unmounted]})
    for pod in world.cached_pods:
        pod["spec"] = {"volumes": [{"name": "tls", "secret": {"secretName": "certificate"}}]}
    await until_degraded(world, controller, clock)
    assert condition(world, "Degraded")["reason"] == "MissingReference"
    assert "Secret certificate" in condition(world, "Degraded")["message"]


async def test_a_stuck_pool_is_degraded_even_where_no_pod_says_why() -> None:
    world, controller, _ = await serving()
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "late"}
    world.objects[DEPLOYMENT]["status"] = {"replicas": 1, "conditions": [late]}
    world.fail_pods({"conditions": [SCHEDULED, NOT_READY]})
    await controller.reconcile(KEY)
    assert condition(world, "Degraded")["reason"] == "ReplicasUnavailable"


async def test_replicas_that_lose_readiness_after_the_rollout_become_a_fault_without_an_event() -> None:
    world, controller, clock = await serving()
    frozen = {"name": "server", "started": True, "ready": False, "state": {"running": {}}}
    lost = NOT_READY | {"lastTransitionTime": clock.now.isoformat()}
    world.fail_pods({"conditions": [SCHEDULED, lost], "containerStatuses": [frozen]})
    await until_degraded(world, controller, clock)
    assert condition(world, "Degraded")["reason"] == "ReplicasUnavailable"
    assert condition(world, "Ready")["reason"] == "ReplicasUnavailable"
    assert [event[:2] for event in world.events] == [("Normal", "NoReadyReplicas"), ("Warning", "ReplicasUnavailable")]


async def test_an_unreadable_spec_leaves_the_children_and_says_which_field() -> None:
    world, controller, _ = await serving()
    change_spec(world, {"models": []})
    await controller.reconcile(KEY)
    assert world.writes == ["status"]
    assert condition(world, "Degraded")["reason"] == "InvalidSpec"
    assert "spec.models" in condition(world, "Degraded")["message"]
    assert condition(world, "Ready")["status"] == "True"


EVICTED = {"phase": "Failed", "reason": "Evicted", "message": "low on memory", "conditions": [SCHEDULED, NOT_READY]}


def leave_behind(world: World, status: dict[str, Any]) -> None:
    """A pod that ended and that nobody deleted, beside those that run."""
    world.cached_pods.append(raw_pod(world.objects[DEPLOYMENT], 9, status=status))


@pytest.mark.parametrize("status", [EVICTED, {"phase": "Succeeded", "conditions": [SCHEDULED, NOT_READY]}])
async def test_a_finished_pod_counts_for_nothing_while_all_replicas_are_ready(status: dict[str, Any]) -> None:
    world, controller, clock = await serving({"models": [FETCHED], "replicas": 3})
    leave_behind(world, status)
    clock.advance(20)
    await controller.reconcile(KEY)
    assert world.model is not None
    assert world.model["status"]["replicas"] == 3
    assert condition(world, "Degraded")["status"] == "False"
    assert condition(world, "Progressing")["reason"] == "UpToDate"
    assert world.events == []


async def test_an_evicted_pod_says_why_replicas_are_missing() -> None:
    world, controller, clock = await serving()
    world.fail_pods({"conditions": [SCHEDULED, NOT_READY]})
    leave_behind(world, EVICTED)
    clock.advance(20)
    await controller.reconcile(KEY)
    assert condition(world, "Degraded")["reason"] == "PodRejected"
    assert "low on memory" in condition(world, "Degraded")["message"]


async def test_the_problem_of_a_live_pod_comes_before_that_of_a_finished_one() -> None:
    world, controller, clock = await serving()
    message = '{"reason": "VersionNotFound", "message": "no version 1", "model": "digits"}'
    fetch = {"name": "fetch-digits", "state": {"terminated": {"exitCode": 1, "message": message}}}
    world.fail_pods({"conditions": [SCHEDULED, NOT_READY], "initContainerStatuses": [fetch]})
    leave_behind(world, EVICTED)
    clock.advance(20)
    await controller.reconcile(KEY)
    assert condition(world, "Degraded")["reason"] == "VersionNotFound"
    assert "memory" not in condition(world, "Degraded")["message"]


async def test_a_finished_pod_is_not_on_its_way() -> None:
    world, controller, clock = await serving({"models": [FETCHED], "replicas": 2})
    world.fail_pods({"conditions": [SCHEDULED, NOT_READY]})
    leave_behind(world, {"phase": "Succeeded", "conditions": [SCHEDULED, NOT_READY]})
    clock.advance(20)
    await controller.reconcile(KEY)
    assert condition(world, "Ready")["message"] == "none of 2 replicas is ready: 2 is starting"


async def test_children_of_one_that_is_gone_are_not_made_again() -> None:
    """Its watch may miss that it was deleted: the garbage collector and the operator would fight for ever."""
    world, controller, clock = await serving()
    world.has_missed_deletion = True
    world.objects.clear()
    world.cached_pods.clear()
    for _ in range(3):
        clock.advance(20)
        assert await controller.reconcile(KEY) is None
    assert not world.objects
    assert not [write for write in world.writes if write.startswith("apply")]


async def test_one_that_goes_before_its_first_status_is_left_alone_after_it() -> None:
    world, clock = World(served_model()), Clock()
    controller = controller_of(world, clock)
    world.has_missed_deletion = True
    assert await controller.reconcile(KEY) is None
    world.objects.clear()
    world.writes.clear()
    clock.advance(20)
    assert await controller.reconcile(KEY) is None
    assert not world.writes


async def test_one_that_was_made_anew_in_place_of_one_that_is_gone_is_served() -> None:
    world, controller, clock = await serving()
    world.has_missed_deletion = True
    world.objects.clear()
    await controller.reconcile(KEY)
    world.has_missed_deletion = False
    world.model = served_model(uid="99999999-2222-3333-4444-555555555555")
    await settle(world, controller, clock)
    assert condition(world, "Ready")["status"] == "True"


async def test_a_child_that_is_missing_is_made_again_after_one_question() -> None:
    world, controller, clock = await serving()
    del world.objects[DEPLOYMENT]
    clock.advance(20)
    await controller.reconcile(KEY)
    assert DEPLOYMENT in world.objects
