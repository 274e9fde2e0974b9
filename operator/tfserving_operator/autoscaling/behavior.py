"""Rate limits and stabilization by direction.

Rules: HorizontalPodAutoscaler v2, ``behavior`` (Kubernetes, pkg/controller/podautoscaler/horizontal.go): the highest
recommendation of the scale-down window and the lowest of the scale-up window bind; then each rate limit counts the
changes of its period.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tfserving_operator.api.autoscaling import RateLimit, RateLimitType, ScalingRules, SelectPolicy

_LONGEST_PERIOD_SECONDS = 1800.0
_MOST_CHANGES = 256
_MOST_EXTREMES = 256

Timed = tuple[tuple[float, int], ...]


@dataclass(frozen=True, slots=True)
class BehaviorState:
    """What limits need to remember. Times are epoch seconds."""

    highs: Timed = ()
    """Recommendations that may still be the highest of a window: falling values, the oldest first."""
    lows: Timed = ()
    """Recommendations that may still be the lowest of a window: rising values, the oldest first."""
    changes: Timed = ()
    """Changes of the replicas, as they were seen."""
    total: int | None = None
    """Replicas as last seen."""

    def with_total(self, total: int, *, now: float) -> BehaviorState:
        """Return the state after the replicas were seen to be ``total``, whoever changed them."""
        if total == self.total:
            return self
        if self.total is None:
            return replace(self, total=total)
        kept = tuple(each for each in self.changes if each[0] > now - _LONGEST_PERIOD_SECONDS)
        return replace(self, total=total, changes=(*kept, (now, total - self.total))[-_MOST_CHANGES:])

    def with_recommendation(
        self, replicas: int, *, now: float, down_seconds: float, up_seconds: float
    ) -> BehaviorState:
        """Return the state with one more recommendation, without those that no window reaches any more."""
        highs = [each for each in self.highs if each[1] > replicas and each[0] > now - down_seconds]
        lows = [each for each in self.lows if each[1] < replicas and each[0] > now - up_seconds]
        return replace(
            self,
            highs=(*highs, (now, replicas))[-_MOST_EXTREMES:],
            lows=(*lows, (now, replicas))[-_MOST_EXTREMES:],
        )

    def stabilized(self, wanted: int, *, current: int) -> int:
        """Return the most cautious of the recommendations in the windows: between ``wanted`` and ``current``."""
        lowest = min([each[1] for each in self.lows] + [wanted])
        highest = max([each[1] for each in self.highs] + [wanted])
        return min(max(current, lowest), highest)


def rate_limited(
    wanted: int, rules: ScalingRules, limits: Sequence[RateLimit], state: BehaviorState, now: float
) -> int:
    """Return ``wanted``, or as far towards it from the replicas last seen as ``limits`` allow now."""
    current = state.total if state.total is not None else wanted
    if wanted == current:
        return wanted
    if rules.select_policy is SelectPolicy.DISABLED:
        return current
    if not limits:
        return wanted
    if wanted > current:
        allowed = [_most(limit, current, state.changes, now) for limit in limits]
        limit = max(allowed) if rules.select_policy is SelectPolicy.MAX else min(allowed)
        return min(wanted, max(limit, current))
    allowed = [_fewest(limit, current, state.changes, now) for limit in limits]
    limit = min(allowed) if rules.select_policy is SelectPolicy.MAX else max(allowed)
    return max(wanted, min(limit, current))


def _at_start_of_period(limit: RateLimit, current: int, changes: Timed, now: float) -> int:
    return current - sum(change for at, change in changes if at > now - limit.period_seconds)


def _most(limit: RateLimit, current: int, changes: Timed, now: float) -> int:
    start = _at_start_of_period(limit, current, changes, now)
    if limit.type is RateLimitType.PODS:
        return start + limit.value
    return math.ceil(start * (100 + limit.value) / 100)


def _fewest(limit: RateLimit, current: int, changes: Timed, now: float) -> int:
    start = _at_start_of_period(limit, current, changes, now)
    if limit.type is RateLimitType.PODS:
        return start - limit.value
    return math.floor(start * (100 - limit.value) / 100)
