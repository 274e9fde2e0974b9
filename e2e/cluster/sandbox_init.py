"""PID 1 of a sandbox: prepares its mounts and kernel settings, then reaps orphans until it must end.

Started as a plain script by ``sandbox.py`` (so it imports the standard library alone), with one JSON
argument. It prints its own pid as the host sees it, lets go of stdout, and stays. It exits, and with it the
kernel kills everything else in its PID namespace,

- when the descriptor ``owner_descriptor`` reports end of file: the owner has died, however it died. A byte
  that comes before says that the sandbox is to outlive the owner.
- when the file of ``lock_descriptor`` was removed: without its files the cluster is of no use to anybody, and
  nobody could find it any more to stop it.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import TypedDict

_LOOK_EVERY_MILLISECONDS = 2000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_SLAVE, MS_SHARED = 2, 4, 8, 4096, 16384, 1 << 19, 1 << 20


class Setup(TypedDict):
    """What to do before the sandbox is ready."""

    binds: list[tuple[str, str]]
    tmpfs: list[str]
    disks: list[tuple[str, int]]
    shared: list[str]
    sysctls: dict[str, str]
    private_proc: bool
    owner_descriptor: int | None
    lock_descriptor: int | None


def mount(source: str, target: str, *, kind: str, flags: int, options: str = "") -> None:
    """Do what the mount system call does, or raise OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode())
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {source} on {target}: {os.strerror(number)}")


def prepare(setup: Setup) -> None:
    """Make the mounts and settings of the sandbox; mounts of the host keep coming in, ours never leak out."""
    mount("none", "/", kind="none", flags=MS_REC | MS_SLAVE)
    if setup["private_proc"]:
        mount("proc", "/proc", kind="proc", flags=MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for target in setup["tmpfs"]:
        mount("tmpfs", target, kind="tmpfs", flags=MS_NOSUID | MS_NODEV, options="mode=755")
    for source, target in setup["binds"]:
        mount(source, target, kind="none", flags=MS_BIND | MS_REC)
    for target, size_bytes in setup["disks"]:
        mount("tmpfs", target, kind="tmpfs", flags=MS_NOSUID | MS_NODEV, options=f"mode=755,size={size_bytes}")
    for target in setup["shared"]:
        mount("none", target, kind="none", flags=MS_REC | MS_SHARED)
    for name, value in setup["sysctls"].items():
        Path("/proc/sys", name).write_text(value)


def reap_until_the_end(owner_descriptor: int | None, lock_descriptor: int | None) -> None:
    """Collect exited orphans; return when the owner died or the lock file is gone, never without either."""
    wake_reader, wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_writer)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    poller = select.poll()
    poller.register(wake_reader, select.POLLIN)
    if owner_descriptor is not None:
        poller.register(owner_descriptor, select.POLLIN)
    while lock_descriptor is None or os.fstat(lock_descriptor).st_nlink:
        reap()
        for descriptor, _ in poller.poll(None if lock_descriptor is None else _LOOK_EVERY_MILLISECONDS):
            said = os.read(descriptor, 4096)
            if descriptor == owner_descriptor and not said:
                return
            if descriptor == owner_descriptor:
                poller.unregister(descriptor)


def reap() -> None:
    """Collect every child that has exited."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def main() -> None:
    """Prepare, report, reap."""
    setup: Setup = json.loads(sys.argv[1])
    pid_on_host = os.readlink("/proc/self")  # before /proc becomes the sandbox's own
    prepare(setup)
    os.write(1, f"{pid_on_host}\n".encode())
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    reap_until_the_end(setup["owner_descriptor"], setup["lock_descriptor"])


if __name__ == "__main__":
    main()
