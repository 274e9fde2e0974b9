from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e.cluster import AlreadyRunning, ClusterError, NotRunning, cgroups, runs
from e2e.cluster.machine_view import NodeSize
from e2e.cluster.network import HostLink
from e2e.cluster.paths import runs_root
from e2e.cluster.processes import Process
from e2e.cluster.runs import RunRecord


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@contextmanager
def claimed(name: str) -> Iterator[runs.Run]:
    run = runs.claim(name)
    try:
        yield run
    finally:
        run.give_up()


def record(name: str) -> RunRecord:
    return RunRecord(
        name=name,
        init_pid=os.getpid(),
        init_started_ticks=1,
        cgroup=f"{name}-1",
        link=HostLink(interface="k8s-1", host_address="198.18.0.1", address="198.18.0.2"),
        programs={"kubernetes": Path("/kubernetes")},
        node_size=NodeSize(cpus=1),
        unreachable_toleration_seconds=1,
    )


def test_looking_for_clusters_makes_nothing(cache: Path) -> None:
    assert runs.running() == runs.taken() == []
    assert runs.find_init("dev") is None
    with pytest.raises(NotRunning):
        runs.find("dev")
    assert list(cache.iterdir()) == []


def test_a_claim_is_found_from_its_beginning_and_up_when_it_is_published() -> None:
    with claimed("dev") as run:
        assert runs.taken() == ["dev"]
        assert runs.find_init("dev") is None
        me = Process.now(os.getpid())
        assert me is not None
        run.remember_init(me)
        assert runs.find_init("dev") == me
        assert runs.running() == []
        run.publish(record("dev"), stays=False)
        assert runs.running() == ["dev"]
        with pytest.raises(AlreadyRunning):
            runs.claim("dev")
    assert runs.taken() == []
    runs.check_free("dev")


def test_a_first_process_that_an_earlier_version_remembered_is_found() -> None:
    with claimed("dev") as run:
        (run.directory / "init.pid").write_text(str(os.getpid()))
        assert runs.find_init("dev") == Process.now(os.getpid())


def test_programs_that_a_cluster_uses_later_are_kept_too() -> None:
    with claimed("dev") as run:
        runs.remember_programs(run.directory, {"crane": Path("/crane")})
        run.publish(record("dev"), stays=False)
        assert runs.programs_in_use() == {Path("/kubernetes")}
        runs.remember_programs(run.directory, {"crane": Path("/crane"), "kubernetes": Path("/another")})
        assert runs.programs_in_use() == {Path("/kubernetes"), Path("/crane")}


def test_looking_never_keeps_anybody_from_claiming() -> None:
    """A test run that lists clusters is not to make another's start fail."""
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            runs.taken()
            runs.find_init("dev")

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(100):
            directory = runs.claim("dev")
            os.close(directory.lock_descriptor)  # it died
            directory.owner.close()
    finally:
        done.set()
        for looker in lookers:
            looker.join()


@pytest.mark.parametrize("written", ["", None], ids=["empty", "missing"])
def test_a_dead_run_without_the_name_of_its_control_group_takes_nothing_with_it(written: str | None) -> None:
    """As a full disk left it: an empty name would mean the control groups of all clusters."""
    dead = runs_root() / "dead"
    dead.mkdir(parents=True)
    if written is not None:
        (dead / "cgroup").write_text(written)
    assert runs.reap_dead_runs() == ["dead"]
    assert not dead.exists()


def test_a_claim_that_was_cut_short_is_cleared_away() -> None:
    begun = runs_root() / ".new-dev-1234"
    begun.mkdir(parents=True)
    runs.reap_dead_runs()
    assert not begun.exists()


@pytest.mark.parametrize("name", ["", "..", "a/..", "/", "a//b", "a/"])
def test_a_name_that_may_mean_other_control_groups_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a control group"):
        cgroups.remove(name)


def test_a_record_of_another_version_is_an_error_in_a_sentence() -> None:
    with claimed("dev") as run:
        (run.directory / "run.json").write_text("{}")
        with pytest.raises(ClusterError, match="another version of this code, which can only stop it"):
            runs.find("dev")


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    file = tmp_path / "lock"
    file.touch()
    return file


FIRST_PROCESS = """
import os, sys
from e2e.cluster.sandbox_init import reap_until_the_end
print("waits", flush=True)
reap_until_the_end(int(sys.argv[1]), os.open(sys.argv[2], os.O_RDONLY))
"""


@contextmanager
def first_process(owner: runs.OwnerPipe, lock: Path) -> Iterator[subprocess.Popen[str]]:
    """What decides when a cluster ends, outside of any namespace."""
    with subprocess.Popen(
        [sys.executable, "-c", FIRST_PROCESS, str(owner.reader), str(lock)],
        cwd=Path(__file__).parents[2],
        pass_fds=[owner.reader],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "waits\n"
            yield process
        finally:
            process.kill()


def test_a_cluster_ends_with_its_owner(lock: Path) -> None:
    owner = runs.OwnerPipe.open()
    with first_process(owner, lock) as process:
        owner.close()
        assert process.wait(timeout=10) == 0


def test_a_cluster_that_was_told_to_stay_outlives_its_owner_but_not_its_files(lock: Path) -> None:
    owner = runs.OwnerPipe.open()
    with first_process(owner, lock) as process:
        owner.let_stay()
        owner.close()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
        lock.unlink()
        assert process.wait(timeout=10) == 0
