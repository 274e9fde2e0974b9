from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from e2e.cluster.locks import exclusive, exclusive_if_free, is_held, remove_unheld, shared, try_hold


def test_a_held_lock_cannot_be_taken_until_it_is_let_go(tmp_path: Path) -> None:
    held = try_hold(tmp_path / "lock")
    assert held is not None
    assert try_hold(tmp_path / "lock") is None

    os.close(held)

    again = try_hold(tmp_path / "lock")
    assert again is not None
    os.close(again)


def test_looking_at_a_lock_makes_no_file_and_takes_nothing(tmp_path: Path) -> None:
    assert not is_held(tmp_path / "nowhere" / "lock")
    assert not (tmp_path / "nowhere").exists()
    with exclusive(tmp_path / "lock"):
        assert is_held(tmp_path / "lock")
    with shared(tmp_path / "lock"):  # as one who looks does for an instant
        assert not is_held(tmp_path / "lock")


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


def test_a_shared_lock_is_held_by_many_and_keeps_out_one_alone(tmp_path: Path) -> None:
    with shared(tmp_path / "lock"), shared(tmp_path / "lock"), exclusive_if_free(tmp_path / "lock") as free:
        assert not free

    with exclusive_if_free(tmp_path / "lock") as free:
        assert free


def test_a_lock_file_that_is_held_is_not_removed(tmp_path: Path) -> None:
    with exclusive(tmp_path / "lock"):
        remove_unheld(tmp_path / "lock")
        assert (tmp_path / "lock").exists()

    remove_unheld(tmp_path / "lock")
    assert not (tmp_path / "lock").exists()


def test_two_never_hold_a_lock_whose_file_is_removed_all_the_time(tmp_path: Path) -> None:
    inside = 0
    most = 0

    def enter() -> None:
        nonlocal inside, most
        for _ in range(200):
            with exclusive(tmp_path / "lock"):
                inside += 1
                time.sleep(0)
                most = max(most, inside)
                inside -= 1
            remove_unheld(tmp_path / "lock")

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == 1
