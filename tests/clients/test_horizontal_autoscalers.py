"""HorizontalPodAutoscalers: listed while somebody asks, and held against those who scale the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.clients.conftest import Answer, FakeApiServer, failure
from tfserving_operator.api.refs import ModelKey
from tfserving_operator.clients.horizontal_autoscalers import LIST_INTERVAL, HorizontalAutoscalers
from tfserving_operator.clients.kube import KubeClient

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEY = ModelKey("models", "digits")
LONGER_THAN_RETRIES_SECONDS = 0.8


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def autoscaler(own_name: str = "theirs", /, *, namespace: str = "models", **target: str) -> dict[str, Any]:
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "digits-cpu"} | target
    return {"metadata": {"name": own_name, "namespace": namespace}, "spec": {"scaleTargetRef": reference}}


def page(*items: Mapping[str, Any], token: str = "") -> Answer:
    return Answer(body={"metadata": {"resourceVersion": "1", "continue": token}, "items": list(items)})


def path_in(namespace: str) -> str:
    return f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"


@asynccontextmanager
async def listing(autoscalers: HorizontalAutoscalers) -> AsyncIterator[None]:
    task = asyncio.create_task(autoscalers.run())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def until(probe: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not probe():  # noqa: ASYNC110 - a cache of lists has no events
            await asyncio.sleep(0.001)


async def listed(kube: KubeClient, api_server: FakeApiServer, *answers: Answer) -> HorizontalAutoscalers:
    """Return the autoscalers after one list."""
    api_server.answer(*answers)
    autoscalers = HorizontalAutoscalers(kube, clock=Clock())
    autoscalers.ask(since=NOW)
    async with listing(autoscalers):
        await until(lambda: autoscalers.are_known_since(NOW))
    return autoscalers


@pytest.mark.parametrize(
    ("item", "is_found"),
    [
        pytest.param(autoscaler(), True, id="one of its Deployments"),
        pytest.param(
            autoscaler(apiVersion="tfserving.dev/v1alpha1", kind="ServedModel", name="digits"), True, id="itself"
        ),
        pytest.param(
            autoscaler(apiVersion="tfserving.dev/v9", kind="ServedModel", name="digits"), True, id="another version"
        ),
        pytest.param(autoscaler(name="digits-other"), False, id="another Deployment"),
        pytest.param(autoscaler(namespace="others"), False, id="another namespace"),
        pytest.param(autoscaler(kind="StatefulSet"), False, id="another kind"),
        pytest.param(autoscaler(apiVersion="example.com/v1"), False, id="another group"),
        pytest.param(autoscaler(apiVersion="v1"), False, id="the core group"),
    ],
)
async def test_who_scales_the_model_or_its_deployments_is_named(
    kube: KubeClient, api_server: FakeApiServer, item: dict[str, Any], is_found: bool
) -> None:
    autoscalers = await listed(kube, api_server, page(item))
    assert autoscalers.scaling(KEY, ["digits-gpu", "digits-cpu"]) == ("theirs" if is_found else None)


async def test_all_pages_are_read(kube: KubeClient, api_server: FakeApiServer) -> None:
    autoscalers = await listed(kube, api_server, page(autoscaler(name="another"), token="more"), page(autoscaler()))
    assert autoscalers.scaling(KEY, ["digits-cpu"]) == "theirs"
    assert [request.query.get("continue") for request in api_server.requests] == [None, "more"]


async def test_they_are_not_listed_unless_asked_for(kube: KubeClient, api_server: FakeApiServer) -> None:
    api_server.answer(page())
    autoscalers = HorizontalAutoscalers(kube, clock=Clock())
    async with listing(autoscalers):
        await asyncio.sleep(0.05)
    assert (api_server.requests, autoscalers.are_known_since(NOW)) == ([], False)


async def test_they_are_known_since_the_list_began(kube: KubeClient, api_server: FakeApiServer) -> None:
    autoscalers = await listed(kube, api_server, page())
    assert autoscalers.are_known_since(NOW)
    assert not autoscalers.are_known_since(NOW + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("age", "since", "requests"),
    [
        (timedelta(seconds=2), NOW, 1),
        (LIST_INTERVAL, NOW, 2),
        (timedelta(seconds=2), NOW + timedelta(seconds=1), 2),
    ],
    ids=["young enough", "a while old", "older than mode Auto"],
)
async def test_an_old_list_is_made_anew(
    kube: KubeClient, api_server: FakeApiServer, age: timedelta, since: datetime, requests: int
) -> None:
    api_server.answer(page())
    clock = Clock()
    autoscalers = HorizontalAutoscalers(kube, clock=clock)
    autoscalers.ask(since=NOW)
    async with listing(autoscalers):
        await until(lambda: autoscalers.are_known_since(NOW))
    clock.now += age
    autoscalers.ask(since=since)
    async with listing(autoscalers):
        await until(lambda: len(api_server.requests) >= requests)
        await asyncio.sleep(0.1)
    assert len(api_server.requests) == requests


@pytest.mark.parametrize("answer", [failure(500, "broken"), Answer(drop=True)], ids=["server error", "no answer"])
async def test_a_failed_list_leaves_auto_waiting(kube: KubeClient, api_server: FakeApiServer, answer: Answer) -> None:
    api_server.answer(answer)
    autoscalers = HorizontalAutoscalers(kube, clock=Clock())
    autoscalers.ask(since=NOW)
    async with listing(autoscalers):
        await asyncio.sleep(LONGER_THAN_RETRIES_SECONDS)
    assert not autoscalers.are_known_since(NOW)


async def test_a_failed_list_keeps_what_was_known(kube: KubeClient, api_server: FakeApiServer) -> None:
    autoscalers = await listed(kube, api_server, page(autoscaler()))
    api_server.answer(failure(500, "broken"))
    autoscalers.ask(since=NOW + timedelta(seconds=1))
    async with listing(autoscalers):
        await until(lambda: len(api_server.requests) > 1)
        await asyncio.sleep(LONGER_THAN_RETRIES_SECONDS)
    assert autoscalers.scaling(KEY, ["digits-cpu"]) == "theirs"


@pytest.mark.parametrize(
    "answer", [failure(403, "no", reason="Forbidden"), failure(404, "no")], ids=["forbidden", "no such API"]
)
async def test_without_the_right_to_list_auto_goes_on(
    kube: KubeClient, api_server: FakeApiServer, answer: Answer
) -> None:
    autoscalers = await listed(kube, api_server, answer)
    assert autoscalers.are_known_since(NOW)
    assert autoscalers.scaling(KEY, ["digits-cpu"]) is None


async def test_a_missing_right_in_one_namespace_hides_no_autoscaler_of_another(
    kube: KubeClient, api_server: FakeApiServer
) -> None:
    api_server.answer(page(autoscaler()), path=path_in("models"))
    api_server.answer(failure(403, "no", reason="Forbidden"), path=path_in("others"))
    autoscalers = HorizontalAutoscalers(kube, namespaces=["others", "models"], clock=Clock())
    autoscalers.ask(since=NOW)
    async with listing(autoscalers):
        await until(lambda: autoscalers.are_known_since(NOW))
    assert autoscalers.scaling(KEY, ["digits-cpu"]) == "theirs"
