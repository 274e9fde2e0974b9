"""``spec.server`` and ``spec.batching``: how one TensorFlow Serving process runs."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from tfserving_operator.api.base import ApiModel, atomic_list, cel, cel_list, map_list, validations
from tfserving_operator.api.flags import FlagSetting as FlagSetting
from tfserving_operator.api.flags import ServerFlag as ServerFlag
from tfserving_operator.api.model import ObjectName

DEFAULT_SERVER_IMAGE = "tensorflow/serving:2.20.0"
ThreadCount = Annotated[int, Field(ge=1, le=4096)]
Duration = Annotated[str, Field(max_length=16, pattern=r"^[0-9]{1,9}(us|ms|s)$")]


def duration_micros(duration: str) -> int:
    """``500us``, ``5ms`` or ``1s`` in microseconds."""
    match = re.fullmatch(r"([0-9]+)(us|ms|s)", duration)
    if match is None:
        raise ValueError(f"not a duration: {duration!r} (write for example 500us, 5ms or 1s)")
    return int(match[1]) * {"us": 1, "ms": 1_000, "s": 1_000_000}[match[2]]


class SecretKeyReference(ApiModel):
    """One key of a Secret in the same namespace."""

    name: ObjectName = Field(description="Name of the Secret.")
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = Field(
        description="Key in the Secret."
    )


# The first two are read by the stock image's entrypoint only, which the operator does not run.
RESERVED_VARIABLES = ("MODEL_BASE_PATH", "MODEL_NAME", "NVIDIA_VISIBLE_DEVICES")
RESERVED_VARIABLES_MESSAGE = (
    "MODEL_NAME and MODEL_BASE_PATH have no effect here (use spec.models), and NVIDIA_VISIBLE_DEVICES "
    "would take devices away from other pods (use pools[].accelerator): remove the variable"
)


class EnvironmentVariable(ApiModel):
    """An environment variable of the model server."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel("has(self.value) != has(self.secretKeyRef)", "give exactly one of value and secretKeyRef"),
            cel(
                f"!(self.name in {cel_list(RESERVED_VARIABLES)})",
                RESERVED_VARIABLES_MESSAGE,
                fieldPath=".name",
            ),
        )
    )

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = Field(
        description="Name of the variable."
    )
    value: Annotated[str, Field(max_length=4096)] | None = Field(default=None, description="Its value.")
    secret_key_ref: SecretKeyReference | None = Field(
        default=None, description="Take the value from a key of a Secret."
    )


class Threads(ApiModel):
    """Thread counts; what is left out follows the CPU limit, since the server sees the node's CPUs."""

    intra_op: ThreadCount | None = Field(default=None, description="Threads inside one operation.")
    inter_op: ThreadCount | None = Field(default=None, description="Operations run at the same time.")
    rest: Annotated[int, Field(ge=4, le=4096)] | None = Field(
        default=None, description="REST request threads; fewer than 4 can freeze the REST port."
    )
    grpc: ThreadCount | None = Field(default=None, description="gRPC request threads.")


class Xla(ApiModel):
    """XLA compilation. While both are off, models with jit_compile=True do not run."""

    cpu: bool = Field(default=False, description="Compile for the CPU.")
    gpu: bool = Field(default=False, description="Compile for the GPU.")


class MixedPrecision(StrEnum):
    """What TensorFlow Serving can rewrite a model to."""

    BFLOAT16 = "bfloat16"


class Warmup(ApiModel):
    """Replay of the records that a version carries in assets.extra/tf_serving_warmup_requests."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "self.enabled || self.iterations == 1",
                "iterations has no effect while enabled is false: remove it",
                fieldPath=".iterations",
            ),
        )
    )

    enabled: bool = Field(default=True, description="Replay the records before a version becomes available.")
    iterations: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1, description="How often each record is replayed."
    )


class ServerTls(ApiModel):
    """TLS of the gRPC port. The REST port has none in TensorFlow Serving."""

    secret_name: ObjectName = Field(
        description="Secret of type kubernetes.io/tls: tls.crt, tls.key, and ca.crt to verify clients with. Servers "
        "read it when they start: after the certificate was renewed, restart the Deployments (kubectl rollout restart)."
    )
    client_verify: bool = Field(default=False, description="Ask for a client certificate and verify it with ca.crt.")


class LocalReference(ApiModel):
    """A Secret in the same namespace."""

    name: ObjectName = Field(description="Name of the Secret.")


Environment = Annotated[list[EnvironmentVariable], Field(max_length=64)]
Flags = Annotated[list[FlagSetting], Field(max_length=len(ServerFlag))]
_IMAGE_PATTERN = r"^(\[[0-9A-Fa-f:]+\](:[0-9]+)?/)?[A-Za-z0-9]([-A-Za-z0-9._]|[:/@][A-Za-z0-9_])*$"
"""Registry, repository, tag and digest, and what separates them; the runtime looks more closely."""
Image = Annotated[str, Field(min_length=1, max_length=512, pattern=_IMAGE_PATTERN)]


class ImagePullPolicy(StrEnum):
    """When the kubelet pulls."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class ServerOverrides(ApiModel):
    """What a pool may set differently from spec.server."""

    image: Image | None = Field(default=None, description="Image of this pool, for example a -gpu tag.")
    threads: Threads | None = Field(default=None, description="Thread counts of this pool (replaces server.threads).")
    xla: Xla | None = Field(default=None, description="XLA in this pool (replaces server.xla).")
    mixed_precision: MixedPrecision | None = Field(default=None, description="Mixed precision in this pool.")
    env: Environment = Field(
        default_factory=list,
        description="Environment of this pool, merged by name over server.env.",
        json_schema_extra=map_list("name"),
    )
    flags: Flags = Field(
        default_factory=list,
        description="Flags of this pool, merged by name over server.flags.",
        json_schema_extra=map_list("name"),
    )


class Server(ApiModel):
    """How the TensorFlow Serving processes of all pools run."""

    image: Image = Field(
        default=DEFAULT_SERVER_IMAGE,
        description="Image with /usr/bin/tensorflow_model_server and bash. A change rolls the pods.",
    )
    image_pull_policy: ImagePullPolicy | None = Field(
        default=None, description="When the image is pulled. Left out: Kubernetes decides by the tag."
    )
    image_pull_secrets: Annotated[list[LocalReference], Field(max_length=8)] = Field(
        default_factory=list,
        description="Secrets to pull images and oci:// models with.",
        json_schema_extra=map_list("name"),
    )
    service_account_name: ObjectName | None = Field(
        default=None,
        description="Existing service account of the pods, for workload identity. Its token is not mounted.",
    )
    threads: Threads = Field(
        default_factory=Threads, description="Thread counts. What is left out follows the CPU limit."
    )
    xla: Xla = Field(default_factory=Xla, description="XLA compilation.")
    mixed_precision: MixedPrecision | None = Field(
        default=None, description="Rewrite models to this precision where the hardware has it."
    )
    env: Environment = Field(
        default_factory=list, description="Environment variables.", json_schema_extra=map_list("name")
    )
    warmup: Warmup = Field(
        default_factory=Warmup,
        description="Warm-up of each version before it takes requests, by the records that the version itself carries. "
        "TensorFlow Serving has one setting for all models of a server.",
    )
    tls: ServerTls | None = Field(default=None, description="TLS of the gRPC port.")
    flags: Flags = Field(
        default_factory=list,
        description="Further flags of the model server, from an allow-list.",
        json_schema_extra=map_list("name"),
    )
    load_timeout_seconds: Annotated[int, Field(ge=30, le=86_400)] = Field(
        default=900,
        description="How long a replica may take from its start until every expected version is available; "
        "after that it is restarted.",
    )
    drain_seconds: Annotated[int, Field(ge=2, le=3_600)] = Field(
        default=20,
        description="How long a replica goes on answering after it was taken out of the Service. "
        "TensorFlow Serving ignores SIGTERM, so this is also how long a scale-down takes. "
        "Set it to twice the longest request: half of it a client's connection may still bring new ones.",
    )


class Batching(ApiModel):
    """Server-side batching (BatchingParameters). A change rolls the pods: the server cannot reload it."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "!has(self.allowedBatchSizes) || (has(self.maxBatchSize) && "
                "self.allowedBatchSizes[size(self.allowedBatchSizes) - 1] == self.maxBatchSize)",
                "the last of allowedBatchSizes must equal maxBatchSize: set maxBatchSize to it",
            ),
            cel(
                "!has(self.allowedBatchSizes) || (self.allowedBatchSizes.isSorted() && "
                "self.allowedBatchSizes.all(s, self.allowedBatchSizes.exists_one(t, t == s)))",
                "allowedBatchSizes must increase, for example [1, 8, 32]",
            ),
            cel(
                "!has(self.maxExecutionBatchSize) || (has(self.enableLargeBatchSplitting) "
                "&& self.enableLargeBatchSplitting)",
                "maxExecutionBatchSize is used when requests are split: set enableLargeBatchSplitting to true "
                "or remove maxExecutionBatchSize",
            ),
            cel(
                "!has(self.enableLargeBatchSplitting) || !self.enableLargeBatchSplitting || has(self.maxBatchSize)",
                "enableLargeBatchSplitting needs maxBatchSize, because the server reads an unset one as 0: "
                "set maxBatchSize",
            ),
            cel(
                "!has(self.maxExecutionBatchSize) || !has(self.maxBatchSize) "
                "|| self.maxExecutionBatchSize <= self.maxBatchSize",
                "maxExecutionBatchSize must not exceed maxBatchSize: lower it or raise maxBatchSize",
            ),
        )
    )

    max_batch_size: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="Most examples in one batch (server default 1000)."
    )
    batch_timeout: Duration | None = Field(
        default=None,
        description="How long a batch waits to fill, for example 500us or 5ms (server default 0).",
    )
    max_enqueued_batches: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        description="Batches that may wait; beyond them requests are refused with UNAVAILABLE (server default 10).",
    )
    num_batch_threads: ThreadCount | None = Field(
        default=None, description="Batches run at the same time. Left out: follows the CPU limit."
    )
    thread_pool_name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9_-]+$")] | None = Field(
        default=None, description="Name of the batching thread pool."
    )
    allowed_batch_sizes: (
        Annotated[list[Annotated[int, Field(ge=1, le=1_000_000)]], Field(min_length=1, max_length=64)] | None
    ) = Field(
        default=None,
        description="Batches are padded up to the next of these sizes; they increase, and the last equals "
        "maxBatchSize.",
        json_schema_extra=atomic_list(),
    )
    pad_variable_length_inputs: bool | None = Field(
        default=None, description="Pad inputs of different lengths so that they fit into one batch."
    )
    enable_large_batch_splitting: bool | None = Field(
        default=None, description="Split requests larger than the batch size instead of refusing them."
    )
    max_execution_batch_size: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="Most examples run at once when requests are split."
    )
