"""Names and directories of the clusters that run on this machine, and what is left of those that died.

A run holds a lock on its directory; the first process of its sandbox holds it too. So the kernel knows
whether a run is alive: no pid files, no guessing. Claiming and giving up names is serialised by one
lock for all, held for an instant.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from e2e.cluster import cgroups
from e2e.cluster.errors import AlreadyRunning, ClusterError, NotRunning
from e2e.cluster.locks import exclusive, try_hold
from e2e.cluster.machine_view import NodeSize
from e2e.cluster.network import HostLink
from e2e.cluster.paths import runs_root

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_DEAD = ".dead-"
_INIT_PID = "init.pid"


class RunRecord(BaseModel, frozen=True):
    """What a later process must know to use a running cluster."""

    name: str
    init_pid: int
    cgroup: str
    link: HostLink
    programs: dict[str, Path]
    """Where each part's programs lie, so that a later version of this code uses those that run."""
    node_size: NodeSize
    unreachable_toleration_seconds: int


@dataclass(frozen=True)
class Run:
    """A claimed name: its directory, the descriptor that holds its lock, and its cgroup's name."""

    directory: Path
    lock_descriptor: int
    cgroup: str

    def publish(self, record: RunRecord) -> None:
        """Let other processes find the cluster; it counts as up from here on."""
        scratch = self.directory / "run.json.new"
        scratch.write_text(record.model_dump_json(indent=2))
        scratch.rename(_record_path(self.directory))

    def remember_init(self, pid: int) -> None:
        """Let other processes kill the cluster, even before it is up."""
        (self.directory / _INIT_PID).write_text(str(pid))

    def give_up(self) -> None:
        """Remove all that the run left; everything in its sandbox must have been killed."""
        with exclusive(_names_lock()):
            dead = _bury(self.directory)
            os.close(self.lock_descriptor)
        _remove(dead)


def claim(name: str) -> Run:
    """Take the name for a new cluster; raise AlreadyRunning when a live one has it."""
    check_name(name)
    reap_dead_runs()
    directory = runs_root() / name
    with exclusive(_names_lock()):
        if directory.exists() and not _is_dead(directory):
            raise AlreadyRunning(f"a cluster named {name} is up; stop it, or choose another name")
        if directory.exists():
            _bury(directory)
        directory.mkdir(parents=True)
        descriptor = try_hold(directory / "lock")
        assert descriptor is not None
        cgroup = f"{name}-{secrets.token_hex(4)}"
        (directory / "cgroup").write_text(cgroup)
    return Run(directory, descriptor, cgroup)


def find(name: str) -> tuple[Path, RunRecord]:
    """Return the directory and record of the cluster that is up under ``name``; raise NotRunning if none is."""
    directory = runs_root() / name
    if not _record_path(directory).exists() or _is_dead(directory):
        raise NotRunning(f"no cluster named {name} is up; up are: {', '.join(running()) or 'none'}")
    return directory, _read_record(directory)


def running() -> list[str]:
    """Return the names of the clusters that are up."""
    return [
        directory.name for directory in _directories() if _record_path(directory).exists() and not _is_dead(directory)
    ]


def programs_in_use() -> set[Path]:
    """Return where the programs of the clusters that are up lie; those of clusters that are starting were just used."""
    found: set[Path] = set()
    for name in running():
        with contextlib.suppress(NotRunning):  # it was stopped meanwhile
            found.update(find(name)[1].programs.values())
    return found


def init_pid(name: str) -> int | None:
    """Return the pid of the first process of the cluster ``name``; None when there is no such cluster, or yet."""
    path = runs_root() / name / _INIT_PID
    return int(path.read_text()) if path.exists() and not _is_dead(path.parent) else None


def remove_dead(name: str) -> None:
    """Remove what a run left whose sandbox was killed by somebody who did not claim it."""
    directory = runs_root() / name
    deadline = time.monotonic() + 10
    while directory.exists() and time.monotonic() < deadline:
        with exclusive(_names_lock()):
            dead = _bury(directory) if directory.exists() and _is_dead(directory) else None
        if dead is not None:
            _remove(dead)
            return
        time.sleep(0.02)  # the last process of the sandbox lets go of the lock a moment after its death


def reap_dead_runs() -> list[str]:
    """Remove what runs left that died without giving up their name; return these names."""
    reaped = []
    with exclusive(_names_lock()):
        for directory in list(_directories()):
            if _is_dead(directory):
                _bury(directory)
                reaped.append(directory.name)
        buried = list(runs_root().glob(f"{_DEAD}*"))
    for dead in buried:
        _remove(dead)
    return reaped


def check_name(name: str) -> None:
    """Raise ClusterError unless ``name`` can name a cluster."""
    if not _NAME.fullmatch(name):
        raise ClusterError(f"{name!r} cannot name a cluster: at most 40 of a-z, 0-9 and -, no - at the ends")


def _read_record(directory: Path) -> RunRecord:
    try:
        return RunRecord.model_validate_json(_record_path(directory).read_text())
    except ValidationError as error:
        name = directory.name
        raise ClusterError(f"{name} was started by another version of this code, which can only stop it") from error


def _directories() -> Iterator[Path]:
    for path in sorted(runs_root().glob("*")):
        if path.is_dir() and not path.name.startswith("."):
            yield path


def _is_dead(directory: Path) -> bool:
    descriptor = try_hold(directory / "lock")
    if descriptor is None:
        return False
    os.close(descriptor)
    return True


def _bury(directory: Path) -> Path:
    """Free the name at once; removing gigabytes of layers takes longer than the lock should be held."""
    grave = directory.with_name(f"{_DEAD}{directory.name}-{secrets.token_hex(4)}")
    directory.rename(grave)
    return grave


def _remove(dead: Path) -> None:
    cgroup = dead / "cgroup"
    if cgroup.exists():
        cgroups.remove(cgroup.read_text())
    # Gigabytes of small files take seconds that nobody should wait for; if this is killed, the next start goes on.
    subprocess.run(
        ["setsid", "--fork", "nice", "rm", "-rf", "--", dead],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _record_path(directory: Path) -> Path:
    return directory / "run.json"


def _names_lock() -> Path:
    return runs_root() / ".names.lock"
