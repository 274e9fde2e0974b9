"""What status says of autoscaling: the same when nothing changed, and no less after a restart."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.reconcile.observed_scenes import ACTIVE, applied, capacity, decided, listed, observed, view
from tests.reconcile.world import NOW
from tfserving_operator.api.autoscaling import AutoscalingStatus
from tfserving_operator.api.conditions import Condition, ConditionStatus, ConditionType, Reason
from tfserving_operator.reconcile.conditions import Verdict
from tfserving_operator.reconcile.observed import Observed
from tfserving_operator.reconcile.plan import Plan
from tfserving_operator.reconcile.scaling_board import ScalingView
from tfserving_operator.reconcile.scaling_status import autoscaling_status, new_decisions, scaling_verdicts
from tfserving_operator.reconcile.wanted_replicas import wanted_replicas

LIMITED = Verdict(True, Reason.MAX_REPLICAS, "max binds")


def plan_of(seen: Observed) -> Plan:
    wanted = wanted_replicas(seen)
    return Plan(replicas=wanted.replicas, applied=wanted.applied)


def status_of(seen: Observed) -> AutoscalingStatus | None:
    return autoscaling_status(seen, plan_of(seen))


def known(seen: Observed) -> AutoscalingStatus:
    status = status_of(seen)
    assert status is not None
    return status


def with_status(seen: Observed, status: AutoscalingStatus | None) -> Observed:
    model = seen.model.model_copy(
        update={"status": seen.model.status.model_copy(update={"autoscaling": status})},
    )
    return replace(seen, model=model)


def reasons(seen: Observed) -> dict[str, str]:
    return {kind: verdict.reason for kind, verdict in scaling_verdicts(seen, plan_of(seen)).items()}


def stands(kind: ConditionType, status: ConditionStatus, reason: Reason) -> Condition:
    return Condition(
        type=kind, status=status, reason=reason, message="", last_transition_time=NOW, observed_generation=1
    )


# The numbers


SEEN = {
    "decided": observed(
        runs={"cpu": 3},
        scaling=view(replicas={"cpu": 4}, decisions=(decided(4), decided(3)), capacities=(capacity(),)),
    ),
    "held": observed(runs={"cpu": 3}, scaling=view(decisions=(decided(3),))),
    "recommended": observed(mode="Recommend", runs={"cpu": 3}, scaling=view("Recommend", replicas={"cpu": 4})),
    "just started": observed(runs={"cpu": 3}, status=AutoscalingStatus(decisions=[decided(3)])),
    "ended": observed(mode="Off", runs={"cpu": 3}, status=AutoscalingStatus(applied=applied(2, cpu=3))),
}


@pytest.mark.parametrize("name", SEEN)
def test_a_second_look_at_the_same_says_the_same(name: str) -> None:
    seen = SEEN[name]
    status = status_of(seen)
    assert status_of(with_status(seen, status)) == status


@pytest.mark.parametrize("name", SEEN)
def test_status_survives_the_api_server(name: str) -> None:
    status = known(SEEN[name])
    stored = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert AutoscalingStatus.model_validate(stored) == status


@pytest.mark.parametrize("mode", [None, "Off"])
def test_nothing_is_said_where_autoscaling_is_off(mode: str | None) -> None:
    seen = observed(mode=mode, status=AutoscalingStatus(decisions=[decided(3)]), scaling=view(replicas={"cpu": 3}))
    assert status_of(seen) is None
    assert reasons(seen) == {}


def test_what_an_earlier_process_said_is_kept_until_there_is_news() -> None:
    before = AutoscalingStatus(
        recommended=listed(cpu=4),
        applied=applied(2, cpu=4),
        last_scale_time=NOW,
        capacities=[capacity()],
        decisions=[decided(4)],
    )
    assert status_of(observed(runs={"cpu": 4}, status=before)) == before


def test_decisions_of_an_earlier_process_follow_the_new_ones() -> None:
    older, newer = decided(3), decided(4, at=NOW + timedelta(seconds=60))
    seen = observed(status=AutoscalingStatus(decisions=[older]), scaling=view(decisions=(newer,)))
    assert known(seen).decisions == [newer, older]


def test_twenty_decisions_are_kept_the_newest_first() -> None:
    times = [NOW + timedelta(seconds=60 * number) for number in range(30)]
    told = [decided(number, at=times[number]) for number in range(14, -1, -1)]
    newest = tuple(decided(number, at=times[number]) for number in range(29, 14, -1))
    seen = observed(status=AutoscalingStatus(decisions=told), scaling=view(decisions=newest))
    assert [decision.after for decision in known(seen).decisions] == [f"cpu {n}" for n in range(29, 9, -1)]


@pytest.mark.parametrize("scaling", [view(uid="of another"), view("Recommend", replicas={"cpu": 9})])
def test_a_view_of_another_object_or_mode_says_nothing(scaling: ScalingView) -> None:
    before = AutoscalingStatus(recommended=listed(cpu=4), applied=applied(2, cpu=4))
    seen = replace(observed(runs={"cpu": 4}, status=before), scaling=scaling)
    assert status_of(seen) == before


def test_pools_that_left_the_spec_leave_status() -> None:
    before = AutoscalingStatus(recommended=listed(gpu=1, cpu=4), capacities=[capacity("gpu"), capacity()])
    status = known(observed(runs={"cpu": 4}, status=before))
    assert [pool.name for pool in status.recommended] == ["cpu"]
    assert [pool.name for pool in status.capacities] == ["cpu"]


def test_a_hold_keeps_what_was_recommended_last() -> None:
    status = known(observed(status=AutoscalingStatus(recommended=listed(cpu=4)), scaling=view()))
    assert status.recommended == listed(cpu=4)


# When replicas were last changed


def test_a_decision_in_auto_is_a_change_of_replicas() -> None:
    later = NOW + timedelta(seconds=60)
    seen = observed(
        status=AutoscalingStatus(last_scale_time=NOW), scaling=view(decisions=(decided(4, at=later), decided(3)))
    )
    assert known(seen).last_scale_time == later


def test_a_recommendation_is_no_change_of_replicas() -> None:
    seen = observed(mode="Recommend", scaling=view("Recommend", replicas={"cpu": 4}, decisions=(decided(4),)))
    assert known(seen).last_scale_time is None


# Conditions


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param(
            observed(scaling=view(limited=LIMITED)),
            {"ScalingActive": "ScalingPolicyActive", "ScalingLimited": "MaxReplicas"},
            id="decided",
        ),
        pytest.param(observed(scaling=view()), {"ScalingActive": "ScalingPolicyActive"}, id="held"),
        pytest.param(observed(), {"ScalingActive": "HoldAfterStart"}, id="never looked at"),
        pytest.param(
            observed(
                conditions=[
                    stands(ConditionType.SCALING_ACTIVE, ConditionStatus.FALSE, Reason.STALE_SAMPLES),
                    stands(ConditionType.SCALING_LIMITED, ConditionStatus.TRUE, Reason.MAX_REPLICAS),
                ]
            ),
            {"ScalingActive": "StaleSamples", "ScalingLimited": "MaxReplicas"},
            id="just started: what stands",
        ),
        pytest.param(
            observed(mode="Off", runs={"cpu": 5}, status=AutoscalingStatus(applied=applied(2, cpu=5))),
            {"ScalingActive": "ReplicasKept"},
            id="ended",
        ),
        pytest.param(
            observed(mode="Off", replicas=5, runs={"cpu": 5}, status=AutoscalingStatus(applied=applied(2, cpu=5))),
            {},
            id="ended and taken over",
        ),
    ],
)
def test_conditions_say_whether_autoscaling_acts(seen: Observed, expected: dict[str, str]) -> None:
    assert reasons(seen) == expected


def test_a_view_in_another_mode_does_not_set_conditions() -> None:
    seen = observed(mode="Auto", scaling=view("Recommend", active=ACTIVE, limited=LIMITED))
    assert reasons(seen) == {"ScalingActive": "HoldAfterStart"}


def test_kept_replicas_say_how_to_take_over() -> None:
    seen = observed(mode="Off", runs={"cpu": 5}, status=AutoscalingStatus(applied=applied(2, cpu=5)))
    message = scaling_verdicts(seen, plan_of(seen))[ConditionType.SCALING_ACTIVE].message
    assert "cpu 5" in message
    assert "set spec.replicas, which is 2, to another number" in message


# Decisions that were not told of yet


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, None, []),
        (None, [3], [3]),
        ([3], [3], []),
        ([3], [5, 4, 3], [4, 5]),
        ([3], None, []),
    ],
    ids=["none", "first", "told", "the oldest first", "off"],
)
def test_only_decisions_that_were_not_told_are_new(
    old: list[int] | None, new: list[int] | None, expected: list[int]
) -> None:
    old_status, new_status = (
        None if numbers is None else AutoscalingStatus(decisions=[decided(number) for number in numbers])
        for numbers in (old, new)
    )
    assert [decision.after for decision in new_decisions(old_status, new_status)] == [f"cpu {n}" for n in expected]
