"""The operator's process: ``python -m tfserving_operator``."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import kopf
from pydantic import ValidationError
from pydantic_settings import CliApp

from tfserving_operator.clients.errors import ClientError
from tfserving_operator.clients.kinds import SERVED_MODELS
from tfserving_operator.clients.kube import KubeClient
from tfserving_operator.handlers.health import Health
from tfserving_operator.handlers.lifecycle import Context, build_registry, utc_now
from tfserving_operator.handlers.namespaces import readable, until_others_are_readable
from tfserving_operator.handlers.probes import serve_probes
from tfserving_operator.log_format import configure_logging
from tfserving_operator.settings import Settings, unknown_variables
from tfserving_operator.validation_words import problems_of

log = logging.getLogger(__name__)

T = TypeVar("T")

_POLL_SECONDS = 2.0
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
                has_failed = await operate(settings, kube, health, stop)
    except Exception:
        # Such as a CRD that was deleted: kopf gives up, and the next process waits for it.
        log.critical("ended by an error", exc_info=True)
        has_failed = True
    finally:
        await kube.close()
    return 1 if has_failed else 0


async def operate(settings: Settings, kube: KubeClient, health: Health, stop: asyncio.Event) -> bool:
    """Look after ServedModels until told to stop; return whether one of our own tasks has failed."""
    namespaces = settings.watch_namespaces
    if not namespaces:
        return await _operate_in(settings, kube, health, stop)
    watched = await wait_for_rights(kube, namespaces, stop)
    if not watched:
        return False
    others = asyncio.create_task(until_others_are_readable(kube, namespaces, watched))
    # The next process watches those that may be read then.
    others.add_done_callback(lambda _: stop.set())
    try:
        return await _operate_in(settings.model_copy(update={"watch_namespaces": watched}), kube, health, stop)
    finally:
        others.cancel()


async def _operate_in(settings: Settings, kube: KubeClient, health: Health, stop: asyncio.Event) -> bool:
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
    return background.has_failed


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
    problem = f"the CRD {SERVED_MODELS.plural}.tfserving.dev is not installed, waiting for it"
    return bool(await _first_answer(lambda: kube.is_served(SERVED_MODELS), problem, stop))


async def wait_for_rights(kube: KubeClient, namespaces: tuple[str, ...], stop: asyncio.Event) -> tuple[str, ...]:
    """Wait until one of ``namespaces`` may be read; return those that may, none when told to stop before that."""
    problem = f"none of the namespaces to watch may be read ({', '.join(namespaces)}), waiting for rights in one"
    watched = await _first_answer(lambda: readable(kube, namespaces), problem, stop) or ()
    if left_out := [namespace for namespace in namespaces if namespace not in watched]:
        log.warning("namespaces that may not be read are left out", extra={"namespaces": left_out})
    return watched


async def _first_answer(look: Callable[[], Coroutine[Any, Any, T]], problem: str, stop: asyncio.Event) -> T | None:
    """Look again and again, telling of ``problem`` once, until there is an answer; None when told to stop."""
    said: str | None = None
    while not stop.is_set():
        try:
            answer = await _unless_stopped(look(), stop)
            if answer:
                return answer
            now = problem
        except ClientError as error:
            now = f"waiting for the API server: {error}"
        if now != said and not stop.is_set():
            log.warning(now)
            said = now
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _POLL_SECONDS)
    return None


async def _unless_stopped(question: Coroutine[Any, Any, T], stop: asyncio.Event) -> T | None:
    """Return the answer, None when told to stop before it comes."""
    asked, stopped = asyncio.create_task(question), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({asked, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return await asked if asked.done() else None
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
