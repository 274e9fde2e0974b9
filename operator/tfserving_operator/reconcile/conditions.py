"""Conditions: from verdicts to what stands in the status, with transition times that move only on a change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tfserving_operator.api.conditions import Condition, ConditionStatus, ConditionType, Reason

_MAX_MESSAGE_LENGTH = 4096
_ONLY_WHEN_TRUE = frozenset({ConditionType.PAUSED, ConditionType.RECONCILING, ConditionType.STALLED})
"""Conditions whose absence means False (kstatus reads Reconciling and Stalled that way)."""


@dataclass(frozen=True)
class Verdict:
    """What a condition is to say; None is Unknown."""

    is_true: bool | None
    reason: Reason
    message: str


def set_conditions(
    previous: Sequence[Condition], verdicts: Mapping[ConditionType, Verdict], generation: int, now: datetime
) -> list[Condition]:
    """Return the conditions in the order of ``verdicts``; a transition time moves only when the status does."""
    before = {condition.type: condition for condition in previous}
    conditions = []
    for condition_type, verdict in verdicts.items():
        if condition_type in _ONLY_WHEN_TRUE and not verdict.is_true:
            continue
        status = _status(verdict.is_true)
        old = before.get(condition_type)
        conditions.append(
            Condition(
                type=condition_type,
                status=status,
                reason=verdict.reason,
                message=verdict.message[:_MAX_MESSAGE_LENGTH],
                last_transition_time=old.last_transition_time if old and old.status == status else now,
                observed_generation=generation,
            )
        )
    return conditions


def _status(is_true: bool | None) -> ConditionStatus:
    if is_true is None:
        return ConditionStatus.UNKNOWN
    return ConditionStatus.TRUE if is_true else ConditionStatus.FALSE
