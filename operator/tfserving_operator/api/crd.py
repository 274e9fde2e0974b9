"""The CustomResourceDefinition, generated from the API models.

``python -m tfserving_operator.api.crd`` prints it as YAML: fit for ``kubectl apply --server-side -f -``.
"""

from __future__ import annotations

import sys
from typing import Any

import yaml

from tfserving_operator.api.servedmodel import (
    GROUP,
    KIND,
    METADATA_RULES,
    PLURAL,
    VERSION,
    ServedModelSpec,
    ServedModelStatus,
)
from tfserving_operator.api.structural import Schema, structural_schema

HEADER = "# Generated from operator/tfserving_operator/api by `make generate`. Do not edit.\n"

_CONDITION = '.status.conditions[?(@.type=="{}")].{}'


def build_crd() -> dict[str, Any]:
    """Return the CustomResourceDefinition of ``ServedModel``.

    It holds none of the zero values that the API server drops (``priority: 0``, empty descriptions and lists):
    GitOps tools would report each as a difference for ever.
    """
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{PLURAL}.{GROUP}",
            # Argo CD applies client-side by default; this spares its users the size limit of that.
            "annotations": {"argocd.argoproj.io/sync-options": "ServerSideApply=true"},
        },
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["sm"],
                "categories": ["all"],
            },
            "scope": "Namespaced",
            "versions": [_version()],
        },
    }


def render_crd() -> str:
    """Return the CustomResourceDefinition as YAML."""
    return HEADER + yaml.dump(build_crd(), Dumper=_PlainDumper, sort_keys=False, width=110, allow_unicode=True)


def _version() -> dict[str, Any]:
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [
            _column("Ready", _CONDITION.format("Ready", "status"), "Whether every model is answered for."),
            _column("Replicas", ".status.readySummary", "Ready of desired replicas."),
            _column("Versions", ".status.versionSummary", "Versions served, by model."),
            _column("Pools", ".status.poolSummary", "Ready of desired replicas, by pool."),
            _column("Status", ".status.reason", "The one reason that says most; docs/troubleshooting.md."),
            _column("Age", ".metadata.creationTimestamp", "Time since creation.", kind="date"),
            _column("Autoscaling", ".spec.autoscaling.mode", "What autoscaling may do.", wide=True),
            _column("REST", ".status.endpoints.rest", "host:port of the REST API.", wide=True),
            _column("gRPC", ".status.endpoints.grpc", "host:port of the gRPC API.", wide=True),
            _column("Message", ".status.message", "What is so, and what to do about it.", wide=True),
        ],
        "schema": {"openAPIV3Schema": _root_schema()},
    }


def _column(name: str, json_path: str, description: str, *, kind: str = "string", wide: bool = False) -> dict[str, Any]:
    column = {"name": name, "type": kind, "description": description, "jsonPath": json_path}
    return column | ({"priority": 1} if wide else {})


def _root_schema() -> Schema:
    return {
        "description": "A ServedModel is a fleet of TensorFlow Serving replicas that answer for one model or several.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"description": "Version of this API: tfserving.dev/v1alpha1.", "type": "string"},
            "kind": {"description": "ServedModel.", "type": "string"},
            "metadata": {"type": "object"},
            "spec": structural_schema(ServedModelSpec),
            "status": structural_schema(ServedModelStatus),
        },
        "x-kubernetes-validations": list(METADATA_RULES),
    }


class _PlainDumper(yaml.SafeDumper):
    """Writes shared parts out in full: YAML aliases are not part of what Kubernetes tools must read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


if __name__ == "__main__":
    sys.stdout.write(render_crd())
