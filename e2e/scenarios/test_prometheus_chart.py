"""What the chart makes of the Prometheus settings: files that the operator reads, and a PodMonitor."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from e2e.cluster.errors import CommandFailed
from e2e.scenarios.test_chart import (
    Manifest,
    environment,
    helm,
    of_kind,
    operator_container,
    operator_settings,
    rendered,
)
from tfserving_operator.clients.prometheus_endpoint import PrometheusAddresses
from tfserving_operator.clients.promql import TAKEN_LABELS

__all__ = ["helm"]

DIRECTORY = "/etc/tfserving-operator/prometheus"


def addresses(manifests: list[Manifest]) -> PrometheusAddresses:
    (config,) = (m for m in of_kind(manifests, "ConfigMap") if m["metadata"]["name"].endswith("-prometheus"))
    return PrometheusAddresses.model_validate(yaml.safe_load(config["data"]["prometheus.yaml"]))


def mounted(manifests: list[Manifest]) -> dict[str, tuple[str, str]]:
    """Return the Secret and key of every file."""
    (deployment,) = of_kind(manifests, "Deployment")
    (volume,) = (v for v in deployment["spec"]["template"]["spec"]["volumes"] if v["name"] == "prometheus")
    return {
        f"{DIRECTORY}/{item['path']}": (source["secret"]["name"], item["key"])
        for source in volume["projected"]["sources"]
        if "secret" in source
        for item in source["secret"]["items"]
    }


def test_without_an_address_nothing_is_mounted(helm: Path) -> None:
    manifests = rendered(helm)
    assert of_kind(manifests, "ConfigMap") == []
    assert "TFSERVING_OPERATOR_PROMETHEUS_CONFIG_FILE" not in environment(manifests)


def test_every_file_that_the_operator_reads_is_mounted_from_its_secret(helm: Path) -> None:
    manifests = rendered(
        helm,
        "prometheus.url=https://prometheus:9090/api",
        "prometheus.bearerToken.secretName=reader",
        "prometheus.ca.secretName=authority",
        "prometheus.clientCertificate.secretName=client",
        "prometheus.headers.X-Scope-OrgID=team",
        "prometheus.secretHeaders.X-Key.secretName=keys,prometheus.secretHeaders.X-Key.key=one",
        "prometheus.matchers.cluster=eu-1",
    )
    endpoint = addresses(manifests).endpoint_of("any")
    files = mounted(manifests)

    assert endpoint is not None
    assert (endpoint.headers, endpoint.matchers) == ({"X-Scope-OrgID": "team"}, {"cluster": "eu-1"})
    assert {
        str(path): files[str(path)]
        for path in (
            endpoint.bearer_token_file,
            endpoint.ca_file,
            endpoint.client_certificate_file,
            endpoint.client_key_file,
            endpoint.header_files["X-Key"],
        )
    } == files
    assert files[f"{DIRECTORY}/default/token"] == ("reader", "token")
    assert files[f"{DIRECTORY}/default/headers/X-Key"] == ("keys", "one")
    mounts = {mount["name"]: mount for mount in operator_container(manifests)["volumeMounts"]}
    assert mounts["prometheus"] == {"name": "prometheus", "mountPath": DIRECTORY, "readOnly": True}
    assert environment(manifests)["TFSERVING_OPERATOR_PROMETHEUS_CONFIG_FILE"] == f"{DIRECTORY}/prometheus.yaml"


def test_a_namespace_may_have_an_address_and_credentials_of_its_own(helm: Path) -> None:
    manifests = rendered(
        helm,
        "prometheus.namespaces.team-a.url=http://team-a:9090",
        "prometheus.namespaces.team-a.basicAuth.secretName=team-a-reader",
    )
    own = addresses(manifests).endpoint_of("team-a")

    assert addresses(manifests).endpoint_of("team-b") is None
    assert own is not None
    assert own.basic_auth is not None
    assert mounted(manifests)[str(own.basic_auth.password_file)] == ("team-a-reader", "password")


def test_a_changed_address_restarts_the_operator(helm: Path) -> None:
    def checksum(url: str) -> str:
        (deployment,) = of_kind(rendered(helm, f"prometheus.url={url}"), "Deployment")
        found: str = deployment["spec"]["template"]["metadata"]["annotations"]["checksum/prometheus"]
        return found

    assert checksum("http://a") != checksum("http://b")


@pytest.mark.parametrize(
    ("given", "timeout_seconds"),
    [
        ({}, 1.5),
        ({"autoscaling": {"tickSeconds": 1.5}}, 1.125),
        ({"autoscaling": {"tickSeconds": 0.5}}, 0.375),
        ({"autoscaling": {"tickSeconds": 1}, "prometheus": {"timeoutSeconds": 0.9}}, 0.9),
    ],
    ids=["as it comes", "short tick", "shortest tick", "both"],
)
def test_a_short_tick_alone_is_enough_to_start_with(helm: Path, given: Manifest, timeout_seconds: float) -> None:
    assert operator_settings(rendered(helm, values=given)).prometheus_timeout_seconds == timeout_seconds


CREDENTIALS = "prometheus.url=http://p,prometheus.bearerToken.secretName=a"
EXCLUSIVE = "prometheus: bearerToken, basicAuth and a header Authorization exclude each other"
SECRET_HEADERS = "prometheus.secretHeaders"
OWN = "prometheus.namespaces.team-a"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (f"{CREDENTIALS},prometheus.basicAuth.secretName=b", EXCLUSIVE),
        (f"{CREDENTIALS},prometheus.headers.authorization=b", EXCLUSIVE),
        (f"{CREDENTIALS},{SECRET_HEADERS}.Authorization.secretName=b,{SECRET_HEADERS}.Authorization.key=c", EXCLUSIVE),
        (f"{OWN}.url=http://p,{OWN}.bearerToken.secretName=a,{OWN}.basicAuth.secretName=b", f"{OWN}: bearerToken, b"),
        (
            f"prometheus.url=http://p,prometheus.headers.X-A=b,{SECRET_HEADERS}.x-a.secretName=b,{SECRET_HEADERS}.x-a.key=c",
            "a header is there twice",
        ),
        ("prometheus.url=https://p,prometheus.ca.secretName=a,prometheus.insecureSkipVerify=true", "ca has no effect"),
        ("prometheus.timeoutSeconds=2", r"timeoutSeconds \(2\) must be shorter than autoscaling.tickSeconds \(2\)"),
        ("prometheus.timeoutSeconds=1,autoscaling.tickSeconds=1", "must be shorter"),
        ("prometheus.labels.pod=namespace", "must differ"),
        ("prometheus.url=http://p/api/v1", "prometheus.url: leave out /api/v1"),
        (f"{OWN}.url=http://p/x/api/v1/", f"{OWN}.url: leave out /api/v1"),
        ("prometheus.url=http://p,prometheus.matchers.namespace=x", "prometheus.matchers: leave out namespace"),
        ("prometheus.url=http://p,prometheus.matchers.le=x", "prometheus.matchers: leave out le"),
        ("prometheus.bearerToken.secretName=a", "bearerToken has no effect without prometheus.url"),
        (f"{OWN}.url=http://p,prometheus.matchers.cluster=a", "matchers has no effect without prometheus.url"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_with_what_to_write(
    helm: Path, settings: str, words: str
) -> None:
    with pytest.raises(CommandFailed, match=words):
        rendered(helm, settings)


@pytest.mark.parametrize("label", sorted(TAKEN_LABELS))
def test_a_label_that_the_queries_need_for_something_else_is_refused(helm: Path, label: str) -> None:
    with pytest.raises(CommandFailed, match=f"prometheus.labels.pod: {label} means something else"):
        rendered(helm, f"prometheus.labels.pod={label}")


@pytest.mark.parametrize("url", ["http://p", "https://a.b-c:65535/x/y", "http://[fd00::1]:9090", "http://10.0.0.1/"])
def test_an_address_that_the_operator_takes_passes_the_chart(helm: Path, url: str) -> None:
    manifests = rendered(helm, values={"prometheus": {"url": url}})
    endpoint = addresses(manifests).endpoint_of("any")
    assert endpoint is not None
    assert endpoint.url == url.rstrip("/")


@pytest.mark.parametrize(
    "setting",
    [
        "prometheus.url=http://user:password@host",
        "prometheus.url=prometheus:9090",
        "prometheus.url=http://p:abc",
        "prometheus.url=http://p:65536",
        "prometheus.url=http:///x",
        "prometheus.url=http://p q",
        f"{OWN}.url=http://p q",
        "prometheus.url=http://p,prometheus.matchers.__name__=x",
        "prometheus.labels.pod=__pod",
        "prometheus.labels.pool=a-b",
        "prometheus.namespaces.team-a.token=x",
        "prometheus.namespaces.Team.url=http://a",
        "prometheus.headers.A_b=x",
    ],
)
def test_settings_that_cannot_work_are_refused(helm: Path, setting: str) -> None:
    with pytest.raises(CommandFailed):
        rendered(helm, setting)


@pytest.mark.parametrize(
    ("namespaces", "selector"),
    [("", {"any": True}), ("watchNamespaces={a,b}", {"matchNames": ["a", "b"]})],
    ids=["all", "some"],
)
def test_the_pod_monitor_gives_targets_the_labels_of_their_pool(
    helm: Path, namespaces: str, selector: dict[str, object]
) -> None:
    settings = ["modelServers.podMonitor.enabled=true", "modelServers.podMonitor.labels.release=monitoring"]
    (monitor,) = of_kind(rendered(helm, *settings, *filter(None, [namespaces])), "PodMonitor")

    assert monitor["metadata"]["labels"]["release"] == "monitoring"
    assert monitor["spec"]["namespaceSelector"] == selector
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("rest", "/monitoring/prometheus/metrics")


@pytest.mark.parametrize(
    ("prometheus", "interval"),
    [
        ({}, "15000ms"),
        ({"scrapeIntervalSeconds": 7.5, "labels": {"namespace": "ns", "servedModel": "sm", "pool": "p"}}, "7500ms"),
    ],
    ids=["as it comes", "all else"],
)
def test_the_pod_monitor_scrapes_as_the_operator_is_told(helm: Path, prometheus: Manifest, interval: str) -> None:
    manifests = rendered(helm, "modelServers.podMonitor.enabled=true", values={"prometheus": prometheus})
    (monitor,) = of_kind(manifests, "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    settings = operator_settings(manifests)

    assert endpoint["interval"] == interval == f"{settings.prometheus_scrape_interval_seconds * 1000:.0f}ms"
    labels = settings.scrape_labels()
    assert {relabeling["targetLabel"]: relabeling["sourceLabels"] for relabeling in endpoint["relabelings"]} == {
        labels.namespace: ["__meta_kubernetes_namespace"],
        labels.served_model: ["__meta_kubernetes_pod_label_tfserving_dev_servedmodel"],
        labels.pool: ["__meta_kubernetes_pod_label_tfserving_dev_pool"],
        labels.pod: ["__meta_kubernetes_pod_name"],
    }
