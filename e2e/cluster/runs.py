"""Names and directories of the clusters that run on this machine, and what is left of those that died.

A run holds a lock on its directory; the first process of its sandbox holds it too. So the kernel knows
whether a run is alive: no pid files, no guessing. Claiming and giving up names is serialised by one
lock for all, held for an instant.

Until a run is published, its sandbox ends with the process that starts it, however that one ends. So what
cannot be used yet does not have to be found to be stopped.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ValidationError

from e2e.cluster import cgroups
from e2e.cluster.errors import AlreadyRunning, ClusterError, NotRunning
from e2e.cluster.locks import exclusive, is_held, try_hold
from e2e.cluster.machine_view import NodeSize
from e2e.cluster.network import HostLink
from e2e.cluster.paths import runs_root
from e2e.cluster.processes import Process
from e2e.cluster.replacing import replace_text

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_NEW = ".new-"
_DEAD = ".dead-"
_INIT_PID = "init.pid"


class RunRecord(BaseModel, frozen=True):
    """What a later process must know to use a running cluster."""

    name: str
    init_pid: int
    init_started_ticks: int
    cgroup: str
    link: HostLink
    programs: dict[str, Path]
    """Where each part's programs lie, so that a later version of this code uses those that run."""
    node_size: NodeSize
    unreachable_toleration_seconds: int

    @property
    def init(self) -> Process:
        """The first process of the cluster's sandbox."""
        return Process(self.init_pid, self.init_started_ticks)


@dataclass(frozen=True)
class OwnerPipe:
    """Ties a sandbox to this process: it ends when the kernel closes the pipe, unless it was told to stay."""

    reader: int
    writer: int

    @classmethod
    def open(cls) -> Self:
        """Make a pipe that no other program inherits unless it is given an end of it."""
        return cls(*os.pipe2(os.O_CLOEXEC))

    def let_stay(self) -> None:
        """Let the sandbox outlive this process."""
        os.write(self.writer, b"s")

    def close(self) -> None:
        """End the sandbox, unless it was told to stay."""
        os.close(self.writer)
        os.close(self.reader)


@dataclass(frozen=True)
class Run:
    """A claimed name: its directory, the descriptor that holds its lock, its cgroup's name, the tie to its owner."""

    directory: Path
    lock_descriptor: int
    cgroup: str
    owner: OwnerPipe

    def publish(self, record: RunRecord, *, stays: bool) -> None:
        """Let other processes find the cluster, which is up from here on, and outlives this process if it ``stays``."""
        _write_record(self.directory, record)
        if stays:
            self.owner.let_stay()

    def remember_init(self, init: Process) -> None:
        """Let other processes kill the cluster, even before it is up."""
        replace_text(self.directory / _INIT_PID, f"{init.pid} {init.started_ticks}")

    def give_up(self) -> None:
        """Remove all that the run left; what its sandbox still runs ends by itself, if nobody killed it yet."""
        self.owner.close()
        with exclusive(_names_lock()):
            dead = _bury(self.directory)
            os.close(self.lock_descriptor)
        cgroups.remove(self.cgroup)
        _remove(dead)


def claim(name: str) -> Run:
    """Take the name for a new cluster; raise AlreadyRunning when a live one has it."""
    check_name(name)
    reap_dead_runs()
    with exclusive(_names_lock()):
        check_free(name)
        _bury(runs_root() / name)
        return _make(runs_root() / name)


def check_free(name: str) -> None:
    """Raise ClusterError unless ``name`` can name a cluster now: AlreadyRunning when a live one has it."""
    check_name(name)
    if _is_alive(runs_root() / name):
        raise AlreadyRunning(f"a cluster named {name} is up; stop it, or choose another name")


def find(name: str) -> tuple[Path, RunRecord]:
    """Return the directory and record of the cluster that is up under ``name``; raise NotRunning if none is."""
    directory = runs_root() / name
    if not is_up(name):
        raise NotRunning(f"no cluster named {name} is up; up are: {', '.join(running()) or 'none'}")
    return directory, _read_record(directory)


def running() -> list[str]:
    """Return the names of the clusters that are up."""
    return [name for name in taken() if is_up(name)]


def taken() -> list[str]:
    """Return the names of the clusters that are up and of those that somebody is starting."""
    return [directory.name for directory in _directories() if _is_alive(directory)]


def is_up(name: str) -> bool:
    """Tell whether the cluster ``name`` can be used."""
    directory = runs_root() / name
    return _record_path(directory).exists() and _is_alive(directory)


def remember_programs(directory: Path, programs: Mapping[str, Path]) -> None:
    """Add ``programs`` to what later processes know of the cluster in ``directory``; before it is up, do nothing."""
    with exclusive(directory / "record.lock"):
        if _record_path(directory).exists():
            record = _read_record(directory)
            more = record.model_copy(update={"programs": {**programs, **record.programs}})
            _write_record(directory, more)


def programs_in_use() -> set[Path]:
    """Return where the programs of the clusters that are up lie; those of clusters that are starting were just used."""
    found: set[Path] = set()
    for name in running():
        with contextlib.suppress(NotRunning):  # it was stopped meanwhile
            found.update(find(name)[1].programs.values())
    return found


def find_init(name: str) -> Process | None:
    """Return the first process of the cluster ``name``, up or not yet; None when there is none, or no process yet."""
    directory = runs_root() / name
    if not _is_alive(directory):
        return None
    try:
        pid, *started = map(int, (directory / _INIT_PID).read_text().split())
    except FileNotFoundError:
        return None
    # An earlier version of this code did not write when it was started.
    return Process(pid, started[0]) if started else Process.now(pid)


def remove_dead(name: str) -> None:
    """Remove what a run left whose sandbox was killed by somebody who did not claim it."""
    directory = runs_root() / name
    deadline = time.monotonic() + 10
    while directory.exists() and time.monotonic() < deadline:
        with exclusive(_names_lock()):
            dead = None if _is_alive(directory) else _bury(directory)
        if dead is not None:
            _remove(dead)
            return
        time.sleep(0.02)  # the last process of the sandbox lets go of the lock a moment after its death


def reap_dead_runs() -> list[str]:
    """Remove what runs left that died without giving up their name; return these names."""
    reaped = []
    with exclusive(_names_lock()):
        for directory in list(_directories()):
            if not _is_alive(directory):
                _bury(directory)
                reaped.append(directory.name)
        for begun in runs_root().glob(f"{_NEW}*"):  # a claim that was cut short; only one is made at a time
            shutil.rmtree(begun)
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
    except FileNotFoundError:
        raise NotRunning(f"the cluster {directory.name} was just stopped") from None
    except ValidationError as error:
        name = directory.name
        raise ClusterError(f"{name} was started by another version of this code, which can only stop it") from error


def _directories() -> Iterator[Path]:
    for path in sorted(runs_root().glob("*")):
        if path.is_dir() and not path.name.startswith("."):
            yield path


def _write_record(directory: Path, record: RunRecord) -> None:
    replace_text(_record_path(directory), record.model_dump_json(indent=2))


def _is_alive(directory: Path) -> bool:
    return is_held(directory / "lock")


def _make(directory: Path) -> Run:
    """Make the directory of a new run in one step: whoever sees it finds it complete and its lock held."""
    cgroup = f"{directory.name}-{secrets.token_hex(4)}"
    scratch = directory.with_name(f"{_NEW}{cgroup}")
    scratch.mkdir()
    lock = try_hold(scratch / "lock")
    assert lock is not None
    try:
        (scratch / "cgroup").write_text(cgroup)
        owner = OwnerPipe.open()
        scratch.rename(directory)
    except BaseException:
        os.close(lock)
        raise
    return Run(directory, lock, cgroup, owner)


def _bury(directory: Path) -> Path | None:
    """Free the name at once, if it has a directory; removing gigabytes takes longer than the lock should be held."""
    grave = directory.with_name(f"{_DEAD}{directory.name}-{secrets.token_hex(4)}")
    try:
        directory.rename(grave)
    except FileNotFoundError:
        return None
    return grave


def _remove(dead: Path | None) -> None:
    if dead is None:
        return
    cgroup = dead / "cgroup"
    # The name is missing where the disk was full when it was to be written, so nothing was ever put there.
    if cgroup.exists() and (name := cgroup.read_text()):
        cgroups.remove(name)
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
