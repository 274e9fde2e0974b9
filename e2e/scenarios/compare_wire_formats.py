"""Compares the stand-in's messages with TensorFlow's own. Runs in the environment that has TensorFlow.

Prints one line for each difference, and the names of the messages that were compared.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pool

from e2e.modelserver.wire import config_pb2, serving_pb2, tensors_pb2

ORIGINALS = (
    "tensorflow.core.example.example_pb2",
    "tensorflow.core.protobuf.config_pb2",
    "tensorflow.core.protobuf.saved_model_pb2",
    "tensorflow_serving.apis.get_model_metadata_pb2",
    "tensorflow_serving.apis.get_model_status_pb2",
    "tensorflow_serving.apis.model_management_pb2",
    "tensorflow_serving.apis.prediction_log_pb2",
    "tensorflow_serving.apis.prediction_service_pb2",
    "tensorflow_serving.config.model_server_config_pb2",
    "tensorflow_serving.config.platform_config_pb2",
)
PREFIXES = ("tensorflow.serving.", "tensorflow.", "tensorflow.serving.FileSystemStoragePathSourceConfig.")
OWN_PREFIX = "modelserver.wire."


def main() -> None:
    for module in ORIGINALS:
        importlib.import_module(module)
    for message in our_messages():
        original = find_original(message.full_name.removeprefix(OWN_PREFIX))
        if original is None:
            continue
        print(f"compared {message.name}")
        for difference in differences(message, original):
            print(f"different {message.name}: {difference}")


def our_messages() -> Iterator[Any]:
    for module in (tensors_pb2, config_pb2, serving_pb2):
        for message in module.DESCRIPTOR.message_types_by_name.values():
            yield message
            yield from message.nested_types


def find_original(name: str) -> Any:
    for prefix in PREFIXES:
        try:
            return descriptor_pool.Default().FindMessageTypeByName(prefix + name)
        except KeyError:
            continue
    return None


def differences(ours: Any, original: Any) -> Iterator[str]:
    for field in ours.fields:
        if field.name not in original.fields_by_name:
            yield f"{field.name} does not exist"
            continue
        theirs = original.fields_by_name[field.name]
        # An enum is an int32 on the wire.
        types = {14: 5}
        for what, mine, real in (
            ("number", field.number, theirs.number),
            ("type", types.get(field.type, field.type), types.get(theirs.type, theirs.type)),
            ("repetition", field.is_repeated, theirs.is_repeated),
            ("oneof", oneof(field), oneof(theirs)),
        ):
            if mine != real:
                yield f"{field.name} has {what} {mine}, not {real}"
    if ours.name in COMPLETE:
        for name in sorted(set(original.fields_by_name) - set(ours.fields_by_name)):
            yield f"{name} is missing"


# Text files are written with these: a field that is missing would be an unknown field.
COMPLETE = {
    "ModelConfig", "ModelConfigList", "ModelServerConfig", "ServableVersionPolicy", "LoggingConfig", "SamplingConfig",
    "LogCollectorConfig", "PlatformConfig", "PlatformConfigMap", "ModelSpec", "GetModelStatusRequest",
    "ModelVersionStatus", "ReloadConfigRequest", "ReloadConfigResponse", "StatusProto",
}  # fmt: skip


def oneof(field: Any) -> str:
    return field.containing_oneof.name if field.containing_oneof else ""


if __name__ == "__main__":
    main()
