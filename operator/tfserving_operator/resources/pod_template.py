"""The pod template of a pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tfserving_operator.api.pod_template_schema import SERVER_BINARY
from tfserving_operator.api.pool import Pool
from tfserving_operator.api.servedmodel import ServedModelSpec
from tfserving_operator.api.server import EnvironmentVariable, ServerTls
from tfserving_operator.resources.command import (
    GRPC_PORT,
    MODELS_CONFIG_DIRECTORY,
    REST_PORT,
    SERVER_CONFIG_DIRECTORY,
    TLS_DIRECTORY,
    build_server_arguments,
)
from tfserving_operator.resources.effective import EffectiveServer
from tfserving_operator.resources.model_volumes import ModelVolumes, build_model_volumes
from tfserving_operator.resources.names import (
    MODELS_CONFIG_ANNOTATION,
    SERVER_CONFIG_ANNOTATION,
    pool_labels,
    pool_selector,
)
from tfserving_operator.resources.pod_overlay import overlay_pod_template
from tfserving_operator.resources.probes import (
    build_liveness_probe,
    build_readiness_probe,
    build_startup_probe,
)
from tfserving_operator.resources.security import RESTRICTED_CONTAINER, RESTRICTED_POD
from tfserving_operator.resources.server_config import METRICS_PATH, RENDER_TLS_KEY

Manifest = dict[str, Any]

SERVER_CONTAINER = "server"
TLS_SECRET_DIRECTORY = "/var/run/tfserving/tls"  # noqa: S105 - a path
_SECONDS_AFTER_DRAIN = 5


@dataclass(frozen=True)
class PodTemplateInputs:
    """What a pod template depends on beside the spec."""

    model_name: str
    fetcher_image: str
    models_config_name: str
    server_config_name: str


def build_pod_template(
    spec: ServedModelSpec, pool: Pool, server: EffectiveServer, inputs: PodTemplateInputs
) -> Manifest:
    """Return the pod template: nothing in it depends on labels or annotations of the ServedModel itself."""
    parts = build_model_volumes(spec, server_image=server.image, fetcher_image=inputs.fetcher_image)
    template = {
        "metadata": {
            "labels": {**pool.pod_labels, **pool_labels(inputs.model_name, pool.name)},
            "annotations": {**_annotations(inputs), **pool.pod_annotations},
        },
        "spec": _pod_spec(spec, pool, server, inputs, parts),
    }
    return overlay_pod_template(template, pool.pod_template) if pool.pod_template else template


def _annotations(inputs: PodTemplateInputs) -> dict[str, str]:
    return {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(REST_PORT),
        "prometheus.io/path": METRICS_PATH,
        SERVER_CONFIG_ANNOTATION: inputs.server_config_name,
        MODELS_CONFIG_ANNOTATION: inputs.models_config_name,
    }


def _pod_spec(
    spec: ServedModelSpec, pool: Pool, server: EffectiveServer, inputs: PodTemplateInputs, parts: ModelVolumes
) -> Manifest:
    drain_seconds = spec.server.drain_seconds
    tls = spec.server.tls
    optional = {
        "serviceAccountName": spec.server.service_account_name,
        "imagePullSecrets": [{"name": secret.name} for secret in spec.server.image_pull_secrets],
        **_scheduling(inputs.model_name, pool),
        "initContainers": parts.init_containers + ([_tls_container(tls, server)] if tls else []),
    }
    return {
        **{key: value for key, value in optional.items() if value},
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": RESTRICTED_POD,
        "terminationGracePeriodSeconds": drain_seconds + _SECONDS_AFTER_DRAIN,
        "containers": [_server_container(spec, pool, server, parts)],
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            {"name": "models-config", "configMap": {"name": inputs.models_config_name}},
            {"name": "server-config", "configMap": {"name": inputs.server_config_name}},
            *(_tls_volumes(tls) if tls else []),
            *parts.volumes,
        ],
    }


def _scheduling(model_name: str, pool: Pool) -> Manifest:
    scheduling = pool.scheduling
    return {
        "nodeSelector": scheduling.node_selector,
        "tolerations": [t.model_dump(by_alias=True, exclude_none=True) for t in scheduling.tolerations],
        "affinity": scheduling.affinity,
        "topologySpreadConstraints": [
            _with_selector(constraint, model_name, pool) for constraint in scheduling.topology_spread_constraints
        ],
        "priorityClassName": scheduling.priority_class_name,
        "runtimeClassName": scheduling.runtime_class_name,
    }


def _with_selector(constraint: Manifest, model_name: str, pool: Pool) -> Manifest:
    """Without a selector a constraint counts no pods; a null, which the API server keeps here, is none either."""
    if constraint.get("labelSelector") is not None:
        return constraint
    return constraint | {"labelSelector": {"matchLabels": pool_selector(model_name, pool.name)}}


def _server_container(spec: ServedModelSpec, pool: Pool, server: EffectiveServer, parts: ModelVolumes) -> Manifest:
    resources = _resources(pool)
    optional = {
        "imagePullPolicy": spec.server.image_pull_policy.value if spec.server.image_pull_policy else None,
        "env": _environment(pool, server),
        "resources": resources,
    }
    return {
        "name": SERVER_CONTAINER,
        "image": server.image,
        **{key: value for key, value in optional.items() if value},
        "command": [SERVER_BINARY],
        "args": build_server_arguments(spec, pool, server),
        "ports": [
            {"name": "rest", "containerPort": REST_PORT, "protocol": "TCP"},
            {"name": "grpc", "containerPort": GRPC_PORT, "protocol": "TCP"},
        ],
        "startupProbe": build_startup_probe(spec),
        "readinessProbe": build_readiness_probe(spec),
        "livenessProbe": build_liveness_probe(spec),
        # TensorFlow Serving ignores SIGTERM as PID 1 and goes on answering: the sleep is the drain, during which the
        # endpoint leaves the Services; an image that does obey SIGTERM is held back by it just the same.
        "lifecycle": {"preStop": {"sleep": {"seconds": spec.server.drain_seconds}}},
        "securityContext": RESTRICTED_CONTAINER,
        # The reason of a failed start stands on the last lines of the log; this brings it into the pod's status.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the container
            {"name": "models-config", "mountPath": MODELS_CONFIG_DIRECTORY, "readOnly": True},
            {"name": "server-config", "mountPath": SERVER_CONFIG_DIRECTORY, "readOnly": True},
            *([{"name": "tls", "mountPath": TLS_DIRECTORY, "readOnly": True}] if spec.server.tls else []),
            *parts.server_mounts,
        ],
    }


def _resources(pool: Pool) -> Manifest:
    limits = dict(pool.resources.limits)
    if pool.accelerator is not None:
        limits[pool.accelerator.resource] = str(pool.accelerator.count)
    return {key: value for key, value in (("requests", dict(pool.resources.requests)), ("limits", limits)) if value}


def _environment(pool: Pool, server: EffectiveServer) -> list[Manifest]:
    own = {"CUDA_CACHE_PATH": "/tmp/cuda"} if pool.accelerator else {}  # noqa: S108 - the root is read-only
    named = {variable.name for variable in server.env}
    return [
        *({"name": name, "value": value} for name, value in own.items() if name not in named),
        *(_environment_variable(variable) for variable in server.env),
    ]


def _environment_variable(variable: EnvironmentVariable) -> Manifest:
    reference = variable.secret_key_ref
    if reference is None:
        return {"name": variable.name, "value": variable.value or ""}
    return {
        "name": variable.name,
        "valueFrom": {"secretKeyRef": {"name": reference.name, "key": reference.key}},
    }


def _tls_container(tls: ServerTls, server: EffectiveServer) -> Manifest:
    return {
        "name": "render-tls",
        "image": server.image,
        "command": [
            *("bash", f"{SERVER_CONFIG_DIRECTORY}/{RENDER_TLS_KEY}", TLS_SECRET_DIRECTORY),
            *(f"{TLS_DIRECTORY}/ssl.config", "verify" if tls.client_verify else "no-verify"),
        ],
        "securityContext": RESTRICTED_CONTAINER,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}},
        "volumeMounts": [
            {"name": "tls-secret", "mountPath": TLS_SECRET_DIRECTORY, "readOnly": True},
            {"name": "tls", "mountPath": TLS_DIRECTORY},
            {"name": "server-config", "mountPath": SERVER_CONFIG_DIRECTORY, "readOnly": True},
        ],
    }


def _tls_volumes(tls: ServerTls) -> list[Manifest]:
    return [
        {"name": "tls-secret", "secret": {"secretName": tls.secret_name, "defaultMode": 0o440}},
        {"name": "tls", "emptyDir": {"medium": "Memory"}},
    ]
