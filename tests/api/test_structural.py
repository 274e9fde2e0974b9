from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import ConfigDict, Field

from tfserving_operator.api.base import ApiModel, cel, stated_default, validations
from tfserving_operator.api.structural import structural_schema


class Colour(StrEnum):
    """A colour."""

    RED = "red"


class Inner(ApiModel):
    """An inner object,
    described on two lines.
    """

    model_config = ConfigDict(json_schema_extra=validations(cel("self.size > 0", "of the type")))

    size: int = 1


class Outer(ApiModel):
    """Every shape that the API uses."""

    title: str = Field(description="A field that is named like a word of JSON Schema.")
    inner: Inner
    described: Inner = Field(description="Said by the field.")
    ruled: Inner = Field(json_schema_extra=validations(cel("true", "of the field")))
    optional: Inner | None = None
    unsafe_default: Inner = Inner(size=2)
    safe_default: Inner = Field(default=Inner(), json_schema_extra=stated_default({"size": 3}))
    list_default: list[str] = Field(default=["a"])
    scalar_default: int = 0
    colour: Colour = Colour.RED
    always: Literal[True] = True
    share: Annotated[float, Field(gt=0, le=1)]
    small: Annotated[int, Field(ge=1, le=5)]
    large: int
    largest: Annotated[int, Field(ge=0, le=2**63 - 1)]
    keyed: dict[Annotated[str, Field(pattern="^k+$")], int]
    anything: dict[str, Any]
    many_words: str


FIELDS = structural_schema(Outer)["properties"]
INNER_FIELDS = {"size": {"type": "integer", "format": "int64", "default": 1}}
INNER_RULE = {"rule": "self.size > 0", "message": "of the type"}
INNER = {
    "description": "An inner object, described on two lines.",
    "type": "object",
    "properties": INNER_FIELDS,
    "x-kubernetes-validations": [INNER_RULE],
}


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        pytest.param("inner", INNER, id="references are inlined, docstrings on one line"),
        pytest.param("described", INNER | {"description": "Said by the field."}, id="the field's words win"),
        pytest.param(
            "ruled",
            INNER | {"x-kubernetes-validations": [INNER_RULE, {"rule": "true", "message": "of the field"}]},
            id="rules of type and field add up",
        ),
        pytest.param("optional", INNER, id="optional means absent, not null"),
        pytest.param("unsafeDefault", INNER, id="an object default is left out"),
        pytest.param("safeDefault", INNER | {"default": {"size": 3}}, id="an object default that is stated stays"),
        pytest.param("listDefault", {"type": "array", "items": {"type": "string"}}, id="a list default is left out"),
        pytest.param("scalarDefault", {"type": "integer", "format": "int64", "default": 0}, id="a zero default stays"),
        pytest.param(
            "colour",
            {"description": "A colour.", "type": "string", "default": "red", "enum": ["red"]},
            id="an enumeration with one member",
        ),
        pytest.param("always", {"type": "boolean", "default": True, "enum": [True]}, id="a constant"),
        pytest.param(
            "share",
            {"type": "number", "format": "double", "minimum": 0, "exclusiveMinimum": True, "maximum": 1},
            id="exclusive bounds are flags",
        ),
        pytest.param(
            "small", {"type": "integer", "format": "int32", "minimum": 1, "maximum": 5}, id="small numbers are int32"
        ),
        pytest.param("large", {"type": "integer", "format": "int64"}, id="unbounded numbers are int64"),
        pytest.param(
            "largest",
            {"type": "integer", "format": "int64", "minimum": 0},
            id="a bound that float64 rounds is left out",
        ),
        pytest.param(
            "keyed",
            {
                "type": "object",
                "additionalProperties": {"type": "integer", "format": "int64"},
                "x-kubernetes-validations": [
                    {"rule": "self.all(key, key.matches(r'^k+$'))", "message": "keys must match ^k+$"}
                ],
            },
            id="patterns of keys become rules",
        ),
        pytest.param("anything", {"type": "object"}, id="any object"),
        pytest.param("manyWords", {"type": "string"}, id="names are camelCase"),
        pytest.param(
            "title",
            {"description": "A field that is named like a word of JSON Schema.", "type": "string"},
            id="a field named title",
        ),
    ],
)
def test_a_field_becomes_structural(field: str, expected: dict[str, Any]) -> None:
    assert FIELDS[field] == expected


def test_fields_without_a_default_are_required() -> None:
    required = structural_schema(Outer)["required"]
    assert "inner" in required
    assert not {"optional", "scalarDefault", "unsafeDefault"} & set(required)
