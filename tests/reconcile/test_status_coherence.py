"""Whatever happens to a ServedModel, the parts of its status never contradict each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.reconcile.scenes import CLAIMED, Clock, change_spec, controller_of
from tests.reconcile.world import KEY, SCHEDULED, World, served_model, version
from tfserving_operator.clients.model_service import Unknown, VersionState

Step = Callable[[World], None]

NOT_READY = {"type": "Ready", "status": "False"}
LOADING = {"conditions": [SCHEDULED, NOT_READY]}
NO_IMAGE = LOADING | {
    "containerStatuses": [{"name": "server", "image": "no:1", "state": {"waiting": {"reason": "ErrImagePull"}}}]
}


def spec_becomes(**fields: Any) -> Step:
    def change(world: World) -> None:
        assert world.model is not None
        change_spec(world, world.model["spec"] | fields)

    return change


def servers_say(*statuses: Any) -> Step:
    def answer(world: World) -> None:
        world.answers = {"digits": statuses[0] if isinstance(statuses[0], Unknown) else tuple(statuses)}

    return answer


def one_pod_gets_stuck(world: World) -> None:
    if world.cached_pods:
        world.cached_pods[0]["status"] = dict(LOADING)


def pods_are_gone(world: World) -> None:
    world.cached_pods = []


STEPS: dict[str, Step] = {
    "pods are rolled out": World.roll_out,
    "pods load": lambda world: world.fail_pods(LOADING),
    "no image": lambda world: world.fail_pods(NO_IMAGE),
    "one pod is stuck": one_pod_gets_stuck,
    "pods are gone": pods_are_gone,
    "three replicas": spec_becomes(replicas=3),
    "no replica": spec_becomes(replicas=0),
    "two pools": spec_becomes(pools=[{"name": "gpu"}, {"name": "default", "replicas": {"fixed": 1}}]),
    "another pool": spec_becomes(pools=[{"name": "gpu"}]),
    "other batching": spec_becomes(batching={"maxBatchSize": 8}),
    "paused": spec_becomes(paused=True),
    "not paused": spec_becomes(paused=False),
    "unreadable": spec_becomes(models=[]),
    "readable": spec_becomes(models=[CLAIMED]),
    "version 1": servers_say(version(1)),
    "version 2 fails": servers_say(version(2, VersionState.END, error="corrupt"), version(1)),
    "silent servers": servers_say(Unknown("deadline exceeded")),
}


@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=10))
def test_the_parts_of_a_status_agree(steps: Sequence[str]) -> None:
    asyncio.run(go_through(steps))


async def go_through(steps: Sequence[str]) -> None:
    world, clock = World(served_model({"models": [CLAIMED]})), Clock()
    controller = controller_of(world, clock)
    for step in ["version 1", "pods are rolled out", *steps]:
        STEPS[step](world)
        for _ in range(2):
            await controller.reconcile(KEY)
            assert world.model is not None
            assert_coherent(world.model["status"], world.model["metadata"]["generation"])
            clock.advance(20)


def assert_coherent(status: dict[str, Any], generation: int) -> None:
    conditions = {condition["type"]: condition for condition in status["conditions"]}
    is_true = {name: condition["status"] == "True" for name, condition in conditions.items()}

    assert status["observedGeneration"] == generation
    assert {condition["observedGeneration"] for condition in conditions.values()} == {generation}
    assert (status["reason"], status["message"]) in {(c["reason"], c["message"]) for c in conditions.values()}

    assert status["readySummary"] == f"{status['readyReplicas']}/{status['desiredReplicas']}"
    pools = status.get("pools", [])
    assert status["readyReplicas"] == sum(pool["ready"] for pool in pools)
    assert status["desiredReplicas"] == sum(pool["desired"] for pool in pools)
    assert status["poolSummary"] == ", ".join(f"{pool['name']} {pool['ready']}/{pool['desired']}" for pool in pools)

    if is_true["Ready"]:
        assert status["readyReplicas"] > 0 or status["desiredReplicas"] == 0
    if conditions["Progressing"]["reason"] == "UpToDate":
        assert all(pool["ready"] >= pool["desired"] for pool in pools)
    assert is_true.get("Reconciling", False) or not is_true["Progressing"]
    # kstatus (Flux, kpt) reads Ready without Reconciling and Stalled as: the update is done.
    if is_true["Ready"] and not (is_true.get("Reconciling", False) or is_true.get("Stalled", False)):
        assert conditions["Progressing"]["reason"] in {"UpToDate", "PausedByUser"}
    assert not (is_true.get("Reconciling", False) and is_true.get("Stalled", False))
    assert not is_true.get("Stalled", False) or is_true["Degraded"]
