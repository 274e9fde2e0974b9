"""The cluster that the demonstration runs on, whichever it is."""

from __future__ import annotations

import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from e2e.cluster.progress import Progress

PROJECT = Path(__file__).resolve().parents[2]
CHART = PROJECT / "charts" / "tfserving-operator"
RELEASE = "tfserving-operator"
CRD = "servedmodels.tfserving.dev"
OPERATOR_NAMESPACE = "tfserving-system"
NAMESPACE = "tfserving-demo"
MARK = ("tfserving.dev/demonstration", "true")
"""The label of the namespaces that the demonstration made: what it finds without it, it leaves alone."""


class DemoFailed(Exception):
    """The demonstration cannot go on; the message says what to do."""


class Target(Protocol):
    """A cluster with the operator's image at hand."""

    @property
    def operator_image(self) -> str:
        """The operator's image as the cluster pulls it."""

    def prepare(self, progress: Progress) -> None:
        """Make the cluster and the images ready."""

    def kubectl(
        self, *arguments: str | Path, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl."""

    def helm(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run Helm."""

    def service_url(self, service: str, port: int) -> AbstractContextManager[str]:
        """Give the URL of a Service of the demonstration's namespace, to be used by the calling thread."""

    def how_to_use(self) -> str:
        """The shell line that points the user's kubectl at the cluster; empty where it does already."""

    def kubectl_prefix(self) -> str:
        """How the user's kubectl commands begin."""

    def make_arguments(self) -> str:
        """What follows ``make demo-down`` to mean this cluster, with a space before it."""

    def remove(self, progress: Progress) -> None:
        """Remove what ``prepare`` made, and everything in it."""
