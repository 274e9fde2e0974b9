"""The gRPC port: PredictionService, ModelService and, when switched on, the standard health service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from e2e.modelserver.background import Background
from e2e.modelserver.inference import SIGNATURE_DEF_FIELD, Inference
from e2e.modelserver.status_report import model_status
from e2e.modelserver.statuses import OK, Code, Status, StatusError, grpc_message, status_of
from e2e.modelserver.tensors import from_proto, to_proto
from e2e.modelserver.wire import serving_pb2 as pb

if TYPE_CHECKING:
    from e2e.modelserver.core import ServerCore
    from e2e.modelserver.faults import Faults
    from e2e.modelserver.metrics import ServerMetrics

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
HEALTH_SERVICE = "grpc.health.v1.Health"
# What the health service knows: the server as a whole and the two services, by unqualified names.
HEALTHY_SERVICES = ("", "ModelService", "PredictionService")
SIGNATURE_DEF_TYPE = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
EXHAUSTED = Status(Code.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")

Request = TypeVar("Request", bound=Message)
Context = grpc.aio.ServicerContext[Any, Any]


class GrpcThreads:
    """Bounds requests in progress as the synchronous server's thread quota does.

    One thread always polls. A request that would need the last one is not queued but refused.
    """

    def __init__(self, max_threads: int) -> None:
        self._free = max_threads - 1

    def __enter__(self) -> None:
        if self._free <= 0:
            raise StatusError(EXHAUSTED.code, EXHAUSTED.message)
        self._free -= 1

    def __exit__(self, *_: object) -> None:
        self._free += 1


class GrpcFront:
    """Answers gRPC calls."""

    def __init__(
        self,
        core: ServerCore,
        inference: Inference,
        faults: Faults,
        metrics: ServerMetrics,
        *,
        max_threads: int,
        tensor_content: bool,
    ) -> None:
        self._core = core
        self._inference = inference
        self._faults = faults
        self._metrics = metrics
        self._threads = GrpcThreads(max_threads)
        self._background = Background()
        self._tensor_content = tensor_content

    def handlers(self, *, with_health: bool) -> tuple[grpc.GenericRpcHandler, ...]:
        """Return the handlers of all services offered."""
        prediction = {
            "Predict": self._unary(self._predict, pb.PredictRequest),
            "Classify": self._unary(self._classify, pb.ClassificationRequest),
            "Regress": self._unary(self._regress, pb.RegressionRequest),
            "GetModelMetadata": self._unary(self._get_model_metadata, pb.GetModelMetadataRequest),
        }
        model = {
            "GetModelStatus": self._unary(self._get_model_status, pb.GetModelStatusRequest),
            "HandleReloadConfigRequest": self._unary(self._reload_config, pb.ReloadConfigRequest),
        }
        services = {PREDICTION_SERVICE: prediction, MODEL_SERVICE: model}
        if with_health:
            services[HEALTH_SERVICE] = {
                "Check": self._unary(self._check_health, pb.HealthCheckRequest, needs_thread=False),
                "Watch": grpc.unary_stream_rpc_method_handler(
                    self._watch_health,
                    request_deserializer=pb.HealthCheckRequest.FromString,
                    response_serializer=pb.HealthCheckResponse.SerializeToString,
                ),
            }
        return tuple(grpc.method_handlers_generic_handler(service, methods) for service, methods in services.items())

    def _unary(
        self,
        method: Callable[[Request, float | None], Awaitable[Message]],
        request_type: type[Request],
        *,
        needs_thread: bool = True,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        async def answer(request: Request, context: Context) -> Message:
            # A synchronous server does not notice that its client gave up: the work goes on.
            work = self._answer(method, request, context.time_remaining(), needs_thread)
            try:
                return await self._background.finish(work)
            except Exception as error:
                status = status_of(error)
                code = next(c for c in grpc.StatusCode if c.value[0] == status.code)
                await context.abort(code, grpc_message(status.message))

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=request_type.FromString,
            response_serializer=lambda response: response.SerializeToString(),
        )

    async def _answer(
        self,
        method: Callable[[Request, float | None], Awaitable[Message]],
        request: Request,
        timeout_seconds: float | None,
        needs_thread: bool,
    ) -> Message:
        if not needs_thread:
            await self._faults.before_answer()
            return await method(request, timeout_seconds)
        with self._threads:
            await self._faults.before_answer()
            return await method(request, timeout_seconds)

    async def _recorded(self, model: str, api: str, work: Awaitable[Message]) -> Message:
        """Count the request and, only if it went well, its latency."""
        begin = time.monotonic()
        try:
            response = await work
        except Exception as error:
            status = status_of(error)
            self._metrics.request_count.add(1, model, status.code.name)
            raise StatusError(status.code, status.message) from error
        self._metrics.request_latency.observe((time.monotonic() - begin) * 1e6, model, api, "GRPC")
        self._metrics.request_count.add(1, model, "OK")
        return response

    async def _predict(self, request: pb.PredictRequest, timeout_seconds: float | None) -> Message:
        return await self._recorded(
            request.model_spec.name, "Predict", self._unrecorded_predict(request, timeout_seconds)
        )

    async def _unrecorded_predict(self, request: pb.PredictRequest, timeout_seconds: float | None) -> Message:
        check_spec(request)
        inputs = {alias: from_proto(tensor) for alias, tensor in request.inputs.items()}
        prediction = await self._inference.predict(request.model_spec, inputs, request.output_filter, timeout_seconds)
        response = pb.PredictResponse(model_spec=prediction.spec)
        for alias, tensor in prediction.outputs.items():
            response.outputs[alias].CopyFrom(to_proto(tensor, as_content=self._tensor_content))
        return response

    async def _classify(self, request: pb.ClassificationRequest, timeout_seconds: float | None) -> Message:
        async def work() -> Message:
            check_spec(request)
            return await self._inference.classify(request.model_spec, request.input, timeout_seconds)

        return await self._recorded(request.model_spec.name, "Classify", work())

    async def _regress(self, request: pb.RegressionRequest, timeout_seconds: float | None) -> Message:
        async def work() -> Message:
            check_spec(request)
            return await self._inference.regress(request.model_spec, request.input, timeout_seconds)

        return await self._recorded(request.model_spec.name, "Regress", work())

    async def _get_model_metadata(self, request: pb.GetModelMetadataRequest, _: float | None) -> Message:
        check_spec(request)
        if not request.metadata_field:
            raise StatusError(Code.INVALID_ARGUMENT, "GetModelMetadataRequest must specify at least one metadata_field")
        for name in request.metadata_field:
            if name != SIGNATURE_DEF_FIELD:
                raise StatusError(Code.INVALID_ARGUMENT, f"Metadata field {name} is not supported")
        spec, signatures = self._inference.metadata(request.model_spec)
        response = pb.GetModelMetadataResponse(model_spec=spec)
        packed = response.metadata[SIGNATURE_DEF_FIELD]
        packed.type_url, packed.value = SIGNATURE_DEF_TYPE, signatures.SerializeToString()
        return response

    async def _get_model_status(self, request: pb.GetModelStatusRequest, _: float | None) -> Message:
        check_spec(request)
        return model_status(self._core.states, request.model_spec)

    async def _reload_config(self, request: pb.ReloadConfigRequest, _: float | None) -> Message:
        before = self._counters(request)
        if request.config.WhichOneof("config") != "model_config_list":
            raise StatusError(
                Code.INVALID_ARGUMENT,
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported",
            )
        await self._core.reload(request.config)
        response = pb.ReloadConfigResponse(status=pb.StatusProto(error_code=OK.code))
        for name, value in self._counters(request).items():
            response.metric.add(name=name, int64_value_increase=value - before[name])
        return response

    def _counters(self, request: pb.ReloadConfigRequest) -> dict[str, int]:
        counters = {name: self._metrics.counter_by_name(name) for name in request.metric_names}
        return {name: counter.first_value() if counter else 0 for name, counter in counters.items()}

    async def _check_health(self, request: pb.HealthCheckRequest, _: float | None) -> Message:
        if request.service not in HEALTHY_SERVICES:
            raise StatusError(Code.NOT_FOUND, "service name unknown")
        return pb.HealthCheckResponse(status=pb.HealthCheckResponse.SERVING)

    async def _watch_health(self, request: pb.HealthCheckRequest, _: Context) -> AsyncIterator[pb.HealthCheckResponse]:
        await self._faults.before_answer()
        known = request.service in HEALTHY_SERVICES
        yield pb.HealthCheckResponse(
            status=pb.HealthCheckResponse.SERVING if known else pb.HealthCheckResponse.SERVICE_UNKNOWN
        )
        # The status never changes again; the stream stays open until the client leaves.
        await asyncio.Event().wait()


def check_spec(request: Message) -> None:
    if not request.HasField("model_spec"):
        raise StatusError(Code.INVALID_ARGUMENT, "Missing ModelSpec")
