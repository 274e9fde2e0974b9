from __future__ import annotations

from tests.reconcile.scenes import (
    CLAIMED,
    DEPLOYMENT,
    Clock,
    change_spec,
    condition,
    controller_of,
    has_condition,
    serving,
    settle,
)
from tests.reconcile.world import KEY, World


async def test_from_create_to_ready_takes_one_write_a_child_and_two_of_status() -> None:
    world, clock = World(), Clock()
    controller = controller_of(world, clock)
    await controller.reconcile(KEY)
    world.roll_out()
    clock.advance(20)
    for _ in range(3):
        await controller.reconcile(KEY)
        clock.advance(20)
    assert sorted(write.split()[0] for write in world.writes) == ["apply"] * 7 + ["status"] * 2
    assert len(world.writes) == len(set(world.writes) - {"status"}) + 2
    assert condition(world, "Ready")["status"] == "True"
    assert condition(world, "Ready")["message"] == "1 of 1 replicas serve digits@1"
    assert condition(world, "Progressing")["reason"] == "UpToDate"
    assert condition(world, "Degraded")["status"] == "False"
    assert [event[:2] for event in world.events] == [("Normal", "Created"), ("Normal", "Serving")]
    assert not has_condition(world, "Reconciling")


async def test_a_quiet_model_costs_no_write_and_no_event() -> None:
    world, controller, clock = await serving()
    for _ in range(20):
        await controller.reconcile(KEY)
        clock.advance(15)
    assert (world.writes, world.events) == ([], [])


async def test_a_restarted_operator_writes_nothing() -> None:
    world, _, clock = await serving()
    await controller_of(world, clock).reconcile(KEY)
    assert world.writes == []


async def test_pods_come_after_what_they_refer_to() -> None:
    world = World()
    await controller_of(world).reconcile(KEY)
    kinds = [write.split()[1] for write in world.writes if write != "status"]
    assert kinds.index("Deployment") > max(i for i, kind in enumerate(kinds) if kind == "ConfigMap")


# Changes


async def test_a_scale_up_keeps_ready_true() -> None:
    world, controller, _ = await serving()
    assert world.model is not None
    change_spec(world, world.model["spec"] | {"replicas": 3})
    await controller.reconcile(KEY)
    assert world.objects[DEPLOYMENT]["spec"]["replicas"] == 3
    assert condition(world, "Ready")["status"] == "True"
    assert condition(world, "Ready")["message"] == "1 of 3 replicas serve digits@1"
    assert condition(world, "Progressing")["status"] == "True"
    assert condition(world, "Reconciling")["status"] == "True"
    assert condition(world, "Degraded")["status"] == "False"


async def test_observed_generation_is_that_of_the_resource() -> None:
    world, controller, _ = await serving()
    assert world.model is not None
    change_spec(world, world.model["spec"])
    await controller.reconcile(KEY)
    assert world.model["status"]["observedGeneration"] == 2


async def test_labels_on_the_resource_write_nothing() -> None:
    world, controller, _ = await serving()
    assert world.model is not None
    world.model = world.model | {"metadata": world.model["metadata"] | {"labels": {"a": "b"}}}
    await controller.reconcile(KEY)
    assert world.writes == []


async def test_a_pool_that_left_the_spec_serves_until_the_others_are_ready() -> None:
    world, controller, clock = await serving()
    assert world.model is not None
    change_spec(world, world.model["spec"] | {"pools": [{"name": "gpu"}]})
    await controller.reconcile(KEY)
    assert DEPLOYMENT in world.objects
    assert "kept until" in condition(world, "Progressing")["message"]
    await settle(world, controller, clock)
    assert [ref.name for ref in world.objects if "default" in ref.name] == []
    assert ("Normal", "Deleted") in {event[:2] for event in world.events}


async def test_a_summary_of_many_pools_with_long_names_fits_into_status() -> None:
    pools = [[{"name": f"{prefix}-0123456789-{index:07}"} for index in range(8)] for prefix in ("a", "b")]
    world, controller, _ = await serving({"models": [CLAIMED], "pools": pools[0]})
    change_spec(world, {"models": [CLAIMED], "pools": pools[1]})
    await controller.reconcile(KEY)
    assert world.model is not None
    status = world.model["status"]
    assert [len(status["pools"]), len(status["poolSummary"])] == [16, 256]
    assert status["poolSummary"].startswith("b-0123456789-0000000 0/1, ")


async def test_a_pool_that_is_scaled_to_zero_serves_until_another_has_taken_over() -> None:
    world, controller, clock = await serving()
    assert world.model is not None
    pools = [{"name": "gpu"}, {"name": "default", "replicas": {"fixed": 0}}]
    change_spec(world, world.model["spec"] | {"pools": pools})
    await controller.reconcile(KEY)
    assert world.objects[DEPLOYMENT]["spec"]["replicas"] == 1
    assert "keeps 1 replicas until other pools have taken over" in condition(world, "Progressing")["message"]
    await settle(world, controller, clock)
    assert world.objects[DEPLOYMENT]["spec"]["replicas"] == 0
    assert condition(world, "Progressing")["reason"] == "UpToDate"


async def test_an_old_server_config_is_kept_while_a_pod_uses_it() -> None:
    world, controller, clock = await serving()
    assert world.model is not None
    before = {ref for ref in world.objects if "-server-" in ref.name}
    change_spec(world, world.model["spec"] | {"batching": {"maxBatchSize": 8}})
    await controller.reconcile(KEY)
    assert before < {ref for ref in world.objects if "-server-" in ref.name}
    await settle(world, controller, clock)
    assert not before & set(world.objects)


async def test_paused_leaves_children_alone_and_says_so() -> None:
    world, controller, _ = await serving()
    assert world.model is not None
    change_spec(world, world.model["spec"] | {"paused": True, "replicas": 5})
    world.objects[DEPLOYMENT]["metadata"]["labels"].clear()
    await controller.reconcile(KEY)
    assert world.writes == ["status"]
    assert condition(world, "Paused")["status"] == "True"


async def test_a_deleted_resource_is_left_to_the_garbage_collector() -> None:
    world, controller, _ = await serving()
    assert world.model is not None
    world.model = world.model | {"metadata": world.model["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert await controller.reconcile(KEY) is None
    assert world.writes == []
