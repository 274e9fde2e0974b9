"""Reconcile one ServedModel: observe, plan, act. Knows nothing of what triggered it."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from tfserving_operator import telemetry
from tfserving_operator.api.conditions import Reason
from tfserving_operator.api.refs import ModelKey, ObjectRef
from tfserving_operator.api.servedmodel import API_VERSION, KIND, ServedModel, ServedModelStatus
from tfserving_operator.clients.errors import ClientError, NotFound, Rejected
from tfserving_operator.clients.model_service import Unknown
from tfserving_operator.reconcile.model_statuses import ModelStatuses
from tfserving_operator.reconcile.observed import (
    InvalidServedModel,
    LoadedConfig,
    Observed,
    RawObject,
    is_owned,
    parse_served_model,
)
from tfserving_operator.reconcile.plan import Manifest, Plan, Refusal, Reload, conflict, make_plan
from tfserving_operator.reconcile.pod_view import PodView, view_pod
from tfserving_operator.reconcile.ports import Children, ControllerSettings, Events, KubeApi, ModelServers
from tfserving_operator.reconcile.report import DETAIL_INTERVAL_SECONDS, is_urgent, transitions
from tfserving_operator.reconcile.status import compute_invalid_status, compute_status
from tfserving_operator.resources.command import GRPC_PORT
from tfserving_operator.wire import ModelServerConfig, from_text

log = logging.getLogger(__name__)

_STATUS_TIMEOUT_SECONDS = 2.0
_RELOAD_TIMEOUT_SECONDS = 10.0
_SOON_SECONDS = 2.0
"""When to look again while something is under way that no watch reports."""


@dataclass(frozen=True)
class _WrittenStatus:
    """What was last written, until the watch has caught up with it."""

    status: ServedModelStatus
    resource_version: int
    at: datetime


@dataclass(frozen=True)
class _Applied:
    """A child that was written, and whether it had been there."""

    verb: Literal["Created", "Updated"]
    ref: ObjectRef


@dataclass(frozen=True)
class _Answer:
    """A server's answer, and when it came."""

    statuses: ModelStatuses
    at: datetime
    silent_since: datetime | None
    """Since when the server has answered nothing; None where it answered."""


@dataclass
class _Memory:
    """What is remembered of one ServedModel between reconciles. All of it may be lost at any moment."""

    written: _WrittenStatus | None = None
    answers: Mapping[str, _Answer] = field(default_factory=dict)
    """What each server process said last, by the pod's incarnation."""
    loaded: dict[str, LoadedConfig] = field(default_factory=dict)


class Controller:
    """Carries decisions in and out; holds no decision of its own."""

    def __init__(
        self,
        *,
        kube: KubeApi,
        cache: Children,
        models: Callable[[ModelKey], RawObject | None],
        model_service: ModelServers,
        settings: ControllerSettings,
        events: Events,
        clock: Callable[[], datetime],
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._models = models
        self._servers = model_service
        self._settings = settings
        self._events = events
        self._clock = clock
        self._memory: dict[str, _Memory] = {}

    async def reconcile(self, key: ModelKey) -> float | None:
        """Bring the cluster one step nearer to the spec; return the seconds until it is worth looking again."""
        try:
            return await self._reconcile(key)
        except NotFound as error:
            # The ServedModel or its namespace went away meanwhile; the watch will say so.
            log.debug("gone meanwhile", extra={"model": str(key), "error": str(error)})
            return _SOON_SECONDS

    async def _reconcile(self, key: ModelKey) -> float | None:
        raw = self._models(key)
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            # The garbage collector takes the children: each has an owner reference, so no finalizer is needed.
            if raw is not None:
                self._memory.pop(raw["metadata"]["uid"], None)
            return None
        memory = self._memory.setdefault(raw["metadata"]["uid"], _Memory())
        parsed = parse_served_model(raw)
        parsed = replace_status(parsed, self._newest_status(memory, raw, parsed.status))
        if isinstance(parsed, InvalidServedModel):
            await self._write_status(raw, parsed.status, compute_invalid_status(parsed, now=self._now()), memory)
            return None
        observed = await self._observe(key, parsed, memory)
        plan = make_plan(observed, fetcher_image=self._settings.fetcher_image)
        refusals = await self._act(raw, observed, plan, memory)
        after = replace(observed, children=self._cache.children(key), loaded_configs=dict(memory.loaded))
        status = compute_status(after, plan, refusals)
        wait_seconds = await self._write_status(raw, parsed.status, status, memory)
        look_again_seconds = self._look_again_seconds(observed, plan, refusals)
        return min((s for s in (wait_seconds, look_again_seconds) if s is not None), default=None)

    def _now(self) -> datetime:
        return self._clock().replace(microsecond=0)

    def _look_again_seconds(self, observed: Observed, plan: Plan, refusals: Sequence[Refusal]) -> float | None:
        """Return when to look without being told: only servers and refusals change without an event."""
        if plan.reloads:
            return _SOON_SECONDS
        if refusals or any(pod.is_ready for pod in observed.pods):
            return self._settings.model_status_interval_seconds
        return None

    # Observe

    def _newest_status(self, memory: _Memory, raw: RawObject, indexed: ServedModelStatus) -> ServedModelStatus:
        """The status that stands in the cluster: what was written last, or what the watch brought after it."""
        written = memory.written
        if written is None or int(raw["metadata"]["resourceVersion"]) >= written.resource_version:
            return indexed
        return written.status

    async def _observe(self, key: ModelKey, model: ServedModel, memory: _Memory) -> Observed:
        pods = tuple(view_pod(pod, self._clock()) for pod in self._cache.pods(key))
        memory.answers = await self._ask_servers(model, pods, memory.answers)
        alive = {pod.incarnation for pod in pods}
        memory.loaded = {incarnation: text for incarnation, text in memory.loaded.items() if incarnation in alive}
        return Observed(
            model=model,
            children=self._cache.children(key),
            pods=pods,
            now=self._now(),
            model_statuses={
                pod.uid: memory.answers[pod.incarnation].statuses for pod in pods if pod.incarnation in memory.answers
            },
            silent_since=min((a.silent_since for a in memory.answers.values() if a.silent_since), default=None),
            loaded_configs=dict(memory.loaded),
        )

    async def _ask_servers(
        self, model: ServedModel, pods: Sequence[PodView], known: Mapping[str, _Answer]
    ) -> Mapping[str, _Answer]:
        """Ask every ready replica whose last answer is old; the rest keep theirs."""
        if model.spec.server.tls is not None:
            return {}
        ready = [pod for pod in pods if pod.is_ready and pod.ip]
        due = [pod for pod in ready if self._is_due(known.get(pod.incarnation))]
        names = [entry.name for entry in model.spec.models]
        statuses = await asyncio.gather(
            *(
                self._servers.status(f"{pod.ip}:{GRPC_PORT}", names, timeout_seconds=_STATUS_TIMEOUT_SECONDS)
                for pod in due
            )
        )
        now = self._clock()
        fresh = {
            pod.incarnation: _Answer(answer, now, _silent_since(answer, known.get(pod.incarnation), now))
            for pod, answer in zip(due, statuses, strict=True)
        }
        old = {pod.incarnation: known[pod.incarnation] for pod in ready if pod.incarnation in known}
        return {**old, **fresh}

    def _is_due(self, answer: _Answer | None) -> bool:
        if answer is None:
            return True
        age_seconds = (self._clock() - answer.at).total_seconds()
        return age_seconds >= _SOON_SECONDS / 2

    # Act

    async def _act(self, raw: RawObject, observed: Observed, plan: Plan, memory: _Memory) -> list[Refusal]:
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
        await asyncio.gather(*(self._reload(reload, memory) for reload in plan.reloads))
        return refusals

    async def _apply(self, manifest: Manifest, observed: Observed) -> Refusal | _Applied | None:
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
        if live is None:
            return _Applied("Created", ref)
        is_changed = live["metadata"].get("resourceVersion") != applied["metadata"].get("resourceVersion")
        return _Applied("Updated", ref) if is_changed else None

    async def _tell_applied(self, raw: RawObject, applied: Sequence[_Applied]) -> None:
        """One event for all that was created, one for all that was updated."""
        for verb in ("Created", "Updated"):
            refs = [outcome.ref for outcome in applied if outcome.verb == verb]
            if refs:
                await self._tell(raw, verb, "Apply", f"{verb} {', '.join(f'{ref.kind} {ref.name}' for ref in refs)}")

    async def _tell(self, raw: RawObject, reason: str, action: str, message: str) -> None:
        log.info(
            message, extra={"model": f"{raw['metadata']['namespace']}/{raw['metadata']['name']}", "reason": reason}
        )
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

    async def _reload(self, reload: Reload, memory: _Memory) -> None:
        config = from_text(reload.config_text, ModelServerConfig)
        try:
            await self._servers.reload(f"{reload.pod.ip}:{GRPC_PORT}", config, timeout_seconds=_RELOAD_TIMEOUT_SECONDS)
        except ClientError as error:
            # What the servers then say of their versions decides what the status says.
            log.warning("reload failed", extra={"pod": reload.pod.name, "error": str(error)})
            return
        memory.loaded[reload.pod.incarnation] = LoadedConfig(reload.config_text, self._clock())

    # Report

    async def _write_status(
        self, raw: RawObject, old: ServedModelStatus, new: ServedModelStatus, memory: _Memory
    ) -> float | None:
        """Write ``new`` unless nothing changed; return the seconds that mere details are to wait, if they are."""
        if new == old:
            return None
        age_seconds = (self._clock() - memory.written.at).total_seconds() if memory.written else math.inf
        if age_seconds < DETAIL_INTERVAL_SECONDS and not is_urgent(old, new):
            return DETAIL_INTERVAL_SECONDS - age_seconds
        metadata = {"name": raw["metadata"]["name"], "namespace": raw["metadata"]["namespace"]}
        manifest = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": metadata,
            "status": new.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        applied = await self._kube.apply_status(manifest)
        memory.written = _WrittenStatus(new, int(applied["metadata"]["resourceVersion"]), self._clock())
        for change in transitions(old, new):
            telemetry.DECISIONS.labels("Reconcile", change.reason).inc()
            await self._events.publish(
                regarding=raw,
                event_type=change.event_type,
                reason=change.reason,
                action="Reconcile",
                message=change.message,
            )
        return None


def _silent_since(answer: ModelStatuses, before: _Answer | None, now: datetime) -> datetime | None:
    if not all(isinstance(versions, Unknown) for versions in answer.values()):
        return None
    return before.silent_since if before and before.silent_since else now


def replace_status(
    parsed: ServedModel | InvalidServedModel, status: ServedModelStatus
) -> ServedModel | InvalidServedModel:
    """Return ``parsed`` with another status."""
    if isinstance(parsed, InvalidServedModel):
        return replace(parsed, status=status)
    return parsed.model_copy(update={"status": status})
