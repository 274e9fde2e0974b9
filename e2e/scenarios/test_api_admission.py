"""What a real API server makes of the CRD: accepted manifests, refusals in words, defaults, merging, scale."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config

from e2e.cluster import Cluster, ClusterOptions
from e2e.scenarios.objects import Objects
from tfserving_operator.api.conditions import Condition, ConditionStatus, ConditionType, Reason
from tfserving_operator.api.servedmodel import (
    GROUP,
    PLURAL,
    VERSION,
    Endpoints,
    ModelStatus,
    PoolStatus,
    ServedModel,
    ServedModelStatus,
)

ROOT = Path(__file__).resolve().parents[2]
CRD_FILE = ROOT / "crds" / "tfserving.dev_servedmodels.yaml"
CASES = yaml.safe_load((ROOT / "e2e/scenarios/api_admission.yaml").read_text())
PLAIN_MODELS = [{"name": "m", "source": {"uri": "s3://bucket/m"}}]
FIXED_POOLS_MESSAGE = "every pool fixes its replicas, so spec.replicas has nothing to scale"
# Said in addition when the schema already refuses.
NOT_ALL_CHECKED = "some validation rules were not checked because the object was invalid"


def _manifest(spec: dict[str, Any], name: str = "case") -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "ServedModel",
        "metadata": {"name": name},
        "spec": {"models": PLAIN_MODELS, **spec},
    }


@dataclass(frozen=True)
class ServedModels:
    """ServedModels in namespaces of a cluster."""

    cluster: Cluster
    api: client.CustomObjectsApi

    def causes_of_refusal(self, manifest: dict[str, Any]) -> list[str]:
        """What the API server has against ``manifest``, field first; empty when it takes it."""
        try:
            self.api.create_namespaced_custom_object(
                GROUP, VERSION, "default", PLURAL, manifest, dry_run="All", field_validation="Strict"
            )
        except client.ApiException as error:
            causes = json.loads(error.body or "")["details"]["causes"]
            named = [f"{cause['field']}: {cause['message']}".removeprefix("<nil>: ") for cause in causes]
            return [cause for cause in named if NOT_ALL_CHECKED not in cause]
        return []

    def apply(self, namespace: str, manifest: dict[str, Any], *, manager: str = "kubectl") -> str:
        """Apply server-side as ``manager``; return what kubectl says against it."""
        arguments = ["apply", "--server-side", "--namespace", namespace, "--field-manager", manager, "-f", "-"]
        return self.cluster.kubectl(*arguments, input=json.dumps(manifest), check=False).stderr

    def get(self, namespace: str, name: str = "case") -> dict[str, Any]:
        """Return the ServedModel as stored."""
        found = Objects(self.cluster, namespace).get("servedmodel", name)
        assert found is not None
        return found


@pytest.fixture(scope="module")
def served_models() -> Iterator[ServedModels]:
    with Cluster.start(ClusterOptions(crds=(CRD_FILE,))) as cluster:
        api = client.CustomObjectsApi(config.new_client_from_config(str(cluster.kubeconfig)))  # type: ignore[no-untyped-call]  # the library has no type there
        yield ServedModels(cluster, api)


@pytest.fixture
def namespace(served_models: ServedModels, request: pytest.FixtureRequest) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_"))[:60].strip("-")
    served_models.cluster.kubectl("create", "namespace", name)
    return name


def test_the_crd_is_established_and_structural(served_models: ServedModels) -> None:
    shown = served_models.cluster.kubectl("get", "crd", f"{PLURAL}.{GROUP}", "-o", "json")
    conditions = {
        condition["type"]: condition["status"] for condition in json.loads(shown.stdout)["status"]["conditions"]
    }
    assert conditions == {"NamesAccepted": "True", "Established": "True"}


def test_the_crd_is_stored_as_written(served_models: ServedModels) -> None:
    stored = json.loads(served_models.cluster.kubectl("get", "crd", f"{PLURAL}.{GROUP}", "-o", "json").stdout)
    stored["spec"].pop("conversion")
    assert stored["spec"] == yaml.safe_load(CRD_FILE.read_text())["spec"]


def test_the_crd_is_small_enough_for_client_side_apply(served_models: ServedModels) -> None:
    served_models.cluster.kubectl("apply", "--server-side=false", "--dry-run=server", "-f", CRD_FILE)


@pytest.mark.parametrize("case", CASES["accepted"], ids=lambda case: case["title"])
def test_a_good_manifest_is_accepted(served_models: ServedModels, case: dict[str, Any]) -> None:
    assert served_models.causes_of_refusal(_manifest(case["spec"], case.get("name", "case"))) == []


@pytest.mark.parametrize("case", CASES["refused"], ids=lambda case: case["title"])
def test_a_bad_manifest_is_refused_with_words_that_help(served_models: ServedModels, case: dict[str, Any]) -> None:
    causes = served_models.causes_of_refusal(_manifest(case["spec"], case.get("name", "case")))
    assert causes == case["says"]


@pytest.mark.parametrize("case", CASES["changes_refused"] + CASES["changes_accepted"], ids=lambda case: case["title"])
def test_a_change_is_judged_by_what_was_there(
    served_models: ServedModels, namespace: str, case: dict[str, Any]
) -> None:
    assert served_models.apply(namespace, _manifest(case["before"])) == ""
    refused = served_models.apply(namespace, _manifest(case["after"]))
    assert all(cause.split(": ", 2)[2] in refused for cause in case.get("says", []))
    assert bool(refused) == bool(case.get("says"))


def test_scale_is_refused_while_autoscaling_sets_the_replicas(served_models: ServedModels, namespace: str) -> None:
    autoscaling = {"mode": "Auto", "objective": {"latency": "50ms"}, "maxReplicas": 5}
    served_models.apply(namespace, _manifest({"autoscaling": autoscaling}))
    refused = served_models.cluster.kubectl("scale", "sm/case", "--replicas=3", "--namespace", namespace, check=False)
    assert refused.returncode == 1
    assert "autoscaling sets the replicas of this ServedModel" in refused.stderr


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_is_accepted(served_models: ServedModels, example: Path) -> None:
    served_models.cluster.kubectl(
        "create", "--dry-run=server", "--validate=strict", "--namespace", "default", "-f", example
    )


def test_the_largest_manifest_is_within_the_cost_of_rules(served_models: ServedModels) -> None:
    assert served_models.causes_of_refusal(_largest_manifest()) == []


def _largest_manifest() -> dict[str, Any]:
    versions = list(range(1, 33))
    labels = {f"label_{version}": version for version in versions[:16]}
    source = {"uri": "https://host/" + "x" * 2000 + "/{version}.tar.gz", "credentials": {"secretName": "s"}}
    models = [
        {"name": f"m{i}", "source": source, "versions": {"specific": versions}, "labels": labels} for i in range(16)
    ]
    env = [{"name": f"NAME_{i}", "value": "x" * 100} for i in range(64)]
    pairs = {f"example.com/{i:060d}": "x" * 63 for i in range(64)}
    amounts = {f"example.com/{i}": "1Gi" for i in range(16)}
    named = [{"name": f"name-{i}", "command": ["x"] * 16} for i in range(32)]
    sidecar = {
        "env": [{"name": f"NAME_{i}"} for i in range(16)],
        "ports": [{"containerPort": 9000 + i, "name": f"port-{i}"} for i in range(64)],
        "volumeMounts": [{"mountPath": f"/{i:0100d}", "name": "x"} for i in range(8)],
    }
    server = {
        "name": "server",
        "env": [{"name": f"NAME_{i}"} for i in range(128)],
        "volumeMounts": [{"mountPath": f"/{i:0255d}", "name": "x"} for i in range(32)],
    }
    batch_sizes = list(range(1, 65))
    pool = {
        "accelerator": {},
        "resources": {"requests": amounts, "limits": amounts},
        "scheduling": {"nodeSelector": pairs, "tolerations": [{"key": "k", "operator": "Exists"}] * 32},
        "batching": {"maxBatchSize": 64, "allowedBatchSizes": batch_sizes},
        "server": {"env": env},
        "podLabels": pairs,
        "podAnnotations": pairs,
        "podTemplate": {
            "metadata": {"labels": pairs, "annotations": pairs},
            "spec": {
                "containers": [server, *({**one, **sidecar} for one in named[1:])],
                "initContainers": named,
                "volumes": named,
            },
        },
    }
    pools = [{"name": f"pool-{i}", "replicas": {"min": 1, "max": 9}, **pool} for i in range(8)]
    schedule = {"start": "0 12 * * *", "durationSeconds": 600, "minReplicas": 6}
    schedules = [{"name": f"schedule-{i}", **schedule} for i in range(16)]
    autoscaling = {"mode": "Auto", "objective": {"latency": "50ms"}, "maxReplicas": 72, "schedules": schedules}
    return _manifest({"models": models, "server": {"env": env}, "pools": pools, "autoscaling": autoscaling})


def test_a_misspelt_field_is_refused(served_models: ServedModels) -> None:
    with pytest.raises(client.ApiException, match=r'strict decoding error: unknown field \\"spec.replica\\"'):
        served_models.api.create_namespaced_custom_object(
            GROUP, VERSION, "default", PLURAL, _manifest({"replica": 2}), dry_run="All", field_validation="Strict"
        )


def test_defaults_are_written_into_the_spec(served_models: ServedModels, namespace: str) -> None:
    assert served_models.apply(namespace, _manifest({})) == ""
    assert served_models.get(namespace)["spec"] == {
        "models": PLAIN_MODELS,
        "replicas": 1,
        "paused": False,
        "server": {"image": "tensorflow/serving:2.20.0", "loadTimeoutSeconds": 900, "drainSeconds": 20},
    }


def test_the_operator_reads_what_is_stored(served_models: ServedModels, namespace: str) -> None:
    served_models.apply(namespace, _manifest({"pools": [{"name": "gpu", "accelerator": {}}]}))
    read = ServedModel.model_validate(served_models.get(namespace))
    assert (read.metadata.name, read.spec.models[0].versions.latest) == ("case", 1)
    accelerator = read.spec.pools[0].accelerator
    assert accelerator is not None
    assert (accelerator.resource, accelerator.count) == ("nvidia.com/gpu", 1)


def test_a_named_pool_takes_the_place_of_the_unnamed_default(served_models: ServedModels, namespace: str) -> None:
    served_models.apply(namespace, _manifest({}))
    assert served_models.apply(namespace, _manifest({"pools": [{"name": "default"}, {"name": "gpu"}]})) == ""
    assert served_models.apply(namespace, _manifest({"pools": [{"name": "gpu"}]})) == ""
    assert served_models.get(namespace)["spec"]["pools"] == [{"name": "gpu"}]


def test_specific_versions_take_the_place_of_the_default(served_models: ServedModels, namespace: str) -> None:
    served_models.apply(namespace, _manifest({}))
    specific = [{**PLAIN_MODELS[0], "versions": {"specific": [3]}}]
    assert served_models.apply(namespace, _manifest({"models": specific})) == ""
    assert served_models.get(namespace)["spec"]["models"] == specific


def test_a_version_keeps_all_its_digits(served_models: ServedModels, namespace: str) -> None:
    numbers = [2**63 - 1, 20240315123045123]
    model = {**PLAIN_MODELS[0], "versions": {"specific": numbers}, "labels": {"stable": 2**63 - 1}}
    assert served_models.apply(namespace, _manifest({"models": [model]})) == ""
    status = {"models": [{"name": "m", "versions": [*numbers, -1]}]}
    arguments = ["patch", "sm", "case", "--subresource=status", "--type=merge", "--namespace", namespace]
    served_models.cluster.kubectl(*arguments, "--patch", json.dumps({"status": status}))
    stored = ServedModel.model_validate(served_models.get(namespace))
    assert stored.spec.models[0].versions.specific == numbers
    assert stored.spec.models[0].labels == {"stable": 2**63 - 1}
    assert stored.status.models[0].versions == [*numbers, -1]


def test_two_managers_share_the_models_by_name(served_models: ServedModels, namespace: str) -> None:
    ours, theirs = ({"name": name, "source": {"uri": f"s3://b/{name}"}} for name in ("ours", "theirs"))
    assert served_models.apply(namespace, _manifest({"models": [ours]}), manager="us") == ""
    assert served_models.apply(namespace, _manifest({"models": [theirs]}), manager="them") == ""
    assert served_models.get(namespace)["spec"]["models"] == [ours, theirs]


def test_scale_sets_the_replicas(served_models: ServedModels, namespace: str) -> None:
    served_models.apply(namespace, _manifest({}))
    served_models.cluster.kubectl("scale", "sm/case", "--replicas=3", "--namespace", namespace)
    assert served_models.get(namespace)["spec"]["replicas"] == 3


def test_scale_is_refused_where_every_pool_is_fixed(served_models: ServedModels, namespace: str) -> None:
    served_models.apply(namespace, _manifest({"pools": [{"name": "a", "replicas": {"fixed": 2}}]}))
    refused = served_models.cluster.kubectl("scale", "sm/case", "--replicas=3", "--namespace", namespace, check=False)
    assert refused.returncode == 1
    assert FIXED_POOLS_MESSAGE in refused.stderr


def test_pools_can_be_fixed_after_they_were_scaled(served_models: ServedModels, namespace: str) -> None:
    served_models.apply(namespace, _manifest({"pools": [{"name": "a"}]}))
    served_models.cluster.kubectl("scale", "sm/case", "--replicas=3", "--namespace", namespace)
    fixed = _manifest({"pools": [{"name": "a", "replicas": {"fixed": 3}}]})
    assert served_models.apply(namespace, fixed) == ""


def test_replicas_can_be_raised_when_a_pool_takes_them(served_models: ServedModels, namespace: str) -> None:
    served_models.apply(namespace, _manifest({"pools": [{"name": "a", "replicas": {"fixed": 1}}]}))
    both = _manifest({"replicas": 3, "pools": [{"name": "a", "replicas": {"fixed": 1}}, {"name": "b"}]})
    assert served_models.apply(namespace, both) == ""


def test_the_whole_status_is_kept_and_shown_by_kubectl(served_models: ServedModels, namespace: str) -> None:
    served_models.apply(namespace, _manifest({}))
    status = _status().model_dump(by_alias=True, exclude_none=True, mode="json")
    patch = json.dumps({"status": status})
    served_models.cluster.kubectl(
        "patch", "sm", "case", "--subresource=status", "--type=merge", "--patch", patch, "--namespace", namespace
    )
    assert ServedModel.model_validate(served_models.get(namespace)).status == _status()
    scale = served_models.cluster.kubectl("get", "sm", "case", "--subresource=scale", "-n", namespace, "-o", "json")
    assert json.loads(scale.stdout)["status"] == {"replicas": 2, "selector": "tfserving.dev/servedmodel=case"}


def test_kubectl_get_says_what_is_served_where_and_why_not(served_models: ServedModels, namespace: str) -> None:
    served_models.apply(namespace, _manifest({}))
    patch = json.dumps({"status": _status().model_dump(by_alias=True, exclude_none=True, mode="json")})
    served_models.cluster.kubectl(
        "patch", "sm", "case", "--subresource=status", "--type=merge", "--patch", patch, "--namespace", namespace
    )
    narrow = _columns(served_models.cluster.kubectl("get", "sm", "--namespace", namespace).stdout)
    del narrow["AGE"]
    assert narrow == {
        "NAME": "case",
        "READY": "True",
        "REPLICAS": "1/2",
        "VERSIONS": "m@3",
        "POOLS": "gpu 1/1, cpu 0/1",
        "STATUS": "Unschedulable",
    }
    wide = _columns(served_models.cluster.kubectl("get", "all", "--namespace", namespace, "-o", "wide").stdout)
    assert (wide["REST"], wide["GRPC"]) == ("case.ns.svc:8501", "case.ns.svc:8500")
    assert wide["MESSAGE"] == "No node has 2 CPUs free."


def _columns(table: str) -> dict[str, str]:
    header, row = table.strip().splitlines()
    starts = [match.start() for match in re.finditer(r"\S+", header)]
    cells = [row[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]
    return dict(zip(header.split(), cells, strict=True))


def _status() -> ServedModelStatus:
    def condition(kind: ConditionType, status: ConditionStatus, reason: Reason, message: str) -> Condition:
        return Condition(
            type=kind,
            status=status,
            reason=reason,
            message=message,
            last_transition_time=datetime(2026, 1, 1, tzinfo=UTC),
            observed_generation=1,
        )

    return ServedModelStatus(
        observed_generation=1,
        reason=Reason.UNSCHEDULABLE,
        message="No node has 2 CPUs free.",
        conditions=[
            condition(ConditionType.READY, ConditionStatus.TRUE, Reason.SERVING, "m is served."),
            condition(ConditionType.DEGRADED, ConditionStatus.TRUE, Reason.UNSCHEDULABLE, "No node has 2 CPUs free."),
        ],
        replicas=2,
        ready_replicas=1,
        desired_replicas=2,
        ready_summary="1/2",
        pool_summary="gpu 1/1, cpu 0/1",
        version_summary="m@3",
        selector="tfserving.dev/servedmodel=case",
        endpoints=Endpoints(rest="case.ns.svc:8501", grpc="case.ns.svc:8500"),
        pools=[PoolStatus(name="gpu", desired=1, ready=1, updated=1)],
        models=[ModelStatus(name="m", versions=[3], replicas=1)],
    )


def test_explain_describes_every_field(served_models: ServedModels) -> None:
    shown = served_models.cluster.kubectl("explain", "servedmodel.spec.batching.batchTimeout").stdout
    assert "How long a batch waits to fill, for example 500us or 5ms" in shown
    for path in ("servedmodel.spec.pools", "servedmodel.status.conditions"):
        shown = served_models.cluster.kubectl("explain", path).stdout
        assert "<no description>" not in shown
