"""Bad input and trouble with pods: each ends in a condition and an event that say what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from e2e.scenarios.fleet import Fleet
from e2e.scenarios.model_store import ModelStore, model_store
from e2e.scenarios.platform import Platform


@dataclass(frozen=True)
class Mistake:
    """A ServedModel that cannot serve, and what its status must say."""

    reason: str
    words: str
    archive: str = "good"
    model: dict[str, Any] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)
    pool: dict[str, Any] = field(default_factory=dict)


def limits(memory: str) -> dict[str, Any]:
    return {"resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": memory}}}


MISTAKES = {
    "missing-path": Mistake("ModelPathNotFound", "nothing-here.tar.gz", archive="nothing-here"),
    "corrupt-model": Mistake("ModelLoadFailed", "the server could not load its models", archive="corrupt"),
    "unknown-version": Mistake("VersionNotFound", "9", model={"versions": {"specific": [9]}}),
    "out-of-memory": Mistake("OutOfMemory", "raise resources.limits.memory", archive="huge", pool=limits("256Mi")),
    "image-missing": Mistake(
        "ImagePullFailed",
        "image localhost:5000/no-such-image:1 cannot be pulled",
        spec={"server": {"image": "localhost:5000/no-such-image:1"}},
    ),
    "no-gpu-free": Mistake("Unschedulable", "nvidia.com/gpu", pool={"accelerator": {}}),
    "missing-secret": Mistake(
        "MissingReference",
        "not-there",
        spec={"server": {"env": [{"name": "KEY", "secretKeyRef": {"name": "not-there", "key": "k"}}]}},
    ),
    "missing-certificate": Mistake(
        "MissingReference", "Secret not-there", spec={"server": {"tls": {"secretName": "not-there"}}}
    ),
    "too-big-for-its-limit": Mistake(
        "InsufficientDiskSpace", "source.sizeLimit leaves", archive="bulky", model={"sizeLimit": "1Mi"}
    ),
}


@pytest.fixture(scope="module")
def mistaken(platform: Platform, store: ModelStore) -> Iterator[Fleet]:
    """All mistakes at once, since each takes its time to show."""
    fleet = platform.new_fleet("mistakes")
    for name, mistake in MISTAKES.items():
        source = {"uri": f"{store.url}/{mistake.archive}.tar.gz"}
        model = dict(mistake.model)
        if "sizeLimit" in model:
            source["sizeLimit"] = model.pop("sizeLimit")
        pool = {"name": "default", **mistake.pool}
        spec = {"models": [{"name": "m", "source": source, **model}], "pools": [pool], **mistake.spec}
        fleet.serve(name, spec, ready=False)
    yield fleet
    platform.cluster.kubectl("delete", "namespace", fleet.namespace, "--wait=false")


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_explained_in_condition_and_event(mistaken: Fleet, name: str) -> None:
    mistake = MISTAKES[name]
    condition = mistaken.wait_condition(name, "Degraded", "True", reason=mistake.reason, timeout_seconds=90)
    print(f"{name}: {condition['reason']}: {condition['message']}")
    assert mistake.words in condition["message"]
    assert mistaken.condition(name, "Ready")["status"] == "False"
    events = mistaken.wait("an event", lambda: [e for e in mistaken.events(name) if e["reason"] == mistake.reason])
    assert events[0]["type"] == "Warning"


def test_wrong_credentials_are_told_from_missing_ones(fleet: Fleet, platform: Platform, tmp_path: Any) -> None:
    with model_store(tmp_path, platform.cluster.host_address) as locked:
        locked.token = "right"
        (tmp_path / "m.tar.gz").write_bytes(b"never sent")
        fleet.kubectl("create", "secret", "generic", "wrong", "--from-literal=token=not-it")
        source = {"uri": f"{locked.url}/m.tar.gz", "credentials": {"secretName": "wrong"}}
        fleet.serve("locked", {"models": [{"name": "m", "source": source}]}, ready=False)
        condition = fleet.wait_condition("locked", "Degraded", "True", reason="CredentialsRejected")
        print(f"wrong-credentials: {condition['message']}")
        assert "not-it" not in condition["message"]


def test_a_quota_is_quoted(fleet: Fleet, store: ModelStore) -> None:
    fleet.kubectl("create", "quota", "no-pods", "--hard=pods=0")
    fleet.serve("limited", {"models": [{"name": "m", "source": {"uri": f"{store.url}/good.tar.gz"}}]}, ready=False)
    condition = fleet.wait_condition("limited", "Degraded", "True", reason="QuotaExceeded")
    print(f"quota: {condition['message']}")
    assert "exceeded quota: no-pods" in condition["message"]


def test_a_foreign_service_is_left_alone(fleet: Fleet, store: ModelStore) -> None:
    fleet.kubectl("create", "service", "clusterip", "taken", "--tcp=80:80")
    before = fleet.get("service", "taken")
    fleet.serve("taken", {"models": [{"name": "m", "source": {"uri": f"{store.url}/good.tar.gz"}}]}, ready=False)
    condition = fleet.wait_condition("taken", "Degraded", "True", reason="ChildConflict")
    print(f"foreign Service: {condition['message']}")
    assert "Service taken exists and was not made by this operator" in condition["message"]
    assert fleet.condition("taken", "Stalled")["status"] == "True"
    assert fleet.get("service", "taken") == before
    fleet.kubectl("delete", "service", "taken")
    fleet.wait_settled("taken")


def test_two_resources_whose_children_collide_do_not_fight(fleet: Fleet, store: ModelStore) -> None:
    models = [{"name": "m", "source": {"uri": f"{store.url}/good.tar.gz"}}]
    fleet.serve("a", {"models": models, "pools": [{"name": "b"}]})
    fleet.serve("a-b", {"models": models}, ready=False)
    condition = fleet.wait_condition("a-b", "Degraded", "True", reason="ChildConflict")
    print(f"collision: {condition['message']}")
    assert "Service a-b exists and belongs to ServedModel a" in condition["message"]
    assert fleet.condition("a", "Degraded")["status"] == "False"
    assert fleet.predict("a", "m")


def test_a_label_of_a_version_that_is_not_served_is_explained(fleet: Fleet, store: ModelStore) -> None:
    model = {"name": "m", "source": {"uri": f"{store.url}/good.tar.gz"}, "labels": {"stable": 7}}
    fleet.serve("labelled", {"models": [model]}, ready=False)
    condition = fleet.wait_condition("labelled", "Degraded", "True", reason="LabelNotAvailable")
    print(f"label: {condition['message']}")
    assert fleet.condition("labelled", "Ready")["status"] == "True"
    assert fleet.predict("labelled", "m")


def test_a_bad_change_leaves_what_serves_alone(fleet: Fleet, store: ModelStore) -> None:
    model = {"name": "m", "source": {"uri": f"{store.url}/good.tar.gz"}}
    fleet.serve("steady", {"models": [model]})
    with fleet.keeps_serving("steady", "m"):
        broken = {"name": "m", "source": {"uri": f"{store.url}/corrupt.tar.gz"}}
        fleet.serve("steady", {"models": [broken]}, ready=False)
        condition = fleet.wait_condition("steady", "Degraded", "True", reason="ModelLoadFailed", timeout_seconds=90)
        assert "go on serving: 1" in condition["message"]
        assert fleet.condition("steady", "Ready")["status"] == "True"
        fleet.serve("steady", {"models": [model]})
