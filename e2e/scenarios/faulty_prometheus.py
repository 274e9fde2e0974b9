"""A proxy before the real Prometheus that gives wrong, late or no answers while it is told to."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from e2e.scenarios.prometheus_answers import ANSWER_TROUBLES, Trouble, spoil
from e2e.web_servers import close, listen, url_of

_HOP_BY_HOP = frozenset({"connection", "content-length", "host", "transfer-encoding", "content-encoding"})
_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class AskedQuery:
    """One query that came."""

    at: float
    """Monotonic time."""
    text: str
    """The expression."""
    trouble: Trouble
    """What was wrong when it came."""


class FaultyPrometheus:
    """Passes queries on to the Prometheus at ``upstream``, and spoils the answers; use ``faulty_prometheus``."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._trouble = Trouble.NONE
        self._changed = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="faulty-prometheus", daemon=True)
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self.queries: list[AskedQuery] = []
        self.url = ""
        """Where pods find it."""

    def be(self, trouble: Trouble) -> None:
        """Be so from now on. Connections that hang are closed."""
        asyncio.run_coroutine_threadsafe(self._become(trouble), self._loop).result(timeout=10)

    def asked(self, trouble: Trouble) -> int:
        """Return how many queries came while it was so."""
        return sum(query.trouble is trouble for query in self.queries)

    def start(self, address: str) -> None:
        """Listen on a free port of ``address``."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(address), self._loop).result(timeout=10)

    def stop(self) -> None:
        """Close everything."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    async def _become(self, trouble: Trouble) -> None:
        self._trouble = trouble
        self._changed.set()
        self._changed = asyncio.Event()

    async def _listen(self, address: str) -> None:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        self._session = aiohttp.ClientSession(timeout=timeout, trust_env=False)
        app = web.Application(client_max_size=10 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = await listen(app, address)
        self.url = url_of(self._runner)

    async def _close(self) -> None:
        assert self._runner is not None
        assert self._session is not None
        await self._become(Trouble.CLOSE)
        await close(self._runner)
        await self._session.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        trouble = self._trouble
        form = await request.post()
        text = request.query.get("query") or form.get("query")
        if isinstance(text, str):
            self.queries.append(AskedQuery(time.monotonic(), text, trouble))
        match trouble:
            case Trouble.HANG:
                await self._changed.wait()
                return _closed(request)
            case Trouble.CLOSE:
                return _closed(request)
            case Trouble.SERVER_ERROR:
                error = {"status": "error", "errorType": "internal", "error": "tsdb: not enough memory"}
                return web.json_response(error, status=500)
            case Trouble.BAD_GATEWAY:
                page = "<html><body><h1>502 Bad Gateway</h1></body></html>"
                return web.Response(status=502, text=page, content_type="text/html")
            case Trouble.UNAUTHORIZED:
                return web.Response(status=401, text="Unauthorized", headers={"WWW-Authenticate": "Basic"})
            case Trouble.NOT_JSON:
                return web.Response(text="<html><body>Sign in</body></html>", content_type="text/html")
            case _:
                return await self._pass_on(request, trouble)

    async def _pass_on(self, request: web.Request, trouble: Trouble) -> web.StreamResponse:
        assert self._session is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        body = await request.read()
        url = f"{self._upstream}{request.path_qs}"
        try:
            async with self._session.request(request.method, url, headers=headers, data=body or None) as answer:
                content, status, kind = await answer.read(), answer.status, answer.content_type
        except (aiohttp.ClientError, TimeoutError):
            return _closed(request)
        if trouble in ANSWER_TROUBLES and status == 200:
            content = spoil(content, trouble, now=time.time())
        return web.Response(status=status, body=content, content_type=kind)


def _closed(request: web.Request) -> web.StreamResponse:
    """Hang up, as a process that is killed does."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


@contextmanager
def faulty_prometheus(upstream: str, address: str) -> Iterator[FaultyPrometheus]:
    """Run the proxy on ``address`` in a thread of its own until left."""
    proxy = FaultyPrometheus(upstream)
    proxy.start(address)
    try:
        yield proxy
    finally:
        proxy.stop()
