"""``--server-image``: what the end-to-end tests do when they are to run against another model server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


def collect(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("path", ["e2e", "e2e/scenarios"])
def test_what_can_only_be_asked_of_the_stand_in_is_left_out(path: str) -> None:
    found = collect(path, "--server-image=registry.example.com/server:1").stdout
    assert "e2e/scenarios/test_lifecycle.py::" in found
    assert "e2e/scenarios/autoscaling/" not in found
    assert "e2e/scenarios/test_real_models.py" not in found
    assert " deselected" in found


def test_asking_for_nothing_else_is_an_error_that_says_why() -> None:
    done = collect("e2e/scenarios/autoscaling", "--server-image=registry.example.com/server:1")
    assert done.returncode == 4
    assert "ERROR: no test is left for --server-image" in done.stderr
    assert "autoscaling: what a request costs has to be known" in done.stderr
