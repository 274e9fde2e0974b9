"""The server as a process: signals, PID 1, footprint."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

import pytest

from tests.modelserver.harness import DEADLINE_SECONDS, PROJECT, command, free_port

IMAGE = PROJECT / "e2e" / "modelserver" / "image"
AS_PID_1 = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
MOST_RSS_BYTES = 60 << 20
MOST_START_CPU_SECONDS = 1.5


@contextmanager
def process(model: Path, *prefix: str, environment: Mapping[str, str] | None = None) -> Iterator[tuple[int, str]]:
    """Run a server process; yield its id and REST address when it answers."""
    port = free_port()
    flags = [f"--model_base_path={model}", "--port=0", f"--grpc_socket_path=/tmp/ms{port}", f"--rest_api_port={port}"]
    child = subprocess.Popen(
        [*prefix, *command(*flags)], cwd=PROJECT, env={**os.environ, **(environment or {})},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}/v1/models/default"
    try:
        until_it_answers(url)
        yield child.pid, url
    finally:
        child.kill()
        child.wait()
        Path(f"/tmp/ms{port}").unlink(missing_ok=True)


def until_it_answers(url: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not answers(url):
        assert time.monotonic() < deadline, f"{url} does not answer"
        time.sleep(0.02)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310
            return bool(response.status == 200)
    except URLError:
        return False


def child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_kill_at_once_when_not_pid_1(model: Path, number: signal.Signals) -> None:
    with process(model) as (pid, _):
        os.kill(pid, number)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status)
        assert os.WTERMSIG(status) == number


def test_pid_1_never_hears_of_sigterm(model: Path) -> None:
    with process(model, *AS_PID_1) as (pid, url):
        server = child_of(pid)
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(server, number)
        # The kernel would have delivered them before this many answers.
        assert all(answers(url) for _ in range(20))


def test_a_shell_as_pid_1_passes_no_signal_on(model: Path) -> None:
    entrypoint = (IMAGE / "tf_serving_entrypoint.sh").read_text()
    assert "exec" not in entrypoint
    assert "trap" not in entrypoint
    with process(model, *AS_PID_1, "bash", "-c", '"$@"; true', "entrypoint") as (pid, url):
        shell = child_of(pid)
        os.kill(shell, signal.SIGTERM)
        assert all(answers(url) for _ in range(20))


def test_the_entrypoint_names_the_model_as_the_stock_images_does(tmp_path: Path) -> None:
    binary = tmp_path / "tensorflow_model_server"
    binary.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    binary.chmod(0o755)
    done = subprocess.run(
        ["bash", IMAGE / "tf_serving_entrypoint.sh", "--enable_batching", "--a=b c"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "MODEL_NAME": "m", "MODEL_BASE_PATH": "/models"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "--port=8500", "--rest_api_port=8501", "--model_name=m", "--model_base_path=/models/m",
        "--enable_batching", "--a=b c",
    ]  # fmt: skip


def test_twenty_of_them_fit_a_small_machine(model: Path) -> None:
    with process(model) as (pid, _):
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        rss_bytes = int(fields["VmRSS"].split()[0]) * 1024
        started = cpu_seconds(pid)
        idle_seconds = 2.0
        time.sleep(idle_seconds)
        idle_share = (cpu_seconds(pid) - started) / idle_seconds
    assert rss_bytes < MOST_RSS_BYTES
    assert started < MOST_START_CPU_SECONDS
    assert idle_share < 0.02


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_knobs_come_from_the_environment_and_the_admin_port_is_open_before_the_models_load(base: Path) -> None:
    port = free_port()
    environment = {
        **os.environ,
        "STANDIN_ADMIN_PORT": str(port),
        "STANDIN_KNOBS": json.dumps({"devices": 3, "error_code": "UNAVAILABLE"}),
    }
    child = subprocess.Popen(
        command(f"--model_base_path={base}", "--port=0", "--grpc_socket_path=/nowhere/s"),
        cwd=PROJECT, env=environment, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until_it_answers(f"http://127.0.0.1:{port}/knobs")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/knobs") as response:
            knobs = json.load(response)
    finally:
        child.kill()
        child.wait()
    assert (knobs["devices"], knobs["error_code"]) == (3, "UNAVAILABLE")
