"""What the operator needs to know of a pod, read from its raw object."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from tfserving_operator.api.conditions import Reason
from tfserving_operator.fetch.termination import FetchReason, parse_termination_message
from tfserving_operator.resources.names import MODELS_CONFIG_ANNOTATION, POOL_LABEL, SERVER_CONFIG_ANNOTATION
from tfserving_operator.resources.pod_template import SERVER_CONTAINER

RawObject = Mapping[str, Any]

_IMAGE_PULL_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_MISSING_REFERENCE_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError"})
_MISSING_CLAIM = re.compile(r'persistentvolumeclaim "(?P<name>[^"]+)" not found')
_SIGKILL_EXIT_CODE = 137
_VOLUME_PATIENCE = timedelta(seconds=20)
"""How long volumes may take before their references are doubted: an attached disk or a big claim takes its time."""
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


class PodPhase(StrEnum):
    """How far a pod has come, in the words of this operator's progress messages."""

    PENDING = "is waiting for a node"
    STARTING = "is starting"
    FETCHING = "is fetching its models"
    LOADING = "is loading its models"
    READY = "is ready"
    TERMINATING = "is draining"


@dataclass(frozen=True)
class PodProblem:
    """Why a pod does not serve, in a reason and a sentence that stays the same while the problem does."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class PodView:
    """One replica."""

    name: str
    uid: str
    pool: str
    ip: str | None
    phase: PodPhase
    restarts: int
    problem: PodProblem | None
    config_maps: frozenset[str]
    """Names of the content-hashed ConfigMaps that the pod was started with."""

    @property
    def is_ready(self) -> bool:
        """Whether the replica takes requests."""
        return self.phase is PodPhase.READY

    @property
    def incarnation(self) -> str:
        """Changes whenever the server process does."""
        return f"{self.uid}/{self.restarts}"


def view_pod(pod: RawObject, now: datetime) -> PodView:
    """Read a raw pod as it is at ``now``."""
    metadata, status = pod["metadata"], pod.get("status", {})
    annotations = metadata.get("annotations", {})
    server = _container_status(status.get("containerStatuses", []), SERVER_CONTAINER)
    phase = _phase(pod, server)
    return PodView(
        name=metadata["name"],
        uid=metadata["uid"],
        pool=metadata.get("labels", {}).get(POOL_LABEL, ""),
        ip=status.get("podIP"),
        phase=phase,
        restarts=server.get("restartCount", 0),
        problem=None if phase in (PodPhase.READY, PodPhase.TERMINATING) else _problem(pod, server, now),
        config_maps=frozenset(
            annotations[key] for key in (MODELS_CONFIG_ANNOTATION, SERVER_CONFIG_ANNOTATION) if key in annotations
        ),
    )


def _container_status(statuses: list[RawObject], name: str) -> RawObject:
    return next((status for status in statuses if status["name"] == name), {})


def _condition(pod: RawObject, condition_type: str) -> RawObject:
    conditions = pod.get("status", {}).get("conditions", [])
    return next((condition for condition in conditions if condition["type"] == condition_type), {})


def _phase(pod: RawObject, server: RawObject) -> PodPhase:
    status = pod.get("status", {})
    if pod["metadata"].get("deletionTimestamp"):
        return PodPhase.TERMINATING
    if _condition(pod, "Ready").get("status") == "True":
        return PodPhase.READY
    if _condition(pod, "PodScheduled").get("status") != "True":
        return PodPhase.PENDING
    if any("running" in init.get("state", {}) for init in status.get("initContainerStatuses", [])):
        return PodPhase.FETCHING
    if "running" in server.get("state", {}):
        return PodPhase.LOADING
    return PodPhase.STARTING


def _problem(pod: RawObject, server: RawObject, now: datetime) -> PodProblem | None:
    status = pod.get("status", {})
    if status.get("phase") == "Failed":
        words = status.get("message") or status.get("reason") or "no reason given"
        return PodProblem(Reason.POD_REJECTED, f"the node refused or evicted the pod: {_quote(words)}")
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("reason") == "Unschedulable":
        return _scheduling_problem(scheduled.get("message", ""))
    for container in _not_finished(status.get("initContainerStatuses", [])):
        problem = _waiting_problem(container) or _init_problem(container)
        if problem is not None:
            return problem
    for container in status.get("containerStatuses", []):
        problem = _waiting_problem(container) or _sidecar_problem(container)
        if problem is not None:
            return problem
    return _server_problem(server) or _volume_problem(pod, now)


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
    condition = _condition(pod, "PodReadyToStartContainers")
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
    for volume in pod.get("spec", {}).get("volumes", []):
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


def _waiting_problem(container: RawObject) -> PodProblem | None:
    waiting = container.get("state", {}).get("waiting", {})
    reason, message = waiting.get("reason", ""), _quote(waiting.get("message", ""))
    if reason in _IMAGE_PULL_REASONS:
        image = container.get("image", "")
        return PodProblem(
            Reason.IMAGE_PULL_FAILED,
            f"image {image} cannot be pulled: correct the image or its pull secret"
            # The kubelet alternates between the cause and "Back-off pulling image", which says nothing new.
            + (f" ({message})" if message and not message.startswith("Back-off") else ""),
        )
    if reason in _MISSING_REFERENCE_REASONS:
        return PodProblem(Reason.MISSING_REFERENCE, f"container {container['name']} cannot be created: {message}")
    return None


def _last_failure(container: RawObject) -> RawObject:
    """The newest end of the container with an error; a container that runs again keeps the one before."""
    ends: list[RawObject] = [
        container.get("state", {}).get("terminated", {}),
        container.get("lastState", {}).get("terminated", {}),
    ]
    return next((end for end in ends if end.get("exitCode", 0) != 0), {})


def _init_problem(init: RawObject) -> PodProblem | None:
    failure = _last_failure(init)
    if not failure:
        return None
    if failure.get("reason") == "OOMKilled":
        return PodProblem(Reason.OUT_OF_MEMORY, f"container {init['name']} exceeded its memory limit")
    text = failure.get("message", "")
    fetch_failure = parse_termination_message(text)
    if fetch_failure is None:
        return PodProblem(Reason.FETCH_FAILED, f"container {init['name']} failed: {_quote(text)}")
    reason = _FETCH_REASONS.get(fetch_failure.reason, Reason.FETCH_FAILED)
    return PodProblem(reason, f"model {fetch_failure.model}: {fetch_failure.message}")


def _sidecar_problem(container: RawObject) -> PodProblem | None:
    """A container of podTemplate that does not run keeps the whole pod from being ready."""
    failure = _last_failure(container)
    if container["name"] == SERVER_CONTAINER or not failure or "running" in container.get("state", {}):
        return None
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
