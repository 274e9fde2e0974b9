"""What becomes of the replicas when mode Auto ends, on a cluster in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.reconcile.observed_scenes import view
from tests.reconcile.scaling_scenes import FETCHED, FIXED_POLICY
from tests.reconcile.scenes import Clock, change_spec, condition, controller_of
from tests.reconcile.world import KEY, World, served_model
from tfserving_operator.clients.errors import Unavailable
from tfserving_operator.reconcile.controller import Controller
from tfserving_operator.reconcile.scaling_board import ScalingBoard
from tfserving_operator.resources.names import POOL_LABEL

AUTO: dict[str, Any] = {
    "models": [FETCHED],
    "replicas": 1,
    "pools": [{"name": "gpu"}, {"name": "cpu"}],
    "autoscaling": FIXED_POLICY,
}
WITHOUT = {name: value for name, value in AUTO.items() if name != "autoscaling"}
OFF = AUTO | {"autoscaling": {"mode": "Off"}}
RECOMMEND = AUTO | {"autoscaling": FIXED_POLICY | {"mode": "Recommend"}}
LEAVING = pytest.mark.parametrize("spec", [OFF, WITHOUT, RECOMMEND], ids=["off", "removed", "recommend"])


class Auto:
    """A ServedModel whose replicas mode Auto sets, and what runs of it."""

    def __init__(self) -> None:
        self.world, self.clock, self.board = World(served_model(AUTO)), Clock(), ScalingBoard()
        self.controller: Controller = controller_of(self.world, self.clock, self.board)

    async def decide(self, **replicas: int) -> None:
        self.board.put(KEY, view(replicas=replicas))
        await self.reconcile()

    async def leave(self, spec: dict[str, Any]) -> None:
        self.board.keep_only(())
        change_spec(self.world, spec)
        await self.reconcile()

    async def reconcile(self, times: int = 3) -> None:
        for _ in range(times):
            await self.controller.reconcile(KEY)
            self.clock.advance(20)

    async def roll_out(self) -> None:
        self.world.roll_out()
        await self.reconcile()

    def by_hand(self, **replicas: int) -> None:
        for deployment in self.world.deployments():
            pool = deployment["metadata"]["labels"][POOL_LABEL]
            deployment["spec"]["replicas"] = replicas.get(pool, deployment["spec"]["replicas"])
            self.world.bump(deployment)

    @property
    def runs(self) -> Mapping[str, int]:
        return {each["metadata"]["labels"][POOL_LABEL]: each["spec"]["replicas"] for each in self.world.deployments()}


async def running(**replicas: int) -> Auto:
    auto = Auto()
    await auto.decide(**replicas)
    await auto.roll_out()
    assert auto.runs == replicas
    return auto


@LEAVING
async def test_what_runs_is_kept(spec: dict[str, Any]) -> None:
    auto = await running(gpu=0, cpu=4)
    await auto.leave(spec)
    assert auto.runs == {"gpu": 0, "cpu": 4}


@LEAVING
async def test_a_move_between_pools_goes_on_to_its_end_without_a_gap(spec: dict[str, Any]) -> None:
    auto = await running(gpu=4, cpu=0)
    await auto.decide(gpu=0, cpu=4)
    assert auto.runs == {"gpu": 4, "cpu": 4}
    await auto.leave(spec)
    assert auto.runs == {"gpu": 4, "cpu": 4}
    await auto.roll_out()
    assert auto.runs == {"gpu": 0, "cpu": 4}
    await auto.leave(spec | {"replicas": 2})
    await auto.roll_out()
    assert auto.runs == {"gpu": 2, "cpu": 0}


@LEAVING
async def test_replicas_that_were_decided_and_not_yet_written_into_status_are_kept(spec: dict[str, Any]) -> None:
    auto = await running(gpu=0, cpu=3)
    auto.world.failures["apply status"] = Unavailable("gone for a moment")
    with pytest.raises(Unavailable):
        await auto.decide(gpu=0, cpu=5)
    auto.world.roll_out()
    auto.controller = controller_of(auto.world, auto.clock, auto.board)
    await auto.leave(spec)
    assert auto.runs == {"gpu": 0, "cpu": 5}


@pytest.mark.parametrize("edit", [2, 7], ids=["fewer", "more"])
async def test_an_edit_of_kept_replicas_by_hand_is_undone(edit: int) -> None:
    auto = await running(gpu=0, cpu=4)
    await auto.leave(OFF)
    assert condition(auto.world, "ScalingActive")["reason"] == "ReplicasKept"
    auto.by_hand(cpu=edit)
    await auto.roll_out()
    assert auto.runs == {"gpu": 0, "cpu": 4}
    assert "cpu 4" in condition(auto.world, "ScalingActive")["message"]
