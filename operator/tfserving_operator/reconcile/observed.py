"""One frozen look at a ServedModel and everything around it: the input of all decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from tfserving_operator.api.refs import ObjectRef
from tfserving_operator.api.servedmodel import ObjectMeta, ServedModel, ServedModelSpec, ServedModelStatus
from tfserving_operator.reconcile.drift import Normalized
from tfserving_operator.reconcile.model_statuses import ModelStatuses
from tfserving_operator.reconcile.pod_view import PodView
from tfserving_operator.reconcile.scaling_board import ScalingView
from tfserving_operator.resources.desired import RunningPool
from tfserving_operator.resources.model_volumes import FETCH_PREFIX
from tfserving_operator.resources.names import (
    FETCHER_IMAGE_ANNOTATION,
    POOL_LABEL,
    SERVED_MODEL_LABEL,
    TEMPLATE_HASH_ANNOTATION,
)

RawObject = Mapping[str, Any]


@dataclass(frozen=True)
class InvalidServedModel:
    """A ServedModel whose spec this operator cannot read."""

    metadata: ObjectMeta
    status: ServedModelStatus
    problem: str


@dataclass(frozen=True)
class LoadedConfig:
    """The model config, as text, that a server accepted, and when."""

    text: str
    at: datetime


@dataclass(frozen=True)
class Observed:
    """What was seen, and when."""

    model: ServedModel
    children: Mapping[ObjectRef, RawObject]
    pods: tuple[PodView, ...]
    now: datetime
    model_statuses: Mapping[str, ModelStatuses] = field(default_factory=dict)
    """What each ready replica says of its models, by pod UID."""
    silent_since: datetime | None = None
    """Since when a ready replica has not answered what models it has; None while all do."""
    loaded_configs: Mapping[str, LoadedConfig] = field(default_factory=dict)
    """What each server process was last told to load, by the pod's incarnation."""
    normalized: Mapping[ObjectRef, Normalized] = field(default_factory=dict)
    """What the API server made of children as they were last applied; of those before a restart it is not known."""
    scaling: ScalingView | None = None
    """What the scaling loop says; None before its first decision, and where autoscaling is off."""


def parse_served_model(raw: RawObject) -> ServedModel | InvalidServedModel:
    """Read a ServedModel; what is wrong with its spec comes back in words."""
    metadata = ObjectMeta.model_validate(raw["metadata"])
    status = parse_status(raw.get("status", {}))
    try:
        spec = ServedModelSpec.model_validate(raw.get("spec", {}))
    except ValidationError as error:
        problems = "; ".join(f"spec.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        return InvalidServedModel(metadata=metadata, status=status, problem=problems)
    return ServedModel(metadata=metadata, spec=spec, status=status)


def parse_status(raw: RawObject) -> ServedModelStatus:
    """Status is ours to rewrite: an unreadable one (of another version of the operator) counts as none."""
    try:
        return ServedModelStatus.model_validate(raw)
    except ValidationError:
        return ServedModelStatus()


def controller_of(child: RawObject) -> RawObject | None:
    """The owner reference of the child's controller."""
    owners = child.get("metadata", {}).get("ownerReferences", [])
    return next((owner for owner in owners if owner.get("controller")), None)


def is_owned(child: RawObject, metadata: ObjectMeta) -> bool:
    """Whether ``child`` is the ServedModel's, also when somebody took the owner reference off it."""
    owner = controller_of(child)
    if owner is not None:
        return bool(owner.get("uid") == metadata.uid)
    labels = child.get("metadata", {}).get("labels", {})
    return bool(labels.get(SERVED_MODEL_LABEL) == metadata.name)


def running_pools(children: Mapping[ObjectRef, RawObject]) -> dict[str, RunningPool]:
    """What the live Deployments were built from, by pool."""
    pools = {}
    for ref, child in children.items():
        pool = child.get("metadata", {}).get("labels", {}).get(POOL_LABEL)
        if ref.kind == "Deployment" and pool:
            pools[pool] = RunningPool(
                fetcher_image=_fetcher_image(child),
                replicas=child.get("spec", {}).get("replicas", 0),
                template_hash=child["metadata"].get("annotations", {}).get(TEMPLATE_HASH_ANNOTATION),
            )
    return pools


def _fetcher_image(deployment: RawObject) -> str | None:
    applied = deployment["metadata"].get("annotations", {}).get(FETCHER_IMAGE_ANNOTATION)
    return applied or _image_of_first_fetcher(deployment)


def _image_of_first_fetcher(deployment: RawObject) -> str | None:
    """For Deployments of a version of the operator that did not note the image: its upgrade is to roll no pods."""
    pod_spec = deployment.get("spec", {}).get("template", {}).get("spec", {})
    images = [c["image"] for c in pod_spec.get("initContainers", []) if c["name"].startswith(f"{FETCH_PREFIX}-")]
    return images[0] if images else None
