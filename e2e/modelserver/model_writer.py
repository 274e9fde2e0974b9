"""Writes minimal SavedModels, without TensorFlow.

The light executor serves them by their signatures and makes them behave as told (cost, memory, load time).
TensorFlow serves them by their graph: the same answers, at its own cost.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from e2e.modelserver.knobs import BEHAVIOUR_FILE, Behaviour
from e2e.modelserver.model_graph import build_graph, saver_definition
from e2e.modelserver.saved_model import (
    CLASSIFY_CLASSES,
    CLASSIFY_INPUTS,
    CLASSIFY_METHOD,
    CLASSIFY_SCORES,
    DEFAULT_SIGNATURE,
    PREDICT_METHOD,
    REGRESS_INPUTS,
    REGRESS_METHOD,
    REGRESS_OUTPUTS,
)
from e2e.modelserver.wire import tensors_pb2 as pb

UNKNOWN = -1
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class TensorSpec:
    """A tensor's type (``float``, ``int64``, ``string`` …) and shape; -1 is a dimension of any size."""

    dtype: str = "float"
    shape: tuple[int, ...] = (UNKNOWN,)


@dataclass(frozen=True)
class Signature:
    """What a signature takes and gives, by alias."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method: str = PREDICT_METHOD


PREDICT = Signature(inputs={"x": TensorSpec()}, outputs={"y": TensorSpec()})
"""Takes and gives a vector of floats."""

CLASSIFY = Signature(
    inputs={CLASSIFY_INPUTS: TensorSpec("string", (UNKNOWN,))},
    outputs={
        CLASSIFY_CLASSES: TensorSpec("string", (UNKNOWN, 3)),
        CLASSIFY_SCORES: TensorSpec("float", (UNKNOWN, 3)),
    },
    method=CLASSIFY_METHOD,
)
"""Takes examples and gives three classes with scores."""

REGRESS = Signature(
    inputs={REGRESS_INPUTS: TensorSpec("string", (UNKNOWN,))},
    outputs={REGRESS_OUTPUTS: TensorSpec("float", (UNKNOWN, 1))},
    method=REGRESS_METHOD,
)
"""Takes examples and gives a number each."""

DEFAULT_SIGNATURES: Mapping[str, Signature] = {DEFAULT_SIGNATURE: PREDICT}


def write_light_model(
    path: Path,
    version: int,
    signatures: Mapping[str, Signature] = DEFAULT_SIGNATURES,
    behaviour: Behaviour | None = None,
    *,
    batching_parameters: str | None = None,
) -> Path:
    """Write a version of a model under base path ``path`` and return the version's directory.

    The directory appears under its number only when it is complete, so that a polling server never
    sees half of it. An existing version is replaced.
    """
    final = path / str(version)
    staging = path / f".writing-{version}-{os.getpid()}"
    staging.mkdir(parents=True)
    (staging / "saved_model.pb").write_bytes(
        saved_model(signatures, behaviour or Behaviour()).SerializeToString(deterministic=True)
    )
    variables = staging / "variables"
    variables.mkdir()
    (variables / "variables.index").write_bytes(b"")
    (variables / "variables.data-00000-of-00001").write_bytes(b"")
    if behaviour is not None:
        (staging / BEHAVIOUR_FILE).parent.mkdir()
        (staging / BEHAVIOUR_FILE).write_text(json.dumps(changed_fields(behaviour), indent=2))
    if batching_parameters is not None:
        (staging / "batching_params.pbtxt").write_text(batching_parameters)
    if final.exists():
        shutil.rmtree(final)
    return staging.rename(final)


def changed_fields(behaviour: Behaviour) -> dict[str, object]:
    """Return the fields of ``behaviour`` that differ from the defaults."""
    defaults = asdict(Behaviour())
    return {name: value for name, value in asdict(behaviour).items() if value != defaults[name]}


def saved_model(signatures: Mapping[str, Signature], behaviour: Behaviour) -> pb.SavedModel:
    """Return a SavedModel message with one meta graph, tagged ``serve``, that has ``signatures``."""
    model = pb.SavedModel(saved_model_schema_version=SCHEMA_VERSION)
    graph = model.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    for name, signature in signatures.items():
        definition = graph.signature_def[name]
        definition.method_name = signature.method
        for alias, spec in signature.inputs.items():
            _declare(definition.inputs[alias], f"{name}_{alias}:0", spec)
        for position, (alias, spec) in enumerate(signature.outputs.items()):
            _declare(definition.outputs[alias], f"StatefulPartitionedCall_{name}:{position}", spec)
    graph.graph_def.CopyFrom(build_graph(graph.signature_def, behaviour))
    graph.saver_def.CopyFrom(saver_definition())
    return model


def _declare(info: pb.TensorInfo, name: str, spec: TensorSpec) -> None:
    info.name = name
    info.dtype = pb.DataType.Value(f"DT_{spec.dtype.upper()}")  # type: ignore[assignment] # the enum is an int
    for size in spec.shape:
        info.tensor_shape.dim.add(size=size)
    info.tensor_shape.SetInParent()
