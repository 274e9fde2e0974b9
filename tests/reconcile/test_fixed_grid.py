"""Ticks on a fixed grid, and what is counted of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from prometheus_client import REGISTRY

from tests.reconcile.fake_time import FakeTimeLoop
from tfserving_operator.reconcile.fixed_grid import ticks

PERIOD = 2.0


def missed(how: str) -> float:
    return REGISTRY.get_sample_value("tfserving_operator_scaling_ticks_missed_total", {"how": how}) or 0.0


def late_seconds() -> float:
    return REGISTRY.get_sample_value("tfserving_operator_scaling_tick_late_seconds_sum") or 0.0


def counting(read: Callable[[], float]) -> Callable[[], float]:
    before = read()
    return lambda: read() - before


def begins(work_seconds: Sequence[float], *, stall_seconds: float = 0) -> list[float]:
    """Return when each tick began, where its work takes so long; something else may keep the process before the second.

    Times are in seconds, in fake time.
    """
    with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
        return runner.run(_begins(work_seconds, stall_seconds))


async def _begins(work_seconds: Sequence[float], stall_seconds: float) -> list[float]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, FakeTimeLoop)

    def stall() -> None:
        loop.now += stall_seconds

    loop.call_at(PERIOD, stall)
    times: list[float] = []
    async for _ in ticks(PERIOD):
        times.append(loop.time())
        if len(times) == len(work_seconds):
            break
        await asyncio.sleep(work_seconds[len(times) - 1])
    return times


@pytest.mark.parametrize(
    ("work_seconds", "expected", "skipped"),
    [
        pytest.param([0, 0, 0, 0], [0, 2, 4, 6], 0, id="no work"),
        pytest.param([0.5, 1.9, 0.1, 0], [0, 2, 4, 6], 0, id="work shorter than the period"),
        pytest.param([2.0, 2.0, 0], [0, 2, 4], 0, id="work as long as the period"),
        pytest.param([2.5, 0, 0], [0, 4, 6], 1, id="one is skipped"),
        pytest.param([7.0, 0, 0], [0, 8, 10], 3, id="three are skipped"),
    ],
)
def test_ticks_stay_on_the_grid(work_seconds: list[float], expected: list[float], skipped: int) -> None:
    skips, lates = counting(lambda: missed("skipped")), counting(lambda: missed("late"))
    assert begins(work_seconds) == expected
    assert (skips(), lates()) == (skipped, 0)


@pytest.mark.parametrize(("stall_seconds", "is_late"), [(0.1, False), (0.5, True)], ids=["hardly late", "late"])
def test_a_tick_that_begins_late_is_counted_and_does_not_shift_the_others(stall_seconds: float, is_late: bool) -> None:
    lates, seconds = counting(lambda: missed("late")), counting(late_seconds)
    times = begins([0, 0, 0], stall_seconds=stall_seconds)
    assert times == pytest.approx([0, 2 + stall_seconds, 4])
    assert lates() == is_late
    assert seconds() == pytest.approx(stall_seconds)
