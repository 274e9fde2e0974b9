"""The PodDisruptionBudget of a pool."""

from __future__ import annotations

from typing import Any

from tfserving_operator.api.servedmodel import Disruption
from tfserving_operator.resources.names import deployment_name, pool_labels, pool_selector


def build_disruption_budget(model: str, pool: str, disruption: Disruption) -> dict[str, Any]:
    """Return the budget: one replica away at a time unless the user says otherwise."""
    bound: dict[str, Any]
    if disruption.min_available is not None:
        bound = {"minAvailable": disruption.min_available}
    else:
        bound = {"maxUnavailable": 1 if disruption.max_unavailable is None else disruption.max_unavailable}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": deployment_name(model, pool), "labels": pool_labels(model, pool)},
        "spec": {
            **bound,
            # A replica that never became ready must not keep its node from being drained.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": pool_selector(model, pool)},
        },
    }
