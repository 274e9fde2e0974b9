from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.reconcile.world import KEY, NOW, SCHEDULED, UID, KilledError, Settings, World, served_model, version
from tfserving_operator.api.refs import ObjectRef
from tfserving_operator.clients.errors import Conflict, Rejected, Unavailable
from tfserving_operator.clients.model_service import Unknown, VersionState, VersionStatus
from tfserving_operator.reconcile.controller import Controller

FETCHED = {"name": "digits", "source": {"uri": "s3://bucket/digits"}}
CLAIMED = {"name": "digits", "source": {"uri": "pvc://claim/digits"}}
DEPLOYMENT = ObjectRef("apps/v1", "Deployment", "models", "digits-default")


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def controller_of(world: World, clock: Clock | None = None) -> Controller:
    return Controller(
        kube=world,
        cache=world,
        models=world.served_model,
        model_service=world,
        rest_model_status=world,
        settings=Settings(),
        events=world,
        clock=clock or Clock(),
    )


async def serving(spec: dict[str, Any] | None = None) -> tuple[World, Controller, Clock]:
    """A ServedModel that serves, with everything settled and nothing left to do."""
    world, clock = World(served_model(spec)), Clock()
    controller = controller_of(world, clock)
    await settle(world, controller, clock)
    world.writes.clear()
    world.events.clear()
    world.reloads.clear()
    return world, controller, clock


async def settle(world: World, controller: Controller, clock: Clock) -> None:
    for _ in range(4):
        await controller.reconcile(KEY)
        world.roll_out()
        clock.advance(20)


def change_spec(world: World, spec: dict[str, Any]) -> None:
    assert world.model is not None
    metadata = world.model["metadata"] | {"generation": world.model["metadata"]["generation"] + 1}
    world.model = world.model | {"spec": spec, "metadata": metadata}
    world._bump(world.model)


def condition(world: World, name: str) -> dict[str, Any]:
    assert world.model is not None
    found = [c for c in world.model["status"]["conditions"] if c["type"] == name]
    assert found, f"no condition {name}"
    result: dict[str, Any] = found[0]
    return result


def has_condition(world: World, name: str) -> bool:
    assert world.model is not None
    return any(c["type"] == name for c in world.model["status"]["conditions"])


# The way to Ready


async def test_from_create_to_ready_takes_one_write_a_child_and_two_of_status() -> None:
    world, clock = World(), Clock()
    controller = controller_of(world, clock)
    await controller.reconcile(KEY)
    world.roll_out()
    clock.advance(20)
    for _ in range(3):
        await controller.reconcile(KEY)
        clock.advance(20)
    assert sorted(write.split()[0] for write in world.writes) == ["apply"] * 7 + ["status"] * 2
    assert len(world.writes) == len(set(world.writes) - {"status"}) + 2
    assert condition(world, "Ready")["status"] == "True"
    assert condition(world, "Ready")["message"] == "1 of 1 replicas serve digits@1"
    assert condition(world, "Progressing")["reason"] == "UpToDate"
    assert condition(world, "Degraded")["status"] == "False"
    assert [event[:2] for event in world.events] == [("Normal", "Created"), ("Normal", "Serving")]
    assert not has_condition(world, "Reconciling")


async def test_a_quiet_model_costs_no_write_and_no_event() -> None:
    world, controller, clock = await serving()
    for _ in range(20):
        await controller.reconcile(KEY)
        clock.advance(15)
    assert (world.writes, world.events) == ([], [])


async def test_a_restarted_operator_writes_nothing() -> None:
    world, _, clock = await serving()
    await controller_of(world, clock).reconcile(KEY)
    assert world.writes == []


async def test_pods_come_after_what_they_refer_to() -> None:
    world = World()
    await controller_of(world).reconcile(KEY)
    kinds = [write.split()[1] for write in world.writes if write != "status"]
    assert kinds.index("Deployment") > max(i for i, kind in enumerate(kinds) if kind == "ConfigMap")


# Changes


async def test_a_scale_up_keeps_ready_true() -> None:
    world, controller, _ = await serving()
    assert world.model is not None
    change_spec(world, world.model["spec"] | {"replicas": 3})
    await controller.reconcile(KEY)
    assert world.objects[DEPLOYMENT]["spec"]["replicas"] == 3
    assert condition(world, "Ready")["status"] == "True"
    assert condition(world, "Ready")["message"] == "1 of 3 replicas serve digits@1"
    assert condition(world, "Progressing")["status"] == "True"
    assert condition(world, "Reconciling")["status"] == "True"
    assert condition(world, "Degraded")["status"] == "False"


async def test_observed_generation_is_that_of_the_resource() -> None:
    world, controller, _ = await serving()
    assert world.model is not None
    change_spec(world, world.model["spec"])
    await controller.reconcile(KEY)
    assert world.model["status"]["observedGeneration"] == 2


async def test_labels_on_the_resource_write_nothing() -> None:
    world, controller, _ = await serving()
    assert world.model is not None
    world.model = world.model | {"metadata": world.model["metadata"] | {"labels": {"a": "b"}}}
    await controller.reconcile(KEY)
    assert world.writes == []


async def test_a_pool_that_left_the_spec_serves_until_the_others_are_ready() -> None:
    world, controller, clock = await serving()
    assert world.model is not None
    change_spec(world, world.model["spec"] | {"pools": [{"name": "gpu"}]})
    await controller.reconcile(KEY)
    assert DEPLOYMENT in world.objects
    assert "kept until" in condition(world, "Progressing")["message"]
    await settle(world, controller, clock)
    assert [ref.name for ref in world.objects if "default" in ref.name] == []
    assert ("Normal", "Deleted") in {event[:2] for event in world.events}


async def test_a_pool_that_is_scaled_to_zero_serves_until_another_has_taken_over() -> None:
    world, controller, clock = await serving()
    assert world.model is not None
    pools = [{"name": "gpu"}, {"name": "default", "replicas": {"fixed": 0}}]
    change_spec(world, world.model["spec"] | {"pools": pools})
    await controller.reconcile(KEY)
    assert world.objects[DEPLOYMENT]["spec"]["replicas"] == 1
    assert "keeps 1 replicas until other pools have taken over" in condition(world, "Progressing")["message"]
    await settle(world, controller, clock)
    assert world.objects[DEPLOYMENT]["spec"]["replicas"] == 0
    assert condition(world, "Progressing")["reason"] == "UpToDate"


async def test_an_old_server_config_is_kept_while_a_pod_uses_it() -> None:
    world, controller, clock = await serving()
    assert world.model is not None
    before = {ref for ref in world.objects if "-server-" in ref.name}
    change_spec(world, world.model["spec"] | {"batching": {"maxBatchSize": 8}})
    await controller.reconcile(KEY)
    assert before < {ref for ref in world.objects if "-server-" in ref.name}
    await settle(world, controller, clock)
    assert not before & set(world.objects)


async def test_paused_leaves_children_alone_and_says_so() -> None:
    world, controller, _ = await serving()
    assert world.model is not None
    change_spec(world, world.model["spec"] | {"paused": True, "replicas": 5})
    world.objects[DEPLOYMENT]["metadata"]["labels"].clear()
    await controller.reconcile(KEY)
    assert world.writes == ["status"]
    assert condition(world, "Paused")["status"] == "True"


async def test_a_deleted_resource_is_left_to_the_garbage_collector() -> None:
    world, controller, _ = await serving()
    assert world.model is not None
    world.model = world.model | {"metadata": world.model["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert await controller.reconcile(KEY) is None
    assert world.writes == []


# Drift


@pytest.mark.parametrize("kind", ["Deployment", "Service", "ConfigMap", "PodDisruptionBudget"])
async def test_a_deleted_child_comes_back(kind: str) -> None:
    world, controller, _ = await serving()
    before = dict(world.objects)
    for ref in [ref for ref in world.objects if ref.kind == kind]:
        del world.objects[ref]
    await controller.reconcile(KEY)
    assert set(world.objects) == set(before)


async def test_a_removed_owner_reference_is_put_back() -> None:
    world, controller, _ = await serving()
    world.objects[DEPLOYMENT]["metadata"]["ownerReferences"] = []
    await controller.reconcile(KEY)
    assert world.writes == ["apply Deployment digits-default"]
    assert world.objects[DEPLOYMENT]["metadata"]["ownerReferences"][0]["uid"] == UID


async def test_a_child_without_its_labels_is_recognised_by_its_owner() -> None:
    world, controller, _ = await serving()
    world.objects[DEPLOYMENT]["metadata"]["labels"] = {}
    await controller.reconcile(KEY)
    assert world.writes == ["apply Deployment digits-default"]


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


# What goes wrong


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


async def test_a_missing_secret_is_named_although_no_event_tells_of_it() -> None:
    world, controller, clock = await serving()
    unmounted = {"type": "PodReadyToStartContainers", "status": "False", "lastTransitionTime": NOW.isoformat()}
    world.fail_pods({"conditions": [SCHEDULED, unmounted]})
    for pod in world.cached_pods:
        pod["spec"] = {"volumes": [{"name": "tls", "secret": {"secretName": "certificate"}}]}
    waited_seconds = 0.0
    while condition(world, "Degraded")["status"] == "False" and waited_seconds < 60:
        look_again_seconds = await controller.reconcile(KEY)
        assert look_again_seconds is not None
        clock.advance(look_again_seconds)
        waited_seconds += look_again_seconds
    assert condition(world, "Degraded")["reason"] == "MissingReference"
    assert "Secret certificate" in condition(world, "Degraded")["message"]


async def test_a_stuck_pool_is_degraded_even_where_no_pod_says_why() -> None:
    world, controller, _ = await serving()
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "late"}
    world.objects[DEPLOYMENT]["status"] = {"replicas": 1, "conditions": [late]}
    world.fail_pods({"conditions": [SCHEDULED, NOT_READY]})
    await controller.reconcile(KEY)
    assert condition(world, "Degraded")["reason"] == "ReplicasUnavailable"


async def test_an_unreadable_spec_leaves_the_children_and_says_which_field() -> None:
    world, controller, _ = await serving()
    change_spec(world, {"models": []})
    await controller.reconcile(KEY)
    assert world.writes == ["status"]
    assert condition(world, "Degraded")["reason"] == "InvalidSpec"
    assert "spec.models" in condition(world, "Degraded")["message"]
    assert condition(world, "Ready")["status"] == "True"


# Versions and labels


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
