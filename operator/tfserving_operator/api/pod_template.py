"""``pools[].podTemplate``: what may be merged into the pods, and what the operator keeps for itself."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from tfserving_operator.api.base import ApiModel, cel, cel_list, validations
from tfserving_operator.api.pod_template_schema import pod_spec_schema

RESERVED_PREFIX = "tfserving.dev/"
RESERVED_LABELS = ("app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/name")

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


class PodTemplate(ApiModel):
    """A partial pod template, merged last: what this API did not foresee."""

    metadata: PodTemplateMetadata = Field(
        default_factory=PodTemplateMetadata, description="Further labels and annotations of the pods."
    )
    spec: dict[str, Any] = Field(
        default_factory=dict,
        description="Partial core/v1 PodSpec, merged by strategic-merge rules (lists by name); a null takes nothing "
        "away. Refused where it would change the server's command, ports, probes or model volumes, or grant it more.",
        json_schema_extra=pod_spec_schema(),
    )
