"""The model servers' client, against a real gRPC server that answers as TensorFlow Serving does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message

from tfserving_operator.clients.errors import ClientError, NotFound, Rejected, Unavailable
from tfserving_operator.clients.model_service import (
    ModelServiceClient,
    Unknown,
    VersionState,
    VersionStatus,
)
from tfserving_operator.wire import (
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelServerConfig,
    ReloadConfigRequest,
    ReloadConfigResponse,
    from_text,
)

CONFIG = from_text(
    'model_config_list { config { name: "m" base_path: "/models/m" model_platform: "tensorflow" } }',
    ModelServerConfig,
)


@dataclass
class FakeModelServer:
    statuses: dict[str, str] = field(default_factory=dict)
    reload_error: tuple[grpc.StatusCode, str] | None = None
    reload_answer: str = ""
    hangs: bool = False
    reloads: list[ModelServerConfig] = field(default_factory=list)
    address: str = ""

    async def get_status(
        self, request: GetModelStatusRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> GetModelStatusResponse:
        if self.hangs:
            await asyncio.Event().wait()
        name = request.model_spec.name
        if name not in self.statuses:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {name}")
        return from_text(self.statuses[name], GetModelStatusResponse)

    async def reload(
        self, request: ReloadConfigRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> ReloadConfigResponse:
        if self.hangs:
            await asyncio.Event().wait()
        if self.reload_error:
            await context.abort(*self.reload_error)
        self.reloads.append(request.config)
        return from_text(self.reload_answer, ReloadConfigResponse)


def handler(
    function: Callable[..., Awaitable[Message]], request: type[Message]
) -> grpc.RpcMethodHandler[object, Message]:
    return grpc.unary_unary_rpc_method_handler(
        function,
        request_deserializer=request.FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )


@pytest.fixture
async def server() -> AsyncIterator[FakeModelServer]:
    fake = FakeModelServer()
    grpc_server = grpc.aio.server()
    methods = {
        "GetModelStatus": handler(fake.get_status, GetModelStatusRequest),
        "HandleReloadConfigRequest": handler(fake.reload, ReloadConfigRequest),
    }
    grpc_server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("tensorflow.serving.ModelService", methods)]
    )
    fake.address = f"127.0.0.1:{grpc_server.add_insecure_port('127.0.0.1:0')}"
    await grpc_server.start()
    yield fake
    await grpc_server.stop(None)


@pytest.fixture
async def client() -> AsyncIterator[ModelServiceClient]:
    client = ModelServiceClient()
    yield client
    await client.close()


async def test_versions_come_highest_first_with_state_and_error(
    client: ModelServiceClient, server: FakeModelServer
) -> None:
    server.statuses["m"] = """
        model_version_status { version: 1 state: AVAILABLE status {} }
        model_version_status { version: 3 state: END status { error_code: 5 error_message: "no such file" } }
        model_version_status { version: 2 state: LOADING }
    """

    assert await client.status(server.address, ["m"], 5) == {
        "m": (
            VersionStatus(3, VersionState.END, 5, "no such file"),
            VersionStatus(2, VersionState.LOADING),
            VersionStatus(1, VersionState.AVAILABLE),
        )
    }


async def test_model_without_versions_is_known_to_have_none(
    client: ModelServiceClient, server: FakeModelServer
) -> None:
    server.statuses["m"] = "model_version_status { version: 1 state: AVAILABLE }"

    assert await client.status(server.address, ["m", "other"], 5) == {
        "m": (VersionStatus(1, VersionState.AVAILABLE),),
        "other": (),
    }


async def test_state_of_a_newer_server_is_unknown_not_an_error(
    client: ModelServiceClient, server: FakeModelServer
) -> None:
    server.statuses["m"] = "model_version_status { version: 1 state: 60 }"

    assert await client.status(server.address, ["m"], 5) == {"m": (VersionStatus(1, VersionState.UNKNOWN),)}


async def test_server_that_is_not_there_is_unknown_never_zero_versions(client: ModelServiceClient) -> None:
    [answer] = (await client.status("127.0.0.1:1", ["m"], 5)).values()

    assert isinstance(answer, Unknown)
    assert "UNAVAILABLE" in answer.reason


async def test_server_that_hangs_is_unknown_within_the_timeout(
    client: ModelServiceClient, server: FakeModelServer
) -> None:
    server.hangs = True

    answers = await client.status(server.address, ["m"], 0.05)

    assert answers == {"m": Unknown("DEADLINE_EXCEEDED: Deadline Exceeded")}


async def test_reload_sends_the_whole_config(client: ModelServiceClient, server: FakeModelServer) -> None:
    await client.reload(server.address, CONFIG, 5)

    assert server.reloads == [CONFIG]


@pytest.mark.parametrize(
    ("code", "error_type"),
    [
        (grpc.StatusCode.FAILED_PRECONDITION, Rejected),
        (grpc.StatusCode.INVALID_ARGUMENT, Rejected),
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.NOT_FOUND, NotFound),
    ],
    ids=lambda value: getattr(value, "name", None),
)
async def test_refused_reload_is_translated_with_the_servers_words(
    client: ModelServiceClient,
    server: FakeModelServer,
    code: grpc.StatusCode,
    error_type: type[ClientError],
) -> None:
    server.reload_error = (code, "label x: version 3 is not currently available for inference")

    with pytest.raises(error_type, match="not currently available for inference"):
        await client.reload(server.address, CONFIG, 5)


async def test_reload_that_failed_inside_an_answer_is_rejected(
    client: ModelServiceClient, server: FakeModelServer
) -> None:
    server.reload_answer = 'status { error_code: 3 error_message: "bad config" }'

    with pytest.raises(Rejected, match="bad config") as caught:
        await client.reload(server.address, CONFIG, 5)

    assert caught.value.reason == "INVALID_ARGUMENT"


async def test_reload_that_hangs_is_unavailable_within_the_timeout(
    client: ModelServiceClient, server: FakeModelServer
) -> None:
    server.hangs = True

    with pytest.raises(Unavailable):
        await client.reload(server.address, CONFIG, 0.05)


async def test_channels_beyond_the_limit_are_given_up_and_opened_again(server: FakeModelServer) -> None:
    server.statuses["m"] = "model_version_status { version: 1 state: AVAILABLE }"
    client = ModelServiceClient(max_channels=1)
    port = server.address.rpartition(":")[2]

    for address in (server.address, f"localhost:{port}", server.address):
        assert await client.status(address, ["m"], 5) == {"m": (VersionStatus(1, VersionState.AVAILABLE),)}

    await client.close()


async def test_a_channel_that_is_closed_meanwhile_ends_the_call_and_not_its_task(server: FakeModelServer) -> None:
    """gRPC says "cancelled" then, as if whoever waits for the answer had been told to stop."""
    client = ModelServiceClient()
    server.hangs = True
    calls = [
        asyncio.ensure_future(client.status(server.address, ["m"], 20)),
        asyncio.ensure_future(client.reload(server.address, CONFIG, 20)),
    ]
    await asyncio.sleep(0.2)
    await client.close()
    status, reload = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(status, dict)
    assert isinstance(status["m"], Unknown)
    assert isinstance(reload, Unavailable)


async def test_who_waits_for_an_answer_can_be_told_to_stop(client: ModelServiceClient, server: FakeModelServer) -> None:
    server.hangs = True
    task = asyncio.create_task(client.reload(server.address, CONFIG, 20))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
