"""``make demo`` and ``make demo-down``, as a user runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from e2e.cluster import Cluster, NotRunning
from e2e.demo.embedded import EmbeddedCluster

PROJECT = Path(__file__).resolve().parents[2]
NAME = f"demo-test-{os.getpid()}"


def demo(
    command: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "e2e.demo", command, *(arguments or ("--name", NAME))],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def shown() -> Iterator[str]:
    """What the demonstration printed; its cluster is up meanwhile."""
    try:
        finished = demo("up")
        assert finished.returncode == 0, finished.stdout + finished.stderr
        yield finished.stdout
    finally:
        demo("down")


@pytest.mark.timeout(1800)
def test_a_prediction_comes_through_and_is_right(shown: str) -> None:
    assert_the_prediction_is_right(shown)


def assert_the_prediction_is_right(shown: str) -> None:
    said = re.search(r"The model says\s+(\d)", shown)
    wrote = re.search(r"The person wrote\s+(\d)\s+so it is right", shown)
    assert said and wrote and said[1] == wrote[1]


def test_it_shows_the_servedmodel_and_how_to_go_on(shown: str) -> None:
    assert re.search(r"^digits +True +1/1 +digits@2 ", shown, re.MULTILINE)
    assert "export KUBECONFIG=" in shown
    assert "make demo-down" in shown


def test_every_suggestion_works_as_it_is_printed(shown: str) -> None:
    suggested = re.findall(r"^  ((?:export|kubectl) .+)$", shown, re.MULTILINE)
    tried = [line for line in suggested if "--watch" not in line]
    assert len(tried) >= 6
    finished = subprocess.run(["bash", "-e", "-c", "\n".join(tried)], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_running_it_again_finds_what_is_there_and_repairs_it(shown: str) -> None:
    finished = demo("up")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert re.search(r"^digits +True ", finished.stdout, re.MULTILINE)


def test_the_cluster_of_the_kubeconfig_serves_as_well(shown: str) -> None:
    cluster = Cluster.attach(NAME)
    programs = [cluster.program("kubernetes", "kubectl").parent, cluster.program("helm", "helm").parent]
    environment = {**cluster.env(), "PATH": ":".join([*map(str, programs), os.environ["PATH"]])}
    arguments = ("--cluster", "current", "--operator-image", EmbeddedCluster(NAME).operator_image)

    removed = demo("down", *arguments, environment=environment)
    assert removed.returncode == 0, removed.stdout + removed.stderr
    assert cluster.kubectl("get", "crd", "servedmodels.tfserving.dev", "--ignore-not-found").stdout == ""
    again = demo("up", *arguments, environment=environment)
    assert again.returncode == 0, again.stdout + again.stderr
    assert_the_prediction_is_right(again.stdout)
    assert "make demo-down CLUSTER=current" in again.stdout


def test_afterwards_nothing_is_left(shown: str) -> None:
    assert demo("down").returncode == 0
    with pytest.raises(NotRunning):
        Cluster.attach(NAME)
