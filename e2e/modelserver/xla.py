"""A server that started without XLA: what a model wants compiled (``jit_compile=True``) fails when it is to run."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.modelserver.saved_model import Signatures, read_meta_graph
from e2e.modelserver.statuses import Code, StatusError
from e2e.modelserver.tensors import Tensor
from e2e.modelserver.wire import tensors_pb2 as pb

if TYPE_CHECKING:
    from e2e.modelserver.executor import Executor, Session

MUST_COMPILE = "_XlaMustCompile"
"""The attribute that ``jit_compile=True`` leaves on a function, and on the nodes that call it."""


class WithoutXla:
    """An executor whose models load, and fail at each run of a signature that needs XLA."""

    def __init__(self, executor: Executor, tags: Collection[str]) -> None:
        self._executor = executor
        self._tags = tags

    async def load(self, name: str, version: int, path: Path) -> Session:
        session = await self._executor.load(name, version, path)
        compiled = await asyncio.to_thread(lambda: signatures_to_compile(read_meta_graph(path, self._tags)))
        return PartlyRefusedSession(session, compiled) if compiled else session


class PartlyRefusedSession:
    """A session that refuses to run some of its signatures."""

    def __init__(self, session: Session, refused: Collection[str]) -> None:
        self._session = session
        self._refused = refused

    @property
    def signatures(self) -> Signatures:
        return self._session.signatures

    async def run(self, signature: str, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> dict[str, Tensor]:
        if signature in self._refused:
            raise StatusError(Code.INTERNAL, "XLA compilation disabled")
        return await self._session.run(signature, inputs, outputs)

    def close(self) -> None:
        self._session.close()


def signatures_to_compile(graph: pb.MetaGraphDef) -> frozenset[str]:
    """Return the names of the signatures whose outputs come, however indirectly, out of something to compile."""
    library = {function.signature.name: function for function in graph.graph_def.library.function}
    nodes = {node.name: node for node in graph.graph_def.node}
    compiled: set[str] = set()
    for name, signature in graph.signature_def.items():
        seen: set[str] = set()
        if any(_needs_compiler(node, library, seen) for node in _nodes_behind(signature, nodes)):
            compiled.add(name)
    return frozenset(compiled)


def _must_compile(definition: pb.NodeDef | pb.FunctionDef) -> bool:
    # Asked first, because a protobuf map grows by what is merely looked up.
    return MUST_COMPILE in definition.attr and definition.attr[MUST_COMPILE].b


def _nodes_behind(signature: pb.SignatureDef, nodes: Mapping[str, pb.NodeDef]) -> Iterator[pb.NodeDef]:
    waiting = [info.name for info in signature.outputs.values()]
    seen: set[str] = set()
    while waiting:
        # NODE, NODE:OUTPUT, or ^NODE for one that only has to run before.
        name = waiting.pop().removeprefix("^").partition(":")[0]
        if name not in nodes or name in seen:
            continue
        seen.add(name)
        yield nodes[name]
        waiting += nodes[name].input


def _needs_compiler(node: pb.NodeDef, library: Mapping[str, pb.FunctionDef], seen: set[str]) -> bool:
    """Tell whether ``node`` is to be compiled, or calls what is; functions in ``seen`` are known not to be."""
    if _must_compile(node):
        return True
    for name in _functions_of(node):
        if name not in library or name in seen:
            continue
        seen.add(name)
        function = library[name]
        if _must_compile(function) or any(_needs_compiler(inner, library, seen) for inner in function.node_def):
            return True
    return False


def _functions_of(node: pb.NodeDef) -> Iterator[str]:
    """Yield the names of what ``node`` may call: a function may be an attribute, or the operation itself."""
    yield node.op
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        yield from (function.name for function in value.list.func)
