"""A load in a thread of its own inside the cluster's network."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from e2e.cluster import Cluster
from e2e.load.generator import LoadGenerator
from e2e.load.record import LoadSummary

_START_SECONDS = 10.0
_JOIN_SECONDS = 30.0


class RunningLoad:
    """A load that is on; use ``running_load``."""

    def __init__(self, cluster: Cluster, generator: LoadGenerator) -> None:
        self._cluster = cluster
        self._generator = generator
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._stopped: asyncio.Event

    def set_rate(self, requests_per_second: float) -> None:
        """Change the rate from now on; 0 pauses."""
        self._loop.call_soon_threadsafe(self._generator.set_rate, requests_per_second)

    def summary(self, since: float = float("-inf"), until: float = float("inf")) -> LoadSummary:
        """Return what became of the requests due in a window of monotonic time."""
        return self._generator.record.summary(since, until)

    def recent(self, seconds: float) -> LoadSummary:
        """Return what became of the requests of the last seconds; the very last second's are still under way."""
        last = time.monotonic() - 1
        return self.summary(last - seconds, last)

    @property
    def failures(self) -> list[str]:
        """The last failures in words."""
        return list(self._generator.record.failures)

    def start(self) -> None:
        """Begin."""
        self._thread.start()
        if not self._started.wait(_START_SECONDS):
            raise RuntimeError("the load did not start")

    def stop(self) -> None:
        """End the load after the answers to what was sent."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        # An event loop opens sockets of its own, so it is made inside, too.
        with self._cluster.network():
            asyncio.run(self._send())

    async def _send(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        self._started.set()
        await self._generator.run(self._stopped)


@contextmanager
def running_load(cluster: Cluster, generator: LoadGenerator) -> Iterator[RunningLoad]:
    """Run a load until left."""
    load = RunningLoad(cluster, generator)
    load.start()
    try:
        yield load
    finally:
        load.stop()
