"""CoreDNS for pods, and for programs in the cluster's network.

It runs beside the control plane, not in a pod, so it is there before the first node and survives the
last; pods reach it through the usual Service.
"""

from __future__ import annotations

import httpx

from e2e.cluster import network
from e2e.cluster.control_plane import ControlPlane
from e2e.cluster.manifests import allow_user, service_to_hub
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


def install(control_plane: ControlPlane) -> Program:
    """Start CoreDNS and make its Service; ``wait_until_ready`` waits for it."""
    readable = {"": ("services", "pods", "namespaces"), "discovery.k8s.io": ("endpointslices",)}
    ports = {"dns": (53, "UDP"), "dns-tcp": (53, "TCP")}
    service = service_to_hub("kube-dns", "kube-system", ports, cluster_ip=network.DNS_SERVICE_ADDRESS)
    program = _start(control_plane)
    control_plane.apply([*allow_user(_USER, readable), *service])
    return program


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


def _start(control_plane: ControlPlane) -> Program:
    corefile = control_plane.directory / "Corefile"
    corefile.write_text(
        _COREFILE.format(
            hub=network.HUB_ADDRESS,
            ready=_ready_address(control_plane),
            kubeconfig=control_plane.write_kubeconfig(_USER),
        )
    )
    return control_plane.programs.start("coredns", [control_plane.binaries.coredns / "coredns", f"-conf={corefile}"])
