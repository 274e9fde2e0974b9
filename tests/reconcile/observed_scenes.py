"""One look at a ServedModel that autoscaling has to do with, in few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tests.reconcile.scaling_scenes import FETCHED, raw_deployment
from tests.reconcile.world import NOW, UID
from tfserving_operator.api.autoscaling import (
    AppliedReplicas,
    AutoscalingMode,
    AutoscalingStatus,
    PoolCapacity,
    RecommendedReplicas,
    ScalingDecision,
)
from tfserving_operator.api.conditions import Condition, Reason
from tfserving_operator.api.refs import ObjectRef
from tfserving_operator.api.servedmodel import ObjectMeta, PoolStatus, ServedModel, ServedModelSpec, ServedModelStatus
from tfserving_operator.reconcile.conditions import Verdict
from tfserving_operator.reconcile.observed import Observed
from tfserving_operator.reconcile.scaling_board import ScalingView

ACTIVE = Verdict(True, Reason.SCALING_POLICY_ACTIVE, "policy Fixed sets the replicas")


def applied(spec_replicas: int, **pools: int) -> AppliedReplicas:
    return AppliedReplicas(spec_replicas=spec_replicas, pools=listed(**pools))


def listed(**pools: int) -> list[RecommendedReplicas]:
    return [RecommendedReplicas(name=name, replicas=count) for name, count in pools.items()]


def decided(after: int, *, at: datetime = NOW, before: int = 1, rule: str = "Forecast") -> ScalingDecision:
    return ScalingDecision(time=at, before=f"cpu {before}", after=f"cpu {after}", rule=rule, message="as wanted")


def capacity(name: str = "cpu", **fields: Any) -> PoolCapacity:
    return PoolCapacity.model_validate({"name": name, "requests_per_second": 100.0, "confidence": 0.5} | fields)


def view(mode: str = "Auto", **fields: Any) -> ScalingView:
    fields.setdefault("replicas", None)
    fields.setdefault("active", ACTIVE)
    fields.setdefault("limited", None)
    return ScalingView(uid=fields.pop("uid", UID), mode=AutoscalingMode(mode), **fields)


def observed(
    *,
    mode: str | None = "Auto",
    replicas: int = 2,
    pools: Sequence[Mapping[str, Any]] = ({"name": "cpu"},),
    runs: Mapping[str, int] | None = None,
    scaling: ScalingView | None = None,
    status: AutoscalingStatus | None = None,
    conditions: Sequence[Condition] = (),
    desired: Mapping[str, int] | None = None,
    **autoscaling: Any,
) -> Observed:
    """``runs`` is what the Deployments say, ``desired`` what status said of each pool before."""
    spec: dict[str, Any] = {"models": [FETCHED], "replicas": replicas, "pools": list(pools)}
    if mode is not None:
        spec["autoscaling"] = {"mode": mode, "policy": "Fixed"} | autoscaling
    deployments = [raw_deployment("digits", pool, count) for pool, count in (runs or {}).items()]
    return Observed(
        model=ServedModel(
            metadata=ObjectMeta(name="digits", namespace="models", uid=UID, generation=1),
            spec=ServedModelSpec.model_validate(spec),
            status=ServedModelStatus(
                autoscaling=status,
                conditions=list(conditions),
                pools=[
                    PoolStatus(name=name, desired=count, ready=count, updated=count)
                    for name, count in (desired or {}).items()
                ],
            ),
        ),
        children={ObjectRef.of(deployment): deployment for deployment in deployments},
        pods=(),
        now=NOW,
        scaling=scaling,
    )
