"""Policy Fixed: ``spec.replicas``, within bounds and schedules."""

from __future__ import annotations

from dataclasses import dataclass

from tfserving_operator.autoscaling.decision import ScalingRule
from tfserving_operator.autoscaling.policy import Situation, Want


@dataclass(frozen=True, slots=True)
class FixedState:
    """Nothing to remember."""


class FixedPolicy:
    """Scaling by the clock alone: it needs no telemetry."""

    def initial(self) -> FixedState:
        """Return the empty state."""
        return FixedState()

    def decide(self, situation: Situation, state: FixedState) -> tuple[Want, FixedState]:
        """Want ``spec.replicas``."""
        return Want(replicas=situation.replicas, rule=ScalingRule.FIXED, message="spec.replicas"), state
