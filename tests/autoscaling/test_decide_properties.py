"""What holds of every decision, whatever was seen before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.autoscaling.scenes import NOON, bounds, observation, pool, signals, spec
from tfserving_operator.api.autoscaling import Autoscaling, AutoscalingStatus, FillOrder, PoolCapacity, ScalingPolicy
from tfserving_operator.autoscaling.decide import decide_replicas
from tfserving_operator.autoscaling.decision import Decision
from tfserving_operator.autoscaling.observation import PoolObservation, ScalingObservation
from tfserving_operator.autoscaling.signals import PoolSignals, SignalState
from tfserving_operator.autoscaling.state import ScalingState

UNTRUSTED = [state for state in SignalState if not state.may_scale_down]
MOST = (6, 20)
ANY_NUMBER = st.floats(0, 5000) | st.sampled_from([math.nan, math.inf, -1.0])


@dataclass(frozen=True)
class Look:
    """What is seen at one moment of two pools."""

    elapsed: float
    states: tuple[SignalState, SignalState]
    rates: tuple[float, float]
    shares: tuple[float, float]
    desired: tuple[int, int]
    ready: tuple[int, int]
    waiting: int
    is_rolling_out: bool


def looks(
    states: Sequence[SignalState] = tuple(SignalState), rates: st.SearchStrategy[float] = ANY_NUMBER
) -> st.SearchStrategy[Look]:
    state = st.sampled_from(states)
    share = st.floats(0, 1)
    return st.builds(
        Look,
        elapsed=st.floats(0.5, 90),
        states=st.tuples(state, state),
        rates=st.tuples(rates, rates),
        shares=st.tuples(share, share),
        desired=st.tuples(st.integers(1, MOST[0]), st.integers(0, MOST[1])),
        ready=st.tuples(st.integers(0, MOST[0]), st.integers(0, MOST[1])),
        waiting=st.integers(0, 2),
        is_rolling_out=st.booleans(),
    )


def seen(look: Look, seconds: float, spec: Autoscaling) -> ScalingObservation:
    now = NOON + timedelta(seconds=seconds)
    pools: list[PoolObservation] = []
    for index, (name, limits) in enumerate([("gpu", bounds(min=1, max=MOST[0])), ("cpu", bounds(max=MOST[1]))]):
        rate = look.rates[index]
        load = signals(
            rate,
            at=now,
            covered=look.ready[index],
            share=look.shares[index],
            state=look.states[index],
            concurrency=rate,
        )
        if look.states[index] is SignalState.NO_TRAFFIC:
            load = PoolSignals(
                state=SignalState.NO_TRAFFIC, at=now, window_seconds=10, replicas_covered=look.ready[index]
            )
        pools.append(
            pool(
                load,
                name=name,
                replicas=limits,
                ready=look.ready[index],
                desired=look.desired[index],
                waiting=min(look.waiting, look.desired[index]),
                is_rolling_out=look.is_rolling_out,
                cost=float(2 - index),
            )
        )
    return observation(*pools, spec=spec, replicas=3)


def played(history: Sequence[Look], spec: Autoscaling) -> tuple[ScalingState, float]:
    state, seconds = ScalingState.initial(), 0.0
    for look in history:
        seconds += look.elapsed
        _, state = decide_replicas(seen(look, seconds, spec), state, now=NOON + timedelta(seconds=seconds))
    return state, seconds


SPECS = st.builds(
    lambda policy, fill, most: spec(policy, fill=fill, max_replicas=most),
    st.sampled_from(ScalingPolicy),
    st.sampled_from(FillOrder),
    st.none() | st.integers(1, 30),
)
METRIC_SPECS = SPECS.filter(lambda each: each.policy is not ScalingPolicy.FIXED)
HISTORIES = st.lists(looks(), max_size=8)


def decide(look: Look, state: ScalingState, seconds: float, spec: Autoscaling) -> tuple[Decision, ScalingState]:
    return decide_replicas(seen(look, seconds, spec), state, now=NOON + timedelta(seconds=seconds))


@settings(max_examples=50)
@given(SPECS, HISTORIES, looks())
def test_every_pool_stays_within_its_bounds_and_something_runs(
    spec: Autoscaling, history: list[Look], last: Look
) -> None:
    state, seconds = played(history, spec)
    decision, _ = decide(last, state, seconds + last.elapsed, spec)
    assert set(decision.replicas) == {"gpu", "cpu"}
    assert 1 <= decision.replicas["gpu"] <= MOST[0]
    assert 0 <= decision.replicas["cpu"] <= MOST[1]
    assert spec.max_replicas is None or sum(decision.replicas.values()) <= spec.max_replicas
    assert decision.message
    assert decision.is_limited == (decision.limit is not None)


@settings(max_examples=50)
@given(SPECS, HISTORIES, looks())
def test_deciding_twice_at_the_same_time_is_the_same(spec: Autoscaling, history: list[Look], last: Look) -> None:
    state, seconds = played(history, spec)
    first, state = decide(last, state, seconds + last.elapsed, spec)
    second, _ = decide(last, state, seconds + last.elapsed, spec)
    assert second == first


@settings(max_examples=50)
@given(METRIC_SPECS, HISTORIES, looks(states=UNTRUSTED))
def test_nothing_is_ever_given_up_on_numbers_that_are_not_trusted(
    spec: Autoscaling, history: list[Look], last: Look
) -> None:
    if sum(last.ready) == 0 or (spec.max_replicas is not None and sum(last.desired) > spec.max_replicas):
        return
    state, seconds = played(history, spec)
    decision, _ = decide(last, state, seconds + last.elapsed, spec)
    assert decision.replicas["gpu"] >= last.desired[0]
    assert decision.replicas["cpu"] >= last.desired[1]


@settings(max_examples=50)
@given(METRIC_SPECS, looks(), st.floats(0.1, 1000), st.floats(0, 1))
def test_a_restored_state_never_lowers_at_first(
    spec: Autoscaling, first: Look, carries: float, confidence: float
) -> None:
    if spec.max_replicas is not None and sum(first.desired) > spec.max_replicas:
        return
    known = [PoolCapacity(name=name, requests_per_second=carries, confidence=confidence) for name in ("gpu", "cpu")]
    state = ScalingState.restored(AutoscalingStatus(capacities=known), now=NOON)
    decision, _ = decide(first, state, 0.0, spec)
    assert sum(decision.replicas.values()) >= sum(first.desired)


@settings(max_examples=50)
@given(
    METRIC_SPECS,
    st.lists(looks(states=[SignalState.MEASURED], rates=st.floats(1, 3000)), max_size=10),
    looks(states=[SignalState.MEASURED], rates=st.just(0.0)),
    st.floats(1, 3000),
    st.floats(1, 3000),
)
def test_more_load_at_the_same_moment_never_wants_fewer(
    spec: Autoscaling, history: list[Look], last: Look, one: float, other: float
) -> None:
    # Where more run than are asked for, they are on their way out: within its tolerance HPA keeps what is asked for,
    # which can be fewer than it wants below the tolerance, as it reckons with what runs.
    if sum(last.ready) == 0 or sum(last.ready) > sum(last.desired):
        return
    state, seconds = played(history, spec)

    def total(rate: float) -> int:
        share = rate / sum(last.ready)
        look = Look(**{**vars(last), "rates": (share * last.ready[0], share * last.ready[1]), "shares": (1.0, 1.0)})
        return sum(decide(look, state, seconds + last.elapsed, spec)[0].replicas.values())

    low, high = sorted((one, other))
    if spec.policy is not ScalingPolicy.LATENCY:
        assert total(low) <= total(high)


@settings(max_examples=50)
@given(METRIC_SPECS, HISTORIES)
def test_what_is_remembered_is_bounded(spec: Autoscaling, history: list[Look]) -> None:
    state, _ = played(history * 10, spec)
    assert len(state.history.bins) <= 34
    assert len(state.behavior.changes) <= 256
    assert all(len(known.ready_log) <= 64 for known in state.knowledge.values())
