"""Kubernetes events: what ``kubectl describe`` shows of what the operator did."""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, Protocol

from cachetools import TTLCache

from tfserving_operator import telemetry
from tfserving_operator.api.refs import ObjectRef
from tfserving_operator.clients.errors import ClientError, NotFound

log = logging.getLogger(__name__)

REPORTING_CONTROLLER: Final = "tfserving.dev/operator"
MAX_NOTE_BYTES: Final = 1024
"""What the API server takes (Kubernetes, pkg/apis/core/validation/events.go): bytes, not characters."""
_MAX_NAME_PREFIX_LENGTH: Final = 200
_MIN_UPDATE_INTERVAL: Final = timedelta(minutes=1)
_MEMORY_SECONDS: Final = 3600
_MEMORY_SIZE: Final = 10_000

RawObject = Mapping[str, Any]
EventType = Literal["Normal", "Warning"]


class EventApi(Protocol):
    """The part of the Kubernetes client that events need."""

    async def create(self, manifest: RawObject) -> dict[str, Any]:
        """Create an object."""

    async def merge_patch(self, ref: ObjectRef, patch: RawObject) -> dict[str, Any]:
        """Patch an object."""


@dataclass(frozen=True, slots=True)
class _Subject:
    """What makes two events the same one."""

    uid: str
    event_type: str
    reason: str
    action: str
    message: str


@dataclass(frozen=True, slots=True)
class _Series:
    """An event that was written, and how often it has been said."""

    ref: ObjectRef
    count: int
    written_at: datetime


class EventPublisher:
    """Writes events; said again, the same one is counted, and its count written once a minute at most."""

    def __init__(self, api: EventApi, *, clock: Callable[[], datetime]) -> None:
        self._api = api
        self._clock = clock
        self._instance = os.environ.get("POD_NAME") or socket.gethostname()
        self._series: TTLCache[_Subject, _Series] = TTLCache(_MEMORY_SIZE, _MEMORY_SECONDS)

    async def publish(
        self, *, regarding: RawObject, event_type: EventType, reason: str, action: str, message: str
    ) -> None:
        """Say what happened to ``regarding``. Never raises: nothing depends on an event."""
        note = _cut(message)
        subject = _Subject(regarding["metadata"]["uid"], event_type, reason, action, note)
        try:
            await self._write(regarding, subject)
        except ClientError as error:
            telemetry.EVENTS_DROPPED.inc()
            log.warning("event dropped", extra={"reason": reason, "error": str(error)})

    async def _write(self, regarding: RawObject, subject: _Subject) -> None:
        now = self._clock()
        known = self._series.get(subject)
        if known is None:
            await self._create(regarding, subject, now)
            return
        counted = replace(known, count=known.count + 1)
        self._series[subject] = counted
        if now - known.written_at < _MIN_UPDATE_INTERVAL:
            return
        series = {"count": counted.count, "lastObservedTime": _micro_time(now)}
        try:
            await self._api.merge_patch(known.ref, {"series": series})
        except NotFound:
            # The API server forgets events after an hour.
            await self._create(regarding, subject, now)
            return
        self._series[subject] = replace(counted, written_at=now)

    async def _create(self, regarding: RawObject, subject: _Subject, now: datetime) -> None:
        metadata = regarding["metadata"]
        name = f"{metadata['name'][:_MAX_NAME_PREFIX_LENGTH]}.{uuid.uuid4().hex[:16]}"
        manifest = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": metadata["namespace"]},
            "eventTime": _micro_time(now),
            "type": subject.event_type,
            "reason": subject.reason,
            "action": subject.action,
            "note": subject.message,
            "reportingController": REPORTING_CONTROLLER,
            "reportingInstance": self._instance,
            "regarding": {
                "apiVersion": regarding["apiVersion"],
                "kind": regarding["kind"],
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata.get("resourceVersion"),
            },
        }
        # Noted before it is written: of two reconciles that say the same at once, only one writes.
        self._series[subject] = _Series(ObjectRef.of(manifest), count=1, written_at=now)
        try:
            await self._api.create(manifest)
        except ClientError:
            self._series.pop(subject, None)
            raise


def _micro_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _cut(message: str) -> str:
    encoded = message.encode()
    if len(encoded) <= MAX_NOTE_BYTES:
        return message
    return encoded[: MAX_NOTE_BYTES - len("…".encode())].decode(errors="ignore") + "…"
