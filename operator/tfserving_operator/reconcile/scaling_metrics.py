"""What the metrics say of the fleet that autoscaling looks after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from tfserving_operator import telemetry
from tfserving_operator.api.autoscaling import AutoscalingMode
from tfserving_operator.autoscaling.decision import Decision, ScalingRule
from tfserving_operator.autoscaling.observation import ScalingObservation
from tfserving_operator.autoscaling.signals import SignalState
from tfserving_operator.reconcile.scaling_verdicts import worst_signals

_MODES: Final = (AutoscalingMode.RECOMMEND, AutoscalingMode.AUTO)


def count_models(decided: Iterable[tuple[AutoscalingMode, ScalingObservation, Decision]]) -> None:
    """Set the gauges of the last tick. Labels that nothing has any more are set to 0, so that no old number stays."""
    states: Counter[tuple[AutoscalingMode, SignalState]] = Counter()
    rules: Counter[ScalingRule] = Counter()
    for mode, observation, decision in decided:
        states[mode, worst_signals(pool.signals for pool in observation.pools).state] += 1
        rules[decision.rule] += 1
    for mode in _MODES:
        for state in SignalState:
            telemetry.SCALING_MODELS.labels(mode, state).set(states[mode, state])
    for rule in ScalingRule:
        telemetry.SCALING_RULES.labels(rule).set(rules[rule])
