"""Runs real SavedModels in TensorFlow sessions, as the real server's runtime does: by graph and tensor names."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from e2e.modelserver.file_access import is_there
from e2e.modelserver.mixed_precision import BFLOAT16
from e2e.modelserver.options import request_threads
from e2e.modelserver.saved_model import INIT_OP_SIGNATURES, Signatures, read_signatures
from e2e.modelserver.statuses import Code, StatusError
from e2e.modelserver.tensors import Tensor
from e2e.modelserver.wire import config_pb2
from e2e.modelserver.wire import tensors_pb2 as pb

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import rewriter_config_pb2, saved_model_pb2

log = logging.getLogger(__name__)


class TensorFlowSession:
    """A SavedModel in a session of its own."""

    def __init__(self, session: Any, signatures: Signatures, threads: ThreadPoolExecutor) -> None:
        self.signatures = signatures
        self._session = session
        self._threads = threads

    async def run(self, signature: str, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> dict[str, Tensor]:
        definition = self.signatures[signature]
        fetches = {alias: definition.outputs[alias].name for alias in outputs}
        try:
            feeds = {definition.inputs[alias].name: to_array(tensor) for alias, tensor in inputs.items()}
            arrays = await asyncio.get_running_loop().run_in_executor(self._threads, self._session.run, fetches, feeds)
        except tf.errors.OpError as error:
            raise StatusError(Code(error.error_code), str(error.message)) from error
        except (TypeError, ValueError) as error:
            # Python checks types and shapes of what is fed before the runtime would.
            raise StatusError(Code.INVALID_ARGUMENT, str(error)) from error
        return {alias: from_array(array, int(definition.outputs[alias].dtype)) for alias, array in arrays.items()}

    def close(self) -> None:
        self._session.close()


class TensorFlowExecutor:
    """Loads SavedModels with TensorFlow."""

    def __init__(
        self, tags: Sequence[str], session_config: config_pb2.ConfigProto, *, xla: bool, mixed_precision: str
    ) -> None:
        self._tags = tags
        self._config = tf.compat.v1.ConfigProto.FromString(session_config.SerializeToString())
        if not xla:
            self._config.graph_options.optimizer_options.global_jit_level = tf.compat.v1.OptimizerOptions.OFF
        if mixed_precision == BFLOAT16:
            rewrites = self._config.graph_options.rewrite_options
            rewrites.auto_mixed_precision_onednn_bfloat16 = rewriter_config_pb2.RewriterConfig.ON
        self._threads = ThreadPoolExecutor(request_threads(), thread_name_prefix="session")

    async def load(self, name: str, version: int, path: Path) -> TensorFlowSession:
        return await asyncio.to_thread(self._load, path)

    def _load(self, path: Path) -> TensorFlowSession:
        signatures = read_signatures(path, self._tags)
        graph = tf.Graph()
        session = tf.compat.v1.Session(graph=graph, config=self._config)
        try:
            with graph.as_default():
                if is_there(path / "variables" / "variables.index"):
                    tf.compat.v1.saved_model.loader.load(session, self._tags, str(path))
                else:
                    self._load_without_variables(session, path)
        except tf.errors.OpError as error:
            session.close()
            raise StatusError(Code(error.error_code), str(error.message)) from error
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            session.close()
            raise StatusError(Code.INTERNAL, f"{path}: {error}") from error
        served = {key: value for key, value in signatures.items() if key not in INIT_OP_SIGNATURES}
        return TensorFlowSession(session, served, self._threads)

    def _load_without_variables(self, session: Any, path: Path) -> None:
        """Load the graph alone, as the real server does with a half-copied model: requests fail later."""
        log.info("The specified SavedModel has no variables; no checkpoints were restored: %s", path)
        model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
        graph = next(g for g in model.meta_graphs if set(g.meta_info_def.tags) == set(self._tags))
        tf.compat.v1.train.import_meta_graph(graph)
        for name in INIT_OP_SIGNATURES[:1]:
            if name in graph.signature_def:
                session.run([info.name for info in graph.signature_def[name].outputs.values()])


def to_array(tensor: Tensor) -> Any:
    if tensor.dtype == pb.DT_STRING:
        array = np.empty(len(tensor.strings), dtype=object)
        array[:] = tensor.strings
        return array.reshape(tensor.shape)
    return np.frombuffer(tensor.packed, dtype=tf.as_dtype(tensor.dtype).as_numpy_dtype).reshape(tensor.shape)


def from_array(array: Any, dtype: int) -> Tensor:
    array = np.asarray(array)
    if dtype == pb.DT_STRING:
        return Tensor(dtype, array.shape, strings=tuple(bytes(value) for value in array.ravel()))
    return Tensor(dtype, array.shape, packed=np.ascontiguousarray(array).tobytes())
