"""Changes under load: no request is lost, and Ready tells the truth all the while."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from e2e.scenarios.fleet import Fleet
from e2e.scenarios.model_store import ModelStore


@pytest.fixture
def two(store: ModelStore) -> dict[str, Any]:
    return {"name": "m", "source": {"uri": f"{store.url}/two.tar.gz"}}


class ReadyWatch:
    """Collects every status that Ready takes, from the API server's own watch."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self._fleet = fleet
        self._name = name
        self.seen: list[str] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> ReadyWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stopped.wait(0.1):
            model = self._fleet.get("servedmodel", self._name) or {}
            conditions = {each["type"]: each["status"] for each in model.get("status", {}).get("conditions", [])}
            self.seen.append(conditions.get("Ready", ""))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"batching": {"maxBatchSize": 8, "batchTimeout": "1ms"}}, id="batching"),
        pytest.param({"replicas": 3}, id="scale up"),
        pytest.param({"replicas": 1}, id="scale down"),
        pytest.param({"pools": [{"name": "other"}, {"name": "default", "replicas": {"fixed": 0}}]}, id="another pool"),
    ],
)
def test_no_request_is_lost_and_ready_stays_true(fleet: Fleet, two: dict[str, Any], change: dict[str, Any]) -> None:
    spec = {"models": [{**two, "versions": {"specific": [1]}}], "replicas": 2}
    fleet.serve("m", spec)
    with fleet.keeps_serving("m", "m"), ReadyWatch(fleet, "m") as watch:
        fleet.serve("m", {**spec, **change}, timeout_seconds=120)
        fleet.wait(
            "nothing drains any more",
            lambda: not [p for p in fleet.list_objects("pods", "") if "deletionTimestamp" in p["metadata"]],
        )
    assert set(watch.seen) == {"True"}


def test_what_leaves_the_spec_is_removed_without_a_lost_request(fleet: Fleet, two: dict[str, Any]) -> None:
    other = {**two, "name": "second"}
    fleet.serve("m", {"models": [two, other], "pools": [{"name": "default"}, {"name": "left"}]})
    with fleet.keeps_serving("m", "m"):
        fleet.serve("m", {"models": [two], "pools": [{"name": "other"}]}, timeout_seconds=120)
        fleet.wait("only the new pool's children are left", lambda: pools_of_children(fleet) == {"other"})
    assert fleet.predict_path("m", "second") is None
    model = fleet.get("servedmodel", "m")
    assert model is not None
    assert [entry["name"] for entry in model["status"]["models"]] == ["m"]
    assert [entry["name"] for entry in model["status"]["pools"]] == ["other"]


def pools_of_children(fleet: Fleet) -> set[str]:
    """Return the pools that Deployments, Services, disruption budgets, ConfigMaps and pods belong to."""
    children = fleet.list_objects("deployments,services,pdb,configmaps,pods", "tfserving.dev/servedmodel=m")
    labels = [child["metadata"]["labels"] for child in children]
    return {each["tfserving.dev/pool"] for each in labels if "tfserving.dev/pool" in each}


def test_a_version_change_moves_traffic_without_a_lost_request(fleet: Fleet, two: dict[str, Any]) -> None:
    fleet.serve("m", {"models": [{**two, "versions": {"specific": [1]}}], "replicas": 2})
    with fleet.keeps_serving("m", "m"):
        fleet.serve("m", {"models": [{**two, "versions": {"specific": [2]}}], "replicas": 2}, timeout_seconds=120)
    # The node's proxy may send a request or two more to a replica that drains.
    fleet.wait("version 2 answers", lambda: fleet.predict_path("m", "m/versions/2"), timeout_seconds=30)
    model = fleet.get("servedmodel", "m")
    assert model is not None
    assert model["status"]["versionSummary"] == "m@2"


def test_labels_move_without_new_pods(fleet: Fleet, two: dict[str, Any]) -> None:
    both = {**two, "versions": {"specific": [1, 2]}}
    fleet.serve("m", {"models": [{**both, "labels": {"stable": 1}}]})
    pods = {pod["metadata"]["uid"] for pod in fleet.pods("m")}
    fleet.serve("m", {"models": [{**both, "labels": {"stable": 2, "previous": 1}}]})

    def answers() -> bool:
        return bool(fleet.predict_label("m", "m", "stable") and fleet.predict_label("m", "m", "previous"))

    fleet.wait("both labels answer", answers, timeout_seconds=30)
    assert {pod["metadata"]["uid"] for pod in fleet.pods("m")} == pods
