"""What the answers of a tick say of each pool that somebody asked for. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from tfserving_operator.clients.prometheus_answers import Answer, Outcome, Row
from tfserving_operator.clients.promql import SITUATION_LABEL, QueryName, ScrapeLabels, Situation

PoolKey = tuple[str, str, str]
"""Namespace, ServedModel and pool."""
TargetKey = tuple[str, str, str, str]
"""Namespace, ServedModel, pool and pod."""


@dataclass(frozen=True, slots=True)
class ScrapeTime:
    """When a target was scraped last, in seconds since the epoch, and how long after the scrape before."""

    at_seconds: float
    interval_seconds: float | None


TargetTimes = Mapping[TargetKey, ScrapeTime]


@dataclass(slots=True)
class PoolFacts:
    """The rows of one pool. Buckets are by upper limit in microseconds, as ``le`` has two spellings."""

    scraped: dict[str, ScrapeTime] = field(default_factory=dict)
    """By pod: the live targets whose latency can be read."""
    situations: dict[Situation, dict[str, float]] = field(default_factory=dict)
    """By pod; the pod of a situation of the whole pool is empty."""
    buckets: dict[float, float] = field(default_factory=dict)
    """Requests per second at or below each edge."""
    silent_buckets: dict[float, float] = field(default_factory=dict)
    """The same of targets whose newest scrape failed, from their last two samples."""
    first_ok: float = 0.0
    """Requests answered OK in series that appeared with the newest scrape: a number, not a rate."""
    errors: dict[str, float] = field(default_factory=dict)
    """Failed requests per second by status."""
    first_errors: dict[str, float] = field(default_factory=dict)
    """Failed requests by status in series that appeared with the newest scrape."""
    numbers: dict[QueryName, float] = field(default_factory=dict)
    """What comes as one number a pool."""


_ONE_NUMBER: Final = (QueryName.CONCURRENCY, QueryName.QUEUE, QueryName.BATCH_SIZE)


def read_target_times(outcome: Outcome, labels: ScrapeLabels, *, before: TargetTimes) -> TargetTimes:
    """Return the targets that can be measured; intervals come from comparison with the reading ``before``."""
    if not isinstance(outcome, Answer):
        return before
    namespace, model, pool, pod = labels.of_target
    times: dict[TargetKey, ScrapeTime] = {}
    for row, at_seconds in outcome.rows:
        key = (row.get(namespace, ""), row.get(model, ""), row.get(pool, ""), row.get(pod, ""))
        times[key] = _next_time(before.get(key), at_seconds)
    return times


def _next_time(before: ScrapeTime | None, at_seconds: float) -> ScrapeTime:
    if before is None:
        return ScrapeTime(at_seconds, None)
    if at_seconds > before.at_seconds:
        return ScrapeTime(at_seconds, at_seconds - before.at_seconds)
    return before


def collect_facts(
    outcomes: Mapping[QueryName, Outcome], times: TargetTimes, labels: ScrapeLabels, *, pools: Collection[PoolKey]
) -> Mapping[PoolKey, PoolFacts]:
    """Return facts for each of ``pools``; rows of others are left out."""
    facts = {pool: PoolFacts() for pool in pools}
    if isinstance(outcomes.get(QueryName.TARGETS), Answer):
        for (namespace, model, pool, pod), time in times.items():
            found = facts.get((namespace, model, pool))
            if found is not None:
                found.scraped[pod] = time
    for name, outcome in outcomes.items():
        if isinstance(outcome, Answer) and name is not QueryName.TARGETS:
            _add_rows(facts, name, outcome.rows, labels)
    return facts


def _add_rows(facts: Mapping[PoolKey, PoolFacts], name: QueryName, rows: Collection[Row], labels: ScrapeLabels) -> None:
    namespace, model, pool = labels.of_pool
    for row, value in rows:
        found = facts.get((row.get(namespace, ""), row.get(model, ""), row.get(pool, "")))
        if found is not None:
            _add_row(found, name, row, value, pod_label=labels.pod)


def _add_row(facts: PoolFacts, name: QueryName, row: Mapping[str, str], value: float, *, pod_label: str) -> None:
    if name in _ONE_NUMBER:
        facts.numbers[name] = value
    elif name is QueryName.SITUATIONS:
        situation = Situation(row[SITUATION_LABEL])
        facts.situations.setdefault(situation, {})[row.get(pod_label, "")] = value
    elif name is QueryName.LATENCY:
        edge, buckets = float(row["le"]), facts.silent_buckets if SITUATION_LABEL in row else facts.buckets
        buckets[edge] = buckets.get(edge, 0.0) + value
    elif name is QueryName.ERRORS:
        facts.errors[row["status"]] = value
    elif "status" in row:
        facts.first_errors[row["status"]] = value
    else:
        facts.first_ok = value
