"""The queries of a tick, as text. Pure: every name that comes from outside is checked or escaped here.

How the rates are made:

- ``irate`` over a long lookback: the two newest samples, whatever the scrape interval is, so that a change shows
  after one scrape. It also takes a counter's reset for what it is.
- Only of targets that are up. Samples of a pod that vanished stay in the lookback, but its ``up`` is gone. Targets are
  matched by pod, ``job`` and ``instance``, which keeps two jobs that scrape the same pod apart; more labels would
  only cost more.
- Targets whose newest scrape failed are told apart: an overloaded server does not answer scrapes in time either, and
  what its last two samples said is then all that is known of it. ``LATENCY`` has them as rows of their own.
- A series that appears on a *live* target, one that was scraped before, had the value 0 then: ``FIRST_SAMPLES`` are
  those values, because ``irate`` shows a new series only from its second sample on. Only ``+Inf`` is read: all edges
  would cost as much as everything else together, for what the next scrape tells anyway.
- Prometheus 3 stores ``le="20823"`` as ``le="20823.0"``; both are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tfserving_operator.clients.prometheus_ladders import BATCH_SIZE_LADDER, LATENCY_LADDER, QUEUE_LADDER, Ladder

SITUATION_LABEL = "situation"
"""Label that ``QueryName.SITUATIONS`` adds, with a ``Situation``."""
INFINITY = "+Inf"

_REQUEST_LATENCY = ":tensorflow:serving:request_latency_bucket"
_REQUEST_COUNT = ":tensorflow:serving:request_count"
_QUEUE_LATENCY = ":tensorflow:serving:batching_session:queuing_latency_bucket"
_BATCH_SIZE = ":tensorflow:serving:batching_session:processed_batch_size_bucket"
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
TAKEN_LABELS = frozenset({"le", "status", "job", "instance", "API", "model_name", "entrypoint", SITUATION_LABEL})
_CHOOSABLE_LABELS = frozenset({"job", "instance"})
_PAST_SECONDS = (600, 3600, 6 * 3600, 24 * 3600)


class QueryName(StrEnum):
    """The queries of a tick; also the value of a metric's label."""

    TARGETS = "targets"
    SITUATIONS = "situations"
    LATENCY = "latency"
    FIRST_SAMPLES = "first_samples"
    ERRORS = "errors"
    CONCURRENCY = "concurrency"
    QUEUE = "queue"
    BATCH_SIZE = "batch_size"


class Situation(StrEnum):
    """What is the matter with a target, or with all of a pool; no row where nothing is."""

    FAILING = "failing"
    """The newest scrape failed."""
    FIRST_SCRAPE = "first_scrape"
    """Scraped once: a rate needs two."""
    UNREADABLE = "unreadable"
    """Scraped, but without the buckets of latency: the wrong port, or dropped by the scrape configuration."""
    DUPLICATE = "duplicate"
    """Scraped by several jobs; the row's value says how many."""
    PAST = "past"
    """The pool has no target now and had one within the last day."""
    LAGGING = "lagging"
    """Its newest sample is older than the lookback; the row's value is its age in seconds."""


def label_name(name: str) -> str:
    """Return ``name`` if it may be a label of a target; ValueError otherwise."""
    if not _LABEL_NAME.fullmatch(name) or name.startswith("__"):
        raise ValueError(f"{name!r} is not a label that a target can have: letters, digits and _, not __ at the start")
    if name in TAKEN_LABELS:
        raise ValueError(f"{name!r} means something else in these queries: choose another label")
    return name


def matcher_name(name: str) -> str:
    """Return ``name`` if series may be chosen by it; ValueError otherwise. A job or an instance may be chosen."""
    return name if name in _CHOOSABLE_LABELS else label_name(name)


@dataclass(frozen=True, kw_only=True)
class ScrapeLabels:
    """Labels by which the scrape configuration tells whose pod a target is."""

    namespace: str = "namespace"
    served_model: str = "tfserving_dev_servedmodel"
    pool: str = "tfserving_dev_pool"
    pod: str = "pod"

    def __post_init__(self) -> None:
        names = [label_name(name) for name in self.of_target]
        if len(set(names)) < len(names):
            raise ValueError(f"the labels of namespace, ServedModel, pool and pod must differ: {', '.join(names)}")

    @property
    def of_pool(self) -> tuple[str, str, str]:
        """Labels that all targets of a pool share."""
        return (self.namespace, self.served_model, self.pool)

    @property
    def of_target(self) -> tuple[str, str, str, str]:
        """Labels of one pod."""
        return (*self.of_pool, self.pod)


@dataclass(frozen=True, kw_only=True)
class QueryScope:
    """What all queries to one Prometheus have in common."""

    labels: ScrapeLabels = field(default_factory=ScrapeLabels)
    matchers: Mapping[str, str] = field(default_factory=dict)
    """Further labels that targets must have, such as ``cluster`` where one Prometheus serves several."""
    namespaces: tuple[str, ...] = ()
    """Only these; empty: all."""
    lookback_seconds: int = 60


def quoted(text: str) -> str:
    """Return ``text`` as a PromQL string. Bytes that a string cannot hold are replaced, never passed on."""
    escaped = text.encode("utf-8", "replace").decode().replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(character if character >= " " else f"\\x{ord(character):02x}" for character in escaped) + '"'


def any_of(values: Iterable[str]) -> str:
    """Return a PromQL string with a regular expression that matches these values and nothing else."""
    return quoted("|".join(_literal(value) for value in values))


def _literal(value: str) -> str:
    """Escape for RE2, which unlike Python refuses a backslash before most characters."""
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", value)


def le_spellings(le: str) -> tuple[str, ...]:
    """``20823`` as Prometheus 2 and 3 store it; a fraction or an exponent has one spelling only."""
    return (le, f"{le}.0") if le.isdigit() else (le,)


def build_queries(scope: QueryScope, edges: Collection[str]) -> Mapping[QueryName, str]:
    """Return the PromQL of every query of a tick; ``edges`` are the ``le`` labels that objectives are measured at."""
    return _Queries(scope).build(sorted({*edges, INFINITY}))


class _Queries:
    """Builds the parts. A *pool* is grouped by three labels, a *pod* by four, a *target* by job and instance too."""

    def __init__(self, scope: QueryScope) -> None:
        labels = scope.labels
        self._pool = ", ".join(labels.of_pool)
        self._pod = ", ".join(labels.of_target)
        self._target = f"{labels.pod}, job, instance"
        self._lookback = f"{scope.lookback_seconds}s"
        matchers = [f'{labels.served_model}!=""', f'{labels.pool}!=""']
        matchers += [f"{matcher_name(name)}={quoted(value)}" for name, value in sorted(scope.matchers.items())]
        if scope.namespaces:
            matchers.append(f"{labels.namespace}=~{any_of(scope.namespaces)}")
        self._matchers = matchers
        self._up = self._select("up")
        scraped_twice = f"(sum_over_time({self._up}[{self._lookback}]) >= 2)"
        self._live = f"(({self._up} == 1) and on ({self._target}) {scraped_twice})"

    def build(self, edges: Sequence[str]) -> Mapping[QueryName, str]:
        latency = self._select(_REQUEST_LATENCY, 'API!=""', _le(edges))
        ladder = self._select(_REQUEST_LATENCY, 'API!=""', _le(LATENCY_LADDER.les))
        first = self._select(_REQUEST_LATENCY, 'API!=""', _le([INFINITY]))
        errors = self._select(_REQUEST_COUNT, 'status!="OK"')
        return {
            QueryName.TARGETS: self._targets(),
            QueryName.SITUATIONS: self._situations(),
            QueryName.LATENCY: (
                f"sum by ({self._pool}, le) ({self._rate(latency)}) or "
                + _marked(f"sum by ({self._pool}, le) ({self._rate(latency, up=0)})", Situation.FAILING)
            ),
            QueryName.FIRST_SAMPLES: (
                f"sum by ({self._pool}) ({self._first(first)}) or sum by ({self._pool}, status) ({self._first(errors)})"
            ),
            QueryName.ERRORS: f"sum by ({self._pool}, status) ({self._rate(errors)})",
            QueryName.CONCURRENCY: self._weighted(self._rate(ladder), LATENCY_LADDER),
            QueryName.QUEUE: self._mean(_QUEUE_LATENCY, QUEUE_LADDER),
            QueryName.BATCH_SIZE: self._mean(_BATCH_SIZE, BATCH_SIZE_LADDER),
        }

    def _select(self, metric: str, *more: str) -> str:
        return f"{metric}{{{', '.join((*self._matchers, *more))}}}"

    def _rate(self, selector: str, *, up: int = 1) -> str:
        return f"irate({selector}[{self._lookback}]) and on ({self._target}) ({self._up} == {up})"

    def _first(self, selector: str) -> str:
        # A comparison that leaves nothing, as it mostly does, makes both matches free.
        is_first = f"({selector} and (count_over_time({selector}[{self._lookback}]) == 1))"
        return f"{is_first} and on ({self._target}) {self._live}"

    def _readable(self) -> str:
        """Probes make buckets with API="" on every replica, so their absence is a fault and not a lack of traffic."""
        return f"on ({self._target}) {self._select(_REQUEST_LATENCY, _le([INFINITY]))}"

    def _targets(self) -> str:
        return (
            f"min by ({self._pod}) (timestamp({self._up}) and on ({self._target}) {self._live} and {self._readable()})"
        )

    def _situations(self) -> str:
        once = f"({self._up} == 1) and on ({self._target}) (sum_over_time({self._up}[{self._lookback}]) == 1)"
        old = f"time() - timestamp({self._up}) unless on ({self._target}) count_over_time({self._up}[{self._lookback}])"
        readable = f"{self._live} and {self._readable()}"
        past = " or ".join(f"{self._up} offset {seconds}s" for seconds in _PAST_SECONDS)
        found = {
            Situation.FAILING: f"count by ({self._pod}) ({self._up} == 0)",
            Situation.FIRST_SCRAPE: f"count by ({self._pod}) ({once})",
            Situation.UNREADABLE: f"count by ({self._pod}) ({self._live} unless {self._readable()})",
            Situation.DUPLICATE: f"count by ({self._pod}) ({readable}) > 1",
            Situation.LAGGING: f"max by ({self._pod}) ({old})",
            Situation.PAST: f"count by ({self._pool}) ({past}) unless on ({self._pool}) {self._up}",
        }
        return " or ".join(_marked(query, situation) for situation, query in found.items())

    def _weighted(self, rates: str, ladder: Ladder) -> str:
        """Sum over requests per second of each one's size, estimated from the ladder's buckets: one number a pool."""
        weights = " or ".join(
            f'label_replace(vector({weight!r}), "le", {quoted(spelling)}, "", "")'
            for le, weight in ladder.weights
            for spelling in le_spellings(le)
        )
        return f"sum by ({self._pool}) (sum by ({self._pool}, le) ({rates}) * on (le) group_left () ({weights}))"

    def _mean(self, metric: str, ladder: Ladder) -> str:
        """A mean hardly moves with a pod that has just vanished, so nothing is matched."""
        rates = f"irate({self._select(metric, _le(ladder.les))}[{self._lookback}])"
        total = f"irate({self._select(metric, _le([INFINITY]))}[{self._lookback}])"
        return f"{self._weighted(rates, ladder)} / (sum by ({self._pool}) ({total}) > 0)"


def _marked(query: str, situation: Situation) -> str:
    return f'label_replace({query}, "{SITUATION_LABEL}", "{situation}", "", "")'


def _le(les: Iterable[str]) -> str:
    return f"le=~{any_of(spelling for le in les for spelling in le_spellings(le))}"
