"""The nodes of a cluster and what runs beside the control plane for their sake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from e2e.cluster import dns
from e2e.cluster.control_plane import ControlPlane
from e2e.cluster.errors import ClusterError
from e2e.cluster.kube_proxy import start_kube_proxy
from e2e.cluster.machine_view import NodeSize
from e2e.cluster.network import cut, heal
from e2e.cluster.node import Node
from e2e.cluster.progress import Progress
from e2e.cluster.registry import Registry


@dataclass(frozen=True)
class Nodes:
    """The nodes of the cluster of ``control_plane``; their pods' control groups lie below ``cgroup``."""

    control_plane: ControlPlane
    cgroup: str
    size: NodeSize

    def add(self, names: Sequence[str], *, gpus: int, progress: Progress) -> None:
        """Start nodes and wait until they are Ready; with the first ones come the registry and DNS."""
        if "registry" not in self.control_plane.programs.names():
            self._start_services(progress)
        taken = {node.name: node.record.index for node in self.all()}
        if clash := taken.keys() & set(names):
            raise ClusterError(f"there has been a node named {', '.join(sorted(clash))}")
        first = max(taken.values(), default=0) + 1
        progress(f"starting {', '.join(names)}")
        nodes = [self._create(name, first + number) for number, name in enumerate(names)]
        for node in nodes:
            node.start(gpus=gpus)
        self._start_hub_proxy(nodes[0])
        for node in nodes:
            node.wait_until_ready(gpus=gpus)
        dns.wait_until_ready(self.control_plane)

    def free_name(self) -> str:
        """Return the name of the next node."""
        return f"node-{len(self.all()) + 1}"

    def all(self) -> list[Node]:
        """Return all nodes, killed ones included."""
        return Node.load_all(self.control_plane)

    def get(self, name: str) -> Node:
        """Return the node ``name``."""
        for node in self.all():
            if node.name == name:
                return node
        known = ", ".join(node.name for node in self.all()) or "none"
        raise ClusterError(f"there is no node {name}; there are: {known}")

    def boot(self, name: str) -> None:
        """Start a node again that was killed, with the disk and the GPUs that it had, and wait until it is Ready."""
        old = self.get(name)
        gpus = old.gpus().count
        old.kill()
        node = self._create(name, old.record.index)
        node.start(gpus=gpus)
        node.wait_until_ready(gpus=gpus)

    def cut_network(self, name: str) -> None:
        """Pull the network plug of a node."""
        cut(self.control_plane.sandbox, index=self.get(name).record.index)

    def heal_network(self, name: str) -> None:
        """Put the network plug of a node back."""
        heal(self.control_plane.sandbox, index=self.get(name).record.index)

    def _create(self, name: str, index: int) -> Node:
        return Node.create(self.control_plane, name=name, index=index, cgroup=f"{self.cgroup}/{name}", size=self.size)

    def _start_services(self, progress: Progress) -> None:
        progress("starting the registry and DNS")
        Registry(self.control_plane).start(progress=progress)
        dns.install(self.control_plane)

    def _start_hub_proxy(self, node: Node) -> None:
        """Make services reachable from the control plane's network too: for webhooks, and for tests.

        It borrows a node's name, without which kube-proxy would wait half a minute for its own node.
        """
        programs = self.control_plane.programs
        if "kube-proxy" not in programs.names():
            start_kube_proxy(self.control_plane, programs, self.control_plane.directory, node_name=node.name)
