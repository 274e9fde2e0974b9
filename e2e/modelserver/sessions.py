"""What stands between a request and the executor's session: timeouts, run metrics and batching."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from e2e.modelserver.batching import BatchingOptions, BatchQueue, BatchScheduler, Task
from e2e.modelserver.executor import Session
from e2e.modelserver.faults import Faults
from e2e.modelserver.metrics import ServerMetrics
from e2e.modelserver.padding import pad_to_common_shape
from e2e.modelserver.saved_model import Signatures
from e2e.modelserver.statuses import Code, StatusError, status_of
from e2e.modelserver.tensors import Tensor, concatenate, dtype_name


class ServingSession(Protocol):
    """A loaded version as requests see it."""

    @property
    def signatures(self) -> Signatures: ...

    async def run(
        self,
        signature: str,
        inputs: Mapping[str, Tensor],
        outputs: Sequence[str],
        timeout_seconds: float | None,
    ) -> dict[str, Tensor]: ...

    def close(self) -> None: ...


class DirectSession:
    """Runs every request on its own."""

    def __init__(self, session: Session, faults: Faults, metrics: ServerMetrics) -> None:
        self._session = session
        self._faults = faults
        self._metrics = metrics

    @property
    def signatures(self) -> Signatures:
        return self._session.signatures

    async def run(
        self,
        signature: str,
        inputs: Mapping[str, Tensor],
        outputs: Sequence[str],
        timeout_seconds: float | None,
    ) -> dict[str, Tensor]:
        self._faults.before_run()
        begin = time.monotonic()
        run = asyncio.ensure_future(self._session.run(signature, inputs, outputs))
        done, _ = await asyncio.wait({run}, timeout=timeout_seconds)
        if not done:
            # The computation goes on and keeps its device busy, as in the real server.
            run.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise StatusError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")
        result = run.result()
        self._metrics.record_run((time.monotonic() - begin) * 1e6)
        return result

    def close(self) -> None:
        self._session.close()


class BatchingSession:
    """Runs requests of the same signature together."""

    def __init__(
        self, session: DirectSession, options: BatchingOptions, scheduler: BatchScheduler, metrics: ServerMetrics
    ) -> None:
        self._session = session
        self._options = options
        self._scheduler = scheduler
        self._metrics = metrics
        self._queues: dict[tuple[str, tuple[str, ...], tuple[str, ...]], BatchQueue] = {}

    @property
    def signatures(self) -> Signatures:
        return self._session.signatures

    async def run(
        self,
        signature: str,
        inputs: Mapping[str, Tensor],
        outputs: Sequence[str],
        timeout_seconds: float | None,
    ) -> dict[str, Tensor]:
        size = batch_size(inputs)
        for tensor in inputs.values():
            self._metrics.batch_input_size.observe(tensor.batch_size)
        task = Task(
            inputs=dict(inputs),
            size=size,
            deadline=math.inf if not timeout_seconds else time.monotonic() + timeout_seconds,
            result=asyncio.get_running_loop().create_future(),
        )
        self._queue(signature, tuple(sorted(inputs)), tuple(sorted(outputs))).schedule(task)
        return await task.result

    def _queue(self, signature: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> BatchQueue:
        """Return the queue of requests that can run together: optional inputs may be sent or not."""
        key = (signature, inputs, outputs)
        if key not in self._queues:

            async def process(tasks: list[Task]) -> None:
                await self._process(signature, outputs, tasks)

            self._queues[key] = BatchQueue(self._options, self._scheduler, process)
        return self._queues[key]

    async def _process(self, signature: str, outputs: tuple[str, ...], tasks: list[Task]) -> None:
        try:
            results = await self._run_together(signature, outputs, tasks)
        except Exception as error:
            # Whatever it is, requests that got no answer would keep their threads and the version for ever.
            status = status_of(error)
            for task in tasks:
                if not task.result.done():
                    task.result.set_exception(StatusError(status.code, status.message))
            return
        for task, result in zip(tasks, results, strict=True):
            if not task.result.done():
                task.result.set_result(result)

    async def _run_together(
        self, signature: str, outputs: tuple[str, ...], tasks: list[Task]
    ) -> list[dict[str, Tensor]]:
        now = time.monotonic()
        for task in tasks:
            self._metrics.batch_queuing_latency.observe((now - task.enqueued_at) * 1e6, "")
        latest = max(task.deadline for task in tasks)
        if latest <= now:
            raise StatusError(Code.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue")
        inputs = self._merged(tasks)
        try:
            combined = await self._session.run(signature, inputs, outputs, None if latest == math.inf else latest - now)
        finally:
            self._metrics.batch_run_count.add(1)
        return split_outputs(combined, [task.size for task in tasks], batch_size(inputs))

    def _merged(self, tasks: list[Task]) -> dict[str, Tensor]:
        size = sum(task.size for task in tasks)
        padded_size = self._options.padded_size(size)
        self._metrics.batch_padding_size.observe(padded_size - size, str(padded_size))
        self._metrics.batch_processed_size.observe(padded_size)
        merged = {}
        for name in tasks[0].inputs:
            tensors = [task.inputs[name] for task in tasks]
            check_same_dtype(tensors)
            if self._options.pad_variable_length_inputs:
                tensors = pad_to_common_shape(tensors)
            elif len({tensor.shape[1:] for tensor in tensors}) > 1:
                raise StatusError(
                    Code.FAILED_PRECONDITION,
                    f"Tensors with name '{name}' from different tasks have different shapes and padding is "
                    "turned off. Set pad_variable_length_inputs to true, or ensure that all tensors with "
                    "the same name have equal dimensions starting with the first dim.",
                )
            padding = [tensors[-1].rows(0, 1)] * (padded_size - size)
            merged[name] = concatenate([*tensors, *padding])
        return merged

    def close(self) -> None:
        for queue in self._queues.values():
            queue.close()
        self._session.close()


def batch_size(inputs: Mapping[str, Tensor]) -> int:
    """Return the rows that all ``inputs`` have in common, or raise StatusError."""
    if not inputs:
        raise StatusError(Code.INVALID_ARGUMENT, "Batching Run() must have at least one input tensor")
    if any(not tensor.shape for tensor in inputs.values()):
        raise StatusError(Code.INVALID_ARGUMENT, "Batching Run() input tensors must have at least one dimension")
    sizes = {tensor.batch_size for tensor in inputs.values()}
    if len(sizes) > 1:
        raise StatusError(Code.INVALID_ARGUMENT, "Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


def check_same_dtype(tensors: Sequence[Tensor]) -> None:
    """Raise StatusError, for all requests of the batch, when one has another type than the first."""
    first = tensors[0].dtype
    for tensor in tensors:
        if tensor.dtype != first:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                "Cannot concatenate tensors that have different data types. "
                f"Got {dtype_name(first)} and {dtype_name(tensor.dtype)}.",
            )


def split_outputs(combined: Mapping[str, Tensor], sizes: Sequence[int], total: int) -> list[dict[str, Tensor]]:
    """Return each task's rows of the ``combined`` outputs, which must have the batch in dimension 0."""
    for tensor in combined.values():
        if not tensor.shape:
            raise StatusError(Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
        if tensor.batch_size != total:
            raise StatusError(
                Code.FAILED_PRECONDITION,
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes "
                "of the input tensors",
            )
    results, start = [], 0
    for size in sizes:
        results.append({name: tensor.rows(start, start + size) for name, tensor in combined.items()})
        start += size
    return results
