"""Images for the cluster: the project's own Dockerfiles, built once for each content of what they use.

An image is kept as an OCI layout under a key of its Dockerfile, its context, its build arguments and
its base. Blobs that images have in common, and those that a cluster's registry serves, are hard links to
one file, so a push of an image that was built before moves no data, and the file goes with its last link.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from e2e.cluster import build_context, buildah, image_cache, oci, prerequisites
from e2e.cluster.commands import run
from e2e.cluster.locks import exclusive, shared
from e2e.cluster.paths import images_root
from e2e.cluster.progress import Progress, details_of, log_progress
from e2e.cluster.registry import repository_and_tag
from e2e.cluster.retention import mark_used

BASE_IMAGE = "localhost:5000/base/python:bookworm"
_SUITE = "bookworm"
_BASE_PACKAGES = ("python3", "python3-venv", "python-is-python3", "ca-certificates")
_LEFT_OUT_OF_BASE = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/var/cache/*")
_KEY_LABEL = "embedded-cluster.key"
_PLATFORM = f"--platform=linux/{oci.ARCHITECTURE}"


@dataclass(frozen=True)
class ImageBuild:
    """What to build. The build argument BASE is the Debian image with Python, unless it is given."""

    context: Path
    dockerfile: Path
    build_args: Mapping[str, str] = field(default_factory=dict)

    def key(self) -> str:
        """Return a short name for everything that the image depends on."""
        return self._key(self.context, self.dockerfile, self.files())

    def kind(self) -> str:
        """Return what stays the same when the content changes, in whichever checkout, and tells images apart."""
        copied = build_context.copied_paths(self.dockerfile.read_text())
        return json.dumps([os.path.relpath(self.dockerfile, self.context), sorted(self.arguments().items()), copied])

    def arguments(self) -> dict[str, str]:
        """Return all build arguments."""
        return {"BASE": BASE_IMAGE, **self.build_args}

    def files(self) -> list[Path]:
        """Return the files that the build sees, relative to the context."""
        paths = build_context.copied_paths(self.dockerfile.read_text())
        return build_context.list_files(self.context, paths)

    @contextmanager
    def staged(self) -> Iterator[StagedBuild]:
        """Copy everything that the build reads: from here on it does not matter what changes."""
        scratch_root = image_cache.layouts_root()
        scratch_root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=scratch_root, prefix=".new-") as scratch:
            context, dockerfile = Path(scratch, "context"), Path(scratch, "Dockerfile")
            context.mkdir()
            files = self.files()
            build_context.stage(self.context, files, context)
            shutil.copy2(self.dockerfile, dockerfile)
            if (own := _own_ignore_file(self.dockerfile)).exists():
                shutil.copy2(own, _own_ignore_file(dockerfile))
            yield StagedBuild(self, Path(scratch), context, dockerfile, self._key(context, dockerfile, files))

    def _key(self, context: Path, dockerfile: Path, files: Sequence[Path]) -> str:
        digest = hashlib.sha256(dockerfile.read_bytes())
        if (own := _own_ignore_file(dockerfile)).exists():
            digest.update(own.read_bytes())
        digest.update(json.dumps(sorted(self.arguments().items())).encode())
        digest.update(_base_key().encode())
        digest.update(build_context.content_digest(context, files).encode())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class StagedBuild:
    """What is built: copies of all that ``wanted`` reads, and the key of these copies."""

    wanted: ImageBuild
    scratch: Path
    context: Path
    dockerfile: Path
    key: str


def build(wanted: ImageBuild, *, progress: Progress = log_progress) -> Path:
    """Return the image's OCI layout, building it when the cache does not hold it; it stays for an hour at least."""
    layout = image_cache.layouts_root() / wanted.key()
    if mark_used(layout):
        return layout
    prerequisites.ensure_image_builder(progress)
    # The sources may change at any time, and others' builds may have to be waited for: the key is that of the copies.
    with wanted.staged() as staged:
        layout = image_cache.layouts_root() / staged.key
        with exclusive(image_cache.build_lock(layout)):
            if not mark_used(layout):
                with shared(image_cache.storage_lock()):
                    _ensure_base(progress)
                    _build(staged, layout, progress)
    image_cache.tidy(keep_tag=BASE_IMAGE, progress=progress)
    return layout


def pull(reference: str, *, crane: Path, progress: Progress = log_progress) -> Path:
    """Return the OCI layout of an image of some registry, copied when the cache does not hold it as it is there now.

    Credentials are those of this machine's container tools (``~/.docker/config.json``).
    """
    progress(f"looking for {reference}")
    digest = run([crane, "digest", _PLATFORM, reference]).stdout.strip()
    layout = image_cache.layouts_root() / digest.removeprefix("sha256:")[:16]
    if not mark_used(layout):
        with exclusive(image_cache.build_lock(layout)):
            if not mark_used(layout):
                progress(f"copying {reference}")
                _copy(reference, layout, crane)
    return layout


def copy_kind(reference: str) -> str:
    """Return what copies of an image have in common, wherever its registry is; a test's has a new port each time."""
    return f"copy of {repository_and_tag(reference)}"


def _copy(reference: str, layout: Path, crane: Path) -> None:
    layout.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=layout.parent, prefix=".new-") as scratch:
        written = Path(scratch, "layout")
        run([crane, "pull", "--format=oci", _PLATFORM, reference, written])
        image_cache.share_blobs(written)
        image_cache.write_record(written, image_cache.BuildRecord(kind=copy_kind(reference), steps=()))
        written.rename(layout)


def _build(staged: StagedBuild, layout: Path, progress: Progress) -> None:
    wanted = staged.wanted
    tag = f"localhost/build:{staged.key}"
    label = f"building the image of {wanted.dockerfile}"
    progress(label)
    say = details_of(label, progress)
    steps = buildah.build(staged.context, staged.dockerfile, tag, build_args=wanted.arguments(), progress=say)
    progress(f"keeping the image of {wanted.dockerfile}")
    written = staged.scratch / "layout"
    buildah.write_layout(tag, written)
    image_cache.share_blobs(written)
    image_cache.write_record(written, image_cache.BuildRecord(kind=wanted.kind(), steps=steps))
    written.rename(layout)


def _own_ignore_file(dockerfile: Path) -> Path:
    """Return what takes the place of the context's .dockerignore for this Dockerfile alone."""
    return dockerfile.with_name(f"{dockerfile.name}.dockerignore")


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
