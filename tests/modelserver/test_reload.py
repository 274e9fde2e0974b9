"""Section 4 of the reference: HandleReloadConfigRequest, version labels, and polling of the config file."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from pathlib import Path

import grpc
import pytest
from google.protobuf import text_format

from e2e.modelserver import core
from e2e.modelserver.model_writer import write_light_model
from e2e.modelserver.source import Versions, poll
from e2e.modelserver.wire import config_pb2
from e2e.modelserver.wire import serving_pb2 as pb
from tests.modelserver.harness import (
    MODEL,
    RunningServer,
    eventually,
    model_config,
    model_entry,
    polled,
    running,
    start_failure,
)

RELOAD = f"{MODEL}HandleReloadConfigRequest"
ALL = "model_version_policy { all {} }"


def config(*models: str) -> config_pb2.ModelServerConfig:
    return text_format.Parse(model_config(*models), config_pb2.ModelServerConfig())


def labels(**versions: int) -> str:
    return ALL + "".join(
        f' version_labels {{ key: "{label}" value: {version} }}' for label, version in versions.items()
    )


async def reload_failure(
    server: RunningServer, new: config_pb2.ModelServerConfig, timeout_seconds: float = 20
) -> tuple[grpc.StatusCode, str | None]:
    error = await server.failure(RELOAD, pb.ReloadConfigRequest(config=new), timeout_seconds)
    return error.code(), error.details()


async def test_the_new_config_replaces_the_old_one_altogether(tmp_path: Path, model: Path) -> None:
    write_light_model(tmp_path / "n", 1)
    async with running(f"--model_base_path={model}", "--model_name=m") as server:
        answer = await server.reload(config(model_entry("n", tmp_path / "n")))
        assert answer.status.error_code == 0
        # The call came back when the new model was available; the old one ends in its own time.
        assert await server.states("n") == {1: "AVAILABLE"}
        await server.until_states({1: "END"}, "m")


async def test_an_empty_list_unloads_everything(model: Path) -> None:
    async with running(f"--model_base_path={model}", "--model_name=m") as server:
        empty = config_pb2.ModelServerConfig()
        empty.model_config_list.SetInParent()
        await server.reload(empty)
        await server.until_states({1: "END"})


@pytest.mark.parametrize("text", ["", "custom_model_config { }"], ids=["nothing", "custom config"])
async def test_only_a_model_config_list_is_taken(model: Path, text: str) -> None:
    async with running(f"--model_base_path={model}", "--model_name=m") as server:
        code, details = await reload_failure(server, text_format.Parse(text, config_pb2.ModelServerConfig()))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert details == (
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported"
        )


async def test_new_versions_of_an_old_model_are_not_awaited(model: Path) -> None:
    async with running(f"--model_base_path={model}", "--model_name=m") as server:
        write_light_model(model, 2)
        server.server.faults.change({"load_delay_seconds": 0.2})
        await server.reload(config(model_entry("m", model, ALL)))
        assert (await server.states())[1] == "AVAILABLE"
        assert (await server.states()).get(2) != "AVAILABLE"
        await server.until_states({2: "AVAILABLE", 1: "AVAILABLE"})


async def test_a_new_model_that_fails_fails_the_call(tmp_path: Path, model: Path) -> None:
    (tmp_path / "n" / "1").mkdir(parents=True)
    flags = [f"--model_base_path={model}", "--model_name=m", "--max_num_load_retries=0"]
    async with running(*flags) as server:
        code, details = await reload_failure(server, config(model_entry("m", model), model_entry("n", tmp_path / "n")))
        assert code is grpc.StatusCode.UNKNOWN
        assert str(details).startswith(
            "1 model(s) did not become available: {{{name: n version: 1} due to error: NOT_FOUND: "
        )
        assert await server.states() == {1: "AVAILABLE"}


async def test_after_a_model_that_never_appears_all_reloads_hang_until_it_does(tmp_path: Path, model: Path) -> None:
    async with running(f"--model_base_path={model}", "--model_name=m") as server:
        (tmp_path / "n").mkdir()
        missing = config(model_entry("m", model), model_entry("n", tmp_path / "n"))
        code, _ = await reload_failure(server, missing, timeout_seconds=0.2)
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        # The first call is still at work on the server and holds the lock.
        code, _ = await reload_failure(server, config(model_entry("m", model)), timeout_seconds=0.2)
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert (await server.predict()).status_code == 200
        write_light_model(tmp_path / "n", 1)
        await server.reload(config(model_entry("m", model)))


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (['name: "m" base_path: "/m" model_platform: "tensorflow"'] * 2,
         "Illegal to list model m multiple times in config list"),
        (['name: "m" base_path: "m" model_platform: "tensorflow"'],
         "Expected model m to have an absolute path or URI; got base_path()=m"),
        (['name: "m" base_path: "/m" model_platform: "other"'],
         "Illegal to change a model's platform. For model m platform was tensorflow and new platform requested is "
         "other"),
    ],
    ids=["duplicate", "relative path", "platform changed"],
)  # fmt: skip
async def test_an_invalid_config_changes_nothing(model: Path, models: list[str], message: str) -> None:
    async with running(f"--model_base_path={model}", "--model_name=m") as server:
        assert await reload_failure(server, config(*models)) == (grpc.StatusCode.INVALID_ARGUMENT, message)
        await polled(server.server)
        assert await server.states() == {1: "AVAILABLE"}


async def test_labels_are_checked_before_anything_is_loaded(model: Path) -> None:
    async with running(f"--model_base_path={model}", "--model_name=m") as server:
        write_light_model(model, 2)
        await server.until_states({2: "AVAILABLE", 1: "END"})
        code, details = await reload_failure(server, config(model_entry("m", model, labels(old=1, new=2))))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert details == (
            "Request to assign label to version 1 of model m, which is not currently available for inference"
        )
        await polled(server.server)
        assert await server.states() == {2: "AVAILABLE", 1: "END"}


async def test_labels_work_in_two_steps(model: Path) -> None:
    async with running(f"--model_base_path={model}", "--model_name=m") as server:
        await server.reload(config(model_entry("m", model, ALL)))
        write_light_model(model, 2)
        await server.until_states({2: "AVAILABLE", 1: "AVAILABLE"})
        await server.reload(config(model_entry("m", model, labels(old=1, new=2))))
        for label, version in (("old", "1"), ("new", "2")):
            answer = await server.get(f"/v1/models/m/labels/{label}/metadata")
            assert answer.json()["model_spec"]["version"] == version


async def test_a_config_waits_for_the_poll_that_still_goes_by_the_old_one(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(f"--model_base_path={model}", "--model_name=m") as server:
        polling, may_end, aspired = threading.Event(), threading.Event(), []

        def slow_poll(configs: Iterable[config_pb2.ModelConfig]) -> dict[str, Versions]:
            policies = {config.model_version_policy.WhichOneof("policy_choice") for config in configs}
            if None in policies:
                polling.set()
                may_end.wait(0.2)
            found = poll(configs)
            aspired.append((policies.pop(), sorted(found["m"])))
            return found

        monkeypatch.setattr(core, "poll", slow_poll)
        await eventually(polling.is_set, "a poll by the old config is under way")
        await server.reload(config(model_entry("m", model, ALL)))
        write_light_model(model, 2)
        may_end.set()
        await server.until_states({2: "AVAILABLE", 1: "AVAILABLE"})
        assert (None, [2]) not in aspired


async def test_a_label_in_the_first_config_needs_the_allow_flag(tmp_path: Path, model: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text(model_config(model_entry("m", model, labels(stable=1))))
    status = await start_failure(f"--model_config_file={file}")
    assert "which is not currently available for inference" in status.message
    flag = "--allow_version_labels_for_unavailable_models"
    async with running(f"--model_config_file={file}", flag) as server:
        assert (await server.get("/v1/models/m/labels/stable/metadata")).status_code == 200


async def test_even_with_the_allow_flag_a_label_moves_only_to_a_loaded_version(tmp_path: Path, model: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text(model_config(model_entry("m", model, labels(stable=1))))
    flag = "--allow_version_labels_for_unavailable_models"
    async with running(f"--model_config_file={file}", flag) as server:
        code, _ = await reload_failure(server, config(model_entry("m", model, labels(stable=2))))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        await server.reload(config(model_entry("m", model, labels(stable=1, canary=2))))
        assert (await server.get("/v1/models/m/labels/canary/metadata")).status_code == 404


async def test_counters_asked_for_come_back_with_their_increase(tmp_path: Path, model: Path) -> None:
    write_light_model(tmp_path / "n", 1)
    async with running(f"--model_base_path={model}", "--model_name=m") as server:
        name = "/tensorflow/core/graph_runs"
        request = pb.ReloadConfigRequest(config=config(model_entry("n", tmp_path / "n")), metric_names=[name])
        answer = await server.call(RELOAD, request, pb.ReloadConfigResponse)
        assert [(metric.name, metric.int64_value_increase) for metric in answer.metric] == [(name, 0)]


async def test_the_config_file_is_read_once_unless_polling_is_on(tmp_path: Path, model: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text(model_config(model_entry("m", model)))
    write_light_model(tmp_path / "n", 1)
    both = model_config(model_entry("m", model), model_entry("n", tmp_path / "n"))
    async with running(f"--model_config_file={file}") as server:
        file.write_text(both)
        await polled(server.server)
        assert (await server.get("/v1/models/n")).status_code == 404
    file.write_text(model_config(model_entry("m", model)))
    async with running(f"--model_config_file={file}", "--model_config_file_poll_wait_seconds=1") as server:
        file.write_text(both)
        await server.until_states({1: "AVAILABLE"}, "n")


async def test_a_polled_file_that_is_broken_for_a_while_does_no_harm(tmp_path: Path, model: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text(model_config(model_entry("m", model)))
    async with running(f"--model_config_file={file}", "--model_config_file_poll_wait_seconds=1") as server:
        file.write_text("nonsense {")
        await polled(server.server)
        assert (await server.predict()).status_code == 200
        file.write_text("model_config_list {}")
        await server.until_states({1: "END"})


async def test_the_polled_file_wins_over_a_reload_call(tmp_path: Path, model: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text(model_config(model_entry("m", model)))
    write_light_model(tmp_path / "n", 1)
    async with running(f"--model_config_file={file}", "--model_config_file_poll_wait_seconds=2") as server:
        await server.reload(config(model_entry("n", tmp_path / "n")))
        await server.until_states({1: "END"}, "n")
        await server.until_states({1: "AVAILABLE"}, "m")


async def test_with_one_poll_of_the_file_system_a_new_model_never_appears(tmp_path: Path, model: Path) -> None:
    write_light_model(tmp_path / "n", 1)
    flags = [f"--model_base_path={model}", "--model_name=m", "--file_system_poll_wait_seconds=0"]
    async with running(*flags) as server:
        new = config(model_entry("m", model), model_entry("n", tmp_path / "n"))
        code, _ = await reload_failure(server, new, timeout_seconds=0.2)
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_after_a_model_that_never_appears_reloads_by_file_hang_like_calls(
    tmp_path: Path, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file = tmp_path / "models.config"
    file.write_text(model_config(model_entry("m", model)))
    async with running(f"--model_config_file={file}", "--model_config_file_poll_wait_seconds=1") as server:
        (tmp_path / "n").mkdir()
        write_light_model(tmp_path / "o", 1)
        file.write_text(model_config(model_entry("m", model), model_entry("n", tmp_path / "n")))
        await eventually(lambda: "(Re-)adding model: n" in caplog.text, "the file is being reloaded")
        file.write_text(model_config(model_entry("m", model), model_entry("o", tmp_path / "o")))
        code, _ = await reload_failure(server, config(model_entry("m", model)), timeout_seconds=0.2)
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        await polled(server.server)
        assert (await server.get("/v1/models/o")).status_code == 404
        write_light_model(tmp_path / "n", 1)
        await server.until_states({1: "AVAILABLE"}, "o")
