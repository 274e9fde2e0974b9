"""What autoscaling may do is for the owner to say, and quiet models are left in quiet."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from e2e.scenarios.autoscaling.scaled import IN_SIGHT, Scaled, autoscaling, now
from e2e.scenarios.replica_watch import ReplicaWatch

QUIET_SECONDS = 20.0


def hpa(least: int, most: int) -> dict[str, Any]:
    """Return an autoscaler of Kubernetes' own; below its minimum it acts even without a metrics server."""
    target = {"apiVersion": "tfserving.dev/v1alpha1", "kind": "ServedModel", "name": "m"}
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "theirs"},
        "spec": {
            "scaleTargetRef": target,
            "minReplicas": least,
            "maxReplicas": most,
            "metrics": [{"type": "Resource", "resource": cpu}],
        },
    }


def test_recommend_changes_nothing_and_a_steady_model_is_not_written(scaled: Scaled, replicas: ReplicaWatch) -> None:
    fleet = scaled.fleet
    fleet.apply(fleet.served_model("m", scaled.spec(autoscaling("Recommend"))))
    fleet.serve("steady", scaled.spec(autoscaling()))
    fleet.wait_settled("m")
    began = now()

    def is_left_alone() -> bool:
        """Whether nothing was written about the steady model for a while: it has learned what a replica carries."""
        quiet_since = now() - timedelta(seconds=QUIET_SECONDS)
        written = [event for event in scaled.operator_writes(quiet_since) if event.name.startswith("steady")]
        return quiet_since > began and written == []

    with scaled.load("m", 45, max_in_flight=IN_SIGHT), scaled.load("steady", 5):
        fleet.wait_condition("steady", "ScalingActive", "True")
        # One replica is all there is, so what arrives beyond it is known from the wait alone.
        fleet.wait("more replicas are recommended", lambda: (scaled.recommended() or 0) >= 2)
        fleet.wait("a steady model is left alone", is_left_alone, timeout_seconds=180)
    assert fleet.condition("m", "ScalingActive")["reason"] == "RecommendsOnly"
    assert [(change.before, change.after) for change in replicas.of("m-default")] == [(0, 1)]
    print(scaled.status()["decisions"][0]["message"])


def test_off_leaves_scaling_to_others_and_auto_refuses_to_share(scaled: Scaled, replicas: ReplicaWatch) -> None:
    fleet = scaled.fleet
    fleet.serve("m", scaled.spec(autoscaling("Off"), replicas=1))
    fleet.kubectl("scale", "servedmodel/m", "--replicas=2")
    scaled.wait_wanted(2)
    fleet.kubectl("apply", "-f", "-", stdin=json.dumps(hpa(3, 3)))
    scaled.wait_wanted(3)
    scaled.set_mode("Auto")
    refused = fleet.wait_condition("m", "ScalingActive", "False", reason="ExternalAutoscaler")
    print(refused["message"])
    assert "theirs" in refused["message"]
    assert replicas.lowered() == []
    fleet.kubectl("delete", "hpa", "theirs")
    fleet.wait_condition("m", "ScalingActive", "True")
    scaled.wait_wanted(1)


# KPA aims at 70% of the target: 12 / 3.5.
@pytest.mark.parametrize(("policy", "expected"), [("HPA", 3), ("KPA", 4)])
def test_known_rules_can_be_chosen(scaled: Scaled, policy: str, expected: int) -> None:
    fleet = scaled.fleet
    rules = {**autoscaling(), "policy": policy, "target": {"metric": "RequestsPerSecond", "value": 5}}
    del rules["objective"]
    fleet.serve("m", scaled.spec(rules))
    with scaled.load("m", 12):
        scaled.wait_wanted(expected)
        # Status follows the Deployment.
        [newest, *_] = fleet.wait("the decision is told", lambda: scaled.status().get("decisions"))
    print(newest["rule"], newest["message"])
    assert newest["rule"] in (f"{policy}Formula", "Panic")
