"""The proxy before a stand-in for Prometheus that always answers 1."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from e2e.scenarios.faulty_prometheus import FaultyPrometheus, faulty_prometheus
from e2e.scenarios.prometheus_answers import Trouble

ANSWER = {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1.7e9, "1"]}]}}


class AlwaysOne(BaseHTTPRequestHandler):
    """Answers every query with 1."""

    def do_GET(self) -> None:
        body = json.dumps(ANSWER).encode()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def proxy() -> Iterator[FaultyPrometheus]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), AlwaysOne)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        with faulty_prometheus(f"http://127.0.0.1:{server.server_address[1]}", "127.0.0.1") as proxy:
            yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ask(proxy: FaultyPrometheus, trouble: Trouble, *, post: bool = False) -> httpx.Response:
    proxy.be(trouble)
    url, query = f"{proxy.url}/api/v1/query", {"query": "up"}
    with httpx.Client(trust_env=False, timeout=1) as client:
        return client.post(url, data=query) if post else client.get(url, params=query)


@pytest.mark.parametrize("post", [False, True], ids=["GET", "POST"])
def test_queries_pass_and_are_remembered(proxy: FaultyPrometheus, post: bool) -> None:
    before = proxy.asked(Trouble.NONE)
    assert ask(proxy, Trouble.NONE, post=post).json() == ANSWER
    assert proxy.asked(Trouble.NONE) == before + 1
    assert proxy.queries[-1].text == "up"


@pytest.mark.parametrize(
    ("trouble", "status"),
    [
        (Trouble.SERVER_ERROR, 500),
        (Trouble.BAD_GATEWAY, 502),
        (Trouble.UNAUTHORIZED, 401),
        (Trouble.NOT_JSON, 200),
        (Trouble.EMPTY, 200),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_a_trouble_answers_so_and_does_not_outlast_its_end(
    proxy: FaultyPrometheus, trouble: Trouble, status: int
) -> None:
    answer = ask(proxy, trouble)
    assert answer.status_code == status
    assert answer.content != ask(proxy, Trouble.NONE).content
    assert proxy.asked(trouble) == 1


def test_closing_ends_connections_without_an_answer(proxy: FaultyPrometheus) -> None:
    with pytest.raises(httpx.TransportError):
        ask(proxy, Trouble.CLOSE)


def test_hanging_ends_with_the_trouble(proxy: FaultyPrometheus) -> None:
    failures: list[Exception] = []

    def ask_and_wait() -> None:
        try:
            httpx.get(f"{proxy.url}/api/v1/query", params={"query": "up"}, trust_env=False, timeout=10)
        except httpx.TransportError as error:
            failures.append(error)

    proxy.be(Trouble.HANG)
    asking = threading.Thread(target=ask_and_wait)
    asking.start()
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{proxy.url}/api/v1/query", params={"query": "up"}, trust_env=False, timeout=0.2)
    deadline = time.monotonic() + 5
    while proxy.asked(Trouble.HANG) < 2:
        assert time.monotonic() < deadline
    proxy.be(Trouble.NONE)
    asking.join(timeout=5)
    assert [type(failure) for failure in failures] == [httpx.RemoteProtocolError]


def test_a_dead_prometheus_looks_dead(proxy: FaultyPrometheus) -> None:
    with (
        faulty_prometheus("http://127.0.0.1:9", "127.0.0.1") as before_nothing,
        pytest.raises(httpx.TransportError),
    ):
        ask(before_nothing, Trouble.NONE)
