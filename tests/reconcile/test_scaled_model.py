"""What the loop remembers of one ServedModel: its wishes from tick to tick, over restarts and changes of mode."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from tests.autoscaling.scenes import signals
from tests.reconcile.scaling_scenes import Fleet, Script, key_of, raw_model, scaled_spec
from tfserving_operator.api.autoscaling import AutoscalingMode, AutoscalingStatus, PoolCapacity
from tfserving_operator.api.conditions import Reason
from tfserving_operator.autoscaling.decide import decide_replicas
from tfserving_operator.autoscaling.decision import Decision, ScalingRule
from tfserving_operator.autoscaling.observation import ScalingObservation
from tfserving_operator.autoscaling.signals import PoolSignals, SignalState
from tfserving_operator.autoscaling.state import ScalingState

TARGET = {"policy": "HPA", "target": {"value": 10}}
RECOMMEND = scaled_spec(replicas=2, autoscaling=TARGET | {"mode": "Recommend"})
AUTO = scaled_spec(replicas=2, autoscaling=TARGET | {"mode": "Auto"})
LOST = PoolSignals(state=SignalState.PROMETHEUS_UNAVAILABLE, message="connection refused")


def loaded(fleet: Fleet, rate: float) -> None:
    fleet.signals.answer = lambda _key, now, ready: signals(rate, at=now, covered=ready)


def blind(fleet: Fleet) -> None:
    fleet.signals.answer = lambda _key, _now, _ready: LOST


def rules(fleet: Fleet) -> list[str]:
    return [decision.rule for decision in fleet.shown("a").decisions]


async def recommending() -> Fleet:
    """Two replicas run, and four are recommended."""
    fleet = Fleet(raw_model("a", RECOMMEND))
    fleet.cache.run("a", default=2)
    loaded(fleet, 40)
    await fleet.tick(40)
    assert fleet.shown("a").replicas == {"default": 4}
    fleet.news.clear()
    return fleet


async def test_a_recommendation_stands_while_the_load_is_not_known() -> None:
    fleet = await recommending()
    blind(fleet)
    await fleet.tick(2)
    assert fleet.shown("a").replicas == {"default": 4}
    loaded(fleet, 40)
    await fleet.tick(2)
    assert (rules(fleet), fleet.news) == (["HPAFormula"], [])


@pytest.mark.parametrize(("rate", "recommended"), [(40, 4), (8, 1)], ids=["more than runs", "fewer than run"])
async def test_holding_after_a_restart_takes_no_recommendation_back(rate: float, recommended: int) -> None:
    status = {"autoscaling": {"recommended": [{"name": "default", "replicas": recommended}]}}
    fleet = Fleet(raw_model("a", RECOMMEND) | {"status": status})
    fleet.cache.run("a", default=2)
    loaded(fleet, rate)
    for _ in range(300):
        await fleet.tick()
        assert fleet.shown("a").replicas == {"default": recommended}
    assert rules(fleet) == []


async def test_a_rollout_takes_no_recommendation_back() -> None:
    status = {"autoscaling": {"recommended": [{"name": "default", "replicas": 1}]}}
    fleet = Fleet(raw_model("a", RECOMMEND) | {"status": status})
    fleet.cache.run("a", default=2)
    loaded(fleet, 8)
    await fleet.tick(300)
    fleet.cache.roll_out("a")
    await fleet.tick(5)
    fleet.cache.run("a", default=2)
    await fleet.tick(300)
    assert rules(fleet) == []


async def test_after_a_hold_a_recommendation_follows_the_load_at_once() -> None:
    status = {"autoscaling": {"recommended": [{"name": "default", "replicas": 1}]}}
    fleet = Fleet(raw_model("a", RECOMMEND) | {"status": status})
    fleet.cache.run("a", default=2)
    loaded(fleet, 8)
    await fleet.tick(60)
    loaded(fleet, 40)
    await fleet.tick(40)
    assert fleet.shown("a").replicas == {"default": 4}
    loaded(fleet, 8)
    await fleet.tick(300)
    assert fleet.shown("a").replicas == {"default": 1}


async def test_without_telemetry_a_recommendation_still_follows_what_is_seen_already() -> None:
    fleet = await recommending()
    fleet.signals.answer = lambda _key, now, _ready: signals(
        90, at=now, covered=1, state=SignalState.REPLICAS_MISSING, message="one is not scraped"
    )
    await fleet.tick(40)
    replicas = fleet.shown("a").replicas
    assert replicas is not None
    assert replicas["default"] > 4


async def test_a_first_recommendation_is_what_runs_until_more_is_known() -> None:
    fleet = Fleet(raw_model("a", RECOMMEND))
    fleet.cache.run("a", default=2)
    blind(fleet)
    await fleet.tick(3)
    assert fleet.shown("a").replicas == {"default": 2}


async def test_what_auto_holds_follows_what_runs() -> None:
    fleet = Fleet(raw_model("a", AUTO))
    fleet.cache.run("a", default=5)
    blind(fleet)
    await fleet.tick(3)
    assert fleet.shown("a").replicas == {"default": 5}
    assert rules(fleet) == []


async def test_auto_does_not_take_recommendations_for_changes_that_it_made() -> None:
    fleet = await recommending()
    assert rules(fleet) == ["HPAFormula"]
    fleet.put(raw_model("a", AUTO))
    loaded(fleet, 20)
    await fleet.tick()
    assert fleet.shown("a").mode is AutoscalingMode.AUTO
    assert rules(fleet) == []


async def test_a_changed_spec_keeps_the_decisions_of_its_mode() -> None:
    fleet = await recommending()
    fleet.put(raw_model("a", RECOMMEND | {"replicas": 3}))
    await fleet.tick()
    assert rules(fleet) == ["HPAFormula"]


# Over restarts, holds and changes of the spec


CAPACITY = {"name": "default", "requestsPerSecond": 40.0, "confidence": 0.78}


def stands(kind: str, status: str, reason: str) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": "as before",
        "lastTransitionTime": "2026-01-02T03:00:00Z",
        "observedGeneration": 1,
    }


def restarted(*, spec: dict[str, Any] = AUTO, script: Script | None = None, **status: Any) -> Fleet:
    fleet = Fleet(raw_model("a", spec) | {"status": status}, decide=script)
    fleet.cache.run("a", default=2)
    return fleet


async def test_what_was_learned_outlasts_a_restart() -> None:
    learned: list[float] = []

    def spy(observation: ScalingObservation, state: ScalingState, *, now: datetime) -> tuple[Decision, ScalingState]:
        learned.extend(capacity.requests_per_second for capacity in state.capacities())
        return decide_replicas(observation, state, now=now)

    fleet = Fleet(raw_model("a", AUTO) | {"status": {"autoscaling": {"capacities": [CAPACITY]}}}, decide=spy)
    fleet.cache.run("a", default=2)
    await fleet.tick()
    assert learned == [pytest.approx(40.0, rel=0.05)]


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [("ScalingActive", "False", "StaleSamples"), ("ScalingLimited", "True", "MaxReplicas")],
)
async def test_conditions_are_not_said_anew_at_a_restart(kind: str, status: str, reason: str) -> None:
    fleet = restarted(script=Script(), conditions=[stands(kind, status, reason)])
    await fleet.tick()
    view = fleet.shown("a")
    shown = {"ScalingActive": view.active, "ScalingLimited": view.limited}[kind]
    assert shown is not None
    assert (shown.reason, shown.message) == (reason, "as before")
    await fleet.tick(20)
    assert fleet.shown("a") != view


async def test_a_changed_spec_shows_its_conditions_at_once() -> None:
    fleet = restarted(script=Script())
    await fleet.tick()
    assert fleet.shown("a").active.message == "policy HPA sets the replicas"
    fleet.put(raw_model("a", scaled_spec(replicas=2)))
    await fleet.tick()
    assert fleet.shown("a").active.message == "policy Fixed sets the replicas"


async def test_after_a_hold_changes_count_from_what_runs() -> None:
    fleet = restarted(script=Script(wanted=5))
    await fleet.tick()
    fleet.put(raw_model("a", AUTO | {"paused": True}))
    await fleet.tick()
    fleet.cache.run("a", default=3)
    fleet.put(raw_model("a", AUTO))
    await fleet.tick()
    newest = fleet.shown("a").decisions[0]
    assert (newest.before, newest.after) == ("default 3", "default 5")


async def told_capacities(per_second: Sequence[float]) -> tuple[Fleet, list[float]]:
    """Learn one number a tick; return what the board tells at each."""
    numbers = iter(per_second)

    def learning(
        observation: ScalingObservation, state: ScalingState, *, now: datetime
    ) -> tuple[Decision, ScalingState]:
        known = PoolCapacity(name="default", requests_per_second=next(numbers), confidence=0.9)
        decision = Decision(replicas={"default": 2}, rule=ScalingRule.FORECAST, message="as wanted")
        return decision, ScalingState.restored(AutoscalingStatus(capacities=[known]), now=now)

    fleet = Fleet(raw_model("a", AUTO) | {"status": {"autoscaling": {"capacities": [CAPACITY]}}}, decide=learning)
    fleet.cache.run("a", default=2)
    told = []
    for _ in per_second:
        await fleet.tick()
        told.append(fleet.shown("a").capacities[0].requests_per_second)
    return fleet, told


async def test_what_is_learned_is_told_by_itself_after_five_minutes() -> None:
    fleet, told = await told_capacities([80.0] * 200)
    assert told[:150] == [40.0] * 150
    assert told[150:] == pytest.approx([80.0] * 50, rel=0.05)
    assert len(fleet.news) == 2


async def test_what_is_learned_is_not_told_while_it_moves_little() -> None:
    fleet, told = await told_capacities([41.0] * 400)
    assert set(told) == {40.0}
    assert len(fleet.news) == 1


@pytest.mark.parametrize("confidence", [0.1, 0.4, 0.6, 0.9, 1.0])
async def test_what_stands_in_status_is_not_told_weaker_after_a_restart(confidence: float) -> None:
    known = {"name": "default", "requestsPerSecond": 40.0, "confidence": confidence}
    fleet = restarted(autoscaling={"capacities": [known]})
    blind(fleet)
    await fleet.tick(3)
    fleet.put(fleet.models[key_of("a")] | {"spec": AUTO | {"paused": True}})
    await fleet.tick(200)
    assert fleet.shown("a").active.reason is Reason.PAUSED_BY_USER
    assert list(fleet.shown("a").capacities) == [PoolCapacity.model_validate(known)]


async def test_what_is_learned_is_looked_at_once_in_five_minutes() -> None:
    looks = 0

    class Counted(ScalingState):
        __slots__ = ()

        def capacities(self) -> list[PoolCapacity]:
            nonlocal looks
            looks += 1
            return []

    def decide(observation: ScalingObservation, state: ScalingState, *, now: datetime) -> tuple[Decision, ScalingState]:
        return Decision(replicas={"default": 2}, rule=ScalingRule.FORECAST, message="as wanted"), Counted()

    fleet = Fleet(raw_model("a", AUTO), decide=decide)
    fleet.cache.run("a", default=2)
    await fleet.tick(600)
    assert looks == 3


async def test_replicas_that_were_decided_and_not_written_yet_are_not_taken_back_without_telemetry() -> None:
    fleet = Fleet(raw_model("a", AUTO))
    fleet.cache.run("a", default=2)
    loaded(fleet, 40)
    await fleet.tick(40)
    assert fleet.shown("a").replicas == {"default": 4}
    blind(fleet)
    await fleet.tick(2)
    assert fleet.shown("a").replicas == {"default": 4}
