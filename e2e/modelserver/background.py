"""Work that goes on when nobody waits for it any more, as a thread's would."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class Background:
    """Sees coroutines through to their end, whatever becomes of the caller."""

    def __init__(self) -> None:
        # The event loop itself does not keep tasks alive.
        self._tasks: set[asyncio.Task[Any]] = set()

    async def finish(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Return the result of ``work``; a caller that is cancelled leaves it running."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Looked at here in case nobody else does.
            task.exception()
