"""The graph of a light model, for TensorFlow to run: what the light executor answers, computed by a few operations.

Only what differs between versions is in it: echoes and fill values, loads that fail or take memory. What a run
costs is for the light executor alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from e2e.modelserver.knobs import Behaviour
from e2e.modelserver.tensors import filled, make_tensor, to_proto
from e2e.modelserver.wire import tensors_pb2 as pb

PRODUCER = 1882
"""Version of the graph format: that of TensorFlow 2.16."""
_FLOAT_BYTES = 4
_FILE_NAME = "save/Const"
_RESTORE = "save/restore_all"
_SAVE = "save/control_dependency"


def build_graph(signatures: Mapping[str, pb.SignatureDef], behaviour: Behaviour) -> pb.GraphDef:
    """Return a graph with the tensors that ``signatures`` name, and the operations that ``saver_definition`` names."""
    graph = _Graph()
    for name, signature in signatures.items():
        _add_signature(graph, name, signature, behaviour)
    _add_restore(graph, behaviour)
    return graph.definition


def saver_definition() -> pb.SaverDef:
    """Return what TensorFlow runs when it loads the model's variables."""
    return pb.SaverDef(
        filename_tensor_name=f"{_FILE_NAME}:0",
        save_tensor_name=f"{_SAVE}:0",
        restore_op_name=_RESTORE,
        version=pb.SaverDef.V2,
    )


class _Graph:
    """A graph that grows by nodes."""

    def __init__(self) -> None:
        self.definition = pb.GraphDef(versions=pb.VersionDef(producer=PRODUCER))

    def add(self, name: str, operation: str, *inputs: str, **attributes: pb.AttrValue) -> str:
        """Add a node; return its name, which stands for its first output too."""
        node = self.definition.node.add(name=name, op=operation, input=inputs)
        for key, value in attributes.items():
            node.attr[key].CopyFrom(value)
        return name

    def constant(self, name: str, value: pb.TensorProto) -> str:
        return self.add(name, "Const", dtype=_type(value.dtype), value=pb.AttrValue(tensor=value))

    def integers(self, name: str, values: Sequence[int]) -> str:
        return self.constant(name, to_proto(make_tensor(pb.DT_INT32, (len(values),), values)))

    def filled(self, name: str, dimensions: str, value: str, dtype: int) -> str:
        return self.add(name, "Fill", dimensions, value, T=_type(dtype), index_type=_type(pb.DT_INT32))


def _add_signature(graph: _Graph, name: str, signature: pb.SignatureDef, behaviour: Behaviour) -> None:
    for info in signature.inputs.values():
        shape = pb.AttrValue(shape=info.tensor_shape)
        graph.add(_node(info), "Placeholder", dtype=_type(info.dtype), shape=shape)
    answers: list[str] = []
    outputs = sorted(signature.outputs.items(), key=lambda item: _position(item[1]))
    for alias, info in outputs:
        echoed = _echoed(signature, info) if behaviour.echo else None
        answers.append(echoed or _add_filled(graph, f"{name}/{alias}", signature, info, behaviour.fill_value))
    types = pb.AttrValue(list=pb.AttrValue.ListValue(type=[info.dtype for _, info in outputs]))
    graph.add(_node(outputs[0][1]), "IdentityN", *answers, T=types)


def _echoed(signature: pb.SignatureDef, output: pb.TensorInfo) -> str | None:
    """Return the input whose type and shape ``output`` has."""
    same = (i for i in signature.inputs.values() if (i.dtype, i.tensor_shape) == (output.dtype, output.tensor_shape))
    return next(map(_node, same), None)


def _add_filled(graph: _Graph, name: str, signature: pb.SignatureDef, info: pb.TensorInfo, fill_value: float) -> str:
    value = graph.constant(f"{name}/value", to_proto(filled(info.dtype, (), fill_value)))
    sizes = [dim.size for dim in info.tensor_shape.dim]
    if not sizes:
        return value
    parts = [graph.integers(f"{name}/sizes", [max(size, 1) for size in sizes])]
    batched = next((i for i in signature.inputs.values() if i.tensor_shape.dim), None)
    if sizes[0] < 0 and batched is not None:
        batch = _add_batch_size(graph, f"{name}/batch", batched)
        rest = graph.integers(f"{name}/rest", [max(size, 1) for size in sizes[1:]])
        parts = [batch, rest]
    axis = graph.constant(f"{name}/axis", to_proto(make_tensor(pb.DT_INT32, (), [0])))
    concatenated = _add_concatenation(graph, f"{name}/shape", parts, axis)
    return graph.filled(f"{name}/fill", concatenated, value, info.dtype)


def _add_batch_size(graph: _Graph, name: str, info: pb.TensorInfo) -> str:
    """Add the number of rows that an input has, as a vector of one."""
    shape = graph.add(f"{name}/shape", "Shape", _node(info), T=_type(info.dtype), out_type=_type(pb.DT_INT32))
    begin, size = graph.integers(f"{name}/begin", [0]), graph.integers(f"{name}/size", [1])
    return graph.add(f"{name}/rows", "Slice", shape, begin, size, T=_type(pb.DT_INT32), Index=_type(pb.DT_INT32))


def _add_concatenation(graph: _Graph, name: str, parts: Sequence[str], axis: str) -> str:
    if len(parts) == 1:
        return parts[0]
    count, integer = pb.AttrValue(i=len(parts)), _type(pb.DT_INT32)
    return graph.add(name, "ConcatV2", *parts, axis, N=count, T=integer, Tidx=integer)


def _add_restore(graph: _Graph, behaviour: Behaviour) -> None:
    """Add what is run at load: nothing, or what fails or takes memory as the model is to do."""
    file_name = graph.constant(_FILE_NAME, _text(""))
    graph.add(_SAVE, "Identity", file_name, T=_type(pb.DT_STRING))
    before: list[str] = []
    if behaviour.fail_load:
        # The index of variables is an empty file, which is no table.
        names = graph.constant("save/names", _texts("missing"))
        slices = graph.constant("save/slices", _texts(""))
        dtypes = pb.AttrValue(list=pb.AttrValue.ListValue(type=[pb.DT_FLOAT]))
        before.append(graph.add("save/RestoreV2", "RestoreV2", file_name, names, slices, dtypes=dtypes))
    if behaviour.load_memory_bytes:
        before.append(_add_memory(graph, behaviour.load_memory_bytes))
    graph.add(_RESTORE, "NoOp", *(f"^{name}" for name in before))


def _add_memory(graph: _Graph, size_bytes: int) -> str:
    """Add what takes memory once, unlike the light executor, which keeps it."""
    size = graph.integers("save/memory/size", [size_bytes // _FLOAT_BYTES])
    one = graph.constant("save/memory/one", to_proto(filled(pb.DT_FLOAT, (), 1.0)))
    memory = graph.filled("save/memory/fill", size, one, pb.DT_FLOAT)
    axis = graph.integers("save/memory/axis", [0])
    return graph.add("save/memory", "Sum", memory, axis, T=_type(pb.DT_FLOAT), Tidx=_type(pb.DT_INT32))


def _node(info: pb.TensorInfo) -> str:
    return info.name.partition(":")[0]


def _position(info: pb.TensorInfo) -> int:
    return int(info.name.partition(":")[2])


def _type(dtype: int) -> pb.AttrValue:
    return pb.AttrValue(type=dtype)  # type: ignore[arg-type] # the enum is an int


def _text(value: str) -> pb.TensorProto:
    return to_proto(make_tensor(pb.DT_STRING, (), [value.encode()]))


def _texts(value: str) -> pb.TensorProto:
    return to_proto(make_tensor(pb.DT_STRING, (1,), [value.encode()]))
