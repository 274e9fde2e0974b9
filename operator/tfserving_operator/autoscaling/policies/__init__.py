"""The rules that turn load into replicas, one behind the other's interface."""

from __future__ import annotations

from typing import assert_never

from tfserving_operator.api.autoscaling import ScalingPolicy
from tfserving_operator.autoscaling.policies.fixed import FixedPolicy, FixedState
from tfserving_operator.autoscaling.policies.hpa import HpaPolicy, HpaState
from tfserving_operator.autoscaling.policies.kpa import KpaPolicy, KpaState
from tfserving_operator.autoscaling.policies.latency import LatencyPolicy, LatencyState
from tfserving_operator.autoscaling.policy import Situation, Want

PolicyState = LatencyState | HpaState | KpaState | FixedState

_LATENCY, _HPA, _KPA, _FIXED = LatencyPolicy(), HpaPolicy(), KpaPolicy(), FixedPolicy()


def wanted(situation: Situation, state: PolicyState | None) -> tuple[Want, PolicyState]:
    """Return what the policy of the spec wants; the state of another policy is dropped."""
    policy = situation.spec.policy
    match policy:
        case ScalingPolicy.LATENCY:
            return _LATENCY.decide(situation, state if isinstance(state, LatencyState) else _LATENCY.initial())
        case ScalingPolicy.HPA:
            return _HPA.decide(situation, state if isinstance(state, HpaState) else _HPA.initial())
        case ScalingPolicy.KPA:
            return _KPA.decide(situation, state if isinstance(state, KpaState) else _KPA.initial())
        case ScalingPolicy.FIXED:
            return _FIXED.decide(situation, state if isinstance(state, FixedState) else _FIXED.initial())
        case _:
            assert_never(policy)
