"""What comes out of a scaling decision, and the words for why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tfserving_operator.api.conditions import DocumentedWord


class ScalingRule(DocumentedWord):
    """The rule that bound: why replicas are what they are, and not one more or less."""

    # What the policy wants
    FORECAST = "Forecast", "The load expected within the start-up time, at what a replica is known to carry."
    LATENCY_TRIM = "LatencyTrim", "Fewer requests than promised are within the objective, so replicas are added."
    PROBE = "Probe", "The objective is met with room to spare, so fewer replicas are tried."
    PANIC = "Panic", "A surge in the panic window: up at once, and no way down until it is over."
    HPA = "HPAFormula", "ceil(current replicas x average / target)."
    KPA = "KPAFormula", "ceil(load / target) over the stable or the panic window."
    FIXED = "FixedReplicas", "spec.replicas."
    IN_TOLERANCE = "WithinTolerance", "The change would be smaller than the tolerance."
    AS_WANTED = "AsWanted", "The replicas are what the policy wants."
    # What bounds it
    MIN_REPLICAS = "MinReplicas", "The pools' min binds."
    MAX_REPLICAS = "MaxReplicas", "The pools' max or autoscaling.maxReplicas binds."
    SCHEDULE = "ScheduleMinimum", "A schedule's minReplicas binds."
    RATE_LIMIT_UP = "RateLimitUp", "behavior.scaleUp.policies bind."
    RATE_LIMIT_DOWN = "RateLimitDown", "behavior.scaleDown.policies bind."
    STABILIZATION = "Stabilization", "A more cautious recommendation of the stabilization window binds."
    COOLDOWN = "Cooldown", "Nothing is scaled down so soon after a rollout or a failover."
    MAX_STARTING = "MaxStarting", "As many replicas of the pool are starting as may at once."
    WAITING_FOR_NODE = "WaitingForNode", "A replica that waits for a node is not taken back."
    BUDGET = "FleetBudget", "The platform's budget for all ServedModels together is used up."
    REPLICAS_CANNOT_HELP = (
        "ReplicasCannotHelp",
        "The service time alone exceeds the objective at little load: more replicas would not help.",
    )
    # What is not known
    NO_TELEMETRY = "HoldWithoutTelemetry", "The load is not known well enough, so replicas are held."
    STARTING_UP = "HoldAfterStart", "The operator has just started and holds what runs until it has seen enough."


@dataclass(frozen=True, kw_only=True)
class Decision:
    """How many replicas each pool that is scaled should have now."""

    replicas: Mapping[str, int]
    """By pool; pools that fix their replicas are not in it."""
    rule: ScalingRule
    message: str
    """Numbers in, rule that bound, numbers out: one sentence for people."""
    is_limited: bool = False
    """Whether a bound, and not the policy, set the replicas (HPA: ScalingLimited)."""
    limit: ScalingRule | None = None
    """The bound that kept it from what the policy wanted; None where nothing did."""
    wanted_total: int = 0
    """What the policy wanted before any bound, over all pools that are scaled."""
    enough: int | None = None
    """Replicas that the load needs, over all pools that are scaled; None where all of ``replicas`` are needed. The
    others wait for nodes and are not taken back, but nothing has to serve in their place until they come."""
