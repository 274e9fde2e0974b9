"""The committed modules are what the .proto files say, and both sides of the project speak the same."""

from __future__ import annotations

import subprocess
import sys

from e2e.modelserver.wire import config_pb2, serving_pb2
from tests.modelserver.harness import PROJECT
from tfserving_operator.wire import serving_pb2 as operator_pb2


def test_generated_modules_are_up_to_date() -> None:
    subprocess.run([sys.executable, "-m", "e2e.modelserver.wire.compile", "--check"], cwd=PROJECT, check=True)


def test_states_have_the_references_numbers() -> None:
    states = serving_pb2.ModelVersionStatus.State
    assert dict(states.items()) == {
        "UNKNOWN": 0, "START": 10, "LOADING": 20, "AVAILABLE": 30, "UNLOADING": 40, "END": 50,
    }  # fmt: skip


def test_model_config_fields_have_the_references_numbers() -> None:
    fields = {field.name: field.number for field in config_pb2.ModelConfig.DESCRIPTOR.fields}
    assert fields == {
        "name": 1, "base_path": 2, "model_type": 3, "model_platform": 4, "logging_config": 6,
        "model_version_policy": 7, "version_labels": 8,
    }  # fmt: skip


def test_batching_fields_have_the_references_numbers() -> None:
    fields = {field.name: field.number for field in config_pb2.BatchingParameters.DESCRIPTOR.fields}
    assert fields == {
        "max_batch_size": 1, "batch_timeout_micros": 2, "max_enqueued_batches": 3, "num_batch_threads": 4,
        "thread_pool_name": 5, "allowed_batch_sizes": 6, "pad_variable_length_inputs": 7,
        "enable_large_batch_splitting": 8, "max_execution_batch_size": 9,
    }  # fmt: skip


def test_the_operator_reads_what_the_stand_in_writes() -> None:
    ours = {**serving_pb2.DESCRIPTOR.message_types_by_name, **config_pb2.DESCRIPTOR.message_types_by_name}
    theirs = operator_pb2.DESCRIPTOR.message_types_by_name
    common = set(ours) & set(theirs)
    assert {"ModelVersionStatus", "ReloadConfigRequest", "BatchingParameters"} <= common
    for name in common:
        numbers = {field.name: field.number for field in ours[name].fields}
        assert {field.name: field.number for field in theirs[name].fields}.items() <= numbers.items(), name
