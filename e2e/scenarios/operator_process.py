"""The operator as a process on the host, against a cluster without nodes: starts in seconds, and tests its own life."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
from prometheus_client.parser import text_string_to_metric_families

from e2e.cluster import Cluster

T = TypeVar("T")

USER = "operator-under-test"
"""Tells the operator's requests from kubectl's in the audit log."""
_POLL_SECONDS = 0.05


def wait_until(
    look: Callable[[], T], what: str, *, timeout_seconds: float = 20.0, poll_seconds: float = _POLL_SECONDS
) -> T:
    """Return the first true answer of ``look``."""
    deadline = time.monotonic() + timeout_seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"in vain: {what}; last seen: {seen!r}"
        time.sleep(poll_seconds)
    return seen


@dataclass
class OperatorProcess:
    """A running operator."""

    process: subprocess.Popen[bytes]
    log_file: Path

    def log_lines(self) -> list[dict[str, Any]]:
        """Return what it has logged so far; a line that is not JSON is a failure."""
        return [json.loads(line) for line in self.log_file.read_text().splitlines()]

    def has_logged(self, message: str) -> bool:
        """Whether a line's message contains ``message``."""
        return any(message in line["message"] for line in self.log_lines())

    def probe(self, path: str) -> int | None:
        """Return the status of a probe, None where nothing answers."""
        ports = self._ports()
        if ports is None:
            return None
        try:
            return httpx.get(f"http://127.0.0.1:{ports['health_port']}{path}", timeout=2).status_code
        except httpx.TransportError:
            return None

    def metric(self, name: str, *, timeout_seconds: float = 2.0, **labels: str) -> float:
        """Return the sum of the samples that have ``labels``."""
        ports = self._ports()
        assert ports is not None
        text = httpx.get(f"http://127.0.0.1:{ports['metrics_port']}/metrics", timeout=timeout_seconds).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def wait_ready(self) -> None:
        """Wait until its caches are complete."""
        wait_until(lambda: self.probe("/readyz") == 200, "the operator is ready")

    def stop(self) -> tuple[int, float]:
        """Send SIGTERM; return exit status and seconds."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20), time.monotonic() - began

    def _ports(self) -> dict[str, int] | None:
        lines = self.log_lines()
        return next((line for line in lines if line["message"] == "serving probes and metrics"), None)


@contextmanager
def operator_process(
    cluster: Cluster, directory: Path, *, kubeconfig: Path | None = None, **settings: str | int | float
) -> Iterator[OperatorProcess]:
    """Run an operator with ``settings`` (as in TFSERVING_OPERATOR_…) until left."""
    directory.mkdir(parents=True, exist_ok=True)
    if kubeconfig is None:
        kubeconfig = directory / "kubeconfig"
        kubeconfig.write_text(cluster.kubeconfig_as(USER, ["system:masters"]))
    defaults = {"health_port": 0, "metrics_port": 0, "log_format": "json", "log_level": "info"}
    environment = {
        **os.environ,
        "KUBECONFIG": str(kubeconfig),
        **{f"TFSERVING_OPERATOR_{name.upper()}": str(value) for name, value in {**defaults, **settings}.items()},
    }
    log_file = directory / "operator.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tfserving_operator"], env=environment, stdout=log, stderr=log
        )
    try:
        yield OperatorProcess(process, log_file)
    finally:
        process.kill()
        process.wait()
