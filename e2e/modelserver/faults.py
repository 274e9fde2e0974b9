"""Where the knobs take effect: delays, failures, freezes and leaks, the same for both executors."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

from e2e.modelserver.knobs import Freeze, Knobs
from e2e.modelserver.statuses import Code, StatusError

PAGE_BYTES = 4096


class Faults:
    """The server's knobs as they are now, and the counters that they need."""

    def __init__(self, knobs: Knobs) -> None:
        self.knobs = knobs
        self.loads_attempted = 0
        self.runs_started = 0
        self.leaked_bytes = 0
        self.held = 0
        """Predictions that a freeze holds back."""
        self._leak: list[bytearray] = []
        self._error_share = 0.0
        self._thaw = asyncio.Event()

    def change(self, changes: Mapping[str, Any]) -> None:
        """Apply ``changes``; whatever a freeze held goes on when it ends."""
        self.knobs = self.knobs.merged_with(changes)
        self._thaw.set()
        self._thaw = asyncio.Event()

    async def before_load(self) -> None:
        """Delay or fail a load attempt."""
        self.loads_attempted += 1
        if self.knobs.load_delay_seconds:
            await asyncio.sleep(self.knobs.load_delay_seconds)
        if self.knobs.fail_loads == 0:
            return
        if self.knobs.fail_loads > 0:
            self.knobs = replace(self.knobs, fail_loads=self.knobs.fail_loads - 1)
        raise StatusError(Code.INTERNAL, self.knobs.fail_load_message)

    async def before_answer(self) -> None:
        """Hold any answer of REST or gRPC back while everything is frozen."""
        while self.knobs.freeze is Freeze.EVERYTHING:
            await self._thaw.wait()

    async def before_prediction(self) -> None:
        """Hold a request for a prediction back while frozen, and leak for it."""
        self.held += 1
        while self.knobs.freeze is not Freeze.NOTHING:
            await self._thaw.wait()
        self.held -= 1
        if self.knobs.leak_bytes_per_request:
            self.leak(self.knobs.leak_bytes_per_request)

    def before_run(self) -> None:
        """Fail a run of a model when its turn has come."""
        self.runs_started += 1
        self._error_share += self.knobs.error_rate
        # The sum of binary fractions falls short of a whole by rounding.
        if self._error_share >= 1 - 1e-9:
            self._error_share -= 1
            self._fail()

    def _fail(self) -> NoReturn:
        raise StatusError(self.knobs.error_code, self.knobs.error_message)

    def leak(self, size_bytes: int) -> None:
        """Take ``size_bytes`` for ever."""
        chunk = bytearray(size_bytes)
        chunk[::PAGE_BYTES] = b"\x01" * len(range(0, size_bytes, PAGE_BYTES))
        self._leak.append(chunk)
        self.leaked_bytes += size_bytes
