"""How much more arrives than is answered, while replicas cannot keep up.

What Prometheus sees of an overloaded server is what it answers, not what arrives: the rate stands still at what
replicas can do at most. But requests then wait longer and longer. Where requests arrive k times as fast as they are
answered, those that are answered a time t after that began have waited for (1 - 1/k) t (first come, first served; a
fluid queue, Newell, Applications of Queueing Theory, 1982, chapter 2). So the wait says k.

An overloaded server also answers Prometheus late, until scrapes fail: at once, where load jumps within one scrape
interval. What it did last is then taken to be half of what arrives.
"""

from __future__ import annotations

from dataclasses import dataclass

from tfserving_operator.autoscaling.load import LATE_SHARE, Load

MOST_FACTOR = 4.0
"""More is never believed at once: the wait is known to a bucket only."""
FACTOR_WITHOUT_WAIT = 2.0
DRAIN_SECONDS = 60.0
"""Time in which what has queued up is to be worked off."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Since when requests queue up. Times are epoch seconds."""

    good_at: float = 0.0
    """Newest sample without a queue; 0 for none."""
    at: float = 0.0

    def after(self, load: Load) -> Backlog:
        """Return the backlog after the newest sample; one without requests has no queue either."""
        if load.at <= self.at:
            return self
        return Backlog(self.good_at if _is_late(load) else load.at, load.at)

    def demand(self, load: Load, rate: float) -> float:
        """Return the requests per second that arrive or are to be caught up with, where ``rate`` is answered."""
        if not self.good_at or not _is_late(load):
            return rate
        return max(self._by_wait(load, rate), rate * (1.0 + (FACTOR_WITHOUT_WAIT - 1.0) * load.too_busy_share))

    def _by_wait(self, load: Load, rate: float) -> float:
        if load.late_per_second <= LATE_SHARE * load.answerable_per_second and load.answerable_per_second > 0:
            return rate
        answered = load.answerable_per_second - load.failed_per_second
        if load.concurrency is None or answered <= 0:
            return rate * FACTOR_WITHOUT_WAIT
        mean_wait = load.concurrency / answered
        seconds = max(1.0, load.at - self.good_at)
        # The wait grew from nothing to its present length over that time, and only a part of the window shows it.
        wait = 2 * mean_wait * max(1.0, load.window_seconds / seconds)
        factor = 1 / max(1 / MOST_FACTOR, 1 - wait / seconds)
        return rate * (factor + min(wait, seconds) / DRAIN_SECONDS)


def _is_late(load: Load) -> bool:
    if load.too_busy_share > 0:
        return True
    late = load.late_per_second + load.silent_late_per_second
    return late > LATE_SHARE * (load.answerable_per_second + load.silent_per_second)
