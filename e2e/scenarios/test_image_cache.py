"""The cache of images with the real builder: what earlier builds left goes, what the last builds need stays."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster import buildah, image_cache, images, prerequisites
from e2e.cluster.commands import run
from e2e.cluster.progress import log_progress
from e2e.cluster.retention import KEPT_OF_A_KIND

_DOCKERFILE = "FROM scratch AS build\nCOPY common /\nCOPY code /\nFROM scratch\nCOPY --from=build / /\n"
_STEPS_STORED = 1 + 2 * KEPT_OF_A_KIND
"""The first step is common to all; the other two are of each change."""
_MEBIBYTE = 2**20


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with a cache of its own, which already holds the base image."""
    prerequisites.ensure_image_builder(log_progress)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(images, "_ensure_base", lambda progress: None)
    project = tmp_path / "project"
    project.mkdir()
    (project / "Dockerfile").write_text(_DOCKERFILE)
    (project / "common").write_bytes(os.urandom(2 * _MEBIBYTE))
    yield project
    shutil.rmtree(tmp_path / "cache")


def test_many_changes_take_no_more_room_than_the_last_few(project: Path) -> None:
    for change in range(KEPT_OF_A_KIND + 3):
        layout = _build(project, change)
        two_hours_ago = time.time() - 7200 + change
        os.utime(layout, (two_hours_ago, two_hours_ago))
    image_cache.tidy(keep_tag=images.BASE_IMAGE, progress=log_progress)

    kept = [path for path in image_cache.layouts_root().iterdir() if path.is_dir()]
    assert len(kept) == KEPT_OF_A_KIND
    assert _stored_images() == _STEPS_STORED

    said: list[str] = []
    buildah.build(project, project / "Dockerfile", "localhost/again", build_args={}, progress=said.append)
    assert _stored_images() == _STEPS_STORED, "the last build's steps were not kept"


def _build(project: Path, change: int) -> Path:
    (project / "code").write_text(str(change))
    return images.build(images.ImageBuild(project, project / "Dockerfile"))


def _stored_images() -> int:
    return len(run(buildah.command("images", "--all", "--quiet")).stdout.split())
