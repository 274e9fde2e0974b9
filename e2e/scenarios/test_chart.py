"""What Helm makes of the chart, before any cluster sees it."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
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


def rendered(
    helm: Path,
    *settings: str,
    values: Mapping[str, Any] | None = None,
    release: str = "test",
    namespace: str = "operators",
) -> list[Manifest]:
    """Return the manifests for ``settings``, as by ``--set``, and ``values``, as of a file: its numbers are floats."""
    sets = itertools.chain.from_iterable(("--set", setting) for setting in settings)
    finished = run(
        [helm, "template", release, CHART, "--kube-version", "1.36", "--namespace", namespace, "--values", "-", *sets],
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
    variables = [(variable["name"], variable["value"]) for variable in operator_container(manifests)["env"]]
    assert len(dict(variables)) == len(variables), "server-side apply refuses a name that is there twice"
    return dict(variables)


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
    assert [binding["roleRef"]["name"] for binding in bindings] == ["operators:test-tfserving-operator"]


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


def test_no_service_beside_it_sets_a_variable_that_is_named_like_a_setting(helm: Path) -> None:
    (deployment,) = of_kind(rendered(helm), "Deployment")
    assert deployment["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_model_pods_fetch_with_the_operators_own_image(helm: Path) -> None:
    manifests = rendered(helm, "image.repository=registry.example/operator", "image.tag=v9")
    assert operator_container(manifests)["image"] == "registry.example/operator:v9"
    assert environment(manifests)["TFSERVING_OPERATOR_FETCHER_IMAGE"] == "registry.example/operator:v9"


def test_the_budget_of_the_fleet_is_read_as_it_was_given(helm: Path) -> None:
    devices = r"autoscaling.budget.devices.nvidia\.com/gpu=16,autoscaling.budget.devices.example\.com/npu=4"
    settings = operator_settings(rendered(helm, "autoscaling.budget.replicas=40", devices))
    assert settings.fleet_max_replicas == 40
    assert settings.fleet_max_devices == {"nvidia.com/gpu": 16, "example.com/npu": 4}


def test_large_numbers_of_a_values_file_are_read_as_they_were_given(helm: Path) -> None:
    budget = {"replicas": 1_000_000, "devices": {"nvidia.com/gpu": 2_000_000}}
    manifests = rendered(
        helm,
        values={
            "autoscaling": {"budget": budget},
            "resyncSeconds": 3_000_000,
            "prometheus": {"maxSampleAgeSeconds": 4_000_000},
            "tolerations": [{"key": "infra", "tolerationSeconds": 5_000_000}],
            "resources": {"limits": {"memory": 6_000_000_000}},
        },
    )
    exponents = {name: text for name, text in environment(manifests).items() if "e+" in text}
    # A number that need not be an integer may have one: the operator reads it all the same.
    assert exponents.keys() <= {"TFSERVING_OPERATOR_PROMETHEUS_MAX_SAMPLE_AGE_SECONDS"}
    settings = operator_settings(manifests)
    assert (settings.fleet_max_replicas, settings.fleet_max_devices) == (1_000_000, {"nvidia.com/gpu": 2_000_000})
    assert (settings.resync_seconds, settings.prometheus_max_sample_age_seconds) == (3_000_000, 4_000_000)
    (deployment,) = of_kind(manifests, "Deployment")
    assert deployment["spec"]["template"]["spec"]["tolerations"][0]["tolerationSeconds"] == 5_000_000
    assert operator_container(manifests)["resources"]["limits"]["memory"] == 6_000_000_000


def test_a_number_that_is_taken_away_leaves_the_operator_its_default(helm: Path) -> None:
    settings = operator_settings(rendered(helm, values={"concurrency": None, "resyncSeconds": None}))
    assert (settings.concurrency, settings.resync_seconds) == (8, 300)


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
    ("name", "value"),
    [("LOG_LEVEL", "debug"), ("WATCH_NAMESPACES", "team-a"), ("PROMETHEUS_POD_LABEL", "pod_name")],
)
def test_a_variable_of_the_users_takes_the_place_of_the_charts(helm: Path, name: str, value: str) -> None:
    full_name = f"TFSERVING_OPERATOR_{name}"
    manifests = rendered(helm, values={"extraEnv": [{"name": full_name, "value": value}]})
    assert environment(manifests)[full_name] == value


def test_labels_and_annotations_of_the_users_take_the_place_of_the_charts(helm: Path) -> None:
    key = "app.kubernetes.io/managed-by"
    given = {key: "platform", "kubectl.kubernetes.io/default-container": "sidecar"}
    monitor = {"enabled": True, "labels": given}
    manifests = rendered(
        helm,
        values={
            "podAnnotations": given,
            "metrics": {"serviceMonitor": monitor, "podMonitor": monitor},
            "modelServers": {"podMonitor": monitor},
        },
    )
    monitors = of_kind(manifests, "ServiceMonitor") + of_kind(manifests, "PodMonitor")
    assert [one["metadata"]["labels"][key] for one in monitors] == ["platform"] * 3
    (deployment,) = of_kind(manifests, "Deployment")
    # The annotation says which container the chart itself made.
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["kubectl.kubernetes.io/default-container"] == "operator"


def test_two_installs_of_one_name_share_no_object(helm: Path) -> None:
    """Neither in the cluster, nor in a namespace that both watch."""

    def objects(namespace: str, *settings: str) -> set[tuple[str, str, str]]:
        manifests = rendered(helm, *settings, namespace=namespace)
        return {(one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]) for one in manifests}

    for settings in ((), ("watchNamespaces={team}",)):
        assert not objects("a", *settings) & objects("b", *settings)


@pytest.mark.parametrize(
    "release",
    ["r" * 53, f"{'r' * 36}-tfserving-operator"[:53], "my.release", f"{'r' * 54}"[:35] + "-a.b"],
    ids=["long", "long with the chart's name", "dotted", "long and dotted"],
)
def test_no_name_is_longer_or_other_than_its_object_may_have(helm: Path, release: str) -> None:
    everything = (
        "modelServers.podMonitor.enabled=true",
        "metrics.serviceMonitor.enabled=true",
        "prometheus.url=http://p",
    )
    manifests = rendered(helm, *everything, release=release)
    (service,) = of_kind(manifests, "Service")
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", service["metadata"]["name"])
    assert max(len(one["metadata"]["name"]) for one in manifests) <= 253
    names = [one["metadata"]["name"].removesuffix("-metrics") for one in [*of_kind(manifests, "Deployment"), service]]
    assert names[0] == names[1]


def value_paths(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, below in values.items():
        yield (*above, name)
        if isinstance(below, dict):
            yield from value_paths(below, (*above, name))


NEEDED = {"image", "image.repository", "serviceAccount", "serviceAccount.create", "rbac", "rbac.create"}
"""Values without which there is no chart to speak of."""


def test_a_value_that_is_not_there_leaves_a_default_or_is_asked_for_by_name(helm: Path) -> None:
    """As those that a release added are not, after ``helm upgrade --reuse-values``."""
    everything_on = ("modelServers.podMonitor", "metrics.serviceMonitor", "metrics.podMonitor")
    for path in value_paths(yaml.safe_load((CHART / "values.yaml").read_text())):
        values: Any = None
        for name in reversed(path):
            values = {name: values}
        enabled = [f"{one}.enabled=true" for one in everything_on if path[0] != one.split(".")[0]]
        if (place := ".".join(path)) in NEEDED:
            with pytest.raises(CommandFailed, match=f"missing property '{path[-1]}'"):
                rendered(helm, *enabled, values=values)
        else:
            settings = operator_settings(rendered(helm, *enabled, values=values))
            assert settings.prometheus_pool_label == "tfserving_dev_pool", place


@pytest.mark.parametrize(
    ("interval", "is_one"),
    [("15s", True), ("1m30s", True), ("1h", True), ("500ms", True), ("often", False), ("30s1m", False), ("", False)],
)
def test_an_interval_is_what_prometheus_takes_for_one(helm: Path, interval: str, is_one: bool) -> None:
    values = {"metrics": {"podMonitor": {"enabled": True, "interval": interval}}}
    with contextlib.nullcontext() if is_one else pytest.raises(CommandFailed, match="/metrics/podMonitor/interval"):
        (monitor,) = of_kind(rendered(helm, values=values), "PodMonitor")
        assert monitor["spec"]["podMetricsEndpoints"][0]["interval"] == interval


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


NUMBER_LIKE: Mapping[str, Any] = {
    "watchNamespaces": ["123"],
    "image": {"repository": "1", "tag": "2"},
    "imagePullSecrets": [{"name": "3"}],
    "serviceAccount": {"annotations": {"a": "5"}},
    "podAnnotations": {"a": "6"},
    "podLabels": {"a": "7"},
    "nodeSelector": {"a": "8"},
    "priorityClassName": "9",
    "extraEnv": [{"name": "10", "value": "11"}],
    "metrics": {
        "service": {"annotations": {"a": "12"}},
        "serviceMonitor": {"enabled": True, "labels": {"a": "13"}},
        "podMonitor": {"enabled": True, "labels": {"a": "14"}},
    },
    "modelServers": {"podMonitor": {"enabled": True, "labels": {"a": "15"}}},
    "prometheus": {
        "url": "http://16",
        "bearerToken": {"secretName": "17", "key": "18"},
        "headers": {"22": "23"},
        "secretHeaders": {"24": {"secretName": "25", "key": "26"}},
        "ca": {"secretName": "27", "key": "28"},
        "clientCertificate": {"secretName": "29", "certificateKey": "30", "keyKey": "31"},
        "matchers": {"a": "32"},
        "namespaces": {
            "33": {
                "url": "http://34",
                "headers": {"35": "36"},
                "basicAuth": {"secretName": "19", "usernameKey": "20", "passwordKey": "21"},
            }
        },
    },
}
"""Every free text of the values, as one that YAML takes for a number where it is not quoted."""
NUMBERS = {"replicas", "containerPort", "port", "periodSeconds", "timeoutSeconds", "failureThreshold"}
"""Fields of the manifests that are numbers."""


def keys_and_scalars(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the place of every key and of every value that holds no others."""
    if isinstance(node, dict):
        for key, below in node.items():
            yield f"{place} key", key
            yield from keys_and_scalars(below, f"{place}.{key}")
    elif isinstance(node, list):
        for index, below in enumerate(node):
            yield from keys_and_scalars(below, f"{place}[{index}]")
    else:
        yield place, node


@pytest.mark.parametrize(
    "names",
    [{"nameOverride": "40"}, {"fullnameOverride": "41"}, {"serviceAccount": {"name": "42"}}],
    ids=lambda names: next(iter(names)),
)
@pytest.mark.parametrize("where", [["123"], []], ids=["one namespace", "all namespaces"])
def test_a_text_that_looks_like_a_number_stays_a_text(helm: Path, names: Manifest, where: list[str]) -> None:
    values = {**NUMBER_LIKE, **names, "watchNamespaces": where}
    manifests = rendered(helm, values=values, release="98", namespace="99")
    (config,) = of_kind(manifests, "ConfigMap")
    manifests.append({"kind": "file", "data": yaml.safe_load(config["data"]["prometheus.yaml"])})
    numbers = {
        f"{manifest['kind']}{place}": value
        for manifest in manifests
        for place, value in keys_and_scalars(manifest)
        if isinstance(value, int | float) and not isinstance(value, bool) and place.rpartition(".")[2] not in NUMBERS
    }
    assert numbers == {}


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("log.format=xml", "/log/format"),
        ("concurrency=0", "/concurrency"),
        ("watchNamespaces={Team_A}", "/watchNamespaces/0"),
        ("replicas=2", "replicas"),
        ("extraEnv[0].name=A,extraEnv[0].foo=1", "/extraEnv/0"),
        ("extraEnv[0].value=A", "/extraEnv/0"),
        ("extraEnv[0].name=TFSERVING_OPERATOR_HEALTH_PORT,extraEnv[0].value=x", "extraEnv: leave out .*_HEALTH_PORT"),
        ("tolerations={1}", "/tolerations/0"),
        ("tolerations[0].efect=NoSchedule", "/tolerations/0"),
        ("imagePullSecrets[0].names=x", "/imagePullSecrets/0"),
        ("affinity.podAfinity.x=y", "/affinity"),
        ("resources.limit.memory=1Gi", "/resources"),
        (r"podLabels.app\.kubernetes\.io/name=x", "podLabels: leave out app.kubernetes.io/name"),
        (r"podLabels.app\.kubernetes\.io/instance=x", "podLabels: leave out app.kubernetes.io/instance"),
        ("nameOverride=A_b", "/nameOverride"),
        ("fullnameOverride=a.b", "/fullnameOverride"),
        (f"fullnameOverride={'a' * 56}", "/fullnameOverride"),
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
