"""What an image is built from and counted as."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.cluster.images import ImageBuild, copy_kind


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def build_of(context: Path, dockerfile: str = "FROM scratch\nCOPY code /\n") -> ImageBuild:
    context.mkdir()
    (context / "Dockerfile").write_text(dockerfile)
    (context / "code").write_text("1")
    return ImageBuild(context, context / "Dockerfile")


def test_what_changes_while_a_build_waits_is_not_in_it(tmp_path: Path) -> None:
    wanted = build_of(tmp_path / "project")
    key = wanted.key()
    with wanted.staged() as staged:
        (wanted.context / "code").write_text("2")
        wanted.dockerfile.write_text("FROM scratch\nCOPY code /elsewhere\n")
        assert staged.key == key
        assert (staged.context / "code").read_text() == "1"
        assert staged.dockerfile.read_text() == "FROM scratch\nCOPY code /\n"


def test_what_changed_before_it_was_copied_is_kept_under_its_own_key(tmp_path: Path) -> None:
    wanted = build_of(tmp_path / "project")
    key = wanted.key()
    (wanted.context / "code").write_text("2")
    with wanted.staged() as staged:
        assert staged.key == wanted.key() != key
        assert (staged.context / "code").read_text() == "2"


def test_a_dockerfile_keeps_the_ignore_file_of_its_own(tmp_path: Path) -> None:
    wanted = build_of(tmp_path / "project")
    key = wanted.key()
    (wanted.context / "Dockerfile.dockerignore").write_text("*.md\n")
    with wanted.staged() as staged:
        assert staged.key == wanted.key() != key
        assert Path(f"{staged.dockerfile}.dockerignore").read_text() == "*.md\n"


def test_two_images_do_not_count_as_versions_of_each_other(tmp_path: Path) -> None:
    operator, server = build_of(tmp_path / "operator"), build_of(tmp_path / "server", "FROM scratch\nCOPY server /\n")
    assert operator.kind() != server.kind()


def test_checkouts_of_one_image_count_as_its_versions(tmp_path: Path) -> None:
    assert build_of(tmp_path / "mine").kind() == build_of(tmp_path / "yours").kind()


def test_copies_of_an_image_count_as_its_versions_wherever_the_registry_is() -> None:
    assert copy_kind("localhost:40001/team/web:3") == copy_kind("localhost:40002/team/web:3") == "copy of team/web:3"
    assert copy_kind("localhost:40001/team/web:4") != copy_kind("localhost:40001/team/web:3")
