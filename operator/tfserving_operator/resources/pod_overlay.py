"""``podTemplate`` of a pool, merged last over the template that the operator makes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tfserving_operator.api.pod_template import (
    OWNED_INIT_CONTAINERS,
    OWNED_POD_FIELDS,
    OWNED_SERVER_FIELDS,
    OWNED_VOLUMES,
    RESERVED_LABELS,
    RESERVED_PREFIX,
    PodTemplate,
)

Manifest = dict[str, Any]

_MERGE_KEYS: Mapping[str, str] = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "claims": "name",
}
"""Lists that core/v1 merges by key (``patchMergeKey`` in the Kubernetes API types); others are replaced."""


def overlay_problems(overlay: PodTemplate, *, pool: str) -> list[str]:
    """Say, in a sentence each, what ``overlay`` would break of what the operator owns; empty when it may be merged.

    Admission refuses all of this; a ServedModel from before a rule of today is caught here.
    """
    where = f"pools[{pool}].podTemplate"
    for kind in ("containers", "initContainers", "volumes"):
        if not _is_named_list(overlay.spec.get(kind, [])):
            return [f"{where}.spec.{kind} must be a list of objects that each have a name"]
    return [*_owned_fields(overlay, where), *_owned_names(overlay, where), *_reserved_labels(overlay, where)]


def _owned_fields(overlay: PodTemplate, where: str) -> list[str]:
    servers = [container for container in overlay.spec.get("containers", []) if container["name"] == "server"]
    return [
        *(f"{where}.spec.{field} belongs to the operator: remove it" for field in OWNED_POD_FIELDS & {*overlay.spec}),
        *(
            f"{where}.spec.containers[server].{field} belongs to the operator: use spec.server or remove it"
            for server in servers
            for field in OWNED_SERVER_FIELDS
            if field in server
        ),
    ]


def _owned_names(overlay: PodTemplate, where: str) -> list[str]:
    owned = {"initContainers": OWNED_INIT_CONTAINERS, "volumes": OWNED_VOLUMES}
    return [
        f"{where}.spec.{kind}[{item['name']}] is made by the operator: choose another name"
        for kind, pattern in owned.items()
        for item in overlay.spec.get(kind, [])
        if re.match(pattern, item["name"])
    ]


def _reserved_labels(overlay: PodTemplate, where: str) -> list[str]:
    return [
        f"{where}.metadata.labels[{label}] is reserved: remove it"
        for label in overlay.metadata.labels
        if label.startswith(RESERVED_PREFIX) or label in RESERVED_LABELS
    ]


def overlay_pod_template(template: Manifest, overlay: PodTemplate) -> Manifest:
    """Return ``template`` with ``overlay`` merged over it: maps key by key, named lists by name, the rest replaced."""
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
            merged.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _merge(merged[key], value)
        elif key in _MERGE_KEYS and isinstance(value, list) and isinstance(merged.get(key), list):
            merged[key] = _merge_lists(merged[key], value, _MERGE_KEYS[key])
        else:
            merged[key] = value
    return merged


def _merge_lists(base: Sequence[Any], overlay: Sequence[Any], merge_key: str) -> list[Any]:
    by_key = {item.get(merge_key): item for item in base}
    for item in overlay:
        key = item.get(merge_key)
        by_key[key] = _merge(by_key[key], item) if key in by_key else item
    return list(by_key.values())


def _is_named_list(items: Any) -> bool:
    return isinstance(items, list) and all(
        isinstance(item, Mapping) and isinstance(item.get("name"), str) for item in items
    )
