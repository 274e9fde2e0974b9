"""The generator against a small web server of this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from e2e.load.generator import LoadGenerator, Spacing
from e2e.load.record import LoadRecord, LoadSummary
from e2e.web_servers import served

Handler = Callable[[web.Request], Awaitable[web.Response]]


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/", handler)
    async with served(app) as url:
        yield f"{url}/"


async def reached(generator: LoadGenerator, probe: Callable[[LoadSummary], bool]) -> LoadSummary:
    async with asyncio.timeout(10):
        while not probe(generator.record.summary()):  # noqa: ASYNC110 - a record has no events
            await asyncio.sleep(0.01)
    return generator.record.summary()


async def run_until(generator: LoadGenerator, probe: Callable[[LoadSummary], bool]) -> LoadSummary:
    """Run the generator until ``probe`` says so; return what it has counted at the end."""
    stopped = asyncio.Event()
    task = asyncio.create_task(generator.run(stopped))
    await reached(generator, probe)
    stopped.set()
    await task
    return generator.record.summary()


async def test_requests_come_although_none_is_answered_and_no_more_than_allowed_are_under_way() -> None:
    release = asyncio.Event()
    under_way = 0

    async def held(request: web.Request) -> web.Response:
        nonlocal under_way
        under_way += 1
        await release.wait()
        return web.Response()

    async with server(held) as url:
        generator = LoadGenerator(url, requests_per_second=200, spacing=Spacing.UNIFORM, max_in_flight=5)
        stopped = asyncio.Event()
        task = asyncio.create_task(generator.run(stopped))
        summary = await reached(generator, lambda s: s.arrived >= 50 and under_way == 5)
        release.set()
        stopped.set()
        await task
    assert summary.failures == {"dropped": summary.arrived - 5}
    assert generator.record.summary().ok == 5


async def test_waiting_counts_from_when_a_request_was_due() -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(0.1)
        return web.Response()

    async with server(slow) as url:
        summary = await run_until(LoadGenerator(url, requests_per_second=50), lambda s: s.ok >= 5)
    assert summary.share_within(67_466.4) == 0.0


async def test_errors_are_counted_by_status_and_told() -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=503, text="overloaded")

    async with server(refuse) as url:
        generator = LoadGenerator(url, requests_per_second=50)
        summary = await run_until(generator, lambda s: s.failed >= 3)
    assert set(summary.failures) == {"503"}
    assert "503 overloaded" in generator.record.failures[0]


async def test_a_server_that_is_not_there_or_too_slow_is_counted_by_cause() -> None:
    async def never(request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async with server(never) as url:
        generator = LoadGenerator(url, requests_per_second=50, timeout_seconds=0.1)
        summary = await run_until(generator, lambda s: s.failed >= 2)
    assert set(summary.failures) == {"timeout"}
    refused = await run_until(LoadGenerator(url, requests_per_second=50), lambda s: s.failed >= 2)
    assert set(refused.failures) == {"ClientConnectorError"}


async def test_a_changed_rate_holds_at_once_and_zero_pauses() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response()

    async with server(answer) as url:
        generator = LoadGenerator(url, requests_per_second=0)
        stopped = asyncio.Event()
        task = asyncio.create_task(generator.run(stopped))
        await asyncio.sleep(0.05)
        assert generator.record.summary().arrived == 0
        generator.set_rate(100)
        await reached(generator, lambda s: s.ok >= 10)
        generator.set_rate(0)
        await asyncio.sleep(0.05)
        paused = generator.record.summary().arrived
        await asyncio.sleep(0.1)
        assert generator.record.summary().arrived == paused
        stopped.set()
        await task


class DueTimes(LoadRecord):
    """Remembers when each request was due: what is sent late on a busy machine was due in time."""

    def __init__(self) -> None:
        super().__init__()
        self.due_times: list[float] = []
        self.lags_seconds: list[float] = []

    def arrived(self, due: float, lag_seconds: float) -> None:
        self.due_times.append(due)
        self.lags_seconds.append(lag_seconds)
        super().arrived(due, lag_seconds)


@pytest.mark.parametrize("spacing", Spacing)
async def test_the_rate_is_kept_over_time(spacing: Spacing) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response()

    async with server(answer) as url:
        generator = LoadGenerator(url, requests_per_second=400, spacing=spacing)
        generator.record = record = DueTimes()
        await run_until(generator, lambda s: s.arrived >= 200)
    seconds = record.due_times[-1] - record.due_times[0]
    assert len(record.due_times) - 1 == pytest.approx(400 * seconds, rel=0.2)
    assert min(record.lags_seconds) > -0.001, "none is sent before it is due"
