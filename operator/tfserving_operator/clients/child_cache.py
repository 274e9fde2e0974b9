"""The children of all ServedModels, kept up to date by one list and watch a kind.

Not a kopf index: that costs 1.7 ms of CPU an object, and there are several children and pods a model.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from tfserving_operator import telemetry
from tfserving_operator.api.refs import ModelKey, ObjectRef
from tfserving_operator.clients.backoff import backoff_seconds
from tfserving_operator.clients.child_store import ChildStore
from tfserving_operator.clients.errors import ClientError, Gone, Unavailable
from tfserving_operator.clients.kinds import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    SERVICES,
    Resource,
)
from tfserving_operator.clients.kube import KubeClient

log = logging.getLogger(__name__)

SELECTOR: Final = "app.kubernetes.io/managed-by=tfserving-operator"
WATCHED: Final = (DEPLOYMENTS, SERVICES, CONFIG_MAPS, POD_DISRUPTION_BUDGETS, PODS)

RawObject = Mapping[str, Any]


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchTiming:
    """How long a watch lasts (the server ends it, we go on), and how long to wait after a failure."""

    watch_seconds: float = 300.0
    first_backoff_seconds: float = 0.5
    max_backoff_seconds: float = 30.0
    shortest_watch_seconds: float = 1.0


@dataclass(slots=True)
class _Source:
    """One list and watch: a kind, in one namespace or in all."""

    resource: Resource
    namespace: str | None
    store: ChildStore
    is_positioned: bool = False
    is_synced: bool = False
    failures: int = 0
    expired: int = 0
    """Lists in a row after which no watch could begin."""
    updated_at: datetime | None = None
    acted_at: datetime | None = None


class ChildCache:
    """Children and pods by ServedModel; calls ``changed`` with the key of each whose children are other ones now.

    That is also the former parent of an object that lost its label, and not for the echo of our own writes. It is
    not called for the first list: whoever starts the operator looks at every ServedModel anyway.
    """

    def __init__(
        self,
        kube: KubeClient,
        *,
        changed: Callable[[ModelKey], None],
        namespaces: Sequence[str] = (),
        clock: Callable[[], datetime] = _utc_now,
        timing: WatchTiming | None = None,
        resources: Sequence[Resource] = WATCHED,
    ) -> None:
        self._kube = kube
        self._changed = changed
        self._clock = clock
        self._timing = timing or WatchTiming()
        self._generator = random.Random()  # noqa: S311 # spreads load, keeps no secret
        self._synced = asyncio.Event()
        self._sources = [
            _Source(resource, namespace, ChildStore(resource))
            for resource in resources
            for namespace in (namespaces or (None,))
        ]

    async def wait_until_synced(self) -> None:
        """Return once every kind was listed."""
        await self._synced.wait()

    @property
    def is_synced(self) -> bool:
        """Whether every kind was listed once: before, an absent child says nothing."""
        return self._synced.is_set()

    @property
    def updated_at(self) -> datetime | None:
        """When the source that is silent longest last heard from the API server; None before all were listed."""
        times = [source.updated_at for source in self._sources]
        return min((time for time in times if time is not None), default=None) if all(times) else None

    @property
    def acted_at(self) -> datetime | None:
        """As ``updated_at``, but a failed attempt counts too: old means stuck, not that the API server is away."""
        times = [source.acted_at for source in self._sources]
        return min((time for time in times if time is not None), default=None) if all(times) else None

    def children(self, key: ModelKey) -> Mapping[ObjectRef, RawObject]:
        """Return all children of ``key`` but its pods."""
        return {
            ref: obj
            for source in self._sources_for(key.namespace)
            if source.resource is not PODS
            for ref, obj in source.store.of(key)
        }

    def pods(self, key: ModelKey) -> tuple[RawObject, ...]:
        """Return the pods of ``key``, by name; their spec holds no more than containers' names and resources."""
        return tuple(
            obj
            for source in self._sources_for(key.namespace)
            if source.resource is PODS
            for _, obj in source.store.of(key)
        )

    def revision(self, key: ModelKey) -> tuple[int, ...]:
        """Return a mark that is another one whenever a child or pod of ``key`` is, for who keeps what they read."""
        return tuple(source.store.revision(key) for source in self._sources_for(key.namespace))

    def keys(self) -> set[ModelKey]:
        """Return every ServedModel that has children, whether it exists or not."""
        return {key for source in self._sources for key in source.store.models()}

    def observe_write(self, obj: RawObject) -> None:
        """Take over the API server's answer to a write of ours, so that the next look already sees it."""
        ref = ObjectRef.of(obj)
        for source in self._sources_for(ref.namespace):
            if (source.resource.api_version, source.resource.kind) == (ref.api_version, ref.kind):
                source.store.put_written(obj)

    async def run(self) -> None:
        """Keep everything up to date until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for source in self._sources:
                tasks.create_task(self._follow(source), name=f"watch {source.resource.plural}")

    def _sources_for(self, namespace: str) -> list[_Source]:
        return [source for source in self._sources if source.namespace in (None, namespace)]

    async def _follow(self, source: _Source) -> None:
        while True:
            try:
                was_listed = not source.is_positioned
                if was_listed:
                    await self._list(source)
                await self._watch(source)
            except Gone as error:
                # The server keeps some minutes of history; after that only a new list tells what was missed.
                source.is_positioned = False
                telemetry.WATCH_RESTARTS.labels(source.resource.plural, "expired").inc()
                # What was listed just now may have expired already: then listing again at once would not help.
                source.expired = source.expired + 1 if was_listed else 0
                await self._pause_before_list(source, error)
            except ClientError as error:
                await self._pause(source, error)

    async def _pause(self, source: _Source, error: ClientError) -> None:
        source.failures += 1
        source.acted_at = self._clock()
        telemetry.WATCH_RESTARTS.labels(source.resource.plural, "failed").inc()
        level = logging.WARNING if source.failures == 1 else logging.DEBUG
        log.log(level, "watch lost", extra={"resource": source.resource.plural, "error": str(error)})
        seconds = backoff_seconds(
            source.failures,
            first_seconds=self._timing.first_backoff_seconds,
            max_seconds=self._timing.max_backoff_seconds,
            generator=self._generator,
        )
        asked_seconds = error.retry_after_seconds if isinstance(error, Unavailable) else None
        await asyncio.sleep(max(seconds, asked_seconds or 0.0))

    async def _pause_before_list(self, source: _Source, error: Gone) -> None:
        first_seconds = self._timing.first_backoff_seconds
        if not source.expired:
            await asyncio.sleep(self._generator.uniform(0.0, first_seconds))
            return
        if source.expired == 1:
            log.warning("a list expired at once", extra={"resource": source.resource.plural, "error": str(error)})
        await asyncio.sleep(
            backoff_seconds(
                source.expired,
                first_seconds=first_seconds,
                max_seconds=self._timing.max_backoff_seconds,
                generator=self._generator,
            )
        )

    def _alive(self, source: _Source) -> None:
        source.updated_at = source.acted_at = self._clock()
        if source.failures:
            source.failures = 0
            log.info("watch resumed", extra={"resource": source.resource.plural})

    async def _list(self, source: _Source) -> None:
        token: str | None = None
        listed: set[ObjectRef] = set()
        changed: set[ModelKey] = set()
        while True:
            page = await self._kube.list_page(
                source.resource, namespace=source.namespace, label_selector=SELECTOR, continue_token=token
            )
            for item in page.items:
                listed.add(source.store.ref_of(item))
                changed |= source.store.put(item)
            token = page.continue_token
            if not token:
                break
        changed |= source.store.keep_only(listed, int(page.resource_version))
        source.is_positioned = True
        self._alive(source)
        if source.is_synced:
            self._tell(changed)
        source.is_synced = True
        if all(other.is_synced for other in self._sources):
            self._synced.set()
        self._count(source)

    async def _watch(self, source: _Source) -> None:
        loop = asyncio.get_running_loop()
        began, seconds = loop.time(), self._timing.watch_seconds * self._generator.uniform(1.0, 1.2)
        events = 0
        async for event in self._kube.watch(
            source.resource,
            resource_version=str(source.store.position),
            timeout_seconds=seconds,
            namespace=source.namespace,
            label_selector=SELECTOR,
        ):
            events += 1
            self._alive(source)
            source.store.advance(event.object)
            if event.type == "BOOKMARK":
                continue
            take = source.store.remove if event.type == "DELETED" else source.store.put
            self._tell(take(event.object))
            self._count(source)
        if not events and loop.time() - began < self._timing.shortest_watch_seconds:
            raise Unavailable("the watch ended as soon as it began")
        self._alive(source)

    def _tell(self, keys: set[ModelKey]) -> None:
        for key in sorted(keys):
            self._changed(key)

    def _count(self, source: _Source) -> None:
        same_kind = [other.store for other in self._sources if other.resource is source.resource]
        telemetry.CHILD_CACHE_OBJECTS.labels(source.resource.kind).set(sum(map(len, same_kind)))
