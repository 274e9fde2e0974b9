"""The cluster of the kubeconfig: kind, minikube, a cloud's."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster.commands import run
from e2e.cluster.progress import Progress
from e2e.demo.target import CHART, NAMESPACE, OPERATOR_NAMESPACE, RELEASE, DemoFailed


class CurrentCluster:
    """The cluster that kubectl and Helm talk to now; it has the operator's image or can pull it."""

    def __init__(self, operator_image: str) -> None:
        """Use ``operator_image`` as the cluster's nodes know it."""
        self.operator_image = operator_image

    def prepare(self, progress: Progress) -> None:
        """Check that the tools are there and the cluster answers."""
        for tool in ("kubectl", "helm"):
            if shutil.which(tool) is None:
                raise DemoFailed(f"{tool} is needed for CLUSTER=current and is not on the PATH")
        progress("asking the cluster for its version")
        answer = self.kubectl("version", "--request-timeout=10s", check=False)
        if answer.returncode != 0:
            raise DemoFailed(f"the cluster of the kubeconfig does not answer: {answer.stderr.strip()}")

    def kubectl(
        self, *arguments: str | Path, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run the user's kubectl."""
        return run(["kubectl", *arguments], stdin=stdin, check=check)

    def helm(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the user's Helm."""
        return run(["helm", *arguments])

    @contextmanager
    def service_url(self, service: str, port: int) -> Iterator[str]:
        """Forward a local port to the Service."""
        command = ["kubectl", "--namespace", NAMESPACE, "port-forward", f"service/{service}", f":{port}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as forward:
            try:
                assert forward.stdout is not None
                announced = re.search(r"127\.0\.0\.1:(\d+)", forward.stdout.readline())
                if announced is None:
                    assert forward.stderr is not None
                    raise DemoFailed(f"kubectl port-forward failed: {forward.stderr.read().strip()}")
                yield f"http://127.0.0.1:{announced[1]}"
            finally:
                forward.terminate()

    def how_to_use(self) -> str:
        """Nothing: kubectl points there already."""
        return ""

    def kubectl_prefix(self) -> str:
        """The demonstration's namespace is not the user's."""
        return f"kubectl -n {NAMESPACE}"

    def make_arguments(self) -> str:
        """The cluster is named."""
        return " CLUSTER=current"

    def remove(self, progress: Progress) -> None:
        """Remove the demonstration and, unless others have ServedModels, the operator and its CRD."""
        progress("removing the demonstration")
        self.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
        left = self.kubectl("get", "servedmodels", "--all-namespaces", "--output=name", check=False).stdout.split()
        if left:
            raise DemoFailed(f"the operator stays: it looks after {len(left)} ServedModels that are not the demo's")
        progress("removing the operator")
        run(["helm", "uninstall", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--ignore-not-found", "--wait"])
        self.kubectl("delete", "namespace", OPERATOR_NAMESPACE, "--ignore-not-found")
        self.kubectl("delete", "--ignore-not-found", "--filename", CHART / "crds")
