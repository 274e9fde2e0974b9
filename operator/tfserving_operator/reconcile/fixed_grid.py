"""Ticks on a fixed grid: a late tick does not shift those after it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

from tfserving_operator import telemetry

_LATE_SHARE = 0.1
"""A tick that begins later than this share of the period is counted as late."""


async def ticks(period_seconds: float) -> AsyncIterator[None]:
    """Yield at every multiple of ``period_seconds`` from now on; skip those that are over before the work is.

    Late and skipped ticks are counted, and how late each one began is measured.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    number = 0
    while True:
        due = began + number * period_seconds
        await asyncio.sleep(max(0.0, due - loop.time()))
        late_seconds = max(0.0, loop.time() - due)
        telemetry.SCALING_TICK_LATE_SECONDS.observe(late_seconds)
        if late_seconds > _LATE_SHARE * period_seconds:
            telemetry.SCALING_TICKS_MISSED.labels("late").inc()
        yield
        next_number = max(number + 1, math.ceil((loop.time() - began) / period_seconds))
        telemetry.SCALING_TICKS_MISSED.labels("skipped").inc(next_number - number - 1)
        number = next_number
