"""A cluster in memory: what the API server, the Deployment controller and the kubelets would have done."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tfserving_operator.api.refs import ModelKey, ObjectRef
from tfserving_operator.clients.errors import ClientError, NotFound
from tfserving_operator.clients.model_service import VersionState, VersionStatus
from tfserving_operator.reconcile.model_statuses import ModelStatuses
from tfserving_operator.resources.names import POOL_LABEL
from tfserving_operator.wire import ModelServerConfig

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEY = ModelKey("models", "digits")
UID = "11111111-2222-3333-4444-555555555555"

READY = {"type": "Ready", "status": "True"}
SCHEDULED = {"type": "PodScheduled", "status": "True"}


def served_model(spec: Mapping[str, Any] | None = None, *, generation: int = 1, **metadata: Any) -> dict[str, Any]:
    """A raw ServedModel as the API server returns it."""
    return {
        "apiVersion": "tfserving.dev/v1alpha1",
        "kind": "ServedModel",
        "metadata": {
            "name": KEY.name,
            "namespace": KEY.namespace,
            "uid": UID,
            "generation": generation,
            "resourceVersion": "1",
            **metadata,
        },
        "spec": spec or {"models": [{"name": "digits", "source": {"uri": "s3://bucket/digits"}}]},
    }


def version(number: int, state: VersionState = VersionState.AVAILABLE, *, error: str = "") -> VersionStatus:
    """What a server says of one version."""
    return VersionStatus(number, state, 13 if error else 0, error)


def raw_pod(
    deployment: Mapping[str, Any], index: int, *, ready: bool = True, status: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A pod of a Deployment: ready, or with the given status."""
    template = deployment["spec"]["template"]
    running = {"name": "server", "restartCount": 0, "started": True, "state": {"running": {}}}
    default = {
        "podIP": f"10.0.0.{index + 1}",
        "conditions": [SCHEDULED, READY if ready else {"type": "Ready", "status": "False"}],
        "containerStatuses": [running],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{deployment['metadata']['name']}-{index}",
            "namespace": KEY.namespace,
            "uid": f"{deployment['metadata']['name']}-{index}",
            "labels": template["metadata"]["labels"],
            "annotations": template["metadata"]["annotations"],
        },
        "status": default if status is None else status,
    }


class World:
    """An API server, its caches and the model servers, in memory."""

    def __init__(self, model: dict[str, Any] | None = None) -> None:
        self.model: dict[str, Any] | None = model or served_model()
        self.objects: dict[ObjectRef, dict[str, Any]] = {}
        self.cached_pods: list[dict[str, Any]] = []
        self.answers: ModelStatuses = {"digits": (version(1),)}
        self.answers_of: dict[str, ModelStatuses] = {}
        """By address, where a server answers otherwise."""
        self.reloads: list[ModelServerConfig] = []
        self.events: list[tuple[str, str, str]] = []
        self.writes: list[str] = []
        self.failures: dict[str, ClientError] = {}
        """Error to raise, by ``verb kind``, for example ``apply Service``; taken once."""
        self.stored_form: Callable[[dict[str, Any]], None] = lambda _: None
        """Rewrites what is applied, in place, as API servers and mutating webhooks do."""
        self.calls = 0
        self.die_at_call: int | None = None
        self.has_missed_deletion = False
        """The ServedModel was deleted, and the watch did not say so."""
        self._version = 1

    # The API server

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        self._call("get", ref.kind)
        if ref.kind == "ServedModel":
            return None if self.has_missed_deletion else copy.deepcopy(self.model)
        return copy.deepcopy(self.objects.get(ref))

    async def apply(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        ref = ObjectRef.of(manifest)
        self._call("apply", ref.kind)
        self.writes.append(f"apply {ref.kind} {ref.name}")
        old = self.objects.get(ref, {"metadata": {"uid": f"uid-{ref.name}-{ref.kind}"}})
        new = copy.deepcopy(dict(manifest))
        self.stored_form(new)
        new["metadata"]["uid"] = old["metadata"]["uid"]
        new["metadata"]["resourceVersion"] = old["metadata"].get("resourceVersion")
        new["status"] = old.get("status", {})
        if new != old:
            self.bump(new)
        self.objects[ref] = new
        return copy.deepcopy(new)

    async def replace(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        ref = ObjectRef.of(manifest)
        self._call("update", ref.kind)
        self.writes.append(f"update {ref.kind} {ref.name}")
        new = copy.deepcopy(dict(manifest))
        new["metadata"].pop("managedFields", None)
        self.bump(new)
        self.objects[ref] = new
        return copy.deepcopy(new)

    async def apply_status(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        self._call("apply", "status")
        if self.has_missed_deletion:
            raise NotFound("servedmodels digits not found")
        self.writes.append("status")
        assert self.model is not None
        self.model = {**self.model, "status": manifest["status"], "metadata": dict(self.model["metadata"])}
        self.bump(self.model)
        return self.model

    async def delete(self, ref: ObjectRef, *, uid: str) -> None:
        self._call("delete", ref.kind)
        self.writes.append(f"delete {ref.kind} {ref.name}")
        assert self.objects[ref]["metadata"]["uid"] == uid
        del self.objects[ref]

    def bump(self, obj: dict[str, Any]) -> None:
        """Give ``obj`` the next resource version."""
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)

    def _call(self, verb: str, kind: str) -> None:
        self.calls += 1
        if self.calls == self.die_at_call:
            raise KilledError
        failure = self.failures.pop(f"{verb} {kind}", None)
        if failure is not None:
            raise failure

    # The caches

    def children(self, key: ModelKey) -> Mapping[ObjectRef, Mapping[str, Any]]:
        return {ref: obj for ref, obj in self.objects.items() if obj["metadata"].get("labels")}

    def pods(self, key: ModelKey) -> Sequence[Mapping[str, Any]]:
        return self.cached_pods

    def revision(self, key: ModelKey) -> tuple[int, ...]:
        return (self._version,)

    def observe_write(self, obj: Mapping[str, Any]) -> None:
        assert ObjectRef.of(obj) in self.objects

    def served_model(self, key: ModelKey) -> Mapping[str, Any] | None:
        return self.model

    # The model servers

    async def status(self, address: str, model_names: Sequence[str], *, timeout_seconds: float) -> ModelStatuses:
        return self.answers_of.get(address, self.answers)

    async def reload(self, address: str, config: ModelServerConfig, *, timeout_seconds: float) -> None:
        self.reloads.append(config)

    # Events

    async def publish(
        self, *, regarding: Mapping[str, Any], event_type: str, reason: str, action: str, message: str
    ) -> None:
        self.events.append((event_type, reason, message))

    # What the rest of Kubernetes does

    def deployments(self) -> list[dict[str, Any]]:
        return [obj for ref, obj in sorted(self.objects.items()) if ref.kind == "Deployment"]

    def roll_out(self) -> None:
        """Replace the pods of every Deployment by ready ones of its template, as many as it wants."""
        self.cached_pods = []
        for deployment in self.deployments():
            count = deployment["spec"]["replicas"]
            deployment["status"] = {
                "observedGeneration": deployment["metadata"].get("generation", 1),
                "replicas": count,
                "updatedReplicas": count,
                "readyReplicas": count,
            }
            self.cached_pods += [raw_pod(deployment, index) for index in range(count)]

    def fail_pods(self, status: Mapping[str, Any], *, pool: str = "default") -> None:
        """Give every pod of a pool a status in which it is not ready."""
        for pod in self.cached_pods:
            if pod["metadata"]["labels"][POOL_LABEL] == pool:
                pod["status"] = dict(status)


class KilledError(BaseException):
    """The operator's process ends here."""


class Settings:
    fetcher_image = "example.com/tfserving-operator:1"
    model_status_interval_seconds = 15.0
