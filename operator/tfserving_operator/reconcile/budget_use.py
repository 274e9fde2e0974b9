"""What running Deployments use of the fleet's budget, as they say themselves: their spec may not name them any more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfserving_operator.api.refs import ObjectRef
from tfserving_operator.autoscaling.budget import PoolWish
from tfserving_operator.resources.names import POOL_LABEL
from tfserving_operator.resources.pod_template import SERVER_CONTAINER

RawObject = Mapping[str, Any]


def budget_use(children: Mapping[ObjectRef, RawObject]) -> Mapping[str, PoolWish]:
    """Return what each pool that has a Deployment uses, by name."""
    return {
        pool: _use(child)
        for ref, child in children.items()
        if ref.kind == "Deployment" and (pool := child["metadata"].get("labels", {}).get(POOL_LABEL))
    }


def _use(deployment: RawObject) -> PoolWish:
    replicas = deployment.get("spec", {}).get("replicas", 0)
    resource, devices = _devices(deployment)
    return PoolWish(current=replicas, wanted=replicas, resource=resource, devices=devices)


def _devices(deployment: RawObject) -> tuple[str | None, int]:
    """The extended resource of a replica, and how much of it: only such ones have a slash in their name."""
    pod_spec = deployment.get("spec", {}).get("template", {}).get("spec", {})
    servers = [each for each in pod_spec.get("containers", []) if each.get("name") == SERVER_CONTAINER]
    limits = servers[0].get("resources", {}).get("limits", {}) if servers else {}
    for resource, count in limits.items():
        if "/" in resource and str(count).isdecimal():
            return resource, int(count)
    return None, 1
