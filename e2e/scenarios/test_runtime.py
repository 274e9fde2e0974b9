"""The operator's own life: starting, stopping, and an API server that comes and goes. Needs no nodes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster import AuditEvent, Cluster, ClusterOptions
from e2e.scenarios.busy_api_server import busy_api_server, point_at
from e2e.scenarios.objects import Objects
from e2e.scenarios.operator_process import USER, OperatorProcess, operator_process, wait_until
from e2e.scenarios.platform import PROJECT
from tfserving_operator.reconcile.report import DETAIL_INTERVAL_SECONDS

CRD = PROJECT / "crds"
LOOKS = "tfserving_operator_reconcile_duration_seconds_count"
WRITES = frozenset({"create", "update", "patch", "delete"})


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A control plane without the CRD: the first test installs it."""
    with Cluster.start(ClusterOptions()) as cluster:
        yield cluster


@pytest.fixture
def crd(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--server-side", "-f", str(CRD))
    # kubectl's wait fails at once on a definition that has no conditions yet.
    established = ("wait", "--for=condition=Established", "crd/servedmodels.tfserving.dev", "--timeout=5s")
    wait_until(lambda: cluster.kubectl(*established, check=False).returncode == 0, "the CRD is established")


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    name = request.node.name.replace("_", "-")[:60].strip("-")
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "servedmodels", "--all", "-n", name, "--ignore-not-found", check=False)


def served_model(namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    models = [{"name": "m", "source": {"uri": "https://models.example.com/m.tar.gz"}}]
    return {
        "apiVersion": "tfserving.dev/v1alpha1",
        "kind": "ServedModel",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"models": models, **spec},
    }


def apply(cluster: Cluster, *manifests: dict[str, Any]) -> None:
    cluster.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(manifests))


def get(cluster: Cluster, namespace: str, kind: str, name: str) -> dict[str, Any] | None:
    return Objects(cluster, namespace).get(kind, name)


def has_status(cluster: Cluster, namespace: str, name: str) -> bool:
    model = get(cluster, namespace, "servedmodel", name)
    return model is not None and bool(model.get("status", {}).get("conditions"))


def writes(cluster: Cluster, since: datetime) -> list[AuditEvent]:
    return [event for event in cluster.audit_events(user=USER, since=since) if event.verb in WRITES]


def wait_quiet(cluster: Cluster, operator: OperatorProcess) -> None:
    """Wait until the operator has written nothing for so long that no detail of a status can still be waiting."""
    quiet_seconds = DETAIL_INTERVAL_SECONDS + 2.0

    def is_quiet() -> bool:
        since = datetime.fromtimestamp(time.time() - quiet_seconds, UTC)
        return not writes(cluster, since) and operator.metric("tfserving_operator_queue_depth") == 0

    wait_until(is_quiet, "the operator is quiet", timeout_seconds=60)


def test_operator_waits_for_the_crd_alive_and_says_so(cluster: Cluster, tmp_path: Path) -> None:
    with operator_process(cluster, tmp_path) as operator:
        wait_until(lambda: operator.has_logged("the CRD servedmodels.tfserving.dev is not installed"), "it says so")
        assert operator.probe("/healthz") == 200
        assert operator.probe("/readyz") == 503

        cluster.kubectl("apply", "--server-side", "-f", str(CRD))

        operator.wait_ready()
        assert sum("not installed" in line["message"] for line in operator.log_lines()) == 1


@pytest.mark.usefixtures("crd")
def test_crd_that_is_deleted_ends_it_with_a_reason_in_the_log(cluster: Cluster, tmp_path: Path) -> None:
    with operator_process(cluster, tmp_path) as operator:
        operator.wait_ready()

        cluster.kubectl("delete", "-f", str(CRD))

        # Its container starts again, and waits for the CRD.
        assert operator.process.wait(timeout=60) == 1
        assert operator.has_logged("ended by an error")


@pytest.mark.parametrize("with_crd", [False, True], ids=["while waiting", "at work"])
def test_sigterm_ends_it_at_once_and_in_order(cluster: Cluster, tmp_path: Path, with_crd: bool) -> None:
    if with_crd:
        cluster.kubectl("apply", "--server-side", "-f", str(CRD))
    else:
        cluster.kubectl("delete", "--ignore-not-found", "-f", str(CRD))
    with operator_process(cluster, tmp_path) as operator:
        if with_crd:
            operator.wait_ready()
        else:
            wait_until(lambda: operator.has_logged("not installed"), "it waits")

        status, seconds = operator.stop()

    assert status == 0
    assert seconds < 3
    assert [line for line in operator.log_lines() if line["level"] in ("ERROR", "CRITICAL")] == []


@pytest.mark.usefixtures("crd")
def test_kopf_leaves_no_trace_on_the_resource(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    with operator_process(cluster, tmp_path):
        apply(cluster, served_model(namespace, "m"))
        wait_until(lambda: has_status(cluster, namespace, "m"), "a status")

        model = get(cluster, namespace, "servedmodel", "m")

    assert model is not None
    metadata = model["metadata"]
    assert "annotations" not in metadata
    assert "finalizers" not in metadata
    assert {(entry["manager"], entry.get("subresource")) for entry in metadata["managedFields"]} == {
        ("kubectl", None),
        ("tfserving-operator", "status"),
    }


@pytest.mark.usefixtures("crd")
def test_restart_with_nothing_changed_writes_nothing(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    with operator_process(cluster, tmp_path / "first") as operator:
        apply(cluster, served_model(namespace, "m"))
        wait_until(lambda: has_status(cluster, namespace, "m"), "a status")
        wait_quiet(cluster, operator)
        operator.stop()
    restarted = datetime.now(UTC)

    with operator_process(cluster, tmp_path / "second") as operator:
        operator.wait_ready()
        wait_until(lambda: operator.metric(LOOKS) >= 1, "a reconcile")
        wait_quiet(cluster, operator)

        assert writes(cluster, restarted) == []


@pytest.mark.usefixtures("crd")
def test_looking_again_at_what_has_not_changed_asks_for_nothing(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    """What happens every five minutes otherwise: so 300 quiet seconds are quiet too."""
    with operator_process(cluster, tmp_path, resync_seconds=10) as operator:
        apply(cluster, served_model(namespace, "m"))
        wait_until(lambda: has_status(cluster, namespace, "m"), "a status")
        wait_quiet(cluster, operator)
        quiet = datetime.now(UTC)
        looks = operator.metric(LOOKS)
        wait_until(lambda: operator.metric(LOOKS) >= looks + 2, "it looks again, twice", timeout_seconds=60)

        asked = [event for event in cluster.audit_events(user=USER, since=quiet) if event.verb != "watch"]
        assert asked == []


@pytest.mark.usefixtures("crd")
def test_deletion_while_it_was_away_is_noticed(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    with operator_process(cluster, tmp_path / "first") as operator:
        apply(cluster, served_model(namespace, "m"))
        wait_until(lambda: get(cluster, namespace, "deployment", "m-default"), "a Deployment")
        operator.stop()
    cluster.kubectl("delete", "servedmodel", "m", "-n", namespace)

    with operator_process(cluster, tmp_path / "second") as operator:
        operator.wait_ready()
        wait_until(lambda: get(cluster, namespace, "deployment", "m-default") is None, "the Deployment is gone")
        wait_until(lambda: operator.metric("tfserving_operator_child_cache_objects", kind="Deployment") == 0, "forgot")


@pytest.mark.usefixtures("crd")
def test_change_does_not_wait_behind_the_fleet_after_a_restart(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    fleet = [served_model(namespace, f"m{number:02}") for number in range(40)]
    apply(cluster, *fleet)
    # One worker and every child to be made: the backlog takes many seconds.
    with operator_process(cluster, tmp_path, concurrency=1) as operator:
        wait_until(
            lambda: (
                operator.metric("tfserving_operator_queue_depth", priority="backlog") > 20
                if operator.probe("/healthz")
                else False
            ),
            "a backlog",
        )
        apply(cluster, served_model(namespace, "urgent"))
        began = time.monotonic()
        wait_until(lambda: get(cluster, namespace, "deployment", "urgent-default"), "its Deployment")
        seconds = time.monotonic() - began

        left = operator.metric("tfserving_operator_queue_depth", priority="backlog")
        print(f"a change was seen to after {seconds:.1f} s, with {left:.0f} of 40 models still waiting")
        assert left > 0


@pytest.mark.usefixtures("crd")
def test_api_server_restart_is_lived_through(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    with operator_process(cluster, tmp_path) as operator:
        apply(cluster, served_model(namespace, "before"))
        wait_until(lambda: get(cluster, namespace, "deployment", "before-default"), "a Deployment")

        cluster.stop_apiserver()
        wait_until(lambda: operator.has_logged("watch lost"), "it notices")
        assert operator.probe("/healthz") == 200
        cluster.start_apiserver()

        apply(cluster, served_model(namespace, "after"))
        cluster.kubectl("delete", "deployment", "before-default", "-n", namespace)
        for name in ("after-default", "before-default"):
            look = partial(get, cluster, namespace, "deployment", name)
            wait_until(look, f"Deployment {name}", timeout_seconds=60)
        assert operator.process.poll() is None


@pytest.mark.usefixtures("crd")
def test_log_is_json_without_pod_specs(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    with operator_process(cluster, tmp_path, log_level="debug") as operator:
        apply(cluster, served_model(namespace, "m"))
        wait_until(lambda: has_status(cluster, namespace, "m"), "a status")
        operator.stop()

    lines = operator.log_lines()
    assert {"timestamp", "level", "logger", "message"} <= set(lines[0])
    assert "created" in {line["message"] for line in lines}
    assert "volumeMounts" not in operator.log_file.read_text()


@pytest.mark.usefixtures("crd")
def test_only_the_watched_namespaces_are_looked_after(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    other = f"{namespace[:50]}-other"
    cluster.kubectl("create", "namespace", other)
    with operator_process(cluster, tmp_path, watch_namespaces=namespace):
        apply(cluster, served_model(other, "m"), served_model(namespace, "m"))
        wait_until(lambda: has_status(cluster, namespace, "m"), "a status")

    assert not has_status(cluster, other, "m")
    assert {event.namespace for event in cluster.audit_events(user=USER) if event.namespace == other} == set()


@pytest.mark.usefixtures("crd")
def test_a_namespace_that_is_deleted_takes_the_operator_from_no_other(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    fleeting = f"{namespace[:50]}-fleeting"
    user = "operator-with-rights-in-two-namespaces"
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(cluster.kubeconfig_as(user, []))

    def give_rights(where: str) -> None:
        cluster.kubectl("create", "rolebinding", "all", "--clusterrole=cluster-admin", f"--user={user}", "-n", where)

    cluster.kubectl("create", "namespace", fleeting)
    for each in (namespace, fleeting):
        give_rights(each)
    run = partial(operator_process, cluster, kubeconfig=kubeconfig, watch_namespaces=f"{namespace},{fleeting}")

    with run(tmp_path / "both") as operator:
        operator.wait_ready()
        cluster.kubectl("delete", "namespace", fleeting)
        operator.process.wait(timeout=60)

    with run(tmp_path / "one") as operator:
        operator.wait_ready()
        assert operator.has_logged("namespaces that may not be read are left out")
        apply(cluster, served_model(namespace, "m"))
        wait_until(lambda: has_status(cluster, namespace, "m"), "a status")

        cluster.kubectl("create", "namespace", fleeting)
        give_rights(fleeting)
        assert operator.process.wait(timeout=60) == 0, "another process is to look after both"


@pytest.mark.usefixtures("crd")
def test_answers_of_429_and_409_are_tried_again_and_alarm_nobody(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    kubeconfig = cluster.kubeconfig_as(USER, ["system:masters"])
    with busy_api_server(kubeconfig, tmp_path) as busy:
        pointed = point_at(kubeconfig, busy.url, tmp_path / "busy.kubeconfig")
        with operator_process(cluster, tmp_path, kubeconfig=pointed) as operator:
            apply(cluster, served_model(namespace, "m"))
            wait_until(lambda: has_status(cluster, namespace, "m"), "a status", timeout_seconds=60)
            operator.stop()
    assert busy.refused[429] >= 7
    assert busy.refused[409] >= 7
    for kind, name in (("deployment", "m-default"), ("service", "m"), ("pdb", "m-default")):
        assert get(cluster, namespace, kind, name) is not None
    events = Objects(cluster, namespace).list("events")
    about = [event for event in events if event["involvedObject"]["kind"] == "ServedModel"]
    # Without nodes pods stay unscheduled, which is told; refused writes are not.
    assert {event["reason"] for event in about} <= {"Created", "Unschedulable", "MissingReference"}
    levels = {line["level"] for line in operator.log_lines()}
    assert "ERROR" not in levels
