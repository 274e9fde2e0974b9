"""The child cache over real HTTP: lists, watches, and what goes wrong with them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.clients.conftest import Answer, FakeApiServer, failure
from tests.clients.test_child_store import KEY, child
from tfserving_operator.api.refs import ModelKey
from tfserving_operator.clients.child_cache import ChildCache, WatchTiming
from tfserving_operator.clients.kinds import DEPLOYMENTS, PODS
from tfserving_operator.clients.kube import KubeClient

FAST = WatchTiming(first_backoff_seconds=0.001, max_backoff_seconds=0.005, shortest_watch_seconds=0.0)


def page(*items: dict[str, Any], version: int, token: str = "") -> Answer:
    return Answer(body={"items": list(items), "metadata": {"resourceVersion": str(version), "continue": token}})


def stream(*events: tuple[str, dict[str, Any]], hang: bool = True) -> Answer:
    lines = (json.dumps({"type": kind, "object": obj}).encode() + b"\n" for kind, obj in events)
    return Answer(body=b"".join(lines), hang=hang)


class Seen:
    """The keys that the cache told of, awaitable."""

    def __init__(self) -> None:
        self.keys: list[ModelKey] = []
        self._news = asyncio.Event()

    def __call__(self, key: ModelKey) -> None:
        self.keys.append(key)
        self._news.set()

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.keys) < count:
                self._news.clear()
                await self._news.wait()


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def cache(kube: KubeClient, seen: Seen) -> ChildCache:
    return ChildCache(kube, changed=seen, timing=FAST, resources=[DEPLOYMENTS])


@asynccontextmanager
async def running(cache: ChildCache) -> AsyncIterator[None]:
    task = asyncio.create_task(cache.run())
    async with asyncio.timeout(5):
        await cache.wait_until_synced()
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def watch_versions(api_server: FakeApiServer) -> list[str]:
    return [request.query["resourceVersion"] for request in api_server.requests if request.query.get("watch")]


async def test_first_list_is_read_page_by_page_and_tells_nobody(
    cache: ChildCache, api_server: FakeApiServer, seen: Seen
) -> None:
    api_server.answer(page(child(1, name="a"), version=9, token="t"), page(child(2, name="b"), version=9), stream())
    assert not cache.is_synced and cache.updated_at is None

    async with running(cache):
        pass

    assert [ref.name for ref in cache.children(KEY)] == ["a", "b"]
    assert api_server.requests[1].query["continue"] == "t"
    assert seen.keys == []
    assert cache.keys() == {KEY}
    assert cache.updated_at is not None


async def test_events_tell_whose_children_changed(cache: ChildCache, api_server: FakeApiServer, seen: Seen) -> None:
    api_server.answer(
        page(child(1), version=9),
        stream(("MODIFIED", child(10)), ("ADDED", child(11, name="x", model="other")), ("DELETED", child(12))),
    )

    async with running(cache):
        await seen.wait_for(3)

    assert seen.keys == [KEY, ModelKey("ns", "other"), KEY]
    assert cache.children(KEY) == {}


async def test_watch_goes_on_where_it_ended_bookmarks_included(
    cache: ChildCache, api_server: FakeApiServer, seen: Seen
) -> None:
    bookmark = {"metadata": {"resourceVersion": "20"}}
    api_server.answer(page(version=9), stream(("BOOKMARK", bookmark), hang=False), stream(("ADDED", child(21))))

    async with running(cache):
        await seen.wait_for(1)

    assert watch_versions(api_server) == ["9", "20"]


async def test_expired_position_is_listed_again_and_tells_what_was_missed(
    cache: ChildCache, api_server: FakeApiServer, seen: Seen
) -> None:
    api_server.answer(
        page(child(1, name="gone"), child(2, name="same"), version=9),
        failure(410, "too old resource version"),
        page(child(2, name="same"), child(30, name="new", model="other"), version=31),
        stream(),
    )

    async with running(cache):
        await seen.wait_for(2)

    assert sorted(seen.keys) == [KEY, ModelKey("ns", "other")]
    assert [ref.name for ref in cache.children(KEY)] == ["same"]


async def test_a_list_that_has_expired_at_once_is_not_made_again_and_again(
    kube: KubeClient, api_server: FakeApiServer, seen: Seen
) -> None:
    timing = WatchTiming(first_backoff_seconds=0.05, max_backoff_seconds=10.0, shortest_watch_seconds=0.0)
    cache = ChildCache(kube, changed=seen, timing=timing, resources=[DEPLOYMENTS])
    for _ in range(80):
        api_server.answer(page(version=9), failure(410, "too old resource version"))

    async with running(cache):
        await asyncio.sleep(1.0)

    assert len([request for request in api_server.requests if "watch" not in request.query]) <= 10


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(Answer(drop=True), id="connection dropped"),
        pytest.param(failure(503, "away"), id="server away"),
        pytest.param(failure(403, "not allowed yet", reason="Forbidden"), id="rights come later"),
    ],
)
async def test_watch_comes_back_after_trouble(
    cache: ChildCache, api_server: FakeApiServer, seen: Seen, trouble: Answer
) -> None:
    api_server.answer(page(version=9), trouble, trouble, stream(("ADDED", child(10))))

    async with running(cache):
        await seen.wait_for(1)

    assert watch_versions(api_server) == ["9", "9", "9"]


async def test_own_write_is_seen_at_once_and_its_echo_tells_nobody(
    cache: ChildCache, api_server: FakeApiServer, seen: Seen
) -> None:
    written = {**child(10), "apiVersion": "apps/v1", "kind": "Deployment"}
    api_server.answer(page(version=9), stream(), path="/apis/apps/v1/deployments")
    async with running(cache):
        cache.observe_write(written)

    [live] = cache.children(KEY).values()
    assert live["metadata"]["resourceVersion"] == "10"
    assert seen.keys == []


async def test_watched_namespaces_are_asked_for_one_by_one(
    kube: KubeClient, api_server: FakeApiServer, seen: Seen
) -> None:
    for namespace in ("ns", "other-ns"):
        api_server.answer(
            page(child(1), version=9) if namespace == "ns" else page(version=9),
            stream(),
            path=f"/api/v1/namespaces/{namespace}/pods",
        )
    cache = ChildCache(kube, changed=seen, timing=FAST, resources=[PODS], namespaces=["ns", "other-ns"])

    async with running(cache):
        pass

    assert [pod["metadata"]["name"] for pod in cache.pods(KEY)] == ["d"]
    assert cache.children(KEY) == {}
