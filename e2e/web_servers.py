"""aiohttp servers of a test's own process, which leave no connection behind when they close."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

# From a connection in the kernel's queue to one that aiohttp knows of: accept, make the transport, tell the protocol.
_TURNS_TO_TAKE_IN = 5


async def listen(app: web.Application, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> web.AppRunner:
    """Serve ``app`` on a free port of ``address`` until ``close``."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, address, 0, ssl_context=tls).start()
    return runner


def url_of(runner: web.AppRunner, scheme: str = "http") -> str:
    """Return where ``runner`` listens, without a slash at its end."""
    host, port = runner.addresses[0][:2]
    return f"{scheme}://{host}:{port}"


async def close(runner: web.AppRunner) -> None:
    """Stop listening and close all connections.

    A client that went away at once leaves connections that the event loop is still taking in. aiohttp closes only
    those that it knows of; the others would be found by the garbage collector, in some later test.
    """
    for _ in range(_TURNS_TO_TAKE_IN):
        await asyncio.sleep(0)
    await runner.cleanup()


@asynccontextmanager
async def served(app: web.Application, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve ``app`` on the loopback until the context ends; yields its URL, without a slash at its end."""
    runner = await listen(app, tls=tls)
    try:
        yield url_of(runner, "https" if tls else "http")
    finally:
        await close(runner)
