from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from e2e.web_servers import served
from tfserving_operator.clients.prometheus_endpoint import PrometheusEndpoint
from tfserving_operator.clients.promql import ScrapeLabels
from tfserving_operator.simulation.prometheus_trace import (
    HistoryRequest,
    build_rate_query,
    read_points,
    read_prometheus_trace,
)
from tfserving_operator.simulation.trace import Trace, TraceError

BEGIN = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def request(**fields: Any) -> HistoryRequest:
    fields.setdefault("namespace", "shop")
    fields.setdefault("name", "ranking")
    fields.setdefault("begin", BEGIN)
    fields.setdefault("end", BEGIN + timedelta(hours=1))
    fields.setdefault("step_seconds", 60)
    return HistoryRequest(**fields)


@dataclass
class FakePrometheus:
    """Has a rate at every moment, and remembers what it was asked."""

    rate_at: Callable[[float], float | str | None] = lambda at: 10.0
    status: int = 200
    body: bytes | None = None
    location: str | None = None
    asked: list[Mapping[str, str]] = field(default_factory=list)
    authorization: list[str | None] = field(default_factory=list)

    async def answer(self, asked: web.Request) -> web.Response:
        fields = {name: str(value) for name, value in (await asked.post()).items()}
        self.asked.append(fields)
        self.authorization.append(asked.headers.get("Authorization"))
        if self.location is not None:
            return web.Response(status=302, headers={"Location": self.location})
        if self.body is not None:
            return web.Response(status=self.status, body=self.body)
        begin, end, step = (int(fields[name]) for name in ("start", "end", "step"))
        values = [[at, str(rate)] for at in range(begin, end + 1, step) if (rate := self.rate_at(at)) is not None]
        series = [{"metric": {}, "values": values}] if values else []
        return web.json_response({"status": "success", "data": {"resultType": "matrix", "result": series}})


@pytest.fixture
async def prometheus() -> AsyncIterator[tuple[FakePrometheus, str]]:
    fake = FakePrometheus()
    app = web.Application()
    app.router.add_post("/prefix/api/v1/query_range", fake.answer)
    async with served(app) as url:
        yield fake, f"{url}/prefix"


async def read(url: str, asked: HistoryRequest | None = None, **endpoint: Any) -> Trace:
    return await asyncio.to_thread(read_prometheus_trace, PrometheusEndpoint(url=url, **endpoint), asked or request())


async def test_points_become_rows_in_the_middle_of_their_windows(prometheus: tuple[FakePrometheus, str]) -> None:
    fake, url = prometheus
    fake.rate_at = lambda at: at - BEGIN.timestamp()
    trace = await read(url)
    assert trace.name == "shop/ranking"
    assert trace.origin == BEGIN - timedelta(seconds=30)
    assert trace.duration_seconds == 3600
    assert trace.requests_per_second.tolist() == list(range(0, 3601, 60))
    assert any("means over 60 s" in each for each in trace.assumptions)


async def test_a_long_time_is_read_in_parts_without_a_point_twice(prometheus: tuple[FakePrometheus, str]) -> None:
    fake, url = prometheus
    trace = await read(url, request(end=BEGIN + timedelta(days=7), step_seconds=15))
    assert len(fake.asked) == 5
    assert len(trace.times_seconds) == 7 * 24 * 240 + 1
    assert set(trace.times_seconds[1:] - trace.times_seconds[:-1]) == {15.0}


async def test_a_token_is_sent(prometheus: tuple[FakePrometheus, str], tmp_path: Path) -> None:
    fake, url = prometheus
    (tmp_path / "token").write_text("secret-word\n")
    await read(url, bearer_token_file=tmp_path / "token")
    assert fake.authorization == ["Bearer secret-word"]


async def test_points_that_are_missing_or_no_numbers_are_bridged_and_counted(
    prometheus: tuple[FakePrometheus, str],
) -> None:
    fake, url = prometheus
    gap = {BEGIN.timestamp() + 600: None, BEGIN.timestamp() + 660: "NaN", BEGIN.timestamp() + 720: "+Inf"}
    fake.rate_at = lambda at: gap.get(at, 10.0)
    trace = await read(url)
    assert any("3 of 61 points are missing" in each for each in trace.assumptions)
    assert trace.requests == pytest.approx(36_000)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rate_at": lambda at: None}, "no requests of ServedModel shop/ranking between 2026-03-02 12:00 UTC"),
        ({"status": 401, "body": b"no"}, r"refuses the credentials \(401\)"),
        ({"status": 403, "body": b"no"}, "--token-file"),
        ({"status": 404, "body": b"not here"}, "without, /api/v1"),
        ({"status": 200, "body": b"<html>login</html>"}, "is it Prometheus"),
        ({"status": 200, "body": b"[]"}, "is it Prometheus"),
        ({"status": 200, "body": b'{"status": "success", "data": {"result": [{}]}}'}, "is it Prometheus"),
        ({"status": 400, "body": b'{"status": "error", "error": "parse error"}'}, "refuses the query: parse error"),
        ({"location": "http://elsewhere/"}, "redirect"),
    ],
)
async def test_every_trouble_is_a_sentence(
    prometheus: tuple[FakePrometheus, str], fields: dict[str, Any], words: str
) -> None:
    fake, url = prometheus
    for name, value in fields.items():
        setattr(fake, name, value)
    with pytest.raises(TraceError, match=words) as refused:
        await read(url)
    assert "\n" not in str(refused.value)


async def test_what_was_sent_is_never_repeated(prometheus: tuple[FakePrometheus, str], tmp_path: Path) -> None:
    fake, url = prometheus
    (tmp_path / "token").write_text("secret-word")
    fake.body = json.dumps({"status": "error", "error": "bad token secret-word"}).encode()
    with pytest.raises(TraceError, match=r"bad token \*\*\*"):
        await read(url, bearer_token_file=tmp_path / "token")


async def test_an_address_that_nobody_listens_at_is_named() -> None:
    with pytest.raises(TraceError, match="cannot be reached"):
        await read("http://127.0.0.1:1")


async def test_a_token_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="token cannot be read"):
        await read("http://127.0.0.1:1", bearer_token_file=tmp_path / "token")


def test_a_query_escapes_every_name() -> None:
    asked = request(name='a"} or vector(1) #', namespace="b\\", labels=ScrapeLabels(served_model="sm"))
    query = build_rate_query(asked)
    assert r'sm="a\"} or vector(1) #"' in query
    assert r'namespace="b\\"' in query


def test_a_query_counts_what_the_operator_counts() -> None:
    query = build_rate_query(request(step_seconds=300))
    assert ':tensorflow:serving:request_latency_bucket{namespace="shop", tfserving_dev_servedmodel="ranking"' in query
    assert 'API!="", le="+Inf"}[300s]' in query
    assert 'status!="OK"' in query
    assert "INVALID_ARGUMENT" in query


def test_a_window_is_never_shorter_than_a_minute() -> None:
    assert "[60s]" in build_rate_query(request(step_seconds=5))


def test_negative_rates_of_a_broken_counter_are_none() -> None:
    body = {"status": "success", "data": {"result": [{"values": [[0, "-1"], [60, "2"]]}]}}
    assert read_points(200, json.dumps(body).encode()) == [(0.0, 0.0), (60.0, 2.0)]
