"""Long-running programs of a cluster: started in a sandbox, logged to a file, found again by later processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from e2e.cluster.errors import StartFailed
from e2e.cluster.processes import Process
from e2e.cluster.replacing import replace_text
from e2e.cluster.sandbox import Sandbox

_children: dict[Process, subprocess.Popen[bytes]] = {}


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
        child = _children.get(self._process)
        return self._process.is_alive() if child is None else child.poll() is None

    def kill(self) -> None:
        """Kill it at once and wait until it is gone."""
        self._process.signal(signal.SIGKILL)
        self.wait(deadline_seconds=10)

    def terminate(self, *, grace_seconds: float) -> None:
        """Ask it to stop, kill it when it has not after ``grace_seconds``."""
        for process in self._inner_processes() or [self._process]:
            process.signal(signal.SIGTERM)
        self.wait(deadline_seconds=grace_seconds)
        if self.is_alive():
            self.kill()

    def wait(self, *, deadline_seconds: float) -> None:
        """Wait until it ends, at most so long."""
        deadline = time.monotonic() + deadline_seconds
        while self.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)

    def log_tail(self, lines: int = 15) -> str:
        """Return the last ``lines`` of what it printed."""
        return "\n".join(self.output().splitlines()[-lines:])

    def output(self) -> str:
        """Return what it printed so far."""
        with self.log.open("rb") as log:
            log.seek(self.log_offset_bytes)
            return log.read().decode(errors="replace")

    def reap(self) -> None:
        """Collect it, if this process started it; it must have been killed."""
        child = _children.pop(self._process, None)
        if child is not None:
            child.wait(timeout=10)

    @property
    def _process(self) -> Process:
        return Process(self.pid, self.started_ticks)

    def _inner_processes(self) -> list[Process]:
        if not self.is_alive():
            return []
        try:
            pids = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except FileNotFoundError:
            return []
        return [found for pid in pids if (found := Process.now(int(pid)))]


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
        process = Process.now(child.pid) or Process(child.pid, started_ticks=0)
        _children[process] = child
        program = Program(
            name=name,
            pid=process.pid,
            started_ticks=process.started_ticks,
            log=log,
            log_offset_bytes=offset,
        )
        record = {**asdict(program), "log": str(log)}
        replace_text(self._directory / f"{name}.json", json.dumps(record))
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
            self.get(name).reap()


def ensure_stays(program: Program, *, seconds: float = 1) -> None:
    """Raise StartFailed when ``program`` ends so soon after its start: for what gives no other sign that it started."""
    program.wait(deadline_seconds=seconds)
    if not program.is_alive():
        raise StartFailed(f"{program.name} exited; its log ends with:\n{program.log_tail()}")


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
