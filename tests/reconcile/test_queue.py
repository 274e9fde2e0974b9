"""The work queue: coalescing, one worker a key, due times, backoff, and who goes first."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reconcile.fake_time import in_fake_time
from tfserving_operator.api.refs import ModelKey
from tfserving_operator.reconcile.queue import Priority, QueueTiming, WorkItem, WorkQueue

A, B = ModelKey("ns", "a"), ModelKey("ns", "b")


def make_queue(timing: QueueTiming | None = None) -> WorkQueue:
    return WorkQueue(
        clock=asyncio.get_running_loop().time,
        timing=timing,
        generator=random.Random(1),  # noqa: S311
    )


def now() -> float:
    return asyncio.get_running_loop().time()


async def drain(queue: WorkQueue, *, within_seconds: float = 0.0) -> list[ModelKey]:
    """Return what comes within the time, each given back at once."""
    keys: list[ModelKey] = []
    try:
        async with asyncio.timeout(within_seconds or 0.001):
            while True:
                item = await queue.get()
                keys.append(item.key)
                queue.done(item)
    except TimeoutError:
        return keys


@in_fake_time
async def test_equal_keys_are_one_piece_of_work() -> None:
    queue = make_queue()
    for key in (A, B, A, A):
        queue.add(key)

    assert await drain(queue) == [A, B]


@in_fake_time
async def test_key_in_work_comes_again_only_when_given_back() -> None:
    queue = make_queue()
    queue.add(A)
    item = await queue.get()
    queue.add(A)
    queue.add(A)

    assert await drain(queue) == []
    queue.done(item)
    assert await drain(queue) == [A]


@in_fake_time
async def test_waiting_worker_is_woken_by_a_new_key() -> None:
    queue = make_queue()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(1)

    queue.add(A)

    assert (await waiting).key == A
    assert now() == 1


@in_fake_time
async def test_delayed_key_comes_at_its_time() -> None:
    queue = make_queue()
    queue.add_after(A, 30)
    queue.add_after(B, 10)

    assert (await queue.get()).key == B
    assert now() == pytest.approx(10)
    assert (await queue.get()).key == A
    assert now() == pytest.approx(30)


@pytest.mark.parametrize("delays", [(10.0, 60.0), (60.0, 10.0)], ids=["later second", "earlier second"])
def test_earlier_of_two_due_times_counts_and_only_that(delays: tuple[float, float]) -> None:
    @in_fake_time
    async def check() -> None:
        queue = make_queue()
        for delay_seconds in delays:
            queue.add_after(A, delay_seconds)

        await queue.get()
        assert now() == pytest.approx(10)
        assert await drain(queue, within_seconds=100) == []

    check()


@in_fake_time
async def test_failures_back_off_up_to_a_cap_and_success_forgets_them() -> None:
    queue = make_queue(QueueTiming(first_backoff_seconds=1, max_backoff_seconds=60))
    queue.add(A)
    delays = [queue.failed(await queue.get()) for _ in range(12)]

    for failures, delay_seconds in enumerate(delays):
        full_seconds = min(60, 2**failures)
        assert full_seconds / 2 <= delay_seconds <= full_seconds
    queue.done(await queue.get())
    queue.add(A)
    assert queue.failed(await queue.get()) <= 1


@in_fake_time
async def test_failed_key_waits_for_what_the_server_asked() -> None:
    queue = make_queue()
    queue.add(A)

    queue.failed(await queue.get(), retry_after_seconds=90)

    await queue.get()
    assert now() == pytest.approx(90)


@in_fake_time
async def test_change_cuts_backoff_short() -> None:
    queue = make_queue(QueueTiming(first_backoff_seconds=60))
    queue.add(A)
    queue.failed(await queue.get())

    queue.add(A)

    assert (await queue.get()).key == A
    assert now() == 0


@in_fake_time
async def test_change_during_a_reconcile_that_fails_is_not_held_back() -> None:
    queue = make_queue(QueueTiming(first_backoff_seconds=60))
    queue.add(A)
    item = await queue.get()
    queue.add(A)

    queue.failed(item)

    await queue.get()
    assert now() == 0


@in_fake_time
async def test_change_goes_ahead_of_the_backlog() -> None:
    queue = make_queue()
    fleet = [ModelKey("ns", f"m{number}") for number in range(1000)]
    for key in fleet:
        queue.add(key, Priority.BACKLOG)

    queue.add(A)

    assert (await queue.get()).key == A


@in_fake_time
async def test_change_to_a_key_of_the_backlog_moves_it_ahead() -> None:
    queue = make_queue()
    for number in range(10):
        queue.add(ModelKey("ns", f"m{number}"), Priority.BACKLOG)

    queue.add(ModelKey("ns", "m7"))

    assert [key.name for key in await drain(queue)] == ["m7", *(f"m{n}" for n in range(10) if n != 7)]


@in_fake_time
async def test_backlog_is_not_starved_by_changes() -> None:
    queue = make_queue(QueueTiming(changes_per_backlog_item=4))
    queue.add(B, Priority.BACKLOG)
    taken = []
    for number in range(10):
        queue.add(ModelKey("ns", f"change-{number}"))
        queue.add(ModelKey("ns", f"more-{number}"))
        item = await queue.get()
        taken.append(item.key)
        queue.done(item)

    assert taken.index(B) == 4


@pytest.mark.parametrize(
    ("again_after_seconds", "priority"),
    [(2.0, Priority.CHANGE), (300.0, Priority.BACKLOG)],
    ids=["rollout under way", "regular look"],
)
def test_second_look_keeps_its_priority_only_while_a_change_is_under_way(
    again_after_seconds: float, priority: Priority
) -> None:
    @in_fake_time
    async def check() -> None:
        queue = make_queue()
        queue.add(A)
        queue.done(await queue.get(), again_after_seconds=again_after_seconds)

        assert (await queue.get()).priority is priority

    check()


@in_fake_time
async def test_depth_and_age_tell_what_waits() -> None:
    queue = make_queue()
    assert queue.oldest_due_seconds(now()) == 0
    queue.add(A)
    queue.add(B, Priority.BACKLOG)
    queue.add_after(ModelKey("ns", "later"), 100)
    await asyncio.sleep(7)

    assert queue.depth(Priority.CHANGE) == 1
    assert queue.depth(Priority.BACKLOG) == 1
    assert queue.oldest_due_seconds(now()) == 7
    item = await queue.get()
    assert item == WorkItem(A, Priority.CHANGE, waited_seconds=7)
    await queue.get()
    assert queue.oldest_due_seconds(now()) == 0


@in_fake_time
async def test_key_past_its_time_ages_even_when_no_worker_asks() -> None:
    queue = make_queue()
    queue.add_after(A, 10)
    await asyncio.sleep(400)

    assert queue.oldest_due_seconds(now()) == pytest.approx(390)


@in_fake_time
async def test_long_backlog_is_not_stuck_while_workers_take_from_it() -> None:
    queue = make_queue()
    queue.add(A)
    queue.add(B)
    await asyncio.sleep(400)
    assert queue.stuck_seconds(now()) == 400

    await queue.get()

    assert queue.oldest_due_seconds(now()) == 400
    assert queue.stuck_seconds(now()) == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "after", "get", "done", "failed"]),
            st.integers(0, 3),
            st.sampled_from(Priority),
        ),
        max_size=60,
    )
)
def test_no_key_is_lost_or_worked_on_twice_at_a_time(steps: list[tuple[str, int, Priority]]) -> None:
    @in_fake_time
    async def check() -> None:
        queue = make_queue()
        wanted: set[ModelKey] = set()
        in_work: dict[ModelKey, WorkItem] = {}
        for step, number, priority in steps:
            key = ModelKey("ns", str(number))
            if step == "add":
                queue.add(key, priority)
                wanted.add(key)
            elif step == "after":
                queue.add_after(key, 5.0 * number, priority)
                wanted.add(key)
            elif step == "get" and wanted - in_work.keys():
                item = await queue.get()
                assert item.key not in in_work
                wanted.discard(item.key)
                in_work[item.key] = item
            elif step == "done" and key in in_work:
                queue.done(in_work.pop(key))
            elif step == "failed" and key in in_work:
                queue.failed(in_work.pop(key))
                wanted.add(key)
        for item in in_work.values():
            queue.done(item)
        assert set(await drain(queue, within_seconds=10_000)) == wanted

    check()
