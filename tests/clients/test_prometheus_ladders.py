from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfserving_operator.clients.prometheus_ladders import BATCH_SIZE_LADDER, LATENCY_LADDER, QUEUE_LADDER, Ladder


def cumulative(values: list[float], ladder: Ladder) -> dict[str, float]:
    """Count as TensorFlow Serving does: a value equal to a limit falls into the next bucket."""
    return {le: sum(value < float(le) for value in values) for le in ladder.les}


@given(st.lists(st.floats(min_value=1102.0, max_value=13.3e6), min_size=1, max_size=50))
def test_the_mean_latency_is_within_the_documented_error(micros: list[float]) -> None:
    estimate = LATENCY_LADDER.total(cumulative(micros, LATENCY_LADDER))
    step = 1.8**2
    low, high = (step - 1) / math.log(step) / step, (step - 1) / math.log(step)
    truth = sum(micros) / 1e6
    assert truth * low * 0.999 <= estimate <= truth * high * 1.001


@given(st.lists(st.floats(min_value=100.0, max_value=631_000.0), min_size=1, max_size=50))
def test_the_mean_wait_is_within_the_documented_error(micros: list[float]) -> None:
    step = 1.2**6
    estimate = QUEUE_LADDER.total(cumulative(micros, QUEUE_LADDER))
    truth = sum(micros) / 1e6
    assert truth * (step - 1) / math.log(step) / step * 0.999 <= estimate <= truth * (step - 1) / math.log(step) * 1.001


def test_evenly_spread_latencies_come_out_nearly_exact() -> None:
    micros = [1102 * 1.01**n for n in range(827)]
    assert LATENCY_LADDER.total(cumulative(micros, LATENCY_LADDER)) == pytest.approx(sum(micros) / 1e6, rel=0.05)


def test_batches_of_one_are_exact() -> None:
    assert BATCH_SIZE_LADDER.total(cumulative([1.0] * 7, BATCH_SIZE_LADDER)) == pytest.approx(7)


@pytest.mark.parametrize("size", [1, 2, 3, 8, 31, 100, 511])
def test_the_mean_batch_size_is_within_a_factor_of_one_and_a_half(size: int) -> None:
    estimate = BATCH_SIZE_LADDER.total(cumulative([float(size)], BATCH_SIZE_LADDER))
    assert size / 1.5 <= estimate <= size * 1.5


@pytest.mark.parametrize("ladder", [LATENCY_LADDER, QUEUE_LADDER, BATCH_SIZE_LADDER])
def test_nothing_sums_to_nothing(ladder: Ladder) -> None:
    assert ladder.total(dict.fromkeys(ladder.les, 0.0)) == 0
