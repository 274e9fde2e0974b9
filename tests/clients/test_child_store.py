"""The store of one kind: whose children changed, and never back in time."""

from __future__ import annotations

from typing import Any

import pytest

from tfserving_operator.api.refs import ModelKey, ObjectRef
from tfserving_operator.clients.child_store import ChildStore
from tfserving_operator.clients.kinds import DEPLOYMENTS, PODS

KEY, OTHER = ModelKey("ns", "m"), ModelKey("ns", "other")


def child(version: int, *, name: str = "d", model: str | None = "m", **more: Any) -> dict[str, Any]:
    labels = {"tfserving.dev/servedmodel": model} if model else {}
    metadata = {
        "namespace": "ns",
        "name": name,
        "resourceVersion": str(version),
        "labels": labels,
        "managedFields": [{}],
    }
    return {"metadata": metadata, **more}


def versions(store: ChildStore, key: ModelKey = KEY) -> list[str]:
    return [obj["metadata"]["resourceVersion"] for _, obj in store.of(key)]


@pytest.fixture
def store() -> ChildStore:
    return ChildStore(DEPLOYMENTS)


def test_new_object_changes_its_models_children(store: ChildStore) -> None:
    assert store.put(child(5)) == {KEY}
    assert [ref for ref, _ in store.of(KEY)] == [ObjectRef("apps/v1", "Deployment", "ns", "d")]


def test_echo_of_a_write_changes_nothing(store: ChildStore) -> None:
    store.put_written(child(5))

    assert store.put(child(5)) == set()


def test_older_event_after_a_write_is_ignored(store: ChildStore) -> None:
    store.put_written(child(7))

    assert store.put(child(6)) == set()
    assert versions(store) == ["7"]


def test_late_answer_to_a_write_does_not_bring_back_what_was_deleted_since(store: ChildStore) -> None:
    store.put(child(5))
    store.advance(child(8))
    store.remove(child(8))

    store.put_written(child(6))

    assert versions(store) == []


def test_late_answer_to_a_write_does_not_replace_a_newer_object(store: ChildStore) -> None:
    store.put(child(9))

    store.put_written(child(8))

    assert versions(store) == ["9"]


def test_deletion_of_a_predecessor_keeps_the_object_made_again(store: ChildStore) -> None:
    store.put(child(5))
    store.put_written(child(9))

    assert store.remove(child(8)) == set()
    assert versions(store) == ["9"]


@pytest.mark.parametrize(
    ("model", "changed"), [(None, {KEY}), ("other", {KEY, OTHER})], ids=["label lost", "label of another"]
)
def test_altered_label_tells_the_former_parent(store: ChildStore, model: str | None, changed: set[ModelKey]) -> None:
    store.put(child(5))

    assert store.put(child(6, model=model)) == changed
    assert versions(store) == []


def test_object_that_is_no_longer_selected_tells_the_former_parent(store: ChildStore) -> None:
    store.put(child(5))

    assert store.remove(child(6, model=None)) == {KEY}
    assert store.models() == ()


def test_list_forgets_what_it_does_not_hold(store: ChildStore) -> None:
    store.put(child(5, name="gone"))
    store.put(child(6, name="stays"))

    assert store.keep_only({store.ref_of(child(6, name="stays"))}, 10) == {KEY}
    assert [ref.name for ref, _ in store.of(KEY)] == ["stays"]
    assert store.position == 10


def test_list_keeps_what_was_written_after_it(store: ChildStore) -> None:
    store.put_written(child(11))

    assert store.keep_only(set(), 10) == set()
    assert versions(store) == ["11"]


def test_managed_fields_are_not_kept(store: ChildStore) -> None:
    store.put(child(5, spec={"replicas": 1}))

    [(_, obj)] = store.of(KEY)
    assert "managedFields" not in obj["metadata"]
    assert obj["spec"] == {"replicas": 1}


def test_pods_keep_their_status_and_little_of_their_spec() -> None:
    store = ChildStore(PODS)
    container = {"name": "server", "image": "i", "resources": {}, "env": [{"name": "A"}], "volumeMounts": []}
    volumes = [{"name": "tmp", "emptyDir": {}}, {"name": "tls", "secret": {"secretName": "certificates"}}]
    store.put(
        child(5, spec={"nodeName": "n", "containers": [container], "volumes": volumes}, status={"phase": "Running"})
    )

    [(_, pod)] = store.of(KEY)
    assert pod["spec"] == {
        "nodeName": "n",
        "containers": [{"name": "server", "image": "i", "resources": {}}],
        "volumes": [{"name": "tls", "secret": {"secretName": "certificates"}}],
    }
    assert pod["status"] == {"phase": "Running"}
