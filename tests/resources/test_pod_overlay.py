from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.resources.cases import CASES, METADATA, spec_of
from tfserving_operator.api.pod_template import PodTemplate
from tfserving_operator.api.pod_template_schema import SERVER_PORTS
from tfserving_operator.api.servedmodel import ServedModelSpec
from tfserving_operator.resources.desired import DesiredInputs, build_children, spec_problems
from tfserving_operator.resources.overlay_problems import overlay_problems
from tfserving_operator.resources.pod_overlay import overlay_pod_template
from tfserving_operator.resources.replicas import share_replicas

Fields = dict[str, Any]
ADMISSION = yaml.safe_load((Path(__file__).resolve().parents[2] / "e2e/scenarios/api_admission.yaml").read_text())

OPEN_POD_FIELDS = {
    "enableServiceLinks": "old-fashioned, and does no harm",
    "imagePullSecrets": "one more secret, for a sidecar's image",
    **dict.fromkeys(("affinity", "nodeSelector", "tolerations", "topologySpreadConstraints"), "where pods run"),
    **dict.fromkeys(("priorityClassName", "runtimeClassName"), "where pods run"),
    **dict.fromkeys(("containers", "initContainers", "volumes"), "refused by name"),
    "securityContext": "refused by value",
}
"""What the operator sets in a pod and podTemplate may set too, and why."""
OPEN_SERVER_FIELDS = {
    "name": "merged by it",
    "env": "refused by name",
    "imagePullPolicy": "when, not what",
    "resources": "claims; limits and requests are refused",
    "securityContext": "refused by value",
    "volumeMounts": "refused by path",
}
"""The same for the container server."""


def template_of(spec: ServedModelSpec) -> Fields:
    """The template of the first pool."""
    inputs = DesiredInputs("fetcher:1", share_replicas(spec.replicas, spec.pools), {})
    children = build_children(METADATA, spec, inputs)
    template: Fields = next(child for child in children if child["kind"] == "Deployment")["spec"]["template"]
    return template


def own_pod_of(case: str) -> Fields:
    """The pod of a case without what a podTemplate adds to it."""
    spec = spec_of(case)
    pools = [pool.model_copy(update={"pod_template": None}) for pool in spec.pools]
    pod: Fields = template_of(spec.model_copy(update={"pools": pools}))["spec"]
    return pod


def with_overlay(overlay: Fields) -> ServedModelSpec:
    pools = [{"name": "default", "podTemplate": {"spec": overlay}}]
    return ServedModelSpec.model_validate(CASES["minimal"] | {"pools": pools})


def server_with(**fields: Any) -> Fields:
    return {"containers": [{"name": "server", **fields}]}


def merged(base: Fields, overlay: Fields) -> Fields:
    template = {"metadata": {"labels": {}, "annotations": {}}, "spec": base}
    spec: Fields = overlay_pod_template(template, PodTemplate(spec=overlay))["spec"]
    return spec


@pytest.mark.parametrize(
    ("overlay", "problem"),
    [
        ({"restartPolicy": "Never"}, "restartPolicy belongs to the operator"),
        ({"automountServiceAccountToken": True}, "automountServiceAccountToken belongs to the operator"),
        ({"readinessGates": [{"conditionType": "x"}]}, "readinessGates belongs to the operator"),
        ({"schedulingGates": [{"name": "x"}]}, "schedulingGates belongs to the operator"),
        ({"activeDeadlineSeconds": 60}, "activeDeadlineSeconds belongs to the operator"),
        ({"securityContext": {"runAsUser": 0}}, "spec.securityContext.runAsUser would take back"),
        (server_with(command=["sh"]), "containers[server].command belongs"),
        (server_with(restartPolicy="Never"), "containers[server].restartPolicy belongs"),
        (server_with(resources={"limits": {"cpu": 1}}), "containers[server].resources.limits belongs"),
        (server_with(securityContext={"privileged": True}), "containers[server].securityContext.privileged would take"),
        (server_with(securityContext={"capabilities": {}}), "securityContext.capabilities belongs to the operator"),
        (server_with(env=[{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]), "env[NVIDIA_VISIBLE_DEVICES] is res"),
        (
            server_with(volumeMounts=[{"name": "x", "mountPath": "/usr/bin"}]),
            "volumeMounts[/usr/bin] would cover",
        ),
        (
            server_with(volumeMounts=[{"name": "x", "mountPath": "/models/digits"}]),
            "volumeMounts[/models/digits] would",
        ),
        (server_with(volumeMounts=[{"name": "x", "mountPath": "/a/../tmp"}]), "volumeMounts[/a/../tmp] would cover"),
        (
            {"containers": [{"name": "beside", "ports": [{"containerPort": 8500}]}]},
            "[beside].ports[8500] is the server",
        ),
        ({"containers": [{"image": "x"}]}, "must be a list of objects that each have a name"),
        ({"volumes": [{"name": 1}]}, "spec.volumes must be a list of objects that each have a name"),
        ({"imagePullSecrets": ["pull"]}, "spec.imagePullSecrets must be a list of objects that each have a name"),
        (
            server_with(volumeMounts={}),
            "containers[server].volumeMounts must be a list of objects that each have a mou",
        ),
        ({"initContainers": [{"name": "server"}]}, "initContainers[server] is made by the operator"),
        ({"initContainers": [{"name": "fetch-m"}]}, "initContainers[fetch-m] is made by the operator"),
        ({"volumes": [{"name": "models-config"}]}, "volumes[models-config] is made by the operator"),
    ],
    ids=str,
)
def test_a_pod_template_that_breaks_what_we_own_is_refused(overlay: Fields, problem: str) -> None:
    assert [problem in text for text in spec_problems(with_overlay(overlay))] == [True]


@pytest.mark.parametrize("part", ["labels", "annotations"])
def test_reserved_metadata_is_refused(part: str) -> None:
    overlay = PodTemplate.model_validate({"metadata": {part: {"tfserving.dev/pool": "x"}}})
    assert overlay_problems(overlay, pool="p") == [
        f"pools[p].podTemplate.metadata.{part}[tfserving.dev/pool] is reserved: remove it"
    ]


@pytest.mark.parametrize(
    "case", [case for case in ADMISSION["refused"] if ".podTemplate" in case["says"][0]], ids=lambda case: case["title"]
)
def test_what_admission_refuses_in_a_pod_template_is_refused_by_the_operator_too(case: Fields) -> None:
    assert spec_problems(ServedModelSpec.model_validate({"models": CASES["minimal"]["models"], **case["spec"]})) != []


@pytest.mark.parametrize("case", ADMISSION["accepted"], ids=lambda case: case["title"])
def test_what_admission_takes_is_taken_by_the_operator_too(case: Fields) -> None:
    assert spec_problems(ServedModelSpec.model_validate({"models": CASES["minimal"]["models"], **case["spec"]})) == []


@pytest.mark.parametrize("case", CASES)
def test_every_field_that_the_operator_sets_is_refused_or_left_open_for_a_reason(case: str) -> None:
    pod = own_pod_of(case)
    server = pod["containers"][0]
    taken = {field for field in pod if spec_problems(with_overlay({field: pod[field]})) == []}
    assert taken <= OPEN_POD_FIELDS.keys()
    taken = {field for field in server if spec_problems(with_overlay(server_with(**{field: server[field]}))) == []}
    assert taken <= OPEN_SERVER_FIELDS.keys()


@pytest.mark.parametrize("case", CASES)
def test_no_mount_and_no_port_of_the_server_can_be_taken(case: str) -> None:
    server = own_pod_of(case)["containers"][0]
    for mount in server["volumeMounts"]:
        assert spec_problems(with_overlay(server_with(volumeMounts=[mount]))) != []
    assert {port["name"]: port["containerPort"] for port in server["ports"]} == SERVER_PORTS


def test_null_takes_nothing_away() -> None:
    fields = template_of(spec_of("minimal"))["spec"]
    nothing = dict.fromkeys(fields, None) | server_with(**dict.fromkeys(fields["containers"][0].keys() - {"name"}))
    assert spec_problems(with_overlay(nothing)) == []
    assert template_of(with_overlay(nothing)) == template_of(spec_of("minimal"))


def test_a_variable_is_replaced_as_a_whole() -> None:
    base = server_with(env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}])
    from_field = {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    assert merged(base, server_with(env=[from_field])) == server_with(env=[from_field, {"name": "B", "value": "2"}])


def test_constraints_on_one_topology_stay_apart() -> None:
    hard, soft = ({"topologyKey": "zone", "whenUnsatisfiable": when} for when in ("DoNotSchedule", "ScheduleAnyway"))
    merged_spec = merged({"topologySpreadConstraints": [hard, soft]}, {"topologySpreadConstraints": [hard]})
    assert merged_spec == {"topologySpreadConstraints": [hard, soft]}
