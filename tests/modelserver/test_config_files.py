"""Section 2 of the reference: the text files, and which versions a policy picks."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from google.protobuf.message import Message
from tensorflow_serving.config import model_server_config_pb2

from e2e.modelserver.bundle_config import bundle_configs
from e2e.modelserver.config_files import read_text_proto
from e2e.modelserver.flag_parsing import parse_command_line
from e2e.modelserver.source import find_versions, parse_version, poll
from e2e.modelserver.statuses import Code, StatusError
from e2e.modelserver.wire import config_pb2 as pb
from tests.modelserver.harness import model_config, model_entry, running, start_failure

REFERENCE_CONFIG = """
model_config_list {
  config {
    name: "m"  base_path: "/models/m"  model_platform: "tensorflow"
    model_version_policy { latest { num_versions: 2 } }
    version_labels { key: "stable" value: 42 }
    logging_config {
      log_collector_config { type: "T" filename_prefix: "/logs/m" }
      sampling_config { sampling_rate: 0.01 }
    }
  }
  config { name: "all" base_path: "/models/all" model_platform: "tensorflow" model_version_policy { all {} } }
  config {
    name: "some" base_path: "/models/some" model_platform: "tensorflow"
    model_version_policy { specific { versions: 42 versions: 43 } }
  }
}
"""
BATCHING = """
max_batch_size { value: 32 } batch_timeout_micros { } max_enqueued_batches { value: 100 }
num_batch_threads { value: 8 } thread_pool_name { value: "x" } allowed_batch_sizes: 1 allowed_batch_sizes: 32
pad_variable_length_inputs: true enable_large_batch_splitting { value: true } max_execution_batch_size { value: 32 }
"""
SSL = 'server_key: "k\\n" server_cert: "c" custom_ca: "a" client_verify: true'
PLATFORM = """
platform_configs { key: "tensorflow" value { source_adapter_config {
  [type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig] {
    legacy_config { batching_parameters { max_batch_size { value: 5 } } saved_model_tags: "gpu" }
  } } } }
"""
THREAD_POOLS = 'thread_pool_factory_config { type_url: "type.googleapis.com/no.such.Config" }'
SESSION = 'intra_op_parallelism_threads: 3 gpu_options { allow_growth: true } device_count { key: "GPU" value: 0 }'


def parse(tmp_path: Path, text: str, message: Message) -> Message:
    file = tmp_path / "file"
    file.write_text(text)
    return read_text_proto(str(file), message)


def test_model_server_config_has_the_fields_and_numbers_of_the_original(tmp_path: Path) -> None:
    ours = parse(tmp_path, REFERENCE_CONFIG, pb.ModelServerConfig())
    original = text_format.Parse(REFERENCE_CONFIG, model_server_config_pb2.ModelServerConfig())
    assert ours.SerializeToString(deterministic=True) == original.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(BATCHING, pb.BatchingParameters(), id="BatchingParameters"),
        pytest.param('prometheus_config { enable: true path: "/x" }', pb.MonitoringConfig(), id="MonitoringConfig"),
        pytest.param(SSL, pb.SSLConfig(), id="SSLConfig"),
        pytest.param(SESSION, pb.ConfigProto(), id="ConfigProto"),
        pytest.param(PLATFORM, pb.PlatformConfigMap(), id="PlatformConfigMap"),
        pytest.param(THREAD_POOLS, pb.ThreadPoolFactoryConfig(), id="ThreadPoolFactoryConfig"),
    ],
)
def test_each_file_format_is_read_and_an_unknown_field_makes_it_invalid(
    tmp_path: Path, text: str, message: Message
) -> None:
    assert parse(tmp_path, text, message).ByteSize() > 0
    with pytest.raises(StatusError, match="Invalid protobuf file") as caught:
        parse(tmp_path, text + " no_such_field: 1", type(message)())
    assert caught.value.status.code is Code.INVALID_ARGUMENT


def test_a_file_without_a_byte_is_no_config_without_models(tmp_path: Path) -> None:
    with pytest.raises(StatusError, match=f"INVALID_ARGUMENT: {tmp_path}/file; Invalid argument"):
        parse(tmp_path, "", pb.ModelServerConfig())


def test_an_empty_wrapper_means_zero_and_a_missing_one_the_default(tmp_path: Path) -> None:
    parameters = pb.BatchingParameters()
    parse(tmp_path, "batch_timeout_micros { }", parameters)
    assert parameters.HasField("batch_timeout_micros")
    assert not parameters.HasField("max_batch_size")


def test_batching_parameters_have_no_priority_field(tmp_path: Path) -> None:
    with pytest.raises(StatusError):
        parse(tmp_path, "priority: 1", pb.BatchingParameters())


def test_a_platform_config_file_replaces_batching_and_tag_flags(tmp_path: Path) -> None:
    file = tmp_path / "platform.config"
    file.write_text(PLATFORM)
    options = parse_command_line(
        [f"--platform_config_file={file}", "--saved_model_tags=x", "--enable_batching"]
    ).options
    (bundle,) = bundle_configs(options).values()
    assert bundle.batching_parameters.max_batch_size.value == 5
    assert list(bundle.saved_model_tags) == ["gpu"]
    assert not bundle.enable_model_warmup


def test_flags_overwrite_the_session_config_file(tmp_path: Path) -> None:
    file = tmp_path / "session.config"
    session_config = SESSION.replace("gpu_options {", "gpu_options { per_process_gpu_memory_fraction: 0.9")
    file.write_text(session_config + " inter_op_parallelism_threads: 9")
    options = parse_command_line(
        [f"--tensorflow_session_config_file={file}", "--tensorflow_session_parallelism=2"]
    ).options
    (bundle,) = bundle_configs(options).values()
    session = bundle.session_config
    assert (session.intra_op_parallelism_threads, session.inter_op_parallelism_threads) == (2, 2)
    assert session.gpu_options.allow_growth
    assert session.gpu_options.per_process_gpu_memory_fraction == 0


@pytest.mark.parametrize(
    ("mode", "logged"),
    [
        ("", None),
        ("bfloat16", "Running inference with bfloat16 auto mixed precision"),
        ("float16", "float16 auto mixed precision is not supported. Valid option: bfloat16"),
    ],
)
async def test_any_mixed_precision_loads_models_and_an_unknown_one_is_only_warned_of(
    model: Path, mode: str, logged: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with running(f"--model_base_path={model}", "--model_name=m", f"--mixed_precision={mode}") as server:
        assert (await server.predict()).status_code == 200
    assert [text for text in caplog.messages if "mixed precision" in text] == ([logged] if logged else [])


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        pytest.param("thread_pool_factory_config {}", Code.INVALID_ARGUMENT,
                     "Supplied config's type_url could not be parsed: ", id="no type"),
        pytest.param(THREAD_POOLS, Code.INTERNAL,
                     "Unable to find compiled-in proto descriptor of type no.such.Config", id="unknown type"),
        pytest.param("thread_pool_factory_config { [type.googleapis.com/tensorflow.serving.SSLConfig] {} }",
                     Code.INVALID_ARGUMENT,
                     "Couldn't find factory for config proto message type tensorflow.serving.SSLConfig",
                     id="type of something else"),
    ],
)  # fmt: skip
async def test_a_stock_build_has_no_thread_pool_factory(
    tmp_path: Path, model: Path, text: str, code: Code, message: str
) -> None:
    file = tmp_path / "pools.config"
    file.write_text(text)
    status = await start_failure(f"--model_base_path={model}", f"--thread_pool_factory_config_file={file}")
    assert (status.code, status.message) == (code, message)


def test_session_parallelism_is_ignored_beside_intra_op_parallelism() -> None:
    options = parse_command_line(["--tensorflow_session_parallelism=2", "--tensorflow_intra_op_parallelism=5"]).options
    (bundle,) = bundle_configs(options).values()
    session = bundle.session_config
    assert (session.intra_op_parallelism_threads, session.inter_op_parallelism_threads) == (5, 0)


async def test_a_config_file_makes_the_flags_for_one_model_mean_nothing(tmp_path: Path, model: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text(model_config(model_entry("m", model)))
    flags = [f"--model_config_file={file}", "--model_name=other", f"--model_base_path={tmp_path}/none"]
    async with running(*flags) as server:
        assert await server.states("m") == {1: "AVAILABLE"}
        assert await server.states("other") == {}


@pytest.mark.parametrize("text", ["# None.", "model_config_list {}"], ids=["no list", "empty list"])
async def test_a_config_without_models_starts_at_once(tmp_path: Path, text: str) -> None:
    file = tmp_path / "models.config"
    file.write_text(text)
    async with running(f"--model_config_file={file}") as server:
        assert (await server.get("/v1/models/m")).status_code == 404


async def test_a_logging_config_finds_no_collector(tmp_path: Path, model: Path) -> None:
    """Stock builds register none, so the first config that wants one fails after its models are loaded."""
    file = tmp_path / "models.config"
    file.write_text(model_config(model_entry("m", model, "logging_config { sampling_config { sampling_rate: 1 } }")))
    assert (await start_failure(f"--model_config_file={file}")).message == "No request-logger-creator provided."


@pytest.mark.parametrize(
    ("name", "version"),
    [("1", 1), ("0001", 1), ("-1", -1), ("9223372036854775807", 2**63 - 1), ("9223372036854775808", None),
     ("v1", None), ("1a", None), ("1.5", None), ("", None), (".writing-1", None), ("²", None)],
)  # fmt: skip
def test_versions_are_directory_names_that_are_64_bit_numbers(name: str, version: int | None) -> None:
    assert parse_version(name) == version


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", {3}),
        ("model_version_policy { latest {} }", {3}),
        ("model_version_policy { latest { num_versions: 2 } }", {3, 2}),
        ("model_version_policy { latest { num_versions: 9 } }", {3, 2, 1}),
        ("model_version_policy { all {} }", {3, 2, 1}),
        ("model_version_policy { specific { versions: 1 versions: 3 } }", {3, 1}),
        ("model_version_policy { specific { versions: 2 versions: 7 } }", {2}),
        ("model_version_policy { specific { versions: 7 } }", set()),
        ("model_version_policy { specific { } }", set()),
    ],
)
def test_policies_pick_versions(tmp_path: Path, policy: str, expected: set[int]) -> None:
    for name in ("1", "0002", "3", "tmp", "3.partial"):
        (tmp_path / name).mkdir()
    config = text_format.Parse(model_entry("m", tmp_path, policy), pb.ModelConfig())
    assert set(find_versions(config)) == expected


def test_of_two_names_for_one_number_the_last_wins(tmp_path: Path) -> None:
    for name in ("1", "001"):
        (tmp_path / name).mkdir()
    config = text_format.Parse(model_entry("m", tmp_path), pb.ModelConfig())
    assert find_versions(config) == {1: tmp_path / "1"}


@pytest.mark.parametrize(
    ("base_path", "error"),
    [
        ("/none", "NOT_FOUND: /none not found"),
        ("s3://bucket/m", "UNIMPLEMENTED: File system scheme 's3' not implemented (file: 's3://bucket/m')"),
        ("hdfs://host/m", "UNIMPLEMENTED: File system scheme 'hdfs' not implemented (file: 'hdfs://host/m')"),
        ("gs://bucket/m", "NOT_FOUND: gs://bucket/m not found"),
    ],
)
def test_a_base_path_is_local_whatever_its_scheme_says(base_path: str, error: str) -> None:
    with pytest.raises(StatusError) as caught:
        find_versions(pb.ModelConfig(name="m", base_path=base_path))
    assert caught.value.status.message == f"Could not find base path {base_path} for servable m with error {error}"


def test_a_missing_base_path_ends_the_poll_of_all_models(tmp_path: Path) -> None:
    (tmp_path / "a" / "1").mkdir(parents=True)
    configs = [text_format.Parse(model_entry(name, tmp_path / name), pb.ModelConfig()) for name in ("a", "b")]
    with pytest.raises(StatusError, match=f"Could not find base path {tmp_path}/b for servable b"):
        poll(configs)
