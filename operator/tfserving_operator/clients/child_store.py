"""Objects of one kind by the ServedModel they belong to; never goes back in time."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from tfserving_operator.api.refs import ModelKey, ObjectRef
from tfserving_operator.clients.kinds import PODS, Resource
from tfserving_operator.resources.foreign_fields import telling_managed_fields

RawObject = Mapping[str, Any]

SERVED_MODEL_LABEL: Final = "tfserving.dev/servedmodel"
_POD_SPEC_FIELDS: Final = frozenset({"nodeName", "containers", "initContainers", "terminationGracePeriodSeconds"})
_CONTAINER_FIELDS: Final = frozenset({"name", "image", "resources"})
_VOLUME_SOURCES: Final = frozenset({"secret", "configMap", "persistentVolumeClaim", "projected", "image"})


class ChildStore:
    """What was last seen of one kind, by list, by watch, or in the answer to a write of our own.

    ``position`` is the resource version up to which list and watch have told everything. Resource versions of one
    kind are numbers that grow (guaranteed from Kubernetes 1.35 on, and true of etcd before).
    """

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self._objects: dict[ObjectRef, RawObject] = {}
        self._refs: dict[ModelKey, set[ObjectRef]] = {}
        self._revisions: dict[ModelKey, int] = {}
        self._changes = 0
        self.position = 0

    def __len__(self) -> int:
        return len(self._objects)

    def of(self, key: ModelKey) -> Iterator[tuple[ObjectRef, RawObject]]:
        """Yield the objects that belong to ``key``, by name."""
        for ref in sorted(self._refs.get(key, ())):
            yield ref, self._objects[ref]

    def revision(self, key: ModelKey) -> int:
        """Return a number that grows with each change of what belongs to ``key``."""
        return self._revisions.get(key, 0)

    def models(self) -> Iterable[ModelKey]:
        """Return the ServedModels that have objects here."""
        return tuple(self._refs)

    def put(self, item: RawObject) -> set[ModelKey]:
        """Take over an object from a list or a watch; return whose children are other ones now.

        Empty for one that is known in this version (the echo of our own write) or a newer one.
        """
        obj = _trim(self._resource, item)
        ref = ObjectRef.of(obj)
        known = self._objects.get(ref)
        if known is not None and _version(known) >= _version(obj):
            return set()
        return self._set(ref, obj)

    def put_written(self, item: RawObject) -> None:
        """Take over the answer to a write of our own, unless list and watch are past it already."""
        obj = _trim(self._resource, item)
        ref = ObjectRef.of(obj)
        known = self._objects.get(ref)
        if _version(obj) > max(self.position, _version(known) if known is not None else 0):
            self._set(ref, obj)

    def remove(self, item: RawObject) -> set[ModelKey]:
        """Forget an object that is deleted or no longer selected; return whose child it was.

        One that was made again meanwhile, by ourselves, stays.
        """
        ref = ObjectRef.of(_trim(self._resource, item))
        known = self._objects.get(ref)
        if known is None or _version(known) > _version(item):
            return set()
        return self._drop(ref)

    def keep_only(self, listed: set[ObjectRef], position: int) -> set[ModelKey]:
        """End a list: forget what it did not hold, unless written after it; return whose children those were."""
        gone = [ref for ref, obj in self._objects.items() if ref not in listed and _version(obj) <= position]
        changed = {key for ref in gone for key in self._drop(ref)}
        self.position = position
        return changed

    def ref_of(self, item: RawObject) -> ObjectRef:
        """Return the reference of an item of a list, which does not say its kind."""
        metadata = item["metadata"]
        return ObjectRef(self._resource.api_version, self._resource.kind, metadata["namespace"], metadata["name"])

    def advance(self, item: RawObject) -> None:
        """Note how far the watch has come."""
        self.position = max(self.position, _version(item))

    def _set(self, ref: ObjectRef, obj: RawObject) -> set[ModelKey]:
        changed = self._drop(ref)
        key = _model_key(obj)
        if key is not None:
            self._objects[ref] = obj
            self._refs.setdefault(key, set()).add(ref)
            changed.add(key)
            self._count_change(key)
        return changed

    def _drop(self, ref: ObjectRef) -> set[ModelKey]:
        obj = self._objects.pop(ref, None)
        key = _model_key(obj) if obj is not None else None
        if key is None:
            return set()
        self._refs[key].discard(ref)
        self._count_change(key)
        if not self._refs[key]:
            # A ServedModel of that name that is made again counts on from there, as the counter is everybody's.
            del self._refs[key], self._revisions[key]
        return {key}

    def _count_change(self, key: ModelKey) -> None:
        self._changes += 1
        self._revisions[key] = self._changes


def _model_key(obj: RawObject) -> ModelKey | None:
    metadata = obj["metadata"]
    name = metadata.get("labels", {}).get(SERVED_MODEL_LABEL)
    return ModelKey(metadata["namespace"], name) if name else None


def _version(obj: RawObject) -> int:
    return int(obj["metadata"]["resourceVersion"])


def _trim(resource: Resource, item: RawObject) -> RawObject:
    """Return the object without what nobody here reads: it may be there tens of thousands of times."""
    metadata = {key: value for key, value in item["metadata"].items() if key != "managedFields"}
    telling = [] if resource is PODS else telling_managed_fields(item)
    if telling:
        metadata["managedFields"] = telling
    obj = {"apiVersion": resource.api_version, "kind": resource.kind, **item, "metadata": metadata}
    if resource is PODS and "spec" in obj:
        obj["spec"] = _trim_pod_spec(obj["spec"])
    return _shared(obj)  # type: ignore[no-any-return] # a mapping goes in, so one comes out


def _trim_pod_spec(spec: RawObject) -> dict[str, Any]:
    kept = {field: spec[field] for field in _POD_SPEC_FIELDS if field in spec}
    for field in ("containers", "initContainers"):
        if field in kept:
            kept[field] = [{key: c[key] for key in _CONTAINER_FIELDS if key in c} for c in kept[field]]
    referring = [volume for volume in spec.get("volumes", []) if _VOLUME_SOURCES & volume.keys()]
    if referring:
        kept["volumes"] = referring
    return kept


def _shared(value: Any) -> Any:
    """Return ``value`` with equal short strings stored once for all objects: they make up most of the memory."""
    if isinstance(value, str):
        return sys.intern(value) if len(value) <= 64 else value
    if isinstance(value, dict):
        return {sys.intern(key): _shared(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shared(item) for item in value]
    return value
