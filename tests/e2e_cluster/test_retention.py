from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e.cluster.retention import (
    BUSY_SECONDS,
    FORGOTTEN_SECONDS,
    KEPT_OF_A_KIND,
    Entry,
    drop_abandoned,
    drop_outdated,
    mark_used,
    outdated,
)

_NOW = 1_800_000_000.0
_HOURS = 3600.0


def _entries(kind: str, *idle_hours: float) -> list[Entry]:
    return [Entry(Path(f"{kind}-{hours}"), kind, _NOW - hours * _HOURS) for hours in idle_hours]


@pytest.mark.parametrize(
    ("entries", "going"),
    [
        pytest.param(_entries("a", 2, 3, 4), [], id="the last few of a kind stay"),
        pytest.param(_entries("a", 2, 3, 4, 5, 6), ["a-5", "a-6"], id="what they replaced goes"),
        pytest.param(_entries("a", 0.1, 0.2, 0.3, 0.4), [], id="what may still be read stays"),
        pytest.param(_entries("a", 2, 3, 4) + _entries("b", 5, 6, 7), [], id="kinds do not replace each other"),
        pytest.param(_entries("a", 13 * 24), [], id="the last of its kind stays for two weeks"),
        pytest.param(_entries("a", 15 * 24), ["a-360"], id="what is forgotten goes"),
    ],
)
def test_replaced_and_forgotten_entries_go(entries: list[Entry], going: list[str]) -> None:
    assert [str(entry.path) for entry in outdated(entries, now_seconds=_NOW)] == going


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(min_value=0, max_value=2 * FORGOTTEN_SECONDS)), max_size=30)
)
def test_what_stays_is_bounded_and_in_use(idle: list[tuple[str, float]]) -> None:
    entries = [Entry(Path(str(number)), kind, _NOW - age) for number, (kind, age) in enumerate(idle)]
    going = outdated(entries, now_seconds=_NOW)
    staying = [entry for entry in entries if entry not in going]

    assert all(_NOW - entry.last_used_seconds > BUSY_SECONDS for entry in going)
    assert all(_NOW - entry.last_used_seconds <= FORGOTTEN_SECONDS for entry in staying)
    for kind in "abc":
        idle_ones = [e for e in staying if e.kind == kind and _NOW - e.last_used_seconds > BUSY_SECONDS]
        assert len(idle_ones) <= KEPT_OF_A_KIND


def _make(parent: Path, name: str, *, idle_seconds: float = 0) -> Path:
    directory = parent / name
    (directory / "deep").mkdir(parents=True)
    (directory / "deep" / "file").write_text(name)
    then = time.time() - idle_seconds
    os.utime(directory, (then, then))
    return directory


def _kind(path: Path) -> str:
    return path.name.partition("-")[0]


def test_directories_go_with_all_that_is_in_them(tmp_path: Path) -> None:
    old = [_make(tmp_path, f"etcd-{n}", idle_seconds=2 * BUSY_SECONDS + n) for n in range(KEPT_OF_A_KIND + 2)]

    assert sorted(drop_outdated(tmp_path, kind_of=_kind)) == old[KEPT_OF_A_KIND:]

    assert sorted(path for path in tmp_path.iterdir() if path.is_dir()) == old[:KEPT_OF_A_KIND]


def test_what_a_running_cluster_needs_stays_however_old(tmp_path: Path) -> None:
    old = _make(tmp_path, "etcd-1", idle_seconds=2 * FORGOTTEN_SECONDS)

    assert drop_outdated(tmp_path, kind_of=_kind, needed=[old]) == []

    assert (old / "deep" / "file").exists()


def test_what_is_marked_as_used_stays(tmp_path: Path) -> None:
    old = _make(tmp_path, "etcd-1", idle_seconds=2 * FORGOTTEN_SECONDS)

    assert mark_used(old)

    assert drop_outdated(tmp_path, kind_of=_kind) == []


def test_what_is_not_there_cannot_be_marked(tmp_path: Path) -> None:
    assert not mark_used(tmp_path / "etcd-1")


def test_whoever_marked_a_directory_has_it_while_others_tidy_up(tmp_path: Path) -> None:
    """A mark that says yes on a directory that goes a moment later would fail a run out of the blue."""
    names = [f"etcd-{n}" for n in range(200)]
    for name in names:
        _make(tmp_path, name, idle_seconds=2 * FORGOTTEN_SECONDS)
    with ThreadPoolExecutor(4) as pool:
        dropping = [pool.submit(drop_outdated, tmp_path, kind_of=_kind) for _ in range(2)]
        marked = list(pool.map(lambda name: mark_used(tmp_path / name), names))
        dropped = [path.name for finished in dropping for path in finished.result()]

    there = {name for name in names if (tmp_path / name / "deep" / "file").exists()}
    assert {name for name, used in zip(names, marked, strict=True) if used} == there
    assert sorted(dropped) == sorted(set(names) - there)


def test_what_killed_builds_left_goes_after_a_day(tmp_path: Path) -> None:
    fresh = _make(tmp_path, ".etcd-new", idle_seconds=3600)
    finished = _make(tmp_path, "etcd-1", idle_seconds=25 * 3600)
    _make(tmp_path, ".etcd-left", idle_seconds=25 * 3600)

    drop_abandoned(tmp_path)

    assert sorted(tmp_path.iterdir()) == [fresh, finished]
