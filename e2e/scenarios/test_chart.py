"""What Helm makes of the chart, before any cluster sees it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster import binaries
from e2e.cluster.commands import run
from e2e.cluster.errors import CommandFailed
from tfserving_operator.settings import Settings

CHART = Path(__file__).resolve().parents[2] / "charts" / "tfserving-operator"
Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def helm() -> Path:
    return binaries.build(["helm"]).helm / "helm"


def rendered(helm: Path, *settings: str, values: Mapping[str, Any] | None = None) -> list[Manifest]:
    """Return the manifests for ``settings``, as by ``--set``, and ``values``, as of a file: its numbers are floats."""
    sets = itertools.chain.from_iterable(("--set", setting) for setting in settings)
    finished = run(
        [helm, "template", "test", CHART, "--kube-version", "1.36", "--namespace", "operators", "--values", "-", *sets],
        stdin=yaml.safe_dump(dict(values or {})),
    )
    return [manifest for manifest in yaml.safe_load_all(finished.stdout) if manifest]


def of_kind(manifests: Sequence[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def operator_container(manifests: Sequence[Manifest]) -> Manifest:
    (deployment,) = of_kind(manifests, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def environment(manifests: Sequence[Manifest]) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in operator_container(manifests)["env"]}


def operator_settings(manifests: Sequence[Manifest]) -> Settings:
    """Return what the operator makes of its environment; ValidationError where it would not start."""
    prefix = str(Settings.model_config["env_prefix"])
    return Settings.model_validate(
        {name.removeprefix(prefix).lower(): value for name, value in environment(manifests).items()}
    )


def test_the_chart_passes_helm_lint(helm: Path) -> None:
    assert "0 chart(s) failed" in run([helm, "lint", "--strict", CHART]).stdout


def test_by_default_the_operator_watches_all_namespaces_with_one_cluster_role(helm: Path) -> None:
    manifests = rendered(helm)
    assert environment(manifests)["TFSERVING_OPERATOR_WATCH_NAMESPACES"] == ""
    assert not of_kind(manifests, "Role")
    bindings = of_kind(manifests, "ClusterRoleBinding")
    assert [binding["roleRef"]["name"] for binding in bindings] == ["test-tfserving-operator"]


def test_with_a_list_of_namespaces_it_has_the_same_rights_there_and_none_elsewhere(helm: Path) -> None:
    manifests = rendered(helm, "watchNamespaces={team-a,team-b}", "rbac.aggregateToUserRoles=false")
    assert environment(manifests)["TFSERVING_OPERATOR_WATCH_NAMESPACES"] == "team-a,team-b"
    assert not of_kind(manifests, "ClusterRole") + of_kind(manifests, "ClusterRoleBinding")
    roles = {role["metadata"]["namespace"]: role["rules"] for role in of_kind(manifests, "Role")}
    cluster_wide = [role["rules"] for role in of_kind(rendered(helm, "rbac.aggregateToUserRoles=false"), "ClusterRole")]
    assert roles == {"team-a": cluster_wide[0], "team-b": cluster_wide[0]}
    bound = {role["metadata"]["namespace"]: role["subjects"] for role in of_kind(manifests, "RoleBinding")}
    subject = {"kind": "ServiceAccount", "name": "test-tfserving-operator", "namespace": "operators"}
    assert bound == {"team-a": [subject], "team-b": [subject]}


def test_no_right_is_a_wildcard_and_secrets_are_not_among_them(helm: Path) -> None:
    (role,) = of_kind(rendered(helm, "rbac.aggregateToUserRoles=false"), "ClusterRole")
    words = {word for rule in role["rules"] for key in ("apiGroups", "resources", "verbs") for word in rule[key]}
    assert not {word for word in words if "*" in word}
    assert "secrets" not in words


def test_model_pods_fetch_with_the_operators_own_image(helm: Path) -> None:
    manifests = rendered(helm, "image.repository=registry.example/operator", "image.tag=v9")
    assert operator_container(manifests)["image"] == "registry.example/operator:v9"
    assert environment(manifests)["TFSERVING_OPERATOR_FETCHER_IMAGE"] == "registry.example/operator:v9"


def test_the_budget_of_the_fleet_is_read_as_it_was_given(helm: Path) -> None:
    devices = r"autoscaling.budget.devices.nvidia\.com/gpu=16,autoscaling.budget.devices.example\.com/npu=4"
    settings = operator_settings(rendered(helm, "autoscaling.budget.replicas=40", devices))
    assert settings.fleet_max_replicas == 40
    assert settings.fleet_max_devices == {"nvidia.com/gpu": 16, "example.com/npu": 4}


def test_every_optional_value_shows_in_the_manifests(helm: Path) -> None:
    manifests = rendered(
        helm,
        "podLabels.team=serving",
        "podAnnotations.note=hello",
        "nodeSelector.disk=ssd",
        "tolerations[0].key=infra",
        "affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution={}",
        "priorityClassName=system-cluster-critical",
        "imagePullSecrets[0].name=registry",
        "extraEnv[0].name=HTTPS_PROXY,extraEnv[0].value=http://proxy.example",
    )
    (deployment,) = of_kind(manifests, "Deployment")
    template = deployment["spec"]["template"]
    assert template["metadata"]["labels"]["team"] == "serving"
    assert template["metadata"]["annotations"]["note"] == "hello"
    expected = {
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "infra"}],
        "priorityClassName": "system-cluster-critical",
        "imagePullSecrets": [{"name": "registry"}],
    }
    assert {key: template["spec"][key] for key in expected} == expected
    assert "podAntiAffinity" in template["spec"]["affinity"]
    assert environment(manifests)["HTTPS_PROXY"] == "http://proxy.example"


@pytest.mark.parametrize(
    ("setting", "kind"),
    [("metrics.serviceMonitor", "ServiceMonitor"), ("metrics.podMonitor", "PodMonitor")],
)
def test_monitors_select_what_the_chart_makes(helm: Path, setting: str, kind: str) -> None:
    assert not of_kind(rendered(helm), kind)
    manifests = rendered(helm, f"{setting}.enabled=true", f"{setting}.labels.release=prometheus")
    (monitor,) = of_kind(manifests, kind)
    (deployment,) = of_kind(manifests, "Deployment")
    (service,) = of_kind(manifests, "Service")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    assert wanted <= service["metadata"]["labels"].items()
    assert wanted <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("log.format=xml", "/log/format"),
        ("concurrency=0", "/concurrency"),
        ("watchNamespaces={Team_A}", "/watchNamespaces/0"),
        ("replicas=2", "replicas"),
        ("metrics.podMonitor.interval=often", "/metrics/podMonitor/interval"),
    ],
)
def test_a_wrong_value_is_refused_by_name(helm: Path, setting: str, named: str) -> None:
    with pytest.raises(CommandFailed, match=named):
        rendered(helm, setting)


def test_the_image_and_the_chart_have_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = (CHART.parents[1] / "pyproject.toml").read_text()
    assert f'\nversion = "{chart["appVersion"]}"\n' in project
    assert chart["version"] == chart["appVersion"]
