"""Section 5 of the reference: the metrics page, byte for byte."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from e2e.modelserver.knobs import Behaviour
from e2e.modelserver.metrics import Counter, Histogram, ServerMetrics, exponential_limits
from e2e.modelserver.model_writer import CLASSIFY, PREDICT, REGRESS, write_light_model
from e2e.modelserver.wire import serving_pb2 as pb
from tests.modelserver.harness import (
    METRICS_PATH,
    MODEL,
    PREDICTION,
    free_port,
    make_server,
    running,
    sample_value,
)
from tests.modelserver.test_predict import request_for

REFERENCE_LATENCY_LIMITS = (
    "10 18 32.4 58.32 104.976 188.957 340.122 612.22 1102 1983.59 3570.47 6426.84 11568.3 20823 37481.3 67466.4 "
    "121440 218591 393464 708235 1.27482e+06 2.29468e+06 4.13043e+06 7.43477e+06 1.33826e+07 2.40887e+07 4.33596e+07 "
    "7.80473e+07 1.40485e+08 2.52873e+08 4.55172e+08 8.19309e+08 1.47476e+09 +Inf"
)

# name, type, labels, (start, growth, count): the reference's table.
REFERENCE_METRICS = [
    (":tensorflow:serving:request_latency", "histogram", "model_name API entrypoint", (10, 1.8, 33)),
    (":tensorflow:serving:runtime_latency", "histogram", "model_name API runtime", (10, 1.8, 33)),
    (":tensorflow:serving:request_count", "counter", "model_name status", None),
    (":tensorflow:serving:request_example_counts", "histogram", "model", (1, 2, 15)),
    (":tensorflow:serving:request_example_count_total", "counter", "model", None),
    (":tensorflow:serving:request_log_count", "counter", "model_name status_code", None),
    (":tensorflow:serving:model_warmup_latency", "histogram", "model_path status", (10, 1.8, 33)),
    (":tensorflow:serving:model_warmup_records_read", "counter", "model_path status", None),
    (":tensorflow:serving:batching_session:queuing_latency", "histogram", "thread_pool_name", (100, 1.2, 52)),
    (":tensorflow:serving:batching_session:wrapped_run_count", "counter", "", None),
    (":tensorflow:serving:batching_session:input_batch_size", "histogram", "", (1, 2, 14)),
    (":tensorflow:serving:batching_session:processed_batch_size", "histogram", "", (1, 2, 14)),
    (":tensorflow:serving:batching_session:padding_size", "histogram", "execution_batch_size", (1, 2, 14)),
    (":tensorflow:cc:saved_model:load_attempt_count", "counter", "model_path status", None),
    (":tensorflow:cc:saved_model:load_latency", "counter", "model_path", None),
    (":tensorflow:cc:saved_model:load_latency_by_stage", "histogram", "model_path stage", (10, 1.8, 33)),
    (":tensorflow:core:graph_runs", "counter", "", None),
    (":tensorflow:core:direct_session_runs", "counter", "", None),
    (":tensorflow:core:graph_run_time_usecs", "counter", "", None),
    (":tensorflow:core:graph_run_time_usecs_histogram", "histogram", "", (1000, 2, 20)),
    (":tensorflow:core:graph_pending_queue_length_histogram", "histogram", "", (1, 1.5, 30)),
]
LAZY = {f":tensorflow:serving:batching_session:{name}" for name in
        ("input_batch_size", "processed_batch_size", "padding_size")}  # fmt: skip


def test_before_the_first_request_there_are_type_lines_only_and_none_of_lazy_metrics() -> None:
    expected = {f"# TYPE {name} {kind}" for name, kind, _, _ in REFERENCE_METRICS if name not in LAZY}
    lines = ServerMetrics().page().splitlines()
    assert set(lines) == expected
    assert lines == sorted(lines)


@pytest.mark.parametrize(
    ("name", "kind", "labels", "buckets"), REFERENCE_METRICS, ids=[row[0] for row in REFERENCE_METRICS]
)
def test_metric_has_the_type_labels_and_buckets_of_the_reference(
    name: str, kind: str, labels: str, buckets: tuple[float, float, int] | None
) -> None:
    metrics = ServerMetrics()
    (metric,) = (metric for metric in vars(metrics).values() if metric.exposed_name == name)
    values = [f"v{index}" for index in range(len(labels.split()))]
    pairs = ",".join(f'{label}="{value}"' for label, value in zip(labels.split(), values, strict=True))
    if buckets is None:
        assert isinstance(metric, Counter)
        metric.add(3, *values)
        expected = [f"{name}{{{pairs}}} 3"]
    else:
        assert isinstance(metric, Histogram)
        metric.observe(0.5, *values)
        limits = [*(f"{limit:g}" for limit in exponential_limits(*buckets)), "+Inf"]
        assert len(limits) == buckets[2] + 1
        prefix = f"{pairs}," if pairs else ""
        expected = [f'{name}_bucket{{{prefix}le="{limit}"}} 1' for limit in limits]
        expected += [f"{name}_sum{{{pairs}}} 0.5", f"{name}_count{{{pairs}}} 1"]
    page = metrics.page().splitlines()
    start = page.index(f"# TYPE {name} {kind}") + 1
    assert page[start : start + len(expected)] == expected


def test_latency_limits_are_the_references_strings() -> None:
    assert " ".join([*(f"{limit:g}" for limit in exponential_limits(10, 1.8, 33)), "+Inf"]) == REFERENCE_LATENCY_LIMITS


def test_a_value_equal_to_a_limit_falls_in_the_next_bucket() -> None:
    histogram = Histogram("/h", (10, 20))
    histogram.observe(10)
    assert list(histogram.lines())[1:4] == [':h_bucket{le="10"} 0', ':h_bucket{le="20"} 1', ':h_bucket{le="+Inf"} 1']


def test_sums_have_six_digits_and_counts_all() -> None:
    histogram, counter = Histogram("/h", (10,)), Counter("/c")
    histogram.observe(1_234_567_890_123.0)
    counter.add(1_234_567_890_123)
    assert ":h_sum{} 1.23457e+12" in histogram.lines()
    assert ":c{} 1234567890123" in counter.lines()


def test_names_and_label_values_are_made_safe() -> None:
    counter = Counter("/a-b/c.d", "la-bel")
    counter.add(1, 'quote " back \\ line')
    assert list(counter.lines()) == ["# TYPE :a:b:c:d counter", ':a:b:c:d{la_bel="quote \\" back \\\\ line"} 1']


def test_the_usual_parser_renames_counters() -> None:
    metrics = ServerMetrics()
    metrics.request_count.add(1, "m", "OK")
    families = list(text_string_to_metric_families(metrics.page()))
    assert ":tensorflow:serving:request_count_total" in {
        sample.name for family in families for sample in family.samples
    }


async def test_the_page_is_plain_text_without_help_or_time(model: Path) -> None:
    async with running(f"--model_base_path={model}", "--model_name=m") as server:
        await server.predict()
        answer = await server.get(METRICS_PATH)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain"
    line = re.compile(r'# TYPE :[a-z:_]+ (counter|histogram)|:[a-z:_]+\{([a-zA-Z_]+="[^"]*",?)*\} [-+0-9.e]+')
    assert answer.text.endswith("\n")
    assert [text for text in answer.text.splitlines() if not line.fullmatch(text)] == []


async def test_without_a_monitoring_config_there_is_no_page(short_folder: Path, model: Path) -> None:
    port = free_port()
    server = make_server(f"--grpc_socket_path={short_folder}/s", "--port=0", f"--rest_api_port={port}",
                         f"--model_base_path={model}")  # fmt: skip
    await server.start()
    try:
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"http://127.0.0.1:{port}{METRICS_PATH}")).status_code == 404
    finally:
        await server.stop()


async def test_the_path_of_the_page_can_be_chosen(tmp_path: Path, model: Path) -> None:
    file = tmp_path / "monitoring.config"
    file.write_text('prometheus_config { enable: true path: "/metrics" }')
    async with running(f"--model_base_path={model}", f"--monitoring_config_file={file}") as server:
        assert (await server.get("/metrics")).status_code == 200
        assert (await server.get(METRICS_PATH)).status_code == 404


async def test_requests_are_counted_under_the_references_labels(tmp_path: Path) -> None:
    signatures = {"serving_default": PREDICT, "c": CLASSIFY, "r": REGRESS}
    write_light_model(tmp_path / "m", 1, signatures, Behaviour(cost_micros=(0,)))
    async with running(f"--model_base_path={tmp_path}/m", "--model_name=m") as server:
        await server.predict(rows=2)
        await server.post("/v1/models/m:classify", {"signature_name": "c", "examples": [{}] * 3})
        await server.post("/v1/models/m:regress", {"signature_name": "r", "examples": [{}]})
        await server.get("/v1/models/m")
        await server.get("/v1/models/m/metadata")
        await server.call(f"{PREDICTION}Predict", request_for([1]), pb.PredictResponse)
        metrics = await server.metrics()
    for api, entrypoint, count in (
        ("predict", "REST", 1), ("classify", "REST", 1), ("regress", "REST", 1), ("", "REST", 2),
        ("Predict", "GRPC", 1),
    ):  # fmt: skip
        labels = f'model_name="m",API="{api}",entrypoint="{entrypoint}"'
        assert metrics[f":tensorflow:serving:request_latency_count{{{labels}}}"] == str(count), labels
    assert metrics[':tensorflow:serving:request_count{model_name="m",status="OK"}'] == "6"
    for api, count in (("Predict", 2), ("Classify", 1), ("Regress", 1)):
        labels = f'model_name="m",API="{api}",runtime="TF1"'
        assert metrics[f":tensorflow:serving:runtime_latency_count{{{labels}}}"] == str(count)
    assert metrics[':tensorflow:serving:request_example_count_total{model="m"}'] == "4"
    assert metrics[':tensorflow:serving:request_example_counts_count{model="m"}'] == "2"
    assert metrics[":tensorflow:core:graph_runs{}"] == metrics[":tensorflow:core:direct_session_runs{}"] == "4"
    assert metrics[":tensorflow:core:graph_run_time_usecs_histogram_count{}"] == "4"
    path = f'model_path="{tmp_path}/m/1"'
    assert metrics[f':tensorflow:cc:saved_model:load_attempt_count{{{path},status="success"}}'] == "1"
    assert int(metrics[f":tensorflow:cc:saved_model:load_latency{{{path}}}"]) > 0
    for stage in ("restore_graph", "init_graph"):
        assert metrics[f':tensorflow:cc:saved_model:load_latency_by_stage_count{{{path},stage="{stage}"}}'] == "1"


async def test_what_grpc_tells_about_models_and_the_page_itself_are_not_counted(model: Path) -> None:
    flags = [f"--model_base_path={model}", "--model_name=m", "--enable_grpc_healthcheck_service"]
    async with running(*flags) as server:
        spec = pb.ModelSpec(name="m")
        await server.call(
            f"{MODEL}GetModelStatus", pb.GetModelStatusRequest(model_spec=spec), pb.GetModelStatusResponse
        )
        request = pb.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
        await server.call(f"{PREDICTION}GetModelMetadata", request, pb.GetModelMetadataResponse)
        await server.call("/grpc.health.v1.Health/Check", pb.HealthCheckRequest(), pb.HealthCheckResponse)
        await server.metrics()
        assert not [name for name in await server.metrics() if name.startswith(":tensorflow:serving:request_")]


async def test_only_good_requests_have_a_latency(model: Path) -> None:
    flags = [f"--model_base_path={model}", "--model_name=m"]
    async with running(*flags, knobs={"error_rate": 0.5, "error_code": "UNAVAILABLE"}) as server:
        assert sorted([(await server.predict()).status_code for _ in range(4)]) == [200, 200, 503, 503]
        await server.get("/v1/models/nobody")
        metrics = await server.metrics()
    labels = 'model_name="m",API="predict",entrypoint="REST"'
    assert metrics[f":tensorflow:serving:request_latency_count{{{labels}}}"] == "2"
    counts = ":tensorflow:serving:request_count"
    assert metrics[f'{counts}{{model_name="m",status="OK"}}'] == "2"
    assert metrics[f'{counts}{{model_name="m",status="UNAVAILABLE"}}'] == "2"
    # The name is the client's, whether or not there is such a model.
    assert metrics[f'{counts}{{model_name="nobody",status="NOT_FOUND"}}'] == "1"


async def test_latency_is_in_microseconds(tmp_path: Path) -> None:
    write_light_model(tmp_path / "m", 1, behaviour=Behaviour(cost_micros=(50_000,)))
    async with running(f"--model_base_path={tmp_path}/m", "--model_name=m") as server:
        await server.predict()
        metrics = await server.metrics()
    assert sample_value(metrics, r":tensorflow:serving:request_latency_sum\{.*predict.*\}") > 50_000
    bucket = ':tensorflow:serving:request_latency_bucket{model_name="m",API="predict",entrypoint="REST",le="%s"}'
    assert metrics[bucket % "37481.3"] == "0"
    assert metrics[bucket % "+Inf"] == "1"


async def test_counters_survive_an_unload(model: Path) -> None:
    async with running(f"--model_base_path={model}", "--model_name=m") as server:
        await server.predict()
        (model / "1").rename(model / "gone")
        await server.until_states({1: "END"})
        metrics = await server.metrics()
        assert (
            metrics[':tensorflow:serving:request_latency_count{model_name="m",API="predict",entrypoint="REST"}'] == "1"
        )


async def test_failed_loads_are_counted_each(model: Path) -> None:
    flags = [f"--model_base_path={model}", "--model_name=m", "--load_retry_interval_micros=0"]
    async with running(*flags, knobs={"fail_loads": 2}) as server:
        metrics = await server.metrics()
    for status, count in (("fail", "2"), ("success", "1")):
        labels = f'model_path="{model}/1",status="{status}"'
        assert metrics[f":tensorflow:cc:saved_model:load_attempt_count{{{labels}}}"] == count
