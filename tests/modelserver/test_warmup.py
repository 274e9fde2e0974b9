"""Warm-up records: replayed before a version is available, and deadly when they do not fit it."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from e2e.modelserver.model_writer import CLASSIFY, PREDICT, REGRESS, write_light_model
from e2e.modelserver.wire import serving_pb2 as pb
from e2e.modelserver.wire import tensors_pb2
from tests.modelserver.harness import running, sample_value, start_failure
from tests.modelserver.test_predict import request_for


def predict_record(values: list[float], signature: str = "") -> bytes:
    request = request_for(values)
    request.model_spec.signature_name = signature
    return pb.PredictionLog(predict_log=pb.PredictLog(request=request)).SerializeToString()


def classify_record() -> bytes:
    request = pb.ClassificationRequest(model_spec=pb.ModelSpec(name="m", signature_name="c"), input=EXAMPLES)
    return pb.PredictionLog(classify_log=pb.ClassifyLog(request=request)).SerializeToString()


def regress_record() -> bytes:
    request = pb.RegressionRequest(model_spec=pb.ModelSpec(name="m", signature_name="r"), input=EXAMPLES)
    return pb.PredictionLog(regress_log=pb.RegressLog(request=request)).SerializeToString()


EXAMPLES = pb.Input(example_list=pb.ExampleList(examples=[tensors_pb2.Example()]))


def write_records(base: Path, records: Iterable[bytes]) -> Path:
    """Write a model with ``records`` and return their file."""
    version = write_light_model(base, 1, {"serving_default": PREDICT, "c": CLASSIFY, "r": REGRESS})
    return write_record_file(version, records)


def write_record_file(version: Path, records: Iterable[bytes]) -> Path:
    """Write ``records`` as a TFRecord file, checksums left zero, beside the version in directory ``version``."""
    (version / "assets.extra").mkdir()
    file = version / "assets.extra" / "tf_serving_warmup_requests"
    file.write_bytes(b"".join(struct.pack("<QI", len(record), 0) + record + bytes(4) for record in records))
    return file


async def test_records_run_before_the_version_is_available(base: Path) -> None:
    write_records(base, [predict_record([1, 2]), classify_record(), regress_record()])
    async with running(f"--model_base_path={base}", "--model_name=m") as server:
        metrics = await server.metrics()
    path = f'model_path="{base}/1"'
    assert metrics[f':tensorflow:serving:model_warmup_records_read{{{path},status="OK"}}'] == "3"
    assert metrics[f':tensorflow:serving:model_warmup_latency_count{{{path},status="OK"}}'] == "1"
    assert metrics[":tensorflow:core:graph_runs{}"] == "3"
    # They are no requests of clients.
    assert not [name for name in metrics if name.startswith(":tensorflow:serving:request_latency")]


async def test_records_are_repeated_as_often_as_asked(base: Path) -> None:
    write_records(base, [predict_record([1])])
    flags = [f"--model_base_path={base}", "--model_name=m", "--num_request_iterations_for_warmup=4"]
    async with running(*flags) as server:
        metrics = await server.metrics()
    assert metrics[":tensorflow:core:graph_runs{}"] == "4"
    assert sample_value(metrics, r".*warmup_records_read.*") == 1


async def test_warm_up_can_be_switched_off(base: Path) -> None:
    write_records(base, [b"no record at all"])
    async with running(f"--model_base_path={base}", "--model_name=m", "--enable_model_warmup=false") as server:
        assert not [name for name in await server.metrics() if "warmup" in name]


async def load_failure(base: Path) -> str:
    return (await start_failure(f"--model_base_path={base}", "--max_num_load_retries=0")).message


async def test_a_failing_record_fails_the_load(base: Path) -> None:
    write_records(base, [predict_record([1]), pb.PredictionLog(
        predict_log=pb.PredictLog(request=request_for([1], "none"))).SerializeToString()])  # fmt: skip
    assert 'FAILED_PRECONDITION: Serving signature key "none" not found.' in await load_failure(base)


async def test_1000_records_are_the_most(base: Path) -> None:
    record = predict_record([1])
    file = write_records(base, [record] * 1001)
    message = f"INVALID_ARGUMENT: Number of warmup records exceeds the maximum (1000) at {file}"
    assert message in await load_failure(base)
    write_records(base, [b""] * 1000)
    async with running(f"--model_base_path={base}", "--model_name=m") as server:
        assert await server.states() == {1: "AVAILABLE"}


async def test_what_is_no_record_fails_the_load(base: Path) -> None:
    write_records(base, [b"\xff\xff"])
    assert "INVALID_ARGUMENT: Failed to parse warmup record: " in await load_failure(base)


async def test_a_cut_off_file_fails_the_load(base: Path) -> None:
    file = write_records(base, [predict_record([1])])
    file.write_bytes(file.read_bytes()[:-1])
    message = await load_failure(base)
    assert "DATA_LOSS: truncated record at 0. Please verify your warmup data is in TFRecord format." in message


async def test_logs_of_other_calls_are_not_supported(base: Path) -> None:
    write_records(base, [pb.PredictionLog(session_run_log=pb.UnsupportedLog()).SerializeToString()])
    assert "UNIMPLEMENTED: Unsupported log_type for warmup" in await load_failure(base)
