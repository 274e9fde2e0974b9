"""The bounds between what a policy wants and what is asked for, in their order; each one names itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tfserving_operator.api.autoscaling import Autoscaling, RateLimit, ScalingPolicy, ScalingRules
from tfserving_operator.autoscaling.allocation import PoolSlot
from tfserving_operator.autoscaling.behavior import BehaviorState, rate_limited
from tfserving_operator.autoscaling.decision import ScalingRule
from tfserving_operator.autoscaling.policies import hpa
from tfserving_operator.autoscaling.schedules import schedule_in_force

_SHORTEST_DOWN_SECONDS = 30.0
_LONGEST_DOWN_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Step:
    """A total on its way through the bounds."""

    total: int
    limit: ScalingRule | None = None
    words: str = ""
    """What the binding bound did."""

    def held_at(self, total: int, limit: ScalingRule, words: str) -> Step:
        """Return the step with another total, for the reason that is given; the same step where nothing changes."""
        return self if total == self.total else Step(total, limit, words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What bounds a decision."""

    spec: Autoscaling
    slots: Sequence[PoolSlot]
    fixed_desired: int
    """Replicas that pools fix."""
    current: int
    start_up_seconds: float
    no_way_down: tuple[ScalingRule, str] | None = None
    """Why nothing may be given up now."""
    now: float
    moment: datetime


def bounded(step: Step, limits: Limits, state: BehaviorState) -> tuple[Step, BehaviorState]:
    """Return the replicas to ask for over the pools that are scaled, and what the limits remember."""
    step = within_bounds(step, limits)
    step = _not_down(step, limits)
    state = state.with_recommendation(
        step.total,
        now=limits.now,
        down_seconds=down_stabilization_seconds(limits.spec, limits.start_up_seconds),
        up_seconds=limits.spec.behavior.scale_up.stabilization_window_seconds or 0.0,
    )
    stabilized = state.stabilized(step.total, current=limits.current)
    step = step.held_at(stabilized, ScalingRule.STABILIZATION, f"stabilization keeps {stabilized}")
    step = _tolerant(step, limits)
    step = _rate_limited(step, limits, state)
    return within_bounds(step, limits), state


def within_bounds(step: Step, limits: Limits) -> Step:
    """Return the step within schedules, pools' min and max, and maxReplicas."""
    schedule = schedule_in_force(limits.spec.schedules, limits.moment)
    if schedule is not None:
        least = schedule.min_replicas - limits.fixed_desired
        step = step.held_at(
            max(step.total, least),
            ScalingRule.SCHEDULE,
            f"schedule {schedule.name} keeps at least {schedule.min_replicas}",
        )
    return _hard(step, limits)


def _hard(step: Step, limits: Limits) -> Step:
    fewest = sum(slot.fewest for slot in limits.slots)
    least = max(fewest, 1 - limits.fixed_desired)
    most = sum(slot.most for slot in limits.slots)
    words = f"the pools' max is {most}"
    if limits.spec.max_replicas is not None and limits.spec.max_replicas < most:
        most, words = limits.spec.max_replicas, f"maxReplicas is {limits.spec.max_replicas}"
    step = step.held_at(min(step.total, max(most, least)), ScalingRule.MAX_REPLICAS, words)
    # One replica stays without any min, too: no request would bring it back.
    kept = f"the pools' min is {least}" if least > 1 else "at least 1 replica stays"
    return step.held_at(max(step.total, least), ScalingRule.MIN_REPLICAS, kept)


def _not_down(step: Step, limits: Limits) -> Step:
    if limits.no_way_down is None or step.total >= limits.current:
        return step
    rule, words = limits.no_way_down
    return step.held_at(limits.current, rule, words)


def _tolerant(step: Step, limits: Limits) -> Step:
    if limits.spec.policy is ScalingPolicy.HPA:
        return step
    change = step.total - limits.current
    rules = _rules(limits.spec, change)
    if abs(change) * 100 > (rules.tolerance_percent or 0.0) * limits.current:
        return step
    words = f"a change by {abs(change)} is within the tolerance of {rules.tolerance_percent or 0:g}%"
    return step.held_at(limits.current, ScalingRule.IN_TOLERANCE, words)


def _rate_limited(step: Step, limits: Limits, state: BehaviorState) -> Step:
    is_up = step.total > limits.current
    rules = _rules(limits.spec, step.total - limits.current)
    total = rate_limited(step.total, rules, _limits_or_default(limits.spec, is_up, rules), state, limits.now)
    direction = "up" if is_up else "down"
    rule = ScalingRule.RATE_LIMIT_UP if is_up else ScalingRule.RATE_LIMIT_DOWN
    return step.held_at(total, rule, f"the rate limit of scaling {direction} allows {total}")


def _rules(spec: Autoscaling, change: int) -> ScalingRules:
    return spec.behavior.scale_up if change > 0 else spec.behavior.scale_down


def _limits_or_default(spec: Autoscaling, is_up: bool, rules: ScalingRules) -> Sequence[RateLimit]:
    if rules.policies or spec.policy is not ScalingPolicy.HPA:
        return rules.policies
    return hpa.UP_LIMITS if is_up else hpa.DOWN_LIMITS


def down_stabilization_seconds(spec: Autoscaling, start_up_seconds: float) -> float:
    """Return the stabilization window of scaling down.

    Where the user gives none: HPA's 300 seconds; none for KPA, whose stable window is its delay, and for Fixed;
    for Latency about the time that a replica takes to start: through a shorter valley, keeping it costs less than
    starting it again (the ski rental problem), within 30 and 300 seconds.
    """
    given = spec.behavior.scale_down.stabilization_window_seconds
    if given is not None:
        return float(given)
    if spec.policy is ScalingPolicy.LATENCY:
        return min(max(start_up_seconds, _SHORTEST_DOWN_SECONDS), _LONGEST_DOWN_SECONDS)
    return float(hpa.DOWN_STABILIZATION_SECONDS) if spec.policy is ScalingPolicy.HPA else 0.0
