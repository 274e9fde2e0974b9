"""``pools[].podTemplate``: what may be merged into the pods, and what the operator keeps for itself."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from tfserving_operator.api.base import ApiModel, cel, cel_list, map_list, preserve_unknown, validations

RESERVED_PREFIX = "tfserving.dev/"
RESERVED_LABELS = ("app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/name")
OWNED_SERVER_FIELDS = (
    "args",
    "command",
    "image",
    "lifecycle",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "startupProbe",
    "terminationMessagePolicy",
)
"""What podTemplate may not set in the container named server."""
OWNED_INIT_CONTAINERS = r"^(fetch-.*|check-.*|render-tls)$"
OWNED_VOLUMES = r"^(tmp|models-config|server-config|fetched-models|tls|tls-secret|model-.*|credentials-.*)$"

_OWNED_POD_FIELDS = {
    "hostNetwork": ("boolean", "two replicas on one node would fight for its ports: remove it"),
    "hostPID": ("boolean", "draining relies on the server being process 1: remove it"),
    "hostIPC": ("boolean", "replicas share nothing with the node: remove it"),
    "shareProcessNamespace": ("boolean", "draining relies on the server being process 1: remove it"),
    "restartPolicy": ("string", "a replica is always restarted: remove it"),
    "terminationGracePeriodSeconds": ("integer", "it follows from the drain: set server.drainSeconds"),
    "serviceAccountName": ("string", "set server.serviceAccountName"),
    "serviceAccount": ("string", "set server.serviceAccountName"),
    "nodeName": ("string", "it bypasses the scheduler: set scheduling.nodeSelector"),
    "ephemeralContainers": ("array", "debug a pod with kubectl debug"),
}
"""Fields of a PodSpec that belong to the operator: their type, and what to do instead."""
OWNED_POD_FIELDS = frozenset(_OWNED_POD_FIELDS)

LabelValue = Annotated[str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")]
StringMap = Annotated[dict[Annotated[str, Field(max_length=317)], LabelValue], Field(max_length=64)]
AnnotationMap = Annotated[
    dict[Annotated[str, Field(max_length=317)], Annotated[str, Field(max_length=16_384)]], Field(max_length=64)
]


def reserved_label_rules() -> dict[str, Any]:
    """Schema extension: labels that the operator selects by are its own."""
    return validations(
        cel(
            f"self.all(key, !key.startsWith('{RESERVED_PREFIX}') && !(key in {cel_list(RESERVED_LABELS)}))",
            f"labels {RESERVED_PREFIX}*, {', '.join(RESERVED_LABELS)} belong to the operator: use another prefix",
        )
    )


def reserved_annotation_rules() -> dict[str, Any]:
    """Schema extension: annotations that the operator compares by are its own."""
    return validations(
        cel(
            f"self.all(key, !key.startsWith('{RESERVED_PREFIX}'))",
            f"annotations {RESERVED_PREFIX}* belong to the operator: use another prefix",
        )
    )


class PodTemplateMetadata(ApiModel):
    """Labels and annotations of the pods."""

    labels: StringMap = Field(
        default_factory=dict, description="Labels put on the pods.", json_schema_extra=reserved_label_rules()
    )
    annotations: AnnotationMap = Field(
        default_factory=dict,
        description="Annotations put on the pods.",
        json_schema_extra=reserved_annotation_rules(),
    )


def _pod_spec_schema() -> dict[str, Any]:
    """The parts of a PodSpec that must be seen to be refused; all others pass through."""
    return {
        **preserve_unknown(),
        "properties": {
            **{name: _owned_field(kind) for name, (kind, _) in _OWNED_POD_FIELDS.items()},
            "containers": _named_items("Containers: server, or a sidecar's name.", _container_properties()),
            "initContainers": _named_items("Further init containers.", {}),
            "volumes": _named_items("Further volumes.", {}),
        },
        **validations(
            *(
                cel(f"!has(self.{name})", f"podTemplate.spec.{name} belongs to the operator: {advice}")
                for name, (_, advice) in _OWNED_POD_FIELDS.items()
            ),
            *_container_rules(),
        ),
    }


def _container_rules() -> list[dict[str, Any]]:
    given = " || ".join(f"has(c.{name})" for name in OWNED_SERVER_FIELDS)
    return [
        cel(
            f"!has(self.containers) || !self.containers.exists(c, c.name == 'server' && ({given}))",
            f"{', '.join(OWNED_SERVER_FIELDS)} of the container server belong to the operator: use spec.server, "
            "or give a sidecar another name",
        ),
        cel(
            f"!has(self.initContainers) || !self.initContainers.exists(c, c.name.matches('{OWNED_INIT_CONTAINERS}'))",
            "init containers fetch-*, check-* and render-tls are the operator's: choose another name",
        ),
        cel(
            f"!has(self.volumes) || !self.volumes.exists(v, v.name.matches('{OWNED_VOLUMES}'))",
            "volumes tmp, models-config, server-config, fetched-models, tls, tls-secret, model-* and credentials-* "
            "are the operator's: choose another name",
        ),
    ]


def _owned_field(kind: str) -> dict[str, Any]:
    described = {"description": "Belongs to the operator: refused.", "type": kind}
    if kind == "string":
        return described | {"maxLength": 253}
    if kind == "integer":
        return described | {"format": "int64", "minimum": 0}
    if kind == "array":
        return described | {"maxItems": 16, "items": _any_object("An item."), "x-kubernetes-list-type": "atomic"}
    return described


def _any_object(description: str) -> dict[str, Any]:
    return {"description": description, "type": "object", **preserve_unknown()}


def _named_items(description: str, properties: dict[str, Any]) -> dict[str, Any]:
    name = {"description": "Its name.", "type": "string", "minLength": 1, "maxLength": 63}
    return {
        "description": description,
        "type": "array",
        "maxItems": 32,
        "items": {
            **_any_object("As in core/v1, merged by name."),
            "required": ["name"],
            "properties": {"name": name, **properties},
        },
        **map_list("name"),
    }


def _container_properties() -> dict[str, Any]:
    words = {
        "type": "array",
        "maxItems": 256,
        "items": {"type": "string", "maxLength": 65_536},
        "x-kubernetes-list-type": "atomic",
    }
    ports = {
        "type": "array",
        "maxItems": 64,
        "items": _any_object("A port."),
        "x-kubernetes-list-type": "atomic",
    }
    texts = {"image": 512, "terminationMessagePolicy": 64}
    typed: dict[str, dict[str, Any]] = {
        "command": words,
        "args": words,
        "ports": ports,
        **{name: {"type": "string", "maxLength": length} for name, length in texts.items()},
    }
    return {
        name: {
            "description": "As in core/v1; refused for the container server.",
            **typed.get(name, {"type": "object", **preserve_unknown()}),
        }
        for name in OWNED_SERVER_FIELDS
    }


class PodTemplate(ApiModel):
    """A partial pod template, merged last: what this API did not foresee."""

    metadata: PodTemplateMetadata = Field(
        default_factory=PodTemplateMetadata, description="Further labels and annotations of the pods."
    )
    spec: dict[str, Any] = Field(
        default_factory=dict,
        description="Partial core/v1 PodSpec, merged by strategic-merge rules (lists by name). "
        "Refused where it would change the server's command, ports, probes or model volumes.",
        json_schema_extra=_pod_spec_schema(),
    )
