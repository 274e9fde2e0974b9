"""Turns examples into tensors, and tensors into what Classify and Regress answer."""

from __future__ import annotations

from collections.abc import Mapping

from e2e.modelserver.saved_model import CLASSIFY_CLASSES, CLASSIFY_SCORES
from e2e.modelserver.statuses import Code, StatusError
from e2e.modelserver.tensors import Tensor, make_tensor
from e2e.modelserver.wire import serving_pb2 as pb
from e2e.modelserver.wire import tensors_pb2


def serialized_examples(examples: pb.Input) -> Tensor:
    """Return the examples as a vector of strings, the context (if any) put before each."""
    match examples.WhichOneof("kind"):
        case "example_list":
            serialized = [example.SerializeToString() for example in examples.example_list.examples]
        case "example_list_with_context":
            listed = examples.example_list_with_context
            context = listed.context.SerializeToString()
            serialized = [context + example.SerializeToString() for example in listed.examples]
        case _:
            serialized = []
    if not serialized:
        raise StatusError(Code.INVALID_ARGUMENT, "Input is empty.")
    return make_tensor(tensors_pb2.DT_STRING, (len(serialized),), serialized)


def classification_result(outputs: Mapping[str, Tensor], count: int) -> pb.ClassificationResult:
    """Return the outputs as one list of labels and scores per example."""
    classes, scores = outputs.get(CLASSIFY_CLASSES), outputs.get(CLASSIFY_SCORES)
    for name, tensor, dtype in (
        ("classes", classes, tensors_pb2.DT_STRING),
        ("scores", scores, tensors_pb2.DT_FLOAT),
    ):
        if tensor is not None and (len(tensor.shape) != 2 or tensor.batch_size != count):
            raise StatusError(
                Code.INVALID_ARGUMENT,
                f"Expected {name} Tensor shape: [batch_size num_classes] but got {list(tensor.shape)}",
            )
        if tensor is not None:
            check_dtype(name, tensor, dtype)
    if classes is not None and scores is not None and classes.shape != scores.shape:
        raise StatusError(
            Code.INVALID_ARGUMENT,
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}",
        )
    some = classes if classes is not None else scores
    assert some is not None
    width = some.shape[1]
    labels = classes.values() if classes is not None else [b""] * (count * width)
    numbers = scores.values() if scores is not None else [0.0] * (count * width)
    result = pb.ClassificationResult()
    for example in range(count):
        row = result.classifications.add()
        for position in range(example * width, (example + 1) * width):
            label = bytes(labels[position]).decode("utf-8", "replace")  # type: ignore[arg-type] # labels are bytes
            row.classes.add(label=label, score=float(numbers[position]))
    return result


def regression_result(output: Tensor, count: int) -> pb.RegressionResult:
    """Return the output as one value per example."""
    if not (len(output.shape) == 1 or (len(output.shape) == 2 and output.shape[1] == 1)):
        raise StatusError(
            Code.INVALID_ARGUMENT,
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {list(output.shape)}",
        )
    if output.batch_size != count:
        raise StatusError(
            Code.INVALID_ARGUMENT,
            f"Input batch size did not match output batch size: {count} vs. {output.batch_size}",
        )
    check_dtype("output", output, tensors_pb2.DT_FLOAT)
    return pb.RegressionResult(regressions=[pb.Regression(value=float(value)) for value in output.values()])


def check_dtype(name: str, tensor: Tensor, dtype: int) -> None:
    if tensor.dtype != dtype:
        wanted, found = tensors_pb2.DataType.Name(dtype), tensors_pb2.DataType.Name(tensor.dtype)
        raise StatusError(Code.INVALID_ARGUMENT, f"Expected {name} Tensor of {wanted}. Got: {found}")
