"""The scaling loop and what goes wrong: a defect about one model holds that one alone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from tests.reconcile.fake_time import in_fake_time
from tests.reconcile.scaling_scenes import (
    Fleet,
    Script,
    key_of,
    metric,
    raw_model,
    running,
    scaled_spec,
)
from tfserving_operator.api.autoscaling import PoolCapacity
from tfserving_operator.api.conditions import Reason
from tfserving_operator.autoscaling.decision import Decision, ScalingRule
from tfserving_operator.autoscaling.observation import ScalingObservation
from tfserving_operator.autoscaling.state import ScalingState

LOG = "tfserving_operator.reconcile.scaling_loop"


def errors(what: str) -> float:
    return metric("tfserving_operator_scaling_errors_total", what=what)


async def test_a_failing_decision_holds_one_model_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    script = Script(fails_at=frozenset({13}))
    fleet = running("a", "b", script=script)
    fleet.put(raw_model("a", scaled_spec(replicas=13)))
    before = errors("decision")
    with caplog.at_level(logging.ERROR, logger=LOG):
        await fleet.tick(4)
    view = fleet.shown("a")
    assert (view.replicas, view.active.reason) == (None, Reason.DECISION_FAILED)
    assert fleet.shown("b").replicas == {"default": 2}
    assert len(caplog.records) == 1
    assert errors("decision") - before == 4
    assert fleet.news.count("a") == 1


class Unknowable(ScalingState):
    """A state that nothing can be told of."""

    __slots__ = ()

    def capacities(self) -> list[PoolCapacity]:
        raise ZeroDivisionError("a defect")


def without_metadata(fleet: Fleet) -> None:
    key = key_of("a")
    metadata = {name: value for name, value in fleet.models[key]["metadata"].items() if name != "uid"}
    fleet.models[key] = fleet.models[key] | {"metadata": metadata}


def without_readable_children(fleet: Fleet) -> None:
    fleet.cache.unreadable.add("a")
    fleet.cache.run("a", default=2)


@pytest.mark.parametrize("defect", [without_metadata, without_readable_children], ids=["reading", "looking"])
async def test_a_defect_about_one_model_holds_that_one_alone(
    defect: Callable[[Fleet], None], caplog: pytest.LogCaptureFixture
) -> None:
    script = Script(wanted=3)
    fleet = running("a", "b", script=script)
    await fleet.tick()
    defect(fleet)
    script.wanted = 4
    before = errors("decision")
    with caplog.at_level(logging.ERROR, logger=LOG):
        await fleet.tick(3)
    view = fleet.board.view(key_of("a"), uid="uid-a")
    assert view is not None
    assert (view.replicas, view.active.reason) == (None, Reason.DECISION_FAILED)
    assert fleet.shown("b").replicas == {"default": 4}
    assert (len(caplog.records), errors("decision") - before, fleet.news.count("a")) == (1, 3, 2)


class ReadOnce(dict[str, Any]):
    """A ServedModel whose status cannot be read again, once its spec was read."""

    reads = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.reads += key == "status"
        return super().get(key, default) if self.reads <= 1 else 1 / 0


async def test_a_model_that_cannot_be_taken_up_is_held_alone() -> None:
    fleet = running("a", "b", script=Script(wanted=4))
    raw = fleet.models[key_of("a")]
    fleet.models[key_of("a")] = ReadOnce(raw | {"status": {}})
    await fleet.tick(3)
    assert fleet.shown("a").active.reason is Reason.DECISION_FAILED
    assert fleet.shown("b").replicas == {"default": 4}
    fleet.models[key_of("a")] = raw
    await fleet.tick()
    assert fleet.shown("a").replicas == {"default": 4}


async def test_a_decision_that_cannot_be_told_holds_one_model_alone() -> None:
    def decide(observation: ScalingObservation, state: ScalingState, *, now: datetime) -> tuple[Decision, ScalingState]:
        bad = observation.replicas == 13
        return Decision(replicas={"default": 4}, rule=ScalingRule.FORECAST, message=""), Unknowable() if bad else state

    fleet = running("a", "b")
    fleet.decide = decide
    fleet.restarted()
    fleet.put(raw_model("a", scaled_spec(replicas=13)))
    await fleet.tick(200)
    assert fleet.shown("a").active.reason is Reason.DECISION_FAILED
    assert fleet.shown("b").replicas == {"default": 4}


async def test_a_model_recovers_from_a_failed_decision() -> None:
    script = Script(fails_at=frozenset({2}))
    fleet = running("a", script=script)
    await fleet.tick(2)
    script.fails_at = frozenset()
    await fleet.tick()
    view = fleet.shown("a")
    assert (view.replicas, view.active.reason) == ({"default": 2}, Reason.SCALING_POLICY_ACTIVE)


async def test_a_decision_that_fails_again_is_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    script = Script()
    fleet = running("a", script=script)
    with caplog.at_level(logging.ERROR, logger=LOG):
        for fails_at in (frozenset({2}), frozenset[int](), frozenset({2})):
            script.fails_at = fails_at
            await fleet.tick()
    assert len(caplog.records) == 2


@in_fake_time
async def test_a_failed_read_is_counted_and_the_loop_goes_on() -> None:
    fleet = running("a", script=Script(wanted=5))
    fleet.signals.failure = RuntimeError("a defect")
    before = errors("tick")
    task = asyncio.create_task(fleet.loop.run(2.0))
    await asyncio.sleep(5)
    assert errors("tick") - before == 3
    assert fleet.view("a") is None
    fleet.signals.failure = None
    await asyncio.sleep(2)
    assert fleet.shown("a").replicas == {"default": 5}
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
