"""Whatever somebody does to a child, it is as the ServedModel says again, at once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from e2e.scenarios.fleet import Fleet
from e2e.scenarios.model_store import ModelStore
from e2e.scenarios.platform import Platform

DEPLOYMENT = "deployment/m-default"


@pytest.fixture(scope="module")
def served(platform: Platform, store: ModelStore) -> Any:
    fleet = platform.new_fleet("drift")
    fleet.serve("m", {"models": [{"name": "m", "source": {"uri": f"{store.url}/good.tar.gz"}}]})
    yield fleet
    platform.cluster.kubectl("delete", "namespace", fleet.namespace, "--wait=false")


def name_of(fleet: Fleet, kind: str, prefix: str) -> str:
    """Return the name of the child that begins so: those of ConfigMaps end with a hash."""
    names = [child["metadata"]["name"] for child in fleet.list_objects(kind, "tfserving.dev/servedmodel=m")]
    return prefix if prefix in names else next(name for name in names if name.startswith(prefix))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("deployment", "m-default"),
        ("service", "m"),
        ("service", "m-default-headless"),
        ("pdb", "m-default"),
        ("configmap", "m-models"),
    ],
)
def test_a_deleted_child_comes_back(served: Fleet, kind: str, name: str) -> None:
    name = name_of(served, kind, name)
    before = served.get(kind, name)
    assert before is not None
    served.kubectl("delete", kind, name, "--wait=true")

    def is_back() -> bool:
        child = served.get(kind, name)
        return child is not None and child["metadata"]["uid"] != before["metadata"]["uid"]

    served.wait(f"{kind} {name} is back", is_back, timeout_seconds=20)
    served.wait_settled("m")


EDITS = {
    "a value of ours": {"spec": {"replicas": 4}},
    "a field that is not ours": {"spec": {"template": {"spec": {"nodeSelector": {"nowhere": "yes"}}}}},
    "a second container": {"spec": {"template": {"spec": {"containers": [{"name": "extra", "image": "x"}]}}}},
    "our label": {"metadata": {"labels": {"tfserving.dev/pool": "other"}}},
    "the label we find it by": {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}},
    "its owner": {"metadata": {"ownerReferences": None}},
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_by_hand_is_undone(served: Fleet, edit: str) -> None:
    def relevant() -> Any:
        child = served.get("deployment", "m-default")
        assert child is not None
        metadata = child["metadata"]
        return child["spec"], metadata["labels"], metadata.get("ownerReferences")

    before = relevant()
    served.kubectl("patch", DEPLOYMENT, "--type=strategic", "-p", json.dumps(EDITS[edit]))
    served.wait(f"{edit} is undone", lambda: relevant() == before, timeout_seconds=20)
    served.wait_settled("m")


OTHER_EDITS = {
    ("service", "m"): {"spec": {"selector": {"app": "other"}}},
    ("pdb", "m-default"): {"spec": {"maxUnavailable": "100%"}},
    ("configmap", "m-models"): {"data": {"models.config": "other"}},
}


@pytest.mark.parametrize("kind_and_name", OTHER_EDITS, ids=lambda pair: pair[0])
@pytest.mark.parametrize("edit", ["a value of ours", "the label we find it by", "its owner"])
def test_an_edit_of_other_children_is_undone(served: Fleet, kind_and_name: tuple[str, str], edit: str) -> None:
    kind, name = kind_and_name[0], name_of(served, *kind_and_name)

    def relevant() -> Any:
        child = served.get(kind, name)
        assert child is not None
        metadata = child["metadata"]
        return child.get("spec"), child.get("data"), metadata["labels"], metadata.get("ownerReferences")

    before = relevant()
    patch = OTHER_EDITS[kind_and_name] if edit == "a value of ours" else EDITS[edit]
    served.kubectl("patch", kind, name, "--type=merge", "-p", json.dumps(patch))
    served.wait(f"{edit} of {kind} {name} is undone", lambda: relevant() == before, timeout_seconds=20)
    served.wait_settled("m")


def test_restarting_pods_with_kubectl_is_no_drift(served: Fleet) -> None:
    pods = {pod["metadata"]["uid"] for pod in served.pods("m")}
    served.kubectl("rollout", "restart", DEPLOYMENT)
    served.wait("a new pod", lambda: not pods & {pod["metadata"]["uid"] for pod in served.pods("m")})
    served.wait_settled("m")
