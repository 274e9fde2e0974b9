"""Each way in which an answer can be right or wrong, and the state that it leaves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clients.prometheus_rows import (
    EDGE,
    NOW,
    NOW_SECONDS,
    POOL,
    answer,
    latency,
    outcomes,
    row,
    scraped,
    situation,
    wish,
)
from tfserving_operator.autoscaling.buckets import EDGES, BucketEdge
from tfserving_operator.autoscaling.outcomes import outcomes as fared
from tfserving_operator.autoscaling.signals import PoolSignals, SignalState
from tfserving_operator.clients.prometheus_answers import Failure, Outcome
from tfserving_operator.clients.prometheus_signals import PoolWish, ReadingMemory, ReadingRules, read_signals
from tfserving_operator.clients.promql import SITUATION_LABEL, QueryName, Situation

RULES = ReadingRules(scrape_interval_seconds=10, max_sample_age_seconds=30)


def settled_memory(wanted: PoolWish) -> ReadingMemory:
    """What is remembered of a pool whose replicas have been ready for long."""
    memory = ReadingMemory()
    for minutes in (10, 5):
        _, memory = read_signals(outcomes(), {POOL: wanted}, memory, rules=RULES, now=NOW - timedelta(minutes=minutes))
    return memory


def signals_of(
    given_outcomes: Mapping[QueryName, Outcome], wanted: PoolWish, memory: ReadingMemory | None = None
) -> PoolSignals:
    remembered = settled_memory(wanted) if memory is None else memory
    signals, _ = read_signals(given_outcomes, {POOL: wanted}, remembered, rules=RULES, now=NOW)
    return signals[POOL]


@dataclass(frozen=True)
class Case:
    name: str
    outcomes: Mapping[QueryName, Outcome]
    state: SignalState
    message: str = ""
    wish: PoolWish = field(default_factory=lambda: wish(2))

    def __str__(self) -> str:
        return self.name


BOTH = scraped("a", "b")
BUSY = latency(good=90, ok=100)
SILENT = answer(
    row(30, le=EDGE.le, situation=Situation.FAILING.value), row(40, le="+Inf", situation=Situation.FAILING.value)
)
SLOW = Failure(SignalState.PROMETHEUS_SLOW, "no answer within 1.5 s")
REFUSED = Failure(SignalState.PROMETHEUS_REJECTED, "the credentials are refused")
DOWN = Failure(SignalState.PROMETHEUS_UNAVAILABLE, "cannot be reached")


def all_queries(failure: Failure) -> Mapping[QueryName, Outcome]:
    return dict.fromkeys(QueryName, failure)


CASES = [
    Case("all replicas answer requests", outcomes(targets=BOTH, latency=BUSY), SignalState.MEASURED),
    Case(
        "errors alone are traffic",
        outcomes(targets=BOTH, errors=answer(row(3, status="UNAVAILABLE"))),
        SignalState.MEASURED,
    ),
    Case(
        "mistakes of clients are traffic",
        outcomes(targets=BOTH, errors=answer(row(3, status="NOT_FOUND"))),
        SignalState.MEASURED,
    ),
    Case(
        "the first requests of a fresh pod are traffic",
        outcomes(targets=BOTH, first_samples=answer(row(40))),
        SignalState.MEASURED,
    ),
    Case(
        "pods that terminate are measured beside the ready ones",
        outcomes(targets=scraped("a", "b", "c"), latency=BUSY),
        SignalState.MEASURED,
    ),
    Case("no series of requests at all", outcomes(targets=BOTH), SignalState.NO_TRAFFIC),
    Case(
        "series that do not move",
        outcomes(targets=BOTH, latency=latency(good=0, ok=0), errors=answer(row(0, status="INTERNAL"))),
        SignalState.NO_TRAFFIC,
    ),
    Case("nothing is ready", outcomes(targets=BOTH, latency=BUSY), SignalState.NO_REPLICAS, wish=wish(0)),
    Case(
        "a replica was scraped once",
        outcomes(targets=scraped("a"), situations=answer(situation(Situation.FIRST_SCRAPE, "b")), latency=BUSY),
        SignalState.NOT_YET_REPORTED,
        "1 of 2 ready replicas are measured; b: scraped once so far",
    ),
    Case(
        "half the pods are no targets",
        outcomes(targets=scraped("a"), latency=BUSY),
        SignalState.REPLICAS_MISSING,
        "1 of 2",
    ),
    Case(
        "a scrape fails",
        outcomes(targets=scraped("a"), situations=answer(situation(Situation.FAILING, "b")), latency=BUSY),
        SignalState.REPLICAS_MISSING,
        "b: its last scrape failed",
    ),
    Case(
        "every scrape fails",
        outcomes(
            situations=answer(situation(Situation.FAILING, "a"), situation(Situation.FAILING, "b")),
            latency=SILENT,
        ),
        SignalState.REPLICAS_MISSING,
        "a, b: its last scrape failed",
    ),
    Case(
        "the labels are not on the targets, or the job or tenant is another",
        outcomes(),
        SignalState.REPLICAS_MISSING,
        "no target with the labels of this pool",
    ),
    Case(
        "the wrong port is scraped, or buckets are dropped",
        outcomes(situations=answer(situation(Situation.UNREADABLE, "a"), situation(Situation.UNREADABLE, "b"))),
        SignalState.REPLICAS_MISSING,
        "a, b: scraped without :tensorflow:serving:request_latency_bucket",
    ),
    Case(
        "a pod that terminates does not stand in for one that is lost",
        outcomes(targets=scraped("a", "old"), latency=BUSY),
        SignalState.REPLICAS_MISSING,
        "b: not a target of Prometheus",
        wish=wish(2, "a", "b"),
    ),
    Case(
        "samples are as old as allowed",
        outcomes(targets=scraped("a", "b", age_seconds=30), latency=BUSY),
        SignalState.MEASURED,
    ),
    Case(
        "one sample is too old",
        outcomes(targets=answer(row(NOW_SECONDS - 1, pod="a"), row(NOW_SECONDS - 31, pod="b")), latency=BUSY),
        SignalState.STALE,
        "31 s old and 30 s are allowed",
    ),
    Case(
        "remote storage lags by minutes",
        outcomes(situations=answer(situation(Situation.LAGGING, "a", 120), situation(Situation.LAGGING, "b", 119))),
        SignalState.STALE,
        "a, b: its newest sample is old",
    ),
    Case(
        "old samples of a pod that is gone do not hide what is wrong",
        outcomes(targets=scraped("a"), situations=answer(situation(Situation.LAGGING, "gone", 120))),
        SignalState.REPLICAS_MISSING,
        "b: not a target",
        wish=wish(2, "a", "b"),
    ),
    Case(
        "remote storage lags by hours",
        outcomes(situations=answer(situation(Situation.PAST))),
        SignalState.STALE,
        "lags behind",
    ),
    Case(
        "a clock or a cache is behind",
        outcomes(targets=answer(row(NOW_SECONDS - 7201, pod="a"), at_seconds=NOW_SECONDS - 7200), latency=BUSY),
        SignalState.STALE,
        "7200 s behind",
    ),
    Case(
        "a clock is ahead",
        outcomes(targets=BOTH, latency=answer(row(1, le="+Inf"), at_seconds=NOW_SECONDS + 60)),
        SignalState.STALE,
        "60 s ahead",
    ),
    Case(
        "one query fails",
        outcomes(targets=BOTH, latency=BUSY, queue=SLOW),
        SignalState.PARTIAL_ANSWER,
        "queue: no answer within 1.5 s",
    ),
    Case(
        "the query of the targets fails",
        outcomes(targets=DOWN, latency=BUSY),
        SignalState.PARTIAL_ANSWER,
        "targets: cannot be reached",
    ),
    Case(
        "the store of some series is away",
        outcomes(targets=BOTH, latency=replace(BUSY, warnings=("store x is away",))),
        SignalState.PARTIAL_ANSWER,
        "store x is away",
    ),
    Case(
        "fewer in all buckets than in one",
        outcomes(targets=BOTH, latency=latency(good=101, ok=100)),
        SignalState.PARTIAL_ANSWER,
        "more requests than all",
    ),
    Case(
        "the edge's bucket is dropped",
        outcomes(targets=BOTH, latency=answer(row(5, le="+Inf"))),
        SignalState.PARTIAL_ANSWER,
        "37.4813ms",
    ),
    Case(
        "the bucket of all is dropped",
        outcomes(targets=BOTH, latency=answer(row(5, le=EDGE.le))),
        SignalState.PARTIAL_ANSWER,
        "is missing",
    ),
    Case(
        "two jobs scrape some pods",
        outcomes(targets=BOTH, latency=BUSY, situations=answer(situation(Situation.DUPLICATE, "a", 2))),
        SignalState.PARTIAL_ANSWER,
        "several jobs",
    ),
    Case(
        "a rate is not a number",
        outcomes(targets=BOTH, latency=latency(good=math.nan, ok=100)),
        SignalState.NOT_A_NUMBER,
    ),
    Case("a time is not a number", outcomes(targets=answer(row(math.nan, pod="a"))), SignalState.NOT_A_NUMBER),
    Case(
        "concurrency is infinite", outcomes(targets=BOTH, concurrency=answer(row(math.inf))), SignalState.NOT_A_NUMBER
    ),
    Case("nothing answers in time", all_queries(SLOW), SignalState.PROMETHEUS_SLOW),
    Case("nothing answers", all_queries(DOWN), SignalState.PROMETHEUS_UNAVAILABLE),
    Case("all is refused", all_queries(REFUSED), SignalState.PROMETHEUS_REJECTED),
    Case(
        "several failures: what needs a person goes first",
        {**all_queries(SLOW), QueryName.ERRORS: REFUSED},
        SignalState.PROMETHEUS_REJECTED,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_state(case: Case) -> None:
    signals = signals_of(case.outcomes, case.wish)

    assert signals.state is case.state
    assert case.message in signals.message
    assert (signals.message == "") is signals.state.may_scale_down


def test_every_state_of_an_answer_has_a_case() -> None:
    assert {case.state for case in CASES} == set(SignalState) - {SignalState.NOT_CONFIGURED}


@pytest.mark.parametrize(("edge", "good"), [(EDGE, 30), (None, 40)])
@pytest.mark.parametrize("jobs", [1, 2])
def test_what_replicas_did_before_their_scrapes_failed_is_told_apart(
    edge: BucketEdge | None, good: float, jobs: int
) -> None:
    rows = [
        row(value * jobs, **{**labels, SITUATION_LABEL: "failing"}) for labels, value in latency(good=30, ok=40).rows
    ]
    failing = answer(situation(Situation.FAILING, "b", jobs))
    seen = latency(good=5, ok=10)
    both = outcomes(targets=scraped("a"), situations=failing, latency=answer(*seen.rows, *rows))

    signals = signals_of(both, wish(2, "a", "b", edge=edge))

    assert signals.state is SignalState.REPLICAS_MISSING
    assert (signals.replicas_silent, signals.silent_per_second, signals.silent_good_per_second) == (1, 40, good)
    assert signals.requests_per_second == 10


def test_a_pod_on_its_way_out_neither_covers_a_silent_replica_nor_is_one() -> None:
    failing = [row(value, **{**labels, SITUATION_LABEL: "failing"}) for labels, value in latency(good=30, ok=40).rows]
    still_there = outcomes(
        targets=scraped("old"), situations=answer(situation(Situation.FAILING, "a")), latency=answer(*failing)
    )
    covered = signals_of(still_there, wish(1, "a"))
    assert (covered.replicas_covered, covered.silent_per_second) == (0, 40)

    going = outcomes(situations=answer(situation(Situation.FAILING, "old")), latency=answer(*failing))
    gone = signals_of(going, wish(1, "a"))
    assert (gone.replicas_silent, gone.silent_per_second) == (0, 0)


def test_replicas_that_fall_silent_without_ever_having_had_a_request_are_counted() -> None:
    failing = answer(situation(Situation.FAILING, "a"), situation(Situation.FAILING, "old"))
    assert signals_of(outcomes(situations=failing), wish(2, "a", "b")).replicas_silent == 1
    assert signals_of(outcomes(situations=failing), wish(1)).replicas_silent == 1, "names are not known"


@pytest.mark.parametrize("rate", [40, 0])
@pytest.mark.parametrize(("pools", "silent", "is_believed"), [(1, 1, True), (2, 2, True), (6, 3, True), (5, 3, False)])
def test_silence_of_most_pools_at_once_is_a_fault_of_scraping(
    pools: int, silent: int, is_believed: bool, rate: float
) -> None:
    keys = [("ns", "m", f"p{number}") for number in range(pools)]
    of_pool = [{"tfserving_dev_pool": key[2]} for key in keys]
    failing = [
        row(value, **{**labels, SITUATION_LABEL: "failing", **of})
        for of in of_pool[:silent]
        for labels, value in latency(good=rate, ok=rate).rows
    ]
    given_outcomes = outcomes(
        targets=answer(*(row(NOW_SECONDS, pod="a", **of) for of in of_pool[silent:])),
        situations=answer(*(row(1, pod="a", **{SITUATION_LABEL: "failing"}, **of) for of in of_pool[:silent])),
        latency=answer(*failing),
    )
    wishes = dict.fromkeys(keys, wish(1, "a"))
    memory = ReadingMemory()
    for minutes in (10, 5):
        _, memory = read_signals(outcomes(), wishes, memory, rules=RULES, now=NOW - timedelta(minutes=minutes))

    signals, _ = read_signals(given_outcomes, wishes, memory, rules=RULES, now=NOW)

    found = [(signals[key].replicas_silent, signals[key].silent_per_second) for key in keys[:silent]]
    assert found == [(1, rate) if is_believed else (0, 0)] * silent
    assert all("look at the scraping" not in signals[key].message for key in keys) is is_believed


def test_client_mistakes_are_reported_and_do_not_count_as_overload() -> None:
    errors = answer(row(30, status="INVALID_ARGUMENT"), row(20, status="DEADLINE_EXCEEDED"), row(0, status="ABORTED"))

    signals = signals_of(outcomes(targets=BOTH, latency=latency(good=60, ok=80), errors=errors), wish(2))

    assert signals.requests_per_second == 100
    assert signals.good_share == 0.6
    assert signals.errors_per_second == {"INVALID_ARGUMENT": 30, "DEADLINE_EXCEEDED": 20}
    # Taken out once and not twice: what was late stays late beside them.
    assert (fared(signals).requests, fared(signals).late) == (100, 40)


def test_a_status_that_nobody_knows_counts_as_overload() -> None:
    errors = answer(row(20, status="SOMETHING_NEW"))
    assert signals_of(outcomes(targets=BOTH, latency=latency(good=80, ok=80), errors=errors), wish(2)).good_share == 0.8


def test_both_spellings_of_an_edge_are_added() -> None:
    """While Prometheus is upgraded from 2 to 3, some series say 20823 and others 20823.0."""
    whole = wish(2, edge=replace(EDGE, le="20823"))
    rows = answer(row(10, le="20823"), row(20, le="20823.0"), row(50, le="+Inf"))
    assert signals_of(outcomes(targets=BOTH, latency=rows), whole).good_per_second == 30


def test_what_is_good_at_the_edge_above_is_told_where_it_is_asked_for() -> None:
    rows = answer(row(6, le=EDGE.le), row(9, le=EDGES[15].le), row(10, le="+Inf"))
    asked = signals_of(outcomes(targets=BOTH, latency=rows), replace(wish(2), next_edge=EDGES[15]))
    assert (asked.good_per_second, asked.good_above_per_second) == (6.0, 9.0)
    assert signals_of(outcomes(targets=BOTH, latency=rows), wish(2)).good_above_per_second is None


def test_an_edge_above_that_is_not_scraped_leaves_the_one_below() -> None:
    rows = latency(good=6, ok=10)
    found = signals_of(outcomes(targets=BOTH, latency=rows), replace(wish(2), next_edge=EDGES[15]))
    assert (found.state, found.good_above_per_second) == (SignalState.MEASURED, None)


def test_without_an_edge_all_that_is_ok_is_good() -> None:
    rows = answer(row(50, le="+Inf"))
    assert signals_of(outcomes(targets=BOTH, latency=rows), wish(2, edge=None)).good_share == 1.0


def test_pods_that_two_jobs_scrape_count_once() -> None:
    twice = answer(*(situation(Situation.DUPLICATE, pod, 2) for pod in ("a", "b")))
    given_outcomes = outcomes(
        targets=BOTH,
        situations=twice,
        latency=latency(good=180, ok=200),
        errors=answer(row(4, status="INTERNAL")),
        concurrency=answer(row(12)),
        queue=answer(row(0.003)),
    )

    signals = signals_of(given_outcomes, wish(2))

    assert signals.state is SignalState.MEASURED
    assert (signals.requests_per_second, signals.good_per_second) == (102, 90)
    assert (signals.concurrency, signals.queue_seconds) == (6, 0.003)


def reading(at_seconds: float, memory: ReadingMemory) -> ReadingMemory:
    targets = answer(row(at_seconds, pod="a"), row(at_seconds + 1, pod="b"), at_seconds=at_seconds)
    _, memory = read_signals(outcomes(targets=targets), {POOL: wish(2)}, memory, rules=RULES, now=NOW)
    return memory


def test_first_values_are_divided_by_the_time_since_the_scrape_before() -> None:
    memory = reading(NOW_SECONDS - 9, reading(NOW_SECONDS - 13, ReadingMemory()))
    targets = answer(row(NOW_SECONDS - 5, pod="a"), row(NOW_SECONDS - 4, pod="b"))
    first = answer(row(40), row(8, status="UNAVAILABLE"))

    signals = signals_of(outcomes(targets=targets, first_samples=first), wish(2), memory)

    assert signals.window_seconds == 4
    assert signals.errors_per_second == {"UNAVAILABLE": 2}
    assert signals.requests_per_second == 12


def test_the_window_is_the_configured_interval_until_two_scrapes_were_seen() -> None:
    signals = signals_of(outcomes(targets=BOTH, first_samples=answer(row(40))), wish(2), ReadingMemory())
    assert (signals.window_seconds, signals.requests_per_second) == (10, 4)


def test_the_same_scrape_seen_twice_keeps_its_window() -> None:
    memory = reading(NOW_SECONDS - 9, reading(NOW_SECONDS - 13, ReadingMemory()))
    assert reading(NOW_SECONDS - 9, memory).times == memory.times


def test_first_requests_are_as_good_as_the_others() -> None:
    given_outcomes = outcomes(targets=BOTH, latency=latency(good=25, ok=100), first_samples=answer(row(1000)))
    signals = signals_of(given_outcomes, wish(2))
    assert (signals.requests_per_second, signals.good_share) == (200, 0.25)


def test_a_replica_that_has_just_become_ready_is_awaited_and_then_missed() -> None:
    memory = settled_memory(wish(1))
    seen = outcomes(targets=scraped("a"), latency=BUSY)
    states = []
    for seconds in (0, 29, 30):
        now = NOW + timedelta(seconds=seconds)
        fresh = outcomes(targets=answer(row(now.timestamp(), pod="a")), latency=BUSY)
        signals, memory = read_signals(fresh if seconds else seen, {POOL: wish(2)}, memory, rules=RULES, now=now)
        states.append(signals[POOL].state)

    assert states == [SignalState.NOT_YET_REPORTED, SignalState.NOT_YET_REPORTED, SignalState.REPLICAS_MISSING]


def test_a_lost_replica_is_missed_although_another_has_just_become_ready() -> None:
    memory = settled_memory(wish(2))
    assert signals_of(outcomes(targets=scraped("a")), wish(3), memory).state is SignalState.REPLICAS_MISSING


def test_many_missing_pods_are_named_in_part() -> None:
    names = [f"pod-{number}" for number in range(9)]
    assert "pod-0, pod-1, pod-2 and 6 more: not a target" in signals_of(outcomes(), wish(9, *names)).message


@given(
    ready=st.integers(min_value=1, max_value=5),
    pods=st.integers(min_value=0, max_value=5),
    situations=st.lists(st.tuples(st.sampled_from(Situation), st.sampled_from("abcde")), max_size=5),
    good=st.floats(min_value=0, max_value=1e6),
    more=st.floats(min_value=0, max_value=1e6),
)
def test_only_a_look_at_every_ready_replica_may_scale_down(
    ready: int, pods: int, situations: list[tuple[Situation, str]], good: float, more: float
) -> None:
    given_outcomes = outcomes(
        targets=scraped(*"abcde"[:pods]),
        situations=answer(*(situation(what, pod) for what, pod in situations)),
        latency=latency(good=good, ok=good + more),
    )

    signals = signals_of(given_outcomes, wish(ready))

    assert not signals.state.may_scale_down or pods >= ready
    assert signals.good_share is None or 0 <= signals.good_share <= 1
    assert math.isfinite(signals.requests_per_second)


def test_rows_of_others_change_nothing() -> None:
    other = ({"namespace": "other", "tfserving_dev_servedmodel": "m", "tfserving_dev_pool": "gpu", "pod": "a"}, 1.0)
    bare: tuple[dict[str, str], float] = ({}, 1.0)
    foreign = {name: replace(answer(row(1)), rows=(other, bare)) for name in QueryName}
    assert signals_of(foreign, wish(1)).state is SignalState.REPLICAS_MISSING
