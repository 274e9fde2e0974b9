"""The wire and file formats of TensorFlow Serving, without TensorFlow.

Message classes, their text form, and the gRPC methods of ModelService. Works whether TensorFlow is installed
or not: docs/adr/0002-wire-formats-without-tensorflow.md.
"""

from __future__ import annotations

from typing import Final, TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from tfserving_operator.wire.serving_pb2 import (
    BatchingParameters,
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelVersionStatus,
    MonitoringConfig,
    ReloadConfigRequest,
    ReloadConfigResponse,
    SSLConfig,
)

__all__ = [
    "GET_MODEL_STATUS_METHOD",
    "RELOAD_CONFIG_METHOD",
    "BatchingParameters",
    "GetModelStatusRequest",
    "GetModelStatusResponse",
    "InvalidTextError",
    "ModelServerConfig",
    "ModelVersionStatus",
    "MonitoringConfig",
    "ReloadConfigRequest",
    "ReloadConfigResponse",
    "SSLConfig",
    "from_text",
    "to_text",
]

GET_MODEL_STATUS_METHOD: Final = "/tensorflow.serving.ModelService/GetModelStatus"
RELOAD_CONFIG_METHOD: Final = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"

AnyMessage = TypeVar("AnyMessage", bound=Message)


class InvalidTextError(ValueError):
    """A text is not of the message type that was asked for; says where."""


def to_text(message: Message) -> str:
    """Return ``message`` as TensorFlow Serving's flag files hold it: the same text for equal messages.

    A wrapper that holds zero prints as ``name { }``, which means zero, not "left out".
    """
    return text_format.MessageToString(message, as_utf8=True)


def from_text(text: str, message_type: type[AnyMessage]) -> AnyMessage:
    """Return the message that ``text`` holds, or raise InvalidTextError."""
    try:
        return text_format.Parse(text, message_type())
    except text_format.ParseError as error:
        raise InvalidTextError(f"{message_type.__name__}: {error}") from error
