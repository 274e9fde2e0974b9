"""Section 2 of the reference: BatchingParameters and what they do to requests."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from e2e.modelserver.batching import BatchingOptions, BatchQueue, BatchScheduler, Task, batching_options
from e2e.modelserver.faults import Faults
from e2e.modelserver.knobs import Behaviour, Knobs
from e2e.modelserver.metrics import ServerMetrics
from e2e.modelserver.model_writer import Signature, TensorSpec, write_light_model
from e2e.modelserver.options import schedulable_cpus
from e2e.modelserver.padding import pad_to_common_shape
from e2e.modelserver.saved_model import Signatures
from e2e.modelserver.sessions import BatchingSession, DirectSession
from e2e.modelserver.statuses import Code, StatusError
from e2e.modelserver.tensors import Tensor, make_tensor
from e2e.modelserver.wire import config_pb2 as pb
from e2e.modelserver.wire import tensors_pb2
from tests.modelserver.harness import DEADLINE_SECONDS, RunningServer, eventually, running, start_failure

VARIABLE = Signature(inputs={"x": TensorSpec("float", (-1, -1))}, outputs={"y": TensorSpec("float", (-1, -1))})
IN_TIME_SECONDS = 3600
WAIT = f"batch_timeout_micros {{ value: {IN_TIME_SECONDS * 10**6} }}"
SPLIT_BY_4 = "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 4 }"


def parameters(text: str) -> pb.BatchingParameters:
    return text_format.Parse(text, pb.BatchingParameters())


def test_defaults_are_the_references() -> None:
    options = batching_options(parameters(""))
    assert options == BatchingOptions(
        max_batch_size=1000,
        timeout_seconds=0,
        max_enqueued_batches=10,
        allowed_batch_sizes=(),
        pad_variable_length_inputs=False,
        split_large_batches=False,
        max_execution_batch_size=1000,
    )


def test_batch_threads_default_to_all_cpus_of_the_node() -> None:
    assert BatchScheduler(parameters("")).threads == schedulable_cpus()
    assert BatchScheduler(parameters("num_batch_threads { value: 3 }")).threads == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size { value: 8 } allowed_batch_sizes: 4",
         "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8"),
        ("allowed_batch_sizes: 4",
         "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 1000"),
        ("max_batch_size { }", "input_batch_size_limit must be positive; was 0"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros must be non-negative; was -1"),
        ("max_enqueued_batches { value: 0 }", "max_enqueued_batches must be positive; was 0"),
        ("enable_large_batch_splitting { value: true } max_batch_size { value: 4 } "
         "max_execution_batch_size { value: 8 }",
         "When enable_large_batch_splitting is true, input_batch_size_limit must be greater than or equal to "
         "max_execution_batch_size."),
    ],
)  # fmt: skip
async def test_broken_rules_fail_the_models_load(tmp_path: Path, model: Path, text: str, message: str) -> None:
    file = tmp_path / "batching.config"
    file.write_text(text)
    status = await start_failure(
        f"--model_base_path={model}", "--enable_batching", f"--batching_parameters_file={file}",
        "--max_num_load_retries=1", "--load_retry_interval_micros=0",
    )  # fmt: skip
    assert f"due to error: INVALID_ARGUMENT: {message}" in status.message


async def test_no_batch_threads_fail_the_start_itself(tmp_path: Path, model: Path) -> None:
    file = tmp_path / "batching.config"
    file.write_text("num_batch_threads { value: 0 }")
    flags = [f"--model_base_path={model}", "--enable_batching", f"--batching_parameters_file={file}"]
    status = await start_failure(*flags)
    assert (status.code, status.message) == (Code.INVALID_ARGUMENT, "num_batch_threads must be positive; was 0")


def test_splitting_without_max_batch_size_leaves_no_room_for_any_request() -> None:
    options = batching_options(parameters("enable_large_batch_splitting { value: true }"))
    assert options.max_execution_batch_size == 0


class Recorder:
    """A queue whose batches are answered only when a test says so."""

    def __init__(self, text: str) -> None:
        parsed = parameters(text)
        self.batches: list[list[int]] = []
        self.go_on = asyncio.Event()
        self.scheduler = BatchScheduler(parsed)
        self.queue = BatchQueue(batching_options(parsed), self.scheduler, self._process)

    async def _process(self, tasks: list[Task]) -> None:
        self.batches.append([task.size for task in tasks])
        await self.go_on.wait()
        for task in tasks:
            task.result.set_result(dict(task.inputs))

    def submit(self, size: int) -> Task:
        task = Task(
            inputs={"x": make_tensor(tensors_pb2.DT_FLOAT, (size,), range(size))},
            size=size,
            deadline=math.inf,
            result=asyncio.get_running_loop().create_future(),
        )
        self.queue.schedule(task)
        return task

    async def until(self, batches: list[list[int]]) -> None:
        await eventually(lambda: self.batches == batches, str(batches))


Record = Callable[..., Recorder]


@pytest.fixture
async def record() -> AsyncIterator[Record]:
    """Make recorders from parts of a text; their batches end with the test."""
    recorders: list[Recorder] = []

    def make(*texts: str) -> Recorder:
        recorders.append(Recorder(" ".join(texts)))
        return recorders[-1]

    yield make
    for recorder in recorders:
        recorder.go_on.set()
        await eventually(lambda recorder=recorder: recorder.scheduler.is_idle, "batches end")  # type: ignore[misc]


async def test_without_a_timeout_a_request_is_a_batch_as_long_as_a_thread_is_free(record: Record) -> None:
    recorder = record("num_batch_threads { value: 1 } max_batch_size { value: 4 }")
    recorder.submit(1)
    await recorder.until([[1]])
    # The only thread is busy: what comes meanwhile fills batches.
    for _ in range(5):
        recorder.submit(1)
    recorder.go_on.set()
    await recorder.until([[1], [1, 1, 1, 1], [1]])


async def test_a_batch_that_is_not_full_waits_for_the_timeout(record: Record) -> None:
    recorder = record("num_batch_threads { value: 2 } max_batch_size { value: 2 } ", WAIT)
    recorder.submit(1)
    await asyncio.sleep(0)
    assert recorder.batches == []
    assert 0 < (recorder.queue.seconds_until_due() or 0) <= IN_TIME_SECONDS
    recorder.submit(1)
    await recorder.until([[1, 1]])


async def test_the_timeout_runs_an_open_batch(record: Record) -> None:
    recorder = record(
        "num_batch_threads { value: 1 } max_batch_size { value: 9 } ", "batch_timeout_micros { value: 20000 }"
    )
    recorder.submit(1)
    recorder.submit(2)
    await recorder.until([[1, 2]])


async def test_a_request_that_does_not_fit_opens_the_next_batch(record: Record) -> None:
    recorder = record("num_batch_threads { value: 2 } max_batch_size { value: 4 } ", WAIT)
    recorder.submit(3)
    recorder.submit(2)
    await recorder.until([[3]])
    recorder.submit(2)
    await recorder.until([[3], [2, 2]])


async def test_a_request_larger_than_a_batch_is_refused(record: Record) -> None:
    recorder = record("max_batch_size { value: 4 }")
    with pytest.raises(StatusError, match="Task size 5 is larger than maximum input batch size 4") as caught:
        recorder.submit(5)
    assert caught.value.status.code is Code.INVALID_ARGUMENT


async def test_a_full_queue_is_unavailable(record: Record) -> None:
    recorder = record("num_batch_threads { value: 1 } max_batch_size { value: 1 } max_enqueued_batches { value: 2 }")
    recorder.submit(1)
    await recorder.until([[1]])
    recorder.submit(1)
    # The open batch counts: it is the second of two.
    recorder.submit(1)
    with pytest.raises(StatusError) as caught:
        recorder.submit(1)
    assert str(caught.value) == (
        "UNAVAILABLE: The batch scheduling queue to which this task was submitted is full; "
        "currently 2 batches enqueued and max_enqueued_batches is 2"
    )


async def test_large_requests_are_split_over_batches_and_put_together_again(record: Record) -> None:
    recorder = record("num_batch_threads { value: 4 } max_batch_size { value: 20 } ", SPLIT_BY_4)
    task = recorder.submit(10)
    recorder.go_on.set()
    result = await asyncio.wait_for(task.result, 20)
    assert list(result["x"].values()) == list(range(10))
    assert recorder.batches == [[4], [4], [2]]


async def test_a_split_request_first_fills_the_open_batch(record: Record) -> None:
    recorder = record("num_batch_threads { value: 4 } max_batch_size { value: 20 } ", WAIT, SPLIT_BY_4)
    recorder.submit(3)
    recorder.submit(6)
    await recorder.until([[3, 1], [4]])


async def test_a_split_request_that_does_not_fit_the_queue_is_unavailable(record: Record) -> None:
    recorder = record(
        "num_batch_threads { value: 1 } max_batch_size { value: 20 } max_enqueued_batches { value: 2 } ", SPLIT_BY_4
    )
    with pytest.raises(StatusError, match="task size is 9 but scheduling capacity is only 8") as caught:
        recorder.submit(9)
    assert caught.value.status.code is Code.UNAVAILABLE


@given(
    allowed=st.lists(st.integers(1, 64), min_size=1, unique=True).map(sorted),
    size=st.integers(1, 64),
)
def test_padding_goes_to_the_next_allowed_size(allowed: list[int], size: int) -> None:
    text = f"max_batch_size {{ value: {allowed[-1]} }} " + " ".join(f"allowed_batch_sizes: {s}" for s in allowed)
    padded = batching_options(parameters(text)).padded_size(size)
    fitting = [candidate for candidate in allowed if candidate >= size]
    assert padded == (min(fitting) if fitting else size)


@given(shapes=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=4))
def test_variable_lengths_are_padded_with_each_ones_first_value(shapes: list[tuple[int, int, int]]) -> None:
    tensors = [make_tensor(tensors_pb2.DT_INT64, s, range(1, math.prod(s) + 1)) for s in shapes]
    padded = pad_to_common_shape(tensors)
    longest = tuple(max(s[axis] for s in shapes) for axis in (1, 2))
    for before, after in zip(tensors, padded, strict=True):
        assert after.shape == (before.shape[0], *longest)
        assert sorted(set(after.values())) == sorted(set(before.values()))
        assert after.values().count(1) - 1 == math.prod(after.shape) - math.prod(before.shape)
        assert list(after.rows(0, 1).values())[: before.shape[2]] == list(before.values())[: before.shape[2]]


def test_strings_are_padded_too() -> None:
    tensors = [Tensor(tensors_pb2.DT_STRING, (1, n), strings=(b"a", b"b")[:n]) for n in (1, 2)]
    assert [tensor.strings for tensor in pad_to_common_shape(tensors)] == [(b"a", b"a"), (b"a", b"b")]


class EchoSession:
    """Answers ``y`` with input ``a``, or fails as told; ``runs`` are the inputs and rows of each run."""

    def __init__(self, error: Exception | None = None) -> None:
        self.signatures: Signatures = {}
        self.runs: list[tuple[list[str], int]] = []
        self._error = error

    async def run(self, signature: str, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> dict[str, Tensor]:
        self.runs.append((sorted(inputs), inputs["a"].batch_size))
        if self._error:
            raise self._error
        return {"y": inputs["a"]}

    def close(self) -> None: ...


Request = tuple[Mapping[str, Tensor], float | None]
ROW = make_tensor(tensors_pb2.DT_FLOAT, (1,), [1])
EXPIRED_SECONDS = 1e-12


async def answers_of(session: EchoSession, text: str, *requests: Request) -> list[dict[str, Tensor] | BaseException]:
    """Return what each of ``requests``, inputs and timeout, gets when they come at once."""
    parsed, metrics = parameters(text), ServerMetrics()
    direct = DirectSession(session, Faults(Knobs()), metrics)
    batching = BatchingSession(direct, batching_options(parsed), BatchScheduler(parsed), metrics)
    async with asyncio.timeout(DEADLINE_SECONDS):
        runs = (batching.run("s", inputs, ["y"], timeout_seconds) for inputs, timeout_seconds in requests)
        return await asyncio.gather(*runs, return_exceptions=True)


async def test_requests_with_and_without_an_optional_input_are_not_batched_together() -> None:
    session = EchoSession()
    both, one = {"a": ROW, "b": ROW}, {"a": ROW}
    requests: list[Request] = [(both, None), (one, None), (both, None), (one, None)]
    answers = await answers_of(session, f"max_batch_size {{ value: 2 }} {WAIT}", *requests)
    assert answers == [{"y": ROW}] * 4
    assert session.runs == [(["a", "b"], 2), (["a"], 2)]


async def test_any_error_reaches_every_request_of_the_batch() -> None:
    session = EchoSession(ValueError("odd"))
    answers = await answers_of(session, f"max_batch_size {{ value: 2 }} {WAIT}", ({"a": ROW}, None), ({"a": ROW}, None))
    assert [str(answer) for answer in answers] == ["INTERNAL: ValueError: odd"] * 2


@pytest.mark.parametrize("padding", ["", "pad_variable_length_inputs: true"], ids=["as they are", "padded"])
async def test_one_request_of_another_type_spoils_the_batch(padding: str) -> None:
    session = EchoSession()
    other = make_tensor(tensors_pb2.DT_INT32, (1,), [1])
    answers = await answers_of(
        session, f"max_batch_size {{ value: 2 }} {WAIT} {padding}", ({"a": ROW}, None), ({"a": other}, None)
    )
    message = "Cannot concatenate tensors that have different data types. Got float and int32."
    assert [str(answer) for answer in answers] == [f"INVALID_ARGUMENT: {message}"] * 2
    assert session.runs == []


@pytest.mark.parametrize(
    ("timeouts", "runs"),
    [
        pytest.param([EXPIRED_SECONDS, EXPIRED_SECONDS], 0, id="all have waited too long"),
        pytest.param([EXPIRED_SECONDS, IN_TIME_SECONDS], 1, id="one has time left"),
        pytest.param([None, EXPIRED_SECONDS], 1, id="one has no deadline"),
    ],
)
async def test_a_batch_runs_for_all_as_long_as_one_of_it_has_time_left(timeouts: list[float | None], runs: int) -> None:
    session = EchoSession()
    requests: list[Request] = [({"a": ROW}, timeout_seconds) for timeout_seconds in timeouts]
    answers = await answers_of(session, f"max_batch_size {{ value: 2 }} {WAIT}", *requests)
    assert len(session.runs) == runs
    if runs:
        assert answers == [{"y": ROW}] * 2
    else:
        message = "Run() timeout exceeded while waiting in batching queue"
        assert [str(answer) for answer in answers] == [f"RESOURCE_EXHAUSTED: {message}"] * 2


@asynccontextmanager
async def batching_server(
    tmp_path: Path, text: str, *flags: str, signature: Signature = VARIABLE, cost_micros: float = 0
) -> AsyncIterator[RunningServer]:
    file = tmp_path / "batching.config"
    file.write_text(text)
    behaviour = Behaviour(cost_micros=(cost_micros,), devices=8)
    write_light_model(tmp_path / "m", 1, {"serving_default": signature}, behaviour)
    base = [f"--model_base_path={tmp_path}/m", "--model_name=m", "--rest_api_num_threads=32"]
    async with running(*base, "--enable_batching", f"--batching_parameters_file={file}", *flags) as server:
        yield server


async def post_rows(server: RunningServer, *rows: list[float]) -> httpx.Response:
    return await server.post("/v1/models/m:predict", {"instances": list(rows)})


async def test_requests_of_a_batch_get_their_own_rows_back(tmp_path: Path) -> None:
    text = f"max_batch_size {{ value: 4 }} batch_timeout_micros {{ value: {IN_TIME_SECONDS * 10**6} }}"
    async with batching_server(tmp_path, text) as server:
        answers = await asyncio.gather(post_rows(server, [1], [2]), post_rows(server, [3]), post_rows(server, [4]))
        assert [answer.json()["predictions"] for answer in answers] == [[[1.0], [2.0]], [[3.0]], [[4.0]]]
        metrics = await server.metrics()
    prefix = ":tensorflow:serving:batching_session:"
    assert metrics[f"{prefix}wrapped_run_count{{}}"] == "1"
    assert metrics[":tensorflow:core:graph_runs{}"] == "1"
    assert metrics[f'{prefix}queuing_latency_count{{thread_pool_name=""}}'] == "3"
    assert metrics[f"{prefix}input_batch_size_sum{{}}"] == "4"
    assert metrics[f"{prefix}input_batch_size_count{{}}"] == "3"
    assert metrics[f"{prefix}processed_batch_size_sum{{}}"] == "4"
    assert metrics[f'{prefix}padding_size_count{{execution_batch_size="4"}}'] == "1"


async def test_processed_size_is_counted_after_padding(tmp_path: Path) -> None:
    text = "max_batch_size { value: 8 } allowed_batch_sizes: 2 allowed_batch_sizes: 8"
    async with batching_server(tmp_path, text) as server:
        answer = await post_rows(server, [1], [2], [3])
        assert answer.json()["predictions"] == [[1.0], [2.0], [3.0]]
        metrics = await server.metrics()
    prefix = ":tensorflow:serving:batching_session:"
    assert metrics[f"{prefix}processed_batch_size_sum{{}}"] == "8"
    assert metrics[f'{prefix}padding_size_sum{{execution_batch_size="8"}}'] == "5"


async def test_different_lengths_share_a_batch_only_with_padding(tmp_path: Path) -> None:
    text = f"max_batch_size {{ value: 2 }} batch_timeout_micros {{ value: {IN_TIME_SECONDS * 10**6} }} "
    async with batching_server(tmp_path, text) as server:
        answers = await asyncio.gather(post_rows(server, [1]), post_rows(server, [2, 3]))
        assert [answer.status_code for answer in answers] == [400, 400]
        assert "have different shapes and padding is turned off" in answers[0].json()["error"]
    async with batching_server(tmp_path, text + "pad_variable_length_inputs: true") as server:
        answers = await asyncio.gather(post_rows(server, [1]), post_rows(server, [2, 3]))
        assert [answer.json()["predictions"] for answer in answers] == [[[1.0, 1.0]], [[2.0, 3.0]]]


async def test_outputs_must_have_the_batch_in_dimension_0(tmp_path: Path) -> None:
    fixed = Signature(inputs=VARIABLE.inputs, outputs={"y": TensorSpec("float", (3, 5))})
    async with batching_server(tmp_path, "max_batch_size { value: 8 }", signature=fixed) as server:
        answer = await post_rows(server, [1])
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("Batched output tensor's 0th dimension does not equal the sum")


async def test_a_full_queue_is_503_and_a_too_large_request_400(tmp_path: Path) -> None:
    text = "num_batch_threads { value: 1 } max_batch_size { value: 1 } max_enqueued_batches { value: 1 }"
    async with batching_server(tmp_path, text, cost_micros=300_000) as server:
        requests = [asyncio.create_task(post_rows(server, [1])) for _ in range(6)]
        assert (await post_rows(server, [1], [2])).status_code == 400
        codes = sorted(answer.status_code for answer in await asyncio.gather(*requests))
    assert codes[0] == 200
    assert set(codes) == {200, 503}


async def test_a_request_that_waited_too_long_is_429(tmp_path: Path) -> None:
    text = "num_batch_threads { value: 1 } max_batch_size { value: 1 } max_enqueued_batches { value: 9 }"
    async with batching_server(tmp_path, text, "--rest_api_timeout_in_ms=100", cost_micros=300_000) as server:
        first, second = await asyncio.gather(post_rows(server, [1]), post_rows(server, [1]))
        metrics = await server.metrics()
    # The first runs into the timeout of the run, the second never gets there.
    assert sorted((first.status_code, second.status_code)) == [429, 504]
    exhausted = first if first.status_code == 429 else second
    assert exhausted.json()["error"] == "Run() timeout exceeded while waiting in batching queue"
    assert ':tensorflow:serving:request_count{model_name="m",status="RESOURCE_EXHAUSTED"}' in metrics


async def test_an_error_reaches_every_request_of_the_batch(tmp_path: Path) -> None:
    text = f"max_batch_size {{ value: 2 }} batch_timeout_micros {{ value: {IN_TIME_SECONDS * 10**6} }}"
    async with batching_server(tmp_path, text) as server:
        server.server.faults.change({"error_rate": 1, "error_code": "INTERNAL"})
        answers = await asyncio.gather(post_rows(server, [1]), post_rows(server, [2]))
        assert [answer.status_code for answer in answers] == [500, 500]


async def test_with_per_model_parameters_a_version_without_them_is_not_batched(tmp_path: Path) -> None:
    write_light_model(tmp_path / "own", 1, batching_parameters="max_batch_size { value: 2 }")
    flags = ["--enable_batching", "--enable_per_model_batching_parameters"]
    for base, status in ((tmp_path / "own", 400), (tmp_path / "none", 200)):
        write_light_model(tmp_path / "none", 1)
        async with running(*flags, f"--model_base_path={base}", "--model_name=m") as server:
            assert (await server.predict(rows=3)).status_code == status
            batched = any("wrapped_run_count" in name for name in await server.metrics())
            assert batched is False  # refused, or run directly


async def test_per_model_parameters_that_are_no_text_proto_fail_the_load(base: Path) -> None:
    version = write_light_model(base, 1, batching_parameters="nonsense")
    flags = ["--enable_batching", "--enable_per_model_batching_parameters", "--max_num_load_retries=0"]
    status = await start_failure(f"--model_base_path={base}", *flags)
    assert f"INVALID_ARGUMENT: Invalid protobuf file: '{version}/batching_params.pbtxt'" in status.message


async def test_batching_is_not_reloaded(tmp_path: Path) -> None:
    async with batching_server(tmp_path, "max_batch_size { value: 2 }") as server:
        (tmp_path / "batching.config").write_text("max_batch_size { value: 9 }")
        write_light_model(tmp_path / "m", 2, {"serving_default": VARIABLE})
        await server.until_states({2: "AVAILABLE", 1: "END"})
        assert (await post_rows(server, [1], [2], [3])).status_code == 400
