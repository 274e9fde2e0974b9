"""A cluster of our own that stays up until ``make demo-down``."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from e2e.cluster import Cluster, ClusterOptions, NotRunning, binaries, images
from e2e.cluster.progress import Progress
from e2e.demo.target import NAMESPACE, PROJECT

DOCKERFILE = PROJECT / "Dockerfile"
OPERATOR_REPOSITORY = "localhost:5000/tfserving-operator"
MODEL_SERVER_IMAGE = "docker.io/tensorflow/serving:2.20.0"
"""The stock image's name, which the cluster's nodes look up in the registry inside: the manifest is the same."""


class EmbeddedCluster:
    """An embedded cluster by its name: found where it runs, started where it does not."""

    def __init__(self, name: str) -> None:
        """Nothing is started yet."""
        self._name = name
        self._cluster: Cluster | None = None

    @cached_property
    def operator_image(self) -> str:
        """Tagged by what it is made from, so that nodes pull it again after a change of the code."""
        key = images.ImageBuild(PROJECT, DOCKERFILE).key()
        return f"{OPERATOR_REPOSITORY}:{key}"

    def prepare(self, progress: Progress) -> None:
        """Start the cluster and push the images."""
        try:
            self._cluster = Cluster.attach(self._name)
        except NotRunning:
            options = ClusterOptions(name=self._name, nodes=1, detached=True)
            self._cluster = Cluster.start(options, progress=progress)
        self._cluster.build_image(
            context=PROJECT,
            dockerfile=DOCKERFILE,
            tag=self.operator_image,
            progress=progress,
        )
        self._cluster.build_image(
            context=PROJECT,
            dockerfile=PROJECT / "e2e" / "modelserver" / "Dockerfile",
            tag=MODEL_SERVER_IMAGE,
            build_args={"WITH_TENSORFLOW": "1"},
            progress=progress,
        )
        self.kubectl("config", "set-context", "--current", f"--namespace={NAMESPACE}")

    @property
    def cluster(self) -> Cluster:
        """The running cluster."""
        if self._cluster is None:
            self._cluster = Cluster.attach(self._name)
        return self._cluster

    def kubectl(
        self, *arguments: str | Path, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run the cluster's own kubectl."""
        return self.cluster.kubectl(*arguments, input=stdin, check=check)

    def helm(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the cluster's own Helm."""
        return self.cluster.helm(*arguments)

    @contextmanager
    def service_url(self, service: str, port: int) -> Iterator[str]:
        """Put the calling thread's sockets into the cluster's network, where the Service's address is reachable."""
        address = self.kubectl(
            "get", "service", service, "--namespace", NAMESPACE, "--output=jsonpath={.spec.clusterIP}"
        ).stdout
        with self.cluster.network():
            yield f"http://{address}:{port}"

    def how_to_use(self) -> str:
        """Point kubectl at the cluster; one of the cluster's version comes first on the PATH."""
        kubectl = binaries.build(["kubernetes"]).kubernetes
        return f"export KUBECONFIG={self.cluster.kubeconfig} PATH={kubectl}:$PATH"

    def kubectl_prefix(self) -> str:
        """The kubeconfig names the demonstration's namespace."""
        return "kubectl"

    def make_arguments(self) -> str:
        """The embedded cluster is the default."""
        return ""

    def remove(self, progress: Progress) -> None:
        """Stop the cluster, which takes everything with it."""
        progress("stopping the cluster")
        with contextlib.suppress(NotRunning):
            # Not by its record, which another version of this code may have written.
            Cluster.remove(self._name)
