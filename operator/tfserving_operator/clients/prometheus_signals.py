"""From answers, wishes and the time to the signals of each pool. Pure, so that every state is tested by table.

The first fault in this order gives the state: no ready replica, no answer, part of an answer, clocks apart, not a
number, replicas that are not measured, old samples, contradictions. Numbers are there all the same as far as they are
known, because a load that is seen may call for more replicas even where a part of it is hidden.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from tfserving_operator.autoscaling.buckets import BucketEdge
from tfserving_operator.autoscaling.load import LATE_SHARE
from tfserving_operator.autoscaling.signals import PoolSignals, SignalState
from tfserving_operator.clients.prometheus_answers import Answer, Failure, Outcome
from tfserving_operator.clients.prometheus_coverage import (
    Fault,
    ReadyHistory,
    ReadyReplicas,
    count_measured,
    find_coverage_fault,
    next_ready_history,
)
from tfserving_operator.clients.prometheus_facts import (
    PoolFacts,
    PoolKey,
    TargetTimes,
    collect_facts,
    read_target_times,
)
from tfserving_operator.clients.prometheus_load import PoolLoad
from tfserving_operator.clients.promql import QueryName, ScrapeLabels, Situation

_FEWEST_IN_COMMON: Final = 3
"""Pools that fall silent together by chance, or with one node, are fewer."""
_WORST_FIRST: Final = (
    SignalState.PROMETHEUS_REJECTED,
    SignalState.PROMETHEUS_UNAVAILABLE,
    SignalState.PROMETHEUS_SLOW,
    SignalState.PARTIAL_ANSWER,
)


@dataclass(frozen=True, kw_only=True)
class PoolWish:
    """What is asked of one pool."""

    edge: BucketEdge | None
    ready: ReadyReplicas
    next_edge: BucketEdge | None = None


@dataclass(frozen=True, kw_only=True)
class ReadingRules:
    """How series are labelled and when samples are too old."""

    labels: ScrapeLabels = field(default_factory=ScrapeLabels)
    scrape_interval_seconds: float = 15.0
    """Taken for the window of rates until two scrapes were seen."""
    max_sample_age_seconds: float = 45.0


@dataclass(frozen=True)
class ReadingMemory:
    """What one reading leaves for the next. All of it may be lost: it is learned again within two scrapes."""

    times: TargetTimes = field(default_factory=dict)
    ready: ReadyHistory = field(default_factory=dict)


def read_signals(
    outcomes: Mapping[QueryName, Outcome],
    wishes: Mapping[PoolKey, PoolWish],
    memory: ReadingMemory,
    *,
    rules: ReadingRules,
    now: datetime,
) -> tuple[Mapping[PoolKey, PoolSignals], ReadingMemory]:
    """Return signals for every wished pool, whatever the outcomes are, and what to remember."""
    times = read_target_times(outcomes[QueryName.TARGETS], rules.labels, before=memory.times)
    ready = next_ready_history(
        memory.ready,
        {pool: wish.ready for pool, wish in wishes.items()},
        now=now,
        patience=timedelta(seconds=rules.max_sample_age_seconds),
    )
    facts = collect_facts(outcomes, times, rules.labels, pools=wishes.keys())
    common = _find_common_fault(outcomes, rules, now=now)
    signals = {
        pool: _pool_signals(facts[pool], wish, common, settled=ready[pool].settled, rules=rules, now=now)
        for pool, wish in wishes.items()
    }
    return _without_common_silence(signals), ReadingMemory(times, ready)


def _without_common_silence(signals: Mapping[PoolKey, PoolSignals]) -> Mapping[PoolKey, PoolSignals]:
    """Take silence for none of load where most pools fell silent at once: then it is the scraping that has a fault."""
    watched = [each for each in signals.values() if each.state is not SignalState.NO_REPLICAS]
    silent = {
        pool
        for pool, each in signals.items()
        if not each.replicas_covered
        and each.replicas_silent
        and each.silent_good_per_second >= (1 - LATE_SHARE) * each.silent_per_second
    }
    if len(silent) < _FEWEST_IN_COMMON or 2 * len(silent) <= len(watched):
        return signals
    words = f"so are those of {len(silent)} of {len(watched)} pools: look at the scraping first"
    return {pool: _without_silence(each, words) if pool in silent else each for pool, each in signals.items()}


def _without_silence(signals: PoolSignals, words: str) -> PoolSignals:
    message = f"{signals.message}; {words}"
    return replace(signals, message=message, replicas_silent=0, silent_per_second=0.0, silent_good_per_second=0.0)


def _find_common_fault(outcomes: Mapping[QueryName, Outcome], rules: ReadingRules, *, now: datetime) -> Fault | None:
    """Return what is wrong for all pools alike."""
    failures = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Failure)}
    if failures:
        return _fault_of(failures, are_all=len(failures) == len(outcomes))
    answers = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Answer)}
    for name, answer in answers.items():
        if answer.warnings:
            return Fault(SignalState.PARTIAL_ANSWER, f"warning with the query {name}: {answer.warnings[0]}")
    evaluated = [answer.evaluated_at_seconds for answer in answers.values() if answer.evaluated_at_seconds is not None]
    offset_seconds = max((at - now.timestamp() for at in evaluated), key=abs, default=0.0)
    if abs(offset_seconds) <= rules.max_sample_age_seconds:
        return None
    side = "behind" if offset_seconds < 0 else "ahead of"
    return Fault(
        SignalState.STALE,
        f"Prometheus answers for a time {abs(offset_seconds):.0f} s {side} the operator's clock: "
        "check both clocks, and caches between them",
    )


def _fault_of(failures: Mapping[QueryName, Failure], *, are_all: bool) -> Fault:
    name, worst = min(failures.items(), key=lambda item: _WORST_FIRST.index(item[1].state))
    if are_all:
        return Fault(worst.state, worst.message)
    return Fault(
        SignalState.PARTIAL_ANSWER, f"{len(failures)} queries have no answer, among them {name}: {worst.message}"
    )


def _pool_signals(
    facts: PoolFacts, wish: PoolWish, common: Fault | None, *, settled: int, rules: ReadingRules, now: datetime
) -> PoolSignals:
    if wish.ready.count == 0:
        return PoolSignals(state=SignalState.NO_REPLICAS, message="no replica is ready")
    load = PoolLoad(facts, wish.edge, rules.scrape_interval_seconds, wish.next_edge)
    if not load.are_finite:
        return PoolSignals(
            state=common.state if common else SignalState.NOT_A_NUMBER,
            message=common.message if common else "Prometheus answered NaN or an infinite number for this pool",
        )
    fault = common or next(_faults(load, wish.ready, settled=settled, rules=rules, now=now), None)
    return _signals_of(load, wish.ready, fault)


def _count_silent(facts: PoolFacts, ready: ReadyReplicas) -> int:
    """How many replicas that take requests fail their scrapes; pods on their way out do not count."""
    failing = facts.situations.get(Situation.FAILING, {}).keys()
    return len(ready.pods & failing) if ready.pods else min(ready.count, len(failing))


def _faults(
    load: PoolLoad, ready: ReadyReplicas, *, settled: int, rules: ReadingRules, now: datetime
) -> Iterator[Fault]:
    uncovered = find_coverage_fault(load.facts, ready, settled=settled)
    if uncovered is not None:
        yield uncovered
    age_seconds = (now - load.at).total_seconds() if load.at else 0.0
    if age_seconds > rules.max_sample_age_seconds:
        yield Fault(
            SignalState.STALE,
            f"the oldest sample is {age_seconds:.0f} s old and {rules.max_sample_age_seconds:.0f} s are allowed; "
            "if pods are scraped less often, tell the operator the scrape interval",
        )
    for words in load.contradictions():
        yield Fault(SignalState.PARTIAL_ANSWER, words)


def _signals_of(load: PoolLoad, ready: ReadyReplicas, fault: Fault | None) -> PoolSignals:
    requests_per_second = load.ok_per_second + load.loading_errors_per_second
    has_requests = requests_per_second > 0 or bool(load.errors_per_second)
    silent = _count_silent(load.facts, ready)
    trusted = SignalState.MEASURED if has_requests else SignalState.NO_TRAFFIC
    return PoolSignals(
        state=fault.state if fault else trusted,
        message=fault.message if fault else "",
        at=load.at,
        window_seconds=load.window_seconds,
        is_window_assumed=load.is_window_assumed,
        replicas_covered=count_measured(load.facts, ready),
        requests_per_second=requests_per_second,
        good_per_second=load.good_per_second,
        good_above_per_second=load.good_above_per_second,
        errors_per_second=load.errors_per_second,
        replicas_silent=silent,
        silent_per_second=load.silent_per_second if silent else 0.0,
        silent_good_per_second=load.silent_good_per_second if silent else 0.0,
        concurrency=load.concurrency,
        queue_seconds=load.facts.numbers.get(QueryName.QUEUE),
        batch_size=load.facts.numbers.get(QueryName.BATCH_SIZE),
    )
