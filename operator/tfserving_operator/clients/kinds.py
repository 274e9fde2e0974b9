"""Where the API server serves each kind that the operator touches.

A table instead of discovery: the operator's rights name exactly these, and it needs no request to start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tfserving_operator.api.refs import ObjectRef


@dataclass(frozen=True, slots=True)
class Resource:
    """One namespaced resource of the API server."""

    api_version: str
    kind: str
    plural: str

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the URL path; without a namespace, that of the resource in all of them."""
        root = "/api" if "/" not in self.api_version else "/apis"
        within = ("namespaces", namespace) if namespace else ()
        parts = (root, self.api_version, *within, self.plural, name, subresource)
        return "/".join(part for part in parts if part)


DEPLOYMENTS: Final = Resource("apps/v1", "Deployment", "deployments")
SERVICES: Final = Resource("v1", "Service", "services")
CONFIG_MAPS: Final = Resource("v1", "ConfigMap", "configmaps")
POD_DISRUPTION_BUDGETS: Final = Resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
PODS: Final = Resource("v1", "Pod", "pods")
EVENTS: Final = Resource("events.k8s.io/v1", "Event", "events")
HORIZONTAL_POD_AUTOSCALERS: Final = Resource("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
SERVED_MODELS: Final = Resource("tfserving.dev/v1alpha1", "ServedModel", "servedmodels")

_KNOWN: Final = {
    (resource.api_version, resource.kind): resource
    for resource in (
        DEPLOYMENTS,
        SERVICES,
        CONFIG_MAPS,
        POD_DISRUPTION_BUDGETS,
        PODS,
        EVENTS,
        SERVED_MODELS,
        Resource("v1", "ServiceAccount", "serviceaccounts"),
        Resource("v1", "Secret", "secrets"),
        Resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
        HORIZONTAL_POD_AUTOSCALERS,
        Resource("monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors"),
        Resource("monitoring.coreos.com/v1", "PodMonitor", "podmonitors"),
        Resource("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes"),
        Resource("gateway.networking.k8s.io/v1", "GRPCRoute", "grpcroutes"),
    )
}


def resource_of(ref: ObjectRef) -> Resource:
    """Return the resource that serves ``ref``'s kind; a kind that is not in the table is a programming error."""
    return _KNOWN[ref.api_version, ref.kind]
