"""The containers' scripts that read versions from directory names, as TensorFlow Serving does."""

from __future__ import annotations

import http.server
import subprocess
import threading
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

SCRIPTS = Path(str(resources.files("tfserving_operator.resources"))) / "scripts"
INT64_MAX = 2**63 - 1


class ModelServer(http.server.ThreadingHTTPServer):
    """Answers every metadata call, and keeps which versions were asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Metadata)
        self.asked: list[str] = []


class _Metadata(http.server.BaseHTTPRequestHandler):
    server: ModelServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path.split("/")[5])
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def model_server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def lay_out(tmp_path: Path, policy: str, *names: str) -> tuple[str, str]:
    """Return the file with the expected versions and the models directory, with a version ``names`` each."""
    for name in names:
        (tmp_path / "models" / "m" / name).mkdir(parents=True)
    expected = tmp_path / "expected"
    expected.write_text(f"m {policy}\n")
    return str(expected), str(tmp_path / "models")


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script, without a termination log, which this machine must not get."""
    text = (SCRIPTS / script).read_text().replace("/dev/termination-log", "/dev/null")
    return subprocess.run(["bash", "-c", text, script, *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("names", "versions"),
    [
        pytest.param(["7", "20240315120000000000"], ["7"], id="20 digits"),
        pytest.param(["7", "18446744073709551617"], ["7"], id="wraps to 1"),
        pytest.param(["7", str(INT64_MAX + 1)], ["7"], id="one too many"),
        pytest.param(["7", "9999999999999999999"], ["7"], id="19 digits too many"),
        pytest.param(["7", str(INT64_MAX)], [str(INT64_MAX), "7"], id="the largest"),
        pytest.param(["7", f"000{INT64_MAX}"], [str(INT64_MAX), "7"], id="the largest with zeros"),
        pytest.param(["0009", "0", "000x"], ["9", "0"], id="zeros"),
    ],
)
def test_probe_asks_for_the_versions_that_the_server_reads(
    tmp_path: Path, model_server: ModelServer, names: list[str], versions: list[str]
) -> None:
    done = run("startup-probe.sh", *lay_out(tmp_path, "all", *names), str(model_server.server_port))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert model_server.asked == versions


def test_check_counts_no_version_beyond_64_bits(tmp_path: Path) -> None:
    done = run("check-model.sh", "m", *lay_out(tmp_path, "specific 1", "18446744073709551617", "0"))
    assert done.returncode == 1
    assert '"reason":"VersionNotFound"' in done.stdout and "there are: 0." in done.stdout


def test_check_finds_the_largest_version(tmp_path: Path) -> None:
    done = run("check-model.sh", "m", *lay_out(tmp_path, f"specific 3 {INT64_MAX}", "003", f"00{INT64_MAX}"))
    assert (done.returncode, done.stdout) == (0, "")


def test_check_of_nothing_but_names_beyond_64_bits_finds_no_version(tmp_path: Path) -> None:
    done = run("check-model.sh", "m", *lay_out(tmp_path, "latest 1", "20240315120000000000"))
    assert done.returncode == 1
    assert "no numeric version directory" in done.stdout
