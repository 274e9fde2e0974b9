"""Conditions of autoscaling: what they say, and that they do not flicker."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from tests.reconcile.observed_scenes import ACTIVE
from tests.reconcile.scaling_scenes import parsed
from tests.reconcile.world import NOW
from tfserving_operator.api.conditions import Condition, ConditionStatus, ConditionType, Reason
from tfserving_operator.autoscaling.decision import Decision, ScalingRule
from tfserving_operator.autoscaling.signals import PoolSignals, SignalState
from tfserving_operator.reconcile.conditions import Verdict
from tfserving_operator.reconcile.scaling_verdicts import (
    LIMIT_PATIENCE,
    PATIENCE,
    Settling,
    limit_verdict,
    patience_with,
    scaling_problems,
    stands_in_status,
    telemetry_verdict,
    worst_signals,
)

TICK = timedelta(seconds=2)
NO_SUCH_TIME = {"name": "nine", "start": "99 * * * *", "durationSeconds": 60, "minReplicas": 1}
LATENCY = {"mode": "Auto", "objective": {"latency": "50ms"}}
GOOD, LOST = ACTIVE, Verdict(False, Reason.PROMETHEUS_SLOW, "no answer in 1.5 s")


def shown(settling: Settling, verdicts: Sequence[Verdict], patience: timedelta = PATIENCE) -> list[Reason]:
    """Take one verdict a tick."""
    return [settling.take(verdict, NOW + number * TICK, patience).reason for number, verdict in enumerate(verdicts)]


def state(value: SignalState, message: str = "") -> PoolSignals:
    return PoolSignals(state=value, message=message)


# Patience


def test_the_first_verdict_is_shown_at_once() -> None:
    assert shown(Settling(), [LOST]) == [LOST.reason]


def test_what_lasts_shorter_than_the_patience_is_never_shown() -> None:
    flicker = [LOST, LOST, LOST, LOST, LOST, GOOD] * 10
    assert set(shown(Settling(GOOD), flicker)) == {GOOD.reason}


def test_what_lasts_is_shown_when_the_patience_is_over() -> None:
    assert shown(Settling(GOOD), [LOST] * 7) == [GOOD.reason] * 5 + [LOST.reason] * 2


def test_patience_begins_anew_with_another_cause() -> None:
    other = Verdict(False, Reason.STALE_SAMPLES, "old")
    assert shown(Settling(GOOD), [LOST] * 5 + [other] * 6) == [GOOD.reason] * 10 + [other.reason]


def test_the_message_is_that_of_the_moment_of_the_change() -> None:
    settling = Settling(Verdict(False, Reason.PROMETHEUS_SLOW, "no answer in 1.5 s"))
    again = settling.take(Verdict(False, Reason.PROMETHEUS_SLOW, "no answer in 1.6 s"), NOW, PATIENCE)
    assert again.message == "no answer in 1.5 s"


@pytest.mark.parametrize(
    ("state_", "seconds"),
    [(SignalState.NOT_YET_REPORTED, 60), (SignalState.REPLICAS_MISSING, 30), (SignalState.PROMETHEUS_SLOW, 10)],
)
def test_what_every_new_replica_goes_through_gets_more_patience(state_: SignalState, seconds: float) -> None:
    verdict = telemetry_verdict(parsed(autoscaling=LATENCY)[1], [state(state_)])
    assert patience_with(verdict) == timedelta(seconds=seconds)


def test_limits_that_come_and_go_within_the_patience_are_never_shown() -> None:
    limits = [limit_verdict(decision(ScalingRule.STABILIZATION, is_limited=n % 14 > 0)) for n in range(100)]
    assert set(shown(Settling(), limits, LIMIT_PATIENCE)) == {Reason.AS_WANTED}


# What they say


def decision(rule: ScalingRule, *, is_limited: bool, limit: ScalingRule | None = None) -> Decision:
    return Decision(replicas={"cpu": 1}, rule=rule, message="why", is_limited=is_limited, limit=limit)


@pytest.mark.parametrize(
    ("made", "is_true", "reason"),
    [
        (decision(ScalingRule.FORECAST, is_limited=False), False, Reason.AS_WANTED),
        (decision(ScalingRule.MAX_REPLICAS, is_limited=True), True, Reason.MAX_REPLICAS),
        (decision(ScalingRule.FORECAST, is_limited=True, limit=ScalingRule.BUDGET), True, Reason.FLEET_BUDGET),
        (decision(ScalingRule.NO_TELEMETRY, is_limited=True), True, Reason.HOLD_WITHOUT_TELEMETRY),
        (decision(ScalingRule.NO_TELEMETRY, is_limited=False), None, Reason.HOLD_WITHOUT_TELEMETRY),
        (decision(ScalingRule.STARTING_UP, is_limited=False), None, Reason.HOLD_AFTER_START),
    ],
    ids=["not limited", "by its rule", "by another bound", "held", "not known", "not known yet"],
)
def test_a_limit_is_named(made: Decision, is_true: bool | None, reason: Reason) -> None:
    verdict = limit_verdict(made)
    assert (verdict.is_true, verdict.reason) == (is_true, reason)


WISHES = {
    ScalingRule.FORECAST,
    ScalingRule.LATENCY_TRIM,
    ScalingRule.PROBE,
    ScalingRule.HPA,
    ScalingRule.KPA,
    ScalingRule.FIXED,
}
"""What a policy wants; all others are bounds."""


@pytest.mark.parametrize("rule", [rule for rule in ScalingRule if rule not in WISHES])
def test_every_rule_that_can_limit_has_a_reason(rule: ScalingRule) -> None:
    assert limit_verdict(decision(rule, is_limited=True)).reason == rule.value


@pytest.mark.parametrize("value", SignalState)
def test_every_state_of_the_signals_can_be_said(value: SignalState) -> None:
    verdict = telemetry_verdict(parsed(autoscaling=LATENCY)[1], [state(value)])
    assert verdict.is_true is value.may_scale_down
    assert verdict.is_true or verdict.reason == value.value


@pytest.mark.parametrize(
    ("autoscaling", "value", "reason"),
    [
        (LATENCY, SignalState.MEASURED, Reason.SCALING_POLICY_ACTIVE),
        (LATENCY | {"mode": "Recommend"}, SignalState.NO_TRAFFIC, Reason.RECOMMENDS_ONLY),
        ({"mode": "Auto", "policy": "Fixed"}, SignalState.NOT_CONFIGURED, Reason.SCALING_POLICY_ACTIVE),
        (LATENCY, SignalState.NOT_CONFIGURED, Reason.PROMETHEUS_NOT_CONFIGURED),
    ],
    ids=["auto", "recommend", "fixed needs no load", "not configured"],
)
def test_scaling_is_active_where_the_policy_knows_enough(
    autoscaling: dict[str, object], value: SignalState, reason: Reason
) -> None:
    assert telemetry_verdict(parsed(autoscaling=autoscaling)[1], [state(value)]).reason is reason


@pytest.mark.parametrize(
    ("states", "worst"),
    [
        ([SignalState.MEASURED, SignalState.STALE], SignalState.STALE),
        ([SignalState.NO_REPLICAS, SignalState.MEASURED], SignalState.MEASURED),
        ([SignalState.NO_REPLICAS, SignalState.NO_REPLICAS], SignalState.NO_REPLICAS),
        ([], SignalState.NO_REPLICAS),
    ],
    ids=["one pool is not known", "an empty pool does not count", "all are empty", "no pools"],
)
def test_the_least_known_pool_that_has_replicas_counts(states: list[SignalState], worst: SignalState) -> None:
    assert worst_signals(state(value) for value in states).state is worst


# After a restart


def condition(status: ConditionStatus, reason: str) -> Condition:
    return Condition(
        type=ConditionType.SCALING_ACTIVE,
        status=status,
        reason=reason,
        message="why",
        last_transition_time=NOW,
        observed_generation=1,
    )


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([], None),
        ([condition(ConditionStatus.FALSE, "StaleSamples")], Verdict(False, Reason.STALE_SAMPLES, "why")),
        ([condition(ConditionStatus.UNKNOWN, "HoldAfterStart")], Verdict(None, Reason.HOLD_AFTER_START, "why")),
        ([condition(ConditionStatus.FALSE, "OfAnotherVersion")], None),
    ],
    ids=["none", "known", "unknown", "of another version"],
)
def test_what_stands_in_status_is_taken_over(conditions: list[Condition], expected: Verdict | None) -> None:
    assert stands_in_status(conditions, ConditionType.SCALING_ACTIVE) == expected


# The user's mistakes


@pytest.mark.parametrize(
    ("autoscaling", "words"),
    [
        (LATENCY, []),
        ({"mode": "Auto", "objective": {"latency": "1us"}}, ["spec.autoscaling.objective.latency"]),
        ({"mode": "Off", "objective": {"latency": "1us"}}, []),
        (LATENCY | {"schedules": [NO_SUCH_TIME]}, ["nine"]),
    ],
    ids=["none", "too short an objective", "off", "no such time"],
)
def test_mistakes_that_admission_cannot_see_name_their_field(autoscaling: dict[str, object], words: list[str]) -> None:
    problems = scaling_problems(parsed(autoscaling=autoscaling)[0])
    assert len(problems) == len(words)
    assert all(word in problem for word, problem in zip(words, problems, strict=True))
