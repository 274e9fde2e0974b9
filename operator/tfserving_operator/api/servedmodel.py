"""The ``ServedModel`` kind: what its users write and read."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from tfserving_operator.api.autoscaling import Autoscaling, AutoscalingStatus
from tfserving_operator.api.base import ApiModel, cel, map_list, set_list, stated_default, validations
from tfserving_operator.api.conditions import Condition
from tfserving_operator.api.model import Model, ReportedVersion
from tfserving_operator.api.pool import AnnotationMap, IntOrPercent, Pool, ReplicaCount
from tfserving_operator.api.server import DEFAULT_SERVER_IMAGE, Batching, Server

GROUP = "tfserving.dev"
VERSION = "v1alpha1"
KIND = "ServedModel"
PLURAL = "servedmodels"
API_VERSION = f"{GROUP}/{VERSION}"

NAME_MAX_LENGTH = 40
NAME_PATTERN = rf"^[a-z]([-a-z0-9]{{0,{NAME_MAX_LENGTH - 2}}}[a-z0-9])?$"
# A Service is named NAME-POOL-headless, and a Service's name has at most 63 characters.
NAME_AND_POOL_MAX_LENGTH = 63 - len("-") - len("-headless")

METADATA_RULES = (
    cel(
        f"self.metadata.name.matches(r'{NAME_PATTERN}')",
        f"metadata.name is the start of the Services' names: use at most {NAME_MAX_LENGTH} lower-case letters, digits "
        "and dashes, beginning with a letter and not ending with a dash",
    ),
    cel(
        "!has(self.spec.pools) || self.spec.pools.all(pool, "
        f"size(self.metadata.name) + size(pool.name) <= {NAME_AND_POOL_MAX_LENGTH})",
        f"metadata.name and a pool's name may have {NAME_AND_POOL_MAX_LENGTH} characters together, because a "
        "Service is named NAME-POOL-headless: shorten one of them",
    ),
)
"""CEL rules of the whole object: only there is the name in sight."""


class Disruption(ApiModel):
    """How many replicas of a pool a node drain may take (a PodDisruptionBudget a pool)."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "!(has(self.minAvailable) && has(self.maxUnavailable))",
                "give one of minAvailable and maxUnavailable, not both",
            ),
        )
    )

    min_available: IntOrPercent | None = Field(
        default=None, description="Replicas that must stay, for example 1 or 50%."
    )
    max_unavailable: IntOrPercent | None = Field(
        default=None, description="Replicas that may be away at once. Default 1."
    )


class ServiceType(StrEnum):
    """Type of the Service that spans all pools."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


Port = Annotated[int, Field(ge=1, le=65_535)]


class Networking(ApiModel):
    """The Service that spans all pools."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel("self.restPort != self.grpcPort", "restPort and grpcPort must differ, for example 8501 and 8500")
        )
    )

    service_type: ServiceType = Field(default=ServiceType.CLUSTER_IP, description="Type of the Service.")
    service_annotations: AnnotationMap = Field(
        default_factory=dict,
        description="Annotations of the Service, for example for a cloud's load balancer.",
    )
    rest_port: Port = Field(default=8501, description="REST port of the Services.")
    grpc_port: Port = Field(default=8500, description="gRPC port of the Services.")


def _is_scaled_by_us(spec: str) -> str:
    """CEL: whether autoscaling sets the replicas of ``spec``; policy Fixed takes them from spec.replicas."""
    return f"(has({spec}.autoscaling) && {spec}.autoscaling.mode == 'Auto' && {spec}.autoscaling.policy != 'Fixed')"


def _sum_of(bound: str) -> str:
    """CEL: the sum of ``bound`` over the pools that give it."""
    given = f"self.pools.filter(pool, has(pool.replicas) && has(pool.replicas.{bound}))"
    return f"(has(self.pools) ? {given}.map(pool, pool.replicas.{bound}).sum() : 0)"


class ServedModelSpec(ApiModel):
    """What shall be served, and on what."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                # An unchanged number is let through: it may stem from a time when a pool could be scaled.
                "(oldSelf.hasValue() ? self.replicas == oldSelf.value().replicas : self.replicas == 1) "
                "|| !has(self.pools) "
                "|| self.pools.exists(pool, !has(pool.replicas) || !has(pool.replicas.fixed))",
                "every pool fixes its replicas, so spec.replicas has nothing to scale: change "
                "pools[].replicas.fixed, or give a pool min and max in its place",
                optionalOldSelf=True,
                fieldPath=".replicas",
            ),
            cel(
                "!oldSelf.hasValue() || self.replicas == oldSelf.value().replicas "
                f"|| !{_is_scaled_by_us('self')} || !{_is_scaled_by_us('oldSelf.value()')}",
                "autoscaling sets the replicas of this ServedModel: to scale by hand or with another autoscaler, "
                "set spec.autoscaling.mode to Off or Recommend first",
                optionalOldSelf=True,
                fieldPath=".replicas",
            ),
            cel(
                "!has(self.autoscaling) || self.autoscaling.mode == 'Off' || has(self.autoscaling.maxReplicas) "
                "|| (has(self.pools) && self.pools.all(pool, "
                "has(pool.replicas) && (has(pool.replicas.max) || has(pool.replicas.fixed))))",
                "autoscaling needs an upper bound: give every pool replicas.max, or give spec.autoscaling.maxReplicas",
                fieldPath=".autoscaling",
            ),
            cel(
                "!has(self.autoscaling) || self.autoscaling.mode == 'Off' || !has(self.pools) "
                "|| self.pools.exists(pool, !has(pool.replicas) || (!has(pool.replicas.fixed) "
                "&& (!has(pool.replicas.max) || pool.replicas.max > 0)))",
                "every pool fixes its replicas or has max 0, so there is nothing to scale: give a pool min and a max "
                "above 0 instead",
                fieldPath=".autoscaling",
            ),
            cel(
                "!has(self.autoscaling) || self.autoscaling.mode == 'Off' || !has(self.autoscaling.maxReplicas) "
                f"|| {_sum_of('min')} <= self.autoscaling.maxReplicas",
                "the pools' min come to more than spec.autoscaling.maxReplicas: raise maxReplicas to their sum or "
                "lower a min",
                fieldPath=".autoscaling.maxReplicas",
            ),
            cel(
                "!has(self.autoscaling) || self.autoscaling.mode == 'Off' || !has(self.autoscaling.maxReplicas) "
                "|| !has(self.autoscaling.schedules) || self.autoscaling.schedules.all(schedule, "
                f"schedule.minReplicas <= self.autoscaling.maxReplicas + {_sum_of('fixed')})",
                "a schedule's minReplicas is above spec.autoscaling.maxReplicas and what pools fix, so it cannot be "
                "kept: raise maxReplicas or lower minReplicas",
                fieldPath=".autoscaling.schedules",
            ),
            cel(
                "!has(self.autoscaling) || self.autoscaling.mode == 'Off' || !has(self.pools) "
                "|| self.pools.exists(pool, !has(pool.replicas) "
                "|| (has(pool.replicas.fixed) ? pool.replicas.fixed > 0 : !has(pool.replicas.min) "
                "|| pool.replicas.min > 0))",
                "a ServedModel cannot be scaled to zero, as nothing would wake it: min 0 is for standby pools, "
                "so leave min out or raise it in one pool",
                fieldPath=".autoscaling",
            ),
            cel(
                "!has(self.pools) || self.pools.all(pool, "
                "!self.pools.exists(other, other.name == pool.name + '-headless'))",
                "the Service NAME-x-headless is the headless one of pool x, so no other pool may be called x-headless: "
                "use another name, for example x-2",
                fieldPath=".pools",
            ),
        )
    )

    models: Annotated[list[Model], Field(min_length=1, max_length=16)] = Field(
        description="The models of each server. Several share the server's memory and threads.",
        json_schema_extra=map_list("name"),
    )
    server: Server = Field(
        default_factory=Server,
        description="How TensorFlow Serving runs. The default image is written into the spec when the ServedModel "
        "is created, so that an upgrade of the operator rolls no pods.",
        json_schema_extra=stated_default({"image": DEFAULT_SERVER_IMAGE}),
    )
    batching: Batching | None = Field(default=None, description="Server-side batching. Left out: off.")
    pools: Annotated[list[Pool], Field(min_length=1, max_length=8)] = Field(
        default_factory=lambda: [Pool(name="default")],
        description="Groups of equal replicas, in order of priority. Left out: one CPU pool named default. "
        "A pool that leaves the list goes on serving until the others are ready.",
        json_schema_extra=map_list("name"),
    )
    replicas: ReplicaCount = Field(
        default=1,
        description="Replicas over all pools that do not fix theirs: each gets its min, the rest goes to the "
        "pools in order up to their max. This is what kubectl scale and an external autoscaler set; leave it "
        "out of Git where one does.",
    )
    autoscaling: Autoscaling | None = Field(
        default=None,
        description="What sets the replicas of the pools that do not fix theirs. Left out: spec.replicas.",
    )
    disruption: Disruption = Field(default_factory=Disruption, description="What voluntary disruption may take.")
    networking: Networking = Field(default_factory=Networking, description="How clients reach the servers.")
    paused: bool = Field(
        default=False,
        description="Leave all children as they are, also when they were changed by hand; the status is kept "
        "up to date all the same.",
    )


Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Endpoints(ApiModel):
    """Where clients send requests, inside the cluster."""

    rest: Annotated[str, Field(max_length=512)] = Field(description="host:port of the REST API.")
    grpc: Annotated[str, Field(max_length=512)] = Field(description="host:port of the gRPC API.")


class PoolStatus(ApiModel):
    """What one pool has."""

    name: Annotated[str, Field(max_length=63)] = Field(description="Name of the pool.")
    desired: Count = Field(description="Replicas that are wanted.")
    ready: Count = Field(description="Replicas that serve every model and take requests.")
    updated: Count = Field(description="Replicas of the newest pod template.")
    version_summary: Annotated[str, Field(max_length=256)] | None = Field(
        default=None, description="Versions that ready replicas of this pool report AVAILABLE: digits@2,1 resnet@7."
    )
    message: Annotated[str, Field(max_length=1024)] | None = Field(
        default=None, description="Why replicas are missing, where they are."
    )


class ModelStatus(ApiModel):
    """What the servers say of one model."""

    name: Annotated[str, Field(max_length=63)] = Field(description="Name of the model.")
    versions: Annotated[list[ReportedVersion], Field(max_length=64)] = Field(
        default_factory=list,
        description="Versions that at least one ready replica reports AVAILABLE, highest first.",
        json_schema_extra=set_list(),
    )
    desired: Count | None = Field(default=None, description="Replicas that are to serve it, over all pools.")
    replicas: Count = Field(default=0, description="Ready replicas on which the expected versions are AVAILABLE.")
    message: Annotated[str, Field(max_length=1024)] | None = Field(
        default=None, description="What a server says of a version that did not load."
    )


class ServedModelStatus(ApiModel):
    """What is served, as the operator last saw it."""

    observed_generation: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Generation of the spec that this status is about."
    )
    reason: Annotated[str, Field(max_length=63)] | None = Field(
        default=None,
        description="Reason of the condition that says most: what is wrong, else what goes on, else Ready's.",
    )
    message: Annotated[str, Field(max_length=4096)] | None = Field(
        default=None, description="Message of that same condition."
    )
    conditions: Annotated[list[Condition], Field(max_length=16)] = Field(
        default_factory=list,
        description="Ready, Progressing, Degraded; Paused, Reconciling and Stalled where they are true; "
        "ScalingActive and ScalingLimited with autoscaling.",
        json_schema_extra=map_list("type"),
    )
    replicas: Count | None = Field(default=None, description="Replicas that exist, over all pools (for scale).")
    ready_replicas: Count | None = Field(default=None, description="Replicas that take requests, over all pools.")
    desired_replicas: Count | None = Field(default=None, description="Replicas wanted, over all pools.")
    pool_summary: Annotated[str, Field(max_length=256)] | None = Field(
        default=None, description="Ready of desired replicas by pool, for kubectl get: gpu 2/2, cpu 0/1."
    )
    ready_summary: Annotated[str, Field(max_length=32)] | None = Field(
        default=None, description="Ready of desired replicas, for kubectl get."
    )
    version_summary: Annotated[str, Field(max_length=256)] | None = Field(
        default=None, description="Versions served by model, for kubectl get: digits@2,1 resnet@7."
    )
    selector: Annotated[str, Field(max_length=512)] | None = Field(
        default=None, description="Label selector of the pods (for scale)."
    )
    endpoints: Endpoints | None = Field(default=None, description="Where clients send requests.")
    pools: Annotated[list[PoolStatus], Field(max_length=32)] = Field(
        default_factory=list,
        description="What each pool has; a pool that left the spec is listed as long as it serves.",
        json_schema_extra=map_list("name"),
    )
    models: Annotated[list[ModelStatus], Field(max_length=16)] = Field(
        default_factory=list,
        description="What the servers say of each model.",
        json_schema_extra=map_list("name"),
    )
    autoscaling: AutoscalingStatus | None = Field(
        default=None,
        description="What autoscaling knows and decided; while it is off, only the replicas that it left behind.",
    )


class ObjectMeta(ApiModel):
    """The metadata that the operator reads."""

    name: str
    namespace: str
    uid: str
    generation: int = 1
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    deletion_timestamp: datetime | None = None


class ServedModel(ApiModel):
    """A ServedModel as read from the API server."""

    metadata: ObjectMeta
    spec: ServedModelSpec
    status: ServedModelStatus = Field(default_factory=ServedModelStatus)
