"""What a node sees of the machine it runs on: as much of it as the cluster's author wants it to have.

The kubelet reads these files to learn what the node has to give; nothing else believes them, and the
containers see the real ones. So a node with 16 CPUs on a machine with two shares those two.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

Bind = tuple[Path, Path]

# The kubelet would set these on the host's kernel; it leaves alone what already reads as it wants.
_KERNEL_AS_KUBELET_WANTS_IT: Mapping[str, str] = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
_CPUS = Path("/sys/devices/system/cpu")
_NUMA = Path("/sys/devices/system/node")
_MEMORY = Path("/proc/meminfo")


class NodeSize(BaseModel, frozen=True):
    """What a node claims to have."""

    cpus: int
    """Not less than the machine has."""
    memory_bytes: int | None = None
    """None is what the machine has."""
    disk_bytes: int | None = None
    """What its pods' volumes may hold together; None is what the machine has."""


def bind_mounts(directory: Path, size: NodeSize) -> list[Bind]:
    """Write the files that a node of ``size`` is shown below ``directory``; return where each belongs."""
    return [*_sysctls(directory / "sysctl"), *_cpus(directory, size.cpus), *_memory(directory, size.memory_bytes)]


def describe_memory(meminfo: str, memory_bytes: int) -> str:
    """Return the text of /proc/meminfo with another total."""
    return re.sub(r"(?m)^MemTotal:.*$", f"MemTotal:       {memory_bytes // 1024} kB", meminfo)


def _sysctls(directory: Path) -> list[Bind]:
    directory.mkdir(exist_ok=True)
    binds = []
    for name, value in _KERNEL_AS_KUBELET_WANTS_IT.items():
        shown = directory / name.replace("/", ".")
        shown.write_text(value)
        if os.path.exists(f"/proc/sys/{name}"):
            binds.append((shown, Path("/proc/sys", name)))
    return binds


def _cpus(directory: Path, cpus: int) -> list[Bind]:
    shown = directory / "cpu"
    real = os.sched_getaffinity(0)
    for number in (*sorted(real), *range(max(real) + 1, max(real) + 1 + cpus - len(real))):
        (shown / f"cpu{number}").mkdir(parents=True, exist_ok=True)
    for number in real:
        # A CPU without a topology is counted all the same, but its number is never used to pin anything to it.
        topology = shown / f"cpu{number}" / "topology"
        topology.mkdir(exist_ok=True)
        (topology / "core_id").write_text(f"{number}\n")
        (topology / "physical_package_id").write_text("0\n")
    # Where there are NUMA nodes, CPUs are counted by them.
    no_numa = directory / "numa"
    no_numa.mkdir(exist_ok=True)
    return [(shown, _CPUS), *([(no_numa, _NUMA)] if _NUMA.exists() else [])]


def _memory(directory: Path, memory_bytes: int | None) -> list[Bind]:
    if memory_bytes is None:
        return []
    shown = directory / "meminfo"
    shown.write_text(describe_memory(_MEMORY.read_text(), memory_bytes))
    return [(shown, _MEMORY)]
