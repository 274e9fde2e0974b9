"""Whether the replicas that take requests are the ones that are measured. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tfserving_operator.autoscaling.signals import SignalState
from tfserving_operator.clients.prometheus_facts import PoolFacts, PoolKey
from tfserving_operator.clients.promql import Situation

_NAMED_PODS: Final = 3
_WORDS: Final = {
    Situation.FAILING: "its last scrape failed",
    Situation.FIRST_SCRAPE: "scraped once so far",
    Situation.UNREADABLE: "scraped without :tensorflow:serving:request_latency_bucket: wrong port, or dropped by "
    "the scrape configuration",
    Situation.LAGGING: "its newest sample is old",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A state that is worse than measured, and its words."""

    state: SignalState
    message: str


@dataclass(frozen=True, slots=True)
class ReadyReplicas:
    """Ready replicas of a pool: how many, and which if that is known."""

    count: int
    pods: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Ready:
    settled: int
    """Replicas that have been ready long enough to be scraped twice."""
    count: int
    grown_at: datetime


ReadyHistory = Mapping[PoolKey, _Ready]
"""Since when replicas are ready, so that one that has just become ready is not taken for a lost one."""


def next_ready_history(
    history: ReadyHistory, ready: Mapping[PoolKey, ReadyReplicas], *, now: datetime, patience: timedelta
) -> ReadyHistory:
    """Return the history with what is ``ready`` now; after ``patience`` all that are ready count as settled."""
    return {pool: _next_ready(history.get(pool), replicas.count, now, patience) for pool, replicas in ready.items()}


def _next_ready(before: _Ready | None, count: int, now: datetime, patience: timedelta) -> _Ready:
    if before is None:
        return _Ready(0, count, now)
    settled = before.count if now - before.grown_at >= patience else before.settled
    grown_at = now if count > before.count else before.grown_at
    return _Ready(min(settled, count), count, grown_at)


def count_measured(facts: PoolFacts, ready: ReadyReplicas) -> int:
    """Return how many replicas that take requests are measured; pods on their way out do not count as such."""
    return len(ready.pods & facts.scraped.keys()) if ready.pods else len(facts.scraped)


def find_coverage_fault(facts: PoolFacts, ready: ReadyReplicas, *, settled: int) -> Fault | None:
    """Return what keeps the numbers from being those of all ready replicas; None when all are measured.

    More targets than ready replicas are fine: pods that terminate still answer, and those that start do already.
    """
    measured = count_measured(facts, ready)
    if measured >= ready.count:
        return None
    words = _words(facts, ready, measured)
    # Pods that are gone leave samples behind where Prometheus was restarted meanwhile: they are nobody's trouble.
    lagging = {pod for pod in facts.situations.get(Situation.LAGGING, {}) if not ready.pods or pod in ready.pods}
    if measured >= settled and not lagging:
        return Fault(SignalState.NOT_YET_REPORTED, words)
    if lagging or (not facts.scraped and Situation.PAST in facts.situations):
        return Fault(SignalState.STALE, f"{words}; scraping has stopped, or remote storage lags behind")
    waiting = facts.situations.get(Situation.FIRST_SCRAPE, {})
    awaited = len(ready.pods & waiting.keys()) if ready.pods else len(waiting)
    if measured + awaited >= ready.count:
        return Fault(SignalState.NOT_YET_REPORTED, words)
    return Fault(SignalState.REPLICAS_MISSING, words)


def _words(facts: PoolFacts, ready: ReadyReplicas, measured: int) -> str:
    begin = f"{measured} of {ready.count} ready replicas are measured"
    return "; ".join((begin, *_causes(facts, ready)))


def _causes(facts: PoolFacts, ready: ReadyReplicas) -> list[str]:
    known = {pod: cause for cause in _WORDS for pod in facts.situations.get(cause, {})}
    unknown = ready.pods - facts.scraped.keys() - known.keys()
    causes = [
        f"{_names([pod for pod, found in known.items() if found is cause])}: {words}"
        for cause, words in _WORDS.items()
        if cause in known.values()
    ]
    if unknown:
        causes.append(f"{_names(sorted(unknown))}: not a target of Prometheus")
    if not facts.scraped and not known:
        causes.append("Prometheus has no target with the labels of this pool: see docs/prometheus.md")
    return causes


def _names(pods: list[str]) -> str:
    more = f" and {len(pods) - _NAMED_PODS} more" if len(pods) > _NAMED_PODS else ""
    return ", ".join(sorted(pods)[:_NAMED_PODS]) + more
