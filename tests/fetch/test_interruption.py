"""The fetcher as a process of its own: killed, stopped, without room, without rights, out of time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fetch.archives import make_archive
from tests.fetch.conftest import Bucket
from tests.fetch.runs import MODEL_FILES, Fetcher, Outcome, content_of
from tests.fetch.servers import Loopback, Trouble
from tfserving_operator.fetch.termination import FetchReason
from tfserving_operator.fetch.version_download import PART_BYTES

SOURCE_ROOT = Path(__file__).parents[2] / "operator"
COMMAND = [sys.executable, "-m", "tfserving_operator.fetch"]


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    running: list[subprocess.Popen[str]] = []

    def start_process(arguments: list[str], *prefix: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(SOURCE_ROOT)}
        running.append(
            subprocess.Popen(
                [*prefix, *COMMAND, *arguments],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return running[-1]

    yield start_process
    for process in running:
        process.kill()
        process.communicate()


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def finish(fetcher: Fetcher, process: subprocess.Popen[str]) -> Outcome:
    log, errors = process.communicate(timeout=60)
    assert errors == ""
    return fetcher.outcome(process.returncode, log)


def test_killed_bucket_fetch_goes_on_after_its_last_complete_part(
    bucket: Bucket, s3_fetcher: Fetcher, start: Callable[..., subprocess.Popen[str]]
) -> None:
    files = {"saved_model.pb": b"graph", "variables/data": os.urandom(2 * PART_BYTES + 5)}
    bucket.put_version("m/1", files)
    stall = Trouble(path_end="variables/data", cut_after_bytes=1 << 20, stall=True, spared=1)
    bucket.server.troubles = [stall]
    process = start(s3_fetcher.arguments(f"s3://{bucket.name}/m", concurrency=1))
    staging = s3_fetcher.destination / "resnet" / ".fetching-1"
    wait_until(lambda: len(bucket.server.gets("variables/data")) == 2, "the second part")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert staging.is_dir() and not (s3_fetcher.destination / "resnet" / "1").exists()

    bucket.server.troubles.clear()
    bucket.server.seen.clear()
    outcome = s3_fetcher.run(f"s3://{bucket.name}/m")
    assert content_of(outcome.model_directory / "1") == files
    assert bucket.server.gets("saved_model.pb") == []
    ranges = {request.range for request in bucket.server.gets("variables/data")}
    end = 2 * PART_BYTES + 5
    assert ranges == {f"bytes={PART_BYTES}-{2 * PART_BYTES - 1}", f"bytes={2 * PART_BYTES}-{end - 1}"}
    assert outcome.success.bytes_fetched == PART_BYTES + 5


def test_object_replaced_after_a_kill_is_fetched_whole(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    bucket.put_version("m/1")
    bucket.server.troubles = [Trouble(path_end="saved_model.pb", status=403)]
    s3_fetcher.run(f"s3://{bucket.name}/m", concurrency=1).assert_fails(FetchReason.CredentialsRejected)
    replaced = {name: content + b"!" for name, content in MODEL_FILES.items()}
    bucket.put_version("m/1", replaced)
    bucket.server.troubles.clear()
    outcome = s3_fetcher.run(f"s3://{bucket.name}/m")
    assert content_of(outcome.model_directory / "1") == replaced


def test_killed_archive_fetch_goes_on_where_it_was(
    web: tuple[Loopback, Path], fetcher: Fetcher, start: Callable[..., subprocess.Popen[str]]
) -> None:
    server, root = web
    archive = make_archive(root / "m.tar", {"1/saved_model.pb": os.urandom(3 << 20)})
    server.troubles = [Trouble(cut_after_bytes=2 << 20, stall=True, times=1)]
    process = start(fetcher.arguments(f"{server.url}/m.tar"))
    partial = fetcher.destination / "resnet" / ".fetching-archive" / "archive"
    wait_until(lambda: partial.exists() and partial.stat().st_size > 1 << 20, "the first bytes")
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = partial.stat().st_size

    outcome = fetcher.run(f"{server.url}/m.tar")
    assert outcome.success.versions == (1,)
    assert [request.range for request in server.gets("m.tar")] == [None, f"bytes={kept}-"]
    assert content_of(outcome.model_directory / "1")["saved_model.pb"] in archive.read_bytes()


class Killed(BaseException):
    """Stands for SIGKILL at one moment."""


@pytest.mark.parametrize(
    ("function", "name"), [("open", "archive"), ("replace", "archive.json")], ids=["truncation", "validators"]
)
def test_kill_while_an_archive_starts_anew_mixes_no_content(
    web: tuple[Loopback, Path], fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch, function: str, name: str
) -> None:
    server, root = web
    old, new = {"1/saved_model.pb": os.urandom(1 << 20)}, {"1/saved_model.pb": os.urandom(1 << 20)}
    make_archive(root / "m.tar.strict", old)
    server.troubles = [Trouble(cut_after_bytes=200_000, times=1), Trouble(status=503, times=3)]
    fetcher.run(f"{server.url}/m.tar.strict").assert_fails(FetchReason.SourceUnavailable)
    make_archive(root / "m.tar.strict", new)
    real = getattr(os, function)

    def killed(*arguments: Any, **options: Any) -> Any:
        if any(isinstance(argument, os.PathLike) and Path(argument).name == name for argument in arguments):
            raise Killed
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, function, killed)
        with pytest.raises(Killed):
            fetcher.run(f"{server.url}/m.tar.strict")
    outcome = fetcher.run(f"{server.url}/m.tar.strict")
    assert content_of(outcome.model_directory / "1")["saved_model.pb"] == new["1/saved_model.pb"]


def test_sigterm_ends_it_and_keeps_what_has_arrived(
    web: tuple[Loopback, Path], fetcher: Fetcher, start: Callable[..., subprocess.Popen[str]]
) -> None:
    server, root = web
    make_archive(root / "m.tar", {"1/saved_model.pb": os.urandom(3 << 20)})
    server.troubles = [Trouble(cut_after_bytes=2 << 20, stall=True)]
    process = start(fetcher.arguments(f"{server.url}/m.tar"))
    partial = fetcher.destination / "resnet" / ".fetching-archive" / "archive"
    wait_until(lambda: partial.exists() and partial.stat().st_size > 1 << 20, "the first bytes")
    process.terminate()
    outcome = finish(fetcher, process)
    assert outcome.status == 143
    assert outcome.termination_message == ""
    assert partial.exists()


def test_stalled_source_ends_at_the_deadline(web: tuple[Loopback, Path], fetcher: Fetcher) -> None:
    server, root = web
    make_archive(root / "m.tar", {"1/saved_model.pb": bytes(1 << 20)})
    server.troubles = [Trouble(cut_after_bytes=100, stall=True)]
    fetcher.run(f"{server.url}/m.tar", timeout_seconds=0.5).assert_fails(FetchReason.Timeout, "0.5 s")


def on_small_volume(fetcher: Fetcher, *limits: str) -> list[str]:
    """Return a command prefix that gives a process a small file system of its own, gone when it ends."""
    script = f'mount -t tmpfs -o {",".join(limits)} small "{fetcher.destination}" && exec "$@"'
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]


def test_version_too_big_for_the_volume_is_not_even_begun(
    bucket: Bucket, s3_fetcher: Fetcher, start: Callable[..., subprocess.Popen[str]]
) -> None:
    bucket.put_version("m/1", {"saved_model.pb": b"x", "variables/data": bytes(5 << 20)})
    process = start(s3_fetcher.arguments(f"s3://{bucket.name}/m"), *on_small_volume(s3_fetcher, "size=4M"))
    outcome = finish(s3_fetcher, process)
    outcome.assert_fails(FetchReason.InsufficientDiskSpace, "needs 5.0 MiB", "4.0 MiB free of 4.0 MiB", "version 1")
    assert bucket.server.gets("variables/data") == []


def test_volume_that_fills_up_on_the_way_is_told_the_same(
    bucket: Bucket, s3_fetcher: Fetcher, start: Callable[..., subprocess.Popen[str]]
) -> None:
    # Enough bytes, too few inodes: only writing finds out.
    bucket.put_version("m/1", {"saved_model.pb": b"x", **{f"assets/{n}": b"x" for n in range(20)}})
    process = start(
        s3_fetcher.arguments(f"s3://{bucket.name}/m"), *on_small_volume(s3_fetcher, "size=4M", "nr_inodes=10")
    )
    finish(s3_fetcher, process).assert_fails(FetchReason.InsufficientDiskSpace, "became full")


def test_archive_that_does_not_fit_unpacked_says_so(
    web: tuple[Loopback, Path], fetcher: Fetcher, start: Callable[..., subprocess.Popen[str]]
) -> None:
    server, root = web
    make_archive(root / "m.tar.gz", {"1/saved_model.pb": bytes(5 << 20)})
    process = start(fetcher.arguments(f"{server.url}/m.tar.gz"), *on_small_volume(fetcher, "size=4M"))
    finish(fetcher, process).assert_fails(FetchReason.InsufficientDiskSpace, "needs 5.0 MiB", "saved_model.pb")


def test_volume_that_cannot_be_written_names_the_user(
    bucket: Bucket, s3_fetcher: Fetcher, start: Callable[..., subprocess.Popen[str]]
) -> None:
    bucket.put_version("m/1")
    process = start(s3_fetcher.arguments(f"s3://{bucket.name}/m"), *on_small_volume(s3_fetcher, "ro"))
    finish(s3_fetcher, process).assert_fails(FetchReason.DestinationNotWritable, "user 0", "fsGroup")


def test_size_limit_counts_what_is_there_of_the_model_already(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    bucket.put_version("m/1", {"saved_model.pb": bytes(3 << 20)})
    (s3_fetcher.destination / "resnet").mkdir()
    (s3_fetcher.destination / "resnet" / "other").write_bytes(bytes(2 << 20))
    outcome = s3_fetcher.run(f"s3://{bucket.name}/m", size_limit_bytes=4 << 20)
    outcome.assert_fails(FetchReason.InsufficientDiskSpace, "needs 3.0 MiB", "sizeLimit leaves 2.0 MiB free of 4.0 MiB")
    assert s3_fetcher.run(f"s3://{bucket.name}/m", size_limit_bytes=8 << 20).success.versions == (1,)


def test_size_limit_of_a_model_leaves_out_the_others_of_its_server(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    bucket.put_version("m/1", {"saved_model.pb": bytes(3 << 20)})
    (s3_fetcher.destination / "another-model").write_bytes(bytes(2 << 20))
    assert s3_fetcher.run(f"s3://{bucket.name}/m", size_limit_bytes=4 << 20).success.versions == (1,)


def test_any_user_on_a_read_only_root_can_fetch(
    bucket: Bucket, s3_fetcher: Fetcher, start: Callable[..., subprocess.Popen[str]]
) -> None:
    bucket.put_version("m/1")
    work = s3_fetcher.work
    script = f'mount --bind "{work}" "{work}" && mount -o remount,bind,ro / && exec "$@"'
    as_root = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    process = start(s3_fetcher.arguments(f"s3://{bucket.name}/m"), *as_root, "unshare", "--user", "--map-user=65532")
    outcome = finish(s3_fetcher, process)
    assert outcome.success.versions == (1,)
    assert content_of(outcome.model_directory / "1") == MODEL_FILES


def test_it_imports_neither_the_operator_nor_its_heavy_libraries() -> None:
    script = (
        "import sys, tfserving_operator.fetch.__main__, tfserving_operator.fetch.termination\n"
        "heavy = {'kopf', 'kubernetes', 'pydantic', 'aiohttp', 'grpc', 'google', 'prometheus_client'}\n"
        "print(*sorted(heavy & set(sys.modules)))\n"
        "print(*sorted(m for m in sys.modules if m.startswith('tfserving_operator.')\n"
        "              and not m.startswith('tfserving_operator.fetch')))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE_ROOT)}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
