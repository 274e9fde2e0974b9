"""What the operator needs to know of a pod, read from its raw object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from tfserving_operator.reconcile.pod_problem import (
    PodProblem,
    brings_model,
    find_problem,
    is_finished,
    pod_condition,
)
from tfserving_operator.resources.names import MODELS_CONFIG_ANNOTATION, POOL_LABEL, SERVER_CONFIG_ANNOTATION
from tfserving_operator.resources.pod_template import SERVER_CONTAINER

RawObject = Mapping[str, Any]


class PodPhase(StrEnum):
    """How far a pod has come, in the words of this operator's progress messages."""

    PENDING = "is waiting for a node"
    STARTING = "is starting"
    FETCHING = "is fetching its models"
    LOADING = "is loading its models"
    READY = "is ready"
    TERMINATING = "is draining"
    FINISHED = "has ended"


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
    def is_live(self) -> bool:
        """Whether the replica serves or may come to."""
        return self.phase not in (PodPhase.TERMINATING, PodPhase.FINISHED)

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
        problem=None if phase in (PodPhase.READY, PodPhase.TERMINATING) else find_problem(pod, now),
        config_maps=frozenset(
            annotations[key] for key in (MODELS_CONFIG_ANNOTATION, SERVER_CONFIG_ANNOTATION) if key in annotations
        ),
    )


def _container_status(statuses: list[RawObject], name: str) -> RawObject:
    return next((status for status in statuses if status["name"] == name), {})


def _phase(pod: RawObject, server: RawObject) -> PodPhase:
    status = pod.get("status", {})
    if pod["metadata"].get("deletionTimestamp"):
        return PodPhase.TERMINATING
    if is_finished(pod):
        return PodPhase.FINISHED
    if pod_condition(pod, "Ready").get("status") == "True":
        return PodPhase.READY
    if pod_condition(pod, "PodScheduled").get("status") != "True":
        return PodPhase.PENDING
    inits = status.get("initContainerStatuses", [])
    if any("running" in init.get("state", {}) and brings_model(init) for init in inits):
        return PodPhase.FETCHING
    if "running" in server.get("state", {}):
        return PodPhase.LOADING
    return PodPhase.STARTING
