"""Section 4 of the reference: model status, metadata, gRPC health, and codes over HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from e2e.modelserver.model_writer import write_light_model
from e2e.modelserver.statuses import HTTP_STATUS_BY_CODE, Code
from e2e.modelserver.wire import serving_pb2 as pb
from e2e.modelserver.wire import tensors_pb2
from tests.modelserver.harness import HEALTH, MODEL, PREDICTION, model_config, model_entry, running

REFERENCE_HTTP_STATUS = {
    400: "INVALID_ARGUMENT FAILED_PRECONDITION OUT_OF_RANGE",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "UNKNOWN INTERNAL DATA_LOSS",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


@pytest.mark.parametrize(
    ("code", "http_status"), [(code, http) for http, codes in REFERENCE_HTTP_STATUS.items() for code in codes.split()]
)
async def test_code_maps_to_http_status(model: Path, code: str, http_status: int) -> None:
    assert HTTP_STATUS_BY_CODE[Code[code]] == http_status
    knobs = {"error_rate": 1, "error_code": code, "error_message": 'a "reason"'}
    if code not in ("UNAVAILABLE", "CANCELLED"):  # two that prove the path through the port; the table does the rest
        return
    async with running(f"--model_base_path={model}", "--model_name=m", knobs=knobs) as server:
        answer = await server.predict()
    assert answer.status_code == http_status
    assert answer.json() == {"error": 'a "reason"'}


def test_every_code_has_an_http_status() -> None:
    assert set(HTTP_STATUS_BY_CODE) == set(Code)
    assert HTTP_STATUS_BY_CODE[Code.OK] == 200


@pytest.mark.parametrize(
    ("path", "http_status", "error"),
    [
        ("/v1/models/m", 200, None),
        ("/v1/models/none", 404, "Could not find any versions of model none"),
        ("/v1/models/m/versions/2", 200, None),
        ("/v1/models/m/versions/9", 404, "Could not find version 9 of model m"),
        ("/v1/models/m/versions/9223372036854775808", 400,
         "Failed to convert version: 9223372036854775808 to numeric."),
        pytest.param(f"/v1/models/m/versions/{'9' * 4400}", 400,
                     f"Failed to convert version: {'9' * 4400} to numeric.", id="more digits than Python reads"),
        pytest.param(f"/v1/models/m/versions/{'0' * 4400}2", 200, None, id="leading zeros"),
        ("/v1/models/m/labels/anything", 200, None),
        ("/v1/models/m/metadata", 200, None),
        ("/v1/models/m/versions/2/metadata", 200, None),
        ("/v1/models/m/labels/stable/metadata", 200, None),
        ("/v1/models/m/versions/9/metadata", 404, "Servable not found for request: Specific(m, 9)"),
        ("/v1/models/m/labels/none/metadata", 400, "Unrecognized servable version label: none"),
        ("/v1/models/none/metadata", 404, "Servable not found for request: Latest(none)"),
        ("/v1/models", 400, "Missing model name in request."),
        ("/v1/models/m:predict", 400, "Malformed request: GET /v1/models/m:predict"),
        ("/v1/nonsense", 400, "Malformed request: GET /v1/nonsense"),
    ],
)  # fmt: skip
async def test_rest_gets(two_versions: httpx.AsyncClient, path: str, http_status: int, error: str | None) -> None:
    answer = await two_versions.get(path)
    assert answer.status_code == http_status, answer.text
    assert answer.headers["content-type"] == "application/json"
    if error is not None:
        assert answer.text == f'{{\n    "error": "{error}"\n}}'


@pytest.fixture
async def two_versions(tmp_path: Path):  # type: ignore[no-untyped-def] # an async generator of the client
    write_light_model(tmp_path / "m", 1)
    write_light_model(tmp_path / "m", 2)
    file = tmp_path / "models.config"
    policy = 'model_version_policy { all {} } version_labels { key: "stable" value: 1 }'
    file.write_text(model_config(model_entry("m", tmp_path / "m", policy)))
    async with running(f"--model_config_file={file}", "--allow_version_labels_for_unavailable_models") as server:
        await server.until_states({2: "AVAILABLE", 1: "AVAILABLE"})
        yield server.http


async def test_other_paths_than_v1_and_metrics_are_html_404(two_versions: httpx.AsyncClient) -> None:
    for path in ("/", "/metrics", "/v2/models/m", "/monitoring/prometheus/metrics/"):
        answer = await two_versions.get(path)
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/html")


async def test_status_body_is_the_references(two_versions: httpx.AsyncClient) -> None:
    answer = await two_versions.get("/v1/models/m/versions/2")
    assert answer.text == (
        '{\n "model_version_status": [\n  {\n   "version": "2",\n   "state": "AVAILABLE",\n   "status": {\n'
        '    "error_code": "OK",\n    "error_message": ""\n   }\n  }\n ]\n}\n'
    )


async def test_status_lists_the_newest_version_first_and_ignores_the_label(two_versions: httpx.AsyncClient) -> None:
    for path in ("/v1/models/m", "/v1/models/m/labels/stable"):
        entries = (await two_versions.get(path)).json()["model_version_status"]
        assert [entry["version"] for entry in entries] == ["2", "1"]


async def test_metadata_is_that_of_the_version_asked_for(two_versions: httpx.AsyncClient) -> None:
    latest = (await two_versions.get("/v1/models/m/metadata")).json()
    labelled = (await two_versions.get("/v1/models/m/labels/stable/metadata")).json()
    assert latest["model_spec"] == {"name": "m", "signature_name": "", "version": "2"}
    assert labelled["model_spec"]["version"] == "1"
    signature = latest["metadata"]["signature_def"]["signature_def"]["serving_default"]
    shape = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    assert signature["inputs"] == {"x": {"name": "serving_default_x:0", "dtype": "DT_FLOAT", "tensor_shape": shape}}
    assert signature["method_name"] == "tensorflow/serving/predict"


async def test_paths_match_in_any_case_and_names_are_unquoted(model: Path) -> None:
    async with running(f"--model_base_path={model}", "--model_name=a b") as server:
        assert (await server.get("/V1/MODELS/a%20b")).status_code == 200


async def test_cors_headers_are_sent_only_when_switched_on(model: Path) -> None:
    flags = [f"--model_base_path={model}", "--model_name=m"]
    async with running(*flags) as server:
        assert "access-control-allow-origin" not in (await server.get("/v1/models/m")).headers
    async with running(*flags, "--rest_api_enable_cors_support") as server:
        assert (await server.get("/v1/models/m")).headers["access-control-allow-origin"] == "*"
        preflight = await server.http.options("/v1/models/m:predict", headers={"Origin": "https://example.org"})
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-methods"] == "POST, GET"
        assert (await server.http.options("/v1/models/m:predict")).status_code == 400


async def test_grpc_status_has_the_numbers_of_the_states(model: Path) -> None:
    async with running(f"--model_base_path={model}", "--model_name=m") as server:
        request = pb.GetModelStatusRequest(model_spec=pb.ModelSpec(name="m"))
        answer = await server.call(f"{MODEL}GetModelStatus", request, pb.GetModelStatusResponse)
        assert [(entry.version, entry.state) for entry in answer.model_version_status] == [(1, 30)]
        error = await server.failure(f"{MODEL}GetModelStatus", pb.GetModelStatusRequest())
        assert (error.code(), error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
        request.model_spec.name = "none"
        error = await server.failure(f"{MODEL}GetModelStatus", request)
        assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_grpc_metadata_is_packed_as_tensorflow_servings_own_message(model: Path) -> None:
    async with running(f"--model_base_path={model}", "--model_name=m") as server:
        request = pb.GetModelMetadataRequest(model_spec=pb.ModelSpec(name="m"), metadata_field=["signature_def"])
        answer = await server.call(f"{PREDICTION}GetModelMetadata", request, pb.GetModelMetadataResponse)
        packed = answer.metadata["signature_def"]
        assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
        assert "serving_default" in tensors_pb2.SignatureDefMap.FromString(packed.value).signature_def
        for fields, message in (
            ([], "GetModelMetadataRequest must specify at least one metadata_field"),
            (["x"], "Metadata field x is not supported"),
        ):
            request = pb.GetModelMetadataRequest(model_spec=pb.ModelSpec(name="m"), metadata_field=fields)
            assert (await server.failure(f"{PREDICTION}GetModelMetadata", request)).details() == message


async def test_multi_inference_is_not_offered(model: Path) -> None:
    async with running(f"--model_base_path={model}", "--model_name=m") as server:
        error = await server.failure(f"{PREDICTION}MultiInference", pb.ModelSpec())
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health_is_served_only_when_switched_on(model: Path) -> None:
    async with running(f"--model_base_path={model}", "--model_name=m") as server:
        error = await server.failure(f"{HEALTH}Check", pb.HealthCheckRequest())
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health_knows_the_server_and_its_two_services_by_unqualified_name(model: Path) -> None:
    flags = [f"--model_base_path={model}", "--model_name=m", "--enable_grpc_healthcheck_service=true"]
    async with running(*flags) as server:
        for name in ("", "ModelService", "PredictionService"):
            request = pb.HealthCheckRequest(service=name)
            answer = await server.call(f"{HEALTH}Check", request, pb.HealthCheckResponse)
            assert answer.status == pb.HealthCheckResponse.SERVING
        request = pb.HealthCheckRequest(service="tensorflow.serving.ModelService")
        assert (await server.failure(f"{HEALTH}Check", request)).code() is grpc.StatusCode.NOT_FOUND


async def test_health_can_be_watched_and_never_changes(model: Path) -> None:
    flags = [f"--model_base_path={model}", "--model_name=m", "--enable_grpc_healthcheck_service"]
    async with running(*flags) as server:
        watch: Any = server.channel.unary_stream(f"{HEALTH}Watch")
        for name, status in (("PredictionService", "SERVING"), ("no such", "SERVICE_UNKNOWN")):
            stream = watch(pb.HealthCheckRequest(service=name).SerializeToString())
            answer = pb.HealthCheckResponse.FromString(await asyncio.wait_for(stream.read(), 20))
            assert answer.status == pb.HealthCheckResponse.ServingStatus.Value(status)
            stream.cancel()


async def test_health_says_nothing_about_a_model(model: Path) -> None:
    flags = [f"--model_base_path={model}", "--model_name=m", "--enable_grpc_healthcheck_service"]
    async with running(*flags) as server:
        (model / "1").rename(model / "gone")
        await server.until_states({1: "END"})
        answer = await server.call(f"{HEALTH}Check", pb.HealthCheckRequest(), pb.HealthCheckResponse)
        assert answer.status == pb.HealthCheckResponse.SERVING
