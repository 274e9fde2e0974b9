from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfserving_operator.autoscaling.capacity import CapacityCurve, CapacityEstimate, LoadSample

PROMISED = 0.01
AIM = 0.009
KNEE = 100.0


def late_share(load: float, knee: float = KNEE) -> float:
    """One percent late at the knee, ten times as many for a quarter more."""
    return min(1.0, PROMISED * (load / knee) ** 10)


def fed(
    loads: list[float], *, knee: float = KNEE, curve: CapacityCurve | None = None, noise: Random | None = None
) -> CapacityCurve:
    curve = curve or CapacityCurve()
    for load in loads:
        requests = load * 30
        share = late_share(load, knee)
        if noise is not None:
            share = min(1.0, max(0.0, noise.gauss(share, math.sqrt(share * (1 - share) / requests))))
        sample = LoadSample(load=load, requests=requests, late_share=share, failed_share=0.0, seconds=30)
        curve = curve.learned(sample, aim=AIM)
    return curve


def estimate(curve: CapacityCurve) -> CapacityEstimate:
    found = curve.estimate(aim=AIM, promised=PROMISED)
    assert found is not None
    return found


def test_nothing_seen_is_nothing_known() -> None:
    assert CapacityCurve().estimate(aim=AIM, promised=PROMISED) is None


def test_a_load_that_was_always_good_is_what_is_known_and_a_step_more_is_hoped_for() -> None:
    found = estimate(fed([40.0] * 10))
    assert found.carries == pytest.approx(40)
    assert found.hopeful == pytest.approx(48)
    assert not found.is_bounded
    assert found.confidence <= 0.5


def test_the_knee_is_found_from_both_sides() -> None:
    found = estimate(fed([60, 70, 80, 90, 95, 100, 105, 110] * 4))
    assert found.carries == pytest.approx(KNEE, rel=0.04)
    assert found.is_bounded
    assert found.confidence > 0.5


@pytest.mark.parametrize("seed", range(5))
def test_noise_moves_the_knee_little(seed: int) -> None:
    noise = Random(seed)  # noqa: S311 - a toy's noise
    loads = [noise.uniform(60, 115) for _ in range(60)]
    assert estimate(fed(loads, noise=noise)).carries == pytest.approx(KNEE, rel=0.08)


@pytest.mark.parametrize("knee", [60.0, 160.0])
def test_a_knee_that_moves_is_followed(knee: float) -> None:
    curve = fed([80, 90, 95, 105, 110] * 8)
    curve = fed([0.8 * knee, 0.9 * knee, 0.95 * knee, 1.05 * knee, 1.1 * knee] * 8, knee=knee, curve=curve)
    assert estimate(curve).carries == pytest.approx(knee, rel=0.1)


def test_nights_do_not_forget_the_knee_of_the_day() -> None:
    curve = fed([80, 90, 95, 105, 110] * 8)
    night = fed([5.0] * (8 * 120), curve=curve)
    assert estimate(night).carries == pytest.approx(estimate(curve).carries, rel=0.05)


def test_late_requests_at_every_load_mean_that_replicas_cannot_help() -> None:
    curve = CapacityCurve()
    for load in [100.0, 50.0, 25.0] * 5:
        sample = LoadSample(load=load, requests=load * 30, late_share=0.3, failed_share=0.0, seconds=30)
        curve = curve.learned(sample, aim=AIM)
    found = estimate(curve)
    assert found.cannot_be_kept
    assert found.late_at_best == pytest.approx(0.3, rel=0.1)
    assert found.carries == pytest.approx(100, rel=0.1)


@pytest.mark.parametrize(
    ("seen", "carries"),
    [
        pytest.param([(40.0, 0.5), (5.0, 0.1)], 6.0, id="a step beyond the least"),
        pytest.param([(40.0, 0.5), (20.0, 0.12), (5.0, 0.1)], 24.0, id="a step beyond the highest"),
        pytest.param([(40.0, 0.05), (20.0, 0.12), (5.0, 0.1)], 24.0, id="what was faster at more load is of before"),
        pytest.param([(40.0, 0.5), (7.0, 0.16), (5.9, 0.11), (5.0, 0.1)], 6.48, id="to just below what is slower"),
        pytest.param([(40.0, 0.5), (7.0, 0.0), (5.9, 0.11), (5.0, 0.1)], 7.08, id="a backlog says nothing"),
    ],
)
def test_where_all_is_late_a_replica_carries_what_it_answers_nearly_as_fast_as_at_little_load(
    seen: list[tuple[float, float]], carries: float
) -> None:
    curve = CapacityCurve()
    for load, seconds in seen * 5:
        sample = LoadSample(
            load=load, requests=load * 30, late_share=1.0, failed_share=0.0, seconds=30, mean_seconds=seconds
        )
        curve = curve.learned(sample, aim=AIM)
    found = estimate(curve)
    assert found.cannot_be_kept
    assert found.carries == pytest.approx(carries, rel=0.05)


def test_what_was_in_time_before_service_took_longer_does_not_say_that_replicas_cannot_help() -> None:
    curve = fed([80.0, 85.0, 90.0] * 20)
    for load in [85.0] * 8 + [40.0, 38.0, 41.0]:
        sample = LoadSample(load=load, requests=load * 30, late_share=load / 400, failed_share=0.0, seconds=30)
        curve = curve.learned(sample, aim=AIM)
        assert not estimate(curve).cannot_be_kept
    assert estimate(curve).carries < 40


def test_refusals_at_every_load_are_an_overload_that_replicas_do_help() -> None:
    curve = CapacityCurve()
    for load in [400.0, 200.0]:
        sample = LoadSample(load=load, requests=load * 30, late_share=1.0, failed_share=0.6, seconds=30)
        curve = curve.learned(sample, aim=AIM)
    assert not estimate(curve).cannot_be_kept


def test_a_server_that_refuses_requests_carries_no_more_than_it_answers() -> None:
    curve = fed([25.0] * 10)
    for _ in range(4):
        sample = LoadSample(load=120.0, requests=3600, late_share=1.0, failed_share=0.7, seconds=30)
        curve = curve.learned(sample, aim=AIM)
    assert 25 <= estimate(curve).carries <= 36


def test_a_restored_estimate_is_the_one_that_was_saved() -> None:
    curve = CapacityCurve.seeded(73.0, confidence=0.8, aim=AIM)
    assert estimate(curve).carries == pytest.approx(73, rel=0.05)


def test_what_is_seen_soon_outweighs_what_was_restored() -> None:
    curve = fed([80, 90, 95, 105, 110] * 4, curve=CapacityCurve.seeded(40.0, confidence=0.9, aim=AIM))
    assert estimate(curve).carries == pytest.approx(KNEE, rel=0.1)


SAMPLES = st.lists(
    st.builds(
        LoadSample,
        load=st.floats(1e-6, 1e6),
        requests=st.floats(0, 1e9),
        late_share=st.floats(0, 1),
        failed_share=st.floats(0, 1),
        seconds=st.floats(0.1, 600),
    ),
    min_size=1,
    max_size=80,
)


@given(SAMPLES)
def test_any_samples_give_a_finite_estimate_of_bounded_size(samples: list[LoadSample]) -> None:
    curve = CapacityCurve()
    for sample in samples:
        curve = curve.learned(sample, aim=AIM)
        assert len(curve.bins) <= 48
        found = curve.estimate(aim=AIM, promised=PROMISED)
        if found is not None:
            assert 0 < found.carries <= found.hopeful * (1 + 1e-9) < math.inf
            assert 0 <= found.confidence <= 1


def test_what_is_late_between_two_edges_is_estimated_from_all_that_was_seen() -> None:
    # One request in a window is late at the edge below, one in a hundred windows at the one above.
    curve = CapacityCurve(place=0.5)
    for index in range(400):
        above = 0.01 if index % 100 == 0 else 0.0
        sample = LoadSample(
            load=10, requests=100, late_share=0.01, failed_share=0.0, seconds=10, late_above_share=above
        )
        curve = curve.learned(sample, aim=AIM)
    (only,) = curve.bins
    late = curve.late_of(only.late, only.late_above, only.requests)
    assert late / only.requests == pytest.approx(0.001, rel=0.3)


def test_few_requests_at_a_higher_load_do_not_bound_what_a_replica_carries() -> None:
    curve = fed([80.0] * 40)
    rare = LoadSample(load=110, requests=20, late_share=0.05, failed_share=0.0, seconds=10)
    assert estimate(curve.learned(rare, aim=AIM)).carries > 100
