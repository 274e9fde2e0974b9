from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.autoscaling.scenes import NOON, pool, signals
from tfserving_operator.autoscaling.load import combined_load
from tfserving_operator.autoscaling.outcomes import outcomes
from tfserving_operator.autoscaling.signals import PoolSignals, SignalState

CLOCK = NOON.timestamp()


def measured(rate: float, covered: int = 2) -> PoolSignals:
    return signals(rate, at=NOON, covered=covered)


def test_the_load_of_all_pools_counts() -> None:
    load = combined_load([pool(measured(30), ready=2, name="a"), pool(measured(50), ready=1, name="b")], now=CLOCK)
    assert load.requests_per_second == 80
    assert load.ready == 3
    assert load.state is SignalState.MEASURED


@pytest.mark.parametrize("worse", [state for state in SignalState if not state.may_scale_down])
def test_the_worst_pool_that_serves_says_how_well_the_load_is_known(worse: SignalState) -> None:
    pools = [pool(measured(30), ready=2, name="a"), pool(PoolSignals(state=worse), ready=1, name="b")]
    load = combined_load(pools, now=CLOCK)
    assert load.state is worse
    assert load.message.startswith("pool b")
    assert not load.may_scale_down


def test_a_pool_without_ready_replicas_does_not_matter() -> None:
    blind = pool(PoolSignals(state=SignalState.NO_REPLICAS), ready=0, name="b", desired=1)
    assert combined_load([pool(measured(30), ready=2, name="a"), blind], now=CLOCK).may_scale_down


def test_traffic_on_one_pool_is_traffic() -> None:
    pools = [pool(measured(0), ready=1, name="a"), pool(measured(9), ready=1, name="b")]
    assert combined_load(pools, now=CLOCK).state is SignalState.MEASURED


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -1.0])
@pytest.mark.parametrize("field", ["good_per_second", "concurrency", "queue_seconds", "window_seconds"])
def test_a_number_that_is_none_is_named_and_not_used(field: str, number: float) -> None:
    broken = signals(30, at=NOON, covered=2, **{field: number})
    load = combined_load([pool(broken, ready=2)], now=CLOCK)
    assert load.state is SignalState.NOT_A_NUMBER
    assert load.requests_per_second == 0


def test_a_rate_that_is_no_number_is_not_used_either() -> None:
    broken = PoolSignals(state=SignalState.MEASURED, at=NOON, replicas_covered=2, requests_per_second=math.nan)
    assert combined_load([pool(broken, ready=2)], now=CLOCK).state is SignalState.NOT_A_NUMBER


def test_nothing_ready_is_said() -> None:
    load = combined_load([pool(PoolSignals(state=SignalState.NO_REPLICAS), ready=0, desired=3)], now=CLOCK)
    assert load.state is SignalState.NO_REPLICAS
    assert "none of 3 replicas" in load.message


@pytest.mark.parametrize(
    ("errors", "requests", "late", "failed"),
    [
        pytest.param({}, 80, 10, 0, id="none"),
        pytest.param({"INVALID_ARGUMENT": 500, "NOT_FOUND": 20}, 80, 10, 0, id="mistakes-of-clients-are-no-requests"),
        pytest.param({"INTERNAL": 4}, 76, 6, 0, id="faults-of-the-model-say-nothing"),
        pytest.param({"UNAVAILABLE": 6, "INVALID_ARGUMENT": 20}, 80, 10, 6, id="refusals-are-late"),
    ],
)
def test_what_replicas_can_do_nothing_about_is_left_out_once(
    errors: dict[str, float], requests: float, late: float, failed: float
) -> None:
    """``requests_per_second`` are without mistakes of clients, as Prometheus' client delivers them."""
    fared = outcomes(signals(80, at=NOON, covered=1, good_per_second=70.0, errors_per_second=errors))
    assert (fared.requests, fared.late, fared.failed) == (requests, late, failed)


def shares(late_below: float, late_above: float, place: float) -> float:
    """The share of late requests at an objective between two edges, of 1,000 a second."""
    seen = signals(
        1000, at=NOON, covered=1, good_per_second=1000 * (1 - late_below), good_above_per_second=1000 * (1 - late_above)
    )
    return outcomes(seen, place=place).late / 1000


def test_without_the_edge_above_what_is_late_at_the_edge_below_is_late() -> None:
    assert outcomes(signals(1000, at=NOON, covered=1, share=0.97), place=0.6).late == pytest.approx(30)


@pytest.mark.parametrize(
    ("late_below", "late_above", "place", "late"),
    [
        pytest.param(0.0233, 0.00099, 0.23, 0.0113, id="the-tail-of-a-queue"),
        pytest.param(0.03, 0.001, 0.0, 0.03, id="at-the-edge-below"),
        pytest.param(0.02, 0.02, 0.6, 0.02, id="all-later-than-both"),
        pytest.param(1.0, 0.001, 0.6, 1.0, id="the-service-time-lies-between"),
        pytest.param(0.3122, 0.0001, 0.605, 0.037, id="a-batch-lies-between"),
    ],
)
def test_between_two_edges_the_tail_is_exponential(
    late_below: float, late_above: float, place: float, late: float
) -> None:
    assert shares(late_below, late_above, place) == pytest.approx(late, rel=0.05)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.999))
def test_an_estimate_between_edges_lies_between_them(one: float, other: float, place: float) -> None:
    above, below = sorted((one, other))
    assert min(above, below) * (1 - 1e-6) - 1e-9 <= shares(below, above, place) <= below + 1e-9
