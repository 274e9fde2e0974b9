"""ServedModels in Git, kept by a real Argo CD: they stay Synced, and nothing of them is fought over.

Applications are watched while the first tests run; those after them are about what was seen.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import yaml

from e2e.cluster import Cluster, ClusterOptions
from e2e.cluster.argocd import NAMESPACE, Application, ApplicationStatus, ArgoCd
from e2e.cluster.argocd import USER as ARGO_CD_USER
from e2e.cluster.commands import run
from e2e.scenarios.objects import Manifest, Objects
from e2e.scenarios.operator_process import USER as OPERATOR_USER
from e2e.scenarios.operator_process import operator_process, wait_until
from e2e.scenarios.platform import PROJECT

# The first run on a machine builds Argo CD.
pytestmark = pytest.mark.timeout(1800)

CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/servedmodels.tfserving.dev"
SETTINGS = PROJECT / "docs" / "argocd-cm.yaml"
WATCHED_SECONDS = 30
RECONCILES_WANTED = 5
CHILD_KINDS = ("deployments", "services", "configmaps", "poddisruptionbudgets")
READS = {"get", "list", "watch"}


@dataclass(frozen=True)
class Mode:
    """One way in which Argo CD applies and compares."""

    sync_options: tuple[str, ...] = ()
    compare_options: str = ""

    def application(self, name: str, path: str, namespace: str) -> Application:
        return Application(
            name=name,
            path=path,
            namespace=namespace,
            sync_options=("CreateNamespace=true", *self.sync_options),
            compare_options=self.compare_options,
        )


MODES = {
    "client-side": Mode(),
    "server-side": Mode(("ServerSideApply=true",)),
    "server-side-diff": Mode(("ServerSideApply=true",), "ServerSideDiff=true"),
}


def models_for_git() -> list[Manifest]:
    """Every ServedModel among the examples, and those of argocd_models.yaml."""
    files = [*sorted((PROJECT / "examples").glob("*.yaml")), Path(__file__).with_name("argocd_models.yaml")]
    manifests = [manifest for file in files for manifest in yaml.safe_load_all(file.read_text())]
    return [manifest for manifest in manifests if manifest["kind"] == "ServedModel"]


def as_files(directory: str, manifests: list[Manifest]) -> dict[str, str | None]:
    return {f"{directory}/{one['metadata']['name']}.yaml": yaml.safe_dump(one) for one in manifests}


def get(cluster: Cluster, kind: str, name: str, namespace: str = "default") -> Manifest | None:
    return Objects(cluster, namespace).get(kind, name)


def list_objects(cluster: Cluster, kinds: str, namespace: str, selector: str = "") -> list[Manifest]:
    return Objects(cluster, namespace).list(kinds, labels=selector)


wait = partial(wait_until, timeout_seconds=60)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A control plane with Argo CD, which installs the CRD from Git, and with the operator."""
    with Cluster.start(ClusterOptions()) as cluster:
        cluster.argo_cd.start(settings=yaml.safe_load(SETTINGS.read_text())["data"])
        crd = {f"crds/{file.name}": file.read_text() for file in (PROJECT / "crds").iterdir()}
        revision = cluster.argo_cd.commit(crd, "Install the CRD")
        cluster.argo_cd.apply(MODES["client-side"].application("crd", "crds", "default"))
        with operator_process(cluster, tmp_path_factory.mktemp("operator")) as operator:
            cluster.argo_cd.wait_synced("crd", revision)
            operator.wait_ready()
            yield cluster


@pytest.fixture(scope="module")
def argo_cd(cluster: Cluster) -> ArgoCd:
    return cluster.argo_cd


Sights = dict[str, list[ApplicationStatus]]
"""Every status that an Application had, oldest first, by its name."""


@contextmanager
def watching_applications(cluster: Cluster, log: Path) -> Iterator[Callable[[], Sights]]:
    """Note every change of every Application's status; yields how to read what was noted so far."""
    kubectl = str(cluster.program("kubernetes", "kubectl"))
    with log.open("wb") as output:
        watch = subprocess.Popen(
            [kubectl, "get", "applications", "-n", NAMESPACE, "--watch", "-o", "json"], stdout=output, env=cluster.env()
        )

    def read() -> Sights:
        assert watch.poll() is None, "the watch ended"
        noted: Sights = defaultdict(list)
        for application in _documents(log.read_text()):
            status = ApplicationStatus.model_validate(application.get("status", {}))
            noted[application["metadata"]["name"]].append(status)
        return noted

    try:
        yield read
    finally:
        watch.kill()
        watch.wait()


def _documents(text: str) -> Iterator[Manifest]:
    """The JSON documents that follow one another in ``text``; the last one may be half written."""
    decoder, position = json.JSONDecoder(), 0
    while position < len(text):
        try:
            document, end = decoder.raw_decode(text, position)
        except json.JSONDecodeError:
            return
        yield document
        position = end + len("\n")


@dataclass(frozen=True)
class Watch:
    """The Applications of MODES, each named as its mode, while the operator and other tests are at work."""

    read: Callable[[], Sights]
    began: float

    def is_enough(self) -> bool:
        if time.monotonic() - self.began < WATCHED_SECONDS:
            return False
        noted = self.read()
        return all(reconciles(noted[name]) >= RECONCILES_WANTED for name in MODES)


@pytest.fixture(scope="module")
def watch(cluster: Cluster, argo_cd: ArgoCd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    revision = argo_cd.commit(as_files("models", models_for_git()), "Add models")
    for name, mode in MODES.items():
        argo_cd.apply(mode.application(name, "models", name))
    for name in MODES:
        argo_cd.wait_synced(name, revision)
    with watching_applications(cluster, tmp_path_factory.mktemp("watch") / "applications.log") as read:
        watch = Watch(read, time.monotonic())
        for name in MODES:
            cluster.kubectl("scale", "servedmodel/digits", "--replicas=2", "-n", name)
            cluster.kubectl("patch", "servedmodel/fraud", "--type=merge", '-p={"spec":{"paused":true}}', "-n", name)
            wait(partial(get, cluster, "deployment", "mnist-default", name), "a child")
            cluster.kubectl("delete", "deployment", "mnist-default", "-n", name)
        yield watch


@pytest.fixture(scope="module")
def sights(watch: Watch) -> Sights:
    """What the Applications said in at least 30 s."""
    wait(watch.is_enough, "reconciles of every Application", timeout_seconds=120)
    return watch.read()


def reconciles(statuses: list[ApplicationStatus]) -> int:
    return len({status.reconciled_at for status in statuses})


@pytest.mark.usefixtures("watch")
@pytest.mark.parametrize("mode", MODES)
def test_the_crd_is_synced_also_by_the_next_sync(cluster: Cluster, argo_cd: ArgoCd, mode: str) -> None:
    argo_cd.apply(MODES[mode].application("crd", "crds", "default"))
    before, crd = argo_cd.status("crd"), cluster.read(CRD_PATH)
    assert crd is not None

    def is_done() -> bool:
        status = argo_cd.status("crd")
        is_newer = status.operation_state.started_at > before.operation_state.started_at
        if not is_newer:
            # Asked while a sync is under way, it is taken for a part of that; and times are of whole seconds.
            argo_cd.sync("crd", sync_options=MODES[mode].sync_options)
        return is_newer and status.operation_state.phase == "Succeeded" and status.reconciled_at > before.reconciled_at

    wait(is_done, "the next sync")
    status, after = argo_cd.status("crd"), cluster.read(CRD_PATH)
    assert status.sync.status == "Synced"
    assert [(resource.kind, resource.status) for resource in status.resources] == [
        ("CustomResourceDefinition", "Synced")
    ]
    assert after is not None
    assert after["metadata"]["generation"] == crd["metadata"]["generation"]


@pytest.mark.usefixtures("watch")
def test_git_is_followed_to_the_end(cluster: Cluster, argo_cd: ArgoCd) -> None:
    """A change, a model that leaves Git, and the Application that goes with all that it made, in each mode."""
    applications = {f"followed-{name}": mode for name, mode in MODES.items()}
    digits, everything = (one for one in models_for_git() if one["metadata"]["name"] in ("everything", "digits"))
    revision = argo_cd.commit(as_files("followed", [digits, everything]), "Add two models")
    for name, mode in applications.items():
        argo_cd.apply(mode.application(name, "followed", name))
    for name in applications:
        argo_cd.wait_synced(name, revision)
        wait(partial(get, cluster, "deployment", "digits-cpu", name), "a child")

    changed = deepcopy(everything)
    pool = changed["spec"]["pools"][0]
    pool["scheduling"]["tolerations"] = [{"key": "other", "operator": "Exists"}]
    del pool["podTemplate"]["metadata"]["labels"], pool["podLabels"], changed["spec"]["batching"]
    removed: dict[str, str | None] = {"followed/digits.yaml": None}
    revision = argo_cd.commit({**as_files("followed", [changed]), **removed}, "Change one, remove one")
    for name in applications:
        argo_cd.wait_synced(name, revision)
        (live,) = list_objects(cluster, "servedmodels", name)
        live_pool = live["spec"]["pools"][0]
        assert live_pool["scheduling"]["tolerations"] == pool["scheduling"]["tolerations"]
        assert live_pool["podTemplate"]["metadata"] == pool["podTemplate"]["metadata"]
        assert "podLabels" not in live_pool
        assert "batching" not in live["spec"]

    argo_cd.delete(*applications)
    for name in applications:
        assert list_objects(cluster, "servedmodels", name) == []
        wait(partial(has_no_children, cluster, name), "children are gone")


def has_no_children(cluster: Cluster, namespace: str) -> bool:
    selector = "app.kubernetes.io/managed-by=tfserving-operator"
    return not list_objects(cluster, ",".join(CHILD_KINDS), namespace, selector)


def condition(condition_type: str, status: str, reason: str = "Reason") -> Manifest:
    return {"type": condition_type, "status": status, "reason": reason, "message": f"{condition_type} is {status}"}


HEALTH: dict[str, tuple[Manifest, str, str]] = {
    "new": ({"status": None}, "Progressing", "waiting for the operator"),
    "of an older generation": (
        {"status": {"observedGeneration": 1, "conditions": [condition("Ready", "True")]}},
        "Progressing",
        "waiting for the operator",
    ),
    "paused": ({"spec": {"paused": True}}, "Suspended", "spec.paused is true"),
    "serving": ({"conditions": [condition("Ready", "True")]}, "Healthy", "Ready is True"),
    "rolling": (
        {"conditions": [condition("Ready", "True"), condition("Progressing", "True")]},
        "Progressing",
        "Progressing is True",
    ),
    "serving with a fault": (
        {"conditions": [condition("Ready", "True"), condition("Degraded", "True", "ModelLoadFailed")]},
        "Degraded",
        "Degraded is True",
    ),
    "waiting for a node": (
        {"conditions": [condition("Ready", "False"), condition("Degraded", "True", "Unschedulable")]},
        "Progressing",
        "Degraded is True",
    ),
    "stalled": (
        {"conditions": [condition("Degraded", "True", "SourceUnavailable"), condition("Stalled", "True")]},
        "Degraded",
        "Degraded is True",
    ),
    "not ready": ({"conditions": [condition("Ready", "False")]}, "Degraded", "Ready is False"),
    "without conditions": ({"conditions": []}, "Progressing", ""),
}


@pytest.mark.usefixtures("watch")
@pytest.mark.parametrize("case", HEALTH)
def test_the_health_script_of_the_settings(argo_cd: ArgoCd, tmp_path: Path, case: str) -> None:
    given, health, message = HEALTH[case]
    model = {
        "apiVersion": "tfserving.dev/v1alpha1",
        "kind": "ServedModel",
        "metadata": {"name": "m", "namespace": "n", "generation": 2},
        "spec": given.get("spec", {}),
        "status": given.get("status", {"observedGeneration": 2, "conditions": given.get("conditions", [])}),
    }
    file = tmp_path / "model.yaml"
    file.write_text(yaml.safe_dump({key: value for key, value in model.items() if value is not None}))
    show_health = ("admin", "settings", "resource-overrides", "health")
    said = run([argo_cd.executable, *show_health, file, "--argocd-cm-path", SETTINGS]).stdout
    assert said.splitlines()[0] == f"STATUS: {health}"
    assert f"MESSAGE: {message}" in said


@pytest.mark.parametrize("mode", MODES)
def test_served_models_stay_synced_while_the_operator_works(sights: Sights, mode: str) -> None:
    print(f"{mode}: {reconciles(sights[mode])} reconciles were seen")
    assert [status for status in sights[mode] if status.sync.status != "Synced"] == []
    # Nothing else than what is in Git: children are neither compared nor pruned.
    wanted = {("ServedModel", manifest["metadata"]["name"], "Synced", False) for manifest in models_for_git()}
    seen = {
        (resource.kind, resource.name, resource.status, resource.requires_pruning)
        for status in sights[mode]
        for resource in status.resources
    }
    assert seen == wanted
    assert len({status.operation_state.started_at for status in sights[mode]}) == 1


@pytest.mark.usefixtures("sights")
@pytest.mark.parametrize("mode", MODES)
def test_what_git_leaves_out_is_kept_by_the_next_sync(cluster: Cluster, argo_cd: ArgoCd, mode: str) -> None:
    before = argo_cd.status(mode)
    argo_cd.sync(mode, sync_options=MODES[mode].sync_options)

    def is_done() -> bool:
        operation = argo_cd.status(mode).operation_state
        return operation.started_at > before.operation_state.started_at and operation.phase == "Succeeded"

    wait(is_done, "the next sync")
    scaled, paused = (get(cluster, "servedmodel", name, mode) or {} for name in ("digits", "fraud"))
    assert scaled["spec"]["replicas"] == 2
    assert paused["spec"]["paused"] is True
    assert argo_cd.wait_synced(mode, before.sync.revision).sync.status == "Synced"


@pytest.mark.usefixtures("sights")
@pytest.mark.parametrize("mode", MODES)
def test_only_the_operator_writes_children_and_it_writes_no_spec(cluster: Cluster, mode: str) -> None:
    events = [event for event in cluster.audit_events() if event.namespace == mode]
    by_operator = {
        (event.verb, event.subresource)
        for event in events
        if event.user == OPERATOR_USER and event.resource == "servedmodels" and event.verb not in READS
    }
    by_argo_cd = [
        event
        for event in events
        if event.user == ARGO_CD_USER and event.resource in CHILD_KINDS and event.verb not in READS
    ]
    assert by_operator == {("patch", "status")}
    assert by_argo_cd == []
    assert {event.resource for event in events if event.user == OPERATOR_USER} >= {*CHILD_KINDS, "events"}


@pytest.mark.usefixtures("sights")
def test_health_says_how_the_models_are(argo_cd: ArgoCd) -> None:
    expected = {"asleep": "Healthy", "frozen": "Suspended", "digits": "Progressing"}

    def health() -> dict[str, str]:
        resources = argo_cd.status("server-side-diff").resources
        return {resource.name: resource.health.status for resource in resources}

    wait(lambda: expected.items() <= health().items(), "each model's health")
    assert argo_cd.status("server-side-diff").conditions == ()
