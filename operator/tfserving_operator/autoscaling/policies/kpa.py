"""Policy KPA: the rule of Knative's autoscaler on one metric.

Source: Knative Serving, pkg/autoscaler/scaling/autoscaler.go (``Scale``), with the defaults of config/core/configmaps/
autoscaler.yaml: utilisation 70%, at most 1000 times up and half down at a look. Its averages run over the stable and
the panic window; the panic threshold is met by the replicas that the panic window asks for over those that are ready.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tfserving_operator.api.autoscaling import TargetMetric
from tfserving_operator.autoscaling.decision import ScalingRule
from tfserving_operator.autoscaling.policy import Situation, Want

TARGET_UTILISATION = 0.7
MAX_SCALE_UP_RATE = 1000.0
MAX_SCALE_DOWN_RATE = 2.0


@dataclass(frozen=True, slots=True)
class KpaState:
    """Whether panic is on, and how far it has gone. Times are epoch seconds."""

    panic_at: float | None = None
    """When the threshold was last exceeded; None outside panic."""
    panic_replicas: int = 0
    """The most that panic asked for; fixed replicas included."""


class KpaPolicy:
    """ceil(load / target) over the stable window, or over the panic window in a surge."""

    def initial(self) -> KpaState:
        """Return the state outside panic."""
        return KpaState()

    def decide(self, situation: Situation, state: KpaState) -> tuple[Want, KpaState]:
        """Return what Knative would ask for."""
        target = situation.spec.target
        if target is None:
            return Want(replicas=situation.current, rule=ScalingRule.KPA, message="policy KPA has no target and"), state
        stable_mean = situation.history.mean(situation.spec.stable_window_seconds)
        panic_mean = situation.history.mean(situation.spec.panic_window_seconds)
        aimed_at = target.value * TARGET_UTILISATION
        ready = max(1, situation.load.ready)
        stable, panic = (_within_rates(math.ceil(mean / aimed_at - 1e-9), ready) for mean in (stable_mean, panic_mean))
        is_over = math.ceil(panic_mean / aimed_at - 1e-9) / ready >= situation.spec.panic_threshold_percent / 100
        state = _next_panic(state, situation, is_over)
        wanted = stable
        if state.panic_at is not None:
            state = KpaState(state.panic_at, max(stable, panic, state.panic_replicas))
            wanted = state.panic_replicas
        unit = "requests/s" if target.metric is TargetMetric.REQUESTS_PER_SECOND else "requests in flight"
        is_panic = state.panic_at is not None
        mean, window = (panic_mean, "panic") if is_panic else (stable_mean, "stable")
        want = Want(
            replicas=wanted - situation.fixed.ready,
            rule=ScalingRule.PANIC if is_panic else ScalingRule.KPA,
            message=f"{mean:.4g} {unit} over the {window} window at {aimed_at:.4g} a replica "
            f"({TARGET_UTILISATION:.0%} of the target {target.value:g})",
            is_surge=is_panic,
        )
        return want, state


def _next_panic(state: KpaState, situation: Situation, is_over: bool) -> KpaState:
    if is_over:
        return KpaState(situation.now, state.panic_replicas)
    if state.panic_at is not None and situation.now - state.panic_at > situation.spec.stable_window_seconds:
        return KpaState()
    return state


def _within_rates(wanted: int, ready: int) -> int:
    return min(max(wanted, math.floor(ready / MAX_SCALE_DOWN_RATE)), math.ceil(ready * MAX_SCALE_UP_RATE))
