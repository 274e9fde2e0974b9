from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from tests.autoscaling.scenes import NOON, TEN, bounds, knowing, observation, pool, signals, spec, steady
from tfserving_operator.api.autoscaling import (
    Autoscaling,
    Behavior,
    RateLimit,
    RateLimitType,
    ScalingPolicy,
    ScalingRules,
    Schedule,
    Target,
    TargetMetric,
)
from tfserving_operator.autoscaling.decide import decide_replicas
from tfserving_operator.autoscaling.decision import Decision, ScalingRule
from tfserving_operator.autoscaling.signals import PoolSignals, SignalState
from tfserving_operator.autoscaling.state import ScalingState

UNTRUSTED = [state for state in SignalState if not state.may_scale_down]
METRIC_POLICIES = [ScalingPolicy.LATENCY, ScalingPolicy.HPA, ScalingPolicy.KPA]


def decide(
    rate: float, *, ready: int, spec: Autoscaling, state: ScalingState, seconds: float = 0, **fields: Any
) -> Decision:
    now = NOON + timedelta(seconds=seconds)
    load = fields.pop("load", None) or signals(rate, at=now, covered=ready)
    fields.setdefault("replicas", TEN)
    decision, _ = decide_replicas(observation(pool(load, ready=ready, **fields), spec=spec), state, now=now)
    return decision


# What policies want


@pytest.mark.parametrize(
    ("policy", "rate", "replicas"),
    [
        pytest.param(ScalingPolicy.HPA, 670, 7, id="hpa-up"),
        pytest.param(ScalingPolicy.HPA, 650, 6, id="hpa-within-the-tolerance"),
        pytest.param(ScalingPolicy.KPA, 480, 7, id="kpa-up-at-70-percent"),
        pytest.param(ScalingPolicy.KPA, 70, 3, id="kpa-at-most-half-down"),
    ],
)
def test_known_rules_decide_as_they_are_known_to(policy: ScalingPolicy, rate: float, replicas: int) -> None:
    decision, _, _ = steady(rate, ready=6, spec=spec(policy), replicas=TEN)
    assert decision.replicas == {"cpu": replicas}


def test_kpa_panics_in_a_surge_and_gives_nothing_up_for_a_stable_window() -> None:
    kpa = spec(ScalingPolicy.KPA, max_replicas=100)
    _, state, now = steady(70, ready=2, spec=kpa)
    surge, state, now = steady(700, ready=2, spec=kpa, state=state, start=now + timedelta(seconds=10), seconds=0)
    assert surge.replicas == {"cpu": 10}
    assert surge.rule is ScalingRule.PANIC
    after, state, now = steady(70, ready=10, spec=kpa, state=state, start=now + timedelta(seconds=10), seconds=40)
    assert after.replicas == {"cpu": 10}
    over, _, _ = steady(70, ready=10, spec=kpa, state=state, start=now + timedelta(seconds=10), seconds=60)
    assert over.replicas["cpu"] < 10


def test_concurrency_can_be_the_target() -> None:
    by_concurrency = spec(ScalingPolicy.HPA, target=Target(metric=TargetMetric.CONCURRENCY, value=4))
    load = signals(100, at=NOON, covered=2, concurrency=16.0)
    assert decide(100, ready=2, spec=by_concurrency, state=knowing(), load=load).replicas == {"cpu": 4}


def test_fixed_needs_no_telemetry() -> None:
    blind = PoolSignals(state=SignalState.NOT_CONFIGURED)
    fixed = observation(pool(blind, ready=6, replicas=TEN), spec=spec(ScalingPolicy.FIXED), replicas=3)
    decision, _ = decide_replicas(fixed, ScalingState.initial(), now=NOON)
    assert decision.replicas == {"cpu": 3}
    assert decision.rule is ScalingRule.FIXED


def test_latency_provides_for_the_load_at_what_a_replica_carries() -> None:
    decision = decide(550, ready=4, spec=spec(), state=knowing(100), start_up_seconds=30.0)
    assert decision.replicas["cpu"] in (6, 7)
    assert decision.rule is ScalingRule.FORECAST
    assert "requests/s expected within 30s at" in decision.message


def test_latency_gives_up_what_is_not_needed_after_a_while() -> None:
    decision, _, _ = steady(150, ready=8, spec=spec(), state=knowing(100), replicas=TEN)
    assert decision.replicas["cpu"] in (2, 3)


def test_late_requests_at_a_load_that_should_be_carried_add_replicas() -> None:
    decision, _, _ = steady(300, ready=4, spec=spec(), state=knowing(100), replicas=TEN, share=0.95, seconds=60)
    assert decision.replicas["cpu"] > 4


def test_replicas_are_not_added_when_they_do_not_help() -> None:
    state, now, decision = ScalingState.initial(), NOON, None
    for ready in (1, 2, 4, 8, 8):
        decision, state, now = steady(
            80, ready=ready, spec=spec(max_replicas=100), share=0.6, seconds=300, state=state, start=now
        )
        now += timedelta(seconds=10)
    assert decision is not None
    assert decision.rule is ScalingRule.REPLICAS_CANNOT_HELP
    assert decision.replicas["cpu"] <= 8
    assert "more replicas would not help" in decision.message


def test_fewer_replicas_are_tried_only_in_small_steps_where_nothing_is_known() -> None:
    decision, _, _ = steady(100, ready=10, spec=spec(), replicas=bounds(min=1, max=20))
    assert 8 <= decision.replicas["cpu"] < 10
    assert decision.rule is ScalingRule.PROBE


def test_a_new_config_starts_from_the_old_value_and_is_not_scaled_down_until_seen() -> None:
    _, state, now = steady(550, ready=6, spec=spec(), state=knowing(100), replicas=TEN, config_hash="one")
    load = signals(100, at=now + timedelta(seconds=2), covered=6)
    changed = pool(load, ready=6, replicas=TEN, config_hash="two")
    decision, state = decide_replicas(observation(changed, spec=spec()), state, now=now + timedelta(seconds=2))
    assert decision.replicas == {"cpu": 6}
    assert state.capacities()[0].confidence < 0.2


# What is not known


@pytest.mark.parametrize("state", UNTRUSTED)
@pytest.mark.parametrize("policy", METRIC_POLICIES)
def test_nothing_is_given_up_without_telemetry(policy: ScalingPolicy, state: SignalState) -> None:
    _, before, now = steady(600, ready=6, spec=spec(policy), replicas=TEN)
    blind = PoolSignals(state=state)
    seen = observation(pool(blind, ready=6, replicas=TEN), spec=spec(policy))
    decision, _ = decide_replicas(seen, before, now=now)
    assert decision.replicas == {"cpu": 6}
    assert decision.rule is ScalingRule.NO_TELEMETRY


@pytest.mark.parametrize("policy", METRIC_POLICIES)
@pytest.mark.parametrize("state", [SignalState.REPLICAS_MISSING, SignalState.PARTIAL_ANSWER])
def test_a_load_that_is_high_as_far_as_it_is_seen_adds_replicas(policy: ScalingPolicy, state: SignalState) -> None:
    _, before, now = steady(350, ready=5, spec=spec(policy), replicas=TEN, state=knowing(100))
    now += timedelta(seconds=30)
    partial = signals(850, at=now, covered=3, state=state, message="2 of 5 replicas are not scraped")
    seen = observation(pool(partial, ready=5, replicas=TEN), spec=spec(policy))
    decision, _ = decide_replicas(seen, before, now=now)
    assert decision.replicas["cpu"] > 5
    assert "2 of 5 replicas are not scraped" in decision.message


@pytest.mark.parametrize("policy", METRIC_POLICIES)
def test_replicas_too_busy_to_be_scraped_get_help(policy: ScalingPolicy) -> None:
    """Their last two samples are all that is known, and most of what they answered was late."""
    _, before, now = steady(180, ready=2, spec=spec(policy), replicas=TEN, state=knowing(100), share=1.0)
    now += timedelta(seconds=30)
    silent = PoolSignals(
        state=SignalState.REPLICAS_MISSING,
        message="0 of 2 ready replicas are measured; a, b: its last scrape failed",
        replicas_silent=2,
        silent_per_second=300.0,
        silent_good_per_second=60.0,
    )
    seen = observation(pool(silent, ready=2, replicas=TEN), spec=spec(policy))
    decision, after = decide_replicas(seen, before, now=now)
    assert decision.replicas["cpu"] > 2
    assert decision.rule is ScalingRule.NO_TELEMETRY
    assert "300/s, 80% late, on others before their scrapes failed" in decision.message
    waiting = observation(
        pool(silent, ready=2, replicas=TEN, desired=decision.replicas["cpu"], starting=decision.replicas["cpu"] - 2),
        spec=spec(policy),
    )
    again, _ = decide_replicas(waiting, after, now=now + timedelta(seconds=10))
    assert again.replicas == decision.replicas, "the same old samples must not ask for more and more"
    lasting, after = decide_replicas(waiting, after, now=now + timedelta(seconds=20))
    assert lasting.replicas["cpu"] == max(decision.replicas["cpu"], 4), "lasting silence: twice those that are ready"
    later, _ = decide_replicas(waiting, after, now=now + timedelta(seconds=50))
    assert later.replicas == lasting.replicas


def test_a_scrape_that_fails_is_waited_out_and_lasting_silence_taken_for_overload() -> None:
    """A load that jumps within one scrape interval keeps replicas from ever showing it."""
    _, before, now = steady(180, ready=2, spec=spec(), replicas=TEN, state=knowing(100))
    silent = PoolSignals(
        state=SignalState.REPLICAS_MISSING,
        replicas_silent=2,
        silent_per_second=180.0,
        silent_good_per_second=180.0,
        message="no scrapes",
    )
    seen = observation(pool(silent, ready=2, replicas=TEN), spec=spec())
    held, after = decide_replicas(seen, before, now=now + timedelta(seconds=10))
    assert held.replicas == {"cpu": 2}
    held, after = decide_replicas(seen, after, now=now + timedelta(seconds=28))
    assert held.replicas == {"cpu": 2}
    helped, after = decide_replicas(seen, after, now=now + timedelta(seconds=30))
    assert helped.replicas == {"cpu": 4}
    answering = observation(
        pool(signals(180, at=now + timedelta(seconds=40), covered=2), ready=2, replicas=TEN, desired=4), spec=spec()
    )
    _, after = decide_replicas(answering, after, now=now + timedelta(seconds=40))
    assert after.silent_since is None


@pytest.mark.parametrize("policy", METRIC_POLICIES)
def test_idle_replicas_that_all_fall_silent_are_taken_for_overloaded(policy: ScalingPolicy) -> None:
    """A burst that begins and blocks a server between two scrapes leaves no number behind."""
    rules = spec(policy)
    _, state, now = steady(0, ready=1, spec=rules, replicas=TEN)
    begin = now
    silent = PoolSignals(state=SignalState.REPLICAS_MISSING, replicas_silent=1, message="no scrapes")
    wanted, messages = {}, []
    desired = 1
    for _ in range(60):
        now += timedelta(seconds=5)
        seen = observation(pool(silent, ready=1, replicas=TEN, desired=desired), spec=rules)
        decision, state = decide_replicas(seen, state, now=now)
        desired = decision.replicas["cpu"]
        wanted[(now - begin).total_seconds()] = desired
        messages.append(decision.message)
    assert wanted[20] == 1
    assert wanted[25] == 2, "two scrape intervals of ten seconds after the first tick without an answer"
    assert set(wanted.values()) == {1, 2}
    assert messages[4] == (
        "pool cpu: no scrapes; an overload without numbers, as no ready replica has answered a scrape for 20s, wants 2"
    )


@pytest.mark.parametrize("policy", METRIC_POLICIES)
def test_lasting_silence_brings_help_whatever_was_seen_last(policy: ScalingPolicy) -> None:
    """The last samples are of the time in which two replicas shared the load, and say that one carries it twice."""
    rules = spec(policy)
    _, state, now = steady(80, ready=2, spec=rules, state=knowing(100), replicas=TEN, seconds=30)
    silent = PoolSignals(
        state=SignalState.REPLICAS_MISSING,
        replicas_silent=1,
        silent_per_second=40.0,
        silent_good_per_second=40.0,
        message="no scrapes",
    )
    for _ in range(4):
        now += timedelta(seconds=10)
        decision, state = decide_replicas(observation(pool(silent, ready=1, replicas=TEN), spec=rules), state, now=now)
    assert decision.replicas == {"cpu": 2}


def test_one_answer_between_scrapes_that_fail_does_not_make_silence_longer_than_scrapes_are_apart() -> None:
    """The operator takes the interval from its settings while it has seen one scrape only; a tick may tell better."""
    _, state, now = steady(0, ready=1, spec=spec(), replicas=TEN)
    silent = PoolSignals(state=SignalState.REPLICAS_MISSING, replicas_silent=1, message="no scrapes")
    once = signals(0, at=now, covered=1, window_seconds=300.0, is_window_assumed=True)
    for load in (silent, once, silent, silent, silent):
        now += timedelta(seconds=10)
        decision, state = decide_replicas(observation(pool(load, ready=1, replicas=TEN), spec=spec()), state, now=now)
    assert decision.replicas == {"cpu": 2}


def test_replicas_that_fall_silent_as_soon_as_they_are_ready_are_no_endless_staircase() -> None:
    _, state, now = steady(0, ready=1, spec=spec(), replicas=TEN)
    ready = 1
    for _ in range(60):
        now += timedelta(seconds=10)
        silent = PoolSignals(state=SignalState.REPLICAS_MISSING, replicas_silent=ready, message="no scrapes")
        decision, state = decide_replicas(
            observation(pool(silent, ready=ready, replicas=TEN), spec=spec()), state, now=now
        )
        ready = decision.replicas["cpu"]
    assert ready == 4


def test_replicas_that_never_answered_a_scrape_are_not_taken_for_overloaded() -> None:
    """The port may be the wrong one; and after a restart of the operator nobody knows."""
    state, now = ScalingState.initial(), NOON
    silent = PoolSignals(state=SignalState.REPLICAS_MISSING, replicas_silent=1, message="no scrapes")
    for _ in range(60):
        now += timedelta(seconds=10)
        decision, state = decide_replicas(observation(pool(silent, ready=1, replicas=TEN), spec=spec()), state, now=now)
        assert decision.replicas == {"cpu": 1}


def test_old_numbers_add_nothing() -> None:
    _, before, now = steady(350, ready=5, spec=spec(), replicas=TEN, state=knowing(100))
    stale = signals(5000, at=now - timedelta(hours=3), covered=5, state=SignalState.STALE)
    decision, _ = decide_replicas(observation(pool(stale, ready=5, replicas=TEN), spec=spec()), before, now=now)
    assert decision.replicas == {"cpu": 5}


def test_after_an_outage_of_telemetry_low_load_has_to_last() -> None:
    hpa = spec(ScalingPolicy.HPA)
    _, state, now = steady(600, ready=6, spec=hpa, replicas=TEN)
    for _ in range(40):
        now += timedelta(seconds=10)
        seen = observation(pool(PoolSignals(state=SignalState.PROMETHEUS_SLOW), ready=6, replicas=TEN), spec=hpa)
        _, state = decide_replicas(seen, state, now=now)
    first, state, now = steady(60, ready=6, spec=hpa, replicas=TEN, state=state, start=now, seconds=200)
    assert first.replicas == {"cpu": 6}
    later, _, _ = steady(60, ready=6, spec=hpa, replicas=TEN, state=state, start=now, seconds=200)
    assert later.replicas["cpu"] < 6


def test_no_traffic_has_to_last_for_the_stabilization_window() -> None:
    hpa = spec(ScalingPolicy.HPA)
    _, state, now = steady(600, ready=6, spec=hpa, replicas=TEN)
    early, state, now = steady(0, ready=6, spec=hpa, replicas=TEN, state=state, start=now, seconds=250)
    assert early.replicas == {"cpu": 6}
    late, _, _ = steady(0, ready=6, spec=hpa, replicas=TEN, state=state, start=now, seconds=100)
    assert late.replicas == {"cpu": 1}


@pytest.mark.parametrize("policy", METRIC_POLICIES)
def test_what_a_restart_finds_running_is_held_at_first(policy: ScalingPolicy) -> None:
    decision = decide(10, ready=6, spec=spec(policy), state=knowing())
    assert decision.replicas == {"cpu": 6}
    assert decision.rule is ScalingRule.STARTING_UP
    assert decision.is_limited


def test_a_restart_may_add_replicas_at_once() -> None:
    assert decide(900, ready=2, spec=spec(), state=knowing(100)).replicas["cpu"] >= 9


def test_what_nothing_runs_of_starts_with_spec_replicas() -> None:
    nothing = pool(PoolSignals(state=SignalState.NO_REPLICAS), ready=0, replicas=TEN)
    decision, _ = decide_replicas(observation(nothing, spec=spec(), replicas=4), ScalingState.initial(), now=NOON)
    assert decision.replicas == {"cpu": 4}


# Bounds


def test_min_and_max_bind_and_say_so() -> None:
    high = decide(5000, ready=2, spec=spec(), state=knowing())
    assert high.replicas == {"cpu": 10}
    assert (high.limit, high.is_limited) == (ScalingRule.MAX_REPLICAS, True)
    assert high.wanted_total > 10
    low, _, _ = steady(1, ready=5, spec=spec(), state=knowing(), replicas=bounds(min=3, max=10))
    assert low.replicas == {"cpu": 3}
    assert low.limit is ScalingRule.MIN_REPLICAS
    assert "the pools' min is 3" in low.message
    last, _, _ = steady(0, ready=1, spec=spec(), state=knowing(), replicas=bounds(max=10))
    assert last.replicas == {"cpu": 1}
    assert "wants 0; at least 1 replica stays" in last.message


def test_max_replicas_of_all_pools_binds() -> None:
    decision = decide(5000, ready=2, spec=spec(max_replicas=7), state=knowing())
    assert decision.replicas == {"cpu": 7}
    assert "maxReplicas is 7" in decision.message


def test_a_schedule_keeps_its_minimum() -> None:
    lunch = Schedule(name="lunch", start="0 12 * * *", duration_seconds=3600, min_replicas=8)
    decision, _, _ = steady(50, ready=2, spec=spec(schedules=[lunch]), state=knowing(), replicas=TEN)
    assert decision.replicas == {"cpu": 8}
    assert decision.rule is ScalingRule.SCHEDULE
    assert "schedule lunch" in decision.message


def test_a_rate_limit_up_binds() -> None:
    slow = ScalingRules(policies=[RateLimit(type=RateLimitType.PODS, value=2, period_seconds=60)])
    decision = decide(900, ready=3, spec=spec(behavior=Behavior(scale_up=slow)), state=knowing())
    assert decision.replicas == {"cpu": 5}
    assert decision.rule is ScalingRule.RATE_LIMIT_UP


def test_a_rate_limit_down_binds() -> None:
    slow = ScalingRules(policies=[RateLimit(type=RateLimitType.PODS, value=1, period_seconds=60)])
    decision, _, _ = steady(50, ready=8, spec=spec(behavior=Behavior(scale_down=slow)), state=knowing(), replicas=TEN)
    assert decision.replicas == {"cpu": 7}
    assert decision.rule is ScalingRule.RATE_LIMIT_DOWN


def test_stabilization_keeps_the_highest_recommendation() -> None:
    waits = spec(behavior=Behavior(scale_down=ScalingRules(stabilization_window_seconds=60)))
    _, state, now = steady(580, ready=8, spec=waits, state=knowing(), replicas=TEN)
    decision, _, _ = steady(
        100, ready=8, spec=waits, state=state, replicas=TEN, start=now + timedelta(seconds=1), seconds=0
    )
    assert decision.rule is ScalingRule.STABILIZATION
    assert decision.replicas["cpu"] > decision.wanted_total


def test_a_small_change_is_within_the_tolerance() -> None:
    tolerant = Behavior(scale_up=ScalingRules(tolerance_percent=30), scale_down=ScalingRules(tolerance_percent=30))
    decision, _, _ = steady(560, ready=6, spec=spec(behavior=tolerant), state=knowing(), replicas=TEN)
    assert decision.replicas == {"cpu": 6}


def test_nothing_is_given_up_soon_after_a_rollout() -> None:
    _, state, now = steady(580, ready=8, spec=spec(), state=knowing(), replicas=TEN)
    rolling, state, now = steady(
        50, ready=8, spec=spec(), state=state, replicas=TEN, start=now, seconds=200, is_rolling_out=True
    )
    assert rolling.rule is ScalingRule.COOLDOWN
    assert rolling.replicas == {"cpu": 8}
    soon, state, now = steady(50, ready=8, spec=spec(), state=state, replicas=TEN, start=now, seconds=50)
    assert soon.replicas == {"cpu": 8}
    later, _, _ = steady(50, ready=8, spec=spec(), state=state, replicas=TEN, start=now, seconds=120)
    assert later.replicas["cpu"] < 8


def test_a_replica_that_was_lost_is_a_failover() -> None:
    _, state, now = steady(500, ready=8, spec=spec(), state=knowing(), replicas=TEN)
    decision, _, _ = steady(
        50, ready=7, desired=8, spec=spec(cooldown_seconds=600), state=state, replicas=TEN, start=now, seconds=300
    )
    assert decision.rule is ScalingRule.COOLDOWN


def test_starting_replicas_count_so_that_nothing_overshoots() -> None:
    _, state, now = steady(190, ready=3, spec=spec(), state=knowing(), replicas=bounds(max=40))
    wants: list[int] = []
    for _ in range(10):
        now += timedelta(seconds=10)
        desired = wants[-1] if wants else 3
        starting = pool(
            signals(900, at=now, covered=3), ready=3, desired=desired, starting=desired - 3, replicas=bounds(max=40)
        )
        decision, state = decide_replicas(observation(starting, spec=spec()), state, now=now)
        wants.append(decision.replicas["cpu"])
    assert max(wants) == wants[0]


def test_a_load_that_was_here_a_moment_ago_is_kept_for() -> None:
    _, state, now = steady(580, ready=8, spec=spec(), state=knowing(), replicas=TEN)
    start = now + timedelta(seconds=1)
    decision, state, _ = steady(0, ready=6, spec=spec(), state=state, replicas=TEN, start=start, seconds=100)
    assert decision.replicas == {"cpu": 6}
    assert "580 requests/s of the last minutes may be back" in decision.message
    gone, _, _ = steady(0, ready=6, spec=spec(), state=state, replicas=TEN, start=start, seconds=500)
    assert gone.replicas == {"cpu": 1}


def test_whoever_says_how_long_to_wait_before_scaling_down_waits_no_longer() -> None:
    at_once = spec(behavior=Behavior(scale_down=ScalingRules(stabilization_window_seconds=0)))
    _, state, now = steady(580, ready=8, spec=at_once, state=knowing(), replicas=TEN)
    start = now + timedelta(seconds=1)
    decision, _, _ = steady(0, ready=6, spec=at_once, state=state, replicas=TEN, start=start, seconds=200)
    assert decision.replicas == {"cpu": 1}


# Words


def test_the_message_is_numbers_in_the_rule_and_numbers_out() -> None:
    waits = spec(behavior=Behavior(scale_down=ScalingRules(stabilization_window_seconds=60)))
    _, state, now = steady(580, ready=8, spec=waits, state=knowing(), replicas=TEN)
    decision, _, _ = steady(
        100, ready=8, spec=waits, state=state, replicas=TEN, start=now + timedelta(seconds=1), seconds=0
    )
    assert "requests/s expected within" in decision.message
    assert f"wants {decision.wanted_total}; stabilization keeps {decision.replicas['cpu']}" in decision.message


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_number_that_is_none_holds_and_says_so(number: float) -> None:
    broken = PoolSignals(
        state=SignalState.MEASURED, at=NOON, window_seconds=10, replicas_covered=5, requests_per_second=number
    )
    decision = decide(0, ready=5, spec=spec(), state=knowing(), load=broken)
    assert decision.replicas == {"cpu": 5}
    assert "NaN" in decision.message


@pytest.mark.parametrize("rate", [2.0, 5.0, 11.0])
def test_a_few_requests_a_window_do_not_lead_to_ever_more_replicas(rate: float) -> None:
    """A window of a second has no more than some requests: what one replica carried is not forgotten for that."""
    state, replicas, now, most = ScalingState.initial(), 1, NOON, 1
    for second in range(0, 300, 2):
        now = NOON + timedelta(seconds=second)
        counted = rate * (1 + 0.2 * (-1) ** (second // 2))
        load = signals(counted, at=now, covered=replicas, window_seconds=1.0, concurrency=0.04 * counted)
        seen = observation(pool(load, ready=replicas, replicas=bounds(min=1, max=10)), spec=spec())
        decision, state = decide_replicas(seen, state, now=now)
        replicas = decision.replicas["cpu"]
        most = max(most, replicas)
    assert (most, replicas) <= (2, 2)


def test_without_traffic_and_knowledge_the_minimum_is_enough() -> None:
    decision, _, _ = steady(0.0, ready=3, spec=spec(), replicas=bounds(min=1, max=5))
    assert decision.replicas == {"cpu": 1}


def test_without_traffic_a_changed_config_needs_no_proof() -> None:
    replicas = bounds(min=1, max=5)
    _, state, now = steady(300.0, ready=3, spec=spec(), replicas=replicas, config_hash="old")
    later = now + timedelta(seconds=10)
    decision, _, _ = steady(
        0.0, ready=3, spec=spec(), replicas=replicas, config_hash="new", state=state, start=later, seconds=1200
    )
    assert decision.replicas == {"cpu": 1}
