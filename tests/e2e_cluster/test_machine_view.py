from __future__ import annotations

import os
from pathlib import Path

import pytest

from e2e.cluster.machine_view import NodeSize, bind_mounts, describe_memory


@pytest.fixture
def cpus(tmp_path: Path) -> Path:
    bind_mounts(tmp_path, NodeSize(cpus=max(os.sched_getaffinity(0)) + 40))
    return tmp_path / "cpu"


def test_a_node_counts_the_cpus_it_was_given(tmp_path: Path) -> None:
    bind_mounts(tmp_path, NodeSize(cpus=512))

    assert len(list((tmp_path / "cpu").glob("cpu*"))) == 512


def test_only_real_cpus_have_a_place_so_that_nothing_is_pinned_to_others(cpus: Path) -> None:
    placed = {int(path.parts[-3].removeprefix("cpu")) for path in cpus.glob("cpu*/topology/core_id")}

    assert placed == os.sched_getaffinity(0)


def test_nothing_of_the_host_is_bound_but_what_the_kubelet_reads(tmp_path: Path) -> None:
    targets = {str(target) for _, target in bind_mounts(tmp_path, NodeSize(cpus=2, memory_bytes=2**30))}

    assert {"/sys/devices/system/cpu", "/proc/meminfo", "/proc/sys/vm/overcommit_memory"} <= targets
    assert all(target.startswith(("/sys/devices/system/", "/proc/")) for target in targets)


def test_memory_is_the_machines_unless_told(tmp_path: Path) -> None:
    targets = [target for _, target in bind_mounts(tmp_path, NodeSize(cpus=2))]

    assert Path("/proc/meminfo") not in targets


def test_only_the_total_memory_is_replaced() -> None:
    meminfo = "MemTotal:       24683656 kB\nMemFree:         1000 kB\n"

    assert describe_memory(meminfo, 2**30) == "MemTotal:       1048576 kB\nMemFree:         1000 kB\n"
