"""A Prometheus that scrapes the cluster's pods."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from e2e.cluster import binaries, runs
from e2e.cluster.control_plane import ControlPlane
from e2e.cluster.errors import ClusterError
from e2e.cluster.manifests import allow_user, service_to_hub
from e2e.cluster.programs import Program, wait_until
from e2e.cluster.progress import Progress, log_progress

_PORT = 9090
_USER = "system:prometheus"
NAMESPACE = "monitoring"


@dataclass(frozen=True)
class Sample:
    """One answer to an instant query."""

    labels: dict[str, str]
    value: float
    timestamp_seconds: float


@dataclass(frozen=True)
class Prometheus:
    """The Prometheus of the cluster of ``control_plane``; data survives a restart of it."""

    control_plane: ControlPlane

    @property
    def url(self) -> str:
        """Where the host finds it."""
        return f"http://{self.control_plane.link.address}:{_PORT}"

    @property
    def url_inside(self) -> str:
        """Where pods find it."""
        return f"http://prometheus.{NAMESPACE}.svc:{_PORT}"

    def start(self, *, progress: Progress = log_progress) -> None:
        """Start it, the first time or again, and wait until it answers."""
        built = binaries.build(binaries.PROMETHEUS_PARTS, progress=progress)
        runs.remember_programs(self.control_plane.directory, built.directories)
        if not self._config.exists():
            self._install()
        command = [
            str(built.prometheus / "prometheus"),
            f"--config.file={self._config}",
            f"--storage.tsdb.path={self.control_plane.directory / 'prometheus'}",
            f"--web.listen-address=:{_PORT}",
            "--web.enable-lifecycle",
        ]
        started = self.control_plane.programs.start("prometheus", command)
        wait_until(lambda: self._answers("/-/ready"), what="Prometheus's readiness", programs=[started])

    def kill(self) -> None:
        """Kill it; ``start`` brings it back."""
        self._program().kill()

    def configure(self, config: str) -> None:
        """Replace its configuration, which is a Prometheus configuration file in YAML."""
        self._config.write_text(config)
        httpx.post(f"{self.url}/-/reload", trust_env=False, timeout=10).raise_for_status()

    def query(self, expression: str) -> list[Sample]:
        """Return what the expression, which must give an instant vector, is now."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}, trust_env=False, timeout=10)
        if answer.status_code == httpx.codes.BAD_REQUEST:
            raise ClusterError(f"Prometheus refuses {expression!r}: {answer.json()['error']}")
        answer.raise_for_status()
        return [_sample(result) for result in answer.json()["data"]["result"]]

    @property
    def _config(self) -> Path:
        return self.control_plane.directory / "prometheus.yaml"

    def _program(self) -> Program:
        return self.control_plane.programs.get("prometheus")

    def _install(self) -> None:
        kubeconfig = self.control_plane.write_kubeconfig(_USER)
        self._config.write_text(default_config(kubeconfig))
        readable = {"": ("pods", "services", "endpoints", "nodes", "namespaces")}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        objects = [
            namespace,
            *allow_user(_USER, readable),
            *service_to_hub("prometheus", NAMESPACE, {"http": (_PORT, "TCP")}),
        ]
        self.control_plane.apply(objects)

    def _answers(self, path: str) -> bool:
        try:
            return httpx.get(self.url + path, trust_env=False, timeout=2).is_success
        except httpx.TransportError:
            return False


def default_config(kubeconfig: Path, *, interval_seconds: int = 2) -> str:
    """Return a configuration that scrapes pods as their ``prometheus.io/scrape|port|path|scheme`` annotations say."""
    annotation = "__meta_kubernetes_pod_annotation_prometheus_io"
    return yaml.safe_dump(
        {
            "global": {"scrape_interval": f"{interval_seconds}s", "evaluation_interval": f"{interval_seconds}s"},
            "scrape_configs": [
                {
                    "job_name": "pods",
                    "kubernetes_sd_configs": [{"role": "pod", "kubeconfig_file": str(kubeconfig)}],
                    "relabel_configs": [
                        {"action": "keep", "source_labels": [f"{annotation}_scrape"], "regex": "true"},
                        # A finished pod keeps its annotations, but nobody answers there.
                        {
                            "action": "drop",
                            "source_labels": ["__meta_kubernetes_pod_phase"],
                            "regex": "Pending|Succeeded|Failed",
                        },
                        {
                            "source_labels": ["__meta_kubernetes_pod_ip", f"{annotation}_port"],
                            "regex": r"(.+);(\d+)",
                            "replacement": "$1:$2",
                            "target_label": "__address__",
                        },
                        _copy(f"{annotation}_path", "__metrics_path__"),
                        _copy(f"{annotation}_scheme", "__scheme__"),
                        {"action": "labelmap", "regex": "__meta_kubernetes_pod_label_(.+)"},
                        _copy("__meta_kubernetes_namespace", "namespace"),
                        _copy("__meta_kubernetes_pod_name", "pod"),
                    ],
                }
            ],
        },
        sort_keys=False,
    )


def _copy(source: str, target: str) -> dict[str, Any]:
    return {"source_labels": [source], "regex": "(.+)", "target_label": target}


def _sample(result: dict[str, Any]) -> Sample:
    timestamp, value = result["value"]
    return Sample(labels=result["metric"], value=float(value), timestamp_seconds=float(timestamp))
