"""HTTP: /healthz and /readyz for the kubelet, /metrics for Prometheus, each on its own port."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client.aiohttp import make_aiohttp_handler

from tfserving_operator.handlers.health import Health

log = logging.getLogger(__name__)


@asynccontextmanager
async def serve_probes(health: Health, *, health_port: int, metrics_port: int) -> AsyncIterator[tuple[int, int]]:
    """Serve until left; yields the ports in the order of the arguments, which 0 leaves to the system."""
    probes = web.Application()
    probes.router.add_get("/healthz", _answer(health.faults, status_if_any=500))
    probes.router.add_get("/readyz", _answer(health.not_ready, status_if_any=503))
    metrics = web.Application()
    metrics.router.add_get("/metrics", make_aiohttp_handler())
    async with _serve(probes, health_port) as actual_health, _serve(metrics, metrics_port) as actual_metrics:
        log.info("serving probes and metrics", extra={"health_port": actual_health, "metrics_port": actual_metrics})
        yield actual_health, actual_metrics


def _answer(find_problems: Callable[[], list[str]], *, status_if_any: int) -> Handler:
    async def handle(_: web.Request) -> web.StreamResponse:
        problems = find_problems()
        return web.Response(
            status=status_if_any if problems else 200, text="".join(f"{line}\n" for line in problems or ["ok"])
        )

    return handle


@asynccontextmanager
async def _serve(app: web.Application, port: int) -> AsyncIterator[int]:
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        listener = _listen(port)
        await web.SockSite(runner, listener).start()
        yield listener.getsockname()[1]
    finally:
        await runner.cleanup()


def _listen(port: int) -> socket.socket:
    """Return one socket for IPv4 and IPv6, where there is IPv6: port 0 would be two ports on two sockets."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))
