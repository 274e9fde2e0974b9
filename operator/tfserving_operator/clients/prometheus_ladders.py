"""Means from TensorFlow Serving's buckets, as weights of cumulative counts. Pure.

``_sum`` has six significant digits on the server's page, so it is never used. Within a bucket from ``a`` to ``b``
values are taken to lie evenly on a logarithmic scale: their mean is ``(b - a) / ln(b / a)``. With edges a factor ``r``
apart an estimated mean is at most ``(r - 1) / ln(r)`` times the truth (all values at the lower ends) and at least
``(r - 1) / (r ln(r))`` of it (all at the upper ends): 1.9 and 0.59 for the latency's ``r = 3.24``. Every edge would
halve that error and double what it costs Prometheus.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from tfserving_operator.autoscaling.buckets import EDGES, BucketEdge

_INFINITY = "+Inf"


@dataclass(frozen=True)
class Ladder:
    """Some of a histogram's edges, and what a cumulative count at each adds to the sum of all values."""

    weights: tuple[tuple[str, float], ...]
    """By ``le`` label, ``+Inf`` included."""

    @property
    def les(self) -> tuple[str, ...]:
        """The ``le`` labels."""
        return tuple(le for le, _ in self.weights)

    def total(self, cumulative: dict[str, float]) -> float:
        """Return the estimated sum of all values from cumulative counts by ``le``."""
        return sum(weight * cumulative[le] for le, weight in self.weights)


def build_ladder(edges: Sequence[BucketEdge], *, unit: float) -> Ladder:
    """Return the weights for ``edges``, lowest first; a sum comes out in units of ``unit`` of the edges' own."""
    limits = [edge.micros for edge in edges]
    inner = [(upper - lower) / math.log(upper / lower) for lower, upper in itertools.pairwise(limits)]
    typical = [limits[0] / 2, *inner, limits[-1]]
    weights = [(before - after) / unit for before, after in itertools.pairwise(typical)]
    return Ladder((*zip((edge.le for edge in edges), weights, strict=True), (_INFINITY, typical[-1] / unit)))


LATENCY_LADDER = build_ladder(EDGES[8:26:2], unit=1e6)
"""Every second edge from 1.1 ms to 24 s, in seconds."""

QUEUE_LADDER = build_ladder([BucketEdge(f"{100 * 1.2**n:.6g}", 100 * 1.2**n) for n in range(0, 52, 6)], unit=1e6)
"""Every sixth edge of ``Buckets::Exponential(100, 1.2, 52)``: 0.1 ms to 0.63 s, in seconds."""


def _batch_sizes() -> Ladder:
    """Powers of two; a size equal to a limit is counted above it, so ``le="2"`` holds batches of exactly 1."""
    edges = [1, *(2**n for n in range(1, 10))]
    typical = [*((low + high - 1) / 2 for low, high in itertools.pairwise(edges)), float(edges[-1])]
    weights = [before - after for before, after in itertools.pairwise(typical)]
    return Ladder((*zip(map(str, edges[1:]), weights, strict=True), (_INFINITY, typical[-1])))


BATCH_SIZE_LADDER = _batch_sizes()
"""The edges from 2 to 512 of ``Buckets::Exponential(1, 2, 14)``, in examples; larger batches count as 512."""
