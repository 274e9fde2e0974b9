"""Images for the cluster: the project's own Dockerfiles, built once for each content of what they use.

An image is kept as an OCI layout under a key of its Dockerfile, its context, its build arguments and
its base. Its layers are hard links into the store that all clusters' registries serve, so a push of an
image that was built before moves no data.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from e2e.cluster import build_context, buildah, prerequisites
from e2e.cluster.commands import run
from e2e.cluster.locks import exclusive
from e2e.cluster.paths import images_root
from e2e.cluster.progress import Progress, log_progress

BASE_IMAGE = "localhost:5000/base/python:bookworm"
_SUITE = "bookworm"
_BASE_PACKAGES = ("python3", "python3-venv", "python-is-python3", "ca-certificates")
_LEFT_OUT_OF_BASE = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/var/cache/*")
_UNUSED_SECONDS = 14 * 24 * 3600
_KEY_LABEL = "embedded-cluster.key"


@dataclass(frozen=True)
class ImageBuild:
    """What to build. The build argument BASE is the Debian image with Python, unless it is given."""

    context: Path
    dockerfile: Path
    build_args: Mapping[str, str] = field(default_factory=dict)

    def key(self) -> str:
        """Return a short name for everything that the image depends on."""
        digest = hashlib.sha256(self.dockerfile.read_bytes())
        digest.update(json.dumps(sorted(self.build_args.items())).encode())
        digest.update(_base_key().encode())
        digest.update(build_context.content_digest(self.context, self.files()).encode())
        return digest.hexdigest()[:16]

    def files(self) -> list[Path]:
        """Return the files that the build sees, relative to the context."""
        paths = build_context.copied_paths(self.dockerfile.read_text())
        return build_context.list_files(self.context, paths)


def build(wanted: ImageBuild, *, progress: Progress = log_progress) -> Path:
    """Return the image's OCI layout, building it when the cache does not hold it."""
    layout = images_root() / "layouts" / wanted.key()
    if not layout.exists():
        prerequisites.ensure_image_builder(progress)
        with exclusive(images_root() / "locks" / layout.name):
            if not layout.exists():
                _ensure_base(progress)
                _build(wanted, layout, progress)
                _drop_unused()
    os.utime(layout)  # it is in use
    return layout


def share_layers(layout: Path) -> None:
    """Link the blobs of ``layout`` into the store that the registries serve."""
    store = layer_store() / "sha256"
    store.mkdir(parents=True, exist_ok=True)
    for blob in (layout / "blobs" / "sha256").iterdir():
        with contextlib.suppress(FileExistsError):
            os.link(blob, store / blob.name)


def layer_store() -> Path:
    """Return where the registries' blobs lie, by their digest."""
    return images_root() / "layers"


def _build(wanted: ImageBuild, layout: Path, progress: Progress) -> None:
    tag = f"localhost/build:{layout.name}"
    layout.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=layout.parent, prefix=".new-") as scratch:
        staged = Path(scratch, "context")
        staged.mkdir()
        build_context.stage(wanted.context, wanted.files(), staged)
        arguments = {"BASE": BASE_IMAGE, **wanted.build_args}
        progress(f"building the image of {wanted.dockerfile}")
        buildah.build(staged, wanted.dockerfile, tag, build_args=arguments, progress=progress)
        progress(f"keeping the image of {wanted.dockerfile}")
        buildah.write_layout(tag, Path(scratch, "layout"))
        Path(scratch, "layout").rename(layout)


def _drop_unused() -> None:
    """Remove images that nobody used for two weeks, and layers that were theirs alone."""
    oldest = time.time() - _UNUSED_SECONDS
    for layout in (images_root() / "layouts").iterdir():
        if layout.stat().st_mtime < oldest:
            shutil.rmtree(layout, ignore_errors=True)
    for blob in (layer_store() / "sha256").glob("*"):
        with contextlib.suppress(FileNotFoundError):  # another process drops it too
            status = blob.stat()
            if status.st_nlink == 1 and status.st_ctime < oldest:
                blob.unlink()


def _ensure_base(progress: Progress) -> None:
    with exclusive(images_root() / "locks" / "base"):
        if not buildah.has_label(BASE_IMAGE, _KEY_LABEL, _base_key()):
            progress("making the Debian base image")
            _make_base()


def _make_base() -> None:
    with tempfile.TemporaryDirectory(dir=images_root(), prefix=".base-") as scratch:
        tarball = Path(scratch, "base.tar")
        left_out = [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT_OF_BASE]
        packages = f"--include={','.join(_BASE_PACKAGES)}"
        run(["mmdebstrap", "--variant=minbase", packages, *left_out, _SUITE, tarball, *_debian_sources()])
        buildah.import_root(tarball, BASE_IMAGE, labels={_KEY_LABEL: _base_key()})


def _debian_sources() -> list[Path]:
    """Return where this machine gets Debian packages, when it runs the base image's release itself."""
    release = Path("/etc/os-release").read_text()
    sources = [Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d/debian.sources")]
    return [file for file in sources if file.exists() and f"VERSION_CODENAME={_SUITE}" in release]


def _base_key() -> str:
    recipe = json.dumps([_SUITE, _BASE_PACKAGES, _LEFT_OUT_OF_BASE])
    return hashlib.sha256(recipe.encode()).hexdigest()[:16]
