"""The load of the whole fleet, read from Prometheus with the same few queries however many ServedModels there are."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Self

import aiohttp

from tfserving_operator.api.refs import ModelKey
from tfserving_operator.autoscaling.buckets import BucketEdge
from tfserving_operator.autoscaling.signals import PoolSignals, SignalState
from tfserving_operator.clients.prometheus_answers import Answer, Failure, Outcome
from tfserving_operator.clients.prometheus_coverage import ReadyReplicas
from tfserving_operator.clients.prometheus_endpoint import PrometheusAddresses, PrometheusEndpoint
from tfserving_operator.clients.prometheus_facts import PoolKey
from tfserving_operator.clients.prometheus_http import PrometheusApi
from tfserving_operator.clients.prometheus_signals import PoolWish, ReadingMemory, ReadingRules, read_signals
from tfserving_operator.clients.promql import QueryName, QueryScope, build_queries
from tfserving_operator.settings import Settings

log = logging.getLogger(__name__)

_MEBIBYTE: Final = 2**20
_LOOKBACK_SCRAPES: Final = 4
_OLD_AFTER_SCRAPES: Final = 3
_SHORTEST_MAX_AGE_SECONDS: Final = 30.0
_SHORTEST_LOOKBACK_SECONDS: Final = 60
_NOT_CONFIGURED: Final = PoolSignals(
    state=SignalState.NOT_CONFIGURED,
    message="the operator has no address of Prometheus: set prometheus.url in the chart",
)
IN_TURNS: Final = (QueryName.QUEUE, QueryName.BATCH_SIZE)
"""Means that move slowly, of many series: each is asked for every other time."""
QUERIES_PER_READING: Final = len(QueryName) - len(IN_TURNS) + 1
"""To each address, whatever the number of ServedModels is."""
_UNEXPECTED: Final = (AttributeError, KeyError, OSError, OverflowError, TypeError, ValueError)
_NOT_UNDERSTOOD: Final = Failure(
    SignalState.PROMETHEUS_UNAVAILABLE, "the answer has labels or values that Prometheus does not give"
)


@dataclass(frozen=True, kw_only=True)
class SignalWish:
    """What is asked of one ServedModel."""

    edge: BucketEdge | None
    """Where its objective is measured; None without one: then all requests answered OK are good."""
    pools: Mapping[str, int]
    """Ready replicas by pool."""
    next_edge: BucketEdge | None = None
    """The edge above, where the objective lies between the two."""
    ready_pods: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Names of these replicas by pool. Where they are known, a pod that is on its way out cannot stand in for one
    whose scrape is lost, and messages name the pods."""


@dataclass(frozen=True, kw_only=True)
class FleetReading:
    """One look at the whole fleet."""

    signals: Mapping[tuple[ModelKey, str], PoolSignals]
    """For every pool that was wished, whatever happened."""
    queries: int
    """How many were sent."""
    seconds: float
    """Time from the first query to the last answer, understood."""


@dataclass(frozen=True, kw_only=True)
class PrometheusOptions:
    """How to read. ``timeout_seconds`` must be shorter than the tick."""

    rules: ReadingRules = field(default_factory=ReadingRules)
    timeout_seconds: float = 1.5
    limit_bytes: int = 64 * _MEBIBYTE


class PrometheusClient:
    """Reads the fleet; never raises for trouble of Prometheus, which is a state of the signals instead."""

    def __init__(self, addresses: PrometheusAddresses, options: PrometheusOptions | None = None) -> None:
        self._options = options or PrometheusOptions()
        self._sources = _Sources(addresses, self._options)
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def configured(cls, settings: Settings) -> Self:
        """Return the client that the operator's settings ask for."""
        interval_seconds = settings.prometheus_scrape_interval_seconds
        rules = ReadingRules(
            labels=settings.scrape_labels(),
            scrape_interval_seconds=interval_seconds,
            max_sample_age_seconds=settings.prometheus_max_sample_age_seconds
            or max(_OLD_AFTER_SCRAPES * interval_seconds, _SHORTEST_MAX_AGE_SECONDS),
        )
        options = PrometheusOptions(rules=rules, timeout_seconds=settings.prometheus_timeout_seconds)
        return cls(settings.prometheus_addresses(), options)

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def read_fleet(self, wishes: Mapping[ModelKey, SignalWish], *, now: datetime) -> FleetReading:
        """Return the signals of every wished pool."""
        began = time.perf_counter()
        if self._session is None:
            self._session = aiohttp.ClientSession()
        asked: dict[_Source, dict[PoolKey, PoolWish]] = {}
        signals: dict[tuple[ModelKey, str], PoolSignals] = {}
        for key, wish in wishes.items():
            source = self._sources.of(key.namespace)
            if source is None:
                signals |= {(key, pool): _NOT_CONFIGURED for pool in wish.pools}
            else:
                asked.setdefault(source, {}).update(_pool_wishes(key, wish))
        readings = await asyncio.gather(
            *(source.read(self._session, pools, now=now) for source, pools in asked.items() if pools)
        )
        for reading in readings:
            signals |= {(ModelKey(namespace, name), pool): s for (namespace, name, pool), s in reading.items()}
        queries = len(readings) * QUERIES_PER_READING
        return FleetReading(signals=signals, queries=queries, seconds=time.perf_counter() - began)


def _pool_wishes(key: ModelKey, wish: SignalWish) -> dict[PoolKey, PoolWish]:
    return {
        (key.namespace, key.name, pool): PoolWish(
            edge=wish.edge, next_edge=wish.next_edge, ready=ReadyReplicas(count, wish.ready_pods.get(pool, frozenset()))
        )
        for pool, count in wish.pools.items()
    }


class _Source:
    """One Prometheus, and what was learned from its last answers."""

    def __init__(self, endpoint: PrometheusEndpoint, namespaces: tuple[str, ...], options: PrometheusOptions) -> None:
        self._rules = options.rules
        self._api = PrometheusApi(endpoint, timeout_seconds=options.timeout_seconds, limit_bytes=options.limit_bytes)
        self._scope = QueryScope(
            labels=options.rules.labels,
            matchers=endpoint.matchers,
            namespaces=namespaces,
            lookback_seconds=_lookback_seconds(options.rules.scrape_interval_seconds),
        )
        self._memory = ReadingMemory()
        self._means: dict[QueryName, Answer] = {}
        self._turn = 0

    async def read(
        self, session: aiohttp.ClientSession, wishes: Mapping[PoolKey, PoolWish], *, now: datetime
    ) -> Mapping[PoolKey, PoolSignals]:
        """Return the signals of these pools."""
        edges = {edge.le for wish in wishes.values() for edge in (wish.edge, wish.next_edge) if edge is not None}
        outcomes = await self._ask(session, build_queries(self._scope, edges))
        try:
            signals, self._memory = read_signals(outcomes, wishes, self._memory, rules=self._rules, now=now)
        except _UNEXPECTED as error:
            # Something that is not Prometheus, or will not be understood: the fleet's other Prometheus goes on.
            log.warning("an answer of Prometheus was not understood", exc_info=error)
            failures = dict.fromkeys(QueryName, _NOT_UNDERSTOOD)
            self._means.clear()
            signals, self._memory = read_signals(failures, wishes, ReadingMemory(), rules=self._rules, now=now)
        return signals

    async def _ask(
        self, session: aiohttp.ClientSession, queries: Mapping[QueryName, str]
    ) -> Mapping[QueryName, Outcome]:
        """Send all queries but one of those that take turns, whose answer of last time is used again."""
        rested = IN_TURNS[self._turn % len(IN_TURNS)]
        self._turn += 1
        asked = {name: text for name, text in queries.items() if name is not rested}
        answers = await asyncio.gather(*(self._api.query(session, name, text) for name, text in asked.items()))
        fresh = dict(zip(asked, answers, strict=True))
        used_again = {} if any(isinstance(answer, Failure) for answer in answers) else dict(self._means)
        for name in IN_TURNS:
            answer = fresh.get(name)
            if isinstance(answer, Answer):
                self._means[name] = replace(answer, evaluated_at_seconds=None)
        return used_again | fresh


class _Sources:
    """The Prometheus of each namespace. Namespaces with equal settings share one, and its queries."""

    def __init__(self, addresses: PrometheusAddresses, options: PrometheusOptions) -> None:
        shared: list[tuple[PrometheusEndpoint, list[str]]] = []
        for namespace, endpoint in sorted(addresses.namespaces.items()):
            for known, namespaces in shared:
                if known == endpoint:
                    namespaces.append(namespace)
                    break
            else:
                shared.append((endpoint, [namespace]))
        self._default = _Source(addresses.default, (), options) if addresses.default else None
        self._by_namespace = {
            namespace: source
            for endpoint, namespaces in shared
            for source in [_Source(endpoint, tuple(namespaces), options)]
            for namespace in namespaces
        }

    def of(self, namespace: str) -> _Source | None:
        """Return the Prometheus of a namespace; None where nobody said."""
        return self._by_namespace.get(namespace, self._default)


def _lookback_seconds(scrape_interval_seconds: float) -> int:
    return max(_SHORTEST_LOOKBACK_SECONDS, math.ceil(_LOOKBACK_SCRAPES * scrape_interval_seconds))
