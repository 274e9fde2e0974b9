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
from e2e.demo.target import CHART, CRD, MARK, NAMESPACE, OPERATOR_NAMESPACE, RELEASE, DemoFailed

_REMOVAL_TIMEOUT = "300s"
_NO_SUCH_RESOURCE = "the server doesn't have a resource type"


class CurrentCluster:
    """The cluster that kubectl and Helm talk to now; it has the operator's image or can pull it."""

    def __init__(self, operator_image: str) -> None:
        """Use ``operator_image`` as the cluster's nodes know it."""
        self.operator_image = operator_image

    def prepare(self, progress: Progress) -> None:
        """Check that the tools are there, the cluster answers, and no operator is there that is somebody's own."""
        self._require_answer(progress)
        if not self._is_ours(OPERATOR_NAMESPACE) and self._exists("crd", CRD):
            raise DemoFailed(
                f"the cluster has ServedModels already, by an installation of the operator that is not the "
                f"demonstration's. It would be changed, and removed by `make demo-down`: take another cluster, "
                f"or, if nobody uses it any more, remove it with `kubectl delete crd {CRD}`"
            )
        self._is_ours(NAMESPACE)

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
        self._require_answer(progress)
        has_operator = self._is_ours(OPERATOR_NAMESPACE)
        progress("removing the demonstration")
        if self._is_ours(NAMESPACE):
            self._delete_namespace(NAMESPACE)
        if not has_operator:
            return
        if left := self._served_models():
            raise DemoFailed(f"the operator stays: it looks after {len(left)} ServedModels that are not the demo's")
        progress("removing the operator")
        run(["helm", "uninstall", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--ignore-not-found", "--wait"])
        self.kubectl("delete", "--ignore-not-found", f"--timeout={_REMOVAL_TIMEOUT}", "--filename", CHART / "crds")
        # Last: its mark says whose all this is, should this be interrupted and done again.
        self._delete_namespace(OPERATOR_NAMESPACE)

    def _require_answer(self, progress: Progress) -> None:
        for tool in ("kubectl", "helm"):
            if shutil.which(tool) is None:
                raise DemoFailed(f"{tool} is needed for CLUSTER=current and is not on the PATH")
        progress("asking the cluster for its version")
        answer = self.kubectl("version", "--request-timeout=10s", check=False)
        if answer.returncode != 0:
            raise DemoFailed(f"the cluster of the kubeconfig does not answer: {answer.stderr.strip()}")

    def _is_ours(self, namespace: str) -> bool:
        """Tell whether the demonstration's namespace is there; raise DemoFailed when somebody else's is."""
        if not self._exists("namespace", namespace):
            return False
        label, value = MARK
        if not self._exists("namespace", f"--selector={label}={value}", f"--field-selector=metadata.name={namespace}"):
            raise DemoFailed(
                f"the namespace {namespace} is not the demonstration's, which would change what is in it, and remove "
                f"it with `make demo-down`: take another cluster. If it is the demonstration's all the same (of an "
                f"earlier version), say so: kubectl label namespace {namespace} {label}={value}"
            )
        return True

    def _exists(self, kind: str, *which: str) -> bool:
        return bool(self.kubectl("get", kind, *which, "--ignore-not-found", "--output=name").stdout.strip())

    def _served_models(self) -> list[str]:
        """Return the ServedModels of all namespaces; with the CRD, all of them would be deleted."""
        answer = self.kubectl("get", "servedmodels", "--all-namespaces", "--output=name", check=False)
        if answer.returncode == 0:
            return answer.stdout.split()
        if _NO_SUCH_RESOURCE in answer.stderr:
            return []
        raise DemoFailed(f"the operator stays, as others may have ServedModels: {answer.stderr.strip()}")

    def _delete_namespace(self, name: str) -> None:
        self.kubectl("delete", "namespace", name, "--ignore-not-found", f"--timeout={_REMOVAL_TIMEOUT}")
