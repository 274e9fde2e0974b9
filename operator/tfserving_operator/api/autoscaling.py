"""``spec.autoscaling`` and ``status.autoscaling``: what sets the replicas, and why they are what they are."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from tfserving_operator.api.base import ApiModel, atomic_list, cel, map_list, validations
from tfserving_operator.api.conditions import DocumentedWord
from tfserving_operator.api.server import Duration

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
Seconds = Annotated[int, Field(ge=0, le=86_400)]
StatedReplicas = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""Replicas in status: whatever a Deployment can have."""
TotalReplicas = Annotated[int, Field(ge=1, le=10_000)]


class AutoscalingMode(DocumentedWord):
    """What autoscaling may do."""

    OFF = "Off", "Replicas are what spec.replicas says."
    RECOMMEND = "Recommend", "Decides and explains, and changes nothing."
    AUTO = "Auto", "Sets the replicas of every pool that does not fix its own."


class ScalingPolicy(DocumentedWord):
    """The rule that turns load into replicas."""

    LATENCY = "Latency", "Learns what a replica carries within the objective and provides for the load to come."
    HPA = "HPA", "The formula of Kubernetes' HorizontalPodAutoscaler v2 on one metric."
    KPA = "KPA", "The rule of Knative's autoscaler: stable and panic windows on one metric."
    FIXED = "Fixed", "spec.replicas, within bounds and schedules: scaling by the clock alone."


class FillOrder(DocumentedWord):
    """Which pool grows first."""

    PRIORITY = "Priority", "In the order of spec.pools; the later ones take the overflow."
    COST = "Cost", "The cheapest combination, by pools[].cost for what a replica was measured to carry."


class TargetMetric(StrEnum):
    """What HPA and KPA keep constant for each replica."""

    REQUESTS_PER_SECOND = "RequestsPerSecond"
    CONCURRENCY = "Concurrency"


class Objective(ApiModel):
    """The promise to clients: so many percent of requests are answered within so much time."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "duration(self.latency) >= duration('10us')",
                "latency must be 10us or more: TensorFlow Serving's first latency bucket ends there",
            ),
            cel(
                "duration(self.latency) <= duration('1475s')",
                "latency must be 1475s or less: TensorFlow Serving's last latency bucket ends there",
            ),
        )
    )

    latency: Duration = Field(
        description="For example 68ms. It is measured at the bucket edges of TensorFlow Serving (10us x 1.8^n: ... "
        "20.823ms, 37.4813ms, 67.4664ms ...): at one just below it, or estimated between two; "
        "status.autoscaling.measuredLatency says which.",
    )
    percent: Annotated[float, Field(ge=50, le=99.99)] = Field(
        default=99.0, description="Share of requests that latency is promised for, in percent."
    )


class Target(ApiModel):
    """What HPA and KPA aim at: an average for each ready replica."""

    metric: TargetMetric = Field(
        default=TargetMetric.REQUESTS_PER_SECOND,
        description="RequestsPerSecond, or Concurrency: requests in flight, inferred from rate and time by Little's "
        "law because TensorFlow Serving does not report them.",
    )
    value: Annotated[float, Field(gt=0, le=1_000_000)] = Field(description="Wanted average for each ready replica.")


class RateLimitType(StrEnum):
    """Unit of a rate limit."""

    PODS = "Pods"
    PERCENT = "Percent"


class RateLimit(ApiModel):
    """Replicas may change by at most this much within a period (HPA: scaling policy)."""

    type: RateLimitType = Field(description="Pods or Percent (of the replicas at the start of the period).")
    value: Annotated[int, Field(ge=1, le=10_000)] = Field(description="How many pods, or percent.")
    period_seconds: Annotated[int, Field(ge=1, le=1800)] = Field(description="The period.")


class SelectPolicy(StrEnum):
    """Which of several rate limits binds."""

    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


class ScalingRules(ApiModel):
    """Limits of scaling in one direction, as in HPA's behavior."""

    stabilization_window_seconds: Annotated[int, Field(ge=0, le=3600)] | None = Field(
        default=None,
        description="The most cautious recommendation of this window is taken. Default 0 up; down 300 for HPA, 0 for "
        "KPA and Fixed, and for Latency the time that a replica takes to start, 30 to 300.",
    )
    tolerance_percent: Annotated[float, Field(ge=0, le=100)] | None = Field(
        default=None,
        description="A change smaller than this share of the current replicas is not made. Default 0; for HPA 10, of "
        "the metric.",
    )
    select_policy: SelectPolicy = Field(
        default=SelectPolicy.MAX,
        description="Max: the most permissive limit binds; Min: the strictest; Disabled: never.",
    )
    policies: Annotated[list[RateLimit], Field(max_length=8)] = Field(
        default_factory=list,
        description="Rate limits. Left out: none; for HPA as there: up by the larger of 4 pods and 100 percent in 15 "
        "seconds, down by 100 percent in 15 seconds.",
        json_schema_extra=atomic_list(),
    )


class Behavior(ApiModel):
    """Limits of scaling, by direction."""

    scale_up: ScalingRules = Field(default_factory=ScalingRules, description="Limits of scaling up.")
    scale_down: ScalingRules = Field(default_factory=ScalingRules, description="Limits of scaling down.")


class Schedule(ApiModel):
    """A time at which at least so many replicas run, over all pools."""

    name: Name = Field(description="Name of the schedule, for reasons and messages.")
    start: Annotated[str, Field(min_length=9, max_length=64, pattern=r"^\S+( \S+){4}$")] = Field(
        description="When it begins, in cron's five fields: 30 7 * * MON-FRI."
    )
    duration_seconds: Annotated[int, Field(ge=60, le=604_800)] = Field(description="How long it lasts.")
    time_zone: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_+/-]+$")] = Field(
        default="Etc/UTC", description="IANA name of the time zone that start is in, for example Europe/Berlin."
    )
    min_replicas: TotalReplicas = Field(description="Fewest replicas over all pools meanwhile; pools' max still binds.")


class Autoscaling(ApiModel):
    """What sets the replicas."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "self.mode == 'Off' || !has(self.policy) || self.policy != 'Latency' || has(self.objective)",
                "policy Latency needs an objective, for example {latency: 50ms, percent: 99}",
            ),
            cel(
                "self.mode == 'Off' || !has(self.policy) || !(self.policy in ['HPA', 'KPA']) || has(self.target)",
                "policies HPA and KPA need a target, for example {metric: RequestsPerSecond, value: 100}",
            ),
            cel(
                "!has(self.policy) || self.policy in ['HPA', 'KPA'] || !has(self.target)",
                "target belongs to the policies HPA and KPA: remove it",
            ),
            cel(
                "!has(self.panicWindowSeconds) || !has(self.stableWindowSeconds) "
                "|| self.panicWindowSeconds <= self.stableWindowSeconds",
                "panicWindowSeconds must not exceed stableWindowSeconds",
            ),
        )
    )

    mode: AutoscalingMode = Field(description="Off, Recommend (decide and explain only) or Auto.")
    policy: ScalingPolicy = Field(default=ScalingPolicy.LATENCY, description="The rule: Latency, HPA, KPA or Fixed.")
    objective: Objective | None = Field(default=None, description="The latency objective; policy Latency needs it.")
    target: Target | None = Field(default=None, description="What policies HPA and KPA aim at.")
    max_replicas: TotalReplicas | None = Field(
        default=None, description="Most replicas over all pools that do not fix theirs, on top of each pool's max."
    )
    fill: FillOrder = Field(default=FillOrder.PRIORITY, description="Which pool grows first: Priority or Cost.")
    stable_window_seconds: Annotated[int, Field(ge=6, le=3600)] = Field(
        default=60, description="Load is averaged over this window while it is steady."
    )
    panic_window_seconds: Annotated[int, Field(ge=1, le=600)] = Field(
        default=6, description="Load is averaged over this window to see a surge; never less than two scrapes."
    )
    panic_threshold_percent: Annotated[int, Field(ge=110, le=1000)] = Field(
        default=200,
        description="A load in the panic window of so many percent of what the ready replicas carry is a surge; "
        "until it is over nothing is scaled down.",
    )
    cooldown_seconds: Seconds = Field(
        default=60, description="After a rollout or a failover, nothing is scaled down for so long."
    )
    behavior: Behavior = Field(default_factory=Behavior, description="Rate limits and stabilization by direction.")
    schedules: Annotated[list[Schedule], Field(max_length=16)] = Field(
        default_factory=list,
        description="Minimums at certain times.",
        json_schema_extra=map_list("name"),
    )


class EarlierCapacity(ApiModel):
    """What one replica was seen to carry with models, batching or resources that are not those of now."""

    config_hash: Annotated[str, Field(max_length=64)] = Field(description="What it was measured with.")
    requests_per_second: Annotated[float, Field(ge=0, le=1e9)] = Field(
        description="What one replica carried while the objective held."
    )
    confidence: Annotated[float, Field(ge=0, le=1)] = Field(description="0 to 1, as it was then.")


class PoolCapacity(ApiModel):
    """What one replica of a pool was seen to carry within the objective."""

    name: Annotated[str, Field(max_length=63)] = Field(description="Name of the pool.")
    requests_per_second: Annotated[float, Field(ge=0, le=1e9)] = Field(
        description="What one replica carries while the objective holds."
    )
    confidence: Annotated[float, Field(ge=0, le=1)] = Field(
        description="0 (a guess) to 1 (seen from both sides, recently)."
    )
    start_up_seconds: Annotated[float, Field(ge=0, le=1e6)] | None = Field(
        default=None, description="From the decision to the replica's first requests, as measured."
    )
    config_hash: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="The models, batching and resources that this was measured with."
    )
    earlier: Annotated[list[EarlierCapacity], Field(max_length=3)] = Field(
        default_factory=list,
        description="What was known of the last other configurations, for the way back to one of them.",
        json_schema_extra=map_list("configHash"),
    )


class ScalingDecision(ApiModel):
    """One change of replicas, decided (mode Recommend) or made (mode Auto)."""

    time: datetime = Field(description="When it was decided.")
    before: Annotated[str, Field(max_length=256)] = Field(description="Replicas by pool before: gpu 2, cpu 0.")
    after: Annotated[str, Field(max_length=256)] = Field(description="Replicas by pool after: gpu 3, cpu 0.")
    rule: Annotated[str, Field(max_length=63)] = Field(
        description="The rule that bound; docs/autoscaling.md explains each."
    )
    message: Annotated[str, Field(max_length=1024)] = Field(description="Numbers in, rule, numbers out.")
    load: Annotated[str, Field(max_length=1024)] | None = Field(
        default=None,
        description="The load that was measured then: requests, share within the objective, requests in flight, on how "
        "many replicas, how old; batches, queue and restarts of each pool.",
    )


class RecommendedReplicas(ApiModel):
    """What one pool should have."""

    name: Annotated[str, Field(max_length=63)] = Field(description="Name of the pool.")
    replicas: StatedReplicas = Field(description="Replicas that autoscaling wants it to have.")


class AppliedReplicas(ApiModel):
    """What mode Auto last made of the replicas; it is kept after mode Auto ends, until spec.replicas is changed."""

    spec_replicas: StatedReplicas = Field(
        description="What spec.replicas was meanwhile; when it says something else and mode is not Auto, it counts "
        "again."
    )
    pools: Annotated[list[RecommendedReplicas], Field(max_length=32)] = Field(
        default_factory=list, description="Replicas by pool.", json_schema_extra=map_list("name")
    )


class AutoscalingStatus(ApiModel):
    """What autoscaling knows and decided."""

    measured_latency: Annotated[str, Field(max_length=32)] | None = Field(
        default=None,
        description="The bucket edge of TensorFlow Serving at which the objective is measured. Two edges where it lies "
        "between them: the share within it is then estimated from what is counted at both.",
    )
    recommended: Annotated[list[RecommendedReplicas], Field(max_length=32)] = Field(
        default_factory=list,
        description="Replicas wanted by pool; in mode Auto they are also made.",
        json_schema_extra=map_list("name"),
    )
    applied: AppliedReplicas | None = Field(
        default=None,
        description="What mode Auto made of the replicas. Present while it is on, and afterwards until spec.replicas "
        "is changed: leaving Auto scales nothing.",
    )
    last_scale_time: datetime | None = Field(default=None, description="When replicas were last changed.")
    capacities: Annotated[list[PoolCapacity], Field(max_length=32)] = Field(
        default_factory=list,
        description="What was learned of each pool, so that a restart of the operator does not forget it.",
        json_schema_extra=map_list("name"),
    )
    decisions: Annotated[list[ScalingDecision], Field(max_length=20)] = Field(
        default_factory=list,
        description="The last decisions that changed something, the newest first.",
        json_schema_extra=atomic_list(),
    )
