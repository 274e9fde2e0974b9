"""Controllers on a cluster in memory, and what is asked of them again and again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tests.reconcile.world import KEY, NOW, Settings, World, served_model
from tfserving_operator.api.refs import ObjectRef
from tfserving_operator.reconcile.controller import Controller
from tfserving_operator.reconcile.scaling_board import ScalingBoard

FETCHED = {"name": "digits", "source": {"uri": "s3://bucket/digits"}}
CLAIMED = {"name": "digits", "source": {"uri": "pvc://claim/digits"}}
DEPLOYMENT = ObjectRef("apps/v1", "Deployment", "models", "digits-default")


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def controller_of(world: World, clock: Clock | None = None, board: ScalingBoard | None = None) -> Controller:
    return Controller(
        kube=world,
        cache=world,
        models=world.served_model,
        model_service=world,
        rest_model_status=world,
        settings=Settings(),
        events=world,
        clock=clock or Clock(),
        board=board,
    )


async def serving(spec: dict[str, Any] | None = None) -> tuple[World, Controller, Clock]:
    """A ServedModel that serves, with everything settled and nothing left to do."""
    world, clock = World(served_model(spec)), Clock()
    controller = controller_of(world, clock)
    await settle(world, controller, clock)
    world.writes.clear()
    world.events.clear()
    world.reloads.clear()
    return world, controller, clock


async def settle(world: World, controller: Controller, clock: Clock) -> None:
    for _ in range(4):
        await controller.reconcile(KEY)
        world.roll_out()
        clock.advance(20)


def change_spec(world: World, spec: dict[str, Any]) -> None:
    assert world.model is not None
    metadata = world.model["metadata"] | {"generation": world.model["metadata"]["generation"] + 1}
    world.model = world.model | {"spec": spec, "metadata": metadata}
    world.bump(world.model)


def condition(world: World, name: str) -> dict[str, Any]:
    assert world.model is not None
    found = [c for c in world.model["status"]["conditions"] if c["type"] == name]
    assert found, f"no condition {name}"
    result: dict[str, Any] = found[0]
    return result


def has_condition(world: World, name: str) -> bool:
    assert world.model is not None
    return any(c["type"] == name for c in world.model["status"]["conditions"])
