"""The operator's process: ``python -m tfserving_operator``."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import kopf
from pydantic import ValidationError
from pydantic_settings import CliApp

from tfserving_operator.clients.errors import ClientError
from tfserving_operator.clients.kinds import SERVED_MODELS
from tfserving_operator.clients.kube import KubeClient
from tfserving_operator.handlers.health import Health
from tfserving_operator.handlers.lifecycle import Context, build_registry, utc_now
from tfserving_operator.handlers.probes import serve_probes
from tfserving_operator.log_format import configure_logging
from tfserving_operator.settings import Settings, unknown_variables
from tfserving_operator.validation_words import problems_of

log = logging.getLogger(__name__)

_CRD_POLL_SECONDS = 2.0
_KOPF_END_SECONDS = 1.0


def main() -> None:
    """Read the settings and run until SIGTERM or SIGINT; the exit status is 1 after a fault of our own."""
    try:
        settings = CliApp.run(Settings)
    except ValidationError as error:
        for problem in problems_of(error):
            print(f"tfserving-operator: {problem}", file=sys.stderr)
        raise SystemExit(2) from None
    configure_logging(settings.log_format, settings.log_level)
    if unknown := unknown_variables(os.environ):
        log.warning("environment variables that are no settings are ignored", extra={"variables": unknown})
    raise SystemExit(asyncio.run(run(settings)))


async def run(settings: Settings) -> int:
    """Run the operator; return the exit status."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    # Until kopf runs, and installs handlers of its own.
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    health = Health(clock=utc_now, monotonic=loop.time)
    kube = KubeClient()
    has_failed = False
    try:
        async with serve_probes(health, health_port=settings.health_port, metrics_port=settings.metrics_port):
            if await wait_for_crd(kube, stop):
                context = Context(settings=settings, kube=kube, health=health, stop=stop)
                registry, background = build_registry(context)
                operator = kopf.operator(
                    registry=registry,
                    settings=kopf_settings(),
                    standalone=True,
                    clusterwide=not settings.watch_namespaces,
                    namespaces=settings.watch_namespaces,
                    stop_flag=stop,
                )
                await run_until_stopped(operator, background.stopped)
                has_failed = background.has_failed
    except Exception:
        # Such as a CRD that was deleted: kopf gives up, and the next process waits for it.
        log.critical("ended by an error", exc_info=True)
        has_failed = True
    finally:
        await kube.close()
    return 1 if has_failed else 0


async def run_until_stopped(operator: Coroutine[Any, Any, None], stopped: asyncio.Event) -> None:
    """Run kopf, and end it soon after our own tasks were stopped.

    It would wait 5 s for whatever other tasks it finds in the event loop, such as an answer to a probe.
    """
    task = asyncio.create_task(operator)
    waiter = asyncio.create_task(stopped.wait())
    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    await asyncio.wait({task}, timeout=_KOPF_END_SECONDS)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def wait_for_crd(kube: KubeClient, stop: asyncio.Event) -> bool:
    """Wait until the API server knows ServedModels; False when told to stop before that.

    kopf would have to watch all CRDs for this, which takes rights that the operator needs for nothing else.
    """
    said: str | None = None
    while not stop.is_set():
        try:
            served = await _unless_stopped(kube.is_served(SERVED_MODELS), stop)
            if served:
                return True
            problem = f"the CRD {SERVED_MODELS.plural}.tfserving.dev is not installed, waiting for it"
        except ClientError as error:
            problem = f"waiting for the API server: {error}"
        if problem != said:
            log.warning(problem)
            said = problem
        try:
            await asyncio.wait_for(stop.wait(), _CRD_POLL_SECONDS)
        except TimeoutError:
            continue
    return False


async def _unless_stopped(question: Coroutine[Any, Any, bool], stop: asyncio.Event) -> bool:
    """Return the answer, False when told to stop before it comes."""
    asked, stopped = asyncio.create_task(question), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({asked, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return await asked if asked.done() else False
    finally:
        asked.cancel()
        stopped.cancel()


def kopf_settings() -> kopf.OperatorSettings:
    """Return settings under which kopf only watches, and ends quickly."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    # Neither CRDs nor namespaces are watched: which resource and which namespaces is known from the start.
    settings.scanning.disabled = True
    settings.watching.chunk_size = 500
    settings.watching.connect_timeout = 10.0
    settings.networking.connect_timeout = 10.0
    settings.queueing.idle_timeout = 1.0
    settings.queueing.exit_timeout = 1.0
    settings.process.ultimate_exiting_timeout = 15.0
    return settings


if __name__ == "__main__":
    main()
