"""What reconciling asks of the outside world: the interfaces that clients implement and tests fake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

from tfserving_operator.api.refs import ModelKey, ObjectRef
from tfserving_operator.clients.prometheus import FleetReading, SignalWish
from tfserving_operator.reconcile.model_statuses import ModelStatuses
from tfserving_operator.wire import ModelServerConfig

RawObject = Mapping[str, Any]
EventType = Literal["Normal", "Warning"]


class KubeApi(Protocol):
    """The API server. Every call raises a ``ClientError``."""

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        """Return the object, None where there is none."""

    async def apply(self, manifest: RawObject) -> dict[str, Any]:
        """Apply server-side, and return the object as it now is."""

    async def replace(self, manifest: RawObject) -> dict[str, Any]:
        """Replace an object as a whole at the version that the manifest names, and return it as it now is."""

    async def apply_status(self, manifest: RawObject) -> dict[str, Any]:
        """Apply the status subresource, and return the object as it now is."""

    async def delete(self, ref: ObjectRef, *, uid: str) -> None:
        """Delete the object if it still is the one with ``uid``; an absent one is as good."""


class Children(Protocol):
    """The cache of what the operator made."""

    def children(self, key: ModelKey) -> Mapping[ObjectRef, RawObject]:
        """Return the children of a ServedModel that are no pods."""

    def pods(self, key: ModelKey) -> Sequence[RawObject]:
        """Return its pods."""

    def revision(self, key: ModelKey) -> tuple[int, ...]:
        """Return a mark that is another one whenever a child or pod of the ServedModel is."""

    def observe_write(self, obj: RawObject) -> None:
        """Take in what a write returned, so that the next look is not older than it."""


class ModelServers(Protocol):
    """The model servers, by ``host:port`` of their gRPC API."""

    async def status(self, address: str, model_names: Sequence[str], *, timeout_seconds: float) -> ModelStatuses:
        """Return what the server says; what it does not say is ``Unknown``, never an exception."""

    async def reload(self, address: str, config: ModelServerConfig, *, timeout_seconds: float) -> None:
        """Replace the server's model config; raises a ``ClientError`` where it refuses or does not answer."""


class RestModelServers(Protocol):
    """The model servers, by ``host:port`` of their REST API, which never has TLS."""

    async def status(self, address: str, model_names: Sequence[str], *, timeout_seconds: float) -> ModelStatuses:
        """Return what the server says; what it does not say is ``Unknown``, never an exception."""


class Events(Protocol):
    """Where users read what happened."""

    async def publish(
        self, *, regarding: RawObject, event_type: EventType, reason: str, action: str, message: str
    ) -> None:
        """Write an event about ``regarding``; the same one is not written twice. Never raises."""


class ControllerSettings(Protocol):
    """The settings that reconciling depends on."""

    @property
    def fetcher_image(self) -> str:
        """Image of the init containers that fetch models."""

    @property
    def model_status_interval_seconds(self) -> float:
        """How often model servers are asked for their versions while nothing changes."""


class FleetSignals(Protocol):
    """Prometheus."""

    async def read_fleet(self, wishes: Mapping[ModelKey, SignalWish], *, now: datetime) -> FleetReading:
        """Return the load of every wished pool in one go; what is not known has a state that says so."""


class ExternalAutoscalers(Protocol):
    """HorizontalPodAutoscalers of the cluster, as last listed."""

    def ask(self, *, since: datetime) -> None:
        """Keep them known, from a list that is not older than ``since``; called at each tick that needs them."""

    def are_known_since(self, moment: datetime) -> bool:
        """Whether they were listed after ``moment``, as far as they may be listed."""

    def scaling(self, key: ModelKey, deployments: Sequence[str]) -> str | None:
        """Return the name of one that scales the ServedModel or one of its Deployments."""
