"""How programs that are run by hand say what went wrong: in a sentence, not in a traceback."""

from __future__ import annotations

import shlex
import subprocess

import httpx

from e2e.cluster.errors import ClusterError

EXPECTED = (ClusterError, httpx.HTTPError, OSError, subprocess.SubprocessError)
"""What the machine, the network or another program can do to us; everything else is a defect."""
INTERRUPTED = 130
"""The exit status after Ctrl-C, as a shell counts it."""


def sentence(error: Exception) -> str:
    """Return what to tell the user of one of the errors ``EXPECTED``."""
    match error:
        case httpx.HTTPError():
            return f"no good answer from {_url_of(error)}: {str(error) or type(error).__name__}"
        case subprocess.TimeoutExpired():
            return f"{_command(error.cmd)} took longer than {error.timeout:.0f} s"
        case subprocess.CalledProcessError():
            return f"{_command(error.cmd)} exited with {error.returncode}: {_text(error.stderr)}".rstrip(": ")
        case FileNotFoundError() if error.filename:
            return f"{error.filename} is not there"
    return str(error) or type(error).__name__


def _url_of(error: httpx.HTTPError) -> str:
    try:
        return str(error.request.url)
    except RuntimeError:  # it was raised before there was a request
        return "the server"


def _command(command: object) -> str:
    return shlex.join(map(str, command)) if isinstance(command, list | tuple) else str(command)


def _text(said: str | bytes | None) -> str:
    return (said.decode(errors="replace") if isinstance(said, bytes) else said or "").strip()
