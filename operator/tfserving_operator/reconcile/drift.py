"""Whether a live child still is what was applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfserving_operator.resources.names import APPLIED_HASH_ANNOTATION
from tfserving_operator.resources.quantity import parse_quantity

_LIST_KEYS = ("name", "uid", "mountPath", "containerPort", "port", "topologyKey", "key")
"""Keys by which items of a live list are found; the API server may add items of its own (defaults, webhooks)."""

_QUANTITY_PARENTS = frozenset({"requests", "limits", "sizeLimit", "divisor"})


@dataclass(frozen=True)
class Normalized:
    """What the API server, or a webhook in front of it, made of a child that was applied.

    Apply is forced, so what differs right after it is not somebody's edit: zero values left out, defaults in the
    place of 0, rounded quantities, an image from a mirror. Applied again, it would come out the same.
    """

    applied_hash: str
    stored: Mapping[str, Any]
    """Values that differ from those applied, by path; None is left out."""


def normalized_by_server(stored: Mapping[str, Any], applied: Mapping[str, Any]) -> Normalized:
    """Return what became of ``applied``, where ``stored`` is the answer to the apply."""
    return Normalized(_applied_hash(applied), differences(stored, applied))


def is_up_to_date(live: Mapping[str, Any], desired: Mapping[str, Any], normalized: Normalized | None = None) -> bool:
    """Whether ``live`` was applied from ``desired`` and still holds every field of it.

    Fields that ``desired`` does not name are not compared: the API server fills in defaults there. Nor are those
    that still are what the API server made of this very ``desired``.
    """
    expected = normalized.stored if normalized and normalized.applied_hash == _applied_hash(desired) else {}
    return all(path in expected and expected[path] == value for path, value in differences(live, desired).items())


def differences(live: Any, desired: Any, path: str = "") -> dict[str, Any]:
    """Return where ``live`` lacks or contradicts what ``desired`` names, as dotted paths, and what it has there."""
    if isinstance(desired, Mapping):
        if not isinstance(live, Mapping):
            # The API server leaves out empty objects, and empty means the same as absent.
            return {} if not desired and live is None else {path: live}
        found: dict[str, Any] = {}
        for key, value in desired.items():
            found |= differences(live.get(key), value, f"{path}.{key}" if path else key)
        return found
    if isinstance(desired, list):
        return _different_items(live, desired, path)
    return {} if _same_scalar(live, desired, path) else {path: live}


def _different_items(live: Any, desired: Sequence[Any], path: str) -> dict[str, Any]:
    if not isinstance(live, list):
        return {} if not desired and live is None else {path: live}
    key = _list_key(desired)
    found: dict[str, Any] = {}
    if key is None:
        if len(live) != len(desired):
            return {path: live}
        for index, (live_item, item) in enumerate(zip(live, desired, strict=True)):
            found |= differences(live_item, item, f"{path}[{index}]")
        return found
    by_key = {item.get(key): item for item in live if isinstance(item, Mapping)}
    for item in desired:
        found |= differences(by_key.get(item[key]), item, f"{path}[{item[key]}]")
    return found


def _applied_hash(manifest: Mapping[str, Any]) -> str:
    return str(manifest["metadata"]["annotations"][APPLIED_HASH_ANNOTATION])


def _list_key(items: Sequence[Any]) -> str | None:
    """Return the key that tells the items apart; one volume may be mounted twice, so a name need not be it."""
    for key in _LIST_KEYS:
        if items and all(isinstance(item, Mapping) and key in item for item in items):
            values = [item[key] for item in items]
            if len(set(values)) == len(values):
                return key
    return None


def _same_scalar(live: Any, desired: Any, path: str) -> bool:
    if live == desired:
        return True
    if any(part in _QUANTITY_PARENTS for part in path.split(".")):
        # The API server writes quantities in its own form: 1000m comes back as 1. What was applied from the same
        # manifest is equal; what somebody changed shows in the number.
        number = parse_quantity(desired)
        return number is not None and parse_quantity(live) == number
    # Absent and "" are the same to Kubernetes for optional strings.
    return desired == "" and live is None
