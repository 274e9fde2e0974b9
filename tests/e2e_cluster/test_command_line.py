from __future__ import annotations

import pytest

from e2e.cluster.__main__ import main


def test_an_unknown_cluster_is_named_in_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kubectl", "--name", "nobody-started-this", "get", "pods"]) == 1
    assert "no cluster named nobody-started-this is up" in capsys.readouterr().err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])

    shown = capsys.readouterr().out
    for command in ("up", "down", "status", "kubectl", "helm", "env", "run", "pull", "logs", "node", "build"):
        assert f"    {command} " in shown
