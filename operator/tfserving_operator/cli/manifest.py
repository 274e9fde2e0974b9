"""ServedModels in manifests, for commands that read files."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tfserving_operator.api.servedmodel import API_VERSION, KIND, NAME_PATTERN, ServedModelSpec
from tfserving_operator.api.structural import structural_schema
from tfserving_operator.cli.spec_fields import Problem, field_problems, without
from tfserving_operator.simulation.yaml_text import NotYamlError, fault_words, yaml_documents

STDIN = "-"
_MOST_FAULTS = 5
_TOP_FIELDS = frozenset({"apiVersion", "kind", "metadata", "spec", "status"})
_PATTERNS = {"name": NAME_PATTERN, "namespace": r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"}


class ManifestError(ValueError):
    """A manifest that cannot be used; the message says where and what to write instead."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One ServedModel as its user wrote it."""

    name: str | None
    namespace: str | None
    spec: ServedModelSpec
    left_out: tuple[str, ...] = ()
    """Sentences about fields that there are not."""


def read_manifest(path: str, *, name: str | None = None, namespace: str | None = None) -> Manifest:
    """Return the ServedModel in the file ``path`` (``-``: standard input), or of several the one that is called so.

    A single one is returned whatever its namespace is.

    Raises:
        ManifestError: There is none, there are several, or the API server would refuse it by its schema.
    """
    where = "standard input" if path == STDIN else path
    found = [each for each in _objects(_documents(_text(path, where), where)) if each.get("kind") == KIND]
    called = ""
    if name is not None:
        found, called = [each for each in found if _metadata(each).get("name") == name], f" {name}"
    if namespace is not None and len(found) > 1:
        found = [each for each in found if _metadata(each).get("namespace", namespace) == namespace]
        called += f" of the namespace {namespace}"
    if not found:
        raise ManifestError(f"there is no {KIND}{called} in {where}: a manifest begins with kind: {KIND}")
    if len(found) > 1:
        names = ", ".join(_called(each) for each in found)
        raise ManifestError(
            f"there are {len(found)} ServedModels in {where} ({names}): choose one with --name, and --namespace"
        )
    return _parsed(found[0], where)


def _called(content: dict[str, Any]) -> str:
    metadata = _metadata(content)
    return "/".join(str(metadata[key]) for key in ("namespace", "name") if key in metadata) or "without a name"


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
    problems = list(_problems(content))
    unknown = [problem for problem in problems if problem.is_unknown]
    refused = [str(problem) for problem in problems if not problem.is_unknown]
    try:
        spec = None if refused else ServedModelSpec.model_validate(without(content, unknown).get("spec") or {})
    except ValidationError as error:
        spec, refused = None, [f"spec{path and f'.{path}'}: {what}" for path, what in fault_words(error)]
    left_out = tuple(f"{problem}, so it is left out, which kubectl apply refuses" for problem in unknown)
    if spec is None:
        faults = [*refused, *map(str, unknown)]
        more = f" and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
        raise ManifestError(f"the ServedModel in {where} is not valid: {'; '.join(faults[:_MOST_FAULTS])}{more}")
    metadata = _metadata(content)
    return Manifest(name=metadata.get("name"), namespace=metadata.get("namespace"), spec=spec, left_out=left_out)


def _problems(content: dict[str, Any]) -> Iterator[Problem]:
    """Yield what the API server would refuse before it looks at bounds; what it writes itself is all known."""
    if content.get("apiVersion") != API_VERSION:
        yield Problem(("apiVersion",), f"write {API_VERSION}")
    for key in content.keys() - _TOP_FIELDS:
        yield Problem((key,), "there is no such field: a ServedModel has metadata and spec", is_unknown=True)
    metadata = content.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        yield Problem(("metadata",), "write a mapping")
    for key in ("name", "namespace"):
        name = _metadata(content).get(key)
        if name is not None and not (isinstance(name, str) and re.match(_PATTERNS[key], name)):
            yield Problem(("metadata", key), f"it must match {_PATTERNS[key]}")
    yield from field_problems(content.get("spec"), structural_schema(ServedModelSpec), ("spec",))
