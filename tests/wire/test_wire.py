"""The wire formats: the same bytes and the same text as TensorFlow Serving's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.message import Message

from tfserving_operator.wire import (
    BatchingParameters,
    GetModelStatusRequest,
    GetModelStatusResponse,
    InvalidTextError,
    ModelServerConfig,
    ModelVersionStatus,
    MonitoringConfig,
    ReloadConfigRequest,
    SSLConfig,
    from_text,
    to_text,
)

ROOT = Path(__file__).parents[2]

# As in the documentation and the examples of TensorFlow Serving.
DOCUMENTED_TEXTS: list[tuple[type[Message], str]] = [
    (
        BatchingParameters,
        """
        max_batch_size { value: 32 }  batch_timeout_micros { value: 0 }  max_enqueued_batches { value: 100 }
        num_batch_threads { value: 8 }  thread_pool_name { value: "x" }  allowed_batch_sizes: 1
        allowed_batch_sizes: 32  pad_variable_length_inputs: true
        enable_large_batch_splitting { value: true }  max_execution_batch_size { value: 32 }
        """,
    ),
    (
        MonitoringConfig,
        'prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }',
    ),
    (SSLConfig, r'server_key: "k\n" server_cert: "c\n" custom_ca: "a" client_verify: true'),
    (
        ModelServerConfig,
        """
        model_config_list { config {
          name: "m" base_path: "/models/m" model_platform: "tensorflow"
          model_version_policy { specific { versions: 42 versions: 43 } }
          version_labels { key: "stable" value: 42 }
        } }
        """,
    ),
]


@pytest.mark.parametrize(("message_type", "text"), DOCUMENTED_TEXTS, ids=lambda value: getattr(value, "__name__", ""))
def test_documented_text_survives_a_round_trip(message_type: type[Message], text: str) -> None:
    message = from_text(text, message_type)

    assert message.ListFields()
    assert from_text(to_text(message), message_type) == message
    assert message_type.FromString(message.SerializeToString()) == message


def test_wrapper_with_zero_is_kept_apart_from_a_wrapper_left_out() -> None:
    zero = from_text("batch_timeout_micros { value: 0 }", BatchingParameters)

    assert zero.HasField("batch_timeout_micros")
    assert not from_text("", BatchingParameters).HasField("batch_timeout_micros")
    assert from_text(to_text(zero), BatchingParameters).HasField("batch_timeout_micros")


def test_unknown_field_is_refused_with_its_name_and_line() -> None:
    with pytest.raises(InvalidTextError, match=r'BatchingParameters: 2:1 .*"max_batch"'):
        from_text("\nmax_batch { value: 1 }", BatchingParameters)


def test_equal_messages_have_equal_text() -> None:
    forwards, backwards = ModelServerConfig(), ModelServerConfig()
    for config, labels in ((forwards, "abcdef"), (backwards, "fedcba")):
        model = config.model_config_list.config.add(name="m")
        for label in labels:
            model.version_labels[label] = 1

    assert to_text(forwards) == to_text(backwards)


def test_status_request_has_the_documented_field_numbers() -> None:
    request = GetModelStatusRequest(model_spec={"name": "m"})

    assert request.SerializeToString() == b"\x0a\x03\x0a\x01m"


def test_status_response_reads_bytes_of_a_server() -> None:
    # {version 2, state END, status {code 5, message "x"}}, written by hand from the reference's field numbers
    response = GetModelStatusResponse.FromString(b"\x0a\x0b\x08\x02\x10\x32\x1a\x05\x08\x05\x12\x01x")

    [status] = response.model_version_status
    assert (status.version, status.state) == (2, ModelVersionStatus.END)
    assert (status.status.error_code, status.status.error_message) == (5, "x")


def test_reload_request_carries_the_model_config() -> None:
    config = ModelServerConfig()
    config.model_config_list.config.add(name="m", base_path="/models/m", model_platform="tensorflow")

    request = ReloadConfigRequest(config=config)

    assert ReloadConfigRequest.FromString(request.SerializeToString()).config == config


def test_importing_brings_neither_tensorflow_nor_grpc() -> None:
    code = (
        "import sys, tfserving_operator.wire;"
        "print([name for name in sys.modules if name.split('.')[0] in ('tensorflow', 'grpc')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_generated_code_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/generate_wire_formats.py", "--check"], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
