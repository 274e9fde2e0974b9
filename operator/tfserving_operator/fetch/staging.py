"""A model's directory on the volume: what is complete, what is under way, what may be removed.

Everything under way has a name that TensorFlow Serving skips, and becomes a version by one rename on the same
file system, after its content is on the disk. A version we made carries a marker file; one without is not ours.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tfserving_operator.fetch.disk import Volume
from tfserving_operator.fetch.errors import FetchError
from tfserving_operator.fetch.log import log
from tfserving_operator.fetch.source import quoted
from tfserving_operator.fetch.termination import FetchReason
from tfserving_operator.fetch.versions import parse_version_name

MARKER_NAME = ".fetched.json"
_STAGING_PREFIX = ".fetching-"
_DISCARDED_PREFIX = ".removing-"
_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt", "model.tflite")


@dataclass(frozen=True)
class FetchedMarker:
    """What a version that we fetched says of itself."""

    source: str
    """For people: the URI without secrets."""
    identity: str
    """For comparison with the source asked for now."""
    size_bytes: int


class ModelDirectory:
    """``DESTINATION/NAME`` with its versions."""

    def __init__(self, volume: Volume, model: str) -> None:
        """Name the directory; nothing is made yet."""
        if not model or model.startswith(".") or "/" in model or "\0" in model or len(model) > 200:
            raise FetchError(FetchReason.InvalidSource, f"{model[:60]!r} cannot be the name of a model's directory.")
        self.root = volume.path / model
        # Other models of the server lie on the same volume, with limits of their own.
        self.volume = replace(volume, limited=self.root)

    def versions(self) -> dict[int, FetchedMarker | None]:
        """Return the complete versions; None stands for one that somebody else put there."""
        if not self.root.is_dir():
            return {}
        numbered = [(parse_version_name(path.name), path) for path in sorted(self.root.iterdir()) if path.is_dir()]
        return {version: _read_marker(path) for version, path in numbered if version is not None}

    def is_complete(self, version: int, *, identity: str) -> bool:
        """Return whether ``version`` needs no fetching: it came from this source, or is not ours to touch."""
        versions = self.versions()
        if version not in versions:
            return False
        marker = versions[version]
        return marker is None or marker.identity == identity

    def staging(self, name: str) -> Path:
        """Return the directory in which ``name``, a version or an archive, is prepared."""
        return self.root / f"{_STAGING_PREFIX}{name}"

    def clean(self, *, keep: set[str]) -> None:
        """Make the directory, and remove what earlier runs left but for the staging directories in ``keep``."""
        self.root.mkdir(parents=True, exist_ok=True)
        kept = {self.staging(name).name for name in keep}
        for path in self.root.iterdir():
            is_leftover = path.name.startswith((_STAGING_PREFIX, _DISCARDED_PREFIX)) and path.name not in kept
            if is_leftover:
                log.info("removing working directory", extra={"path": path.name})
                _remove(path)

    def publish(self, version: int, tree: Path, marker: FetchedMarker) -> None:
        """Make ``tree`` the directory of ``version`` in one step, durable before it is visible."""
        (tree / MARKER_NAME).write_text(json.dumps(asdict(marker)) + "\n", encoding="utf-8")
        sync_tree(tree)
        target = self.root / str(version)
        discarded = self.root / f"{_DISCARDED_PREFIX}{version}"
        for path in [path for path in self.root.iterdir() if parse_version_name(path.name) == version]:
            _remove(discarded)
            path.rename(discarded)
        tree.rename(target)
        _sync(self.root)
        _remove(discarded)
        log.info("version in place", extra={"version": version, "size_bytes": marker.size_bytes})

    def remove_unchosen(self, chosen: set[int]) -> None:
        """Remove the versions that we fetched and that are not in ``chosen``."""
        for version, marker in self.versions().items():
            if version in chosen or marker is None:
                continue
            for path in [path for path in self.root.iterdir() if parse_version_name(path.name) == version]:
                discarded = self.root / f"{_DISCARDED_PREFIX}{version}"
                _remove(discarded)
                path.rename(discarded)
                _remove(discarded)
            log.info("removed version", extra={"version": version})


def require_model_files(names: set[str], *, what: str) -> None:
    """Raise ``InvalidModel`` unless ``names``, a version's top level, hold a model TensorFlow Serving knows."""
    if names.isdisjoint(_MODEL_FILES):
        listed = ", ".join(quoted(name) for name in sorted(names)[:5]) or "nothing"
        raise FetchError(
            FetchReason.InvalidModel,
            f"{what} is not a model: at its top level is no {', '.join(_MODEL_FILES[:2])} or {_MODEL_FILES[2]}, "
            f"but {listed}. Export the model as a SavedModel and publish it as a new version.",
        )


def require_model(tree: Path, *, what: str) -> None:
    """Raise ``InvalidModel`` unless ``tree`` holds a model that is not empty, and leaves room for our marker."""
    files = {path.name for path in tree.iterdir() if path.is_file()}
    require_model_files(files, what=what)
    if (tree / MARKER_NAME).is_dir():
        raise FetchError(
            FetchReason.InvalidModel,
            f"{what} holds a directory {MARKER_NAME}, the name of the fetcher's own file. Publish it without.",
        )
    if all((tree / name).stat().st_size == 0 for name in files.intersection(_MODEL_FILES)):
        raise FetchError(
            FetchReason.InvalidModel,
            f"{what} is not a model: its model file is empty. Export it again and publish it as a new version.",
        )


def sync_tree(tree: Path) -> None:
    """Bring every file and directory of ``tree`` to the disk."""
    for directory, _, files in os.walk(tree):
        for name in files:
            _sync(Path(directory, name))
        _sync(Path(directory))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _read_marker(directory: Path) -> FetchedMarker | None:
    try:
        fields = json.loads((directory / MARKER_NAME).read_text(encoding="utf-8"))
        return FetchedMarker(str(fields["source"]), str(fields["identity"]), int(fields["size_bytes"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
