"""An API server that answers what a test tells it to, over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from e2e.web_servers import served
from tfserving_operator.clients.kube import KubeClient, Patience
from tfserving_operator.clients.transport import Transport


@dataclass
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass
class Answer:
    """``hang`` keeps the connection open after the body; ``drop`` closes it without any answer."""

    code: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False
    drop: bool = False


def failure(code: int, message: str, *, reason: str = "", **details: Any) -> Answer:
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": message,
        "reason": reason,
        "details": details,
        "code": code,
    }
    return Answer(code, status)


class FakeApiServer:
    """Answers in order; the last answer for ever. Answers can be bound to a path."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._answers: dict[str | None, deque[Answer]] = {}
        self.tokens = ["first"]
        self.closing = asyncio.Event()

    def answer(self, *answers: Answer, path: str | None = None) -> None:
        self._answers.setdefault(path, deque()).extend(answers)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        self.requests.append(
            Request(
                request.method,
                request.path,
                dict(request.query),
                dict(request.headers),
                json.loads(text) if text else None,
            )
        )
        answers = self._answers.get(request.path) or self._answers[None]
        answer = answers.popleft() if len(answers) > 1 else answers[0]
        if answer.drop:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body or {}).encode()
        response = web.StreamResponse(status=answer.code, headers=answer.headers)
        await response.prepare(request)
        await response.write(content)
        if answer.hang:
            await self.closing.wait()
        return response


@pytest.fixture
async def api_server() -> AsyncIterator[FakeApiServer]:
    yield FakeApiServer()


@pytest.fixture
async def kube(api_server: FakeApiServer) -> AsyncIterator[KubeClient]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api_server.handle)
    async with served(app) as url:

        async def load() -> Configuration:
            configuration = Configuration(host=url)
            token = api_server.tokens.pop(0) if len(api_server.tokens) > 1 else api_server.tokens[0]
            configuration.api_key["BearerToken"] = f"bearer {token}"
            return configuration

        client = KubeClient(
            Transport(load), Patience(call_seconds=2.0, retry_for_seconds=0.5, first_retry_seconds=0.001)
        )
        yield client
        await client.close()
        api_server.closing.set()
