from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from e2e.cluster import CommandFailed
from e2e.cluster.progress import Progress
from e2e.demo.prediction import Answer, picture
from e2e.demo.scenario import install_operator, repository_and_tag, store_manifests, wait_until_ready, what_next
from e2e.demo.steps import Steps
from e2e.demo.target import CHART, DemoFailed
from e2e.models import Sample

SAMPLE = Sample(pixels=(16,) * 64, label=7)


def servedmodel(generation: int, observed: int | None, ready: str, message: str = "") -> dict[str, Any]:
    condition = {"type": "Ready", "status": ready, "reason": "NoReadyReplicas", "message": message}
    status: dict[str, Any] = {} if observed is None else {"observedGeneration": observed, "conditions": [condition]}
    return {"metadata": {"generation": generation}, "status": status}


class FakeTarget:
    """A cluster whose ServedModel goes through given states."""

    operator_image = "registry.example:5000/operator:v1"

    def __init__(self, states: list[dict[str, Any]] | None = None, answers: Mapping[str, str] | None = None) -> None:
        self.states = states or []
        self.answers = answers or {}
        self.helm_fails = False
        self.calls: list[tuple[str, ...]] = []

    def prepare(self, progress: Progress) -> None: ...

    def kubectl(
        self, *arguments: str | Path, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        words = tuple(map(str, arguments))
        self.calls.append(("kubectl", *words))
        if words[:2] == ("get", "servedmodel"):
            return subprocess.CompletedProcess(words, 0, stdout=json.dumps(self.states.pop(0)), stderr="")
        return subprocess.CompletedProcess(words, 0, stdout=self.answers.get(words[0], ""), stderr="")

    def helm(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        words = tuple(map(str, arguments))
        self.calls.append(("helm", *words))
        if self.helm_fails:
            raise CommandFailed(["helm"], returncode=1, stdout="", stderr="context deadline exceeded")
        return subprocess.CompletedProcess(words, 0, stdout="", stderr="")

    @contextmanager
    def service_url(self, service: str, port: int) -> Iterator[str]:
        yield f"http://{service}:{port}"

    def how_to_use(self) -> str:
        return ""

    def kubectl_prefix(self) -> str:
        return "kubectl -n somewhere"

    def make_arguments(self) -> str:
        return " CLUSTER=current"

    def remove(self, progress: Progress) -> None: ...


def test_waiting_tells_what_the_condition_says_and_ends_with_true() -> None:
    target = FakeTarget(
        [servedmodel(1, 1, "False", "1 is fetching its models"), servedmodel(1, 1, "True", "all serve")]
    )
    phrases: list[str] = []
    wait_until_ready(target, "digits", phrases.append)
    assert phrases == ["NoReadyReplicas: 1 is fetching its models"]


@pytest.mark.parametrize("seen", [None, 1], ids=["never seen", "seen as it was before"])
def test_a_condition_about_an_older_spec_does_not_count(seen: int | None) -> None:
    target = FakeTarget([servedmodel(2, seen, "True"), servedmodel(2, 2, "True")])
    phrases: list[str] = []
    wait_until_ready(target, "digits", phrases.append)
    assert phrases == ["Pending: the operator has not seen it yet"]


def test_the_image_is_split_at_its_tag_and_not_at_the_registrys_port() -> None:
    target = FakeTarget()
    install_operator(target)
    (helm,) = (call for call in target.calls if call[0] == "helm")
    assert "image.repository=registry.example:5000/operator" in helm
    assert "image.tag=v1" in helm


@pytest.mark.parametrize(
    ("image", "repository", "tag"),
    [
        ("operator:v1", "operator", "v1"),
        ("operator", "operator", "latest"),
        ("registry:5000/operator", "registry:5000/operator", "latest"),
        ("registry:5000/team/operator:v1", "registry:5000/team/operator", "v1"),
    ],
)
def test_a_tag_stands_after_the_last_slash(image: str, repository: str, tag: str) -> None:
    assert repository_and_tag(image) == (repository, tag)


def test_an_image_by_digest_is_refused_before_anything_is_made() -> None:
    target = FakeTarget()
    target.operator_image = "registry.example/operator@sha256:0123"
    with pytest.raises(DemoFailed, match="names a digest; the chart takes a tag"):
        install_operator(target)
    assert target.calls == []


@pytest.mark.parametrize("exists", [True, False])
def test_a_crd_that_is_there_already_is_upgraded_as_helm_would_not(exists: bool) -> None:
    target = FakeTarget(answers={"get": "customresourcedefinition/servedmodels" if exists else ""})
    install_operator(target)
    upgrades = [call for call in target.calls if call[1] == "apply" and str(CHART / "crds") in call]
    assert len(upgrades) == exists


def test_an_operator_that_does_not_start_is_quoted() -> None:
    target = FakeTarget(answers={"logs": "Traceback: no such thing"})
    target.helm_fails = True
    with pytest.raises(DemoFailed, match=r"(?s)deadline exceeded.*no such thing"):
        install_operator(target)


def test_the_model_store_runs_from_the_operators_image() -> None:
    deployment, service = yaml.safe_load_all(store_manifests("operator:v1"))
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "operator:v1"
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_suggestions_name_the_namespace_and_the_cluster_that_they_are_about() -> None:
    suggested = what_next(FakeTarget(), "digits")
    commands = [line.strip() for line in suggested.splitlines() if line.startswith("  ") and "#" not in line]
    assert commands[-1] == "make demo-down CLUSTER=current"
    assert all(command.startswith("kubectl -n somewhere ") for command in commands[:-1])


@pytest.mark.parametrize(("digit", "verdict"), [(7, "so it is right"), (1, "so it is wrong")])
def test_the_answer_is_held_against_what_the_person_wrote(digit: int, verdict: str) -> None:
    screen = io.StringIO()
    Console(file=screen, width=100).print(picture(SAMPLE, Answer(digit=digit, probability=0.5)))
    assert verdict in screen.getvalue()


def test_each_step_ends_with_its_outcome() -> None:
    screen = io.StringIO()
    steps = Steps(Console(file=screen, width=100))
    with steps.step("First"):
        pass
    with pytest.raises(DemoFailed), steps.step("Second"):
        raise DemoFailed("no")
    first, second = screen.getvalue().splitlines()
    assert first.startswith("✓ First") and first.endswith(" s")
    assert second == "✗ Second"
