"""Tensors as packed bytes: enough to receive, batch, split and answer them without NumPy."""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from e2e.modelserver.statuses import Code, StatusError
from e2e.modelserver.wire import tensors_pb2 as pb

# Type code of `array` (bytes a value) for each fixed-width type; half and bfloat16 travel as raw 16-bit words.
ARRAY_CODES: dict[int, str] = {
    pb.DT_FLOAT: "f",
    pb.DT_DOUBLE: "d",
    pb.DT_INT32: "i",
    pb.DT_UINT8: "B",
    pb.DT_INT16: "h",
    pb.DT_INT8: "b",
    pb.DT_INT64: "q",
    pb.DT_BOOL: "B",
    pb.DT_UINT16: "H",
    pb.DT_UINT32: "I",
    pb.DT_UINT64: "Q",
    pb.DT_HALF: "H",
    pb.DT_BFLOAT16: "H",
}
VALUE_FIELDS: dict[int, str] = {
    pb.DT_FLOAT: "float_val",
    pb.DT_DOUBLE: "double_val",
    pb.DT_INT32: "int_val",
    pb.DT_UINT8: "int_val",
    pb.DT_INT16: "int_val",
    pb.DT_INT8: "int_val",
    pb.DT_UINT16: "int_val",
    pb.DT_INT64: "int64_val",
    pb.DT_BOOL: "bool_val",
    pb.DT_UINT32: "uint32_val",
    pb.DT_UINT64: "uint64_val",
    pb.DT_HALF: "half_val",
    pb.DT_BFLOAT16: "half_val",
    pb.DT_STRING: "string_val",
}
# Bits of the types whose values travel as 32-bit numbers, of which TensorFlow cuts off what is too much.
NARROW_BITS: dict[int, int] = {
    pb.DT_INT16: 16,
    pb.DT_INT8: 8,
    pb.DT_UINT16: 16,
    pb.DT_UINT8: 8,
    pb.DT_HALF: 16,
    pb.DT_BFLOAT16: 16,
}
SIGNED_NARROW_TYPES = (pb.DT_INT16, pb.DT_INT8)
# Of an abbreviated tensor, which a few bytes make as large as they please; the real server runs out of memory later.
MOST_REPEATED_VALUES = 1 << 27
Scalar = float | int | bool | bytes


def dtype_name(dtype: int) -> str:
    """Return the type's name as messages print it, such as ``float`` or ``int64``."""
    if dtype not in pb.DataType.values():
        return f"unknown dtype enum ({dtype})"
    return pb.DataType.Name(dtype).removeprefix("DT_").lower()


def elements(shape: Sequence[int]) -> int:
    return math.prod(shape)


@dataclass(frozen=True)
class Tensor:
    """A dense tensor: values of fixed width as little-endian bytes, strings as a tuple of bytes."""

    dtype: int
    shape: tuple[int, ...]
    packed: bytes = b""
    strings: tuple[bytes, ...] = ()

    @property
    def batch_size(self) -> int:
        return self.shape[0]

    def rows(self, start: int, stop: int) -> Tensor:
        """Return the rows from ``start`` to ``stop`` of dimension 0."""
        shape = (stop - start, *self.shape[1:])
        row = elements(self.shape[1:])
        if self.dtype == pb.DT_STRING:
            return Tensor(self.dtype, shape, strings=self.strings[start * row : stop * row])
        width = row * item_bytes(self.dtype)
        return Tensor(self.dtype, shape, packed=self.packed[start * width : stop * width])

    def values(self) -> Sequence[Scalar]:
        """Return the values in row-major order."""
        if self.dtype == pb.DT_STRING:
            return self.strings
        if self.dtype == pb.DT_BOOL:
            return [byte != 0 for byte in self.packed]
        if self.dtype == pb.DT_HALF:
            return [value for (value,) in struct.iter_unpack("<e", self.packed)]
        if self.dtype == pb.DT_BFLOAT16:
            words = _unpack("H", self.packed)
            return _unpack("f", array("I", [word << 16 for word in words]).tobytes())
        return _unpack(ARRAY_CODES[self.dtype], self.packed)


def item_bytes(dtype: int) -> int:
    if dtype not in ARRAY_CODES:
        raise StatusError(Code.UNIMPLEMENTED, f"Tensors of type {dtype_name(dtype)} are not supported")
    return array(ARRAY_CODES[dtype]).itemsize


def make_tensor(dtype: int, shape: Sequence[int], values: Iterable[Scalar]) -> Tensor:
    """Return a tensor of ``values`` in row-major order."""
    if dtype == pb.DT_STRING:
        return Tensor(dtype, tuple(shape), strings=tuple(bytes(v) for v in values))  # type: ignore[arg-type] # strings are bytes
    if dtype == pb.DT_HALF:
        return Tensor(dtype, tuple(shape), packed=b"".join(struct.pack("<e", v) for v in values))
    if dtype == pb.DT_BFLOAT16:
        words = _unpack("I", _pack("f", values))
        return Tensor(dtype, tuple(shape), packed=_pack("H", [word >> 16 for word in words]))
    item_bytes(dtype)
    return Tensor(dtype, tuple(shape), packed=_pack(ARRAY_CODES[dtype], values))


def narrowed(value: int, dtype: int) -> int:
    """Return ``value`` cut off to the bits of ``dtype``, as it is when that is not narrow."""
    bits = NARROW_BITS.get(dtype)
    if bits is None:
        return value
    value &= (1 << bits) - 1
    return value - (1 << bits) if dtype in SIGNED_NARROW_TYPES and value >> (bits - 1) else value


def filled(dtype: int, shape: Sequence[int], value: float = 0) -> Tensor:
    """Return a tensor in which every value is ``value``, strings being its decimal form (empty for 0)."""
    count = elements(shape)
    if dtype == pb.DT_STRING:
        return Tensor(dtype, tuple(shape), strings=(f"{value:g}".encode() if value else b"",) * count)
    if not value:
        return Tensor(dtype, tuple(shape), packed=bytes(count * item_bytes(dtype)))
    scalar: Scalar = value if dtype in (pb.DT_FLOAT, pb.DT_DOUBLE, pb.DT_HALF, pb.DT_BFLOAT16) else int(value)
    return make_tensor(dtype, shape, [scalar] * count)


def concatenate(tensors: Sequence[Tensor]) -> Tensor:
    """Return one tensor with the rows of all; they agree in type and in all dimensions but the first."""
    first = tensors[0]
    shape = (sum(tensor.batch_size for tensor in tensors), *first.shape[1:])
    if first.dtype == pb.DT_STRING:
        return Tensor(first.dtype, shape, strings=tuple(s for tensor in tensors for s in tensor.strings))
    return Tensor(first.dtype, shape, packed=b"".join(tensor.packed for tensor in tensors))


def from_proto(proto: pb.TensorProto) -> Tensor:
    """Return the tensor that ``proto`` holds; missing values repeat the last one given, as TensorFlow does."""
    shape, dtype = checked_shape(proto.tensor_shape), int(proto.dtype)
    count = elements(shape)
    if dtype not in VALUE_FIELDS:
        raise _invalid(f"Tensor of unsupported type {dtype_name(dtype)}")
    if proto.tensor_content and dtype != pb.DT_STRING:
        if len(proto.tensor_content) != count * item_bytes(dtype):
            raise _invalid("Invalid tensor_content: size does not match the shape")
        return Tensor(dtype, shape, packed=proto.tensor_content)
    values: list[Scalar] = list(getattr(proto, VALUE_FIELDS[dtype]))
    if dtype in NARROW_BITS:
        values = [narrowed(int(value), dtype) for value in values]
    if len(values) > count:
        raise _invalid("Invalid tensor: more values than its shape has room for")
    if count - len(values) > MOST_REPEATED_VALUES:
        raise _invalid(f"Invalid tensor: more than {MOST_REPEATED_VALUES} values are left out")
    if len(values) < count:
        padding: Scalar = values[-1] if values else (b"" if dtype == pb.DT_STRING else 0)
        values += [padding] * (count - len(values))
    if dtype in (pb.DT_HALF, pb.DT_BFLOAT16):
        return Tensor(dtype, shape, packed=_pack("H", values))
    return make_tensor(dtype, shape, values)


def checked_shape(proto: pb.TensorShapeProto) -> tuple[int, ...]:
    """Return the shape in ``proto``, or raise StatusError when no tensor can have it."""
    shape = tuple(dim.size for dim in proto.dim)
    if proto.unknown_rank or any(size < 0 for size in shape):
        raise _invalid("Invalid tensor: its shape is not known")
    return shape


def to_proto(tensor: Tensor, *, as_content: bool = False) -> pb.TensorProto:
    """Return ``tensor`` with typed values or, with ``as_content``, as packed bytes (strings have no such form)."""
    proto = pb.TensorProto(dtype=tensor.dtype)  # type: ignore[arg-type] # the enum is an int
    for size in tensor.shape:
        proto.tensor_shape.dim.add(size=size)
    if as_content and tensor.dtype != pb.DT_STRING:
        proto.tensor_content = tensor.packed
        return proto
    values = _unpack("H", tensor.packed) if tensor.dtype in (pb.DT_HALF, pb.DT_BFLOAT16) else tensor.values()
    getattr(proto, VALUE_FIELDS[tensor.dtype]).extend(values)
    return proto


def _pack(code: str, values: Iterable[Any]) -> bytes:
    return array(code, values).tobytes()


def _unpack(code: str, packed: bytes) -> array[Any]:
    values: array[Any] = array(code)
    values.frombytes(packed)
    return values


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
