from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfserving_operator.autoscaling.history import History


def filled(samples: list[tuple[float, float]], keep_seconds: float = 60) -> History:
    history = History()
    for at, value in samples:
        history = history.with_sample(value, at=at, keep_seconds=keep_seconds)
    return history


def test_nothing_seen_is_no_load() -> None:
    assert History().mean(60) == 0
    assert History().peak(60) == 0


def test_windows_end_at_the_newest_sample() -> None:
    history = filled([(0, 1), (10, 2), (20, 3), (30, 10)])
    assert history.mean(60) == 4
    assert history.mean(15) == 6.5
    assert history.mean(1) == 10
    assert history.peak(25) == 10


def test_the_same_sample_counts_once() -> None:
    assert filled([(0, 1), (10, 2), (10, 50), (5, 50)]).mean(60) == 1.5


@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0, 1e6)), min_size=1, max_size=200), st.floats(2, 3600))
def test_it_stays_small_and_its_mean_within_what_was_seen(steps: list[tuple[float, float]], keep: float) -> None:
    at, samples = 0.0, list[tuple[float, float]]()
    for elapsed, value in steps:
        at += elapsed
        samples.append((at, value))
    history = filled(samples, keep)
    values = [value for _, value in samples]
    assert len(history.bins) <= 34
    assert min(values) * (1 - 1e-9) <= history.mean(keep) <= max(values) * (1 + 1e-9)
    assert history.mean(keep) <= history.peak(keep) * (1 + 1e-9)
    assert history.newest == pytest.approx(values[-1])
