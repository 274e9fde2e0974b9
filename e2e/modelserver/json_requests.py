"""Reads REST bodies: tensors in row (`instances`) and columnar (`inputs`) form, and examples."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from e2e.modelserver.statuses import Code, StatusError
from e2e.modelserver.tensors import Scalar, Tensor, dtype_name, make_tensor, narrowed
from e2e.modelserver.wire import tensors_pb2

INTEGER_LIMITS: dict[int, tuple[int, int]] = {
    tensors_pb2.DT_INT64: (-(1 << 63), (1 << 63) - 1),
    tensors_pb2.DT_UINT32: (0, (1 << 32) - 1),
    tensors_pb2.DT_UINT64: (0, (1 << 64) - 1),
    # Narrow types are read as 32 bits; what does not fit is cut off later.
    tensors_pb2.DT_INT32: (-(1 << 31), (1 << 31) - 1),
    tensors_pb2.DT_INT16: (-(1 << 31), (1 << 31) - 1),
    tensors_pb2.DT_INT8: (-(1 << 31), (1 << 31) - 1),
    tensors_pb2.DT_UINT8: (-(1 << 31), (1 << 31) - 1),
}
MOST_DEBUG_CHARACTERS = 256
NUMBER_TOO_BIG = "JSON Parse error: Number too big to be stored in double."
SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")

Inputs = Mapping[str, tensors_pb2.TensorInfo]


class Format(Enum):
    """How a predict request, and so its answer, lists tensors."""

    ROW = "instances"
    COLUMNAR = "inputs"


def parse_body(body: bytes) -> dict[str, Any]:
    """Return the JSON object in ``body``."""
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        # What follows the first value is not looked at.
        text = body.decode("utf-8")
        document, _ = json.JSONDecoder().raw_decode(text.lstrip())
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: Invalid value. at offset: {error.pos}") from error
    except UnicodeDecodeError as error:
        raise invalid(f"JSON Parse error: Invalid value. at offset: {error.start}") from error
    except ValueError as error:
        # Thousands of digits, which Python refuses to read.
        raise invalid(NUMBER_TOO_BIG) from error
    if SURROGATE_ESCAPE.search(text):
        _check_surrogates(document)
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {debug_text(document)} Is not object")
    return document


def _check_surrogates(document: Any) -> None:
    """Raise StatusError for half a surrogate pair, which Python's reader lets pass and no UTF-8 can hold."""
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise invalid("JSON Parse error: The surrogate pair in string is invalid.") from error


def signature_name(document: Mapping[str, Any]) -> str:
    """Return the signature asked for, empty for the default."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {debug_text(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def predict_inputs(document: Mapping[str, Any], infos: Inputs) -> tuple[dict[str, Tensor], Format]:
    """Return the tensors in a predict request's ``document`` by alias, and its format."""
    if not infos:
        raise invalid(f"Failed to get input map for signature: {signature_name(document) or 'DEFAULT'}")
    has_rows, has_columns = "instances" in document, "inputs" in document
    if has_rows and has_columns:
        raise invalid(
            f"JSON Value: {debug_text(document)} Not formatted correctly expecting only one of 'inputs' or "
            "'instances' keys to exist "
        )
    if has_rows:
        return _row_inputs(document, infos), Format.ROW
    if has_columns:
        return _columnar_inputs(document["inputs"], infos), Format.COLUMNAR
    raise invalid("Missing 'inputs' or 'instances' key")


def _row_inputs(document: Mapping[str, Any], infos: Inputs) -> dict[str, Tensor]:
    instances = document["instances"]
    if not isinstance(instances, list):
        raise invalid(f"JSON Value: {debug_text(document)} Expecting 'instances' to be an list/array")
    if not instances:
        raise invalid(f"JSON Value: {debug_text(document)} No values in 'instances' array")
    if not isinstance(instances[0], dict) and len(infos) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required "
            "as per tensorinfo_map"
        )
    are_objects = _is_object(instances[0])
    columns: dict[str, _Rows] = {}
    for position, element in enumerate(instances):
        if are_objects != _is_object(element):
            expected, got = ("object", "list") if are_objects else ("value/list", "object")
            raise invalid(f"Expecting {expected} but got {got} at item {position} of input list")
        if not are_objects:
            _add_row(columns, next(iter(sorted(infos))), element, infos, f"element: {position}")
            continue
        for name, value in element.items():
            _add_row(columns, name, value, infos, f"element: {position} key: {name}")
        if set(element) != set(infos):
            raise invalid(
                f"Failed to process element: {position} of 'instances' list. JSON object: "
                f"{debug_text(element)} keys must be equal to: {','.join(sorted(infos))}"
            )
    return {name: rows.tensor(len(instances)) for name, rows in columns.items()}


@dataclass
class _Rows:
    """The values of one input, row after row; all rows have one shape."""

    dtype: int
    shape: tuple[int, ...]
    values: list[Scalar] = field(default_factory=list)

    def tensor(self, count: int) -> Tensor:
        return make_tensor(self.dtype, (count, *self.shape), self.values)


def _add_row(columns: dict[str, _Rows], name: str, value: Any, infos: Inputs, place: str) -> None:
    try:
        if name not in infos:
            raise invalid(f"JSON object: does not have named input: {name}")
        shape = _shape_of(value)
        rows = columns.setdefault(name, _Rows(int(infos[name].dtype), shape))
        added: list[Scalar] = []
        _collect(value, 0, shape, rows.dtype, added)
        if len(added) != math.prod(rows.shape):
            raise invalid(f"Expecting tensor size: {math.prod(rows.shape)} but got: {len(added)}")
        if shape != rows.shape:
            raise invalid(f"Expecting shape {_shape_text(rows.shape)} but got: {_shape_text(shape)}")
        rows.values += added
    except StatusError as error:
        raise invalid(f"Failed to process {place} of 'instances' list. Error: {error.status}") from error


def _columnar_inputs(value: Any, infos: Inputs) -> dict[str, Tensor]:
    if not _is_object(value):
        if len(infos) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required "
                "as per tensorinfo_map"
            )
        name = next(iter(infos))
        return {name: _tensor(value, int(infos[name].dtype))}
    tensors: dict[str, Tensor] = {}
    for name, info in sorted(infos.items()):
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        tensors[name] = _tensor(value[name], int(info.dtype))
    return tensors


def _tensor(value: Any, dtype: int) -> Tensor:
    shape = _shape_of(value)
    values: list[Scalar] = []
    _collect(value, 0, shape, dtype, values)
    return make_tensor(dtype, shape, values)


def _shape_of(value: Any) -> tuple[int, ...]:
    shape: list[int] = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _collect(value: Any, level: int, shape: tuple[int, ...], dtype: int, values: list[Scalar]) -> None:
    """Append the scalars in ``value`` to ``values``, checking that lists are as regular as ``shape``."""
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {debug_text(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {len(shape)}"
            )
        values.append(_scalar(value, dtype))
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for item in value:
        _collect(item, level + 1, shape, dtype, values)


def _scalar(value: Any, dtype: int) -> Scalar:
    if dtype == tensors_pb2.DT_STRING:
        if isinstance(value, dict):
            return decode_base64(value)
        if isinstance(value, str):
            return value.encode()
    elif dtype == tensors_pb2.DT_BOOL:
        if isinstance(value, bool):
            return value
    elif dtype in (tensors_pb2.DT_FLOAT, tensors_pb2.DT_DOUBLE):
        if isinstance(value, int | float) and not isinstance(value, bool):
            return as_double(value)
    elif dtype in INTEGER_LIMITS:
        low, high = INTEGER_LIMITS[dtype]
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return narrowed(value, dtype)
    elif not isinstance(value, dict):
        raise StatusError(
            Code.UNIMPLEMENTED,
            f"Conversion of JSON Value: {debug_text(value)} to type: {dtype_name(dtype)}",
        )
    raise invalid(
        f"JSON Value: {debug_text(value)} Type: {json_type(value)} is not of expected type: {dtype_name(dtype)}"
    )


def as_double(value: float) -> float:
    """Return the number in JSON as a double, or raise StatusError when it is too big for one."""
    try:
        return float(value)
    except OverflowError as error:
        raise invalid(NUMBER_TOO_BIG) from error


def decode_base64(value: Any) -> bytes:
    """Return the bytes of a ``{"b64": "…"}`` object."""
    if not is_base64(value):
        raise invalid(f"JSON Value: {debug_text(value)} not formatted correctly for base64 data")
    text: str = value["b64"]
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("Unable to base64 decode") from error


def is_base64(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def json_type(value: Any) -> str:
    """Return the JSON type's name as messages print it."""
    if isinstance(value, bool):
        return "True" if value else "False"
    names = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    return names.get(type(value), "Null")


def debug_text(value: Any) -> str:
    """Return ``value`` as messages print it, cut when it is long."""
    return json.dumps(value, indent=4)[:MOST_DEBUG_CHARACTERS]


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
