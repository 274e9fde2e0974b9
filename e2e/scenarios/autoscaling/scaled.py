"""A ServedModel whose replicas follow its load, and what tests ask of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from e2e.cluster import AuditEvent
from e2e.load import LoadGenerator, RunningLoad, Spacing, running_load
from e2e.scenarios.fleet import Fleet
from e2e.scenarios.objects import Manifest
from e2e.scenarios.platform import OPERATOR_USER
from tfserving_operator.autoscaling.buckets import snap_objective

SERVICE_SECONDS = 0.04
"""What a request costs: a replica answers 25 a second at most, and some 18 within the objective."""
PERCENT = 90
EDGE = snap_objective(218_592)
"""218.591 ms: four others may wait before a request."""
OBJECTIVE = {"latency": "218592us", "percent": PERCENT}
WRITES = frozenset({"create", "update", "patch", "delete"})
STABILIZATION_SECONDS = 6
BUSY = 60
"""Requests a second that two replicas cannot answer."""
TEMPTING_SECONDS = STABILIZATION_SECONDS + 3.0
"""After so long without load replicas would be given back, were the answers believed."""
WINDOWS_SECONDS = 8.0
"""After so long with load no window remembers the time without."""
IN_SIGHT = 13
"""Requests in flight at most where scrapes and probes are to find one of a server's 16 threads free all the time."""
_MAX_IN_FLIGHT = 40
"""Bounds the backlog that is to be worked off when replicas have come: 16 wait in a server, the rest before it."""


def autoscaling(mode: str = "Auto", **changes: Any) -> Manifest:
    """Return ``spec.autoscaling`` with windows that suit a test."""
    return {
        "mode": mode,
        "objective": OBJECTIVE,
        "stableWindowSeconds": 6,
        "panicWindowSeconds": 2,
        "cooldownSeconds": 5,
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": STABILIZATION_SECONDS}},
        **changes,
    }


@dataclass(frozen=True)
class Scaled:
    """ServedModels of the model at ``uri`` in a namespace."""

    fleet: Fleet
    uri: str

    def spec(self, rules: Mapping[str, Any], *, least: int = 1, most: int = 4, **changes: Any) -> Manifest:
        """Return a spec with one pool."""
        models = [{"name": "m", "source": {"uri": self.uri}}]
        pools = [{"name": "default", "replicas": {"min": least, "max": most}}]
        return {"models": models, "pools": pools, "autoscaling": dict(rules), **changes}

    @contextmanager
    def load(self, name: str = "m", requests_per_second: float = 0.0, **settings: Any) -> Iterator[RunningLoad]:
        """Send requests to a ServedModel's Service during the block.

        Evenly spaced: with windows of seconds, chance alone would double a Poisson rate now and then.
        """
        url = f"http://{self.fleet.service_address(name)}:8501/v1/models/m:predict"
        generator = LoadGenerator(
            url,
            **{
                "requests_per_second": requests_per_second,
                "max_in_flight": _MAX_IN_FLIGHT,
                "spacing": Spacing.UNIFORM,
                **settings,
            },
        )
        with running_load(self.fleet.cluster, generator) as load:
            yield load

    def set_mode(self, mode: str, name: str = "m") -> None:
        """Change who decides on replicas, as a user would."""
        patch = json.dumps({"spec": {"autoscaling": {"mode": mode}}})
        self.fleet.kubectl("patch", "servedmodel", name, "--type=merge", "-p", patch)

    # Read

    def wanted(self, name: str = "m", pool: str = "default") -> int:
        """Return the replicas that a pool's Deployment wants."""
        deployment = self.fleet.get("deployment", f"{name}-{pool}")
        assert deployment is not None
        return int(deployment["spec"]["replicas"])

    def status(self, name: str = "m") -> Manifest:
        """Return ``status.autoscaling``."""
        model = self.fleet.get("servedmodel", name) or {}
        found: Manifest = model.get("status", {}).get("autoscaling", {})
        return found

    def recommended(self, name: str = "m", pool: str = "default") -> int | None:
        """Return what autoscaling says that a pool should have."""
        pools = {entry["name"]: entry["replicas"] for entry in self.status(name).get("recommended", [])}
        return pools.get(pool)

    def operator_writes(self, since: datetime) -> list[AuditEvent]:
        """Return the operator's writes to the namespace, events left out."""
        events = self.fleet.cluster.audit_events(user=OPERATOR_USER, since=since)
        return [
            event
            for event in events
            if event.namespace == self.fleet.namespace and event.verb in WRITES and event.resource != "events"
        ]

    def spec_writers(self) -> set[str]:
        """Return who wrote ServedModels of the namespace otherwise than their status."""
        return {
            event.user
            for event in self.fleet.cluster.audit_events(resource="servedmodels")
            if event.namespace == self.fleet.namespace and event.verb in WRITES and event.subresource != "status"
        }

    # Wait

    def wait_wanted(self, least: int, most: int | None = None, *, name: str = "m", timeout_seconds: float = 60) -> int:
        """Wait until the Deployment wants so many replicas; return how many."""

        def reached() -> int | None:
            wanted = self.wanted(name)
            return wanted if least <= wanted <= (most or least) else None

        what = f"{name} wants {least} to {most or least} replicas"
        return int(self.fleet.wait(what, reached, timeout_seconds=timeout_seconds))

    def wait_ready(self, replicas: int, *, name: str = "m", timeout_seconds: float = 60) -> None:
        """Wait until at least so many replicas take requests."""

        def reached() -> bool:
            deployment = self.fleet.get("deployment", f"{name}-default") or {}
            return int(deployment.get("status", {}).get("readyReplicas", 0)) >= replicas

        self.fleet.wait(f"{replicas} of {name} are ready", reached, timeout_seconds=timeout_seconds)

    def wait_within_objective(self, load: RunningLoad, *, seconds: float = 5, timeout_seconds: float = 60) -> None:
        """Wait until the clients' requests of the last seconds were answered as promised."""

        def kept() -> bool:
            summary = load.recent(seconds)
            return summary.arrived > 0 and summary.share_within(EDGE.micros) * 100 >= PERCENT

        self.fleet.wait("the objective is kept", kept, timeout_seconds=timeout_seconds)


def now() -> datetime:
    """Return the time as the API server's audit log tells it."""
    return datetime.now(UTC)
