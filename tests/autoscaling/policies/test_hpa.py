from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfserving_operator.autoscaling.policies.hpa import hpa_replicas


@pytest.mark.parametrize(
    ("measured", "covered", "missing", "unready", "current", "wanted"),
    [
        pytest.param(1000, 5, 0, 0, 5, 10, id="twice-the-target"),
        pytest.param(250, 5, 0, 0, 5, 3, id="half-the-target-rounds-up"),
        pytest.param(549, 5, 0, 0, 5, 5, id="within-the-tolerance-above"),
        pytest.param(451, 5, 0, 0, 5, 5, id="within-the-tolerance-below"),
        pytest.param(551, 5, 0, 0, 5, 6, id="just-above-the-tolerance"),
        pytest.param(1000, 5, 0, 5, 10, 10, id="starting-replicas-count-as-idle-on-the-way-up"),
        pytest.param(1500, 5, 0, 5, 10, 15, id="more-than-starting-replicas-will-carry"),
        pytest.param(200, 5, 0, 5, 10, 2, id="starting-replicas-do-not-count-on-the-way-down"),
        pytest.param(1000, 5, 5, 0, 10, 10, id="missing-samples-count-as-idle-on-the-way-up"),
        pytest.param(100, 4, 1, 0, 5, 2, id="missing-samples-count-as-at-target-on-the-way-down"),
        pytest.param(480, 4, 4, 0, 8, 8, id="a-direction-that-turns-is-no-change"),
    ],
)
def test_the_formula(measured: float, covered: int, missing: int, unready: int, current: int, wanted: int) -> None:
    result, _ = hpa_replicas(measured, 100, covered=covered, missing=missing, unready=unready, current=current)
    assert result == wanted


@given(st.floats(0, 1e5), st.floats(0, 1e5), st.integers(1, 50), st.integers(0, 5), st.integers(0, 5))
def test_more_load_never_wants_fewer(one: float, other: float, covered: int, missing: int, unready: int) -> None:
    low, high = sorted((one, other))
    current = covered + missing + unready

    def wanted(load: float) -> int:
        return hpa_replicas(load, 100, covered=covered, missing=missing, unready=unready, current=current)[0]

    assert wanted(low) <= wanted(high)
