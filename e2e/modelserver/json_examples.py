"""Reads the examples of classify and regress requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from e2e.modelserver.json_requests import as_double, debug_text, decode_base64, invalid, is_base64, json_type
from e2e.modelserver.wire import serving_pb2 as pb
from e2e.modelserver.wire import tensors_pb2

INT64_LIMIT = 1 << 63
UINT64_LIMIT = 1 << 64


def example_inputs(document: Mapping[str, Any]) -> pb.Input:
    """Return the examples of a classify or regress request's ``document``."""
    examples = pb.Input()
    target = examples.example_list
    if "context" in document:
        with_context = examples.example_list_with_context
        _fill_example(document["context"], with_context.context)
        with_context.SetInParent()
    if "examples" not in document:
        raise invalid(
            f"JSON Value: {debug_text(document)} When method is classify, key 'examples' is expected and was not found"
        )
    listed = document["examples"]
    if not isinstance(listed, list):
        raise invalid(f"JSON Value: {debug_text(document)} Expecting 'examples' value to be an list/array")
    if not listed:
        raise invalid(f"JSON Value: {debug_text(document)} 'examples' value is an empty array")
    added = examples.example_list_with_context.examples if "context" in document else target.examples
    for example in listed:
        _fill_example(example, added.add())
    return examples


def _fill_example(value: Any, example: tensors_pb2.Example) -> None:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {json_type(value)}")
    for name, content in value.items():
        feature = example.features.feature[name]
        feature.SetInParent()
        for item in content if isinstance(content, list) else [content]:
            _add_to_feature(item, name, feature)


def _add_to_feature(value: Any, name: str, feature: tensors_pb2.Feature) -> None:
    if isinstance(value, bool):
        _of_kind(feature, name, "int64_list").int64_list.value.append(int(value))
    elif isinstance(value, str):
        _of_kind(feature, name, "bytes_list").bytes_list.value.append(value.encode())
    elif is_base64(value):
        _of_kind(feature, name, "bytes_list").bytes_list.value.append(decode_base64(value))
    elif isinstance(value, float) or _is_too_large_for_integers(value):
        _of_kind(feature, name, "float_list").float_list.value.append(as_double(value))
    elif isinstance(value, int):
        if value >= INT64_LIMIT:
            raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        _of_kind(feature, name, "int64_list").int64_list.value.append(value)
    else:
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {json_type(value)}")


def _is_too_large_for_integers(value: Any) -> bool:
    """Tell whether ``value`` is a whole number that JSON readers with integers of 64 bits take for a double."""
    return isinstance(value, int) and not -INT64_LIMIT <= value < UINT64_LIMIT


def _of_kind(feature: tensors_pb2.Feature, name: str, kind: str) -> tensors_pb2.Feature:
    current = feature.WhichOneof("kind")
    if current not in (None, kind):
        raise invalid(
            f"Unexpected element type in feature: {name} expecting type: {str(current).removesuffix('_list')}"
        )
    return feature
