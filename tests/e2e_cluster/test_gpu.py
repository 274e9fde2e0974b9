from __future__ import annotations

from pathlib import Path

from e2e.cluster.gpu import deviceplugin_pb2 as api
from e2e.cluster.gpu.inventory import Inventory
from e2e.cluster.gpu.plugin import allocate, describe_devices


def test_an_inventory_is_read_as_it_was_written(tmp_path: Path) -> None:
    inventory = Inventory(count=4, unhealthy=frozenset({1, 3}))

    inventory.write(tmp_path / "gpus.json")

    assert Inventory.read(tmp_path / "gpus.json") == inventory


def test_broken_gpus_are_reported_unhealthy() -> None:
    devices = describe_devices(Inventory(count=3, unhealthy=frozenset({1})))

    assert [(device.ID, device.health) for device in devices] == [
        ("GPU-0", "Healthy"),
        ("GPU-1", "Unhealthy"),
        ("GPU-2", "Healthy"),
    ]


def test_each_container_is_told_its_own_gpus() -> None:
    asked = [api.ContainerAllocateRequest(devices_ids=ids) for ids in (["GPU-0", "GPU-2"], ["GPU-1"])]

    answer = allocate(api.AllocateRequest(container_requests=asked))

    told = [response.envs["NVIDIA_VISIBLE_DEVICES"] for response in answer.container_responses]
    assert told == ["GPU-0,GPU-2", "GPU-1"]
