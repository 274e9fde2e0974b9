"""What lies about on a disk, and what must not keep other versions from loading."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e.modelserver import core
from e2e.modelserver.batching import BatchScheduler
from e2e.modelserver.core import CoreSettings, ServerCore
from e2e.modelserver.faults import Faults
from e2e.modelserver.knobs import Behaviour, Knobs, read_behaviour
from e2e.modelserver.loading import Batching, Loader, Warmup
from e2e.modelserver.metrics import ServerMetrics
from e2e.modelserver.model_writer import write_light_model
from e2e.modelserver.saved_model import Signatures, read_saved_model
from e2e.modelserver.servables import LoadSettings, ServableManager
from e2e.modelserver.sessions import ServingSession
from e2e.modelserver.source import Versions, find_versions, poll, why_missing
from e2e.modelserver.states import ServableId
from e2e.modelserver.statuses import Code, Status, StatusError, status_of
from e2e.modelserver.tensors import Tensor
from e2e.modelserver.wire import config_pb2
from e2e.modelserver.wire import serving_pb2 as pb
from tests.modelserver.harness import DEADLINE_SECONDS, eventually, polled, running, start_failure
from tests.modelserver.test_loading import starting
from tests.modelserver.test_warmup import write_record_file

NOBODY = 65534
LONGEST_PATH = 4095
ONE_TRY = ["--max_num_load_retries=0", "--load_retry_interval_micros=0"]
NO_MODEL = "Could not find SavedModel .pb or .pbtxt at supplied export directory path"


def plain_file(place: Path) -> Path:
    place.write_text("no directory")
    return place


def loop_of_links(place: Path) -> Path:
    # It is a loop once it is called version 2.
    place.symlink_to("2")
    return place


def text_that_is_no_text(place: Path) -> Path:
    place.mkdir()
    (place / "saved_model.pbtxt").write_bytes(b"\xff\xfe")
    return place


def directory_for_behaviour(place: Path) -> Path:
    version = write_light_model(place, 2)
    (version / "assets.extra" / "standin.json").mkdir(parents=True)
    return version


def behaviour_of_wrong_type(place: Path) -> Path:
    version = write_light_model(place, 2, behaviour=Behaviour(load_seconds=1))
    (version / "assets.extra" / "standin.json").write_text('{"load_seconds": "x"}')
    return version


def directory_for_warmup(place: Path) -> Path:
    version = write_light_model(place, 2)
    (version / "assets.extra" / "tf_serving_warmup_requests").mkdir(parents=True)
    return version


def warmup_of_unknown_type(place: Path) -> Path:
    version = write_light_model(place, 2)
    request = pb.PredictRequest(model_spec=pb.ModelSpec(name="m"))
    request.inputs["x"].dtype = 999  # type: ignore[assignment] # no such type
    record = pb.PredictionLog(predict_log=pb.PredictLog(request=request)).SerializeToString()
    write_record_file(version, [record])
    return version


ODD_VERSIONS = [
    pytest.param(plain_file, "NOT_FOUND", NO_MODEL, id="plain file"),
    pytest.param(loop_of_links, "NOT_FOUND", NO_MODEL, id="loop of links"),
    pytest.param(text_that_is_no_text, "DATA_LOSS", "as text proto", id="text that is no text"),
    pytest.param(directory_for_behaviour, "FAILED_PRECONDITION", "Is a directory", id="behaviour is a directory"),
    pytest.param(behaviour_of_wrong_type, "INVALID_ARGUMENT", "bad stand-in behaviour", id="behaviour of wrong type"),
    pytest.param(directory_for_warmup, "FAILED_PRECONDITION", "Is a directory", id="warm-up is a directory"),
    pytest.param(warmup_of_unknown_type, "INVALID_ARGUMENT", "unknown dtype enum (999)", id="warm-up of unknown type"),
]


@pytest.mark.parametrize(("make", "code", "message"), ODD_VERSIONS)
async def test_an_odd_version_ends_and_the_next_one_loads(
    model: Path, make: Callable[[Path], Path], code: str, message: str
) -> None:
    async with running(f"--model_base_path={model}", "--model_name=m", *ONE_TRY) as server:
        make(model.parent / "odd").rename(model / "2")
        await server.until_states({2: "END", 1: "AVAILABLE"})
        (newest, _) = (await server.get("/v1/models/m")).json()["model_version_status"]
        assert newest["status"]["error_code"] == code
        assert message in newest["status"]["error_message"]
        write_light_model(model, 3)
        await server.until_states({3: "AVAILABLE", 2: "END", 1: "END"})


async def test_an_odd_version_at_start_is_fatal(base: Path) -> None:
    base.mkdir()  # noqa: ASYNC240
    plain_file(base / "2")
    status = await start_failure(f"--model_base_path={base}", *ONE_TRY)
    assert (
        f"1 servable(s) did not become available: {{{{{{name: default version: 2}} due to error: NOT_FOUND: {NO_MODEL}"
        in (status.message)
    )


@contextmanager
def as_nobody(closed: Path) -> Iterator[None]:
    """Lose the right to look into ``closed``, which root would have."""
    is_root = os.geteuid() == 0
    closed.chmod(0)
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        closed.chmod(0o700)


def test_what_may_not_be_looked_at_is_not_there(tmp_path: Path) -> None:
    version = write_light_model(tmp_path / "m", 1)
    with as_nobody(tmp_path):
        assert why_missing(str(tmp_path / "m")) == Status(Code.NOT_FOUND, f"{tmp_path}/m not found")
        assert read_behaviour(version) == Behaviour()
        with pytest.raises(StatusError, match=f"NOT_FOUND: {NO_MODEL}"):
            read_saved_model(version)


def test_a_specific_version_that_cannot_be_looked_at_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    base_path = f"{tmp_path}/m"
    detour = "/../m"
    # As long as a path may be, and too long with a version behind it.
    base_path += detour * ((LONGEST_PATH - len(base_path)) // len(detour))
    config = config_pb2.ModelConfig(name="m", base_path=base_path)
    config.model_version_policy.specific.versions.append(10**9)
    assert find_versions(config) == {}


async def test_a_base_path_that_cannot_be_is_polled_for_ever(
    short_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    too_long = f"/{'a' * 300}"
    async with starting(short_folder, f"--model_base_path={too_long}") as (server, start):
        await polled(server)
        assert not start.done()
    message = f"Could not find base path {too_long} for servable default with error NOT_FOUND: {too_long} not found"
    assert message in caplog.text


async def test_a_missing_base_path_is_told_at_each_poll(
    short_folder: Path, base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with starting(short_folder, f"--model_base_path={base}") as (server, _):
        await polled(server)
        assert server.core is not None
        message = (
            "FileSystemStoragePathSource encountered a filesystem access error: "
            f"Could not find base path {base} for servable default with error NOT_FOUND: {base} not found"
        )
        assert [record.getMessage() for record in caplog.records].count(message) == server.core.polls


async def test_a_poll_that_fails_in_any_way_is_not_the_last(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = 0

    def failing_poll(configs: Sequence[config_pb2.ModelConfig]) -> dict[str, Versions]:
        nonlocal failures
        failures += 1
        if failures == 1:
            raise ZeroDivisionError
        return poll(configs)

    async with running(f"--model_base_path={model}", "--model_name=m") as server:
        monkeypatch.setattr(core, "poll", failing_poll)
        await eventually(lambda: failures, "a poll fails")
        write_light_model(model, 2)
        await server.until_states({2: "AVAILABLE", 1: "END"})


class FakeSession:
    """A session that may fail when it is closed."""

    def __init__(self, error: Exception | None = None) -> None:
        self.signatures: Signatures = {}
        self.closed = False
        self._error = error

    async def run(
        self, signature: str, inputs: Mapping[str, Tensor], outputs: Sequence[str], timeout_seconds: float | None = None
    ) -> dict[str, Tensor]:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True
        if self._error:
            raise self._error


def manager(*, unload_threads: int) -> ServableManager:
    """Return a manager whose unloads fail as none ever should."""

    async def load(_servable: ServableId, _path: Path) -> ServingSession:
        return FakeSession(ZeroDivisionError("defect"))

    return ServableManager(load, LoadSettings(1, unload_threads, 0, 0, decision_interval_seconds=0))


@pytest.mark.parametrize("unload_threads", [0, 1])
async def test_a_defect_of_the_manager_ends_the_process(model: Path, unload_threads: int) -> None:
    deaths: list[str] = []
    defective = manager(unload_threads=unload_threads)
    server_core = ServerCore(defective, CoreSettings(0.001, 1, False), die=deaths.append)
    config = config_pb2.ModelServerConfig()
    config.model_config_list.config.add(name="m", base_path=str(model), model_platform="tensorflow")
    await asyncio.wait_for(server_core.start(config), DEADLINE_SECONDS)
    assert deaths == []
    write_light_model(model, 2)
    await eventually(lambda: deaths, "the manager dies")
    server_core.stop()


@pytest.mark.parametrize("spoilt", ["batching", "warm-up"])
async def test_a_session_is_closed_when_the_rest_of_its_load_fails(model: Path, spoilt: str) -> None:
    session = FakeSession()
    write_record_file(model / "1", [b""])

    class FakeExecutor:
        async def load(self, name: str, version: int, path: Path) -> FakeSession:
            return session

    def defective_inference() -> None:
        raise ZeroDivisionError

    parameters = config_pb2.BatchingParameters(num_batch_threads={"value": 1})
    parameters.max_batch_size.value = 0 if spoilt == "batching" else 1
    loader = Loader(
        FakeExecutor(),
        Faults(Knobs()),
        ServerMetrics(),
        Batching(parameters, BatchScheduler(parameters), per_model=False),
        Warmup(enabled=True, iterations=1),
        defective_inference,  # type: ignore[arg-type] # never returns
    )
    with pytest.raises((StatusError, ZeroDivisionError)):
        await loader.load(ServableId("m", 1), model / "1")
    assert session.closed


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StatusError(Code.ABORTED, "a"), Status(Code.ABORTED, "a")),
        (PermissionError(13, "Permission denied", "/f"), Status(Code.PERMISSION_DENIED, "/f; Permission denied")),
        (OSError(99999, "Odd", "/f"), Status(Code.UNKNOWN, "/f; Odd")),
        (MemoryError(), Status(Code.RESOURCE_EXHAUSTED, "Out of memory")),
        (ValueError("x"), Status(Code.INTERNAL, "ValueError: x")),
    ],
)
def test_every_error_has_a_status(error: Exception, status: Status) -> None:
    assert status_of(error) == status
