"""How long to wait before the next attempt, where tries go on for ever and other work goes on meanwhile."""

from __future__ import annotations

import random


def backoff_seconds(failures: int, *, first_seconds: float, max_seconds: float, generator: random.Random) -> float:
    """Return the wait after ``failures`` failures in a row (1 or more).

    It doubles up to ``max_seconds``, and of that a random half is taken off, so that those who failed together do
    not come back together.
    """
    # Beyond this exponent every sensible maximum is reached, and floats stay in range.
    doubled_seconds = first_seconds * 2.0 ** min(failures - 1, 30)
    return min(max_seconds, doubled_seconds) * generator.uniform(0.5, 1.0)
