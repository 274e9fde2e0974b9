"""Request threads, timeouts and the other limits of the two ports."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from e2e.cluster.certificates import Authority
from e2e.modelserver.knobs import Behaviour
from e2e.modelserver.model_writer import write_light_model
from e2e.modelserver.server import channel_arguments
from e2e.modelserver.statuses import Code
from e2e.modelserver.wire import serving_pb2 as pb
from tests.modelserver.harness import (
    PREDICTION,
    RunningServer,
    eventually,
    free_port,
    make_server,
    running,
    sample_value,
    start_failure,
)
from tests.modelserver.test_predict import request_for

FROZEN = {"freeze": "predictions"}


async def at_work(server: RunningServer, requests: int) -> None:
    """Return when so many predictions are held by the freeze."""
    await eventually(lambda: server.server.faults.held == requests, f"{requests} requests are held")


async def test_one_rest_thread_is_taken_by_the_event_loop(model: Path) -> None:
    """With a single one, REST accepts and never answers."""
    flags = [f"--model_base_path={model}", "--model_name=m", "--rest_api_num_threads=1"]
    async with running(*flags) as server:
        request = asyncio.create_task(server.get("/v1/models/m"))
        # gRPC works, and by the time of its answer the REST request has long arrived.
        await server.call(f"{PREDICTION}Predict", request_for([1]), pb.PredictResponse)
        await asyncio.wait({request}, timeout=0.2)
        assert not request.done()
        request.cancel()


async def test_rest_requests_queue_for_threads_probes_and_metrics_among_them(model: Path) -> None:
    flags = [f"--model_base_path={model}", "--model_name=m", "--rest_api_num_threads=3"]
    async with running(*flags, knobs=FROZEN) as server:
        predictions = [asyncio.create_task(server.predict()) for _ in range(2)]
        await at_work(server, 2)
        others = [asyncio.create_task(server.get("/v1/models/m")), asyncio.create_task(server.metrics())]
        await asyncio.wait(others, timeout=0.1)
        assert not any(task.done() for task in others)
        server.server.faults.change({"freeze": ""})
        assert [answer.status_code for answer in await asyncio.gather(*predictions)] == [200, 200]
        await asyncio.gather(*others)


async def test_latency_does_not_count_the_wait_for_a_thread(tmp_path: Path) -> None:
    write_light_model(tmp_path / "m", 1, behaviour=Behaviour(cost_micros=(50_000,)))
    flags = [f"--model_base_path={tmp_path}/m", "--model_name=m", "--rest_api_num_threads=2"]
    async with running(*flags) as server:
        begin = time.monotonic()
        await asyncio.gather(*(server.predict() for _ in range(4)))
        wall_micros = (time.monotonic() - begin) * 1e6
        metrics = await server.metrics()
    # One after the other on the one thread: the clients waited 50, 100, 150 and 200 ms.
    latency_sum = sample_value(metrics, r":tensorflow:serving:request_latency_sum\{.*predict.*\}")
    assert 4 * 50_000 <= latency_sum <= wall_micros


async def test_grpc_refuses_what_would_need_the_last_thread(model: Path) -> None:
    flags = [f"--model_base_path={model}", "--model_name=m", "--grpc_max_threads=3"]
    async with running(*flags, knobs=FROZEN) as server:
        held = [
            asyncio.create_task(server.call(f"{PREDICTION}Predict", request_for([1]), pb.PredictResponse))
            for _ in range(2)
        ]
        await at_work(server, 2)
        error = await server.failure(f"{PREDICTION}Predict", request_for([1]))
        assert (error.code(), error.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
        server.server.faults.change({"freeze": ""})
        await asyncio.gather(*held)
        assert not [name for name in await server.metrics() if "RESOURCE_EXHAUSTED" in name]


async def test_a_rest_timeout_is_504_and_the_device_stays_busy(tmp_path: Path) -> None:
    write_light_model(tmp_path / "m", 1, behaviour=Behaviour(cost_micros=(400_000,)))
    flags = [f"--model_base_path={tmp_path}/m", "--model_name=m", "--rest_api_timeout_in_ms=100"]
    async with running(*flags) as server:
        begin = asyncio.get_running_loop().time()
        answer = await server.predict()
        assert (answer.status_code, answer.json()["error"]) == (504, "Timed out waiting for notification")
        await server.call(f"{PREDICTION}Predict", request_for([1]), pb.PredictResponse)
        assert asyncio.get_running_loop().time() - begin > 0.75
        metrics = await server.metrics()
    assert metrics[':tensorflow:serving:request_count{model_name="m",status="DEADLINE_EXCEEDED"}'] == "1"


async def test_a_clients_grpc_deadline_limits_the_run(tmp_path: Path) -> None:
    write_light_model(tmp_path / "m", 1, behaviour=Behaviour(cost_micros=(300_000,)))
    async with running(f"--model_base_path={tmp_path}/m", "--model_name=m") as server:
        error = await server.failure(f"{PREDICTION}Predict", request_for([1]), timeout_seconds=0.1)
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        counter = server.server.metrics.request_count
        await eventually(lambda: counter.value("m", "DEADLINE_EXCEEDED"), "the server counts it")


async def test_a_client_that_leaves_does_not_stop_its_request(tmp_path: Path) -> None:
    write_light_model(tmp_path / "m", 1, behaviour=Behaviour(cost_micros=(100_000,)))
    async with running(f"--model_base_path={tmp_path}/m", "--model_name=m") as server:
        faults = server.server.faults
        over_rest = asyncio.create_task(server.predict())
        await eventually(lambda: faults.runs_started == 1, "it runs")
        over_rest.cancel()
        over_grpc = asyncio.create_task(server.call(f"{PREDICTION}Predict", request_for([1]), pb.PredictResponse, None))
        await eventually(lambda: faults.runs_started == 2, "it runs")
        over_grpc.cancel()
        counter = server.server.metrics.request_count
        await eventually(lambda: counter.value("m", "OK") == 2, "both end well")


@pytest.mark.parametrize(
    ("text", "value"),
    [("2000", 2000), ("-1", -1), (str(2**31 - 1), 2**31 - 1), (str(2**31), str(2**31)), ("9" * 5000, "9" * 5000),
     ("--5", "--5"), ("x", "x"), ("", "")],
    ids=["number", "negative", "largest", "too large", "absurd", "no number", "word", "nothing"],
)  # fmt: skip
def test_channel_arguments_are_numbers_where_they_can_be(text: str, value: int | str) -> None:
    assert dict(channel_arguments(f"a={text},b=1")) == {**dict(channel_arguments("")), "a": value, "b": 1}


async def test_channel_arguments_that_grpc_does_not_take_do_not_keep_the_server_from_starting(model: Path) -> None:
    flag = "--grpc_channel_arguments=grpc.max_connection_age_ms=99999999999,a=--5"
    async with running(f"--model_base_path={model}", "--model_name=m", flag) as server:
        await server.call(f"{PREDICTION}Predict", request_for([1]), pb.PredictResponse)


async def test_a_taken_rest_port_is_only_logged(short_folder: Path, model: Path) -> None:
    async with running(f"--model_base_path={model}") as first:
        port = first.http.base_url.port
        second = make_server("--port=0", f"--grpc_socket_path={short_folder}/s", f"--model_base_path={model}",
                             f"--rest_api_port={port}")  # fmt: skip
        await second.start()
        assert not second.serves_rest
        assert (short_folder / "s").exists()
        await second.stop()


@pytest.mark.parametrize("port", [70000, -1])
async def test_a_rest_port_that_is_none_is_only_logged(
    short_folder: Path, model: Path, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server("--port=0", f"--grpc_socket_path={short_folder}/s", f"--model_base_path={model}",
                         f"--rest_api_port={port}")  # fmt: skip
    await server.start()
    assert not server.serves_rest
    assert (short_folder / "s").exists()
    await server.stop()
    assert f"Failed to start HTTP Server at localhost:{port}" in caplog.text


async def test_equal_ports_leave_rest_out(model: Path) -> None:
    port = free_port()
    server = make_server(f"--port={port}", f"--rest_api_port={port}", f"--model_base_path={model}")
    await server.start()
    assert not server.serves_rest
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await asyncio.wait_for(channel.channel_ready(), 20)
    await server.stop()


async def test_grpc_is_on_its_port_and_its_socket_at_the_same_time(short_folder: Path, model: Path) -> None:
    port = free_port()
    flags = [f"--port={port}", f"--grpc_socket_path={short_folder}/s", f"--model_base_path={model}"]
    async with running(*flags):
        for address in (f"127.0.0.1:{port}", f"unix:{short_folder}/s"):
            async with grpc.aio.insecure_channel(address) as channel:
                await asyncio.wait_for(channel.channel_ready(), 20)


async def test_tls_is_for_grpc_only(tmp_path: Path, model: Path) -> None:
    authority = Authority.create()
    file = ssl_config(tmp_path, authority)
    port = free_port()
    async with running(f"--model_base_path={model}", f"--port={port}", f"--ssl_config_file={file}") as server:
        assert (await server.get("/v1/models/default")).status_code == 200
        credentials = grpc.ssl_channel_credentials(authority.pair.certificate)
        async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
            await asyncio.wait_for(channel.channel_ready(), 20)


async def test_client_certificates_are_required_when_asked_for(tmp_path: Path, model: Path) -> None:
    authority = Authority.create()
    client = authority.sign_client("somebody")
    more = f'custom_ca: "{in_one_line(authority.pair.certificate)}" client_verify: true'
    file = ssl_config(tmp_path, authority, more)
    port = free_port()
    async with running(f"--model_base_path={model}", f"--port={port}", f"--ssl_config_file={file}"):
        trusted = grpc.ssl_channel_credentials(authority.pair.certificate, client.key, client.certificate)
        async with grpc.aio.secure_channel(f"localhost:{port}", trusted) as channel:
            await asyncio.wait_for(channel.channel_ready(), 20)
        nobody = grpc.ssl_channel_credentials(authority.pair.certificate)
        async with grpc.aio.secure_channel(f"localhost:{port}", nobody) as channel:
            call: Any = channel.unary_unary(f"{PREDICTION}Predict")
            try:
                await call(b"", timeout=10)
                raise AssertionError("a client without certificate was served")
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE


def ssl_config(directory: Path, authority: Authority, more: str = "") -> Path:
    """Write an SSLConfig for localhost, signed by ``authority``."""
    pair = authority.sign_server(["localhost"], [])
    file = directory / "ssl.config"
    file.write_text(f'server_key: "{in_one_line(pair.key)}" server_cert: "{in_one_line(pair.certificate)}" {more}')
    return file


def in_one_line(pem: bytes) -> str:
    return pem.decode().replace("\n", "\\n")


async def test_client_certificates_that_nobody_could_check_end_the_start(tmp_path: Path, model: Path) -> None:
    file = ssl_config(tmp_path, Authority.create(), "client_verify: true")
    status = await start_failure(
        f"--model_base_path={model}", f"--grpc_socket_path={tmp_path}/s", f"--ssl_config_file={file}"
    )
    assert (status.code, status.message) == (Code.INVALID_ARGUMENT, "Failed to BuildAndStart gRPC server")


async def test_a_grpc_address_that_cannot_be_had_ends_the_start(model: Path) -> None:
    status = await start_failure(f"--model_base_path={model}", "--grpc_socket_path=/nowhere/at/all")
    assert (status.code, status.message) == (Code.INVALID_ARGUMENT, "Failed to BuildAndStart gRPC server")
