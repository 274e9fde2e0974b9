"""Where built images are kept, and what is removed of them and of the builder's storage.

A layout carries a record of the steps that it was built with. A step stays in the builder's storage for as
long as a layout that names it, so the next build of an image that stays is as quick as ever.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from pydantic import BaseModel

from e2e.cluster import buildah
from e2e.cluster.locks import exclusive_if_free, remove_unheld
from e2e.cluster.paths import images_root
from e2e.cluster.progress import Progress
from e2e.cluster.retention import drop_abandoned, drop_outdated

_RECORD = "build.json"


class BuildRecord(BaseModel, frozen=True):
    """What is known of a layout."""

    kind: str
    """What it has in common with the layouts that replace it."""
    steps: tuple[str, ...]
    """The images in the builder's storage that its build made or used, by the beginnings of their ids."""


def layouts_root() -> Path:
    """Return where the OCI layouts lie, by their keys."""
    return images_root() / "layouts"


def build_lock(layout: Path) -> Path:
    """Return the lock that the one who builds ``layout`` holds."""
    return images_root() / "locks" / layout.name


def storage_lock() -> Path:
    """Return the lock that builds share and that the one who clears the builder's storage holds alone."""
    return images_root() / "storage.lock"


def write_record(layout: Path, record: BuildRecord) -> None:
    """Keep ``record`` with ``layout``."""
    (layout / _RECORD).write_text(record.model_dump_json())


def link_blobs(layout: Path, target: Path) -> None:
    """Link the blobs of ``layout`` into the directory ``target``; what lies there already stays."""
    target.mkdir(parents=True, exist_ok=True)
    for blob in _blobs(layout):
        with contextlib.suppress(FileExistsError):
            os.link(blob, target / blob.name)


def share_blobs(layout: Path) -> None:
    """Let ``layout`` have each blob in common with the layouts that have the same."""
    store = _blob_store()
    link_blobs(layout, store)
    with tempfile.TemporaryDirectory(dir=layout, prefix=".link-") as scratch:
        for blob in _blobs(layout):
            with contextlib.suppress(FileNotFoundError):  # it was dropped meanwhile, as nobody else has it
                os.link(store / blob.name, Path(scratch, blob.name))
                Path(scratch, blob.name).replace(blob)


def tidy(*, keep_tag: str, progress: Progress) -> None:
    """Remove images that were replaced or forgotten, and the storage of builds that nobody has the image of."""
    progress("removing images of earlier builds")
    drop_abandoned(layouts_root())
    drop_abandoned(images_root())
    for layout in drop_outdated(layouts_root(), kind_of=lambda layout: _record(layout).kind):
        remove_unheld(build_lock(layout))
    _drop_blobs()
    with exclusive_if_free(storage_lock()) as free:
        if free:  # else the next build does it
            _drop_steps(keep_tag)


def _drop_steps(keep_tag: str) -> None:
    records = [_record(layout) for layout in layouts_root().iterdir() if not layout.name.startswith(".")]
    buildah.drop_images(keep_tag=keep_tag, keep_ids=[step for record in records for step in record.steps])


def _drop_blobs() -> None:
    """Drop the blobs that no layout and no cluster has."""
    for blob in _blob_store().glob("*"):
        with contextlib.suppress(FileNotFoundError):  # another process drops it too
            if blob.stat().st_nlink == 1:
                blob.unlink()


def _record(layout: Path) -> BuildRecord:
    try:
        return BuildRecord.model_validate_json((layout / _RECORD).read_text())
    except (FileNotFoundError, NotADirectoryError):  # an earlier version of this code built it, or it is gone
        return BuildRecord(kind="", steps=())


def _blob_store() -> Path:
    return images_root() / "layers" / "sha256"


def _blobs(layout: Path) -> list[Path]:
    return list((layout / "blobs" / "sha256").iterdir())
