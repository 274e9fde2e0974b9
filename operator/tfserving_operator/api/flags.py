"""``server.flags``: the flags of the model server that may be set beside what the operator sets itself."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from tfserving_operator.api.base import ApiModel, cel, cel_list, validations


class ServerFlag(StrEnum):
    """Flags of the model server that may be set beside what the operator sets itself."""

    ENABLE_SIGNATURE_METHOD_NAME_CHECK = "enable_signature_method_name_check"
    FILE_SYSTEM_POLL_WAIT_SECONDS = "file_system_poll_wait_seconds"
    FLUSH_FILESYSTEM_CACHES = "flush_filesystem_caches"
    GRPC_CHANNEL_ARGUMENTS = "grpc_channel_arguments"
    LOAD_RETRY_INTERVAL_MICROS = "load_retry_interval_micros"
    MAX_NUM_LOAD_RETRIES = "max_num_load_retries"
    NUM_LOAD_THREADS = "num_load_threads"
    NUM_UNLOAD_THREADS = "num_unload_threads"
    REMOVE_UNUSED_FIELDS_FROM_BUNDLE_METAGRAPH = "remove_unused_fields_from_bundle_metagraph"
    REST_API_ENABLE_CORS_SUPPORT = "rest_api_enable_cors_support"
    REST_API_TIMEOUT_IN_MS = "rest_api_timeout_in_ms"
    SAVED_MODEL_TAGS = "saved_model_tags"
    ENABLE_SERIALIZATION_AS_TENSOR_CONTENT = "enable_serialization_as_tensor_content"


_BOOLEAN_FLAGS = [
    ServerFlag.ENABLE_SERIALIZATION_AS_TENSOR_CONTENT,
    ServerFlag.ENABLE_SIGNATURE_METHOD_NAME_CHECK,
    ServerFlag.FLUSH_FILESYSTEM_CACHES,
    ServerFlag.REMOVE_UNUSED_FIELDS_FROM_BUNDLE_METAGRAPH,
    ServerFlag.REST_API_ENABLE_CORS_SUPPORT,
]
_COUNT_FLAGS = [
    ServerFlag.FILE_SYSTEM_POLL_WAIT_SECONDS,
    ServerFlag.LOAD_RETRY_INTERVAL_MICROS,
    ServerFlag.NUM_LOAD_THREADS,
    ServerFlag.NUM_UNLOAD_THREADS,
    ServerFlag.REST_API_TIMEOUT_IN_MS,
]
_TEXT_FLAGS = {
    ServerFlag.MAX_NUM_LOAD_RETRIES: ("^[0-9]{1,9}$", "write a number, for example 3"),
    ServerFlag.GRPC_CHANNEL_ARGUMENTS: (
        "^[^=,]+=[^=,]+(,[^=,]+=[^=,]+)*$",
        "write NAME=VALUE pairs with commas between, for example grpc.max_concurrent_streams=100",
    ),
    ServerFlag.SAVED_MODEL_TAGS: ("^[^,]+(,[^,]+)*$", "write tags with commas between, for example serve,gpu"),
}


def _flag_rules() -> dict[str, Any]:
    """The server prints its usage and exits at a value that it cannot read, so each is checked here."""
    return validations(
        cel(
            f"!(self.name in {cel_list(_BOOLEAN_FLAGS)}) || self.value in ['true', 'false']",
            "this flag is a switch: write 'true' or 'false'",
            fieldPath=".value",
        ),
        cel(
            f"!(self.name in {cel_list(_COUNT_FLAGS)}) || self.value.matches('^[1-9][0-9]{{0,8}}$')",
            "this flag is a whole number from 1 to 999999999: write for example '1'",
            fieldPath=".value",
        ),
        *(
            cel(f"self.name != '{flag}' || self.value.matches('{pattern}')", f"{flag}: {advice}", fieldPath=".value")
            for flag, (pattern, advice) in _TEXT_FLAGS.items()
        ),
    )


class FlagSetting(ApiModel):
    """One further flag of the model server."""

    model_config = ConfigDict(json_schema_extra=_flag_rules())

    name: ServerFlag = Field(description="Flag without dashes. Only flags that the operator does not set are allowed.")
    value: Annotated[str, Field(max_length=256, pattern=r"^[^\s]*$")] = Field(description="Its value.")
