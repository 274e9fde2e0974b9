"""Predict, Classify and Regress over REST and gRPC: what is read, what is answered, what is refused."""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import Any

import grpc
import pytest

from e2e.modelserver.json_answers import decimal
from e2e.modelserver.json_examples import example_inputs
from e2e.modelserver.knobs import Behaviour
from e2e.modelserver.model_writer import CLASSIFY, PREDICT, REGRESS, Signature, TensorSpec, write_light_model
from e2e.modelserver.wire import serving_pb2 as pb
from e2e.modelserver.wire import tensors_pb2
from tests.modelserver.harness import PREDICTION, RunningServer, running, sample_value

TYPED = Signature(
    inputs={"i": TensorSpec("int64", (-1,)), "s": TensorSpec("string", (-1, 2))},
    outputs={
        "i": TensorSpec("int64", (-1,)),
        "s": TensorSpec("string", (-1, 2)),
        "z_bytes": TensorSpec("string", (-1,)),
    },
)
MATRIX = Signature(inputs={"x": TensorSpec("float", (-1, 2))}, outputs={"y": TensorSpec("float", (-1, 2))})


@pytest.fixture
async def server(tmp_path: Path):  # type: ignore[no-untyped-def] # an async generator of the server
    write_light_model(
        tmp_path / "m",
        1,
        {
            "serving_default": PREDICT, "typed": TYPED, "matrix": MATRIX, "classify": CLASSIFY, "regress": REGRESS,
            "float classes": Signature(CLASSIFY.inputs, {"classes": TensorSpec("float", (-1, 2))}, CLASSIFY.method),
            "double scores": Signature(CLASSIFY.inputs, {"scores": TensorSpec("double", (-1, 2))}, CLASSIFY.method),
            "string outputs": Signature(REGRESS.inputs, {"outputs": TensorSpec("string", (-1, 1))}, REGRESS.method),
            **{dtype: Signature({"x": TensorSpec(dtype, (-1,))}, {"y": TensorSpec(dtype, (-1,))})
               for dtype in ("double", "int32", "uint8", "int16", "int8", "string", "int64", "bool", "uint32",
                             "uint64", "half", "bfloat16")},
        },
        behaviour=Behaviour(cost_micros=(0,), fill_value=7),
    )  # fmt: skip
    async with running(f"--model_base_path={tmp_path}/m", "--model_name=m") as running_server:
        yield running_server


async def predict(server: RunningServer, **body: Any) -> tuple[int, Any]:
    answer = await server.post("/v1/models/m:predict", body)
    return answer.status_code, answer.json()


async def test_rows_and_columns_are_answered_alike(server: RunningServer) -> None:
    assert await predict(server, instances=[1.5, 2, 3]) == (200, {"predictions": [1.5, 2.0, 3.0]})
    assert await predict(server, inputs=[1.5, 2, 3]) == (200, {"outputs": [1.5, 2.0, 3.0]})
    assert await predict(server, instances=[{"x": 1}, {"x": 2}]) == (200, {"predictions": [1.0, 2.0]})
    assert await predict(server, inputs={"x": [4]}) == (200, {"outputs": [4.0]})


async def test_several_tensors_need_and_get_names(server: RunningServer) -> None:
    rows = [{"i": 1, "s": ["a", "b"]}, {"i": 2, "s": [{"b64": base64.b64encode(b"\x00c").decode()}, "d"]}]
    status, answer = await predict(server, signature_name="typed", instances=rows)
    assert status == 200
    seven = {"b64": base64.b64encode(b"7").decode()}
    assert answer == {
        "predictions": [
            {"i": 1, "s": ["a", "b"], "z_bytes": seven},
            {"i": 2, "s": ["\x00c", "d"], "z_bytes": seven},
        ]
    }
    columns = {"i": [1, 2], "s": [["a", "b"], ["c", "d"]]}
    status, answer = await predict(server, signature_name="typed", inputs=columns)
    assert (status, answer["outputs"]) == (200, {**columns, "z_bytes": [seven, seven]})


async def test_answers_are_laid_out_like_the_real_ones(server: RunningServer) -> None:
    body = {"signature_name": "matrix", "instances": [[1, 2.5], [3, 4]]}
    answer = await server.post("/v1/models/m:predict", body)
    assert answer.text == '{\n    "predictions": [[1.0, 2.5], [3.0, 4.0]\n    ]\n}'
    body = {"signature_name": "matrix", "inputs": [[1, 2.5]]}
    answer = await server.post("/v1/models/m:predict", body)
    assert answer.text == '{\n    "outputs": [\n        [\n            1.0,\n            2.5\n        ]\n    ]\n}'
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1.0"), (0.5, "0.5"), (100000.0, "100000.0"), (1e6, "1e+06"), (3e-5, "3e-05"), (1 / 3, "0.333333343"),
     (float("nan"), "NaN"), (float("inf"), "Infinity"), (float("-inf"), "-Infinity"), (16777216.0, "16777216.0")],
)  # fmt: skip
def test_floats_have_six_digits_or_as_many_as_it_takes(value: float, text: str) -> None:
    assert decimal(struct.unpack("<f", struct.pack("<f", value))[0]) == text


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("double", [0.1, -2.0]), ("int32", [-5, 7]), ("uint8", [0, 255]), ("int16", [-5, 7]), ("int8", [-5, 7]),
        ("string", ["é", ""]), ("int64", [-(2**63), 2**63 - 1]), ("bool", [True, False]), ("uint32", [0, 2**32 - 1]),
        ("uint64", [0, 2**64 - 1]),
    ],
)  # fmt: skip
async def test_every_type_survives_the_way_through(server: RunningServer, dtype: str, values: list[object]) -> None:
    assert await predict(server, signature_name=dtype, instances=values) == (200, {"predictions": values})


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("", "JSON Parse error: The document is empty"),
        ("[1]", "JSON Value: [\n    1\n] Is not object"),
        ("{}", "Missing 'inputs' or 'instances' key"),
        ('{"instances": 1}', "Expecting 'instances' to be an list/array"),
        ('{"instances": []}', "No values in 'instances' array"),
        ('{"instances": [1], "inputs": [1]}', "Not formatted correctly expecting only one of 'inputs' or 'instances'"),
        ('{"instances": ["a"]}', 'JSON Value: "a" Type: String is not of expected type: float'),
        ('{"instances": [[1]]}', "Input x must have shape [-1] but has [1, 1]"),
        ('{"instances": [[1], [1, 2]]}', "Expecting tensor size: 1 but got: 2"),
        ('{"instances": [[1], [[1]]]}', "Expecting shape [1] but got: [1,1]"),
        ('{"instances": [{"y": 1}]}', "JSON object: does not have named input: y"),
        ('{"instances": [{"x": 1}, 2]}', "Expecting object but got list at item 1 of input list"),
        ('{"instances": [2, {"x": 1}]}', "Expecting value/list but got object at item 1 of input list"),
        ('{"inputs": {"y": [1]}}', "Missing named input: x in 'inputs' object."),
        ('{"inputs": [[1], [2, 3]]}', "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        ('{"signature_name": 1, "instances": [1]}', "'signature_name' key must be a string value."),
        ('{"signature_name": "none", "instances": [1]}', 'Serving signature name: "none" not found in signature def'),
        ('{"signature_name": "typed", "instances": [1]}', "instances is a plain list, but expecting list of objects"),
        ('{"signature_name": "typed", "inputs": [1]}', "inputs is a plain value/list, but expecting an object"),
        ('{"signature_name": "typed", "instances": [{"i": 1}]}', "keys must be equal to: i,s"),
        ('{"signature_name": "int64", "instances": [1.5]}', "Type: Number is not of expected type: int64"),
        ('{"signature_name": "uint32", "instances": [-1]}', "Type: Number is not of expected type: uint32"),
        ('{"signature_name": "bool", "instances": [1]}', "Type: Number is not of expected type: bool"),
        ('{"signature_name": "string", "instances": [{"b64": "*"}]}', "Unable to base64 decode"),
    ],
)
async def test_bad_bodies_are_invalid_arguments(server: RunningServer, body: str, error: str) -> None:
    answer = await server.http.post("/v1/models/m:predict", content=body)
    assert answer.status_code == 400
    assert error in answer.json()["error"]


NUMBER_TOO_BIG = "JSON Parse error: Number too big to be stored in double."
SURROGATE = "JSON Parse error: The surrogate pair in string is invalid."


@pytest.mark.parametrize(
    ("method", "body", "error"),
    [
        pytest.param("predict", f'{{"instances": [1{"0" * 400}]}}', NUMBER_TOO_BIG, id="400 digits"),
        pytest.param("predict", f'{{"instances": [1{"0" * 5000}]}}', NUMBER_TOO_BIG, id="5000 digits"),
        pytest.param("predict", f'{{"instances": {"[" * 2000}1{"]" * 2000}}}', "nested too deeply", id="nested"),
        pytest.param("predict", '{"signature_name": "\\ud800", "instances": [1]}', SURROGATE, id="half in signature"),
        pytest.param("predict", '{"instances": [{"\\ud800": 1}]}', SURROGATE, id="half in an input's name"),
        pytest.param("predict", '{"signature_name": "string", "instances": ["\\uDFFF"]}', SURROGATE, id="half value"),
        pytest.param("classify", f'{{"examples": [{{"x": 1{"0" * 400}}}]}}', NUMBER_TOO_BIG, id="big feature"),
        pytest.param("classify", '{"examples": [{"\\ud800": 1}]}', SURROGATE, id="half in a feature's name"),
        pytest.param("regress", '{"examples": [{"x": "\\ud800"}]}', SURROGATE, id="half in a feature"),
        pytest.param("regress", f'{{"examples": [{{"x": {2**63}}}]}}', "has uint64_t element", id="uint64"),
    ],
)  # fmt: skip
async def test_odd_bodies_are_invalid_arguments_too(server: RunningServer, method: str, body: str, error: str) -> None:
    answer = await server.http.post(f"/v1/models/m:{method}", content=body)
    assert answer.status_code == 400
    assert error in answer.json()["error"]
    assert sample_value(await server.metrics(), r".*request_count.*INVALID_ARGUMENT.*") == 1


async def test_whole_surrogate_pairs_are_characters(server: RunningServer) -> None:
    body = r'{"signature_name": "string", "instances": ["\ud83d\ude00", "\\ud800"]}'
    answer = await server.http.post("/v1/models/m:predict", content=body)
    assert answer.json() == {"predictions": ["\U0001f600", "\\ud800"]}


async def test_a_body_that_is_not_what_its_encoding_says_is_empty(server: RunningServer) -> None:
    answer = await server.http.post("/v1/models/m:predict", content=b"{}", headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()) == (400, {"error": "JSON Parse error: The document is empty"})


async def test_errors_that_nobody_foresaw_are_answered_and_counted(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("odd")

    monkeypatch.setattr(server.server.faults, "before_run", fail)
    assert await predict(server, instances=[1]) == (500, {"error": "ZeroDivisionError: odd"})
    error = await server.failure(f"{PREDICTION}Predict", request_for([1]))
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "ZeroDivisionError: odd")
    assert sample_value(await server.metrics(), r".*request_count.*INTERNAL.*") == 2


async def test_bodies_may_be_large_and_announced(server: RunningServer) -> None:
    rows = 400_000
    for headers in ({}, {"Expect": "100-continue"}):
        answer = await server.http.post(
            "/v1/models/m:predict", content=f'{{"instances": [{"1.5," * rows}1.5]}}', headers=headers
        )
        assert answer.status_code == 200
        assert len(answer.json()["predictions"]) == rows + 1


async def test_broken_json_names_the_place(server: RunningServer) -> None:
    answer = await server.http.post("/v1/models/m:predict", content='{"instances": [1,}')
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("JSON Parse error: ")


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/models/m"), ("POST", "/v1/models/m:train"), ("POST", "/v1/models/m:PREDICT"),
     ("PUT", "/v1/models/m"), ("DELETE", "/v1/models/m:predict")],
)  # fmt: skip
async def test_other_methods_and_paths_are_malformed(server: RunningServer, method: str, path: str) -> None:
    answer = await server.http.request(method, path, content="{}")
    assert (answer.status_code, answer.json()["error"]) == (400, f"Malformed request: {method} {path}")


@pytest.mark.parametrize(
    ("path", "http_status", "error"),
    [
        ("/v1/models/none:predict", 404, "Servable not found for request: Latest(none)"),
        ("/v1/models/m/versions/3:predict", 404, "Servable not found for request: Specific(m, 3)"),
        ("/v1/models/m/labels/none:predict", 400, "Unrecognized servable version label: none"),
    ],
)
async def test_what_is_not_loaded_is_not_found(server: RunningServer, path: str, http_status: int, error: str) -> None:
    answer = await server.post(path, {"instances": [1]})
    assert (answer.status_code, answer.json()["error"]) == (http_status, error)


async def test_classify_gives_labels_and_scores(server: RunningServer) -> None:
    examples = [{"x": 1.5}, {"x": [2.5, 3.5], "n": "a", "t": True, "raw": {"b64": "AA=="}}]
    answer = await server.post("/v1/models/m:classify", {"signature_name": "classify", "examples": examples})
    assert answer.json() == {"results": [[["7", 7.0]] * 3] * 2}
    body = {"signature_name": "classify", "context": {"c": 1}, "examples": examples}
    assert (await server.post("/v1/models/m:classify", body)).json() == {"results": [[["7", 7.0]] * 3] * 2}


@pytest.mark.parametrize(
    ("value", "kind"),
    [(-(2**63), "int64_list"), (2**63 - 1, "int64_list"), (-(2**63) - 1, "float_list"), (2**64, "float_list")],
)
def test_whole_numbers_beyond_64_bits_are_floats(value: int, kind: str) -> None:
    (example,) = example_inputs({"examples": [{"x": value}]}).example_list.examples
    assert example.features.feature["x"].WhichOneof("kind") == kind


async def test_regress_gives_a_number_an_example(server: RunningServer) -> None:
    answer = await server.post("/v1/models/m:regress", {"signature_name": "regress", "examples": [{"x": 1}, {}]})
    assert answer.text == '{\n    "results": [7.0, 7.0]\n}'


@pytest.mark.parametrize(
    ("method", "body", "error"),
    [
        ("classify", {"signature_name": "classify"}, "key 'examples' is expected and was not found"),
        ("classify", {"signature_name": "classify", "examples": 1}, "Expecting 'examples' value to be an list/array"),
        ("classify", {"signature_name": "classify", "examples": []}, "'examples' value is an empty array"),
        ("classify", {"signature_name": "classify", "examples": [1]}, "Example must be JSON object but got JSON"),
        ("classify", {"signature_name": "classify", "examples": [{"x": None}]}, "unexpected JSON type: Null"),
        ("classify", {"signature_name": "classify", "examples": [{"x": [1, "a"]}]},
         "Unexpected element type in feature: x expecting type: int64"),
        ("classify", {"examples": [{}]}, "No classification inputs found in SignatureDef"),
        ("regress", {"examples": [{}]}, "No regression inputs found in SignatureDef"),
        ("regress", {"signature_name": "none", "examples": [{}]}, "No signature was found with the name: none"),
        ("classify", {"signature_name": "float classes", "examples": [{}]},
         "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
        ("classify", {"signature_name": "double scores", "examples": [{}]},
         "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
        ("regress", {"signature_name": "string outputs", "examples": [{}]},
         "Expected output Tensor of DT_FLOAT. Got: DT_STRING"),
    ],
)  # fmt: skip
async def test_bad_examples_are_invalid_arguments(
    server: RunningServer, method: str, body: dict[str, object], error: str
) -> None:
    answer = await server.post(f"/v1/models/m:{method}", body)
    assert answer.status_code == 400
    assert error in answer.json()["error"]


def request_for(values: list[float], signature: str = "", **more: Any) -> pb.PredictRequest:
    request = pb.PredictRequest(model_spec=pb.ModelSpec(name="m", signature_name=signature), **more)
    request.inputs["x"].CopyFrom(
        tensors_pb2.TensorProto(dtype="DT_FLOAT", tensor_shape={"dim": [{"size": len(values)}]}, float_val=values)
    )
    return request


async def test_grpc_predict_says_which_version_answered(server: RunningServer) -> None:
    answer = await server.call(f"{PREDICTION}Predict", request_for([1, 2]), pb.PredictResponse)
    assert list(answer.outputs["y"].float_val) == [1, 2]
    spec = answer.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("m", 1, "serving_default")


async def test_grpc_accepts_packed_and_abbreviated_tensors(server: RunningServer) -> None:
    request = request_for([])
    request.inputs["x"].tensor_shape.dim[0].size = 2
    request.inputs["x"].tensor_content = b"\x00\x00\x80\x3f" * 2
    answer = await server.call(f"{PREDICTION}Predict", request, pb.PredictResponse)
    assert list(answer.outputs["y"].float_val) == [1, 1]
    request = request_for([3])
    request.inputs["x"].tensor_shape.dim[0].size = 4
    answer = await server.call(f"{PREDICTION}Predict", request, pb.PredictResponse)
    assert list(answer.outputs["y"].float_val) == [3, 3, 3, 3]


def tensor(dtype: int, *sizes: int, **more: Any) -> tensors_pb2.TensorProto:
    shape = tensors_pb2.TensorShapeProto(dim=[tensors_pb2.TensorShapeProto.Dim(size=size) for size in sizes])
    return tensors_pb2.TensorProto(dtype=dtype, tensor_shape=shape, **more)  # type: ignore[arg-type] # enums are ints


NO_SHAPE = "Invalid tensor: its shape is not known"
UNKNOWN_RANK = tensors_pb2.TensorProto(dtype="DT_FLOAT", tensor_shape={"unknown_rank": True})


@pytest.mark.parametrize(
    ("odd", "error"),
    [
        pytest.param(tensor(999, 1), "Tensor of unsupported type unknown dtype enum (999)", id="unknown type"),
        pytest.param(tensor(tensors_pb2.DT_FLOAT, -1), NO_SHAPE, id="negative dimension"),
        pytest.param(tensor(tensors_pb2.DT_FLOAT, -1, -1, float_val=[1]), NO_SHAPE, id="negative dimensions"),
        pytest.param(tensor(tensors_pb2.DT_FLOAT, -1, -1, tensor_content=bytes(4)), NO_SHAPE, id="negative and packed"),
        pytest.param(UNKNOWN_RANK, NO_SHAPE, id="unknown rank"),
        pytest.param(tensor(tensors_pb2.DT_FLOAT, 10**13, float_val=[1]),
                     "Invalid tensor: more than 134217728 values are left out", id="40 TB"),
    ],
)  # fmt: skip
async def test_odd_tensors_are_invalid_arguments(
    server: RunningServer, odd: tensors_pb2.TensorProto, error: str
) -> None:
    request = request_for([])
    request.inputs["x"].CopyFrom(odd)
    answer = await server.failure(f"{PREDICTION}Predict", request)
    assert (answer.code(), answer.details()) == (grpc.StatusCode.INVALID_ARGUMENT, error)
    assert sample_value(await server.metrics(), r".*request_count.*INVALID_ARGUMENT.*") == 1


@pytest.mark.parametrize(
    ("dtype", "field", "sent", "received"),
    [("int8", "int_val", [300, -129], [44, 127]), ("uint8", "int_val", [-1], [255]),
     ("int16", "int_val", [40000], [-25536]), ("half", "half_val", [70000], [4464])],
)  # fmt: skip
async def test_what_does_not_fit_a_narrow_type_is_cut_off(
    server: RunningServer, dtype: str, field: str, sent: list[int], received: list[int]
) -> None:
    request = request_for([], dtype)
    code = tensors_pb2.DataType.Value(f"DT_{dtype.upper()}")
    request.inputs["x"].CopyFrom(tensor(code, len(sent), **{field: sent}))
    answer = await server.call(f"{PREDICTION}Predict", request, pb.PredictResponse)
    assert list(getattr(answer.outputs["y"], field)) == received


async def test_grpc_errors_of_predict(server: RunningServer) -> None:
    invalid, failed = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
    nameless = pb.PredictRequest()
    nameless.model_spec.SetInParent()
    extra = request_for([1])
    extra.inputs["z"].CopyFrom(extra.inputs["x"])
    for request, code, message in (
        (pb.PredictRequest(), invalid, "Missing ModelSpec"),
        (nameless, invalid, "ModelSpec has no name specified."),
        (request_for([1], "none"), failed, 'Serving signature key "none" not found.'),
        (request_for([1], output_filter=["z"]), invalid,
         "output tensor alias not found in signature: z Outputs expected to be in the set {y}."),
        (request_for([1], output_filter=["y", "y"]), invalid, "duplicate output tensor alias: y"),
        (extra, invalid, "input size does not match signature: 2!=1 len({x,z}) != len({x}). Sent extra: {z}. "
                         "Missing but required: {}."),
    ):  # fmt: skip
        error = await server.failure(f"{PREDICTION}Predict", request)
        assert (error.code(), error.details()) == (code, message)


async def test_grpc_classify_and_regress(server: RunningServer) -> None:
    examples = pb.Input(example_list=pb.ExampleList(examples=[tensors_pb2.Example()] * 2))
    spec = pb.ModelSpec(name="m", signature_name="classify")
    request = pb.ClassificationRequest(model_spec=spec, input=examples)
    classified = await server.call(f"{PREDICTION}Classify", request, pb.ClassificationResponse)
    assert [len(row.classes) for row in classified.result.classifications] == [3, 3]
    spec = pb.ModelSpec(name="m", signature_name="regress")
    regressed = await server.call(
        f"{PREDICTION}Regress", pb.RegressionRequest(model_spec=spec, input=examples), pb.RegressionResponse
    )
    assert [regression.value for regression in regressed.result.regressions] == [7, 7]
    error = await server.failure(f"{PREDICTION}Regress", pb.RegressionRequest(model_spec=spec))
    assert error.details() == "Input is empty."


async def test_long_messages_are_cut_over_grpc(server: RunningServer) -> None:
    request = request_for([1], output_filter=["z" * 2000])
    error = await server.failure(f"{PREDICTION}Predict", request)
    assert str(error.details()).endswith("...TRUNCATED")
    assert len(str(error.details())) == 1024 + len("...TRUNCATED")


async def test_tensor_content_is_answered_when_asked_for(model: Path) -> None:
    flags = [f"--model_base_path={model}", "--model_name=m", "--enable_serialization_as_tensor_content"]
    async with running(*flags) as server:
        answer = await server.call(f"{PREDICTION}Predict", request_for([1]), pb.PredictResponse)
        assert answer.outputs["y"].tensor_content == b"\x00\x00\x80\x3f"
        assert not answer.outputs["y"].float_val


async def test_method_names_are_checked_only_when_switched_on(tmp_path: Path) -> None:
    odd = Signature(REGRESS.inputs, REGRESS.outputs, method="odd")
    write_light_model(tmp_path / "m", 1, {"serving_default": odd})
    flags = [f"--model_base_path={tmp_path}/m", "--model_name=m"]
    body: dict[str, list[dict[str, float]]] = {"examples": [{}]}
    async with running(*flags) as server:
        assert (await server.post("/v1/models/m:regress", body)).status_code == 200
    async with running(*flags, "--enable_signature_method_name_check") as server:
        answer = await server.post("/v1/models/m:regress", body)
        assert answer.json()["error"] == (
            "Expected regression signature method_name to be tensorflow/serving/regress. Was: odd"
        )
