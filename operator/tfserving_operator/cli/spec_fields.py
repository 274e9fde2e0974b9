"""What the API server would refuse of a spec by its schema alone, and what reading it would let pass."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]

_KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "object": ((dict,), "a mapping"),
    "array": ((list,), "a list"),
    "string": ((str,), "a text, in quotes where YAML would take it for something else"),
    "integer": ((int,), "a whole number, without quotes"),
    "number": ((int, float), "a number, without quotes"),
    "boolean": ((bool,), "true or false"),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one field."""

    path: tuple[str | int, ...]
    words: str
    is_unknown: bool = False
    """There is no such field: the API server leaves it out where it is not told to be strict."""

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.path))}: {self.words}"


def without(value: Any, problems: Iterable[Problem]) -> Any:
    """Return a copy of ``value`` without the fields of ``problems``."""
    value = deepcopy(value)
    for problem in problems:
        place = value
        for key in problem.path[:-1]:
            place = place[key]
        del place[problem.path[-1]]
    return value


def field_problems(value: Any, schema: Schema, path: tuple[str | int, ...]) -> Iterator[Problem]:
    """Yield a problem for each field of ``value`` that is unknown, of another type, or twice in a list by name.

    Nulls are let through, as the API server takes most of them for left out. Bounds and patterns are not looked at.
    """
    wanted = _wanted(schema)
    if value is None or wanted is None:
        return
    types, words = wanted
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        yield Problem(path, f"write {words}")
    elif isinstance(value, dict):
        yield from _object_problems(value, schema, path)
    elif isinstance(value, list):
        yield from _list_problems(value, schema, path)


def _wanted(schema: Schema) -> tuple[tuple[type, ...], str] | None:
    if schema.get("x-kubernetes-int-or-string"):
        return (int, str), "a whole number, or a text"
    return _KINDS.get(schema.get("type", ""))


def _object_problems(value: Mapping[Any, Any], schema: Schema, path: tuple[str | int, ...]) -> Iterator[Problem]:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    others = schema.get("additionalProperties")
    is_open = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    for key, item in value.items():
        if not isinstance(key, str):
            yield Problem(path, f"the key {key} must be a text: write it in quotes")
        elif key in properties:
            yield from field_problems(item, properties[key], (*path, key))
        elif others is not None:
            yield from field_problems(item, others, (*path, key))
        elif not is_open:
            yield Problem((*path, key), f"there is no such field{_meant(key, properties)}", is_unknown=True)


def _meant(key: str, properties: Mapping[str, Schema]) -> str:
    by_plain = {name.lower(): name for name in properties}
    close = difflib.get_close_matches(key.replace("_", "").lower(), by_plain, n=1)
    return f" (is {by_plain[close[0]]} meant?)" if close else ""


def _list_problems(value: list[Any], schema: Schema, path: tuple[str | int, ...]) -> Iterator[Problem]:
    for index, item in enumerate(value):
        yield from field_problems(item, schema["items"], (*path, index))
    keys = schema.get("x-kubernetes-list-map-keys", [])
    named = [tuple(str(item[key]) for key in keys) for item in value if isinstance(item, dict) and {*keys} <= {*item}]
    for names, count in Counter(named).items():
        if keys and count > 1:
            yield Problem(path, f"{' '.join(names)} is in it {count} times: give each its own {' and '.join(keys)}")
