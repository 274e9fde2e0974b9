"""The generated CRD, walked and turned into strategies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from tfserving_operator.api.crd import build_crd

Schema = dict[str, Any]
CRD = build_crd()
ROOT: Schema = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def walk(path: str, schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Every schema at and below ``path``."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from walk(f"{path}.{name}", child)
    if "items" in schema:
        yield from walk(f"{path}[]", schema["items"])
    if "additionalProperties" in schema:
        yield from walk(f"{path}{{}}", schema["additionalProperties"])


FIELDS = [field for part in ("spec", "status") for field in walk(part, ROOT["properties"][part])]


def values(schema: Schema) -> st.SearchStrategy[Any]:
    """Values that ``schema`` allows (rules in CEL aside), with every optional field there or not."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return st.integers(0, 100) | st.sampled_from(["1", "25%", "8Gi"])
    match schema["type"]:
        case "object":
            return _objects(schema)
        case "array":
            unique = {"set": lambda item: item, "map": _map_key(schema)}.get(schema["x-kubernetes-list-type"])
            most = min(schema["maxItems"], 3)
            return st.lists(
                values(schema["items"]), min_size=schema.get("minItems", 0), max_size=most, unique_by=unique
            )
        case "integer":
            return st.integers(schema.get("minimum", -(2**63)), schema.get("maximum", 2**63 - 1))
        case "number":
            return st.floats(schema.get("minimum") or 0.001, schema["maximum"])
        case "boolean":
            return st.booleans()
        case _:
            return _texts(schema)


def _map_key(schema: Schema) -> Any:
    keys = schema.get("x-kubernetes-list-map-keys", [])
    return lambda item: tuple(item[key] for key in keys)


def _texts(schema: Schema) -> st.SearchStrategy[str]:
    if schema.get("format") == "date-time":
        return st.just("2026-01-01T00:00:00Z")
    least, most = schema.get("minLength", 0), schema["maxLength"]
    if "pattern" in schema:
        # In Python, unlike in JSON, "$" also stands before a line's end; a full match needs none.
        pattern = schema["pattern"].removesuffix("$")
        return st.from_regex(pattern, fullmatch=True).filter(lambda text: least <= len(text) <= most)
    return st.text(st.characters(exclude_categories=["Cs"]), min_size=least, max_size=min(most, 40))


def _objects(schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
    if "additionalProperties" in schema:
        return st.dictionaries(
            st.from_regex("[a-z_]{1,9}", fullmatch=True), values(schema["additionalProperties"]), max_size=3
        )
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return st.fixed_dictionaries({}, optional={"hostAliases": st.just([]), "dnsPolicy": st.just("Default")})
    fields = {name: values(child) for name, child in schema["properties"].items()}
    required = {name: fields.pop(name) for name in schema.get("required", [])}
    return st.fixed_dictionaries(required, optional=fields)
