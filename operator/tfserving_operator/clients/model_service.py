"""ModelService of the model servers: which versions of which models each one has, and new model configs."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import grpc
import grpc.aio

from tfserving_operator.clients.errors import NotFound, Rejected, Unavailable
from tfserving_operator.wire import (
    GET_MODEL_STATUS_METHOD,
    RELOAD_CONFIG_METHOD,
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelServerConfig,
    ModelVersionStatus,
    ReloadConfigRequest,
    ReloadConfigResponse,
)

MAX_CHANNELS: Final = 512
_MAX_REASON_LENGTH: Final = 300
_CHANNEL_CLOSED: Final = "the channel was closed to make room for others"


class VersionState(StrEnum):
    """State of a version in a model server, in TensorFlow Serving's words."""

    UNKNOWN = "UNKNOWN"
    START = "START"
    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    END = "END"


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """What a server says of one version. END with error_code 0 was unloaded; with another one, it did not load."""

    version: int
    state: VersionState
    error_code: int = 0
    error_message: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """No answer, which says nothing of what was asked for; ``reason`` is why."""

    reason: str


@dataclass(frozen=True, slots=True)
class ServerTls:
    """How to trust a model server, and how to show who we are where it wants to know. PEM contents."""

    ca_certificate: bytes
    server_name: str
    client_certificate: bytes | None = None
    client_key: bytes | None = None


class ModelServiceClient:
    """Calls model servers by address, ``host:port``; keeps the channels that were used last."""

    def __init__(self, *, max_channels: int = MAX_CHANNELS) -> None:
        self._max_channels = max_channels
        self._channels: OrderedDict[tuple[str, ServerTls | None], grpc.aio.Channel] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Close all channels; calls that are under way end as unavailable."""
        channels = list(self._channels.values())
        self._channels.clear()
        await asyncio.gather(*(channel.close() for channel in channels), *self._closing)

    async def status(
        self,
        address: str,
        model_names: Collection[str],
        timeout_seconds: float,
        tls: ServerTls | None = None,
    ) -> Mapping[str, tuple[VersionStatus, ...] | Unknown]:
        """Return for each name its versions as the server lists them, highest first. Never raises ClientError.

        An empty tuple means that the server answered and has no version of that model (yet: it says so until the
        first load has begun). A name whose question was not answered maps to Unknown.
        """
        channel = self._channel(address, tls)
        answers = await asyncio.gather(*(_model_status(channel, name, timeout_seconds) for name in model_names))
        return dict(zip(model_names, answers, strict=True))

    async def reload(
        self,
        address: str,
        config: ModelServerConfig,
        timeout_seconds: float,
        tls: ServerTls | None = None,
    ) -> None:
        """Replace the server's whole model config.

        The server answers when new *models* are loaded, with no limit of its own, and takes no other reload until
        then; Unavailable for a timeout therefore means "not known yet": ask for the status. Rejected when the server
        refuses the config, for example for a label on a version that it has not loaded.
        """
        call = self._channel(address, tls).unary_unary(
            RELOAD_CONFIG_METHOD,
            request_serializer=ReloadConfigRequest.SerializeToString,
            response_deserializer=ReloadConfigResponse.FromString,
        )
        try:
            response = await call(ReloadConfigRequest(config=config), timeout=timeout_seconds)
        except grpc.aio.AioRpcError as error:
            raise _client_error(address, error) from error
        except asyncio.CancelledError as error:
            _raise_if_we_are_cancelled(error)
            raise Unavailable(f"model server {address}: {_CHANNEL_CLOSED}") from error
        if response.status.error_code:
            raise Rejected(response.status.error_message, reason=_code_name(response.status.error_code))

    def _channel(self, address: str, tls: ServerTls | None) -> grpc.aio.Channel:
        key = (address, tls)
        channel = self._channels.pop(key, None)
        if channel is None:
            channel = _open_channel(address, tls)
        self._channels[key] = channel
        while len(self._channels) > self._max_channels:
            _, oldest = self._channels.popitem(last=False)
            # A call that is under way on it may end first.
            task = asyncio.create_task(oldest.close(grace=5.0))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        return channel


def _open_channel(address: str, tls: ServerTls | None) -> grpc.aio.Channel:
    # Pods come and go at the same address: a new one shall not wait for the backoff that the old one left behind.
    options: list[tuple[str, str | int]] = [
        ("grpc.max_reconnect_backoff_ms", 5_000),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
    ]
    if tls is None:
        return grpc.aio.insecure_channel(address, options)
    credentials = grpc.ssl_channel_credentials(tls.ca_certificate, tls.client_key, tls.client_certificate)
    return grpc.aio.secure_channel(address, credentials, [*options, ("grpc.ssl_target_name_override", tls.server_name)])


async def _model_status(
    channel: grpc.aio.Channel, name: str, timeout_seconds: float
) -> tuple[VersionStatus, ...] | Unknown:
    call = channel.unary_unary(
        GET_MODEL_STATUS_METHOD,
        request_serializer=GetModelStatusRequest.SerializeToString,
        response_deserializer=GetModelStatusResponse.FromString,
    )
    try:
        response = await call(GetModelStatusRequest(model_spec={"name": name}), timeout=timeout_seconds)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return ()
        return Unknown(f"{error.code().name}: {_details(error)}")
    except asyncio.CancelledError as error:
        _raise_if_we_are_cancelled(error)
        return Unknown(_CHANNEL_CLOSED)
    versions = [_version_status(version) for version in response.model_version_status]
    return tuple(sorted(versions, key=lambda version: version.version, reverse=True))


def _raise_if_we_are_cancelled(error: asyncio.CancelledError) -> None:
    """GRPC ends a call as cancelled where its channel is closed; that must not end the task that waits for it."""
    task = asyncio.current_task()
    if task is None or task.cancelling():
        raise error


def _version_status(message: ModelVersionStatus) -> VersionStatus:
    try:
        state = VersionState(ModelVersionStatus.State.Name(message.state))
    except ValueError:
        # A state that a newer server may have.
        state = VersionState.UNKNOWN
    return VersionStatus(message.version, state, message.status.error_code, message.status.error_message)


def _client_error(address: str, error: grpc.aio.AioRpcError) -> Unavailable | NotFound | Rejected:
    message = f"model server {address}: {_details(error)}"
    match error.code():
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED | grpc.StatusCode.CANCELLED:
            return Unavailable(message)
        case grpc.StatusCode.NOT_FOUND:
            return NotFound(message)
        case code:
            return Rejected(message, reason=code.name)


def _details(error: grpc.aio.AioRpcError) -> str:
    return " ".join((error.details() or "no details").split())[:_MAX_REASON_LENGTH]


def _code_name(code: int) -> str:
    return next((status.name for status in grpc.StatusCode if status.value[0] == code), str(code))
