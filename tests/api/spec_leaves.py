"""The leaves of the spec's schema, and specs that are alike but for one of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # its stubs are a package of their own

from tests.api.crd_schema import FIELDS, ROOT, Schema

Spec = dict[str, Any]

_LEFT_OUT = object()
_TEXTS = {
    "start": ["10 12 * * *", "30 7 * * *"],
    "timeZone": ["Etc/UTC", "Europe/Berlin"],
    "uri": ["s3://bucket/one", "pvc://claim/two"],
    "latency": ["20ms", "500ms"],
}
"""Texts that mean something, by the field's name."""
_OTHER_TEXTS = ["one", "two", "1ms", "2ms", "1Gi", "2Gi", "example.com/one", "example.com/two"]


def _is_leaf(path: str, schema: Schema) -> bool:
    is_element = path.endswith(("[]", "{}"))
    return not is_element and "properties" not in schema and "properties" not in schema.get("items", {})


LEAVES = {path: schema for path, schema in FIELDS if path.startswith("spec.") and _is_leaf(path, schema)}
"""Every field of the spec that holds a value, by its path; lists of plain values and maps are values."""


def variants(spec: Spec, path: str) -> Iterator[list[Spec]]:
    """Specs that differ in ``path`` alone, for each place of it in ``spec`` (a path through a list has several).

    They are allowed by the schema, not always by the rules. What is above the leaf and lacks is added in all of them.
    """
    values = _values(path.rpartition(".")[2], LEAVES[path])
    by_value = [list(_placed(spec, ROOT["properties"]["spec"], path.split(".")[1:], value)) for value in values]
    for specs in zip(*by_value, strict=True):
        yield [changed for changed in specs if changed is not None]


def _placed(node: Spec, schema: Schema, steps: list[str], value: Any) -> Iterator[Spec | None]:
    """``node`` with ``value`` at the end of ``steps``, for each place; None where the value cannot be left out."""
    step, *rest = steps
    name = step.removesuffix("[]")
    child = schema["properties"][name]
    if not rest:
        yield _with_value(node, schema, name, value)
    elif step.endswith("[]"):
        items = node.get(name) or [_least(child["items"])]
        for index, item in enumerate(items):
            for changed in _placed(item, child["items"], rest, value):
                yield changed and {**node, name: [*items[:index], changed, *items[index + 1 :]]}
    else:
        for changed in _placed(node.get(name, _least(child)), child, rest, value):
            yield None if changed is None else {**node, name: changed}


def _with_value(node: Spec, schema: Schema, name: str, value: Any) -> Spec | None:
    if value is not _LEFT_OUT:
        return {**node, name: value}
    if name in schema.get("required", []):
        return None
    return {key: old for key, old in node.items() if key != name}


def _least(schema: Schema) -> Spec:
    """The smallest object that ``schema`` allows."""
    return {name: _least_value(name, schema["properties"][name]) for name in schema.get("required", [])}


def _least_value(name: str, schema: Schema) -> Any:
    return _least(schema) if "properties" in schema else _values(name, schema)[1]


def _values(name: str, schema: Schema) -> list[Any]:
    """Left out, and values far from each other (an enum may have one only)."""
    given = [value for value in _candidates(name, schema) if jsonschema.Draft4Validator(schema).is_valid(value)]
    assert given, f"no value for {name}"
    return [_LEFT_OUT, *given[:3]]


def _candidates(name: str, schema: Schema) -> list[Any]:
    if "enum" in schema:
        return list(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return [1, "2", "50%"]
    match schema["type"]:
        case "boolean":
            return [False, True]
        case "integer" | "number":
            return _numbers(schema)
        case "string":
            return [*_TEXTS.get(name, []), *_OTHER_TEXTS]
        case "array":
            return [[value] for value in _candidates(name, schema["items"])]
        case _:
            return _maps(schema)


def _numbers(schema: Schema) -> list[Any]:
    least = schema.get("minimum", 0) or (0.5 if schema["type"] == "number" else 0)
    most = schema.get("maximum", least + 100)
    middle = (least + most) / 2
    return [least, most, middle if schema["type"] == "number" else int(middle)]


def _maps(schema: Schema) -> list[Any]:
    inner = schema.get("additionalProperties")
    if inner is None:
        return [{"one": "1"}, {"two": "2"}]
    return [{"one": value} for value in _candidates("", inner)]
