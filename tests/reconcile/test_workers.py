"""Workers: what becomes of a key after its reconcile, however that ended."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

import pytest

from tests.reconcile.fake_time import in_fake_time
from tfserving_operator.api.refs import ModelKey
from tfserving_operator.clients.errors import Conflict, Rejected, Unavailable
from tfserving_operator.reconcile.queue import QueueTiming, WorkQueue
from tfserving_operator.reconcile.workers import work

KEY = ModelKey("ns", "m")
Outcome = float | Exception | None


class FakeReconciler:
    """Does in order what it is told; ``inf`` hangs."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.times: list[float] = []

    async def reconcile(self, key: ModelKey) -> float | None:
        self.times.append(asyncio.get_running_loop().time())
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        if outcome == float("inf"):
            await asyncio.Event().wait()
        return outcome


async def times_of(reconciler: FakeReconciler, *, within_seconds: float) -> list[float]:
    queue = WorkQueue(
        clock=asyncio.get_running_loop().time,
        timing=QueueTiming(first_backoff_seconds=1.0),
        generator=random.Random(1),  # noqa: S311
    )
    queue.add(KEY)
    worker = asyncio.create_task(work(queue, reconciler, timeout_seconds=50))
    await asyncio.sleep(within_seconds)
    assert not worker.done()
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    return reconciler.times


@in_fake_time
async def test_reconciled_key_does_not_come_again() -> None:
    assert await times_of(FakeReconciler(None), within_seconds=1000) == [0]


@in_fake_time
async def test_second_look_comes_when_it_was_asked_for() -> None:
    assert await times_of(FakeReconciler(20.0), within_seconds=1000) == pytest.approx([0, 20])


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(lambda: Unavailable("away"), id="unavailable"),
        pytest.param(lambda: Rejected("no", reason="Forbidden"), id="rejected"),
        pytest.param(lambda: ValueError("a bug"), id="unexpected"),
    ],
)
def test_failed_key_is_tried_again_with_growing_waits(error: Callable[[], Exception]) -> None:
    @in_fake_time
    async def check() -> None:
        first, second, third = await times_of(FakeReconciler(error(), error()), within_seconds=100)

        assert 0.5 <= second - first <= 1
        assert 1 <= third - second <= 2

    check()


@in_fake_time
async def test_reconcile_that_hangs_is_ended_and_tried_again() -> None:
    first, second = await times_of(FakeReconciler(float("inf")), within_seconds=100)

    assert 50 < second - first <= 51


@in_fake_time
async def test_retry_after_of_the_server_is_kept() -> None:
    busy = Unavailable("busy", retry_after_seconds=40)

    assert await times_of(FakeReconciler(busy), within_seconds=100) == pytest.approx([0, 40])


@pytest.mark.parametrize(
    ("error", "level"),
    [
        pytest.param(Conflict("modified"), None, id="conflict"),
        pytest.param(Unavailable("away"), logging.WARNING, id="unavailable"),
    ],
)
def test_conflict_is_no_news_for_the_log(error: Exception, level: int | None, caplog: pytest.LogCaptureFixture) -> None:
    @in_fake_time
    async def check() -> None:
        with caplog.at_level(logging.INFO):
            await times_of(FakeReconciler(error), within_seconds=10)

    check()
    assert [record.levelno for record in caplog.records] == ([level] if level else [])
