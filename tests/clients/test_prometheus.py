"""The client against an HTTP server that answers what a test tells it to."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from e2e.web_servers import served
from tests.clients.prometheus_rows import EDGE, NOW, NOW_SECONDS
from tfserving_operator.api.refs import ModelKey
from tfserving_operator.autoscaling.signals import PoolSignals, SignalState
from tfserving_operator.clients.prometheus import (
    QUERIES_PER_READING,
    FleetReading,
    PrometheusClient,
    PrometheusOptions,
    SignalWish,
)
from tfserving_operator.clients.prometheus_endpoint import PrometheusAddresses, PrometheusEndpoint

KEY = ModelKey("ns", "m")
WISH = {KEY: SignalWish(edge=EDGE, pools={"gpu": 1})}
SECRET = "s3cr3t-t0ken"
GROUP = {"namespace": "ns", "tfserving_dev_servedmodel": "m", "tfserving_dev_pool": "gpu"}


def vector(*rows: tuple[Mapping[str, str], Any], **more: Any) -> web.Response:
    result = [{"metric": labels, "value": [NOW_SECONDS, str(value)]} for labels, value in rows]
    return web.json_response({"status": "success", "data": {"resultType": "vector", "result": result}, **more})


def good_answer(query: str) -> web.Response:
    if query.startswith("min by"):
        return vector(({**GROUP, "pod": "a"}, NOW_SECONDS - 1))
    if query.startswith("sum by (namespace, tfserving_dev_servedmodel, tfserving_dev_pool, le) (irate"):
        return vector(({**GROUP, "le": EDGE.le}, 9), ({**GROUP, "le": "+Inf"}, 10))
    return vector()


@dataclass
class FakePrometheus:
    answer: Callable[[str], web.StreamResponse] = good_answer
    requests: list[tuple[Mapping[str, str], Mapping[str, str]]] = field(default_factory=list)
    hang: asyncio.Event | None = None
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.requests.append((dict(request.headers), form))
        if self.hang is not None:
            await self.hang.wait()
        return self.answer(form["query"])


@pytest.fixture
async def prometheus() -> AsyncIterator[FakePrometheus]:
    fake = FakePrometheus()
    app = web.Application()
    app.router.add_post("/prefix/api/v1/query", fake.handle)
    async with served(app) as url:
        fake.url = f"{url}/prefix"
        yield fake
        if fake.hang is not None:
            fake.hang.set()


async def read(
    endpoint: PrometheusEndpoint, wishes: Mapping[ModelKey, SignalWish] = WISH, **options: Any
) -> FleetReading:
    client = PrometheusClient(PrometheusAddresses(default=endpoint), PrometheusOptions(**options))
    try:
        return await client.read_fleet(wishes, now=NOW)
    finally:
        await client.close()


async def read_pool(prometheus: FakePrometheus, *, timeout_seconds: float = 5, **endpoint: Any) -> PoolSignals:
    reading = await read(PrometheusEndpoint(url=prometheus.url, **endpoint), timeout_seconds=timeout_seconds)
    return reading.signals[KEY, "gpu"]


async def test_a_good_answer_is_measured(prometheus: FakePrometheus) -> None:
    signals = await read_pool(prometheus)

    assert signals.state is SignalState.MEASURED
    assert (signals.requests_per_second, signals.good_share, signals.replicas_covered) == (10, 0.9, 1)


@pytest.mark.parametrize("models", [0, 1, 300])
async def test_a_thousand_models_cost_as_many_queries_as_one(prometheus: FakePrometheus, models: int) -> None:
    wishes = {ModelKey(f"ns-{n}", "m"): SignalWish(edge=EDGE, pools={"a": 1, "b": 0}) for n in range(models)}

    reading = await read(PrometheusEndpoint(url=prometheus.url), wishes)

    assert len(prometheus.requests) == reading.queries == (QUERIES_PER_READING if models else 0)
    assert len(reading.signals) == 2 * models


async def test_queries_are_posted_with_a_time_limit(prometheus: FakePrometheus) -> None:
    await read_pool(prometheus, timeout_seconds=1.5)
    assert {form["timeout"] for _, form in prometheus.requests} == {"1500ms"}


async def test_without_an_address_every_pool_is_not_configured() -> None:
    client = PrometheusClient(PrometheusAddresses())
    reading = await client.read_fleet(WISH, now=NOW)
    await client.close()
    assert reading.signals[KEY, "gpu"].state is SignalState.NOT_CONFIGURED
    assert reading.queries == 0


async def test_a_namespace_may_have_a_prometheus_of_its_own(prometheus: FakePrometheus) -> None:
    own = PrometheusEndpoint(url=prometheus.url)
    addresses = PrometheusAddresses(namespaces={"ns": own, "twin": own})
    client = PrometheusClient(addresses)
    wishes = {
        key: SignalWish(edge=EDGE, pools={"gpu": 1}) for key in (KEY, ModelKey("twin", "m"), ModelKey("else", "m"))
    }

    reading = await client.read_fleet(wishes, now=NOW)
    await client.close()

    assert reading.queries == QUERIES_PER_READING
    assert reading.signals[KEY, "gpu"].state is SignalState.MEASURED
    assert reading.signals[ModelKey("else", "m"), "gpu"].state is SignalState.NOT_CONFIGURED
    assert all('namespace=~"ns|twin"' in form["query"] for _, form in prometheus.requests)


async def test_one_prometheus_in_trouble_leaves_the_other_alone(prometheus: FakePrometheus) -> None:
    down = PrometheusEndpoint(url="http://127.0.0.1:1")
    client = PrometheusClient(
        PrometheusAddresses(default=PrometheusEndpoint(url=prometheus.url), namespaces={"b": down})
    )

    reading = await client.read_fleet({**WISH, ModelKey("b", "m"): WISH[KEY]}, now=NOW)
    await client.close()

    assert reading.signals[KEY, "gpu"].state is SignalState.MEASURED
    assert reading.signals[ModelKey("b", "m"), "gpu"].state is SignalState.PROMETHEUS_UNAVAILABLE


def api_error(status: int, kind: str, words: str = "no") -> web.Response:
    return web.json_response({"status": "error", "errorType": kind, "error": words}, status=status)


TROUBLES: list[tuple[str, Callable[[], web.StreamResponse], SignalState, str]] = [
    ("bad query", lambda: api_error(400, "bad_data", "parse error"), SignalState.PROMETHEUS_REJECTED, "parse error"),
    ("too many samples", lambda: api_error(422, "execution"), SignalState.PROMETHEUS_REJECTED, "execution"),
    ("unauthorized", lambda: web.Response(status=401), SignalState.PROMETHEUS_REJECTED, "check token"),
    ("forbidden", lambda: web.Response(status=403, text="<html>"), SignalState.PROMETHEUS_REJECTED, "check token"),
    ("wrong path", lambda: web.Response(status=404), SignalState.PROMETHEUS_REJECTED, "check the path"),
    (
        "redirect",
        lambda: web.Response(status=302, headers={"Location": "/x"}),
        SignalState.PROMETHEUS_REJECTED,
        "redirect",
    ),
    ("too many requests", lambda: web.Response(status=429), SignalState.PROMETHEUS_UNAVAILABLE, "429"),
    ("server error", lambda: api_error(500, "internal"), SignalState.PROMETHEUS_UNAVAILABLE, "500"),
    ("bad gateway", lambda: web.Response(status=502, text="<html>"), SignalState.PROMETHEUS_UNAVAILABLE, "502"),
    ("its own time limit", lambda: api_error(503, "timeout"), SignalState.PROMETHEUS_SLOW, "too long"),
    ("gateway timeout", lambda: web.Response(status=504), SignalState.PROMETHEUS_SLOW, "too long"),
    ("login page", lambda: web.Response(text="<html>"), SignalState.PROMETHEUS_UNAVAILABLE, "not JSON"),
    ("other JSON", lambda: web.json_response([1]), SignalState.PROMETHEUS_UNAVAILABLE, "not JSON of Prometheus"),
    ("no data", lambda: web.json_response({"status": "success"}), SignalState.PROMETHEUS_UNAVAILABLE, "instant vector"),
    ("error with 200", lambda: api_error(200, "bad_data"), SignalState.PROMETHEUS_REJECTED, "refuses"),
    (
        "a matrix",
        lambda: web.json_response({"status": "success", "data": {"resultType": "matrix", "result": []}}),
        SignalState.PROMETHEUS_UNAVAILABLE,
        "instant vector",
    ),
    (
        "rows of something else",
        lambda: web.json_response(
            {"status": "success", "data": {"resultType": "vector", "result": [{"metric": None, "value": [1, "1"]}]}}
        ),
        SignalState.PROMETHEUS_UNAVAILABLE,
        "does not give",
    ),
    ("labels of something else", lambda: vector((GROUP, 1)), SignalState.PROMETHEUS_UNAVAILABLE, "does not give"),
    ("a broken number", lambda: vector((GROUP, "one")), SignalState.PROMETHEUS_UNAVAILABLE, "instant vector"),
    ("a partial answer", lambda: vector(warnings=["a store is away"]), SignalState.PARTIAL_ANSWER, "a store is away"),
    ("an info that matters", lambda: vector(infos=["blocks are missing"]), SignalState.PARTIAL_ANSWER, "blocks"),
    ("too large", lambda: web.Response(body=b" " * 2**17), SignalState.PARTIAL_ANSWER, "larger than"),
]


@pytest.mark.parametrize(
    ("answer", "state", "words"), [case[1:] for case in TROUBLES], ids=[case[0] for case in TROUBLES]
)
async def test_trouble(
    prometheus: FakePrometheus, answer: Callable[[], web.StreamResponse], state: SignalState, words: str
) -> None:
    prometheus.answer = lambda _: answer()

    reading = await read(PrometheusEndpoint(url=prometheus.url), limit_bytes=2**16)

    signals = reading.signals[KEY, "gpu"]
    assert (signals.state, words in signals.message) == (state, True), signals
    assert not signals.state.may_scale_down


async def test_notes_on_the_names_of_counters_are_no_trouble(prometheus: FakePrometheus) -> None:
    note = "PromQL info: metric might not be a counter, name does not end in _total"
    prometheus.answer = lambda query: _with(good_answer(query), infos=[note], warnings=[note])
    assert (await read_pool(prometheus)).state is SignalState.MEASURED


def _with(response: web.Response, **more: Any) -> web.Response:
    assert response.text is not None
    return web.json_response({**json.loads(response.text), **more})


async def test_one_failing_query_of_many_makes_the_answer_partial(prometheus: FakePrometheus) -> None:
    prometheus.answer = lambda query: api_error(500, "internal") if "vector(" in query else good_answer(query)

    signals = await read_pool(prometheus)

    assert signals.state is SignalState.PARTIAL_ANSWER
    assert "concurrency" in signals.message
    assert signals.requests_per_second == 10


async def test_a_prometheus_that_hangs_is_slow(prometheus: FakePrometheus) -> None:
    prometheus.hang = asyncio.Event()
    signals = await read_pool(prometheus, timeout_seconds=0.1)
    assert (signals.state, signals.message) == (SignalState.PROMETHEUS_SLOW, "no answer within 0.1 s")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://127.0.0.1:1"])
async def test_nobody_there_is_unavailable(url: str) -> None:
    signals = (await read(PrometheusEndpoint(url=url))).signals[KEY, "gpu"]
    assert signals.state is SignalState.PROMETHEUS_UNAVAILABLE


async def test_plain_http_where_tls_is_expected_is_unavailable(prometheus: FakePrometheus) -> None:
    signals = await read_pool(FakePrometheus(url=prometheus.url.replace("http:", "https:")))
    assert signals.state is SignalState.PROMETHEUS_UNAVAILABLE


def write(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text(text)
    return path


async def test_a_token_that_rotates_is_read_again(prometheus: FakePrometheus, tmp_path: Path) -> None:
    token = write(tmp_path, "token", "first\n")
    client = PrometheusClient(
        PrometheusAddresses(default=PrometheusEndpoint(url=prometheus.url, bearer_token_file=token))
    )
    await client.read_fleet(WISH, now=NOW)
    token.write_text("second\n")
    await client.read_fleet(WISH, now=NOW)
    await client.close()

    sent = Counter(headers["Authorization"] for headers, _ in prometheus.requests)
    assert sent == {"Bearer first": QUERIES_PER_READING, "Bearer second": QUERIES_PER_READING}


async def test_basic_auth_and_headers_go_along(prometheus: FakePrometheus, tmp_path: Path) -> None:
    await read_pool(
        prometheus,
        basic_auth={"username_file": write(tmp_path, "u", "me"), "password_file": write(tmp_path, "p", "pässword")},
        headers={"X-Scope-OrgID": "team"},
        header_files={"X-Key": write(tmp_path, "k", SECRET)},
    )

    headers, _ = prometheus.requests[0]
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode() == "me:pässword"
    assert (headers["X-Scope-OrgID"], headers["X-Key"]) == ("team", SECRET)


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read: No such file"), ("", "is empty"), ("a\nb", "has more than one line")],
    ids=["missing", "empty", "two lines"],
)
async def test_a_token_that_cannot_be_used_is_named_by_its_file(
    prometheus: FakePrometheus, tmp_path: Path, content: str | None, words: str
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)

    signals = await read_pool(prometheus, bearer_token_file=path)

    assert signals.state is SignalState.PROMETHEUS_REJECTED
    assert re.search(f"token {words}", signals.message)
    assert prometheus.requests == []


async def test_a_server_that_repeats_the_token_does_not_get_it_into_a_message(
    prometheus: FakePrometheus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    prometheus.answer = lambda _: api_error(400, "bad_data", f"what is {SECRET}?")

    signals = await read_pool(prometheus, bearer_token_file=write(tmp_path, "token", SECRET))

    assert "what is ***?" in signals.message
    assert SECRET not in signals.message + caplog.text


async def test_credentials_do_not_follow_a_redirect(prometheus: FakePrometheus, tmp_path: Path) -> None:
    prometheus.answer = lambda _: web.Response(status=307, headers={"Location": prometheus.url + "/api/v1/query"})
    await read_pool(prometheus, bearer_token_file=write(tmp_path, "token", SECRET))
    assert len(prometheus.requests) == QUERIES_PER_READING


async def test_queue_and_batch_size_take_turns_and_are_both_known_from_the_second_reading_on(
    prometheus: FakePrometheus,
) -> None:
    def answer(query: str) -> web.Response:
        if " / (sum by" in query:
            return vector((GROUP, 0.5 if "queuing_latency" in query else 8))
        return good_answer(query)

    prometheus.answer = answer
    client = PrometheusClient(PrometheusAddresses(default=PrometheusEndpoint(url=prometheus.url)))
    readings = [(await client.read_fleet(WISH, now=NOW)).signals[KEY, "gpu"] for _ in range(3)]
    prometheus.answer = lambda _: web.Response(status=500)
    down = (await client.read_fleet(WISH, now=NOW)).signals[KEY, "gpu"]
    await client.close()

    assert [(signals.queue_seconds, signals.batch_size) for signals in readings] == [(None, 8), (0.5, 8), (0.5, 8)]
    assert len(prometheus.requests) == 4 * QUERIES_PER_READING
    assert down.state is SignalState.PROMETHEUS_UNAVAILABLE
