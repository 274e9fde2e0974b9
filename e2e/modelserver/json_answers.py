"""Writes REST bodies with the spacing and the number formats of the real server's JSON writer."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import json_format

from e2e.modelserver.json_requests import Format
from e2e.modelserver.states import State
from e2e.modelserver.statuses import Code, StatusError
from e2e.modelserver.tensors import Scalar, Tensor, dtype_name
from e2e.modelserver.wire import serving_pb2 as pb
from e2e.modelserver.wire import tensors_pb2

INDENT = " " * 4
BYTES_SUFFIX = "_bytes"
FLOAT_DIGITS: dict[int, int] = {tensors_pb2.DT_FLOAT: 9, tensors_pb2.DT_DOUBLE: 17}
INTEGERS = (
    tensors_pb2.DT_INT32,
    tensors_pb2.DT_INT16,
    tensors_pb2.DT_INT8,
    tensors_pb2.DT_UINT8,
    tensors_pb2.DT_INT64,
    tensors_pb2.DT_UINT32,
    tensors_pb2.DT_UINT64,
)


def error_body(message: str) -> str:
    return f'{{\n{INDENT}"error": {_string(message)}\n}}'


def predict_body(outputs: Mapping[str, Tensor], layout: Format) -> str:
    """Return the answer to a predict request that came in ``layout``."""
    if not outputs:
        raise _invalid("Cannot convert empty tensor map to JSON")
    return _rows_body(outputs) if layout is Format.ROW else _columns_body(outputs)


def _rows_body(outputs: Mapping[str, Tensor]) -> str:
    count = _common_batch_size(outputs)
    texts = {name: _scalars(name, tensor) for name, tensor in sorted(outputs.items())}
    if len(outputs) == 1:
        ((name, tensor),) = outputs.items()
        rows = ", ".join(_row(texts[name], tensor, index) for index in range(count))
        return f'{{\n{INDENT}"predictions": [{rows}\n{INDENT}]\n}}'
    objects = []
    for index in range(count):
        members = f",\n{INDENT * 3}".join(
            f"{_string(name)}: {_row(text, outputs[name], index)}" for name, text in texts.items()
        )
        objects.append(f"\n{INDENT * 2}{{\n{INDENT * 3}{members}\n{INDENT * 2}}}")
    return f'{{\n{INDENT}"predictions": [{",".join(objects)}\n{INDENT}]\n}}'


def _common_batch_size(outputs: Mapping[str, Tensor]) -> int:
    sizes: list[int] = []
    for name, tensor in sorted(outputs.items()):
        if not tensor.shape:
            raise _invalid(f"Tensor name: {name} has no shape information ")
        if sizes and tensor.batch_size != sizes[-1]:
            raise _invalid(
                f"Tensor name: {name} has inconsistent batch size: {tensor.batch_size} expecting: {sizes[-1]}"
            )
        sizes.append(tensor.batch_size)
    return sizes[0]


def _row(texts: Sequence[str], tensor: Tensor, index: int) -> str:
    size = math.prod(tensor.shape[1:])
    return _one_line(texts[index * size : (index + 1) * size], tensor.shape[1:])


def _one_line(texts: Sequence[str], shape: tuple[int, ...]) -> str:
    if not shape:
        return texts[0]
    stride = math.prod(shape[1:])
    parts = (_one_line(texts[i * stride : (i + 1) * stride], shape[1:]) for i in range(shape[0]))
    return f"[{', '.join(parts)}]"


def _columns_body(outputs: Mapping[str, Tensor]) -> str:
    if len(outputs) == 1:
        ((name, tensor),) = outputs.items()
        return f'{{\n{INDENT}"outputs": {_indented(_scalars(name, tensor), tensor.shape, 1)}\n}}'
    members = ",\n".join(
        f"{INDENT * 2}{_string(name)}: {_indented(_scalars(name, tensor), tensor.shape, 2)}"
        for name, tensor in sorted(outputs.items())
    )
    return f'{{\n{INDENT}"outputs": {{\n{members}\n{INDENT}}}\n}}'


def _indented(texts: Sequence[str], shape: tuple[int, ...], level: int) -> str:
    if not shape:
        return texts[0]
    if shape[0] == 0:
        return "[]"
    stride = math.prod(shape[1:])
    parts = (
        f"{INDENT * (level + 1)}{_indented(texts[i * stride : (i + 1) * stride], shape[1:], level + 1)}"
        for i in range(shape[0])
    )
    return "[\n" + ",\n".join(parts) + f"\n{INDENT * level}]"


def _scalars(name: str, tensor: Tensor) -> list[str]:
    """Return each value's JSON text."""
    values, dtype = tensor.values(), tensor.dtype
    if dtype in FLOAT_DIGITS:
        return [decimal(float(value), dtype) for value in values]
    if dtype in INTEGERS:
        return [str(int(value)) for value in values]
    if dtype == tensors_pb2.DT_BOOL:
        return ["true" if value else "false" for value in values]
    if dtype == tensors_pb2.DT_STRING:
        return [_string_value(name, value) for value in values]
    raise _invalid(f"Failed to write JSON value for tensor type: {dtype_name(dtype)}")


def _string_value(name: str, value: Scalar) -> str:
    raw = bytes(value)  # type: ignore[arg-type] # string tensors hold bytes
    if name.endswith(BYTES_SUFFIX):
        return f'{{\n{INDENT}"b64": "{base64.b64encode(raw).decode()}"\n}}'
    return _string(raw.decode("utf-8", "surrogateescape"))


def decimal(value: float, dtype: int = tensors_pb2.DT_FLOAT) -> str:
    """Return ``value`` with six digits, or with all when six would not give the same number back."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    text = f"{value:g}"
    if _rounded(float(text), dtype) != value:
        text = f"{value:.{FLOAT_DIGITS[dtype]}g}"
    return text if "." in text or "e" in text else f"{text}.0"


def _rounded(value: float, dtype: int) -> float:
    if dtype == tensors_pb2.DT_DOUBLE:
        return value
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.inf


def classify_body(result: pb.ClassificationResult) -> str:
    if not result.classifications:
        raise _invalid("Cannot convert empty ClassificationResults to JSON")
    rows = ", ".join(
        f"[{', '.join(f'[{_string(c.label)}, {decimal(c.score)}]' for c in row.classes)}]"
        for row in result.classifications
    )
    return f'{{\n{INDENT}"results": [{rows}\n{INDENT}]\n}}'


def regress_body(result: pb.RegressionResult) -> str:
    if not result.regressions:
        raise _invalid("Cannot convert empty RegressionResults to JSON")
    values = ", ".join(decimal(regression.value) for regression in result.regressions)
    return f'{{\n{INDENT}"results": [{values}]\n}}'


def status_body(response: pb.GetModelStatusResponse) -> str:
    versions = [
        {
            "version": str(entry.version),
            "state": State(entry.state).name,
            "status": {
                "error_code": Code(entry.status.error_code).name,
                "error_message": entry.status.error_message,
            },
        }
        for entry in response.model_version_status
    ]
    return json.dumps({"model_version_status": versions}, indent=1, separators=(",", ": ")) + "\n"


def metadata_body(spec: pb.ModelSpec, signatures: tensors_pb2.SignatureDefMap) -> str:
    return (
        f'{{\n"model_spec":{{\n "name": {_string(spec.name)},\n "signature_name": "",\n'
        f' "version": "{spec.version.value}"\n}}\n,\n'
        f'"metadata": {{"signature_def": {_proto_json(signatures)}\n}}\n}}\n'
    )


def _proto_json(message: Any) -> str:
    return json_format.MessageToJson(
        message,
        indent=1,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
