"""Names, labels and annotations of everything the operator makes."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

FIELD_MANAGER = "tfserving-operator"

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
NAME_LABEL = "app.kubernetes.io/name"
SERVED_MODEL_LABEL = "tfserving.dev/servedmodel"
POOL_LABEL = "tfserving.dev/pool"

APPLIED_HASH_ANNOTATION = "tfserving.dev/applied-hash"
"""Hash of the manifest as last applied: tells a changed wish from a changed child."""
TEMPLATE_HASH_ANNOTATION = "tfserving.dev/template-hash"
"""Hash of the pod template without the fetcher's image, so that an operator upgrade does not roll the pods."""
FETCHER_IMAGE_ANNOTATION = "tfserving.dev/fetcher-image"
"""Image that the fetchers of a Deployment were applied with: what its containers say may be somebody's edit."""
SERVER_CONFIG_ANNOTATION = "tfserving.dev/server-config"
MODELS_CONFIG_ANNOTATION = "tfserving.dev/models-config"

MAX_CHILD_NAME_LENGTH = 63
_DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def content_hash(content: Any) -> str:
    """Ten hexadecimal digits that depend on ``content`` (JSON-like) and nothing else."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def is_service_name(name: str) -> bool:
    """Whether a Service may have this name (DNS-1035 label)."""
    return len(name) <= MAX_CHILD_NAME_LENGTH and _DNS_LABEL.fullmatch(name) is not None


def deployment_name(model: str, pool: str) -> str:
    """Name of a pool's Deployment, Service and PodDisruptionBudget."""
    return f"{model}-{pool}"


def headless_service_name(model: str, pool: str) -> str:
    """Name of a pool's headless Service."""
    return f"{model}-{pool}-headless"


def server_config_name(model: str, pool: str, digest: str) -> str:
    """Name of a pool's ConfigMap with what the server cannot reload."""
    return f"{model}-{pool}-server-{digest}"


def models_config_name(model: str, digest: str) -> str:
    """Name of the ConfigMap with the model config list, which the server can reload."""
    return f"{model}-models-{digest}"


def container_name(prefix: str, model_name: str) -> str:
    """A DNS label for a container that belongs to a model, unique also where model names differ in case only."""
    label = f"{prefix}-{model_name.lower().replace('_', '-')}"
    return label if label == f"{prefix}-{model_name}" else f"{label[:50]}-{content_hash(model_name)[:6]}"


def model_labels(model: str) -> dict[str, str]:
    """Labels of every child of a ServedModel."""
    return {
        NAME_LABEL: "tensorflow-serving",
        MANAGED_BY_LABEL: FIELD_MANAGER,
        SERVED_MODEL_LABEL: model,
    }


def pool_labels(model: str, pool: str) -> dict[str, str]:
    """Labels of every child of a pool."""
    return {**model_labels(model), POOL_LABEL: pool}


def model_selector(model: str) -> dict[str, str]:
    """Selects the pods of all pools of a ServedModel."""
    return {MANAGED_BY_LABEL: FIELD_MANAGER, SERVED_MODEL_LABEL: model}


def pool_selector(model: str, pool: str) -> dict[str, str]:
    """Selects the pods of one pool."""
    return {**model_selector(model), POOL_LABEL: pool}
