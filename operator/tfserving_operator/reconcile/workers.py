"""Workers: take a key, reconcile it, say when it comes again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

from tfserving_operator import telemetry
from tfserving_operator.api.refs import ModelKey
from tfserving_operator.clients.errors import ClientError, Conflict, Unavailable
from tfserving_operator.reconcile.queue import WorkItem, WorkQueue

log = logging.getLogger(__name__)

RECONCILE_TIMEOUT_SECONDS: Final = 120.0


class Reconciler(Protocol):
    """Brings one ServedModel, and all that belongs to it, to what its spec says."""

    async def reconcile(self, key: ModelKey) -> float | None:
        """Return the seconds until a second look is wanted, None where events suffice.

        A ClientError means that this attempt failed and shall be made again.
        """
        ...


async def work(
    queue: WorkQueue,
    reconciler: Reconciler,
    *,
    timeout_seconds: float = RECONCILE_TIMEOUT_SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Reconcile what is due, one key after the other, until cancelled."""
    while True:
        item = await queue.get()
        telemetry.QUEUE_WAIT_SECONDS.labels(item.priority).observe(item.waited_seconds)
        began = clock()
        result = await _reconcile(queue, reconciler, item, timeout_seconds)
        telemetry.RECONCILE_SECONDS.labels(result).observe(clock() - began)


async def _reconcile(queue: WorkQueue, reconciler: Reconciler, item: WorkItem, timeout_seconds: float) -> str:
    """Return the result for the metrics. Only cancellation gets out: the next key has nothing to do with this one."""
    try:
        async with asyncio.timeout(timeout_seconds):
            again_after_seconds = await reconciler.reconcile(item.key)
    except ClientError as error:
        _try_again(queue, item, error)
    except TimeoutError:
        log.error("reconcile took too long", extra={"model": str(item.key), "limit_seconds": timeout_seconds})
        _count_failure(queue, item, "Timeout")
    except Exception:
        log.exception("reconcile failed unexpectedly", extra={"model": str(item.key)})
        _count_failure(queue, item, "Unexpected")
    else:
        queue.done(item, again_after_seconds=again_after_seconds)
        return "success"
    return "error"


def _try_again(queue: WorkQueue, item: WorkItem, error: ClientError) -> None:
    asked_seconds = error.retry_after_seconds if isinstance(error, Unavailable) else None
    delay_seconds = _count_failure(queue, item, type(error).__name__, asked_seconds)
    # Somebody wrote at the same moment: ordinary life of a cluster, nothing for an operator's owner to look into.
    level = logging.DEBUG if isinstance(error, Conflict) else logging.WARNING
    log.log(
        level,
        "reconcile failed, will try again",
        extra={"model": str(item.key), "error": str(error), "after_seconds": round(delay_seconds, 1)},
    )


def _count_failure(queue: WorkQueue, item: WorkItem, error: str, retry_after_seconds: float | None = None) -> float:
    telemetry.RECONCILE_ERRORS.labels(error).inc()
    return queue.failed(item, retry_after_seconds=retry_after_seconds)
