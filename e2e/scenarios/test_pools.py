"""Pools and their nodes: GPUs first and CPUs for the rest, sidecars, nodes that are drained, a disk that is full."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from e2e.cluster import Cluster, ClusterOptions
from e2e.scenarios.conftest import write_models
from e2e.scenarios.fleet import Fleet
from e2e.scenarios.model_store import ModelStore, model_store
from e2e.scenarios.platform import PROJECT, Platform, install_operator, provide_model_server

CPU_NODE, GPU_NODE = "node-1", "node-2"
GPU_POOL = {"name": "gpu", "accelerator": {}}
DISK_BYTES = 64 * 2**20
"""What the volumes of a node's pods may hold together."""
SIDECAR = {
    "name": "beside",
    "command": ["bash", "-c", "sleep infinity & wait"],
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
}


@pytest.fixture(scope="module")
def two_nodes(request: pytest.FixtureRequest) -> Iterator[Platform]:
    """A cluster of its own, as the other scenarios count on there being no GPU: one node without and one with."""
    with Cluster.start(ClusterOptions(nodes=1, crds=(PROJECT / "crds",), disk_per_node_bytes=DISK_BYTES)) as cluster:
        cluster.add_node(GPU_NODE, gpus=1)
        image = provide_model_server(cluster, request.config.getoption("--server-image"))
        install_operator(cluster, "log.level=debug")
        yield Platform(cluster, image)


@pytest.fixture(scope="module")
def archives(two_nodes: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelStore]:
    directory = tmp_path_factory.mktemp("store")
    with model_store(directory, two_nodes.cluster.host_address) as store:
        write_models(store, tmp_path_factory.mktemp("models"))
        yield store


@pytest.fixture(scope="module")
def models(archives: ModelStore) -> list[dict[str, Any]]:
    return [model_of(archives, "good")]


def model_of(archives: ModelStore, name: str) -> dict[str, Any]:
    return {"name": "m", "source": {"uri": f"{archives.url}/{name}.tar.gz"}}


@pytest.fixture
def fleet(two_nodes: Platform, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """A namespace whose pods are gone when the next test wants the GPU."""
    fleet = two_nodes.new_fleet(request.node.name)
    yield fleet
    fleet.kubectl("delete", "servedmodels", "--all")
    fleet.kubectl("delete", "pods", "--all", "--grace-period=0", "--force")


def pool_of(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["labels"]["tfserving.dev/pool"])


def nodes_of(fleet: Fleet, pool: str) -> list[str]:
    return [pod["spec"].get("nodeName", "") for pod in fleet.pods("m") if pool_of(pod) == pool]


def visible_devices(fleet: Fleet, pool: str) -> str:
    """Return what the device plugin told a running server of its devices."""
    [pod] = [pod["metadata"]["name"] for pod in fleet.pods("m") if pool_of(pod) == pool]
    return fleet.kubectl(
        "exec", pod, "-c", "server", "--", "bash", "-c", "echo ${NVIDIA_VISIBLE_DEVICES:-none}"
    ).strip()


def nothing_drains(fleet: Fleet) -> bool:
    return not [pod for pod in fleet.list_objects("pods") if "deletionTimestamp" in pod["metadata"]]


def test_replicas_overflow_to_the_cpus_and_move_without_a_lost_request(
    fleet: Fleet, models: list[dict[str, Any]]
) -> None:
    overflow = [{**GPU_POOL, "replicas": {"max": 1}}, {"name": "cpu"}]
    fleet.serve("m", {"models": models, "pools": overflow, "replicas": 2})
    assert nodes_of(fleet, "gpu") == [GPU_NODE]
    assert len(nodes_of(fleet, "cpu")) == 1
    assert visible_devices(fleet, "gpu") not in ("none", "")
    assert visible_devices(fleet, "cpu") == "none"
    without_gpu = [{**GPU_POOL, "replicas": {"fixed": 0}}, {"name": "cpu"}]
    with fleet.keeps_serving("m", "m"):
        fleet.serve("m", {"models": models, "pools": without_gpu, "replicas": 2})
        assert nodes_of(fleet, "gpu") == []
        fleet.wait("the GPU is free", lambda: nothing_drains(fleet))
        fleet.serve("m", {"models": models, "pools": overflow, "replicas": 2})
        fleet.wait("all moved back", lambda: nothing_drains(fleet))
    assert nodes_of(fleet, "gpu") == [GPU_NODE]
    assert len(nodes_of(fleet, "cpu")) == 1


def test_a_second_replica_for_one_gpu_is_named_while_the_first_serves(
    fleet: Fleet, models: list[dict[str, Any]]
) -> None:
    fleet.serve("m", {"models": models, "pools": [GPU_POOL], "replicas": 1})
    with fleet.keeps_serving("m", "m"):
        fleet.serve("m", {"models": models, "pools": [GPU_POOL], "replicas": 2}, ready=False)
        condition = fleet.wait_condition("m", "Degraded", "True", reason="Unschedulable")
        print(f"no GPU left: {condition['message']}")
        assert "Insufficient nvidia.com/gpu" in condition["message"]
        assert "go on serving: 1" in condition["message"]
        assert fleet.condition("m", "Ready")["status"] == "True"
        assert "1 of 2 replicas" in fleet.condition("m", "Ready")["message"]


def test_a_sidecar_runs_beside_the_server_and_its_end_is_told(fleet: Fleet, models: list[dict[str, Any]]) -> None:
    def pools(**sidecar: Any) -> list[dict[str, Any]]:
        container = {**SIDECAR, "image": fleet.server_image, **sidecar}
        return [{"name": "default", "podTemplate": {"spec": {"containers": [container]}}}]

    fleet.serve("m", {"models": models, "pools": pools()})
    [pod] = fleet.pods("m")
    assert [status["name"] for status in pod["status"]["containerStatuses"] if status["ready"]] == ["beside", "server"]
    with fleet.keeps_serving("m", "m"):
        ends = pools(
            command=["bash", "-c", "echo no such upstream >&2; exit 3"],
            terminationMessagePolicy="FallbackToLogsOnError",
        )
        fleet.serve("m", {"models": models, "pools": ends}, ready=False)
        condition = fleet.wait_condition("m", "Degraded", "True", reason="CrashLoop")
        print(f"sidecar: {condition['message']}")
        assert "container beside ended with exit code 3: no such upstream" in condition["message"]


def test_a_drained_node_keeps_a_replica_until_others_can_run(fleet: Fleet, models: list[dict[str, Any]]) -> None:
    cluster = fleet.cluster
    selector = "--pod-selector=tfserving.dev/servedmodel=m"
    drain = ("drain", CPU_NODE, selector, "--delete-emptydir-data", "--ignore-daemonsets")
    cluster.kubectl("cordon", GPU_NODE)
    fleet.serve("m", {"models": models, "replicas": 2})
    assert nodes_of(fleet, "default") == [CPU_NODE, CPU_NODE]
    try:
        with fleet.keeps_serving("m", "m"):
            refused = cluster.kubectl(*drain, "--timeout=5s", check=False)
            assert refused.returncode != 0
            assert "Cannot evict pod as it would violate the pod's disruption budget" in refused.stderr
            assert fleet.condition("m", "Ready")["status"] == "True"
            assert len([pod for pod in fleet.pods("m") if is_ready(pod)]) == 1
            cluster.kubectl("uncordon", GPU_NODE)
            cluster.kubectl(*drain, "--timeout=60s")
            fleet.wait_settled("m")
            fleet.wait("nothing is left on the drained node", lambda: nothing_drains(fleet))
        assert nodes_of(fleet, "default") == [GPU_NODE, GPU_NODE]
    finally:
        cluster.kubectl("uncordon", CPU_NODE, GPU_NODE)


def is_ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"]["conditions"])


def test_a_full_disk_is_told_and_waited_out_while_what_serves_goes_on(fleet: Fleet, archives: ModelStore) -> None:
    fleet.cluster.kubectl("cordon", GPU_NODE)
    try:
        fleet.serve("m", {"models": [model_of(archives, "good")]})
        fleet.apply(filler(fleet.server_image, DISK_BYTES - 2 * 2**20))
        fleet.wait("the disk is full", lambda: "full" in fleet.kubectl("logs", "filler", check=False))
        with fleet.keeps_serving("m", "m"):
            fleet.serve("m", {"models": [model_of(archives, "bulky")]}, ready=False)
            condition = fleet.wait_condition("m", "Degraded", "True", reason="InsufficientDiskSpace")
            print(f"full disk: {condition['message']}")
            assert "needs 3.0 MiB" in condition["message"]
            assert "go on serving: 1" in condition["message"]
            assert fleet.condition("m", "Ready")["status"] == "True"
            fleet.kubectl("delete", "pod", "filler", "--grace-period=0", "--force")
            fleet.wait_settled("m")
    finally:
        fleet.cluster.kubectl("uncordon", GPU_NODE)


def filler(image: str, size_bytes: int) -> dict[str, Any]:
    """Return a pod that takes so much of its node's disk."""
    container = {
        "name": "filler",
        "image": image,
        "command": ["bash", "-c", f"head -c {size_bytes} /dev/zero > /fill/ballast; echo full; sleep infinity & wait"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "fill", "mountPath": "/fill"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "filler"},
        "spec": {
            "containers": [container],
            "volumes": [{"name": "fill", "emptyDir": {}}],
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        },
    }
