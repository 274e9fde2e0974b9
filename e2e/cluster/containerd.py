"""containerd on a node, pulling everything from the cluster's own registry."""

from __future__ import annotations

import os
from pathlib import Path

from e2e.cluster.binaries import Binaries
from e2e.cluster.network import node_pod_cidr
from e2e.cluster.programs import Program, Programs, wait_until
from e2e.cluster.registry import PAUSE_IMAGE, REGISTRY_URL

_CONFIG = """\
version = 3
# It would make /opt/containerd on the host, for runtimes that nobody installs here.
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{pause_image}"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "{certs}"

[plugins."io.containerd.cri.v1.runtime"]
  # Lowering the score takes CAP_SYS_RESOURCE, which even root may lack; every sandbox would fail.
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  SystemdCgroup = false
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/usr/lib/cni"]
  conf_dir = "{cni}"

[plugins."io.containerd.metadata.v1.bolt"]
  no_sync = true
"""
# Point-to-point links need no bridge netfilter, which not every kernel has.
_CNI = """\
{{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {{
      "type": "ptp",
      "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "{pods}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}
    }},
    {{"type": "portmap", "capabilities": {{"portMappings": true}}}}
  ]
}}
"""
# Whatever registry an image names, it is looked up in the cluster's own, and only there.
_HOSTS = """\
server = "{registry}"

[host."{registry}"]
  capabilities = ["pull", "resolve"]
"""


def start_containerd(programs: Programs, binaries: Binaries, directory: Path, *, index: int) -> Program:
    """Start containerd on the ``index``-th node, whose files lie in ``directory``, and wait for its socket."""
    config = _write_config(directory, index)
    # The shim is found through PATH.
    path = f"{binaries.containerd}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    program = programs.start(
        "containerd", [binaries.containerd / "containerd", f"--config={config}"], env={"PATH": path}
    )
    wait_until(
        lambda: "containerd successfully booted" in program.output(),
        what="containerd's start",
        programs=[program],
    )
    return program


def _write_config(directory: Path, index: int) -> Path:
    cni, certs = directory / "cni", directory / "certs.d"
    cni.mkdir(exist_ok=True)
    (cni / "pods.conflist").write_text(_CNI.format(pods=node_pod_cidr(index)))
    for registry in ("_default", "docker.io", "localhost:5000"):
        (certs / registry).mkdir(parents=True, exist_ok=True)
        (certs / registry / "hosts.toml").write_text(_HOSTS.format(registry=REGISTRY_URL))
    config = directory / "containerd.toml"
    config.write_text(_CONFIG.format(pause_image=PAUSE_IMAGE, certs=certs, cni=cni))
    return config
