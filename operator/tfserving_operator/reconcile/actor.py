"""Carry a plan out: apply, repair, delete, reload; and tell what was done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from tfserving_operator import telemetry
from tfserving_operator.api.conditions import Reason
from tfserving_operator.api.refs import ObjectRef
from tfserving_operator.clients.errors import ClientError, Rejected
from tfserving_operator.reconcile.drift import Normalized, normalized_by_server
from tfserving_operator.reconcile.observed import LoadedConfig, Observed, RawObject, is_owned
from tfserving_operator.reconcile.plan import Manifest, Plan, Refusal, Reload, conflict
from tfserving_operator.reconcile.ports import Children, Events, KubeApi, ModelServers
from tfserving_operator.resources.command import GRPC_PORT
from tfserving_operator.wire import ModelServerConfig, from_text

log = logging.getLogger(__name__)

_RELOAD_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class _Applied:
    """A child that was applied."""

    ref: ObjectRef
    verb: Literal["Created", "Updated"] | None
    """What came of it; None when nothing did."""
    normalized: Normalized


@dataclass(frozen=True)
class Outcome:
    """What came of a plan."""

    refusals: tuple[Refusal, ...]
    loaded: dict[str, LoadedConfig]
    """Configs that servers accepted, by the pod's incarnation."""
    normalized: dict[ObjectRef, Normalized]
    """What the API server made of each child that was applied."""


class Actor:
    """Makes the writes of plans."""

    def __init__(
        self, *, kube: KubeApi, cache: Children, servers: ModelServers, events: Events, clock: Callable[[], datetime]
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._servers = servers
        self._events = events
        self._clock = clock

    async def carry_out(self, raw: RawObject, observed: Observed, plan: Plan) -> Outcome:
        """Make every write of ``plan``; refusals come back, other errors are raised for the queue to try again."""
        refusals = list(plan.refusals)
        pods_wait = [m for m in plan.applies if m["kind"] == "Deployment"]
        others = [m for m in plan.applies if m["kind"] != "Deployment"]
        applied: list[_Applied] = []
        for group in (others, pods_wait):
            outcomes = await asyncio.gather(*(self._apply(manifest, observed) for manifest in group))
            refusals += [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
            applied += [outcome for outcome in outcomes if isinstance(outcome, _Applied)]
            if any(refusal.ref.kind == "ConfigMap" for refusal in refusals):
                # Pods refer to the ConfigMaps, so a Deployment without them would only make broken pods.
                break
        await self._tell_applied(raw, applied)
        for manifest in plan.replaces:
            refusal = await self._take_out_additions(raw, manifest)
            refusals += [refusal] if refusal else []
        for ref in plan.deletes:
            await self._delete(raw, ref, observed)
        loaded = await asyncio.gather(*(self._reload(reload) for reload in plan.reloads))
        return Outcome(
            refusals=tuple(refusals),
            loaded={incarnation: config for one in loaded for incarnation, config in one.items()},
            normalized={outcome.ref: outcome.normalized for outcome in applied},
        )

    async def _apply(self, manifest: Manifest, observed: Observed) -> Refusal | _Applied:
        ref = ObjectRef.of(manifest)
        live = observed.children.get(ref)
        try:
            if live is None:
                # A name may be taken by an object without our labels, which the cache does not hold; applying would
                # merge into it. One read, at creation only.
                live = await self._kube.get(ref)
                if live is not None and not is_owned(live, observed.model.metadata):
                    return conflict(ref, live)
            applied = await self._kube.apply(manifest)
        except Rejected as error:
            reason = Reason.QUOTA_EXCEEDED if "exceeded quota" in str(error) else Reason.CHILD_REJECTED
            return Refusal(ref, reason, f"{ref.kind} {ref.name} was refused: {error}")
        self._cache.observe_write(applied)
        return _Applied(ref, _verb(live, applied), normalized_by_server(applied, manifest))

    async def _tell_applied(self, raw: RawObject, applied: Sequence[_Applied]) -> None:
        """One event for all that was created, one for all that was updated."""
        for verb in ("Created", "Updated"):
            refs = [outcome.ref for outcome in applied if outcome.verb == verb]
            if refs:
                await self._tell(raw, verb, "Apply", f"{verb} {', '.join(f'{ref.kind} {ref.name}' for ref in refs)}")

    async def _tell(self, raw: RawObject, reason: str, action: str, message: str) -> None:
        key = f"{raw['metadata']['namespace']}/{raw['metadata']['name']}"
        log.info(reason.lower(), extra={"model": key, "detail": message})
        telemetry.DECISIONS.labels(action, reason).inc()
        await self._events.publish(regarding=raw, event_type="Normal", reason=reason, action=action, message=message)

    async def _take_out_additions(self, raw: RawObject, manifest: Manifest) -> Refusal | None:
        """Raises ``Conflict`` when the child changed meanwhile: the queue then looks again."""
        ref = ObjectRef.of(manifest)
        try:
            replaced = await self._kube.replace(manifest)
        except Rejected as error:
            return Refusal(ref, Reason.CHILD_REJECTED, f"{ref.kind} {ref.name} could not be repaired: {error}")
        self._cache.observe_write(replaced)
        text = f"Took out of {ref.kind} {ref.name} what somebody else had added: use the ServedModel's spec"
        await self._tell(raw, "Repaired", "Replace", text)
        return None

    async def _delete(self, raw: RawObject, ref: ObjectRef, observed: Observed) -> None:
        await self._kube.delete(ref, uid=observed.children[ref]["metadata"]["uid"])
        text = f"Deleted {ref.kind} {ref.name}, which the spec no longer asks for"
        await self._tell(raw, "Deleted", "Delete", text)

    async def _reload(self, reload: Reload) -> dict[str, LoadedConfig]:
        config = from_text(reload.config_text, ModelServerConfig)
        try:
            await self._servers.reload(f"{reload.pod.ip}:{GRPC_PORT}", config, timeout_seconds=_RELOAD_TIMEOUT_SECONDS)
        except ClientError as error:
            # What the servers then say of their versions decides what the status says.
            log.warning("reload failed", extra={"pod": reload.pod.name, "error": str(error)})
            return {}
        return {reload.pod.incarnation: LoadedConfig(reload.config_text, self._clock())}


def _verb(before: RawObject | None, after: RawObject) -> Literal["Created", "Updated"] | None:
    if before is None:
        return "Created"
    is_changed = before["metadata"].get("resourceVersion") != after["metadata"].get("resourceVersion")
    return "Updated" if is_changed else None
