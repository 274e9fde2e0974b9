"""Why a pod does not serve, read from its raw object: what Kubernetes and the containers say, in words to act on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tfserving_operator.api.conditions import Reason
from tfserving_operator.fetch.termination import FetchReason, parse_termination_message
from tfserving_operator.resources.model_volumes import CHECK_PREFIX, FETCH_PREFIX
from tfserving_operator.resources.pod_template import SERVER_CONTAINER

RawObject = Mapping[str, Any]

_IMAGE_PULL_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_ENDS = frozenset({"Failed", "Succeeded"})
_PULL_CAUSE = "ErrImagePull: "
_MISSING_REFERENCE_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError"})
_MISSING_CLAIM = re.compile(r'persistentvolumeclaim "(?P<name>[^"]+)" not found')
_BAD_SUB_PATH = re.compile(r'failed to (create|prepare) subPath .*volumeMount "(?P<volume>[^"]+)"')
_TLS_CONTAINER = "render-tls"
_TLS_VOLUME = "tls-secret"
_TLS_SCRIPT_SAYS = "the TLS secret lacks"
_SCRIPT_FAILED = 1
"""Exit code of a shell script that gave up; those from 126 on say that it never ran, or was killed."""
_SIGKILL_EXIT_CODE = 137
_VOLUME_PATIENCE = timedelta(seconds=20)
"""How long volumes may take before their references are doubted: an attached disk or a big claim takes its time."""
_READINESS_PATIENCE = timedelta(seconds=60)
"""How long a server may be unready: a surge passes, and a readiness probe fails three times in 15 s."""
_START_PATIENCE = timedelta(minutes=20)
"""The same for one that was not ready since its container runs: nothing says when its models were loaded, and a server
that has just loaded them is about to be ready. More than the default of server.loadTimeoutSeconds."""
_MEMORY_OF_A_FAILED_POD = timedelta(minutes=10)
"""How long a pod that was evicted may say why replicas are missing: it may lie there for weeks."""
_MAX_QUOTE_LENGTH = 600

_FETCH_REASONS: Mapping[FetchReason, Reason] = {
    FetchReason.ModelPathNotFound: Reason.MODEL_PATH_NOT_FOUND,
    FetchReason.VersionNotFound: Reason.VERSION_NOT_FOUND,
    FetchReason.CredentialsRejected: Reason.CREDENTIALS_REJECTED,
    FetchReason.InsufficientDiskSpace: Reason.INSUFFICIENT_DISK_SPACE,
    FetchReason.ChecksumMismatch: Reason.CHECKSUM_MISMATCH,
    FetchReason.SourceUnavailable: Reason.SOURCE_UNAVAILABLE,
    FetchReason.InvalidArchive: Reason.INVALID_ARCHIVE,
    FetchReason.InvalidModel: Reason.INVALID_MODEL,
    FetchReason.InvalidSource: Reason.INVALID_SOURCE,
    FetchReason.Timeout: Reason.FETCH_TIMEOUT,
}


@dataclass(frozen=True)
class PodProblem:
    """Why a pod does not serve, in a reason and a sentence that stays the same while the problem does."""

    reason: Reason
    message: str


def pod_condition(pod: RawObject, condition_type: str) -> RawObject:
    """Return a condition of a pod, empty where it is not set."""
    conditions = pod.get("status", {}).get("conditions", [])
    return next((condition for condition in conditions if condition["type"] == condition_type), {})


def find_problem(pod: RawObject, now: datetime) -> PodProblem | None:
    """Return why ``pod``, which is not ready, does not serve; None where nothing but time is missing."""
    status = pod.get("status", {})
    if is_finished(pod):
        return _ended_problem(pod, now)
    scheduled = pod_condition(pod, "PodScheduled")
    if scheduled.get("reason") == "Unschedulable":
        return _scheduling_problem(scheduled.get("message", ""))
    for container in _not_finished(status.get("initContainerStatuses", [])):
        is_sidecar = is_native_sidecar(pod, container)
        ended = _sidecar_problem(container) if is_sidecar else _init_problem(pod, container)
        problem = _waiting_problem(pod, container) or ended
        if problem is not None:
            return problem
    for container in status.get("containerStatuses", []):
        problem = _waiting_problem(pod, container) or _sidecar_problem(container)
        if problem is not None:
            return problem
    server = _server(status)
    # Once it has served, it is over why it ended before; a container keeps that for as long as it lives.
    past = None if _has_served(pod, server) else _server_problem(server)
    return past or _volume_problem(pod, now) or _readiness_problem(pod, server, now)


def _server(status: RawObject) -> RawObject:
    return next((c for c in status.get("containerStatuses", []) if c["name"] == SERVER_CONTAINER), {})


def _has_served(pod: RawObject, server: RawObject) -> bool:
    """Whether the pod was ready since its server runs: readiness was lost later than the container started."""
    lost_at, started_at = _readiness_lost_at(pod), _started_at(server)
    return lost_at is not None and started_at is not None and lost_at > started_at


def _readiness_lost_at(pod: RawObject) -> datetime | None:
    time = pod_condition(pod, "Ready").get("lastTransitionTime")
    return datetime.fromisoformat(time) if time else None


def _started_at(server: RawObject) -> datetime | None:
    time = server.get("state", {}).get("running", {}).get("startedAt")
    return datetime.fromisoformat(time) if time else None


def _readiness_problem(pod: RawObject, server: RawObject, now: datetime) -> PodProblem | None:
    """The Deployment controller counts unready replicas during a rollout alone, so afterwards nobody else tells."""
    if not server.get("started", False) or now < _patience_ends_at(pod, server, now):
        return None
    status = pod["status"]
    sidecars = [init for init in status.get("initContainerStatuses", []) if is_native_sidecar(pod, init)]
    beside = [*sidecars, *(c for c in status["containerStatuses"] if c is not server)]
    others = [container["name"] for container in beside if not container.get("ready", False)]
    if not server.get("ready", False):
        words = (
            "the server's readiness probe fails although its models were loaded: it is overloaded or frozen, or its "
            "model directory was emptied; look at its load and its log"
        )
    elif others:
        words = f"container {others[0]} is not ready, which keeps the whole pod from requests: look into its log"
    else:
        words = "the pod is not ready although its containers are: look whether its node is lost, and at readinessGates"
    return PodProblem(Reason.REPLICAS_UNAVAILABLE, words)


def _patience_ends_at(pod: RawObject, server: RawObject, now: datetime) -> datetime:
    started_at = _started_at(server)
    if started_at is not None and not _has_served(pod, server):
        return started_at + _START_PATIENCE
    return (_readiness_lost_at(pod) or now) + _READINESS_PATIENCE


def is_native_sidecar(pod: RawObject, init: RawObject) -> bool:
    """Whether an init container's status is that of one that runs beside the server (restartPolicy Always).

    The cache keeps no such field of a pod's spec, but of all init containers only a sidecar is ever ``started``.
    """
    specs = pod.get("spec", {}).get("initContainers", [])
    policy = next((spec.get("restartPolicy") for spec in specs if spec["name"] == init["name"]), None)
    return policy == "Always" or bool(init.get("started"))


def brings_model(init: RawObject) -> bool:
    """Whether the status is that of an init container which fetches or checks a model."""
    return bool(init["name"].startswith((f"{FETCH_PREFIX}-", f"{CHECK_PREFIX}-")))


def is_finished(pod: RawObject) -> bool:
    """Whether ``pod`` has ended for good: it was evicted, refused by its node, or shut down with it."""
    return pod.get("status", {}).get("phase") in _ENDS


def _ended_problem(pod: RawObject, now: datetime) -> PodProblem | None:
    status = pod["status"]
    if status["phase"] != "Failed" or now - _last_change(pod, now) > _MEMORY_OF_A_FAILED_POD:
        return None
    words = status.get("message") or status.get("reason") or "no reason given"
    return PodProblem(Reason.POD_REJECTED, f"the node refused or evicted the pod: {_quote(words)}")


def _last_change(pod: RawObject, now: datetime) -> datetime:
    status = pod["status"]
    times = [
        pod["metadata"].get("creationTimestamp"),
        *(condition.get("lastTransitionTime") for condition in status.get("conditions", [])),
        *(c.get("state", {}).get("terminated", {}).get("finishedAt") for c in status.get("containerStatuses", [])),
    ]
    return max((datetime.fromisoformat(time) for time in times if time), default=now)


def _scheduling_problem(message: str) -> PodProblem:
    missing = _MISSING_CLAIM.search(message)
    if missing is not None:
        return PodProblem(
            Reason.MISSING_REFERENCE,
            f"claim {missing['name']} does not exist in this namespace: create it, or correct the name",
        )
    return PodProblem(Reason.UNSCHEDULABLE, f"no node fits: {_quote(message)}")


def _volume_problem(pod: RawObject, now: datetime) -> PodProblem | None:
    """The kubelet waits for a Secret that is not there without a word in the pod's status, so time has to tell."""
    condition = pod_condition(pod, "PodReadyToStartContainers")
    if condition.get("status") != "False" or "lastTransitionTime" not in condition:
        return None
    references = _volume_references(pod)
    if not references or now - datetime.fromisoformat(condition["lastTransitionTime"]) < _VOLUME_PATIENCE:
        return None
    return PodProblem(
        Reason.MISSING_REFERENCE,
        f"the pod still waits for its volumes: look whether {' and '.join(references)} "
        f"exist{'s' if len(references) == 1 else ''} in this namespace, and create what is missing",
    )


def _volume_references(pod: RawObject) -> list[str]:
    """What the pod's volumes need that the operator does not make."""
    own = set(pod["metadata"].get("annotations", {}).values())
    names: dict[str, None] = {}
    for volume in _volumes(pod):
        for source in (volume, *volume.get("projected", {}).get("sources", [])):
            secret, config_map = source.get("secret", {}), source.get("configMap", {})
            claim = source.get("persistentVolumeClaim", {})
            named = {
                "Secret": None if secret.get("optional") else secret.get("secretName") or secret.get("name"),
                "ConfigMap": None if config_map.get("optional") else config_map.get("name"),
                "claim": claim.get("claimName"),
            }
            names |= {f"{kind} {name}": None for kind, name in named.items() if name and name not in own}
    return list(names)


def _not_finished(init_statuses: list[RawObject]) -> Iterator[RawObject]:
    for init in init_statuses:
        if init.get("state", {}).get("terminated", {}).get("exitCode") != 0:
            yield init


def _waiting_problem(pod: RawObject, container: RawObject) -> PodProblem | None:
    waiting = container.get("state", {}).get("waiting", {})
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _IMAGE_PULL_REASONS:
        return _pull_problem(pod, container, message)
    if reason not in _MISSING_REFERENCE_REASONS:
        return None
    sub_path = _BAD_SUB_PATH.search(message)
    claim = _claims(pod).get(sub_path["volume"]) if sub_path else None
    if claim is not None:
        return PodProblem(
            Reason.MODEL_PATH_NOT_FOUND,
            f"claim {claim} does not have the directory that source.uri names: correct it, or publish a version there",
        )
    return PodProblem(Reason.MISSING_REFERENCE, f"container {container['name']} cannot be created: {_quote(message)}")


def _pull_problem(pod: RawObject, container: RawObject, message: str) -> PodProblem:
    # The kubelet reports an image volume that cannot be pulled at the containers that mount it.
    mounted = [volume["image"].get("reference", "") for volume in _volumes(pod) if "image" in volume]
    image = next((reference for reference in mounted if reference and reference in message), container.get("image"))
    # It alternates between the cause and "Back-off pulling image", which has the cause at its end, or says nothing.
    cause = _quote(message.split(_PULL_CAUSE, 1)[-1])
    return PodProblem(
        Reason.IMAGE_PULL_FAILED,
        f"image {image} cannot be pulled: correct the image or its pull secret"
        + (f" ({cause})" if cause and not cause.startswith("Back-off") else ""),
    )


def _volumes(pod: RawObject) -> list[RawObject]:
    volumes: list[RawObject] = pod.get("spec", {}).get("volumes", [])
    return volumes


def _claims(pod: RawObject) -> Mapping[str, str]:
    """Names of claims by the names of the pod's volumes."""
    sources = {volume.get("name", ""): volume.get("persistentVolumeClaim", {}) for volume in _volumes(pod)}
    return {name: source["claimName"] for name, source in sources.items() if "claimName" in source}


def _last_failure(container: RawObject) -> RawObject:
    """The newest end of the container with an error; a container that runs again keeps the one before."""
    ends: list[RawObject] = [
        container.get("state", {}).get("terminated", {}),
        container.get("lastState", {}).get("terminated", {}),
    ]
    return next((end for end in ends if end.get("exitCode", 0) != 0), {})


def _init_problem(pod: RawObject, init: RawObject) -> PodProblem | None:
    failure = _last_failure(init)
    if not failure:
        return None
    if failure.get("reason") == "OOMKilled":
        return PodProblem(Reason.OUT_OF_MEMORY, f"container {init['name']} exceeded its memory limit")
    if brings_model(init):
        return _fetch_problem(init, failure.get("message", ""))
    if init["name"] == _TLS_CONTAINER and failure.get("exitCode") == _SCRIPT_FAILED:
        return _tls_problem(pod, _error_line(failure.get("message", "")))
    return _crash_problem(init, failure)


def _fetch_problem(init: RawObject, text: str) -> PodProblem:
    fetch_failure = parse_termination_message(text)
    if fetch_failure is None:
        return PodProblem(Reason.FETCH_FAILED, f"container {init['name']} failed: {_quote(text)}")
    reason = _FETCH_REASONS.get(fetch_failure.reason, Reason.FETCH_FAILED)
    return PodProblem(reason, f"model {fetch_failure.model}: {fetch_failure.message}")


def _tls_problem(pod: RawObject, line: str) -> PodProblem:
    volume: RawObject = next((volume for volume in _volumes(pod) if volume.get("name") == _TLS_VOLUME), {})
    secret = f"Secret {volume.get('secret', {}).get('secretName', 'of server.tls')}"
    if line.startswith(_TLS_SCRIPT_SAYS):
        return PodProblem(Reason.MISSING_REFERENCE, f"{secret}: {line}")
    return PodProblem(Reason.MISSING_REFERENCE, f"{secret} lacks tls.crt or tls.key: add what is missing ({line})")


def _sidecar_problem(container: RawObject) -> PodProblem | None:
    """A container of podTemplate that does not run keeps the whole pod from being ready."""
    failure = _last_failure(container)
    if container["name"] == SERVER_CONTAINER or not failure or "running" in container.get("state", {}):
        return None
    return _crash_problem(container, failure)


def _crash_problem(container: RawObject, failure: RawObject) -> PodProblem:
    return PodProblem(
        Reason.CRASH_LOOP,
        f"container {container['name']} ended with exit code {failure.get('exitCode')}: "
        f"{_error_line(failure.get('message', '')) or 'correct podTemplate, or look into its log'}",
    )


def _server_problem(server: RawObject) -> PodProblem | None:
    failure = _last_failure(server)
    if not failure:
        return None
    if failure.get("reason") == "OOMKilled":
        return PodProblem(
            Reason.OUT_OF_MEMORY,
            "the server was killed at its memory limit: raise resources.limits.memory "
            "(a new version is loaded beside the old one, so it should hold two), or serve fewer versions",
        )
    text = failure.get("message", "")
    if "Failed to start server" in text or "did not become available" in text:
        return PodProblem(Reason.MODEL_LOAD_FAILED, f"the server could not load its models: {_error_line(text)}")
    if failure.get("exitCode") == _SIGKILL_EXIT_CODE and not server.get("started", False):
        return PodProblem(
            Reason.LOAD_TIMEOUT,
            "the server was restarted because its models were not available within server.loadTimeoutSeconds: "
            "raise it, or look into the server's log",
        )
    return PodProblem(
        Reason.CRASH_LOOP,
        f"the server ended with exit code {failure.get('exitCode')}: {_error_line(text) or 'nothing in its log'}",
    )


def _error_line(log: str) -> str:
    """The last line that says what went wrong, else the last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line or "error" in line or "did not become" in line]
    return _quote((telling or lines or [""])[-1])


def _quote(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _MAX_QUOTE_LENGTH else words[: _MAX_QUOTE_LENGTH - 1] + "…"
