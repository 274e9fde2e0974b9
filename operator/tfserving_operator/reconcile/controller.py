"""Reconcile one ServedModel: observe, plan, act. Knows nothing of what triggered it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from tfserving_operator import telemetry
from tfserving_operator.api.autoscaling import AutoscalingMode
from tfserving_operator.api.refs import ModelKey, ObjectRef
from tfserving_operator.api.servedmodel import API_VERSION, KIND, ServedModel, ServedModelStatus
from tfserving_operator.clients.errors import NotFound
from tfserving_operator.reconcile.actor import Actor
from tfserving_operator.reconcile.drift import Normalized
from tfserving_operator.reconcile.model_statuses import ModelStatuses
from tfserving_operator.reconcile.observed import (
    InvalidServedModel,
    LoadedConfig,
    Observed,
    RawObject,
    parse_served_model,
)
from tfserving_operator.reconcile.plan import Plan, Refusal, make_plan
from tfserving_operator.reconcile.pod_view import PodPhase, PodView, view_pod
from tfserving_operator.reconcile.ports import (
    Children,
    ControllerSettings,
    Events,
    KubeApi,
    ModelServers,
    RestModelServers,
)
from tfserving_operator.reconcile.report import DETAIL_INTERVAL_SECONDS, is_urgent, news
from tfserving_operator.reconcile.scaling_board import ScalingBoard
from tfserving_operator.reconcile.server_answers import Answer, ask_servers
from tfserving_operator.reconcile.status import compute_invalid_status, compute_status
from tfserving_operator.reconcile.wanted_replicas import scaling_mode
from tfserving_operator.resources.command import GRPC_PORT, REST_PORT

log = logging.getLogger(__name__)

_STATUS_TIMEOUT_SECONDS = 2.0
_SOON_SECONDS = 2.0
"""When to look again while something is under way that no watch reports."""


@dataclass(frozen=True)
class _WrittenStatus:
    """What was last written, until the watch has caught up with it."""

    status: ServedModelStatus
    resource_version: int
    at: datetime


@dataclass
class _Memory:
    """What is remembered of one ServedModel between reconciles. All of it may be lost at any moment."""

    uid: str
    is_gone: bool = False
    """Whether the API server has it no more, whatever the watch says."""
    written: _WrittenStatus | None = None
    answers: Mapping[str, Answer] = field(default_factory=dict)
    """What each server process said last, by the pod's incarnation."""
    loaded: dict[str, LoadedConfig] = field(default_factory=dict)
    normalized: dict[ObjectRef, Normalized] = field(default_factory=dict)
    """What the API server made of children, where it is not just what was applied."""


class Controller:
    """Carries decisions in and out; holds no decision of its own."""

    def __init__(
        self,
        *,
        kube: KubeApi,
        cache: Children,
        models: Callable[[ModelKey], RawObject | None],
        model_service: ModelServers,
        rest_model_status: RestModelServers,
        settings: ControllerSettings,
        events: Events,
        clock: Callable[[], datetime],
        board: ScalingBoard | None = None,
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._models = models
        self._servers = model_service
        self._rest_servers = rest_model_status
        self._settings = settings
        self._events = events
        self._clock = clock
        self._board = board or ScalingBoard()
        self._actor = Actor(kube=kube, cache=cache, servers=model_service, events=events, clock=clock)
        self._memory: dict[ModelKey, _Memory] = {}

    async def reconcile(self, key: ModelKey) -> float | None:
        """Bring the cluster one step nearer to the spec; return the seconds until it is worth looking again."""
        try:
            return await self._reconcile(key)
        except NotFound as error:
            if await self._exists(key):
                raise
            log.debug("gone meanwhile", extra={"model": str(key), "error": str(error)})
            return None

    async def _reconcile(self, key: ModelKey) -> float | None:
        raw = self._models(key)
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            # The garbage collector takes the children: each has an owner reference, so no finalizer is needed.
            self._memory.pop(key, None)
            return None
        memory = self._remember(key, raw["metadata"]["uid"])
        if memory.is_gone:
            return None
        parsed = parse_served_model(raw)
        parsed = replace_status(parsed, self._newest_status(memory, raw, parsed.status))
        if isinstance(parsed, InvalidServedModel):
            await self._write_status(raw, parsed.status, compute_invalid_status(parsed, now=self._now()), memory)
            return None
        observed = await self._observe(key, parsed, memory)
        plan = make_plan(observed, fetcher_image=self._settings.fetcher_image)
        if raw.get("status") and plan.creates(observed.children) and not await self._exists(key):
            return None
        outcome = await self._actor.carry_out(raw, observed, plan)
        memory.loaded.update(outcome.loaded)
        memory.normalized = {ref: n for ref, n in (memory.normalized | outcome.normalized).items() if n.stored}
        after = replace(observed, children=self._cache.children(key), loaded_configs=dict(memory.loaded))
        status = compute_status(after, plan, outcome.refusals)
        mode = scaling_mode(parsed.spec)
        wait_seconds = await self._write_status(raw, parsed.status, status, memory, mode=mode)
        look_again_seconds = self._look_again_seconds(observed, plan, outcome.refusals)
        return min((s for s in (wait_seconds, look_again_seconds) if s is not None), default=None)

    async def _exists(self, key: ModelKey) -> bool:
        """Ask whether the ServedModel that is remembered is still there, and note it where it is not.

        A watch may miss that it was deleted: its children would be made again and again, for the garbage collector.
        """
        memory = self._memory[key]
        live = await self._kube.get(ObjectRef(API_VERSION, KIND, key.namespace, key.name))
        memory.is_gone = live is None or live["metadata"]["uid"] != memory.uid
        return not memory.is_gone

    def _remember(self, key: ModelKey, uid: str) -> _Memory:
        """Return what is known of this very ServedModel: one of the same name that was made anew starts blank."""
        memory = self._memory.get(key)
        if memory is None or memory.uid != uid:
            memory = self._memory[key] = _Memory(uid)
        return memory

    def _now(self) -> datetime:
        return self._clock().replace(microsecond=0)

    def _look_again_seconds(self, observed: Observed, plan: Plan, refusals: Sequence[Refusal]) -> float | None:
        """Return when to look without being told: servers, refusals and what takes too long change without an event."""
        if plan.reloads:
            return _SOON_SECONDS
        waited_for = (PodPhase.STARTING, PodPhase.LOADING)
        if refusals or any(pod.is_ready or pod.phase in waited_for for pod in observed.pods):
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
        memory.answers = await ask_servers(partial(self._ask, model), pods, memory.answers, self._clock())
        alive = {pod.incarnation for pod in pods}
        memory.loaded = {incarnation: text for incarnation, text in memory.loaded.items() if incarnation in alive}
        children = self._cache.children(key)
        memory.normalized = {ref: normalized for ref, normalized in memory.normalized.items() if ref in children}
        return Observed(
            model=model,
            children=children,
            pods=pods,
            now=self._now(),
            model_statuses={
                pod.uid: memory.answers[pod.incarnation].statuses for pod in pods if pod.incarnation in memory.answers
            },
            silent_since=min((a.silent_since for a in memory.answers.values() if a.silent_since), default=None),
            loaded_configs=dict(memory.loaded),
            normalized=memory.normalized,
            scaling=self._board.view(key, uid=model.metadata.uid),
        )

    async def _ask(self, model: ServedModel, pod: PodView) -> ModelStatuses:
        names = [entry.name for entry in model.spec.models]
        if model.spec.server.tls is None:
            return await self._servers.status(f"{pod.ip}:{GRPC_PORT}", names, timeout_seconds=_STATUS_TIMEOUT_SECONDS)
        # With TLS the operator has no certificate to call gRPC with.
        return await self._rest_servers.status(f"{pod.ip}:{REST_PORT}", names, timeout_seconds=_STATUS_TIMEOUT_SECONDS)

    # Report

    async def _write_status(
        self,
        raw: RawObject,
        old: ServedModelStatus,
        new: ServedModelStatus,
        memory: _Memory,
        *,
        mode: AutoscalingMode = AutoscalingMode.OFF,
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
        for item in news(old, new, mode=mode):
            # Changes of replicas were counted when they were decided.
            if item.action == "Reconcile":
                telemetry.DECISIONS.labels(item.action, item.reason).inc()
            await self._events.publish(
                regarding=raw,
                event_type=item.event_type,
                reason=item.reason,
                action=item.action,
                message=item.message,
            )
        return None


def replace_status(
    parsed: ServedModel | InvalidServedModel, status: ServedModelStatus
) -> ServedModel | InvalidServedModel:
    """Return ``parsed`` with another status."""
    if isinstance(parsed, InvalidServedModel):
        return replace(parsed, status=status)
    return parsed.model_copy(update={"status": status})
