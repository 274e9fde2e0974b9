"""A trace from Prometheus: how many requests the replicas of a ServedModel got, as the operator counts them."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import aiohttp
import numpy as np

from tfserving_operator.autoscaling.outcomes import CLIENT_MISTAKES
from tfserving_operator.clients.prometheus_credentials import CredentialsError, RequestHeaders, TlsFiles, read_headers
from tfserving_operator.clients.prometheus_endpoint import PrometheusEndpoint
from tfserving_operator.clients.promql import ScrapeLabels, any_of, quoted
from tfserving_operator.simulation.trace import Trace, TraceError, build_trace

POINTS_A_QUERY = 10_000
"""Prometheus refuses more than 11,000."""
SHORTEST_WINDOW_SECONDS = 60
_TIMEOUT_SECONDS = 60.0
_LIMIT_BYTES, _CHUNK_BYTES = 64 * 2**20, 2**16
_MOST_WORDS = 300
_LATENCY = ":tensorflow:serving:request_latency_bucket"
_COUNT = ":tensorflow:serving:request_count"
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404
_FIRST_REDIRECT, _FIRST_CLIENT_ERROR = 300, 400

Point = tuple[float, float]
"""Seconds since the epoch, requests per second."""


@dataclass(frozen=True, kw_only=True)
class HistoryRequest:
    """Whose load, and when."""

    namespace: str
    name: str
    begin: datetime
    end: datetime
    step_seconds: int
    labels: ScrapeLabels = field(default_factory=ScrapeLabels)

    @property
    def window_seconds(self) -> int:
        """What a rate is averaged over: a step, and never less than some scrapes."""
        return max(SHORTEST_WINDOW_SECONDS, self.step_seconds)


def build_rate_query(request: HistoryRequest) -> str:
    """Return the PromQL of requests per second: those answered OK, and failures that are no client's mistake.

    A pod that several jobs scrape counts once.
    """
    labels = request.labels
    matchers = [
        f"{labels.namespace}={quoted(request.namespace)}",
        f"{labels.served_model}={quoted(request.name)}",
        f'{labels.pool}!=""',
    ]

    def total(metric: str, *more: str) -> str:
        selector = f"{metric}{{{', '.join((*matchers, *more))}}}"
        return f"sum(max without (job, instance) (rate({selector}[{request.window_seconds}s])))"

    answered = total(_LATENCY, 'API!=""', 'le="+Inf"')
    mistakes = any_of(sorted(CLIENT_MISTAKES))
    failed = total(_COUNT, 'status!="OK"', f"status!~{mistakes}")
    return f"{answered} + ({failed} or vector(0)) or {failed}"


def read_prometheus_trace(endpoint: PrometheusEndpoint, request: HistoryRequest) -> Trace:
    """Return the load of a ServedModel as a trace.

    Raises:
        TraceError: Prometheus does not answer, refuses, or knows nothing of the ServedModel.
    """
    points = asyncio.run(_read(endpoint, request))
    whose = f"{request.namespace}/{request.name}"
    if len(points) < 2:
        raise TraceError(
            f"Prometheus has no requests of ServedModel {whose} between {_words(request.begin)} and "
            f"{_words(request.end)}: check name, namespace and --since, and that model servers are scraped as "
            "docs/prometheus.md says"
        )
    times = np.array([at for at, _ in points])
    # A rate is that of the window before it, so it belongs to the middle of it.
    trace = build_trace(
        name=whose, time_seconds=times - request.window_seconds / 2, requests_per_second=[rate for _, rate in points]
    )
    return replace(trace, assumptions=_assumptions(request, times))


def _assumptions(request: HistoryRequest, times: np.ndarray[Any, np.dtype[Any]]) -> tuple[str, ...]:
    said = [f"rates are means over {request.window_seconds} s: shorter bursts than that are not in Prometheus' answer"]
    missing = round(float(times[-1] - times[0]) / request.step_seconds) + 1 - len(times)
    if missing > 0:
        said.append(f"{missing} of {missing + len(times)} points are missing in Prometheus: straight lines bridge them")
    return tuple(said)


async def _read(endpoint: PrometheusEndpoint, request: HistoryRequest) -> list[Point]:
    query = build_rate_query(request)
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
    points: list[Point] = []
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for begin, end in _spans(request):
            fields = {"query": query, "start": str(begin), "end": str(end), "step": str(request.step_seconds)}
            points += await _query(session, endpoint, fields)
    return points


def _spans(request: HistoryRequest) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each query: whole steps, so that no point comes twice."""
    step = request.step_seconds
    begin = math.ceil(request.begin.timestamp() / step) * step
    last = math.floor(request.end.timestamp() / step) * step
    while begin <= last:
        end = min(last, begin + (POINTS_A_QUERY - 1) * step)
        yield begin, end
        begin = end + step


async def _query(
    session: aiohttp.ClientSession, endpoint: PrometheusEndpoint, fields: dict[str, str]
) -> Sequence[Point]:
    try:
        headers = read_headers(endpoint)
    except CredentialsError as error:
        raise TraceError(str(error)) from error
    try:
        return read_points(*await _post(session, endpoint, fields, headers))
    except TraceError as error:
        words = str(error)
    except CredentialsError as error:
        raise TraceError(str(error)) from error
    except TimeoutError:
        words = f"did not answer within {_TIMEOUT_SECONDS:g} s"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        words = f"cannot be reached: {str(error) or type(error).__name__}"
    raise TraceError(f"Prometheus at {endpoint.url} {headers.without_secrets(words)}")


async def _post(
    session: aiohttp.ClientSession, endpoint: PrometheusEndpoint, fields: dict[str, str], headers: RequestHeaders
) -> tuple[int, bytes]:
    request = session.post(
        f"{endpoint.url}/api/v1/query_range",
        data=fields,
        headers=dict(headers.values),
        ssl=TlsFiles(endpoint).context() if endpoint.url.startswith("https:") else True,
        # Credentials would go along to wherever a redirect leads.
        allow_redirects=False,
    )
    body = bytearray()
    async with request as response:
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            body += chunk
            if len(body) > _LIMIT_BYTES:
                raise TraceError(f"answers more than the {_LIMIT_BYTES >> 20} MiB that are read: is it Prometheus?")
        return response.status, bytes(body)


def read_points(status: int, body: bytes) -> list[Point]:
    """Return the points of an answer; those that are no number are left out.

    Raises:
        TraceError: It is none; the message goes on after ``Prometheus at URL``.
    """
    if _FIRST_REDIRECT <= status < _FIRST_CLIENT_ERROR:
        raise TraceError(f"answers with a redirect ({status}): give the address that it leads to")
    if status in (_UNAUTHORIZED, _FORBIDDEN):
        raise TraceError(f"refuses the credentials ({status}): give a token with --token-file")
    try:
        content = json.loads(body)
        if content["status"] != "success":
            raise TraceError(f"refuses the query: {str(content.get('error', 'it says no reason'))[:_MOST_WORDS]}")
        series = content["data"]["result"]
        found = [(float(at), float(value)) for at, value in (series[0]["values"] if series else [])]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        if isinstance(error, TraceError):
            raise
        hint = "is the address right up to, and without, /api/v1?" if status == _NOT_FOUND else "is it Prometheus?"
        raise TraceError(f"answers {status} and not what Prometheus would: {hint}") from None
    return [(at, max(0.0, value)) for at, value in found if math.isfinite(value)]


def _words(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
