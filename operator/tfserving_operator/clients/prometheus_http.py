"""One query to one Prometheus: time limit, size limit, and every failure in our own words."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

import aiohttp

from tfserving_operator import telemetry
from tfserving_operator.autoscaling.signals import SignalState
from tfserving_operator.clients.prometheus_answers import Answer, Failure, Outcome, read_answer
from tfserving_operator.clients.prometheus_credentials import (
    CredentialsError,
    RequestHeaders,
    TlsFiles,
    read_headers,
)
from tfserving_operator.clients.prometheus_endpoint import PrometheusEndpoint

_CHUNK_BYTES: Final = 2**16
_MEBIBYTE: Final = 2**20
_HEADERS: Final = {
    "User-Agent": f"tfserving-operator/{telemetry.VERSION}",
    "Accept": "application/json",
    # Within a cluster, packing the answers costs Prometheus more than sending them.
    "Accept-Encoding": "identity",
}


class _TooLargeError(Exception):
    """The answer is larger than the limit."""


class PrometheusApi:
    """The query API at one endpoint."""

    def __init__(self, endpoint: PrometheusEndpoint, *, timeout_seconds: float, limit_bytes: int) -> None:
        self._endpoint = endpoint
        self._tls = TlsFiles(endpoint)
        self._timeout_seconds = timeout_seconds
        self._limit_bytes = limit_bytes

    async def query(self, session: aiohttp.ClientSession, name: str, expression: str) -> Outcome:
        """Return the answer to an instant query at Prometheus' own time; a Failure for any trouble of it."""
        began = time.perf_counter()
        outcome = await self._query(session, expression)
        seconds = time.perf_counter() - began
        if isinstance(outcome, Answer):
            telemetry.PROMETHEUS_QUERY_SECONDS.labels(name, "Answered").observe(seconds)
            telemetry.PROMETHEUS_ROWS.labels(name).inc(len(outcome.rows))
        else:
            telemetry.PROMETHEUS_QUERY_SECONDS.labels(name, outcome.state.value).observe(seconds)
        return outcome

    async def _query(self, session: aiohttp.ClientSession, expression: str) -> Outcome:
        try:
            headers = read_headers(self._endpoint)
        except CredentialsError as error:
            return Failure(SignalState.PROMETHEUS_REJECTED, str(error))
        try:
            outcome = read_answer(*await self._post(session, expression, headers))
        except (CredentialsError, _TooLargeError, aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            outcome = self._failure_of(error)
        return _without_secrets(outcome, headers)

    async def _post(
        self, session: aiohttp.ClientSession, expression: str, headers: RequestHeaders
    ) -> tuple[int, bytes]:
        is_https = self._endpoint.url.startswith("https:")
        request = session.post(
            f"{self._endpoint.url}/api/v1/query",
            # Prometheus gives up at the same time as we do, instead of working on for nobody.
            data={"query": expression, "timeout": f"{self._timeout_seconds * 1000:.0f}ms"},
            headers={**_HEADERS, **headers.values},
            timeout=aiohttp.ClientTimeout(total=self._timeout_seconds),
            ssl=self._tls.context() if is_https else True,
            # aiohttp would send headers such as X-API-Key along to wherever a redirect leads.
            allow_redirects=False,
        )
        async with request as response:
            body = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                body += chunk
                if len(body) > self._limit_bytes:
                    raise _TooLargeError
            return response.status, bytes(body)

    def _failure_of(self, error: Exception) -> Failure:
        match error:
            case CredentialsError():
                return Failure(SignalState.PROMETHEUS_REJECTED, str(error))
            case _TooLargeError():
                limit = self._limit_bytes // _MEBIBYTE
                return Failure(
                    SignalState.PARTIAL_ANSWER, f"the answer is larger than the {limit} MiB that are read of one"
                )
            case TimeoutError():
                return Failure(SignalState.PROMETHEUS_SLOW, f"no answer within {self._timeout_seconds:g} s")
            case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
                return Failure(
                    SignalState.PROMETHEUS_UNAVAILABLE,
                    f"TLS failed: {error}; check caFile and the name in the certificate",
                )
        return Failure(SignalState.PROMETHEUS_UNAVAILABLE, f"cannot be reached: {str(error) or type(error).__name__}")


def _without_secrets(outcome: Outcome, headers: RequestHeaders) -> Outcome:
    if isinstance(outcome, Failure):
        return replace(outcome, message=headers.without_secrets(outcome.message))
    return replace(outcome, warnings=tuple(map(headers.without_secrets, outcome.warnings)))
