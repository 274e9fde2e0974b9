"""The nodes of a cluster and what runs beside the control plane for their sake."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import count

from e2e.cluster import dns
from e2e.cluster.control_plane import ControlPlane
from e2e.cluster.errors import ClusterError
from e2e.cluster.kube_proxy import start_kube_proxy
from e2e.cluster.locks import exclusive
from e2e.cluster.machine_view import NodeSize
from e2e.cluster.network import cut, heal
from e2e.cluster.node import Node
from e2e.cluster.programs import ensure_stays
from e2e.cluster.progress import Progress
from e2e.cluster.registry import Registry

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def check_node_name(name: str) -> None:
    """Raise ClusterError unless ``name`` can name a node, here and in Kubernetes (a label of RFC 1123)."""
    if not _NAME.fullmatch(name):
        raise ClusterError(f"{name!r} cannot name a node: at most 63 of a-z, 0-9 and -, no - at the ends")


@dataclass(frozen=True)
class Nodes:
    """The nodes of the cluster of ``control_plane``; their pods' control groups lie below ``cgroup``."""

    control_plane: ControlPlane
    cgroup: str
    size: NodeSize

    def add(self, names: Sequence[str], *, gpus: int, progress: Progress) -> None:
        """Start nodes and wait until they are Ready; with the first ones come the registry and DNS."""
        with self._one_at_a_time():
            self._add(names, gpus=gpus, progress=progress)

    def add_next(self, *, gpus: int, progress: Progress) -> str:
        """Start a node with the next free name, wait until it is Ready, and return the name."""
        with self._one_at_a_time():
            taken = {node.name for node in self.all()}
            name = next(name for number in count(1) if (name := f"node-{number}") not in taken)
            self._add([name], gpus=gpus, progress=progress)
        return name

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
        with self._one_at_a_time():
            old = self.get(name)
            gpus = old.gpus().count
            old.kill()
            node = self._create(name, old.record.index)
            node.start(gpus=gpus)
            node.wait_until_ready(gpus=gpus)

    def kill_kubelet(self, name: str) -> None:
        """Kill the kubelet of a node."""
        self._powered(name).kill_kubelet()

    def start_kubelet(self, name: str) -> None:
        """Start the kubelet of a node again, which must have been killed."""
        node = self._powered(name)
        if node.programs.get("kubelet").is_alive():
            raise ClusterError(f"the kubelet of {name} runs already")
        ensure_stays(node.start_kubelet())

    def cut_network(self, name: str) -> None:
        """Pull the network plug of a node."""
        cut(self.control_plane.sandbox, index=self._powered(name).record.index)

    def heal_network(self, name: str) -> None:
        """Put the network plug of a node back."""
        heal(self.control_plane.sandbox, index=self._powered(name).record.index)

    def _powered(self, name: str) -> Node:
        node = self.get(name)
        if not node.sandbox.is_alive():
            raise ClusterError(f"{name} was killed; boot it first")
        return node

    def _one_at_a_time(self) -> AbstractContextManager[None]:
        """Keep other processes from adding nodes: two would take the same name, address and number."""
        return exclusive(self.control_plane.directory / "nodes.lock")

    def _add(self, names: Sequence[str], *, gpus: int, progress: Progress) -> None:
        self._check_free(names)
        if "registry" not in self.control_plane.programs.names():
            self._start_services(progress)
        first = max((node.record.index for node in self.all()), default=0) + 1
        progress(f"starting {', '.join(names)}")
        made: list[Node] = []
        try:
            for number, name in enumerate(names):
                made.append(self._create(name, first + number))
            self._start(made, gpus=gpus)
        except BaseException:
            for node in made:
                node.forget()
            raise

    def _check_free(self, names: Sequence[str]) -> None:
        for name in names:
            check_node_name(name)
        if clash := {node.name for node in self.all()} & set(names):
            raise ClusterError(f"there has been a node named {', '.join(sorted(clash))}")

    def _start(self, nodes: Sequence[Node], *, gpus: int) -> None:
        for node in nodes:
            node.start(gpus=gpus)
        self._start_hub_proxy(nodes[0])
        for node in nodes:
            node.wait_until_ready(gpus=gpus)
        dns.wait_until_ready(self.control_plane)

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
