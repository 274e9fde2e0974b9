"""The REST port: predictions, model status, metadata and the metrics page."""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from aiohttp import web

from e2e.modelserver import json_answers as answers
from e2e.modelserver import json_requests as requests
from e2e.modelserver.background import Background
from e2e.modelserver.inference import Inference
from e2e.modelserver.json_examples import example_inputs
from e2e.modelserver.status_report import model_status
from e2e.modelserver.statuses import HTTP_STATUS_BY_CODE, OK, Code, Status, StatusError, status_of
from e2e.modelserver.wire import config_pb2
from e2e.modelserver.wire import serving_pb2 as pb

if TYPE_CHECKING:
    from e2e.modelserver.core import ServerCore
    from e2e.modelserver.faults import Faults
    from e2e.modelserver.metrics import ServerMetrics

DEFAULT_METRICS_PATH = "/monitoring/prometheus/metrics"
API_PATH = re.compile(r"/v1/.*", re.IGNORECASE)
PREDICTION_PATH = re.compile(
    r"/v1/models/([^/:]+)(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?:(classify|regress|predict)",
    re.IGNORECASE,
)
STATUS_PATH = re.compile(
    r"/v1/models(?:/([^/:]+))?(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?(?:/(metadata))?",
    re.IGNORECASE,
)
CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}
INT64_LIMIT = 1 << 63
INT64_DIGITS = 19
NOT_FOUND_PAGE = "<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"
PORTS = 1 << 16
LISTEN_BACKLOG = 128
KEEPALIVE_SECONDS = 50.0
# Frozen requests would hold up the end of a test.
SHUTDOWN_SECONDS = 0.05


@dataclass(frozen=True)
class RestSettings:
    """What of the flags the REST port needs."""

    num_threads: int
    timeout_seconds: float | None
    cors: bool
    monitoring: config_pb2.MonitoringConfig


@dataclass
class Answer:
    """What a request gets, and the labels that it is counted under."""

    model: str = ""
    api: str = ""
    body: str = ""
    status: Status = OK


class RestFront:
    """Answers HTTP requests."""

    def __init__(
        self,
        core: ServerCore,
        inference: Inference,
        faults: Faults,
        metrics: ServerMetrics,
        settings: RestSettings,
    ) -> None:
        self._core = core
        self._inference = inference
        self._faults = faults
        self._metrics = metrics
        self._settings = settings
        # One of the threads runs the event loop for good: a single thread never gets to a request.
        self._threads = asyncio.Semaphore(max(0, settings.num_threads - 1))
        self._background = Background()
        self._metrics_path = settings.monitoring.prometheus_config.path or DEFAULT_METRICS_PATH

    async def start(self, port: int) -> web.ServerRunner:
        """Listen on ``port``; raise OSError when that is not possible."""
        listener = listening_socket(port)
        server = web.Server(self._handle, access_log=None, keepalive_timeout=KEEPALIVE_SECONDS)
        runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        await web.SockSite(runner, listener, backlog=LISTEN_BACKLOG).start()
        return runner

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.rel_url.raw_path
        is_metrics = self._settings.monitoring.prometheus_config.enable and path == self._metrics_path
        if not is_metrics and not API_PATH.fullmatch(path):
            return web.Response(status=404, text=NOT_FOUND_PAGE, content_type="text/html")
        body = await read_body(request)
        # Like a thread, the rest goes on when the client has left.
        return await self._background.finish(self._on_thread(request, path, body, is_metrics))

    async def _on_thread(
        self, request: web.BaseRequest, path: str, body: bytes, is_metrics: bool
    ) -> web.StreamResponse:
        async with self._threads:
            await self._faults.before_answer()
            if is_metrics:
                page = self._metrics.page().encode()
                return web.Response(body=page, headers={"Content-Type": "text/plain"})
            return await self._recorded(request, path, body)

    async def _recorded(self, request: web.BaseRequest, path: str, body: bytes) -> web.StreamResponse:
        begin = time.monotonic()
        answer = Answer()
        try:
            if request.method == "OPTIONS":
                _check_origin(request.headers.get("Origin", ""))
            else:
                await self._answer(request.method, path, body, answer)
        except Exception as error:
            answer.status = _status_of_request(error)
            answer.body = answers.error_body(answer.status.message) if request.method != "OPTIONS" else ""
        if answer.status.ok:
            micros = (time.monotonic() - begin) * 1e6
            self._metrics.request_latency.observe(micros, answer.model, answer.api, "REST")
        self._metrics.request_count.add(1, answer.model, answer.status.code.name)
        headers = {} if request.method == "OPTIONS" else {"Content-Type": "application/json"}
        return web.Response(
            status=HTTP_STATUS_BY_CODE[answer.status.code],
            body=answer.body.encode("utf-8", "surrogateescape"),
            headers=headers | (CORS_HEADERS if self._settings.cors else {}),
        )

    async def _answer(self, method: str, path: str, body: bytes, answer: Answer) -> None:
        pattern = {"POST": PREDICTION_PATH, "GET": STATUS_PATH}.get(method)
        match = pattern.fullmatch(path) if pattern else None
        if match is None:
            raise StatusError(Code.INVALID_ARGUMENT, f"Malformed request: {method} {path}")
        name, version, label, last = match.groups(default="")
        answer.model = unquote(name)
        if method == "POST":
            answer.api = last
        spec = _model_spec(answer.model, version, label)
        if method == "GET":
            answer.body = self._about_model(spec, wants_metadata=bool(last))
        elif last == "predict":
            answer.body = await self._predict(spec, body)
        elif last == "classify":
            answer.body = await self._classify(spec, body)
        elif last == "regress":
            answer.body = await self._regress(spec, body)
        else:
            # The path matches in any case; the method's name does not.
            raise StatusError(Code.INVALID_ARGUMENT, f"Malformed request: {method} {path}")

    def _about_model(self, spec: pb.ModelSpec, *, wants_metadata: bool) -> str:
        if not spec.name:
            raise StatusError(Code.INVALID_ARGUMENT, "Missing model name in request.")
        if wants_metadata:
            return answers.metadata_body(*self._inference.metadata(spec))
        return answers.status_body(model_status(self._core.states, spec))

    async def _predict(self, spec: pb.ModelSpec, body: bytes) -> str:
        document = requests.parse_body(body)
        spec.signature_name = requests.signature_name(document)
        inputs, layout = requests.predict_inputs(document, self._inference.signature_inputs(spec))
        prediction = await self._inference.predict(spec, inputs, (), self._settings.timeout_seconds)
        return answers.predict_body(prediction.outputs, layout)

    async def _classify(self, spec: pb.ModelSpec, body: bytes) -> str:
        document = requests.parse_body(body)
        spec.signature_name = requests.signature_name(document)
        examples = example_inputs(document)
        response = await self._inference.classify(spec, examples, self._settings.timeout_seconds)
        return answers.classify_body(response.result)

    async def _regress(self, spec: pb.ModelSpec, body: bytes) -> str:
        document = requests.parse_body(body)
        spec.signature_name = requests.signature_name(document)
        examples = example_inputs(document)
        response = await self._inference.regress(spec, examples, self._settings.timeout_seconds)
        return answers.regress_body(response.result)


async def read_body(request: web.BaseRequest) -> bytes:
    """Return the body, of any size, of a request whose client may wait to be told that it is wanted.

    One that is not what its Content-Encoding says is as good as none.
    """
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        return await request.content.read()
    except web.RequestPayloadError:
        return b""


def _status_of_request(error: Exception) -> Status:
    if isinstance(error, RecursionError):
        return Status(Code.INVALID_ARGUMENT, "JSON Parse error: nested too deeply")
    return status_of(error)


def _check_origin(origin: str) -> None:
    if not re.search("https?://", origin):
        raise StatusError(Code.FAILED_PRECONDITION, "Origin header is missing in CORS preflight")


def _model_spec(name: str, version: str, label: str) -> pb.ModelSpec:
    spec = pb.ModelSpec(name=name)
    if version:
        spec.version.value = _version_number(version)
    if label:
        spec.version_label = unquote(label)
    return spec


def _version_number(text: str) -> int:
    digits = text.lstrip("0") or "0"
    # Looked at first: Python refuses to read thousands of digits.
    if len(digits) > INT64_DIGITS or int(digits) >= INT64_LIMIT:
        raise StatusError(Code.INVALID_ARGUMENT, f"Failed to convert version: {text} to numeric.")
    return int(digits)


def listening_socket(port: int) -> socket.socket:
    """Return a socket that listens on all addresses, of both families where there are two, or raise OSError."""
    if not 0 <= port < PORTS:
        raise OSError(errno.EINVAL, f"no port: {port}")
    try:
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=LISTEN_BACKLOG)
    except (OSError, ValueError):
        return socket.create_server(("", port), backlog=LISTEN_BACKLOG)
