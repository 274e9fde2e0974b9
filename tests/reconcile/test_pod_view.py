from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.reconcile.world import NOW, READY, SCHEDULED
from tfserving_operator.api.conditions import Reason
from tfserving_operator.reconcile.pod_view import PodPhase, view_pod

NOT_READY = {"type": "Ready", "status": "False"}


def pod(status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "uid": "u", "labels": {"tfserving.dev/pool": "gpu"}, **metadata},
        "status": status,
    }


def server(**fields: Any) -> dict[str, Any]:
    return {"conditions": [SCHEDULED, NOT_READY], "containerStatuses": [{"name": "server", **fields}]}


def ended(code: int, *, reason: str = "Error", message: str = "") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def fetch(**fields: Any) -> dict[str, Any]:
    return {"conditions": [SCHEDULED, NOT_READY], "initContainerStatuses": [{"name": "fetch-m", **fields}]}


MISSING = '{"reason": "ModelPathNotFound", "message": "s3://b/m does not exist", "model": "m"}'


@pytest.mark.parametrize(
    ("raw", "phase"),
    [
        (pod({}), PodPhase.PENDING),
        (pod({"conditions": [SCHEDULED]}), PodPhase.STARTING),
        (pod(fetch(state={"running": {}})), PodPhase.FETCHING),
        (pod(server(state={"running": {}})), PodPhase.LOADING),
        (pod({"conditions": [SCHEDULED, READY]}), PodPhase.READY),
        (pod({"conditions": [SCHEDULED, READY]}, deletionTimestamp="2026-01-01T00:00:00Z"), PodPhase.TERMINATING),
        (pod({"phase": "Failed", "reason": "Evicted", "conditions": [SCHEDULED]}), PodPhase.FINISHED),
        (pod({"phase": "Failed"}), PodPhase.FINISHED),
        (pod({"phase": "Succeeded", "conditions": [SCHEDULED, NOT_READY]}), PodPhase.FINISHED),
        (pod({"phase": "Failed"}, deletionTimestamp="2026-01-01T00:00:00Z"), PodPhase.TERMINATING),
    ],
)
def test_phase_says_how_far_a_pod_has_come(raw: dict[str, Any], phase: PodPhase) -> None:
    assert view_pod(raw, NOW).phase is phase


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3"}]},
            Reason.UNSCHEDULABLE,
            "no node fits: 0/3",
        ),
        (
            {
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": '0/1 nodes are available: persistentvolumeclaim "models" not found. not found',
                    }
                ]
            },
            Reason.MISSING_REFERENCE,
            "claim models does not exist",
        ),
        (fetch(state=ended(1, message=MISSING)), Reason.MODEL_PATH_NOT_FOUND, "model m: s3://b/m does not exist"),
        (
            fetch(state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ended(1, message=MISSING)),
            Reason.MODEL_PATH_NOT_FOUND,
            "model m: s3://b/m does not exist",
        ),
        (fetch(state=ended(2, message="Traceback")), Reason.FETCH_FAILED, "Traceback"),
        (fetch(state=ended(137, reason="OOMKilled")), Reason.OUT_OF_MEMORY, "fetch-m exceeded its memory limit"),
        (
            server(image="nope:1", state={"waiting": {"reason": "ErrImagePull", "message": "not found"}}),
            Reason.IMAGE_PULL_FAILED,
            "image nope:1 cannot be pulled",
        ),
        (
            server(state={"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "s" not found'}}),
            Reason.MISSING_REFERENCE,
            'secret "s" not found',
        ),
        (
            server(state={"running": {}}, lastState=ended(137, reason="OOMKilled")),
            Reason.OUT_OF_MEMORY,
            "raise resources.limits.memory",
        ),
        (
            server(state=ended(255, message="x\nFailed to start server. Error: Unknown: 1 servable(s)\n")),
            Reason.MODEL_LOAD_FAILED,
            "Failed to start server. Error: Unknown: 1 servable(s)",
        ),
        (server(state={"running": {}}, started=False, lastState=ended(137)), Reason.LOAD_TIMEOUT, "loadTimeoutSeconds"),
        (server(state=ended(134, message="abort")), Reason.CRASH_LOOP, "exit code 134: abort"),
        (
            {
                "conditions": [SCHEDULED, NOT_READY],
                "containerStatuses": [
                    {"name": "server", "state": {"running": {}}},
                    {"name": "proxy", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": ended(3)},
                ],
            },
            Reason.CRASH_LOOP,
            "container proxy ended with exit code 3",
        ),
        ({"phase": "Failed", "reason": "Evicted", "conditions": [SCHEDULED]}, Reason.POD_REJECTED, "Evicted"),
    ],
)
def test_a_pod_that_does_not_serve_says_why(status: dict[str, Any], reason: Reason, words: str) -> None:
    problem = view_pod(pod(status), NOW).problem
    assert problem is not None
    assert problem.reason is reason
    assert words in problem.message


def test_a_ready_pod_has_no_problem_whatever_it_went_through() -> None:
    status = server(lastState=ended(137, reason="OOMKilled"), restartCount=3) | {"conditions": [SCHEDULED, READY]}
    assert view_pod(pod(status), NOW).problem is None


def pulling(message: str, reason: str = "ErrImagePull") -> dict[str, Any]:
    return pod(server(image="server:1", state={"waiting": {"reason": reason, "message": message}}))


def test_image_pull_message_is_the_same_while_the_kubelet_backs_off() -> None:
    first = view_pod(pulling('failed to pull "server:1": not found'), NOW).problem
    backing_off = 'Back-off pulling image "server:1": ErrImagePull: failed to pull "server:1": not found'
    assert view_pod(pulling(backing_off, "ImagePullBackOff"), NOW).problem == first
    bare = view_pod(pulling('Back-off pulling image "server:1"', "ImagePullBackOff"), NOW).problem
    assert bare is not None
    assert "Back-off" not in bare.message


def test_an_image_volume_that_cannot_be_pulled_is_told_from_the_servers_image() -> None:
    volumes = [{"name": "model-m", "image": {"reference": "models/m:1"}}]
    raw = pulling('Back-off pulling image "models/m:1"') | {"spec": {"volumes": volumes}}
    problem = view_pod(raw, NOW).problem
    assert problem is not None
    assert "image models/m:1 cannot be pulled" in problem.message


def test_a_directory_that_a_claim_does_not_have_is_a_missing_model_path() -> None:
    message = 'failed to create subPath directory for volumeMount "model-m" of container "check-m"'
    status = fetch(state={"waiting": {"reason": "CreateContainerConfigError", "message": message}})
    volumes = [{"name": "model-m", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}}]
    problem = view_pod(pod(status) | {"spec": {"volumes": volumes}}, NOW).problem
    assert problem is not None
    assert problem.reason is Reason.MODEL_PATH_NOT_FOUND
    assert "claim models does not have the directory" in problem.message


def waiting_for_volumes(seconds: float, *volumes: dict[str, Any]) -> dict[str, Any]:
    since = (NOW - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    unmounted = {"type": "PodReadyToStartContainers", "status": "False", "lastTransitionTime": since}
    annotations = {"tfserving.dev/models-config": "own-config"}
    raw = pod({"conditions": [SCHEDULED, NOT_READY, unmounted]}, annotations=annotations)
    return raw | {"spec": {"volumes": list(volumes)}}


OWN_VOLUME = {"configMap": {"name": "own-config"}}


def test_a_pod_that_waits_long_for_its_volumes_names_what_they_need() -> None:
    volumes: list[dict[str, Any]] = [
        OWN_VOLUME,
        {"secret": {"secretName": "certificates"}},
        {"persistentVolumeClaim": {"claimName": "models"}},
        {"configMap": {"name": "extra"}},
        {"secret": {"secretName": "perhaps", "optional": True}},
        {"projected": {"sources": [{"secret": {"name": "inner"}}, {"downwardAPI": {}}]}},
    ]
    problem = view_pod(waiting_for_volumes(25, *volumes), NOW).problem
    assert problem is not None
    assert problem.reason is Reason.MISSING_REFERENCE
    named = "Secret certificates and claim models and ConfigMap extra and Secret inner exist in this namespace"
    assert named in problem.message


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(waiting_for_volumes(5, {"secret": {"secretName": "s"}}), id="a short while"),
        pytest.param(waiting_for_volumes(25, OWN_VOLUME), id="only the operator's own"),
    ],
)
def test_waiting_for_volumes_alone_is_no_problem(raw: dict[str, Any]) -> None:
    assert view_pod(raw, NOW).problem is None


def test_a_sidecar_that_runs_again_is_not_why_a_server_still_loads() -> None:
    sidecar = {"name": "proxy", "state": {"running": {}}, "lastState": ended(3)}
    status = {"conditions": [SCHEDULED, NOT_READY], "containerStatuses": [sidecar]}
    assert view_pod(pod(status), NOW).problem is None


def since(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def loaded(*others: dict[str, Any], unready_seconds: float = 61, running_seconds: float = 3600, **fields: Any) -> Any:
    """A pod whose server has loaded its models and which is not ready."""
    state = {"running": {"startedAt": since(running_seconds)}}
    running = {"name": "server", "started": True, "ready": False, "state": state}
    unready = NOT_READY | {"lastTransitionTime": since(unready_seconds)}
    return pod({"conditions": [SCHEDULED, unready], "containerStatuses": [running | fields, *others]})


def test_a_server_that_lost_its_readiness_says_what_to_look_at() -> None:
    problem = view_pod(loaded(), NOW).problem
    assert problem is not None
    assert problem.reason is Reason.REPLICAS_UNAVAILABLE
    assert "readiness probe fails although its models were loaded" in problem.message
    assert view_pod(loaded(unready_seconds=7200, running_seconds=9000), NOW).problem == problem


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(loaded(unready_seconds=59), id="readiness lost just now"),
        pytest.param(loaded(started=False), id="models still load"),
        # Since its container runs it was never ready: when its models were loaded stands nowhere, maybe just now.
        pytest.param(loaded(unready_seconds=700, running_seconds=600), id="models loaded a moment ago"),
    ],
)
def test_a_server_may_be_unready_for_a_while(raw: dict[str, Any]) -> None:
    assert view_pod(raw, NOW).problem is None


def test_a_server_that_never_got_ready_is_a_problem_in_the_end() -> None:
    problem = view_pod(loaded(unready_seconds=1300, running_seconds=1290), NOW).problem
    assert problem is not None
    assert problem == view_pod(loaded(), NOW).problem


def test_a_sidecar_that_is_not_ready_is_named() -> None:
    sidecar = {"name": "proxy", "ready": False, "state": {"running": {}}}
    problem = view_pod(loaded(sidecar, ready=True), NOW).problem
    assert problem is not None
    assert problem.reason is Reason.REPLICAS_UNAVAILABLE
    assert "container proxy is not ready" in problem.message


def test_a_pod_that_is_not_ready_though_its_containers_are_points_at_the_node() -> None:
    problem = view_pod(loaded(ready=True), NOW).problem
    assert problem is not None
    assert problem.reason is Reason.REPLICAS_UNAVAILABLE
    assert "node" in problem.message


def test_a_server_that_has_served_since_is_not_blamed_for_an_earlier_end() -> None:
    oom = ended(137, reason="OOMKilled")
    assert view_pod(loaded(unready_seconds=59, lastState=oom), NOW).problem is None
    problem = view_pod(loaded(lastState=oom), NOW).problem
    assert problem is not None
    assert problem.reason is Reason.REPLICAS_UNAVAILABLE


def test_a_pod_that_ended_in_order_has_no_problem() -> None:
    status = server(state=ended(0), lastState=ended(137, reason="OOMKilled")) | {"phase": "Succeeded"}
    assert view_pod(pod(status), NOW).problem is None


def evicted(seconds: float) -> dict[str, Any]:
    lost = NOT_READY | {"lastTransitionTime": since(seconds)}
    return pod({"phase": "Failed", "reason": "Evicted", "conditions": [SCHEDULED, lost]}, creationTimestamp=since(9000))


def test_an_eviction_is_a_problem_for_a_while_only() -> None:
    """Nobody deletes a pod that was evicted, and its successor may be scaled up weeks later."""
    assert view_pod(evicted(590), NOW).problem is not None
    assert view_pod(evicted(610), NOW).problem is None


def test_a_refused_pod_without_conditions_is_a_problem_from_its_creation_on() -> None:
    refused = {"phase": "Failed", "reason": "UnexpectedAdmissionError"}
    assert view_pod(pod(refused, creationTimestamp=since(590)), NOW).problem is not None
    assert view_pod(pod(refused, creationTimestamp=since(610)), NOW).problem is None
