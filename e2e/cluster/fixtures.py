"""pytest fixtures for those who need a cluster and no more; import them into a conftest.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.cluster.cluster import Cluster
from e2e.cluster.options import ClusterOptions


@pytest.fixture(scope="module")
def control_plane() -> Iterator[Cluster]:
    """A control plane without nodes, for all tests of a module: everything but pods that run."""
    with Cluster.start(ClusterOptions()) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cluster_with_node() -> Iterator[Cluster]:
    """A cluster of one node with two GPUs, for all tests of a module."""
    with Cluster.start(ClusterOptions(nodes=1, gpus_per_node=2)) as cluster:
        yield cluster
