"""Reads what a SavedModel directory declares: its meta graph's signatures, without TensorFlow."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from e2e.modelserver.file_access import is_there
from e2e.modelserver.statuses import Code, StatusError, status_of
from e2e.modelserver.wire import tensors_pb2 as pb

DEFAULT_SIGNATURE = "serving_default"
INIT_OP_SIGNATURES = ("__saved_model_init_op", "__saved_model_train_op")
PREDICT_METHOD = "tensorflow/serving/predict"
CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"
CLASSIFY_INPUTS = "inputs"
CLASSIFY_CLASSES = "classes"
CLASSIFY_SCORES = "scores"
REGRESS_INPUTS = "inputs"
REGRESS_OUTPUTS = "outputs"

Signatures = Mapping[str, pb.SignatureDef]


def read_signatures(version_path: Path, tags: Collection[str]) -> Signatures:
    """Return the signatures of the meta graph with exactly ``tags`` in the model at ``version_path``."""
    return dict(read_meta_graph(version_path, tags).signature_def)


def read_meta_graph(version_path: Path, tags: Collection[str]) -> pb.MetaGraphDef:
    """Return the meta graph with exactly ``tags`` in the model at ``version_path``."""
    model = read_saved_model(version_path)
    for graph in model.meta_graphs:
        if set(graph.meta_info_def.tags) == set(tags):
            return graph
    available = " ".join(f"{{ {' '.join(graph.meta_info_def.tags)} }}" for graph in model.meta_graphs)
    raise StatusError(
        Code.NOT_FOUND,
        f"Could not find meta graph def matching supplied tags: {{ {' '.join(tags)} }}. "
        f"To inspect available tag-sets in the SavedModel, please use the SavedModel CLI: `saved_model_cli`\n"
        f"available_tags: {available}",
    )


def read_saved_model(version_path: Path) -> pb.SavedModel:
    """Return the SavedModel message in ``version_path``, from ``saved_model.pb`` or else ``.pbtxt``."""
    binary, text = version_path / "saved_model.pb", version_path / "saved_model.pbtxt"
    try:
        if is_there(binary):
            return pb.SavedModel.FromString(binary.read_bytes())
        if is_there(text):
            return text_format.Parse(text.read_text(), pb.SavedModel(), allow_unknown_field=True)
    except DecodeError as error:
        raise StatusError(Code.DATA_LOSS, f"Can't parse {binary} as binary proto") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise StatusError(Code.DATA_LOSS, f"Can't parse {text} as text proto") from error
    except OSError as error:
        status = status_of(error)
        raise StatusError(status.code, status.message) from error
    raise StatusError(
        Code.NOT_FOUND,
        f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {version_path}. "
        "Check that the directory exists and that you have the right permissions for accessing it.",
    )
