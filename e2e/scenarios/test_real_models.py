"""The model server stand-in with TensorFlow: a real model, and models that are broken for real."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from tenacity import retry, retry_if_exception_type, retry_if_result, stop_after_delay, wait_fixed

from e2e.models import TrainedModel, trained_digits
from e2e.models.tensorflow_environment import tensorflow_python
from e2e.modelserver.knobs import Behaviour
from e2e.modelserver.model_writer import CLASSIFY, PREDICT, REGRESS, write_light_model
from e2e.modelserver.wire import serving_pb2 as pb
from e2e.modelserver.wire import tensors_pb2
from e2e.scenarios.model_store import CORRUPT
from e2e.scenarios.platform import PROJECT

until = retry(
    retry=retry_if_exception_type(httpx.TransportError) | retry_if_result(lambda answer: answer is None),
    stop=stop_after_delay(90),
    wait=wait_fixed(0.1),
)


@dataclass(frozen=True)
class RealServer:
    """A server process that runs models with TensorFlow, and the base path that it polls."""

    http: httpx.Client
    socket: Path
    base_path: Path

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.http.post(f"/v1/models/digits{path}", json=body)

    def wait_for(self, version: int, state: str) -> dict[str, str]:
        """Return the status of ``version`` once it is in ``state``."""

        @until
        def status() -> dict[str, str] | None:
            answer = self.http.get(f"/v1/models/digits/versions/{version}").json()
            (entry,) = answer.get("model_version_status", [{"state": None}])
            return entry["status"] if entry["state"] == state else None

        found = status()
        assert found is not None
        return found


@pytest.fixture(scope="module")
def digits() -> TrainedModel:
    return trained_digits()


@pytest.fixture(scope="module")
def server(digits: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    folder = tmp_path_factory.mktemp("real")
    base_path = folder / "digits"
    shutil.copytree(digits.base_path, base_path)
    write_configs(folder, base_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = ["--port=0", f"--grpc_socket_path={folder}/s", f"--rest_api_port={port}",
             f"--model_config_file={folder}/models.config", f"--monitoring_config_file={folder}/monitoring.config",
             f"--batching_parameters_file={folder}/batching.config", "--enable_batching",
             "--max_num_load_retries=0"]  # fmt: skip
    process = subprocess.Popen(
        [*tensorflow_python(), "-m", "e2e.modelserver", *flags],
        env={"PYTHONPATH": str(PROJECT), "TF_CPP_MIN_LOG_LEVEL": "3", "PATH": "/usr/bin:/bin"},
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            server = RealServer(http, folder / "s", base_path)
            for version in (1, 2):
                server.wait_for(version, "AVAILABLE")
            yield server
    finally:
        process.kill()
        process.wait()


def write_configs(folder: Path, base_path: Path) -> None:
    (folder / "models.config").write_text(
        f'model_config_list {{ config {{ name: "digits" base_path: "{base_path}" model_platform: "tensorflow" '
        "model_version_policy { all {} } } }"
    )
    (folder / "monitoring.config").write_text("prometheus_config { enable: true }")
    (folder / "batching.config").write_text(
        "max_batch_size { value: 64 } allowed_batch_sizes: 8 allowed_batch_sizes: 64"
    )


def test_both_versions_read_digits(server: RealServer, digits: TrainedModel) -> None:
    images = [list(sample.pixels) for sample in digits.samples]
    labels = [sample.label for sample in digits.samples]
    for version in (1, 2):
        answer = server.post(f"/versions/{version}:predict", instances=images)
        assert answer.status_code == 200, answer.text
        read = [row["classes"] for row in answer.json()["predictions"]]
        right = sum(a == b for a, b in zip(read, labels, strict=True))
        assert right >= 0.8 * len(labels)
        columns = server.post(f"/versions/{version}:predict", inputs=images).json()["outputs"]
        assert columns["classes"] == read


def test_grpc_answers_with_the_newest_version(server: RealServer, digits: TrainedModel) -> None:
    pixels = digits.samples[0].pixels
    request = pb.PredictRequest(model_spec=pb.ModelSpec(name="digits"), output_filter=["classes"])
    request.inputs["images"].CopyFrom(
        tensors_pb2.TensorProto(
            dtype="DT_FLOAT", tensor_shape={"dim": [{"size": 1}, {"size": len(pixels)}]}, float_val=pixels
        )
    )
    with grpc.insecure_channel(f"unix:{server.socket}") as channel:
        predict: Any = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        answer = pb.PredictResponse.FromString(predict(request.SerializeToString(), timeout=30))
    assert answer.model_spec.version.value == 2
    assert list(answer.outputs) == ["classes"]
    assert len(answer.outputs["classes"].int64_val) == 1


def test_classify_and_regress_read_examples(server: RealServer, digits: TrainedModel) -> None:
    sample = digits.samples[0]
    examples = [{"images": [float(ink) for ink in sample.pixels]}]
    classified = server.post(":classify", signature_name="classify", examples=examples)
    assert classified.status_code == 200, classified.text
    (classes,) = classified.json()["results"]
    best = max(classes, key=lambda entry: float(entry[1]))
    assert best[0] == str(sample.label)
    regressed = server.post(":regress", signature_name="regress", examples=examples)
    assert regressed.status_code == 200, regressed.text
    assert len(regressed.json()["results"]) == 1


def test_warm_up_records_ran_and_batches_are_padded(server: RealServer, digits: TrainedModel) -> None:
    server.post(":predict", instances=[list(digits.samples[0].pixels)])
    page = server.http.get("/monitoring/prometheus/metrics").text
    for version in (1, 2):
        labels = f'model_path="{server.base_path}/{version}",status="OK"'
        assert f":tensorflow:serving:model_warmup_records_read{{{labels}}} 4" in page
    assert ':tensorflow:serving:batching_session:padding_size_count{execution_batch_size="8"}' in page


def test_a_wrong_shape_is_an_invalid_argument(server: RealServer) -> None:
    answer = server.post(":predict", instances=[[1.0, 2.0, 3.0]])
    assert answer.status_code == 400
    assert "64" in answer.json()["error"]


def copy_version(server: RealServer, version: int) -> Path:
    """Copy version 1 to a name that is no version yet, where it can be broken, and return it."""
    return Path(shutil.copytree(server.base_path / "1", server.base_path / f"{version}.broken"))


@pytest.mark.parametrize(
    ("version", "file", "error"),
    [
        pytest.param(11, "saved_model.pb", "DATA_LOSS", id="graph"),
        pytest.param(12, "variables/variables.index", "DATA_LOSS", id="index of variables"),
    ],
)
def test_a_corrupt_version_ends_and_the_others_go_on(server: RealServer, version: int, file: str, error: str) -> None:
    broken = copy_version(server, version)
    (broken / file).write_bytes(b"\xff" * 200)
    broken.rename(server.base_path / str(version))
    assert server.wait_for(version, "END")["error_code"] == error
    server.wait_for(2, "AVAILABLE")


def test_a_version_without_variables_loads_and_cannot_predict(server: RealServer, digits: TrainedModel) -> None:
    broken = copy_version(server, 13)
    shutil.rmtree(broken / "variables")
    # Warm-up records would fail the load: a half-copied model has none yet.
    shutil.rmtree(broken / "assets.extra")
    broken.rename(server.base_path / "13")
    server.wait_for(13, "AVAILABLE")
    answer = server.post("/versions/13:predict", instances=[list(digits.samples[0].pixels)])
    assert answer.status_code in (400, 404), answer.text
    shutil.rmtree(server.base_path / "13")
    server.wait_for(13, "END")


ECHO = Behaviour(fill_value=1.0)
ALL_SIGNATURES = {"serving_default": PREDICT, "classify": CLASSIFY, "regress": REGRESS}


@pytest.mark.parametrize(
    ("version", "behaviour", "answers"),
    [
        pytest.param(21, ECHO, [3.0, 4.0], id="echo"),
        pytest.param(22, Behaviour(echo=False, fill_value=2.0), [2.0, 2.0], id="filled"),
        pytest.param(23, Behaviour(load_memory_bytes=1 << 20), [3.0, 4.0], id="takes memory at load"),
    ],
)
def test_a_light_model_answers_with_tensorflow_as_without(
    server: RealServer, version: int, behaviour: Behaviour, answers: list[float]
) -> None:
    write_light_model(server.base_path, version, ALL_SIGNATURES, behaviour)
    server.wait_for(version, "AVAILABLE")
    answer = server.post(f"/versions/{version}:predict", instances=[3.0, 4.0])
    assert answer.json() == {"predictions": answers}
    examples = [{"any": 1.0}, {"any": 2.0}]
    classified = server.post(f"/versions/{version}:classify", signature_name="classify", examples=examples)
    label = f"{behaviour.fill_value:g}" if behaviour.fill_value else ""
    assert classified.json() == {"results": [[[label, behaviour.fill_value]] * 3] * 2}
    regressed = server.post(f"/versions/{version}:regress", signature_name="regress", examples=examples)
    assert regressed.json() == {"results": [behaviour.fill_value] * 2}


def test_a_light_model_that_is_to_fail_does_so_with_tensorflow(server: RealServer) -> None:
    write_light_model(server.base_path, 24, behaviour=Behaviour(fail_load=CORRUPT))
    status = server.wait_for(24, "END")
    assert status["error_code"] == "DATA_LOSS"
    assert CORRUPT in status["error_message"]


def test_messages_have_the_fields_of_tensorflows_own() -> None:
    done = subprocess.run(
        [*tensorflow_python(), "-m", "e2e.scenarios.compare_wire_formats"],
        env={"PYTHONPATH": str(PROJECT), "TF_CPP_MIN_LOG_LEVEL": "3", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("different")] == []
    compared = {line.removeprefix("compared ") for line in lines}
    assert {"PredictRequest", "TensorProto", "SignatureDef", "ModelConfig", "PredictionLog", "Example"} <= compared
