"""Whether the operator is alive and ready, as the kubelet asks for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Protocol

OVERDUE_LIMIT_SECONDS: Final = 300.0
SILENCE_LIMIT: Final = timedelta(minutes=10)
"""Longer than a watch may last, with its grace and the pause after it."""


class QueueHealth(Protocol):
    """What the queue says of itself."""

    def stuck_seconds(self, now: float) -> float:
        """How long something has been due while nothing was taken."""


class CacheHealth(Protocol):
    """What the child cache says of itself."""

    @property
    def is_synced(self) -> bool:
        """Whether every kind was listed."""

    @property
    def acted_at(self) -> datetime | None:
        """When the watch that is silent longest last did anything."""


class Health:
    """Answers the probes. Before ``watch`` the process starts, and is alive but not ready."""

    def __init__(self, *, clock: Callable[[], datetime], monotonic: Callable[[], float]) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._queue: QueueHealth | None = None
        self._cache: CacheHealth | None = None

    def watch(self, *, queue: QueueHealth, cache: CacheHealth) -> None:
        """Judge by these from now on."""
        self._queue, self._cache = queue, cache

    def faults(self) -> list[str]:
        """Return what only a restart can mend. An API server that is away is not among it."""
        faults = []
        # Before every kind was listed workers wait for that, as long as the API server or the rights are missing.
        if self._queue is not None and self._cache is not None and self._cache.is_synced:
            stuck_seconds = self._queue.stuck_seconds(self._monotonic())
            if stuck_seconds > OVERDUE_LIMIT_SECONDS:
                faults.append(f"a ServedModel has been due for {stuck_seconds:.0f} s and no worker takes it")
        acted_at = self._cache.acted_at if self._cache is not None else None
        if acted_at is not None and self._clock() - acted_at > SILENCE_LIMIT:
            faults.append(f"a watch has been silent since {acted_at.isoformat(timespec='seconds')}")
        return faults

    def not_ready(self) -> list[str]:
        """Return what is still missing before the operator can do its work."""
        if self._cache is None:
            return ["the watches have not begun: is the API server there, and the CRD installed?"]
        return [] if self._cache.is_synced else ["the first list of the children is not complete"]
