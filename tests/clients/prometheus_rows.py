"""Answers as Prometheus gives them, in few words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from tfserving_operator.autoscaling.buckets import EDGES, BucketEdge
from tfserving_operator.clients.prometheus_answers import Answer, Outcome, Row
from tfserving_operator.clients.prometheus_coverage import ReadyReplicas
from tfserving_operator.clients.prometheus_signals import PoolWish
from tfserving_operator.clients.promql import SITUATION_LABEL, QueryName, Situation

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
NOW_SECONDS = NOW.timestamp()
EDGE: BucketEdge = EDGES[14]
POOL = ("ns", "m", "gpu")


def row(value: float, **labels: str) -> Row:
    return (
        {"namespace": "ns", "tfserving_dev_servedmodel": "m", "tfserving_dev_pool": "gpu", **labels},
        value,
    )


def answer(*rows: Row, at_seconds: float = NOW_SECONDS, warnings: tuple[str, ...] = ()) -> Answer:
    return Answer(rows, at_seconds if rows else None, warnings)


def scraped(*pods: str, age_seconds: float = 1.0) -> Answer:
    return answer(*(row(NOW_SECONDS - age_seconds, pod=pod) for pod in pods))


def latency(*, good: float, ok: float, le: str = EDGE.le) -> Answer:
    return answer(row(good, le=le), row(ok, le="+Inf"))


def situation(what: Situation, pod: str = "", value: float = 1.0) -> Row:
    return row(value, **{SITUATION_LABEL: what.value}, **({"pod": pod} if pod else {}))


def outcomes(**given: Outcome) -> Mapping[QueryName, Outcome]:
    """What was given by the query's name; every other query has no rows."""
    return {name: given.get(name.value, answer()) for name in QueryName}


def wish(ready: int, *pods: str, edge: BucketEdge | None = EDGE) -> PoolWish:
    return PoolWish(edge=edge, ready=ReadyReplicas(ready, frozenset(pods)))
