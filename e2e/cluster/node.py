"""A node: a sandbox on the cluster's bridge in which containerd, a kubelet and a kube-proxy run.

The sandbox sees a /run and a /var of its own, so every program keeps its default paths and any number
of nodes run side by side; the kubelet's device plugins leave no choice, since its socket is compiled in.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import yaml

from e2e.cluster import cgroups, machine_view, network
from e2e.cluster.containerd import start_containerd
from e2e.cluster.control_plane import ControlPlane
from e2e.cluster.gpu.inventory import RESOURCE, Inventory
from e2e.cluster.kube_proxy import start_kube_proxy
from e2e.cluster.machine_view import NodeSize
from e2e.cluster.paths import cache_root
from e2e.cluster.processes import Process
from e2e.cluster.programs import Program, Programs, wait_until
from e2e.cluster.replacing import replace_text
from e2e.cluster.sandbox import Sandbox, SandboxSetup

_PROJECT = Path(__file__).parents[2]
_LEASE_SECONDS = 4
_VOLUMES = Path("/var/lib/kubelet")
"""Where a kubelet keeps the volumes of its pods."""


@dataclass(frozen=True)
class NodeRecord:
    """What a later process must know of a node; ``init_…`` is of the first process of its sandbox."""

    name: str
    index: int
    cgroup: str
    init_pid: int
    init_started_ticks: int

    @property
    def address(self) -> str:
        """The node's own address."""
        return network.node_address(self.index)


@dataclass(frozen=True)
class Node:
    """One node of the cluster of ``control_plane``."""

    control_plane: ControlPlane
    record: NodeRecord

    @classmethod
    def create(cls, control_plane: ControlPlane, *, name: str, index: int, cgroup: str, size: NodeSize) -> Node:
        """Make the node's sandbox and plug it in; nothing runs in it yet."""
        directory = _directory(control_plane, name)
        sandbox = _make_sandbox(control_plane, directory, size)
        try:
            network.connect_node(control_plane.sandbox, sandbox, index=index)
        except BaseException:
            sandbox.kill()
            raise
        record = NodeRecord(
            name=name,
            index=index,
            cgroup=cgroup,
            init_pid=sandbox.init.pid,
            init_started_ticks=sandbox.init.started_ticks,
        )
        replace_text(directory / "node.json", json.dumps(asdict(record)))
        return cls(control_plane, record)

    @classmethod
    def load_all(cls, control_plane: ControlPlane) -> list[Node]:
        """Return the nodes that were made so far, killed ones included, in the order of their making."""
        records = (control_plane.directory / "nodes").glob("*/node.json")
        nodes = [cls(control_plane, NodeRecord(**json.loads(path.read_text()))) for path in records]
        return sorted(nodes, key=lambda node: node.record.index)

    @property
    def name(self) -> str:
        """The node's name in Kubernetes."""
        return self.record.name

    @property
    def directory(self) -> Path:
        """Where the node's files lie."""
        return _directory(self.control_plane, self.name)

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox that is the node."""
        return Sandbox(Process(self.record.init_pid, self.record.init_started_ticks))

    @cached_property
    def programs(self) -> Programs:
        """The programs on the node."""
        return Programs(self.directory / "programs", self.sandbox)

    def start(self, *, gpus: int) -> None:
        """Start what makes a node of the sandbox; ``wait_until_ready`` waits for it."""
        start_containerd(self.programs, self.control_plane.binaries, self.directory, index=self.record.index)
        self.start_kubelet()
        start_kube_proxy(self.control_plane, self.programs, self.directory, node_name=self.name)
        if gpus:
            self.set_gpus(Inventory(count=gpus))
            self._start_gpu_plugin()

    def set_gpus(self, inventory: Inventory) -> None:
        """Change which GPUs the node has; it must have been started with at least one."""
        inventory.write(self._gpu_inventory)

    def gpus(self) -> Inventory:
        """Return which GPUs the node has."""
        return Inventory.read(self._gpu_inventory) if self._gpu_inventory.exists() else Inventory(count=0)

    def wait_until_ready(self, *, gpus: int) -> None:
        """Wait until Kubernetes calls the node Ready and knows its GPUs."""
        path = f"/api/v1/nodes/{self.name}"
        programs = [self.programs.get(name) for name in self.programs.names()]
        wait_until(
            lambda: self.control_plane.api.has_condition(path, "Ready"),
            what=f"{self.name} becoming Ready",
            programs=programs,
        )
        if gpus:
            wait_until(
                lambda: self.control_plane.api.capacity(path, RESOURCE) == str(gpus),
                what=f"{self.name} counting its GPUs",
                programs=programs,
            )

    def start_kubelet(self) -> Program:
        """Start the kubelet, the first time or after it was killed."""
        config = self.directory / "kubelet.yaml"
        config.write_text(yaml.safe_dump(self._kubelet_config(), sort_keys=False))
        kubeconfig = self.control_plane.write_kubeconfig(f"system:node:{self.name}", ["system:nodes"])
        return self.programs.start(
            "kubelet",
            [
                self.control_plane.binaries.kubernetes / "kubelet",
                f"--config={config}",
                f"--kubeconfig={kubeconfig}",
                f"--hostname-override={self.name}",
                f"--node-ip={self.record.address}",
            ],
        )

    def kill_kubelet(self) -> None:
        """Kill the kubelet as an operating system out of memory would; its pods go on."""
        self.programs.get("kubelet").kill()

    def kill(self) -> None:
        """Kill all of the node at once, pods included, as a power cut would."""
        self.sandbox.kill()
        self.programs.forget()
        cgroups.remove(self.record.cgroup)

    def forget(self) -> None:
        """Undo the making of a node that did not start: its name and its addresses are free again."""
        self.kill()
        self.control_plane.forget_node(self.name)
        shutil.rmtree(self.directory)

    @property
    def _gpu_inventory(self) -> Path:
        return self.directory / "gpus.json"

    def _start_gpu_plugin(self) -> Program:
        command = [sys.executable, "-m", "e2e.cluster.gpu.plugin", str(self._gpu_inventory)]
        return self.programs.start("gpu-plugin", command, env={"PYTHONPATH": str(_PROJECT)})

    def _kubelet_config(self) -> dict[str, object]:
        pki = self.control_plane.directory / "pki"
        certificate, key = self.control_plane.authority.sign_server([self.name], [self.record.address]).write(
            self.directory, "kubelet"
        )
        no_resolver = self.directory / "no-resolver.conf"
        no_resolver.touch()
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(pki / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(certificate),
            "tlsPrivateKeyFile": str(key),
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "clusterDNS": [network.DNS_SERVICE_ADDRESS],
            "clusterDomain": "cluster.local",
            "resolvConf": str(no_resolver),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": cgroups.create(self.record.cgroup),
            "failCgroupV1": False,
            "failSwapOn": False,
            "enforceNodeAllocatable": [],
            # The disk is the host's: how full it is says nothing about the node.
            "localStorageCapacityIsolation": False,
            "evictionHard": {
                "nodefs.available": "0%",
                "nodefs.inodesFree": "0%",
                "imagefs.available": "0%",
                "imagefs.inodesFree": "0%",
                "memory.available": "0%",
            },
            "imageGCHighThresholdPercent": 100,
            "serializeImagePulls": False,
            # Losing a node is noticed after 8 s, which takes a heartbeat well below that.
            "nodeLeaseDurationSeconds": _LEASE_SECONDS,
            "nodeStatusUpdateFrequency": "2s",
            # A changed ConfigMap reaches its pods in seconds instead of a minute.
            "syncFrequency": "5s",
        }


def _directory(control_plane: ControlPlane, name: str) -> Path:
    return control_plane.directory / "nodes" / name


def _make_sandbox(control_plane: ControlPlane, directory: Path, size: NodeSize) -> Sandbox:
    var = directory / "var"
    for part in ("lib/kubelet", "log", "tmp"):
        (var / part).mkdir(parents=True, exist_ok=True)
    if not (var / "run").is_symlink():
        (var / "run").symlink_to("/run")
    setup = SandboxSetup(
        binds=[*_keep_visible(var), (var, Path("/var")), *machine_view.bind_mounts(directory, size)],
        tmpfs=[Path("/run")],
        disks=[] if size.disk_bytes is None else [(_VOLUMES, size.disk_bytes)],
        shared=[Path("/var"), Path("/run")],
        sysctls=network.SYSCTLS,
        private_proc=True,
    )
    return Sandbox.create(setup, log=directory / "sandbox.log", inside=control_plane.sandbox)


def _keep_visible(var: Path) -> list[tuple[Path, Path]]:
    """Give the new /var what the node's programs need of the old one, where such things lie there."""
    binds = []
    for needed in {cache_root(), _PROJECT, Path(sys.prefix), Path(sys.base_prefix)}:
        if needed.is_relative_to("/var"):
            target = var / needed.relative_to("/var")
            target.mkdir(parents=True, exist_ok=True)
            binds.append((needed, target))
    return sorted(binds)
