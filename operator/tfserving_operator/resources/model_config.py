"""The model config list: what TensorFlow Serving serves, as text protos and as a ConfigMap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tfserving_operator.api.model import Model, ModelVersions
from tfserving_operator.api.servedmodel import ServedModelSpec
from tfserving_operator.resources.names import content_hash
from tfserving_operator.wire import ModelServerConfig, to_text

MODELS_DIRECTORY = "/models"
MODELS_CONFIG_KEY = "models.config"
EXPECTED_VERSIONS_KEY = "expected-versions"

LabelFilter = Callable[[str, int], bool]
"""Whether a label of (model name) may point at (version)."""

KeptVersions = Callable[[Model], Iterable[int]]
"""Versions that stay in a specific list although the spec does not name them."""


def base_path(model: Model) -> str:
    """Directory in the pod whose numeric children are the model's versions."""
    return f"{MODELS_DIRECTORY}/{model.name}"


def _any_label(_model: str, _version: int) -> bool:
    return True


def _no_versions(_model: Model) -> Iterable[int]:
    return ()


def build_model_server_config(
    models: Sequence[Model], *, keep_label: LabelFilter = _any_label, kept_versions: KeptVersions = _no_versions
) -> ModelServerConfig:
    """Return the config list, with those version labels that ``keep_label`` lets through.

    TensorFlow Serving checks labels before it loads versions, and refuses the whole config when a label points
    at a version that is not available: a running server is told of versions first and of labels second.
    """
    config = ModelServerConfig()
    for model in models:
        entry = config.model_config_list.config.add()
        entry.name = model.name
        entry.base_path = base_path(model)
        entry.model_platform = "tensorflow"
        versions = model.versions.policy()
        if versions.specific is not None:
            entry.model_version_policy.specific.versions.extend(sorted({*versions.specific, *kept_versions(model)}))
        elif versions.all:
            entry.model_version_policy.all.SetInParent()
        else:
            entry.model_version_policy.latest.num_versions = versions.latest or 1
        for label, version in sorted(model.labels.items()):
            if keep_label(model.name, version):
                entry.version_labels[label] = version
    return config


def expected_versions(models: Sequence[Model]) -> str:
    """What a starting replica waits for, a line a model: ``NAME latest N``, ``NAME specific V…`` or ``NAME all``."""
    lines = []
    for model in models:
        versions = model.versions.policy()
        if versions.specific is not None:
            lines.append(f"{model.name} specific {' '.join(str(v) for v in sorted(versions.specific))}")
        elif versions.all:
            lines.append(f"{model.name} all")
        else:
            lines.append(f"{model.name} latest {versions.latest or 1}")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class ModelsConfig:
    """The reloadable files, and the hash of what a running pod cannot follow."""

    files: dict[str, str]
    pod_hash: str


def is_reloadable(spec: ServedModelSpec, model: Model) -> bool:
    """Whether a running replica can follow a change of this model's versions.

    Fetched versions are copied when a pod starts, so they need new pods. With TLS the operator cannot call the
    server's reload, as it does not hold the client's certificates.
    """
    return spec.server.tls is None and not model.source.is_fetched


def build_models_config(
    spec: ServedModelSpec, start_versions: Mapping[str, ModelVersions] | None = None
) -> ModelsConfig:
    """Return the files of the models ConfigMap; ``pod_hash`` changes where running pods cannot follow by reload.

    ``start_versions`` are versions by model that a replica is started with in place of those of the spec.
    """
    versions = start_versions or {}
    models = [model.model_copy(update={"versions": versions.get(model.name, model.versions)}) for model in spec.models]
    fixed = [
        [
            model.name,
            model.source.model_dump(mode="json", exclude_none=True),
            None if is_reloadable(spec, model) else model.versions.model_dump(mode="json", exclude_none=True),
            None if spec.server.tls is None else model.labels,
        ]
        for model in spec.models
    ]
    return ModelsConfig(
        files={
            MODELS_CONFIG_KEY: to_text(build_model_server_config(models)),
            EXPECTED_VERSIONS_KEY: expected_versions(models),
        },
        pod_hash=content_hash(fixed),
    )
