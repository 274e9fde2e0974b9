from __future__ import annotations

import hashlib
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fetch.archives import below, make_archive, make_tar, member
from tests.fetch.runs import MODEL_FILES, Fetcher, content_of
from tests.fetch.servers import Loopback, Trouble
from tfserving_operator.fetch.termination import FetchReason

Web = tuple[Loopback, Path]


@pytest.mark.parametrize("name", ["m.tar", "m.tar.gz", "m.tgz", "m.tar.bz2", "m.tar.xz", "m.zip", "download"])
def test_every_kind_of_archive_is_unpacked(web: Web, fetcher: Fetcher, name: str) -> None:
    server, root = web
    make_archive(root / name, below("3", MODEL_FILES))
    outcome = fetcher.run(f"{server.url}/{name}")
    assert outcome.success.versions == (3,)
    assert content_of(outcome.model_directory / "3") == MODEL_FILES
    assert outcome.leftovers == []


@pytest.mark.parametrize(
    ("directories", "policy", "expected"),
    [
        pytest.param(["1", "2", "10"], "latest:2", ["10", "2"], id="versions at the top"),
        pytest.param(["resnet/1", "resnet/2"], "all", ["1", "2"], id="versions below one directory"),
        pytest.param(["1", "2"], "specific:1", ["1"], id="one of the versions"),
        pytest.param(["0007"], "latest:1", ["7"], id="leading zeros"),
        pytest.param(["."], "latest:1", ["1"], id="a model at the top"),
        pytest.param(["export"], "latest:1", ["1"], id="a model below one directory"),
        pytest.param(["export"], "specific:12", ["12"], id="a model that is the specific version"),
        pytest.param(["1", "__MACOSX"], "latest:1", ["1"], id="a version and junk"),
    ],
)
def test_versions_are_found_in_the_archive(
    web: Web, fetcher: Fetcher, directories: list[str], policy: str, expected: list[str]
) -> None:
    server, root = web
    files = {path: content for d in directories for path, content in below(d, MODEL_FILES).items()}
    make_archive(root / "m.tar.gz", files)
    assert fetcher.run(f"{server.url}/m.tar.gz", policy).versions_on_disk == expected


def test_placeholder_fetches_an_archive_a_version(web: Web, fetcher: Fetcher) -> None:
    server, root = web
    make_archive(root / "m-3.zip", MODEL_FILES)
    make_archive(root / "m-4.zip", below("4", MODEL_FILES))
    outcome = fetcher.run(f"{server.url}/m-{{version}}.zip", "specific:3,4")
    assert outcome.versions_on_disk == ["3", "4"]
    server.seen.clear()
    fetcher.run(f"{server.url}/m-{{version}}.zip", "specific:3,4")
    assert server.seen == []


def test_placeholder_without_that_version_says_which(web: Web, fetcher: Fetcher) -> None:
    server, _ = web
    outcome = fetcher.run(f"{server.url}/m-{{version}}.zip", "specific:9")
    outcome.assert_fails(FetchReason.VersionNotFound, "Version 9", "/m-9.zip", "404")


def test_placeholder_needs_specific_versions(web: Web, fetcher: Fetcher) -> None:
    outcome = fetcher.run(f"{web[0].url}/m-{{version}}.zip", "latest:1")
    outcome.assert_fails(FetchReason.InvalidSource, "{version}", "specific")


def test_unknown_version_lists_those_in_the_archive(web: Web, fetcher: Fetcher) -> None:
    server, root = web
    make_archive(root / "m.zip", below("1", MODEL_FILES) | below("2", MODEL_FILES))
    fetcher.run(f"{server.url}/m.zip", "specific:5").assert_fails(FetchReason.VersionNotFound, "Version 5", "2, 1")


def test_matching_digest_is_accepted(web: Web, fetcher: Fetcher) -> None:
    server, root = web
    archive = make_archive(root / "m.zip", MODEL_FILES)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert fetcher.run(f"{server.url}/m.zip#sha256={digest.upper()}").success.versions == (1,)
    server.seen.clear()
    fetcher.run(f"{server.url}/m.zip#sha256={digest.upper()}")
    assert server.seen == []


def test_other_digest_is_a_mismatch_that_names_both(web: Web, fetcher: Fetcher) -> None:
    server, root = web
    archive = make_archive(root / "m.zip", MODEL_FILES)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    outcome = fetcher.run(f"{server.url}/m.zip#sha256={'0' * 64}")
    outcome.assert_fails(FetchReason.ChecksumMismatch, digest, "0" * 64)
    assert outcome.versions_on_disk == []


def test_unchanged_archive_is_not_fetched_again(web: Web, fetcher: Fetcher) -> None:
    server, root = web
    make_archive(root / "m.zip", below("1", MODEL_FILES))
    fetcher.run(f"{server.url}/m.zip")
    outcome = fetcher.run(f"{server.url}/m.zip")
    assert outcome.success.bytes_fetched == 0
    assert [request.status for request in server.gets("m.zip")] == [200, 304]


def test_changed_archive_brings_its_new_version(web: Web, fetcher: Fetcher) -> None:
    server, root = web
    make_archive(root / "m.zip", below("1", MODEL_FILES))
    fetcher.run(f"{server.url}/m.zip")
    make_archive(root / "m.zip", below("1", MODEL_FILES) | below("2", MODEL_FILES))
    assert fetcher.run(f"{server.url}/m.zip").versions_on_disk == ["2"]


def test_broken_connections_are_resumed_where_they_broke(web: Web, fetcher: Fetcher) -> None:
    server, root = web
    archive = make_archive(root / "m.tar", {"1/saved_model.pb": bytes(1_000_000)})
    # More breaks than attempts: each went further than the one before.
    server.troubles = [Trouble(cut_after_bytes=150_000, times=5)]
    outcome = fetcher.run(f"{server.url}/m.tar")
    assert outcome.success.bytes_fetched == archive.stat().st_size
    starts = [int((request.range or "bytes=0-")[6:-1]) for request in server.gets("m.tar")]
    assert len(starts) == 6 and starts == sorted(starts) and starts[-1] >= 600_000


def test_archive_replaced_between_tries_starts_anew(web: Web, fetcher: Fetcher) -> None:
    server, root = web
    make_archive(root / "m.tar", {"1/saved_model.pb": bytes(1_000_000)})
    server.troubles = [Trouble(cut_after_bytes=150_000, times=1), Trouble(status=503, times=3)]
    fetcher.run(f"{server.url}/m.tar").assert_fails(FetchReason.SourceUnavailable, "503")
    make_archive(root / "m.tar", {"1/saved_model.pb": b"x" * 2_000_000})
    outcome = fetcher.run(f"{server.url}/m.tar")
    assert content_of(outcome.model_directory / "1") == {"saved_model.pb": b"x" * 2_000_000}
    assert [request.status for request in server.gets("m.tar")][-1] == 200


def test_archive_too_big_for_the_volume_is_not_even_begun(web: Web, fetcher: Fetcher) -> None:
    server, root = web
    with (root / "m.tar").open("wb") as file:
        file.truncate(1 << 43)
    outcome = fetcher.run(f"{server.url}/m.tar")
    outcome.assert_fails(FetchReason.InsufficientDiskSpace, "8.0 TiB", "GiB free")


def test_endless_answer_ends_at_the_size_limit(web: Web, fetcher: Fetcher) -> None:
    server, root = web
    (root / "m.tar.endless").write_bytes(b"")
    outcome = fetcher.run(f"{server.url}/m.tar.endless", size_limit_bytes=4 << 20)
    outcome.assert_fails(FetchReason.InsufficientDiskSpace, "/m.tar.endless", "sizeLimit", "4.0 MiB")
    assert [path for path in outcome.model_directory.rglob("*") if path.is_file() and path.name == "archive"] == []


@pytest.mark.parametrize(
    ("size_bytes", "count"), [pytest.param((1 << 20) - 1, 12, id="large"), pytest.param(1, 2000, id="tiny")]
)
def test_many_small_files_cannot_pass_the_size_limit(web: Web, fetcher: Fetcher, size_bytes: int, count: int) -> None:
    server, root = web
    files = {"1/saved_model.pb": b"x", **{f"1/assets/{n}": bytes(size_bytes) for n in range(count)}}
    make_archive(root / "m.tar.gz", files)
    outcome = fetcher.run(f"{server.url}/m.tar.gz", size_limit_bytes=4 << 20)
    outcome.assert_fails(FetchReason.InsufficientDiskSpace, "m.tar.gz", "sizeLimit", "4.0 MiB")
    assert fetcher.run(f"{server.url}/m.tar.gz", size_limit_bytes=64 << 20).success.versions == (1,)


@pytest.mark.parametrize(
    ("secret", "header"),
    [
        ({"token": "s3cret-token"}, "Bearer s3cret-token"),
        ({"username": "ann", "password": "s3cret"}, "Basic YW5uOnMzY3JldA=="),
    ],
)
def test_credentials_are_shown_to_the_server(web: Web, fetcher: Fetcher, secret: dict[str, str], header: str) -> None:
    server, root = web
    make_archive(root / "m.zip", MODEL_FILES)
    server.required_authorization = header
    fetcher.run(f"{server.url}/m.zip").assert_fails(FetchReason.CredentialsRejected, "401", "token")
    fetcher.secret = secret
    outcome = fetcher.run(f"{server.url}/m.zip")
    assert outcome.success.versions == (1,)
    assert "s3cret" not in json.dumps(outcome.log)


def test_query_of_a_signed_url_is_never_shown(web: Web, fetcher: Fetcher) -> None:
    server, _ = web
    outcome = fetcher.run(f"{server.url}/m.zip?X-Amz-Signature=s3cret")
    outcome.assert_fails(FetchReason.ModelPathNotFound, f"{server.url}/m.zip answered 404")
    assert "s3cret" not in outcome.termination_message + json.dumps(outcome.log)


def test_unreachable_server_ends_as_unavailable(fetcher: Fetcher) -> None:
    outcome = fetcher.run("http://127.0.0.1:1/m.zip")
    outcome.assert_fails(FetchReason.SourceUnavailable, "connection refused", "tried 3 times")


def test_unknown_host_ends_as_unavailable(fetcher: Fetcher) -> None:
    outcome = fetcher.run("http://no-such-host.invalid/m.zip")
    outcome.assert_fails(FetchReason.SourceUnavailable, "could not be resolved")


@pytest.mark.parametrize(
    ("hostile", "complaint"),
    [
        pytest.param(member("../evil"), "unsafe path", id="parent"),
        pytest.param(member("1/../../evil"), "unsafe path", id="hidden parent"),
        pytest.param(member("/etc/evil"), "unsafe path", id="absolute"),
        pytest.param(member("1\\..\\evil"), "unsafe path", id="backslash"),
        pytest.param(member("1/x", kind=tarfile.SYMTYPE, link="/etc/passwd"), "link", id="symbolic link"),
        pytest.param(member("1/x", kind=tarfile.LNKTYPE, link="../../etc/passwd"), "link", id="hard link"),
        pytest.param(member("1/x", kind=tarfile.CHRTYPE), "device", id="device"),
        pytest.param(member("1/x", kind=tarfile.FIFOTYPE), "device", id="pipe"),
        pytest.param(member("/".join("a" * 40)), "deep", id="too deep"),
        pytest.param(member("1/" + "a" * 300), "unsafe path", id="too long"),
        pytest.param(member("1/saved_model.pb", size=1), "twice", id="same name twice"),
    ],
)
def test_hostile_entries_are_refused(web: Web, fetcher: Fetcher, hostile: tarfile.TarInfo, complaint: str) -> None:
    server, root = web
    make_tar(root / "m.tar", member("1/saved_model.pb", size=3), hostile)
    outcome = fetcher.run(f"{server.url}/m.tar")
    outcome.assert_fails(FetchReason.InvalidArchive, complaint)
    assert [path.name for path in fetcher.destination.iterdir()] == ["resnet"]
    assert list(outcome.model_directory.iterdir()) == []


def test_link_in_a_zip_is_refused(web: Web, fetcher: Fetcher) -> None:
    server, root = web
    link = zipfile.ZipInfo("1/saved_model.pb")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(root / "m.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    fetcher.run(f"{server.url}/m.zip").assert_fails(FetchReason.InvalidArchive, "link")


def test_size_that_lies_in_a_zip_is_refused(web: Web, fetcher: Fetcher) -> None:
    server, root = web
    archive = make_archive(root / "m.zip", {"saved_model.pb": bytes(100_000)})
    content = archive.read_bytes()
    archive.write_bytes(content.replace(struct.pack("<I", 100_000), struct.pack("<I", 10)))
    fetcher.run(f"{server.url}/m.zip").assert_fails(FetchReason.InvalidArchive)


@pytest.mark.parametrize("name", ["m.tar", "m.tar.gz", "m.tar.bz2", "m.tar.xz", "m.zip"])
def test_truncated_archive_is_invalid(web: Web, fetcher: Fetcher, name: str) -> None:
    server, root = web
    archive = make_archive(root / name, {"1/saved_model.pb": hashlib.sha256(b"").digest() * 10_000})
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    outcome = fetcher.run(f"{server.url}/{name}")
    outcome.assert_fails(FetchReason.InvalidArchive, f"/{name}")
    assert outcome.versions_on_disk == outcome.leftovers == []


def zeroed(content: bytes, start: int, size: int) -> bytes:
    return content[:start] + bytes(size) + content[start + size :]


def with_flipped_bit(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


HEADER_OF_SECOND = 1024
"""Where in a tar of small files the second one's header begins."""


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        pytest.param("m.tar", lambda tar: with_flipped_bit(tar, HEADER_OF_SECOND + 5), id="bit in a header"),
        pytest.param("m.tar", lambda tar: zeroed(tar, HEADER_OF_SECOND, 512), id="header zeroed"),
        pytest.param("m.tar", lambda tar: tar[:HEADER_OF_SECOND], id="cut before a header"),
        pytest.param("m.tar", lambda tar: tar[: HEADER_OF_SECOND + 100], id="cut in a header"),
        pytest.param("m.tar.gz", lambda gz: with_flipped_bit(gz, len(gz) - 8), id="gzip checksum"),
        pytest.param("m.tar.gz", lambda gz: gz[:-8], id="gzip without checksum"),
        pytest.param("m.tar.bz2", lambda bz2: with_flipped_bit(bz2, len(bz2) - 3), id="bzip2 checksum"),
        pytest.param("m.tar.bz2", lambda bz2: bz2[:-4], id="bzip2 cut"),
        pytest.param("m.tar.xz", lambda xz: with_flipped_bit(xz, len(xz) - 40), id="xz checksum"),
        pytest.param("m.tar.xz", lambda xz: xz[:-12], id="xz cut"),
    ],
)
def test_damage_that_leaves_a_readable_beginning_is_found(
    web: Web, fetcher: Fetcher, name: str, damage: Callable[[bytes], bytes]
) -> None:
    server, root = web
    archive = make_archive(root / name, {"1/saved_model.pb": b"x", "1/variables/variables.index": b"y"})
    archive.write_bytes(damage(archive.read_bytes()))
    outcome = fetcher.run(f"{server.url}/{name}")
    outcome.assert_fails(FetchReason.InvalidArchive, f"/{name}")
    assert outcome.versions_on_disk == outcome.leftovers == []


@pytest.mark.parametrize("cut_bytes", [0, 512, 10240])
def test_padding_of_any_length_ends_a_tar(web: Web, fetcher: Fetcher, cut_bytes: int) -> None:
    server, root = web
    archive = make_archive(root / "m.tar", {"1/saved_model.pb": b"x"})
    archive.write_bytes(archive.read_bytes()[: HEADER_OF_SECOND + 512] + bytes(cut_bytes))
    assert fetcher.run(f"{server.url}/m.tar").success.versions == (1,)


LONG_NAME = "d" * 250


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        pytest.param([("1", 5), ("1/saved_model.pb", 1)], FetchReason.InvalidArchive, id="file as directory"),
        pytest.param([("1/a", 1), ("1/a/b/c", 1)], FetchReason.InvalidArchive, id="file as parent"),
        pytest.param([("1/a", 1), ("1/a/", 0)], FetchReason.InvalidArchive, id="file and directory"),
        pytest.param([(f"{LONG_NAME}/" * 20 + "f", 1)], FetchReason.InvalidArchive, id="path too long"),
        pytest.param([("1/saved_model.pb", 1), ("1/.fetched.json/y", 1)], FetchReason.InvalidModel, id="our marker"),
    ],
)
def test_entries_that_cannot_stand_together_are_refused(
    web: Web, fetcher: Fetcher, entries: list[tuple[str, int]], reason: FetchReason
) -> None:
    server, root = web
    kinds = {True: tarfile.DIRTYPE, False: tarfile.REGTYPE}
    make_tar(root / "m.tar", *(member(name, size=size, kind=kinds[name.endswith("/")]) for name, size in entries))
    outcome = fetcher.run(f"{server.url}/m.tar")
    outcome.assert_fails(reason, "/m.tar")
    assert outcome.versions_on_disk == outcome.leftovers == []


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_damaged_content_of_a_zip_is_invalid(web: Web, fetcher: Fetcher, compression: int) -> None:
    server, root = web
    archive = root / "m.zip"
    with zipfile.ZipFile(archive, "w", compression) as file:
        file.writestr("1/saved_model.pb", hashlib.sha256(b"").digest() * 1000)
    content = bytearray(archive.read_bytes())
    content[60:70] = b"\xff" * 10
    archive.write_bytes(content)
    fetcher.run(f"{server.url}/m.zip").assert_fails(FetchReason.InvalidArchive)


@pytest.mark.parametrize(
    ("files", "policy", "reason"),
    [
        pytest.param({"1": b"", "1/saved_model.pb": b"x"}, "latest:1", FetchReason.InvalidArchive, id="archive"),
        pytest.param({"1/saved_model.pb": b""}, "latest:1", FetchReason.InvalidModel, id="model"),
        pytest.param({"2/saved_model.pb": b"x"}, "specific:1", FetchReason.VersionNotFound, id="version"),
    ],
)
def test_repaired_archive_at_the_same_url_is_fetched_again(
    web: Web, fetcher: Fetcher, files: dict[str, bytes], policy: str, reason: FetchReason
) -> None:
    server, root = web
    make_archive(root / "m.tar", files)
    fetcher.run(f"{server.url}/m.tar", policy).assert_fails(reason)
    make_archive(root / "m.tar", {"1/saved_model.pb": b"repaired"})
    assert fetcher.run(f"{server.url}/m.tar", policy).success.versions == (1,)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"<html>please log in</html>", "HTML"), (b"\x28\xb5\x2f\xfd1234", "zstd"), (b"", "neither"), (b"PK", "neither")],
)
def test_what_is_no_archive_is_named(web: Web, fetcher: Fetcher, content: bytes, complaint: str) -> None:
    server, root = web
    (root / "m").write_bytes(content)
    fetcher.run(f"{server.url}/m").assert_fails(FetchReason.InvalidArchive, complaint)


@pytest.mark.parametrize("name", ["mod\udce8le.bin", "\udcff/readme"], ids=["file", "directory"])
def test_names_that_are_not_utf8_can_be_told(web: Web, fetcher: Fetcher, name: str) -> None:
    server, root = web
    make_tar(root / "m.tar", member(name, size=1))
    outcome = fetcher.run(f"{server.url}/m.tar")
    outcome.assert_fails(FetchReason.InvalidModel, "/m.tar", "saved_model.pb")
    assert outcome.log[-1]["message"] == "fetch failed"


def test_refused_name_that_is_not_utf8_can_be_told(web: Web, fetcher: Fetcher) -> None:
    server, root = web
    make_tar(root / "m.tar", member("1/mod\udce8le", kind=tarfile.SYMTYPE, link="x"))
    fetcher.run(f"{server.url}/m.tar").assert_fails(FetchReason.InvalidArchive, "1/mod%3Fle is a link")


@pytest.mark.parametrize("files", [{"readme.md": b""}, {"1/readme.md": b""}, {"a/b/saved_model.pb": b"x", "c": b""}])
def test_archive_without_a_model_is_an_invalid_model(web: Web, fetcher: Fetcher, files: dict[str, bytes]) -> None:
    server, root = web
    make_archive(root / "m.tar.gz", files)
    outcome = fetcher.run(f"{server.url}/m.tar.gz")
    outcome.assert_fails(FetchReason.InvalidModel, "saved_model.pb")
    assert outcome.versions_on_disk == []
