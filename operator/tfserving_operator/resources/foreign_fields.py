"""Fields that somebody else put into a child's spec or data, read from the API server's field ownership.

Server-side apply puts back what we name and somebody changed; what somebody *added* (a node selector, a second
container) it leaves to them. A child of ours is ours as a whole, so those are taken out again. The format is
``fieldsV1`` of structured-merge-diff: ``f:`` is a field, ``k:`` a list item by its keys, ``v:`` a set's value and
``.`` the thing itself.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from tfserving_operator.resources.names import FIELD_MANAGER

RawObject = Mapping[str, Any]
Fields = Mapping[str, Any]

_OWNED_PARTS = ("f:spec", "f:data", "f:binaryData")
_RESTARTED_AT = "f:kubectl.kubernetes.io/restartedAt"
_LEFT_TO_OTHERS: Fields = {"f:spec": {"f:template": {"f:metadata": {"f:annotations": {_RESTARTED_AT: {}}}}}}
"""``kubectl rollout restart`` is how people restart pods."""


def telling_managed_fields(obj: RawObject) -> list[RawObject]:
    """Return the entries of ``managedFields`` that are worth keeping: none, unless somebody else is among them."""
    entries = [entry for entry in obj["metadata"].get("managedFields", []) if not entry.get("subresource")]
    foreign = [entry for entry in entries if entry.get("manager") != FIELD_MANAGER and _touches(entry)]
    return [*foreign, *(e for e in entries if e.get("manager") == FIELD_MANAGER)] if foreign else []


def without_foreign_fields(live: RawObject) -> dict[str, Any] | None:
    """Return ``live`` with what others added to it taken out; None when there is nothing of the kind."""
    entries = telling_managed_fields(live)
    own: dict[str, Any] = {}
    for entry in entries:
        if entry.get("manager") == FIELD_MANAGER:
            own = _union(own, entry.get("fieldsV1", {}))
    allowed = _union(own, _LEFT_TO_OTHERS)
    stripped = copy.deepcopy(dict(live))
    for entry in entries:
        if entry.get("manager") != FIELD_MANAGER:
            fields = {part: entry["fieldsV1"][part] for part in _OWNED_PARTS if part in entry["fieldsV1"]}
            _take_out(stripped, fields, allowed)
    return stripped if stripped != live else None


def _touches(entry: RawObject) -> bool:
    return any(part in entry.get("fieldsV1", {}) for part in _OWNED_PARTS)


def _union(one: Fields, other: Fields) -> dict[str, Any]:
    merged = dict(one)
    for key, value in other.items():
        merged[key] = _union(merged[key], value) if key in merged else value
    return merged


def _take_out(node: Any, foreign: Fields, allowed: Fields) -> None:
    for key, below in foreign.items():
        if key == ".":
            continue
        if key not in allowed and (not below or "." in below):
            _remove(node, key)
            continue
        child = _find(node, key)
        if child is not None:
            _take_out(child, below, allowed.get(key, {}))


def _find(node: Any, key: str) -> Any:
    kind, _, name = key.partition(":")
    if kind == "f" and isinstance(node, Mapping):
        return node.get(name)
    if kind == "k" and isinstance(node, list):
        return next((item for item in node if _has_keys(item, json.loads(name))), None)
    return None


def _remove(node: Any, key: str) -> None:
    kind, _, name = key.partition(":")
    if kind == "f" and isinstance(node, dict):
        node.pop(name, None)
    elif kind == "k" and isinstance(node, list):
        keys = json.loads(name)
        node[:] = [item for item in node if not _has_keys(item, keys)]
    elif kind == "v" and isinstance(node, list):
        node[:] = [item for item in node if item != json.loads(name)]


def _has_keys(item: Any, keys: Mapping[str, Any]) -> bool:
    return isinstance(item, Mapping) and all(item.get(key) == value for key, value in keys.items())
