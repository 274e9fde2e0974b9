from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.fetch.conftest import Bucket
from tests.fetch.runs import MODEL_FILES, Fetcher, content_of
from tests.fetch.servers import Trouble, serve_documents
from tfserving_operator.fetch.termination import FetchReason


def test_newest_version_comes_into_place_with_every_file(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    for version in ("1", "2", "10"):
        bucket.put_version(
            f"models/resnet/{version}", {**MODEL_FILES, "assets/vocabulary a+b%20.txt": version.encode()}
        )
    outcome = s3_fetcher.run(f"s3://{bucket.name}/models/resnet")
    assert outcome.success.versions == (10,)
    assert outcome.success.bytes_fetched == sum(map(len, MODEL_FILES.values())) + 2
    assert outcome.versions_on_disk == ["10"]
    assert outcome.leftovers == []
    assert content_of(outcome.model_directory / "10") == {**MODEL_FILES, "assets/vocabulary a+b%20.txt": b"10"}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("latest:1", ["11"]),
        ("latest:2", ["11", "3"]),
        ("latest:9", ["1", "11", "2", "3"]),
        ("specific:1,3", ["1", "3"]),
        ("all", ["1", "11", "2", "3"]),
    ],
)
def test_policy_chooses_versions_by_number(
    bucket: Bucket, s3_fetcher: Fetcher, policy: str, expected: list[str]
) -> None:
    for name in ("1", "0002", "3", "11", "tmp", "v4", "-5", "5.0", "99999999999999999999"):
        bucket.put_version(f"m/{name}", {"saved_model.pb": name.encode()})
    outcome = s3_fetcher.run(f"s3://{bucket.name}/m/", policy)
    assert outcome.versions_on_disk == expected


def test_of_two_names_of_one_number_the_last_wins_with_a_warning(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    for name in ("0001", "1"):
        bucket.put_version(f"m/{name}", {"saved_model.pb": name.encode()})
    outcome = s3_fetcher.run(f"s3://{bucket.name}/m")
    assert content_of(outcome.model_directory / "1") == {"saved_model.pb": b"1"}
    assert [line["hidden"] for line in outcome.log if line["level"] == "warning"] == [["0001"]]


def test_whole_bucket_can_be_the_model(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    bucket.put_version("4")
    assert s3_fetcher.run(f"s3://{bucket.name}").success.versions == (4,)


def test_markers_of_directories_become_directories(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    bucket.put({"m/": b"", "m/1/": b"", "m/1/variables/": b"", "m/1/assets/": b"", "m/1/empty.txt": b""})
    bucket.put_version("m/1")
    outcome = s3_fetcher.run(f"s3://{bucket.name}/m")
    version = outcome.model_directory / "1"
    assert content_of(version) == {**MODEL_FILES, "empty.txt": b""}
    assert (version / "assets").is_dir() and (version / "variables").is_dir()


@pytest.mark.parametrize("name", ["saved_model.pbtxt", "model.tflite"])
def test_other_model_formats_are_models(bucket: Bucket, s3_fetcher: Fetcher, name: str) -> None:
    bucket.put_version("m/1", {name: b"x"})
    assert s3_fetcher.run(f"s3://{bucket.name}/m").success.versions == (1,)


def test_complete_versions_are_not_fetched_again(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    bucket.put_version("m/1")
    s3_fetcher.run(f"s3://{bucket.name}/m")
    bucket.put_version("m/2")
    bucket.server.seen.clear()
    outcome = s3_fetcher.run(f"s3://{bucket.name}/m", "all")
    assert outcome.versions_on_disk == ["1", "2"]
    assert bucket.server.gets("/2/saved_model.pb") and not bucket.server.gets("/1/saved_model.pb")


def test_complete_specific_versions_need_no_request(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    bucket.put_version("m/1")
    s3_fetcher.run(f"s3://{bucket.name}/m", "specific:1")
    bucket.server.seen.clear()
    assert s3_fetcher.run(f"s3://{bucket.name}/m", "specific:1").success.bytes_fetched == 0
    assert bucket.server.seen == []


def test_same_version_of_another_source_replaces_the_first(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    bucket.put_version("a/1", {"saved_model.pb": b"a"})
    bucket.put_version("b/1", {"saved_model.pb": b"b"})
    s3_fetcher.run(f"s3://{bucket.name}/a")
    outcome = s3_fetcher.run(f"s3://{bucket.name}/b")
    assert content_of(outcome.model_directory / "1") == {"saved_model.pb": b"b"}
    assert outcome.leftovers == []


def test_only_versions_of_ours_are_removed(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    bucket.put_version("m/1")
    s3_fetcher.run(f"s3://{bucket.name}/m")
    foreign = s3_fetcher.destination / "resnet" / "7"
    foreign.mkdir()
    bucket.put_version("m/2")
    outcome = s3_fetcher.run(f"s3://{bucket.name}/m")
    assert outcome.versions_on_disk == ["2", "7"]


def test_failed_fetch_removes_nothing(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    bucket.put_version("m/1")
    s3_fetcher.run(f"s3://{bucket.name}/m")
    bucket.put_version("m/2", {"notes.txt": b"x"})
    outcome = s3_fetcher.run(f"s3://{bucket.name}/m")
    outcome.assert_fails(FetchReason.InvalidModel, "Version 2", "notes.txt", "saved_model.pb")
    assert outcome.versions_on_disk == ["1"]


def test_leftovers_of_versions_no_longer_wanted_are_removed(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    leftover = s3_fetcher.destination / "resnet" / ".fetching-1"
    leftover.mkdir(parents=True)
    (leftover / "junk").write_bytes(b"x")
    bucket.put_version("m/2")
    assert s3_fetcher.run(f"s3://{bucket.name}/m").leftovers == []


def test_missing_prefix_is_named(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    outcome = s3_fetcher.run(f"s3://{bucket.name}/no/such")
    outcome.assert_fails(FetchReason.ModelPathNotFound, f"s3://{bucket.name}/no/such", bucket.server.url)


def test_missing_bucket_is_named(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    outcome = s3_fetcher.run("s3://there-is-no-such-bucket/m")
    outcome.assert_fails(FetchReason.ModelPathNotFound, "s3://there-is-no-such-bucket/m", "NoSuchBucket")
    assert len(bucket.server.seen) == 1


def test_unknown_version_lists_at_most_ten_that_exist(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    for version in range(1, 15):
        bucket.put_version(f"m/{version}", {"saved_model.pb": b"x"})
    outcome = s3_fetcher.run(f"s3://{bucket.name}/m", "specific:3,99")
    outcome.assert_fails(
        FetchReason.VersionNotFound, "Version 99 is not", "14, 13, 12, 11, 10, 9, 8, 7, 6, 5 and 4 older"
    )


def test_prefix_without_versions_says_so(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    bucket.put_version("m/latest")
    s3_fetcher.run(f"s3://{bucket.name}/m").assert_fails(FetchReason.VersionNotFound, "no version")


def test_prefix_that_is_itself_a_model_says_so(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    bucket.put_version("m")
    s3_fetcher.run(f"s3://{bucket.name}/m").assert_fails(FetchReason.VersionNotFound, "itself a SavedModel", "1/")


@pytest.mark.parametrize("path", [".fetched.json/x", "assets/" + "x" * 300])
def test_object_that_cannot_be_a_file_is_no_part_of_a_model(bucket: Bucket, s3_fetcher: Fetcher, path: str) -> None:
    bucket.put_version("m/1", {"saved_model.pb": b"x", path: b"x"})
    outcome = s3_fetcher.run(f"s3://{bucket.name}/m")
    outcome.assert_fails(FetchReason.InvalidModel, path[:7])
    assert outcome.versions_on_disk == []


def test_empty_model_file_is_no_model(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    bucket.put_version("m/1", {"saved_model.pb": b""})
    outcome = s3_fetcher.run(f"s3://{bucket.name}/m")
    outcome.assert_fails(FetchReason.InvalidModel, "empty")
    assert outcome.versions_on_disk == []


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_fail_at_once(bucket: Bucket, s3_fetcher: Fetcher, status: int) -> None:
    bucket.server.troubles = [Trouble(status=status)]
    outcome = s3_fetcher.run(f"s3://{bucket.name}/m")
    outcome.assert_fails(FetchReason.CredentialsRejected, str(status), "secret")
    assert len(bucket.server.seen) == 1


def test_passing_server_errors_are_overcome(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    bucket.put_version("m/1")
    bucket.server.troubles = [
        Trouble(path_end=bucket.name, status=503, times=2),
        Trouble(path_end="saved_model.pb", status=500, times=1),
        Trouble(path_end="variables.index", status=429, times=1),
    ]
    outcome = s3_fetcher.run(f"s3://{bucket.name}/m")
    assert content_of(outcome.model_directory / "1") == MODEL_FILES
    assert len([line for line in outcome.log if line["message"] == "trying again"]) == 4


def test_lasting_server_errors_end_as_unavailable(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    bucket.put_version("m/1")
    bucket.server.troubles = [Trouble(path_end="saved_model.pb", status=503)]
    outcome = s3_fetcher.run(f"s3://{bucket.name}/m")
    outcome.assert_fails(FetchReason.SourceUnavailable, "503", "tried 3 times", "saved_model.pb")
    assert len(bucket.server.gets("saved_model.pb")) == 3


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        pytest.param("m/1/assets//v.txt", "m/1/assets//v.txt", id="empty name"),
        pytest.param("m/1/../x", "m/1/../x", id="parent"),
        pytest.param("m/1/a\nb", "m/1/a%0Ab", id="newline"),
        pytest.param('m/1/a"\nb', "m/1/a%22%0Ab", id="quote"),
    ],
)
def test_key_that_is_no_path_is_named_at_once(s3_fetcher: Fetcher, key: str, shown: str) -> None:
    listing = (
        "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>{}</Key><Size>1</Size>"
        "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents></ListBucketResult>"
    )
    with serve_documents({"/bucket": listing.format(key)}) as server:
        s3_fetcher.secret["AWS_ENDPOINT_URL"] = server.url
        outcome = s3_fetcher.run("s3://bucket/m")
    outcome.assert_fails(FetchReason.InvalidModel, f"an object with the odd name {shown}.", "s3://bucket/m")
    assert len(server.seen) == 1


def test_unreachable_endpoint_ends_as_unavailable(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    s3_fetcher.secret["AWS_ENDPOINT_URL"] = "http://127.0.0.1:1"
    outcome = s3_fetcher.run(f"s3://{bucket.name}/m")
    outcome.assert_fails(FetchReason.SourceUnavailable, "http://127.0.0.1:1", "connection refused", "tried 3 times")


def test_broken_connection_costs_nothing_but_a_retry(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    bucket.put_version("m/1")
    bucket.server.troubles = [Trouble(path_end="00000-of-00001", cut_after_bytes=100, times=2)]
    outcome = s3_fetcher.run(f"s3://{bucket.name}/m")
    assert content_of(outcome.model_directory / "1") == MODEL_FILES


def test_corruption_on_the_way_is_fetched_again(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    bucket.put_version("m/1")
    bucket.server.troubles = [Trouble(path_end="saved_model.pb", flip_a_bit=True, times=1)]
    outcome = s3_fetcher.run(f"s3://{bucket.name}/m")
    assert content_of(outcome.model_directory / "1") == MODEL_FILES


def test_lasting_corruption_is_a_checksum_mismatch(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    bucket.put_version("m/1")
    bucket.server.troubles = [Trouble(path_end="saved_model.pb", flip_a_bit=True)]
    outcome = s3_fetcher.run(f"s3://{bucket.name}/m")
    digest = hashlib.md5(MODEL_FILES["saved_model.pb"]).hexdigest()  # noqa: S324
    outcome.assert_fails(FetchReason.ChecksumMismatch, "saved_model.pb", digest)
    assert outcome.versions_on_disk == []


def test_etag_of_an_encrypted_object_is_not_taken_for_a_checksum(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    bucket.put_version("m/1", ServerSideEncryption="aws:kms")
    bucket.server.troubles = [Trouble(path_end="saved_model.pb", flip_a_bit=True)]
    assert s3_fetcher.run(f"s3://{bucket.name}/m").success.versions == (1,)


def test_secrets_stay_out_of_log_and_message(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    bucket.server.troubles = [Trouble(status=403)]
    outcome = s3_fetcher.run(f"s3://{bucket.name}/m")
    told = outcome.termination_message + json.dumps(outcome.log)
    assert "test-secret-key" not in told and "test-key-id" not in told


def test_versions_fetched_earlier_serve_on_while_the_store_is_down(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    bucket.put_version("m/1")
    s3_fetcher.run(f"s3://{bucket.name}/m")
    bucket.server.troubles = [Trouble(status=503)]
    success = s3_fetcher.run(f"s3://{bucket.name}/m").success
    assert success.versions == (1,) and success.stale


def test_google_bucket_is_read_with_a_service_account(bucket: Bucket, fetcher: Fetcher) -> None:
    # Google's store speaks the same XML for listing and reading.
    bucket.put_version("m/3", ACL="public-read")
    fetcher.secret = {
        "service-account.json": json.dumps(
            {
                "gcs_base_url": bucket.server.url,
                "disable_oauth": True,
                "client_email": "somebody",
                "private_key": "none",
                "private_key_id": "none",
            }
        )
    }
    outcome = fetcher.run(f"gs://{bucket.name}/m")
    assert content_of(outcome.model_directory / "3") == MODEL_FILES


@pytest.mark.parametrize("text", ["{}", "not json", '{"type": "authorized_user"}'])
def test_broken_service_account_is_rejected_before_any_request(fetcher: Fetcher, text: str) -> None:
    fetcher.secret = {"service-account.json": text}
    fetcher.run("gs://bucket/m").assert_fails(FetchReason.CredentialsRejected, "service-account.json")


def test_files_can_be_read_by_any_user(bucket: Bucket, s3_fetcher: Fetcher) -> None:
    bucket.put_version("m/1")
    version: Path = s3_fetcher.run(f"s3://{bucket.name}/m").model_directory / "1"
    assert (version / "saved_model.pb").stat().st_mode & 0o777 == 0o644
    assert version.stat().st_mode & 0o777 == 0o755
