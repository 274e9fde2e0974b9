"""kube-proxy: makes Service addresses work, on nodes and in the control plane's own network."""

from __future__ import annotations

from pathlib import Path

import yaml

from e2e.cluster.control_plane import ControlPlane
from e2e.cluster.network import POD_CIDR
from e2e.cluster.programs import Program, Programs


def start_kube_proxy(control_plane: ControlPlane, programs: Programs, directory: Path, *, node_name: str) -> Program:
    """Start a kube-proxy that sees services as ``node_name`` does."""
    kubeconfig = control_plane.write_kubeconfig("system:kube-proxy")
    config = directory / "kube-proxy.yaml"
    config.write_text(yaml.safe_dump(_config(kubeconfig, node_name), sort_keys=False))
    return programs.start("kube-proxy", [control_plane.binaries.kubernetes / "kube-proxy", f"--config={config}"])


def _config(kubeconfig: Path, node_name: str) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "mode": "iptables",
        "clusterCIDR": POD_CIDR,
        "hostnameOverride": node_name,
        # The limits of connection tracking are the host's, so they stay as they are.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
