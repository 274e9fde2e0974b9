"""Kubernetes events: said once, counted after that, and never in the way."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tfserving_operator.api.refs import ObjectRef
from tfserving_operator.clients.errors import ClientError, NotFound, Rejected
from tfserving_operator.clients.events import EventPublisher

MODEL = {
    "apiVersion": "tfserving.dev/v1alpha1",
    "kind": "ServedModel",
    "metadata": {"namespace": "ns", "name": "m", "uid": "u", "resourceVersion": "5"},
}


class FakeApi:
    def __init__(self) -> None:
        self.created: list[Mapping[str, Any]] = []
        self.patched: list[tuple[ObjectRef, Mapping[str, Any]]] = []
        self.create_error: ClientError | None = None
        self.patch_error: ClientError | None = None

    async def create(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        if self.create_error:
            raise self.create_error
        self.created.append(manifest)
        return dict(manifest)

    async def merge_patch(self, ref: ObjectRef, patch: Mapping[str, Any]) -> dict[str, Any]:
        if self.patch_error:
            raise self.patch_error
        self.patched.append((ref, patch))
        return dict(patch)


class Scene:
    def __init__(self) -> None:
        self.api = FakeApi()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.publisher = EventPublisher(self.api, clock=lambda: self.now)

    async def say(self, message: str = "Created Deployment d", *, after_seconds: float = 0.0) -> None:
        self.now += timedelta(seconds=after_seconds)
        await self.publisher.publish(
            regarding=MODEL, event_type="Normal", reason="Created", action="Apply", message=message
        )


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_event_says_what_happened_to_what(scene: Scene) -> None:
    await scene.say()

    [event] = scene.api.created
    assert event["note"] == "Created Deployment d"
    assert (event["type"], event["reason"], event["action"]) == ("Normal", "Created", "Apply")
    assert event["eventTime"] == "2026-01-01T00:00:00.000000Z"
    assert event["regarding"] == {
        "apiVersion": "tfserving.dev/v1alpha1",
        "kind": "ServedModel",
        "namespace": "ns",
        "name": "m",
        "uid": "u",
        "resourceVersion": "5",
    }
    assert event["metadata"]["namespace"] == "ns"


async def test_same_event_is_not_written_twice(scene: Scene) -> None:
    for _ in range(20):
        await scene.say(after_seconds=1)

    assert len(scene.api.created) == 1
    assert scene.api.patched == []


async def test_repeated_event_is_counted_once_a_minute(scene: Scene) -> None:
    for _ in range(7):
        await scene.say(after_seconds=20)

    assert [patch["series"]["count"] for _, patch in scene.api.patched] == [4, 7]
    assert {ref for ref, _ in scene.api.patched} == {ObjectRef.of(scene.api.created[0])}


async def test_other_message_is_another_event(scene: Scene) -> None:
    await scene.say("scaled from 1 to 2")
    await scene.say("scaled from 2 to 3")

    assert len(scene.api.created) == 2


async def test_event_that_the_server_forgot_is_written_anew(scene: Scene) -> None:
    await scene.say()
    scene.api.patch_error = NotFound("gone")

    await scene.say(after_seconds=61)

    assert len(scene.api.created) == 2


async def test_event_that_was_refused_is_dropped_and_may_come_later(scene: Scene) -> None:
    scene.api.create_error = Rejected("namespace is being terminated", reason="Forbidden")
    await scene.say()
    scene.api.create_error = None

    await scene.say()

    assert len(scene.api.created) == 1


@pytest.mark.parametrize("message", ["x" * 5000, "x" * 1025, "ä" * 600, "xä" * 600, "…" * 400, "x" * 1023 + "…"])
async def test_long_message_is_cut_to_the_bytes_that_the_server_takes(scene: Scene, message: str) -> None:
    await scene.say(message)

    note = scene.api.created[0]["note"]
    assert 1020 <= len(note.encode()) <= 1024
    assert message.startswith(note.removesuffix("…"))


@pytest.mark.parametrize("message", ["x" * 1024, "ä" * 512])
async def test_a_message_that_just_fits_is_whole(scene: Scene, message: str) -> None:
    await scene.say(message)

    assert scene.api.created[0]["note"] == message
