"""What a ``podTemplate`` would break of what the operator owns, in words for its writer."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tfserving_operator.api.pod_template import RESERVED_LABELS, RESERVED_PREFIX, PodTemplate
from tfserving_operator.api.pod_template_schema import (
    OWNED_INIT_CONTAINERS,
    OWNED_POD_FIELDS,
    OWNED_RESOURCES,
    OWNED_SERVER_FIELDS,
    OWNED_VOLUMES,
    SERVER_MOUNT_POINTS,
    SERVER_MOUNT_TREES,
    SERVER_PORTS,
    WEAKENING_PROFILES,
    WEAKENING_SETTINGS,
)
from tfserving_operator.api.server import RESERVED_VARIABLES
from tfserving_operator.resources.pod_overlay import MERGE_KEYS
from tfserving_operator.resources.pod_template import SERVER_CONTAINER

Fields = Mapping[str, Any]


def overlay_problems(overlay: PodTemplate, *, pool: str) -> list[str]:
    """Say, in a sentence each, what ``overlay`` would break of what the operator owns; empty when it may be merged.

    Admission refuses all of this; a ServedModel from before a rule of today is caught here. A null counts as left
    out, as it does in the merge.
    """
    where = f"pools[{pool}].podTemplate"
    spec = f"{where}.spec"
    malformed = list(_malformed_lists(overlay.spec, spec))
    if malformed:
        return malformed
    return [
        *_owned_fields(overlay.spec, spec, OWNED_POD_FIELDS, "remove it"),
        *_weakened_security(overlay.spec, spec),
        *_container_problems(overlay.spec, spec),
        *_owned_names(overlay.spec, spec),
        *_reserved_metadata(overlay, where),
    ]


def _malformed_lists(fields: Fields, where: str) -> Iterator[str]:
    """Lists that cannot be merged by their key; those of containers once these are lists of containers."""
    malformed = [
        f"{where}.{field} must be a list of objects that each have a {key}"
        for field, (key, *_) in MERGE_KEYS.items()
        if fields.get(field) is not None and not _has_keys(fields[field], key)
    ]
    yield from malformed
    if not malformed:
        for container in fields.get("containers") or []:
            yield from _malformed_lists(container, f"{where}.containers[{container['name']}]")


def _has_keys(items: Any, key: str) -> bool:
    kind = int if key == "containerPort" else str
    return isinstance(items, list) and all(
        isinstance(item, Mapping) and isinstance(item.get(key), kind) for item in items
    )


def _owned_fields(fields: Fields, where: str, owned: Mapping[str, Any] | tuple[str, ...], advice: str) -> Iterator[str]:
    for field in owned:
        if fields.get(field) is not None:
            yield f"{where}.{field} belongs to the operator: {advice}"


def _container_problems(spec: Fields, where: str) -> Iterator[str]:
    for kind in ("containers", "initContainers"):
        for container in spec.get(kind) or []:
            path = f"{where}.{kind}[{container['name']}]"
            if container["name"] == SERVER_CONTAINER:
                yield from _server_problems(container, path)
            else:
                yield from _taken_ports(container, path)


def _server_problems(server: Fields, where: str) -> Iterator[str]:
    yield from _owned_fields(server, where, OWNED_SERVER_FIELDS, "use spec.server or remove it")
    yield from _owned_fields(_map(server, "resources"), f"{where}.resources", OWNED_RESOURCES, "use pools[].resources")
    yield from _weakened_security(server, where)
    if _map(server, "securityContext").get("capabilities") is not None:
        yield f"{where}.securityContext.capabilities belongs to the operator: remove it"
    for variable in server.get("env") or []:
        if variable["name"] in RESERVED_VARIABLES:
            yield f"{where}.env[{variable['name']}] is reserved: remove it"
    for mount in server.get("volumeMounts") or []:
        if _is_owned_mount(str(mount["mountPath"])):
            yield f"{where}.volumeMounts[{mount['mountPath']}] would cover what the operator mounts: mount it elsewhere"


def _taken_ports(container: Fields, where: str) -> Iterator[str]:
    for port in container.get("ports") or []:
        if port.get("containerPort") in SERVER_PORTS.values() or port.get("name") in SERVER_PORTS:
            taken = port.get("name", port["containerPort"])
            yield f"{where}.ports[{taken}] is the server's: choose another number and name"


def _is_owned_mount(mount_path: str) -> bool:
    path = posixpath.normpath("/" + mount_path.lstrip("/"))
    return path in SERVER_MOUNT_POINTS or any(f"{path}/".startswith(f"{tree}/") for tree in SERVER_MOUNT_TREES)


def _weakened_security(fields: Fields, where: str) -> Iterator[str]:
    context = _map(fields, "securityContext")
    weakened = [name for name, value in WEAKENING_SETTINGS.items() if context.get(name) == value]
    unconfined = [name for name in WEAKENING_PROFILES if _map(context, name).get("type") == "Unconfined"]
    for name in (*weakened, *unconfined):
        yield f"{where}.securityContext.{name} would take back what the operator secures: remove it"


def _owned_names(spec: Fields, where: str) -> list[str]:
    owned = {"initContainers": OWNED_INIT_CONTAINERS, "volumes": OWNED_VOLUMES}
    return [
        f"{where}.{kind}[{item['name']}] is made by the operator: choose another name"
        for kind, pattern in owned.items()
        for item in spec.get(kind) or []
        if re.match(pattern, item["name"])
    ]


def _reserved_metadata(overlay: PodTemplate, where: str) -> Iterator[str]:
    for label in overlay.metadata.labels:
        if label.startswith(RESERVED_PREFIX) or label in RESERVED_LABELS:
            yield f"{where}.metadata.labels[{label}] is reserved: remove it"
    for annotation in overlay.metadata.annotations:
        if annotation.startswith(RESERVED_PREFIX):
            yield f"{where}.metadata.annotations[{annotation}] is reserved: remove it"


def _map(fields: Fields, name: str) -> Fields:
    """The object below ``name``; empty without one (the API server refuses what is neither)."""
    value = fields.get(name)
    return value if isinstance(value, Mapping) else {}
