"""How requests fared, without those that no replica could have helped."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tfserving_operator.autoscaling.signals import PoolSignals

TAIL_SHARE = 0.05
"""Late requests at the edge below the objective up to which they are the tail of a queue."""

OVERLOAD_CODES = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "CANCELLED", "ABORTED"})
"""Failures that more replicas can prevent; all others are mistakes of clients or of the model and say nothing."""
CLIENT_MISTAKES = frozenset(
    {
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "FAILED_PRECONDITION",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
    }
)
"""Failures that keep no replica busy: not among the requests of PoolSignals. What is neither these nor overload
(INTERNAL, UNKNOWN, …) is load, but says nothing of how a replica copes with it."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How requests fared, per second. Failures that no replica can prevent are left out."""

    requests: float
    late: float
    """At the objective; estimated where that lies between two bucket edges."""
    late_below: float
    """At the bucket edge below the objective, failed ones included."""
    late_above: float
    """At the one above it; as at the one below where that is not known."""
    failed: float


def outcomes(signals: PoolSignals, *, place: float = 0.0) -> Outcomes:
    """Return how the requests fared that replicas can do something about.

    ``place`` says where the objective lies between the bucket edge below it (0) and the one above it (1). Late is what
    was late at the edge below, or where ``signals`` know the edge above too, what was late at the objective between
    the two; see ``late_between``.
    """
    failed = sum(rate for code, rate in signals.errors_per_second.items() if code in OVERLOAD_CODES)
    unhelped = sum(
        rate for code, rate in signals.errors_per_second.items() if code not in OVERLOAD_CODES | CLIENT_MISTAKES
    )
    requests = max(0.0, signals.requests_per_second - unhelped)
    below = above = late = max(0.0, requests - signals.good_per_second)
    if place > 0 and signals.good_above_per_second is not None and late > failed:
        above = min(late, max(failed, requests - signals.good_above_per_second))
        fewest = 0.5 / max(1.0, signals.window_seconds)
        late = late_between(late, above, requests=requests, place=place, fewest=fewest)
    return Outcomes(requests, late, below, above, failed)


def late_between(late_below: float, late_above: float, *, requests: float, place: float, fewest: float) -> float:
    """Return how much is late at an objective between two bucket edges; never more than at the one below.

    Waiting times of a queue have an exponential tail, so the logarithm of the late share is a straight line over the
    latency (Kingman's heavy traffic limit, 1961). That holds of the tail only: where more than a twentieth is late
    at the edge below, the service time itself lies between the edges, and the estimate is raised until it is what is
    late there. ``fewest`` stands for none at the edge above: half a request.
    """
    if requests <= 0 or late_below <= 0 or late_above >= late_below:
        return late_below
    above = min(late_below, max(late_above, fewest))
    line = math.pow(late_below, 1 - place) * math.pow(above, place)
    share = late_below / requests
    if share > TAIL_SHARE:
        line *= math.pow(share / TAIL_SHARE, 1.5)
    return min(late_below, line)
