"""Every change of the wanted replicas of a namespace's Deployments, from the API server's own watch."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from e2e.scenarios.fleet import Fleet


@dataclass(frozen=True)
class ReplicaChange:
    """A Deployment that wants another number of replicas than before."""

    at: datetime
    """When the watch told so."""
    deployment: str
    before: int
    """0 for a new one."""
    after: int

    def __str__(self) -> str:
        return f"{self.at:%H:%M:%S.%f} {self.deployment} {self.before} → {self.after}"


class ReplicaWatch:
    """The changes so far, oldest first; use ``watched_replicas``."""

    def __init__(self, fleet: Fleet) -> None:
        kubectl = str(fleet.cluster.program("kubernetes", "kubectl"))
        command = [kubectl, "-n", fleet.namespace, "get", "deployments", "--watch", "-o", "json"]
        self._process = subprocess.Popen(command, env=fleet.cluster.env(), stdout=subprocess.PIPE, text=True)
        self._wanted: dict[str, int] = {}
        self.changes: list[ReplicaChange] = []
        self._thread = threading.Thread(target=self._read, name="replica-watch", daemon=True)
        self._thread.start()

    def of(self, deployment: str, *, since: datetime | None = None) -> list[ReplicaChange]:
        """Return the changes of one Deployment."""
        return [c for c in self.changes if c.deployment == deployment and (since is None or c.at >= since)]

    def lowered(self, *, since: datetime | None = None) -> list[ReplicaChange]:
        """Return the changes to fewer replicas."""
        return [c for c in self.changes if c.after < c.before and (since is None or c.at >= since)]

    def stop(self) -> None:
        """End the watch."""
        self._process.kill()
        self._process.wait()
        self._thread.join(timeout=10)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        decoder, text = json.JSONDecoder(), ""
        for line in self._process.stdout:
            text += line
            # kubectl indents: only the end of an object is a brace at the start of a line.
            if not line.startswith("}"):
                continue
            document, _ = decoder.raw_decode(text)
            text = ""
            self._note(document["metadata"]["name"], document["spec"]["replicas"])

    def _note(self, deployment: str, wanted: int) -> None:
        before = self._wanted.get(deployment, 0)
        if wanted != before:
            self._wanted[deployment] = wanted
            self.changes.append(ReplicaChange(datetime.now(UTC), deployment, before, wanted))


@contextmanager
def watched_replicas(fleet: Fleet) -> Iterator[ReplicaWatch]:
    """Watch until left."""
    watch = ReplicaWatch(fleet)
    try:
        yield watch
    finally:
        watch.stop()
