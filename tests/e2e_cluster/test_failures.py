from __future__ import annotations

import subprocess

import httpx
import pytest

from e2e.cluster import ClusterError
from e2e.cluster.failures import EXPECTED, sentence

REQUEST = httpx.Request("GET", "http://198.18.0.2:5000/v2/")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ClusterError("no cluster"), "no cluster"),
        (
            httpx.ConnectError("Connection refused", request=REQUEST),
            "no good answer from http://198.18.0.2:5000/v2/: Connection refused",
        ),
        (httpx.ReadTimeout(""), "no good answer from the server: ReadTimeout"),
        (FileNotFoundError(2, "No such file or directory", "kubectl"), "kubectl is not there"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (subprocess.TimeoutExpired(["helm", "list"], 10), "helm list took longer than 10 s"),
        (
            subprocess.CalledProcessError(1, ["rm", "a b"], stderr=b"no\n"),
            "rm 'a b' exited with 1: no",
        ),
        (subprocess.CalledProcessError(1, "rm"), "rm exited with 1"),
    ],
)
def test_what_goes_wrong_is_told_in_a_sentence(error: Exception, said: str) -> None:
    assert isinstance(error, EXPECTED)
    assert sentence(error) == said
