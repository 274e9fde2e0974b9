from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from e2e.cluster.processes import Process


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        yield child
        child.kill()


def test_a_process_is_signalled_and_waited_for(child: subprocess.Popen[bytes]) -> None:
    process = Process.now(child.pid)
    assert process is not None and process.is_alive()

    process.signal(signal.SIGKILL, wait_seconds=10)

    assert not process.is_alive()
    assert child.wait() == -signal.SIGKILL


def test_a_later_process_with_the_same_pid_is_left_alone(child: subprocess.Popen[bytes]) -> None:
    process = Process.now(child.pid)
    assert process is not None
    earlier = replace(process, started_ticks=process.started_ticks - 1)

    earlier.signal(signal.SIGKILL, wait_seconds=0.2)

    assert not earlier.is_alive()
    assert process.is_alive()


def test_a_process_that_has_ended_is_none() -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    assert Process.now(ended.pid) is None
    Process(ended.pid, 1).signal(signal.SIGKILL)


def test_one_that_nobody_reaped_has_ended() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    try:
        assert Process.now(pid) is None
    finally:
        os.waitpid(pid, 0)
