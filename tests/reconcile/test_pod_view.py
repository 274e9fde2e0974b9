from __future__ import annotations

from typing import Any

import pytest

from tests.reconcile.world import READY, SCHEDULED
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
    ],
)
def test_phase_says_how_far_a_pod_has_come(raw: dict[str, Any], phase: PodPhase) -> None:
    assert view_pod(raw).phase is phase


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3"}]},
            Reason.UNSCHEDULABLE,
            "no node fits: 0/3",
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
        ({"phase": "Failed", "reason": "Evicted", "conditions": [SCHEDULED]}, Reason.POD_REJECTED, "Evicted"),
    ],
)
def test_a_pod_that_does_not_serve_says_why(status: dict[str, Any], reason: Reason, words: str) -> None:
    problem = view_pod(pod(status)).problem
    assert problem is not None
    assert problem.reason is reason
    assert words in problem.message


def test_a_ready_pod_has_no_problem_whatever_it_went_through() -> None:
    status = server(lastState=ended(137, reason="OOMKilled"), restartCount=3) | {"conditions": [SCHEDULED, READY]}
    assert view_pod(pod(status)).problem is None


def test_image_pull_message_is_the_same_while_the_kubelet_backs_off() -> None:
    first = pod(server(image="i", state={"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling"}}))
    assert view_pod(first).problem is not None
    assert "Back-off" not in str(view_pod(first).problem)
