"""The init container's script that puts the TLS Secret into the form that TensorFlow Serving reads."""

from __future__ import annotations

import subprocess
from importlib import resources
from pathlib import Path

import pytest

from tfserving_operator.wire import SSLConfig, from_text

SCRIPT = str(resources.files("tfserving_operator.resources") / "scripts" / "render-tls.sh")
PEM = "-----BEGIN X-----\nabc=\n-----END X-----\n"


def render(directory: Path, mode: str, *keys: str) -> tuple[int, str, SSLConfig | None]:
    """Return the exit code, what was said, and the file that the server would read."""
    secret, target = directory / "secret", directory / "ssl.config"
    secret.mkdir()
    for key in keys:
        (secret / key).write_text(PEM)
    done = subprocess.run(["bash", SCRIPT, str(secret), str(target), mode], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr, from_text(target.read_text(), SSLConfig) if target.exists() else None


@pytest.mark.parametrize("mode", ["verify", "no-verify"])
def test_the_whole_secret_is_read(tmp_path: Path, mode: str) -> None:
    code, said, config = render(tmp_path, mode, "tls.key", "tls.crt", "ca.crt")
    assert (code, said) == (0, "")
    assert config is not None
    assert {config.server_key, config.server_cert, config.custom_ca} == {PEM}
    assert config.client_verify is (mode == "verify")


def test_a_server_that_verifies_nobody_needs_no_authority(tmp_path: Path) -> None:
    code, _, config = render(tmp_path, "no-verify", "tls.key", "tls.crt")
    assert code == 0
    assert config is not None
    assert config.custom_ca == ""


def test_a_server_that_verifies_clients_does_not_start_without_an_authority(tmp_path: Path) -> None:
    """It would refuse every client, and say nowhere why."""
    code, said, config = render(tmp_path, "verify", "tls.key", "tls.crt")
    assert code == 1
    assert said.startswith("the TLS secret lacks ca.crt")
    assert "add ca.crt" in said
    assert "turn server.tls.clientVerify off" in said
    assert config is None


@pytest.mark.parametrize("missing", ["tls.key", "tls.crt"])
def test_a_missing_key_of_the_secret_is_named(tmp_path: Path, missing: str) -> None:
    code, said, config = render(tmp_path, "no-verify", *({"tls.key", "tls.crt"} - {missing}))
    assert code == 1
    assert said == f"the TLS secret lacks {missing}: add it\n"
    assert config is None
