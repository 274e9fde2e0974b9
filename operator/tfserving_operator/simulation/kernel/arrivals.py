"""Requests come, and each is sent to a replica."""

from __future__ import annotations

import math

from tfserving_operator.simulation.kernel.compiled import inlined
from tfserving_operator.simulation.kernel.layout import Fleet, Settings, Tally, Truth
from tfserving_operator.simulation.kernel.random_numbers import Stream, uniform
from tfserving_operator.simulation.kernel.serving import begin_batches, in_flight, take_in

_ARRIVAL, _BURST, _ROUTE = int(Stream.ARRIVAL), int(Stream.BURST), int(Stream.ROUTE)
_REQUESTS, _LOST = int(Truth.REQUESTS), int(Truth.LOST)
_PER_MINUTE = 1.0 / 60.0


@inlined
def route(fleet: Fleet, settings: Settings, tally: Tally, ready: int, first: int, seconds: float) -> int:
    """Return the replica that gets a request: ``first``, or the least loaded one.

    That is the ready replica with the fewest requests in flight; among equals the next one after ``first``.
    """
    best = tally.ready[first]
    fewest = -1
    for step in range(ready if settings.is_least_loaded else 1):
        replica = tally.ready[(first + step) % ready]
        begin_batches(fleet, settings, tally, replica, seconds)
        if settings.is_least_loaded:
            count = in_flight(fleet, settings, replica, seconds)
            if fewest < 0 or count < fewest:
                best, fewest = replica, count
    return int(best)


@inlined
def arrive(fleet: Fleet, settings: Settings, tally: Tally, ready: int, seconds: float) -> None:
    """Send what arrives at ``seconds`` to one of the ``ready`` replicas."""
    number = tally.arrivals[0]
    tally.arrivals[0] += 1
    weight = 1
    if settings.burst_mean > 1.0:
        draw = uniform(settings.keys[_BURST], number)
        weight += int(math.log(draw) / math.log(1.0 - 1.0 / settings.burst_mean))
    tally.truth[_REQUESTS] += weight
    tally.minute_requests[int(seconds * _PER_MINUTE)] += weight
    if ready == 0:
        tally.truth[_LOST] += weight
        return
    choice = min(ready - 1, int(uniform(settings.keys[_ROUTE], number) * ready))
    replica = route(fleet, settings, tally, ready, choice, seconds)
    take_in(fleet, settings, tally, replica, seconds, weight)


@inlined
def arrive_until(fleet: Fleet, settings: Settings, tally: Tally, ready: int, begin: float, end: float) -> None:
    """Let all requests of [begin, end) arrive: a Poisson process whose rate is that of the trace.

    The gap to the next arrival is kept in expected requests (exponential with mean 1) and used up at the rate of
    each slot, so a rate that changes is met exactly.
    """
    per_event = 1.0 / max(1.0, settings.burst_mean)
    slot = int(begin / settings.slot_seconds + 0.5)
    seconds = begin
    while seconds < end - 1e-9 and slot < settings.rates.shape[0]:
        slot_end = min(end, (slot + 1) * settings.slot_seconds)
        rate = settings.rates[slot] * per_event
        while rate > 0.0:
            arrival = seconds + tally.exposure[0] / rate
            if arrival >= slot_end:
                tally.exposure[0] -= (slot_end - seconds) * rate
                break
            seconds = arrival
            arrive(fleet, settings, tally, ready, seconds)
            tally.exposure[0] = -math.log(uniform(settings.keys[_ARRIVAL], tally.arrivals[0]))
        seconds = slot_end
        slot += 1
