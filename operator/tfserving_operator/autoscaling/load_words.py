"""The load that a decision was made on, in words: what stands beside it in status."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from tfserving_operator.autoscaling.load import Load, combined_load
from tfserving_operator.autoscaling.observation import PoolObservation, ScalingObservation
from tfserving_operator.autoscaling.state import place_of_objective

_LONGEST = 1000


def load_words(observation: ScalingObservation, *, now: datetime) -> str:
    """Return for example ``107 requests/s, 97.2% within 100ms, 3.5 in flight, on 12 of 12 ready replicas, 9s old``."""
    spec = observation.spec
    load = combined_load(observation.pools, now=now.timestamp(), place=place_of_objective(spec))
    latency = None if spec.objective is None else spec.objective.latency
    parts = [", ".join(_of_all(load, latency, now)), *(words for pool in observation.pools for words in _of_one(pool))]
    if load.message:
        parts.append(load.message)
    return "; ".join(parts)[:_LONGEST]


def _of_all(load: Load, latency: str | None, now: datetime) -> Iterator[str]:
    yield f"{load.requests_per_second:.4g} requests/s" if load.covered > 0 else "load not known"
    if latency is not None and load.answerable_per_second > 0:
        yield f"{1 - load.late_per_second / load.answerable_per_second:.1%} within {latency}"
    if load.failed_per_second > 0:
        yield f"{load.failed_per_second:.3g}/s refused or given up"
    if load.silent_per_second > 0:
        yield f"{load.silent_per_second:.3g}/s on replicas before their scrapes failed"
    if load.concurrency is not None and load.requests_per_second > 0:
        yield f"{load.concurrency:.3g} in flight"
    yield f"on {load.covered} of {load.ready} ready replicas"
    if load.covered > 0:
        yield f"{max(0.0, now.timestamp() - load.at):.0f}s old"


def _of_one(pool: PoolObservation) -> Iterator[str]:
    """What shows only in a single pool."""
    signals, name = pool.signals, pool.pool.name
    if signals.batch_size is not None and signals.batch_size > 0:
        wait = "" if signals.queue_seconds is None else f" that wait {signals.queue_seconds * 1000:.3g}ms"
        yield f"pool {name}: batches of {signals.batch_size:.3g}{wait}"
    if pool.restarts > 0:
        yield f"pool {name}: {pool.restarts} restarts of servers"
