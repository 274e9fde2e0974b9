"""Random numbers by position: the n-th number of a stream is the same whatever else happened.

All policies therefore meet the same arrivals, the same service times and the same scrapes that get lost, and a
difference between two of them is not luck.

Source: SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014), whose state is
a counter.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np

from tfserving_operator.simulation.kernel.compiled import compiled

Keys = np.ndarray[Any, np.dtype[np.uint64]]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_30, _27, _31, _11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_UNIT = 2.0**-53


class Stream(IntEnum):
    """What a random number is for."""

    ARRIVAL = 1
    BURST = 2
    ROUTE = 3
    SERVICE = 4
    SCRAPE_LOSS = 5
    SCRAPE_PHASE = 6
    START_UP = 7
    NODE = 8
    CRASH = 9


STREAMS = 10


@compiled
def uniform(key: np.uint64, index: int) -> float:
    """Return number ``index`` of the stream ``key``, in (0, 1]."""
    z = key + np.uint64(index) * _GOLDEN
    z = (z ^ (z >> _30)) * _FIRST
    z = (z ^ (z >> _27)) * _SECOND
    z = z ^ (z >> _31)
    return float(np.float64((z >> _11) + np.uint64(1)) * _UNIT)


def stream_keys(seed: int) -> Keys:
    """Return a key for each ``Stream``, unlike those of every other seed."""
    return np.asarray(np.random.SeedSequence(seed).generate_state(STREAMS, np.uint64), dtype=np.uint64)
