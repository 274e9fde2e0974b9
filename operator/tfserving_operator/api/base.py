"""What all API models share: camelCase on the wire, frozen in memory, Kubernetes schema extensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

INT64_MAX = 2**63 - 1

STATED_DEFAULT = "x-tfserving-stated-default"
"""Schema key for a default that the generated CRD states although it is an object; see ``stated_default``."""


class ApiModel(BaseModel):
    """A frozen model that reads and writes camelCase; unknown fields are dropped, as the API server does."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")


def map_list(*keys: str) -> dict[str, Any]:
    """Schema extension: a list merged by ``keys`` in server-side apply."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


def set_list() -> dict[str, Any]:
    """Schema extension: a list of unique scalars, merged in server-side apply."""
    return {"x-kubernetes-list-type": "set"}


def atomic_list() -> dict[str, Any]:
    """Schema extension: a list that is replaced as a whole."""
    return {"x-kubernetes-list-type": "atomic"}


def cel(rule: str, message: str, **more: Any) -> dict[str, Any]:
    """One CEL validation: ``message`` says what to write instead."""
    return {"rule": rule, "message": message, **more}


def validations(*rules: dict[str, Any]) -> dict[str, Any]:
    """Schema extension: the CEL rules of one level."""
    return {"x-kubernetes-validations": list(rules)}


def preserve_unknown() -> dict[str, Any]:
    """Schema extension: Kubernetes' own types, passed through and checked when the child is applied."""
    return {"x-kubernetes-preserve-unknown-fields": True}


def int_or_string(rule: dict[str, Any]) -> dict[str, Any]:
    """Schema extension: an integer or a string of at most 32 characters, as quantities and percentages are."""
    return {"x-kubernetes-int-or-string": True, "maxLength": 32, **validations(rule)}


def stated_default(value: dict[str, Any]) -> dict[str, Any]:
    """Schema extension: an object default that the CRD states.

    Object and list defaults are otherwise left out of the CRD: nobody owns what the API server fills in, so a
    later server-side apply that means to replace it ({latest: 1} by {specific: [3]}, the default pool by
    another) would be merged with it instead. State one only where merging is what everybody means.
    """
    return {STATED_DEFAULT: value}


def cel_list(words: Sequence[str]) -> str:
    """``words`` as a CEL list literal."""
    return "[" + ", ".join(f"'{word}'" for word in words) + "]"
