from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from e2e.cluster.build_context import content_digest, copied_paths, list_files, stage


@pytest.mark.parametrize(
    ("dockerfile", "paths"),
    [
        pytest.param("COPY a b/ /x\n", ("a", "b", ".dockerignore"), id="several sources"),
        pytest.param("COPY --chown=1:1 a /x\n", ("a", ".dockerignore"), id="flags"),
        pytest.param('COPY ["a b", "/x"]\n', ("a b", ".dockerignore"), id="the form with quotes"),
        pytest.param("COPY a \\\n  b /x\n", ("a", "b", ".dockerignore"), id="a line that goes on"),
        pytest.param("copy a /x\n", ("a", ".dockerignore"), id="lower case"),
        pytest.param("ADD a.tar /x\nCOPY a.tar /y\n", ("a.tar", ".dockerignore"), id="each once"),
        pytest.param("COPY --from=build /opt /opt\nCOPY a /\n", ("a", ".dockerignore"), id="from another stage"),
        pytest.param("# COPY b /\nCOPY a /\n", ("a", ".dockerignore"), id="a comment"),
        pytest.param("COPY . /x\n", (), id="everything"),
        pytest.param("ARG what\nCOPY $what /x\n", (), id="a variable"),
        pytest.param("RUN --mount=type=bind,target=/src make\n", (), id="a mounted context"),
    ],
)
def test_copied_paths_are_what_the_dockerfile_takes(dockerfile: str, paths: tuple[str, ...]) -> None:
    assert copied_paths(dockerfile) == paths


@pytest.fixture(params=["with git", "without git"])
def context(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    for name in ("src/main.py", "src/deep/part.py", "README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    if request.param == "with git":
        subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
        (tmp_path / ".gitignore").write_text("*.pyc\n")
        (tmp_path / "src/main.pyc").write_text("compiled")
        subprocess.run(["git", "add", "src/main.py"], cwd=tmp_path, check=True)
    return tmp_path


def test_files_of_a_directory_are_those_git_does_not_ignore(context: Path) -> None:
    assert list_files(context, ("src",)) == [Path("src/deep/part.py"), Path("src/main.py")]


def test_a_path_may_be_a_pattern(context: Path) -> None:
    assert list_files(context, ("*.md",)) == [Path("README.md")]


def test_a_file_that_was_deleted_but_is_still_tracked_is_not_listed(context: Path) -> None:
    (context / "src/main.py").unlink()

    assert list_files(context, ("src",)) == [Path("src/deep/part.py")]


@pytest.mark.parametrize("change", ["content", "name", "mode"])
def test_the_digest_changes_with_the_files(tmp_path: Path, change: str) -> None:
    file = tmp_path / "run.sh"
    file.write_text("true")
    before = content_digest(tmp_path, [Path("run.sh")])

    match change:
        case "content":
            file.write_text("false")
        case "name":
            file = file.rename(tmp_path / "go.sh")
        case "mode":
            file.chmod(0o755)

    assert content_digest(tmp_path, [Path(file.name)]) != before


def test_the_digest_does_not_depend_on_where_the_files_lie(tmp_path: Path) -> None:
    digests = set()
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "file").write_text("same")
        digests.add(content_digest(tmp_path / place, [Path("file")]))

    assert len(digests) == 1


def test_a_staged_context_holds_just_the_listed_files(context: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    target = tmp_path_factory.mktemp("staged")

    stage(context, [Path("src/main.py")], target)

    assert [path.relative_to(target) for path in target.rglob("*") if path.is_file()] == [Path("src/main.py")]
