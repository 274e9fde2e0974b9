"""Objects of a namespace as the API server tells them, without kubectl's start-up time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from e2e.cluster import Cluster

Manifest = dict[str, Any]

_PATHS = {
    "configmaps": "api/v1",
    "deployments": "apis/apps/v1",
    "events": "api/v1",
    "poddisruptionbudgets": "apis/policy/v1",
    "pods": "api/v1",
    "servedmodels": "apis/tfserving.dev/v1alpha1",
    "services": "api/v1",
}
"""Where the API server keeps what tests look at."""
_SHORT = {"pdb": "poddisruptionbudgets"}


@dataclass(frozen=True)
class Objects:
    """What there is in a namespace."""

    cluster: Cluster
    namespace: str

    def get(self, kind: str, name: str) -> Manifest | None:
        """Return an object, None where there is none; ``kind`` in the singular, the plural or short."""
        return self.cluster.read(f"{self._path(kind)}/{name}")

    def list(self, kinds: str, *, labels: str = "", fields: str = "") -> list[Manifest]:
        """Return the objects of some kinds, parted by commas, that selectors choose; with kind and API version."""
        found: list[Manifest] = []
        for kind in kinds.split(","):
            answer = self.cluster.read(self._path(kind), labelSelector=labels, fieldSelector=fields) or {}
            common = {"apiVersion": answer.get("apiVersion"), "kind": answer.get("kind", "").removesuffix("List")}
            found += [{**common, **item} for item in answer.get("items", [])]
        return found

    def _path(self, kind: str) -> str:
        plural = _SHORT.get(kind, kind if kind.endswith("s") else f"{kind}s")
        return f"/{_PATHS[plural]}/namespaces/{self.namespace}/{plural}"
