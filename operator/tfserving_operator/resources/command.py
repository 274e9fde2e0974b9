"""The model server's command line."""

from __future__ import annotations

from tfserving_operator.api.pool import Pool
from tfserving_operator.api.servedmodel import ServedModelSpec
from tfserving_operator.api.server import ServerFlag
from tfserving_operator.resources.effective import EffectiveServer
from tfserving_operator.resources.model_config import MODELS_CONFIG_KEY
from tfserving_operator.resources.server_config import BATCHING_KEY, MONITORING_KEY

GRPC_PORT = 8500
REST_PORT = 8501
MODELS_CONFIG_DIRECTORY = "/etc/tfserving/models"
SERVER_CONFIG_DIRECTORY = "/etc/tfserving/server"
TLS_DIRECTORY = "/etc/tfserving/tls"
SSL_CONFIG_FILE = f"{TLS_DIRECTORY}/ssl.config"

_MIN_REST_THREADS = 4
"""Fewer can freeze the REST server (tensorflow/serving issue 1576)."""
_MIN_DERIVED_REST_THREADS = 16
"""Probes and scrapes wait in the same queue as predictions, so a small machine needs more than four a CPU."""
_MIN_DERIVED_GRPC_THREADS = 64
"""Beyond its threads gRPC does not queue but refuses ("Server Threadpool Exhausted", tensorflow/serving issue 1795);
a waiting thread costs next to nothing."""
_MAX_DERIVED_REQUEST_THREADS = 512
_LOAD_RETRIES = 2
_LOAD_RETRY_INTERVAL_MICROS = 5_000_000
"""The server's own 5 retries a minute apart keep a corrupt model silent for five minutes."""


def _thread_flags(server: EffectiveServer) -> dict[str, int | None]:
    """Request threads keep the CPUs busy and let batches fill: a waiting request blocks its thread.

    Twice the batch size is the client concurrency that TensorFlow Serving's performance guide asks for.
    """
    for_batches = 2 * (server.batching.max_batch_size or 0) if server.batching else 0
    derived = max(4 * (server.cpus or 1), min(for_batches, _MAX_DERIVED_REQUEST_THREADS))
    return {
        "rest_api_num_threads": max(_MIN_REST_THREADS, server.threads.rest or max(derived, _MIN_DERIVED_REST_THREADS)),
        "grpc_max_threads": server.threads.grpc or max(derived, _MIN_DERIVED_GRPC_THREADS),
        "tensorflow_intra_op_parallelism": server.threads.intra_op or server.cpus,
        "tensorflow_inter_op_parallelism": server.threads.inter_op or server.cpus,
    }


def _channel_arguments(drain_seconds: int, user_arguments: str | None) -> str:
    """Connections take new requests for half of the drain, so that clients of a leaving replica move on in time.

    Connections age on replicas that stay as well: there a request that has begun has the whole drain to end.
    """
    drain_millis = drain_seconds * 1000
    own = f"grpc.max_connection_age_ms={drain_millis // 2},grpc.max_connection_age_grace_ms={drain_millis}"
    return f"{own},{user_arguments}" if user_arguments else own


def build_server_arguments(spec: ServedModelSpec, pool: Pool, server: EffectiveServer) -> list[str]:
    """Return the flags of the pool's servers. The user's flags come last, and the last one wins."""
    user_flags = dict(server.flags)
    channel_arguments = _channel_arguments(
        spec.server.drain_seconds, user_flags.pop(ServerFlag.GRPC_CHANNEL_ARGUMENTS, None)
    )
    memory_fraction = pool.accelerator.memory_fraction if pool.accelerator else None
    flags: dict[str, str | int | float | bool | None] = {
        "port": GRPC_PORT,
        "rest_api_port": REST_PORT,
        "model_config_file": f"{MODELS_CONFIG_DIRECTORY}/{MODELS_CONFIG_KEY}",
        "monitoring_config_file": f"{SERVER_CONFIG_DIRECTORY}/{MONITORING_KEY}",
        "allow_version_labels_for_unavailable_models": True,
        "enable_grpc_healthcheck_service": True,
        "enable_profiler": False,
        "enable_model_warmup": spec.server.warmup.enabled,
        "num_request_iterations_for_warmup": spec.server.warmup.iterations,
        "num_load_threads": 1,
        "num_unload_threads": 1,
        "max_num_load_retries": _LOAD_RETRIES,
        "load_retry_interval_micros": _LOAD_RETRY_INTERVAL_MICROS,
        "grpc_channel_arguments": channel_arguments,
        **_thread_flags(server),
        "enable_batching": True if server.batching else None,
        "batching_parameters_file": f"{SERVER_CONFIG_DIRECTORY}/{BATCHING_KEY}" if server.batching else None,
        "xla_cpu_compilation_enabled": True if server.xla.cpu else None,
        "xla_gpu_compilation_enabled": True if server.xla.gpu else None,
        "mixed_precision": server.mixed_precision.value if server.mixed_precision else None,
        "per_process_gpu_memory_fraction": memory_fraction,
        "ssl_config_file": SSL_CONFIG_FILE if spec.server.tls else None,
        **{flag.value: value for flag, value in user_flags.items()},
    }
    return [f"--{name}={_flag_text(value)}" for name, value in flags.items() if value is not None]


def _flag_text(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
