from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfserving_operator.autoscaling.error_budget import (
    LEAST_LEEWAY,
    LEAST_PRICE,
    MOST_LEEWAY,
    MOST_PRICE,
    PLANNED,
    PRICE,
    ErrorBudget,
    leeway,
    price_of_late,
)

PROMISED = 0.01


def after(late_per_second: float, *, above: float | None = None, samples: int = 400) -> ErrorBudget:
    budget = ErrorBudget()
    for index in range(samples):
        budget = budget.with_sample(100.0, late_per_second, at=15.0 * (index + 1), late_above_per_second=above)
    return budget


def test_just_the_promise_spends_all_of_it() -> None:
    assert after(1.0).spent(PROMISED, prior_requests=0) == pytest.approx(1.0)


def test_between_two_edges_what_is_spent_lies_between_what_is_late_at_them() -> None:
    budget = after(1.0, above=0.01)
    at_the_edge, between = (budget.spent(PROMISED, prior_requests=0, place=place) for place in (0.0, 0.5))
    assert between == pytest.approx(0.1, rel=0.01)
    assert between < at_the_edge


def test_as_planned_costs_the_usual_price_and_sizes_for_the_promise() -> None:
    assert price_of_late(PLANNED) == pytest.approx(PRICE)
    assert leeway(PLANNED) == pytest.approx(1.0)


@given(st.floats(0, 1000), st.floats(0, 1000))
def test_the_more_is_spent_the_dearer_late_requests_and_the_smaller_the_leeway(one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert LEAST_PRICE <= price_of_late(less) <= price_of_late(more) <= MOST_PRICE
    assert MOST_LEEWAY >= leeway(less) >= leeway(more) >= LEAST_LEEWAY
