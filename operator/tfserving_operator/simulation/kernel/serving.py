"""One model server: its queue and its batches.

The server begins a batch when a batch thread is free and either the batch is full or its oldest request has waited
for the batch timeout, as TensorFlow Serving's BasicBatchScheduler does. Batches begin in the order of arrival, so
they need no event queue: what began before the next arrival is known when it arrives.
"""

from __future__ import annotations

import numpy as np

from tfserving_operator.clients.prometheus_ladders import LATENCY_LADDER
from tfserving_operator.simulation.kernel.compiled import inlined
from tfserving_operator.simulation.kernel.layout import (
    LATENCY_EDGES_SECONDS,
    SLOTS,
    Counted,
    Fleet,
    Settings,
    Tally,
    Truth,
)
from tfserving_operator.simulation.kernel.random_numbers import Stream, uniform

_OK, _GOOD, _UNAVAILABLE, _DEADLINE, _LATENCY, _QUEUE, _BATCHES, _GOOD_ABOVE = (int(kind) for kind in Counted)
_REQUESTS, _TRUE_GOOD, _COMPLETED, _REFUSED, _TIMED_OUT, _LOST = (int(kind) for kind in list(Truth)[:6])
_LATENCY_SECONDS, _WAIT_SECONDS, _TRUE_BATCHES, _BUSY_SECONDS = (int(kind) for kind in list(Truth)[6:])
_SERVICE = int(Stream.SERVICE)
_PER_MINUTE = 1.0 / 60.0
_BATCHES_A_REPLICA = 1 << 36
_TYPICAL_SECONDS = np.array(
    [
        sum(weight for le, weight in LATENCY_LADDER.weights if edge * 1e6 <= float(le) * (1 + 1e-5))
        for edge in LATENCY_EDGES_SECONDS
    ]
)
"""What the operator takes a latency in each bucket for."""


@inlined
def completion_slot(fleet: Fleet, settings: Settings, replica: int, seconds: float) -> int:
    """Return the place in ``pending`` of what is counted at ``seconds``."""
    interval = int((seconds - fleet.scrape_phase[replica]) // settings.scrape_interval_seconds)
    first = fleet.next_scrape[replica] - 1
    return int(max(first, min(interval, first + SLOTS - 1)) % SLOTS)


@inlined
def free_thread(fleet: Fleet, settings: Settings, replica: int) -> int:
    """Return the batch thread that is free first."""
    best = 0
    for thread in range(1, settings.parallel_batches[fleet.pool[replica]]):
        if fleet.free_seconds[replica, thread] < fleet.free_seconds[replica, best]:
            best = thread
    return best


@inlined
def full_at(fleet: Fleet, replica: int, size: int) -> float:
    """Return when the oldest ``size`` waiting requests were all there."""
    capacity = fleet.queue_seconds.shape[1]
    place = fleet.queue_head[replica]
    missing = size
    while True:
        missing -= fleet.queue_weight[replica, place]
        if missing <= 0:
            return float(fleet.queue_seconds[replica, place])
        place += 1
        if place == capacity:
            place = 0


@inlined
def begin_batches(fleet: Fleet, settings: Settings, tally: Tally, replica: int, until: float) -> None:
    """Begin every batch of ``replica`` that begins by ``until``."""
    pool = fleet.pool[replica]
    size = settings.max_batch_size[pool]
    timeout = settings.batch_timeout_seconds[pool]
    while fleet.queued[replica] > 0:
        thread = free_thread(fleet, settings, replica)
        if fleet.queued[replica] >= size:
            formed = full_at(fleet, replica, size)
        else:
            formed = fleet.queue_seconds[replica, fleet.queue_head[replica]] + timeout
        begin = max(fleet.free_seconds[replica, thread], formed)
        if begin > until:
            return
        run_batch(fleet, settings, tally, replica, thread, begin)


@inlined
def run_batch(fleet: Fleet, settings: Settings, tally: Tally, replica: int, thread: int, begin: float) -> None:
    """Run the oldest requests of ``replica`` as one batch, and count how they fared."""
    pool = fleet.pool[replica]
    size = min(settings.max_batch_size[pool], fleet.queued[replica])
    draw = uniform(settings.keys[_SERVICE], fleet.serial[replica] * _BATCHES_A_REPLICA + fleet.batches_begun[replica])
    quantiles = settings.noise.shape[1]
    noise = settings.noise[pool, min(quantiles - 1, int(draw * quantiles))]
    scale = settings.scales[min(settings.scales.shape[0] - 1, int(begin / settings.slot_seconds))]
    cost = settings.t0_seconds[pool] + size * (settings.t1_seconds[pool] + size * settings.t2_seconds[pool])
    seconds = cost * noise * scale
    finish = begin + seconds
    good, timed_out = count_batch(fleet, settings, tally, replica, size, begin, finish)
    fleet.batches_begun[replica] += 1
    fleet.free_seconds[replica, thread] = finish
    fleet.running[replica, thread] = size
    fleet.running_good[replica, thread] = good
    fleet.running_timed_out[replica, thread] = timed_out
    tally.truth[_TRUE_BATCHES] += 1
    tally.truth[_BUSY_SECONDS] += seconds


@inlined
def count_batch(
    fleet: Fleet, settings: Settings, tally: Tally, replica: int, size: int, begin: float, finish: float
) -> tuple[int, int]:
    """Take ``size`` requests off the queue and count them as the server and as their clients do.

    Returns how many are good, and how many came too late for their clients to wait.
    """
    capacity = fleet.queue_seconds.shape[1]
    head = fleet.queue_head[replica]
    bucket = fleet.bucket[replica]
    left = size
    ok = 0
    ok_below_edge = 0
    ok_below_next = 0
    good = 0
    wait_sum = 0.0
    latency_sum = 0.0
    bucket_sum = 0.0
    while left > 0:
        arrival = fleet.queue_seconds[replica, head]
        weight = min(left, fleet.queue_weight[replica, head])
        left -= weight
        fleet.queue_weight[replica, head] -= weight
        if fleet.queue_weight[replica, head] == 0:
            fleet.queue_entries[replica] -= 1
            head += 1
            if head == capacity:
                head = 0
        latency = finish - arrival
        wait_sum += weight * (begin - arrival)
        latency_sum += weight * latency
        if latency <= settings.timeout_seconds:
            ok += weight
            while latency >= LATENCY_EDGES_SECONDS[bucket]:
                bucket += 1
            while bucket > 0 and latency < LATENCY_EDGES_SECONDS[bucket - 1]:
                bucket -= 1
            bucket_sum += weight * _TYPICAL_SECONDS[bucket]
            if latency < settings.good_edge_seconds:
                ok_below_edge += weight
            if latency < settings.next_edge_seconds:
                ok_below_next += weight
            if latency <= settings.objective_seconds:
                good += weight
                tally.minute_good[int(arrival * _PER_MINUTE)] += weight
    fleet.queue_head[replica] = head
    fleet.queued[replica] -= size
    fleet.bucket[replica] = bucket
    slot = completion_slot(fleet, settings, replica, finish)
    fleet.pending[replica, slot, _OK] += ok
    fleet.pending[replica, slot, _GOOD] += ok_below_edge
    fleet.pending[replica, slot, _GOOD_ABOVE] += ok_below_next
    fleet.pending[replica, slot, _DEADLINE] += size - ok
    fleet.pending[replica, slot, _LATENCY] += bucket_sum
    fleet.pending[replica, slot, _QUEUE] += wait_sum
    fleet.pending[replica, slot, _BATCHES] += 1
    tally.truth[_TRUE_GOOD] += good
    tally.truth[_COMPLETED] += size
    tally.truth[_TIMED_OUT] += size - ok
    tally.truth[_LATENCY_SECONDS] += latency_sum
    tally.truth[_WAIT_SECONDS] += wait_sum
    return good, size - ok


@inlined
def take_in(fleet: Fleet, settings: Settings, tally: Tally, replica: int, arrival: float, weight: int) -> None:
    """Put ``weight`` requests into the queue of ``replica``, or refuse what does not fit."""
    pool = fleet.pool[replica]
    room = settings.max_enqueued[pool] - fleet.queued[replica]
    accepted = min(weight, room)
    if accepted < weight:
        slot = completion_slot(fleet, settings, replica, arrival)
        fleet.pending[replica, slot, _UNAVAILABLE] += weight - accepted
        tally.truth[_REFUSED] += weight - accepted
    if accepted <= 0:
        return
    place = (fleet.queue_head[replica] + fleet.queue_entries[replica]) % fleet.queue_seconds.shape[1]
    fleet.queue_seconds[replica, place] = arrival
    fleet.queue_weight[replica, place] = accepted
    fleet.queue_entries[replica] += 1
    fleet.queued[replica] += accepted


@inlined
def in_flight(fleet: Fleet, settings: Settings, replica: int, seconds: float) -> int:
    """Return the requests of ``replica`` that wait or run at ``seconds``."""
    count = fleet.queued[replica]
    for thread in range(settings.parallel_batches[fleet.pool[replica]]):
        if fleet.free_seconds[replica, thread] > seconds:
            count += fleet.running[replica, thread]
    return int(count)


@inlined
def lose_everything(fleet: Fleet, settings: Settings, tally: Tally, replica: int, seconds: float) -> None:
    """Drop what waits and runs on ``replica``: its process ended at ``seconds``."""
    tally.truth[_LOST] += in_flight(fleet, settings, replica, seconds)
    for thread in range(settings.parallel_batches[fleet.pool[replica]]):
        if fleet.free_seconds[replica, thread] > seconds:
            # Counted as good when the batch began; it never answers.
            undone = fleet.running_good[replica, thread]
            tally.truth[_TRUE_GOOD] -= undone
            tally.truth[_COMPLETED] -= fleet.running[replica, thread]
            tally.truth[_TIMED_OUT] -= fleet.running_timed_out[replica, thread]
            tally.minute_good[int(seconds * _PER_MINUTE)] -= undone
        fleet.free_seconds[replica, thread] = 0.0
    fleet.queue_entries[replica] = 0
    fleet.queued[replica] = 0
