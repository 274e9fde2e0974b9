"""Condition types and reasons: the words that users, metrics, events and documentation share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field

from tfserving_operator.api.base import ApiModel


class DocumentedWord(StrEnum):
    """A word of the API with its meaning: one sentence or two, for documentation and command lines."""

    _value_: str
    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Self:
        """Make the member equal to ``value``, with ``meaning`` beside it."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


class ConditionType(DocumentedWord):
    """The conditions of a ServedModel."""

    READY = "Ready", "Every model is answered for, by pods of this or an earlier generation."
    PROGRESSING = "Progressing", "The pods are on their way to what the spec says."
    DEGRADED = (
        "Degraded",
        "Something needs a look: fewer replicas than wanted, a version that does not load, a refused child.",
    )
    PAUSED = "Paused", "The operator leaves the children alone; present while true."
    RECONCILING = (
        "Reconciling",
        "For kstatus: present and True while the spec is carried out, or waits for a problem that may end by itself.",
    )
    SCALING_ACTIVE = (
        "ScalingActive",
        "Autoscaling knows the load well enough to decide; False says what is missing, and replicas are held.",
    )
    SCALING_LIMITED = (
        "ScalingLimited",
        "A bound, and not the policy, sets the replicas; the message says which. Unknown while the load is.",
    )
    STALLED = "Stalled", "For kstatus: present and True when only a person can help."


class ConditionStatus(StrEnum):
    """True, False or Unknown, as Kubernetes spells them."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Reason(DocumentedWord):
    """Why a condition is what it is. docs/troubleshooting.md has a paragraph on each."""

    # Good or on the way
    SERVING = "Serving", "Every model is served in the expected versions; nothing to do."
    UP_TO_DATE = "UpToDate", "All pods are as the spec says; nothing to do."
    AS_EXPECTED = "AsExpected", "Nothing is wrong; nothing to do."
    SCALED_TO_ZERO = "ScaledToZero", "No replica is wanted, so nothing is served; raise spec.replicas to serve."
    CREATING = "Creating", "The first pods are being made; wait."
    FETCHING_MODEL = "FetchingModel", "Pods copy a model from its source; wait, the message says which."
    LOADING_MODEL = "LoadingModel", "Servers load a version; wait, large models take minutes."
    ROLLING_UPDATE = "RollingUpdate", "Pods are replaced by those of the new spec while the old ones serve; wait."
    SCALING = "Scaling", "Replicas are added or drained; wait."
    RELOADING_CONFIG = (
        "ReloadingConfig",
        "Servers take up a change of models, versions or labels without a restart; wait.",
    )
    PAUSED_BY_USER = "PausedByUser", "spec.paused is true, so changes are not carried out; remove it to go on."
    # Not serving
    NO_READY_REPLICAS = (
        "NoReadyReplicas",
        "No replica takes requests; look at Degraded and Progressing for the cause.",
    )
    # The user's spec
    INVALID_SPEC = "InvalidSpec", "The spec contradicts itself; correct the field that the message names."
    NAME_TOO_LONG = "NameTooLong", "A child's name would be longer than Kubernetes allows; use a shorter name."
    CHILD_CONFLICT = (
        "ChildConflict",
        "An object that a child would be named like belongs to somebody else; rename one of the two.",
    )
    CHILD_REJECTED = "ChildRejected", "The API server refused a child; the message repeats its answer."
    LABEL_NOT_AVAILABLE = (
        "LabelNotAvailable",
        "A label points at a version that no replica serves; publish the version or move the label.",
    )
    # Models
    MODEL_PATH_NOT_FOUND = "ModelPathNotFound", "Nothing is at the model's uri; correct it or upload the model."
    VERSION_NOT_FOUND = "VersionNotFound", "The source has no such version; upload it or correct versions."
    CREDENTIALS_REJECTED = (
        "CredentialsRejected",
        "The source refused the credentials, or anonymous access; correct the Secret or the grant.",
    )
    INSUFFICIENT_DISK_SPACE = (
        "InsufficientDiskSpace",
        "The model does not fit the volume or the node's disk; raise sizeLimit or serve fewer versions.",
    )
    CHECKSUM_MISMATCH = (
        "ChecksumMismatch",
        "What was fetched differs from its checksum; upload the model again or correct the checksum.",
    )
    SOURCE_UNAVAILABLE = (
        "SourceUnavailable",
        "The source does not answer or answers with errors; it is retried, look at the network and the store.",
    )
    INVALID_SOURCE = "InvalidSource", "The uri cannot be used as written; correct it as the message says."
    INVALID_ARCHIVE = "InvalidArchive", "The archive cannot be unpacked safely; build it anew."
    INVALID_MODEL = "InvalidModel", "What was fetched is not a SavedModel; export the model again."
    FETCH_TIMEOUT = "FetchTimeout", "Fetching took longer than it may; look at the size of the model and the network."
    FETCH_FAILED = "FetchFailed", "Fetching failed for a reason without a name of its own; read the message."
    MODEL_LOAD_FAILED = (
        "ModelLoadFailed",
        "A server could not load a version; the message repeats its words. Publish a mended one under a new number.",
    )
    # Pods
    IMAGE_PULL_FAILED = "ImagePullFailed", "An image cannot be pulled; correct its name or server.imagePullSecrets."
    OUT_OF_MEMORY = "OutOfMemory", "A server was killed at its memory limit; raise it or serve fewer versions."
    CRASH_LOOP = "CrashLoop", "A container ends again and again; the message has its last words."
    UNSCHEDULABLE = "Unschedulable", "No node takes a pod; add nodes, or relax resources, accelerator or scheduling."
    QUOTA_EXCEEDED = "QuotaExceeded", "The namespace's quota is used up; raise it or use less."
    POD_REJECTED = "PodRejected", "An admission check refused the pods; the message repeats its answer."
    MISSING_REFERENCE = (
        "MissingReference",
        "A Secret, claim or service account that the spec names does not exist or lacks a key; create it or correct "
        "the name.",
    )
    LOAD_TIMEOUT = (
        "LoadTimeout",
        "A replica did not serve all versions within server.loadTimeoutSeconds; raise it or look at the pod's log.",
    )
    REPLICAS_UNAVAILABLE = (
        "ReplicasUnavailable",
        "Fewer replicas than wanted take requests although their containers run: they are overloaded or frozen, or "
        "lost their models; read the message and the pods' events.",
    )
    # Autoscaling: ScalingActive
    SCALING_POLICY_ACTIVE = (
        "ScalingPolicyActive",
        "Autoscaling knows the load and sets the replicas by its policy; nothing to do.",
    )
    RECOMMENDS_ONLY = (
        "RecommendsOnly",
        "Autoscaling knows the load and says in status what it would do; set mode to Auto to let it act.",
    )
    NO_REPLICAS = "NoReplicas", "No replica is ready, so there is nothing to measure; wait, or see Degraded."
    NOT_YET_REPORTED = (
        "NotYetReported",
        "Replicas are ready but Prometheus does not have two samples of them yet; wait for two scrapes.",
    )
    REPLICAS_MISSING = (
        "ReplicasMissing",
        "Some ready replicas are not scraped or their scrapes fail; look at the targets in Prometheus.",
    )
    STALE_SAMPLES = "StaleSamples", "The newest samples are too old; look why scraping or remote storage lags behind."
    PARTIAL_ANSWER = (
        "PartialAnswer",
        "Prometheus answered with warnings or without part of its stores; look at its stores.",
    )
    NOT_A_NUMBER = "NotANumber", "Prometheus answered NaN or an infinite number; look at its recording and relabelling."
    PROMETHEUS_SLOW = "PrometheusSlow", "Prometheus did not answer in time; look at its load."
    PROMETHEUS_UNAVAILABLE = (
        "PrometheusUnavailable",
        "Prometheus cannot be reached or answers with a server error; look at it and at the network.",
    )
    PROMETHEUS_REJECTED = (
        "PrometheusRejected",
        "Prometheus refused the query or the credentials; correct the operator's settings.",
    )
    PROMETHEUS_NOT_CONFIGURED = (
        "PrometheusNotConfigured",
        "The operator was given no address of Prometheus; set prometheus.url in the chart.",
    )
    EXTERNAL_AUTOSCALER = (
        "ExternalAutoscaler",
        "A HorizontalPodAutoscaler scales this ServedModel too, so mode Auto holds; remove one of the two.",
    )
    DECISION_FAILED = (
        "DecisionFailed",
        "The operator could not decide because of a defect, so replicas are held; its log has the error.",
    )
    REPLICAS_KEPT = (
        "ReplicasKept",
        "Mode Auto ended and its replicas were kept; change spec.replicas, for example by kubectl scale, to take over.",
    )
    # Autoscaling: ScalingLimited
    AS_WANTED = "AsWanted", "The replicas are what the policy wants; nothing to do."
    MIN_REPLICAS = "MinReplicas", "The pools' min binds: the policy would run fewer replicas."
    MAX_REPLICAS = (
        "MaxReplicas",
        "The pools' max or autoscaling.maxReplicas binds; raise it if the objective is missed.",
    )
    SCHEDULE_MINIMUM = "ScheduleMinimum", "A schedule's minReplicas binds; it ends with the schedule."
    RATE_LIMIT_UP = "RateLimitUp", "behavior.scaleUp.policies bind; relax them if scaling up is too slow."
    RATE_LIMIT_DOWN = "RateLimitDown", "behavior.scaleDown.policies bind; wait, or relax them."
    STABILIZATION = (
        "Stabilization",
        "A more cautious recommendation of the stabilization window binds; wait until it has left the window.",
    )
    PANIC = "Panic", "A surge is on, so nothing is scaled down until it is over."
    WITHIN_TOLERANCE = "WithinTolerance", "The change would be smaller than the tolerance."
    COOLDOWN = "Cooldown", "Nothing is scaled down so soon after a rollout or a failover; wait cooldownSeconds."
    MAX_STARTING = (
        "MaxStarting",
        "As many replicas of the pool are starting as may at once; wait, or raise maxStarting.",
    )
    WAITING_FOR_NODE = "WaitingForNode", "A replica waits for a node and is not taken back; add nodes or lower max."
    FLEET_BUDGET = (
        "FleetBudget",
        "The platform's budget for all ServedModels together is used up; ask its owner, or free replicas elsewhere.",
    )
    REPLICAS_CANNOT_HELP = (
        "ReplicasCannotHelp",
        "The service time alone exceeds the objective at little load; make the model faster or relax the objective.",
    )
    HOLD_WITHOUT_TELEMETRY = (
        "HoldWithoutTelemetry",
        "The load is not known well enough, so replicas are held; ScalingActive says why.",
    )
    HOLD_AFTER_START = "HoldAfterStart", "The operator has just started and holds what runs; wait about a minute."
    # The operator's own sight
    MODEL_STATUS_UNKNOWN = (
        "ModelStatusUnknown",
        "The servers could not be asked what they serve; look at network policies between operator and pods.",
    )


class Condition(ApiModel):
    """One condition, as in meta/v1."""

    type: Annotated[str, Field(min_length=1, max_length=63)] = Field(description="Type of the condition.")
    status: ConditionStatus = Field(description="True, False or Unknown.")
    reason: Annotated[str, Field(min_length=1, max_length=63)] = Field(
        description="One word why; docs/troubleshooting.md explains each."
    )
    message: Annotated[str, Field(max_length=4096)] = Field(description="What is so, and what to do about it.")
    last_transition_time: datetime = Field(description="When the status last changed.")
    observed_generation: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Generation that the condition is about."
    )


_WORST_FIRST = (
    (ConditionType.STALLED, ConditionStatus.TRUE),
    (ConditionType.DEGRADED, ConditionStatus.TRUE),
    (ConditionType.PAUSED, ConditionStatus.TRUE),
    (ConditionType.PROGRESSING, ConditionStatus.TRUE),
)


def headline(conditions: Sequence[Condition]) -> Condition | None:
    """Return the condition that says most at one glance: what is wrong, else what goes on, else Ready."""
    by_type = {condition.type: condition for condition in conditions}
    for condition_type, telling_status in _WORST_FIRST:
        condition = by_type.get(condition_type)
        if condition is not None and condition.status == telling_status:
            return condition
    return by_type.get(ConditionType.READY)
