"""When what was learned is worth a write."""

from __future__ import annotations

from typing import Any

import pytest

from tests.reconcile.observed_scenes import capacity
from tfserving_operator.api.autoscaling import PoolCapacity
from tfserving_operator.reconcile.capacity_news import has_moved, rounded, without_loss

KNOWN: dict[str, Any] = {"requests_per_second": 100.0, "confidence": 0.5, "start_up_seconds": 30.0, "config_hash": "a"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, False),
        ({"requests_per_second": 109.0}, False),
        ({"requests_per_second": 112.0}, True),
        ({"requests_per_second": 89.0}, True),
        ({"confidence": 0.59}, False),
        ({"confidence": 0.61}, True),
        ({"start_up_seconds": 32.0}, False),
        ({"start_up_seconds": 40.0}, True),
        ({"start_up_seconds": None}, True),
        ({"config_hash": "b"}, True),
        ({"name": "gpu"}, True),
    ],
    ids=str,
)
def test_a_tenth_more_or_less_is_news_and_so_is_another_configuration(change: dict[str, Any], expected: bool) -> None:
    assert has_moved([capacity(**KNOWN)], [capacity(**(KNOWN | change))]) is expected


@pytest.mark.parametrize(
    ("told", "known", "expected"),
    [
        ([], [], False),
        ([], [capacity()], True),
        ([capacity()], [], True),
        ([capacity("a"), capacity("b")], [capacity("b"), capacity("a")], False),
    ],
    ids=["nothing", "first", "none left", "another order"],
)
def test_a_pool_that_came_or_went_is_news(told: list[PoolCapacity], known: list[PoolCapacity], expected: bool) -> None:
    assert has_moved(told, known) is expected


@pytest.mark.parametrize(
    ("number", "expected"), [(0.0, 0.0), (123.456, 123.0), (0.00123456, 0.00123), (98765.4, 98800.0)]
)
def test_three_digits_are_told(number: float, expected: float) -> None:
    [told] = rounded([capacity(requests_per_second=number, start_up_seconds=number)])
    assert (told.requests_per_second, told.start_up_seconds) == (expected, expected)


@pytest.mark.parametrize(
    ("change", "confidence"),
    [
        pytest.param({}, 0.9, id="nothing seen yet"),
        pytest.param({"requests_per_second": 99.5, "confidence": 0.8}, 0.9, id="sure anew"),
        pytest.param({"requests_per_second": 99.5, "confidence": 0.96}, 0.96, id="surer than before"),
        pytest.param({"requests_per_second": 99.5, "confidence": 0.39}, 0.45, id="half as sure"),
        pytest.param({"confidence": 0.1, "config_hash": "b"}, 0.1, id="another configuration"),
    ],
)
def test_confidence_is_told_relative_to_what_a_restart_left_of_it(change: dict[str, Any], confidence: float) -> None:
    told = capacity(requests_per_second=100.0, confidence=0.9, config_hash="a")
    restored: dict[str, Any] = {"requests_per_second": 99.0, "confidence": 0.78, "config_hash": "a"}
    now = without_loss(capacity(**(restored | change)), told=told, restored=capacity(**restored))
    assert now.confidence == pytest.approx(confidence)


def test_what_restoring_made_surer_is_told_as_it_was() -> None:
    told, restored = capacity(confidence=0.6), capacity(requests_per_second=99.0, confidence=0.7)
    assert without_loss(restored, told=told, restored=restored) == told
    seen = capacity(requests_per_second=99.5, confidence=0.8)
    assert without_loss(seen, told=told, restored=restored) == seen


def test_an_unknown_start_up_time_stays_unknown() -> None:
    assert rounded([capacity(start_up_seconds=None)])[0].start_up_seconds is None


def test_rounding_twice_is_the_same() -> None:
    once = rounded([capacity(requests_per_second=123.456, confidence=0.98765)])
    assert rounded(once) == once
