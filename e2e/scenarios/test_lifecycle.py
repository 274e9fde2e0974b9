"""From create to Ready, quiet times, and what happens while the operator or the API server is away."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from e2e.cluster import AuditEvent, Cluster
from e2e.scenarios.fleet import Fleet
from e2e.scenarios.model_store import ModelStore
from e2e.scenarios.platform import OPERATOR_USER, Platform
from tfserving_operator.reconcile.report import DETAIL_INTERVAL_SECONDS

WRITES = frozenset({"create", "update", "patch", "delete"})
CHILDREN = {"configmaps": 2, "services": 3, "poddisruptionbudgets": 1, "deployments": 1}


@pytest.fixture
def good(store: ModelStore) -> dict[str, Any]:
    return {"models": [{"name": "m", "source": {"uri": f"{store.url}/good.tar.gz"}}]}


def operator_requests(cluster: Cluster, fleet: Fleet, since: datetime) -> list[AuditEvent]:
    events = cluster.audit_events(user=OPERATOR_USER, since=since)
    return [event for event in events if event.namespace == fleet.namespace]


def writes(requests: list[AuditEvent]) -> Counter[str]:
    return Counter(
        f"{event.resource}/{event.subresource}" if event.subresource else event.resource
        for event in requests
        if event.verb in WRITES and event.resource != "events"
    )


def details_of_a_slow_start(seconds: float) -> int:
    """How many more statuses say what a start is at, that takes longer than it should on an idle machine.

    Beside the first and the last there is one in each interval; the first of these is among the three of any start.
    """
    return int(max(0.0, seconds - DETAIL_INTERVAL_SECONDS) // DETAIL_INTERVAL_SECONDS)


def test_from_create_to_ready_each_child_is_written_once(
    platform: Platform, fleet: Fleet, good: dict[str, Any]
) -> None:
    started = datetime.now(UTC)
    before = time.monotonic()
    fleet.serve("m", good)
    seconds = time.monotonic() - before
    requests = operator_requests(platform.cluster, fleet, started)
    counted = writes(requests)
    reads = Counter((event.resource, event.name) for event in requests if event.verb == "get")
    print(f"ready after {seconds:.1f} s; {len(requests)} requests; writes {dict(counted)}; reads {reads.total()}")
    assert {kind: count for kind, count in counted.items() if "/" not in kind} == CHILDREN
    assert set(counted) == {*CHILDREN, "servedmodels/status"}
    assert counted["servedmodels/status"] <= 3 + details_of_a_slow_start(seconds)
    # Whether somebody else has an object of that name already is looked at once.
    assert set(reads.values()) == {1}
    assert Counter(resource for resource, _ in reads) <= Counter(CHILDREN)
    assert not [event.uri for event in requests if "dryRun" in event.uri]
    told = Counter((event["reason"], event.get("series", {}).get("count", 1)) for event in fleet.events("m"))
    print(f"events: {dict(told)}")
    assert told
    assert set(told.values()) == {1}
    assert {count for _, count in told} == {1}
    quiet = datetime.now(UTC)
    time.sleep(20)  # a measured time of quiet, not a wait for something
    assert operator_requests(platform.cluster, fleet, quiet) == []


def test_metadata_of_the_resource_neither_rolls_pods_nor_reaches_children(fleet: Fleet, good: dict[str, Any]) -> None:
    fleet.serve("m", good)
    pods = {pod["metadata"]["uid"] for pod in fleet.pods("m")}
    fleet.kubectl("label", "servedmodel", "m", "app.kubernetes.io/instance=argo", "team=vision")
    fleet.kubectl("annotate", "servedmodel", "m", "argocd.argoproj.io/tracking-id=x")
    fleet.serve("m", {**good, "replicas": 2})
    assert pods < {pod["metadata"]["uid"] for pod in fleet.pods("m")}
    for kind in ("deployments", "services", "configmaps", "poddisruptionbudgets"):
        for child in fleet.list_objects(kind, "tfserving.dev/servedmodel=m"):
            assert not {"team", "app.kubernetes.io/instance"} & set(child["metadata"]["labels"])


def test_a_restarted_operator_writes_nothing(platform: Platform, fleet: Fleet, good: dict[str, Any]) -> None:
    fleet.serve("m", good)
    since = datetime.now(UTC)
    platform.scale_operator(0)
    platform.scale_operator(1)
    time.sleep(5)  # time to do wrong
    assert writes(operator_requests(platform.cluster, fleet, since)) == Counter()


def test_deleted_while_the_operator_is_down_leaves_nothing(
    platform: Platform, fleet: Fleet, good: dict[str, Any]
) -> None:
    fleet.serve("m", good)
    platform.scale_operator(0)
    try:
        fleet.kubectl("delete", "servedmodel", "m", "--timeout=20s")
        for kind in ("deployment", "service"):
            fleet.wait_gone(kind, "m-default")
    finally:
        platform.scale_operator(1)
    fleet.wait("no child left", lambda: not fleet.list_objects("configmaps", "tfserving.dev/servedmodel=m"))


def test_killed_in_the_middle_the_next_one_finishes(platform: Platform, fleet: Fleet, good: dict[str, Any]) -> None:
    fleet.apply(fleet.served_model("m", good))
    fleet.wait("the first child", lambda: fleet.list_objects("configmaps", "tfserving.dev/servedmodel=m"))
    platform.kill_operator()
    fleet.wait_settled("m")
    assert fleet.predict("m", "m")


def test_serving_goes_on_while_the_api_server_is_away(platform: Platform, fleet: Fleet, good: dict[str, Any]) -> None:
    fleet.serve("m", good)
    with fleet.keeps_serving("m", "m"):
        platform.cluster.stop_apiserver()
        time.sleep(3)  # an outage that lasts
        platform.cluster.start_apiserver()
        fleet.serve("m", {**good, "replicas": 2})


def test_kubectl_scale_and_get_speak_of_the_same_replicas(fleet: Fleet, good: dict[str, Any]) -> None:
    fleet.serve("m", good)
    fleet.kubectl("scale", "servedmodel/m", "--replicas=2")
    fleet.wait_settled("m")
    printed = fleet.kubectl("get", "sm")
    print(printed)
    assert "2/2" in printed
    assert "m@1" in printed
    selector = fleet.kubectl("get", "servedmodel/m", "--subresource=scale", "-o", "jsonpath={.status.selector}")
    assert len(fleet.list_objects("pods", selector)) == 2
