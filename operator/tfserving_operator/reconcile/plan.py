"""What is to be done so that the cluster matches the spec: a pure function of what was observed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfserving_operator.api.autoscaling import AppliedReplicas
from tfserving_operator.api.conditions import Reason
from tfserving_operator.api.model import Model
from tfserving_operator.api.refs import ObjectRef
from tfserving_operator.api.servedmodel import API_VERSION, KIND, ServedModelSpec
from tfserving_operator.reconcile.drift import is_up_to_date
from tfserving_operator.reconcile.model_statuses import ModelStatuses, available_versions, is_known
from tfserving_operator.reconcile.observed import Observed, RawObject, controller_of, is_owned, running_pools
from tfserving_operator.reconcile.pod_view import PodView
from tfserving_operator.reconcile.scaling_verdicts import scaling_problems
from tfserving_operator.reconcile.start_versions import start_versions
from tfserving_operator.reconcile.wanted_replicas import wanted_replicas
from tfserving_operator.resources.desired import DesiredInputs, build_children, name_problems, spec_problems
from tfserving_operator.resources.foreign_fields import without_foreign_fields
from tfserving_operator.resources.model_config import build_model_server_config, build_models_config
from tfserving_operator.resources.names import POOL_LABEL, models_config_name
from tfserving_operator.resources.replicas import hold_until_taken_over
from tfserving_operator.wire import to_text

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Refusal:
    """A child that could not be made what it should be, and why."""

    ref: ObjectRef
    reason: Reason
    message: str


@dataclass(frozen=True)
class Reload:
    """A running server that is to be told a new model config."""

    pod: PodView
    config_text: str
    is_change: bool
    """False for the first config that this process of the operator gives a server: most likely what it has."""


@dataclass(frozen=True)
class Plan:
    """Writes to make. Nothing in it means that everything is as it should be."""

    replicas: Mapping[str, int]
    """Wanted replicas by pool."""
    applied: AppliedReplicas | None = None
    """Those that mode Auto made, or made before it ended; None where spec.replicas counts."""
    held: Mapping[str, int] = field(default_factory=dict)
    """Pools that run more than that until others have taken over, and how many."""
    desired: tuple[Manifest, ...] = ()
    """Every child that should exist."""
    applies: tuple[Manifest, ...] = ()
    """Those of ``desired`` that differ from what is there, in order."""
    replaces: tuple[Manifest, ...] = ()
    """Children without what somebody else added to them."""
    deletes: tuple[ObjectRef, ...] = ()
    retained: tuple[str, ...] = ()
    """Pools that left the spec and go on serving until the others are ready."""
    reloads: tuple[Reload, ...] = ()
    refusals: tuple[Refusal, ...] = field(default_factory=tuple)

    def creates(self, children: Mapping[ObjectRef, RawObject]) -> bool:
        """Whether one of the writes makes a child that is not there."""
        return any(ObjectRef.of(manifest) not in children for manifest in self.applies)


def make_plan(observed: Observed, *, fetcher_image: str) -> Plan:
    """Decide what to apply, delete and reload.

    A spec that cannot be carried out leaves every child as it is: what serves goes on serving.
    """
    model = observed.model
    wanted = wanted_replicas(observed)
    replicas = wanted.replicas
    owner = ObjectRef(API_VERSION, KIND, model.metadata.namespace, model.metadata.name)
    problems = [
        *(Refusal(owner, Reason.NAME_TOO_LONG, text) for text in name_problems(model.metadata, model.spec)),
        *(Refusal(owner, Reason.INVALID_SPEC, text) for text in spec_problems(model.spec)),
    ]
    if problems:
        departed = _departed_pools(observed, replicas)
        return Plan(replicas=replicas, applied=wanted.applied, retained=departed, refusals=tuple(problems))
    running = running_pools(observed.children)
    now = hold_until_taken_over(
        replicas,
        current={pool: running[pool].replicas if pool in running else 0 for pool in replicas},
        ready={pool: sum(pod.is_ready and pod.pool == pool for pod in observed.pods) for pool in replicas},
        enough=wanted.enough,
    )
    inputs = DesiredInputs(fetcher_image, now, running, start_versions(observed, current_models_config(observed)))
    desired = tuple(build_children(model.metadata, model.spec, inputs))
    if model.spec.paused:
        departed = _departed_pools(observed, replicas)
        return Plan(replicas=replicas, applied=wanted.applied, desired=desired, retained=departed)
    taken = conflicts(observed, desired)
    refused = {refusal.ref for refusal in taken}
    # What is wrong with autoscaling stops no child: replicas go on by what is right.
    unclear = [Refusal(owner, Reason.INVALID_SPEC, text) for text in scaling_problems(model.spec)]
    applies = tuple(child for child in desired if ObjectRef.of(child) not in refused and not _matches(observed, child))
    replaces = _foreign_additions(observed, desired)
    deletes, retained = _prune(observed, desired, replicas, settled=not applies and not taken)
    return Plan(
        replicas=replicas,
        applied=wanted.applied,
        held={pool: count for pool, count in now.items() if count > replicas[pool]},
        desired=desired,
        applies=applies,
        replaces=replaces,
        deletes=deletes,
        retained=retained,
        reloads=tuple(_reloads(observed)),
        refusals=(*taken, *unclear),
    )


def _departed_pools(observed: Observed, replicas: Mapping[str, int]) -> tuple[str, ...]:
    """Pools that left the spec and run: they serve on while nothing may be changed."""
    owned = {ref: child for ref, child in observed.children.items() if is_owned(child, observed.model.metadata)}
    return tuple(sorted(running_pools(owned).keys() - replicas.keys()))


def _matches(observed: Observed, desired: Manifest) -> bool:
    ref = ObjectRef.of(desired)
    live = observed.children.get(ref)
    return live is not None and is_up_to_date(live, desired, observed.normalized.get(ref))


def _foreign_additions(observed: Observed, desired: Sequence[Manifest]) -> tuple[Manifest, ...]:
    live = (observed.children.get(ObjectRef.of(child)) for child in desired)
    owned = (child for child in live if child is not None and is_owned(child, observed.model.metadata))
    return tuple(stripped for child in owned if (stripped := without_foreign_fields(child)) is not None)


def conflicts(observed: Observed, desired: Sequence[Manifest]) -> list[Refusal]:
    """Children whose name is taken by an object that is not ours."""
    return [
        conflict(ObjectRef.of(child), observed.children[ObjectRef.of(child)])
        for child in desired
        if ObjectRef.of(child) in observed.children
        and not is_owned(observed.children[ObjectRef.of(child)], observed.model.metadata)
    ]


def conflict(ref: ObjectRef, taken: RawObject) -> Refusal:
    """Say whose object stands where the child should."""
    owner = controller_of(taken)
    whose = f"belongs to {owner['kind']} {owner['name']}" if owner else "was not made by this operator"
    return Refusal(
        ref,
        Reason.CHILD_CONFLICT,
        f"{ref.kind} {ref.name} exists and {whose}: rename this ServedModel or pool, or remove that {ref.kind}",
    )


def _prune(
    observed: Observed, desired: Sequence[Manifest], replicas: Mapping[str, int], *, settled: bool
) -> tuple[tuple[ObjectRef, ...], tuple[str, ...]]:
    """Return what to delete, and the pools that are kept a while although they left the spec."""
    wanted = {ObjectRef.of(child) for child in desired}
    unwanted = {
        ref: child
        for ref, child in observed.children.items()
        if ref not in wanted and is_owned(child, observed.model.metadata)
    }
    gone = {pool for pool in (_pool_of(child) for child in unwanted.values()) if pool and pool not in replicas}
    keep_pools = gone if not (settled and _all_ready(observed, replicas)) else set()
    in_use = frozenset().union(*(pod.config_maps for pod in observed.pods)) | _template_config_maps(observed)
    deletes = [
        ref
        for ref, child in unwanted.items()
        if _pool_of(child) not in keep_pools and not (ref.kind == "ConfigMap" and ref.name in in_use)
    ]
    return tuple(sorted(deletes, key=str)), tuple(sorted(keep_pools))


def _pool_of(child: RawObject) -> str | None:
    pool = child.get("metadata", {}).get("labels", {}).get(POOL_LABEL)
    return pool if isinstance(pool, str) else None


def _all_ready(observed: Observed, replicas: Mapping[str, int]) -> bool:
    ready = {pool: sum(pod.is_ready and pod.pool == pool for pod in observed.pods) for pool in replicas}
    return all(ready[pool] >= count for pool, count in replicas.items())


def _template_config_maps(observed: Observed) -> frozenset[str]:
    """ConfigMaps that a live Deployment would start its next pod with."""
    return frozenset(
        volume["configMap"]["name"]
        for ref, child in observed.children.items()
        if ref.kind == "Deployment"
        for volume in child.get("spec", {}).get("template", {}).get("spec", {}).get("volumes", [])
        if "configMap" in volume
    )


def current_models_config(observed: Observed) -> str:
    """Name of the ConfigMap that replicas of the current set of models are started with."""
    model = observed.model
    return models_config_name(model.metadata.name, build_models_config(model.spec).pod_hash)


def _reloads(observed: Observed) -> list[Reload]:
    """Return what running servers are to be told.

    Only replicas of the current model set: to an earlier one a new model's name would be a path that never appears,
    and the server would never answer a reload again. With TLS the operator has no certificate to call with.
    """
    model = observed.model
    if model.spec.server.tls is not None:
        return []
    config_name = current_models_config(observed)
    reloads = []
    for pod in observed.pods:
        statuses = observed.model_statuses.get(pod.uid)
        if pod.is_ready and pod.ip and config_name in pod.config_maps and _is_told(statuses, model.spec):
            text = config_for(model.spec, statuses or {})
            loaded = observed.loaded_configs.get(pod.incarnation)
            if loaded is None or loaded.text != text:
                reloads.append(Reload(pod, text, is_change=loaded is not None))
    return reloads


def _is_told(statuses: ModelStatuses | None, spec: ServedModelSpec) -> bool:
    """Whether the replica has said of every model what it has of it.

    A config replaces the one before as a whole: a version that is merely not known to be there would be unloaded, and
    its labels with it.
    """
    return statuses is not None and all(is_known(statuses, model.name) for model in spec.models)


def config_for(spec: ServedModelSpec, statuses: ModelStatuses) -> str:
    """Return the model config that a replica in this state can take now, as text.

    Labels only of versions that it can answer for. And while a specific version that is wanted is not available,
    those that are stay: TensorFlow Serving unloads what the list does not name even if nothing of the list is there.
    """

    def kept_versions(model: Model) -> set[int]:
        available = available_versions(statuses, model.name)
        wanted = set(model.versions.specific or ())
        return set() if wanted <= available else available

    config = build_model_server_config(
        spec.models,
        keep_label=lambda name, version: version in available_versions(statuses, name),
        kept_versions=kept_versions,
    )
    return to_text(config)
