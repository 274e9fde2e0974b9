"""ServedModels in one namespace of a real cluster: apply, wait, ask, and read what Kubernetes says of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import yaml
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from e2e.cluster import Cluster
from e2e.scenarios.objects import Manifest, Objects
from e2e.scenarios.traffic import Traffic

_POLL_SECONDS = 0.25
_REQUEST_TIMEOUT = httpx.Timeout(10, connect=3)


class WaitedInVain(AssertionError):
    """Something did not happen in time; says what was seen last."""


@dataclass(frozen=True)
class Fleet:
    """A namespace, and what tests do in it."""

    cluster: Cluster
    namespace: str
    server_image: str

    # Write

    def served_model(self, name: str, spec: Mapping[str, Any]) -> Manifest:
        """Return a manifest that uses the model server under test and small resources."""
        server = {"image": self.server_image, "drainSeconds": 5, **spec.get("server", {})}
        pools = spec.get("pools", [{"name": "default"}])
        return {
            "apiVersion": "tfserving.dev/v1alpha1",
            "kind": "ServedModel",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {**spec, "server": server, "pools": [self._small(pool) for pool in pools]},
        }

    def _small(self, pool: Mapping[str, Any]) -> Manifest:
        return {"resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}, **pool}

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        """Apply server-side, as a pipeline does; raises where admission refuses."""
        text = yaml.safe_dump_all(manifests)
        self.kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=e2e", "-f", "-", stdin=text)

    def serve(self, name: str, spec: Mapping[str, Any], *, ready: bool = True, timeout_seconds: float = 90) -> None:
        """Apply a ServedModel and wait until it is up to date and serves."""
        self.apply(self.served_model(name, spec))
        if ready:
            self.wait_settled(name, timeout_seconds=timeout_seconds)

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl in the namespace; return what it printed."""
        return self.cluster.kubectl("-n", self.namespace, *arguments, input=stdin, check=check).stdout

    # Read

    def get(self, kind: str, name: str) -> Manifest | None:
        """Return an object, None where there is none."""
        return self._objects.get(kind, name)

    def list_objects(self, kinds: str, selector: str = "") -> list[Manifest]:
        """Return the objects of some kinds, parted by commas, whose labels a selector chooses."""
        return self._objects.list(kinds, labels=selector)

    def pods(self, name: str) -> list[Manifest]:
        """Return the pods of a ServedModel that are not being deleted."""
        pods = self.list_objects("pods", f"tfserving.dev/servedmodel={name}")
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def condition(self, name: str, condition_type: str) -> Manifest:
        """Return a condition of a ServedModel, empty where it is not set or about an older generation."""
        model = self.get("servedmodel", name) or {}
        status = model.get("status", {})
        if status.get("observedGeneration") != model.get("metadata", {}).get("generation"):
            return {}
        return next((c for c in status.get("conditions", []) if c["type"] == condition_type), {})

    def events(self, name: str) -> list[Manifest]:
        """Return the events about a ServedModel."""
        events = self._objects.list("events", fields=f"involvedObject.name={name}")
        return [event for event in events if event["involvedObject"]["kind"] == "ServedModel"]

    @property
    def _objects(self) -> Objects:
        return Objects(self.cluster, self.namespace)

    # Wait

    def wait(self, what: str, probe: Callable[[], Any], *, timeout_seconds: float = 60) -> Any:
        """Poll until ``probe`` returns something true and return it."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            seen = probe()
            if seen:
                return seen
            if time.monotonic() > deadline:
                raise WaitedInVain(f"{what}: not within {timeout_seconds} s\n{self.describe()}")
            time.sleep(_POLL_SECONDS)

    def wait_condition(
        self, name: str, condition_type: str, status: str, *, reason: str | None = None, timeout_seconds: float = 60
    ) -> Manifest:
        """Wait until a condition of the current generation has this status (and reason)."""

        def reached() -> Manifest | None:
            condition = self.condition(name, condition_type)
            wanted = condition.get("status") == status and reason in (None, condition.get("reason"))
            return condition if wanted else None

        found: Manifest = self.wait(
            f"{name}: {condition_type}={status} {reason or ''}", reached, timeout_seconds=timeout_seconds
        )
        return found

    def wait_settled(self, name: str, *, timeout_seconds: float = 90) -> None:
        """Wait until the newest spec is rolled out and serves."""
        self.wait_condition(name, "Progressing", "False", reason="UpToDate", timeout_seconds=timeout_seconds)
        self.wait_condition(name, "Ready", "True", timeout_seconds=timeout_seconds)

    def wait_gone(self, kind: str, name: str, *, timeout_seconds: float = 60) -> None:
        """Wait until an object does not exist."""
        self.wait(f"{kind} {name} is gone", lambda: self.get(kind, name) is None, timeout_seconds=timeout_seconds)

    # Ask

    def predict(self, service: str, model: str, *, version: int | None = None) -> Any:
        """Send a REST prediction through a Service; return the decoded answer."""
        answer = self._post(service, f"{model}/versions/{version}" if version is not None else model)
        answer.raise_for_status()
        return answer.json()

    def predict_label(self, service: str, model: str, label: str) -> Any:
        """Send a prediction to a version label; return the decoded answer, None where it is not served."""
        return self.predict_path(service, f"{model}/labels/{label}")

    def predict_path(self, service: str, path: str) -> Any:
        """Send a prediction to a model's path; return the decoded answer, None where it is not served."""
        answer = self._post(service, path)
        return answer.json() if answer.is_success else None

    def _post(self, service: str, path: str) -> httpx.Response:
        url = f"http://{self.service_address(service)}:8501/v1/models/{path}:predict"
        # The node's proxy learns of a new endpoint a moment after it is ready: a connection that is refused, or is
        # not answered, is tried again. No request was sent on it, so none can be lost by that.
        with self.cluster.network():
            for attempt in Retrying(
                retry=retry_if_exception_type((httpx.ConnectError, httpx.ConnectTimeout)),
                stop=stop_after_delay(20),
                wait=wait_fixed(_POLL_SECONDS),
                reraise=True,
            ):
                with attempt:
                    return httpx.post(url, json={"instances": [1.0, 2.0]}, timeout=_REQUEST_TIMEOUT, trust_env=False)
        raise AssertionError("unreachable: tenacity returns or raises")

    def service_address(self, name: str) -> str:
        """Return the cluster IP of a Service."""
        service = self.get("service", name)
        assert service is not None, f"no Service {name}"
        address: str = service["spec"]["clusterIP"]
        return address

    @contextmanager
    def keeps_serving(self, service: str, model: str) -> Iterator[list[str]]:
        """Assert that every one of a stream of predictions during the block is answered; yields the failures."""
        traffic = Traffic(self.cluster, f"http://{self.service_address(service)}:8501/v1/models/{model}:predict")
        traffic.start()
        try:
            yield traffic.failures
        finally:
            traffic.stop()
        assert traffic.sent > 0
        assert traffic.failures == [], (
            f"{len(traffic.failures)} of {traffic.sent} requests failed: {traffic.failures[:5]}"
        )

    def describe(self) -> str:
        """Return what a person would look at first when something is wrong."""
        models = self.kubectl("get", "servedmodels", "-o", "yaml", check=False)
        pods = self.kubectl("get", "pods", "-o", "wide", check=False)
        events = self.kubectl("get", "events", "--sort-by=.lastTimestamp", check=False)
        log = self.cluster.kubectl(
            "-n", "tfserving-system", "logs", "deploy/tfserving-operator", "--tail=40", check=False
        ).stdout
        return "\n".join((models, pods, events[-4000:], log))
