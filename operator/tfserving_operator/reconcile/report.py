"""What of a new status is worth telling, when: the write itself and the events that go with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tfserving_operator.api.conditions import Condition, ConditionStatus, ConditionType
from tfserving_operator.api.servedmodel import ServedModelStatus
from tfserving_operator.reconcile.ports import EventType

DETAIL_INTERVAL_SECONDS = 3.0
"""How long details of progress may wait to be written together: a start goes through five phases in as many seconds."""


_TOLD = frozenset({ConditionType.READY, ConditionType.DEGRADED})


@dataclass(frozen=True)
class Transition:
    """A condition that changed in a way that people want to read of."""

    event_type: EventType
    reason: str
    message: str


def is_urgent(old: ServedModelStatus, new: ServedModelStatus) -> bool:
    """Whether ``new`` says something that must not wait: another verdict, another fault, another version."""
    return _essence(old) != _essence(new)


def _essence(status: ServedModelStatus) -> tuple[object, ...]:
    faults = [c.reason for c in status.conditions if c.type in (ConditionType.DEGRADED, ConditionType.STALLED)]
    return (
        status.observed_generation,
        [(c.type, c.status) for c in status.conditions],
        faults,
        status.version_summary,
        status.selector,
    )


def transitions(old: ServedModelStatus, new: ServedModelStatus) -> Iterator[Transition]:
    """Yield what Ready and Degraded changed to; a first status is told only where it is good news or a fault."""
    before = {condition.type: condition for condition in old.conditions}
    told: set[str] = set()
    for condition in sorted(new.conditions, key=lambda condition: not _is_fault(condition)):
        previous = before.get(condition.type)
        is_same = previous is not None and (previous.status, previous.reason) == (condition.status, condition.reason)
        is_silent = is_same or (previous is None and condition.status is not ConditionStatus.TRUE)
        # A fault that takes Ready away with it is one piece of news, not two.
        if condition.type in _TOLD and not is_silent and condition.reason not in told:
            told.add(condition.reason)
            yield Transition(
                "Warning" if _is_fault(condition) else "Normal",
                condition.reason,
                f"{condition.type} is {condition.status}: {condition.message}",
            )


def _is_fault(condition: Condition) -> bool:
    return condition.type == ConditionType.DEGRADED and condition.status is not ConditionStatus.FALSE
