"""Processes that others started: found by their pid, and told from later ones that were given the same."""

from __future__ import annotations

import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Process:
    """A process by its pid on the host and the time of its start, in the kernel's ticks since the boot."""

    pid: int
    started_ticks: int

    @classmethod
    def now(cls, pid: int) -> Self | None:
        """Return the process that has this pid now; None when there is none, or a dead one that nobody reaped."""
        started = _started_ticks(pid)
        return None if started is None else cls(pid, started)

    def is_alive(self) -> bool:
        """Tell whether it still runs."""
        return _started_ticks(self.pid) == self.started_ticks

    def signal(self, number: signal.Signals, *, wait_seconds: float = 0) -> None:
        """Send a signal and wait until it has ended, at most so long; does nothing when it ended before."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            # Once the descriptor is open, it is this process's whatever becomes of the pid.
            if self.is_alive():
                signal.pidfd_send_signal(descriptor, number)
                _wait_for_end(descriptor, wait_seconds)
        except ProcessLookupError:
            pass
        finally:
            os.close(descriptor)


def _wait_for_end(descriptor: int, seconds: float) -> None:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    poller.poll(seconds * 1000)


def _started_ticks(pid: int) -> int | None:
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if after_name[0] in "ZX" else int(after_name[19])
