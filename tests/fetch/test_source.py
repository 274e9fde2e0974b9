from __future__ import annotations

import pytest

from tfserving_operator.fetch.errors import FetchError
from tfserving_operator.fetch.source import ArchiveSource, ObjectStoreSource, parse_source
from tfserving_operator.fetch.termination import FetchReason
from tfserving_operator.fetch.versions import VersionPolicy, parse_policy, parse_version_name


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://b/m", ObjectStoreSource("s3", "b", "m")),
        ("S3://b//a/m/", ObjectStoreSource("s3", "b", "a/m")),
        ("gs://b", ObjectStoreSource("gs", "b", "")),
        ("s3://b/a%20b", ObjectStoreSource("s3", "b", "a b")),
    ],
)
def test_bucket_uris(uri: str, expected: ObjectStoreSource) -> None:
    assert parse_source(uri) == expected


@pytest.mark.parametrize("host", ["a.b.", "[::1]:80", "10.0.0.1", "model_store", f"{'a' * 63}.com", "bücher.example"])
def test_hosts_of_archives(host: str) -> None:
    assert parse_source(f"http://{host}/m.zip") == ArchiveSource(f"http://{host}/m.zip", f"http://{host}/m.zip", None)


def test_digest_is_taken_from_the_fragment_and_query_kept_for_the_request_only() -> None:
    source = parse_source(f"https://h/m.zip?sig=x#sha256={'A' * 64}")
    assert source == ArchiveSource("https://h/m.zip?sig=x", "https://h/m.zip", "a" * 64)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "m",
        "ftp://h/m",
        "pvc://claim/m",
        "s3:///m",
        "s3://b/../m",
        "s3://user:pw@b/m",
        "s3://b/m?x=1",
        "https:///m.zip",
        "https://user:pw@h/m.zip",
        "https://h/m.zip#sha256=12",
        "https://h:99999/m",
        "http://[/m",
        "https://user:pw/abc@host/x.tar",
        "http://a..b/x.tar",
        "http://.b/x.tar",
        f"http://{'a' * 64}.com/x.tar",
    ],
)
def test_unusable_uris_say_what_to_write_and_never_a_password(uri: str) -> None:
    with pytest.raises(FetchError) as caught:
        parse_source(uri)
    assert caught.value.reason is FetchReason.InvalidSource
    assert "s3://bucket/prefix" in caught.value.message
    assert "pw" not in caught.value.message


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://h/m.zip?X-Amz-Signature=1&X-Amz-Date=2", "https://h/m.zip?X-Amz-Signature=3", True),
        ("https://h/m.zip?sv=1&sig=2", "https://h/m.zip?sv=3&sig=4", True),
        ("https://h/d?model=a", "https://h/d?model=b", False),
        ("https://h/m.zip", f"https://h/m.zip#sha256={'0' * 64}", False),
        ("s3://b/m", "s3://b/m/", True),
        ("s3://b/m", "gs://b/m", False),
    ],
)
def test_identity_tells_sources_apart_but_not_signatures(one: str, other: str, same: bool) -> None:
    assert (parse_source(one).identity == parse_source(other).identity) is same


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("latest:2", VersionPolicy(latest=2)),
        ("all", VersionPolicy()),
        ("specific:3,4", VersionPolicy(specific=(3, 4))),
        ("specific: 3", VersionPolicy(specific=(3,))),
    ],
)
def test_policies(text: str, expected: VersionPolicy) -> None:
    assert parse_policy(text) == expected


@pytest.mark.parametrize(
    "text", ["", "latest", "latest:0", "latest:1,2", "specific:", "specific:a", "all:1", "newest:1"]
)
def test_unknown_policies_are_refused(text: str) -> None:
    with pytest.raises(FetchError, match=r"latest:N"):
        parse_policy(text)


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("1", 1),
        ("0001", 1),
        (str(2**63 - 1), 2**63 - 1),
        (str(2**63), None),
        ("-1", None),
        ("1.0", None),
        ("v1", None),
        ("", None),
        ("\u0661", None),
        (" 1", None),
        ("9" * 5000, None),
    ],
)
def test_version_names(name: str, version: int | None) -> None:
    assert parse_version_name(name) == version
