"""The Kubernetes API in raw JSON: what a level-triggered operator needs of it, and no more."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_before_delay, wait_random_exponential

from tfserving_operator.api.refs import ObjectRef
from tfserving_operator.clients.api_status import error_of_status
from tfserving_operator.clients.errors import ClientError, Conflict, NotFound, Unavailable
from tfserving_operator.clients.kinds import Resource, resource_of
from tfserving_operator.clients.transport import Call, Transport

log = logging.getLogger(__name__)

FIELD_MANAGER: Final = "tfserving-operator"
LIST_TIMEOUT_SECONDS: Final = 60.0
WATCH_GRACE_SECONDS: Final = 30.0
"""A watch that the server did not end this long after its time limit is dead."""

RawObject = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a call may take, and how it is tried again when the API server is busy or away.

    A Retry-After beyond ``retry_for_seconds`` is not waited for: the caller gets Unavailable and has better to do.
    """

    call_seconds: float = 10.0
    retry_for_seconds: float = 10.0
    first_retry_seconds: float = 0.2


@dataclass(frozen=True, slots=True)
class ListPage:
    """A page of a list. ``continue_token`` is empty on the last one."""

    items: list[dict[str, Any]]
    resource_version: str
    continue_token: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of a watch. Errors are raised instead."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: dict[str, Any]


class KubeClient:
    """Reads and writes objects; translates every failure into a ClientError."""

    def __init__(self, transport: Transport | None = None, patience: Patience | None = None) -> None:
        self._transport = transport or Transport()
        self._patience = patience or Patience()

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def apply(self, manifest: RawObject, *, force: bool = True) -> dict[str, Any]:
        """Server-side apply; return the object as it is now.

        With ``force``, fields of other managers are taken over; without, they raise Conflict with their names.
        """
        return await self._apply(manifest, None, force=force)

    async def apply_status(self, manifest: RawObject, *, force: bool = True) -> dict[str, Any]:
        """Server-side apply of ``manifest["status"]``; NotFound when the object is gone."""
        return await self._apply(manifest, "status", force=force)

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        """Return the object, None where there is none."""
        resource = resource_of(ref)
        path = resource.path(ref.namespace, ref.name)
        try:
            return await self._send(Call(verb="get", resource=resource, method="GET", path=path))
        except NotFound:
            return None

    async def delete(self, ref: ObjectRef, *, uid: str, resource_version: str | None = None) -> None:
        """Delete the object and, in the background, what it owns. One that is gone already is fine.

        Conflict when another object has taken its name, or it is not at ``resource_version``.
        """
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {key: value for key, value in preconditions.items() if value is not None},
        }
        resource = resource_of(ref)
        path = resource.path(ref.namespace, ref.name)
        try:
            await self._send(Call(verb="delete", resource=resource, method="DELETE", path=path, body=options))
        except NotFound:
            log.debug("gone already", extra={"object": str(ref)})

    async def create(self, manifest: RawObject) -> dict[str, Any]:
        """Create the object; Conflict when there is one of its name."""
        ref = ObjectRef.of(manifest)
        resource = resource_of(ref)
        path = resource.path(ref.namespace)
        query = {"fieldManager": FIELD_MANAGER}
        return await self._send(
            Call(verb="create", resource=resource, method="POST", path=path, query=query, body=manifest)
        )

    async def replace(self, manifest: RawObject) -> dict[str, Any]:
        """Replace the object as a whole; Conflict when it is no longer at the manifest's resource version."""
        ref = ObjectRef.of(manifest)
        resource = resource_of(ref)
        path = resource.path(ref.namespace, ref.name)
        query = {"fieldManager": FIELD_MANAGER}
        return await self._send(
            Call(verb="update", resource=resource, method="PUT", path=path, query=query, body=manifest)
        )

    async def merge_patch(self, ref: ObjectRef, patch: RawObject) -> dict[str, Any]:
        """Patch the object by JSON merge patch; return it as it is now."""
        resource = resource_of(ref)
        call = Call(
            verb="patch",
            resource=resource,
            method="PATCH",
            path=resource.path(ref.namespace, ref.name),
            query={"fieldManager": FIELD_MANAGER},
            body=patch,
            content_type="application/merge-patch+json",
        )
        return await self._send(call)

    async def is_served(self, resource: Resource) -> bool:
        """Whether the API server has this resource: a custom one only once its definition is established."""
        call = Call(verb="get", resource=resource, method="GET", path=f"/apis/{resource.api_version}")
        try:
            answer = await self._send(call)
        except NotFound:
            return False
        return any(served["name"] == resource.plural for served in answer.get("resources", ()))

    async def list_page(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        limit: int = 500,
        continue_token: str | None = None,
    ) -> ListPage:
        """Return a page of the newest state; Gone when ``continue_token`` is too old to go on."""
        query = {"labelSelector": label_selector, "limit": limit, "continue": continue_token}
        path = resource.path(namespace)
        answer = await self._send(
            Call(verb="list", resource=resource, method="GET", path=path, query=query),
            timeout_seconds=LIST_TIMEOUT_SECONDS,
        )
        metadata = answer["metadata"]
        return ListPage(answer["items"], metadata["resourceVersion"], metadata.get("continue", ""))

    async def watch(
        self,
        resource: Resource,
        *,
        resource_version: str,
        timeout_seconds: float,
        namespace: str | None = None,
        label_selector: str | None = None,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Yield what happens after ``resource_version``, bookmarks included, until the server ends it.

        Gone when that version is too old, Unavailable when the connection breaks. Not tried again here: only the
        caller knows where to go on.
        """
        query: dict[str, str | int | bool | None] = {
            "watch": True,
            "allowWatchBookmarks": True,
            "resourceVersion": resource_version,
            "timeoutSeconds": int(timeout_seconds),
            "labelSelector": label_selector,
        }
        call = Call(verb="watch", resource=resource, method="GET", path=resource.path(namespace), query=query)
        silence_seconds = timeout_seconds + WATCH_GRACE_SECONDS
        response = await self._transport.open_stream(call, read_timeout_seconds=silence_seconds)
        try:
            async for line in response.content:
                yield _parse_event(line)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unavailable(f"the watch of {resource.plural} broke off: {error!r}") from error
        finally:
            response.close()

    async def _apply(self, manifest: RawObject, subresource: str | None, *, force: bool) -> dict[str, Any]:
        ref = ObjectRef.of(manifest)
        resource = resource_of(ref)
        call = Call(
            verb="apply",
            resource=resource,
            method="PATCH",
            path=resource.path(ref.namespace, ref.name, subresource),
            query={"fieldManager": FIELD_MANAGER, "force": force, "fieldValidation": "Strict"},
            body=manifest,
            content_type="application/apply-patch+yaml",
        )
        return await self._send(call, retry_conflicts=force and "resourceVersion" not in manifest["metadata"])

    async def _send(
        self, call: Call, *, timeout_seconds: float | None = None, retry_conflicts: bool = False
    ) -> dict[str, Any]:
        """Send a call, again while the server is busy.

        A conflict of a forced apply that names no version only says that somebody wrote at the same moment.
        """
        patience = self._patience
        retriable = (Unavailable, Conflict) if retry_conflicts else (Unavailable,)
        attempts = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, retriable)),
            wait=_WaitAsAsked(patience.first_retry_seconds),
            stop=stop_before_delay(patience.retry_for_seconds),
            before_sleep=_log_retry,
            reraise=True,
        )
        async for attempt in attempts:
            with attempt:
                answer = await self._transport.send(call, timeout_seconds=timeout_seconds or patience.call_seconds)
                if not isinstance(answer, dict):
                    raise Unavailable(f"the answer to {call.verb} {call.path} is no object")
                return answer
        raise AssertionError("unreachable: tenacity returns or raises")


class _WaitAsAsked(wait_random_exponential):
    """Retry-After where the server gave one, else a random share of a growing time."""

    def __init__(self, first_seconds: float) -> None:
        super().__init__(multiplier=first_seconds, max=5.0)

    def __call__(self, retry_state: RetryCallState) -> float:
        backoff_seconds: float = super().__call__(retry_state)
        error = retry_state.outcome.exception() if retry_state.outcome else None
        asked_seconds = error.retry_after_seconds if isinstance(error, Unavailable) else None
        return backoff_seconds if asked_seconds is None else asked_seconds + backoff_seconds


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.debug("trying again", extra={"attempt": state.attempt_number, "error": str(error)})


def _parse_event(line: bytes) -> WatchEvent:
    event = json.loads(line)
    if event["type"] == "ERROR":
        status = event["object"]
        raise _event_error(status)
    return WatchEvent(event["type"], event["object"])


def _event_error(status: RawObject) -> ClientError:
    return error_of_status(status.get("code", 500), status)
