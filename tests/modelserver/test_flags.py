"""Section 1 of the reference: the flags, how they are read, and what keeps the server from starting."""

from __future__ import annotations

import os
import signal
from dataclasses import fields
from pathlib import Path

import pytest

from e2e.modelserver.flag_parsing import parse_command_line, usage_text
from e2e.modelserver.options import FLAGS, ServerOptions
from e2e.modelserver.statuses import Code
from tests.modelserver.harness import free_port, model_config, model_entry, run_process, start_failure

CPUS = len(os.sched_getaffinity(0))

# name, type, default: the reference's table, in its order.
REFERENCE_FLAGS = [
    ("port", "int32", 8500),
    ("grpc_socket_path", "string", ""),
    ("rest_api_port", "int32", 0),
    ("rest_api_num_threads", "int32", 4 * CPUS),
    ("rest_api_timeout_in_ms", "int32", 30000),
    ("rest_api_enable_cors_support", "bool", False),
    ("model_name", "string", "default"),
    ("model_base_path", "string", ""),
    ("model_config_file", "string", ""),
    ("model_config_file_poll_wait_seconds", "int32", 0),
    ("allow_version_labels_for_unavailable_models", "bool", False),
    ("file_system_poll_wait_seconds", "int32", 1),
    ("num_load_threads", "int32", 0),
    ("num_unload_threads", "int32", 0),
    ("max_num_load_retries", "int32", 5),
    ("load_retry_interval_micros", "int64", 60000000),
    ("flush_filesystem_caches", "bool", True),
    ("enable_batching", "bool", False),
    ("batching_parameters_file", "string", ""),
    ("enable_per_model_batching_parameters", "bool", False),
    ("monitoring_config_file", "string", ""),
    ("enable_model_warmup", "bool", True),
    ("num_request_iterations_for_warmup", "int32", 0),
    ("tensorflow_session_parallelism", "int64", 0),
    ("tensorflow_intra_op_parallelism", "int64", 0),
    ("tensorflow_inter_op_parallelism", "int64", 0),
    ("tensorflow_session_config_file", "string", ""),
    ("per_process_gpu_memory_fraction", "float", 0.0),
    ("saved_model_tags", "string", "serve"),
    ("platform_config_file", "string", ""),
    ("ssl_config_file", "string", ""),
    ("use_alts_credentials", "bool", False),
    ("grpc_channel_arguments", "string", ""),
    ("grpc_max_threads", "int32", 4 * CPUS),
    ("enable_grpc_healthcheck_service", "bool", False),
    ("enable_profiler", "bool", True),
    ("enable_signature_method_name_check", "bool", False),
    ("remove_unused_fields_from_bundle_metagraph", "bool", True),
    ("mixed_precision", "string", ""),
    ("xla_cpu_compilation_enabled", "bool", False),
    ("xla_gpu_compilation_enabled", "bool", False),
    ("prefer_tflite_model", "bool", False),
    ("num_tflite_pools", "int32", CPUS),
    ("num_tflite_interpreters_per_pool", "int32", 1),
    ("thread_pool_factory_config_file", "string", ""),
    ("skip_initialize_tpu", "bool", False),
    ("enable_serialization_as_tensor_content", "bool", False),
    ("version", "bool", False),
]

SAMPLE_VALUES = {
    "int32": ("7", 7),
    "int64": ("12345678901", 12345678901),
    "float": ("0.5", 0.5),
    "string": ("a b", "a b"),
}


def test_there_are_48_flags() -> None:
    assert len(FLAGS) == len(REFERENCE_FLAGS) == 48
    assert {flag.name for flag in FLAGS} == {name for name, _, _ in REFERENCE_FLAGS}


@pytest.mark.parametrize(("name", "kind", "default"), REFERENCE_FLAGS, ids=[row[0] for row in REFERENCE_FLAGS])
def test_flag_has_the_type_and_default_of_the_reference(name: str, kind: str, default: object) -> None:
    (flag,) = (flag for flag in FLAGS if flag.name == name)
    assert flag.type.value == kind
    assert getattr(ServerOptions(), name) == default
    text, value = SAMPLE_VALUES.get(kind, ("false" if default else "true", not default))
    assert getattr(parse_command_line([f"--{name}={text}"]).options, name) == value


@pytest.mark.parametrize("name", [name for name, kind, _ in REFERENCE_FLAGS if kind == "bool"])
def test_a_bare_bool_is_true(name: str) -> None:
    assert getattr(parse_command_line([f"--{name}"]).options, name) is True


@pytest.mark.parametrize("text", ["=TRUE", "=True", "=true"])
def test_bools_are_read_in_any_case(text: str) -> None:
    assert parse_command_line([f"--enable_batching{text}"]).options.enable_batching


def test_a_value_after_a_space_belongs_to_no_flag() -> None:
    line = parse_command_line(["--port", "9000"])
    assert line.options.port == 8500
    assert line.left_over == ("--port", "9000")
    assert line.usable


def test_later_duplicates_win() -> None:
    assert parse_command_line(["--port=1", "--port=2"]).options.port == 2


def test_unknown_flags_are_left_over_and_harmless() -> None:
    line = parse_command_line(["--no_such=1", "--port=9", "--nor_such"])
    assert line.left_over == ("--no_such=1", "--nor_such")
    assert line.usable
    assert line.options.port == 9


def test_nothing_after_a_double_dash_is_a_flag() -> None:
    line = parse_command_line(["--port=1", "--", "--port=2"])
    assert line.options.port == 1
    assert line.left_over == ("--", "--port=2")


def test_help_is_no_flag_but_stops_the_server() -> None:
    assert not parse_command_line(["--help"]).usable


@pytest.mark.parametrize(
    "argument",
    [
        "--port=80x",
        "--port=",
        "--port=1.5",
        "--enable_batching=1",
        "--enable_batching=yes",
        "--enable_batchingx",
        "--per_process_gpu_memory_fraction=half",
        "--load_retry_interval_micros=1e6",
    ],
)
def test_a_bad_value_of_a_known_flag_is_fatal(argument: str) -> None:
    line = parse_command_line([argument])
    assert not line.usable
    assert line.complaints


def test_usage_lists_every_flag_with_type_and_default() -> None:
    lines = usage_text("server").splitlines()
    assert lines[:2] == ["usage: server", "Flags:"]
    assert len(lines) == 2 + 48
    assert lines[2].startswith("\t--port=8500                      \tint32\t")
    assert [line.split("=")[0].strip() for line in lines[2:]] == [
        f"--{option.name}" for option in fields(ServerOptions)
    ]


def test_an_unknown_flag_is_printed_with_the_usage_and_the_server_goes_on() -> None:
    done = run_process("--no_such=1", "--nor_such", "--port=0")
    assert done.stdout.startswith("unknown argument: --no_such=1\nusage: ")
    assert "nor_such" not in done.stdout
    # It went on as far as its other flags let it.
    assert "Failed to start server. Error: INVALID_ARGUMENT: At least one of" in done.stdout
    assert done.returncode == 255


def test_a_bad_value_prints_the_usage_and_exits_255() -> None:
    done = run_process("--port=http")
    assert done.stdout.startswith("usage: ")
    assert "Couldn't interpret value http for flag port." in done.stderr
    assert done.returncode == 255


def test_version_is_printed_and_nothing_started() -> None:
    done = run_process("--version", "--port=0")
    assert done.stdout.splitlines()[0].startswith("TensorFlow ModelServer: ")
    assert done.stdout.splitlines()[1].startswith("TensorFlow Library: ")
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        pytest.param(["--grpc_socket_path="], "At least one of server_options.grpc_port or "
                     "server_options.grpc_socket_path must be set.", id="port 0 without socket"),
        pytest.param(["--model_base_path=/m", "--batching_parameters_file=/b"],
                     "server_options.batching_parameters_file is set without setting "
                     "server_options.enable_batching to true.", id="batching file without batching"),
        pytest.param([], "Both server_options.model_base_path and server_options.model_config_file are empty!",
                     id="neither base path nor config file"),
        pytest.param(["--model_base_path=/m", "--tensorflow_session_parallelism=1",
                      "--tensorflow_intra_op_parallelism=1", "--tensorflow_inter_op_parallelism=1"],
                     "Either configure server_options.tensorflow_session_parallelism or "
                     "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
                     "separately. You cannot configure all.", id="three parallelism flags"),
        pytest.param(["--model_base_path=/m", "--use_alts_credentials", "--ssl_config_file=/s"],
                     "Either use_alts_credentials must be false or ssl_config_file must be empty.", id="ALTS and TLS"),
        pytest.param(["--model_base_path=m"],
                     "Expected model default to have an absolute path or URI; got base_path()=m", id="relative path"),
    ],
)  # fmt: skip
async def test_flags_that_keep_the_server_from_starting(flags: list[str], message: str) -> None:
    status = await start_failure(*flags)
    assert (status.code, status.message) == (Code.INVALID_ARGUMENT, message)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param("model_config_list { config { nom: 1 } }", "Invalid protobuf file: '{path}'", id="unknown field"),
        pytest.param("model_config_list {", "Invalid protobuf file: '{path}'", id="unparsable"),
        pytest.param(model_config(model_entry("m", Path("/m")), model_entry("m", Path("/n"))),
                     "Illegal to list model m multiple times in config list", id="duplicate name"),
        pytest.param(model_config('name: "m" base_path: "/m"'),
                     "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
                     "ModelServerConfig::model_platform, model name is m", id="empty platform"),
        pytest.param(model_config(model_entry("m", Path("/m"), "model_type: TENSORFLOW")),
                     "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                     "ModelServerConfig::model_platform, model name is m", id="both ways to name the platform"),
        pytest.param(model_config('name: "m" base_path: "/m" model_type: OTHER'),
                     "ModelServerConfig::model_type choice 2 not supported.", id="other type"),
        pytest.param(model_config('name: "m" base_path: "/m" model_platform: "onnx"'),
                     "Model m requests unsupported platform onnx", id="unsupported platform"),
    ],
)  # fmt: skip
async def test_model_configs_that_keep_the_server_from_starting(tmp_path: Path, config: str, message: str) -> None:
    file = tmp_path / "models.config"
    file.write_text(config)
    status = await start_failure(f"--model_config_file={file}")
    assert (status.code, status.message) == (Code.INVALID_ARGUMENT, message.format(path=file))


async def test_a_missing_config_file_keeps_the_server_from_starting(tmp_path: Path) -> None:
    status = await start_failure(f"--model_config_file={tmp_path}/none")
    assert status.code is Code.NOT_FOUND


@pytest.mark.parametrize(
    ("flag", "more"),
    [
        ("model_config_file", []),
        ("batching_parameters_file", ["--enable_batching"]),
        ("tensorflow_session_config_file", []),
        ("platform_config_file", []),
        ("thread_pool_factory_config_file", []),
        ("monitoring_config_file", ["--rest_api_port={port}"]),
    ],
)
def test_a_file_that_is_no_text_proto_is_printed_and_exits_255(
    model: Path, short_folder: Path, flag: str, more: list[str]
) -> None:
    file = short_folder / "file"
    file.write_text("nonsense")
    flags = [f"--model_base_path={model}", "--port=0", f"--grpc_socket_path={short_folder}/s", f"--{flag}={file}"]
    done = run_process(*flags, *(text.format(port=free_port()) for text in more))
    assert done.stdout == f"Failed to start server. Error: INVALID_ARGUMENT: Invalid protobuf file: '{file}'\n"
    assert done.returncode == 255


def test_an_error_that_nobody_foresaw_is_printed_and_exits_255(model: Path) -> None:
    done = run_process(f"--model_base_path={model}", environment={"STANDIN_KNOBS": '{"error_code": "OK"}'})
    assert done.stdout == "Failed to start server. Error: INTERNAL: KnobError: no such error code: OK\n"
    assert "Traceback" in done.stderr
    assert done.returncode == 255


@pytest.mark.parametrize("text", [None, "nonsense"], ids=["missing", "no text proto"])
def test_an_ssl_config_that_cannot_be_read_aborts(model: Path, short_folder: Path, text: str | None) -> None:
    file = short_folder / "file"
    if text:
        file.write_text(text)
    flags = [f"--model_base_path={model}", "--port=0", f"--grpc_socket_path={short_folder}/s"]
    done = run_process(*flags, f"--ssl_config_file={file}")
    assert done.returncode == -signal.SIGABRT
    assert "Check failed: " in done.stderr
    assert done.stdout == ""


def test_a_custom_model_config_aborts(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text("custom_model_config {}")
    done = run_process(f"--model_config_file={file}")
    assert done.returncode == -signal.SIGABRT
    assert "ModelServer does not yet support custom model config." in done.stderr


async def test_alts_opens_no_port_outside_google_cloud(model: Path, short_folder: Path) -> None:
    status = await start_failure(
        f"--model_base_path={model}", f"--grpc_socket_path={short_folder}/s", "--use_alts_credentials"
    )
    assert (status.code, status.message) == (Code.INVALID_ARGUMENT, "Failed to BuildAndStart gRPC server")
