"""Control groups for the pods of a cluster, on cgroup v1, v2 and the mixed layout."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from pathlib import Path

_MOUNT = Path("/sys/fs/cgroup")
_OURS = "embedded-cluster"
"""The parent of all clusters' groups. It stays: one who made it may be about to make a group in it."""
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*(/[a-z0-9][a-z0-9.-]*)*")


def is_unified() -> bool:
    """Tell whether this machine uses cgroup v2 alone."""
    return (_MOUNT / "cgroup.controllers").exists()


def create(name: str) -> str:
    """Make the control group ``name`` in every hierarchy; return its path as a kubelet wants it (cgroupRoot).

    ``name`` may have levels, as in "cluster/node".
    """
    _check(name)
    for hierarchy in _hierarchies():
        level = hierarchy
        for part in (_OURS, *name.split("/")):
            if is_unified():
                _delegate(level)
            level /= part
            level.mkdir(exist_ok=True)
            if not is_unified() and (level / "cpuset.cpus").exists():
                _inherit_cpuset(level)
    return f"/{_OURS}/{name}"


def remove(name: str) -> None:
    """Remove the control group ``name`` and all below it, killing what still runs in them."""
    _check(name)
    deadline = time.monotonic() + 10
    trees = [hierarchy / _OURS / name for hierarchy in _hierarchies()]
    while any(tree.exists() for tree in trees):
        for tree in trees:
            _remove_tree(tree)
        if time.monotonic() > deadline:
            return
        time.sleep(0.02)


def _check(name: str) -> None:
    """Refuse what would mean the groups of all clusters, or of others: an empty name, or dots."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a control group")


def _hierarchies() -> list[Path]:
    if is_unified():
        return [_MOUNT]
    # Names such as "cpu" are often links to "cpu,cpuacct"; the unified tree of a mixed layout counts too.
    return [path for path in _MOUNT.iterdir() if path.is_dir() and not path.is_symlink()]


def _inherit_cpuset(level: Path) -> None:
    """A new v1 cpuset may run nowhere until it is told where."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        if not (level / file).read_text().strip():
            (level / file).write_text((level.parent / file).read_text())


def _delegate(level: Path) -> None:
    for controller in (level / "cgroup.controllers").read_text().split():
        with contextlib.suppress(OSError):  # some controllers refuse when processes sit at this level
            (level / "cgroup.subtree_control").write_text(f"+{controller}")


def _remove_tree(tree: Path) -> None:
    for path, _, _ in os.walk(tree, topdown=False):
        with contextlib.suppress(OSError):
            for pid in Path(path, "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.rmdir(path)
