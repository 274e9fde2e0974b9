"""Others write to the same objects at the same moment: nothing is lost, nobody is alarmed, the end is the same."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from e2e.scenarios.fleet import Fleet
from e2e.scenarios.model_store import ModelStore


@pytest.fixture
def good(store: ModelStore) -> dict[str, Any]:
    return {"models": [{"name": "m", "source": {"uri": f"{store.url}/good.tar.gz"}}]}


def test_writes_at_the_same_moment_are_no_trouble(fleet: Fleet, good: dict[str, Any]) -> None:
    fleet.serve("m", good)
    stopped = threading.Event()

    def meddle() -> None:
        count = 0
        while not stopped.is_set():
            count += 1
            patch = {"metadata": {"annotations": {"example.com/count": str(count)}}, "spec": {"paused": True}}
            fleet.kubectl("patch", "deployment/m-default", "--type=merge", "-p", json.dumps(patch), check=False)

    meddler = threading.Thread(target=meddle, daemon=True)
    meddler.start()
    fleet.apply(fleet.served_model("m", {**good, "replicas": 2}))
    fleet.wait("two ready pods", lambda: len(fleet.pods("m")) == 2)
    stopped.set()
    meddler.join(timeout=30)
    fleet.wait_settled("m")
    deployment = fleet.get("deployment", "m-default")
    assert deployment is not None
    assert "paused" not in deployment["spec"]
    assert not [event for event in fleet.events("m") if event["type"] == "Warning"]
