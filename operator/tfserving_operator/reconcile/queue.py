"""What is to be reconciled, and when: every key at most once, never twice at a time."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tfserving_operator.api.refs import ModelKey
from tfserving_operator.clients.backoff import backoff_seconds


class Priority(StrEnum):
    """Who waits for whom."""

    CHANGE = "change"
    """Somebody changed a ServedModel or one of its children and waits for the answer."""
    BACKLOG = "backlog"
    """Everything after a start, and the regular second look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueTiming:
    """Backoff after failures, and what share of the work the backlog gets at least."""

    first_backoff_seconds: float = 0.5
    max_backoff_seconds: float = 300.0
    changes_per_backlog_item: int = 4
    """While both wait, one of the backlog follows this many changes: neither starves the other."""


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A key that a worker shall reconcile now. Give it back by ``done`` or ``failed``."""

    key: ModelKey
    priority: Priority
    waited_seconds: float


@dataclass(slots=True)
class _Entry:
    due_at: float
    priority: Priority


_RANK: Final = {priority: rank for rank, priority in enumerate(Priority)}
_UNDER_WAY_SECONDS: Final = 10.0


class WorkQueue:
    """Coalesces keys, hands each to one worker at a time, and remembers what is due later.

    ``clock`` counts seconds as the event loop does.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        timing: QueueTiming | None = None,
        generator: random.Random | None = None,
    ) -> None:
        self._clock = clock
        self._timing = timing or QueueTiming()
        self._generator = generator or random.Random()  # noqa: S311 # spreads load, keeps no secret
        # Due keys since when, the one that waits longest first: dicts keep their order.
        self._due: dict[Priority, dict[ModelKey, float]] = {priority: {} for priority in Priority}
        # What is due later, or as soon as the worker that has the key gives it back.
        self._later: dict[ModelKey, _Entry] = {}
        # Times of _later in order; an entry that was moved leaves its old time behind, which is skipped.
        self._timers: list[tuple[float, ModelKey]] = []
        self._running: dict[ModelKey, float] = {}
        self._failures: dict[ModelKey, int] = {}
        self._changes_in_a_row = 0
        self._taken_at = clock()
        self._news = asyncio.Event()

    def add(self, key: ModelKey, priority: Priority = Priority.CHANGE) -> None:
        """Make ``key`` due now. While a worker has it, it comes again afterwards."""
        self._schedule(key, self._clock(), priority)

    def add_after(self, key: ModelKey, delay_seconds: float, priority: Priority = Priority.BACKLOG) -> None:
        """Make ``key`` due in ``delay_seconds``, unless it is due before that anyway."""
        self._schedule(key, self._clock() + max(0.0, delay_seconds), priority)

    async def get(self) -> WorkItem:
        """Return the next key that is due, waiting for one where there is none."""
        while True:
            item = self._take()
            if item is not None:
                return item
            self._news.clear()
            try:
                async with asyncio.timeout(self._seconds_to_next()):
                    await self._news.wait()
            except TimeoutError:
                continue

    def done(self, item: WorkItem, *, again_after_seconds: float | None = None) -> None:
        """Give back a key that was reconciled; its failures are forgotten.

        A second look within seconds follows a change that is under way, and keeps the priority of its first.
        """
        self._failures.pop(item.key, None)
        self._release(item.key)
        if again_after_seconds is not None:
            is_under_way = again_after_seconds < _UNDER_WAY_SECONDS
            self.add_after(item.key, again_after_seconds, item.priority if is_under_way else Priority.BACKLOG)

    def failed(self, item: WorkItem, *, retry_after_seconds: float | None = None) -> float:
        """Give back a key whose reconcile failed; return the seconds until it comes again.

        Only a change cuts that short. ``retry_after_seconds`` is what the API server asked for.
        """
        failures = self._failures[item.key] = self._failures.get(item.key, 0) + 1
        delay_seconds = max(
            retry_after_seconds or 0.0,
            backoff_seconds(
                failures,
                first_seconds=self._timing.first_backoff_seconds,
                max_seconds=self._timing.max_backoff_seconds,
                generator=self._generator,
            ),
        )
        self._release(item.key)
        self.add_after(item.key, delay_seconds, item.priority)
        return delay_seconds

    def depth(self, priority: Priority) -> int:
        """Return how many keys of ``priority`` are due and wait."""
        self._move_due()
        return len(self._due[priority])

    def oldest_due_seconds(self, now: float) -> float:
        """Return how long the key that waits longest has been due; 0 where none is."""
        waiting = [next(iter(keys.values()), now) for keys in self._due.values()]
        return max(0.0, now - min(*waiting, min((entry.due_at for entry in self._later.values()), default=now)))

    def stuck_seconds(self, now: float) -> float:
        """Return how long something has been due while nothing was taken; 0 where work goes on, however much waits."""
        return min(self.oldest_due_seconds(now), now - self._taken_at)

    def _schedule(self, key: ModelKey, due_at: float, priority: Priority) -> None:
        known = self._later.get(key)
        if known is not None:
            due_at = min(due_at, known.due_at)
            priority = min(priority, known.priority, key=_RANK.__getitem__)
        if key in self._due[Priority.BACKLOG] and priority is Priority.CHANGE and due_at <= self._clock():
            del self._due[Priority.BACKLOG][key]
        elif any(key in keys for keys in self._due.values()):
            return
        self._later[key] = _Entry(due_at, priority)
        if key not in self._running:
            self._arm(key, due_at)

    def _arm(self, key: ModelKey, due_at: float) -> None:
        heapq.heappush(self._timers, (due_at, key))
        self._news.set()

    def _release(self, key: ModelKey) -> None:
        del self._running[key]
        entry = self._later.get(key)
        if entry is not None:
            self._arm(key, entry.due_at)

    def _move_due(self) -> None:
        now = self._clock()
        while self._timers and self._timers[0][0] <= now:
            due_at, key = heapq.heappop(self._timers)
            entry = self._later.get(key)
            if entry is not None and entry.due_at == due_at and key not in self._running:
                del self._later[key]
                self._due[entry.priority][key] = due_at

    def _take(self) -> WorkItem | None:
        self._move_due()
        changes, backlog = self._due[Priority.CHANGE], self._due[Priority.BACKLOG]
        is_backlogs_turn = self._changes_in_a_row >= self._timing.changes_per_backlog_item
        if changes and not (backlog and is_backlogs_turn):
            priority, keys = Priority.CHANGE, changes
            self._changes_in_a_row += 1
        elif backlog:
            priority, keys = Priority.BACKLOG, backlog
            self._changes_in_a_row = 0
        else:
            return None
        key = next(iter(keys))
        now = self._clock()
        self._running[key] = self._taken_at = now
        return WorkItem(key, priority, waited_seconds=now - keys.pop(key))

    def _seconds_to_next(self) -> float | None:
        return max(0.0, self._timers[0][0] - self._clock()) if self._timers else None
