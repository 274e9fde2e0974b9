"""From pydantic's JSON schema to the structural OpenAPI v3 schema that a CustomResourceDefinition wants."""

from __future__ import annotations

import inspect
from typing import Any

from tfserving_operator.api.base import INT64_MAX, STATED_DEFAULT, ApiModel, cel

Schema = dict[str, Any]

_INT32_MAX = 2**31 - 1
# Written first, in this order, so that a reader meets what a field is before how it is bounded.
_LEADING_KEYS = ("description", "type", "format", "default", "enum", "required", "properties")
# Words of JSON Schema that structural schemas do not know; what they say is carried over below.
_DROPPED_KEYS = frozenset({"title", "$defs", "$ref", "propertyNames", "patternProperties", "const"})


def structural_schema(model: type[ApiModel]) -> Schema:
    """Return the structural schema of ``model``: references inlined, no nulls, defaults only of scalars.

    An optional field is one that may be absent, never null. Defaults of objects and lists are left out unless
    they are marked by ``stated_default``.
    """
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return _structural(schema, schema.get("$defs", {}))


def _structural(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    merged = _inlined(schema, definitions)
    result = {key: value for key, value in merged.items() if key not in _DROPPED_KEYS}
    if "const" in merged:
        result["enum"] = [merged["const"]]
    if "description" in result:
        result["description"] = " ".join(inspect.cleandoc(result["description"]).split())
    if result.get("x-kubernetes-int-or-string"):
        # It says the same as "anyOf", which would double every error message.
        result.pop("anyOf", None)
    _convert_children(merged, result, definitions)
    _convert_default(result)
    _convert_number(result)
    return _ordered(result)


def _inlined(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """``schema`` with its reference and its "or null" merged in; what the field says wins over its type."""
    merged: Schema = dict(schema)
    if "$ref" in merged:
        merged = _merged(definitions[merged.pop("$ref").rpartition("/")[2]], merged)
        return _inlined(merged, definitions)
    alternatives = [option for option in merged.get("anyOf", []) if option.get("type") != "null"]
    if len(alternatives) == 1:
        del merged["anyOf"]
        return _inlined(_merged(alternatives[0], merged), definitions)
    if alternatives:
        merged["anyOf"] = alternatives
    return merged


def _merged(type_schema: Schema, field_schema: Schema) -> Schema:
    merged = {**type_schema, **field_schema}
    rules = "x-kubernetes-validations"
    if rules in type_schema and rules in field_schema:
        merged[rules] = [*type_schema[rules], *field_schema[rules]]
    return merged


def _convert_children(merged: Schema, result: Schema, definitions: dict[str, Schema]) -> None:
    if "properties" in merged:
        result["properties"] = {name: _structural(child, definitions) for name, child in merged["properties"].items()}
    if "items" in merged:
        result["items"] = _structural(merged["items"], definitions)
    # pydantic says "any property" as true; Kubernetes says it by preserving unknown fields.
    if merged.get("additionalProperties") is True:
        del result["additionalProperties"]
    elif isinstance(merged.get("additionalProperties"), dict):
        result["additionalProperties"] = _structural(merged["additionalProperties"], definitions)
    for pattern, child in merged.get("patternProperties", {}).items():
        result["additionalProperties"] = _structural(child, definitions)
        key_rule = cel(f"self.all(key, key.matches(r'{pattern}'))", f"keys must match {pattern}")
        result["x-kubernetes-validations"] = [*result.get("x-kubernetes-validations", []), key_rule]


def _convert_default(result: Schema) -> None:
    stated = result.pop(STATED_DEFAULT, None)
    if stated is not None:
        result["default"] = stated
    elif result.get("default") is None or isinstance(result["default"], dict | list):
        result.pop("default", None)


def _convert_number(result: Schema) -> None:
    # OpenAPI 3.0 has exclusive bounds as a flag beside the bound.
    for bound in ("Minimum", "Maximum"):
        if (limit := result.get(f"exclusive{bound}")) is not None:
            result[bound.lower()] = limit
            result[f"exclusive{bound}"] = True
    if result.get("type") == "integer":
        fits_int32 = result.get("maximum", INT64_MAX) <= _INT32_MAX
        # The format says these. The API server keeps bounds as float64 and would take rounded ones for none of int64.
        if result.get("maximum") == INT64_MAX:
            del result["maximum"]
        if result.get("minimum") == -INT64_MAX - 1:
            del result["minimum"]
        result["format"] = "int32" if fits_int32 else "int64"
    elif result.get("type") == "number":
        result["format"] = "double"


def _ordered(schema: Schema) -> Schema:
    leading = {key: schema[key] for key in _LEADING_KEYS if key in schema}
    return leading | {key: schema[key] for key in sorted(schema.keys() - leading.keys())}
