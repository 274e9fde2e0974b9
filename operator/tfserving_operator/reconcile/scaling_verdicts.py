"""The conditions ScalingActive and ScalingLimited: what they say, and that they do not flicker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tfserving_operator.api.autoscaling import Autoscaling, AutoscalingMode, ScalingPolicy
from tfserving_operator.api.conditions import Condition, ConditionStatus, ConditionType, Reason
from tfserving_operator.api.servedmodel import ServedModelSpec
from tfserving_operator.api.server import duration_micros
from tfserving_operator.autoscaling.buckets import MeasuredAt, ObjectiveTooShortError, measure_objective
from tfserving_operator.autoscaling.decision import Decision, ScalingRule
from tfserving_operator.autoscaling.schedules import schedule_problems
from tfserving_operator.autoscaling.signals import PoolSignals, SignalState
from tfserving_operator.reconcile.conditions import Verdict

PATIENCE: Final = timedelta(seconds=10)
_LONGER_PATIENCE: Final[Mapping[Reason, timedelta]] = {
    # A replica that has just become ready is always without samples for two scrapes.
    Reason.NOT_YET_REPORTED: timedelta(seconds=60),
    Reason.REPLICAS_MISSING: timedelta(seconds=30),
}
LIMIT_PATIENCE: Final = timedelta(seconds=30)

TELEMETRY_REASONS: Final = frozenset(
    Reason(state.value) for state in SignalState if state not in (SignalState.MEASURED, SignalState.NO_TRAFFIC)
)
_AS_WANTED: Final = Verdict(False, Reason.AS_WANTED, "the replicas are what the policy wants")
_NOT_KNOWN: Final = frozenset({ScalingRule.NO_TELEMETRY, ScalingRule.STARTING_UP})
"""Rules that hold what runs where it is not known what the policy wants."""


@dataclass
class Settling:
    """A verdict that changes only when another one has lasted: what flickers between two ticks is nobody's news.

    The message is that of the moment of the change: its numbers are other ones at every tick.
    """

    shown: Verdict | None = None
    _candidate: Verdict | None = None
    _since: datetime | None = None

    def take(self, verdict: Verdict, now: datetime, patience: timedelta) -> Verdict:
        """Return what is to be shown now that the newest verdict is ``verdict``."""
        if self.shown is None or _is_same(self.shown, verdict):
            self.shown, self._candidate = self.shown or verdict, None
            return self.shown
        if self._candidate is None or self._since is None or not _is_same(self._candidate, verdict):
            self._candidate, self._since = verdict, now
        if now - self._since >= patience:
            self.shown, self._candidate = verdict, None
        return self.shown


def _is_same(one: Verdict, other: Verdict) -> bool:
    return (one.is_true, one.reason) == (other.is_true, other.reason)


def telemetry_verdict(spec: Autoscaling, signals: Iterable[PoolSignals]) -> Verdict:
    """Say whether the load is known, over all pools; policy Fixed does not need to know it."""
    worst = worst_signals(signals)
    if worst.state in (SignalState.MEASURED, SignalState.NO_TRAFFIC) or spec.policy is ScalingPolicy.FIXED:
        if spec.mode is AutoscalingMode.AUTO:
            return Verdict(True, Reason.SCALING_POLICY_ACTIVE, f"policy {spec.policy} sets the replicas")
        message = f"policy {spec.policy} says in status.autoscaling what it would do, and sets nothing"
        return Verdict(True, Reason.RECOMMENDS_ONLY, message)
    cause = worst.message or worst.state.meaning
    return Verdict(False, Reason(worst.state.value), f"nothing is scaled until the load is known again: {cause}")


def worst_signals(signals: Iterable[PoolSignals]) -> PoolSignals:
    """Return the signals that can be trusted least; pools without replicas count only where there are no others."""
    pools = list(signals)
    telling = [pool for pool in pools if pool.state is not SignalState.NO_REPLICAS] or pools
    rank = {state: number for number, state in enumerate(SignalState)}
    return max(telling, key=lambda pool: rank[pool.state], default=PoolSignals(state=SignalState.NO_REPLICAS))


def patience_with(verdict: Verdict) -> timedelta:
    """Return how long a verdict on telemetry must last before it is shown."""
    return _LONGER_PATIENCE.get(verdict.reason, PATIENCE)


def limit_verdict(decision: Decision) -> Verdict:
    """Say whether a bound set the replicas, and which; unknown where nobody knows what the policy would want."""
    if not decision.is_limited:
        is_known = decision.rule not in _NOT_KNOWN
        return _AS_WANTED if is_known else Verdict(None, Reason(decision.rule.value), decision.message)
    return Verdict(True, Reason((decision.limit or decision.rule).value), decision.message)


def stands_in_status(conditions: Iterable[Condition], condition_type: ConditionType) -> Verdict | None:
    """Return what status says already, so that a restarted operator does not say it anew."""
    found = next((condition for condition in conditions if condition.type == condition_type), None)
    if found is None or found.reason not in list(Reason):
        return None
    is_true = None if found.status is ConditionStatus.UNKNOWN else found.status is ConditionStatus.TRUE
    return Verdict(is_true, Reason(found.reason), found.message)


PAUSED: Final = Verdict(False, Reason.PAUSED_BY_USER, "spec.paused is true: replicas are left as they are")
DECISION_FAILED: Final = Verdict(
    False, Reason.DECISION_FAILED, "a defect of the operator kept it from deciding, so replicas are held; see its log"
)
NOT_LOOKED_YET: Final = Verdict(
    None, Reason.HOLD_AFTER_START, "autoscaling has not looked at this ServedModel yet; what runs is held"
)


def external_autoscaler(name: str) -> Verdict:
    """Say that somebody else scales too."""
    message = (
        f"HorizontalPodAutoscaler {name} scales this ServedModel too, so replicas are held: delete it (a KEDA "
        "ScaledObject where one made it), or set spec.autoscaling.mode to Off or Recommend"
    )
    return Verdict(False, Reason.EXTERNAL_AUTOSCALER, message)


def measured_at(spec: Autoscaling) -> MeasuredAt | None:
    """Return the bucket edges that the objective is measured at; None without one, or where it is below them all."""
    if spec.objective is None:
        return None
    try:
        return measure_objective(duration_micros(spec.objective.latency))
    except ObjectiveTooShortError:
        return None


def scaling_problems(spec: ServedModelSpec) -> list[str]:
    """Say, in a sentence each, what is wrong with ``spec.autoscaling`` that admission could not see."""
    scaling = spec.autoscaling
    if scaling is None or scaling.mode is AutoscalingMode.OFF:
        return []
    problems = schedule_problems(scaling.schedules)
    if scaling.objective is not None:
        try:
            measure_objective(duration_micros(scaling.objective.latency))
        except ObjectiveTooShortError as error:
            problems.append(f"spec.autoscaling.objective.latency: {error}")
    return problems
