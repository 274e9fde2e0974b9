from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.resources.cases import METADATA, spec_of
from tfserving_operator.reconcile.drift import differences, is_up_to_date, normalized_by_server
from tfserving_operator.resources.desired import DesiredInputs, build_children
from tfserving_operator.resources.names import APPLIED_HASH_ANNOTATION

DEPLOYMENT = next(
    child
    for child in build_children(
        METADATA, spec_of("gpu_with_cpu_overflow"), DesiredInputs("i", {"gpu": 1, "cpu": 1}, {})
    )
    if child["kind"] == "Deployment"
)


def test_what_was_applied_is_up_to_date_with_the_defaults_of_the_api_server() -> None:
    live = copy.deepcopy(DEPLOYMENT)
    pod_spec = live["spec"]["template"]["spec"]
    pod_spec["restartPolicy"] = "Always"
    pod_spec["containers"][0]["resources"]["limits"]["cpu"] = 8
    pod_spec["containers"][0]["imagePullPolicy"] = "IfNotPresent"
    pod_spec["volumes"][1]["configMap"]["defaultMode"] = 420
    live["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "1"
    assert is_up_to_date(live, DEPLOYMENT)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.replicas", 7),
        ("metadata.ownerReferences", []),
        ("metadata.labels", {}),
        ("spec.template.spec.containers", []),
        ("spec.template.spec.securityContext.runAsNonRoot", False),
    ],
)
def test_a_change_by_hand_is_seen(path: str, value: Any) -> None:
    live = copy.deepcopy(DEPLOYMENT)
    *parents, last = path.split(".")
    target = live
    for part in parents:
        target = target[part]
    target[last] = value
    assert not is_up_to_date(live, DEPLOYMENT)


@pytest.mark.parametrize(
    ("live", "desired", "same"),
    [("1", "1000m", True), (1, "1", True), ("1Gi", "1024Mi", True), ("2", "1000m", False), ("1Gi", "1G", False)],
)
def test_quantities_are_compared_as_numbers(live: Any, desired: Any, same: bool) -> None:
    assert (differences({"limits": {"cpu": live}}, {"limits": {"cpu": desired}}) == {}) is same


@pytest.mark.parametrize("milli_cpus", range(50, 16_050, 50))
def test_a_cpu_limit_is_no_change_in_the_form_of_the_api_server(milli_cpus: int) -> None:
    written = {"limits": {"cpu": f"{milli_cpus / 1000}"}}
    stored = {"limits": {"cpu": f"{milli_cpus}m" if milli_cpus % 1000 else f"{milli_cpus // 1000}"}}
    another = {"limits": {"cpu": f"{milli_cpus + 1}m"}}
    assert differences(stored, written) == {}
    assert differences(another, written) == {"limits.cpu": f"{milli_cpus + 1}m"}


@pytest.mark.parametrize("live", [None, "", "a lot"])
def test_what_is_no_quantity_equals_none(live: Any) -> None:
    assert differences({"limits": {"cpu": live}}, {"limits": {"cpu": "much"}}) == {"limits.cpu": live}


def test_one_volume_mounted_twice_is_no_change() -> None:
    mounts = [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b"}]
    live = [{**mount, "recursiveReadOnly": "Disabled"} for mount in reversed(mounts)]
    assert differences({"volumeMounts": live}, {"volumeMounts": mounts}) == {}
    assert differences({"volumeMounts": live[:1]}, {"volumeMounts": mounts}) != {}


def test_the_form_that_the_api_server_stored_is_up_to_date_until_the_wish_or_that_form_changes() -> None:
    stored = copy.deepcopy(DEPLOYMENT)
    stored["spec"]["revisionHistoryLimit"] = 10
    normalized = normalized_by_server(stored, DEPLOYMENT)
    edited = copy.deepcopy(stored)
    edited["spec"]["revisionHistoryLimit"] = 0
    another_wish = copy.deepcopy(DEPLOYMENT)
    another_wish["metadata"]["annotations"][APPLIED_HASH_ANNOTATION] = "another"
    stored_for_another_wish = copy.deepcopy(another_wish)
    stored_for_another_wish["spec"]["revisionHistoryLimit"] = 10
    assert is_up_to_date(stored, DEPLOYMENT, normalized)
    assert not is_up_to_date(stored, DEPLOYMENT)
    assert not is_up_to_date(edited, DEPLOYMENT, normalized)
    assert not is_up_to_date(stored, another_wish, normalized)
    assert not is_up_to_date(stored_for_another_wish, another_wish, normalized)
