"""Namespaces in which the operator has lost, or not yet got, its rights."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.reconcile.fake_time import in_fake_time
from tfserving_operator.__main__ import wait_for_rights
from tfserving_operator.clients.errors import ClientError, Rejected, Unavailable
from tfserving_operator.handlers.namespaces import readable, until_others_are_readable

FORBIDDEN = Rejected("forbidden", reason="Forbidden")


class Kube:
    """Answers lists in a namespace with what stands for it; an empty list where nothing does."""

    def __init__(self, **answers: ClientError) -> None:
        self.answers = answers

    async def list_page(self, _: Any, *, namespace: str, limit: int) -> None:
        assert limit == 1
        if namespace in self.answers:
            raise self.answers[namespace]


async def test_only_what_is_forbidden_is_left_out() -> None:
    kube: Any = Kube(b=FORBIDDEN)
    assert await readable(kube, ("a", "b", "c")) == ("a", "c")


@pytest.mark.parametrize("unknown", [Unavailable("no answer"), Rejected("who are you", reason="Unauthorized")])
async def test_what_cannot_be_known_is_no_loss_of_rights(unknown: ClientError) -> None:
    kube: Any = Kube(a=FORBIDDEN, b=unknown)
    with pytest.raises(type(unknown)):
        await readable(kube, ("a", "b"))


@pytest.mark.parametrize(
    ("watched", "then"),
    [(("a", "b"), {"b": FORBIDDEN}), (("a",), {}), (("a", "b"), {"a": FORBIDDEN, "b": FORBIDDEN})],
    ids=["lost", "regained", "all lost"],
)
def test_it_ends_when_other_namespaces_may_be_read(watched: tuple[str, ...], then: dict[str, ClientError]) -> None:
    @in_fake_time
    async def look() -> None:
        kube: Any = Kube(**{name: FORBIDDEN for name in ("a", "b") if name not in watched})
        task = asyncio.create_task(until_others_are_readable(kube, ("a", "b"), watched))
        await asyncio.sleep(600)
        kube.answers = {**kube.answers, "a": Unavailable("no answer")}
        await asyncio.sleep(600)
        assert not task.done()

        kube.answers = then
        await asyncio.wait_for(task, 60)

    look()


def test_without_any_rights_it_waits_for_some(caplog: pytest.LogCaptureFixture) -> None:
    @in_fake_time
    async def wait() -> None:
        kube: Any = Kube(a=FORBIDDEN, b=FORBIDDEN)
        task = asyncio.create_task(wait_for_rights(kube, ("a", "b"), asyncio.Event()))
        await asyncio.sleep(60)
        assert not task.done()
        assert [record.message for record in caplog.records] == [
            "none of the namespaces to watch may be read (a, b), waiting for rights in one"
        ]

        del kube.answers["b"]
        assert await task == ("b",)

    wait()


async def test_told_to_stop_it_waits_no_longer() -> None:
    kube: Any = Kube(a=FORBIDDEN)
    stop = asyncio.Event()
    stop.set()
    assert await wait_for_rights(kube, ("a",), stop) == ()
