"""Collects requests into batches as TensorFlow's shared batch scheduler does.

All versions of all models share the batch threads; each signature has its own queue. The last batch of
a queue is open: it may be run when it is full or has waited long enough, the others at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise

from e2e.modelserver.options import schedulable_cpus
from e2e.modelserver.statuses import Code, StatusError
from e2e.modelserver.tensors import Tensor, concatenate
from e2e.modelserver.wire import config_pb2 as pb

DEFAULT_MAX_BATCH_SIZE = 1000
DEFAULT_MAX_ENQUEUED_BATCHES = 10
DEFAULT_MAX_EXECUTION_BATCH_SIZE = 1000


@dataclass(frozen=True)
class BatchingOptions:
    """BatchingParameters of one queue, defaults applied and rules checked."""

    max_batch_size: int
    timeout_seconds: float
    max_enqueued_batches: int
    allowed_batch_sizes: tuple[int, ...]
    pad_variable_length_inputs: bool
    split_large_batches: bool
    max_execution_batch_size: int

    def padded_size(self, size: int) -> int:
        """Return the smallest allowed batch size for ``size`` rows; ``size`` itself when none fits."""
        return next((allowed for allowed in self.allowed_batch_sizes if allowed >= size), size)


def batching_options(parameters: pb.BatchingParameters) -> BatchingOptions:
    """Return the options of a queue, or raise the StatusError that fails the model's load."""
    has = parameters.HasField
    max_batch_size = parameters.max_batch_size.value if has("max_batch_size") else DEFAULT_MAX_BATCH_SIZE
    splitting = parameters.enable_large_batch_splitting.value
    execution_size = max_batch_size
    if splitting:
        # Without max_batch_size the message field reads 0 here, unlike above.
        unset = parameters.max_batch_size.value
        execution_size = parameters.max_execution_batch_size.value if has("max_execution_batch_size") else unset
    options = BatchingOptions(
        max_batch_size=max_batch_size,
        timeout_seconds=parameters.batch_timeout_micros.value / 1e6,
        max_enqueued_batches=(
            parameters.max_enqueued_batches.value if has("max_enqueued_batches") else DEFAULT_MAX_ENQUEUED_BATCHES
        ),
        allowed_batch_sizes=tuple(parameters.allowed_batch_sizes),
        pad_variable_length_inputs=parameters.pad_variable_length_inputs,
        split_large_batches=splitting,
        max_execution_batch_size=execution_size,
    )
    _check(options)
    return options


def _check(options: BatchingOptions) -> None:
    if options.allowed_batch_sizes and options.allowed_batch_sizes[-1] != options.max_batch_size:
        raise _invalid(
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
            f"{options.allowed_batch_sizes[-1]}; expected {options.max_batch_size}"
        )
    if options.max_batch_size <= 0:
        raise _invalid(f"input_batch_size_limit must be positive; was {options.max_batch_size}")
    if options.timeout_seconds < 0:
        raise _invalid(f"batch_timeout_micros must be non-negative; was {round(options.timeout_seconds * 1e6)}")
    if options.max_enqueued_batches <= 0:
        raise _invalid(f"max_enqueued_batches must be positive; was {options.max_enqueued_batches}")
    if options.split_large_batches and options.max_batch_size < options.max_execution_batch_size:
        raise _invalid(
            "When enable_large_batch_splitting is true, input_batch_size_limit must be greater than or "
            "equal to max_execution_batch_size."
        )


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)


@dataclass(eq=False)
class Task:
    """A request, or a piece of a split one, waiting to be run."""

    inputs: dict[str, Tensor]
    size: int
    deadline: float
    """Monotonic seconds; infinite for none."""
    result: asyncio.Future[dict[str, Tensor]]
    enqueued_at: float = field(default_factory=time.monotonic)


@dataclass(eq=False)
class Batch:
    """Tasks that run together."""

    tasks: list[Task] = field(default_factory=list)
    opened_at: float = 0.0

    @property
    def size(self) -> int:
        return sum(task.size for task in self.tasks)


class BatchQueue:
    """The batches of one signature of one version."""

    def __init__(
        self,
        options: BatchingOptions,
        scheduler: BatchScheduler,
        process: Callable[[list[Task]], Awaitable[None]],
    ) -> None:
        self.options = options
        self.process = process
        self._scheduler = scheduler
        self._batches: deque[Batch] = deque([Batch()])
        scheduler.add(self)

    def schedule(self, task: Task) -> None:
        """Put ``task`` into the open batch or a fresh one; raise StatusError when there is no room."""
        self._check_room(task.size)
        for piece in self._pieces(task):
            if self._batches[-1].size + piece.size > self.options.max_execution_batch_size:
                self._batches.append(Batch())
            open_batch = self._batches[-1]
            if not open_batch.tasks:
                open_batch.opened_at = time.monotonic()
            open_batch.tasks.append(piece)
        self._scheduler.wake()

    def _check_room(self, size: int) -> None:
        options = self.options
        if size > options.max_batch_size:
            raise _invalid(f"Task size {size} is larger than maximum input batch size {options.max_batch_size}")
        enqueued, open_size = len(self._batches), self._batches[-1].size
        if options.split_large_batches:
            capacity = (options.max_enqueued_batches - enqueued + 1) * options.max_execution_batch_size - open_size
            if size > capacity:
                raise StatusError(
                    Code.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full; task size is "
                    f"{size} but scheduling capacity is only {capacity} (num_enqueued_batches={enqueued}, "
                    f"max_enqueued_batches={options.max_enqueued_batches}, open_batch_size={open_size}, "
                    f"max_execution_batch_size={options.max_execution_batch_size})",
                )
        elif open_size + size > options.max_batch_size and enqueued >= options.max_enqueued_batches:
            raise StatusError(
                Code.UNAVAILABLE,
                "The batch scheduling queue to which this task was submitted is full; currently "
                f"{enqueued} batches enqueued and max_enqueued_batches is {options.max_enqueued_batches}",
            )

    def _pieces(self, task: Task) -> list[Task]:
        limit = self.options.max_execution_batch_size
        first = limit - self._batches[-1].size
        if not self.options.split_large_batches or task.size <= first:
            return [task]
        cuts = [0, *range(first or limit, task.size, limit), task.size]
        return split_task(task, cuts)

    def next_batch(self) -> Batch | None:
        """Remove and return the batch to run now, if there is one."""
        if len(self._batches) == 1 and self.seconds_until_due() == 0:
            self._batches.append(Batch())
        return self._batches.popleft() if len(self._batches) > 1 else None

    def seconds_until_due(self) -> float | None:
        """Return how long until a batch may run, 0 for now, None when there is nothing to run."""
        if len(self._batches) > 1:
            return 0
        batch = self._batches[0]
        if not batch.tasks:
            return None
        if batch.size >= self.options.max_execution_batch_size:
            return 0
        return max(0.0, batch.opened_at + self.options.timeout_seconds - time.monotonic())

    def close(self) -> None:
        self._scheduler.remove(self)


def split_task(task: Task, cuts: list[int]) -> list[Task]:
    """Return one task for each stretch between two ``cuts``; ``task`` ends when all of them have."""
    loop = asyncio.get_running_loop()
    pieces = [
        Task(
            inputs={name: tensor.rows(start, stop) for name, tensor in task.inputs.items()},
            size=stop - start,
            deadline=task.deadline,
            result=loop.create_future(),
            enqueued_at=task.enqueued_at,
        )
        for start, stop in pairwise(cuts)
    ]
    gathered = asyncio.gather(*(piece.result for piece in pieces))
    gathered.add_done_callback(lambda done: _join(done, task))
    return pieces


def _join(done: asyncio.Future[list[dict[str, Tensor]]], task: Task) -> None:
    if task.result.done():
        return
    if (error := done.exception()) is not None:
        task.result.set_exception(error)
        return
    parts = done.result()
    task.result.set_result({name: concatenate([part[name] for part in parts]) for name in parts[0]})


class BatchScheduler:
    """The batch threads, shared by all queues, which they serve in turn."""

    def __init__(self, parameters: pb.BatchingParameters) -> None:
        threads = schedulable_cpus()
        if parameters.HasField("num_batch_threads"):
            threads = parameters.num_batch_threads.value
        if threads < 1:
            raise _invalid(f"num_batch_threads must be positive; was {threads}")
        self.threads = self._idle_threads = threads
        self._queues: deque[BatchQueue] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Task[None]] = set()

    @property
    def is_idle(self) -> bool:
        return self._idle_threads == self.threads

    def add(self, queue: BatchQueue) -> None:
        self._queues.append(queue)

    def remove(self, queue: BatchQueue) -> None:
        self._queues.remove(queue)

    def wake(self) -> None:
        """Give batches that are due to idle threads, and come back when the next one is."""
        while self._idle_threads and self._start_one():
            pass
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waits = [wait for queue in self._queues if (wait := queue.seconds_until_due()) is not None]
        if self._idle_threads and waits:
            self._timer = asyncio.get_running_loop().call_later(min(waits), self.wake)

    def _start_one(self) -> bool:
        for _ in range(len(self._queues)):
            queue = self._queues[0]
            self._queues.rotate(-1)
            batch = queue.next_batch()
            if batch is not None:
                self._idle_threads -= 1
                task = asyncio.create_task(self._run(queue, batch))
                self._running.add(task)
                return True
        return False

    async def _run(self, queue: BatchQueue, batch: Batch) -> None:
        try:
            await queue.process(batch.tasks)
        finally:
            self._idle_threads += 1
            self._running.discard(asyncio.current_task())
            self.wake()
