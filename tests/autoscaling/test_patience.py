from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfserving_operator.autoscaling.patience import PATIENCES_SECONDS, Patience

LATE_SECONDS, SHORTEST_SECONDS = 45.0, 30.0


def followed(
    rate_at: Callable[[float], float], *, seconds: float, price: float = 4.0, patience: Patience | None = None
) -> list[float]:
    """What is held at each sample."""
    patience = patience or Patience()
    held = []
    for at in range(0, int(seconds), 5):
        patience = patience.after(
            rate_at(at),
            at=float(at),
            window_seconds=15.0,
            late_seconds=LATE_SECONDS,
            shortest_seconds=SHORTEST_SECONDS,
            price=price,
        )
        held.append(patience.held(at=float(at), late_seconds=LATE_SECONDS, price=price))
    return held


def burst_every(period: float, *, lasting: float = 30.0) -> Callable[[float], float]:
    return lambda at: 100.0 if at % period < lasting else 0.0


def test_a_burst_is_kept_for_before_anything_is_known_of_its_return() -> None:
    held = followed(burst_every(10_000), seconds=150)
    assert held[-1] == 100.0


def test_nothing_is_kept_longer_than_the_longest_patience() -> None:
    held = followed(burst_every(10_000), seconds=30 + PATIENCES_SECONDS[-1] + 20, price=100.0)
    assert held[-1] == 0.0


def test_bursts_that_come_back_within_the_patience_are_waited_for() -> None:
    held = followed(burst_every(200), seconds=7200)
    assert min(held[360:]) == 100.0


def test_bursts_that_never_come_back_in_time_are_waited_for_no_more() -> None:
    held = followed(burst_every(900), seconds=7200, price=1.0)
    assert sum(held[-180:]) < 0.3 * sum(held[:180])


def test_the_more_a_late_request_is_worth_the_longer_a_burst_is_waited_for() -> None:
    cheap, dear = (sum(followed(burst_every(900), seconds=3600, price=price)) for price in (1.0, 8.0))
    assert dear > cheap


def test_the_same_sample_again_changes_nothing() -> None:
    known = dict(window_seconds=15.0, late_seconds=45.0, shortest_seconds=30.0, price=4.0)
    once = Patience().after(10.0, at=0.0, **known).after(20.0, at=20.0, **known)
    assert once.after(20.0, at=20.0, **known) == once


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200))
def test_what_is_held_was_seen_and_memory_is_bounded(rates: list[float]) -> None:
    patience = Patience()
    for index, rate in enumerate(rates):
        at = 20.0 * index
        patience = patience.after(rate, at=at, window_seconds=15.0, late_seconds=45.0, shortest_seconds=30.0, price=4.0)
        held = patience.held(at=at, late_seconds=45.0, price=4.0)
        assert held == 0.0 or held in rates
        assert len(patience.bins) <= 65


def test_a_gap_without_telemetry_forgets_loads_and_keeps_what_was_learned() -> None:
    known = dict(window_seconds=15.0, late_seconds=45.0, shortest_seconds=30.0, price=4.0)
    before = Patience().after(10.0, at=0.0, **known).after(10.0, at=20.0, **known)
    after = before.after(5.0, at=5000.0, **known)
    assert after.bins == ((5000.0, 5.0),)
    assert after.costs == pytest.approx(before.costs)
