from __future__ import annotations

import math
import pickle
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfserving_operator.autoscaling.forecast import REMEMBERED_STEPS, RateForecast
from tfserving_operator.autoscaling.forecast_errors import EDGES, ForecastErrors

START = datetime(2026, 3, 2, tzinfo=UTC)
SCRAPE_SECONDS = 15.0
WINDOW_SECONDS = 30.0

RATES = st.lists(st.floats(0, 1e7), min_size=1, max_size=60)


def moment(index: int) -> datetime:
    return START + timedelta(seconds=index * SCRAPE_SECONDS)


def forecast_of(rates: Iterable[float]) -> RateForecast:
    forecast = RateForecast.initial()
    for index, rate in enumerate(rates):
        forecast = forecast.observed(float(rate), at=moment(index), window_seconds=WINDOW_SECONDS)
    return forecast


def peak(forecast: RateForecast, *, horizon_seconds: float = 60.0, risk: float = 0.01) -> float:
    assert forecast.at is not None
    return forecast.expected_peak(now=forecast.at, horizon_seconds=horizon_seconds, risk=risk)


def worthwhile(
    forecast: RateForecast, *, horizon_seconds: float = 60.0, exchange: float = 3.0, unit: float = 0.0
) -> float:
    assert forecast.at is not None
    return forecast.worthwhile_peak(now=forecast.at, horizon_seconds=horizon_seconds, exchange=exchange, unit=unit).rate


def windowed_poisson(rates: np.ndarray[tuple[int], np.dtype[np.float64]], *, seed: int) -> list[float]:
    """Scraped averages over two scrapes, as Prometheus gives them."""
    counts = np.random.default_rng(seed).poisson(rates * SCRAPE_SECONDS)
    means: list[float] = ((counts[1:] + counts[:-1]) / WINDOW_SECONDS).tolist()
    return means


def test_nothing_is_expected_before_the_first_sample() -> None:
    forecast = RateForecast.initial()
    assert forecast.expected_peak(now=START, horizon_seconds=60, risk=0.01) == 0.0
    assert forecast.worthwhile_peak(now=START, horizon_seconds=60, exchange=10).rate == 0.0


@pytest.mark.parametrize("seconds", [-30, 0, 2, 4, 6])
def test_the_same_sample_again_is_no_new_evidence(seconds: float) -> None:
    forecast = forecast_of([100.0, 120.0, 110.0])
    again = forecast.observed(110.0, at=moment(2) + timedelta(seconds=seconds), window_seconds=WINDOW_SECONDS)
    assert again is forecast


def test_samples_that_overlap_move_the_level_but_are_not_remembered_one_by_one() -> None:
    forecast = forecast_of([100.0] * 20)
    moved = forecast.observed(160.0, at=moment(19) + timedelta(seconds=2), window_seconds=WINDOW_SECONDS)
    assert moved.level > forecast.level
    assert moved.errors == forecast.errors
    assert worthwhile(moved) >= 160.0


@pytest.mark.parametrize("rate", [5.0, 100.0, 20_000.0])
def test_a_steady_load_is_expected_to_stay(rate: float) -> None:
    forecast = forecast_of(rate + index % 2 * 1e-6 for index in range(200))
    assert forecast.level == pytest.approx(rate, rel=0.01)
    assert rate * 0.999 <= worthwhile(forecast) <= rate + 1.0 * forecast.spread
    assert rate * 0.999 <= peak(forecast) <= rate + 4.0 * forecast.spread


def test_a_trend_is_followed_up_at_once_and_down_with_care() -> None:
    rising = forecast_of(1000.0 + 20 * index for index in range(100))
    falling = forecast_of(3000.0 - 20 * index for index in range(100))
    assert worthwhile(rising) > 1000.0 + 20 * 100
    assert 3000.0 - 20 * 105 < worthwhile(falling) < 3000.0 - 20 * 85


def test_a_surge_beyond_all_forecasts_is_taken_to_go_on() -> None:
    forecast = forecast_of([100.0 + index % 3 for index in range(100)] + [200.0])
    assert worthwhile(forecast) > 250.0


def test_a_load_whose_surges_never_grow_is_no_longer_expected_to() -> None:
    quiet = [100.0 + index % 3 for index in range(20)]
    peaks = [worthwhile(forecast_of([*[*quiet, 200.0] * often, *quiet, 300.0])) for often in (0, 12)]
    assert peaks[1] < peaks[0] - 100.0


def test_a_surge_that_is_over_leaves_little_behind() -> None:
    quiet = [100.0 + index % 3 for index in range(200)]
    forecast = forecast_of([*quiet, *[500.0] * 8, *quiet[:60]])
    assert worthwhile(forecast) < 125.0


def test_surges_that_come_often_are_provided_for_where_requests_are_worth_it() -> None:
    often = forecast_of([100.0, 101.0, 102.0, 103.0, 104.0, 160.0, 103.0] * 60)
    assert worthwhile(often, exchange=30.0) > 150.0
    assert worthwhile(often, exchange=0.1) < 150.0


def test_white_noise_gets_a_long_average() -> None:
    noise = np.random.default_rng(5).normal(1000.0, 100.0, 400)
    bounds = [worthwhile(forecast_of(noise[: 300 + index])) for index in range(0, 100, 4)]
    assert np.std(bounds) < 60.0


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("steady", np.full(1200, 40.0)),
        ("many", np.full(1200, 4000.0)),
        ("swing", 500 + 300 * np.sin(np.arange(1200) / 120)),
        ("ramps", np.interp(np.arange(1200) % 240, [0, 100, 140, 240], [200, 800, 800, 200])),
    ],
)
@pytest.mark.parametrize("risk", [0.05, 0.2])
def test_about_as_many_samples_exceed_the_bound_as_were_risked(
    name: str, rates: np.ndarray[tuple[int], np.dtype[np.float64]], risk: float
) -> None:
    samples = windowed_poisson(rates, seed=len(name))
    forecast, exceeded, asked = RateForecast.initial(), 0, 0
    due: dict[int, float] = {}
    for index, sample in enumerate(samples):
        if index in due:
            asked += 1
            exceeded += sample > due[index]
        forecast = forecast.observed(sample, at=moment(index), window_seconds=WINDOW_SECONDS)
        if index >= 200:
            due[index + 4] = peak(forecast, horizon_seconds=45.0, risk=risk)
    assert exceeded / asked <= 1.7 * risk + 0.02
    assert exceeded / asked >= risk / 6


@given(rates=RATES, risk=st.floats(0.01, 0.5), exchange=st.floats(0.1, 60), horizon=st.floats(0, 3600))
def test_answers_are_never_negative_and_always_numbers(
    rates: list[float], risk: float, exchange: float, horizon: float
) -> None:
    forecast = forecast_of(rates)
    for answer in (
        peak(forecast, horizon_seconds=horizon, risk=risk),
        worthwhile(forecast, horizon_seconds=horizon, exchange=exchange),
    ):
        assert math.isfinite(answer)
        assert answer >= 0.0


@given(rates=st.lists(st.floats(1e12, 1e13), min_size=1, max_size=40), factor=st.floats(1.0, 1000.0))
@settings(max_examples=50)
def test_a_larger_service_gets_a_larger_answer_in_proportion(rates: list[float], factor: float) -> None:
    # So many that Poisson noise is nothing beside what people do: at ten thousand a second it is still enough to move a
    # rise from just below what counts as a surge to just above.
    small, large = forecast_of(rates), forecast_of(factor * rate for rate in rates)
    assert worthwhile(large) == pytest.approx(factor * worthwhile(small), rel=0.1)


@given(rates=RATES, low=st.floats(0.01, 0.5), high=st.floats(0.01, 0.5))
def test_errors_exceeded_with_less_risk_are_larger(rates: list[float], low: float, high: float) -> None:
    errors = ForecastErrors()
    for rate in rates:
        errors = errors.with_error(rate / 1e5, weight=1.0)
    assert errors.exceeded_with(min(low, high)) >= errors.exceeded_with(max(low, high))


@given(exchange=st.floats(0.1, 60), more=st.floats(0, 60))
def test_a_request_that_is_worth_more_gets_no_smaller_margin(exchange: float, more: float) -> None:
    errors = ForecastErrors()
    for index, edge in enumerate(EDGES):
        errors = errors.with_error(edge, weight=30.0 / (1 + index))
    margins = [
        errors.cheapest_margin(spread_share=0.05, forecast_share=1.0, exchange=each)[0]
        for each in (exchange, exchange + more)
    ]
    assert margins[0] <= margins[1]


def steady_with_bursts(*, every: int, height: float) -> RateForecast:
    """100 requests a second for two hours; one sample of ``every`` is ``height`` times that."""
    return forecast_of([100.0 * (height if index % every == every // 2 else 1.0) for index in range(480)])


@pytest.mark.parametrize(
    ("every", "replicas"),
    [
        pytest.param(240, 1, id="a burst an hour is not worth a second replica"),
        pytest.param(4, 2, id="one in four samples is"),
    ],
)
def test_the_last_whole_replica_must_be_worth_all_of_it(every: int, replicas: int) -> None:
    forecast = steady_with_bursts(every=every, height=1.3)
    assert worthwhile(forecast, exchange=5.0) > 100.1
    assert math.ceil(worthwhile(forecast, exchange=5.0, unit=100.1) / 100.1) == replicas


def test_no_replica_is_saved_that_the_newest_sample_needs() -> None:
    forecast = forecast_of([*[100.0] * 480, 150.0])
    assert worthwhile(forecast, unit=101.0) == worthwhile(forecast) > 202.0


@given(rates=RATES, exchange=st.floats(0.1, 60), unit=st.floats(1e-3, 1e7))
def test_at_most_one_replica_is_saved_and_never_the_only_one(rates: list[float], exchange: float, unit: float) -> None:
    forecast = forecast_of(rates)
    all_of_it = worthwhile(forecast, exchange=exchange)
    assert forecast.at is not None
    answer = forecast.worthwhile_peak(now=forecast.at, horizon_seconds=60.0, exchange=exchange, unit=unit)
    if answer.left_out is None:
        assert answer.rate == all_of_it
    else:
        assert answer.left_out == all_of_it > answer.rate >= unit
        assert answer.rate == pytest.approx((math.ceil(all_of_it / unit - 1e-9) - 1) * unit)


@given(margin=st.floats(-10, 400), more=st.floats(0, 50), forecast=st.floats(0, 5))
def test_a_larger_margin_misses_no_more(margin: float, more: float, forecast: float) -> None:
    errors = ForecastErrors()
    for index, edge in enumerate(EDGES):
        errors = errors.with_error(edge, weight=30.0 / (1 + index))
    small, large = (
        errors.missed_beyond(each, spread_share=0.05, forecast_share=forecast) for each in (margin, margin + more)
    )
    assert small >= large >= 0.0
    assert errors.missed_beyond(300.0, spread_share=0.05, forecast_share=forecast) == 0.0


def test_the_state_stays_small() -> None:
    rates = np.random.default_rng(3).lognormal(5, 1, 3000).tolist()
    first, all_of_them = forecast_of(rates[:600]), forecast_of(rates)
    assert len(all_of_them.steps) == REMEMBERED_STEPS
    assert len(pickle.dumps(all_of_them)) < 1.1 * len(pickle.dumps(first)) < 40_000


@pytest.mark.parametrize("gap", [timedelta(hours=2), timedelta(days=3), timedelta(days=400)])
def test_a_gap_in_telemetry_is_survived(gap: timedelta) -> None:
    forecast = forecast_of([100.0 + index % 5 for index in range(300)])
    for index in range(300):
        at = moment(300 + index) + gap
        forecast = forecast.observed(900.0 + index % 7, at=at, window_seconds=WINDOW_SECONDS)
    assert 900.0 <= worthwhile(forecast) < 1000.0


def test_the_noise_of_counting_is_not_provided_for() -> None:
    rates = windowed_poisson(np.full(4000, 2.0), seed=7)
    assert worthwhile(forecast_of(rates), exchange=6.0) < 1.2 * 2.0


def test_swings_beyond_the_noise_of_counting_are_provided_for() -> None:
    rng = np.random.default_rng(7)
    rates = windowed_poisson(2.0 * rng.choice([0.5, 1.5], size=4000), seed=7)
    assert worthwhile(forecast_of(rates), exchange=6.0) > 1.3 * 2.0
