from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfserving_operator.autoscaling.buckets import (
    EDGES,
    EDGES_MICROS,
    LE_LABELS,
    ObjectiveTooShortError,
    format_micros,
    measure_objective,
    place_between_edges,
    snap_objective,
)

PRINTED_BY_THE_SERVER = (
    "10 18 32.4 58.32 104.976 188.957 340.122 612.22 1102 1983.59 3570.47 6426.84 11568.3 20823 37481.3 67466.4 "
    "121440 218591 393464 708235 1.27482e+06 2.29468e+06 4.13043e+06 7.43477e+06 1.33826e+07 2.40887e+07 4.33596e+07 "
    "7.80473e+07 1.40485e+08 2.52873e+08 4.55172e+08 8.19309e+08 1.47476e+09"
)


def test_labels_are_the_strings_that_the_server_prints() -> None:
    assert PRINTED_BY_THE_SERVER.split() == list(LE_LABELS)


@pytest.mark.parametrize(
    ("objective_micros", "edge"),
    [
        pytest.param(10, "10", id="the-first-edge"),
        pytest.param(17, "10", id="below-the-second"),
        pytest.param(18, "18", id="exactly-an-edge"),
        pytest.param(20_823, "20823", id="as-printed"),
        pytest.param(50_000, "37481.3", id="between-two-edges-the-lower"),
        pytest.param(37_481, "20823", id="just-below-an-edge"),
        pytest.param(10**15, "1.47476e+09", id="beyond-the-last"),
    ],
)
def test_an_objective_snaps_to_the_edge_at_or_below_it(objective_micros: int, edge: str) -> None:
    assert snap_objective(objective_micros).le == edge


@given(st.floats(min_value=10, max_value=1e9))
def test_no_edge_lies_between_the_objective_and_where_it_is_measured(objective_micros: float) -> None:
    micros = snap_objective(objective_micros).micros
    assert micros <= objective_micros
    assert not [edge for edge in EDGES_MICROS if micros < edge <= objective_micros]


def test_an_objective_below_the_first_bucket_is_refused_with_what_to_write() -> None:
    with pytest.raises(ObjectiveTooShortError, match="use 10us or more"):
        snap_objective(9)


@pytest.mark.parametrize(
    ("micros", "text"),
    [(10, "10us"), (612.2200, "612.22us"), (1000, "1ms"), (37_481.3, "37.4813ms"), (1_274_820, "1.27482s")],
)
def test_durations_are_written_in_the_largest_unit(micros: float, text: str) -> None:
    assert format_micros(micros) == text


@pytest.mark.parametrize(("micros", "place"), [(18.0, 0.0), (25.2, 0.5), (9.0, 0.0), (1e15, 0.0)])
def test_where_an_objective_lies_between_two_edges(micros: float, place: float) -> None:
    assert place_between_edges(micros) == pytest.approx(place)


@pytest.mark.parametrize(
    ("objective_micros", "expected"),
    [
        pytest.param(67_467, "67.4664ms", id="just above an edge"),
        pytest.param(68_000, "67.4664ms", id="hardly above an edge"),
        pytest.param(50_000, "37.4813ms to 67.4664ms", id="between two edges"),
        pytest.param(10, "10us", id="the first edge"),
        pytest.param(1e12, str(EDGES[-1]), id="beyond the last edge"),
    ],
)
def test_an_objective_is_measured_at_one_edge_or_between_two(objective_micros: float, expected: str) -> None:
    assert str(measure_objective(objective_micros)) == expected
