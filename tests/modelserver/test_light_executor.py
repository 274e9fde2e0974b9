"""The light executor: what a model costs, and what tests may do to a server."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e.modelserver.admin import AdminFront
from e2e.modelserver.faults import Faults
from e2e.modelserver.knobs import Behaviour, KnobError, Knobs, evaluate, knobs_from_environment, read_behaviour
from e2e.modelserver.light_executor import Devices, take_memory
from e2e.modelserver.model_writer import Signature, TensorSpec, write_light_model
from e2e.modelserver.saved_model import read_signatures
from e2e.modelserver.statuses import StatusError
from tests.modelserver.harness import RunningServer, eventually, free_port, running, start_failure


@pytest.mark.parametrize(
    ("polynomial", "batch_size", "micros"),
    [((), 5, 0), ((100,), 5, 100), ((100, 10), 5, 150), ((100, 10, 2), 5, 200)],
)
def test_cost_is_a_polynomial_of_the_batch_size(polynomial: tuple[float, ...], batch_size: int, micros: float) -> None:
    assert evaluate(polynomial, batch_size) == micros


@pytest.mark.parametrize(("devices", "rounds"), [(1, 4), (2, 2), (4, 1)])
async def test_devices_run_one_batch_each_at_a_time(devices: int, rounds: int) -> None:
    pool = Devices(devices)
    begin = time.monotonic()
    await asyncio.gather(*(pool.occupy(0.05) for _ in range(4)))
    assert rounds * 0.05 <= time.monotonic() - begin


@given(costs=st.lists(st.integers(0, 9), min_size=1, max_size=20), devices=st.integers(1, 4))
def test_work_goes_to_the_device_that_is_free_first(costs: list[int], devices: int) -> None:
    pool = Devices(devices)
    free = [100.0] * devices
    for cost in costs:
        first = free.index(min(free))
        free[first] += cost
        assert pool.book(cost, now=100.0) == free[first]


def test_a_late_wake_up_does_not_delay_what_is_booked() -> None:
    pool = Devices(1)
    assert [pool.book(1, now=10.0), pool.book(1, now=10.5), pool.book(1, now=11.9)] == [11, 12, 13]
    assert pool.book(1, now=20.0) == 21


async def elapsed_seconds(server: RunningServer, requests: int, rows: int = 1) -> float:
    begin = time.monotonic()
    answers = await asyncio.gather(*(server.predict(rows=rows) for _ in range(requests)))
    assert {answer.status_code for answer in answers} == {200}
    return time.monotonic() - begin


async def test_requests_wait_for_the_servers_devices(tmp_path: Path) -> None:
    write_light_model(tmp_path / "m", 1, behaviour=Behaviour(cost_micros=(40_000,)))
    async with running(f"--model_base_path={tmp_path}/m", "--model_name=m", "--rest_api_num_threads=9") as server:
        assert await elapsed_seconds(server, 4) >= 0.16
        server.server.faults.change({"devices": 4, "cost_micros": [400_000]})
        assert await elapsed_seconds(server, 4) < 4 * 0.4
        server.server.faults.change({"cost_micros": [0, 20_000]})
        assert await elapsed_seconds(server, 1, rows=5) >= 0.1


async def test_a_model_may_have_devices_of_its_own(tmp_path: Path) -> None:
    write_light_model(tmp_path / "m", 1, behaviour=Behaviour(cost_micros=(400_000,), devices=4))
    async with running(f"--model_base_path={tmp_path}/m", "--model_name=m", "--rest_api_num_threads=9") as server:
        assert await elapsed_seconds(server, 4) < 4 * 0.4


async def test_without_a_gpu_models_cost_more_or_do_not_load(tmp_path: Path, model: Path) -> None:
    flags = [f"--model_base_path={model}", "--model_name=m"]
    knobs = {"gpu_missing": True, "cost_micros": [5_000], "gpu_missing_cost_factor": 10}
    async with running(*flags, knobs=knobs) as server:
        assert await elapsed_seconds(server, 1) >= 0.05
    write_light_model(tmp_path / "g", 1, behaviour=Behaviour(requires_gpu=True))
    flags = [f"--model_base_path={tmp_path}/g", "--max_num_load_retries=0"]
    assert "Cannot assign a device for operation" in (await start_failure(*flags, knobs=knobs)).message
    async with running(*flags):
        pass


async def test_a_frozen_server_accepts_and_never_answers(model: Path) -> None:
    async with running(f"--model_base_path={model}", "--model_name=m", knobs={"freeze": "everything"}) as server:
        status = asyncio.create_task(server.get("/v1/models/m"))
        await asyncio.wait({status}, timeout=0.1)
        assert not status.done()
        server.server.faults.change({"freeze": ""})
        assert (await status).status_code == 200


async def test_predictions_alone_can_be_frozen(model: Path) -> None:
    async with running(f"--model_base_path={model}", "--model_name=m", knobs={"freeze": "predictions"}) as server:
        prediction = asyncio.create_task(server.predict())
        await eventually(lambda: server.server.faults.held, "the request is held")
        assert (await server.get("/v1/models/m")).status_code == 200
        server.server.faults.change({"freeze": ""})
        assert (await prediction).status_code == 200


@pytest.mark.parametrize("rate", [0, 0.1, 0.25, 0.3, 0.5, 0.75, 1])
def test_errors_are_spread_evenly(rate: float) -> None:
    faults = Faults(Knobs(error_rate=rate))
    failures = 0
    for runs in range(1, 101):
        try:
            faults.before_run()
        except StatusError:
            failures += 1
        assert abs(failures - rate * runs) < 1
    assert failures == round(rate * 100)


async def test_memory_leaks_with_each_request(model: Path) -> None:
    knobs = {"leak_bytes_per_request": 1 << 20}
    async with running(f"--model_base_path={model}", "--model_name=m", knobs=knobs) as server:
        for _ in range(3):
            await server.predict()
        assert server.server.faults.leaked_bytes == 3 << 20


def test_memory_taken_at_load_is_touched() -> None:
    def rss_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    before, size = rss_bytes(), 100 << 20
    memory = take_memory(size)
    assert sum(map(len, memory)) == size
    assert rss_bytes() - before > 0.9 * size


async def test_the_next_loads_can_be_made_to_fail(model: Path) -> None:
    flags = [f"--model_base_path={model}", "--max_num_load_retries=0"]
    status = await start_failure(*flags, knobs={"fail_loads": 1, "fail_load_message": "disk on fire"})
    assert "INTERNAL: disk on fire" in status.message


@pytest.mark.parametrize(
    "changes",
    [{"no_such": 1}, {"error_code": "NO_SUCH"}, {"freeze": "some"}, {"devices": 0}, {"error_rate": -1},
     {"fail_loads": -2}, {"cost_micros": "x"}, {"error_code": "OK"}],
)  # fmt: skip
def test_bad_knobs_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Knobs().merged_with(changes)


def test_knobs_of_the_environment_are_json() -> None:
    assert knobs_from_environment({}) == Knobs()
    knobs = knobs_from_environment({"STANDIN_KNOBS": '{"cost_micros": [1, 2], "error_code": "ABORTED"}'})
    assert knobs.cost_micros == (1, 2)
    assert Knobs().merged_with(knobs.as_json()) == knobs


@pytest.fixture
async def admin():  # type: ignore[no-untyped-def] # an async generator of the faults and a client
    faults = Faults(Knobs())
    port = free_port()
    runner = await AdminFront(faults).start(port)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        yield faults, http
    await runner.cleanup()


async def test_the_admin_port_shows_and_changes_knobs(admin: tuple[Faults, httpx.AsyncClient]) -> None:
    faults, http = admin
    assert (await http.get("/knobs")).json() == Knobs().as_json()
    answer = await http.patch("/knobs", json={"devices": 3})
    assert answer.json()["devices"] == faults.knobs.devices == 3
    for request in (
        http.patch("/knobs", json={"no_such": 1}),
        http.patch("/knobs", json=[1]),
        http.patch("/knobs", content="nonsense"),
        http.get("/nothing"),
        http.post("/leak"),
        http.post("/leak?bytes=many"),
        http.post("/leak?bytes=-1"),
        http.post("/leak?bytes=99999999999999999999"),
    ):
        bad = await request
        assert bad.status_code == 400
        assert bad.json()["error"]
    assert faults.knobs == Knobs(devices=3)


async def test_the_admin_port_leaks_and_tells(admin: tuple[Faults, httpx.AsyncClient]) -> None:
    _, http = admin
    state = (await http.post("/leak?bytes=5000")).json()
    assert state["leaked_bytes"] == 5000
    assert set(state) == {"loads_attempted", "runs_started", "held", "leaked_bytes", "max_rss_bytes"}


def test_a_written_model_declares_what_it_was_told(tmp_path: Path) -> None:
    signature = Signature(
        {"a": TensorSpec("string", ()), "b": TensorSpec("int64", (-1, 3))}, {"c": TensorSpec("bool", (-1,))}, "method"
    )
    path = write_light_model(tmp_path, 7, {"serving_default": signature}, Behaviour(devices=2))
    assert path == tmp_path / "7"
    (definition,) = read_signatures(path, ["serve"]).values()
    assert {alias: [d.size for d in info.tensor_shape.dim] for alias, info in definition.inputs.items()} == {
        "a": [],
        "b": [-1, 3],
    }
    assert definition.method_name == "method"
    assert read_behaviour(path) == Behaviour(devices=2)
    assert json.loads((path / "assets.extra" / "standin.json").read_text()) == {"devices": 2}
    assert sorted(child.name for child in (path / "variables").iterdir()) == [
        "variables.data-00000-of-00001",
        "variables.index",
    ]
    assert [child.name for child in tmp_path.iterdir()] == ["7"]


def test_writing_a_version_again_replaces_it(tmp_path: Path) -> None:
    write_light_model(tmp_path, 1, behaviour=Behaviour(devices=2))
    path = write_light_model(tmp_path, 1)
    assert read_behaviour(path) == Behaviour()


async def test_an_unknown_field_in_a_behaviour_file_fails_the_load(model: Path) -> None:
    (model / "1" / "assets.extra").mkdir()
    (model / "1" / "assets.extra" / "standin.json").write_text('{"no_such": 1}')
    with pytest.raises(KnobError):
        read_behaviour(model / "1")
    status = await start_failure(f"--model_base_path={model}", "--max_num_load_retries=0")
    assert "unknown fields: no_such" in status.message


@pytest.mark.parametrize(
    "text",
    ['{"load_seconds": "x"}', '{"load_seconds": -1}', '{"load_memory_bytes": -1}', '{"devices": 0}',
     '{"cost_micros": 5}', '{"fill_value": "x"}', "[1]", "nonsense"],
)  # fmt: skip
def test_bad_behaviour_files_are_refused(model: Path, text: str) -> None:
    (model / "1" / "assets.extra").mkdir()
    (model / "1" / "assets.extra" / "standin.json").write_text(text)
    with pytest.raises((ValueError, TypeError)):
        read_behaviour(model / "1")
