"""``spec.pools``: groups of equal replicas, in order of priority."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from tfserving_operator.api.base import (
    ApiModel,
    atomic_list,
    cel,
    int_or_string,
    preserve_unknown,
    validations,
)
from tfserving_operator.api.model import ObjectName
from tfserving_operator.api.pod_template import (
    AnnotationMap,
    LabelValue,
    PodTemplate,
    PodTemplateMetadata,
    StringMap,
    reserved_annotation_rules,
    reserved_label_rules,
)
from tfserving_operator.api.server import Batching, ServerOverrides

__all__ = [
    "Accelerator",
    "AnnotationMap",
    "IntOrPercent",
    "PodTemplate",
    "PodTemplateMetadata",
    "Pool",
    "PoolReplicas",
    "Resources",
    "Scheduling",
    "StringMap",
    "Toleration",
    "UpdateStrategy",
]

_IS_QUANTITY = cel(
    "type(self) == int ? self >= 0 : (isQuantity(self) && quantity(self).compareTo(quantity('0')) >= 0)",
    "write a quantity, for example 500m, 2 or 8Gi",
)
_IS_COUNT_OR_PERCENT = cel(
    "type(self) == int ? self >= 0 : self.matches('^(0|[1-9][0-9]{0,2})%$')",
    "write a number or a percentage, for example 1 or 25%",
)

PoolName = Annotated[str, Field(min_length=1, max_length=20, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
ReplicaCount = Annotated[int, Field(ge=0, le=10_000)]
Quantity = Annotated[int | str, Field(json_schema_extra=int_or_string(_IS_QUANTITY))]
IntOrPercent = Annotated[int | str, Field(json_schema_extra=int_or_string(_IS_COUNT_OR_PERCENT))]


class Accelerator(ApiModel):
    """What each replica of a GPU pool gets."""

    resource: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$")] = Field(
        default="nvidia.com/gpu", description="Extended resource, for example nvidia.com/gpu."
    )
    count: Annotated[int, Field(ge=1, le=64)] = Field(default=1, description="Devices a replica.")
    memory_fraction: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="Share of a device's memory that TensorFlow may take. Left out: nearly all of it.",
    )


class PoolReplicas(ApiModel):
    """How many replicas a pool has: fixed, or between min and max."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "!has(self.fixed) || (!has(self.min) && !has(self.max))",
                "give either fixed, or min and max: fixed replicas are not scaled",
            ),
            cel(
                "!has(self.min) || !has(self.max) || self.min <= self.max",
                "min must not exceed max: raise max or lower min",
            ),
        )
    )

    fixed: ReplicaCount | None = Field(default=None, description="Exactly so many; spec.replicas leaves it alone.")
    min: ReplicaCount | None = Field(default=None, description="Fewest replicas when spec.replicas is shared out.")
    max: ReplicaCount | None = Field(default=None, description="Most replicas when spec.replicas is shared out.")
    max_starting: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None,
        description="Most replicas that autoscaling starts at once, for scarce accelerators; those that wait for a "
        "node count. Left out: no limit.",
    )


class Resources(ApiModel):
    """Requests and limits of the model server's container."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "!has(self.requests) || !has(self.limits) || self.requests.all(name, !(name in self.limits) "
                "|| !isQuantity(string(self.requests[name])) || !isQuantity(string(self.limits[name])) "
                "|| !quantity(string(self.requests[name])).isGreaterThan(quantity(string(self.limits[name]))))",
                "a request exceeds its limit: raise the limit or lower the request",
            ),
        )
    )

    requests: Annotated[dict[Annotated[str, Field(max_length=253)], Quantity], Field(max_length=16)] = Field(
        default_factory=dict, description="What the scheduler reserves."
    )
    limits: Annotated[dict[Annotated[str, Field(max_length=253)], Quantity], Field(max_length=16)] = Field(
        default_factory=dict,
        description="What the container may use. TensorFlow's threads follow the cpu limit; "
        "a new version is loaded beside the old one, so memory should hold two.",
    )


class Toleration(ApiModel):
    """A toleration, as in a pod."""

    key: Annotated[str, Field(max_length=317)] | None = Field(default=None, description="Taint key.")
    operator: Annotated[str, Field(max_length=16)] | None = Field(
        default=None,
        description="Exists or Equal; left out: Equal.",
        json_schema_extra={"enum": ["Exists", "Equal"]},
    )
    value: LabelValue | None = Field(default=None, description="Taint value.")
    effect: Annotated[str, Field(max_length=32)] | None = Field(
        default=None,
        description="Taint effect; left out: every effect.",
        json_schema_extra={"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
    )
    toleration_seconds: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(
        default=None, description="How long NoExecute is tolerated."
    )


class Scheduling(ApiModel):
    """Where the replicas of a pool run."""

    node_selector: StringMap = Field(default_factory=dict, description="Labels a node must have.")
    tolerations: Annotated[list[Toleration], Field(max_length=32)] = Field(
        default_factory=list, description="Taints that are tolerated.", json_schema_extra=atomic_list()
    )
    affinity: dict[str, Any] | None = Field(
        default=None,
        description="Affinity, as in a pod (core/v1 Affinity).",
        json_schema_extra=preserve_unknown(),
    )
    topology_spread_constraints: Annotated[
        list[
            Annotated[
                dict[str, Any],
                Field(description="As in core/v1 TopologySpreadConstraint.", json_schema_extra=preserve_unknown()),
            ]
        ],
        Field(max_length=8),
    ] = Field(
        default_factory=list,
        description="Topology spread, as in a pod (core/v1 TopologySpreadConstraint). A constraint without a "
        "labelSelector gets the pool's.",
        json_schema_extra=atomic_list(),
    )
    priority_class_name: ObjectName | None = Field(default=None, description="Priority class of the pods.")
    runtime_class_name: ObjectName | None = Field(
        default=None, description="Runtime class of the pods, for example nvidia."
    )


class UpdateStrategy(ApiModel):
    """How a changed pool replaces its pods."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "!((has(self.maxSurge) && (self.maxSurge == 0 || self.maxSurge == '0%')) && "
                "(!has(self.maxUnavailable) || self.maxUnavailable == 0 || self.maxUnavailable == '0%'))",
                "maxSurge and maxUnavailable must not both be 0: where no GPU is free for a new pod, "
                "set maxSurge: 0 and maxUnavailable: 1",
            ),
        )
    )

    max_surge: IntOrPercent | None = Field(
        default=None, description="Pods above the wanted number during an update. Default 1."
    )
    max_unavailable: IntOrPercent | None = Field(
        default=None, description="Pods below the wanted number during an update. Default 0."
    )


class Pool(ApiModel):
    """A group of equal replicas."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "!has(self.accelerator) || !has(self.resources) || ("
                "!(has(self.resources.limits) && self.accelerator.resource in self.resources.limits) && "
                "!(has(self.resources.requests) && self.accelerator.resource in self.resources.requests))",
                "the devices are asked for by accelerator.count: remove accelerator.resource from resources",
                fieldPath=".resources",
            ),
        )
    )

    name: PoolName = Field(description="Name of the pool; the order of the list is the order of priority.")
    accelerator: Accelerator | None = Field(default=None, description="Accelerator a replica. Left out: a CPU pool.")
    cost: Annotated[float, Field(ge=0, le=1_000_000)] | None = Field(
        default=None,
        description="Price of one replica for one hour, in any unit that all pools share; for autoscaling.fill: Cost "
        "and tfs simulate. Left out: 1.",
    )
    replicas: PoolReplicas = Field(
        default_factory=PoolReplicas,
        description="How many replicas. Left out: the pool takes its share of spec.replicas without bounds.",
    )
    resources: Resources = Field(default_factory=Resources, description="Requests and limits of the model server.")
    scheduling: Scheduling = Field(default_factory=Scheduling, description="Where the replicas run.")
    batching: Batching | None = Field(default=None, description="Batching of this pool (replaces spec.batching).")
    server: ServerOverrides = Field(
        default_factory=ServerOverrides, description="What this pool's server does differently."
    )
    update_strategy: UpdateStrategy = Field(
        default_factory=UpdateStrategy, description="How pods are replaced when the pool changes."
    )
    pod_labels: StringMap = Field(
        default_factory=dict,
        description="Labels of this pool's pods.",
        json_schema_extra=reserved_label_rules(),
    )
    pod_annotations: AnnotationMap = Field(
        default_factory=dict,
        description="Annotations of this pool's pods.",
        json_schema_extra=reserved_annotation_rules(),
    )
    pod_template: PodTemplate | None = Field(
        default=None, description="Partial pod template, merged last, for a sidecar or a resource claim."
    )
