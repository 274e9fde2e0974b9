"""Finds the versions in an unpacked archive."""

from __future__ import annotations

from pathlib import Path

from tfserving_operator.fetch.errors import FetchError
from tfserving_operator.fetch.staging import require_model_files
from tfserving_operator.fetch.termination import FetchReason
from tfserving_operator.fetch.versions import VersionPolicy, index_versions

_MODEL_FILES = frozenset({"saved_model.pb", "saved_model.pbtxt", "model.tflite"})
_JUNK = frozenset({"__MACOSX", ".DS_Store", "PaxHeader"})


def find_versions(tree: Path, policy: VersionPolicy, *, what: str) -> dict[int, Path]:
    """Return the directory of each version in ``tree``.

    Numbered directories are versions, at the top or below a single directory. A lone SavedModel is the one
    version that ``policy`` names, or version 1.
    """
    for candidate in _roots(tree):
        directories = {path.name: path for path in candidate.iterdir() if path.is_dir()}
        names_by_version, _ = index_versions(directories)
        if names_by_version:
            return {version: directories[name] for version, name in names_by_version.items()}
        if _MODEL_FILES & {path.name for path in candidate.iterdir()}:
            return {_lone_version(policy, what=what): candidate}
    names = {str(path.relative_to(tree)) for path in list(tree.rglob("*"))[:50]}
    require_model_files(names - _MODEL_FILES, what=f"The archive {what}")
    return {}


def _roots(tree: Path) -> list[Path]:
    children = [path for path in tree.iterdir() if path.name not in _JUNK]
    return [tree, children[0]] if len(children) == 1 and children[0].is_dir() else [tree]


def _lone_version(policy: VersionPolicy, *, what: str) -> int:
    if len(policy.specific) > 1:
        raise FetchError(
            FetchReason.VersionNotFound,
            f"The archive {what} holds a single model but {len(policy.specific)} versions are asked for. "
            "Put {version} into the URL for an archive a version, or pack numbered directories.",
        )
    return policy.specific[0] if policy.specific else 1
