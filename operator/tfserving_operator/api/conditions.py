"""Condition types and reasons: the words that users, metrics, events and documentation share."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from tfserving_operator.api.base import ApiModel


class ConditionType(StrEnum):
    """The conditions of a ServedModel."""

    READY = "Ready"
    """Every model is answered for, by pods of this or an earlier generation."""
    PROGRESSING = "Progressing"
    """The pods are on their way to what the spec says."""
    DEGRADED = "Degraded"
    """Something needs a look: fewer replicas than wanted, a version that does not load, a refused child."""
    PAUSED = "Paused"
    """The operator leaves the children alone."""
    RECONCILING = "Reconciling"
    """kstatus: present and True while Progressing is True."""
    STALLED = "Stalled"
    """kstatus: present and True when only a person can help."""


class ConditionStatus(StrEnum):
    """True, False or Unknown, as Kubernetes spells them."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Reason(StrEnum):
    """Why a condition is what it is. docs/troubleshooting.md has a paragraph on each."""

    # Good or on the way
    SERVING = "Serving"
    UP_TO_DATE = "UpToDate"
    AS_EXPECTED = "AsExpected"
    SCALED_TO_ZERO = "ScaledToZero"
    CREATING = "Creating"
    FETCHING_MODEL = "FetchingModel"
    LOADING_MODEL = "LoadingModel"
    ROLLING_UPDATE = "RollingUpdate"
    SCALING = "Scaling"
    RELOADING_CONFIG = "ReloadingConfig"
    PAUSED_BY_USER = "PausedByUser"
    # Not serving
    NO_READY_REPLICAS = "NoReadyReplicas"
    # The user's spec
    INVALID_SPEC = "InvalidSpec"
    NAME_TOO_LONG = "NameTooLong"
    CHILD_CONFLICT = "ChildConflict"
    CHILD_REJECTED = "ChildRejected"
    LABEL_NOT_AVAILABLE = "LabelNotAvailable"
    # Models
    MODEL_PATH_NOT_FOUND = "ModelPathNotFound"
    VERSION_NOT_FOUND = "VersionNotFound"
    CREDENTIALS_REJECTED = "CredentialsRejected"
    INSUFFICIENT_DISK_SPACE = "InsufficientDiskSpace"
    CHECKSUM_MISMATCH = "ChecksumMismatch"
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    INVALID_SOURCE = "InvalidSource"
    INVALID_ARCHIVE = "InvalidArchive"
    INVALID_MODEL = "InvalidModel"
    FETCH_TIMEOUT = "FetchTimeout"
    FETCH_FAILED = "FetchFailed"
    MODEL_LOAD_FAILED = "ModelLoadFailed"
    # Pods
    IMAGE_PULL_FAILED = "ImagePullFailed"
    OUT_OF_MEMORY = "OutOfMemory"
    CRASH_LOOP = "CrashLoop"
    UNSCHEDULABLE = "Unschedulable"
    QUOTA_EXCEEDED = "QuotaExceeded"
    POD_REJECTED = "PodRejected"
    MISSING_REFERENCE = "MissingReference"
    LOAD_TIMEOUT = "LoadTimeout"
    REPLICAS_UNAVAILABLE = "ReplicasUnavailable"
    # The operator's own sight
    MODEL_STATUS_UNKNOWN = "ModelStatusUnknown"
    API_UNAVAILABLE = "ApiUnavailable"


class Condition(ApiModel):
    """One condition, as in meta/v1."""

    type: Annotated[str, Field(max_length=63)] = Field(description="Type of the condition.")
    status: ConditionStatus = Field(description="True, False or Unknown.")
    reason: Annotated[str, Field(min_length=1, max_length=63)] = Field(description="One word why.")
    message: Annotated[str, Field(max_length=4096)] = Field(
        description="What is so, and what to do about it."
    )
    last_transition_time: datetime = Field(description="When the status last changed.")
    observed_generation: int | None = Field(
        default=None, description="Generation that the condition is about."
    )
