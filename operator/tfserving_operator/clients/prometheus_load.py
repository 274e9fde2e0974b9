"""The numbers of one pool, and whether they contradict each other. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Final

from tfserving_operator.autoscaling.buckets import BucketEdge
from tfserving_operator.autoscaling.outcomes import CLIENT_MISTAKES
from tfserving_operator.clients.prometheus_facts import PoolFacts
from tfserving_operator.clients.promql import QueryName, Situation

_ROUNDING: Final = 1e-6


@dataclass(frozen=True)
class PoolLoad:
    """Rates of one pool from its facts. ``assumed_interval_seconds`` is used until two scrapes were seen."""

    facts: PoolFacts
    edge: BucketEdge | None
    assumed_interval_seconds: float
    next_edge: BucketEdge | None = None
    """The edge above ``edge``, where that is asked for."""

    @cached_property
    def window_seconds(self) -> float:
        """Time between the two newest scrapes, the longest of the pool's replicas."""
        return max(self._intervals, default=self.assumed_interval_seconds)

    @property
    def is_window_assumed(self) -> bool:
        """Whether no replica was seen at two scrapes yet."""
        return not self._intervals

    @cached_property
    def at(self) -> datetime | None:
        """Time of the oldest sample that went in."""
        oldest = min((time.at_seconds for time in self.facts.scraped.values()), default=math.nan)
        return datetime.fromtimestamp(oldest, UTC) if math.isfinite(oldest) else None

    @cached_property
    def ok_per_second(self) -> float:
        """Requests answered OK."""
        return self._rate(self._buckets.get(math.inf, 0.0), self.facts.first_ok)

    @cached_property
    def good_per_second(self) -> float:
        """Requests answered OK at or below the edge; all that were OK where none is asked for.

        Requests of series that have just appeared are taken to be as good as the others, until their next scrape.
        """
        return self._within(self.edge)

    @cached_property
    def good_above_per_second(self) -> float | None:
        """Requests answered OK at or below the edge above; None where none is asked for, or it is not scraped."""
        is_known = self.next_edge is not None and (float(self.next_edge.le) in self._buckets or not self._buckets)
        return max(self.good_per_second, self._within(self.next_edge)) if is_known else None

    @cached_property
    def errors_per_second(self) -> Mapping[str, float]:
        """Failed requests by status, those of rate 0 left out."""
        statuses = {*self.facts.errors, *self.facts.first_errors}
        rates = {
            status: self._rate(self.facts.errors.get(status, 0.0), self.facts.first_errors.get(status, 0.0))
            for status in sorted(statuses)
        }
        return {status: rate for status, rate in rates.items() if rate != 0.0}

    @cached_property
    def loading_errors_per_second(self) -> float:
        """Failed requests that kept replicas busy."""
        return sum(rate for status, rate in self.errors_per_second.items() if status not in CLIENT_MISTAKES)

    @cached_property
    def silent_per_second(self) -> float:
        """Requests that replicas answered OK in their last two samples, of replicas whose newest scrape failed."""
        return self._silent(math.inf)

    @cached_property
    def silent_good_per_second(self) -> float:
        """Of those, at or below the edge; all of them where none is asked for."""
        return self.silent_per_second if self.edge is None else self._silent(float(self.edge.le))

    @cached_property
    def concurrency(self) -> float | None:
        """Requests in flight by Little's law; None where nothing was measured."""
        in_flight = self.facts.numbers.get(QueryName.CONCURRENCY)
        return None if in_flight is None else max(0.0, in_flight / self._scrapes_of_each)

    @cached_property
    def are_finite(self) -> bool:
        """Whether every number is one."""
        groups = (self.facts.buckets, self.facts.silent_buckets, self.facts.errors, self.facts.first_errors)
        numbers = [number for group in groups for number in group.values()]
        times = [time.at_seconds for time in self.facts.scraped.values()]
        return all(map(math.isfinite, (*numbers, *times, *self.facts.numbers.values(), self.facts.first_ok)))

    def contradictions(self) -> Iterator[str]:
        """Yield what cannot be true of one complete answer."""
        if len(self._scrape_counts) > 1:
            yield (
                "some pods are scraped by several jobs and others by one, so the load would be counted wrongly: "
                "let one job scrape each pod"
            )
        if self._buckets and not {math.inf, self._le or math.inf} <= self._buckets.keys():
            yield (
                f"the bucket at {self.edge} or that of all requests is missing: does the scrape configuration drop it?"
            )
        if any(
            rate > self._buckets.get(math.inf, 0.0) * (1 + _ROUNDING) + _ROUNDING for rate in self._buckets.values()
        ):
            yield "a bucket holds more requests than all buckets together"

    @property
    def _buckets(self) -> Mapping[float, float]:
        return self.facts.buckets

    @property
    def _le(self) -> float | None:
        return None if self.edge is None else float(self.edge.le)

    @cached_property
    def _intervals(self) -> list[float]:
        times = self.facts.scraped.values()
        return [time.interval_seconds for time in times if time.interval_seconds is not None]

    @cached_property
    def _scrape_counts(self) -> set[float]:
        duplicates = self.facts.situations.get(Situation.DUPLICATE, {})
        return {duplicates.get(pod, 1.0) for pod in self.facts.scraped}

    @cached_property
    def _scrapes_of_each(self) -> float:
        """Where all pods are scraped by the same number of jobs, every rate comes that many times."""
        return max(self._scrape_counts, default=1.0)

    def _silent(self, edge: float) -> float:
        jobs = max(self.facts.situations.get(Situation.FAILING, {}).values(), default=1.0)
        return self.facts.silent_buckets.get(edge, 0.0) / max(1.0, jobs)

    def _within(self, edge: BucketEdge | None) -> float:
        """Requests answered OK at or below ``edge``; all of them without one."""
        known = self._buckets.get(math.inf, 0.0)
        if edge is None or known <= 0.0:
            return self.ok_per_second
        return self.ok_per_second * min(1.0, self._buckets.get(float(edge.le), 0.0) / known)

    def _rate(self, rate: float, first_value: float) -> float:
        # The shortest interval makes the most of a new series: a surge is never taken for less than it is.
        interval_seconds = min(self._intervals, default=self.assumed_interval_seconds)
        return (rate + first_value / interval_seconds) / self._scrapes_of_each
