"""Long-running programs of a cluster: started in a sandbox, logged to a file, found again by later processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from e2e.cluster.errors import StartFailed
from e2e.cluster.sandbox import Sandbox

_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Program:
    """A program that was started; ``pid`` is that of the process whose death ends it."""

    name: str
    pid: int
    started_ticks: int
    log: Path
    log_offset_bytes: int = 0
    """Where this run's part of the log begins; before it is what an earlier program of that name printed."""

    def is_alive(self) -> bool:
        """Tell whether it still runs."""
        child = _children.get(self.pid)
        if child is not None:
            return child.poll() is None
        return _started_ticks(self.pid) == self.started_ticks

    def kill(self) -> None:
        """Kill it at once and wait until it is gone."""
        _signal(self.pid, signal.SIGKILL)
        self._wait(deadline_seconds=10)

    def terminate(self, *, grace_seconds: float) -> None:
        """Ask it to stop, kill it when it has not after ``grace_seconds``."""
        for pid in _inner_pids(self.pid) or [self.pid]:
            _signal(pid, signal.SIGTERM)
        self._wait(deadline_seconds=grace_seconds)
        if self.is_alive():
            self.kill()

    def log_tail(self, lines: int = 15) -> str:
        """Return the last ``lines`` of what it printed."""
        return "\n".join(self.output().splitlines()[-lines:])

    def output(self) -> str:
        """Return what it printed so far."""
        with self.log.open("rb") as log:
            log.seek(self.log_offset_bytes)
            return log.read().decode(errors="replace")

    def _wait(self, *, deadline_seconds: float) -> None:
        deadline = time.monotonic() + deadline_seconds
        while self.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)


class Programs:
    """The programs of one place (a control plane, a node): their records and logs lie in ``directory``."""

    def __init__(self, directory: Path, sandbox: Sandbox) -> None:
        """Use ``directory``, which may hold records of programs that an earlier process started."""
        self._directory = directory
        self._sandbox = sandbox
        directory.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> Program:
        """Start ``command`` in the sandbox; its output is appended to ``NAME.log``."""
        log = self._directory / f"{name}.log"
        with log.open("ab") as output:
            offset = output.tell()
            child = subprocess.Popen(
                self._sandbox.command(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd="/",
                start_new_session=True,
            )
        _children[child.pid] = child
        program = Program(
            name=name,
            pid=child.pid,
            started_ticks=_started_ticks(child.pid) or 0,
            log=log,
            log_offset_bytes=offset,
        )
        record = {**asdict(program), "log": str(log)}
        (self._directory / f"{name}.json").write_text(json.dumps(record))
        return program

    def get(self, name: str) -> Program:
        """Return the program last started as ``name``; KeyError when there was none."""
        try:
            record = json.loads((self._directory / f"{name}.json").read_text())
        except FileNotFoundError:
            raise KeyError(name) from None
        return Program(**{**record, "log": Path(record["log"])})

    def names(self) -> list[str]:
        """Return the names of all programs that were started here."""
        return sorted(path.stem for path in self._directory.glob("*.json"))

    def log(self, name: str) -> str:
        """Return everything that ``name`` printed."""
        return self.get(name).log.read_text(errors="replace")

    def forget(self) -> None:
        """Reap all programs, which must have been killed with their sandbox."""
        for name in self.names():
            child = _children.pop(self.get(name).pid, None)
            if child is not None:
                child.wait(timeout=10)


def wait_until(
    is_ready: Callable[[], bool], *, what: str, programs: Sequence[Program] = (), deadline_seconds: float = 60
) -> None:
    """Poll ``is_ready``; raise StartFailed when a program of ``programs`` exits first or time runs out."""
    deadline = time.monotonic() + deadline_seconds
    while not is_ready():
        for program in programs:
            if not program.is_alive():
                raise StartFailed(f"{program.name} exited; its log ends with:\n{program.log_tail()}")
        if time.monotonic() > deadline:
            logs = "\n".join(f"{program.name}:\n{program.log_tail()}" for program in programs)
            raise StartFailed(f"{what} did not happen within {deadline_seconds:.0f} s\n{logs}")
        time.sleep(0.03)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _inner_pids(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _started_ticks(pid: int) -> int | None:
    """Return when the kernel started ``pid``, which tells it from a later process of that number."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if after_name[0] in "ZX" else int(after_name[19])
