from __future__ import annotations

import ipaddress

import pytest

from e2e.cluster import ClusterError, ClusterOptions, network
from e2e.cluster.nodes import check_node_name
from e2e.cluster.registry import repository_and_tag
from e2e.cluster.runs import check_name


@pytest.mark.parametrize(
    ("reference", "asked_for"),
    [
        ("localhost:5000/team/app:1", "team/app:1"),
        ("docker.io/tensorflow/serving:2.20.0", "tensorflow/serving:2.20.0"),
        ("tensorflow/serving:2.20.0", "tensorflow/serving:2.20.0"),
        ("registry.k8s.io/pause:3.10", "pause:3.10"),
        ("docker.io/busybox:1", "library/busybox:1"),
        ("busybox:1", "library/busybox:1"),
        ("busybox", "library/busybox:latest"),
        ("localhost:5000/app", "app:latest"),
        ("localhost/app:1", "app:1"),
    ],
)
def test_an_image_is_pushed_where_nodes_look_for_it(reference: str, asked_for: str) -> None:
    assert repository_and_tag(reference) == asked_for


@pytest.mark.parametrize("name", ["a", "dev", "run-1", "a" * 40])
def test_a_name_that_fits_everywhere_is_taken(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a/b", "..", "a" * 41])
def test_a_name_that_does_not_is_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="cannot name a cluster"):
        check_name(name)


@pytest.mark.parametrize("name", ["", "Node-1", "node_1", "node.1", "../node", "-a", "a" * 64])
def test_a_name_that_no_node_can_have_is_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="cannot name a node"):
        check_node_name(name)
    check_node_name("a" * 63)


def test_clusters_are_named_apart_unless_told() -> None:
    names = {ClusterOptions().name for _ in range(20)}

    assert len(names) == 20
    for name in names:
        check_name(name)


@pytest.mark.parametrize("index", [1, 2, 100])
def test_a_node_has_an_address_and_pods_of_its_own(index: int) -> None:
    pods = ipaddress.IPv4Network(network.node_pod_cidr(index))

    assert pods.subnet_of(ipaddress.IPv4Network(network.POD_CIDR))
    assert not pods.overlaps(ipaddress.IPv4Network(network.node_pod_cidr(index + 1)))
    assert network.node_address(index) != network.HUB_ADDRESS
