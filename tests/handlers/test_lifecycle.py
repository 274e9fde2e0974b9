"""The regular second look, and which of several objects of one name counts."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.reconcile.fake_time import in_fake_time
from tfserving_operator.api.refs import ModelKey
from tfserving_operator.handlers.lifecycle import look_again
from tfserving_operator.handlers.watch import all_models_in, models_in
from tfserving_operator.reconcile.queue import Priority, WorkQueue


@in_fake_time
async def test_every_model_is_looked_at_once_in_each_period_and_not_all_at_once() -> None:
    loop = asyncio.get_running_loop()
    queue = WorkQueue(clock=loop.time)
    index: Any = {ModelKey("ns", f"m{number}"): () for number in range(50)}
    task = asyncio.create_task(look_again(queue, index, 300))
    times: dict[ModelKey, float] = {}
    for _ in index:
        item = await queue.get()
        assert item.priority is Priority.BACKLOG
        times[item.key] = loop.time()
        queue.done(item)

    assert set(times) == set(index)
    assert 300 <= min(times.values()) < max(times.values()) <= 600
    assert len(set(times.values())) == 50
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_one_that_was_made_anew_takes_the_place_of_the_one_before() -> None:
    """kopf keeps what was deleted while its watch had a gap."""
    key = ModelKey("ns", "again")
    bodies = [{"metadata": {"uid": uid, "resourceVersion": version}} for uid, version in (("u1", "99"), ("u2", "100"))]
    for order in (bodies, bodies[::-1]):
        index: Any = {key: order, ModelKey("ns", "empty"): []}
        assert models_in(index)(key) == bodies[1]
        assert models_in(index)(ModelKey("ns", "empty")) is None
        assert list(all_models_in(index)()) == [(key, bodies[1])]
