"""What running Deployments use of the fleet's budget."""

from __future__ import annotations

from typing import Any

import pytest

from tests.reconcile.scaling_scenes import raw_deployment
from tfserving_operator.api.refs import ObjectRef
from tfserving_operator.autoscaling.budget import PoolWish
from tfserving_operator.reconcile.budget_use import budget_use

GPU = "nvidia.com/gpu"


def with_limits(limits: dict[str, Any]) -> dict[str, Any]:
    deployment = raw_deployment("digits", "old", 3)
    containers = [{"name": "sidecar"}, {"name": "server", "resources": {"limits": limits}}]
    return deployment | {"spec": {"replicas": 3, "template": {"spec": {"containers": containers}}}}


@pytest.mark.parametrize(
    ("limits", "resource", "devices"),
    [({}, None, 1), ({"cpu": "4", "memory": "1Gi"}, None, 1), ({"cpu": 4, GPU: "2"}, GPU, 2), ({GPU: 1}, GPU, 1)],
    ids=["none", "no device", "two devices", "a number"],
)
def test_devices_are_the_servers_extended_resource(limits: dict[str, Any], resource: str | None, devices: int) -> None:
    deployment = with_limits(limits)
    use = budget_use({ObjectRef.of(deployment): deployment})
    assert use == {"old": PoolWish(current=3, wanted=3, resource=resource, devices=devices)}


def test_what_is_no_pool_uses_nothing() -> None:
    deployment = raw_deployment("digits", "old", 3)
    del deployment["metadata"]["labels"]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "digits", "namespace": "models"}}
    assert budget_use({ObjectRef.of(each): each for each in (deployment, service)}) == {}
