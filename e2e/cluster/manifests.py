"""Kubernetes objects for what runs beside the control plane and is used by pods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from e2e.cluster import network

Manifest = dict[str, Any]
_RBAC = "rbac.authorization.k8s.io"


def allow_user(user: str, readable: Mapping[str, Sequence[str]]) -> list[Manifest]:
    """Return the objects that let ``user`` get, list and watch the resources ``readable`` of each API group."""
    rules = [
        {"apiGroups": [group], "resources": list(resources), "verbs": ["get", "list", "watch"]}
        for group, resources in readable.items()
    ]
    return [
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": user},
            "rules": rules,
        },
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": user},
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": user},
            "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": user}],
        },
    ]


def service_to_hub(
    name: str, namespace: str, ports: Mapping[str, tuple[int, str]], *, cluster_ip: str | None = None
) -> list[Manifest]:
    """Return a Service for a program beside the control plane, with ``ports`` as name → (number, protocol)."""
    listed = [{"name": key, "port": number, "protocol": protocol} for key, (number, protocol) in ports.items()]
    address = {"clusterIP": cluster_ip} if cluster_ip else {}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"ports": listed, **address},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [network.HUB_ADDRESS]}],
            "ports": listed,
        },
    ]
