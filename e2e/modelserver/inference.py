"""Predict, Classify, Regress and GetModelMetadata, apart from how requests arrive."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from e2e.modelserver.examples import classification_result, regression_result, serialized_examples
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
    Signatures,
)
from e2e.modelserver.statuses import Code, StatusError
from e2e.modelserver.tensors import Tensor
from e2e.modelserver.wire import serving_pb2 as pb
from e2e.modelserver.wire import tensors_pb2

if TYPE_CHECKING:
    from e2e.modelserver.core import ServerCore
    from e2e.modelserver.faults import Faults
    from e2e.modelserver.metrics import ServerMetrics
    from e2e.modelserver.sessions import ServingSession

SIGNATURE_DEF_FIELD = "signature_def"
RUNTIME = "TF1"


@dataclass(frozen=True)
class Prediction:
    """Outputs by alias and the version that computed them."""

    outputs: dict[str, Tensor]
    spec: pb.ModelSpec


class Inference:
    """Runs requests on the versions that the core has loaded."""

    def __init__(self, core: ServerCore, faults: Faults, metrics: ServerMetrics, *, check_method_names: bool) -> None:
        self._core = core
        self._faults = faults
        self._metrics = metrics
        self._check_method_names = check_method_names

    def signature_inputs(self, spec: pb.ModelSpec) -> Mapping[str, tensors_pb2.TensorInfo]:
        """Return the inputs of the signature that ``spec`` names, as REST needs them to read JSON."""
        servable = self._core.find(spec)
        with servable.in_use() as session:
            name = spec.signature_name or DEFAULT_SIGNATURE
            if name not in session.signatures:
                raise StatusError(Code.INVALID_ARGUMENT, f'Serving signature name: "{name}" not found in signature def')
            return dict(session.signatures[name].inputs)

    async def predict(
        self,
        spec: pb.ModelSpec,
        inputs: Mapping[str, Tensor],
        output_filter: Sequence[str],
        timeout_seconds: float | None,
    ) -> Prediction:
        await self._faults.before_prediction()
        servable = self._core.find(spec)
        with servable.in_use() as session:
            name = spec.signature_name or DEFAULT_SIGNATURE
            outputs = await self.run_predict(session, spec.name, name, inputs, output_filter, timeout_seconds)
        return Prediction(outputs, _answered_by(spec.name, name, servable.id.version))

    async def run_predict(
        self,
        session: ServingSession,
        model: str,
        signature_name: str,
        inputs: Mapping[str, Tensor],
        output_filter: Sequence[str],
        timeout_seconds: float | None,
    ) -> dict[str, Tensor]:
        """Return the outputs for ``inputs``; warm-up records come this way too."""
        if signature_name not in session.signatures:
            raise StatusError(Code.FAILED_PRECONDITION, f'Serving signature key "{signature_name}" not found.')
        signature = session.signatures[signature_name]
        self._check_method(signature, (PREDICT_METHOD, CLASSIFY_METHOD, REGRESS_METHOD))
        check_inputs(signature, inputs)
        outputs = chosen_outputs(signature, output_filter)
        begin = time.monotonic()
        result = await session.run(signature_name, inputs, outputs, timeout_seconds)
        self._metrics.runtime_latency.observe((time.monotonic() - begin) * 1e6, model, "Predict", RUNTIME)
        return result

    def _check_method(self, signature: tensors_pb2.SignatureDef, allowed: Sequence[str]) -> None:
        if self._check_method_names and signature.method_name not in allowed:
            raise StatusError(
                Code.INTERNAL,
                f"Expected prediction signature method_name to be one of {{{', '.join(allowed)}}}. "
                f"Was: {signature.method_name}",
            )

    async def classify(
        self, spec: pb.ModelSpec, examples: pb.Input, timeout_seconds: float | None
    ) -> pb.ClassificationResponse:
        await self._faults.before_prediction()
        servable = self._core.find(spec)
        with servable.in_use() as session:
            result = await self.run_classify(session, spec, examples, timeout_seconds)
        name = spec.signature_name or DEFAULT_SIGNATURE
        return pb.ClassificationResponse(result=result, model_spec=_answered_by(spec.name, name, servable.id.version))

    async def run_classify(
        self, session: ServingSession, spec: pb.ModelSpec, examples: pb.Input, timeout_seconds: float | None
    ) -> pb.ClassificationResult:
        """Return the classes and scores of ``examples``; warm-up records come this way too."""
        name, signature = self._example_signature(session.signatures, spec, CLASSIFY_METHOD, "classification")
        if len(signature.inputs) != 1:
            raise StatusError(Code.INVALID_ARGUMENT, "Expected one input Tensor.")
        if len(signature.outputs) not in (1, 2):
            raise StatusError(
                Code.INVALID_ARGUMENT, f"Expected one or two output Tensors, found {len(signature.outputs)}"
            )
        if CLASSIFY_INPUTS not in signature.inputs:
            raise StatusError(Code.INVALID_ARGUMENT, "No classification inputs found in SignatureDef: ")
        outputs = [alias for alias in (CLASSIFY_CLASSES, CLASSIFY_SCORES) if alias in signature.outputs]
        if not outputs:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                "Expected classification signature outputs to contain at least one of "
                f'"{CLASSIFY_CLASSES}" or "{CLASSIFY_SCORES}". Signature was: ',
            )
        tensor = serialized_examples(examples)
        result = await self._run_examples(
            session, spec.name, name, {CLASSIFY_INPUTS: tensor}, outputs, "Classify", timeout_seconds
        )
        return classification_result(result, tensor.batch_size)

    async def regress(
        self, spec: pb.ModelSpec, examples: pb.Input, timeout_seconds: float | None
    ) -> pb.RegressionResponse:
        await self._faults.before_prediction()
        servable = self._core.find(spec)
        with servable.in_use() as session:
            result = await self.run_regress(session, spec, examples, timeout_seconds)
        name = spec.signature_name or DEFAULT_SIGNATURE
        return pb.RegressionResponse(result=result, model_spec=_answered_by(spec.name, name, servable.id.version))

    async def run_regress(
        self, session: ServingSession, spec: pb.ModelSpec, examples: pb.Input, timeout_seconds: float | None
    ) -> pb.RegressionResult:
        """Return the values of ``examples``; warm-up records come this way too."""
        name, signature = self._example_signature(session.signatures, spec, REGRESS_METHOD, "regression")
        if len(signature.inputs) != 1:
            raise StatusError(Code.INVALID_ARGUMENT, "Expected one input Tensor.")
        if len(signature.outputs) != 1:
            raise StatusError(Code.INVALID_ARGUMENT, "Expected one output Tensor.")
        if REGRESS_INPUTS not in signature.inputs:
            raise StatusError(Code.INVALID_ARGUMENT, "No regression inputs found in SignatureDef: ")
        if REGRESS_OUTPUTS not in signature.outputs:
            raise StatusError(Code.INVALID_ARGUMENT, "No regression outputs found in SignatureDef: ")
        tensor = serialized_examples(examples)
        result = await self._run_examples(
            session, spec.name, name, {REGRESS_INPUTS: tensor}, [REGRESS_OUTPUTS], "Regress", timeout_seconds
        )
        return regression_result(result[REGRESS_OUTPUTS], tensor.batch_size)

    def _example_signature(
        self, signatures: Signatures, spec: pb.ModelSpec, method: str, noun: str
    ) -> tuple[str, tensors_pb2.SignatureDef]:
        name = spec.signature_name or DEFAULT_SIGNATURE
        if name not in signatures:
            raise StatusError(Code.INVALID_ARGUMENT, f"No signature was found with the name: {name}")
        signature = signatures[name]
        if self._check_method_names and signature.method_name != method:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                f"Expected {noun} signature method_name to be {method}. Was: {signature.method_name}",
            )
        return name, signature

    async def _run_examples(
        self,
        session: ServingSession,
        model: str,
        signature_name: str,
        inputs: Mapping[str, Tensor],
        outputs: Sequence[str],
        api: str,
        timeout_seconds: float | None,
    ) -> dict[str, Tensor]:
        begin = time.monotonic()
        result = await session.run(signature_name, inputs, outputs, timeout_seconds)
        self._metrics.runtime_latency.observe((time.monotonic() - begin) * 1e6, model, api, RUNTIME)
        count = next(iter(inputs.values())).batch_size
        self._metrics.request_example_counts.observe(count, model)
        self._metrics.request_example_count_total.add(count, model)
        return result

    def metadata(self, spec: pb.ModelSpec) -> tuple[pb.ModelSpec, tensors_pb2.SignatureDefMap]:
        """Return which version answers for ``spec``, and its signatures."""
        servable = self._core.find(spec)
        with servable.in_use() as session:
            signatures = tensors_pb2.SignatureDefMap(signature_def=dict(session.signatures))
        answered = pb.ModelSpec(name=servable.id.name)
        answered.version.value = servable.id.version
        return answered, signatures


def _answered_by(model: str, signature: str, version: int) -> pb.ModelSpec:
    spec = pb.ModelSpec(name=model, signature_name=signature)
    spec.version.value = version
    return spec


def check_inputs(signature: tensors_pb2.SignatureDef, inputs: Mapping[str, Tensor]) -> None:
    """Raise StatusError unless ``inputs`` are exactly the signature's, those with defaults being optional."""
    sent, declared = set(inputs), set(signature.inputs)
    if len(sent) > len(declared) or (len(sent) < len(declared) and not signature.defaults):
        raise StatusError(
            Code.INVALID_ARGUMENT,
            f"input size does not match signature: {len(sent)}!={len(declared)} len({{{_joined(sent)}}}) != "
            f"len({{{_joined(declared)}}}). Sent extra: {{{_joined(sent - declared)}}}. "
            f"Missing but required: {{{_joined(declared - sent)}}}.",
        )
    for alias in sorted(sent - declared):
        raise StatusError(
            Code.INVALID_ARGUMENT,
            f"input tensor alias not found in signature: {alias}. "
            f"Inputs expected to be in the set {{{_joined(declared)}}}.",
        )


def chosen_outputs(signature: tensors_pb2.SignatureDef, output_filter: Sequence[str]) -> list[str]:
    """Return the aliases to answer with: the filter's, or all."""
    seen: set[str] = set()
    for alias in output_filter:
        if alias not in signature.outputs:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {{{_joined(signature.outputs)}}}.",
            )
        if alias in seen:
            raise StatusError(Code.INVALID_ARGUMENT, f"duplicate output tensor alias: {alias}")
        seen.add(alias)
    return list(output_filter) or sorted(signature.outputs)


def _joined(names: Mapping[str, object] | set[str]) -> str:
    return ",".join(sorted(names))
