from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from e2e.cluster import buildah, image_cache
from e2e.cluster.image_cache import BuildRecord, build_lock, layouts_root, link_blobs, share_blobs, write_record
from e2e.cluster.locks import exclusive, shared
from e2e.cluster.paths import images_root
from e2e.cluster.retention import KEPT_OF_A_KIND


class _Storage:
    """The builder's storage; it only remembers what it was asked to keep."""

    def __init__(self) -> None:
        self.kept: list[list[str]] = []

    def drop_images(self, *, keep_tag: str, keep_ids: list[str]) -> int:
        self.kept.append(sorted(keep_ids))
        return 0


@pytest.fixture(autouse=True)
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Storage:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    storage = _Storage()
    monkeypatch.setattr(buildah, "drop_images", storage.drop_images)
    return storage


def _layout(name: str, *blobs: str, kind: str = "operator", idle_seconds: float = 0) -> Path:
    layout = layouts_root() / name
    (layout / "blobs" / "sha256").mkdir(parents=True)
    for blob in blobs:
        (layout / "blobs" / "sha256" / blob).write_text(blob)
    write_record(layout, BuildRecord(kind=kind, steps=(f"step-of-{name}",)))
    share_blobs(layout)
    then = time.time() - idle_seconds
    os.utime(layout, (then, then))
    return layout


def _tidy() -> None:
    image_cache.tidy(keep_tag="base", progress=lambda _: None)


def _stored() -> list[str]:
    return sorted(path.name for path in (images_root() / "layers" / "sha256").iterdir())


def test_layouts_with_a_blob_in_common_share_one_file() -> None:
    first, second = _layout("1", "base", "code-1"), _layout("2", "base", "code-2")

    blob = Path("blobs", "sha256", "base")
    assert (first / blob).samefile(second / blob)
    assert sorted(path.name for path in (second / "blobs" / "sha256").iterdir()) == ["base", "code-2"]
    assert sorted(path.name for path in second.iterdir()) == ["blobs", "build.json"]


def test_replaced_images_go_with_the_blobs_and_steps_that_were_theirs_alone(storage: _Storage) -> None:
    for number in range(KEPT_OF_A_KIND + 1):
        with exclusive(build_lock(_layout(str(number), "base", f"code-{number}", idle_seconds=7200 + number))):
            pass

    _tidy()

    staying = [str(number) for number in range(KEPT_OF_A_KIND)]
    assert sorted(path.name for path in layouts_root().iterdir() if path.is_dir()) == staying
    assert _stored() == ["base", *(f"code-{number}" for number in staying)]
    assert storage.kept == [[f"step-of-{number}" for number in staying]]
    assert sorted(path.name for path in (images_root() / "locks").iterdir()) == staying


def test_a_cluster_keeps_the_blobs_that_it_serves(tmp_path: Path) -> None:
    for number in range(KEPT_OF_A_KIND + 1):
        layout = _layout(str(number), f"code-{number}", idle_seconds=7200 + number)
    link_blobs(layout, tmp_path / "cluster")

    _tidy()

    assert not layout.exists()
    assert (tmp_path / "cluster" / f"code-{KEPT_OF_A_KIND}").read_text() == f"code-{KEPT_OF_A_KIND}"


def test_a_layout_without_a_record_is_replaced_like_any_other(storage: _Storage) -> None:
    for number in range(KEPT_OF_A_KIND + 1):
        layout = _layout(str(number), "blob", idle_seconds=7200 + number)
        (layout / "build.json").unlink()
        os.utime(layout, (layout.stat().st_atime, time.time() - 7200 - number))

    _tidy()

    assert not layout.exists()
    assert storage.kept == [[]]


def test_the_storage_is_left_alone_while_somebody_builds(storage: _Storage) -> None:
    """Steps of a build that is not finished stand in no record yet."""
    _layout("1", "blob")
    with shared(image_cache.storage_lock()):
        _tidy()

    assert storage.kept == []


def test_steps_are_read_from_what_buildah_prints() -> None:
    said = """\
[1/2] STEP 2/3: WORKDIR /src
--> Using cache b29abd124296131ba70c20416096b5908d828ada636979817c598a3dd44ce55b
--> b29abd12429
[1/2] STEP 3/3: RUN echo --> 0123456789ab is printed by the step
--> 2a4d125e564
[2/2] COMMIT localhost/build:1
--> e20f43f695f
Successfully tagged localhost/build:1
e20f43f695f4f5018c2e6ad2eaacc373fbdebeef5144ba31103422d6f466b939
"""

    assert buildah.step_ids(said.splitlines(keepends=True)) == ("b29abd12429", "2a4d125e564", "e20f43f695f")
