from __future__ import annotations

import pytest

from e2e.cluster.__main__ import main, parsed


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
