"""CoreDNS for pods, and for programs in the cluster's network.

It runs beside the control plane, not in a pod, so it is there before the first node and survives the
last; pods reach it through the usual Service.
"""

from __future__ import annotations

import httpx
import yaml

from e2e.cluster import network
from e2e.cluster.control_plane import ControlPlane
from e2e.cluster.programs import Program, wait_until

_READY_PORT = 8181
_USER = "system:coredns"
# What is no name of the cluster does not exist: asking a resolver of the host would make tests depend on it.
_COREFILE = """\
cluster.local in-addr.arpa {{
    bind {hub}
    errors
    ready {ready}
    kubernetes {{
        kubeconfig {kubeconfig}
        pods insecure
        ttl 5
    }}
}}
. {{
    bind {hub}
    errors
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""


def manifests() -> str:
    """Return the objects that let CoreDNS read the cluster and pods find it."""
    labels = {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    in_system = {"namespace": "kube-system"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": _USER}
    return yaml.safe_dump_all(
        [
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": {"name": _USER},
                "rules": [
                    _may_watch("", "services", "pods", "namespaces"),
                    _may_watch("discovery.k8s.io", "endpointslices"),
                ],
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": _USER},
                "roleRef": role,
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": _USER}],
            },
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "kube-dns", "labels": labels, **in_system},
                "spec": {"clusterIP": network.DNS_SERVICE_ADDRESS, "ports": ports},
            },
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": "kube-dns",
                    "labels": {"kubernetes.io/service-name": "kube-dns"},
                    **in_system,
                },
                "addressType": "IPv4",
                "endpoints": [{"addresses": [network.HUB_ADDRESS]}],
                "ports": ports,
            },
        ]
    )


def start_coredns(control_plane: ControlPlane) -> Program:
    """Start CoreDNS; ``wait_until_ready`` waits for it."""
    corefile = control_plane.directory / "Corefile"
    corefile.write_text(
        _COREFILE.format(
            hub=network.HUB_ADDRESS,
            ready=_ready_address(control_plane),
            kubeconfig=control_plane.write_kubeconfig(_USER),
        )
    )
    return control_plane.programs.start("coredns", [control_plane.binaries.coredns / "coredns", f"-conf={corefile}"])


def wait_until_ready(control_plane: ControlPlane) -> None:
    """Wait until CoreDNS knows the cluster's services."""
    url = f"http://{_ready_address(control_plane)}/ready"

    def answers() -> bool:
        try:
            return httpx.get(url, trust_env=False, timeout=2).is_success
        except httpx.TransportError:
            return False

    wait_until(answers, what="CoreDNS's readiness", programs=[control_plane.programs.get("coredns")])


def _ready_address(control_plane: ControlPlane) -> str:
    return f"{control_plane.link.address}:{_READY_PORT}"


def _may_watch(group: str, *resources: str) -> dict[str, list[str]]:
    return {"apiGroups": [group], "resources": list(resources), "verbs": ["list", "watch"]}
