"""A sandbox: network, mount and PID namespaces of their own, like a container without an image.

When the first process of a sandbox dies, the kernel kills all others in it and takes back its mounts,
its interfaces and its iptables rules. That is what makes a cluster leave nothing behind: there is no
order of steps that a crash could interrupt.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from e2e.cluster import sandbox_init
from e2e.cluster.errors import StartFailed
from e2e.cluster.processes import Process


@dataclass(frozen=True)
class SandboxSetup:
    """What a sandbox prepares before anything runs in it; paths are made by the caller."""

    binds: Sequence[tuple[Path, Path]] = ()
    tmpfs: Sequence[Path] = ()
    disks: Sequence[tuple[Path, int]] = ()
    """Where something small is mounted, after ``binds``, and how many bytes it holds."""
    shared: Sequence[Path] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    private_proc: bool = False

    def to_argument(self, owner_descriptor: int | None, lock_descriptor: int | None) -> str:
        """Return the JSON that ``sandbox_init`` reads."""
        setup: sandbox_init.Setup = {
            "binds": [(str(source), str(target)) for source, target in self.binds],
            "tmpfs": [str(target) for target in self.tmpfs],
            "disks": [(str(target), size_bytes) for target, size_bytes in self.disks],
            "shared": [str(target) for target in self.shared],
            "sysctls": dict(self.sysctls),
            "private_proc": self.private_proc,
            "owner_descriptor": owner_descriptor,
            "lock_descriptor": lock_descriptor,
        }
        return json.dumps(setup)


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox, known by its first process; when that ends, so does all of it."""

    init: Process

    @property
    def init_pid(self) -> int:
        """The pid of the first process, as the host sees it."""
        return self.init.pid

    @classmethod
    def create(
        cls,
        setup: SandboxSetup,
        *,
        log: Path,
        inside: Sandbox | None = None,
        owner_descriptor: int | None = None,
        lock_descriptor: int | None = None,
    ) -> Sandbox:
        """Start a sandbox, nested in the PID namespace of ``inside`` if given.

        It dies with ``inside``; when the other end of the pipe ``owner_descriptor`` closes through which
        nothing came; and when the file of ``lock_descriptor`` is removed, which it holds to its end.
        """
        passed = [descriptor for descriptor in (owner_descriptor, lock_descriptor) if descriptor is not None]
        with log.open("ab") as errors:
            parent = subprocess.Popen(
                [*_enter(inside), *_UNSHARE, setup.to_argument(owner_descriptor, lock_descriptor)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                pass_fds=passed,
                start_new_session=True,
            )
        assert parent.stdout is not None
        with parent.stdout:
            pid = parent.stdout.readline().decode()  # to its end never comes: unshare holds it too
        init = Process.now(int(pid)) if pid else None
        if init is None:
            raise StartFailed(f"a sandbox could not be made: {log.read_text()[-2000:]}")
        _children.append(parent)
        return cls(init)

    def command(self, command: Sequence[str | Path], *, mount: bool = True, pid: bool = True) -> list[str]:
        """Return the command line that runs ``command`` inside; without ``pid`` its pid is one of the host's."""
        namespaces = ["--net", *(["--mount"] if mount else []), *(["--pid"] if pid else [])]
        return [
            "nsenter",
            f"--target={self.init_pid}",
            *namespaces,
            "--",
            *(_DIE_WITH_PARENT if pid else ()),
            *map(str, command),
        ]

    def is_alive(self) -> bool:
        """Tell whether the sandbox still runs."""
        return self.init.is_alive()

    def kill(self) -> None:
        """Kill everything inside at once, as a power cut would, and wait until it is gone."""
        self.init.signal(signal.SIGKILL, wait_seconds=10)
        _children[:] = [child for child in _children if child.poll() is None]


_UNSHARE = [
    "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child",
    sys.executable, "-I", "-S", sandbox_init.__file__,
]  # fmt: skip
# nsenter has to fork to enter a PID namespace; without this, killing nsenter would leave its child running.
_DIE_WITH_PARENT = ("setpriv", "--pdeathsig=KILL", "--")
# subprocess warns about children that are forgotten while they run, and only their parent can reap them.
_children: list[subprocess.Popen[bytes]] = []


def _enter(outer: Sandbox | None) -> list[str]:
    return [] if outer is None else ["nsenter", f"--target={outer.init_pid}", "--pid", "--"]
