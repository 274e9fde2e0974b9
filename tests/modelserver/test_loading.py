"""Section 4 of the reference: ports open last, bad models, and version changes."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from e2e.modelserver.knobs import Behaviour
from e2e.modelserver.model_writer import write_light_model
from e2e.modelserver.server import ModelServer
from e2e.modelserver.statuses import Code
from tests.modelserver.harness import (
    DEADLINE_SECONDS,
    eventually,
    make_server,
    model_config,
    model_entry,
    polled,
    running,
    start_failure,
)

ALL = "model_version_policy { all {} }"


@asynccontextmanager
async def starting(folder: Path, *flags: str, **knobs: object) -> AsyncIterator[tuple[ModelServer, asyncio.Task[None]]]:
    """Start a server without waiting for it; its gRPC socket is ``folder/s``."""
    server = make_server("--port=0", f"--grpc_socket_path={folder}/s", *flags, knobs=knobs)
    task = asyncio.create_task(server.start())
    try:
        yield server, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.stop()


async def test_ports_open_after_the_first_load(short_folder: Path, model: Path) -> None:
    write_light_model(model, 2, behaviour=Behaviour(load_seconds=0.15))
    async with starting(short_folder, f"--model_base_path={model}") as (server, start):
        await eventually(lambda: server.faults.loads_attempted, "a load begins")
        assert not (short_folder / "s").exists()
        await asyncio.wait_for(start, DEADLINE_SECONDS)
        assert (short_folder / "s").exists()


async def test_one_missing_base_path_keeps_all_models_from_loading(short_folder: Path, tmp_path: Path) -> None:
    write_light_model(tmp_path / "a", 1)
    config = tmp_path / "models.config"
    config.write_text(model_config(model_entry("a", tmp_path / "a"), model_entry("b", tmp_path / "b")))
    async with starting(short_folder, f"--model_config_file={config}") as (server, start):
        await polled(server)
        assert not start.done()
        assert server.faults.loads_attempted == 0
        write_light_model(tmp_path / "b", 1)
        await asyncio.wait_for(start, DEADLINE_SECONDS)
        assert server.faults.loads_attempted == 2


async def test_a_base_path_without_versions_is_waited_for(short_folder: Path, base: Path) -> None:
    base.mkdir()  # noqa: ASYNC240
    async with starting(short_folder, f"--model_base_path={base}") as (server, start):
        await polled(server)
        assert not start.done()
        write_light_model(base, 1)
        await asyncio.wait_for(start, DEADLINE_SECONDS)


async def test_polling_once_never_sees_what_comes_later(short_folder: Path, base: Path) -> None:
    base.mkdir()  # noqa: ASYNC240
    async with starting(short_folder, f"--model_base_path={base}", "--file_system_poll_wait_seconds=0") as (
        server,
        start,
    ):
        await eventually(lambda: server.core and server.core.polls, "the only poll")
        write_light_model(base, 1)
        await asyncio.wait({start}, timeout=0.2)
        assert not start.done()


async def test_at_run_time_a_missing_base_path_hides_new_versions_of_all_models(tmp_path: Path) -> None:
    for name in "ab":
        write_light_model(tmp_path / name, 1)
    config = tmp_path / "models.config"
    config.write_text(model_config(model_entry("a", tmp_path / "a"), model_entry("b", tmp_path / "b")))
    async with running(f"--model_config_file={config}") as server:
        shutil.rmtree(tmp_path / "b")
        write_light_model(tmp_path / "a", 2)
        await polled(server.server)
        # What was loaded goes on serving, the model without a path included.
        assert await server.states("a") == {1: "AVAILABLE"}
        assert await server.states("b") == {1: "AVAILABLE"}
        write_light_model(tmp_path / "b", 1)
        await server.until_states({2: "AVAILABLE", 1: "END"}, "a")


async def test_an_emptied_directory_unloads_the_model(model: Path) -> None:
    async with running(f"--model_base_path={model}", "--model_name=m") as server:
        shutil.rmtree(model / "1")
        await server.until_states({1: "END"})
        (entry,) = (await server.get("/v1/models/m")).json()["model_version_status"]
        assert entry["status"] == {"error_code": "OK", "error_message": ""}
        assert (await server.get("/v1/models/m/metadata")).status_code == 404
        assert (await server.predict()).status_code == 404


async def test_a_corrupt_version_at_start_is_tried_six_times_and_then_fatal(tmp_path: Path) -> None:
    write_light_model(tmp_path / "good", 1)
    write_light_model(tmp_path / "bad", 1)
    (tmp_path / "bad" / "1" / "saved_model.pb").write_bytes(b"\xff\xff garbage")
    config = tmp_path / "models.config"
    config.write_text(model_config(*(model_entry(name, tmp_path / name) for name in ("good", "bad"))))
    server = make_server("--port=0", "--grpc_socket_path=/nowhere/s", f"--model_config_file={config}",
                         "--load_retry_interval_micros=1000")  # fmt: skip
    with pytest.raises(Exception) as caught:
        await asyncio.wait_for(server.start(), DEADLINE_SECONDS)
    await server.stop()
    assert str(caught.value) == (
        "UNKNOWN: 1 servable(s) did not become available: {{{name: bad version: 1} due to error: "
        f"DATA_LOSS: Can't parse {tmp_path}/bad/1/saved_model.pb as binary proto}}, }}"
    )
    assert server.faults.loads_attempted == 6 + 1


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (1, 2), (-1, 1)])
async def test_max_num_load_retries_counts_what_comes_after_the_first_try(
    model: Path, retries: int, attempts: int
) -> None:
    server = make_server("--port=0", "--grpc_socket_path=/nowhere/s", f"--model_base_path={model}",
                         f"--max_num_load_retries={retries}", "--load_retry_interval_micros=-1",
                         knobs={"fail_loads": -1})  # fmt: skip
    with pytest.raises(Exception, match="did not become available"):
        await asyncio.wait_for(server.start(), DEADLINE_SECONDS)
    await server.stop()
    assert server.faults.loads_attempted == attempts


async def test_with_a_negative_number_of_retries_a_good_model_loads(model: Path) -> None:
    async with running(f"--model_base_path={model}", "--model_name=m", "--max_num_load_retries=-1") as server:
        assert await server.states() == {1: "AVAILABLE"}


async def test_a_load_that_succeeds_within_its_retries_is_a_success(model: Path) -> None:
    flags = [f"--model_base_path={model}", "--model_name=m", "--load_retry_interval_micros=1000"]
    async with running(*flags, knobs={"fail_loads": 5}) as server:
        assert await server.states() == {1: "AVAILABLE"}


async def test_the_latest_policy_does_not_fall_back_to_an_older_version(model: Path) -> None:
    write_light_model(model, 2, behaviour=Behaviour(fail_load="bad"))
    status = await start_failure(f"--model_base_path={model}", "--max_num_load_retries=0")
    assert status.code is Code.UNKNOWN
    assert "version: 2} due to error: INTERNAL: bad" in status.message


async def test_at_run_time_a_corrupt_version_ends_and_the_old_one_keeps_serving(model: Path) -> None:
    flags = [
        f"--model_base_path={model}",
        "--model_name=m",
        "--max_num_load_retries=1",
        "--load_retry_interval_micros=0",
    ]
    async with running(*flags) as server:
        write_light_model(model, 2, behaviour=Behaviour(fail_load="no good"))
        await server.until_states({2: "END", 1: "AVAILABLE"})
        (newest, _) = (await server.get("/v1/models/m")).json()["model_version_status"]
        assert newest["status"] == {"error_code": "INTERNAL", "error_message": "no good"}
        assert (await server.predict()).status_code == 200


async def test_a_corrected_version_is_not_tried_again_but_a_higher_number_is(model: Path) -> None:
    flags = [f"--model_base_path={model}", "--model_name=m", "--max_num_load_retries=0"]
    async with running(*flags) as server:
        write_light_model(model, 2, behaviour=Behaviour(fail_load="no good"))
        await server.until_states({2: "END", 1: "AVAILABLE"})
        # Corrected in place: the directory never disappears from the polls.
        (model / "2" / "assets.extra" / "standin.json").write_text("{}")
        await polled(server.server)
        assert await server.states() == {2: "END", 1: "AVAILABLE"}
        write_light_model(model, 3)
        await server.until_states({3: "AVAILABLE", 2: "END", 1: "END"})


async def test_a_failed_version_that_went_away_may_come_back_when_all_versions_are_served(
    tmp_path: Path, model: Path
) -> None:
    config = tmp_path / "models.config"
    config.write_text(model_config(model_entry("m", model, ALL)))
    async with running(f"--model_config_file={config}", "--max_num_load_retries=0") as server:
        write_light_model(model, 2, behaviour=Behaviour(fail_load="no good"))
        await server.until_states({2: "END", 1: "AVAILABLE"})
        shutil.rmtree(model / "2")
        await polled(server.server)
        write_light_model(model, 2)
        await server.until_states({2: "AVAILABLE", 1: "AVAILABLE"})


async def test_a_failed_latest_version_never_comes_back_under_its_number(model: Path) -> None:
    """Going back to the old version has to wait until that is unloaded, which waits for the failed one to load."""
    flags = [f"--model_base_path={model}", "--model_name=m", "--max_num_load_retries=0"]
    async with running(*flags) as server:
        write_light_model(model, 2, behaviour=Behaviour(fail_load="no good"))
        await server.until_states({2: "END", 1: "AVAILABLE"})
        shutil.rmtree(model / "2")
        await polled(server.server)
        write_light_model(model, 2)
        await polled(server.server)
        assert await server.states() == {2: "END", 1: "AVAILABLE"}
        write_light_model(model, 3)
        await server.until_states({3: "AVAILABLE", 2: "END", 1: "END"})


async def test_removing_a_served_version_brings_the_one_before_back(model: Path) -> None:
    async with running(f"--model_base_path={model}", "--model_name=m") as server:
        write_light_model(model, 2)
        await server.until_states({2: "AVAILABLE", 1: "END"})
        shutil.rmtree(model / "2")
        await server.until_states({2: "END", 1: "AVAILABLE"})


async def test_a_half_copied_version_loads(model: Path) -> None:
    shutil.rmtree(model / "1" / "variables")
    async with running(f"--model_base_path={model}", "--model_name=m") as server:
        assert await server.states() == {1: "AVAILABLE"}


async def test_the_new_version_is_loaded_before_the_old_one_is_unloaded(model: Path) -> None:
    async with running(f"--model_base_path={model}", "--model_name=m") as server:
        server.server.faults.change({"load_delay_seconds": 0.15})
        write_light_model(model, 2)
        await server.until_states({2: "LOADING", 1: "AVAILABLE"})
        assert (await server.predict()).status_code == 200
        await server.until_states({2: "AVAILABLE", 1: "END"})


async def test_a_version_is_unloaded_when_its_last_request_has_been_answered(model: Path) -> None:
    write_light_model(model, 1, behaviour=Behaviour(cost_micros=(300_000,)))
    async with running(f"--model_base_path={model}", "--model_name=m") as server:
        slow = asyncio.create_task(server.predict())
        await eventually(lambda: server.server.faults.runs_started, "the request runs")
        write_light_model(model, 2)
        await server.until_states({2: "AVAILABLE", 1: "UNLOADING"})
        assert (await slow).status_code == 200
        await server.until_states({2: "AVAILABLE", 1: "END"})


async def test_status_is_200_while_loading_and_after_a_failure(model: Path) -> None:
    async with running(f"--model_base_path={model}", "--model_name=m", "--max_num_load_retries=0") as server:
        server.server.faults.change({"load_delay_seconds": 0.1, "fail_loads": 1})
        write_light_model(model, 2)
        await server.until_states({2: "LOADING", 1: "AVAILABLE"})
        await server.until_states({2: "END", 1: "AVAILABLE"})
        assert (await server.get("/v1/models/m/versions/2")).status_code == 200


async def test_without_load_threads_one_load_holds_up_all_other_changes(tmp_path: Path) -> None:
    """Retries hold them up as well: the reason to set num_load_threads."""
    for threads, last_state in ((0, {1: "AVAILABLE"}), (1, {1: "END"})):
        folder = tmp_path / str(threads)
        for name in "ab":
            write_light_model(folder / name, 1)
        config = folder / "models.config"
        config.write_text(model_config(*(model_entry(name, folder / name) for name in "ab")))
        async with running(f"--model_config_file={config}", f"--num_load_threads={threads}") as server:
            write_light_model(folder / "a", 2, behaviour=Behaviour(load_seconds=60))
            await server.until_states({2: "LOADING", 1: "AVAILABLE"}, "a")
            shutil.rmtree(folder / "b" / "1")
            await polled(server.server)
            assert await server.states("b") == last_state
            assert await server.states("a") == {2: "LOADING", 1: "AVAILABLE"}


async def test_the_first_loads_are_at_the_same_time_even_without_load_threads(
    short_folder: Path, tmp_path: Path
) -> None:
    models = ["a", "b", "c", "d"]
    for name in models:
        write_light_model(tmp_path / name, 1, behaviour=Behaviour(load_seconds=60))
    config = tmp_path / "models.config"
    config.write_text(model_config(*(model_entry(name, tmp_path / name) for name in models)))
    async with starting(short_folder, f"--model_config_file={config}", "--num_load_threads=0") as (server, _):
        await eventually(lambda: server.faults.loads_attempted == len(models), "all loads have begun")
        assert server.core is not None
        # The start, even when it is cancelled, waits for loads that have begun.
        server.core.stop()


async def test_saved_model_tags_choose_the_meta_graph(model: Path) -> None:
    status = await start_failure(
        f"--model_base_path={model}", "--saved_model_tags=gpu,serve", "--max_num_load_retries=0"
    )
    assert "NOT_FOUND: Could not find meta graph def matching supplied tags: { gpu serve }" in status.message


async def test_a_directory_without_a_model_fails_to_load(base: Path) -> None:
    (base / "1").mkdir(parents=True)
    status = await start_failure(f"--model_base_path={base}", "--max_num_load_retries=0")
    assert f"NOT_FOUND: Could not find SavedModel .pb or .pbtxt at supplied export directory path: {base}/1" in str(
        status
    )
