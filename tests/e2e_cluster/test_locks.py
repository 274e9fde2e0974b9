from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from e2e.cluster.locks import try_hold


def test_a_held_lock_cannot_be_taken_until_it_is_let_go(tmp_path: Path) -> None:
    held = try_hold(tmp_path / "lock")
    assert held is not None
    assert try_hold(tmp_path / "lock") is None

    os.close(held)

    again = try_hold(tmp_path / "lock")
    assert again is not None
    os.close(again)


def test_a_lock_is_held_by_a_child_that_was_given_it(tmp_path: Path) -> None:
    """This is how a cluster counts as alive for as long as its first process is."""
    held = try_hold(tmp_path / "lock")
    assert held is not None
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=[held]
    ) as child:
        os.close(held)
        assert try_hold(tmp_path / "lock") is None
        child.communicate(b"\n")

    freed = try_hold(tmp_path / "lock")
    assert freed is not None
    os.close(freed)
