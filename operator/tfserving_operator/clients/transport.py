"""HTTP to the API server: authentication, timeouts, metrics, and errors in our own terms."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from tfserving_operator import telemetry
from tfserving_operator.clients.api_status import error_of_response
from tfserving_operator.clients.errors import Rejected, Unavailable
from tfserving_operator.clients.kinds import Resource

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 5.0
_UNAUTHORIZED = 401
_RELOAD_INTERVAL_SECONDS = 5.0
_MOST_RETIRED = 3
_FIRST_ERROR_CODE = 400
_USER_AGENT = f"tfserving-operator/{telemetry.VERSION}"
_NO_ANSWER = (aiohttp.ClientError, TimeoutError, OSError)


async def load_configuration() -> Configuration:
    """Return how to reach the API server: the pod's service account, else the kubeconfig."""
    configuration = Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call] # no annotations there
    except config.ConfigException:
        await config.load_kube_config(  # type: ignore[no-untyped-call] # no annotations there
            client_configuration=configuration, persist_config=False
        )
    return configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request. ``verb`` is the API server's word for it, which the metrics carry."""

    verb: str
    resource: Resource
    method: str
    path: str
    query: Mapping[str, str | int | bool | None] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    content_type: str = "application/json"

    @property
    def target(self) -> str:
        """Path and query string."""
        text = {key: _query_value(value) for key, value in self.query.items() if value is not None}
        return f"{self.path}?{urlencode(text)}" if text else self.path


def _query_value(value: str | int | bool | None) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class _RestClient(RESTClientObject):
    """The library's HTTP client, with keep-alive on the sockets.

    A watch waits in silence for minutes: without probes, a connection whose other end is gone looks the same.
    """

    def _create_connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=self.maxsize, ssl=self.ssl_context, socket_factory=_keepalive_socket)


def _keepalive_socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol = address[:3]
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return sock


@dataclass(frozen=True, slots=True)
class _Connection:
    configuration: Configuration
    rest: _RestClient


class Transport:
    """Sends calls. Credentials are loaded at the first one, and again when the server no longer takes them."""

    def __init__(self, load: Callable[[], Awaitable[Configuration]] = load_configuration) -> None:
        self._load = load
        self._loading = asyncio.Lock()
        self._current: _Connection | None = None
        self._retired: list[_Connection] = []
        self._retired_at = -math.inf

    async def close(self) -> None:
        """Close all connections."""
        for connection in (*self._retired, *filter(None, [self._current])):
            await connection.rest.close()
        self._retired.clear()
        self._current = None

    async def send(self, call: Call, *, timeout_seconds: float) -> Any:
        """Return the parsed JSON of the answer."""
        limits = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=CONNECT_TIMEOUT_SECONDS)
        response = await self._respond(call, limits)
        try:
            return json.loads(await response.read())
        except (*_NO_ANSWER, ValueError) as error:
            raise Unavailable(f"the answer to {call.verb} {call.path} broke off: {_words(error)}") from error
        finally:
            response.release()

    async def open_stream(self, call: Call, *, read_timeout_seconds: float) -> aiohttp.ClientResponse:
        """Return a response whose body is still coming; the caller closes it.

        Reading from it fails when nothing came for ``read_timeout_seconds``.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS, sock_read=read_timeout_seconds)
        return await self._respond(call, limits)

    async def _respond(self, call: Call, limits: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        connection = await self._connection()
        response = await _attempt(connection, call, limits)
        if response.status == _UNAUTHORIZED:
            # Bound service account tokens and those of exec plugins expire.
            response.release()
            log.debug("credentials refused, loading them again")
            await self._retire(connection)
            response = await _attempt(await self._connection(), call, limits)
        if response.status < _FIRST_ERROR_CODE:
            return response
        try:
            body = await response.read()
        except _NO_ANSWER as error:
            raise Unavailable(f"the answer to {call.verb} {call.path} broke off: {_words(error)}") from error
        finally:
            response.release()
        raise error_of_response(response.status, body, response.headers)

    async def _connection(self) -> _Connection:
        async with self._loading:
            if self._current is None:
                try:
                    configuration = await self._load()
                except config.ConfigException as error:
                    raise Rejected(f"no way to the API server: {error}", reason="Unconfigured") from error
                self._current = _Connection(configuration, _RestClient(configuration))
            return self._current

    async def _retire(self, connection: _Connection) -> None:
        """Use new credentials from now on. Other calls may still be under way on the old connection.

        Not again and again where they are refused as well. And only the last few connections stay open: a call on an
        earlier one is tried again by whoever made it.
        """
        now = time.monotonic()
        if self._current is not connection or now - self._retired_at < _RELOAD_INTERVAL_SECONDS:
            return
        self._retired_at = now
        self._retired.append(connection)
        self._current = None
        while len(self._retired) > _MOST_RETIRED:
            await self._retired.pop(0).rest.close()


async def _attempt(connection: _Connection, call: Call, limits: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
    headers = {"Accept": "application/json", "Content-Type": call.content_type, "User-Agent": _USER_AGENT}
    token = (await connection.configuration.auth_settings()).get("BearerToken", {}).get("value")
    if token:
        headers["Authorization"] = token
    code, began = "error", time.perf_counter()
    try:
        answer = await connection.rest.request(  # type: ignore[no-untyped-call] # no annotations there
            call.method,
            connection.configuration.host + call.target,
            headers=headers,
            body=call.body,
            _request_timeout=limits,
        )
        code = str(answer.status)
    except _NO_ANSWER as error:
        raise Unavailable(f"the API server does not answer: {_words(error)}") from error
    finally:
        telemetry.API_REQUESTS.labels(call.verb, call.resource.plural, code).inc()
        telemetry.API_REQUEST_SECONDS.labels(call.verb).observe(time.perf_counter() - began)
    response: aiohttp.ClientResponse = answer.response
    return response


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
