"""The demonstration on somebody's own cluster: it removes what it made, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from e2e.demo.__main__ import main
from e2e.demo.current import CurrentCluster
from e2e.demo.target import NAMESPACE, OPERATOR_NAMESPACE, DemoFailed

# What exists is a file in $CLUSTER: of a namespace, "ours" when the demonstration made it.
KUBECTL = """#!/bin/sh
echo "kubectl $*" >>"$CLUSTER/calls"
case "$*" in
version*) exit 0 ;;
"get namespace --selector="*)
    name="${4#--field-selector=metadata.name=}"
    grep -qs ours "$CLUSTER/$name" && echo "namespace/$name" ;;
"get servedmodels "*)
    test -f "$CLUSTER/served-models" && cat "$CLUSTER/served-models" && exit 0
    cat "$CLUSTER/failure" >&2; exit 1 ;;
"get "*) test -f "$CLUSTER/$3" && echo "$2/$3" ;;
esac
exit 0
"""
HELM = """#!/bin/sh
echo "helm $*" >>"$CLUSTER/calls"
"""
CRD = "servedmodels.tfserving.dev"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, script in (("kubectl", KUBECTL), ("helm", HELM)):
        (tools / name).write_text(script)
        (tools / name).chmod(0o755)
    state = tmp_path / "cluster"
    state.mkdir()
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CLUSTER", str(state))
    return state


def set_up(cluster: Path, **namespaces: str) -> None:
    """Let the cluster have the operator, with namespaces of the demonstration's or of somebody else's."""
    (cluster / CRD).touch()
    (cluster / "served-models").touch()
    for name, whose in namespaces.items():
        (cluster / {"operator": OPERATOR_NAMESPACE, "demo": NAMESPACE}[name]).write_text(whose)


def removals(cluster: Path) -> list[str]:
    calls = (cluster / "calls").read_text().splitlines()
    return [call.partition(" --")[0] for call in calls if call.startswith(("kubectl delete", "helm uninstall"))]


def remove() -> None:
    CurrentCluster("operator:dev").remove(lambda _: None)


def prepare() -> None:
    CurrentCluster("operator:dev").prepare(lambda _: None)


EVERYTHING = [
    f"kubectl delete namespace {NAMESPACE}",
    "helm uninstall tfserving-operator",
    "kubectl delete",
    f"kubectl delete namespace {OPERATOR_NAMESPACE}",
]


def test_what_the_demonstration_made_is_removed_in_the_end_the_namespace_that_says_so(cluster: Path) -> None:
    set_up(cluster, operator="ours", demo="ours")
    remove()
    assert removals(cluster) == EVERYTHING


def test_without_its_crd_there_are_no_served_models(cluster: Path) -> None:
    set_up(cluster, operator="ours", demo="ours")
    (cluster / "served-models").unlink()
    (cluster / "failure").write_text('error: the server doesn\'t have a resource type "servedmodels"\n')
    remove()
    assert removals(cluster) == EVERYTHING


@pytest.mark.parametrize("failure", ["Unable to connect to the server: EOF", "Error from server (Forbidden): no"])
def test_while_it_is_not_known_whose_served_models_there_are_the_crd_stays(cluster: Path, failure: str) -> None:
    set_up(cluster, operator="ours", demo="ours")
    (cluster / "served-models").unlink()
    (cluster / "failure").write_text(failure)
    with pytest.raises(DemoFailed, match="the operator stays, as others may have ServedModels: "):
        remove()
    assert removals(cluster) == EVERYTHING[:1]


def test_the_operator_stays_for_the_served_models_of_others(cluster: Path) -> None:
    set_up(cluster, operator="ours", demo="ours")
    (cluster / "served-models").write_text("servedmodel.tfserving.dev/ranking\n")
    with pytest.raises(DemoFailed, match="it looks after 1 ServedModels"):
        remove()
    assert removals(cluster) == EVERYTHING[:1]


@pytest.mark.parametrize("whose", [{"operator": "theirs"}, {"operator": "ours", "demo": "theirs"}], ids=str)
def test_a_namespace_of_somebody_else_is_neither_used_nor_removed(cluster: Path, whose: dict[str, str]) -> None:
    set_up(cluster, **whose)
    for touch in (prepare, remove):
        with pytest.raises(DemoFailed, match="is not the demonstration's"):
            touch()
    assert removals(cluster) == []


def test_an_operator_in_another_namespace_is_neither_changed_nor_removed(cluster: Path) -> None:
    set_up(cluster)
    with pytest.raises(DemoFailed, match="the cluster has ServedModels already"):
        prepare()
    remove()
    assert removals(cluster) == []


@pytest.mark.parametrize("whose", [{}, {"operator": "ours", "demo": "ours"}], ids=["new", "again"])
def test_a_cluster_without_an_operator_of_somebody_else_will_do(cluster: Path, whose: dict[str, str]) -> None:
    if whose:
        set_up(cluster, **whose)
    prepare()


def test_removal_without_kubectl_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["e2e.demo", "down", "--cluster", "current"])
    assert main() == 1
    assert "kubectl is needed for CLUSTER=current" in capsys.readouterr().out


def test_a_model_that_is_not_there_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["e2e.demo", "up", "--model", "/nonexistent"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "argument --model: /nonexistent is not a directory" in capsys.readouterr().err
