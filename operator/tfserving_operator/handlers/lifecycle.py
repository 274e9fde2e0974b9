"""Starts and stops what runs beside kopf: clients, the child cache, workers, and the regular second look."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import kopf

from tfserving_operator import telemetry
from tfserving_operator.api.refs import ModelKey
from tfserving_operator.clients.child_cache import ChildCache
from tfserving_operator.clients.events import EventPublisher
from tfserving_operator.clients.horizontal_autoscalers import HorizontalAutoscalers
from tfserving_operator.clients.kube import KubeClient
from tfserving_operator.clients.model_service import ModelServiceClient
from tfserving_operator.clients.prometheus import PrometheusClient
from tfserving_operator.clients.rest_model_status import RestModelStatusClient
from tfserving_operator.handlers.health import Health
from tfserving_operator.handlers.login import register_login
from tfserving_operator.handlers.watch import INDEX, RawObject, all_models_in, models_in, register_watch
from tfserving_operator.reconcile.controller import Controller
from tfserving_operator.reconcile.queue import Priority, WorkQueue
from tfserving_operator.reconcile.scaling_board import ScalingBoard
from tfserving_operator.reconcile.scaling_loop import ScalingLoop
from tfserving_operator.reconcile.workers import work
from tfserving_operator.settings import Settings

log = logging.getLogger(__name__)

STOP_SECONDS: Final = 3.0

ModelIndex = kopf.Index[ModelKey, RawObject]


def utc_now() -> datetime:
    """Return the time of day."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the process gives to the handlers. ``stop`` ends it, as a signal does."""

    settings: Settings
    kube: KubeClient
    health: Health
    stop: asyncio.Event


def build_registry(context: Context) -> tuple[kopf.OperatorRegistry, Background]:
    """Return kopf's handlers, and what they start and stop."""
    registry = kopf.OperatorRegistry()
    loop = asyncio.get_running_loop()
    queue = WorkQueue(clock=loop.time)
    register_login(registry)
    register_watch(registry, queue.add)
    background = Background(context, queue)

    @kopf.on.startup(id="start", registry=registry)
    async def start(**kwargs: Any) -> None:
        background.start(kwargs[INDEX])

    @kopf.on.cleanup(id="stop", registry=registry)
    async def stop(**_: Any) -> None:
        await background.stop()
        # After a signal, kopf waits 5 s for its own task that waits for this.
        context.stop.set()

    return registry, background


class Background:
    """The tasks beside kopf. ``has_failed`` says that one of them ended, which none does by itself."""

    def __init__(self, context: Context, queue: WorkQueue) -> None:
        self._context = context
        self._queue = queue
        self._model_service = ModelServiceClient()
        self._rest_model_status = RestModelStatusClient()
        self._prometheus = PrometheusClient.configured(context.settings)
        self._tasks: list[asyncio.Task[None]] = []
        self.has_failed = False
        self._is_stopping = False
        self.stopped = asyncio.Event()

    def start(self, index: ModelIndex) -> None:
        """Start everything; ``index`` is filled later."""
        settings, kube, queue = self._context.settings, self._context.kube, self._queue
        board = ScalingBoard()
        cache = ChildCache(kube, changed=queue.add, namespaces=settings.watch_namespaces, clock=utc_now)
        controller = Controller(
            kube=kube,
            cache=cache,
            models=models_in(index),
            model_service=self._model_service,
            rest_model_status=self._rest_model_status,
            settings=settings,
            events=EventPublisher(kube, clock=utc_now),
            clock=utc_now,
            board=board,
        )
        autoscalers = HorizontalAutoscalers(kube, namespaces=settings.watch_namespaces, clock=utc_now)
        scaling = ScalingLoop(
            models=all_models_in(index),
            cache=cache,
            signals=self._prometheus,
            autoscalers=autoscalers,
            board=board,
            news=queue.add,
            clock=utc_now,
            budget=settings.fleet_budget(),
        )

        async def work_once_synced() -> None:
            await cache.wait_until_synced()
            await work(queue, controller)

        async def scale_once_synced() -> None:
            await cache.wait_until_synced()
            await scaling.run(settings.autoscaling_tick_seconds)

        self._spawn("child cache", cache.run())
        self._spawn("second look", look_again(queue, index, settings.resync_seconds))
        for number in range(settings.concurrency):
            self._spawn(f"worker {number}", work_once_synced())
        self._spawn("autoscalers", autoscalers.run())
        self._spawn("scaling loop", scale_once_synced())
        _report(queue)
        self._context.health.watch(queue=queue, cache=cache)
        log.info("started", extra={"version": telemetry.VERSION, "workers": settings.concurrency})

    async def stop(self) -> None:
        """Stop everything within seconds."""
        self._is_stopping = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            _, pending = await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
            if pending:
                log.warning("tasks did not stop in time", extra={"tasks": [task.get_name() for task in pending]})
        await self._model_service.close()
        await self._rest_model_status.close()
        await self._prometheus.close()
        self.stopped.set()
        log.info("stopped")

    def _spawn(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine, name=name)
        task.add_done_callback(self._on_end)
        self._tasks.append(task)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        """Half an operator is worse than one that starts again."""
        if self._is_stopping:
            return
        error = None if task.cancelled() else task.exception()
        log.critical("a task ended, stopping", extra={"task": task.get_name()}, exc_info=error)
        self.has_failed = True
        self._context.stop.set()


async def look_again(queue: WorkQueue, index: ModelIndex, period_seconds: float) -> None:
    """Make every ServedModel due once in each period, spread over it."""
    generator = random.Random()  # noqa: S311 # spreads load, keeps no secret
    while True:
        await asyncio.sleep(period_seconds)
        for key in list(index):
            queue.add_after(key, generator.uniform(0.0, period_seconds), Priority.BACKLOG)


def _report(queue: WorkQueue) -> None:
    loop = asyncio.get_running_loop()
    for priority in Priority:
        telemetry.QUEUE_DEPTH.labels(priority).set_function(partial(queue.depth, priority))
    telemetry.QUEUE_OLDEST_SECONDS.set_function(lambda: queue.oldest_due_seconds(loop.time()))
