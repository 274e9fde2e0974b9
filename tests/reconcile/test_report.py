"""Which changes of status become events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from tests.reconcile.observed_scenes import applied, decided
from tests.reconcile.world import NOW
from tfserving_operator.api.autoscaling import AutoscalingMode, AutoscalingStatus
from tfserving_operator.api.conditions import Condition, ConditionStatus, ConditionType, Reason
from tfserving_operator.api.servedmodel import ServedModelStatus
from tfserving_operator.reconcile.report import News, is_urgent, news

ACTIVE, LIMITED = ConditionType.SCALING_ACTIVE, ConditionType.SCALING_LIMITED
TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN
GOOD = (ACTIVE, TRUE, Reason.SCALING_POLICY_ACTIVE)
LOST = (ACTIVE, FALSE, Reason.PROMETHEUS_UNAVAILABLE)

Short = tuple[ConditionType, ConditionStatus, Reason]


def status(*conditions: Short, autoscaling: AutoscalingStatus | None = None) -> ServedModelStatus:
    return ServedModelStatus(
        conditions=[
            Condition(
                type=kind, status=value, reason=reason, message="why", last_transition_time=NOW, observed_generation=1
            )
            for kind, value, reason in conditions
        ],
        autoscaling=autoscaling,
    )


def told(
    old: ServedModelStatus, new: ServedModelStatus, mode: AutoscalingMode = AutoscalingMode.AUTO
) -> list[tuple[str, str]]:
    return [(item.event_type, item.reason) for item in news(old, new, mode=mode)]


# Decisions


def test_each_decision_is_one_event_with_its_rule_as_reason_the_oldest_first() -> None:
    later = decided(5, at=NOW + timedelta(seconds=60), before=3, rule="Panic")
    old = status(autoscaling=AutoscalingStatus(applied=applied(2, cpu=3)))
    new = status(autoscaling=AutoscalingStatus(applied=applied(2, cpu=5), decisions=[later, decided(3)]))
    assert list(news(old, new, mode=AutoscalingMode.AUTO)) == [
        News("Normal", "Forecast", "cpu 1 → cpu 3: as wanted", action="Scale"),
        News("Normal", "Panic", "cpu 3 → cpu 5: as wanted", action="Scale"),
    ]
    assert told(new, new) == []


def test_a_recommendation_is_no_scaling_not_even_after_mode_auto() -> None:
    old = status(autoscaling=AutoscalingStatus(applied=applied(2, cpu=3)))
    new = status(autoscaling=AutoscalingStatus(applied=applied(2, cpu=3), decisions=[decided(5)]))
    assert [item.action for item in news(old, new, mode=AutoscalingMode.RECOMMEND)] == ["Recommend"]


# Conditions


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(GOOD, LOST, [("Warning", "PrometheusUnavailable")], id="telemetry is lost"),
        pytest.param(None, LOST, [("Warning", "PrometheusUnavailable")], id="telemetry was never there"),
        pytest.param(LOST, GOOD, [("Normal", "ScalingPolicyActive")], id="telemetry is back"),
        pytest.param(LOST, LOST, [], id="telemetry is still lost"),
        pytest.param(
            LOST, (ACTIVE, FALSE, Reason.STALE_SAMPLES), [("Warning", "StaleSamples")], id="lost in another way"
        ),
        pytest.param(
            LOST,
            (ACTIVE, FALSE, Reason.NOT_YET_REPORTED),
            [("Normal", "FaultEnded")],
            id="telemetry is back, without samples of new replicas",
        ),
        pytest.param(LOST, (ACTIVE, FALSE, Reason.NO_REPLICAS), [("Normal", "FaultEnded")], id="back without replicas"),
        pytest.param(LOST, (ACTIVE, FALSE, Reason.PAUSED_BY_USER), [], id="paused while telemetry is lost"),
        pytest.param(LOST, (ACTIVE, FALSE, Reason.REPLICAS_KEPT), [], id="the mode is left while telemetry is lost"),
        pytest.param(
            (ACTIVE, FALSE, Reason.PAUSED_BY_USER), GOOD, [("Normal", "ScalingPolicyActive")], id="paused no more"
        ),
        pytest.param((ACTIVE, FALSE, Reason.PAUSED_BY_USER), LOST, [("Warning", LOST[2])], id="still lost after it"),
        pytest.param(None, GOOD, [], id="the first load is known"),
        pytest.param(GOOD, (ACTIVE, FALSE, Reason.NOT_YET_REPORTED), [], id="a new replica is not scraped yet"),
        pytest.param((ACTIVE, FALSE, Reason.NOT_YET_REPORTED), GOOD, [], id="a new replica is scraped"),
        pytest.param(GOOD, (ACTIVE, FALSE, Reason.NO_REPLICAS), [], id="no replica is ready"),
        pytest.param(GOOD, (ACTIVE, FALSE, Reason.PAUSED_BY_USER), [], id="paused"),
        pytest.param((ACTIVE, UNKNOWN, Reason.HOLD_AFTER_START), GOOD, [], id="looked at after a start"),
        pytest.param(
            GOOD,
            (ACTIVE, FALSE, Reason.EXTERNAL_AUTOSCALER),
            [("Warning", "ExternalAutoscaler")],
            id="somebody else scales",
        ),
        pytest.param(GOOD, (ACTIVE, FALSE, Reason.DECISION_FAILED), [("Warning", "DecisionFailed")], id="a defect"),
        pytest.param(
            (LIMITED, FALSE, Reason.AS_WANTED),
            (LIMITED, TRUE, Reason.MAX_REPLICAS),
            [("Warning", "MaxReplicas")],
            id="max binds",
        ),
        pytest.param(
            (LIMITED, TRUE, Reason.MAX_REPLICAS),
            (LIMITED, FALSE, Reason.AS_WANTED),
            [("Normal", "AsWanted")],
            id="max binds no more",
        ),
        pytest.param(
            (LIMITED, FALSE, Reason.AS_WANTED), (LIMITED, TRUE, Reason.STABILIZATION), [], id="stabilization binds"
        ),
    ],
)
def test_trouble_of_autoscaling_and_its_end_are_events(
    before: Short | None, after: Short, expected: Sequence[tuple[str, str]]
) -> None:
    old = status() if before is None else status(before)
    assert told(old, status(after)) == expected


def test_the_end_of_a_fault_names_it_and_says_what_is_waited_for() -> None:
    [item] = news(status(LOST), status((ACTIVE, FALSE, Reason.NOT_YET_REPORTED)), mode=AutoscalingMode.AUTO)
    assert item.message == "PrometheusUnavailable has ended; ScalingActive is False: why"


# What must not wait


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param(status(GOOD), status(LOST), True, id="telemetry is lost"),
        pytest.param(
            status(LOST), status((ACTIVE, FALSE, Reason.STALE_SAMPLES)), True, id="telemetry is lost in another way"
        ),
        pytest.param(
            status(autoscaling=AutoscalingStatus(applied=applied(2, cpu=3))),
            status(autoscaling=AutoscalingStatus(applied=applied(2, cpu=4))),
            True,
            id="replicas are set",
        ),
        pytest.param(
            status(autoscaling=AutoscalingStatus()),
            status(autoscaling=AutoscalingStatus(decisions=[decided(3)])),
            False,
            id="replicas are recommended",
        ),
    ],
)
def test_what_is_lost_after_a_crash_must_not_wait(
    old: ServedModelStatus, new: ServedModelStatus, expected: bool
) -> None:
    assert is_urgent(old, new) is expected
