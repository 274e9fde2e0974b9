"""How each model gets into the pod: volumes, mounts and init containers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tfserving_operator.api.model import Model
from tfserving_operator.api.servedmodel import ServedModelSpec
from tfserving_operator.resources.command import MODELS_CONFIG_DIRECTORY, SERVER_CONFIG_DIRECTORY
from tfserving_operator.resources.model_config import EXPECTED_VERSIONS_KEY, MODELS_DIRECTORY, base_path
from tfserving_operator.resources.names import container_name
from tfserving_operator.resources.quantity import bytes_count
from tfserving_operator.resources.security import RESTRICTED_CONTAINER
from tfserving_operator.resources.server_config import CHECK_MODEL_KEY

Manifest = dict[str, Any]

FETCHED_MODELS_VOLUME = "fetched-models"
CREDENTIALS_DIRECTORY = "/var/run/tfserving/credentials"
FETCH_PREFIX = "fetch"
CHECK_PREFIX = "check"

_FETCH_MEMORY_LIMIT = "512Mi"
_FETCH_RESOURCES = {
    "requests": {"cpu": "50m", "memory": "128Mi"},
    "limits": {"cpu": "2", "memory": _FETCH_MEMORY_LIMIT},
}
_CHECK_RESOURCES = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}}
_DIRECT_SCHEMES_VOLUME_PREFIX = "model"


@dataclass(frozen=True)
class ModelVolumes:
    """The parts of a pod that bring its models."""

    volumes: list[Manifest] = field(default_factory=list)
    server_mounts: list[Manifest] = field(default_factory=list)
    init_containers: list[Manifest] = field(default_factory=list)


def versions_argument(model: Model) -> str:
    """The fetcher's ``--versions``: ``latest:N``, ``specific:V,…`` or ``all``."""
    versions = model.versions.policy()
    if versions.specific is not None:
        return f"specific:{','.join(str(version) for version in sorted(versions.specific))}"
    return "all" if versions.all else f"latest:{versions.latest or 1}"


def build_model_volumes(spec: ServedModelSpec, *, server_image: str, fetcher_image: str) -> ModelVolumes:
    """Return what the pod needs for every model of ``spec``."""
    parts = ModelVolumes()
    fetched = [model for model in spec.models if model.source.is_fetched]
    if fetched:
        parts.volumes.append(_fetched_models_volume(fetched))
    for model in spec.models:
        if model.source.is_fetched:
            _add_fetched(parts, model, fetcher_image)
        else:
            _add_mounted(parts, model, server_image)
    return parts


def _fetched_models_volume(fetched: list[Model]) -> Manifest:
    """One volume holds all fetched models, so it is bounded only where every one of them is."""
    limits = [bytes_count(model.source.size_limit) for model in fetched]
    bounded = [limit for limit in limits if limit is not None]
    volume = {"sizeLimit": str(sum(bounded))} if len(bounded) == len(limits) else {}
    return {"name": FETCHED_MODELS_VOLUME, "emptyDir": volume}


def _add_fetched(parts: ModelVolumes, model: Model, fetcher_image: str) -> None:
    command = [
        *("python", "-m", "tfserving_operator.fetch"),
        *("--model", model.name, "--uri", model.source.uri, "--versions", versions_argument(model)),
        *("--destination", MODELS_DIRECTORY),
    ]
    size_limit_bytes = bytes_count(model.source.size_limit)
    if size_limit_bytes is not None:
        command += ["--size-limit-bytes", str(size_limit_bytes)]
    mounts: list[Manifest] = [
        {"name": FETCHED_MODELS_VOLUME, "mountPath": MODELS_DIRECTORY},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the container
    ]
    if model.source.credentials is not None:
        volume = container_name("credentials", model.name)
        parts.volumes.append(
            {
                "name": volume,
                "secret": {"secretName": model.source.credentials.secret_name, "defaultMode": 0o440},
            }
        )
        mounts.append({"name": volume, "mountPath": CREDENTIALS_DIRECTORY, "readOnly": True})
        command += ["--credentials-dir", CREDENTIALS_DIRECTORY]
    # A mount of its own a model: below one read-only mount of them all there is no place for mounted models.
    parts.server_mounts.append(
        {"name": FETCHED_MODELS_VOLUME, "mountPath": base_path(model), "subPath": model.name, "readOnly": True}
    )
    parts.init_containers.append(
        {
            "name": container_name(FETCH_PREFIX, model.name),
            "image": fetcher_image,
            "command": command,
            "volumeMounts": mounts,
            "resources": _FETCH_RESOURCES,
            "securityContext": RESTRICTED_CONTAINER,
            "terminationMessagePolicy": "FallbackToLogsOnError",
        }
    )


def _add_mounted(parts: ModelVolumes, model: Model, server_image: str) -> None:
    volume, mount = _mounted_volume(model)
    parts.volumes.append(volume)
    parts.server_mounts.append(mount)
    parts.init_containers.append(
        {
            "name": container_name(CHECK_PREFIX, model.name),
            "image": server_image,
            "command": [
                *("bash", f"{SERVER_CONFIG_DIRECTORY}/{CHECK_MODEL_KEY}", model.name),
                *(f"{MODELS_CONFIG_DIRECTORY}/{EXPECTED_VERSIONS_KEY}", MODELS_DIRECTORY),
            ],
            "volumeMounts": [
                mount,
                {"name": "models-config", "mountPath": MODELS_CONFIG_DIRECTORY, "readOnly": True},
                {"name": "server-config", "mountPath": SERVER_CONFIG_DIRECTORY, "readOnly": True},
            ],
            "resources": _CHECK_RESOURCES,
            "securityContext": RESTRICTED_CONTAINER,
            "terminationMessagePolicy": "FallbackToLogsOnError",
        }
    )


def _mounted_volume(model: Model) -> tuple[Manifest, Manifest]:
    """Return the volume and its mount; the URI's path becomes a ``subPath`` where the volume has a root."""
    name = container_name(_DIRECT_SCHEMES_VOLUME_PREFIX, model.name)
    mount: Manifest = {"name": name, "mountPath": base_path(model), "readOnly": True}
    uri = urlsplit(model.source.uri)
    sub_path = uri.path.strip("/")
    if uri.scheme == "pvc":
        volume: Mapping[str, Any] = {"persistentVolumeClaim": {"claimName": uri.netloc, "readOnly": True}}
        return {"name": name, **volume}, mount | ({"subPath": sub_path} if sub_path else {})
    if uri.scheme == "oci":
        return {"name": name, "image": {"reference": model.source.uri.removeprefix("oci://")}}, mount
    return {"name": name, "hostPath": {"path": f"/{sub_path}", "type": "Directory"}}, mount
