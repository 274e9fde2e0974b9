"""Makes tensors of different lengths batchable: `pad_variable_length_inputs`."""

from __future__ import annotations

from collections.abc import Sequence

from e2e.modelserver.statuses import Code, StatusError
from e2e.modelserver.tensors import Scalar, Tensor, elements, make_tensor

MOST_DIMENSIONS = 6


def pad_to_common_shape(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return ``tensors`` with every dimension but the first as long as the longest, filled with their first values."""
    ranks = {len(tensor.shape) for tensor in tensors}
    if len(ranks) > 1:
        raise StatusError(Code.INVALID_ARGUMENT, "Tensors with the same name must have the same number of dimensions")
    longest = tuple(max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True))
    return [_padded(tensor, (tensor.batch_size, *longest)) for tensor in tensors]


def _padded(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    if elements(shape) == elements(tensor.shape):
        return tensor
    if len(shape) > MOST_DIMENSIONS:
        raise StatusError(Code.INVALID_ARGUMENT, "Only tensors with rank from 1 to 6 can be padded.")
    values = tensor.values()
    if not values:
        raise StatusError(Code.INVALID_ARGUMENT, "Got empty tensor in batch of non-empty tensors.")
    return make_tensor(tensor.dtype, shape, _fill(list(values), tensor.shape, shape, values[0]))


def _fill(values: Sequence[Scalar], old: tuple[int, ...], new: tuple[int, ...], filler: Scalar) -> list[Scalar]:
    if not old:
        return list(values)
    stride = elements(old[1:])
    rows = [_fill(values[i * stride : (i + 1) * stride], old[1:], new[1:], filler) for i in range(old[0])]
    missing = (new[0] - old[0]) * elements(new[1:])
    return [value for row in rows for value in row] + [filler] * missing
