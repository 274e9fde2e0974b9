from __future__ import annotations

import pytest

from e2e.cluster.progress import details_of, in_lines


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_log_has_two_lines_for_thousands_of_details() -> None:
    lines: list[str] = []
    clock = Clock()
    with in_lines(lines.append, clock=clock) as progress:
        progress("building etcd v3.6.16")
        for count in range(5000):
            details_of("building etcd v3.6.16", progress)(f"{count} packages, now example.dev/{count}")
        clock.seconds = 49
        progress("building crane v0.22.1")
    assert lines == ["building etcd v3.6.16", "building etcd v3.6.16: done after 49 s", "building crane v0.22.1"]


def test_the_last_piece_of_work_ends_too() -> None:
    lines: list[str] = []
    clock = Clock()
    with in_lines(lines.append, clock=clock) as progress:
        progress("building helm")
        clock.seconds = 58.4
    assert lines[-1] == "building helm: done after 58 s"


def test_the_work_that_failed_is_named() -> None:
    lines: list[str] = []
    with pytest.raises(RuntimeError), in_lines(lines.append, clock=Clock()) as progress:
        progress("building helm")
        raise RuntimeError
    assert lines == ["building helm", "building helm: failed after 0 s"]


def test_nothing_done_says_nothing() -> None:
    lines: list[str] = []
    with in_lines(lines.append):
        pass
    assert lines == []
