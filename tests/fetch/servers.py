"""Real servers on loopback for the fetcher's tests, and the trouble they can be told to make."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

from e2e.web_servers import served

CHUNK_BYTES = 64 << 10


@dataclass
class Trouble:
    """What goes wrong with the requests whose path ends in ``path_end``, but for the first few."""

    path_end: str = ""
    status: int | None = None
    cut_after_bytes: int | None = None
    bytes_per_second: int | None = None
    flip_a_bit: bool = False
    stall: bool = False
    times: int = 1_000_000
    spared: int = 0

    def strikes(self, request: web.Request) -> bool:
        if self.times <= 0 or not request.path.endswith(self.path_end):
            return False
        if self.spared > 0:
            self.spared -= 1
            return False
        self.times -= 1
        return True


@dataclass
class SeenRequest:
    method: str
    path: str
    range: str | None
    authorization: str | None
    status: int = 0


_SEEN = web.RequestKey("seen", SeenRequest)


@dataclass
class Loopback:
    """A running server: its URL, the requests it saw, and the troubles it makes."""

    url: str
    seen: list[SeenRequest] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    required_authorization: str | None = None

    def gets(self, path_end: str) -> list[SeenRequest]:
        return [r for r in self.seen if r.method == "GET" and r.path.endswith(path_end)]

    def next_trouble(self, request: web.Request) -> Trouble | None:
        return next((trouble for trouble in self.troubles if trouble.strikes(request)), None)


@contextmanager
def serve_files(root: Path, tls: ssl.SSLContext | None = None) -> Iterator[Loopback]:
    """Serve ``root`` with ranges, ETags and conditional requests, as any good web server does."""

    async def handle(request: web.Request) -> web.StreamResponse:
        path = root / request.match_info["path"]
        if path.suffix == ".redirect":
            raise web.HTTPFound(path.read_text())
        if path.suffix == ".endless":
            return await _answer_much(request)
        if path.suffix == ".strict" and (asked := request.headers.get("If-Range")):
            # aiohttp knows If-Range with a date only.
            etag = f'"{path.stat().st_mtime_ns:x}-{path.stat().st_size:x}"'
            if asked != etag:
                return web.Response(body=path.read_bytes(), headers={"ETag": etag})
        return web.FileResponse(path) if path.is_file() else web.Response(status=404)

    with _serve(handle, tls=tls) as server:
        yield server


async def _answer_much(request: web.Request) -> web.StreamResponse:
    """Answer in chunks, without a length, with more than a test should take."""
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    with suppress(ConnectionError):
        for _ in range(64):
            await response.write(bytes(1 << 20))
    return response


@contextmanager
def serve_documents(documents: Mapping[str, object], tls: ssl.SSLContext | None = None) -> Iterator[Loopback]:
    """Answer with the document that ``documents`` has for a path, text as it is and all else as JSON."""

    async def handle(request: web.Request) -> web.StreamResponse:
        document = documents.get(request.path)
        if document is None:
            return web.Response(status=404)
        return web.Response(text=document) if isinstance(document, str) else web.json_response(document)

    with _serve(handle, tls=tls) as server:
        yield server


@contextmanager
def proxy(upstream: str, tls: ssl.SSLContext | None = None) -> Iterator[Loopback]:
    """Pass everything on to ``upstream`` and back, but for the troubles."""
    sessions: list[aiohttp.ClientSession] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        if not sessions:
            sessions.append(aiohttp.ClientSession(auto_decompress=False))
        # Signatures cover the host name; moto does not check them.
        async with sessions[0].request(
            request.method, upstream + request.raw_path, headers=request.headers, data=await request.read()
        ) as answer:
            body = await answer.read()
            headers = {k: v for k, v in answer.headers.items() if k.lower() not in ("transfer-encoding", "connection")}
            if request.method == "HEAD":
                return web.Response(status=answer.status, headers=headers)
            headers.pop("Content-Length", None)
            return web.Response(status=answer.status, headers=headers, body=body)

    async def close() -> None:
        for session in sessions:
            await session.close()

    with _serve(handle, on_stop=close, tls=tls) as server:
        yield server


@contextmanager
def _serve(
    handle: Callable[..., object], *, on_stop: Callable[..., object] | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[Loopback]:
    server = Loopback("")
    loops: list[asyncio.AbstractEventLoop] = []
    started = threading.Event()
    finish = asyncio.Event()

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        app = web.Application(middlewares=[_trouble_middleware(server)], client_max_size=1 << 30)
        app.on_response_prepare.append(_note_status)
        app.router.add_route("*", "/{path:.*}", handle)  # type: ignore[arg-type]
        async with served(app, tls=tls) as url:
            server.url = url
            started.set()
            await finish.wait()
            if on_stop:
                await on_stop()  # type: ignore[misc]

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    if not started.wait(timeout=10):
        raise TimeoutError("the server did not start")
    try:
        yield server
    finally:
        loops[0].call_soon_threadsafe(finish.set)
        thread.join(timeout=10)


async def _note_status(request: web.Request, response: web.StreamResponse) -> None:
    request[_SEEN].status = response.status


def _trouble_middleware(server: Loopback):  # type: ignore[no-untyped-def]
    @web.middleware
    async def middleware(request: web.Request, handler: Callable[..., object]) -> web.StreamResponse:
        headers = request.headers
        entry = SeenRequest(request.method, request.path, headers.get("Range"), headers.get("Authorization"))
        server.seen.append(entry)
        request[_SEEN] = entry
        if server.required_authorization not in (None, entry.authorization):
            return web.Response(status=401)
        trouble = server.next_trouble(request)
        if trouble and trouble.status:
            return web.Response(status=trouble.status)
        response: web.StreamResponse = await handler(request)  # type: ignore[misc]
        if trouble and request.method == "GET":
            return await _spoiled(request, response, trouble)
        return response

    return middleware


async def _spoiled(request: web.Request, response: web.StreamResponse, trouble: Trouble) -> web.StreamResponse:
    body, headers, status = _whole_body(request, response)
    if trouble.flip_a_bit and body:
        body = bytes([body[0] ^ 1]) + body[1:]
    spoiled = web.StreamResponse(status=status, headers=headers)
    spoiled.content_length = len(body)
    await spoiled.prepare(request)
    end = len(body) if trouble.cut_after_bytes is None else trouble.cut_after_bytes
    for start in range(0, end, CHUNK_BYTES):
        await spoiled.write(body[start : min(start + CHUNK_BYTES, end)])
        if trouble.bytes_per_second:
            await asyncio.sleep(CHUNK_BYTES / trouble.bytes_per_second)
    if trouble.stall:
        await asyncio.sleep(3600)
    if end < len(body) and request.transport:
        request.transport.close()
    return spoiled


def _whole_body(request: web.Request, response: web.StreamResponse) -> tuple[bytes, dict[str, str], int]:
    """Return what ``response`` would send; of a file, the asked range."""
    if isinstance(response, web.FileResponse):
        content = response._path.read_bytes()
        stat = response._path.stat()
        headers = {"ETag": f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"', "Accept-Ranges": "bytes"}
        asked = request.http_range
        if asked.start is None:
            return content, headers, 200
        headers["Content-Range"] = f"bytes {asked.start}-{len(content) - 1}/{len(content)}"
        return content[asked.start :], headers, 206
    assert isinstance(response, web.Response) and isinstance(response.body, bytes)
    headers = {k: v for k, v in response.headers.items() if k.lower() != "content-length"}
    return response.body, headers, response.status
