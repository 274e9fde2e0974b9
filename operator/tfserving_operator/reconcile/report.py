"""What of a new status is worth telling, when: the write itself and the events that go with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tfserving_operator.api.autoscaling import AutoscalingMode
from tfserving_operator.api.conditions import Condition, ConditionStatus, ConditionType, Reason
from tfserving_operator.api.servedmodel import ServedModelStatus
from tfserving_operator.reconcile.ports import EventType
from tfserving_operator.reconcile.scaling_status import new_decisions
from tfserving_operator.reconcile.scaling_verdicts import TELEMETRY_REASONS

DETAIL_INTERVAL_SECONDS = 3.0
"""How long details of progress may wait to be written together: a start goes through five phases in as many seconds."""


_TOLD = frozenset(
    {ConditionType.READY, ConditionType.DEGRADED, ConditionType.SCALING_ACTIVE, ConditionType.SCALING_LIMITED}
)
_WORRYING_LIMITS = frozenset({Reason.MAX_REPLICAS, Reason.FLEET_BUDGET, Reason.REPLICAS_CANNOT_HELP})
"""Bounds that may cost the objective; the others come and go as they should."""
_WORRYING_CAUSES = TELEMETRY_REASONS | {Reason.EXTERNAL_AUTOSCALER, Reason.DECISION_FAILED}
_HARMLESS_CAUSES = frozenset({Reason.NO_REPLICAS, Reason.NOT_YET_REPORTED})
"""Every first replica goes through these."""
_FAULT_ENDED = "FaultEnded"
"""Reason of the event for a fault that ended without ScalingActive being true again: what is waited for is no news."""


@dataclass(frozen=True)
class News:
    """Something that people want to read of, as an event."""

    event_type: EventType
    reason: str
    message: str
    action: str = "Reconcile"


def is_urgent(old: ServedModelStatus, new: ServedModelStatus) -> bool:
    """Whether ``new`` says something that must not wait: another verdict, another fault, another version."""
    return _essence(old) != _essence(new)


def _essence(status: ServedModelStatus) -> tuple[object, ...]:
    told = (ConditionType.DEGRADED, ConditionType.STALLED, ConditionType.SCALING_ACTIVE)
    faults = [c.reason for c in status.conditions if c.type in told]
    return (
        status.observed_generation,
        [(c.type, c.status) for c in status.conditions],
        faults,
        status.version_summary,
        status.selector,
        status.autoscaling.applied if status.autoscaling is not None else None,
    )


def news(old: ServedModelStatus, new: ServedModelStatus, *, mode: AutoscalingMode) -> Iterator[News]:
    """Yield every change of replicas that autoscaling decided, and what the conditions changed to."""
    for decision in new_decisions(old.autoscaling, new.autoscaling):
        message = f"{decision.before} → {decision.after}: {decision.message}"
        yield News("Normal", decision.rule, message, action="Scale" if mode is AutoscalingMode.AUTO else "Recommend")
    yield from _transitions(old, new)


def _transitions(old: ServedModelStatus, new: ServedModelStatus) -> Iterator[News]:
    """Yield what conditions changed to; a first one is told only where it is good news or a fault."""
    before = {condition.type: condition for condition in old.conditions}
    told: set[str] = set()
    for condition in sorted(new.conditions, key=lambda condition: not _is_fault(condition)):
        previous = before.get(condition.type)
        is_same = previous is not None and (previous.status, previous.reason) == (condition.status, condition.reason)
        is_first = previous is None and condition.status is not ConditionStatus.TRUE and not _is_fault(condition)
        is_silent = is_same or is_first or _is_ordinary(condition, previous)
        # A fault that takes Ready away with it is one piece of news, not two.
        if condition.type in _TOLD and not is_silent and condition.reason not in told:
            told.add(condition.reason)
            yield _told(condition, previous)


def _told(condition: Condition, previous: Condition | None) -> News:
    message = f"{condition.type} is {condition.status}: {condition.message}"
    if _is_fault(condition):
        return News("Warning", condition.reason, message)
    if previous is not None and condition.reason in _HARMLESS_CAUSES:
        return News("Normal", _FAULT_ENDED, f"{previous.reason} has ended; {message}")
    return News("Normal", condition.reason, message)


def _is_fault(condition: Condition) -> bool:
    match condition.type:
        case ConditionType.DEGRADED:
            return condition.status is not ConditionStatus.FALSE
        case ConditionType.SCALING_ACTIVE:
            is_worrying = condition.reason in _WORRYING_CAUSES - _HARMLESS_CAUSES
            return condition.status is ConditionStatus.FALSE and is_worrying
        case ConditionType.SCALING_LIMITED:
            return condition.status is ConditionStatus.TRUE and condition.reason in _WORRYING_LIMITS
        case _:
            return False


def _is_ordinary(condition: Condition, previous: Condition | None) -> bool:
    """Whether a condition of autoscaling changed as it does all day: only trouble and its end are news."""
    if condition.type not in (ConditionType.SCALING_ACTIVE, ConditionType.SCALING_LIMITED) or _is_fault(condition):
        return False
    if previous is None:
        return True
    is_active = condition.type == ConditionType.SCALING_ACTIVE and condition.status is ConditionStatus.TRUE
    if not _is_fault(previous):
        return not (is_active and previous.reason == Reason.PAUSED_BY_USER)
    # Pausing and leaving the mode end no fault of telemetry: whether it is over shows when autoscaling goes on.
    is_over = condition.type == ConditionType.SCALING_LIMITED or is_active or condition.reason in _HARMLESS_CAUSES
    return not is_over
