"""Makes a version ready to serve: executor, metrics, batching, warm-up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.modelserver.batching import BatchScheduler, batching_options
from e2e.modelserver.config_files import read_text_proto
from e2e.modelserver.file_access import is_there
from e2e.modelserver.sessions import BatchingSession, DirectSession, ServingSession
from e2e.modelserver.states import ServableId
from e2e.modelserver.warmup import warm_up
from e2e.modelserver.wire import config_pb2 as pb

if TYPE_CHECKING:
    from e2e.modelserver.executor import Executor, Session
    from e2e.modelserver.faults import Faults
    from e2e.modelserver.inference import Inference
    from e2e.modelserver.metrics import ServerMetrics

PER_MODEL_BATCHING_FILE = "batching_params.pbtxt"


@dataclass(frozen=True)
class Batching:
    """Batching of the whole server: the shared threads, and where a model's parameters come from."""

    parameters: pb.BatchingParameters
    scheduler: BatchScheduler
    per_model: bool

    def parameters_of(self, path: Path) -> pb.BatchingParameters | None:
        """Return the parameters for the version in ``path``; None when it is not batched."""
        if not self.per_model:
            return self.parameters
        file = path / PER_MODEL_BATCHING_FILE
        return read_text_proto(str(file), pb.BatchingParameters()) if is_there(file) else None


@dataclass(frozen=True)
class Warmup:
    """Whether and how often warm-up records are replayed."""

    enabled: bool
    iterations: int


class Loader:
    """Loads versions for the manager."""

    def __init__(
        self,
        executor: Executor,
        faults: Faults,
        metrics: ServerMetrics,
        batching: Batching | None,
        warmup: Warmup,
        inference: Callable[[], Inference],
    ) -> None:
        self._executor = executor
        self._faults = faults
        self._metrics = metrics
        self._batching = batching
        self._warmup = warmup
        self._inference = inference

    async def load(self, servable: ServableId, path: Path) -> ServingSession:
        """Return the version in ``path``, ready to serve, or raise StatusError."""
        session = await self._load_bundle(servable, path)
        with closed_on_failure(session):
            serving = self._wrapped(session, path)
        with closed_on_failure(serving):
            if self._warmup.enabled:
                await warm_up(serving, path, self._inference(), self._metrics, self._warmup.iterations)
        return serving

    async def _load_bundle(self, servable: ServableId, path: Path) -> Session:
        begin = time.monotonic()
        try:
            await self._faults.before_load()
            session = await self._executor.load(servable.name, servable.version, path)
        except Exception:
            self._metrics.load_attempt_count.add(1, str(path), "fail")
            raise
        micros = (time.monotonic() - begin) * 1e6
        self._metrics.load_attempt_count.add(1, str(path), "success")
        self._metrics.load_latency.add(int(micros), str(path))
        self._metrics.load_latency_by_stage.observe(micros, str(path), "restore_graph")
        self._metrics.load_latency_by_stage.observe(0, str(path), "init_graph")
        return session

    def _wrapped(self, session: Session, path: Path) -> ServingSession:
        direct = DirectSession(session, self._faults, self._metrics)
        parameters = self._batching.parameters_of(path) if self._batching else None
        if self._batching is None or parameters is None:
            return direct
        return BatchingSession(direct, batching_options(parameters), self._batching.scheduler, self._metrics)


@contextmanager
def closed_on_failure(session: Session | ServingSession) -> Iterator[None]:
    """Close ``session`` when what is done with it fails or is given up."""
    try:
        yield
    except BaseException:
        session.close()
        raise
