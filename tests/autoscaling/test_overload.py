from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.autoscaling.scenes import NOON, pool, signals
from tfserving_operator.autoscaling.load import Load, combined_load
from tfserving_operator.autoscaling.overload import Backlog
from tfserving_operator.autoscaling.signals import SignalState


def load_at(now: datetime, rate: float, *, share: float = 1.0, concurrency: float | None = None) -> Load:
    seen = signals(rate, at=now, covered=2, share=share, concurrency=concurrency, window_seconds=10.0)
    return combined_load([pool(seen, ready=2)], now=now.timestamp())


def backlog(seconds: float, load: Load) -> Backlog:
    """The backlog after a good sample at noon and one so many seconds later."""
    return Backlog().after(load_at(NOON, 100, concurrency=1.0)).after(load)


def test_without_late_requests_what_is_answered_is_what_arrives() -> None:
    later = load_at(NOON + timedelta(seconds=30), 100, concurrency=1.0)
    assert backlog(30, later).demand(later, 100) == 100


@pytest.mark.parametrize("factor", [1.2, 1.5, 2.0])
def test_the_wait_tells_how_much_more_arrives_than_is_answered(factor: float) -> None:
    seconds = 30.0
    wait = (1 - 1 / factor) * seconds
    later = load_at(NOON + timedelta(seconds=seconds), 100, share=0.0, concurrency=100 * wait / 2)
    demand = backlog(seconds, later).demand(later, 100)
    caught_up = 100 * wait / 60
    assert demand == pytest.approx(100 * factor + caught_up, rel=0.01)


def test_a_queue_that_builds_up_from_no_load_at_all_is_told_by_its_wait_too() -> None:
    idle = load_at(NOON, 0)
    later = load_at(NOON + timedelta(seconds=10), 100, share=0.0, concurrency=100 * 2.5)
    assert Backlog().after(idle).after(later).demand(later, 100) == pytest.approx(100 * 2 + 100 * 5 / 60, rel=0.01)


def silent_at(now: datetime, *, late: float, seen: float = 0.0) -> Load:
    """Replicas that did 100 requests a second, so many of them late, before their scrapes failed."""
    load = signals(
        seen,
        at=now,
        covered=1 if seen else 0,
        state=SignalState.REPLICAS_MISSING,
        replicas_silent=1,
        silent_per_second=100.0,
        silent_good_per_second=100.0 - late,
    )
    return combined_load([pool(load, ready=2)], now=now.timestamp())


def test_replicas_that_fell_silent_while_late_did_half_of_what_arrives() -> None:
    silent = silent_at(NOON + timedelta(seconds=2), late=20)
    assert backlog(2, silent).demand(silent, 100) == 200


def test_replicas_that_fell_silent_in_time_did_all_that_arrives() -> None:
    silent = silent_at(NOON + timedelta(seconds=2), late=1)
    assert backlog(2, silent).demand(silent, 100) == 100


def test_only_the_share_of_the_silent_ones_counts_double() -> None:
    silent = silent_at(NOON + timedelta(seconds=2), late=50, seen=300)
    assert Backlog(good_at=NOON.timestamp(), at=NOON.timestamp()).demand(silent, 400) == 500


def test_no_wait_makes_believe_in_more_than_four_times_as_much() -> None:
    later = load_at(NOON + timedelta(seconds=20), 100, share=0.0, concurrency=1e6)
    assert backlog(20, later).demand(later, 100) <= 100 * (4 + 20 / 60)


def test_where_the_wait_is_not_known_twice_as_much_is_taken_to_arrive() -> None:
    later = load_at(NOON + timedelta(seconds=20), 100, share=0.0)
    assert backlog(20, later).demand(later, 100) == 200
