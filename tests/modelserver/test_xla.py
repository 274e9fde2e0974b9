"""A server without XLA: models with ``jit_compile=True`` load, and fail when they are to run."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.modelserver.model_writer import PREDICT, write_light_model
from e2e.modelserver.wire import tensors_pb2 as pb
from e2e.modelserver.xla import MUST_COMPILE, signatures_to_compile
from tests.modelserver.harness import running, start_failure
from tests.modelserver.test_warmup import predict_record, write_record_file

YES = pb.AttrValue(b=True)
NO = pb.AttrValue(b=False)


def calls(name: str) -> pb.AttrValue:
    return pb.AttrValue(func=pb.NameAttrList(name=name))


def function(name: str, *nodes: pb.NodeDef, compiled: bool = False) -> pb.FunctionDef:
    attributes = {MUST_COMPILE: YES} if compiled else {}
    return pb.FunctionDef(signature=pb.OpDef(name=name), node_def=nodes, attr=attributes)


def write_compiled_model(base: Path) -> Path:
    """Write a model whose signature ``compiled`` calls what ``jit_compile=True`` made; ``serving_default`` does not."""
    version = write_light_model(base, 1, {"serving_default": PREDICT, "compiled": PREDICT})
    model = pb.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    graph = model.meta_graphs[0].graph_def
    graph.library.function.append(function("inner", compiled=True))
    (output,) = (node for node in graph.node if node.name == "StatefulPartitionedCall_compiled")
    output.attr["f"].CopyFrom(calls("inner"))
    (version / "saved_model.pb").write_bytes(model.SerializeToString())
    return version


@pytest.mark.parametrize("signature", ["serving_default", "compiled"])
@pytest.mark.parametrize("flag", [None, "--xla_cpu_compilation_enabled", "--xla_gpu_compilation_enabled"])
async def test_only_without_either_flag_does_what_is_to_be_compiled_fail(
    base: Path, flag: str | None, signature: str
) -> None:
    write_compiled_model(base)
    flags = [f"--model_base_path={base}", "--model_name=m", *([flag] if flag else [])]
    async with running(*flags) as server:
        assert await server.states() == {1: "AVAILABLE"}
        body = {"instances": [1.0], "signature_name": signature}
        answer = await server.post("/v1/models/m:predict", body)
    if flag or signature == "serving_default":
        assert answer.json() == {"predictions": [1.0]}
    else:
        assert (answer.status_code, answer.json()) == (500, {"error": "XLA compilation disabled"})


async def test_a_warm_up_record_finds_it_out_before_clients_do(base: Path) -> None:
    write_record_file(write_compiled_model(base), [predict_record([1], signature="compiled")])
    status = await start_failure(f"--model_base_path={base}", "--model_name=m", "--max_num_load_retries=0")
    assert "XLA compilation disabled" in status.message


CALL_INNER = pb.NodeDef(name="call", op="PartitionedCall", attr={"f": calls("inner")})


@pytest.mark.parametrize(
    ("nodes", "functions", "compiled"),
    [
        pytest.param([pb.NodeDef(name="out")], [], False, id="nothing to compile"),
        pytest.param([pb.NodeDef(name="out", attr={MUST_COMPILE: YES})], [], True, id="node"),
        pytest.param([pb.NodeDef(name="out", attr={MUST_COMPILE: NO})], [], False, id="jit_compile=False"),
        pytest.param([pb.NodeDef(name="out", attr={"f": calls("inner")})], [function("inner", compiled=True)],
                     True, id="function"),
        pytest.param([pb.NodeDef(name="out", op="inner")], [function("inner", compiled=True)],
                     True, id="function called by its name"),
        pytest.param([pb.NodeDef(name="out", op="outer")], [function("outer", CALL_INNER),
                     function("inner", compiled=True)], True, id="function within a function"),
        pytest.param([pb.NodeDef(name="out", op="outer")], [function("outer", CALL_INNER),
                     function("inner", CALL_INNER), function("unused", compiled=True)],
                     False, id="recursion, and a function that nothing calls"),
        pytest.param([pb.NodeDef(name="out", attr={"branches": pb.AttrValue(list=pb.AttrValue.ListValue(
                     func=[pb.NameAttrList(name="other"), pb.NameAttrList(name="inner")]))})],
                     [function("inner", compiled=True)], True, id="branch"),
        pytest.param([pb.NodeDef(name="out", input=["a:1", "^b"]), pb.NodeDef(name="a"),
                     pb.NodeDef(name="b", input=["out"], attr={MUST_COMPILE: YES})], [],
                     True, id="behind the output"),
        pytest.param([pb.NodeDef(name="out"), pb.NodeDef(name="beside", attr={MUST_COMPILE: YES})], [],
                     False, id="beside the output"),
    ],
)  # fmt: skip
def test_signatures_are_to_be_compiled_when_their_outputs_come_out_of_what_is(
    nodes: list[pb.NodeDef], functions: list[pb.FunctionDef], compiled: bool
) -> None:
    signature = pb.SignatureDef(outputs={"y": pb.TensorInfo(name="out:0")})
    graph = pb.GraphDef(node=nodes, library=pb.FunctionDefLibrary(function=functions))
    found = signatures_to_compile(pb.MetaGraphDef(graph_def=graph, signature_def={"s": signature}))
    assert found == (frozenset({"s"}) if compiled else frozenset())
