from __future__ import annotations

import pytest

from e2e.load.record import LoadRecord
from tfserving_operator.autoscaling.buckets import EDGES_MICROS

EDGE_37_MS = EDGES_MICROS[14]


def record_of(*latencies_seconds: float, failures: int = 0) -> LoadRecord:
    record = LoadRecord()
    for latency_seconds in latencies_seconds:
        record.arrived(10.5, 0.0)
        record.answered(10.5, latency_seconds)
    for _ in range(failures):
        record.arrived(10.5, 0.0)
        record.failed(10.5, "503", "503 overloaded")
    return record


@pytest.mark.parametrize(
    ("latency_seconds", "share"),
    [
        pytest.param(0.0374, 1.0, id="below the edge"),
        pytest.param(EDGE_37_MS / 1e6, 0.0, id="at the edge, as in TensorFlow Serving"),
        pytest.param(0.0375, 0.0, id="above the edge"),
        pytest.param(2000.0, 0.0, id="beyond the last edge"),
    ],
)
def test_a_latency_counts_as_within_only_below_the_edge(latency_seconds: float, share: float) -> None:
    assert record_of(latency_seconds).summary().share_within(EDGE_37_MS) == share


def test_failures_are_not_within_any_objective() -> None:
    summary = record_of(0.001, failures=3).summary()
    assert summary.share_within(EDGES_MICROS[-1]) == 0.25
    assert (summary.ok, summary.failed, summary.failures) == (1, 3, {"503": 3})


def test_requests_without_an_answer_are_pending_and_not_yet_judged() -> None:
    record = record_of(0.001)
    record.arrived(10.9, 0.0)
    summary = record.summary()
    assert summary.pending == 1
    assert summary.share_within(EDGE_37_MS) == 1.0


def test_a_window_counts_requests_by_when_they_were_due() -> None:
    record = LoadRecord()
    for due in (1.0, 2.5, 3.0):
        record.arrived(due, lag_seconds=due / 100)
        record.answered(due, 0.001)
    assert record.summary(2, 3).ok == 1
    assert record.summary(2).ok == 2
    assert record.summary(until=2).worst_lag_seconds == pytest.approx(0.01)


@pytest.mark.parametrize(("quantile", "edge"), [(0.5, 1102.0), (0.9, 37481.3), (1.0, float("inf"))])
def test_quantiles_are_upper_edges_of_buckets(quantile: float, edge: float) -> None:
    record = record_of(*[0.001] * 8, 0.03, 3000.0)
    assert record.summary().latency_quantile_micros(quantile) == pytest.approx(edge, rel=1e-4)


def test_nothing_sent_is_no_breach() -> None:
    summary = LoadRecord().summary()
    assert summary.share_within(EDGE_37_MS) == 1.0
    assert summary.latency_quantile_micros(0.99) == 0.0
