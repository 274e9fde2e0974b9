"""The scaling loop: what it looks at, what it leaves alone, and what it tells."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.autoscaling.scenes import signals
from tests.reconcile.scaling_scenes import Script, key_of, metric, raw_model, running, scaled_spec
from tests.reconcile.world import NOW
from tfserving_operator.api.autoscaling import AutoscalingMode
from tfserving_operator.api.conditions import Reason
from tfserving_operator.autoscaling.signals import PoolSignals, SignalState

OFF = {"mode": "Off"}
RECOMMEND = {"mode": "Recommend", "policy": "Fixed"}


# What it asks


@pytest.mark.parametrize("count", [0, 1, 60])
async def test_a_tick_reads_the_fleet_once_however_large_it_is(count: int) -> None:
    names = [f"m{number}" for number in range(count)]
    fleet = running(*names)
    await fleet.tick(3)
    assert [sorted(key.name for key in wishes) for wishes in fleet.signals.wishes] == [sorted(names)] * 3


async def test_every_model_gets_a_decision_from_its_own_load() -> None:
    script = Script()
    fleet = running("a", "b", script=script)
    rates = {key_of("a"): 5.0, key_of("b"): 7.0}
    fleet.signals.answer = lambda key, now, ready: signals(rates[key], at=now, covered=ready)
    await fleet.tick()
    assert [each.pools[0].signals.requests_per_second for each in script.seen] == [5.0, 7.0]


async def test_ready_replicas_are_wished_by_name_so_that_lost_scrapes_show() -> None:
    fleet = running("a")
    await fleet.tick()
    wish = fleet.signals.wishes[0][key_of("a")]
    assert wish.pools == {"default": 2}
    assert wish.ready_pods == {"default": frozenset({"a-default-0", "a-default-1"})}


async def test_pods_are_looked_at_again_only_when_something_changed() -> None:
    fleet = running("a")
    await fleet.tick(5)
    assert fleet.cache.looks == 1
    fleet.cache.run("a", default=3)
    await fleet.tick(5)
    assert fleet.cache.looks == 2


# What it tells


async def test_nothing_is_queued_when_nothing_changed() -> None:
    fleet = running("a", "b")
    await fleet.tick()
    fleet.news.clear()
    await fleet.tick(300)
    assert fleet.news == []


async def test_a_decision_is_queued_once_and_stands_on_the_board() -> None:
    script = Script()
    fleet = running("a", "b", script=script)
    await fleet.tick()
    fleet.news.clear()
    script.wanted = 5
    await fleet.tick()
    fleet.cache.run("a", default=5)
    fleet.cache.run("b", default=5)
    await fleet.tick(3)
    assert fleet.news == ["a", "b"]
    view = fleet.shown("a")
    assert view.replicas == {"default": 5}
    assert [(d.before, d.after, d.rule) for d in view.decisions] == [("default 2", "default 5", "Forecast")]


async def test_a_decision_that_is_not_carried_out_yet_is_told_once() -> None:
    fleet = running("a", script=Script(wanted=5))
    await fleet.tick(10)
    assert len(fleet.shown("a").decisions) == 1


async def test_the_board_keeps_the_newest_twenty_decisions() -> None:
    script = Script()
    fleet = running("a", script=script)
    for wanted in range(1, 31):
        script.wanted = wanted
        await fleet.tick()
    assert [d.after for d in fleet.shown("a").decisions] == [f"default {n}" for n in range(30, 10, -1)]


async def test_numbers_of_a_message_are_no_news() -> None:
    fleet = running("a")
    fleet.signals.answer = lambda _key, now, ready: PoolSignals(
        state=SignalState.STALE, message=f"as of {now}", at=now, replicas_covered=ready
    )
    await fleet.tick(30)
    assert len(fleet.news) == 1


# Which ServedModels


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"autoscaling": None}, id="without autoscaling"),
        pytest.param({"autoscaling": OFF}, id="off"),
        pytest.param({"autoscaling": {"mode": "Fastest"}}, id="invalid"),
    ],
)
async def test_who_does_not_scale_is_not_asked_for_and_not_on_the_board(spec: dict[str, Any]) -> None:
    fleet = running("a")
    await fleet.tick()
    assert fleet.view("a") is not None
    fleet.put(raw_model("a", {name: value for name, value in scaled_spec(**spec).items() if value is not None}))
    await fleet.tick()
    assert fleet.view("a") is None
    assert fleet.signals.wishes[-1] == {}


async def test_an_unreadable_spec_does_not_keep_others_from_being_scaled() -> None:
    fleet = running("bad", "good", script=Script(wanted=3))
    fleet.put(raw_model("bad", {"models": "none"}))
    await fleet.tick()
    assert fleet.shown("good").replicas == {"default": 3}


@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "being deleted"])
async def test_a_deleted_model_is_forgotten(is_gone: bool) -> None:
    fleet = running("a", "b")
    await fleet.tick()
    if is_gone:
        del fleet.models[key_of("a")]
    else:
        fleet.put(raw_model("a", scaled_spec(), deletionTimestamp="2026-01-02T03:04:05Z"))
    await fleet.tick()
    assert fleet.board.view(key_of("a"), uid="uid-a") is None
    assert list(fleet.signals.wishes[-1]) == [key_of("b")]


async def test_a_model_made_anew_under_its_name_starts_without_the_old_decisions() -> None:
    script = Script(wanted=5)
    fleet = running("a", script=script)
    await fleet.tick()
    assert len(fleet.shown("a").decisions) == 1
    fleet.models[key_of("a")] = raw_model("a", scaled_spec(replicas=2), uid="another")
    script.wanted = 2
    await fleet.tick()
    assert fleet.board.view(key_of("a"), uid="uid-a") is None
    assert fleet.shown("a").decisions == ()


async def test_a_changed_spec_counts_from_the_next_tick() -> None:
    fleet = running("a")
    await fleet.tick()
    fleet.put(raw_model("a", scaled_spec(replicas=7)))
    await fleet.tick()
    assert fleet.shown("a").replicas == {"default": 7}


async def test_status_alone_is_no_reason_to_read_the_spec_again() -> None:
    script = Script()
    fleet = running("a", script=script)
    await fleet.tick()
    fleet.models[key_of("a")] = fleet.models[key_of("a")] | {"status": {"replicas": 2}}
    await fleet.tick()
    assert script.seen[0].spec is script.seen[1].spec


# When replicas are held


async def test_auto_waits_until_autoscalers_were_listed() -> None:
    fleet = running("a", script=Script(wanted=5))
    fleet.autoscalers.known_since = None
    await fleet.tick(3)
    assert fleet.view("a") is None
    assert fleet.autoscalers.asked_since == [NOW] * 3
    fleet.autoscalers.known_since = datetime.max
    await fleet.tick()
    assert fleet.shown("a").replicas == {"default": 5}


async def test_auto_needs_a_list_that_is_younger_than_itself() -> None:
    fleet = running("a", script=Script(wanted=5), spec=scaled_spec(autoscaling=RECOMMEND))
    fleet.autoscalers.known_since = NOW.replace(tzinfo=None)
    await fleet.tick()
    fleet.put(raw_model("a", scaled_spec()))
    await fleet.tick()
    assert fleet.autoscalers.asked_since == [NOW + timedelta(seconds=2)]
    assert fleet.shown("a").mode is AutoscalingMode.RECOMMEND


async def test_recommend_asks_for_no_autoscalers() -> None:
    fleet = running("a", script=Script(wanted=5), spec=scaled_spec(autoscaling=RECOMMEND))
    fleet.autoscalers.known_since = None
    await fleet.tick()
    assert fleet.autoscalers.asked_since == []
    assert fleet.shown("a").replicas == {"default": 5}


@pytest.mark.parametrize("target", ["a", "a-default"], ids=["of the ServedModel", "of a Deployment"])
async def test_auto_holds_while_somebody_else_scales(target: str) -> None:
    script = Script(wanted=5)
    fleet = running("a", script=script)
    fleet.autoscalers.names = {target: "theirs"}
    await fleet.tick(3)
    view = fleet.shown("a")
    assert (view.replicas, view.active.reason) == (None, Reason.EXTERNAL_AUTOSCALER)
    assert "theirs" in view.active.message
    assert (script.seen, fleet.news) == ([], ["a"])
    fleet.autoscalers.names = {}
    await fleet.tick()
    assert fleet.shown("a").replicas == {"default": 5}


async def test_a_paused_model_is_held_and_goes_on_afterwards() -> None:
    fleet = running("a", script=Script(wanted=5), spec=scaled_spec(paused=True))
    await fleet.tick(3)
    view = fleet.shown("a")
    assert (view.replicas, view.active.reason, fleet.news) == (None, Reason.PAUSED_BY_USER, ["a"])
    fleet.put(raw_model("a", scaled_spec()))
    await fleet.tick()
    assert fleet.shown("a").replicas == {"default": 5}


async def test_a_paused_model_still_gets_recommendations() -> None:
    fleet = running("a", script=Script(wanted=5), spec=scaled_spec(paused=True, autoscaling=RECOMMEND))
    await fleet.tick()
    assert fleet.shown("a").replicas == {"default": 5}


async def test_others_have_their_turn_within_a_tick_of_a_large_fleet() -> None:
    fleet = running(*(f"m{number}" for number in range(100)))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(count())
    await fleet.loop.tick()
    task.cancel()
    assert turns >= 3


# Metrics


async def test_gauges_count_models_by_mode_and_load_and_forget_what_is_gone() -> None:
    fleet = running("a", "b")
    await fleet.tick()
    assert metric("tfserving_operator_scaling_models", mode="Auto", signals="Measured") == 2
    fleet.models.clear()
    await fleet.tick()
    assert metric("tfserving_operator_scaling_models", mode="Auto", signals="Measured") == 0
