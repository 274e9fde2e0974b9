"""Two processes want the same at once, as two test runs on one machine do: one of them builds it, both get it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.cluster import image_cache
from e2e.cluster.images import ImageBuild
from e2e.cluster.locks import exclusive
from e2e.cluster.paths import binaries_root

PROJECT = Path(__file__).parents[2]
DEADLINE_SECONDS = 60

# Each tool notes what it was asked to do. What it makes holds its process's number, so no two builds are alike.
RECORDED = '#!/bin/sh\necho "${0##*/} $*" >>"$CALLS"\nfor last; do :; done\n'
TOOLS = {
    "go": """
case "$1" in
env) echo go99.0.0 ;;
install) echo $$ >"$GOBIN/crane" ;;
esac
""",
    "mmdebstrap": "",
    "buildah": """
case "$*" in
*" inspect "*) exit 1 ;;
*" images "*) echo "[]" ;;
*" push "*)
    layout="${last#oci:}"
    mkdir -p "$layout/blobs/sha256"
    echo $$ | tee "$layout/index.json" >"$layout/blobs/sha256/layer"
    ;;
esac
""",
}
BUILD_PART = """
from e2e.cluster import binaries
print((binaries.build(["crane"]).crane / "crane").read_text())
"""
BUILD_IMAGE = """
import sys
from pathlib import Path
from e2e.cluster import images
context = Path(sys.argv[1])
print((images.build(images.ImageBuild(context, context / "Dockerfile")) / "index.json").read_text())
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY code /\n")
    (context / "code").write_text("1")
    return context


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A machine with nothing in its cache, whose tools only say that they built something."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, script in TOOLS.items():
        (tools / name).write_text(RECORDED + script)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "HOME": str(tmp_path / "home"), "CALLS": str(tmp_path / "calls")}


def part_lock(_context: Path) -> Path:
    return binaries_root() / "crane.lock"


def image_lock(context: Path) -> Path:
    return image_cache.build_lock(image_cache.layouts_root() / ImageBuild(context, context / "Dockerfile").key())


@pytest.mark.parametrize(
    ("program", "lock_of", "call"),
    [
        pytest.param(BUILD_PART, part_lock, "go install ", id="part"),
        pytest.param(BUILD_IMAGE, image_lock, " bud ", id="image"),
    ],
)
def test_of_two_that_want_the_same_at_once_one_builds_and_both_get_it(
    context: Path, environment: dict[str, str], program: str, lock_of: Callable[[Path], Path], call: str
) -> None:
    lock = lock_of(context)
    with exclusive(lock):
        builders = [start(program, context, environment) for _ in range(2)]
        until_they_wait(builders, lock)
    made = [builder.communicate(timeout=DEADLINE_SECONDS)[0] for builder in builders]

    assert [builder.returncode for builder in builders] == [0, 0]
    assert made[0] == made[1]
    calls = Path(environment["CALLS"]).read_text().splitlines()
    assert len([line for line in calls if call in line]) == 1, calls


def start(program: str, context: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, str(context)]
    return subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True)


def until_they_wait(builders: list[subprocess.Popen[str]], lock: Path) -> None:
    """Return when all ``builders`` wait for ``lock``: they have seen that what they want is not there."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while waiting_for(lock) < len(builders):
        assert time.monotonic() < deadline, "not all came to build"
        assert {builder.poll() for builder in builders} == {None}, "one did not wait for the other"
        time.sleep(0.01)


def waiting_for(lock: Path) -> int:
    number = lock.stat().st_ino
    lines = Path("/proc/locks").read_text().splitlines()
    return len([line for line in lines if "->" in line and f":{number} " in line])
