"""TensorFlow Serving's latency buckets, and the one that an objective is measured at."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache

_FIRST_MICROS = 10.0
_GROWTH = 1.8
_COUNT = 33
_AT_THE_EDGE = 0.01
"""An objective so near above an edge, of the way to the next one, is measured at that edge alone."""

EDGES_MICROS: tuple[float, ...] = tuple(_FIRST_MICROS * _GROWTH**exponent for exponent in range(_COUNT))
"""Upper limits of the finite buckets of ``:tensorflow:serving:request_latency``, in microseconds.

Source: ``Buckets::Exponential(10, 1.8, 33)`` in TensorFlow Serving's ``servables/tensorflow/util.cc``.
"""

LE_LABELS: tuple[str, ...] = tuple(f"{edge:.6g}" for edge in EDGES_MICROS)
"""The same limits as the server prints them in the label ``le``: six significant digits."""


@dataclass(frozen=True)
class BucketEdge:
    """One upper limit of a bucket."""

    le: str
    """As printed by the server; the exact limit is ``micros``."""
    micros: float

    def __str__(self) -> str:
        return format_micros(self.micros)


EDGES: tuple[BucketEdge, ...] = tuple(
    BucketEdge(label, micros) for label, micros in zip(LE_LABELS, EDGES_MICROS, strict=True)
)


class ObjectiveTooShortError(ValueError):
    """The objective is below the first bucket edge, so the server's buckets cannot tell whether it is met."""


def snap_objective(latency_micros: float) -> BucketEdge:
    """Return the nearest bucket edge at or below ``latency_micros``, so that what holds there holds for the promise.

    Raises ObjectiveTooShortError below the first edge, 10 microseconds. Beyond the last one (25 minutes) it is the
    last one.
    """
    above = bisect_right(EDGES_MICROS, latency_micros)
    if above == 0:
        raise ObjectiveTooShortError(
            f"TensorFlow Serving's first latency bucket ends at {EDGES[0]}, so an objective of "
            f"{format_micros(latency_micros)} cannot be measured: use {EDGES[0]} or more"
        )
    return EDGES[above - 1]


@dataclass(frozen=True)
class MeasuredAt:
    """The bucket edge that an objective is measured at, and the one above it where it lies clearly between the two."""

    edge: BucketEdge
    next_edge: BucketEdge | None = None

    def __str__(self) -> str:
        return str(self.edge) if self.next_edge is None else f"{self.edge} to {self.next_edge}"


def measure_objective(latency_micros: float) -> MeasuredAt:
    """Return the edges that say whether ``latency_micros`` is kept; raises ObjectiveTooShortError as above."""
    edge = snap_objective(latency_micros)
    if place_between_edges(latency_micros) < _AT_THE_EDGE:
        return MeasuredAt(edge)
    return MeasuredAt(edge, EDGES[EDGES.index(edge) + 1])


@lru_cache(maxsize=4096)
def place_between_edges(latency_micros: float) -> float:
    """Return where ``latency_micros`` lies between the edge that it snaps to (0) and the next one (1, never reached).

    0 where it cannot be told: below the first edge and beyond the last.
    """
    above = bisect_right(EDGES_MICROS, latency_micros)
    if above in (0, len(EDGES_MICROS)):
        return 0.0
    below, next_edge = EDGES_MICROS[above - 1], EDGES_MICROS[above]
    return (latency_micros - below) / (next_edge - below)


def format_micros(micros: float) -> str:
    """``37481.3`` as ``37.4813ms``: six significant digits in the largest unit that leaves at least 1."""
    if micros >= 1_000_000:
        return f"{_plain(micros / 1_000_000)}s"
    if micros >= 1_000:
        return f"{_plain(micros / 1_000)}ms"
    return f"{_plain(micros)}us"


def _plain(number: float) -> str:
    return f"{number:.6g}" if number < 1e6 else f"{number:.0f}"
