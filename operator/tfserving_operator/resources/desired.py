"""All children that a ServedModel should have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tfserving_operator.api.model import ModelVersions
from tfserving_operator.api.pool import Pool
from tfserving_operator.api.servedmodel import API_VERSION, KIND, ObjectMeta, ServedModelSpec
from tfserving_operator.resources.disruption import build_disruption_budget
from tfserving_operator.resources.effective import effective_server
from tfserving_operator.resources.model_config import build_models_config
from tfserving_operator.resources.names import (
    APPLIED_HASH_ANNOTATION,
    FETCHER_IMAGE_ANNOTATION,
    TEMPLATE_HASH_ANNOTATION,
    content_hash,
    deployment_name,
    headless_service_name,
    is_service_name,
    model_labels,
    models_config_name,
    pool_labels,
    pool_selector,
    server_config_name,
)
from tfserving_operator.resources.overlay_problems import overlay_problems
from tfserving_operator.resources.pod_template import PodTemplateInputs, build_pod_template
from tfserving_operator.resources.server_config import build_server_files
from tfserving_operator.resources.services import (
    build_headless_service,
    build_model_service,
    build_pool_service,
)

Manifest = dict[str, Any]

_PROGRESS_MARGIN_SECONDS = 600
"""On top of the load timeout: fetching and pulling happen before the server starts."""


@dataclass(frozen=True)
class RunningPool:
    """What a pool's live Deployment says, as far as new manifests depend on it."""

    fetcher_image: str | None = None
    template_hash: str | None = None
    replicas: int = 0


@dataclass(frozen=True)
class DesiredInputs:
    """What the children depend on beside the spec."""

    fetcher_image: str
    replicas: Mapping[str, int]
    running: Mapping[str, RunningPool]
    start_versions: Mapping[str, ModelVersions] = field(default_factory=dict)
    """Versions by model that a replica is started with, where these are not those of the spec."""


def spec_problems(spec: ServedModelSpec) -> list[str]:
    """Say, in a sentence each, what admission could not see to be wrong; empty when children can be made."""
    problems = _shared_service_problems(spec)
    for pool in spec.pools:
        if pool.pod_template is not None:
            problems += overlay_problems(pool.pod_template, pool=pool.name)
    return problems


def _shared_service_problems(spec: ServedModelSpec) -> list[str]:
    """A CRD of before the rule against such names may stand in the cluster."""
    headless = {headless_service_name("NAME", pool.name): pool.name for pool in spec.pools}
    services = {deployment_name("NAME", pool.name): pool.name for pool in spec.pools}
    return [
        f"spec.pools: pools {headless[name]!r} and {services[name]!r} would share the Service {name}: "
        "rename one of them"
        for name in sorted(headless.keys() & services.keys())
    ]


def name_problems(metadata: ObjectMeta, spec: ServedModelSpec) -> list[str]:
    """Say which children would get a name that Kubernetes refuses."""
    names = [metadata.name, *(headless_service_name(metadata.name, pool.name) for pool in spec.pools)]
    return [
        f"the child Service {name!r} would need a DNS label of at most 63 characters that starts with a letter "
        f"(it has {len(name)}): shorten the ServedModel's or the pool's name"
        for name in names
        if not is_service_name(name)
    ]


def build_children(metadata: ObjectMeta, spec: ServedModelSpec, inputs: DesiredInputs) -> list[Manifest]:
    """Return every child in the order it is to be applied: what pods refer to comes before the pods."""
    models_config = build_models_config(spec, inputs.start_versions)
    config_name = models_config_name(metadata.name, models_config.pod_hash)
    children = [
        _config_map(config_name, model_labels(metadata.name), models_config.files),
        build_model_service(metadata.name, spec.networking),
    ]
    for pool in spec.pools:
        children += _build_pool_children(metadata, spec, pool, inputs, config_name)
    return [_owned(child, metadata) for child in children]


def _build_pool_children(
    metadata: ObjectMeta, spec: ServedModelSpec, pool: Pool, inputs: DesiredInputs, config_name: str
) -> list[Manifest]:
    name = metadata.name
    server = effective_server(spec, pool)
    files = build_server_files(server, tls=spec.server.tls is not None)
    server_name = server_config_name(name, pool.name, content_hash(files))
    return [
        _config_map(server_name, pool_labels(name, pool.name), files, immutable=True),
        build_pool_service(name, pool.name, spec.networking),
        build_headless_service(name, pool.name, spec.networking),
        build_disruption_budget(name, pool.name, spec.disruption),
        _build_deployment(metadata, spec, pool, inputs, PodTemplateInputs(name, "", config_name, server_name)),
    ]


def _build_deployment(
    metadata: ObjectMeta,
    spec: ServedModelSpec,
    pool: Pool,
    inputs: DesiredInputs,
    template_inputs: PodTemplateInputs,
) -> Manifest:
    server = effective_server(spec, pool)
    template_hash = content_hash(build_pod_template(spec, pool, server, template_inputs))
    fetcher_image = _fetcher_image(inputs, pool.name, template_hash)
    template = build_pod_template(spec, pool, server, replace(template_inputs, fetcher_image=fetcher_image))
    annotations = {TEMPLATE_HASH_ANNOTATION: template_hash}
    if any(model.source.is_fetched for model in spec.models):
        annotations[FETCHER_IMAGE_ANNOTATION] = fetcher_image
    strategy = pool.update_strategy
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": deployment_name(metadata.name, pool.name),
            "labels": pool_labels(metadata.name, pool.name),
            "annotations": annotations,
        },
        "spec": {
            "replicas": inputs.replicas[pool.name],
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": spec.server.load_timeout_seconds + _PROGRESS_MARGIN_SECONDS,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {
                    "maxSurge": 1 if strategy.max_surge is None else strategy.max_surge,
                    "maxUnavailable": 0 if strategy.max_unavailable is None else strategy.max_unavailable,
                },
            },
            "selector": {"matchLabels": pool_selector(metadata.name, pool.name)},
            "template": template,
        },
    }


def _fetcher_image(inputs: DesiredInputs, pool: str, template_hash: str) -> str:
    """Keep the running fetcher while nothing else changes: upgrading the operator must not roll every pod."""
    running = inputs.running.get(pool, RunningPool())
    if running.template_hash == template_hash and running.fetcher_image:
        return running.fetcher_image
    return inputs.fetcher_image


def _config_map(
    name: str, labels: Mapping[str, str], files: Mapping[str, str], *, immutable: bool | None = None
) -> Manifest:
    manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": dict(labels)},
        "data": dict(files),
    }
    return manifest | ({"immutable": True} if immutable else {})


def _owned(child: Manifest, metadata: ObjectMeta) -> Manifest:
    """Put the namespace, the owner and the hash of the whole manifest on ``child``."""
    owner = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": metadata.name,
        "uid": metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    child_metadata = {**child["metadata"], "namespace": metadata.namespace, "ownerReferences": [owner]}
    owned = {**child, "metadata": child_metadata}
    annotations = {**child_metadata.get("annotations", {}), APPLIED_HASH_ANNOTATION: content_hash(owned)}
    return {**owned, "metadata": {**child_metadata, "annotations": annotations}}
