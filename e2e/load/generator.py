"""Sends requests on a schedule that does not wait for answers."""

from __future__ import annotations

import asyncio
import random
import time
from enum import StrEnum

import aiohttp

from e2e.load.record import LoadRecord

BODY = b'{"instances": [1.0, 2.0]}'


class Spacing(StrEnum):
    """How requests follow each other."""

    POISSON = "poisson"
    UNIFORM = "uniform"


class LoadGenerator:
    """Posts a body to a URL at a rate that may be changed at any time.

    Each request has a connection of its own: a kube-proxy balances connections, so each is sent to some replica
    anew, and none is tied to a replica that leaves. At most ``max_in_flight`` requests are under way; those that are
    due beyond that are counted as dropped, so that a dead server does not fill the memory here. Latency counts from
    when a request was due, so that a late generator does not hide waiting.
    """

    def __init__(
        self,
        url: str,
        *,
        requests_per_second: float = 0.0,
        spacing: Spacing = Spacing.POISSON,
        seed: int = 1,
        max_in_flight: int = 64,
        timeout_seconds: float = 10.0,
        body: bytes = BODY,
    ) -> None:
        self.url = url
        self.record = LoadRecord()
        self._rate = requests_per_second
        self._spacing = spacing
        self._random = random.Random(seed)  # noqa: S311 - arrivals, not secrets
        self._max_in_flight = max_in_flight
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._body = body
        self._under_way: set[asyncio.Task[None]] = set()
        self._rate_changed = asyncio.Event()

    def set_rate(self, requests_per_second: float) -> None:
        """Change the rate from now on; 0 pauses. To be called in the loop that ``run`` runs in."""
        self._rate = requests_per_second
        self._rate_changed.set()

    async def run(self, stopped: asyncio.Event) -> None:
        """Send until ``stopped`` is set, and wait for the answers that are still to come."""
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=self._timeout) as session:
            schedule = asyncio.create_task(self._keep_schedule(session))
            await stopped.wait()
            schedule.cancel()
            await asyncio.gather(schedule, return_exceptions=True)
            await asyncio.gather(*self._under_way)

    async def _keep_schedule(self, session: aiohttp.ClientSession) -> None:
        due = time.monotonic()
        while True:
            self._rate_changed.clear()
            next_due = due + self._gap_seconds() if self._rate > 0 else float("inf")
            if await self._rate_changes_before(next_due):
                due = time.monotonic()
                continue
            due = next_due
            self._send_one(session, due)

    def _gap_seconds(self) -> float:
        return self._random.expovariate(self._rate) if self._spacing is Spacing.POISSON else 1 / self._rate

    async def _rate_changes_before(self, due: float) -> bool:
        """Wait until ``due``; tell whether the rate was changed before."""
        wait_seconds = due - time.monotonic()
        if wait_seconds <= 0:
            await asyncio.sleep(0)  # behind schedule: what is due goes out at once, and answers are still taken in
            return self._rate_changed.is_set()
        try:
            async with asyncio.timeout(None if due == float("inf") else wait_seconds):
                return await self._rate_changed.wait()
        except TimeoutError:
            return False

    def _send_one(self, session: aiohttp.ClientSession, due: float) -> None:
        self.record.arrived(due, time.monotonic() - due)
        if len(self._under_way) >= self._max_in_flight:
            self.record.failed(due, "dropped", f"{len(self._under_way)} requests were under way already")
            return
        task = asyncio.create_task(self._ask(session, due))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _ask(self, session: aiohttp.ClientSession, due: float) -> None:
        try:
            async with session.post(self.url, data=self._body) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            words = f"{time.strftime('%X')} {error!r} after {time.monotonic() - due:.2f} s"
            cause = "timeout" if isinstance(error, TimeoutError) else type(error).__name__
            self.record.failed(due, cause, words)
            return
        if answer.status == 200:
            self.record.answered(due, time.monotonic() - due)
        else:
            self.record.failed(due, str(answer.status), f"{time.strftime('%X')} {answer.status} {text[:200]}")
