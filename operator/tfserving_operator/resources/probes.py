"""Probes: what Kubernetes asks the model server, and how patient it is."""

from __future__ import annotations

import math
from typing import Any

from tfserving_operator.api.servedmodel import ServedModelSpec
from tfserving_operator.resources.command import (
    GRPC_PORT,
    MODELS_CONFIG_DIRECTORY,
    REST_PORT,
    SERVER_CONFIG_DIRECTORY,
)
from tfserving_operator.resources.model_config import EXPECTED_VERSIONS_KEY, MODELS_DIRECTORY
from tfserving_operator.resources.server_config import STARTUP_PROBE_KEY

Probe = dict[str, Any]

_STARTUP_PERIOD_SECONDS = 2
_READINESS_PERIOD_SECONDS = 5
_LIVENESS_PERIOD_SECONDS = 10
_LIVENESS_FAILURES = 12
"""Two minutes: an overloaded server answers health checks late, and killing it makes the others' load worse."""


def build_startup_probe(spec: ServedModelSpec) -> Probe:
    """Every expected version can answer: asked of the server itself, once, at the start of the container.

    Not part of readiness: a running replica that is told to load one more version must not stop taking requests
    for the others meanwhile.
    """
    return {
        "exec": {
            "command": [
                *("bash", f"{SERVER_CONFIG_DIRECTORY}/{STARTUP_PROBE_KEY}"),
                *(f"{MODELS_CONFIG_DIRECTORY}/{EXPECTED_VERSIONS_KEY}", MODELS_DIRECTORY, str(REST_PORT)),
            ]
        },
        "periodSeconds": _STARTUP_PERIOD_SECONDS,
        "timeoutSeconds": 10,
        "failureThreshold": math.ceil(spec.server.load_timeout_seconds / _STARTUP_PERIOD_SECONDS),
    }


def build_readiness_probe(spec: ServedModelSpec) -> Probe:
    """One model: it can still answer. Several: the server answers; one lost model must not take the others away."""
    if len(spec.models) == 1:
        check: Probe = {"httpGet": {"path": f"/v1/models/{spec.models[0].name}/metadata", "port": REST_PORT}}
    else:
        check = _alive_check(spec)
    return {**check, "periodSeconds": _READINESS_PERIOD_SECONDS, "timeoutSeconds": 5, "failureThreshold": 3}


def build_liveness_probe(spec: ServedModelSpec) -> Probe:
    """The gRPC server answers. With TLS, which the kubelet's gRPC probe does not speak, the port is open."""
    return {
        **_alive_check(spec),
        "periodSeconds": _LIVENESS_PERIOD_SECONDS,
        "timeoutSeconds": 5,
        "failureThreshold": _LIVENESS_FAILURES,
    }


def _alive_check(spec: ServedModelSpec) -> Probe:
    return {"tcpSocket": {"port": GRPC_PORT}} if spec.server.tls else {"grpc": {"port": GRPC_PORT}}
