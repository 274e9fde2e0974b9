"""Whether a live child still is what was applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfserving_operator.resources.names import APPLIED_HASH_ANNOTATION
from tfserving_operator.resources.quantity import parse_quantity

_LIST_KEYS = ("name", "uid", "mountPath", "containerPort", "port", "topologyKey", "key")
"""Keys by which items of a live list are found; the API server may add items of its own (defaults, webhooks)."""

_QUANTITY_PARENTS = frozenset({"requests", "limits", "sizeLimit", "divisor"})


def is_up_to_date(live: Mapping[str, Any], desired: Mapping[str, Any]) -> bool:
    """Whether ``live`` was applied from ``desired`` and still holds every field of it.

    Fields that ``desired`` does not name are not compared: the API server fills in defaults there.
    """
    annotations = live.get("metadata", {}).get("annotations", {})
    wanted = desired["metadata"]["annotations"][APPLIED_HASH_ANNOTATION]
    return annotations.get(APPLIED_HASH_ANNOTATION) == wanted and not changed_paths(live, desired)


def changed_paths(live: Any, desired: Any, path: str = "") -> list[str]:
    """Return where ``live`` lacks or contradicts what ``desired`` names, as dotted paths."""
    if isinstance(desired, Mapping):
        if not isinstance(live, Mapping):
            # The API server leaves out empty objects, and empty means the same as absent.
            return [] if not desired and live is None else [path]
        return [
            changed
            for key, value in desired.items()
            for changed in changed_paths(live.get(key), value, f"{path}.{key}" if path else key)
        ]
    if isinstance(desired, list):
        return _changed_items(live, desired, path)
    return [] if _same_scalar(live, desired, path) else [path]


def _changed_items(live: Any, desired: Sequence[Any], path: str) -> list[str]:
    if not isinstance(live, list):
        return [] if not desired and live is None else [path]
    key = _list_key(desired)
    if key is None:
        if len(live) != len(desired):
            return [path]
        return [
            changed
            for index, (live_item, item) in enumerate(zip(live, desired, strict=True))
            for changed in changed_paths(live_item, item, f"{path}[{index}]")
        ]
    by_key = {item.get(key): item for item in live if isinstance(item, Mapping)}
    return [
        changed for item in desired for changed in changed_paths(by_key.get(item[key]), item, f"{path}[{item[key]}]")
    ]


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
