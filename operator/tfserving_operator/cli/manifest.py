"""ServedModels in manifests, for commands that read files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tfserving_operator.api.servedmodel import KIND, ServedModelSpec
from tfserving_operator.simulation.yaml_text import NotYamlError, yaml_documents

STDIN = "-"
_MOST_FAULTS = 5


class ManifestError(ValueError):
    """A manifest that cannot be used; the message says where and what to write instead."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One ServedModel as its user wrote it."""

    name: str | None
    namespace: str | None
    spec: ServedModelSpec


def read_manifest(path: str, *, name: str | None = None) -> Manifest:
    """Return the ServedModel in the file ``path`` (``-``: standard input), or the one called ``name`` of several.

    Raises:
        ManifestError: There is none, there are several, or it is not valid.
    """
    where = "standard input" if path == STDIN else path
    found = [each for each in _objects(_documents(_text(path, where), where)) if each.get("kind") == KIND]
    if name is not None:
        found = [each for each in found if _metadata(each).get("name") == name]
    if not found:
        called = f" {name}" if name is not None else ""
        raise ManifestError(f"there is no {KIND}{called} in {where}: a manifest begins with kind: {KIND}")
    if len(found) > 1:
        names = ", ".join(str(_metadata(each).get("name")) for each in found)
        raise ManifestError(f"there are {len(found)} ServedModels in {where} ({names}): choose one with --name")
    return _parsed(found[0], where)


def _text(path: str, where: str) -> str:
    try:
        return sys.stdin.read() if path == STDIN else Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ManifestError(f"cannot read the manifest {where}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{where} is not a text file") from error


def _documents(text: str, where: str) -> list[Any]:
    try:
        return yaml_documents(text)
    except NotYamlError as error:
        raise ManifestError(f"{where} is not YAML: {error}") from error


def _objects(documents: list[Any]) -> Iterator[dict[str, Any]]:
    """Yield all objects, those in a List too."""
    for document in documents:
        if not isinstance(document, dict):
            continue
        yield document
        items = document.get("items")
        yield from (item for item in items if isinstance(item, dict)) if isinstance(items, list) else ()


def _metadata(content: dict[str, Any]) -> dict[str, Any]:
    metadata = content.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _parsed(content: dict[str, Any], where: str) -> Manifest:
    metadata = _metadata(content)
    try:
        spec = ServedModelSpec.model_validate(content.get("spec") or {})
    except ValidationError as error:
        raise ManifestError(f"the ServedModel in {where} is not valid: {_faults(error)}") from error
    return Manifest(name=_word(metadata.get("name")), namespace=_word(metadata.get("namespace")), spec=spec)


def _word(value: object) -> str | None:
    return None if value is None else str(value)


def _faults(error: ValidationError) -> str:
    faults = error.errors()
    shown = [f"{'.'.join(('spec', *map(str, fault['loc'])))}: {fault['msg']}" for fault in faults[:_MOST_FAULTS]]
    more = f" and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
    return "; ".join(shown) + more
