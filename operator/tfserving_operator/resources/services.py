"""Services: one over all pools, one a pool, and a headless one a pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfserving_operator.api.servedmodel import Endpoints, Networking
from tfserving_operator.resources.names import (
    deployment_name,
    headless_service_name,
    model_labels,
    model_selector,
    pool_labels,
    pool_selector,
)

Manifest = dict[str, Any]


def _service(
    name: str, labels: Mapping[str, str], selector: Mapping[str, str], networking: Networking, **spec: Any
) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {
            **spec,
            "selector": dict(selector),
            "ports": [
                {"name": "rest", "port": networking.rest_port, "targetPort": "rest", "protocol": "TCP"},
                {"name": "grpc", "port": networking.grpc_port, "targetPort": "grpc", "protocol": "TCP"},
            ],
        },
    }


def build_model_service(model: str, networking: Networking) -> Manifest:
    """Return the Service that clients use: every ready replica of every pool."""
    service = _service(
        model, model_labels(model), model_selector(model), networking, type=networking.service_type.value
    )
    if networking.service_annotations:
        service["metadata"]["annotations"] = dict(networking.service_annotations)
    return service


def build_pool_service(model: str, pool: str, networking: Networking) -> Manifest:
    """Return the Service of one pool's ready replicas."""
    name = deployment_name(model, pool)
    return _service(name, pool_labels(model, pool), pool_selector(model, pool), networking, type="ClusterIP")


def build_headless_service(model: str, pool: str, networking: Networking) -> Manifest:
    """Return the headless Service of one pool, for gRPC clients that balance by themselves."""
    name = headless_service_name(model, pool)
    return _service(
        name,
        pool_labels(model, pool),
        pool_selector(model, pool),
        networking,
        type="ClusterIP",
        clusterIP="None",
    )


def build_endpoints(model: str, namespace: str, networking: Networking) -> Endpoints:
    """Return where clients reach the Service over all pools from inside the cluster."""
    host = f"{model}.{namespace}.svc"
    return Endpoints(rest=f"{host}:{networking.rest_port}", grpc=f"{host}:{networking.grpc_port}")
