"""Everything that can go wrong in an embedded cluster.

ClusterError
├── NotPossibleHere    the machine cannot run it: not root, a kernel feature or a package is missing
├── BuildFailed        a binary or an image could not be built
├── StartFailed        a part exited or did not become ready in time; the message ends with its log
├── CommandFailed      a command run for the caller (kubectl, helm, buildah, …) exited non-zero
├── AlreadyRunning     a cluster of that name is up
└── NotRunning         no cluster of that name is up
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence


class ClusterError(Exception):
    """The base of every error that this package raises on purpose."""


class NotPossibleHere(ClusterError):
    """The machine lacks something; the message says what and how to get it."""


class BuildFailed(ClusterError):
    """A binary or an image could not be built."""


class StartFailed(ClusterError):
    """A part of the cluster exited, or was not ready before its deadline."""


class AlreadyRunning(ClusterError):
    """A cluster of the wanted name is up."""


class NotRunning(ClusterError):
    """No cluster of the wanted name is up."""


class CommandFailed(ClusterError):
    """A command exited non-zero; carries what it printed."""

    def __init__(self, command: Sequence[str], *, returncode: int, stdout: str, stderr: str) -> None:
        """Keep the parts, so that callers can look at ``stderr`` without parsing the message."""
        self.command = tuple(command)
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr
        said = (stderr.strip() or stdout.strip())[-4000:]
        super().__init__(f"{shlex.join(self.command)} exited with {returncode}: {said}")
