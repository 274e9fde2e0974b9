"""Runs models without TensorFlow: right types and shapes, and a cost in time on a bounded number of devices.

What a model answers is worthless; how long it takes, how it queues and what it does to memory is the point.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from e2e.modelserver.faults import Faults
from e2e.modelserver.file_access import is_there
from e2e.modelserver.knobs import Behaviour, KnobError, evaluate, read_behaviour
from e2e.modelserver.saved_model import Signatures, read_signatures
from e2e.modelserver.statuses import Code, StatusError
from e2e.modelserver.tensors import Tensor, dtype_name, filled
from e2e.modelserver.wire import tensors_pb2 as pb

log = logging.getLogger(__name__)

PAGE_BYTES = 4096
MEMORY_CHUNK_BYTES = 64 << 20


class Devices:
    """Devices that run one batch each at a time, first come first served.

    Time is booked ahead instead of slept off one batch after the other, so that late wake-ups of the
    event loop do not add up and throughput is what the costs say.
    """

    def __init__(self, count: int) -> None:
        self._free_at = [0.0] * count

    @property
    def count(self) -> int:
        return len(self._free_at)

    def book(self, cost_seconds: float, now: float) -> float:
        """Return when the device that is free first will have spent ``cost_seconds`` from then on."""
        end = max(now, heapq.heappop(self._free_at)) + cost_seconds
        heapq.heappush(self._free_at, end)
        return end

    async def occupy(self, cost_seconds: float) -> None:
        """Return when a device has spent ``cost_seconds`` on the caller's batch."""
        end = self.book(cost_seconds, time.monotonic())
        await asyncio.sleep(end - time.monotonic())


class LightSession:
    """A version that costs what its behaviour and the server's knobs say."""

    def __init__(
        self, signatures: Signatures, behaviour: Behaviour, executor: LightExecutor, memory: list[bytearray]
    ) -> None:
        self.signatures = signatures
        self._behaviour = behaviour
        self._executor = executor
        self._memory = memory
        self._own_devices = Devices(behaviour.devices) if behaviour.devices else None

    async def run(self, signature: str, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> dict[str, Tensor]:
        definition = self.signatures[signature]
        for alias, tensor in inputs.items():
            check_input(alias, tensor, definition.inputs[alias])
        sizes = {tensor.batch_size for tensor in inputs.values() if tensor.shape}
        batch_size = sizes.pop() if len(sizes) == 1 else 1
        await self._executor.spend(self._behaviour, batch_size, self._own_devices)
        return {alias: self._answer(definition.outputs[alias], inputs, batch_size) for alias in outputs}

    def _answer(self, info: pb.TensorInfo, inputs: Mapping[str, Tensor], batch_size: int) -> Tensor:
        shape = concrete_shape(info, batch_size)
        if self._behaviour.echo:
            for tensor in inputs.values():
                if tensor.dtype == info.dtype and fits(tensor.shape, info):
                    return tensor
        return filled(int(info.dtype), shape, self._behaviour.fill_value)

    def close(self) -> None:
        self._memory.clear()


class LightExecutor:
    """Loads models from their signatures alone."""

    def __init__(self, tags: Sequence[str], faults: Faults) -> None:
        self._tags = tags
        self._faults = faults
        self._devices = Devices(faults.knobs.devices or 1)

    async def load(self, name: str, version: int, path: Path) -> LightSession:
        try:
            behaviour = read_behaviour(path)
        except (KnobError, ValueError, TypeError) as error:
            raise StatusError(Code.INVALID_ARGUMENT, f"bad stand-in behaviour in {path}: {error}") from error
        if behaviour.load_seconds:
            await asyncio.sleep(behaviour.load_seconds)
        if behaviour.fail_load:
            raise StatusError(Code.INTERNAL, behaviour.fail_load)
        self._check_gpu(behaviour)
        signatures = await asyncio.to_thread(read_signatures, path, self._tags)
        if not is_there(path / "variables" / "variables.index"):
            log.info("The specified SavedModel has no variables; no checkpoints were restored: %s", path)
        memory = await asyncio.to_thread(take_memory, behaviour.load_memory_bytes)
        return LightSession(signatures, behaviour, self, memory)

    def _check_gpu(self, behaviour: Behaviour) -> None:
        if not self._faults.knobs.gpu_missing:
            return
        log.error("failed call to cuInit: CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected")
        if behaviour.requires_gpu:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                "Cannot assign a device for operation: the node was explicitly assigned to /device:GPU:0 "
                "but available devices are [ /job:localhost/replica:0/task:0/device:CPU:0 ]",
            )

    async def spend(self, behaviour: Behaviour, batch_size: int, own_devices: Devices | None) -> None:
        """Occupy a device for as long as a batch of ``batch_size`` rows takes."""
        knobs = self._faults.knobs
        cost_micros = evaluate(knobs.cost_micros or behaviour.cost_micros, batch_size) * knobs.cost_factor
        if knobs.gpu_missing:
            cost_micros *= knobs.gpu_missing_cost_factor
        if self._devices.count != (knobs.devices or 1):
            self._devices = Devices(knobs.devices or 1)
        devices = self._devices if own_devices is None or knobs.devices else own_devices
        await devices.occupy(cost_micros / 1e6)


def take_memory(size_bytes: int) -> list[bytearray]:
    """Return memory of ``size_bytes`` with every page touched, so that it counts against a limit."""
    chunks: list[bytearray] = []
    for offset in range(0, size_bytes, MEMORY_CHUNK_BYTES):
        chunk = bytearray(min(MEMORY_CHUNK_BYTES, size_bytes - offset))
        chunk[::PAGE_BYTES] = b"\x01" * len(range(0, len(chunk), PAGE_BYTES))
        chunks.append(chunk)
    return chunks


def check_input(alias: str, tensor: Tensor, info: pb.TensorInfo) -> None:
    """Raise StatusError unless ``tensor`` has the declared type and shape."""
    if tensor.dtype != info.dtype:
        expected, found = dtype_name(int(info.dtype)), dtype_name(tensor.dtype)
        raise StatusError(
            Code.INVALID_ARGUMENT, f"Expects arg[0] to be {expected} but {found} is provided (input {alias})"
        )
    if not fits(tensor.shape, info):
        declared = [dim.size for dim in info.tensor_shape.dim]
        raise StatusError(
            Code.INVALID_ARGUMENT, f"Input {alias} must have shape {declared} but has {list(tensor.shape)}"
        )


def fits(shape: tuple[int, ...], info: pb.TensorInfo) -> bool:
    """Tell whether ``shape`` is one that ``info`` declares, -1 and unknown rank matching anything."""
    if info.tensor_shape.unknown_rank:
        return True
    declared = [dim.size for dim in info.tensor_shape.dim]
    return len(declared) == len(shape) and all(d in (-1, s) for d, s in zip(declared, shape, strict=True))


def concrete_shape(info: pb.TensorInfo, batch_size: int) -> tuple[int, ...]:
    """Return the declared shape with the batch in dimension 0 and 1 for other unknown dimensions."""
    declared = [dim.size for dim in info.tensor_shape.dim]
    if info.tensor_shape.unknown_rank:
        return (batch_size,)
    return tuple((batch_size if axis == 0 else 1) if size < 0 else size for axis, size in enumerate(declared))
