"""Runs model servers for tests: within the test's own event loop, or as processes of their own."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio
import httpx
from google.protobuf.message import Message

from e2e.modelserver.faults import Faults
from e2e.modelserver.flag_parsing import parse_command_line
from e2e.modelserver.knobs import Knobs
from e2e.modelserver.server import ModelServer
from e2e.modelserver.statuses import Status, StatusError
from e2e.modelserver.wire import config_pb2, serving_pb2

DEADLINE_SECONDS = 20.0
PROJECT = Path(__file__).resolve().parents[2]
METRICS_PATH = "/monitoring/prometheus/metrics"
PREDICTION = "/tensorflow.serving.PredictionService/"
MODEL = "/tensorflow.serving.ModelService/"
HEALTH = "/grpc.health.v1.Health/"

Response = TypeVar("Response", bound=Message)
Result = TypeVar("Result")


async def polled(server: ModelServer, times: int = 5) -> None:
    """Return when the server has looked at the file system ``times`` times more, and acted on it."""
    core = await eventually(lambda: server.core, "the core exists")
    goal = core.polls + times
    await eventually(lambda: core.polls >= goal, "the file system is polled")


async def eventually(probe: Callable[[], Result | None], what: str) -> Result:
    """Return the first true answer of ``probe``."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            answer = probe()
            if answer:
                return answer
            await asyncio.sleep(0.005)
    raise AssertionError(what)


@dataclass
class RunningServer:
    """A server and clients of both its ports."""

    server: ModelServer
    http: httpx.AsyncClient
    channel: grpc.aio.Channel

    async def get(self, path: str) -> httpx.Response:
        return await self.http.get(path)

    async def post(self, path: str, body: object) -> httpx.Response:
        return await self.http.post(path, json=body)

    async def predict(self, model: str = "m", rows: int = 1) -> httpx.Response:
        return await self.post(f"/v1/models/{model}:predict", {"instances": [1.0] * rows})

    async def call(
        self, method: str, request: Message, response_type: type[Response], timeout_seconds: float | None = 20
    ) -> Response:
        stub: Any = self.channel.unary_unary(method, request_serializer=lambda message: message.SerializeToString())
        return response_type.FromString(await stub(request, timeout=timeout_seconds))

    async def failure(self, method: str, request: Message, timeout_seconds: float | None = 20) -> grpc.aio.AioRpcError:
        """Return the error that the call ends in."""
        try:
            await self.call(method, request, serving_pb2.ModelSpec, timeout_seconds)
        except grpc.aio.AioRpcError as error:
            return error
        raise AssertionError(f"{method} succeeded")

    async def reload(
        self, config: config_pb2.ModelServerConfig, timeout_seconds: float | None = 20
    ) -> serving_pb2.ReloadConfigResponse:
        request = serving_pb2.ReloadConfigRequest(config=config)
        return await self.call(
            f"{MODEL}HandleReloadConfigRequest", request, serving_pb2.ReloadConfigResponse, timeout_seconds
        )

    async def states(self, model: str = "m") -> dict[int, str]:
        """Return each version's state, in the order of the answer."""
        answer = (await self.get(f"/v1/models/{model}")).json()
        return {int(entry["version"]): entry["state"] for entry in answer.get("model_version_status", ())}

    async def until_states(self, states: Mapping[int, str], model: str = "m") -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while (found := await self.states(model)) != states:
                assert found is not None
                await asyncio.sleep(0.005)

    async def metrics(self) -> dict[str, str]:
        """Return each sample of the metrics page, by name and labels."""
        page = (await self.get(METRICS_PATH)).text
        samples = (line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
        return dict(sample for sample in samples if len(sample) == 2)


@asynccontextmanager
async def running(
    *flags: str, knobs: Mapping[str, Any] | None = None, time_factor: float = 0.02
) -> AsyncIterator[RunningServer]:
    """Run a server with ``flags`` until the context ends. gRPC is on a UNIX socket; REST on a free port."""
    with tempfile.TemporaryDirectory(prefix="ms") as folder:
        monitoring = Path(folder) / "monitoring.config"
        monitoring.write_text("prometheus_config { enable: true }")
        defaults = ["--port=0", f"--grpc_socket_path={folder}/grpc", f"--monitoring_config_file={monitoring}"]
        server, port = await start_on_free_port([*defaults, *flags], knobs, time_factor)
        try:
            async with (
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE_SECONDS) as http,
                grpc.aio.insecure_channel(f"unix:{folder}/grpc") as channel,
            ):
                yield RunningServer(server, http, channel)
        finally:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await server.stop()


async def start_on_free_port(
    flags: Sequence[str], knobs: Mapping[str, Any] | None, time_factor: float
) -> tuple[ModelServer, int]:
    """Return a started server and its REST port, another one when somebody else was faster to take it."""
    while True:
        port = free_port()
        server = make_server(*flags, f"--rest_api_port={port}", knobs=knobs, time_factor=time_factor)
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await server.start()
        except BaseException:
            await server.stop()
            raise
        if server.serves_rest:
            return server, port
        await server.stop()


def make_server(*flags: str, knobs: Mapping[str, Any] | None = None, time_factor: float = 0.02) -> ModelServer:
    command_line = parse_command_line(flags)
    assert command_line.usable, command_line.complaints
    assert not command_line.left_over, command_line.left_over
    return ModelServer(command_line.options, Faults(Knobs().merged_with(knobs or {})), time_factor=time_factor)


async def start_failure(*flags: str, knobs: Mapping[str, Any] | None = None) -> Status:
    """Return the status that a server with ``flags`` fails to start with."""
    server = make_server("--port=0", "--grpc_socket_path=/nowhere/grpc", *flags, knobs=knobs)
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await server.start()
    except StatusError as error:
        return error.status
    finally:
        await server.stop()
    raise AssertionError("the server started")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def command(*flags: str) -> list[str]:
    return [sys.executable, "-m", "e2e.modelserver", *flags]


def run_process(*flags: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a server process that ends by itself."""
    return subprocess.run(
        command(*flags),
        cwd=PROJECT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
    )


def model_config(*models: str) -> str:
    """Return the text of a config with ``models``, each the inside of a ``config`` message."""
    return "model_config_list { " + " ".join(f"config {{ {model} }}" for model in models) + " }"


def model_entry(name: str, base_path: Path, more: str = "") -> str:
    return f'name: "{name}" base_path: "{base_path}" model_platform: "tensorflow" {more}'


def sample_value(metrics: Mapping[str, str], pattern: str) -> float:
    """Return the value of the one sample whose name and labels match ``pattern`` as a whole."""
    found = [value for sample, value in metrics.items() if re.fullmatch(pattern, sample)]
    assert len(found) == 1, (pattern, found)
    return float(found[0])
