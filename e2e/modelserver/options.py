"""The server's 48 flags: names, types, defaults and order of `model_servers/main.cc`."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

SECONDS_60_IN_MICROS = 60_000_000


def schedulable_cpus() -> int:
    """Return the CPUs that the scheduler may use: all of the node's, whatever the container's CPU limit says."""
    return len(os.sched_getaffinity(0))


def request_threads() -> int:
    return 4 * schedulable_cpus()


class FlagType(Enum):
    """How a flag's value is read."""

    BOOL = "bool"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT = "float"
    STRING = "string"


def _flag(kind: FlagType, default: object, usage: str) -> Any:
    metadata = {"type": kind, "usage": usage}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def _bool(default: bool, usage: str) -> Any:
    return _flag(FlagType.BOOL, default, usage)


def _int32(default: object, usage: str) -> Any:
    return _flag(FlagType.INT32, default, usage)


def _int64(default: object, usage: str) -> Any:
    return _flag(FlagType.INT64, default, usage)


def _string(default: str, usage: str) -> Any:
    return _flag(FlagType.STRING, default, usage)


@dataclass(frozen=True)
class ServerOptions:
    """One field per flag, in the order in which the usage text lists them."""

    port: int = _int32(8500, "TCP port for gRPC. Zero disables it.")
    grpc_socket_path: str = _string("", "UNIX socket on which gRPC listens as well.")
    rest_api_port: int = _int32(0, "Port for REST and metrics. Zero disables both. Must differ from --port.")
    rest_api_num_threads: int = _int32(request_threads, "Threads for REST, one of which runs the event loop.")
    rest_api_timeout_in_ms: int = _int32(30000, "Timeout of REST calls.")
    rest_api_enable_cors_support: bool = _bool(False, "Send CORS headers.")
    enable_batching: bool = _bool(False, "Batch requests.")
    allow_version_labels_for_unavailable_models: bool = _bool(
        False, "Allow a new version label on a version that is not available yet."
    )
    batching_parameters_file: str = _string("", "Text BatchingParameters.")
    enable_per_model_batching_parameters: bool = _bool(
        False, "Read batching_params.pbtxt from each version's directory."
    )
    model_config_file: str = _string("", "Text ModelServerConfig; model_name and model_base_path are ignored.")
    model_config_file_poll_wait_seconds: int = _int32(0, "Seconds between reads of the model config file.")
    model_name: str = _string("default", "Name of the model, without a config file.")
    model_base_path: str = _string("", "Parent of the version directories, without a config file.")
    num_load_threads: int = _int32(0, "Threads that load; 0: the manager's own loop.")
    num_unload_threads: int = _int32(0, "Threads that unload; 0: the manager's own loop.")
    max_num_load_retries: int = _int32(5, "Loads tried again after the first failure.")
    load_retry_interval_micros: int = _int64(SECONDS_60_IN_MICROS, "Wait between two tries of a load.")
    file_system_poll_wait_seconds: int = _int32(1, "Seconds between polls for versions; 0: one poll only.")
    flush_filesystem_caches: bool = _bool(True, "Flush file system caches after loads.")
    tensorflow_session_parallelism: int = _int64(0, "Threads of a session, intra and inter op.")
    tensorflow_session_config_file: str = _string("", "Text ConfigProto.")
    tensorflow_intra_op_parallelism: int = _int64(0, "Threads within an op.")
    tensorflow_inter_op_parallelism: int = _int64(0, "Ops at the same time.")
    use_alts_credentials: bool = _bool(False, "Use ALTS credentials.")
    ssl_config_file: str = _string("", "Text SSLConfig, for gRPC only.")
    platform_config_file: str = _string("", "Text PlatformConfigMap; replaces batching and session flags.")
    per_process_gpu_memory_fraction: float = _flag(FlagType.FLOAT, 0.0, "Part of the GPU's memory to take.")
    saved_model_tags: str = _string("serve", "Comma-separated tags of the meta graph to load.")
    grpc_channel_arguments: str = _string("", "Comma-separated key=value arguments of the gRPC server.")
    grpc_max_threads: int = _int32(request_threads, "Most threads of the gRPC server.")
    enable_model_warmup: bool = _bool(True, "Replay warm-up records at load.")
    num_request_iterations_for_warmup: int = _int32(0, "Times each record is replayed, when > 0.")
    version: bool = _bool(False, "Print the versions.")
    monitoring_config_file: str = _string("", "Text MonitoringConfig.")
    remove_unused_fields_from_bundle_metagraph: bool = _bool(True, "Drop what is not used of the meta graph.")
    prefer_tflite_model: bool = _bool(False, "Prefer model.tflite.")
    num_tflite_pools: int = _int32(schedulable_cpus, "TFLite pools of a model.")
    num_tflite_interpreters_per_pool: int = _int32(1, "TFLite interpreters of a pool.")
    enable_signature_method_name_check: bool = _bool(False, "Check signatures' method names.")
    xla_cpu_compilation_enabled: bool = _bool(False, "Enable XLA:CPU.")
    xla_gpu_compilation_enabled: bool = _bool(False, "Enable XLA:CPU and XLA:GPU.")
    enable_profiler: bool = _bool(True, "Offer the profiler service.")
    thread_pool_factory_config_file: str = _string("", "Text ThreadPoolFactoryConfig.")
    mixed_precision: str = _string("", "Mixed precision mode: bfloat16.")
    skip_initialize_tpu: bool = _bool(False, "Do not initialise TPUs.")
    enable_grpc_healthcheck_service: bool = _bool(False, "Offer grpc.health.v1.Health.")
    enable_serialization_as_tensor_content: bool = _bool(False, "Answer with tensor_content.")


@dataclass(frozen=True)
class Flag:
    """One flag as the parser and the usage text need it."""

    name: str
    type: FlagType
    usage: str


FLAGS: tuple[Flag, ...] = tuple(
    Flag(option.name, option.metadata["type"], option.metadata["usage"]) for option in fields(ServerOptions)
)
