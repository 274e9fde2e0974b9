"""``podTemplate.spec`` as a schema: what must be seen of a PodSpec to be refused; all else passes through."""

from __future__ import annotations

from typing import Any

from tfserving_operator.api.base import cel, cel_list, map_list, preserve_unknown, validations
from tfserving_operator.api.server import RESERVED_VARIABLES, RESERVED_VARIABLES_MESSAGE

Schema = dict[str, Any]

SERVER_PORTS = {"rest": 8501, "grpc": 8500}
"""Ports of the server by their names: no other container of the pod may have one of either."""
SERVER_MOUNT_TREES = ("/etc/tfserving", "/models")
"""Directories in which the operator mounts the server's files: nothing else is mounted there or below."""
SERVER_BINARY = "/usr/bin/tensorflow_model_server"
SERVER_MOUNT_POINTS = (
    *("/", "/etc", "/tmp"),  # noqa: S108 - paths inside the container
    *("/bin", "/bin/bash", "/usr", "/usr/bin", "/usr/bin/bash", SERVER_BINARY),
)
"""What lies above those, the volume for temporary files, and what is run: nothing else is mounted just there."""
OWNED_SERVER_FIELDS = (
    "args",
    "command",
    "image",
    "lifecycle",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "restartPolicy",
    "startupProbe",
    "terminationMessagePolicy",
)
"""What podTemplate may not set in the container named server."""
OWNED_RESOURCES = ("limits", "requests")
"""What podTemplate may not set in the server's resources: its threads follow the limit that the pool gives."""
OWNED_INIT_CONTAINERS = r"^(server|fetch-.*|check-.*|render-tls)$"
OWNED_VOLUMES = r"^(tmp|models-config|server-config|fetched-models|tls|tls-secret|model-.*|credentials-.*)$"

WEAKENING_SETTINGS: dict[str, bool | int | str] = {
    "allowPrivilegeEscalation": True,
    "privileged": True,
    "procMount": "Unmasked",
    "readOnlyRootFilesystem": False,
    "runAsNonRoot": False,
    "runAsUser": 0,
}
"""Values in a securityContext that would leave Pod Security's restricted level or the read-only root."""
WEAKENING_PROFILES = ("appArmorProfile", "seccompProfile")
"""Profiles in a securityContext that must not be Unconfined."""

OWNED_POD_FIELDS = {
    "hostNetwork": ("boolean", "two replicas on one node would fight for its ports: remove it"),
    "hostPID": ("boolean", "draining relies on the server being process 1: remove it"),
    "hostIPC": ("boolean", "replicas share nothing with the node: remove it"),
    "shareProcessNamespace": ("boolean", "draining relies on the server being process 1: remove it"),
    "restartPolicy": ("string", "a replica is always restarted: remove it"),
    "terminationGracePeriodSeconds": ("integer", "it follows from the drain: set server.drainSeconds"),
    "activeDeadlineSeconds": ("integer", "a replica runs until it is replaced: remove it"),
    "serviceAccountName": ("string", "set server.serviceAccountName"),
    "serviceAccount": ("string", "set server.serviceAccountName"),
    "automountServiceAccountToken": (
        "boolean",
        "the server gets no token: remove it, and mount a projected volume into the sidecar that needs one",
    ),
    "nodeName": ("string", "it bypasses the scheduler: set scheduling.nodeSelector"),
    "schedulingGates": ("array", "autoscaling waits for its replicas to be scheduled: remove it"),
    "readinessGates": ("array", "a replica is ready once its server answers for every model: remove it"),
    "ephemeralContainers": ("array", "debug a pod with kubectl debug"),
}
"""Fields of a PodSpec that belong to the operator: their type, and what to do instead."""


def pod_spec_schema() -> Schema:
    """The parts of a PodSpec that must be seen to be refused; all others pass through."""
    return {
        **preserve_unknown(),
        "properties": {
            **{name: _owned_field(kind) for name, (kind, _) in OWNED_POD_FIELDS.items()},
            "securityContext": _security_context() | validations(_pod_security_rule()),
            "containers": _keyed_items(
                "Containers: server, or a sidecar's name.", "name", _container_properties(), *_container_rules()
            ),
            "initContainers": _keyed_items(
                "Further init containers.", "name", {"ports": _ports("As in core/v1.")}, _port_rule()
            ),
            "volumes": _keyed_items("Further volumes.", "name", {}),
        },
        **validations(
            *(
                cel(f"!has(self.{name})", f"podTemplate.spec.{name} belongs to the operator: {advice}")
                for name, (_, advice) in OWNED_POD_FIELDS.items()
            ),
            *_name_rules(),
        ),
    }


def _name_rules() -> list[Schema]:
    given = " || ".join(f"has(c.{name})" for name in OWNED_SERVER_FIELDS)
    return [
        cel(
            f"!has(self.containers) || !self.containers.exists(c, c.name == 'server' && ({given}))",
            f"{', '.join(OWNED_SERVER_FIELDS)} of the container server belong to the operator: use spec.server, "
            "or give a sidecar another name",
        ),
        cel(
            f"!has(self.initContainers) || !self.initContainers.exists(c, c.name.matches('{OWNED_INIT_CONTAINERS}'))",
            "containers server, fetch-*, check-* and render-tls are the operator's: choose another name for the init "
            "container",
        ),
        cel(
            f"!has(self.volumes) || !self.volumes.exists(v, v.name.matches('{OWNED_VOLUMES}'))",
            "volumes tmp, models-config, server-config, fetched-models, tls, tls-secret, model-* and credentials-* "
            "are the operator's: choose another name",
        ),
    ]


def _container_rules() -> list[Schema]:
    """What is refused in the container server, field by field, and the ports that only it may have."""
    resources = " || ".join(f"has(self.resources.{name})" for name in OWNED_RESOURCES)
    weakened = f"has(self.securityContext.capabilities) || {_is_weakened('self.securityContext')}"
    return [
        _server_rule(
            "volumeMounts",
            f"self.volumeMounts.exists(m, {_is_owned_mount('m.mountPath')})",
            "/models, /etc/tfserving, /tmp, what is run of /usr/bin, and what is above them in the container server "
            "belong to the operator: mount it elsewhere, by an absolute path without dots and double slashes",
        ),
        _server_rule(
            "env", f"self.env.exists(e, e.name in {cel_list(RESERVED_VARIABLES)})", RESERVED_VARIABLES_MESSAGE
        ),
        _server_rule(
            "resources",
            resources,
            "limits and requests of the container server belong to the operator: use pools[].resources",
        ),
        _server_rule(
            "securityContext",
            weakened,
            "the container server keeps Pod Security's restricted level and a read-only root: remove capabilities, "
            "and what grants privileges, root, Unconfined or a writable root",
        ),
        _port_rule(),
    ]


def _server_rule(field: str, refused: str, message: str) -> Schema:
    """A rule on a container: ``refused`` must not hold of ``field`` of the one named server."""
    rule = f"self.name != 'server' || !has(self.{field}) || !({refused})"
    return cel(rule, message, fieldPath=f".{field}")


def _port_rule() -> Schema:
    numbers = "[" + ", ".join(str(port) for port in SERVER_PORTS.values()) + "]"
    return cel(
        f"self.name == 'server' || !has(self.ports) || !self.ports.exists(p, "
        f"(has(p.containerPort) && p.containerPort in {numbers}) "
        f"|| (has(p.name) && p.name in {cel_list(tuple(SERVER_PORTS))}))",
        "ports 8501 (rest) and 8500 (grpc) of a pod are the server's: choose another number and name",
        fieldPath=".ports",
    )


def _is_owned_mount(path: str) -> str:
    """CEL: whether a mount at ``path`` would cover one of ours, or is written so that it cannot be told."""
    return " || ".join(
        [
            *(f"({path} + '/').startsWith('{tree}/')" for tree in SERVER_MOUNT_TREES),
            f"{path} in {cel_list([*SERVER_MOUNT_POINTS, *(f'{point}/' for point in SERVER_MOUNT_POINTS)])}",
            f"!{path}.startsWith('/')",
            f"{path}.contains('//')",
            *(f"({path} + '/').contains('{step}')" for step in ("/./", "/../")),
        ]
    )


def _pod_security_rule() -> Schema:
    return cel(
        f"!({_is_weakened('self')})",
        "model pods keep Pod Security's restricted level: remove what grants root or Unconfined (a sidecar may have "
        "a securityContext of its own)",
    )


def _is_weakened(context: str) -> str:
    """CEL: whether the securityContext at ``context`` takes back what the operator's own gives."""
    settings = {name: _cel_literal(value) for name, value in WEAKENING_SETTINGS.items()}
    return " || ".join(
        [
            *(f"(has({context}.{name}) && {context}.{name} == {value})" for name, value in settings.items()),
            *(
                f"(has({context}.{name}) && has({context}.{name}.type) && {context}.{name}.type == 'Unconfined')"
                for name in WEAKENING_PROFILES
            ),
        ]
    )


def _cel_literal(value: bool | int | str) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value).lower()


def _owned_field(kind: str) -> Schema:
    described = {"description": "Belongs to the operator: refused.", "type": kind}
    if kind == "string":
        return described | {"maxLength": 253}
    if kind == "integer":
        return described | {"format": "int64", "minimum": 0}
    if kind == "array":
        return _atomic(described["description"], _any_object("An item."), 16)
    return described


def _any_object(description: str) -> Schema:
    return {"description": description, "type": "object", **preserve_unknown()}


def _atomic(description: str, items: Schema, most: int) -> Schema:
    return {
        "description": description,
        "type": "array",
        "maxItems": most,
        "items": items,
        "x-kubernetes-list-type": "atomic",
    }


def _keyed_items(
    description: str, key: str, properties: Schema, *rules: Schema, most: int = 32, key_length: int = 63
) -> Schema:
    """A list of objects that is merged by ``key``, as core/v1 does it."""
    key_schema = {"description": f"Its {key}.", "type": "string", "minLength": 1, "maxLength": key_length}
    return {
        "description": description,
        "type": "array",
        "maxItems": most,
        "items": {
            **_any_object(f"As in core/v1, merged by {key}."),
            "required": [key],
            "properties": {key: key_schema, **properties},
            **(validations(*rules) if rules else {}),
        },
        **map_list(key),
    }


def _container_properties() -> Schema:
    owned = "As in core/v1; refused for the container server."
    words = _atomic(owned, {"type": "string", "maxLength": 65_536}, 256)
    typed: dict[str, Schema] = {
        "command": words,
        "args": words,
        "ports": _ports(owned),
        **_texts(owned, {"image": 512, "restartPolicy": 64, "terminationMessagePolicy": 64}),
    }
    resources = {name: _any_object("As in core/v1; refused for the container server.") for name in OWNED_RESOURCES}
    return {
        **{name: typed.get(name, _any_object(owned)) for name in OWNED_SERVER_FIELDS},
        "env": _keyed_items("Environment, merged by name.", "name", {}, most=128, key_length=256),
        "volumeMounts": _keyed_items("Mounts, merged by mountPath.", "mountPath", {}, key_length=256),
        "resources": _any_object("As in core/v1; limits and requests are refused for the container server.")
        | {"properties": resources},
        "securityContext": _security_context(),
    }


def _texts(description: str, lengths: dict[str, int]) -> dict[str, Schema]:
    return {
        name: {"description": description, "type": "string", "maxLength": length} for name, length in lengths.items()
    }


def _ports(description: str) -> Schema:
    port = _any_object("A port.") | {
        "properties": {
            "name": {"description": "Its name.", "type": "string", "maxLength": 63},
            "containerPort": {
                "description": "Its number.",
                "type": "integer",
                "format": "int32",
                "minimum": 1,
                "maximum": 65_535,
            },
        }
    }
    return _atomic(description, port, 64)


def _security_context() -> Schema:
    """A securityContext; pods and containers share the fields that are looked at."""
    types: dict[type, Schema] = {
        bool: {"type": "boolean"},
        int: {"type": "integer", "format": "int64", "minimum": 0},
        str: {"type": "string", "maxLength": 64},
    }
    properties: dict[str, Schema] = {
        **{name: {"description": "As in core/v1.", **types[type(value)]} for name, value in WEAKENING_SETTINGS.items()},
        **{name: _profile() for name in WEAKENING_PROFILES},
        "capabilities": _any_object("As in core/v1."),
    }
    return _any_object("As in core/v1; refused where it would weaken the operator's own.") | {"properties": properties}


def _profile() -> Schema:
    kind = {"description": "Its type.", "type": "string", "maxLength": 64}
    return _any_object("As in core/v1.") | {"properties": {"type": kind}}
