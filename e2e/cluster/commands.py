"""Running commands to their end."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from e2e.cluster.errors import CommandFailed


def run(
    command: Sequence[str | Path],
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
    timeout_seconds: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run ``command`` and return what it printed; raise CommandFailed when it exits non-zero and ``check``."""
    arguments = [str(part) for part in command]
    finished = subprocess.run(
        arguments,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        env=env,
        cwd=cwd,
        check=False,
        timeout=timeout_seconds,
    )
    if check and finished.returncode != 0:
        raise CommandFailed(arguments, returncode=finished.returncode, stdout=finished.stdout, stderr=finished.stderr)
    return finished
