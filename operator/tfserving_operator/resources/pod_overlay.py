"""``podTemplate`` of a pool, merged last over the template that the operator makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfserving_operator.api.pod_template import PodTemplate

Manifest = dict[str, Any]

MERGE_KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "ports": ("containerPort",),
    "imagePullSecrets": ("name",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "resourceClaims": ("name",),
    "schedulingGates": ("name",),
    "claims": ("name",),
}
"""Lists that core/v1 merges by keys (``listMapKey`` in the Kubernetes API types); others are replaced."""

_REPLACED_ITEMS = frozenset({"env"})
"""Lists whose items are replaced as a whole: a variable has a value or a valueFrom, never both."""


def overlay_pod_template(template: Manifest, overlay: PodTemplate) -> Manifest:
    """Return ``template`` with ``overlay`` merged over it: maps key by key, named lists by name, the rest replaced.

    A null takes nothing away: it counts as left out, as it does in the rest of the API. Otherwise it could take away
    the operator's volumes or security context.
    """
    metadata = template["metadata"]
    return {
        "metadata": {
            "labels": {**overlay.metadata.labels, **metadata["labels"]},
            "annotations": {**metadata["annotations"], **overlay.metadata.annotations},
        },
        "spec": _merge(template["spec"], overlay.spec),
    }


def _merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> Manifest:
    merged = dict(base)
    for key, value in overlay.items():
        if value is None:
            continue
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _merge(merged[key], value)
        elif key in MERGE_KEYS and isinstance(value, list) and isinstance(merged.get(key), list):
            merged[key] = _merge_lists(merged[key], value, key)
        else:
            merged[key] = value
    return merged


def _merge_lists(base: Sequence[Any], overlay: Sequence[Any], field: str) -> list[Any]:
    def identity(item: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(item.get(key) for key in MERGE_KEYS[field])

    by_identity = {identity(item): item for item in base}
    for item in overlay:
        own = by_identity.get(identity(item))
        by_identity[identity(item)] = item if own is None or field in _REPLACED_ITEMS else _merge(own, item)
    return list(by_identity.values())
