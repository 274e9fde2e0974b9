"""The arrays that the inner loop works on."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

LATENCY_EDGES_SECONDS = np.array([10e-6 * 1.8**n for n in range(33)] + [np.inf])
"""TensorFlow Serving's buckets of latency."""
SLOTS = 64
"""Scrape intervals ahead that a completion may lie in; what comes later is seen in the last of them."""
SAMPLES = 96
"""Scrapes kept for each replica: a minute of them, a second apart and half a minute late."""


class Phase(IntEnum):
    """Where a replica is in its life."""

    FREE = 0
    """No replica."""
    WAITING = 1
    """It has no node."""
    STARTING = 2
    READY = 3
    DRAINING = 4
    """It gets no new requests, and ends when its drain is over."""


class Counted(IntEnum):
    """What a server counts, as Prometheus sees it at a scrape."""

    OK = 0
    GOOD = 1
    UNAVAILABLE = 2
    DEADLINE = 3
    LATENCY = 4
    """Seconds, each request as what the operator takes it for."""
    QUEUE = 5
    BATCHES = 6
    GOOD_ABOVE = 7
    """Answered below the edge next above that of ``GOOD``."""


COUNTED = 8


class Truth(IntEnum):
    """What really happened, over the whole run."""

    REQUESTS = 0
    GOOD = 1
    COMPLETED = 2
    REFUSED = 3
    TIMED_OUT = 4
    LOST = 5
    """Sent while no replica was ready, or on a replica that crashed."""
    LATENCY_SECONDS = 6
    """Sum over requests whose batch began."""
    WAIT_SECONDS = 7
    """Sum over the same requests of the time before their batch began."""
    BATCHES = 8
    BUSY_SECONDS = 9


TRUTHS = 10


class Seen(IntEnum):
    """One pool at the end of a tick, as the operator sees it."""

    READY = 0
    STARTING = 1
    WAITING = 2
    COVERED = 3
    """Ready replicas that are measured."""
    UNCOVERED_NEW = 4
    """Ready replicas without two samples that could not have them yet."""
    UNCOVERED = 5
    """Ready replicas without two samples that should have them."""
    OLDEST_SAMPLE_SECONDS = 6
    OK = 7
    """Per second, as all that follow."""
    GOOD = 8
    UNAVAILABLE = 9
    DEADLINE = 10
    LATENCY = 11
    QUEUE = 12
    BATCHES = 13
    GOOD_ABOVE = 14
    RESTARTS = 15
    """Of the replicas that exist."""
    START_UP_SECONDS = 16
    """Median of the newest replicas that became ready; -1 while there was none."""
    PAID = 17
    """Replicas that are paid for."""
    IN_FLIGHT = 18
    MEASURED = 19
    """Replicas that are measured, those that drain too."""
    WINDOW_SECONDS = 20
    """The longest time between the two newest scrapes of a replica that is measured."""


SEEN = 21


class Fleet(NamedTuple):
    """Replicas by slot (first axis): a slot holds one replica after the other."""

    phase: Array
    pool: Array
    serial: Array
    created_seconds: Array
    due_seconds: Array
    """When a starting replica is ready, a draining one ends."""
    start_up_seconds: Array
    """What is to pass from node to ready."""
    took_seconds: Array
    """From creation to the first time ready; -1 until then."""
    restarts: Array
    node_seconds: Array
    crash_seconds: Array
    ready_seconds: Array
    queue_seconds: Array
    """Arrival times of those that wait: a ring for each slot."""
    queue_weight: Array
    queue_head: Array
    queue_entries: Array
    queued: Array
    """Requests that wait (sum of weights)."""
    free_seconds: Array
    """When each parallel batch of a replica is done."""
    running: Array
    """Requests in each parallel batch."""
    running_good: Array
    running_timed_out: Array
    batches_begun: Array
    bucket: Array
    """The bucket of the last latency: the next one is close to it."""
    scrape_phase: Array
    next_scrape: Array
    pending: Array
    """What is counted in each scrape interval: slot x interval x Counted."""
    totals: Array
    samples: Array
    """Slot x scrape x (time, whether it succeeded, Counted...)."""
    sample_count: Array


class Settings(NamedTuple):
    """What does not change during a run. Arrays are by pool."""

    keys: Array
    t0_seconds: Array
    t1_seconds: Array
    t2_seconds: Array
    noise: Array
    """Pool x quantile: factors of the service time with mean 1."""
    max_batch_size: Array
    batch_timeout_seconds: Array
    parallel_batches: Array
    max_enqueued: Array
    nodes_available: Array
    nodes_most: Array
    gpu_bound: Array
    """Whether the trace's gpus_available bounds the pool."""
    restart_seconds: Array
    crashes_per_second: Array
    rates: Array
    """Requests per second, by arrival slot."""
    scales: Array
    gpus: Array
    slot_seconds: float
    objective_seconds: float
    good_edge_seconds: float
    next_edge_seconds: float
    timeout_seconds: float
    burst_mean: float
    is_least_loaded: bool
    scrape_interval_seconds: float
    scrape_delay_seconds: float
    scrape_loss: float
    lookback_seconds: float


class Tally(NamedTuple):
    """What a run adds up."""

    truth: Array
    minute_requests: Array
    minute_good: Array
    exposure: Array
    """One number: what is left of the gap to the next arrival, in expected requests."""
    arrivals: Array
    """One number: arrival events so far."""
    seen: Array
    ready: Array
    """Scratch: slots of the ready replicas."""


def new_fleet(slots: int, *, queue_capacity: int, parallel: int) -> Fleet:
    """Return ``slots`` free slots for replicas with at most so many waiting and running."""

    def zeros(*shape: int, kind: type = np.float64) -> Array:
        return np.zeros((slots, *shape), dtype=kind)

    whole = np.int64
    return Fleet(
        phase=zeros(kind=whole),
        pool=zeros(kind=whole),
        serial=zeros(kind=whole),
        created_seconds=zeros(),
        due_seconds=zeros(),
        start_up_seconds=zeros(),
        took_seconds=zeros(),
        restarts=zeros(kind=whole),
        node_seconds=zeros(),
        crash_seconds=zeros(),
        ready_seconds=zeros(),
        queue_seconds=zeros(queue_capacity),
        queue_weight=zeros(queue_capacity, kind=whole),
        queue_head=zeros(kind=whole),
        queue_entries=zeros(kind=whole),
        queued=zeros(kind=whole),
        free_seconds=zeros(parallel),
        running=zeros(parallel, kind=whole),
        running_good=zeros(parallel, kind=whole),
        running_timed_out=zeros(parallel, kind=whole),
        batches_begun=zeros(kind=whole),
        bucket=zeros(kind=whole),
        scrape_phase=zeros(),
        next_scrape=zeros(kind=whole),
        pending=zeros(SLOTS, COUNTED),
        totals=zeros(COUNTED),
        samples=zeros(SAMPLES, 2 + COUNTED),
        sample_count=zeros(kind=whole),
    )
