"""The API server answers 429 and 409: nothing is lost, nobody is alarmed, and the end is the same."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from e2e.scenarios.fleet import Fleet
from e2e.scenarios.model_store import ModelStore
from e2e.scenarios.platform import OPERATOR_NAMESPACE, OPERATOR_USER, Platform

STRANGLE = "strangle-the-operator"


@pytest.fixture
def good(store: ModelStore) -> dict[str, Any]:
    return {"models": [{"name": "m", "source": {"uri": f"{store.url}/good.tar.gz"}}]}


@contextmanager
def writes_are_refused(platform: Platform) -> Iterator[None]:
    """Let the API server's own flow control answer 429 to every write of the operator to children."""
    subject = {
        "kind": "ServiceAccount",
        "serviceAccount": {"name": "tfserving-operator", "namespace": OPERATOR_NAMESPACE},
    }
    rule = {
        "verbs": ["patch"],
        "apiGroups": ["apps"],
        "resources": ["deployments"],
        "namespaces": ["*"],
    }
    level = {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "PriorityLevelConfiguration",
        "metadata": {"name": STRANGLE},
        "spec": {
            "type": "Limited",
            "limited": {
                "nominalConcurrencyShares": 0,
                "lendablePercent": 0,
                "borrowingLimitPercent": 0,
                "limitResponse": {"type": "Reject"},
            },
        },
    }
    schema = {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": {"name": STRANGLE},
        "spec": {
            "priorityLevelConfiguration": {"name": STRANGLE},
            "matchingPrecedence": 10,
            "rules": [{"subjects": [subject], "resourceRules": [rule]}],
        },
    }
    try:
        platform.cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump_all([level, schema]))
        yield
    finally:
        platform.cluster.kubectl("delete", "flowschema,prioritylevelconfiguration", STRANGLE, "--ignore-not-found")


def test_too_many_requests_are_waited_out(platform: Platform, fleet: Fleet, good: dict[str, Any]) -> None:
    since = datetime.now(UTC)

    def refusals() -> list[Any]:
        events = platform.cluster.audit_events(user=OPERATOR_USER, resource="deployments", since=since)
        return [event for event in events if event.code == 429]

    with writes_are_refused(platform):
        # Flow control takes a moment to know its new rules, so ServedModels are made until one of them meets them.
        def refused() -> list[Any]:
            name = f"m{len(fleet.list_objects('servedmodels'))}"
            fleet.apply(fleet.served_model(name, {**good, "replicas": 0}))
            return refusals()

        fleet.wait("a 429", refused, timeout_seconds=60)
    for model in fleet.list_objects("servedmodels"):
        fleet.wait_settled(model["metadata"]["name"], timeout_seconds=120)
        assert not [event for event in fleet.events(model["metadata"]["name"]) if event["type"] == "Warning"]
    print(f"{len(refusals())} answers of 429, {len(fleet.list_objects('servedmodels'))} ServedModels")


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
