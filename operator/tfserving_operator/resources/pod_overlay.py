"""``podTemplate`` of a pool, merged last over the template that the operator makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfserving_operator.api.pool import PodTemplate

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

_OWNED_SERVER_FIELDS = (
    "command",
    "args",
    "image",
    "ports",
    "startupProbe",
    "readinessProbe",
    "livenessProbe",
    "lifecycle",
    "terminationMessagePolicy",
)
_OWNED_POD_FIELDS = ("restartPolicy", "terminationGracePeriodSeconds", "ephemeralContainers", "hostNetwork")
_OWNED_VOLUMES = frozenset({"tmp", "models-config", "server-config", "fetched-models", "tls", "tls-secret"})
_RESERVED_LABEL_PREFIX = "tfserving.dev/"


def overlay_problems(overlay: PodTemplate, *, pool: str) -> list[str]:
    """Say, in a sentence each, what ``overlay`` would break of what the operator owns; empty when it may be merged."""
    where = f"pools[{pool}].podTemplate"
    problems = [
        f"{where}.spec.{field} belongs to the operator: remove it"
        for field in _OWNED_POD_FIELDS
        if field in overlay.spec
    ]
    for kind in ("containers", "initContainers", "volumes"):
        if not _is_named_list(overlay.spec.get(kind, [])):
            problems.append(f"{where}.spec.{kind} must be a list of objects that each have a name")
            return problems
    for container in overlay.spec.get("containers", []):
        if container["name"] == "server":
            problems += [
                f"{where}.spec.containers[server].{field} belongs to the operator: use spec.server or remove it"
                for field in _OWNED_SERVER_FIELDS
                if field in container
            ]
    problems += [
        f"{where}.spec.initContainers[{container['name']}] is made by the operator: choose another name"
        for container in overlay.spec.get("initContainers", [])
        if container["name"].startswith(("fetch-", "check-")) or container["name"] == "render-tls"
    ]
    problems += [
        f"{where}.spec.volumes[{volume['name']}] is made by the operator: choose another name"
        for volume in overlay.spec.get("volumes", [])
        if volume["name"] in _OWNED_VOLUMES or volume["name"].startswith(("model-", "credentials-"))
    ]
    problems += [
        f"{where}.metadata.labels[{label}] is reserved: remove it"
        for label in overlay.metadata.labels
        if label.startswith(_RESERVED_LABEL_PREFIX) or label == "app.kubernetes.io/managed-by"
    ]
    return problems


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
