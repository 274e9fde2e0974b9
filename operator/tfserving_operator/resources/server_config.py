"""Files that TensorFlow Serving reads once at its start: batching, monitoring, and the probe's script."""

from __future__ import annotations

from importlib import resources

from tfserving_operator.api.server import Batching, duration_micros
from tfserving_operator.resources.effective import EffectiveServer
from tfserving_operator.wire import BatchingParameters, MonitoringConfig, to_text

BATCHING_KEY = "batching.config"
MONITORING_KEY = "monitoring.config"
STARTUP_PROBE_KEY = "startup-probe.sh"
CHECK_MODEL_KEY = "check-model.sh"
RENDER_TLS_KEY = "render-tls.sh"
METRICS_PATH = "/monitoring/prometheus/metrics"


def build_batching_parameters(batching: Batching, *, cpus: int | None) -> BatchingParameters:
    """Return the wire form of ``batching``; the batch threads follow the CPU limit where they are left out.

    TensorFlow Serving's own default is the node's CPU count, which a container's limit does not change.
    """
    parameters = BatchingParameters()
    wrapped = {
        "max_batch_size": batching.max_batch_size,
        "batch_timeout_micros": duration_micros(batching.batch_timeout) if batching.batch_timeout else None,
        "max_enqueued_batches": batching.max_enqueued_batches,
        "num_batch_threads": batching.num_batch_threads or cpus,
        "thread_pool_name": batching.thread_pool_name,
        "enable_large_batch_splitting": batching.enable_large_batch_splitting,
        "max_execution_batch_size": batching.max_execution_batch_size,
    }
    for field, value in wrapped.items():
        if value is not None:
            getattr(parameters, field).value = value
            getattr(parameters, field).SetInParent()
    parameters.allowed_batch_sizes.extend(batching.allowed_batch_sizes or [])
    if batching.pad_variable_length_inputs:
        parameters.pad_variable_length_inputs = True
    return parameters


def build_server_files(server: EffectiveServer, *, tls: bool) -> dict[str, str]:
    """Return the files of a pool's server ConfigMap; any change in them needs new pods."""
    monitoring = MonitoringConfig()
    monitoring.prometheus_config.enable = True
    monitoring.prometheus_config.path = METRICS_PATH
    files = {MONITORING_KEY: to_text(monitoring)}
    if server.batching is not None:
        files[BATCHING_KEY] = to_text(build_batching_parameters(server.batching, cpus=server.cpus))
    scripts = resources.files("tfserving_operator.resources") / "scripts"
    keys = (STARTUP_PROBE_KEY, CHECK_MODEL_KEY, *((RENDER_TLS_KEY,) if tls else ()))
    return files | {key: (scripts / key).read_text() for key in keys}
