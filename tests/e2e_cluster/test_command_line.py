from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from e2e.cluster import runs
from e2e.cluster.__main__ import main, parsed
from e2e.cluster.locks import exclusive
from e2e.cluster.paths import runs_root

PROJECT = Path(__file__).parents[2]


def test_an_unknown_cluster_is_named_in_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kubectl", "--name", "nobody-started-this", "get", "pods"]) == 1
    assert "no cluster named nobody-started-this is up" in capsys.readouterr().err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])

    shown = capsys.readouterr().out
    for command in ("up", "down", "status", "kubectl", "helm", "env", "run", "pull", "logs", "node", "build"):
        assert f"    {command} " in shown


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["up", "--nodes", "-1"], "argument --nodes: -1 is not"),
        (["up", "--gpus", "one"], "argument --gpus: one is not"),
        (["up", "--crds", "/no/such/file"], "argument --crds: /no/such/file does not exist"),
        (["up", "--bogus"], "unrecognized arguments: --bogus"),
        (["node", "explode", "node-1"], "argument ACTION: invalid choice: 'explode'"),
    ],
)
def test_wrong_options_are_complained_about_before_anything_starts(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)

    assert complaint in capsys.readouterr().err


def test_more_nodes_than_fit_are_an_error_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--nodes", "101"]) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: nodes: ")


@pytest.mark.parametrize(
    ("given", "passed_on"),
    [
        (["get", "pods", "-A"], ["get", "pods", "-A"]),
        (["-n", "a", "get", "pods"], ["-n", "a", "get", "pods"]),
        (["--", "-n", "a", "get", "pods"], ["-n", "a", "get", "pods"]),
    ],
)
def test_a_command_may_begin_with_an_option_of_its_own(given: list[str], passed_on: list[str]) -> None:
    options = parsed(["kubectl", "--name", "mine", *given])

    assert options.name == "mine"
    assert options.arguments == passed_on


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without clusters."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("name", "complaint"), [("taken", "a cluster named taken is up"), ("No_name", "cannot name a cluster")]
)
def test_a_name_that_cannot_be_had_is_said_before_anything_is_built(
    name: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = runs.claim("taken")
    try:
        assert main(["up", "--name", name]) == 1
    finally:
        taken.give_up()
    assert complaint in capsys.readouterr().err


@pytest.mark.usefixtures("cache")
def test_every_cluster_has_a_line_whatever_is_wrong_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    of_another_version, starting = runs.claim("of-another-version"), runs.claim("starting")
    (of_another_version.directory / "run.json").write_text("{}")
    try:
        assert main(["status"]) == 0
    finally:
        starting.give_up()
        of_another_version.give_up()
    _, first, second = capsys.readouterr().out.splitlines()
    assert "of-another-version was started by another version of this code" in first
    assert second.split() == ["starting", "is", "starting"]


def test_gpus_are_for_a_node_that_is_added(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["node", "boot", "node-1", "--gpus", "2"]) == 1
    assert "--gpus goes with add alone" in capsys.readouterr().err


def test_ctrl_c_ends_a_command_without_a_traceback(cache: Path) -> None:
    lock = runs_root() / ".names.lock"
    with (
        exclusive(lock),
        subprocess.Popen(
            [sys.executable, "-c", INTERRUPTIBLE, "down", "--all"], cwd=PROJECT, stderr=subprocess.PIPE, text=True
        ) as waiting,
    ):
        deadline = time.monotonic() + 30
        while not _is_waited_for(lock):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        waiting.send_signal(signal.SIGINT)
        _, said = waiting.communicate(timeout=30)
    assert waiting.returncode == 130
    assert said == "stopped\n"


# What a shell runs in the background ignores Ctrl-C, and so do the children of these tests then.
INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from e2e.cluster.__main__ import main
sys.exit(main())
"""


def _is_waited_for(lock: Path) -> bool:
    number = lock.stat().st_ino
    return any("->" in line and f":{number} " in line for line in Path("/proc/locks").read_text().splitlines())
