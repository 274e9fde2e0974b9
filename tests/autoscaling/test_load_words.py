from __future__ import annotations

from datetime import timedelta

import pytest

from tests.autoscaling.scenes import NOON, observation, pool, signals, spec
from tfserving_operator.autoscaling.load_words import load_words
from tfserving_operator.autoscaling.observation import PoolObservation
from tfserving_operator.autoscaling.signals import PoolSignals, SignalState

BUSY = pool(signals(107.3, at=NOON, covered=12, share=0.972, concurrency=3.5), ready=12)
BATCHES = pool(
    signals(50, at=NOON, covered=2, concurrency=1.0, batch_size=5.2, queue_seconds=0.012),
    ready=2,
    name="gpu",
    restarts=3,
)
REFUSING = pool(signals(20, at=NOON, covered=1, share=0.5, errors_per_second={"UNAVAILABLE": 10.0}), ready=2)
LOST = pool(PoolSignals(state=SignalState.PROMETHEUS_UNAVAILABLE, message="connection refused"), ready=2)


@pytest.mark.parametrize(
    ("pools", "words"),
    [
        pytest.param(
            (BUSY,),
            "107.3 requests/s, 97.2% within 50ms, 3.5 in flight, on 12 of 12 ready replicas, 9s old",
            id="what all have",
        ),
        pytest.param(
            (BUSY, BATCHES),
            "157.3 requests/s, 98.1% within 50ms, 4.5 in flight, on 14 of 14 ready replicas, 9s old; "
            "pool gpu: batches of 5.2 that wait 12ms; pool gpu: 3 restarts of servers",
            id="what one pool has",
        ),
        pytest.param(
            (REFUSING,),
            "20 requests/s, 50.0% within 50ms, 10/s refused or given up, on 1 of 2 ready replicas, 9s old",
            id="refused",
        ),
        pytest.param(
            (LOST,), "load not known, on 0 of 2 ready replicas; pool cpu: connection refused", id="what is not known"
        ),
    ],
)
def test_the_load_is_told_in_numbers(pools: tuple[PoolObservation, ...], words: str) -> None:
    assert load_words(observation(*pools, spec=spec()), now=NOON + timedelta(seconds=9)) == words
