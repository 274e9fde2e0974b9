"""A proxy before the real API server that answers 429 and 409 to writes before it lets them pass."""

from __future__ import annotations

import asyncio
import base64
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from e2e.web_servers import close, listen, url_of

_HOP_BY_HOP = frozenset({"connection", "content-length", "host", "transfer-encoding", "content-encoding"})
_WRITES = frozenset({"PATCH", "POST", "PUT", "DELETE"})
_TROUBLE = {
    0: (429, "TooManyRequests", "too many requests, try again later"),
    1: (409, "Conflict", "the object has been modified; please apply your changes to the latest version"),
}


class BusyApiServer:
    """Refuses the first two attempts of each write, by method and path."""

    def __init__(self, kubeconfig: str, directory: Path) -> None:
        """Stand before the server that ``kubeconfig`` names, as its user; use ``busy_api_server``."""
        config: dict[str, Any] = yaml.safe_load(kubeconfig)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._upstream: str = cluster["server"]
        self._tls = ssl.create_default_context(cadata=authority)
        if "client-certificate-data" in user:
            identity = directory / "identity.pem"
            parts = (user["client-certificate-data"], user["client-key-data"])
            identity.write_bytes(b"\n".join(base64.b64decode(part) for part in parts))
            self._tls.load_cert_chain(identity)
        self._attempts: Counter[tuple[str, str]] = Counter()
        self._session: aiohttp.ClientSession | None = None
        self.refused: Counter[int] = Counter()
        self.url = ""

    async def start(self) -> web.AppRunner:
        """Listen on a free port of the loopback."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None), auto_decompress=False)
        app = web.Application(client_max_size=10 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = await listen(app)
        self.url = url_of(runner)
        return runner

    async def close(self) -> None:
        """Close the connections to the real server."""
        assert self._session is not None
        await self._session.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.method in _WRITES:
            key = (request.method, request.path)
            trouble = _TROUBLE.get(self._attempts[key])
            self._attempts[key] += 1
            # To a new object, 409 would say that there is one of its name.
            if trouble is not None and not (trouble[0] == 409 and request.method == "POST"):
                return self._refuse(*trouble)
        return await self._pass_on(request)

    def _refuse(self, code: int, reason: str, message: str) -> web.Response:
        self.refused[code] += 1
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
        headers = {"Retry-After": "1"} if code == 429 else {}
        return web.json_response({**status, "message": message}, status=code, headers=headers)

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        url = f"{self._upstream}{request.path_qs}"
        body = await request.read()
        async with self._session.request(
            request.method, url, headers=headers, data=body or None, ssl=self._tls, skip_auto_headers=("Content-Type",)
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response


@contextmanager
def busy_api_server(kubeconfig: str, directory: Path) -> Iterator[BusyApiServer]:
    """Run the proxy in a thread of its own until left; ``directory`` takes its key."""
    server = BusyApiServer(kubeconfig, directory)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(server.start(), loop).result(timeout=10)
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(close(runner), loop).result(timeout=10)
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()


def point_at(kubeconfig: str, url: str, path: Path) -> Path:
    """Write ``kubeconfig`` with another server, spoken to without TLS."""
    config = yaml.safe_load(kubeconfig)
    config["clusters"][0]["cluster"] = {"server": url}
    path.write_text(yaml.safe_dump(config))
    return path
